-- 002: a heartbeat says how often the work has moved, apart from being alive.

ALTER TABLE heartbeat ADD COLUMN progress INTEGER;
