/* SPDX-License-Identifier: MIT */
/*
 * What the files of the store share: the columns of a job and how a row becomes a struct, fenced updates, cursors.
 *
 *   store_client.c   submit, look, cancel, purge, retry      store_worker.c   claim, lease, checkpoints
 *   store_list.c     lists, counts, position                 store_finish.c   how a claim ends
 *   store_sweep.c    expired leases, what is left over       store_errors.c   dead letters
 *   store_view.c     a job for whoever polls                 store_keys.c     submissions that may be repeated
 *   store_queues.c   pause, resume                           store_retention.c  what is given up after a time
 *   store_rate.c     limits of requests                      store_row.c      rows to structs
 *   store.c          the shared helpers
 *
 * Transaction functions may run again from the start, on another thread: they keep what they find in the struct
 * behind `arg`, and the public function copies it to `ret_` when the transaction is committed.
 */
#ifndef JOB_STORE_INTERNAL_H
#define JOB_STORE_INTERNAL_H

#include "job/store.h"

struct views;

struct store {
    struct db *db;
    struct views *views[2]; /* without the results' texts, and with them */
    struct store_opts opts;
    char *claim_sql[2]; /* of any job, of short ones: the statements that depend on orders and database */
};

/* The columns of `jobs` that struct job shows: kind and name. `plan` stands apart, because lists leave it out. */
#define JOB_FIELDS(X)       \
    X(TEXT, id)             \
    X(STATE, state)         \
    X(QUEUE, queue)         \
    X(INT64, created_at)    \
    X(INT64, updated_at)    \
    X(INT64, started_at)    \
    X(INT64, finished_at)   \
    X(INT64, run_after)     \
    X(INT64, announced_at)  \
    X(TEXT, engine)         \
    X(TEXT, model)          \
    X(TEXT, language)       \
    X(TEXT, task)           \
    X(TEXT, prompt)         \
    X(TEXT, description)    \
    X(TEXT, options)        \
    X(TEXT, filename)       \
    X(TEXT, content_type)   \
    X(TEXT, audio_key)      \
    X(TEXT, audio_sha256)   \
    X(INT64, audio_bytes)   \
    X(INT64, audio_gone_at) \
    X(INT, small)           \
    X(INT, attempt)         \
    X(INT, max_attempts)    \
    X(INT, deaths)          \
    X(INT64, fence)         \
    X(TEXT, lease_holder)   \
    X(INT64, lease_until)   \
    X(INT64, seq)           \
    X(INT64, chunks_total)  \
    X(INT64, chunks_done)   \
    X(INT64, duration_ms)   \
    X(INT64, progress_ms)   \
    X(TEXT, error_class)    \
    X(TEXT, error_message)  \
    X(TEXT, request_id)

#define JOB_FIELD_NAME(kind, name) #name ", "
#define JOB_COLUMNS                JOB_FIELDS(JOB_FIELD_NAME) "plan"
#define JOB_COLUMNS_LISTED         JOB_FIELDS(JOB_FIELD_NAME) "NULL" /* for lists */

/* The columns of `results` that struct job_result shows. `text` stands apart. */
#define RESULT_FIELDS(X)          \
    X(INT64, fence)               \
    X(TEXT, result_key)           \
    X(TEXT, language)             \
    X(TEXT, engine)               \
    X(TEXT, model)                \
    X(INT64, duration_ms)         \
    X(INT64, speech_ms)           \
    X(INT64, covered_ms)          \
    X(INT64, word_count)          \
    X(CONFIDENCE, confidence)     \
    X(INT64, processing_ms)       \
    X(INT64, created_at)          \
    X(REAL, language_probability) \
    X(TEXT, warning)              \
    X(INT64, removed_at)

#define RESULT_FIELD_NAME(kind, name) "results." #name ", "
#define RESULT_COLUMNS                RESULT_FIELDS(RESULT_FIELD_NAME) "text"

enum { RESULT_WIDTH = 16 }; /* how many these are */

/* ---- store_view.c ---- */

struct views *views_new(bool with_text);
void views_free(struct views *v); /* NULL is fine */

/* ---- store_row.c ---- */

