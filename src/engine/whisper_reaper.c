/* SPDX-License-Identifier: MIT */
/*
 * A thread that starts with the first model and unloads what nobody has used for its time. It sleeps until the model
 * idle for longest may be due, or until something is loaded. Without it (the system refuses a thread) models stay.
 */
#include "engine/whisper_models_internal.h"

#include "base/clock.h"
#include "base/log.h"
#include "base/thread.h"

static const struct log_ctx lc = {.component = "engine"};

/* When an idle model's time is over, monotonic; INT64_MAX: never. `spare`: there are more than shall stay. */
static int64_t end_of(const struct models *m, const struct loaded *l, bool spare)
{
    int64_t after = m->o.idle_ms > 0 ? m->o.idle_ms : INT64_MAX;
    if (spare)
        after = MIN(after, m->o.spare_ms);
    return after == INT64_MAX ? INT64_MAX : l->used_ms + after;
}

/* The model whose time is over, else NULL and how long to wait; negative: until something is loaded. */
static struct loaded *due_locked(struct models *m, int64_t *ret_wait_ms)
{
    size_t n = 0;
    for (size_t i = 0; i < m->o.max; i++)
        n += m->places[i].name && !m->places[i].loading;
    bool spare = n > m->o.kept;
    struct loaded *idle = models_idle_locked(m), in_use = {.used_ms = clock_mono_ms()};
    /* What is in use now cannot be due before this. */
    int64_t end = end_of(m, idle ? idle : &in_use, spare), now = clock_mono_ms();
    *ret_wait_ms = !n || end == INT64_MAX ? -1 : MAX(end - now, (int64_t)1);
    return idle && end <= now ? idle : NULL;
}

static void *reaper_main(void *arg)
{
    struct models *m = arg;
    pthread_mutex_lock(&m->mu);
    while (!m->ending) {
        int64_t wait_ms;
        struct loaded *due = due_locked(m, &wait_ms);
        if (!due) {
            cond_wait_ms(&m->reaper_wake, &m->mu, wait_ms);
            continue;
        }
        struct loaded out = *due;
        *due = (struct loaded){0};
        m->unloads++;
        m->going = true;
        pthread_mutex_unlock(&m->mu);
        loaded_unload(&out);
        pthread_mutex_lock(&m->mu);
        m->going = false;
        m->idle_count++;
        pthread_cond_broadcast(&m->changed);
    }
    pthread_mutex_unlock(&m->mu);
    return NULL;
}

void models_loaded_one_locked(struct models *m)
{
    struct err err = ERR_INIT;
    if (!m->reaper_runs && (m->o.idle_ms > 0 || m->o.kept < m->o.max))
        m->reaper_runs = thread_start(&m->reaper, "models", reaper_main, m, &err) == 0;
    if (err.code)
        log_debug(&lc, "whisper: idle models will stay: %s", err.msg);
    pthread_cond_broadcast(&m->reaper_wake);
}

void models_end_reaper(struct models *m)
{
    pthread_mutex_lock(&m->mu);
    m->ending = true;
    pthread_cond_broadcast(&m->reaper_wake);
    pthread_mutex_unlock(&m->mu);
    if (m->reaper_runs)
        pthread_join(m->reaper, NULL);
}
