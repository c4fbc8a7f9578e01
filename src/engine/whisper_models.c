/* SPDX-License-Identifier: MIT */
/*
 * A place is free, loading, or loaded with a count of users. One mutex guards them; files are opened and batches made
 * without it, one load at a time.
 *
 * Who finds no room (all places in use, or memory short while others are in use) stands in a line, and while somebody
 * does, nobody new starts to use any model: the calls under way end, so each in the line gets its turn. The
 * head of the line looks again each time that a model has become idle.
 */
#include "engine/whisper_models_internal.h"

#include "base/available.h"
#include "base/clock.h"
#include "base/log.h"
#include "base/str.h"
#include "base/thread.h"

#include <malloc.h>
#include <stdlib.h>

enum { LOOK_MS = 100 /* at the cancel */ };

static const struct log_ctx lc = {.component = "engine"};

/* The caller has to wait. */
enum { WAIT = 2 };

/* What is freed in the C library's heap stays the process's own until it is told to give it back. */
void loaded_unload(struct loaded *l)
{
    if (l->batcher)
        log_debug(&lc, "whisper: '%s' unloaded; at most %u windows were in one step", l->name,
                  whisper_batcher_most(l->batcher));
    whisper_batcher_free(l->batcher);
    whisper_model_unref(l->model);
    free(l->name);
    *l = (struct loaded){0};
    malloc_trim(0);
}

void models_new(const struct models_opts *o, struct models **ret)
{
    struct models *m = xcalloc(1, sizeof *m);
    m->o = *o;
    m->o.folder = m->folder = xstrdup(o->folder);
    m->o.cache = m->cache = xstrdup(o->cache);
    m->o.max = MAX(MAX(o->max, o->kept), 1);
    m->places = xcalloc(m->o.max, sizeof *m->places);
    pthread_mutex_init(&m->mu, NULL);
    cond_init(&m->changed);
    cond_init(&m->reaper_wake);
    *ret = m;
}

