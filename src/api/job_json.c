/* SPDX-License-Identifier: MIT */
#include "api/job_json.h"

#include "base/macros.h"
#include "base/str.h"

#include <stdio.h>

static void links(struct jsonw *w, const struct job *j)
{
    char url[128];
    jw_open(w, "links", '{');
    snprintf(url, sizeof url, "/v1/jobs/%s", j->id);
    jw_str(w, "self", url);
    snprintf(url, sizeof url, "/v1/jobs/%s/transcript", j->id);
    jw_str(w, "transcript", url);
    snprintf(url, sizeof url, "/v1/jobs/%s/audio", j->id);
    jw_str(w, "audio", url);
    snprintf(url, sizeof url, "/v1/jobs/%s/events", j->id);
    jw_str(w, "events", url);
    snprintf(url, sizeof url, "/v1/jobs/%s/ws", j->id);
    jw_str(w, "ws", url);
    jw_close(w, '}');
}

/* A figure from 0 to 1; null when it is negative. */
static void fraction(struct jsonw *w, const char *key, double v)
{
    char text[32];
    snprintf(text, sizeof text, "%d.%03d", (int)v, (int)(v * 1000) % 1000);
    jw_raw(w, key, v < 0 ? "null" : text);
}

static void result(struct jsonw *w, const struct job_result *r)
{
    jw_open(w, "result", '{');
    jw_str(w, "engine", r->engine);
    jw_str(w, "model", r->model);
    jw_str(w, "language", r->language);
    fraction(w, "language_probability", r->language_probability > 0 ? r->language_probability : -1);
    jw_seconds(w, "duration", r->duration_ms);
    jw_int(w, "words", r->word_count);
    fraction(w, "confidence", r->confidence);
    jw_open(w, "coverage", '{');
    jw_seconds(w, "speech", r->speech_ms);
    jw_seconds(w, "covered", r->covered_ms);
    jw_close(w, '}');
    jw_str(w, "warning", r->warning);
    jw_time(w, "removed_at", r->removed_at);
    jw_close(w, '}');
}

void job_json_write(struct jsonw *w, const char *key, const struct job *j, const struct job_extra *extra)
{
    jw_open(w, key, '{');
    jw_str(w, "id", j->id);
    jw_str(w, "status", job_state_name(j->state));
    jw_str(w, "queue", job_queue_name(j->queue));
    if (extra->position >= 0)
        jw_int(w, "position", extra->position);
    if (extra->paused && j->state == JOB_PENDING)
        jw_bool(w, "queue_paused", true);
    jw_time(w, "created_at", j->created_at);
    jw_time(w, "updated_at", j->updated_at);
    jw_time(w, "started_at", j->started_at);
    jw_time(w, "finished_at", j->finished_at);
    jw_str(w, "filename", j->filename);
    jw_str(w, "content_type", j->content_type);
    jw_int(w, "size", j->audio_bytes);
    /* What a client put into storage itself is known by its ETag alone. */
    jw_str(w, "sha256", j->audio_sha256 && str_starts(j->audio_sha256, "etag:") ? NULL : j->audio_sha256);
    jw_str(w, "engine", j->engine);
    jw_str(w, "model", j->model);
    jw_str(w, "language", j->language);
    jw_str(w, "task", j->task);
    jw_str(w, "prompt", j->prompt);
    jw_str(w, "description", j->description);
    jw_raw(w, "options", j->options ? j->options : "{}");
    jw_int(w, "attempt", j->attempt);
    jw_int(w, "max_attempts", j->max_attempts);
    job_json_progress(w, j);
    if (extra->result)
        result(w, extra->result);
    if (j->error_class) {
        jw_open(w, "error", '{');
        jw_str(w, "code", j->error_class);
        jw_str(w, "message", j->error_message);
        jw_close(w, '}');
    } else {
        jw_null(w, "error");
    }
    links(w, j);
    jw_close(w, '}');
}

void job_json_progress(struct jsonw *w, const struct job *j)
{
    int64_t done = j->state == JOB_COMPLETED ? j->duration_ms : MIN(j->progress_ms, j->duration_ms);
    int64_t percent = j->duration_ms > 0 ? done * 100 / j->duration_ms : j->state == JOB_COMPLETED ? 100 : 0;
    jw_open(w, "progress", '{');
    jw_int(w, "done_ms", done);
    jw_int(w, "total_ms", j->duration_ms);
    jw_int(w, "percent", percent);
    jw_int(w, "chunks_done", j->chunks_done);
    jw_int(w, "chunks_total", j->chunks_total);
    jw_close(w, '}');
}

int job_retry_after(const struct job *j)
{
    switch (j->state) {
    case JOB_PENDING:
        return JOB_RETRY_PENDING_S;
    case JOB_PROCESSING:
        return JOB_RETRY_PROCESSING_S;
    case JOB_COMPLETED:
    case JOB_FAILED:
    case JOB_CANCELLED:
    case JOB_STATE_COUNT:
        break;
    }
    return 0;
}
