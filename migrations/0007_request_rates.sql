-- Limits of requests that all workers share (src/job/store_rate.c).
CREATE TABLE request_rates (
    name            TEXT PRIMARY KEY,            -- the remote engine
    next_at         BIGINT NOT NULL              -- state of its token bucket: src/base/rate.h
);
