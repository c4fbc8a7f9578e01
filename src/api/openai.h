/* SPDX-License-Identifier: MIT */
/*
 * Inside the dialect of OpenAI's API: what a request for a transcription asks for, and how its result is written.
 *
 * dialect_openai.c knows fields and refusals, openai_json.c the answers, openai_stream.c the streamed ones, and
 * route_openai.c puts them together.
 */
#ifndef API_OPENAI_H
#define API_OPENAI_H

#include "api/answer.h"
#include "api/form.h"
#include "api/jsonw.h"
#include "api/live.h"
#include "transcript/transcript.h"

/* word in `response_format`, media type */
#define OPENAI_FORMATS(X)                               \
    X(JSON, "json", "application/json")                 \
    X(TEXT, "text", "text/plain; charset=utf-8")        \
    X(SRT, "srt", "text/plain; charset=utf-8")          \
    X(VERBOSE_JSON, "verbose_json", "application/json") \
    X(VTT, "vtt", "text/vtt; charset=utf-8")

enum openai_format {
#define X(name, word, type) OPENAI_##name,
    OPENAI_FORMATS(X)
#undef X
        OPENAI_FORMAT_COUNT
};

struct openai_want {
    enum openai_format format;
    bool words, segments; /* of a verbose_json */
    bool logprobs, stream;
};

/* From a form that the dialect has completed. */
struct openai_want openai_want(const struct form *f);

/* Writes the whole body and its media type. `asked_language` may be NULL. */
int openai_write(struct answer *a, const struct transcript *t, const struct openai_want *want,
                 const char *asked_language, struct err *err) MUST_CHECK;

/* {"error": {...}} without a newline. `param` may be NULL. */
void openai_write_error(struct buf *b, unsigned status, const char *code, const char *message, const char *param);

/* {"token", "logprob", "bytes"} of a word, with a blank before it; nothing when its probability is not known. */
void openai_write_logprob(struct jsonw *w, const struct word *word, bool blank);
/* {"word", "start", "end"} */
void openai_write_word(struct jsonw *w, const struct word *word);

/* "usage": {"type": "duration", "seconds": 8.59} */
void openai_write_usage(struct jsonw *w, int64_t duration_ms);

/* What the end of a job without a transcript is called; *ret_retry: the same request may go well later. */
enum problem openai_problem(const struct job *j, bool *ret_retry);
const char *openai_reason(const struct job *j);

/* What clients are told whose request the server does not end; the latter with the job's id. */
#define OPENAI_STOPS   "the server stops, and gave the transcription up; send it again"
#define OPENAI_REMOVED "job %s was removed before it ended"

/* How a streamed answer is worded. */
const struct live_format *openai_stream(const struct openai_want *want);

#endif
