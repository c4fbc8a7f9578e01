/* SPDX-License-Identifier: MIT */
/*
 * The job store: every statement about jobs, written once.
 *
 * The row is the truth; brokers carry only hints. What each call promises:
 *
 *   submit     durable: once it returns, the job ends exactly once in completed, failed or cancelled.
 *   claim      gives one job to one worker under a lease and a new fence number. The fence is never reset, so a
 *              (holder, fence) pair names one claim for ever.
 *   *_fenced   every write of a worker carries its struct claim; when the row shows another state, holder or
 *              fence nothing changes and ERR_LOST is returned. The mere passing of lease time loses nothing
 *              until another process acts on it.
 *   sweep      expired leases go back to pending; deaths are counted (poison guard, below).
 *
 * A database server that crashes while workers live loses what was relaxed in its last moments: a claim, a plan,
 * checkpoints. Whoever finds that the database does not have what it had saved has lost the job (LOST); it starts again
 * from what is there. A lost claim may be given out again under the same number, to the same worker at worst: a worker
 * ends its older run of a job when it claims it again.
 *
 * Poison guard: a lease that expires means a worker died (or hung). It counts against the job only when no
 * checkpoint was saved since the claim, and a checkpoint clears the count. After one death the job is offered to idle
 * workers only (for `alone_patience_ms`; then to any, so that it cannot starve), and a worker that got a job with
 * `deaths` above 0 claims no other beside it; after the second it waits `death_pause_ms`, so that a storm of kills from
 * outside cannot use up its chances; the third (`max_deaths`) dead-letters it. An expired lease gives the attempt back:
 * only failures reported by a living worker count as attempts.
 *
 * Every change that a client can see bumps `seq` in the same transaction: it numbers the job's events. Calls that
 * make such a change return the new number for the event that the caller publishes.
 *
 * A call that failed with UNCERTAIN may be repeated. When the first try had been kept: submit recognises its own row,
 * save_plan its own plan, save_chunk answers CONFLICT, the calls that end a claim answer LOST, and a claim nobody knows
 * of shows in store_renew.
 *
 * Threads: any. All calls block on the database. Results with strings take an arena, which owns them.
 * Errors: NOT_FOUND, CONFLICT (wrong state), LOST, and those of db.h.
 */
#ifndef JOB_STORE_H
#define JOB_STORE_H

#include "base/id.h"
#include "base/mem.h"
#include "db/db.h"
#include "job/job.h"

struct store;

struct store_opts {
    enum job_order order;      /* within a queue */
    struct job_queues queues;  /* which are claimed from, in this order; none named: all, in their own order. What has
                                  been due in `retry` for a minute is taken before all others */
    int64_t small_bytes;       /* a recording of at most that size is a short job's; 0: none is */
    int max_attempts;          /* written into each new job */
    int64_t alone_patience_ms; /* see the poison guard above */
    int64_t death_pause_ms;
    int max_deaths;
};

/* Borrows db until store_free. */
int store_new(struct db *db, const struct store_opts *opts, struct store **ret, struct err *err) MUST_CHECK;
void store_free(struct store *s); /* NULL is fine */
/* Of each new job. */
int store_max_attempts(const struct store *s);

/* ---- clients ---- */

/*
 * Submissions that may be repeated. A client names one by a key, so that sending it again makes no second job. Who
 * sends it first claims the key for a lease, which it renews while the recording comes in; store_submit binds the key
 * to the job in the transaction that makes the job. The answer is kept beside it. A key whose lease ran out without a
 * job, and one that is older than `keep_ms`, is free again; purging the job frees it too.
 */
struct job_key {
    const char *scope, *name; /* two clients' routes may use the same name */
    const char *holder;       /* the request, named by nothing else */
    int64_t lease_ms, keep_ms;
};
struct kept_answer {
    const char *fingerprint, *job_id;
    int64_t status; /* 0: only the job is known, its answer is not kept */
    const char *content_type, *headers, *body;
};
/*
 * 1: claimed; 0: it has a job, *ret tells; BUSY: another request holds it, for *ret_wait_ms unless that one renews.
 * Durable as a lease is: a power cut may free a key that has no job yet.
 */
