/* SPDX-License-Identifier: MIT */
/*
 * The engine that transcribes nothing, at once and without looking at the sound: for load tests of all that is around
 * an engine. It says what it is in every result, accepts every request, and is never chosen by "auto".
 */
#include "base/mem.h"
#include "engine/engine_ops.h"

#include <stdlib.h>

static int null_available(const struct engine_opts *opts, struct err *err)
{
    (void)opts;
    err_set(err, ERR_UNAVAILABLE, "null makes no transcripts and is used only when it is named");
    return 0;
}

static int null_open(const struct engine_opts *opts, struct engine **ret, struct err *err)
{
    (void)opts;
    (void)err;
    struct engine *e = xcalloc(1, sizeof *e);
    e->ops = &engine_null_ops;
    *ret = e;
    return 0;
}

static void null_close(struct engine *e)
{
    free(e);
}

static const char *null_model(const struct engine *e, const struct engine_request *r)
{
    (void)e;
    (void)r;
    return "null";
}

static int null_check(struct engine *e, const struct engine_request *r, struct err *err)
{
    (void)e;
    (void)r;
    (void)err;
    return 0;
}

static int null_run(struct engine *e, const struct engine_request *r, const struct engine_chunk *c,
                    const struct cancel *cancel, struct arena *a, struct engine_answer *ret, struct err *err)
{
    (void)e;
    (void)r;
    (void)cancel;
    struct segment *s = arena_alloc(a, sizeof *s);
    if (!s)
        return err_set(err, ERR_NOMEM, "no memory for the null engine's answer");
    s->start_ms = samples_to_ms(c->span.start);
    s->end_ms = samples_to_ms(c->span.end);
    s->text = "null engine: no transcription was made";
    ret->segments = (struct segments){.v = s, .n = 1};
    return 0;
}

static int null_models(struct engine *e, struct arena *a, struct engine_model **ret, size_t *ret_n, struct err *err)
{
    (void)e;
    struct engine_model *m = arena_alloc(a, sizeof *m);
    if (!m)
        return err_set(err, ERR_NOMEM, "no memory for a list of models");
    *m = (struct engine_model){.name = "null", .multilingual = true, .can_translate = true, .loaded = true};
    *ret = m;
    *ret_n = 1;
    return 0;
}

const struct engine_ops engine_null_ops = {
    .info =
        {
            .name = "null",
            .help = "for load tests: answers every chunk with a fixed text, transcribes nothing",
            .quality = "test",
        },
    .available = null_available,
    .open = null_open,
    .close = null_close,
    .model = null_model,
    .check = null_check,
    .run = null_run,
    .models = null_models,
};
