/* SPDX-License-Identifier: MIT */
#include "api/health.h"

#include "base/clock.h"
#include "base/macros.h"
#include "base/mem.h"
#include "base/thread.h"

#include <stdio.h>
#include <stdlib.h>

enum { PATIENCE_MS = 2000 };

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
    struct store *store;
    struct storage *storage;
    struct broker *broker;
    pthread_mutex_t mu;
    pthread_cond_t asked, told;
    bool stopping; /* guarded by mu */
    struct part parts[HEALTH_PART_COUNT];
};

static int ask_database(struct health *h, struct health_report *ret, struct err *err)
{
    int rc = store_ping(h->store, &ret->latency_ms, err);
    store_pool(h->store, &ret->pool);
    return rc;
}

static int ask_storage(struct health *h, struct health_report *ret, struct err *err)
{
    return storage_ping(h->storage, &ret->latency_ms, &ret->free_bytes, err);
}

static int ask_broker(struct health *h, struct health_report *ret, struct err *err)
{
    return health_broker(h->broker, &ret->latency_ms, ret->depth, err);
}

static const struct {
    const char *name;
    ask_fn ask;
    int64_t fresh_ms;
} kinds[] = {
#define X(name, ask, fresh_ms) {#name, ask, fresh_ms},
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
        struct health_report r = {.name = p->report.name, .free_bytes = -1};
        for (int q = 0; q < QUEUE_COUNT; q++)
            r.depth[q] = -1;
        struct err err = ERR_INIT;
        int64_t asked = clock_mono_ms();
        r.ok = p->ask(h, &r, &err) >= 0;
        if (!r.ok)
            snprintf(r.error, sizeof r.error, "%.255s", err.msg);
        pthread_mutex_lock(&h->mu);
        p->report = r;
        p->answered = asked;
        pthread_cond_broadcast(&h->told);
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

int health_new(struct store *s, struct storage *st, struct broker *b, struct health **ret, struct err *err)
{
    struct health *h = xcalloc(1, sizeof *h);
    h->store = s;
    h->storage = st;
    h->broker = b;
    pthread_mutex_init(&h->mu, NULL);
    cond_init(&h->asked);
    cond_init(&h->told);
    int rc = 0;
    for (size_t i = 0; i < HEALTH_PART_COUNT && rc >= 0; i++) {
        struct part *p = &h->parts[i];
        *p = (struct part){.h = h, .ask = kinds[i].ask, .fresh_ms = kinds[i].fresh_ms, .report.name = kinds[i].name};
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
    pthread_cond_destroy(&h->asked);
    pthread_cond_destroy(&h->told);
    pthread_mutex_destroy(&h->mu);
    free(h);
}

static bool is_fresh(const struct part *p, int64_t now)
{
    return p->answered && now - p->answered <= p->fresh_ms;
}

void health_ask(struct health *h, struct health_report ret[HEALTH_PART_COUNT])
{
    int64_t start = clock_mono_ms(), left = PATIENCE_MS;
    pthread_mutex_lock(&h->mu);
    for (size_t i = 0; i < HEALTH_PART_COUNT; i++)
        if (!is_fresh(&h->parts[i], start))
            h->parts[i].wanted = true;
    pthread_cond_broadcast(&h->asked);
    for (size_t i = 0; i < HEALTH_PART_COUNT; i++) {
        struct part *p = &h->parts[i];
        while (!is_fresh(p, start) && left > 0) {
            cond_wait_ms(&h->told, &h->mu, left);
            left = PATIENCE_MS - (clock_mono_ms() - start);
        }
        ret[i] = p->report;
        if (!is_fresh(p, start)) {
            ret[i].ok = false;
            ret[i].latency_ms = clock_mono_ms() - start;
            snprintf(ret[i].error, sizeof ret[i].error, "no answer within %d ms", PATIENCE_MS);
        }
    }
    pthread_mutex_unlock(&h->mu);
}
