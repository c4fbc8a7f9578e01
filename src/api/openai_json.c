/* SPDX-License-Identifier: MIT */
/*
 * The answers of OpenAI's API, made from a transcript, a segment at a time.
 *
 * As there, the texts of segments begin with a blank, so that clients may join them with nothing between. `tokens` is
 * empty: they are not kept; `seek` is the segment's own place. Beside OpenAI's members stand `engine`, `model` and,
 * when there is one, `warning`.
 */
#include "api/jsonw.h"
#include "api/openai.h"
#include "base/languages.h"
#include "base/str.h"
#include "transcript/format.h"

#include <math.h>
#include <string.h>

enum { PIECE_MAX = 64 << 20 /* a segment as JSON */ };

#define LEAST_PROBABILITY 1e-6

/* An answer being written. */
struct out {
    struct answer *a;
    struct buf b;
    struct jsonw w;
    int rc; /* < 0: no more is written */
    struct err *err;
};

/* Hands over what is there. */
static void flush(struct out *o)
{
    if (o->rc == 0)
        o->rc = buf_check(&o->b, "the answer", o->err);
    if (o->rc == 0)
        o->rc = answer_write(o->a, buf_str(&o->b), o->b.len, o->err);
    buf_reset(&o->b);
}

static int sink(const void *data, size_t n, void *arg, struct err *err)
{
    return answer_write(arg, data, n, err);
}

/* The whole text as one JSON string. */
static void add_text(struct out *o, const struct transcript *t)
{
    CLEANUP(buf_clear) struct buf piece = BUF_INIT(PIECE_MAX);
    jw_raw(&o->w, "text", "\"");
    for (size_t i = 0; i < t->n_segments && o->rc == 0; i++) {
        buf_reset(&piece);
        str_add_json(&piece, t->segments[i].text);
        o->rc = buf_check(&piece, "a segment of the transcript", o->err);
        if (i)
            buf_addc(&o->b, ' ');
        if (o->rc == 0)
            buf_add(&o->b, piece.data + 1, piece.len - 2);
        flush(o);
    }
    buf_addc(&o->b, '"');
}

void openai_write_usage(struct jsonw *w, int64_t duration_ms)
{
    jw_open(w, "usage", '{');
    jw_str(w, "type", "duration");
    jw_seconds(w, "seconds", duration_ms);
    jw_close(w, '}');
}

static void add_origin(struct jsonw *w, const struct transcript *t)
{
    jw_str(w, "engine", t->engine);
    jw_str(w, "model", t->model);
    if (t->warning)
        jw_str(w, "warning", t->warning);
}

void openai_write_logprob(struct jsonw *w, const struct word *word, bool blank)
{
    if (word->probability < 0)
        return;
    CLEANUP(buf_clear) struct buf text = BUF_INIT(PIECE_MAX);
    if (blank)
        buf_addc(&text, ' ');
    buf_adds(&text, word->text);
    jw_open(w, NULL, '{');
    jw_str(w, "token", buf_str(&text));
    jw_figure(w, "logprob", log(CLAMP(word->probability, LEAST_PROBABILITY, 1.0)));
    jw_open(w, "bytes", '[');
    for (const char *p = buf_str(&text); *p; p++)
        jw_int(w, NULL, (unsigned char)*p);
    jw_close(w, ']');
    jw_close(w, '}');
}

/* A word is one token here: the engine tells how sure it is of words. */
static void add_logprobs(struct out *o, const struct transcript *t)
{
    jw_open(&o->w, "logprobs", '[');
    for (size_t i = 0; i < t->n_segments && o->rc == 0; i++) {
        const struct segment *s = &t->segments[i];
        for (size_t k = 0; k < s->n_words; k++)
            openai_write_logprob(&o->w, &s->words[k], i || k);
        flush(o);
    }
    jw_close(&o->w, ']');
}

/* All that were heard, the main one first. */
static void add_languages(struct jsonw *w, const struct transcript *t)
{
    const char *seen[TRANSCRIPT_LANGUAGES] = {t->language};
    size_t n = t->language ? 1 : 0;
    for (size_t i = 0; i < t->n_segments && n < ARRAY_LEN(seen); i++) {
        const char *code = t->segments[i].language;
        size_t k = 0;
        while (code && k < n && strcmp(seen[k], code) != 0)
            k++;
        if (code && k == n)
            seen[n++] = code;
    }
    jw_open(w, "languages", '[');
    for (size_t i = 0; i < n; i++) {
        jw_open(w, NULL, '{');
        jw_str(w, "code", seen[i]);
        jw_close(w, '}');
    }
    jw_close(w, ']');
}

