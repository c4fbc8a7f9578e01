/* SPDX-License-Identifier: MIT */
/*
 * One mutex is held while an engine opens, against the rule of no slow call under a lock: a second job that wants the
 * same engine has to wait for it anyway, and must not open it twice.
 */
#include "worker/engines.h"

#include "base/log.h"
#include "base/str.h"

#include <pthread.h>
#include <stdlib.h>

struct engines {
    const struct engine_opts *opts;
    bool quiet;
    pthread_mutex_t mu;
    struct engine *standard; /* one of `open`; guarded by mu, as below */
    struct engine **open;    /* by place in engine_list(); NULL: not open */
    size_t n;
};

void engines_new(const struct engine_opts *opts, bool quiet, struct engines **ret)
{
    struct engines *e = xcalloc(1, sizeof *e);
    e->opts = opts;
    e->quiet = quiet;
    while (engine_list()[e->n])
        e->n++;
    e->open = xcalloc(e->n, sizeof *e->open);
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
    free(e->open);
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

static bool is_auto(const struct engines *e)
{
    return !e->opts->name || !e->opts->name[0] || str_eq(e->opts->name, "auto");
}

/*
 * A default model that the engine found by "auto" has not (settings of another system say "base", and only PocketSphinx
 * is installed) must not stop all work: that engine's own model is used, and every result names it.
 */
static int open_default_engine(const struct engines *e, struct engine **ret, struct err *err)
{
    int rc = engine_open(e->opts, ret, err);
    if (rc != ERR_INVALID || !is_auto(e) || !e->opts->model || !e->opts->model[0])
        return rc;
    static const struct log_ctx lc = {.component = "worker"};
    if (!e->quiet)
        log_warn(&lc, "%s: using the engine's own model", err->msg);
    struct engine_opts opts = *e->opts;
    opts.model = NULL;
    return engine_open(&opts, ret, err);
}

/* "auto" may turn out to be an engine that is open already: then that one is it. */
static int open_default_locked(struct engines *e, struct err *err)
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
    if (e->open[i])
        engine_close(opened);
    else
        e->open[i] = opened;
    e->standard = e->open[i];
    return 0;
}

static int open_named_locked(struct engines *e, const char *name, struct engine **ret, struct err *err)
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
    *ret = e->open[i] = opened;
    return 0;
}

int engines_get(struct engines *e, const char *name, struct engine **ret, struct err *err)
{
    int rc = 0;
    pthread_mutex_lock(&e->mu);
    if (!is_default(e, name)) {
        rc = open_named_locked(e, name, ret, err);
    } else {
        if (!e->standard)
            rc = open_default_locked(e, err);
        if (rc == 0)
            *ret = e->standard;
    }
    pthread_mutex_unlock(&e->mu);
    return rc;
}

void engines_describe_models(struct engines *e, struct buf *b)
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
