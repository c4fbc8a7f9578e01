/* SPDX-License-Identifier: MIT */
/*
 * A place is free, loading, or loaded with a count of users. One mutex guards them; files are opened and batches made
 * without it, one load at a time.
 *
 * Who finds no room (all places in use, or memory short while others are in use) stands in a line, and while somebody
 * does, nobody new starts to use any model: the calls under way end, so each in the line gets its turn. The
 * head of the line looks again each time that a model has become idle.
 */
#include "engine/whisper_models.h"

#include "base/available.h"
#include "base/clock.h"
#include "base/log.h"
#include "base/str.h"
#include "base/thread.h"

#include <stdlib.h>

enum { LOOK_MS = 100 /* at the cancel */ };

struct loaded {
    char *name; /* as asked for; NULL: a free place */
    bool loading;
    struct whisper_model *model;
    struct whisper_batcher *batcher;
    int64_t bytes; /* of its batch and, when they are mapped, its weights */
    unsigned users;
    int64_t used_ms;
};

/* On the stack of a caller that finds no room. */
struct waiter {
    struct waiter *next;
    bool in_line;
    bool looked; /* found no room when idle_count was: */
    uint64_t seen;
};

struct models {
    struct models_opts o;
    char *folder, *cache;
    pthread_mutex_t mu; /* guards all below */
    pthread_cond_t changed;
    struct loaded places[MODELS_MAX];
    bool loading;
    struct waiter *line;
    uint64_t idle_count;              /* how often a model became idle */
    uint64_t hits, misses, evictions; /* acquired while loaded; loaded for it; unloaded to make room */
};

static const struct log_ctx lc = {.component = "engine"};

/* 1: the caller has to wait. */
enum { WAIT = 1 };

static void unload(struct loaded *l)
{
    if (l->batcher)
        log_debug(&lc, "whisper: '%s' unloaded; at most %u windows were in one step", l->name,
                  whisper_batcher_most(l->batcher));
    whisper_batcher_free(l->batcher);
    whisper_model_unref(l->model);
    free(l->name);
    *l = (struct loaded){0};
}

void models_new(const struct models_opts *o, struct models **ret)
{
    struct models *m = xcalloc(1, sizeof *m);
    m->o = *o;
    m->o.folder = m->folder = xstrdup(o->folder);
    m->o.cache = m->cache = xstrdup(o->cache);
    pthread_mutex_init(&m->mu, NULL);
    cond_init(&m->changed);
    *ret = m;
}

void models_free(struct models *m)
{
    if (!m)
        return;
    for (size_t i = 0; i < MODELS_MAX; i++)
        unload(&m->places[i]);
    pthread_mutex_destroy(&m->mu);
    pthread_cond_destroy(&m->changed);
    free(m->folder);
    free(m->cache);
    free(m);
}

/* ---- the line ---- */

static void join_locked(struct models *m, struct waiter *me)
{
    if (me->in_line)
        return;
    struct waiter **end = &m->line;
    while (*end)
        end = &(*end)->next;
    *end = me;
    me->in_line = true;
}

static void leave_locked(struct models *m, struct waiter *me)
{
    if (!me->in_line)
        return;
    struct waiter **at = &m->line;
    while (*at != me)
        at = &(*at)->next;
    *at = me->next;
    me->in_line = false;
    pthread_cond_broadcast(&m->changed);
}

/* ---- memory ---- */

static struct whisper_batcher_opts batch_of(const struct models *m, unsigned windows)
{
    enum { ROWS_MIN = 16 }; /* the widest beam there may be */
    unsigned rows = MAX(m->o.rows * windows / m->o.windows, (unsigned)ROWS_MIN);
    return (struct whisper_batcher_opts){.threads = m->o.threads, .max_windows = windows, .max_rows = rows};
}

/* Weights that are mapped from the cache count, though the kernel holds their pages for free ones. */
static int64_t bytes_of(const struct models *m, const struct whisper_model *model, unsigned windows)
{
    struct whisper_batcher_opts bo = batch_of(m, windows);
    return whisper_batcher_memory(model, &bo) + (m->cache ? whisper_model_info(model)->packed_bytes : 0);
}

static int64_t room_locked(const struct models *m)
{
    if (!m->o.memory_bytes)
        return available_memory() / 10 * 9;
    int64_t left = m->o.memory_bytes;
    for (size_t i = 0; i < MODELS_MAX; i++)
        left -= m->places[i].bytes;
    return left;
}

