/* SPDX-License-Identifier: MIT */
/*
 * Every time passes through `clock_of`, which puts it on the recording's clock, into the chunk and not before the one
 * before it. Members of a wrong type count as missing; only an answer without any text is refused.
 */
#include "engine/openai_json.h"

#include "base/languages.h"
#include "engine/place.h"

#include <jansson.h>
#include <math.h>
#include <string.h>

#define SECONDS_MAX 1e6 /* keeps milliseconds far from overflow */

struct reader {
    const struct engine_chunk *c;
    struct arena *a;
    const json_t *words; /* the list beside the segments; NULL: none */
    size_t next_word;
    int64_t floor_ms;
};

static void free_json(json_t **j)
{
    json_decref(*j);
}

static int out_of_memory(struct err *err)
{
    return err_set(err, ERR_NOMEM, "no memory for the text of a chunk");
}

/* Seconds of the chunk as a time of the recording, at or behind `floor_ms`; `missing_ms` for what is no number. */
static int64_t clock_of(const struct reader *r, const json_t *o, const char *name, int64_t floor_ms, int64_t missing_ms)
{
    const json_t *v = json_object_get(o, name);
    int64_t start = samples_to_ms(r->c->span.start), end = samples_to_ms(r->c->span.end);
    int64_t at = json_is_number(v) ? start + llround(CLAMP(json_number_value(v), 0.0, SECONDS_MAX) * 1000) : missing_ms;
    return CLAMP(at, floor_ms, MAX(end, floor_ms));
}

static double figure(const json_t *o, const char *name)
{
    return json_number_value(json_object_get(o, name));
}

/* Without blanks around it; *ret "" for what is no string. */
static int read_string(const struct reader *r, const json_t *v, const char **ret, struct err *err)
{
    const char *s = json_is_string(v) ? json_string_value(v) : "";
    *ret = transcript_clean(r->a, s);
    return *ret ? 0 : out_of_memory(err);
}

/* ---- words ---- */

static const json_t *word_text(const json_t *o)
{
    const json_t *w = json_object_get(o, "word");
    return w ? w : json_object_get(o, "text");
}

/* Word `from` and the n - 1 behind it, into the segment. */
static int add_words(const struct reader *r, const json_t *list, size_t from, size_t n, struct segment *s,
                     struct err *err)
{
    struct word *v = arena_alloc(r->a, (n + 1) * sizeof *v);
    int64_t floor = s->start_ms;
    if (!v)
        return out_of_memory(err);
    for (size_t i = 0; i < n; i++) {
        const json_t *o = json_array_get(list, from + i);
        const json_t *p = json_object_get(o, "probability");
        struct word *w = &v[s->n_words];
        int rc = read_string(r, word_text(o), &w->text, err);
        if (rc < 0)
            return rc;
        if (!*w->text)
            continue;
        w->start_ms = MIN(clock_of(r, o, "start", floor, floor), s->end_ms);
        w->end_ms = MIN(clock_of(r, o, "end", w->start_ms, w->start_ms), s->end_ms);
        w->probability = json_is_number(p) ? CLAMP(json_number_value(p), 0.0, 1.0) : -1.0;
        floor = w->end_ms;
        s->n_words++;
    }
    s->words = v;
    return 0;
}

/* How many words of the list beside the segments belong to this one: those that begin before it ends. */
static size_t count_words(const struct reader *r, const json_t *segment, bool last)
{
    size_t all = json_array_size(r->words), n = r->next_word;
    double end = figure(segment, "end");
    while (n < all && (last || figure(json_array_get(r->words, n), "start") < end))
        n++;
    return n - r->next_word;
}

/* ---- segments ---- */

static void read_figures(const json_t *o, struct segment *s)
{
    s->has_stats = json_is_number(json_object_get(o, "avg_logprob"));
    if (!s->has_stats)
        return;
    s->avg_logprob = figure(o, "avg_logprob");
    s->compression_ratio = figure(o, "compression_ratio");
    s->no_speech_prob = figure(o, "no_speech_prob");
    s->temperature = figure(o, "temperature");
}

static int read_segment(struct reader *r, const json_t *o, bool last, struct segment *ret, struct err *err)
{
    struct segment s = {.text = ""};
    const json_t *own = json_object_get(o, "words");
    int rc = read_string(r, json_object_get(o, "text"), &s.text, err);
    if (rc < 0)
        return rc;
    s.start_ms = clock_of(r, o, "start", r->floor_ms, r->floor_ms);
    s.end_ms = clock_of(r, o, "end", s.start_ms, s.start_ms);
    r->floor_ms = s.end_ms;
    read_figures(o, &s);
    if (json_array_size(own)) {
        rc = add_words(r, own, 0, json_array_size(own), &s, err);
    } else if (r->words) {
        size_t n = count_words(r, o, last);
        rc = add_words(r, r->words, r->next_word, n, &s, err);
        r->next_word += n;
    }
    *ret = s;
    return rc;
}

static int read_segments(struct reader *r, const json_t *list, struct segments *ret, struct err *err)
{
    size_t all = json_array_size(list), n = 0;
    struct segment *v = arena_alloc(r->a, (all + 1) * sizeof *v);
    if (!v)
        return out_of_memory(err);
    for (size_t i = 0; i < all; i++) {
        int rc = read_segment(r, json_array_get(list, i), i + 1 == all, &v[n], err);
        if (rc < 0)
            return rc;
        n += *v[n].text != '\0';
    }
    *ret = (struct segments){.v = v, .n = n};
    return 0;
}

/* Words with times and a text without: one segment from the first to the last; none without a text. */
static int from_words(struct reader *r, const char *text, struct segments *ret, struct err *err)
{
    size_t n = json_array_size(r->words);
    struct segment *s = arena_alloc(r->a, sizeof *s);
    if (!s || !(s->text = transcript_clean(r->a, text)))
        return out_of_memory(err);
    *ret = (struct segments){.v = s, .n = *s->text != '\0'};
    if (!ret->n)
        return 0;
    s->start_ms = clock_of(r, json_array_get(r->words, 0), "start", r->floor_ms, r->floor_ms);
    s->end_ms = clock_of(r, json_array_get(r->words, n - 1), "end", s->start_ms, s->start_ms);
    return add_words(r, r->words, 0, n, s, err);
}

int openai_read_answer(const char *body, size_t n, const struct engine_chunk *c, struct arena *a, struct segments *ret,
                       struct err *err)
{
    json_error_t e;
    CLEANUP(free_json) json_t *o = json_loadb(body, n, 0, &e);
    const json_t *segments = json_object_get(o, "segments"), *words = json_object_get(o, "words");
    const char *text = json_string_value(json_object_get(o, "text"));
    const char *language = json_string_value(json_object_get(o, "language"));
    if (!text && !json_is_array(segments))
        return err_set(err, ERR_UNAVAILABLE, "the answer makes no sense: %s",
                       o ? "there is neither \"text\" nor \"segments\" in it" : "it is no JSON");
    struct reader r = {
        .c = c, .a = a, .words = json_array_size(words) ? words : NULL, .floor_ms = samples_to_ms(c->span.start)};
    int rc;
    if (json_array_size(segments))
        rc = read_segments(&r, segments, ret, err);
    else if (r.words && text)
        rc = from_words(&r, text, ret, err);
    else
        rc = place_text(text ? text : "", c, a, ret, err);
    if (rc == 0 && ret->n && language)
        ret->language = language_code(language);
    return rc;
}
