/* SPDX-License-Identifier: MIT */
/*
 * stream=true: the text of each segment as soon as all before it are there, then the whole, then [DONE].
 *
 * The deltas of a stream are the whole text, cut up: the memo of the connection counts the bytes that were sent, and
 * the end sends what is missing, if anything is. When a job begins anew, with another plan, what was sent cannot be
 * taken back: then no more is, and the end is an error that says where the transcript is. OpenAI sends segments only
 * when speakers are told apart; here they come with the response_format verbose_json, and have no speaker.
 */
#include "api/dialect.h"
#include "api/job_core.h"
#include "api/openai.h"
#include "base/str.h"

#include <stdio.h>
#include <string.h>

enum { TEXT_MAX = 64 << 20 };

/* The memo: bytes that were sent, how many chunks they were of, and whether the job began anew after that. */
#define MEMO_BYTES  (((int64_t)1 << 40) - 1)
#define MEMO_CHUNK  ((int64_t)1 << 40)
#define MEMO_CHUNKS ((((int64_t)1 << 22) - 1) * MEMO_CHUNK)
#define MEMO_ANEW   ((int64_t)1 << 62)

static int64_t bytes_sent(const struct live_view *v)
{
    return *v->memo & MEMO_BYTES;
}

/* Is this chunk the next one? */
static bool goes_on(const struct live_view *v)
{
    if (*v->memo & MEMO_ANEW || v->chunk->idx < (*v->memo & MEMO_CHUNKS) / MEMO_CHUNK) {
        *v->memo |= MEMO_ANEW;
        return false;
    }
    *v->memo = bytes_sent(v) | ((v->chunk->idx + 1) * MEMO_CHUNK & MEMO_CHUNKS);
    return true;
}

/* What comes with a delta. */
enum extra { EXTRA_NONE, EXTRA_LOGPROBS, EXTRA_SEGMENTS, EXTRA_WORDS };

/* An empty line parts two events of one message (live.h). */
static void begin(struct jsonw *w, const char *type)
{
    if (w->b->len)
        buf_adds(w->b, "\n\n");
    w->comma = false;
    jw_open(w, NULL, '{');
    jw_str(w, "type", type);
}

static void add_logprobs(struct jsonw *w, const struct segment *s, bool blank)
{
    jw_open(w, "logprobs", '[');
    for (size_t i = 0; i < s->n_words; i++)
        openai_write_logprob(w, &s->words[i], blank || i);
    jw_close(w, ']');
}

static void add_segment(struct jsonw *w, const struct live_chunk *c, size_t i, bool words)
{
    const struct segment *s = &c->segments[i];
    char id[64];
    snprintf(id, sizeof id, "seg_%lld_%zu", (long long)c->idx, i);
    begin(w, "transcript.text.segment");
    jw_str(w, "id", id);
    jw_seconds(w, "start", s->start_ms);
    jw_seconds(w, "end", s->end_ms);
    jw_str(w, "text", s->text);
    if (words) {
        jw_open(w, "words", '[');
        for (size_t k = 0; k < s->n_words; k++)
            openai_write_word(w, &s->words[k]);
        jw_close(w, ']');
    }
    jw_close(w, '}');
}

static void add_chunk(const struct live_view *v, struct buf *b, enum extra extra)
{
    CLEANUP(buf_clear) struct buf delta = BUF_INIT(TEXT_MAX);
    struct jsonw w = {b, false};
    bool on = goes_on(v);
    for (size_t i = 0; on && i < v->chunk->n_segments; i++) {
        const struct segment *s = &v->chunk->segments[i];
        bool blank = bytes_sent(v) > 0;
        buf_reset(&delta);
        buf_addf(&delta, "%s%s", blank ? " " : "", s->text);
        begin(&w, "transcript.text.delta");
        jw_str(&w, "delta", buf_str(&delta));
        if (extra == EXTRA_LOGPROBS)
            add_logprobs(&w, s, blank);
        jw_close(&w, '}');
        *v->memo += (int64_t)delta.len;
        if (extra == EXTRA_SEGMENTS || extra == EXTRA_WORDS)
            add_segment(&w, v->chunk, i, extra == EXTRA_WORDS);
    }
}

