/* SPDX-License-Identifier: MIT */
/*
 * Opening reads files and may take long. One mutex is held while an engine opens, against the rule of no slow call
 * under a lock: a second job that wants the same engine has to wait for it anyway, and must not open it twice. Another,
 * held only while the table is read or changed, is all that they take who describe the engines: the keeper must not
 * wait.
 */
#include "worker/engines.h"

#include "base/log.h"
#include "base/str.h"
#include "worker/choose.h"

#include <pthread.h>
#include <stdlib.h>

/* More models have no room in a heartbeat. */
enum { DESCRIBED_MAX = 100, MODELS_JSON_MAX = 48 << 10 };

struct engines {
    const struct engine_opts *opts;
    const struct model_names *names;
    bool quiet;
    pthread_mutex_t opening; /* taken before mu; only who has it changes `standard` and `open` */
    pthread_mutex_t mu;
    struct engine *standard; /* one of `open`; guarded by mu, as below */
    struct engine **open;    /* by place in engine_list(); NULL: not open */
    char *models;            /* of the default engine, as JSON; NULL: not looked yet */
    size_t n;
};

void engines_new(const struct engine_opts *opts, const struct model_names *names, bool quiet, struct engines **ret)
{
    struct engines *e = xcalloc(1, sizeof *e);
    e->opts = opts;
    e->names = names;
    e->quiet = quiet;
    while (engine_list()[e->n])
        e->n++;
    e->open = xcalloc(e->n, sizeof *e->open);
    pthread_mutex_init(&e->opening, NULL);
    pthread_mutex_init(&e->mu, NULL);
    *ret = e;
}

void engines_free(struct engines *e)
{
    if (!e)
        return;
    for (size_t i = 0; i < e->n; i++)
        engine_close(e->open[i]);
    pthread_mutex_destroy(&e->mu);
    pthread_mutex_destroy(&e->opening);
    free(e->open);
    free(e->models);
    free(e);
}

static bool is_default(const struct engines *e, const char *name)
{
    return !name || !name[0] || str_eq(name, "auto") || str_eq(name, e->opts->name);
}

/* The place of an engine in the list; e->n when there is none of this name. */
static size_t place_of(const struct engines *e, const char *name)
{
    size_t i = 0;
    while (i < e->n && !str_eq(engine_list()[i]->name, name))
        i++;
    return i;
}

/* A default model that is not there must not stop all work: every result names the one that was used. */
static int open_default_engine(const struct engines *e, struct engine **ret, struct err *err)
{
    static const struct log_ctx lc = {.component = "worker"};
    CLEANUP(arena_clear) struct arena a = ARENA_INIT;
    const struct model_wish wish = {.name = e->opts->model};
    const char *warning = NULL;
    int rc = choose_open(e->opts, e->names, &wish, &a, ret, &warning, err);
    if (rc == 0 && warning && !e->quiet)
        log_warn(&lc, "in the settings: %s", warning);
    return rc;
}

/* An engine is open now, and stays so until the end. */
static void put_down(struct engines *e, size_t i, struct engine *opened, bool standard)
{
    pthread_mutex_lock(&e->mu);
    e->open[i] = opened;
    if (standard)
        e->standard = opened;
    pthread_mutex_unlock(&e->mu);
}

/* "auto" may turn out to be an engine that is open already: then that one is it. Under `opening`, as the next. */
static int open_default(struct engines *e, struct err *err)
{
    struct engine *opened = NULL;
    int rc = open_default_engine(e, &opened, err);
    if (rc < 0)
        return rc;
    size_t i = place_of(e, engine_info(opened)->name);
    if (i == e->n) {
        engine_close(opened);
        return err_set(err, ERR_INTERNAL, "engine '%s' is not in the list", e->opts->name);
    }
    if (e->open[i]) {
        engine_close(opened);
        opened = e->open[i];
    }
    put_down(e, i, opened, true);
    return 0;
}

static int open_named(struct engines *e, const char *name, struct engine **ret, struct err *err)
{
    size_t i = place_of(e, name);
    if (i < e->n && e->open[i]) {
        *ret = e->open[i];
        return 0;
    }
    /* An unknown name goes this way too: engine_open has the sentence for it. The default model is the default's. */
    struct engine_opts opts = *e->opts;
    opts.name = name;
    opts.model = NULL;
    struct engine *opened = NULL;
    int rc = engine_open(&opts, &opened, err);
    if (rc < 0)
        return rc;
    if (i == e->n) {
        engine_close(opened);
        return err_set(err, ERR_INTERNAL, "engine '%s' is not in the list", name);
    }
    put_down(e, i, opened, false);
    *ret = opened;
    return 0;
}

