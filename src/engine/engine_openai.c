/* SPDX-License-Identifier: MIT */
/*
 * Any server that speaks OpenAI's audio API, steno among them: one multipart request for each chunk.
 *
 * Times come with verbose_json. Some models have only json: which, the server says by refusing the form, once for each
 * model; what was learned is kept in a small table.
 */
#include "engine/engine_ops.h"

#include "base/id.h"
#include "base/languages.h"
#include "base/mem.h"
#include "base/str.h"
#include "engine/openai_json.h"
#include "engine/remote.h"
#include "engine/remote_sound.h"

#include <pthread.h>
#include <stdlib.h>
#include <string.h>

#define OPENAI_URL   "https://api.openai.com/v1"
#define OPENAI_MODEL "whisper-1"

enum {
    SLOTS = 4,
    TARGET_S = 26,
    LONGEST_S = 30,
    FIELDS_MAX = 1 << 20, /* beside the sound: prompts */
    PLAIN_MAX = 16,       /* models without times that are remembered; of more, each chunk asks twice */
};

struct openai {
    struct engine engine;
    char *url, *model; /* url: without a slash at its end */
    bool own_url;      /* not OpenAI's server */
    char *key_field;   /* NULL: no key */
    struct remote *remote;
    pthread_mutex_t mu;
    char *plain[PLAIN_MAX]; /* models that have no verbose_json; guarded by mu */
};

static struct openai *of(const struct engine *e)
{
    union {
        const struct engine *in;
        struct engine *out;
    } u = {.in = e};
    return CONTAINER_OF(u.out, struct openai, engine);
}

/* Which models another server has only it knows; OpenAI's own are known by how their names begin. */
static int check_model(bool own_url, const char *model, struct err *err)
{
    static const char *const families[] = {"whisper-1", "gpt-", "ft:"};
    for (size_t i = 0; i < ARRAY_LEN(families); i++)
        if (own_url || str_starts(model, families[i]))
            return 0;
    return err_set(err, ERR_INVALID, "'%.60s' is no model of OpenAI: use whisper-1", model);
}

static int openai_available(const struct engine_opts *opts, struct err *err)
{
    (void)opts;
    err_set(err, ERR_UNAVAILABLE, "openai sends recordings to another server and is used only when it is named");
    return 0;
}

static int openai_open(const struct engine_opts *opts, struct engine **ret, struct err *err)
{
    const struct engine_server *s = &opts->openai;
    const char *model = opts->model && *opts->model ? opts->model : s->model && *s->model ? s->model : OPENAI_MODEL;
    bool has_url = s->url && *s->url, has_key = s->key && *s->key;
    struct remote *remote = NULL;
    if (!has_url && !has_key)
        return err_set(err, ERR_UNSUPPORTED,
                       "openai needs an API key or the address of another server: set openai_api_key or openai_url");
    int rc = check_model(has_url, model, err);
    if (rc == 0)
        rc = remote_new(&(struct remote_opts){"openai", "openai_api_key", s, opts}, &remote, err);
    if (rc < 0)
        return rc;
    struct openai *o = xcalloc(1, sizeof *o);
    o->engine.ops = &engine_openai_ops;
    o->own_url = has_url;
    o->url = xstrdup(has_url ? s->url : OPENAI_URL);
    for (size_t n = strlen(o->url); n && o->url[n - 1] == '/'; n--)
        o->url[n - 1] = '\0';
    o->model = xstrdup(model);
    o->key_field = has_key ? xasprintf("Authorization: Bearer %s", s->key) : NULL;
    o->remote = remote;
    pthread_mutex_init(&o->mu, NULL);
    *ret = &o->engine;
    return 0;
}

static void openai_close(struct engine *e)
{
    struct openai *o = of(e);
    for (size_t i = 0; i < PLAIN_MAX; i++)
        free(o->plain[i]);
    pthread_mutex_destroy(&o->mu);
    remote_free(o->remote);
    free(o->url);
    free(o->model);
    free(o->key_field);
    free(o);
}

static const char *openai_model(const struct engine *e, const struct engine_request *r)
{
    return r->model && *r->model ? r->model : of(e)->model;
}

static int openai_check(struct engine *e, const struct engine_request *r, struct err *err)
{
    return r->model ? check_model(of(e)->own_url, r->model, err) : 0;
}

/* ---- models without times ---- */

static bool is_plain(struct openai *o, const char *model)
{
    bool found = false;
    pthread_mutex_lock(&o->mu);
    for (size_t i = 0; i < PLAIN_MAX; i++)
        found = found || str_eq(o->plain[i], model);
    pthread_mutex_unlock(&o->mu);
    return found;
}

static void remember_plain(struct openai *o, const char *model)
{
    pthread_mutex_lock(&o->mu);
    for (size_t i = 0; i < PLAIN_MAX; i++) {
        if (!o->plain[i])
            o->plain[i] = xstrdup(model);
        if (strcmp(o->plain[i], model) == 0)
            break;
    }
    pthread_mutex_unlock(&o->mu);
}