/* The idle model unused for longest; NULL: none. */
static struct loaded *idle_locked(struct models *m)
{
    struct loaded *best = NULL;
    for (size_t i = 0; i < MODELS_MAX; i++) {
        struct loaded *l = &m->places[i];
        if (l->name && !l->users && !l->loading && (!best || l->used_ms < best->used_ms))
            best = l;
    }
    return best;
}

static bool others_in_use_locked(const struct models *m)
{
    for (size_t i = 0; i < MODELS_MAX; i++)
        if (m->places[i].users)
            return true;
    return false;
}

static void evict_locked(struct models *m, struct loaded *l)
{
    m->evictions++;
    unload(l);
}

/* How many windows fit, idle models put out for them; WAIT when that may be more once others are idle. */
static int fit_locked(struct models *m, const struct whisper_model *model, unsigned *ret_windows, struct err *err)
{
    unsigned windows = m->o.windows;
    int64_t need, room;
    while ((need = bytes_of(m, model, windows)) > (room = room_locked(m))) {
        struct loaded *idle = idle_locked(m);
        if (idle)
            evict_locked(m, idle);
        else if (windows > 1)
            windows /= 2;
        else if (others_in_use_locked(m))
            return WAIT;
        else
            return err_set(err, ERR_NOMEM,
                           "model '%s' needs %lld MB of memory, and %lld MB are left: use a smaller model%s",
                           whisper_model_info(model)->name, (long long)(need >> 20), (long long)(room >> 20),
                           m->o.memory_bytes ? " or raise engine_memory" : "");
    }
    if (windows < m->o.windows)
        log_warn(&lc, "whisper: memory is short, '%s' runs %u chunks at a time instead of %u",
                 whisper_model_info(model)->name, windows, m->o.windows);
    *ret_windows = windows;
    return 0;
}

/* ---- loading ---- */

static int open_model(const struct models *m, const char *name, struct whisper_model **ret, struct err *err)
{
    CLEANUP(free_p) char *path = NULL;
    int rc = whisper_find_model(m->folder, name, &path, err);
    if (rc < 0)
        return rc == ERR_NOT_FOUND ? err->code = ERR_INVALID : rc;
    struct whisper_model_opts mo = {.precision = m->o.precision, .cache_folder = m->cache};
    return whisper_model_open(path, &mo, ret, err);
}

/* Into `place`, which is marked as loading. Unlocks meanwhile. */
static int load_locked(struct models *m, struct loaded *place, struct err *err)
{
    unsigned windows = 0;
    pthread_mutex_unlock(&m->mu);
    int rc = open_model(m, place->name, &place->model, err);
    pthread_mutex_lock(&m->mu);
    if (rc == 0)
        rc = fit_locked(m, place->model, &windows, err);
    if (rc != 0)
        return rc;
    struct whisper_batcher_opts bo = batch_of(m, windows);
    place->bytes = bytes_of(m, place->model, windows);
    pthread_mutex_unlock(&m->mu);
    rc = whisper_batcher_new(place->model, &bo, &place->batcher, err);
    pthread_mutex_lock(&m->mu);
    if (rc < 0)
        return rc;
    const struct whisper_info *i = whisper_model_info(place->model);
    log_debug(&lc, "whisper: '%s' (%s, %s) loaded in %lld ms%s, %u windows", i->name, i->file_type,
              whisper_precision_name(i->precision), (long long)i->load_ms, i->from_cache ? " from the cache" : "",
              windows);
    return 0;
}

/* A place for another model, emptied; NULL when all are in use. */
static struct loaded *place_locked(struct models *m)
{
    for (size_t i = 0; i < MODELS_MAX; i++)
        if (!m->places[i].name)
            return &m->places[i];
    struct loaded *l = idle_locked(m);
    if (l)
        evict_locked(m, l);
    return l;
}

static struct loaded *find_locked(struct models *m, const char *name)
{
    for (size_t i = 0; i < MODELS_MAX; i++)
        if (str_eq(m->places[i].name, name))
            return &m->places[i];
    return NULL;
}

