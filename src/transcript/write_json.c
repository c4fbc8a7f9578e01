/* SPDX-License-Identifier: MIT */
/*
 * JSON, written directly: numbers are made from integers, so that a locale or a rounding of doubles cannot change them,
 * and only one segment stands in memory as text at a time.
 *
 * verbose_json holds every field of OpenAI's form under OpenAI's names (clients read it unchanged), and beside them
 * what we know more: engine, model, quality, coverage, warning, and per segment `suspect`, `has_stats` (false: the
 * engine gives none of Whisper's figures, and the zeros there mean nothing) and its words with probabilities.
 * transcript_from_json reads it back; segments_to_json uses the same segment form.
 */
#include "base/str.h"
#include "transcript/writers.h"

#include <inttypes.h>
#include <math.h>
#include <stdlib.h>

/* Seconds with three decimals. */
static void add_seconds(struct buf *b, int64_t ms)
{
    uint64_t v = ms < 0 ? 0 - (uint64_t)ms : (uint64_t)ms;
    buf_addf(b, "%s%" PRIu64 ".%03d", ms < 0 ? "-" : "", v / 1000, (int)(v % 1000));
}

/* Six decimals; what cannot be a figure of an engine becomes 0. */
static void add_figure(struct buf *b, double v)
{
    if (!isfinite(v) || fabs(v) > 1e9)
        v = 0;
    int64_t millionths = llround(v * 1e6);
    buf_addf(b, "%s%lld.%06d", millionths < 0 ? "-" : "", llabs(millionths) / 1000000,
             (int)(llabs(millionths) % 1000000));
}

static void add_string(struct buf *b, const char *key, const char *value)
{
    buf_addf(b, "\"%s\":", key);
    if (value)
        str_add_json(b, value);
    else
        buf_adds(b, "null");
}

static void add_word(struct buf *b, const struct word *w)
{
    add_string(b, "word", w->text);
    buf_adds(b, ",\"start\":");
    add_seconds(b, w->start_ms);
    buf_adds(b, ",\"end\":");
    add_seconds(b, w->end_ms);
    if (w->probability >= 0) {
        buf_adds(b, ",\"probability\":");
        add_figure(b, w->probability);
    }
}

static void add_words(struct buf *b, const struct segment *s)
{
    for (size_t i = 0; i < s->n_words; i++) {
        buf_adds(b, i ? ",{" : "{");
        add_word(b, &s->words[i]);
        buf_addc(b, '}');
    }
}

/* `language`: of the whole, which a segment need not repeat. */
static void add_segment(struct buf *b, const struct segment *s, size_t id, const char *language)
{
    /* `seek` is OpenAI's place of the window in frames of 10 ms; here it is the segment's own place. */
    buf_addf(b, "{\"id\":%zu,\"seek\":%" PRId64 ",\"start\":", id, s->start_ms / 10);
    add_seconds(b, s->start_ms);
    buf_adds(b, ",\"end\":");
    add_seconds(b, s->end_ms);
    buf_addc(b, ',');
    add_string(b, "text", s->text);
    buf_adds(b, ",\"tokens\":[],\"temperature\":");
    add_figure(b, s->has_stats ? s->temperature : 0);
    buf_adds(b, ",\"avg_logprob\":");
    add_figure(b, s->has_stats ? s->avg_logprob : 0);
    buf_adds(b, ",\"compression_ratio\":");
    add_figure(b, s->has_stats ? s->compression_ratio : 0);
    buf_adds(b, ",\"no_speech_prob\":");
    add_figure(b, s->has_stats ? s->no_speech_prob : 0);
    buf_addf(b, ",\"has_stats\":%s,", s->has_stats ? "true" : "false");
    add_string(b, "suspect", s->suspect);
    if (s->language && !str_eq(s->language, language)) {
        buf_addc(b, ',');
        add_string(b, "language", s->language);
    }
    buf_adds(b, ",\"words\":[");
    add_words(b, s);
    buf_adds(b, "]}");
}

/* The text of all segments as one JSON string, a segment at a time. */
static void add_text(struct out *o, const struct transcript *t)
{
    CLEANUP(buf_clear) struct buf piece = BUF_INIT(OUT_MAX);
    buf_adds(&o->buf, "\"text\":\"");
    for (size_t i = 0; i < t->n_segments && o->rc == 0; i++) {
        buf_reset(&piece);
        str_add_json(&piece, t->segments[i].text);
        if (i)
            buf_addc(&o->buf, ' ');
        if (buf_ok(&piece))
            buf_add(&o->buf, piece.data + 1, piece.len - 2); /* without its quotes */
        else
            o->rc = buf_check(&piece, "a segment of the transcript", o->err);
        out_flush(o, false);
    }
    buf_addc(&o->buf, '"');
}

