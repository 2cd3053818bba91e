-- 001: the log, its chain, command answers, roll-ups, snapshots and heartbeats.
-- The tables are those of db/tables.py (a test compares); the triggers make the log append-only.

CREATE TABLE command (
	"key" TEXT NOT NULL,
	first_seq INTEGER NOT NULL,
	last_seq INTEGER NOT NULL,
	request_hash BLOB NOT NULL,
	at INTEGER NOT NULL,
	PRIMARY KEY ("key")
)
 STRICT;
CREATE TABLE commit_log (
	first_seq INTEGER NOT NULL,
	last_seq INTEGER NOT NULL,
	at INTEGER NOT NULL,
	prev_hash BLOB NOT NULL,
	hash BLOB NOT NULL,
	PRIMARY KEY (first_seq),
	UNIQUE (last_seq)
)
 STRICT;
CREATE TABLE event (
	seq INTEGER NOT NULL,
	at INTEGER NOT NULL,
	actor TEXT NOT NULL,
	stream TEXT NOT NULL,
	type TEXT NOT NULL,
	version INTEGER NOT NULL,
	causation INTEGER,
	correlation INTEGER,
	data TEXT NOT NULL,
	PRIMARY KEY (seq)
)
 STRICT;
CREATE INDEX event_actor ON event (actor, seq);
CREATE INDEX event_causation ON event (causation, seq) WHERE causation IS NOT NULL;
CREATE INDEX event_correlation ON event (correlation, seq) WHERE correlation IS NOT NULL;
CREATE INDEX event_stream ON event (stream, seq);
CREATE INDEX event_type ON event (type, seq);
CREATE TABLE heartbeat (
	role TEXT NOT NULL,
	pid INTEGER NOT NULL,
	phase TEXT NOT NULL,
	step INTEGER,
	at INTEGER NOT NULL,
	sample TEXT,
	PRIMARY KEY (role)
)
 STRICT;
CREATE TABLE rollup (
	metric TEXT NOT NULL,
	lvl INTEGER NOT NULL,
	bucket INTEGER NOT NULL,
	run TEXT NOT NULL,
	attempt INTEGER NOT NULL,
	n INTEGER NOT NULL,
	n_nonfinite INTEGER NOT NULL,
	sum REAL NOT NULL,
	min REAL,
	max REAL,
	last REAL,
	last_step INTEGER NOT NULL,
	PRIMARY KEY (metric, lvl, bucket, run, attempt)
)
 WITHOUT ROWID,
 STRICT;
CREATE TABLE snapshot (
	projection TEXT NOT NULL,
	version INTEGER NOT NULL,
	seq INTEGER NOT NULL,
	digest BLOB NOT NULL,
	data TEXT NOT NULL,
	PRIMARY KEY (projection, version, seq)
)
 STRICT;

CREATE TRIGGER event_is_never_changed BEFORE UPDATE ON event
BEGIN SELECT RAISE(ABORT, 'the log is append-only: a fact is never changed'); END;
CREATE TRIGGER event_is_never_deleted BEFORE DELETE ON event
BEGIN SELECT RAISE(ABORT, 'the log is append-only: a fact is never deleted'); END;
CREATE TRIGGER commit_is_never_changed BEFORE UPDATE ON commit_log
BEGIN SELECT RAISE(ABORT, 'the log is append-only: a commit is never changed'); END;
CREATE TRIGGER commit_is_never_deleted BEFORE DELETE ON commit_log
BEGIN SELECT RAISE(ABORT, 'the log is append-only: a commit is never deleted'); END;
-- REPLACE deletes without asking the triggers above unless the connection has recursive_triggers: refuse it anywhere.
CREATE TRIGGER event_is_never_replaced BEFORE INSERT ON event
WHEN EXISTS (SELECT 1 FROM event WHERE seq = NEW.seq)
BEGIN SELECT RAISE(ABORT, 'the log is append-only: a fact is never replaced'); END;
CREATE TRIGGER commit_is_never_replaced BEFORE INSERT ON commit_log
WHEN EXISTS (SELECT 1 FROM commit_log WHERE first_seq = NEW.first_seq OR last_seq = NEW.last_seq)
BEGIN SELECT RAISE(ABORT, 'the log is append-only: a commit is never replaced'); END;
