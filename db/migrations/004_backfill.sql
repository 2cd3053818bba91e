-- 004: how far the daemon has come with what an older schema did not keep (its appends never wait for it).

CREATE TABLE backfill (
	name TEXT NOT NULL,
	seq INTEGER NOT NULL,
	PRIMARY KEY (name)
)
 STRICT;
INSERT INTO backfill
SELECT 'history', 0 WHERE EXISTS (SELECT 1 FROM event WHERE type = 'StepsCompleted')
AND NOT EXISTS (SELECT 1 FROM strand);
