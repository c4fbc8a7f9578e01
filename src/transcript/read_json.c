/* SPDX-License-Identifier: MIT */
/*
 * verbose_json back to a transcript, and a checkpoint back to segments.
 *
 * A parsed JSON tree takes some fifty times the room of what it says, so a long transcript is never one tree: this file
 * walks over the outer object and the segments array itself and gives jansson one value at a time. The flat "words"
 * list repeats what the segments hold and is passed over the same way.
 *
 * The text may come from anywhere. Nothing is trusted: types, times and order are checked, whatever is wrong is
 * CORRUPT. Unknown members are ignored, so that a later version may add some.
 */
#include "base/str.h"
#include "transcript/format.h"

#include <jansson.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

/* Ten years; keeps every product of times far from overflow. */
#define SECONDS_MAX 315360000.0

struct reader {
    const char *at, *end;
    const char *what; /* for sentences: "the transcript" */
    struct err *err;
};

static int corrupt(struct reader *r, const char *why)
{
    return err_set(r->err, ERR_CORRUPT, "%s is damaged: %s", r->what, why);
}

static int out_of_memory(struct reader *r)
{
    return err_set(r->err, ERR_NOMEM, "no memory left to read %s", r->what);
}

static void free_json(json_t **j)
{
    json_decref(*j);
}

static void skip_blanks(struct reader *r)
{
    while (r->at < r->end && strchr(" \t\r\n", *r->at) && *r->at)
        r->at++;
}

static bool take(struct reader *r, char c)
{
    skip_blanks(r);
    if (r->at == r->end || *r->at != c)
        return false;
    r->at++;
    return true;
}

/* One whole JSON value. */
static int read_value(struct reader *r, json_t **ret)
{
    skip_blanks(r);
    json_error_t e;
    json_t *v = json_loadb(r->at, (size_t)(r->end - r->at),
                           JSON_DECODE_ANY | JSON_DISABLE_EOF_CHECK | JSON_REJECT_DUPLICATES, &e);
    if (!v)
        return json_error_code(&e) == json_error_out_of_memory ? out_of_memory(r) : corrupt(r, e.text);
    if (e.position <= 0 || e.position > r->end - r->at) {
        json_decref(v);
        return corrupt(r, "it ends in the middle");
    }
    r->at += e.position;
    *ret = v;
    return 0;
}

typedef int (*read_fn)(struct reader *r, void *arg);

/* "[...]", with `item` called in front of each element to read it. */
static int read_array(struct reader *r, read_fn item, void *arg)
{
    if (!take(r, '['))
        return corrupt(r, "a list is missing");
    if (take(r, ']'))
        return 0;
    do {
        int rc = item(r, arg);
        if (rc < 0)
            return rc;
    } while (take(r, ','));
    return take(r, ']') ? 0 : corrupt(r, "a list does not end");
}

static int skip_item(struct reader *r, void *arg)
{
    (void)arg;
    CLEANUP(free_json) json_t *v = NULL;
    return read_value(r, &v);
}

/* A member of the outer object and where its value goes. */
struct member {
    const char *name;
    read_fn read;
    bool required;
};

/* "{...}": each member by its row in the table, the others skipped; each at most once. */
static int read_object(struct reader *r, const struct member *table, size_t n, void *arg)
{
    unsigned seen = 0;
    if (!take(r, '{'))
        return corrupt(r, "it is not a JSON object");
    if (!take(r, '}')) {
        do {
            CLEANUP(free_json) json_t *key = NULL;
            int rc = read_value(r, &key);
            if (rc < 0)
                return rc;
            if (!json_is_string(key) || !take(r, ':'))
                return corrupt(r, "a member has no name");
            size_t i = 0;
            while (i < n && strcmp(table[i].name, json_string_value(key)) != 0)
                i++;
            if (i < n && seen & 1u << i)
                return corrupt(r, "a member comes twice");
            rc = i < n ? table[i].read(r, arg) : skip_item(r, NULL);
            if (rc < 0)
                return rc;
            seen |= i < n ? 1u << i : 0;
        } while (take(r, ','));
        if (!take(r, '}'))
            return corrupt(r, "it ends in the middle");
    }
    skip_blanks(r);
    if (r->at != r->end)
        return corrupt(r, "something stands behind its end");
    for (size_t i = 0; i < n; i++)
        if (table[i].required && !(seen & 1u << i))
            return err_set(r->err, ERR_CORRUPT, "%s is damaged: it has no \"%s\"", r->what, table[i].name);
    return 0;
}

/* Seconds as milliseconds. */
static int to_ms(struct reader *r, const json_t *v, int64_t *ret)
{
    double s = json_number_value(v);
    if (!json_is_number(v) || !isfinite(s) || fabs(s) > SECONDS_MAX)
        return corrupt(r, "a time is not a number of seconds");
    *ret = llround(s * 1000);
    return 0;
}

/* A string or null (a missing member is NULL too), cleaned, in the arena. */
static int to_text(struct reader *r, const json_t *v, struct arena *a, const char **ret)
{
    if (!v || json_is_null(v)) {
        *ret = NULL;
        return 0;
    }
    if (!json_is_string(v))
        return corrupt(r, "a text is not a string");
    *ret = transcript_clean(a, json_string_value(v));
    return *ret ? 0 : out_of_memory(r);
}