void models_free(struct models *m)
{
    if (!m)
        return;
    models_end_reaper(m);
    for (size_t i = 0; i < m->o.max; i++)
        loaded_unload(&m->places[i]);
    pthread_mutex_destroy(&m->mu);
    pthread_cond_destroy(&m->changed);
    pthread_cond_destroy(&m->reaper_wake);
    free(m->places);
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

/*
 * With a limit the weights count, however they lie in memory. Without one it is asked what is still to be taken:
 * weights that are mapped from the cache come in by and by, without a cache they are there.
 */
static int64_t bytes_of(const struct models *m, const struct whisper_model *model, unsigned windows)
{
    struct whisper_batcher_opts bo = batch_of(m, windows);
    return whisper_batcher_memory(model, &bo) +
           (m->cache || m->o.memory_bytes ? whisper_model_info(model)->packed_bytes : 0);
}

static int64_t room_locked(const struct models *m)
{
    if (!m->o.memory_bytes)
        return available_memory() / 10 * 9;
    int64_t left = m->o.memory_bytes;
    for (size_t i = 0; i < m->o.max; i++)
        left -= m->places[i].bytes;
    return left;
}

struct loaded *models_idle_locked(struct models *m)
{
    struct loaded *best = NULL;
    for (size_t i = 0; i < m->o.max; i++) {
        struct loaded *l = &m->places[i];
        if (l->name && !l->users && !l->loading && (!best || l->used_ms < best->used_ms))
            best = l;
    }
    return best;
}

static bool others_in_use_locked(const struct models *m)
{
    for (size_t i = 0; i < m->o.max; i++)
        if (m->places[i].users)
            return true;
    return false;
}

static void evict_locked(struct models *m, struct loaded *l)
{
    m->evictions++;
    loaded_unload(l);
}

/*
 * Memory was short when idle_count was `seen`. 0: an idle model went, try again; WAIT: others are in use, or on their
 * way out; else the sentence in *err is the last.
 */
static int make_room_locked(struct models *m, uint64_t seen, struct err *err)
{
    struct loaded *idle = models_idle_locked(m);
    if (idle)
        evict_locked(m, idle);
    if (idle || seen != m->idle_count)
        return 0;
    if (m->going || others_in_use_locked(m))
        return WAIT;
    struct err why = *err;
    return err_set(err, ERR_NOMEM, "%s: use a smaller model%s", why.msg,
                   m->o.memory_bytes ? " or raise model_memory" : "");
}

/* ---- loading ---- */

static int open_model(const struct models *m, const char *name, int64_t room, const struct cancel *cancel,
                      struct whisper_model **ret, struct err *err)
{
    CLEANUP(free_p) char *path = NULL;
    int rc = whisper_find_model(m->folder, name, &path, err);
    if (rc < 0)
        return rc == ERR_NOT_FOUND ? err->code = ERR_INVALID : rc;
    struct whisper_batcher_opts smallest = batch_of(m, 1);
    struct whisper_model_opts mo = {.precision = m->o.precision,
                                    .cache_folder = m->cache,
                                    .batcher = &smallest,
                                    .room_bytes = room,
                                    .cancel = cancel};
    return whisper_model_open(path, &mo, ret, err);
}

/* Unlocks meanwhile, as the next one does. */
static int open_locked(struct models *m, struct loaded *place, const struct cancel *cancel, struct err *err)
{
    for (;;) {
        uint64_t seen = m->idle_count;
        int64_t room = room_locked(m);
        pthread_mutex_unlock(&m->mu);
        int rc = open_model(m, place->name, room, cancel, &place->model, err);
        pthread_mutex_lock(&m->mu);
        if (rc == ERR_NOMEM)
            rc = make_room_locked(m, seen, err);
        else
            return rc;
        if (rc != 0)
            return rc;
    }
}

static int make_batcher_locked(struct models *m, struct loaded *place, struct err *err)
{
    struct whisper_batcher_opts bo = batch_of(m, place->windows);
    int64_t need = bytes_of(m, place->model, place->windows), room = room_locked(m);
    if (need > room)
        return err_set(err, ERR_NOMEM, "model '%s' needs %lld MB of memory, and %lld MB are left", place->name,
                       (long long)(need >> 20) + 1, (long long)(MAX(room, (int64_t)0) >> 20));
    place->bytes = need;
    pthread_mutex_unlock(&m->mu);
    int rc = whisper_batcher_new(place->model, &bo, &place->batcher, err);
    pthread_mutex_lock(&m->mu);
    if (rc < 0)
        place->bytes = 0;
    return rc;
}

/* With as many windows as fit: idle models are put out for them, those in use are not waited for. */
static int batcher_locked(struct models *m, struct loaded *place, struct err *err)
{
    int rc;
    uint64_t seen = m->idle_count;
    place->windows = m->o.windows;
    while ((rc = make_batcher_locked(m, place, err)) == ERR_NOMEM) {
        if (place->windows > 1 && !models_idle_locked(m)) {
            place->windows /= 2;
            continue;
        }
        rc = make_room_locked(m, seen, err);
        if (rc != 0)
            return rc;
        seen = m->idle_count;
    }
    if (rc == 0 && place->windows < m->o.windows)
        log_warn(&lc, "whisper: memory is short, '%s' runs %u chunks at a time instead of %u", place->name,
                 place->windows, m->o.windows);
    return rc;
}

/* Into `place`, which is marked as loading. */
static int load_locked(struct models *m, struct loaded *place, const struct cancel *cancel, struct err *err)
{
    int64_t began = clock_mono_ms();
    int rc = open_locked(m, place, cancel, err);
    if (rc == 0)
        rc = batcher_locked(m, place, err);
    if (rc != 0)
        return rc;
    const struct whisper_info *i = whisper_model_info(place->model);
    place->loaded_at = clock_wall_ms();
    place->load_ms = clock_mono_ms() - began;
    log_debug(&lc, "whisper: '%s' (%s, %s) loaded in %lld ms%s, %u windows, %lld MB", i->name, i->file_type,
              whisper_precision_name(i->precision), (long long)place->load_ms, i->from_cache ? " from the cache" : "",
              place->windows, (long long)(place->bytes >> 20));
    return 0;
}

/* A place for another model, emptied; NULL when all are in use. */
static struct loaded *place_locked(struct models *m)
{
    for (size_t i = 0; i < m->o.max; i++)
        if (!m->places[i].name)
            return &m->places[i];
    struct loaded *l = models_idle_locked(m);
    if (l)
        evict_locked(m, l);
    return l;
}

static struct loaded *find_locked(struct models *m, const char *name)
{
    for (size_t i = 0; i < m->o.max; i++)
        if (str_eq(m->places[i].name, name))
            return &m->places[i];
    return NULL;
}

/* ---- acquiring ---- */

static void use_locked(struct loaded *l)
{
    l->users++;
    l->use_count++;
}

/* 0, 1: *ret is the caller's to use. */
static int try_locked(struct models *m, const char *name, const struct cancel *cancel, struct waiter *me,
                      struct loaded **ret, struct err *err)
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
        use_locked(l);
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
    int rc = load_locked(m, l, cancel, err);
    l->loading = m->loading = false;
    pthread_cond_broadcast(&m->changed);
    if (rc == 0) {
        use_locked(l);
        m->misses++;
        m->load_ms_last = l->load_ms;
        m->load_ms_total += l->load_ms;
        models_loaded_one_locked(m);
        *ret = l;
        return 1;
    }
    loaded_unload(l);
    if (rc == WAIT)
        join_locked(m, me);
    return rc;
}

