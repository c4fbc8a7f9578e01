PRAGMA foreign_keys=OFF;
BEGIN TRANSACTION;
CREATE TABLE schema_migrations (version BIGINT PRIMARY KEY, name TEXT NOT NULL, checksum TEXT NOT NULL, applied_at BIGINT NOT NULL);
INSERT INTO schema_migrations VALUES(1,'initial','2923c95e76893d36ef10b6af0a40c99f2388611159724d5cad0a6f42ac836ff1',1795383292718);
CREATE TABLE jobs (
    id              TEXT PRIMARY KEY,
    state           TEXT NOT NULL,
    queue           TEXT NOT NULL,
    queue_rank      BIGINT NOT NULL,
    created_at      BIGINT NOT NULL,
    updated_at      BIGINT NOT NULL,
    started_at      BIGINT,
    finished_at     BIGINT,
    run_after       BIGINT NOT NULL,
    announced_at    BIGINT,
    engine          TEXT,
    model           TEXT,
    language        TEXT,
    task            TEXT NOT NULL,
    prompt          TEXT,
    description     TEXT,
    options         TEXT,
    filename        TEXT NOT NULL,
    content_type    TEXT,
    audio_key       TEXT NOT NULL,
    audio_gone_at   BIGINT,
    audio_bytes     BIGINT NOT NULL,
    audio_sha256    TEXT NOT NULL,
    attempt         BIGINT NOT NULL DEFAULT 0,
    max_attempts    BIGINT NOT NULL,
    deaths          BIGINT NOT NULL DEFAULT 0,
    checkpointed    BIGINT NOT NULL DEFAULT 0,
    fence           BIGINT NOT NULL DEFAULT 0,
    lease_holder    TEXT,
    lease_until     BIGINT,
    seq             BIGINT NOT NULL DEFAULT 1,
    plan            TEXT,
    chunks_total    BIGINT NOT NULL DEFAULT 0,
    chunks_done     BIGINT NOT NULL DEFAULT 0,
    duration_ms     BIGINT NOT NULL DEFAULT 0,
    progress_ms     BIGINT NOT NULL DEFAULT 0,
    error_class     TEXT,
    error_message   TEXT
);
INSERT INTO jobs VALUES('01a2052e-f342-7ff5-b202-cbd5f25d7b45','cancelled','normal',1,1795383292742,1795383292748,NULL,1795383292748,1795383292742,1795383292745,NULL,NULL,NULL,'transcribe',NULL,NULL,NULL,'cancelled.wav',NULL,'uploads/01a2052e-f342-7ff5-b202-cbd5f25d7b45/cancelled.wav',NULL,112,'d0940b8f49eabe4a54190274ce306b7d33affba27ecaeef383c0191804f4f823',0,5,0,0,0,NULL,NULL,2,NULL,0,0,0,0,NULL,NULL);
INSERT INTO jobs VALUES('01a2052e-f356-71c0-8b7b-8399b4be4146','completed','normal',1,1795383292759,1795383292796,1795383292785,1795383292796,1795383292759,1795383292765,NULL,NULL,NULL,'transcribe',NULL,'über',NULL,'completed.wav',NULL,'uploads/01a2052e-f356-71c0-8b7b-8399b4be4146/completed.wav',NULL,112,'d0940b8f49eabe4a54190274ce306b7d33affba27ecaeef383c0191804f4f823',1,5,0,1,1,'01a2052e-f370-7f0e-9eba-b4e615a5a5e2',NULL,5,'{"version":1,"sha256":"d0940b8f49eabe4a54190274ce306b7d33affba27ecaeef383c0191804f4f823","engine":"null","model":"null","language":null,"task":"transcribe","prompt":null,"total":0,"damaged":false,"chunks":[[0,0,0]]}',1,1,0,0,NULL,NULL);
INSERT INTO jobs VALUES('01a2052e-f3a9-7700-8431-fade1ece7141','failed','normal',1,1795383292844,1795383293141,1795383292870,1795383293141,1795383292844,1795383292845,NULL,NULL,NULL,'transcribe',NULL,NULL,NULL,'failed.wav',NULL,'uploads/01a2052e-f3a9-7700-8431-fade1ece7141/failed.wav',NULL,112,'d0940b8f49eabe4a54190274ce306b7d33affba27ecaeef383c0191804f4f823',1,5,0,0,1,'01a2052e-f3c5-7e6b-9132-951f80c1e516',NULL,3,NULL,0,0,0,0,'corrupt','not a recording that ffmpeg can read: no ''fmt '' or ''XMA2'' tag found');
INSERT INTO jobs VALUES('01a2052e-f511-72f7-b5ba-145428d10b72','processing','normal',1,1795383293203,1795383294601,1795383293226,NULL,1795383293203,1795383293203,NULL,NULL,NULL,'transcribe',NULL,NULL,NULL,'processing.ogg',NULL,'uploads/01a2052e-f511-72f7-b5ba-145428d10b72/processing.ogg',NULL,32846,'426415162459f7c6799bae6c16472e6aeb35cd7b6173aa286171dd4d07d449ee',1,5,0,1,1,'01a2052e-f529-71b0-8e65-1479a9aca117',1795383323729,4,'{"version":1,"sha256":"426415162459f7c6799bae6c16472e6aeb35cd7b6173aa286171dd4d07d449ee","engine":"pocketsphinx","model":"en-us","language":null,"task":"transcribe","prompt":null,"total":986480,"damaged":false,"chunks":[[224320,248320,24000],[469440,502720,33280],[724160,765280,41120]]}',3,1,61655,15037,NULL,NULL);
INSERT INTO jobs VALUES('01a2052e-faa4-700d-b5f4-850658f0d0f6','pending','high',0,1795383294629,1795383294629,NULL,NULL,1795383294629,1795383294630,NULL,NULL,NULL,'transcribe',NULL,NULL,NULL,'pending.wav',NULL,'uploads/01a2052e-faa4-700d-b5f4-850658f0d0f6/pending.wav',NULL,112,'d0940b8f49eabe4a54190274ce306b7d33affba27ecaeef383c0191804f4f823',0,5,0,0,0,NULL,NULL,1,NULL,0,0,0,0,NULL,NULL);
CREATE TABLE chunks (
    job_id          TEXT NOT NULL REFERENCES jobs (id) ON DELETE CASCADE,
    idx             BIGINT NOT NULL,
    start_sample    BIGINT NOT NULL,
    end_sample      BIGINT NOT NULL,
    fence           BIGINT NOT NULL,
    result          TEXT NOT NULL,
    engine_state    TEXT,
    engine_ms       BIGINT NOT NULL,
    finished_at     BIGINT NOT NULL,
    PRIMARY KEY (job_id, idx)
);
INSERT INTO chunks VALUES('01a2052e-f356-71c0-8b7b-8399b4be4146',0,0,0,1,'{"language":null,"segments":[{"id":0,"seek":0,"start":0.000,"end":0.000,"text":"null engine: no transcription was made","tokens":[],"temperature":0.000000,"avg_logprob":0.000000,"compression_ratio":0.000000,"no_speech_prob":0.000000,"has_stats":false,"suspect":null,"words":[]}]}',NULL,0,1795383292788);
INSERT INTO chunks VALUES('01a2052e-f511-72f7-b5ba-145428d10b72',0,224320,248320,1,'{"language":"en","segments":[{"id":0,"seek":1420,"start":14.200,"end":15.140,"text":"good morning","tokens":[],"temperature":0.000000,"avg_logprob":0.000000,"compression_ratio":0.000000,"no_speech_prob":0.000000,"has_stats":false,"suspect":null,"words":[{"word":"good","start":14.200,"end":14.530,"probability":0.960977},{"word":"morning","start":14.530,"end":15.140,"probability":1.000000}]}]}',NULL,1123,1795383294601);
CREATE TABLE results (
    job_id          TEXT PRIMARY KEY REFERENCES jobs (id) ON DELETE CASCADE,
    fence           BIGINT NOT NULL,
    result_key      TEXT NOT NULL,
    text            TEXT NOT NULL,
    language        TEXT,
    engine          TEXT NOT NULL,
    model           TEXT NOT NULL,
    duration_ms     BIGINT NOT NULL,
    speech_ms       BIGINT NOT NULL,
    covered_ms      BIGINT NOT NULL,
    word_count      BIGINT NOT NULL,
    confidence      DOUBLE PRECISION,
    processing_ms   BIGINT NOT NULL,
    created_at      BIGINT NOT NULL
);
INSERT INTO results VALUES('01a2052e-f356-71c0-8b7b-8399b4be4146',1,'results/01a2052e-f356-71c0-8b7b-8399b4be4146/1/transcription.json','null engine: no transcription was made',NULL,'null','null',0,0,0,6,NULL,11,1795383292796);
CREATE TABLE error_logs (
    id              TEXT PRIMARY KEY,
    job_id          TEXT NOT NULL REFERENCES jobs (id) ON DELETE CASCADE,
    error_class     TEXT NOT NULL,
    message         TEXT NOT NULL,
    stage           TEXT NOT NULL,
    detail          TEXT,
    worker          TEXT,
    attempt         BIGINT NOT NULL,
    dead            BIGINT NOT NULL,
    resolved        BIGINT NOT NULL DEFAULT 0,
    resolved_at     BIGINT,
    created_at      BIGINT NOT NULL
);
INSERT INTO error_logs VALUES('01a2052e-f4d6-7835-a320-c1f76f11c4de','01a2052e-f3a9-7700-8431-fade1ece7141','corrupt','not a recording that ffmpeg can read: no ''fmt '' or ''XMA2'' tag found','decode',replace('[wav @ 0x55e17bc7e900] [error] no ''fmt '' or ''XMA2'' tag found\n[error] file:/proc/self/fd/3: Invalid data found when processing input\n','\n',char(10)),'01a2052e-f3c5-7e6b-9132-951f80c1e516',1,1,0,NULL,1795383293141);
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
CREATE TABLE workers (
    id              TEXT PRIMARY KEY,
    host            TEXT NOT NULL,
    pid             BIGINT NOT NULL,
    version         TEXT NOT NULL,
    state           TEXT NOT NULL,
    started_at      BIGINT NOT NULL,
    heartbeat_at    BIGINT NOT NULL,
    running         BIGINT NOT NULL,
    info            TEXT NOT NULL
);
INSERT INTO workers VALUES('01a2052e-f529-71b0-8e65-1479a9aca117','vm',23237,'0.1.0','running',1795383293225,1795383293227,0,'{"engines":{"pocketsphinx":"en-us"},"default_engine":"pocketsphinx","slots":1,"concurrency":4,"completed":0,"failed":0,"retried":0,"handed_back":0,"lost":0,"audio_ms":0}');
CREATE INDEX jobs_pending ON jobs (state, queue_rank, created_at, id, run_after, deaths) WHERE state = 'pending'
;
CREATE INDEX jobs_unannounced ON jobs (state, run_after, id) WHERE state = 'pending' AND announced_at IS NULL
;
CREATE INDEX jobs_finished ON jobs (finished_at, id) WHERE finished_at IS NOT NULL
;
CREATE INDEX jobs_audio ON jobs (finished_at, id) WHERE finished_at IS NOT NULL AND audio_gone_at IS NULL
;
CREATE INDEX jobs_created ON jobs (created_at, id)
;
CREATE INDEX jobs_state_created ON jobs (state, created_at, id)
;
CREATE INDEX error_logs_created ON error_logs (created_at, id)
;
CREATE INDEX error_logs_job ON error_logs (job_id, created_at, id)
;
CREATE INDEX error_logs_open ON error_logs (created_at, id) WHERE dead = 1 AND resolved = 0
;
CREATE INDEX uploads_expires ON uploads (expires_at)
;
CREATE INDEX uploads_job ON uploads (job_id)
;
COMMIT;
