/* SPDX-License-Identifier: MIT */
#include "api/health.h"

#include "api/jsonw.h"
#include "api/model_pool.h"
#include "base/clock.h"
#include "base/io.h"
#include "base/macros.h"
#include "base/mem.h"
#include "base/str.h"
#include "base/thread.h"

#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum {
    PATIENCE_MS = 2000,
    DETAILS_MAX = 4 << 20, /* a thousand workers */
};

typedef int (*ask_fn)(struct health *h, struct health_report *ret, struct err *err);

struct part {
    struct health *h;
    ask_fn ask;
    int64_t fresh_ms;
    pthread_t thread;
    bool started;
    /* guarded by h->mu: */
    bool wanted;      /* somebody waits for an answer */
    int64_t answered; /* when the question behind `report` was put, monotonic; 0: never */
    struct health_report report;
};

struct health {
    struct health_opts o;
    pthread_mutex_t mu;
    pthread_cond_t asked, told;
    bool stopping; /* guarded by mu */
    struct part parts[HEALTH_PART_COUNT];
};

static int ask_database(struct health *h, struct health_report *ret, struct err *err)
{
    int rc = store_ping(h->o.store, &ret->latency_ms, err);
    struct db_pool pool;
    store_pool(h->o.store, &pool);
    if (!pool.max)
        return rc;
    struct jsonw w = {&ret->details, false};
    jw_open(&w, "connections", '{');
    jw_int(&w, "max", pool.max);
    jw_int(&w, "open", pool.open);
    jw_int(&w, "busy", pool.busy);
    jw_int(&w, "waiting", pool.waiting);
    jw_close(&w, '}');
    return rc;
}

static int check_free(const struct health *h, int64_t free_bytes, struct err *err)
{
    if (free_bytes >= h->o.min_free_bytes)
        return 0;
    return err_set(err, ERR_BUSY,
                   "%lld MB are free, less than min_free_disk (%lld MB): recordings are refused until there is room",
                   (long long)(free_bytes >> 20), (long long)(h->o.min_free_bytes >> 20));
}

static int ask_storage(struct health *h, struct health_report *ret, struct err *err)
{
    int64_t free_bytes = -1;
    int rc = storage_ping(h->o.storage, &ret->latency_ms, &free_bytes, err);
    struct jsonw w = {&ret->details, false};
    if (rc < 0 || free_bytes < 0)
        return rc;
    jw_int(&w, "free_bytes", free_bytes);
    return check_free(h, free_bytes, err);
}

static int ask_broker(struct health *h, struct health_report *ret, struct err *err)
{
    int64_t depth[QUEUE_COUNT];
    int rc = health_broker(h->o.broker, &ret->latency_ms, depth, err);
    if (rc < 0 || depth[0] < 0)
        return rc;
    struct jsonw w = {&ret->details, false};
    jw_open(&w, "depth", '{');
    for (int q = 0; q < QUEUE_COUNT; q++)
        jw_int(&w, job_queue_name((enum job_queue)q), depth[q]);
    jw_close(&w, '}');
    return rc;
}

static int ask_queue(struct health *h, struct health_report *ret, struct err *err)
{
    struct store_counts c;
    int64_t began = clock_mono_ms();
    int rc = store_counts(h->o.store, false, &c, err);
    ret->latency_ms = clock_mono_ms() - began;
    if (rc < 0)
        return rc;
    struct jsonw w = {&ret->details, false};
    jw_int(&w, "pending", c.by_state[JOB_PENDING]);
    jw_int(&w, "processing", c.by_state[JOB_PROCESSING]);
    jw_seconds(&w, "oldest_wait", c.oldest_pending_ms);
    health_write_paused(&w, &c);
    return 0;
}

static int ask_disk(struct health *h, struct health_report *ret, struct err *err)
{
    const struct {
        const char *name, *path;
    } folders[] = {{"data", h->o.data_folder}, {"temp", h->o.temp_folder}};
    struct jsonw w = {&ret->details, false};
    int64_t least = INT64_MAX;
    for (size_t i = 0; i < ARRAY_LEN(folders); i++) {
        int64_t free_bytes = 0;
        if (access(folders[i].path, F_OK) < 0)
            continue; /* not made yet: it will be in the data folder, or nothing of ours is there */
        int rc = io_free_bytes(folders[i].path, &free_bytes, err);
        if (rc < 0)
            return rc;
        jw_open(&w, folders[i].name, '{');
        jw_int(&w, "free_bytes", free_bytes);
        jw_close(&w, '}');
        least = MIN(least, free_bytes);
    }
    int rc = check_free(h, least, err);
    if (rc == 0 && least < h->o.room_bytes)
        return err_set(err, ERR_BUSY,
                       "%lld MB are free, less than a recording of max_upload_size (%lld MB) may take: make room",
                       (long long)(least >> 20), (long long)(h->o.room_bytes >> 20));
    return rc;
}

