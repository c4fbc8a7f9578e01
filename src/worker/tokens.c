/* SPDX-License-Identifier: MIT */
/*
 * A broker that keeps tokens shall hold one for each job that waits and is due: then its depth means something, and a
 * worker is woken for each. Two things are seen to:
 *
 *   Jobs that were never announced get a token, as many as the queue lacks: a broker is never flooded, however long it
 *   or the senders were away.
 *
 *   Tokens got lost (a worker died holding one, a broker came back empty) or stale (their jobs were cancelled, or
 *   claimed before the token came). A difference between the queue and the table is only believed when two sweeps in a
 *   row see it, because jobs and tokens move between the two looks. The smaller of both counts is sent again or
 *   dropped, the oldest first.
 *
 * What several workers do at the same time adds up to too many tokens at worst, which a later sweep drops.
 */
#include "worker/tokens.h"

enum { BATCH = 200 };

static struct token token_of(const struct job *j)
{
    return (struct token){.queue = job_queue_name(j->queue),
                          .job_id = j->id,
                          .audio_key = j->audio_key,
                          .language = j->language,
                          .model = j->model};
}

/*
 * Jobs that wait and are due, less tokens: how many wake-ups each queue lacks (negative: has too many). One that is
 * paused lacks none: workers would only be woken for nothing. Nor has it too many: who takes one drops it.
 */
static int count_missing(struct worker *w, const int64_t depth[QUEUE_COUNT], int64_t missing[QUEUE_COUNT],
                         struct err *err)
{
    struct store_counts counts;
    int rc = store_counts(w->o->store, false, &counts, err);
    for (int q = 0; rc == 0 && q < QUEUE_COUNT; q++)
        missing[q] = counts.paused_at[q] ? 0 : counts.ready[q] - depth[q];
    return rc;
}

static int announce_one(struct worker *w, const struct job *j, int64_t *missing, struct err *err)
{
    struct token t = token_of(j);
    int rc = 0;
    if (*missing > 0) {
        --*missing;
        rc = broker_send_token(w->o->broker, &t, err);
    }
    return rc < 0 ? rc : store_mark_announced(w->o->store, j->id, err);
}

static int announce(struct worker *w, int64_t missing[QUEUE_COUNT], struct err *err)
{
    struct arena a = ARENA_INIT;
    struct job *jobs = NULL;
    size_t n = 0;
    int rc = store_unannounced(w->o->store, BATCH, &a, &jobs, &n, err);
    for (size_t i = 0; rc == 0 && i < n; i++)
        rc = announce_one(w, &jobs[i], &missing[jobs[i].queue], err);
    arena_clear(&a);
    return rc;
}

static int send_again(struct worker *w, enum job_queue q, int64_t count, struct err *err)
{
    struct arena a = ARENA_INIT;
    struct job *jobs = NULL;
    size_t n = 0;
    int rc = store_due(w->o->store, q, (int)MIN(count, BATCH), &a, &jobs, &n, err);
    for (size_t i = 0; rc == 0 && i < n; i++) {
        struct token t = token_of(&jobs[i]);
        rc = broker_send_token(w->o->broker, &t, err);
    }
    if (rc == 0 && n > 0)
        log_info(&w->log, "queue '%s' of the broker lacked %lld wake-ups: sent %zu", job_queue_name(q),
                 (long long)count, n);
    arena_clear(&a);
    return rc;
}

static int level(struct worker *w, enum job_queue q, int64_t depth, int64_t missing, struct err *err)
{
    int64_t before = w->missing_tokens[q];
    w->missing_tokens[q] = missing;
    if (before > 0 && missing > 0) {
        w->missing_tokens[q] = 0;
        return send_again(w, q, MIN(before, missing), err);
    }
    int64_t surplus = -MAX(before, missing);
    return surplus > 0 ? broker_trim(w->o->broker, job_queue_name(q), surplus, depth - surplus, err) : 0;
}

int tokens_sweep(struct worker *w, struct err *err)
{
    int64_t missing[QUEUE_COUNT], depth[QUEUE_COUNT] = {0};
    bool keeps = false;
    int rc = 0;
    for (int q = 0; rc == 0 && q < QUEUE_COUNT; q++) {
        rc = broker_depth(w->o->broker, job_queue_name((enum job_queue)q), &depth[q], err);
        keeps = keeps || depth[q] >= 0;
        missing[q] = INT64_MAX; /* a broker that keeps no tokens lacks one for each job */
    }
    if (rc == 0 && keeps)
        rc = count_missing(w, depth, missing, err);
    if (rc == 0)
        rc = announce(w, missing, err);
    for (int q = 0; rc == 0 && keeps && q < QUEUE_COUNT; q++)
        rc = level(w, (enum job_queue)q, depth[q], missing[q], err);
    return rc;
}
