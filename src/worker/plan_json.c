/* SPDX-License-Identifier: MIT */
/*
 * {"version":2,"sha256":"...","engine":"...","model":"...","language":null,"task":"transcribe","prompt":null,
 *  "options":"...","heard":null,"probability":0,"total":160000,"damaged":false,
 *  "chunks":[[start,end,speech_start,speech_end,...],...]}, lengths in samples, the probability in millionths;
 *  "instead_of" behind "model" when that one stands in for another.
 *
 * A plan that cannot be read is as good as none, so the reader is strict: what it accepts needs no more checks.
 */
#include "worker/plan_json.h"

#include "base/str.h"

#include <inttypes.h>
#include <jansson.h>
#include <string.h>

enum { PLAN_VERSION = 2, MILLION = 1000000 };

static void add_field(struct buf *b, const char *name, const char *value)
{
    buf_addf(b, ",\"%s\":", name);
    if (value)
        str_add_json(b, value);
    else
        buf_adds(b, "null");
}

int plan_to_json(const struct plan *p, struct buf *ret, struct err *err)
{
    buf_addf(ret, "{\"version\":%d", PLAN_VERSION);
    add_field(ret, "sha256", p->input_sha256);
    add_field(ret, "engine", p->engine);
    add_field(ret, "model", p->model);
    if (p->instead_of)
        add_field(ret, "instead_of", p->instead_of);
    add_field(ret, "language", p->language);
    add_field(ret, "task", p->task);
    add_field(ret, "prompt", p->prompt);
    add_field(ret, "options", p->options);
    add_field(ret, "heard", p->heard);
    buf_addf(ret, ",\"probability\":%d", (int)(CLAMP(p->heard_probability, 0.0, 1.0) * MILLION));
    buf_addf(ret, ",\"total\":%" PRId64 ",\"damaged\":%s,\"chunks\":[", p->total_samples,
             p->damaged ? "true" : "false");
    for (size_t i = 0; i < p->n_chunks; i++) {
        const struct plan_chunk *c = &p->chunks[i];
        buf_addf(ret, "%s[%" PRId64 ",%" PRId64, i ? "," : "", c->span.start, c->span.end);
        for (size_t k = 0; k < c->n_speech; k++)
            buf_addf(ret, ",%" PRId64 ",%" PRId64, c->speech[k].start, c->speech[k].end);
        buf_addc(ret, ']');
    }
    buf_adds(ret, "]}");
    return buf_check(ret, "the chunk plan", err);
}

static int bad(struct err *err, const char *what)
{
    return err_set(err, ERR_CORRUPT, "the saved plan is damaged: %s", what);
}

/* A string, or null where that is allowed. */
static int get_text(const json_t *root, const char *name, bool required, struct arena *a, const char **ret,
                    struct err *err)
{
    const json_t *v = json_object_get(root, name);
    if (json_is_null(v) && !required) {
        *ret = NULL;
        return 0;
    }
    if (!json_is_string(v))
        return bad(err, name);
    *ret = arena_strdup(a, json_string_value(v));
    return *ret ? 0 : err_set(err, ERR_NOMEM, "out of memory reading a plan");
}

static bool get_int(const json_t *v, int64_t *ret)
{
    if (!json_is_integer(v) || json_integer_value(v) < 0)
        return false;
    *ret = json_integer_value(v);
    return true;
}

/* Pairs behind the first two numbers of a chunk. */
static int get_speech(const json_t *v, struct arena *a, struct plan_chunk *c, struct err *err)
{
    size_t n = json_array_size(v) / 2 - 1;
    struct span *speech = arena_alloc(a, (n + 1) * sizeof *speech);
    if (!speech)
        return err_set(err, ERR_NOMEM, "out of memory reading a plan");
    int64_t from = c->span.start;
    for (size_t i = 0; i < n; i++) {
        struct span *s = &speech[i];
        if (!get_int(json_array_get(v, 2 * i + 2), &s->start) || !get_int(json_array_get(v, 2 * i + 3), &s->end))
            return bad(err, "the speech of a chunk is no list of numbers");
        if (s->start < from || s->end <= s->start || s->end > c->span.end)
            return bad(err, "speech overlaps or leaves its chunk");
        from = s->end;
    }
    c->speech = speech;
    c->n_speech = n;
    return 0;
}