void health_write_paused(struct jsonw *w, const struct store_counts *c)
{
    jw_open(w, "paused_queues", '[');
    for (int q = 0; q < QUEUE_COUNT; q++)
        if (c->paused_at[q])
            jw_str(w, NULL, job_queue_name((enum job_queue)q));
    jw_close(w, ']');
}

/* Its own words are checked, because the row may be of another version. */
void health_write_worker(struct jsonw *w, const struct worker_row *row)
{
    bool silent = row->silent_ms > HEALTH_WORKER_SILENT_MS;
    jw_open(w, NULL, '{');
    jw_str(w, "id", row->id);
    jw_str(w, "host", row->host);
    jw_int(w, "pid", row->pid);
    jw_str(w, "version", row->version);
    jw_str(w, "state", silent ? "silent" : row->state);
    jw_time(w, "started_at", row->started_at);
    jw_time(w, "heartbeat_at", row->heartbeat_at);
    jw_int(w, "running", row->running);
    json_t *info = json_loads(row->info, JSON_REJECT_DUPLICATES, NULL);
    char *text = json_is_object(info) ? json_dumps(info, JSON_COMPACT) : NULL;
    jw_raw(w, "info", text ? text : "{}");
    free(text);
    json_decref(info);
    jw_close(w, '}');
}

static int ask_workers(struct health *h, struct health_report *ret, struct err *err)
{
    CLEANUP(arena_clear) struct arena a = ARENA_INIT;
    struct worker_row *rows = NULL;
    size_t n = 0, live = 0, full = 0;
    int64_t began = clock_mono_ms();
    int rc = store_list_workers(h->o.store, &a, &rows, &n, err);
    ret->latency_ms = clock_mono_ms() - began;
    if (rc < 0)
        return rc;
    int64_t running = 0;
    struct model_pool pool;
    model_pool_init(&pool, DETAILS_MAX);
    for (size_t i = 0; i < n; i++)
        if (rows[i].silent_ms <= HEALTH_WORKER_SILENT_MS) {
            json_t *info = json_loads(rows[i].info, JSON_REJECT_DUPLICATES, NULL);
            live++;
            running += rows[i].running;
            model_pool_add(&pool, rows[i].id, info);
            full += json_is_true(json_object_get(info, "out_of_room"));
            json_decref(info);
        }
    struct jsonw about = {&ret->model_pool, false};
    model_pool_write(&pool, &about);
    model_pool_clear(&pool);
    struct jsonw w = {&ret->details, false};
    jw_int(&w, "live", (int64_t)live);
    jw_int(&w, "running", running);
    jw_open(&w, "workers", '[');
    for (size_t i = 0; i < n; i++)
        health_write_worker(&w, &rows[i]);
    jw_close(&w, ']');
    if (!live)
        return err_set(err, ERR_UNAVAILABLE, "no worker runs: jobs are accepted, and wait for one");
    if (full)
        return err_set(err, ERR_BUSY, "%zu of %zu workers begin no job: their temp folder has no room", full, live);
    return 0;
}

static const struct {
    const char *name;
    ask_fn ask;
    int64_t fresh_ms;
    bool always;
} kinds[] = {
#define X(name, ask, fresh_ms, always) {#name, ask, fresh_ms, always},
    HEALTH_PARTS(X)
#undef X
};

static void *part_main(void *arg)
{
    struct part *p = arg;
    struct health *h = p->h;
    pthread_mutex_lock(&h->mu);
    while (!h->stopping) {
        if (!p->wanted) {
            cond_wait_ms(&h->asked, &h->mu, -1);
            continue;
        }
        p->wanted = false;
        pthread_mutex_unlock(&h->mu);
        struct health_report r = {.name = p->report.name,
                                  .always = p->report.always,
                                  .details = BUF_INIT(DETAILS_MAX),
                                  .model_pool = BUF_INIT(DETAILS_MAX)};
        struct err err = ERR_INIT;
        int64_t asked = clock_mono_ms();
        r.ok = p->ask(h, &r, &err) >= 0 && buf_check(&r.details, "what is known of it", &err) >= 0 &&
               buf_check(&r.model_pool, "what is known of models", &err) >= 0;
        if (!r.ok)
            snprintf(r.error, sizeof r.error, "%.255s", err.msg);
        pthread_mutex_lock(&h->mu);
        struct buf old = p->report.details, old_pool = p->report.model_pool;
        p->report = r;
        p->answered = asked;
        pthread_cond_broadcast(&h->told);
        pthread_mutex_unlock(&h->mu);
        buf_clear(&old);
        buf_clear(&old_pool);
        pthread_mutex_lock(&h->mu);
    }
    pthread_mutex_unlock(&h->mu);
    return NULL;
}

