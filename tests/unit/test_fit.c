/* SPDX-License-Identifier: MIT */
/* Which model a job gets when memory is short: an engine made for the test has room for so many megabytes. */
#include "worker/fit.h"

#include "base/str.h"
#include "engine/engine_ops.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

static const struct engine_model models[] = {
    {.name = "small", .parameters = 200, .multilingual = true, .can_translate = true},
    {.name = "base", .parameters = 100, .multilingual = true, .can_translate = true},
    {.name = "tiny.en", .parameters = 50},
};

struct fake {
    struct engine engine;
    int64_t room;  /* in parameters */
    int fail_code; /* of every load, when not 0 */
    int fell_back;
    bool has_no_list;
};

static struct fake *self(struct engine *e)
{
    return CONTAINER_OF(e, struct fake, engine);
}

static const char *fake_model(const struct engine *e, const struct engine_request *r)
{
    (void)e;
    return r->model ? r->model : "small";
}

static int fake_load(struct engine *e, const struct engine_request *r, const struct cancel *cancel, struct err *err)
{
    (void)cancel;
    const char *name = fake_model(e, r);
    if (self(e)->fail_code)
        return err_set(err, self(e)->fail_code, "the fake fails");
    for (size_t i = 0; i < ARRAY_LEN(models); i++)
        if (strcmp(models[i].name, name) == 0)
            return models[i].parameters <= self(e)->room ? 1 : err_set(err, ERR_NOMEM, "no room for %s", name);
    return err_set(err, ERR_INVALID, "there is no %s", name);
}

static void fake_fell_back(struct engine *e)
{
    self(e)->fell_back++;
}

static int fake_models(struct engine *e, struct arena *a, struct engine_model **ret, size_t *ret_n, struct err *err)
{
    if (self(e)->has_no_list)
        return err_set(err, ERR_UNSUPPORTED, "only its server knows");
    *ret = arena_alloc(a, sizeof models);
    if (*ret)
        memcpy(*ret, models, sizeof models);
    *ret_n = ARRAY_LEN(models);
    return *ret ? 0 : err_set(err, ERR_NOMEM, "no memory");
}

static const struct engine_ops fake_ops = {.info = {.name = "fake"},
                                           .model = fake_model,
                                           .load = fake_load,
                                           .fell_back = fake_fell_back,
                                           .models = fake_models};

/* What the hooks were told, as one text. */
struct told {
    char text[256];
};

static void on_ready(void *arg, const char *model, int64_t ms, bool loaded)
{
    struct told *t = arg;
    size_t n = strlen(t->text);
    assert_true(ms >= 0);
    snprintf(t->text + n, sizeof t->text - n, "%s is %s", model, loaded ? "loaded" : "there");
}

static void on_too_large(void *arg, const char *model, const char *instead, const struct err *why)
{
    struct told *t = arg;
    size_t n = strlen(t->text);
    assert_int_equal(why->code, ERR_NOMEM);
    snprintf(t->text + n, sizeof t->text - n, "%s to %s, ", model, instead ? instead : "nothing");
}

enum { SMALLER_OK = 1, KEEP = 2, CHUNKS = 4, OTHER_HEADER = 8, NO_LIST = 16 };

