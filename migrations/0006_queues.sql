-- Queues that an operator has paused: their jobs wait. A queue without a row is served.
CREATE TABLE paused_queues (
    queue           TEXT PRIMARY KEY,            -- high normal retry
    paused_at       BIGINT NOT NULL
);
-- Is the recording so small that the place which workers keep for short jobs may take it? Decided at the submission.
ALTER TABLE jobs ADD COLUMN small BIGINT NOT NULL DEFAULT 0;
CREATE INDEX jobs_small ON jobs (state, queue_rank, created_at, id) WHERE state = 'pending' AND small = 1;
-- The transcript was given up by retention; NULL: it is there.
ALTER TABLE results ADD COLUMN removed_at BIGINT;
CREATE INDEX results_kept ON results (created_at, job_id) WHERE removed_at IS NULL;