static int get_chunk(const json_t *v, int64_t from, int64_t total, struct arena *a, struct plan_chunk *ret,
                     struct err *err)
{
    struct plan_chunk c = {.n_speech = 0};
    if (!json_is_array(v) || json_array_size(v) < 2 || json_array_size(v) % 2 ||
        !get_int(json_array_get(v, 0), &c.span.start) || !get_int(json_array_get(v, 1), &c.span.end))
        return bad(err, "a chunk is not pairs of numbers");
    bool empty = total == 0 && c.span.end == 0; /* of an engine that needs no PCM */
    if (c.span.start < from || (c.span.end <= c.span.start && !empty) || c.span.end > total)
        return bad(err, "chunks overlap or leave the recording");
    int rc = get_speech(v, a, &c, err);
    if (rc == 0)
        *ret = c;
    return rc;
}

static int get_chunks(const json_t *v, struct arena *a, struct plan *p, struct err *err)
{
    size_t n = json_array_size(v);
    if (!json_is_array(v) || n > PLAN_MAX_CHUNKS || (p->total_samples == 0 && n > 1))
        return bad(err, "chunks");
    struct plan_chunk *chunks = arena_alloc(a, (n + 1) * sizeof *chunks);
    if (!chunks)
        return err_set(err, ERR_NOMEM, "out of memory reading a plan");
    int64_t from = 0;
    for (size_t i = 0; i < n; i++) {
        int rc = get_chunk(json_array_get(v, i), from, p->total_samples, a, &chunks[i], err);
        if (rc < 0)
            return rc;
        from = chunks[i].span.end;
    }
    p->chunks = chunks;
    p->n_chunks = n;
    return 0;
}

static int get_plan(const json_t *root, struct arena *a, struct plan *ret, struct err *err)
{
    struct plan p = {0};
    int64_t version = 0;
    if (!get_int(json_object_get(root, "version"), &version) || version != PLAN_VERSION)
        return bad(err, "version");
    const struct {
        const char *name;
        const char **field;
        bool required;
    } texts[] = {
        {"sha256", &p.input_sha256, true}, {"engine", &p.engine, true}, {"model", &p.model, true},
        {"language", &p.language, false},  {"task", &p.task, false},    {"prompt", &p.prompt, false},
        {"options", &p.options, false},    {"heard", &p.heard, false},
    };
    for (size_t i = 0; i < ARRAY_LEN(texts); i++) {
        int rc = get_text(root, texts[i].name, texts[i].required, a, texts[i].field, err);
        if (rc < 0)
            return rc;
    }
    if (json_object_get(root, "instead_of")) {
        int rc = get_text(root, "instead_of", true, a, &p.instead_of, err);
        if (rc < 0)
            return rc;
    }
    int64_t millionths = 0;
    if (!get_int(json_object_get(root, "probability"), &millionths) || millionths > MILLION)
        return bad(err, "probability");
    p.heard_probability = (double)millionths / MILLION;
    if (!get_int(json_object_get(root, "total"), &p.total_samples))
        return bad(err, "total");
    const json_t *damaged = json_object_get(root, "damaged");
    if (!json_is_boolean(damaged))
        return bad(err, "damaged");
    p.damaged = json_is_true(damaged);
    int rc = get_chunks(json_object_get(root, "chunks"), a, &p, err);
    if (rc == 0)
        *ret = p;
    return rc;
}

int plan_from_json(const char *json, size_t n, struct arena *a, struct plan *ret, struct err *err)
{
    json_error_t at;
    json_t *root = json_loadb(json, n, JSON_REJECT_DUPLICATES, &at);
    if (!root)
        return err_set(err, ERR_CORRUPT, "the saved plan is damaged: %s", at.text);
    int rc = get_plan(root, a, ret, err);
    json_decref(root);
    return rc;
}

bool plan_same_header(const struct plan *a, const struct plan *b)
{
    return str_eq(a->input_sha256, b->input_sha256) && str_eq(a->engine, b->engine) && str_eq(a->model, b->model) &&
           str_eq(a->language, b->language) && str_eq(a->task, b->task) && str_eq(a->prompt, b->prompt) &&
           str_eq(a->options, b->options) && a->total_samples == b->total_samples;
}
