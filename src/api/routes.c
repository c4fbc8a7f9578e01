/* SPDX-License-Identifier: MIT */
#include "api/routes.h"

#include "api/dialect.h"
#include "base/macros.h"
#include "base/str.h"

#include <stdio.h>
#include <string.h>

#define OPENAI_ANSWERS \
    "200:OpenAiTranscription 200:String@text/plain 200:String@text/vtt 200:OpenAiEvent@text/event-stream 404 504"

#define RECORDING_ANSWERS                                                                                        \
    "200@audio/* 200@video/* 200@application/octet-stream 206@audio/* 206@video/* 206@application/octet-stream " \
    "304 307 410 416"

const struct route api_routes[] = {
    {"GET", "/", &dialect_native, route_root, BODY_NONE, 0, "", "what this server is, with links", "200:Root"},
    {"POST", "/v1/jobs", &dialect_native, route_submit, BODY_UPLOAD, ROUTE_RAW | ROUTE_JSON | ROUTE_PREFERS, "",
     "submit a recording", "202:Job 200:Job 404"},
    {"GET", "/v1/jobs", &dialect_native, route_list_jobs, BODY_NONE, 0, "status limit cursor",
     "list jobs, the newest first", "200:JobList"},
    {"GET", "/v1/jobs/{id}", &dialect_native, route_get_job, BODY_NONE, ROUTE_TAGGED | ROUTE_PREFERS, "",
     "state and progress of a job", "200:Job 304"},
    {"DELETE", "/v1/jobs/{id}", &dialect_native, route_delete_job, BODY_NONE, 0, "purge",
     "cancel a job; with purge=true also remove all that is kept of it", "200:Job 204 409"},
    {"POST", "/v1/jobs/{id}/retry", &dialect_native, route_retry_job, BODY_NONE, 0, "",
     "try a job that failed again: what it has done is kept, and it gets a fresh set of attempts", "202:Job 409"},
    {"GET", "/v1/jobs/{id}/transcript", &dialect_native, route_transcript, BODY_NONE, ROUTE_STORAGE | ROUTE_TAGGED,
     "format max_line_width max_line_count max_words_per_line highlight_words",
     "the transcript, in the format that `format` or the Accept header names", "200:* 304 406 409 410"},
    {"GET", "/v1/jobs/{id}/audio", &dialect_native, route_audio, BODY_NONE, ROUTE_STORAGE | ROUTE_TAGGED | ROUTE_RANGES,
     "", "the recording, as it was handed over; parts of it, for players that jump", RECORDING_ANSWERS},
    {"GET", "/v1/jobs/{id}/events", &dialect_native, route_job_events, BODY_NONE, 0, "since",
     "live updates as server-sent events", "200:LiveMessage@text/event-stream 204"},
    {"GET", "/v1/jobs/{id}/ws", &dialect_native, route_job_websocket, BODY_NONE, 0, "since",
     "live updates over a WebSocket", "101:LiveMessage 403 426"},
    {"POST", "/v1/uploads", &dialect_native, route_new_upload, BODY_JSON, ROUTE_STORAGE, "",
     "a URL by which the client puts a recording into storage itself", "<UploadRequest 201:Upload 415"},
    {"PUT", "/v1/uploads/{id}/content", &dialect_native, route_put_upload, BODY_OBJECT, 0, "expires signature",
     "such a URL, where the storage has none of its own", "200 403 408 409 415"},
    {"GET", "/v1/errors", &dialect_native, route_errors, BODY_NONE, 0, "all job_id limit cursor",
     "jobs that failed for good and were not seen to; with all=true every failure", "200:FailureList"},
    {"GET", "/v1/errors/{error}", &dialect_native, route_get_error, BODY_NONE, 0, "", "all that is known of a failure",
     "200:Failure"},
    {"POST", "/v1/errors/{error}/retry", &dialect_native, route_retry_error, BODY_NONE, 0, "",
     "try the job that failed with it again", "202:Job 409"},
    {"POST", "/v1/errors/{error}/resolve", &dialect_native, route_resolve_error, BODY_NONE, 0, "",
     "mark a failure as seen to", "200:Failure"},
    {"GET", "/v1/queues", &dialect_native, route_queues, BODY_NONE, ROUTE_PROBE, "",
     "how many jobs wait in each queue, and for how long", "200:QueueList"},
    {"POST", "/v1/queues/{queue}/pause", &dialect_native, route_pause_queue, BODY_NONE, 0, "",
     "no job of this queue is begun any more; they are accepted all the same", "200:Queue"},
    {"POST", "/v1/queues/{queue}/resume", &dialect_native, route_resume_queue, BODY_NONE, 0, "",
     "jobs of this queue are begun again", "200:Queue"},
    {"GET", "/v1/workers", &dialect_native, route_workers, BODY_NONE, 0, "limit cursor",
     "the workers, by their heartbeats, and what they run", "200:WorkerList"},
    {"POST", "/v1/audio/transcriptions", &dialect_openai, route_openai_audio, BODY_UPLOAD, 0, "",
     "the transcript of a recording, as OpenAI's API has it", OPENAI_ANSWERS},
    {"POST", "/v1/audio/translations", &dialect_openai_translation, route_openai_audio, BODY_UPLOAD, 0, "",
     "the same in English", OPENAI_ANSWERS},
    {"GET", "/v1/models", &dialect_openai, route_models, BODY_NONE, 0, "", "the models that are installed, and aliases",
     "200:ModelList"},
    {"GET", "/v1/models/{id}", &dialect_openai, route_model, BODY_NONE, 0, "", "one of them", "200:Model"},
    {"GET", "/v1/models/{owner}/{name}", &dialect_openai, route_model, BODY_NONE, 0, "",
     "one of them, by a name with an owner before it", "200:Model"},
    {"GET", "/health", &dialect_native, route_health, BODY_NONE, ROUTE_PROBE, "",
     "is everything well; always 200 while serving", "200:Health"},
    {"GET", "/admin/health", &dialect_native, route_admin_health, BODY_NONE, ROUTE_PROBE, "",
     "as /health, with the workers and what they run", "200:Health"},
    {"GET", "/metrics", &dialect_native, route_metrics, BODY_NONE, 0, "", "figures for Prometheus",
     "200:String@text/plain"},
    {"GET", "/openapi.json", &dialect_native, route_openapi, BODY_NONE, 0, "", "this API as an OpenAPI document",
     "200:OpenAPI"},
    {"GET", "/docs", &dialect_native, route_docs, BODY_NONE, 0, "", "this API as pages of Swagger UI",
     "200:String@text/html 404"},
    {"GET", "/redoc", &dialect_native, route_redoc, BODY_NONE, 0, "", "this API as a page of ReDoc",
     "200:String@text/html 404"},
    {"GET", "/docs/{file}", &dialect_native, route_docs_file, BODY_NONE, ROUTE_TAGGED, "",
     "what those pages are made of", "200:String@text/javascript 200:String@text/css 200:String@text/plain 304"},

    {"POST", "/api/v1/transcribe", &dialect_tool, tool_submit, BODY_UPLOAD, 0, "", "submit a recording",
     "200:ToolSubmitted"},
    {"GET", "/api/v1/transcribe/{id}", &dialect_tool, tool_get, BODY_NONE, 0, "", "state and text of a job",
     "200:ToolJob"},
    {"DELETE", "/api/v1/transcribe/{id}", &dialect_tool, tool_cancel, BODY_NONE, 0, "", "cancel a job",
     "200:ToolCancelled 409"},

    {"POST", "/transcribe", &dialect_pool, pool_submit, BODY_UPLOAD, 0, "", "submit a recording", "202:PoolSubmitted"},
    {"GET", "/transcribe/{id}", &dialect_pool, pool_get, BODY_NONE, 0, "", "state and result of a job", "200:PoolJob"},
    {"DELETE", "/transcribe/{id}", &dialect_pool, pool_cancel, BODY_NONE, 0, "", "cancel a job",
     "200:PoolCancelled 409"},
    {"GET", "/transcribe/{id}/metadata", &dialect_pool, pool_metadata, BODY_NONE, 0, "", "a job without its text",
     "200:PoolMetadata"},
    {"GET", "/jobs", &dialect_pool, pool_list, BODY_NONE, 0, "status limit offset skip cursor",
     "list jobs, the newest first", "200:PoolList 422"},
    {"GET", "/admin/errors", &dialect_pool, pool_errors, BODY_NONE, 0, "all limit cursor",
     "jobs that failed for good and were not seen to; with all=true every failure", "200:PoolErrors 422"},

    {"POST", "/api/stt/upload", &dialect_stt, stt_upload, BODY_UPLOAD, 0, "", "submit a recording", "200:SttSubmitted"},
    {"GET", "/api/stt/status/{id}", &dialect_stt, stt_status, BODY_NONE, 0, "", "state and progress of a job",
     "200:SttStatus"},
    {"GET", "/api/stt/result/{id}", &dialect_stt, stt_result, BODY_NONE, 0, "", "the text of a completed job",
     "200:SttResult 410"},

    {"GET", "/task/{id}", &dialect_queue, queue_task, BODY_NONE, 0, "",
     "state and result of a task, its place in the queue and the time it still takes", "200:QueueTask"},
    {"DELETE", "/task/{id}", &dialect_queue, queue_cancel, BODY_NONE, 0, "", "cancel a task", "200:QueueCancelled 409"},
    {"GET", "/ws/{id}", &dialect_queue, queue_websocket, BODY_NONE, 0, "since", "live updates over a WebSocket",
     "101:QueueUpdate 403 422 426"},
    {"GET", "/queue/status", &dialect_queue, queue_status, BODY_NONE, 0, "", "how many tasks wait and run",
     "200:QueueStatus"},

    {"POST", "/api/v1/audio/presigned-url", &dialect_audio_text, audio_text_url, BODY_JSON, ROUTE_STORAGE, "",
     "a URL by which the client puts a recording into storage itself", "<AudioTextUrlRequest 200:AudioTextUrl 422"},
    {"GET", "/api/v1/audio/get_presigned_url", &dialect_audio_text, audio_text_url_by_query, BODY_NONE, ROUTE_STORAGE,
     "filename content_type file_size", "the same", "200:AudioTextUrl 422"},
    {"POST", "/api/v1/job/transcribe", &dialect_audio_text, audio_text_submit, BODY_JSON, ROUTE_STORAGE | ROUTE_KEYED,
     "", "submit a recording that is in storage", "<AudioTextSubmit 200:AudioTextJob 404 409 422"},
    {"GET", "/api/v1/job/status/{id}", &dialect_audio_text, audio_text_status, BODY_NONE, 0, "",
     "state and text of a job", "200:AudioTextJob"},
    {"GET", "/api/v1/job/ws/{id}", &dialect_audio_text, audio_text_websocket, BODY_NONE, 0, "since",
     "live updates over a WebSocket", "101:AudioTextUpdate 403 422 426"},
    {"GET", "/api/v1/job/read", &dialect_audio_text, audio_text_list, BODY_NONE, 0, "limit offset",
     "list jobs with their texts, the newest first", "200:AudioTextJobs 422"},
    {"GET", "/api/v1", &dialect_audio_text, audio_text_health, BODY_NONE, ROUTE_PROBE, "",
     "is everything well; always 200 while serving", "200:AudioTextHealth"},

    {"POST", "/transcribe", &dialect_direct, direct_transcribe, BODY_UPLOAD, ROUTE_DIRECT, "",
     "submit a recording and wait for its text", "200:DirectText 200:String@text/plain 410 504"},
    {"GET", "/health", &dialect_direct, direct_health, BODY_NONE, ROUTE_DIRECT | ROUTE_PROBE, "",
     "is everything well; always 200 while serving", "200:DirectHealth"},
    {"GET", "/config", &dialect_direct, direct_config, BODY_NONE, ROUTE_DIRECT, "",
     "limits, and what engines there are", "200:DirectConfig"},
    {"GET", "/openapi.json", &dialect_direct, route_openapi, BODY_NONE, ROUTE_DIRECT, "",
     "this API as an OpenAPI document", "200:OpenAPI"},
    {0},
};

