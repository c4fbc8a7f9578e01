/* SPDX-License-Identifier: MIT */
/*
 * Log lines on standard error, one write each, text or JSON.
 *
 * Libraries (base, db, storage, broker, audio, engine) log only at debug; api, worker and cli log results.
 * User strings go in quotes; secrets and transcript text never go in. The level is one of the two process
 * globals (the other is the stop flag in base/stop.h); each thread has a scope of its own. Thread-safe.
 */
#ifndef BASE_LOG_H
#define BASE_LOG_H

#include "base/macros.h"

#include <stdbool.h>

enum log_level { LOG_ERROR, LOG_WARN, LOG_INFO, LOG_DEBUG };

/* Who speaks: lives on the caller's stack and is passed down. Fields may be NULL. */
struct log_ctx {
    const char *component; /* "api", "worker", ... */
    const char *job_id;
    const char *request_id;
};

/*
 * What this thread works on: a line whose own context names no job or request gets them from here, so that what
 * libraries say about a job can be found by its id. Copied, so the ids need not outlive the calls.
 *
 * It is thread-local on purpose: storage, broker, engine and decoder know no jobs, and passing the ids would put a log
 * context into every operation of every back end. It is no shared state: nothing but log lines reads it, and whoever
 * runs a piece of work on a thread (a request, a job, a task of a slot) sets it and puts the one before back.
 */
enum { LOG_ID_SIZE = 72 };
struct log_scope {
    char job_id[LOG_ID_SIZE], request_id[LOG_ID_SIZE];
};
/* Either may be NULL. */
struct log_scope log_scope_of(const char *job_id, const char *request_id);
struct log_scope log_scope_now(void);
/* Returns the scope before, which the caller puts back. */
struct log_scope log_scope_swap(struct log_scope next);

void log_setup(enum log_level level, bool json);
/* "error" "warn" "info" "debug"; false for another word. */
bool log_level_parse(const char *word, enum log_level *ret);
bool log_on(enum log_level level);
void log_write(enum log_level level, const struct log_ctx *lc, const char *fmt, ...) PRINTF_LIKE(3, 4);

#define log_error(lc, ...) log_write(LOG_ERROR, lc, __VA_ARGS__)
#define log_warn(lc, ...)  log_write(LOG_WARN, lc, __VA_ARGS__)
#define log_info(lc, ...)  log_write(LOG_INFO, lc, __VA_ARGS__)
#define log_debug(lc, ...)                         \
    do {                                           \
        if (log_on(LOG_DEBUG))                     \
            log_write(LOG_DEBUG, lc, __VA_ARGS__); \
    } while (0)

#endif