int health_broker(struct broker *b, int64_t *ret_latency_ms, int64_t ret_depth[QUEUE_COUNT], struct err *err)
{
    int64_t depth[QUEUE_COUNT];
    int rc = broker_ping(b, ret_latency_ms, err);
    for (int q = 0; q < QUEUE_COUNT; q++) {
        ret_depth[q] = -1;
        if (rc >= 0)
            rc = broker_depth(b, job_queue_name((enum job_queue)q), &depth[q], err);
    }
    for (int q = 0; rc >= 0 && q < QUEUE_COUNT; q++)
        ret_depth[q] = depth[q];
    return rc;
}

int health_new(const struct health_opts *o, struct health **ret, struct err *err)
{
    struct health *h = xcalloc(1, sizeof *h);
    h->o = *o;
    pthread_mutex_init(&h->mu, NULL);
    cond_init(&h->asked);
    cond_init(&h->told);
    int rc = 0;
    for (size_t i = 0; i < HEALTH_PART_COUNT && rc >= 0; i++) {
        struct part *p = &h->parts[i];
        *p = (struct part){.h = h, .ask = kinds[i].ask, .fresh_ms = kinds[i].fresh_ms};
        p->report = (struct health_report){.name = kinds[i].name, .always = kinds[i].always};
        rc = thread_start(&p->thread, kinds[i].name, part_main, p, err);
        p->started = rc >= 0;
    }
    if (rc < 0) {
        health_free(h);
        return rc;
    }
    *ret = h;
    return 0;
}

static void report_clear(struct health_report *r)
{
    buf_clear(&r->details);
    buf_clear(&r->model_pool);
}

void health_free(struct health *h)
{
    if (!h)
        return;
    pthread_mutex_lock(&h->mu);
    h->stopping = true;
    pthread_cond_broadcast(&h->asked);
    pthread_mutex_unlock(&h->mu);
    for (size_t i = 0; i < HEALTH_PART_COUNT; i++)
        if (h->parts[i].started)
            pthread_join(h->parts[i].thread, NULL);
    for (size_t i = 0; i < HEALTH_PART_COUNT; i++)
        report_clear(&h->parts[i].report);
    pthread_cond_destroy(&h->asked);
    pthread_cond_destroy(&h->told);
    pthread_mutex_destroy(&h->mu);
    free(h);
}

static bool is_fresh(const struct part *p, int64_t now)
{
    return p->answered && now - p->answered <= p->fresh_ms;
}

/* What is known of a part in time; guarded by h->mu. */
static void copy_report(const struct part *p, int64_t start, struct health_report *ret)
{
    *ret = p->report;
    ret->details = ret->model_pool = (struct buf)BUF_INIT(DETAILS_MAX);
    if (is_fresh(p, start)) {
        buf_adds(&ret->details, buf_str(&p->report.details));
        buf_adds(&ret->model_pool, buf_str(&p->report.model_pool));
        return;
    }
    ret->ok = false;
    ret->latency_ms = clock_mono_ms() - start;
    snprintf(ret->error, sizeof ret->error, "no answer within %d ms", PATIENCE_MS);
}

void health_ask(struct health *h, bool all, struct health_report ret[HEALTH_PART_COUNT])
{
    int64_t start = clock_mono_ms(), left = PATIENCE_MS;
    memset(ret, 0, HEALTH_PART_COUNT * sizeof ret[0]);
    pthread_mutex_lock(&h->mu);
    for (size_t i = 0; i < HEALTH_PART_COUNT; i++)
        if ((all || kinds[i].always) && !is_fresh(&h->parts[i], start))
            h->parts[i].wanted = true;
    pthread_cond_broadcast(&h->asked);
    for (size_t i = 0; i < HEALTH_PART_COUNT; i++) {
        struct part *p = &h->parts[i];
        if (!all && !kinds[i].always)
            continue;
        while (!is_fresh(p, start) && left > 0) {
            cond_wait_ms(&h->told, &h->mu, left);
            left = PATIENCE_MS - (clock_mono_ms() - start);
        }
        copy_report(p, start, &ret[i]);
    }
    pthread_mutex_unlock(&h->mu);
}

bool health_ok(struct health *h)
{
    struct health_report parts[HEALTH_PART_COUNT];
    health_ask(h, false, parts);
    bool ok = true;
    for (size_t i = 0; i < HEALTH_PART_COUNT; i++)
        ok = ok && (!parts[i].name || parts[i].ok);
    health_clear(parts);
    return ok;
}

void health_clear(struct health_report reports[HEALTH_PART_COUNT])
{
    for (size_t i = 0; i < HEALTH_PART_COUNT; i++)
        report_clear(&reports[i]);
}