static void write_json(struct out *o, const struct transcript *t, const struct openai_want *want)
{
    jw_open(&o->w, NULL, '{');
    add_text(o, t);
    add_languages(&o->w, t);
    if (want->logprobs)
        add_logprobs(o, t);
    openai_write_usage(&o->w, t->duration_ms);
    add_origin(&o->w, t);
    jw_close(&o->w, '}');
    buf_addc(&o->b, '\n');
}

static void add_segment(struct jsonw *w, const struct segment *s, size_t id)
{
    CLEANUP(buf_clear) struct buf text = BUF_INIT(PIECE_MAX);
    buf_addc(&text, ' ');
    buf_adds(&text, s->text);
    jw_open(w, NULL, '{');
    jw_int(w, "id", (int64_t)id);
    jw_int(w, "seek", s->start_ms / 10);
    jw_seconds(w, "start", s->start_ms);
    jw_seconds(w, "end", s->end_ms);
    jw_str(w, "text", buf_str(&text));
    jw_raw(w, "tokens", "[]");
    jw_figure(w, "temperature", s->has_stats ? s->temperature : 0);
    jw_figure(w, "avg_logprob", s->has_stats ? s->avg_logprob : 0);
    jw_figure(w, "compression_ratio", s->has_stats ? s->compression_ratio : 0);
    jw_figure(w, "no_speech_prob", s->has_stats ? s->no_speech_prob : 0);
    jw_close(w, '}');
}

void openai_write_word(struct jsonw *w, const struct word *word)
{
    jw_open(w, NULL, '{');
    jw_str(w, "word", word->text);
    jw_seconds(w, "start", word->start_ms);
    jw_seconds(w, "end", word->end_ms);
    jw_close(w, '}');
}

/* Of the text, as a name: that of a translation is English. */
static const char *language_of(const struct transcript *t, const char *asked)
{
    const char *code = str_eq(t->task, "translate") ? "en" : t->language ? t->language : asked;
    const char *name = code ? language_name(code) : NULL;
    return name ? name : code ? code : "unknown";
}

static void write_verbose(struct out *o, const struct transcript *t, const struct openai_want *want, const char *asked)
{
    struct jsonw *w = &o->w;
    jw_open(w, NULL, '{');
    jw_str(w, "task", t->task ? t->task : "transcribe");
    jw_str(w, "language", language_of(t, asked));
    jw_seconds(w, "duration", t->duration_ms);
    add_text(o, t);
    if (want->segments) {
        jw_open(w, "segments", '[');
        for (size_t i = 0; i < t->n_segments && o->rc == 0; i++) {
            add_segment(w, &t->segments[i], i);
            flush(o);
        }
        jw_close(w, ']');
    }
    if (want->words) {
        jw_open(w, "words", '[');
        for (size_t i = 0; i < t->n_segments && o->rc == 0; i++) {
            for (size_t k = 0; k < t->segments[i].n_words; k++)
                openai_write_word(w, &t->segments[i].words[k]);
            flush(o);
        }
        jw_close(w, ']');
    }
    openai_write_usage(w, t->duration_ms);
    add_origin(w, t);
    jw_close(w, '}');
    buf_addc(&o->b, '\n');
}

static void write_text(struct out *o, const struct transcript *t)
{
    for (size_t i = 0; i < t->n_segments && o->rc == 0; i++) {
        if (i)
            buf_addc(&o->b, ' ');
        buf_adds(&o->b, t->segments[i].text);
        flush(o);
    }
    buf_addc(&o->b, '\n');
}

int openai_write(struct answer *a, const struct transcript *t, const struct openai_want *want,
                 const char *asked_language, struct err *err)
{
    static const char *const types[] = {
#define X(name, word, type) type,
        OPENAI_FORMATS(X)
#undef X
    };
    struct out o = {.a = a, .b = BUF_INIT(PIECE_MAX), .err = err};
    o.w.b = &o.b;
    switch (want->format) {
    case OPENAI_JSON:
        write_json(&o, t, want);
        break;
    case OPENAI_VERBOSE_JSON:
        write_verbose(&o, t, want, asked_language);
        break;
    case OPENAI_TEXT:
        write_text(&o, t);
        break;
    case OPENAI_SRT:
        o.rc = format_write(t, FORMAT_SRT, sink, a, err);
        break;
    case OPENAI_VTT:
        o.rc = format_write(t, FORMAT_VTT, sink, a, err);
        break;
    case OPENAI_FORMAT_COUNT:
        break;
    }
    flush(&o);
    buf_clear(&o.b);
    if (o.rc < 0)
        return o.rc;
    a->content_type = want->format < OPENAI_FORMAT_COUNT ? types[want->format] : NULL;
    return 0;
}
