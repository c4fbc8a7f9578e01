-- The first schema. Written in the part of SQL that SQLite and PostgreSQL share; times are milliseconds since 1970 UTC.

-- One row per accepted recording: the truth about its life (src/job/job.h has the states and who may change them).
CREATE TABLE jobs (
    id              TEXT PRIMARY KEY,            -- UUIDv7: sorts by creation
    state           TEXT NOT NULL,               -- pending processing completed failed cancelled
    queue           TEXT NOT NULL,               -- high normal retry
    queue_rank      BIGINT NOT NULL,             -- 0 is taken first; follows from queue
    created_at      BIGINT NOT NULL,
    updated_at      BIGINT NOT NULL,
    started_at      BIGINT,                      -- first claim
    finished_at     BIGINT,                      -- terminal state reached
    run_after       BIGINT NOT NULL,             -- not to be claimed before
    announced_at    BIGINT,                      -- the wake-up was sent; NULL: the sweeper sends it

    engine          TEXT,                        -- asked for; NULL: the worker's choice
    model           TEXT,
    language        TEXT,                        -- NULL: detect
    task            TEXT NOT NULL,               -- transcribe translate
    prompt          TEXT,
    description     TEXT,
    options         TEXT,                        -- further request options, a JSON object

    filename        TEXT NOT NULL,               -- as the client named it; data, never a path
    content_type    TEXT,
    audio_key       TEXT NOT NULL,               -- in storage
    audio_gone_at   BIGINT,                      -- given up by retention; NULL: still there
    audio_bytes     BIGINT NOT NULL,
    audio_sha256    TEXT NOT NULL,

    attempt         BIGINT NOT NULL DEFAULT 0,   -- claims that count against max_attempts
    max_attempts    BIGINT NOT NULL,
    deaths          BIGINT NOT NULL DEFAULT 0,   -- workers that died on it since its last checkpoint
    checkpointed    BIGINT NOT NULL DEFAULT 0,   -- 1: a checkpoint was saved since the claim
    fence           BIGINT NOT NULL DEFAULT 0,   -- +1 per claim, never reset
    lease_holder    TEXT,                        -- the worker that holds the job, or held it last
    lease_until     BIGINT,                      -- NULL: nobody holds it
    seq             BIGINT NOT NULL DEFAULT 1,   -- number of the newest event

    plan            TEXT,                        -- JSON; see src/worker/plan_json.h
    chunks_total    BIGINT NOT NULL DEFAULT 0,
    chunks_done     BIGINT NOT NULL DEFAULT 0,
    duration_ms     BIGINT NOT NULL DEFAULT 0,   -- of the audio, once known
    progress_ms     BIGINT NOT NULL DEFAULT 0,   -- of the audio, done

    error_class     TEXT,                        -- last failure; see ERR_CLASSES
    error_message   TEXT
);
-- The order of claims; it holds nothing but what waits. The constant column lets planners prefer it.
CREATE INDEX jobs_pending ON jobs (state, queue_rank, created_at, id, run_after, deaths) WHERE state = 'pending';
CREATE INDEX jobs_unannounced ON jobs (state, run_after, id) WHERE state = 'pending' AND announced_at IS NULL;
CREATE INDEX jobs_finished ON jobs (finished_at, id) WHERE finished_at IS NOT NULL;
CREATE INDEX jobs_audio ON jobs (finished_at, id) WHERE finished_at IS NOT NULL AND audio_gone_at IS NULL;
CREATE INDEX jobs_created ON jobs (created_at, id);
CREATE INDEX jobs_state_created ON jobs (state, created_at, id);

-- Checkpoints: one row per finished chunk of the job's current plan.
CREATE TABLE chunks (
    job_id          TEXT NOT NULL REFERENCES jobs (id) ON DELETE CASCADE,
    idx             BIGINT NOT NULL,             -- from 0
    start_sample    BIGINT NOT NULL,             -- 16 kHz mono
    end_sample      BIGINT NOT NULL,
    fence           BIGINT NOT NULL,             -- the claim that saved it
    result          TEXT NOT NULL,               -- segments, JSON
    engine_state    TEXT,                        -- for engines that need the previous text
    engine_ms       BIGINT NOT NULL,             -- time the engine took
    finished_at     BIGINT NOT NULL,
    PRIMARY KEY (job_id, idx)
);

-- One row per completed job. The whole transcript is an object in storage; `text` is here for lists and simple clients.
CREATE TABLE results (
    job_id          TEXT PRIMARY KEY REFERENCES jobs (id) ON DELETE CASCADE,
    fence           BIGINT NOT NULL,
    result_key      TEXT NOT NULL,               -- results/{job_id}/{fence}/transcription.json
    text            TEXT NOT NULL,
    language        TEXT,
    engine          TEXT NOT NULL,
    model           TEXT NOT NULL,
    duration_ms     BIGINT NOT NULL,
    speech_ms       BIGINT NOT NULL,             -- detected speech
    covered_ms      BIGINT NOT NULL,             -- of it, transcribed
    word_count      BIGINT NOT NULL,
    confidence      DOUBLE PRECISION,            -- mean word probability, NULL when the engine gives none
    processing_ms   BIGINT NOT NULL,             -- from the claim that completed it to the end
    created_at      BIGINT NOT NULL
);

-- Every failure, kept for people; an unresolved one with dead = 1 is a dead letter.
CREATE TABLE error_logs (
    id              TEXT PRIMARY KEY,            -- UUIDv7
    job_id          TEXT NOT NULL REFERENCES jobs (id) ON DELETE CASCADE,
    error_class     TEXT NOT NULL,
    message         TEXT NOT NULL,
    stage           TEXT NOT NULL,               -- where in the pipeline
    detail          TEXT,                        -- what the decoder or the engine printed
    worker          TEXT,
    attempt         BIGINT NOT NULL,             -- of the job, when it happened
    dead            BIGINT NOT NULL,             -- 1: the job failed with it; 0: it was retried
    resolved        BIGINT NOT NULL DEFAULT 0,
    resolved_at     BIGINT,
    created_at      BIGINT NOT NULL
);
CREATE INDEX error_logs_created ON error_logs (created_at, id);
CREATE INDEX error_logs_job ON error_logs (job_id, created_at, id);
CREATE INDEX error_logs_open ON error_logs (created_at, id) WHERE dead = 1 AND resolved = 0;

-- Objects put into storage by clients themselves (presigned): key we issued, used once, pinned at submit.
CREATE TABLE uploads (
    id              TEXT PRIMARY KEY,
    object_key      TEXT NOT NULL UNIQUE,
    filename        TEXT NOT NULL,
    content_type    TEXT,
    size            BIGINT,
    etag            TEXT,
    job_id          TEXT,
    created_at      BIGINT NOT NULL,
    expires_at      BIGINT NOT NULL,
    used_at         BIGINT
);
CREATE INDEX uploads_expires ON uploads (expires_at);
CREATE INDEX uploads_job ON uploads (job_id);

-- Heartbeats: what the API shows of workers comes from here.
CREATE TABLE workers (
    id              TEXT PRIMARY KEY,
    host            TEXT NOT NULL,
    pid             BIGINT NOT NULL,
    version         TEXT NOT NULL,
    state           TEXT NOT NULL,               -- running draining
    started_at      BIGINT NOT NULL,
    heartbeat_at    BIGINT NOT NULL,
    running         BIGINT NOT NULL,             -- jobs in work
    info            TEXT NOT NULL                -- engine, models, counters; JSON
);