int store_key_claim(struct store *s, const struct job_key *key, struct arena *a, struct kept_answer *ret,
                    int64_t *ret_wait_ms, struct err *err) MUST_CHECK;
/* LOST: the lease had run out, and another request took the key. */
int store_key_renew(struct store *s, const struct job_key *key, struct err *err) MUST_CHECK;
/* Gives up a claim that came to no job; fine also when it is lost. */
int store_key_release(struct store *s, const struct job_key *key, struct err *err) MUST_CHECK;
/* Keeps the answer to the submission that bound the key; texts are UTF-8. Fine also when the key is gone. */
int store_key_answer(struct store *s, const struct job_key *key, const struct kept_answer *answer, struct err *err)
    MUST_CHECK;

struct job_new {
    const char *id; /* the caller made it (it is part of audio_key) */
    enum job_queue queue;
    const char *engine, *model, *language, *task, *prompt, *description, *options; /* task NULL: "transcribe" */
    const char *filename, *content_type, *audio_key, *audio_sha256;
    int64_t audio_bytes;
    int64_t created_at;        /* by store_now; 0: now */
    const char *request_id;    /* as the submission is called in logs; or NULL */
    int64_t max_queue;         /* BUSY when that many jobs are pending already; 0: no limit */
    const struct job_key *key; /* claimed; or NULL */
    const char *fingerprint;   /* with `key`: of what was sent */
    bool uploaded;             /* the object was announced by store_add_upload under this id, and is used now */
    bool announced;            /* the caller sends the wake-up as soon as this returns, or calls store_not_announced */
};

/* The database's clock, by which rows are dated. */
int64_t store_now(struct store *s);
/*
 * Inserts a pending job, durably. BUSY: queue full. CONFLICT: the id exists. LOST: the key is no longer ours. May be
 * repeated with the same struct when the answer was UNCERTAIN: a row with the same id, audio_key and audio_sha256 is
 * this submission, and success.
 */
int store_submit(struct store *s, const struct job_new *job, struct err *err) MUST_CHECK;
/* The wake-up was sent. Fine also when the job has moved on. */
int store_mark_announced(struct store *s, const char *id, struct err *err) MUST_CHECK;
/* The wake-up could not be sent: the sweeper shall. Fine also when the job has moved on. */
int store_not_announced(struct store *s, const char *id, struct err *err) MUST_CHECK;

int store_get(struct store *s, const char *id, struct arena *a, struct job *ret, struct err *err) MUST_CHECK;
/* What is shown of a job: its row without the plan and, once completed, its result. */
struct job_view {
    struct job job;
    bool has_result;
    struct job_result result;
};
/*
 * As store_get, for whoever polls: callers at the same time share a statement, and the large columns stay where they
 * are: the plan, and the result's text unless it is asked for.
 */
int store_view(struct store *s, const char *id, bool with_text, struct arena *a, struct job_view *ret, struct err *err)
    MUST_CHECK;
/* CONFLICT while the job is not completed. */
int store_get_result(struct store *s, const char *id, struct arena *a, struct job_result *ret, struct err *err)
    MUST_CHECK;

/* ---- objects that clients put into storage ---- */

/* CONFLICT: the id or the key exists. */
int store_add_upload(struct store *s, const struct job_upload *u, struct err *err) MUST_CHECK;
int store_get_upload(struct store *s, const char *id, struct arena *a, struct job_upload *ret, struct err *err)
    MUST_CHECK;
/*
 * The object with this sum is about to appear: the first one that says so is the upload's for good, and may say it
 * again. CONFLICT: it came after another one, or a job has the upload already; NOT_FOUND.
 */
int store_upload_comes(struct store *s, const char *id, const char *etag, struct err *err) MUST_CHECK;
/* Forgets uploads that expired before `before_ms` (wall clock) and became no job; their objects are nobody's then. */
int store_drop_uploads(struct store *s, int64_t before_ms, struct err *err) MUST_CHECK;