/* Reads the columns of one row from left to right; `failed` sticks once the arena is full. */
struct row_reader {
    const struct db_row *row;
    struct arena *arena;
    int col;
    bool failed;
};

int64_t row_int(struct row_reader *r);
const char *row_text(struct row_reader *r);
double row_real(struct row_reader *r, double if_null);
/* NOMEM when `failed`. */
int row_check(const struct row_reader *r, struct err *err) MUST_CHECK;

/* JOB_COLUMNS, which begin at column `first`, to a struct. */
int row_job(const struct db_row *row, int first, struct arena *a, struct job *ret, struct err *err) MUST_CHECK;

/* RESULT_COLUMNS, which begin at column `first`, to a struct. */
int row_result(const struct db_row *row, int first, struct arena *a, struct job_result *ret, struct err *err)
    MUST_CHECK;

/* For db_query: collects jobs up to the capacity of the array; one row more sets `more` and ends the query. */
struct job_rows {
    struct arena *arena;
    struct job *jobs;
    size_t n, cap;
    bool more;
};
int job_rows_init(struct job_rows *r, struct arena *a, int cap, struct err *err) MUST_CHECK;
int job_rows_add(const struct db_row *row, void *job_rows, struct err *err);

/* ---- store.c ---- */

enum { STORE_INTS_MAX = 4 };

/* Runs a statement that gives at most one row of integers. 1: *ret holds its first n columns; 0: no row. */
int store_ints(struct db_tx *tx, const char *sql, const struct db_val *args, size_t n_args, int64_t *ret, size_t n,
               struct err *err) MUST_CHECK;
/* As store_ints, with db_read_stmt. */
int store_read_ints(struct store *s, const char *sql, const struct db_val *args, size_t n_args, int64_t *ret, size_t n,
                    struct err *err) MUST_CHECK;
/* The row callback of both, for statements that are part of db_write_stmts. */
struct store_int_row {
    int64_t v[STORE_INTS_MAX];
    size_t n; /* columns to take */
    bool found;
};
int store_on_ints(const struct db_row *row, void *store_int_row, struct err *err);
/* 1: *ret is the state of the job; 0: no such job. */
int store_state(struct db_tx *tx, const char *id, enum job_state *ret, struct err *err) MUST_CHECK;
int store_no_job(const char *id, struct err *err);

/*
 * The condition of every write under a claim; its parameters are $1 to $3. The state is hidden from PostgreSQL's
 * planner, which would look among the jobs in work, where what left it lately still stands, and not by the id.
 */
#define IS_PROCESSING  "state || '' = 'processing' "
#define FENCED         " WHERE id = $1 AND " IS_PROCESSING "AND lease_holder = $2 AND fence = $3 "
#define FENCED_ARGS(c) db_text((c)->id), db_text((c)->holder), db_int((c)->fence)
int store_lost(const struct claim *c, struct err *err);

/* `text` as well-formed UTF-8 of at most `max` bytes in the arena; NULL for NULL. *oom is set when memory is out. */
const char *store_clean(struct arena *a, const char *text, size_t max, bool *oom);

/* A place in a list sorted by (created_at, id), as text. NULL when memory is out. */
const char *store_cursor(struct arena *a, int64_t created_at, const char *id) MUST_CHECK;
/* *ret_id points into the cursor. A NULL cursor is before everything. INVALID for one that store_cursor never made. */
int store_cursor_parse(const char *cursor, int64_t *ret_created_at, const char **ret_id, struct err *err) MUST_CHECK;
/* 1..1000, else INVALID. */
int store_limit_check(int limit, struct err *err) MUST_CHECK;

/* ---- store_errors.c ---- */

/* Adds an error row; the texts of `f` are clean already. */
int store_add_error(struct db_tx *tx, const char *job_id, const struct job_failure *f, int64_t attempt, bool dead,
                    struct err *err) MUST_CHECK;
/* Cleans and fills in what a failure lacks. */
int store_clean_failure(struct arena *a, const struct job_failure *f, struct job_failure *ret, struct err *err)
    MUST_CHECK;

/* store_submit for a job with a key: the key, then these statements, of which the first inserts the job. */
int store_submit_with_key(struct store *s, const struct job_new *job, const struct db_stmt *stmts, size_t n,
                          struct err *err) MUST_CHECK;

#endif
