/* SPDX-License-Identifier: MIT */
/*
 * Every setting there is, one row each: the one place to add or change one. The fields of `struct conf`, the keys of
 * the INI file, the STENO_* environment, the flags, `steno config print`, the sample file and docs/configuration.md
 * follow from these rows.
 *
 *   X(group, name, TYPE, default, min, max, unit, choices, flags, help)
 *
 *   name       key in the file; STENO_NAME in the environment; --name, with dashes, as a flag; field of struct conf
 *   TYPE       see CONF_TYPES in conf/conf.h
 *   default    as a user would write it. For texts "" means "not set"; the help says what happens then
 *   min, max   INT: the value; DURATION: milliseconds; BYTES: bytes; texts: length in bytes
 *   unit       DURATION and BYTES: what a bare number counts (SEC, DAY, MIB)
 *   choices    CHOICE: the words, "a|b"; URL: the schemes; numbers: a word for one value beside the range,
 * "unlimited=0" flags      CONF_SECRET: never printed; CONF_RELOAD: SIGHUP takes a new value help       for users, in
 * Markdown without '|'; the first sentence stands alone in `--help`
 */
#ifndef CONF_OPTIONS_H
#define CONF_OPTIONS_H

#include <stdint.h>

#define CONF_SEC   ((int64_t)1000)
#define CONF_MIN   (60 * CONF_SEC)
#define CONF_HOUR  (60 * CONF_MIN)
#define CONF_DAY   (24 * CONF_HOUR)
#define CONF_KIB   ((int64_t)1 << 10)
#define CONF_MIB   ((int64_t)1 << 20)
#define CONF_GIB   ((int64_t)1 << 30)
#define CONF_TEXT  1024 /* most texts */
#define CONF_PATHS 4000 /* paths and URLs */