static int waited_too_long_locked(struct models *m, const char *name, struct err *err)
{
    unsigned in_use = 0;
    for (size_t i = 0; i < m->o.max; i++)
        in_use += m->places[i].users > 0;
    m->timeouts++;
    return err_set(err, ERR_BUSY,
                   "model '%s' found no room for %.1f s (model_acquire_timeout): %u others are in use, and %s", name,
                   (double)m->o.wait_ms / 1000, in_use,
                   m->loading           ? "one is being loaded"
                   : in_use >= m->o.max ? "no more may be loaded (model_pool_max_size)"
                                        : "memory is short");
}

int models_acquire(struct models *m, const char *name, const struct cancel *cancel, struct loaded **ret,
                   struct err *err)
{
    struct waiter me = {0};
    int64_t until = m->o.wait_ms > 0 ? clock_mono_ms() + m->o.wait_ms : INT64_MAX;
    int rc;
    pthread_mutex_lock(&m->mu);
    while ((rc = try_locked(m, name, cancel, &me, ret, err)) == WAIT) {
        if (cancel_is_set(cancel)) {
            rc = err_set(err, ERR_CANCELLED, "cancelled");
            break;
        }
        int64_t left = until - clock_mono_ms();
        if (left <= 0) {
            rc = waited_too_long_locked(m, name, err);
            break;
        }
        cond_wait_ms(&m->changed, &m->mu, MIN(left, (int64_t)LOOK_MS));
    }
    leave_locked(m, &me);
    pthread_mutex_unlock(&m->mu);
    return rc;
}

void models_release(struct models *m, struct loaded *l)
{
    pthread_mutex_lock(&m->mu);
    l->used_ms = clock_mono_ms();
    l->used_at = clock_wall_ms();
    if (--l->users == 0) {
        m->idle_count++;
        pthread_cond_broadcast(&m->changed);
    }
    pthread_mutex_unlock(&m->mu);
}

void models_fell_back(struct models *m)
{
    pthread_mutex_lock(&m->mu);
    m->oom_fallbacks++;
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
