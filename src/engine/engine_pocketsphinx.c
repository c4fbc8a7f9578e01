/* SPDX-License-Identifier: MIT */
/*
 * PocketSphinx, in up to `slots` child processes that are started when first needed and kept (loading the model takes
 * half a second and 100 MB). In this process runs none of its code: it crashes on damaged models, ends the process on
 * fatal errors, and cannot be interrupted; a child can be killed.
 *
 * A call takes a free slot, preferring one whose child is up, and gives it back at its end; a child that
 * was killed or died leaves an empty slot behind.
 */
#include "engine/sphinx.h"

#include "base/buf.h"
#include "base/clock.h"
#include "base/mem.h"
#include "base/str.h"
#include "base/thread.h"
#include "engine/child.h"
#include "engine/engine_ops.h"
#include "transcript/format.h"

#include <math.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

enum {
    RANK = 10,
    LOOK_MS = 100,           /* at cancel, while waiting for a slot */
    FRAME = AUDIO_RATE / 50, /* 20 ms */
    SILENT_RMS = 16,         /* -66 dB of full scale: quieter than any speech, louder than dither */
    SAID_MAX = 16384,
    EXIT_OUT_OF_MEMORY = 255, /* sphinxbase ends a process without memory with exit(-1) */
};

struct slot {
    struct child *child; /* NULL: none is running */
    bool busy;
    bool up; /* had a child when it was last given back */
};

struct pocketsphinx {
    struct engine engine;
    char *dir;
    int64_t chunk_time_ms;
    pthread_mutex_t mu;
    pthread_cond_t freed;
    size_t n_slots;
    struct slot slots[]; /* `busy` and `up` are guarded by mu; `child` belongs to whoever made it busy */
};

static struct pocketsphinx *self(struct engine *e)
{
    return CONTAINER_OF(e, struct pocketsphinx, engine);
}

static const char *model_dir(const struct engine_opts *opts)
{
    return opts->model_path && *opts->model_path ? opts->model_path : POCKETSPHINX_MODEL_DIR;
}

static int check_model(const char *model, struct err *err)
{
    if (!model || !*model || str_eq(model, POCKETSPHINX_MODEL))
        return 0;
    return err_set(err, ERR_INVALID, "pocketsphinx has no model '%.60s', only '" POCKETSPHINX_MODEL "'", model);
}

/* English, as a code, with or without a region, or by name. */
static bool is_english(const char *language)
{
    char head[3] = {0};
    for (size_t i = 0; i < 2 && language[i]; i++)
        head[i] = language[i];
    return str_ieq(language, "english") ||
           (str_ieq(head, "en") && (!language[2] || language[2] == '-' || language[2] == '_'));
}

/* The recognizer makes words of silence ("dog" for zeros), so it never gets to hear a chunk of it. */
static bool is_silent(const int16_t *pcm, int64_t n)
{
    for (int64_t at = 0; at < n; at += FRAME) {
        int64_t len = MIN(n - at, FRAME), energy = 0;
        for (int64_t i = 0; i < len; i++)
            energy += (int64_t)pcm[at + i] * pcm[at + i];
        if (energy >= (int64_t)SILENT_RMS * SILENT_RMS * len)
            return false;
    }
    return true;
}

/* A free slot, or NULL when cancelled. */
static struct slot *take_slot(struct pocketsphinx *ps, const struct cancel *cancel)
{
    struct slot *got = NULL;
    pthread_mutex_lock(&ps->mu);
    while (!got && !cancel_is_set(cancel)) {
        for (size_t i = 0; i < ps->n_slots; i++)
            if (!ps->slots[i].busy && (!got || (!got->child && ps->slots[i].child)))
                got = &ps->slots[i];
        if (!got)
            cond_wait_ms(&ps->freed, &ps->mu, LOOK_MS);
    }
    if (got)
        got->busy = true;
    pthread_mutex_unlock(&ps->mu);
    return got;
}

static void give_slot(struct pocketsphinx *ps, struct slot *s)
{
    if (s->child && !child_usable(s->child)) {
        child_free(s->child);
        s->child = NULL;
    }
    pthread_mutex_lock(&ps->mu);
    s->busy = false;
    s->up = s->child != NULL;
    pthread_cond_signal(&ps->freed);
    pthread_mutex_unlock(&ps->mu);
}

/* What the death of a child means that has not yet said hello: it was loading the model. */
static int death_while_loading(const struct pocketsphinx *ps, int status, struct err *err)
{
    bool fault = WIFSIGNALED(status) && (WTERMSIG(status) == SIGSEGV || WTERMSIG(status) == SIGBUS ||
                                         WTERMSIG(status) == SIGABRT || WTERMSIG(status) == SIGFPE);
    bool gave_up = WIFEXITED(status) && WEXITSTATUS(status) != 0 && WEXITSTATUS(status) != EXIT_OUT_OF_MEMORY;
    if (WIFEXITED(status) && WEXITSTATUS(status) == EXIT_OUT_OF_MEMORY)
        err->code = ERR_NOMEM;
    else if (fault || gave_up)
        err->code = ERR_CORRUPT;
    if (err->code == ERR_CORRUPT)
        return err_wrap(err, "the pocketsphinx model in '%s' seems to be damaged: install pocketsphinx-en-us anew",
                        ps->dir);
    return err_wrap(err, "loading the pocketsphinx model");
}