struct job_filter {
    bool any_state;
    enum job_state state;
    int limit;          /* 1..1000 */
    int64_t offset;     /* skips so many; each costs a look */
    const char *cursor; /* from an earlier call; NULL: the newest. Opaque, checked: INVALID when it is none of ours */
};
struct job_page {
    struct job *jobs;
    size_t n;
    const char *next; /* NULL: no more */
};
/* Newest first, stable under inserts. */
int store_list(struct store *s, const struct job_filter *f, struct arena *a, struct job_page *ret, struct err *err)
    MUST_CHECK;

/*
 * The results of a page's completed jobs, in one read: ret[i] belongs to jobs[i], its text is NULL when there is none.
 * `ret` has room for page->n.
 */
int store_page_results(struct store *s, const struct job_page *page, struct arena *a, struct job_result *ret,
                       struct err *err) MUST_CHECK;

/* pending or processing -> cancelled, durably. 1: cancelled now (*ret_seq set), 0: it had ended before; NOT_FOUND. */
int store_cancel(struct store *s, const char *id, int64_t *ret_seq, struct err *err) MUST_CHECK;
/* Removes the rows of a job in a terminal state (CONFLICT otherwise); objects in storage are the caller's to delete
 * after it. */
int store_purge(struct store *s, const char *id, struct err *err) MUST_CHECK;
/*
 * failed -> pending on the retry queue, with a fresh set of attempts and its checkpoints; the fence goes on. Its open
 * dead letters are resolved. CONFLICT in another state, or when the recording was given up.
 */
int store_retry_failed(struct store *s, const char *id, int64_t *ret_seq, struct err *err) MUST_CHECK;

struct store_counts {
    int64_t by_state[JOB_STATE_COUNT];
    int64_t ready[QUEUE_COUNT];      /* pending and due now, per queue */
    int64_t delayed_in[QUEUE_COUNT]; /* pending with run_after in the future, per queue ... */
    int64_t delayed;                 /* ... and together */
    int64_t oldest_in[QUEUE_COUNT];  /* how long the longest-waiting due job of a queue has been due, ms; 0: none is */
    int64_t oldest_pending_ms;       /* the longest of those */
    int64_t paused_at[QUEUE_COUNT];  /* since when nothing is claimed from it; 0: it is served */
};
/* `ended` too, or only what waits and runs (the others are 0): those grow with the history, and counting looks at each.
 */
int store_counts(struct store *s, bool ended, struct store_counts *ret, struct err *err) MUST_CHECK;
struct store_pace {
    int64_t mean_ms;    /* work on a job, of those that were completed last; 0: there is none yet */
    int64_t processing; /* jobs in work now */
};
/* How fast jobs are done: for estimates. Looks at a few rows. */
int store_pace(struct store *s, struct store_pace *ret, struct err *err) MUST_CHECK;
/* Where a job stands. */
struct store_place {
    int64_t position; /* how many due jobs will be claimed before it (all of them when it is not due itself); -1: it is
                         not pending, or there are more than max_position, which bounds the cost */
    bool paused;      /* its queue is: it waits for that to end, too */
};
/* As store_get, and its place when all queues are served in their own order. Jobs of other queues that are paused do
 * not count, nor that those in `retry` are taken first once they are due for a minute. */
int store_look(struct store *s, const char *id, int64_t max_position, struct arena *a, struct job *ret,
               struct store_place *ret_place, struct err *err) MUST_CHECK;

/*
 * From when this returns until it is resumed, no job of the queue is claimed; they are accepted all the same, and those
 * in work go on. 1: now; 0: it was before.
 */
int store_pause_queue(struct store *s, enum job_queue queue, struct err *err) MUST_CHECK;
/* 1: now; 0: it was not paused. The caller sends wake-ups. */
int store_resume_queue(struct store *s, enum job_queue queue, struct err *err) MUST_CHECK;

/* ---- those who watch jobs ---- */

