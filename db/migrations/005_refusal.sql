-- 005: REPLACE is refused as before, now by undoing its whole transaction: RAISE(ABORT) made each insert ready to undo
-- itself alone, by a copy of every page it touched.

DROP TRIGGER event_is_never_replaced;
CREATE TRIGGER event_is_never_replaced BEFORE INSERT ON event
WHEN EXISTS (SELECT 1 FROM event WHERE seq = NEW.seq)
BEGIN SELECT RAISE(ROLLBACK, 'the log is append-only: a fact is never replaced'); END;
DROP TRIGGER commit_is_never_replaced;
CREATE TRIGGER commit_is_never_replaced BEFORE INSERT ON commit_log
WHEN EXISTS (SELECT 1 FROM commit_log WHERE first_seq = NEW.first_seq OR last_seq = NEW.last_seq)
BEGIN SELECT RAISE(ROLLBACK, 'the log is append-only: a commit is never replaced'); END;