static int ask(struct pocketsphinx *ps, struct slot *s, const struct engine_chunk *c, const struct cancel *cancel,
               struct buf *ret, struct buf *said, struct err *err)
{
    struct child_limits limits = {cancel, ps->chunk_time_ms ? clock_mono_ms() + ps->chunk_time_ms : INT64_MAX, said};
    if (s->child && !child_usable(s->child)) { /* died while nobody looked */
        child_free(s->child);
        s->child = NULL;
    }
    if (!s->child) {
        int status;
        int rc = child_start((const char *const[]){"pocketsphinx", ps->dir, NULL}, &limits, &s->child, &status, err);
        if (rc < 0)
            return status >= 0 ? death_while_loading(ps, status, err) : rc;
    }
    return child_call(s->child, c->span.start, c->pcm, (size_t)(c->span.end - c->span.start), &limits, ret, err);
}

static int pocketsphinx_available(const struct engine_opts *opts, struct err *err)
{
    return pocketsphinx_find_model(model_dir(opts), err) < 0 ? 0 : RANK;
}

static int pocketsphinx_open(const struct engine_opts *opts, struct engine **ret, struct err *err)
{
    int rc = check_model(opts->model, err);
    if (rc == 0)
        rc = pocketsphinx_find_model(model_dir(opts), err);
    if (rc < 0)
        return rc;
    struct pocketsphinx *ps = xcalloc(1, sizeof *ps + opts->slots * sizeof ps->slots[0]);
    ps->engine.ops = &engine_pocketsphinx_ops;
    ps->dir = xstrdup(model_dir(opts));
    ps->chunk_time_ms = opts->chunk_time_ms;
    ps->n_slots = opts->slots;
    pthread_mutex_init(&ps->mu, NULL);
    cond_init(&ps->freed);
    *ret = &ps->engine;
    return 0;
}

static void pocketsphinx_close(struct engine *e)
{
    struct pocketsphinx *ps = self(e);
    for (size_t i = 0; i < ps->n_slots; i++) /* all first, so that they end side by side */
        if (ps->slots[i].child)
            child_stop(ps->slots[i].child);
    for (size_t i = 0; i < ps->n_slots; i++)
        child_free(ps->slots[i].child);
    pthread_cond_destroy(&ps->freed);
    pthread_mutex_destroy(&ps->mu);
    free(ps->dir);
    free(ps);
}

static const char *pocketsphinx_model(const struct engine *e, const struct engine_request *r)
{
    (void)e;
    (void)r;
    return POCKETSPHINX_MODEL;
}

static int pocketsphinx_check(struct engine *e, const struct engine_request *r, struct err *err)
{
    (void)e;
    if (r->language && !is_english(r->language))
        return err_set(err, ERR_UNSUPPORTED, "pocketsphinx only knows English, not '%.40s'", r->language);
    if (!str_eq(r->task, "transcribe"))
        return err_set(err, ERR_UNSUPPORTED, "pocketsphinx only transcribes: it cannot %s", r->task);
    return check_model(r->model, err);
}

static int pocketsphinx_run(struct engine *e, const struct engine_request *r, const struct engine_chunk *c,
                            const struct cancel *cancel, struct arena *a, struct engine_answer *ret, struct err *err)
{
    (void)r;
    struct pocketsphinx *ps = self(e);
    if (is_silent(c->pcm, c->span.end - c->span.start))
        return 0;
    struct slot *s = take_slot(ps, cancel);
    if (!s)
        return err_set(err, ERR_CANCELLED, "cancelled");
    CLEANUP(buf_clear) struct buf json = BUF_INIT(CHILD_MAX_REPLY), said = BUF_INIT(SAID_MAX);
    int rc = ask(ps, s, c, cancel, &json, &said, err);
    give_slot(ps, s);
    if (rc < 0 && said.len)
        ret->said = arena_strdup(a, buf_str(&said)); /* without memory: nothing */
    return rc < 0 ? rc : segments_from_json(buf_str(&json), json.len, a, &ret->segments, err);
}

static int pocketsphinx_models(struct engine *e, struct arena *a, struct engine_model **ret, size_t *ret_n,
                               struct err *err)
{
    struct pocketsphinx *ps = self(e);
    struct engine_model *m = arena_alloc(a, sizeof *m);
    if (!m)
        return err_set(err, ERR_NOMEM, "no memory for a list of models");
    struct stat st;
    *m = (struct engine_model){.name = POCKETSPHINX_MODEL, .changed_s = stat(ps->dir, &st) == 0 ? st.st_mtime : 0};
    pthread_mutex_lock(&ps->mu);
    for (size_t i = 0; i < ps->n_slots; i++)
        m->loaded = m->loaded || ps->slots[i].up;
    pthread_mutex_unlock(&ps->mu);
    *ret = m;
    *ret_n = 1;
    return 0;
}

const struct engine_ops engine_pocketsphinx_ops = {
    .info =
        {
            .name = "pocketsphinx",
            .help = "English only, draft quality, needs nothing but its Debian packages",
            .caps = ENGINE_NEEDS_PCM,
            .quality = "draft",
            /* It does best on utterances cut at longer pauses; beyond half a minute errors and time rise. */
            .target_samples = 15 * AUDIO_RATE,
            .max_samples = 30 * AUDIO_RATE,
        },
    .available = pocketsphinx_available,
    .open = pocketsphinx_open,
    .close = pocketsphinx_close,
    .model = pocketsphinx_model,
    .check = pocketsphinx_check,
    .run = pocketsphinx_run,
    .models = pocketsphinx_models,
    .child_main = pocketsphinx_child_main,
};
