-- 003: the curve of all runs together, and the strands it is made of. An older log's are folded at its next opening.
-- And indexes that answer every filter of the audit by themselves.

CREATE TABLE history (
	metric TEXT NOT NULL,
	lvl INTEGER NOT NULL,
	bucket INTEGER NOT NULL,
	turn INTEGER NOT NULL,
	n INTEGER NOT NULL,
	n_nonfinite INTEGER NOT NULL,
	sum REAL NOT NULL,
	min REAL,
	max REAL,
	last REAL,
	last_step INTEGER NOT NULL,
	PRIMARY KEY (metric, lvl, bucket, turn)
)
 WITHOUT ROWID,
 STRICT;
CREATE TABLE strand (
	seq INTEGER NOT NULL,
	run TEXT NOT NULL,
	attempt INTEGER NOT NULL,
	first_step INTEGER NOT NULL,
	last_step INTEGER NOT NULL,
	turn INTEGER NOT NULL,
	PRIMARY KEY (seq)
)
 STRICT;
CREATE INDEX strand_run ON strand (run, seq);
CREATE INDEX strand_turn ON strand (seq) WHERE seq = turn;
DROP INDEX event_stream;
DROP INDEX event_actor;
CREATE INDEX event_stream ON event (stream, seq, type, actor);
CREATE INDEX event_actor ON event (actor, type, seq);