static void test_which_model(void **state)
{
    (void)state;
    static const struct {
        unsigned flags;
        int64_t room;
        const char *language, *saved, *saved_instead_of; /* NULL: no saved plan */
        int fail_code, rc;
        const char *model, *instead_of, *told;
    } rows[] = {
        {SMALLER_OK, 200, NULL, NULL, NULL, 0, 0, "small", NULL, "small is loaded"},
        {SMALLER_OK, 100, NULL, NULL, NULL, 0, 0, "base", "small", "small to base, base is loaded"},
        {SMALLER_OK | NO_LIST, 100, NULL, NULL, NULL, 0, ERR_NOMEM, "small", NULL, "small to nothing, "},
        {0, 100, NULL, NULL, NULL, 0, ERR_NOMEM, "small", NULL, "small to nothing, "},
        /* Two steps; but not to one that cannot do it. */
        {SMALLER_OK, 50, "en", NULL, NULL, 0, 0, "tiny.en", "small",
         "small to base, base to tiny.en, tiny.en is loaded"},
        {SMALLER_OK, 50, NULL, NULL, NULL, 0, ERR_NOMEM, "base", "small", "small to base, base to nothing, "},
        /* Only want of memory is a reason. */
        {SMALLER_OK, 200, NULL, NULL, NULL, ERR_BUSY, ERR_BUSY, "small", NULL, ""},
        {SMALLER_OK, 200, NULL, NULL, NULL, ERR_CANCELLED, ERR_CANCELLED, "small", NULL, ""},
        /* A saved plan without chunks binds nobody. */
        {SMALLER_OK | KEEP, 200, NULL, "base", "small", 0, 0, "small", NULL, "small is loaded"},
        {SMALLER_OK | KEEP, 100, NULL, "small", NULL, 0, 0, "base", "small", "small to base, base is loaded"},
        /* One with chunks is gone on with, by the model that stood in; and waits for its model but for the last time.
         */
        {SMALLER_OK | KEEP | CHUNKS, 200, NULL, "base", "small", 0, 0, "base", "small", "base is loaded"},
        {SMALLER_OK | CHUNKS, 200, NULL, "base", "small", 0, 0, "base", "small", "base is loaded"},
        {SMALLER_OK | KEEP | CHUNKS, 100, NULL, "small", NULL, 0, ERR_NOMEM, "small", NULL, "small to nothing, "},
        {SMALLER_OK | CHUNKS, 100, NULL, "small", NULL, 0, 0, "base", "small", "small to base, base is loaded"},
        {SMALLER_OK | KEEP | CHUNKS, 50, "en", "base", "small", 0, ERR_NOMEM, "base", "small", "base to nothing, "},
        {SMALLER_OK | CHUNKS, 50, "en", "base", "small", 0, 0, "tiny.en", "small",
         "base to tiny.en, tiny.en is loaded"},
        /* Chunks of another request, or of a model that stood in for another, count for nothing. */
        {SMALLER_OK | KEEP | CHUNKS | OTHER_HEADER, 200, NULL, "base", "small", 0, 0, "small", NULL, "small is loaded"},
        {SMALLER_OK | KEEP | CHUNKS, 200, NULL, "base", NULL, 0, 0, "small", NULL, "small is loaded"},
        {SMALLER_OK | KEEP | CHUNKS, 200, NULL, "base", "large", 0, 0, "small", NULL, "small is loaded"},
    };
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        CLEANUP(arena_clear) struct arena a = ARENA_INIT;
        unsigned flags = rows[i].flags;
        struct fake f = {.engine = {.ops = &fake_ops},
                         .room = rows[i].room,
                         .fail_code = rows[i].fail_code,
                         .has_no_list = flags & NO_LIST};
        struct told told = {.text = ""};
        struct pipeline_opts o = {
            .engine = &f.engine,
            .request = {.language = rows[i].language},
            .smaller_ok = flags & SMALLER_OK,
            .keep_model = flags & KEEP,
            .has_chunks = flags & CHUNKS,
            .hooks = {.arg = &told, .model_ready = on_ready, .model_too_large = on_too_large},
        };
        struct plan p = {.input_sha256 = "ab", .engine = "fake", .model = "small", .language = rows[i].language};
        struct plan saved = p;
        saved.model = rows[i].saved;
        saved.instead_of = rows[i].saved_instead_of;
        saved.prompt = flags & OTHER_HEADER ? "another" : NULL;
        struct err err = ERR_INIT;
        int rc = fit_model(&o, rows[i].saved ? &saved : NULL, &a, &p, &err);
        if (rc != rows[i].rc || !str_eq(p.model, rows[i].model) || !str_eq(p.instead_of, rows[i].instead_of) ||
            strcmp(told.text, rows[i].told) != 0)
            fail_msg("row %zu: %d, %s instead of %s: %s", i, rc, p.model, p.instead_of ? p.instead_of : "none",
                     told.text);
        assert_string_equal(fake_model(&f.engine, &o.request), p.model);
        bool fell = rc == 0 && strstr(told.text, " to ");
        assert_int_equal(f.fell_back, fell);
        if (rc == ERR_NOMEM) { /* the sentence is about the first that was tried */
            CLEANUP(arena_clear) struct arena b = ARENA_INIT;
            size_t first = strcspn(told.text, " ");
            assert_string_equal(err.msg, arena_printf(&b, "no room for %.*s", (int)first, told.text));
        }
    }
}

static void test_the_warning(void **state)
{
    (void)state;
    CLEANUP(arena_clear) struct arena a = ARENA_INIT;
    const struct plan p = {.model = "base", .instead_of = "small"};
    assert_string_equal(fit_warning(&p, &a),
                        "there was no memory for model 'small': 'base' was used, the next smaller one");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_which_model),
        cmocka_unit_test(test_the_warning),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