/* A number, 0 when it is missing. */
static int to_figure(struct reader *r, const json_t *v, double *ret)
{
    if (v && !json_is_number(v))
        return corrupt(r, "a figure is not a number");
    *ret = json_number_value(v);
    return 0;
}

static int to_word(struct reader *r, const json_t *o, struct arena *a, struct word *ret)
{
    const json_t *p = json_object_get(o, "probability");
    if (!json_is_object(o) || (p && !json_is_number(p)))
        return corrupt(r, "a word is malformed");
    ret->probability = p ? CLAMP(json_number_value(p), 0.0, 1.0) : -1.0;
    int rc = to_ms(r, json_object_get(o, "start"), &ret->start_ms);
    if (rc == 0)
        rc = to_ms(r, json_object_get(o, "end"), &ret->end_ms);
    if (rc == 0)
        rc = to_text(r, json_object_get(o, "word"), a, &ret->text);
    return rc == 0 && !ret->text ? corrupt(r, "a word has no text") : rc;
}

static int to_words(struct reader *r, const json_t *v, struct arena *a, struct segment *s)
{
    if (!v || json_is_null(v))
        return 0;
    if (!json_is_array(v))
        return corrupt(r, "the words of a segment are no list");
    size_t n = json_array_size(v);
    if (!n)
        return 0;
    struct word *words = arena_alloc(a, n * sizeof *words);
    if (!words)
        return out_of_memory(r);
    for (size_t i = 0; i < n; i++) {
        int rc = to_word(r, json_array_get(v, i), a, &words[i]);
        if (rc < 0)
            return rc;
    }
    s->words = words;
    s->n_words = n;
    return 0;
}

static int read_segment(struct reader *r, struct arena *a, struct segment *ret)
{
    CLEANUP(free_json) json_t *o = NULL;
    int rc = read_value(r, &o);
    if (rc < 0)
        return rc;
    if (!json_is_object(o))
        return corrupt(r, "a segment is no object");
    struct segment s = {.has_stats = json_is_true(json_object_get(o, "has_stats"))};
    rc = to_ms(r, json_object_get(o, "start"), &s.start_ms);
    if (rc == 0)
        rc = to_ms(r, json_object_get(o, "end"), &s.end_ms);
    if (rc == 0)
        rc = to_text(r, json_object_get(o, "text"), a, &s.text);
    if (rc == 0 && !s.text)
        rc = corrupt(r, "a segment has no text");
    if (rc == 0)
        rc = to_text(r, json_object_get(o, "suspect"), a, &s.suspect);
    if (rc == 0)
        rc = to_text(r, json_object_get(o, "language"), a, &s.language);
    if (rc == 0 && s.has_stats) {
        rc = to_figure(r, json_object_get(o, "avg_logprob"), &s.avg_logprob);
        if (rc == 0)
            rc = to_figure(r, json_object_get(o, "compression_ratio"), &s.compression_ratio);
        if (rc == 0)
            rc = to_figure(r, json_object_get(o, "no_speech_prob"), &s.no_speech_prob);
        if (rc == 0)
            rc = to_figure(r, json_object_get(o, "temperature"), &s.temperature);
    }
    if (rc == 0)
        rc = to_words(r, json_object_get(o, "words"), a, &s);
    if (rc == 0)
        *ret = s;
    return rc;
}

/* The string (or null) that comes next, as a field of the transcript. */
static int read_text(struct reader *r, struct arena *a, const char **ret)
{
    CLEANUP(free_json) json_t *v = NULL;
    int rc = read_value(r, &v);
    return rc < 0 ? rc : to_text(r, v, a, ret);
}

/* A probability, 0 for null. */
static int read_probability(struct reader *r, double *ret)
{
    CLEANUP(free_json) json_t *v = NULL;
    int rc = read_value(r, &v);
    if (rc < 0)
        return rc;
    if (!json_is_null(v) && !json_is_number(v))
        return corrupt(r, "a probability is not a number");
    *ret = CLAMP(json_number_value(v), 0.0, 1.0);
    return 0;
}

/* Segments are collected on the heap while their number is unknown. */
struct list {
    struct arena *arena;
    struct segment *v;
    size_t n, cap;
    const char *language, *warning;
    double language_probability;
};

static int list_segment(struct reader *r, void *arg)
{
    struct list *l = arg;
    if (l->n == l->cap) {
        size_t cap = l->cap ? l->cap * 2 : 16;
        struct segment *v = cap > l->arena->max / sizeof *v ? NULL : realloc(l->v, cap * sizeof *v);
        if (!v)
            return out_of_memory(r);
        l->v = v;
        l->cap = cap;
    }
    int rc = read_segment(r, l->arena, &l->v[l->n]);
    l->n += rc == 0;
    return rc;
}

static int read_list(struct reader *r, void *arg)
{
    return read_array(r, list_segment, arg);
}

static int read_list_language(struct reader *r, void *arg)
{
    struct list *l = arg;
    return read_text(r, l->arena, &l->language);
}

