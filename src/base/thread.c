/* SPDX-License-Identifier: MIT */
/*
 * The pool is a ring of tasks under one mutex; a task runs with the mutex released. `stopping` lets the threads
 * finish what is queued and then end.
 */
#include "base/thread.h"

#include "base/mem.h"

#include <errno.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

int thread_start(pthread_t *ret, const char *name, void *(*fn)(void *), void *arg, struct err *err)
{
    /*
     * Signals go to the main thread only: a handler must not interrupt a thread in the middle of its work. Not those
     * a thread sends itself by a fault of its own: blocked, they would kill without the sanitizers' report.
     */
    static const int faults[] = {SIGSEGV, SIGBUS, SIGFPE, SIGILL, SIGTRAP, SIGABRT};
    sigset_t all, old;
    sigfillset(&all);
    for (size_t i = 0; i < ARRAY_LEN(faults); i++)
        sigdelset(&all, faults[i]);
    pthread_sigmask(SIG_SETMASK, &all, &old);
    pthread_t t;
    int rc = pthread_create(&t, NULL, fn, arg);
    pthread_sigmask(SIG_SETMASK, &old, NULL);
    if (rc)
        return err_sys(err, rc, "cannot start thread '%s'", name);
    char cut[16] = ""; /* longer names are refused */
    memcpy(cut, name, strnlen(name, sizeof cut - 1));
    pthread_setname_np(t, cut);
    *ret = t;
    return 0;
}

void cond_init(pthread_cond_t *c)
{
    pthread_condattr_t attr;
    pthread_condattr_init(&attr);
    pthread_condattr_setclock(&attr, CLOCK_MONOTONIC);
    pthread_cond_init(c, &attr);
    pthread_condattr_destroy(&attr);
}

bool cond_wait_ms(pthread_cond_t *c, pthread_mutex_t *mu, int64_t ms)
{
    if (ms < 0) {
        pthread_cond_wait(c, mu);
        return true;
    }
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    t.tv_sec += ms / 1000;
    t.tv_nsec += (ms % 1000) * 1000000;
    if (t.tv_nsec >= 1000000000) {
        t.tv_sec++;
        t.tv_nsec -= 1000000000;
    }
    return pthread_cond_timedwait(c, mu, &t) != ETIMEDOUT;
}

struct task {
    pool_fn fn;
    void *arg;
};

struct pool {
    pthread_mutex_t mu;
    pthread_cond_t more;
    struct task *ring; /* guarded by mu, as all below */
    size_t cap, first, n;
    bool stopping;
    unsigned n_threads; /* written before the threads look */
    pthread_t threads[];
};

static void *pool_main(void *arg)
{
    struct pool *p = arg;
    pthread_mutex_lock(&p->mu);
    for (;;) {
        while (!p->n && !p->stopping)
            cond_wait_ms(&p->more, &p->mu, -1);
        if (!p->n)
            break;
        struct task t = p->ring[p->first];
        p->first = (p->first + 1) % p->cap;
        p->n--;
        pthread_mutex_unlock(&p->mu);
        t.fn(t.arg);
        pthread_mutex_lock(&p->mu);
    }
    pthread_mutex_unlock(&p->mu);
    return NULL;
}

int pool_new(const char *name, unsigned threads, size_t max_queued, struct pool **ret, struct err *err)
{
    threads = MAX(threads, 1u);
    struct pool *p = xcalloc(1, sizeof *p + threads * sizeof p->threads[0]);
    pthread_mutex_init(&p->mu, NULL);
    cond_init(&p->more);
    p->cap = max_queued ? max_queued : 1;
    p->ring = xcalloc(p->cap, sizeof *p->ring);
    for (unsigned i = 0; i < threads; i++) {
        int rc = thread_start(&p->threads[i], name, pool_main, p, err);
        if (rc < 0) {
            pool_free(p);
            return rc;
        }
        p->n_threads++;
    }
    *ret = p;
    return 0;
}

bool pool_try_run(struct pool *p, pool_fn fn, void *arg)
{
    pthread_mutex_lock(&p->mu);
    bool taken = p->n < p->cap && !p->stopping;
    if (taken) {
        p->ring[(p->first + p->n) % p->cap] = (struct task){fn, arg};
        p->n++;
        pthread_cond_signal(&p->more);
    }
    pthread_mutex_unlock(&p->mu);
    return taken;
}

size_t pool_queued(struct pool *p)
{
    pthread_mutex_lock(&p->mu);
    size_t n = p->n;
    pthread_mutex_unlock(&p->mu);
    return n;
}

void pool_free(struct pool *p)
{
    if (!p)
        return;
    pthread_mutex_lock(&p->mu);
    p->stopping = true;
    pthread_cond_broadcast(&p->more);
    pthread_mutex_unlock(&p->mu);
    for (unsigned i = 0; i < p->n_threads; i++)
        pthread_join(p->threads[i], NULL);
    pthread_cond_destroy(&p->more);
    pthread_mutex_destroy(&p->mu);
    free(p->ring);
    free(p);
}