/* 0: *ret is the caller's to use. */
static int try_locked(struct models *m, const char *name, struct waiter *me, struct loaded **ret, struct err *err)
{
    bool head = m->line == me;
    if (m->line && !head) {
        join_locked(m, me);
        return WAIT;
    }
    if (me->looked && me->seen == m->idle_count)
        return WAIT;
    struct loaded *l = find_locked(m, name);
    if (l && !l->loading) {
        l->users++;
        m->hits++;
        *ret = l;
        return 0;
    }
    if (m->loading)
        return WAIT;
    me->looked = true;
    me->seen = m->idle_count;
    l = place_locked(m);
    if (!l) {
        join_locked(m, me);
        return WAIT;
    }
    l->name = xstrdup(name);
    l->loading = m->loading = true;
    int rc = load_locked(m, l, err);
    l->loading = m->loading = false;
    pthread_cond_broadcast(&m->changed);
    if (rc == 0) {
        l->users = 1;
        m->misses++;
        *ret = l;
        return 0;
    }
    unload(l);
    if (rc == WAIT)
        join_locked(m, me);
    return rc;
}

int models_acquire(struct models *m, const char *name, const struct cancel *cancel, struct loaded **ret,
                   struct err *err)
{
    struct waiter me = {0};
    int rc;
    pthread_mutex_lock(&m->mu);
    while ((rc = try_locked(m, name, &me, ret, err)) == WAIT) {
        if (cancel_is_set(cancel)) {
            rc = err_set(err, ERR_CANCELLED, "cancelled");
            break;
        }
        cond_wait_ms(&m->changed, &m->mu, LOOK_MS);
    }
    leave_locked(m, &me);
    pthread_mutex_unlock(&m->mu);
    return rc;
}

void models_release(struct models *m, struct loaded *l)
{
    pthread_mutex_lock(&m->mu);
    l->used_ms = clock_mono_ms();
    if (--l->users == 0) {
        m->idle_count++;
        pthread_cond_broadcast(&m->changed);
    }
    pthread_mutex_unlock(&m->mu);
}

void models_describe(struct models *m, struct buf *b)
{
    const char *comma = "";
    size_t n = 0;
    pthread_mutex_lock(&m->mu);
    buf_addf(b, "\"hits\":%llu,\"misses\":%llu,\"evictions\":%llu,\"max_size\":%d,\"loaded\":[",
             (unsigned long long)m->hits, (unsigned long long)m->misses, (unsigned long long)m->evictions, MODELS_MAX);
    for (size_t i = 0; i < MODELS_MAX; i++) {
        if (!m->places[i].name || m->places[i].loading)
            continue;
        buf_adds(b, comma);
        str_add_json(b, m->places[i].name);
        comma = ",";
        n++;
    }
    buf_addf(b, "],\"size\":%zu", n);
    pthread_mutex_unlock(&m->mu);
}

size_t models_waiting(struct models *m)
{
    size_t n = 0;
    pthread_mutex_lock(&m->mu);
    for (const struct waiter *w = m->line; w; w = w->next)
        n++;
    pthread_mutex_unlock(&m->mu);
    return n;
}

bool models_loaded(struct models *m, const char *name)
{
    pthread_mutex_lock(&m->mu);
    const struct loaded *l = find_locked(m, name);
    bool yes = l && !l->loading;
    pthread_mutex_unlock(&m->mu);
    return yes;
}

struct whisper_batcher *loaded_batcher(const struct loaded *l)
{
    return l->batcher;
}

int models_inspect(struct models *m, const char *name, struct arena *a, struct whisper_info *ret, struct err *err)
{
    bool found = false;
    pthread_mutex_lock(&m->mu);
    const struct loaded *l = find_locked(m, name);
    if (l && !l->loading) {
        *ret = *whisper_model_info(l->model);
        ret->name = arena_strdup(a, ret->name);
        ret->file_type = arena_strdup(a, ret->file_type);
        found = true;
    }
    pthread_mutex_unlock(&m->mu);
    if (found)
        return ret->name && ret->file_type ? 0 : err_set(err, ERR_NOMEM, "no memory for the name of a model");
    CLEANUP(free_p) char *path = NULL;
    int rc = whisper_find_model(m->folder, name, &path, err);
    if (rc < 0)
        return rc == ERR_NOT_FOUND ? err->code = ERR_INVALID : rc;
    return whisper_inspect(path, a, ret, err);
}