/* A refusal that names the form of the answer. */
static bool wants_plain(int rc, const struct err *err)
{
    return rc == ERR_INVALID && (strstr(err->msg, "response_format") || strstr(err->msg, "timestamp_granularities"));
}

/* ---- the request ---- */

/* One request under construction. */
struct form {
    struct buf *b;
    char boundary[2 * ID_SIZE];
};

static void add_field(struct form *f, const char *name, const char *value)
{
    buf_addf(f->b, "--%s\r\nContent-Disposition: form-data; name=\"%s\"\r\n\r\n%s\r\n", f->boundary, name, value);
}

static void add_prompt(struct form *f, const struct engine_request *r)
{
    bool both = r->hotwords && r->prompt;
    CLEANUP(buf_clear) struct buf text = BUF_INIT(FIELDS_MAX);
    if (!r->hotwords && !r->prompt)
        return;
    buf_addf(&text, "%s%s%s", r->hotwords ? r->hotwords : "", both ? ". " : "", r->prompt ? r->prompt : "");
    add_field(f, "prompt", buf_str(&text));
}

static void add_form(struct form *f, const struct openai *o, const struct engine_request *r,
                     const struct engine_chunk *c, bool plain)
{
    bool translate = str_eq(r->task, "translate");
    const char *code = r->language ? language_code(r->language) : NULL;
    add_field(f, "model", openai_model(&o->engine, r));
    add_field(f, "response_format", plain ? "json" : "verbose_json");
    if (!plain && !translate)
        add_field(f, "timestamp_granularities[]", "segment");
    if (!plain && !translate && r->word_timestamps)
        add_field(f, "timestamp_granularities[]", "word");
    if (r->language && !translate) /* of a translation it is always English */
        add_field(f, "language", code ? code : r->language);
    add_prompt(f, r);
    if (r->n_temperatures) {
        CLEANUP(free_p) char *t = xasprintf("%.3f", (double)r->temperatures[0]);
        add_field(f, "temperature", t);
    }
    buf_addf(f->b,
             "--%s\r\nContent-Disposition: form-data; name=\"file\"; filename=\"chunk.wav\"\r\n"
             "Content-Type: audio/wav\r\n\r\n",
             f->boundary);
    sound_add_wav(f->b, c);
    buf_addf(f->b, "\r\n--%s--\r\n", f->boundary);
}

struct reading {
    const struct engine_chunk *c;
    struct arena *a;
    struct segments *ret;
};

static int read_answer(const char *body, size_t n, void *arg, struct err *err)
{
    const struct reading *r = arg;
    return openai_read_answer(body, n, r->c, r->a, r->ret, err);
}

static int ask(struct openai *o, const struct engine_request *r, const struct engine_chunk *c, bool plain,
               const struct cancel *cancel, struct reading *reading, struct err *err)
{
    CLEANUP(buf_clear) struct buf body = BUF_INIT(sound_wav_size(c) + FIELDS_MAX);
    struct form f = {.b = &body};
    id_new(f.boundary); /* random enough to stand nowhere in the sound */
    add_form(&f, o, r, c, plain);
    int rc = buf_check(&body, "the request for a chunk", err);
    if (rc < 0)
        return rc;
    CLEANUP(free_p)
    char *url = xasprintf("%s/audio/%s", o->url, str_eq(r->task, "translate") ? "translations" : "transcriptions");
    CLEANUP(free_p) char *type = xasprintf("Content-Type: multipart/form-data; boundary=%s", f.boundary);
    const char *const fields[] = {type, o->key_field, NULL};
    const struct remote_request q = {.url = url, .fields = fields, .body = body.data, .size = body.len};
    return remote_call(o->remote, &q, read_answer, reading, cancel, err);
}

static int openai_run(struct engine *e, const struct engine_request *r, const struct engine_chunk *c,
                      const struct cancel *cancel, struct arena *a, struct engine_answer *ret, struct err *err)
{
    struct openai *o = of(e);
    struct reading reading = {c, a, &ret->segments};
    const char *model = openai_model(e, r);
    bool plain = is_plain(o, model);
    int rc = ask(o, r, c, plain, cancel, &reading, err);
    if (plain || !wants_plain(rc, err))
        return rc;
    rc = ask(o, r, c, true, cancel, &reading, err);
    if (rc == 0)
        remember_plain(o, model);
    return rc;
}

const struct engine_ops engine_openai_ops = {
    .info =
        {
            .name = "openai",
            .help = "a server that speaks OpenAI's audio API, OpenAI's own or any other: sends the sound there",
            .caps = ENGINE_NEEDS_PCM | ENGINE_INTERRUPTS,
            .quality = "standard",
            .target_samples = (int64_t)TARGET_S * AUDIO_RATE,
            .max_samples = (int64_t)LONGEST_S * AUDIO_RATE,
            .slots = SLOTS,
        },
    .available = openai_available,
    .open = openai_open,
    .close = openai_close,
    .model = openai_model,
    .check = openai_check,
    .run = openai_run,
};