/* How far a job is. */
struct job_stand {
    bool found;
    enum job_state state;
    bool paused; /* it waits in a queue that is paused */
    int64_t seq;
};
enum { STORE_STANDS_MAX = 32 };
/* Of up to STORE_STANDS_MAX jobs, in the order of ids. */
int store_stands(struct store *s, const char *const *ids, size_t n, struct job_stand *ret, struct err *err) MUST_CHECK;

/*
 * A job as its followers are told of it, chunk by chunk in the order of the recording. Chunks are saved in the order in
 * which they are done, so the k-th of them (from 0) has the k-th smallest of their event numbers: it grows with k, it
 * never changes once it is there, and whoever has number N has all chunks up to it.
 */
struct follow_opts {
    int64_t after;  /* the number that was told last ... */
    bool from_now;  /* ... or none: no chunk is wanted that could have been told before */
    int max_chunks; /* 0..FOLLOW_CHUNKS_MAX; 0: no chunks are wanted */
};
enum { FOLLOW_CHUNKS_MAX = 8 };
struct follow {
    struct job job; /* without its plan */
    struct job_chunk chunks[FOLLOW_CHUNKS_MAX];
    int64_t numbers[FOLLOW_CHUNKS_MAX]; /* of these chunks */
    size_t n_chunks;                    /* those after `after`, as far as there is none missing in between */
    bool more;                          /* another one is there */
    int64_t number;                     /* before the first of them was told; job.seq when there is none */
    int64_t last_number;                /* after the last of them; job.seq when no later one is saved */
    bool has_result;                    /* set when all chunks were told */
    struct job_result result;
};
int store_follow(struct store *s, const char *id, const struct follow_opts *o, struct arena *a, struct follow *ret,
                 struct err *err) MUST_CHECK;
/* The ids of the jobs that will be claimed next, in that order (as store_look has it); none of a paused queue. */
enum { STORE_QUEUE_MAX = 1000 };
struct job_id {
    char id[ID_SIZE];
};
int store_queue(struct store *s, struct job_id ret[STORE_QUEUE_MAX], size_t *ret_n, struct err *err) MUST_CHECK;

/* ---- workers ---- */

/* Names one claim. `holder` and `id` are owned by whoever made the struct. */
struct claim {
    const char *id, *holder;
    int64_t fence;
};

struct claim_opts {
    const char *holder; /* the worker's id, new at every start */
    int64_t lease_ms;
    bool idle;  /* the worker runs nothing else: it may take a job that a worker died on */
    bool small; /* only short jobs: see store_opts */
};

/* Room for one claimed job; its texts go into the arena, which is the caller's. */
struct claimed {
    struct arena *arena;
    struct job job; /* id NULL: none */
};
enum { CLAIM_MAX = 16 };
/*
 * How many jobs are now processing and ours: at most n, and n at most CLAIM_MAX; 0: nothing is due. On failure none is.
 * Any of the n may be the one that got none: a job that comes while this runs is claimed by a later one.
 */
int store_claim(struct store *s, const struct claim_opts *o, struct claimed *ret, size_t n, struct err *err) MUST_CHECK;

/* A claim as the row shows it. */
struct held {
    char id[40];
    int64_t fence;
};
/*
 * Extends every lease of this holder by one UPDATE and lists what it still holds, at most max_held. What the worker
 * runs and is not listed, or with another fence, it has lost. What is listed and the worker does not run is a claim
 * whose answer was lost: it must be handed back, or it would be renewed for ever. So give room for a few more than the
 * worker's concurrency.
 */
int store_renew(struct store *s, const char *holder, int64_t lease_ms, struct held *ret, size_t max_held, size_t *ret_n,
                struct err *err) MUST_CHECK;
/* The same list without writing: looked at every half second, so that a cancel is seen in time. */
int store_held(struct store *s, const char *holder, struct held *ret, size_t max_held, size_t *ret_n, struct err *err)
    MUST_CHECK;

/*
 * Commits the plan before the first engine call. The plan that stands already changes nothing and keeps its
 * checkpoints; another one drops them and starts the progress anew. A job's first plan counts as a checkpoint.
 */
int store_save_plan(struct store *s, const struct claim *c, const char *plan_json, int64_t chunks_total,
                    int64_t duration_ms, int64_t *ret_seq, struct err *err) MUST_CHECK;