static int read_list_warning(struct reader *r, void *arg)
{
    struct list *l = arg;
    return read_text(r, l->arena, &l->warning);
}

static int read_list_probability(struct reader *r, void *arg)
{
    struct list *l = arg;
    return read_probability(r, &l->language_probability);
}

static int read_language_probability(struct reader *r, void *arg)
{
    struct transcript *t = arg;
    return read_probability(r, &t->language_probability);
}

static int read_duration(struct reader *r, void *arg)
{
    struct transcript *t = arg;
    CLEANUP(free_json) json_t *v = NULL;
    int rc = read_value(r, &v);
    return rc < 0 ? rc : to_ms(r, v, &t->duration_ms);
}

static int read_segments(struct reader *r, void *arg)
{
    struct transcript *t = arg;
    struct list l = {.arena = &t->arena};
    int rc = read_array(r, list_segment, &l);
    t->segments = l.v; /* also after a failure: transcript_clear frees it */
    t->n_segments = l.n;
    t->cap_segments = l.cap;
    return rc;
}

static int read_gaps(struct reader *r, const json_t *gaps, struct transcript *t)
{
    size_t n = json_array_size(gaps);
    if (!n)
        return 0;
    t->gaps = calloc(n, sizeof *t->gaps);
    if (!t->gaps)
        return out_of_memory(r);
    t->n_gaps = t->cap_gaps = n;
    for (size_t i = 0; i < n; i++) {
        const json_t *o = json_array_get(gaps, i);
        struct gap *g = &t->gaps[i];
        int rc = to_ms(r, json_object_get(o, "start"), &g->start_ms);
        if (rc == 0)
            rc = to_ms(r, json_object_get(o, "end"), &g->end_ms);
        if (rc == 0)
            rc = to_text(r, json_object_get(o, "why"), &t->arena, &g->why);
        if (rc < 0)
            return rc;
    }
    return 0;
}

static int read_coverage(struct reader *r, void *arg)
{
    struct transcript *t = arg;
    CLEANUP(free_json) json_t *v = NULL;
    int rc = read_value(r, &v);
    if (rc < 0 || json_is_null(v))
        return rc;
    const json_t *gaps = json_object_get(v, "gaps");
    if (!json_is_object(v) || (gaps && !json_is_array(gaps)))
        return corrupt(r, "the coverage is malformed");
    rc = to_ms(r, json_object_get(v, "speech"), &t->speech_ms);
    if (rc == 0)
        rc = to_ms(r, json_object_get(v, "covered"), &t->covered_ms);
    return rc < 0 ? rc : read_gaps(r, gaps, t);
}

static int skip_array(struct reader *r, void *arg)
{
    return read_array(r, skip_item, arg);
}

/* Readers of the transcript's string members. */
#define TEXT_MEMBER(field)                               \
    static int read_##field(struct reader *r, void *arg) \
    {                                                    \
        struct transcript *t = arg;                      \
        return read_text(r, &t->arena, &t->field);       \
    }
TEXT_MEMBER(task)
TEXT_MEMBER(language)
TEXT_MEMBER(engine)
TEXT_MEMBER(model)
TEXT_MEMBER(quality)
TEXT_MEMBER(warning)
#undef TEXT_MEMBER

int transcript_from_json(const char *json, size_t n, struct transcript *ret, struct err *err)
{
    static const struct member members[] = {
        {"task", read_task, false},
        {"language", read_language, false},
        {"duration", read_duration, true},
        {"engine", read_engine, false},
        {"model", read_model, false},
        {"quality", read_quality, false},
        {"warning", read_warning, false},
        {"coverage", read_coverage, false},
        {"segments", read_segments, true},
        {"words", skip_array, false},
        {"language_probability", read_language_probability, false},
    };
    struct reader r = {json, json + n, "the transcript", err};
    struct transcript t;
    transcript_init(&t);
    int rc = read_object(&r, members, ARRAY_LEN(members), &t);
    if (rc == 0)
        rc = transcript_check(&t, err);
    if (rc < 0) {
        transcript_clear(&t);
        return rc;
    }
    *ret = t;
    return 0;
}

int segments_from_json(const char *json, size_t n, struct arena *a, struct segments *ret, struct err *err)
{
    static const struct member members[] = {
        {"language", read_list_language, false},
        {"language_probability", read_list_probability, false},
        {"warning", read_list_warning, false},
        {"segments", read_list, true},
    };
    struct reader r = {json, json + n, "the text of a chunk", err};
    struct list l = {.arena = a};
    int rc = read_object(&r, members, ARRAY_LEN(members), &l);
    struct segment *v = rc == 0 && l.n ? arena_alloc(a, l.n * sizeof *v) : NULL;
    if (rc == 0 && l.n && !v)
        rc = out_of_memory(&r);
    if (v)
        memcpy(v, l.v, l.n * sizeof *v);
    free(l.v);
    if (rc < 0)
        return rc;
    *ret = (struct segments){
        .v = v, .n = l.n, .language = l.language, .language_probability = l.language_probability, .warning = l.warning};
    return 0;
}
