/* SPDX-License-Identifier: MIT */
/*
 * Google's Gemini: one request for each chunk, its sound inside. Times are our own (place.h). The key goes in a header,
 * never in an address.
 */
#include "engine/engine_ops.h"

#include "base/mem.h"
#include "base/str.h"
#include "engine/gemini_json.h"
#include "engine/remote.h"
#include "engine/remote_sound.h"

#include <stdlib.h>
#include <string.h>

#define GEMINI_URL   "https://generativelanguage.googleapis.com"
#define GEMINI_MODEL "gemini-flash-latest" /* an alias of Google's: a model by its own name is shut down one day */

enum {
    SLOTS = 4,
    TARGET_S = 26,
    LONGEST_S = 30,
    REQUEST_TEXT_MAX = 1 << 20, /* beside the sound: prompts, schema */
    NAME_MAX_LEN = 128,
};

struct gemini {
    struct engine engine;
    char *url, *model;
    char *key_field;
    struct remote *remote;
};

static struct gemini *of(const struct engine *e)
{
    union {
        const struct engine *in;
        struct engine *out;
    } u = {.in = e};
    return CONTAINER_OF(u.out, struct gemini, engine);
}

/* "models/gemini-2.5-pro" is "gemini-2.5-pro". */
static const char *bare(const char *model)
{
    static const char prefix[] = "models/";
    return str_starts(model, prefix) ? model + strlen(prefix) : model;
}

static int check_model(const char *model, struct err *err)
{
    const char *m = bare(model);
    bool ours = str_starts(m, "gemini") || str_starts(m, "gemma");
    if (ours && strlen(m) < NAME_MAX_LEN &&
        !m[strspn(m, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789.-_")])
        return 0;
    return err_set(err, ERR_INVALID, "'%.60s' is no model of Gemini: their names begin with 'gemini-'", model);
}

static int gemini_available(const struct engine_opts *opts, struct err *err)
{
    (void)opts;
    err_set(err, ERR_UNAVAILABLE, "gemini sends recordings to Google and is used only when it is named");
    return 0;
}

static int gemini_open(const struct engine_opts *opts, struct engine **ret, struct err *err)
{
    const struct engine_server *s = &opts->gemini;
    const char *model = opts->model && *opts->model ? opts->model : s->model && *s->model ? s->model : GEMINI_MODEL;
    struct remote *remote = NULL;
    int rc = check_model(model, err);
    if (rc == 0 && !(s->key && *s->key))
        rc = err_set(err, ERR_UNSUPPORTED, "gemini needs an API key: set gemini_api_key");
    if (rc == 0)
        rc = remote_new(&(struct remote_opts){"gemini", "gemini_api_key", s, opts}, &remote, err);
    if (rc < 0)
        return rc;
    struct gemini *g = xcalloc(1, sizeof *g);
    g->engine.ops = &engine_gemini_ops;
    g->url = xstrdup(s->url && *s->url ? s->url : GEMINI_URL);
    g->model = xstrdup(bare(model));
    g->key_field = xasprintf("x-goog-api-key: %s", s->key);
    g->remote = remote;
    *ret = &g->engine;
    return 0;
}

static void gemini_close(struct engine *e)
{
    struct gemini *g = of(e);
    remote_free(g->remote);
    free(g->url);
    free(g->model);
    free(g->key_field);
    free(g);
}

static const char *gemini_model(const struct engine *e, const struct engine_request *r)
{
    return r->model && *r->model ? bare(r->model) : of(e)->model;
}

static int gemini_check(struct engine *e, const struct engine_request *r, struct err *err)
{
    (void)e;
    return r->model ? check_model(r->model, err) : 0;
}

struct reading {
    const struct engine_chunk *c;
    struct arena *a;
    struct segments *ret;
};

static int read_answer(const char *body, size_t n, void *arg, struct err *err)
{
    const struct reading *r = arg;
    return gemini_read_answer(body, n, r->c, r->a, r->ret, err);
}

static int gemini_run(struct engine *e, const struct engine_request *r, const struct engine_chunk *c,
                      const struct cancel *cancel, struct arena *a, struct engine_answer *ret, struct err *err)
{
    struct gemini *g = of(e);
    size_t slashes = strlen(g->url);
    while (slashes && g->url[slashes - 1] == '/')
        slashes--;
    CLEANUP(free_p)
    char *url = xasprintf("%.*s/v1beta/models/%s:generateContent", (int)slashes, g->url, gemini_model(e, r));
    CLEANUP(buf_clear) struct buf body = BUF_INIT(sound_wav_size(c) / 3 * 4 + 4 + REQUEST_TEXT_MAX);
    gemini_add_request(&body, r, c);
    int rc = buf_check(&body, "the request for a chunk", err);
    if (rc < 0)
        return rc;
    const char *const fields[] = {g->key_field, "Content-Type: application/json", NULL};
    const struct remote_request q = {.url = url, .fields = fields, .body = body.data, .size = body.len};
    struct reading reading = {c, a, &ret->segments};
    return remote_call(g->remote, &q, read_answer, &reading, cancel, err);
}

const struct engine_ops engine_gemini_ops = {
    .info =
        {
            .name = "gemini",
            .help = "Google's Gemini: sends the sound to Google, costs money, many languages",
            .caps = ENGINE_NEEDS_PCM | ENGINE_INTERRUPTS,
            .quality = "standard",
            .target_samples = (int64_t)TARGET_S * AUDIO_RATE,
            .max_samples = (int64_t)LONGEST_S * AUDIO_RATE,
            .slots = SLOTS,
        },
    .available = gemini_available,
    .open = gemini_open,
    .close = gemini_close,
    .model = gemini_model,
    .check = gemini_check,
    .run = gemini_run,
};