/*
 * Saves one finished chunk and the progress with it (finished_at is set by the store). Saving an index twice is
 * CONFLICT. LOST also when the index is not in the plan that the database has.
 */
int store_save_chunk(struct store *s, const struct claim *c, const struct job_chunk *chunk, int64_t progress_ms,
                     int64_t *ret_seq, struct err *err) MUST_CHECK;
/* The checkpoints of the current plan, by index. */
int store_load_chunks(struct store *s, const char *id, struct arena *a, struct job_chunk **ret, size_t *ret_n,
                      struct err *err) MUST_CHECK;

/*
 * processing -> completed with its result row, durably. The result object must be in storage already, and every chunk
 * of the plan must be saved (LOST otherwise).
 */
int store_complete(struct store *s, const struct claim *c, const struct job_result *r, int64_t *ret_seq,
                   struct err *err) MUST_CHECK;

/*
 * store_save_plan, store_save_chunk and store_complete in one, for a job without a plan that turned out to have one
 * chunk (NULL: none): a short recording costs one write and one wait for the disk then. Its chunk's event has the
 * number before *ret_seq. LOST also when the job has a plan.
 */
int store_complete_whole(struct store *s, const struct claim *c, const char *plan_json, const struct job_chunk *chunk,
                         const struct job_result *r, int64_t *ret_seq, struct err *err) MUST_CHECK;

/* Any text may be NULL, long or badly encoded: it is cleaned and cut. */
struct job_failure {
    const char *error_class, *message, *stage, *detail, *worker;
};
/* processing -> pending on the retry queue after delay_ms, with an error row. */
int store_retry_later(struct store *s, const struct claim *c, const struct job_failure *f, int64_t delay_ms,
                      int64_t *ret_seq, struct err *err) MUST_CHECK;
/* processing -> failed with a dead-letter row, durably. */
int store_fail(struct store *s, const struct claim *c, const struct job_failure *f, int64_t *ret_seq, struct err *err)
    MUST_CHECK;
/*
 * processing -> pending on its old queue after delay_ms, with the attempt given back: drain, or an outage that is
 * nobody's fault.
 */
int store_hand_back(struct store *s, const struct claim *c, int64_t delay_ms, int64_t *ret_seq, struct err *err)
    MUST_CHECK;

/* heartbeat_at and silent_ms (how long ago that is) are the store's, in the database's clock. */
struct worker_row {
    const char *id, *host, *version, *state, *info;
    int64_t pid, started_at, heartbeat_at, silent_ms, running;
};
int store_heartbeat(struct store *s, const struct worker_row *w, struct err *err) MUST_CHECK;
/* Removes the row at a clean stop. */
int store_worker_gone(struct store *s, const char *id, struct err *err) MUST_CHECK;
int store_list_workers(struct store *s, struct arena *a, struct worker_row **ret, size_t *ret_n, struct err *err)
    MUST_CHECK;

/* ---- sweeping ---- */

struct swept {
    const char *id;
    int64_t seq;
    bool dead; /* failed by the poison guard; else pending again */
};
/* Takes back jobs whose lease has run out (at most `max` a call, as everywhere below 1..1000). */
int store_expire_leases(struct store *s, int max, struct arena *a, struct swept **ret, size_t *ret_n, struct err *err)
    MUST_CHECK;
/*
 * Puts right what was written while the clock was ahead: leases longer than anyone asks for (all workers have the same
 * lease_ms), and waits that were counted from a time that has not come yet. Such jobs would be held up by as much as
 * the clock was wrong. *ret_n: how many there were, at most 2 * `max`.
 */
int store_mend_times(struct store *s, int64_t lease_ms, int max, int *ret_n, struct err *err) MUST_CHECK;
/* Due pending jobs whose wake-up was not sent, oldest first. */
int store_unannounced(struct store *s, int max, struct arena *a, struct job **ret, size_t *ret_n, struct err *err)
    MUST_CHECK;