int engines_get(struct engines *e, const char *name, struct engine **ret, struct err *err)
{
    int rc = 0;
    pthread_mutex_lock(&e->opening);
    if (!is_default(e, name)) {
        rc = open_named(e, name, ret, err);
    } else {
        if (!e->standard)
            rc = open_default(e, err);
        if (rc == 0)
            *ret = e->standard;
    }
    pthread_mutex_unlock(&e->opening);
    return rc;
}

int engines_choose(struct engines *e, const char *name, const struct model_wish *wish, struct arena *a,
                   struct engine **ret, const char **ret_model, const char **ret_warning, struct err *err)
{
    struct engine *engine = NULL;
    const char *model = NULL, *warning = NULL;
    int rc = engines_get(e, name, &engine, err);
    if (rc == 0)
        rc = choose_model(engine, e->names, wish, a, &model, &warning, err);
    if (rc < 0)
        return rc;
    *ret = engine;
    *ret_model = model;
    *ret_warning = warning;
    return 0;
}

static void describe_model(struct buf *b, const struct engine *e, const struct engine_model *m)
{
    static const struct engine_request any = {.task = "transcribe"};
    buf_adds(b, "{\"name\":");
    str_add_json(b, m->name);
    buf_adds(b, ",\"engine\":");
    str_add_json(b, engine_info(e)->name);
    buf_addf(b, ",\"bytes\":%lld,\"parameters\":%lld,\"created\":%lld", (long long)m->bytes, (long long)m->parameters,
             (long long)m->changed_s);
    buf_addf(b, ",\"multilingual\":%s,\"can_translate\":%s,\"loaded\":%s,\"default\":%s}",
             m->multilingual ? "true" : "false", m->can_translate ? "true" : "false", m->loaded ? "true" : "false",
             str_eq(m->name, engine_model(e, &any)) ? "true" : "false");
}

void engines_look(struct engines *e)
{
    CLEANUP(arena_clear) struct arena a = ARENA_INIT;
    CLEANUP(buf_clear) struct buf b = BUF_INIT(MODELS_JSON_MAX);
    struct engine_model *v = NULL;
    size_t n = 0;
    struct err ignored = ERR_INIT;
    struct engine *standard = NULL;
    if (engines_get(e, NULL, &standard, &ignored) < 0 || engine_models(standard, &a, &v, &n, &ignored) < 0)
        n = 0;
    buf_addc(&b, '[');
    for (size_t i = 0; i < MIN(n, (size_t)DESCRIBED_MAX); i++) {
        if (i)
            buf_addc(&b, ',');
        describe_model(&b, standard, &v[i]);
    }
    buf_addc(&b, ']');
    char *json = buf_ok(&b) ? xstrdup(buf_str(&b)) : NULL;
    pthread_mutex_lock(&e->mu);
    free(e->models);
    e->models = json;
    pthread_mutex_unlock(&e->mu);
}

void engines_describe_models(struct engines *e, struct buf *b)
{
    pthread_mutex_lock(&e->mu);
    buf_adds(b, e->models ? e->models : "[]");
    pthread_mutex_unlock(&e->mu);
}

void engines_describe_pool(struct engines *e, struct buf *b)
{
    bool any = false;
    buf_addc(b, '{');
    pthread_mutex_lock(&e->mu);
    for (size_t i = 0; i < e->n && !any; i++)
        any = e->open[i] && engine_describe(e->open[i], b);
    pthread_mutex_unlock(&e->mu);
    buf_addc(b, '}');
}

void engines_describe(struct engines *e, struct buf *b)
{
    static const struct engine_request any = {.task = "transcribe"};
    const char *comma = "";
    buf_addc(b, '{');
    pthread_mutex_lock(&e->mu);
    for (size_t i = 0; i < e->n; i++) {
        if (!e->open[i])
            continue;
        buf_adds(b, comma);
        str_add_json(b, engine_info(e->open[i])->name);
        buf_addc(b, ':');
        str_add_json(b, engine_model(e->open[i], &any));
        comma = ",";
    }
    pthread_mutex_unlock(&e->mu);
    buf_addc(b, '}');
}
