/* SPDX-License-Identifier: MIT */
/*
 * The jobs a worker has in work, seen by all its threads: the claiming thread adds one, the job's thread takes it off,
 * the keeper compares the board with the database and stops what is lost.
 *
 * A struct run belongs to its job's thread; others reach it only through these calls, under the board's lock.
 */
#ifndef WORKER_BOARD_H
#define WORKER_BOARD_H

#include "base/mem.h"
#include "base/stop.h"
#include "job/store.h"
#include "worker/limits.h"

struct board;

/* Why a run was stopped; the first reason stays. */
enum run_stop {
    RUN_GOES_ON,
    RUN_LOST,      /* cancelled, or another worker's: write nothing */
    RUN_TIMED_OUT, /* the job's time limit */
    RUN_HALTED,    /* this worker ends: hand it back */
};

/* One claimed job. */
struct run {
    struct arena arena; /* of `job` and all else that lives as long as the run */
    struct job job;
    struct claim claim;
    /* How far it is, for who looks. `stage` is one of enum pipeline_stage; RUN_NOT_BEGUN: no thread has taken it yet */
    atomic_int stage;
    atomic_llong done_ms, total_ms; /* of the audio; total 0 while unknown */
    int64_t began_ms;               /* monotonic */
    struct cancel cancel;           /* set together with `stop` */
    atomic_int stop;                /* enum run_stop */
    atomic_bool saved;              /* made a checkpoint since the claim */
    atomic_bool writing;            /* its row is being written, which may wait for the database: that does not hang */
    atomic_llong duration_ms;       /* of the recording; 0: not known yet */
    /* The board's. */
    int64_t stopped_ms; /* when `stop` was set */
    struct run *next;
};

enum { RUN_NOT_BEGUN = -1 };

struct run *run_new(void);
void run_free(struct run *r); /* NULL is fine */
static inline enum run_stop run_stopped(const struct run *r)
{
    return (enum run_stop)atomic_load(&r->stop);
}

void board_new(struct board **ret);
void board_free(struct board *b); /* must be empty; NULL is fine */

/* An older run of the same job has lost it: see store.h about databases that crash. */
void board_add(struct board *b, struct run *r);
/* Also wakes who waits in board_wait. False: it was abandoned, and must not be freed. */
bool board_remove(struct board *b, struct run *r);
size_t board_count(struct board *b);
/* The short jobs; *ret_all: all of them. */
size_t board_count_short(struct board *b, size_t *ret_all);
/* Does a job that a worker died on run without having saved anything yet? Then nothing may run beside it. */
bool board_has_suspect(struct board *b);
/* What runs now; returns how many, at most max. */
size_t board_list(struct board *b, struct held *ret, size_t max);
/* The same with how far each is. */
struct run_stand {
    char id[sizeof(((struct held *)0)->id)];
    int stage, attempt;
    int64_t running_ms; /* since the claim */
    int64_t done_ms, total_ms;
};
size_t board_stands(struct board *b, struct run_stand *ret, size_t max);
/* Grows with every run that is added or removed. */
size_t board_changes(struct board *b);
/* Waits while there are still `n` runs, which the caller has seen, or until the time is out. */
void board_wait(struct board *b, size_t n, int64_t timeout_ms);

/* True when this claim still runs and goes on until now: it is stopped with that reason. */
bool board_stop(struct board *b, const struct held *which, enum run_stop why);
void board_stop_all(struct board *b, enum run_stop why);
/* Stops what runs longer than it may. */
void board_stop_overdue(struct board *b, const struct job_limits *l);

/*
 * How many go on, or were told to stop less than patience_ms ago (RUN_HALTED: halt_ms): the others hang, or wait to
 * write their row.
 */
size_t board_hopeful(struct board *b, int64_t patience_ms, int64_t halt_ms);
/* Does one hang: it was told to stop longer ago than patience_ms, and does not wait for the database? */
bool board_has_stuck(struct board *b, int64_t patience_ms);
/*
 * Takes a run off whose thread hangs; NULL: there is none left. It is never freed, because that thread may come back;
 * what was fixed when it was added may be read.
 */
struct run *board_abandon(struct board *b);

#endif