/* Due pending jobs of a queue, paused or not, oldest first. */
int store_due(struct store *s, enum job_queue queue, int max, struct arena *a, struct job **ret, size_t *ret_n,
              struct err *err) MUST_CHECK;
/*
 * Does this object still have a row that points to it, or will soon (a result whose claim is still held)? For
 * uploads/{id}/... and results/{id}/{fence}/... keys; any other key is wanted.
 */
int store_key_wanted(struct store *s, const char *key, bool *ret, struct err *err) MUST_CHECK;
/*
 * What retention gave up of a job: objects that nobody points to any more, which the caller deletes. NULL: none, or it
 * was given up before.
 */
struct given_up {
    const char *job_id, *audio_key, *result_key;
};
/* Gives up at most `max` transcripts of jobs that ended before `before_ms`, the oldest ones, with the checkpoints. */
int store_drop_results(struct store *s, int64_t before_ms, int max, struct arena *a, struct given_up **ret,
                       size_t *ret_n, struct err *err) MUST_CHECK;
/*
 * Gives up what at most `max` failed or cancelled jobs that ended before `before_ms` had transcribed. One that is tried
 * again begins anew.
 */
int store_drop_checkpoints(struct store *s, int64_t before_ms, int max, struct arena *a, struct given_up **ret,
                           size_t *ret_n, struct err *err) MUST_CHECK;
/* Removes at most `max` jobs that ended before `before_ms`, the oldest ones, with every row that belongs to them. */
int store_drop_jobs(struct store *s, int64_t before_ms, int max, struct arena *a, struct given_up **ret, size_t *ret_n,
                    struct err *err) MUST_CHECK;
/* How much ended before, each by its own time, and is still there; what goes with its job is counted there alone. */
struct old_times {
    int64_t audio, results, jobs;
};
struct old_counts {
    int64_t audio, results, jobs;
};
int store_count_old(struct store *s, const struct old_times *before, struct old_counts *ret, struct err *err)
    MUST_CHECK;
/* Jobs that ended before and whose recording was not given up yet, oldest first. */
int store_audio_before(struct store *s, int64_t before_ms, int max, struct arena *a, struct job **ret, size_t *ret_n,
                       struct err *err) MUST_CHECK;
/*
 * Gives the recording of an ended job up; the caller deletes the object after it. Without a transcript the checkpoints
 * go with it: the job cannot be tried again. CONFLICT: the job still needs it.
 */
int store_give_up_audio(struct store *s, const char *id, struct err *err) MUST_CHECK;
/* Forgets keys of submissions whose time is over. */
int store_drop_keys(struct store *s, struct err *err) MUST_CHECK;
/* Forgets workers that were silent for longer. */
int store_drop_workers(struct store *s, int64_t silent_ms, struct err *err) MUST_CHECK;

/*
 * Takes one token, if there is one, of the limit `name`, `per_minute` of which come a minute (base/rate.h), for all
 * that share the database. *ret_wait_ms 0: taken. Else none was: there is one in so many milliseconds at the earliest,
 * ask again then.
 */
int store_take_request(struct store *s, const char *name, int64_t per_minute, int64_t *ret_wait_ms, struct err *err)
    MUST_CHECK;

/* ---- dead letters ---- */

struct error_filter {
    bool all;           /* also resolved and retried ones; else open dead letters */
    const char *job_id; /* or NULL */
    int limit;
    const char *cursor;
};
struct error_page {
    struct job_error *errors;
    size_t n;
    const char *next;
};
int store_list_errors(struct store *s, const struct error_filter *f, struct arena *a, struct error_page *ret,
                      struct err *err) MUST_CHECK;
int store_get_error(struct store *s, const char *error_id, struct arena *a, struct job_error *ret, struct err *err)
    MUST_CHECK;
/* Marks it seen to. NOT_FOUND; resolving twice is fine. */
int store_resolve_error(struct store *s, const char *error_id, struct err *err) MUST_CHECK;

/* Round trip to the database, for health. */
int store_ping(struct store *s, int64_t *ret_ms, struct err *err) MUST_CHECK;
/* Connections to the database now. */
void store_pool(struct store *s, struct db_pool *ret);

#endif
