-- What jobs that failed or were cancelled had transcribed is given up like a transcript (src/job/store_retention.c).
CREATE INDEX jobs_checkpoints ON jobs (finished_at, id)
    WHERE finished_at IS NOT NULL AND plan IS NOT NULL AND state <> 'completed';
