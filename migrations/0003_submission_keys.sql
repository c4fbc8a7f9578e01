-- Submissions that clients may repeat: the key a client sent, and what came of it (src/job/store_keys.c).
CREATE TABLE submission_keys (
    scope           TEXT NOT NULL,               -- the route it was sent to
    name            TEXT NOT NULL,               -- as the client sent it
    holder          TEXT NOT NULL,               -- the request that claimed it last
    lease_until     BIGINT NOT NULL,             -- without a job: the claim counts until then
    expires_at      BIGINT NOT NULL,             -- the key is forgotten then
    fingerprint     TEXT,                        -- of recording and options; NULL: no job yet
    job_id          TEXT REFERENCES jobs (id) ON DELETE CASCADE,
    status          BIGINT,                      -- of the answer; NULL: it is not kept
    content_type    TEXT,
    headers         TEXT,                        -- lines of "Name: value"
    body            TEXT,
    PRIMARY KEY (scope, name)
);
CREATE INDEX submission_keys_job ON submission_keys (job_id);
CREATE INDEX submission_keys_expires ON submission_keys (expires_at);