size_t route_count(void)
{
    return ARRAY_LEN(api_routes) - 1;
}

size_t route_index(const struct route *r)
{
    return (size_t)(r - api_routes);
}

bool route_is_keyed(const struct route *r)
{
    return r->body == BODY_UPLOAD || (r->flags & ROUTE_KEYED);
}

/* Fills the params of *m; its route stays. */
static bool match(const char *pattern, const char *path, struct route_match *m)
{
    m->n_params = 0;
    while (*pattern && *path) {
        if (*pattern == '{') {
            size_t n = strcspn(path, "/");
            if (!n || m->n_params == ROUTE_PARAMS_MAX)
                return false;
            m->params[m->n_params] = path;
            m->param_lens[m->n_params++] = n;
            path += n;
            pattern = strchr(pattern, '}') + 1;
        } else if (*pattern++ != *path++) {
            return false;
        }
    }
    return !*pattern && !path[*path == '/'];
}

static void allow(struct route_match *m, const char *method)
{
    size_t n = strlen(m->allow);
    snprintf(m->allow + n, sizeof m->allow - n, "%s%s", n ? ", " : "", method);
}

void route_find(const char *method, const char *path, bool direct, struct route_match *ret)
{
    struct route_match m = {.route = NULL}, try;
    bool head = strcmp(method, "HEAD") == 0;
    for (const struct route *r = api_routes; r->method; r++) {
        try = (struct route_match){.route = r};
        if (direct != !!(r->flags & ROUTE_DIRECT) || !match(r->pattern, path, &try))
            continue;
        m.dialect = r->dialect;
        allow(&m, r->method);
        if (strcmp(r->method, "GET") == 0)
            allow(&m, "HEAD");
        if (strcmp(r->method, head ? "GET" : method) != 0)
            continue;
        try.dialect = r->dialect;
        memcpy(try.allow, m.allow, sizeof m.allow);
        m = try;
    }
    if (*m.allow)
        allow(&m, "OPTIONS");
    *ret = m;
}
