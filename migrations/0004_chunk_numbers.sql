-- The number of the event that told of a chunk (jobs.seq as it was then): whoever follows a job says by it what it has.
ALTER TABLE chunks ADD COLUMN seq BIGINT NOT NULL DEFAULT 0;
UPDATE chunks SET seq = idx + 1;
CREATE INDEX chunks_seq ON chunks (job_id, seq);
