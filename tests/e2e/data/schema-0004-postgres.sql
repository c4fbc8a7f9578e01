CREATE SCHEMA steno;
CREATE TABLE steno.chunks (
    job_id text NOT NULL,
    idx bigint NOT NULL,
    start_sample bigint NOT NULL,
    end_sample bigint NOT NULL,
    fence bigint NOT NULL,
    result text NOT NULL,
    engine_state text,
    engine_ms bigint NOT NULL,
    finished_at bigint NOT NULL,
    seq bigint DEFAULT 0 NOT NULL
);
CREATE TABLE steno.error_logs (
    id text NOT NULL,
    job_id text NOT NULL,
    error_class text NOT NULL,
    message text NOT NULL,
    stage text NOT NULL,
    detail text,
    worker text,
    attempt bigint NOT NULL,
    dead bigint NOT NULL,
    resolved bigint DEFAULT 0 NOT NULL,
    resolved_at bigint,
    created_at bigint NOT NULL
);
CREATE TABLE steno.jobs (
    id text NOT NULL,
    state text NOT NULL,
    queue text NOT NULL,
    queue_rank bigint NOT NULL,
    created_at bigint NOT NULL,
    updated_at bigint NOT NULL,
    started_at bigint,
    finished_at bigint,
    run_after bigint NOT NULL,
    announced_at bigint,
    engine text,
    model text,
    language text,
    task text NOT NULL,
    prompt text,
    description text,
    options text,
    filename text NOT NULL,
    content_type text,
    audio_key text NOT NULL,
    audio_gone_at bigint,
    audio_bytes bigint NOT NULL,
    audio_sha256 text NOT NULL,
    attempt bigint DEFAULT 0 NOT NULL,
    max_attempts bigint NOT NULL,
    deaths bigint DEFAULT 0 NOT NULL,
    checkpointed bigint DEFAULT 0 NOT NULL,
    fence bigint DEFAULT 0 NOT NULL,
    lease_holder text,
    lease_until bigint,
    seq bigint DEFAULT 1 NOT NULL,
    plan text,
    chunks_total bigint DEFAULT 0 NOT NULL,
    chunks_done bigint DEFAULT 0 NOT NULL,
    duration_ms bigint DEFAULT 0 NOT NULL,
    progress_ms bigint DEFAULT 0 NOT NULL,
    error_class text,
    error_message text
);
CREATE TABLE steno.results (
    job_id text NOT NULL,
    fence bigint NOT NULL,
    result_key text NOT NULL,
    text text NOT NULL,
    language text,
    engine text NOT NULL,
    model text NOT NULL,
    duration_ms bigint NOT NULL,
    speech_ms bigint NOT NULL,
    covered_ms bigint NOT NULL,
    word_count bigint NOT NULL,
    confidence double precision,
    processing_ms bigint NOT NULL,
    created_at bigint NOT NULL,
    language_probability double precision,
    warning text
);
CREATE TABLE steno.schema_migrations (
    version bigint NOT NULL,
    name text NOT NULL,
    checksum text NOT NULL,
    applied_at bigint NOT NULL
);
CREATE TABLE steno.submission_keys (
    scope text NOT NULL,
    name text NOT NULL,
    holder text NOT NULL,
    lease_until bigint NOT NULL,
    expires_at bigint NOT NULL,
    fingerprint text,
    job_id text,
    status bigint,
    content_type text,
    headers text,
    body text
);
CREATE TABLE steno.uploads (
    id text NOT NULL,
    object_key text NOT NULL,
    filename text NOT NULL,
    content_type text,
    size bigint,
    etag text,
    job_id text,
    created_at bigint NOT NULL,
    expires_at bigint NOT NULL,
    used_at bigint
);
CREATE TABLE steno.workers (
    id text NOT NULL,
    host text NOT NULL,
    pid bigint NOT NULL,
    version text NOT NULL,
    state text NOT NULL,
    started_at bigint NOT NULL,
    heartbeat_at bigint NOT NULL,
    running bigint NOT NULL,
    info text NOT NULL
);
INSERT INTO steno.chunks VALUES ('01a2052e-8b64-77d5-afd1-2a82e8445405', 0, 0, 0, 1, '{"language":null,"language_probability":null,"warning":null,"segments":[{"id":0,"seek":0,"start":0.000,"end":0.000,"text":"null engine: no transcription was made","tokens":[],"temperature":0.000000,"avg_logprob":0.000000,"compression_ratio":0.000000,"no_speech_prob":0.000000,"has_stats":false,"suspect":null,"words":[]}]}', NULL, 0, 1795383266198, 3);
INSERT INTO steno.chunks VALUES ('01a2052e-8c9e-722a-a9da-6be5ae1997cc', 0, 224320, 248320, 1, '{"language":"en","language_probability":null,"warning":null,"segments":[{"id":0,"seek":1420,"start":14.200,"end":15.140,"text":"good morning","tokens":[],"temperature":0.000000,"avg_logprob":0.000000,"compression_ratio":0.000000,"no_speech_prob":0.000000,"has_stats":false,"suspect":null,"words":[{"word":"good","start":14.200,"end":14.530,"probability":0.960977},{"word":"morning","start":14.530,"end":15.140,"probability":1.000000}]}]}', NULL, 890, 1795383267546, 4);
INSERT INTO steno.chunks VALUES ('01a2052e-8c9e-722a-a9da-6be5ae1997cc', 1, 469440, 502720, 1, '{"language":"en","language_probability":null,"warning":null,"segments":[{"id":0,"seek":2951,"start":29.510,"end":31.010,"text":"police open the window","tokens":[],"temperature":0.000000,"avg_logprob":0.000000,"compression_ratio":0.000000,"no_speech_prob":0.000000,"has_stats":false,"suspect":null,"words":[{"word":"police","start":29.510,"end":29.970,"probability":0.051667},{"word":"open","start":29.970,"end":30.400,"probability":0.108386},{"word":"the","start":30.400,"end":30.510,"probability":0.900404},{"word":"window","start":30.510,"end":31.010,"probability":0.902297}]}]}', NULL, 975, 1795383268522, 5);
INSERT INTO steno.error_logs VALUES ('01a2052e-8c89-7f21-8edf-24fedaebeca8', '01a2052e-8bb6-7ee7-9db1-29211780d79d', 'corrupt', 'not a recording that ffmpeg can read: no ''fmt '' or ''XMA2'' tag found', 'decode', '[wav @ 0x558c226df900] [error] no ''fmt '' or ''XMA2'' tag found
[error] file:/proc/self/fd/3: Invalid data found when processing input
', '01a2052e-8bd7-7468-84eb-a33661924628', 1, 1, 0, NULL, 1795383266441);
INSERT INTO steno.jobs VALUES ('01a2052e-8b57-7e21-a6d0-8f9691073e1c', 'cancelled', 'normal', 1, 1795383266135, 1795383266142, NULL, 1795383266142, 1795383266135, 1795383266135, NULL, NULL, NULL, 'transcribe', NULL, NULL, NULL, 'cancelled.wav', NULL, 'uploads/01a2052e-8b57-7e21-a6d0-8f9691073e1c/cancelled.wav', NULL, 112, 'd0940b8f49eabe4a54190274ce306b7d33affba27ecaeef383c0191804f4f823', 0, 5, 0, 0, 0, NULL, NULL, 2, NULL, 0, 0, 0, 0, NULL, NULL);
INSERT INTO steno.jobs VALUES ('01a2052e-8c9e-722a-a9da-6be5ae1997cc', 'processing', 'normal', 1, 1795383266462, 1795383268522, 1795383266493, NULL, 1795383266462, 1795383266462, NULL, NULL, NULL, 'transcribe', NULL, NULL, NULL, 'processing.ogg', NULL, 'uploads/01a2052e-8c9e-722a-a9da-6be5ae1997cc/processing.ogg', NULL, 32846, '426415162459f7c6799bae6c16472e6aeb35cd7b6173aa286171dd4d07d449ee', 1, 5, 0, 1, 1, '01a2052e-8cbd-73bf-85aa-377e364a18a2', 1795383296495, 5, '{"version":2,"sha256":"426415162459f7c6799bae6c16472e6aeb35cd7b6173aa286171dd4d07d449ee","engine":"pocketsphinx","model":"en-us","language":null,"task":"transcribe","prompt":null,"options":"{\"word_timestamps\":false,\"language_per_chunk\":false,\"beam_size\":5}","heard":null,"probability":0,"total":986480,"damaged":false,"chunks":[[224320,248320,224320,248320],[469440,502720,469440,502720],[724160,765280,724160,765280]]}', 3, 2, 61655, 35890, NULL, NULL);
INSERT INTO steno.jobs VALUES ('01a2052e-8b64-77d5-afd1-2a82e8445405', 'completed', 'normal', 1, 1795383266150, 1795383266198, 1795383266189, 1795383266198, 1795383266150, 1795383266150, NULL, NULL, NULL, 'transcribe', NULL, 'über', NULL, 'completed.wav', NULL, 'uploads/01a2052e-8b64-77d5-afd1-2a82e8445405/completed.wav', NULL, 112, 'd0940b8f49eabe4a54190274ce306b7d33affba27ecaeef383c0191804f4f823', 1, 5, 0, 1, 1, '01a2052e-8b8b-71fb-ba09-44bd6444984f', NULL, 4, '{"version":2,"sha256":"d0940b8f49eabe4a54190274ce306b7d33affba27ecaeef383c0191804f4f823","engine":"null","model":"null","language":null,"task":"transcribe","prompt":null,"options":"{\"word_timestamps\":false,\"language_per_chunk\":false,\"beam_size\":5}","heard":null,"probability":0,"total":0,"damaged":false,"chunks":[[0,0]]}', 1, 1, 0, 0, NULL, NULL);
INSERT INTO steno.jobs VALUES ('01a2052e-94cf-7048-878d-37eed0adf663', 'pending', 'high', 0, 1795383268560, 1795383268560, NULL, NULL, 1795383268560, 1795383268560, NULL, NULL, NULL, 'transcribe', NULL, NULL, NULL, 'pending.wav', NULL, 'uploads/01a2052e-94cf-7048-878d-37eed0adf663/pending.wav', NULL, 112, 'd0940b8f49eabe4a54190274ce306b7d33affba27ecaeef383c0191804f4f823', 0, 5, 0, 0, 0, NULL, NULL, 1, NULL, 0, 0, 0, 0, NULL, NULL);
INSERT INTO steno.jobs VALUES ('01a2052e-8bb6-7ee7-9db1-29211780d79d', 'failed', 'normal', 1, 1795383266230, 1795383266441, 1795383266265, 1795383266441, 1795383266230, 1795383266230, NULL, NULL, NULL, 'transcribe', NULL, NULL, NULL, 'failed.wav', NULL, 'uploads/01a2052e-8bb6-7ee7-9db1-29211780d79d/failed.wav', NULL, 112, 'd0940b8f49eabe4a54190274ce306b7d33affba27ecaeef383c0191804f4f823', 1, 5, 0, 0, 1, '01a2052e-8bd7-7468-84eb-a33661924628', NULL, 3, NULL, 0, 0, 0, 0, 'corrupt', 'not a recording that ffmpeg can read: no ''fmt '' or ''XMA2'' tag found');
INSERT INTO steno.results VALUES ('01a2052e-8b64-77d5-afd1-2a82e8445405', 1, 'results/01a2052e-8b64-77d5-afd1-2a82e8445405/1/transcription.json', 'null engine: no transcription was made', NULL, 'null', 'null', 0, 0, 0, 6, NULL, 9, 1795383266198, NULL, NULL);
INSERT INTO steno.schema_migrations VALUES (1, 'initial', '2923c95e76893d36ef10b6af0a40c99f2388611159724d5cad0a6f42ac836ff1', 1795383266121);
INSERT INTO steno.schema_migrations VALUES (2, 'result_summary', '24b84cf19490afe0d2e72f1acc59d5861c70f373f6f3b1ccc4cea2256eef2042', 1795383266122);
INSERT INTO steno.schema_migrations VALUES (3, 'submission_keys', 'db7fb5474b664bcecdd0dc0a28f085b20e0f02ce189781733dc0765173675448', 1795383266123);
INSERT INTO steno.schema_migrations VALUES (4, 'chunk_numbers', 'c3311fd4a917e0f69ba7767a83d90155db346e199d050bf9161102fbeb61477d', 1795383266124);
INSERT INTO steno.submission_keys VALUES ('/v1/jobs', 'once', '01a2052e-8b64-70d4-b04d-eb8084893749', 1795383296148, 1795469666148, '84b79bd246d871a6ca492ba713dd2941ee6922bd968aa902d187788639d0063f', '01a2052e-8b64-77d5-afd1-2a82e8445405', 202, 'application/json; charset=utf-8', 'Location: /v1/jobs/01a2052e-8b64-77d5-afd1-2a82e8445405
Retry-After: 2
', '{"id":"01a2052e-8b64-77d5-afd1-2a82e8445405","status":"pending","queue":"normal","created_at":"2026-11-22T21:34:26.150Z","updated_at":"2026-11-22T21:34:26.150Z","started_at":null,"finished_at":null,"filename":"completed.wav","content_type":null,"size":112,"sha256":"d0940b8f49eabe4a54190274ce306b7d33affba27ecaeef383c0191804f4f823","engine":null,"model":null,"language":null,"task":"transcribe","prompt":null,"description":"über","options":{},"attempt":0,"max_attempts":5,"progress":{"done_ms":0,"total_ms":0,"percent":0,"chunks_done":0,"chunks_total":0},"error":null,"links":{"self":"/v1/jobs/01a2052e-8b64-77d5-afd1-2a82e8445405","transcript":"/v1/jobs/01a2052e-8b64-77d5-afd1-2a82e8445405/transcript","events":"/v1/jobs/01a2052e-8b64-77d5-afd1-2a82e8445405/events","ws":"/v1/jobs/01a2052e-8b64-77d5-afd1-2a82e8445405/ws"}}
');
INSERT INTO steno.workers VALUES ('01a2052e-8cbd-73bf-85aa-377e364a18a2', 'vm', 22249, '0.1.0', 'running', 1795383266493, 1795383266499, 1, '{"engines":{"pocketsphinx":"en-us"},"models":[{"name":"en-us","engine":"pocketsphinx","bytes":0,"parameters":0,"created":1795325580,"multilingual":false,"can_translate":false,"loaded":false,"default":true}],"model_pool":{},"default_engine":"pocketsphinx","slots":1,"concurrency":4,"completed":0,"failed":0,"retried":0,"handed_back":0,"lost":0,"audio_ms":0}');
ALTER TABLE ONLY steno.chunks
    ADD CONSTRAINT chunks_pkey PRIMARY KEY (job_id, idx);
ALTER TABLE ONLY steno.error_logs
    ADD CONSTRAINT error_logs_pkey PRIMARY KEY (id);
ALTER TABLE ONLY steno.jobs
    ADD CONSTRAINT jobs_pkey PRIMARY KEY (id);
ALTER TABLE ONLY steno.results
    ADD CONSTRAINT results_pkey PRIMARY KEY (job_id);
ALTER TABLE ONLY steno.schema_migrations
    ADD CONSTRAINT schema_migrations_pkey PRIMARY KEY (version);
ALTER TABLE ONLY steno.submission_keys
    ADD CONSTRAINT submission_keys_pkey PRIMARY KEY (scope, name);
ALTER TABLE ONLY steno.uploads
    ADD CONSTRAINT uploads_object_key_key UNIQUE (object_key);
ALTER TABLE ONLY steno.uploads
    ADD CONSTRAINT uploads_pkey PRIMARY KEY (id);
ALTER TABLE ONLY steno.workers
    ADD CONSTRAINT workers_pkey PRIMARY KEY (id);
CREATE INDEX chunks_seq ON steno.chunks USING btree (job_id, seq);
CREATE INDEX error_logs_created ON steno.error_logs USING btree (created_at, id);
CREATE INDEX error_logs_job ON steno.error_logs USING btree (job_id, created_at, id);
CREATE INDEX error_logs_open ON steno.error_logs USING btree (created_at, id) WHERE ((dead = 1) AND (resolved = 0));
CREATE INDEX jobs_audio ON steno.jobs USING btree (finished_at, id) WHERE ((finished_at IS NOT NULL) AND (audio_gone_at IS NULL));
CREATE INDEX jobs_created ON steno.jobs USING btree (created_at, id);
CREATE INDEX jobs_finished ON steno.jobs USING btree (finished_at, id) WHERE (finished_at IS NOT NULL);
CREATE INDEX jobs_pending ON steno.jobs USING btree (state, queue_rank, created_at, id, run_after, deaths) WHERE (state = 'pending'::text);
CREATE INDEX jobs_state_created ON steno.jobs USING btree (state, created_at, id);
CREATE INDEX jobs_unannounced ON steno.jobs USING btree (state, run_after, id) WHERE ((state = 'pending'::text) AND (announced_at IS NULL));
CREATE INDEX submission_keys_expires ON steno.submission_keys USING btree (expires_at);
CREATE INDEX submission_keys_job ON steno.submission_keys USING btree (job_id);
CREATE INDEX uploads_expires ON steno.uploads USING btree (expires_at);
CREATE INDEX uploads_job ON steno.uploads USING btree (job_id);
ALTER TABLE ONLY steno.chunks
    ADD CONSTRAINT chunks_job_id_fkey FOREIGN KEY (job_id) REFERENCES steno.jobs(id) ON DELETE CASCADE;
ALTER TABLE ONLY steno.error_logs
    ADD CONSTRAINT error_logs_job_id_fkey FOREIGN KEY (job_id) REFERENCES steno.jobs(id) ON DELETE CASCADE;
ALTER TABLE ONLY steno.results
    ADD CONSTRAINT results_job_id_fkey FOREIGN KEY (job_id) REFERENCES steno.jobs(id) ON DELETE CASCADE;
ALTER TABLE ONLY steno.submission_keys
    ADD CONSTRAINT submission_keys_job_id_fkey FOREIGN KEY (job_id) REFERENCES steno.jobs(id) ON DELETE CASCADE;