static void add_coverage(struct out *o, const struct transcript *t)
{
    buf_adds(&o->buf, "\"coverage\":{\"speech\":");
    add_seconds(&o->buf, t->speech_ms);
    buf_adds(&o->buf, ",\"covered\":");
    add_seconds(&o->buf, t->covered_ms);
    buf_adds(&o->buf, ",\"gaps\":[");
    for (size_t i = 0; i < t->n_gaps && o->rc == 0; i++) {
        buf_adds(&o->buf, i ? ",{\"start\":" : "{\"start\":");
        add_seconds(&o->buf, t->gaps[i].start_ms);
        buf_adds(&o->buf, ",\"end\":");
        add_seconds(&o->buf, t->gaps[i].end_ms);
        buf_addc(&o->buf, ',');
        add_string(&o->buf, "why", t->gaps[i].why);
        buf_addc(&o->buf, '}');
        out_flush(o, false);
    }
    buf_adds(&o->buf, "]}");
}

static void add_origin(struct buf *b, const struct transcript *t)
{
    add_string(b, "engine", t->engine);
    buf_addc(b, ',');
    add_string(b, "model", t->model);
    buf_addc(b, ',');
    add_string(b, "quality", t->quality);
    buf_addc(b, ',');
    add_string(b, "warning", t->warning);
    buf_addc(b, ',');
}

/* Null for 0, which is "unknown". */
static void add_probability(struct buf *b, double p)
{
    buf_adds(b, ",\"language_probability\":");
    if (p > 0)
        add_figure(b, p);
    else
        buf_adds(b, "null");
}

static void add_task(struct buf *b, const struct transcript *t)
{
    add_string(b, "task", t->task ? t->task : "transcribe");
    buf_addc(b, ',');
    add_string(b, "language", t->language);
    add_probability(b, t->language_probability);
    buf_adds(b, ",\"duration\":");
    add_seconds(b, t->duration_ms);
    buf_addc(b, ',');
}

void write_json(struct out *o, const struct transcript *t)
{
    buf_addc(&o->buf, '{');
    add_text(o, t);
    buf_addc(&o->buf, ',');
    add_task(&o->buf, t);
    add_origin(&o->buf, t);
    double confidence = transcript_confidence(t);
    buf_adds(&o->buf, "\"confidence\":");
    if (confidence >= 0)
        add_figure(&o->buf, confidence);
    else
        buf_adds(&o->buf, "null");
    buf_addc(&o->buf, ',');
    add_coverage(o, t);
    buf_adds(&o->buf, "}\n");
}

void write_verbose_json(struct out *o, const struct transcript *t)
{
    buf_addc(&o->buf, '{');
    add_task(&o->buf, t);
    add_origin(&o->buf, t);
    add_coverage(o, t);
    buf_addc(&o->buf, ',');
    add_text(o, t);
    buf_adds(&o->buf, ",\n\"segments\":[");
    for (size_t i = 0; i < t->n_segments && o->rc == 0; i++) {
        buf_adds(&o->buf, i ? ",\n" : "\n");
        add_segment(&o->buf, &t->segments[i], i, t->language);
        out_flush(o, false);
    }
    buf_adds(&o->buf, "],\n\"words\":[");
    bool first = true;
    for (size_t i = 0; i < t->n_segments && o->rc == 0; i++) {
        if (!t->segments[i].n_words)
            continue;
        buf_adds(&o->buf, first ? "\n" : ",\n");
        add_words(&o->buf, &t->segments[i]);
        first = false;
        out_flush(o, false);
    }
    buf_adds(&o->buf, "]}\n");
}

int segments_to_json(const struct segments *s, struct buf *ret, struct err *err)
{
    buf_addc(ret, '{');
    add_string(ret, "language", s->language);
    add_probability(ret, s->language_probability);
    buf_addc(ret, ',');
    add_string(ret, "warning", s->warning);
    buf_adds(ret, ",\"segments\":[");
    for (size_t i = 0; i < s->n; i++) {
        if (i)
            buf_addc(ret, ',');
        add_segment(ret, &s->v[i], i, s->language);
    }
    buf_adds(ret, "]}");
    return buf_check(ret, "the text of a chunk", err);
}
