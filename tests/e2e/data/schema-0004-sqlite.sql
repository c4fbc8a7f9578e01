PRAGMA foreign_keys=OFF;
BEGIN TRANSACTION;
CREATE TABLE schema_migrations (version BIGINT PRIMARY KEY, name TEXT NOT NULL, checksum TEXT NOT NULL, applied_at BIGINT NOT NULL);
INSERT INTO schema_migrations VALUES(1,'initial','2923c95e76893d36ef10b6af0a40c99f2388611159724d5cad0a6f42ac836ff1',1795383238220);
INSERT INTO schema_migrations VALUES(2,'result_summary','24b84cf19490afe0d2e72f1acc59d5861c70f373f6f3b1ccc4cea2256eef2042',1795383238221);
INSERT INTO schema_migrations VALUES(3,'submission_keys','db7fb5474b664bcecdd0dc0a28f085b20e0f02ce189781733dc0765173675448',1795383238222);
INSERT INTO schema_migrations VALUES(4,'chunk_numbers','c3311fd4a917e0f69ba7767a83d90155db346e199d050bf9161102fbeb61477d',1795383238223);
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
INSERT INTO jobs VALUES('01a2052e-1e6f-7b76-8377-4e8db4ec1278','cancelled','normal',1,1795383238257,1795383238262,NULL,1795383238262,1795383238257,1795383238257,NULL,NULL,NULL,'transcribe',NULL,NULL,NULL,'cancelled.wav',NULL,'uploads/01a2052e-1e6f-7b76-8377-4e8db4ec1278/cancelled.wav',NULL,112,'d0940b8f49eabe4a54190274ce306b7d33affba27ecaeef383c0191804f4f823',0,5,0,0,0,NULL,NULL,2,NULL,0,0,0,0,NULL,NULL);
INSERT INTO jobs VALUES('01a2052e-1e80-7267-b671-a301ca68ec5d','completed','normal',1,1795383238273,1795383238325,1795383238320,1795383238325,1795383238273,1795383238273,NULL,NULL,NULL,'transcribe',NULL,'über',NULL,'completed.wav',NULL,'uploads/01a2052e-1e80-7267-b671-a301ca68ec5d/completed.wav',NULL,112,'d0940b8f49eabe4a54190274ce306b7d33affba27ecaeef383c0191804f4f823',1,5,0,1,1,'01a2052e-1ea3-702c-9ead-124bf10a5a1d',NULL,4,'{"version":2,"sha256":"d0940b8f49eabe4a54190274ce306b7d33affba27ecaeef383c0191804f4f823","engine":"null","model":"null","language":null,"task":"transcribe","prompt":null,"options":"{\"word_timestamps\":false,\"language_per_chunk\":false,\"beam_size\":5}","heard":null,"probability":0,"total":0,"damaged":false,"chunks":[[0,0]]}',1,1,0,0,NULL,NULL);
INSERT INTO jobs VALUES('01a2052e-1ef1-7f57-a3fe-c9aae68bfb43','failed','normal',1,1795383238385,1795383238621,1795383238430,1795383238621,1795383238385,1795383238385,NULL,NULL,NULL,'transcribe',NULL,NULL,NULL,'failed.wav',NULL,'uploads/01a2052e-1ef1-7f57-a3fe-c9aae68bfb43/failed.wav',NULL,112,'d0940b8f49eabe4a54190274ce306b7d33affba27ecaeef383c0191804f4f823',1,5,0,0,1,'01a2052e-1f1c-7165-90ad-081593c19696',NULL,3,NULL,0,0,0,0,'corrupt','not a recording that ffmpeg can read: no ''fmt '' or ''XMA2'' tag found');
INSERT INTO jobs VALUES('01a2052e-201d-7b94-aff4-c73d9a511731','processing','normal',1,1795383238685,1795383240671,1795383238710,NULL,1795383238685,1795383238685,NULL,NULL,NULL,'transcribe',NULL,NULL,NULL,'processing.ogg',NULL,'uploads/01a2052e-201d-7b94-aff4-c73d9a511731/processing.ogg',NULL,32846,'426415162459f7c6799bae6c16472e6aeb35cd7b6173aa286171dd4d07d449ee',1,5,0,1,1,'01a2052e-2035-7d13-b137-b5b4253f6531',1795383268711,5,'{"version":2,"sha256":"426415162459f7c6799bae6c16472e6aeb35cd7b6173aa286171dd4d07d449ee","engine":"pocketsphinx","model":"en-us","language":null,"task":"transcribe","prompt":null,"options":"{\"word_timestamps\":false,\"language_per_chunk\":false,\"beam_size\":5}","heard":null,"probability":0,"total":986480,"damaged":false,"chunks":[[224320,248320,224320,248320],[469440,502720,469440,502720],[724160,765280,724160,765280]]}',3,2,61655,35890,NULL,NULL);
INSERT INTO jobs VALUES('01a2052e-2813-7fff-b63c-430bd6ea68ef','pending','high',0,1795383240723,1795383240723,NULL,NULL,1795383240723,1795383240723,NULL,NULL,NULL,'transcribe',NULL,NULL,NULL,'pending.wav',NULL,'uploads/01a2052e-2813-7fff-b63c-430bd6ea68ef/pending.wav',NULL,112,'d0940b8f49eabe4a54190274ce306b7d33affba27ecaeef383c0191804f4f823',0,5,0,0,0,NULL,NULL,1,NULL,0,0,0,0,NULL,NULL);
CREATE TABLE chunks (
    job_id          TEXT NOT NULL REFERENCES jobs (id) ON DELETE CASCADE,
    idx             BIGINT NOT NULL,
    start_sample    BIGINT NOT NULL,
    end_sample      BIGINT NOT NULL,
    fence           BIGINT NOT NULL,
    result          TEXT NOT NULL,
    engine_state    TEXT,
    engine_ms       BIGINT NOT NULL,
    finished_at     BIGINT NOT NULL, seq BIGINT NOT NULL DEFAULT 0,
    PRIMARY KEY (job_id, idx)
);
INSERT INTO chunks VALUES('01a2052e-1e80-7267-b671-a301ca68ec5d',0,0,0,1,'{"language":null,"language_probability":null,"warning":null,"segments":[{"id":0,"seek":0,"start":0.000,"end":0.000,"text":"null engine: no transcription was made","tokens":[],"temperature":0.000000,"avg_logprob":0.000000,"compression_ratio":0.000000,"no_speech_prob":0.000000,"has_stats":false,"suspect":null,"words":[]}]}',NULL,0,1795383238325,3);
INSERT INTO chunks VALUES('01a2052e-201d-7b94-aff4-c73d9a511731',0,224320,248320,1,'{"language":"en","language_probability":null,"warning":null,"segments":[{"id":0,"seek":1420,"start":14.200,"end":15.140,"text":"good morning","tokens":[],"temperature":0.000000,"avg_logprob":0.000000,"compression_ratio":0.000000,"no_speech_prob":0.000000,"has_stats":false,"suspect":null,"words":[{"word":"good","start":14.200,"end":14.530,"probability":0.960977},{"word":"morning","start":14.530,"end":15.140,"probability":1.000000}]}]}',NULL,1023,1795383239898,4);
INSERT INTO chunks VALUES('01a2052e-201d-7b94-aff4-c73d9a511731',1,469440,502720,1,'{"language":"en","language_probability":null,"warning":null,"segments":[{"id":0,"seek":2951,"start":29.510,"end":31.010,"text":"police open the window","tokens":[],"temperature":0.000000,"avg_logprob":0.000000,"compression_ratio":0.000000,"no_speech_prob":0.000000,"has_stats":false,"suspect":null,"words":[{"word":"police","start":29.510,"end":29.970,"probability":0.051667},{"word":"open","start":29.970,"end":30.400,"probability":0.108386},{"word":"the","start":30.400,"end":30.510,"probability":0.900404},{"word":"window","start":30.510,"end":31.010,"probability":0.902297}]}]}',NULL,773,1795383240671,5);
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
, language_probability DOUBLE PRECISION, warning TEXT);
INSERT INTO results VALUES('01a2052e-1e80-7267-b671-a301ca68ec5d',1,'results/01a2052e-1e80-7267-b671-a301ca68ec5d/1/transcription.json','null engine: no transcription was made',NULL,'null','null',0,0,0,6,NULL,5,1795383238325,NULL,NULL);
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
INSERT INTO error_logs VALUES('01a2052e-1fde-7780-abd6-ac4e4c38f026','01a2052e-1ef1-7f57-a3fe-c9aae68bfb43','corrupt','not a recording that ffmpeg can read: no ''fmt '' or ''XMA2'' tag found','decode',replace('[wav @ 0x558a181cd900] [error] no ''fmt '' or ''XMA2'' tag found\n[error] file:/proc/self/fd/3: Invalid data found when processing input\n','\n',char(10)),'01a2052e-1f1c-7165-90ad-081593c19696',1,1,0,NULL,1795383238621);
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
INSERT INTO workers VALUES('01a2052e-2035-7d13-b137-b5b4253f6531','vm',21359,'0.1.0','running',1795383238709,1795383238711,1,'{"engines":{"pocketsphinx":"en-us"},"models":[{"name":"en-us","engine":"pocketsphinx","bytes":0,"parameters":0,"created":1795325580,"multilingual":false,"can_translate":false,"loaded":false,"default":true}],"model_pool":{},"default_engine":"pocketsphinx","slots":1,"concurrency":4,"completed":0,"failed":0,"retried":0,"handed_back":0,"lost":0,"audio_ms":0}');
CREATE TABLE submission_keys (
    scope           TEXT NOT NULL,
    name            TEXT NOT NULL,
    holder          TEXT NOT NULL,
    lease_until     BIGINT NOT NULL,
    expires_at      BIGINT NOT NULL,
    fingerprint     TEXT,
    job_id          TEXT REFERENCES jobs (id) ON DELETE CASCADE,
    status          BIGINT,
    content_type    TEXT,
    headers         TEXT,
    body            TEXT,
    PRIMARY KEY (scope, name)
);
INSERT INTO submission_keys VALUES('/v1/jobs','once','01a2052e-1e80-725d-99db-625ee6975714',1795383268272,1795469638272,'84b79bd246d871a6ca492ba713dd2941ee6922bd968aa902d187788639d0063f','01a2052e-1e80-7267-b671-a301ca68ec5d',202,'application/json; charset=utf-8',replace('Location: /v1/jobs/01a2052e-1e80-7267-b671-a301ca68ec5d\nRetry-After: 2\n','\n',char(10)),replace('{"id":"01a2052e-1e80-7267-b671-a301ca68ec5d","status":"pending","queue":"normal","created_at":"2026-11-22T21:33:58.273Z","updated_at":"2026-11-22T21:33:58.273Z","started_at":null,"finished_at":null,"filename":"completed.wav","content_type":null,"size":112,"sha256":"d0940b8f49eabe4a54190274ce306b7d33affba27ecaeef383c0191804f4f823","engine":null,"model":null,"language":null,"task":"transcribe","prompt":null,"description":"über","options":{},"attempt":0,"max_attempts":5,"progress":{"done_ms":0,"total_ms":0,"percent":0,"chunks_done":0,"chunks_total":0},"error":null,"links":{"self":"/v1/jobs/01a2052e-1e80-7267-b671-a301ca68ec5d","transcript":"/v1/jobs/01a2052e-1e80-7267-b671-a301ca68ec5d/transcript","events":"/v1/jobs/01a2052e-1e80-7267-b671-a301ca68ec5d/events","ws":"/v1/jobs/01a2052e-1e80-7267-b671-a301ca68ec5d/ws"}}\n','\n',char(10)));
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
CREATE INDEX submission_keys_job ON submission_keys (job_id)
;
CREATE INDEX submission_keys_expires ON submission_keys (expires_at)
;
CREATE INDEX chunks_seq ON chunks (job_id, seq)
;
COMMIT;