static void plain_chunk(const struct live_view *v, struct buf *b)
{
    add_chunk(v, b, EXTRA_NONE);
}

static void logprobs_chunk(const struct live_view *v, struct buf *b)
{
    add_chunk(v, b, EXTRA_LOGPROBS);
}

static void segments_chunk(const struct live_view *v, struct buf *b)
{
    add_chunk(v, b, EXTRA_SEGMENTS);
}

static void words_chunk(const struct live_view *v, struct buf *b)
{
    add_chunk(v, b, EXTRA_WORDS);
}

static void add_error(enum problem p, const char *detail, struct buf *b)
{
    struct refusal r = {.problem = p,
                        .status = problem_info(p)->status,
                        .detail = detail,
                        .field = p == PROBLEM_bad_recording ? "file" : NULL};
    dialect_openai.refuse(&r, b);
}

static void add_failure(const struct job *j, struct buf *b)
{
    bool retry;
    char detail[600];
    snprintf(detail, sizeof detail, "%.500s (job %s)", openai_reason(j), j->id);
    add_error(openai_problem(j, &retry), detail, b);
}

static void add_anew(const struct job *j, struct buf *b)
{
    char detail[200];
    snprintf(detail, sizeof detail,
             "the transcription was begun anew on the way: its text is at /v1/jobs/%s/transcript", j->id);
    add_error(PROBLEM_transcription_failed, detail, b);
}

static void add_done(const struct live_view *v, struct buf *b)
{
    struct jsonw w = {b, false};
    const char *text = v->result->text ? v->result->text : "";
    if (bytes_sent(v) < (int64_t)strlen(text)) {
        begin(&w, "transcript.text.delta");
        jw_str(&w, "delta", text + bytes_sent(v));
        jw_close(&w, '}');
    }
    begin(&w, "transcript.text.done");
    jw_str(&w, "text", text);
    openai_write_usage(&w, v->result->duration_ms);
    jw_str(&w, "model", v->result->model);
    if (v->result->warning)
        jw_str(&w, "warning", v->result->warning);
    jw_close(&w, '}');
    buf_adds(b, "\n\n[DONE]");
}

static void end(const struct live_view *v, struct buf *b)
{
    if (v->job->state != JOB_COMPLETED || !v->result)
        add_failure(v->job, b);
    else if (*v->memo & MEMO_ANEW)
        add_anew(v->job, b);
    else
        add_done(v, b);
}

static void early_end(enum live_early_end why, const char *job_id, struct buf *b)
{
    char detail[200];
    switch (why) {
    case LIVE_JOB_REMOVED:
        snprintf(detail, sizeof detail, OPENAI_REMOVED, job_id);
        add_error(PROBLEM_job_cancelled, detail, b);
        break;
    case LIVE_SERVER_STOPS:
        add_error(PROBLEM_shutting_down, OPENAI_STOPS, b);
        break;
    }
}

const struct live_format *openai_stream(const struct openai_want *want)
{
    static const struct live_format plain = {
        .name = "openai", .chunk = plain_chunk, .end = end, .early_end = early_end, .plain = true};
    static const struct live_format logprobs = {
        .name = "openai logprobs", .chunk = logprobs_chunk, .end = end, .early_end = early_end, .plain = true};
    static const struct live_format segments = {
        .name = "openai segments", .chunk = segments_chunk, .end = end, .early_end = early_end, .plain = true};
    static const struct live_format words = {
        .name = "openai words", .chunk = words_chunk, .end = end, .early_end = early_end, .plain = true};
    if (want->format == OPENAI_VERBOSE_JSON)
        return want->words ? &words : &segments;
    return want->logprobs ? &logprobs : &plain;
}