/* clang-format off */
#define CONF_OPTIONS(X)                                                                                                \
    X("General", data, STRING, "", 0, CONF_PATHS, 0, NULL, 0,                                                          \
      "Folder that holds everything steno keeps: database, recordings, temporary files, sockets. "                     \
      "When empty: `$XDG_STATE_HOME/steno`, else `~/.local/state/steno`, else `/var/lib/steno`. A relative path "      \
      "starts at the working folder.")                                                                                 \
    X("General", listen, LIST, "127.0.0.1:8000", 1, CONF_TEXT, 0, NULL, 0,                                             \
      "Addresses to serve on, separated by commas. Each is `host:port`, `[v6-address]:port` or `unix:/path`; port 0 "  \
      "takes a free one. `none`: there is only the direct service.")                                                   \
    X("General", direct_listen, LIST, "", 0, CONF_TEXT, 0, NULL, 0,                                                    \
      "Addresses of the direct service, which answers a submission with its text. When empty: there is none; "         \
      "`steno direct` takes `127.0.0.1:8001` then.")                                                                   \
    X("General", server, URL, "", 0, CONF_PATHS, 0, "http|https|unix", 0,                                              \
      "Server that `submit`, `status` and the other client commands talk to. When empty: the first address of "        \
      "`listen`. `transcribe` uses one only when it stands on the command line.")                                      \
    X("General", metrics_listen, LIST, "", 0, CONF_TEXT, 0, NULL, 0,                                                   \
      "Addresses on which a worker gives out its figures for Prometheus, at `/metrics`. When empty: nowhere. "        \
      "Workers on one machine need one each.")                                                                         \
    X("General", api_metrics_listen, LIST, "", 0, CONF_TEXT, 0, NULL, 0,                                               \
      "Addresses on which an api, also that of `steno direct`, gives out its figures for Prometheus, at `/metrics`. "  \
      "When empty: only on `listen`, which has them in any case.")                                                     \
    X("General", log_level, CHOICE, "info", 0, 0, 0, "error|warn|info|debug", CONF_RELOAD,                             \
      "How much is logged to standard error.")                                                                         \
    X("General", log_format, CHOICE, "text", 0, 0, 0, "text|json", CONF_RELOAD,                                        \
      "Log lines for people or for programs.")                                                                         \
                                                                                                                       \
    X("Back ends", database, URL, "sqlite:steno.db", 1, CONF_PATHS, 0, "sqlite|postgresql|postgres", 0,                \
      "Where jobs are kept. `sqlite:FILE` (a relative file is in the data folder) or "                                 \
      "`postgresql://user:password@host:port/name?option=value`, with any option of libpq, such as "                   \
      "`sslmode=verify-full&sslrootcert=FILE`. There everything is in the schema `steno`, which is made when it is "   \
      "missing.")                                                                  \
    X("Back ends", database_pool, INT, "16", 2, 1000, 0, NULL, 0,                                                      \
      "How many connections to PostgreSQL the api, and each worker, opens at most. SQLite needs none.")                \
    X("Back ends", storage, URL, "file:objects", 1, CONF_PATHS, 0, "file|s3", 0,                                       \
      "Where recordings and transcripts are kept. `file:FOLDER` (a relative folder is in the data folder) or "         \
      "`s3://bucket`.")                                                                                                \
    X("Back ends", storage_sync, BOOL, "yes", 0, 0, 0, NULL, 0,                                                        \
      "Whether a stored object is on the disk before its upload or job counts as done. Without, a power cut or crash " \
      "of the machine may lose recordings that were accepted, and transcripts of completed jobs, of the last half "    \
      "minute or so. Only for `file:`; S3 servers decide for themselves.")                                             \
    X("Back ends", broker, URL, "auto", 1, CONF_PATHS, 0,                                                              \
      "auto|local|postgresql|postgres|redis|unix|redis+unix|rediss|amqp|amqps", 0,                                     \
      "What carries wake-ups and live events between processes. `auto` is `postgresql` when the database is, else "    \
      "`local`. `local` (named pipes in the data folder) reaches one machine, `postgresql` is LISTEN and NOTIFY in "   \
      "the database (or in another one: `postgresql://user:password@host/name`), "                                     \
      "`redis://user:password@host:port/number`, `unix:///path/of/redis.sock?db=number` or "                           \
      "`amqp://user:password@host:port/vhost` (`amqps:` with TLS, behind it `?cacertfile=FILE` for certificates of "   \
      "your own).")                                                                                                    \
    X("Back ends", queue_high, STRING, "transcription.high", 1, 200, 0, NULL, 0,                                       \
      "What the queue of urgent jobs is called at a Redis or RabbitMQ broker.")                                        \
    X("Back ends", queue_normal, STRING, "transcription.normal", 1, 200, 0, NULL, 0,                                   \
      "What the usual queue is called there.")                                                                         \
    X("Back ends", queue_retry, STRING, "transcription.retry", 1, 200, 0, NULL, 0,                                     \
      "What the queue of jobs that are tried again is called there.")                                                  \
    X("Back ends", queue_dead_letters, STRING, "transcription.dlq", 1, 200, 0, NULL, 0,                                \
      "Where jobs that failed for good are published there.")                                                          \
    X("Back ends", events_channel, STRING, "job_updates", 1, 200, 0, NULL, 0,                                          \
      "Channel (Redis) or exchange (RabbitMQ) of live events.")                                                        \
    X("Back ends", queue_exchange, STRING, "", 0, 200, 0, NULL, 0,                                                     \
      "RabbitMQ's direct exchange in front of the queues; routing keys are the queues' names. When empty: the default "\
      "exchange.")                                                                                                     \
    X("Back ends", s3_endpoint, URL, "", 0, CONF_PATHS, 0, "http|https", 0,                                            \
      "Address of an S3 server other than Amazon's (MinIO, Ceph), as `http://host:port`. When empty: "                 \
      "`AWS_ENDPOINT_URL_S3`, `AWS_ENDPOINT_URL`, else Amazon's server of `s3_region`.")                               \
    X("Back ends", s3_region, STRING, "", 0, 64, 0, NULL, 0,                                                           \
      "Region the S3 bucket is in. When empty: `AWS_REGION`, `AWS_DEFAULT_REGION`, the AWS profile's, else "           \
      "`us-east-1`.")                                                                                                  \
    X("Back ends", s3_access_key, STRING, "", 0, CONF_TEXT, 0, NULL, 0,                                                \
      "Access key id for S3. When empty: the usual places of AWS (environment, `~/.aws`, role of container or "        \
      "machine).")                                                                                                     \
    X("Back ends", s3_secret_key, STRING, "", 0, CONF_TEXT, 0, NULL, CONF_SECRET,                                      \
      "Secret key for S3.")                                                                                            \
    X("Back ends", s3_session_token, STRING, "", 0, CONF_PATHS, 0, NULL, CONF_SECRET,                                  \
      "Session token, for temporary S3 keys.")                                                                         \
    X("Back ends", s3_style, CHOICE, "auto", 0, 0, 0, "auto|path|virtual", 0,                                          \
      "Where the bucket stands in addresses. `path` is `host/bucket/key`, `virtual` is `bucket.host/key`, `auto` is "  \
      "`virtual` on Amazon's servers and `path` elsewhere.")                                                           \
    X("Back ends", s3_public_url, URL, "", 0, CONF_PATHS, 0, "http|https", 0,                                          \
      "Address of the S3 server for clients, in presigned links, where it is another than steno's own. When empty: "   \
      "`s3_endpoint`.")                                                                                                \
    X("Back ends", s3_ca_file, STRING, "", 0, CONF_PATHS, 0, NULL, 0,                                                  \
      "File with the certificates (PEM) to trust for S3 over https. When empty: the system's.")                        \
    X("Back ends", s3_part_size, BYTES, "16M", 5 * CONF_MIB, 5 * CONF_GIB, CONF_MIB, NULL, 0,                          \
      "Recordings larger than this are sent to S3 in parts of this size; each upload under way needs as much in "      \
      "`temp`.")                                                                                                       \
    X("Back ends", s3_timeout, DURATION, "15s", 100, CONF_HOUR, CONF_SEC, NULL, 0,                                     \
      "How long the S3 server may be silent before a request is given up and tried again.")                            \
                                                                                                                       \
    X("Transcription", engine, CHOICE, "auto", 0, 0, 0, "auto|whisper|pocketsphinx|gemini|openai|null", 0,                    \
      "What turns speech into text for jobs that name no engine. `auto` takes the best one that is installed, and "    \
      "never one that sends recordings away: `gemini` and `openai` do, to another server. `null` returns a fixed "     \
      "text at once, for load tests.")                                                                                 \
    X("Transcription", model, STRING, "", 0, CONF_TEXT, 0, NULL, 0,                                                    \
      "Model for jobs that name none, such as `base`. When empty: the engine's own.")                                  \
    X("Transcription", model_aliases, LIST, "", 0, CONF_PATHS, 0, NULL, 0,                                             \
      "What names of models mean here, as `name=model,name=model`; the model `auto` is the one for jobs that name "    \
      "none. These come before the built-in ones: OpenAI's names (`whisper-1`, `gpt-4o-transcribe` ...) mean `auto`, " \
      "`large` means `large-v3`, `turbo` means `large-v3-turbo`; and what others put around a name is understood "     \
      "(`Systran/faster-whisper-small`).")                                                                             \
    X("Transcription", model_missing, CHOICE, "nearest", 0, 0, 0, "nearest|error", 0,                                  \
      "What happens to a job that asks for a model that is not installed. `nearest` takes the installed one that is "  \
      "nearest in size and can do what is asked, with a warning in the result; `error` refuses the job, and nobody "   \
      "gets a smaller model when memory is short.")                                                                    \
    X("Transcription", model_path, STRING, "", 0, CONF_PATHS, 0, NULL, 0,                                              \
      "Folder with model files. When empty: `models` in the data folder for Whisper; PocketSphinx's are where its "    \
      "package put them.")                                                                                             \
    X("Transcription", model_url, URL, "https://huggingface.co/ggerganov/whisper.cpp/resolve/main", 1, CONF_PATHS, 0,  \
      "http|https", 0,                                                                                                 \
      "Where `steno model pull` gets models: it asks for `ggml-NAME.bin` below this address.")                         \
    X("Transcription", precision, CHOICE, "auto", 0, 0, 0, "auto|f32|bf16|int8", 0,                                    \
      "How exactly Whisper computes. `auto` is the fastest that the processor has.")                                   \
    X("Transcription", threads, INT, "auto", 1, 1024, 0, "auto=0", 0,                                                  \
      "Threads that Whisper computes with. `auto` is one for each processor core.")                                    \
    X("Transcription", beam_size, INT, "5", 1, 16, 0, NULL, 0,                                                         \
      "How many beginnings of a text Whisper keeps in view. 1 is fastest.")                                            \
    X("Transcription", word_timestamps, BOOL, "no", 0, 0, 0, NULL, 0,                                                  \
      "Start and end of every word in the results of Whisper, for jobs that do not say. It takes some more time.")     \
    X("Transcription", decode_mode, CHOICE, "batched", 0, 0, 0, "batched|sequential", 0,                               \
      "How Whisper goes through a recording, for jobs that do not say. `batched` runs many chunks at once; "           \
      "`sequential` takes them in order and tells each the text before it, which is slower and keeps names and style " \
      "alike.")                                                                                                        \
    X("Transcription", language, STRING, "", 0, 35, 0, NULL, 0,                                                        \
      "Language for jobs that name none, as a code such as `en`. When empty: the engine detects it, or has only one.") \
    X("Transcription", language_per_chunk, BOOL, "no", 0, 0, 0, NULL, 0,                                               \
      "Detect the language of every chunk by itself, for jobs that do not say; else several chunks of a recording are "\
      "listened to and the language of most of them counts for all.")                                                  \
    X("Transcription", engine_slots, INT, "auto", 1, 1024, 0, "auto=0", 0,                                             \
      "How many chunks the engine works on at the same time. `auto` is 8 for Whisper, which computes them together, "  \
      "4 for Gemini and OpenAI, and one for each processor core for PocketSphinx.")                                    \
    X("Transcription", model_memory, BYTES, "auto", CONF_MIB, 16384 * CONF_GIB, CONF_MIB, "auto=0", 0,                 \
      "Most memory that the loaded Whisper models of a process may take together. `auto` is what the machine, or "     \
      "the control group, has left. When it is short, idle models go and fewer chunks run at the same time; a job "    \
      "whose model does not fit even then gets the next smaller one, with a warning in the result.")                   \
    X("Transcription", model_pool_size, INT, "2", 1, 256, 0, NULL, 0,                                                  \
      "How many Whisper models stay loaded while nobody uses them, for `model_idle_time`. More go after 30 s.")        \
    X("Transcription", model_pool_max_size, INT, "4", 1, 256, 0, NULL, 0,                                              \
      "How many Whisper models are loaded at the same time at most. For one more the least recently used goes; while " \
      "all are in use a job waits. At least `model_pool_size`.")                                                       \
    X("Transcription", model_acquire_timeout, DURATION, "5m", 100, CONF_DAY, CONF_SEC, "unlimited=0", 0,               \
      "How long a job waits while there is no room for its model. Then the attempt fails, and it is tried again later.")\
    X("Transcription", model_warm_up, LIST, "auto", 1, CONF_TEXT, 0, NULL, 0,                                          \
      "Models that a worker loads when it starts, separated by commas. `auto` is the default model, `none` loads "     \
      "nothing before the first job.")                                                                                 \
    X("Transcription", model_idle_time, DURATION, "10m", 100, 366 * CONF_DAY, CONF_SEC, "never=0", 0,                  \
      "After this time without use a Whisper model is unloaded and its memory given back; the next job loads it again.")\
                                                                                                                       \
    X("Remote engines", gemini_api_key, STRING, "", 0, CONF_TEXT, 0, NULL, CONF_SECRET,                                \
      "API key for `engine = gemini`. When empty: that engine cannot be used.")                                        \
    X("Remote engines", gemini_model, STRING, "", 0, 128, 0, NULL, 0,                                                  \
      "Model of Gemini for jobs that name none, where `model` does not say. When empty: `gemini-flash-latest`.")       \
    X("Remote engines", gemini_rate, INT, "unlimited", 1, 10000, 0, "unlimited=0", 0,                                  \
      "Most requests a minute to Gemini, all workers on this database together. What Google allows depends on the "    \
      "model and the plan.")                                                                                           \
    X("Remote engines", gemini_url, URL, "", 0, CONF_PATHS, 0, "http|https", 0,                                        \
      "Address of a server that speaks Gemini's API. When empty: Google's.")                                           \
    X("Remote engines", openai_api_key, STRING, "", 0, CONF_TEXT, 0, NULL, CONF_SECRET,                                \
      "API key for `engine = openai`. Servers of your own may need none.")                                             \
    X("Remote engines", openai_model, STRING, "", 0, 128, 0, NULL, 0,                                                  \
      "Model of that server for jobs that name none, where `model` does not say. When empty: `whisper-1`.")            \
    X("Remote engines", openai_rate, INT, "unlimited", 1, 10000, 0, "unlimited=0", 0,                                  \
      "Most requests a minute to that server, all workers on this database together.")                                 \
    X("Remote engines", openai_url, URL, "", 0, CONF_PATHS, 0, "http|https", 0,                                        \
      "Address of any server that speaks OpenAI's audio API, with its version, as `http://host:8000/v1`. When empty: " \
      "OpenAI's.")                                                                                                     \
    X("Remote engines", remote_timeout, DURATION, "2m", 100, CONF_HOUR, CONF_SEC, NULL, 0,                             \
      "Longest time that one request to a remote engine may take; then it is tried again.")                            \
    X("Remote engines", remote_ca_file, STRING, "", 0, CONF_PATHS, 0, NULL, 0,                                         \
      "File with the certificates (PEM) to trust for remote engines. When empty: the system's.")                       \
                                                                                                                       \
    X("Uploads", max_upload_size, BYTES, "2G", 1, 16384 * CONF_GIB, CONF_MIB, NULL, 0,                                 \
      "Largest recording that is accepted.")                                                                           \
    X("Uploads", min_free_disk, BYTES, "500M", 0, 16384 * CONF_GIB, CONF_MIB, NULL, 0,                                 \
      "With less room than this in the data folder, `temp` or a storage folder no recording is accepted, and "         \
      "with less in `temp` no worker begins a job.")                                                                   \
    X("Uploads", upload_time_limit, DURATION, "1h", CONF_SEC, 7 * CONF_DAY, CONF_SEC, NULL, 0,                         \
      "Longest time one upload may take. Leftovers of broken uploads are removed once they are older than this.")      \
    X("Uploads", sync_time_limit, DURATION, "10m", CONF_SEC, 7 * CONF_DAY, CONF_SEC, "unlimited=0", 0,                  \
      "How long a request waits that is answered with the transcript itself, as on OpenAI's routes. After that the "   \
      "job goes on, and the answer is an error that names it.")                                                        \
    X("Uploads", direct_max_size, BYTES, "25M", 1, 16384 * CONF_GIB, CONF_MIB, NULL, 0,                                \
      "Largest recording that the direct service accepts.")                                                            \
    X("Uploads", direct_concurrency, INT, "8", 1, 100000, 0, NULL, 0,                                                  \
      "How many recordings the direct service has in work; more are refused until one is done.")                       \
    X("Uploads", direct_time_limit, DURATION, "20m", CONF_SEC, 7 * CONF_DAY, CONF_SEC, NULL, 0,                        \
      "How long a client of the direct service waits at most; then its job is cancelled.")                             \
    X("Uploads", upload_url_time, DURATION, "1h", CONF_SEC, 7 * CONF_DAY, CONF_SEC, NULL, 0,                           \
      "How long a URL is good by which a client puts a recording into storage itself.")                                \
    X("Uploads", public_url, URL, "", 0, CONF_PATHS, 0, "http|https", 0,                                               \
      "Address of this server for clients, in the URLs it hands out, such as `https://stt.example.org`. When empty: "  \
      "what the client called it.")                                                                                    \
    X("Uploads", idle_timeout, DURATION, "60s", CONF_SEC, CONF_HOUR, CONF_SEC, NULL, 0,                                \
      "A connection on which nothing moves for this long is closed.")                                                  \
    X("Uploads", live_connections, INT, "16384", 0, 1000000, 0, NULL, 0,                                               \
      "How many connections may follow jobs at the same time, by WebSocket or server-sent events. The limit of open "  \
      "files must allow them.")                                                                                       \
    X("Uploads", live_ping, DURATION, "20s", 100, CONF_HOUR, CONF_SEC, NULL, 0,                                        \
      "How often such a connection is tried while there is nothing to tell; one that does not answer is closed.")      \
    X("Uploads", http_threads, INT, "2", 1, 64, 0, NULL, 0,                                                            \
      "Threads that read and write network connections.")                                                              \
    X("Uploads", work_threads, INT, "16", 1, 256, 0, NULL, 0,                                                           \
      "Threads that answer requests, so how many may wait for the database at the same time.")                         \
    X("Uploads", storage_threads, INT, "32", 1, 256, 0, NULL, 0,                                                       \
      "Threads that take uploads to storage, so how many may wait for it and for their rows at the same time.")        \
                                                                                                                       \
    X("Requests", wait_limit, DURATION, "60s", 0, CONF_HOUR, CONF_SEC, NULL, 0,                                        \
      "Longest time that a request may wait for its job to end (`Prefer: wait=N`). 0: none waits.")                    \
    X("Requests", idempotency_lifetime, DURATION, "1d", CONF_MIN, 366 * CONF_DAY, CONF_SEC, NULL, 0,                   \
      "How long an `Idempotency-Key` is known: a submission that is sent again within this time makes no second job.") \
    X("Requests", cors_origins, STRING, "", 0, CONF_PATHS, 0, NULL, 0,                                                 \
      "Web pages of which origins may use the API from a browser: `*` for all, or origins such as "                    \
      "`https://example.org` with commas between them. When empty: none but its own.")                                 \
                                                                                                                       \
    X("Jobs", queue_order, CHOICE, "fifo", 0, 0, 0, "fifo|lifo", 0,                                                    \
      "Which waiting job of a queue runs next. `fifo` takes the oldest, `lifo` the newest.")                           \
    X("Jobs", max_queue_size, INT, "unlimited", 1, 1000000000, 0, "unlimited=0", 0,                                    \
      "How many jobs may wait; more are refused until some are done. With PostgreSQL a few more get in when many "     \
      "come at the same moment.")                                                                                      \
    X("Jobs", worker_concurrency, INT, "4", 1, 256, 0, NULL, 0,                                                        \
      "Most jobs that a worker process has in work at the same time. They share the `engine_slots`.")                  \
    X("Jobs", worker_concurrency_min, INT, "auto", 1, 256, 0, "auto=0", 0,                                             \
      "How many jobs a worker takes whenever they wait. Each further one, up to `worker_concurrency`, it takes "       \
      "only when jobs still wait a second later, so that other workers come first; while there is less to do "         \
      "the number goes down again. `auto` is `worker_concurrency`: no such steps.")                                    \
    X("Jobs", worker_queues, LIST, "high, normal, retry", 1, CONF_TEXT, 0, NULL, 0,                                    \
      "Which queues a worker takes jobs from, and in which order: the second is looked at when nothing is due in the " \
      "first. A job in `retry` that has been due for a minute is taken before all others.")                            \
    X("Jobs", short_job_size, BYTES, "2M", 1, 16384 * CONF_GIB, CONF_MIB, "off=0", 0,                                  \
      "A job whose recording has at most this many bytes is a short one. Beside its `worker_concurrency` jobs a "      \
      "worker takes one more if that is short, so that a clip does not wait until one of several long recordings is "  \
      "done. It is decided when the job is submitted.")                                                                \
    X("Jobs", worker_max_jobs, INT, "unlimited", 1, 1000000000, 0, "unlimited=0", 0,                                   \
      "A worker process that has taken this many jobs lets them end and replaces itself by a fresh one.")              \
    X("Jobs", worker_max_memory, BYTES, "unlimited", CONF_MIB, 16384 * CONF_GIB, CONF_MIB, "unlimited=0", 0,           \
      "A worker process that holds more memory than this lets its jobs end and replaces itself by a fresh one. "       \
      "Its models count. When it is exceeded right at the start it is without effect, with a warning.")                \
    X("Jobs", job_time_limit, DURATION, "1h", CONF_SEC, 30 * CONF_DAY, CONF_SEC, "unlimited=0", 0,                     \
      "Longest time one attempt at a job may take; then it is stopped. The chunks that are done are kept.")            \
    X("Jobs", job_hard_time_limit, DURATION, "auto", CONF_SEC, 30 * CONF_DAY, CONF_SEC, "auto=0", 0,                   \
      "When a job is still not stopped after this time, because something hangs, the worker process replaces "         \
      "itself; its other jobs are handed back. A cancelled job gets as long to stop as lies between the two "          \
      "limits. `auto` is five minutes more than `job_time_limit`; a smaller one counts for both.")                     \
    X("Jobs", job_time_factor, INT, "0", 0, 1000, 0, NULL, 0,                                                          \
      "Both limits are at least this many times as long as the recording, once its length is known. 0: they "          \
      "are the same for all.")                                                                                         \
    X("Jobs", job_time_policy, CHOICE, "retry", 0, 0, 0, "retry|fail", 0,                                              \
      "What becomes of a job that reaches its time limit. `retry`: the next attempt goes on after the chunks that "    \
      "are done; it counts as a failed attempt only when no further chunk was done in it. `fail` ends it.")            \
    X("Jobs", max_attempts, INT, "5", 1, 100, 0, NULL, 0,                                                              \
      "How often a job is tried when the trouble may pass, the first try included.")                                   \
    X("Jobs", retry_base, DURATION, "5s", 10, CONF_DAY, CONF_SEC, NULL, 0,                                             \
      "Longest wait before the second attempt; it doubles with each further one. The wait itself is random, up to "    \
      "that.")                                                                                                         \
    X("Jobs", retry_cap, DURATION, "10m", 10, 7 * CONF_DAY, CONF_SEC, NULL, 0,                                         \
      "The wait before an attempt never grows beyond this.")                                                           \
    X("Jobs", retry_policy, LIST, "", 0, CONF_PATHS, 0, NULL, 0,                                                       \
      "How failures of single classes are tried again, where it is to be otherwise than `max_attempts`, `retry_base` " \
      "and `retry_cap` say: `timeout: 2, out_of_memory: 3 x 30s..10m, unavailable: 10 x 2s..5m equal` has two "        \
      "attempts at what takes too long, and so on. After the class stand the number of attempts, the shortest and the "\
      "longest wait, and how it is drawn: `full` (the usual: anything up to it), `equal` (from half of it), `none` "   \
      "(exactly it); what is left out is as for all others. Classes are `out_of_memory`, `busy`, `timeout`, "          \
      "`unavailable`, `uncertain` and `crashed`, as in the errors' rows; others are never tried again.")               \
    X("Jobs", keep_audio, DURATION, "7d", 0, 36500 * CONF_DAY, CONF_DAY, "forever=-1", 0,                             \
      "How long a recording is kept after its job ended. Transcripts stay.")                                           \
    X("Jobs", keep_results, DURATION, "forever", 0, 36500 * CONF_DAY, CONF_DAY, "forever=-1", 0,                       \
      "How long a transcript is kept after its job ended. The job stays, and says that its transcript was removed.")   \
    X("Jobs", keep_jobs, DURATION, "forever", 0, 36500 * CONF_DAY, CONF_DAY, "forever=-1", 0,                          \
      "How long a job is known after it ended; then everything goes that belongs to it: its recording, its "           \
      "transcript, its errors.")                                                                                       \
    X("Jobs", drain_timeout, DURATION, "30s", 0, CONF_HOUR, CONF_SEC, NULL, 0,                                         \
      "At a stop: how long running chunks may go on before they are handed back.")                                     \
    X("Jobs", lease, DURATION, "30s", CONF_SEC, CONF_HOUR, CONF_SEC, NULL, 0,                                          \
      "How long a job stays with a worker that gives no sign of life. Shorter finds dead workers sooner, longer "      \
      "bears longer pauses.")                                                                                          \
    X("Jobs", poll_interval, DURATION, "2s", 10, 10 * CONF_MIN, CONF_SEC, NULL, 0,                                     \
      "How often a worker looks for work that no wake-up told it of.")                                                 \
    X("Jobs", sweep_interval, DURATION, "30s", 100, CONF_DAY, CONF_SEC, NULL, 0,                                       \
      "How often a worker takes over jobs of dead workers and removes what is no longer needed.")                      \
    X("Jobs", max_deaths, INT, "3", 1, 100, 0, NULL, 0,                                                                \
      "A job during which this many workers died without any progress is given up.")                                   \
    X("Jobs", death_pause, DURATION, "30s", 0, CONF_DAY, CONF_SEC, NULL, 0,                                            \
      "How long a job rests after a second worker died on it, and after each further one.")                                                               \
    X("Jobs", alone_patience, DURATION, "60s", 0, CONF_DAY, CONF_SEC, NULL, 0,                                         \
      "A job on which a worker died is left to a worker that has no other in work; after this time any takes it, so "  \
      "that it does not wait for ever, and none beside it.")                                                           \
                                                                                                                       \
    X("Audio", sandbox, CHOICE, "auto", 0, 0, 0, "auto|require|off", 0,                                                \
      "Locks the decoder away from files and network. `auto` warns where the kernel cannot do it, `require` refuses "  \
      "to decode then.")                                                                                               \
    X("Audio", decode_memory, BYTES, "1536M", 800 * CONF_MIB, 1024 * CONF_GIB, CONF_MIB, NULL, 0,                      \
      "Memory one decoder may use. With less than the minimum ffmpeg hangs instead of failing.")                       \
    X("Audio", decode_time_limit, DURATION, "30m", CONF_SEC, CONF_DAY, CONF_SEC, NULL, 0,                              \
      "Longest time the decoding of one recording may take.")                                                          \
    X("Audio", decode_stall_limit, DURATION, "2m", 100, CONF_DAY, CONF_SEC, NULL, 0,                                   \
      "A decoder that gives no sound for this long is killed.")                                                        \
    X("Audio", max_audio_length, DURATION, "1d", CONF_SEC, 3650 * CONF_DAY, CONF_SEC, "unlimited=0", 0,                \
      "Longest recording that is transcribed. A small file may hold days of silence, which all must be "               \
      "decoded: 115 MB of `temp` for each hour.")                                                                      \
    X("Audio", ffmpeg, STRING, "ffmpeg", 1, CONF_PATHS, 0, NULL, 0,                                                    \
      "The ffmpeg program: a path, or a name that is looked up in `PATH`.")                                            \
    X("Audio", temp, STRING, "", 0, CONF_PATHS, 0, NULL, 0,                                                            \
      "Folder for temporary files; a relative path is in the data folder. When empty: `tmp` in the data folder.")
/* clang-format on */

#endif
