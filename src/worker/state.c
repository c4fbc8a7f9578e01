/* SPDX-License-Identifier: MIT */
#include "worker/state.h"

#include "base/clock.h"
#include "base/thread.h"

#include <stdio.h>

bool worker_pause(struct worker *w, int64_t ms)
{
    int64_t until = clock_mono_ms() + ms, left;
    pthread_mutex_lock(&w->mu);
    while (!w->ending && (left = until - clock_mono_ms()) > 0)
        cond_wait_ms(&w->ended, &w->mu, left);
    bool go_on = !w->ending;
    pthread_mutex_unlock(&w->mu);
    return go_on;
}

void worker_event(struct worker *w, const char *job_id, int64_t seq, const char *type, const char *json)
{
    struct event e = {.seq = seq};
    struct err err = ERR_INIT;
    struct log_ctx lc = worker_log_of(w, job_id);
    snprintf(e.job_id, sizeof e.job_id, "%s", job_id);
    snprintf(e.type, sizeof e.type, "%s", type);
    snprintf(e.json, sizeof e.json, "%s", json);
    if (broker_send_event(w->o->broker, &e, &err) < 0)
        log_debug(&lc, "event '%s' was not sent: %s", type, err.msg);
}

int64_t outage_hit(struct outage *o, const struct log_ctx *lc, const char *what, const struct err *err)
{
    if (!o->since) {
        o->since = clock_mono_ms();
        o->pause_ms = OUTAGE_PAUSE_MIN_MS;
        log_warn(lc, "%s failed, trying again: %s", what, err->msg);
    } else {
        o->pause_ms = MIN(o->pause_ms * 2, OUTAGE_PAUSE_MAX_MS);
    }
    return o->pause_ms;
}

bool outage_over(struct outage *o, const struct log_ctx *lc, const char *what)
{
    if (!o->since)
        return false;
    log_info(lc, "%s works again after %.1f s", what, (double)(clock_mono_ms() - o->since) / 1000);
    o->since = 0;
    return true;
}
