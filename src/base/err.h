/* SPDX-License-Identifier: MIT */
/*
 * Errors: a small class plus a sentence.
 *
 * A function that can fail for more than one reason returns int: >= 0 is success (some return 1 for "got
 * one" and 0 for "none"), < 0 is one of the ERR_ classes below, and then `struct err` holds a sentence for a
 * person. Results (`ret_x`) are untouched on failure. Whoever stops passing an error on handles it, once:
 * logs it, stores it or answers with it. `err` may never be NULL.
 */
#ifndef BASE_ERR_H
#define BASE_ERR_H

#include "base/macros.h"

#include <stdbool.h>

/*
 * class, value, name, can a later try succeed?
 *
 * The class decides what happens to a job (retry or fail) and, through one table in src/api, the HTTP status.
 */
#define ERR_CLASSES(X)                                                                                            \
    X(NOMEM, -1, "out_of_memory", true)       /* memory, descriptors or processes ran out */                      \
    X(INVALID, -2, "invalid", false)          /* the caller's input is wrong */                                   \
    X(NOT_FOUND, -3, "not_found", false)      /* no such object, job, file */                                     \
    X(CONFLICT, -4, "conflict", false)        /* the thing is in a state that forbids this */                     \
    X(BUSY, -5, "busy", true)                 /* full or locked: come back later (429) */                         \
    X(TIMEOUT, -6, "timeout", true)           /* a limit of time ran out */                                       \
    X(UNAVAILABLE, -7, "unavailable", true)   /* database, storage, broker, network or disk is away or full */    \
    X(UNCERTAIN, -8, "uncertain", true)       /* a commit's answer was lost: look before repeating */             \
    X(TOO_LARGE, -9, "too_large", false)      /* over a configured limit */                                       \
    X(CORRUPT, -10, "corrupt", false)         /* damaged audio or a damaged file of our own */                    \
    X(UNSUPPORTED, -11, "unsupported", false) /* well formed, but not something this program can do */            \
    X(CANCELLED, -12, "cancelled", false)     /* somebody asked to stop */                                        \
    X(LOST, -13, "lease_lost", false)         /* the job belongs to another worker now: drop it, write nothing */ \
    X(CRASHED, -14, "crashed", true)          /* a child process died */                                          \
    X(INTERNAL, -15, "internal", false)       /* our own bug */

enum err_code {
    ERR_OK = 0,
#define X(name, value, word, retry) ERR_##name = (value),
    ERR_CLASSES(X)
#undef X
};

enum {
#define X(name, value, word, retry) ERR_PLACE_##name,
    ERR_CLASSES(X)
#undef X
        ERR_CLASS_COUNT /* their values are -1 to minus this */
};

struct err {
    int code;      /* ERR_OK or an ERR_ class */
    int sys;       /* errno behind it, 0 when there is none */
    char msg[512]; /* one sentence, UTF-8, no newline, no secrets */
};

#define ERR_INIT \
    {            \
        0        \
    }

/* Sets class and sentence; returns `code`, so that `return err_set(...)` works. */
int err_set(struct err *e, int code, const char *fmt, ...) PRINTF_LIKE(3, 4);
/* As err_set with ": <strerror(sys)>" appended; the class follows from errno (ENOENT: NOT_FOUND, ENOSPC: UNAVAILABLE
 * ...). */
int err_sys(struct err *e, int sys, const char *fmt, ...) PRINTF_LIKE(3, 4);
/* Puts "<context>: " before the sentence; keeps and returns the class. */
int err_wrap(struct err *e, const char *fmt, ...) PRINTF_LIKE(2, 3);
/* "corrupt", "lease_lost" ...: the stable word of a class, for rows, logs and answers. "ok" for 0. */
const char *err_name(int code);
/* The class with this word; ERR_INTERNAL for an unknown one. */
int err_from_name(const char *name);
/* May the same thing succeed later without anybody changing it? */
bool err_retryable(int code);

#ifdef __clang_analyzer__
/* The analyzer sees one file at a time: tell it what the functions above promise. */
static inline int err_negative(int code)
{
    if (code >= 0)
        __builtin_unreachable();
    return code;
}
#define err_set(...)  err_negative(err_set(__VA_ARGS__))
#define err_sys(...)  err_negative(err_sys(__VA_ARGS__))
#define err_wrap(...) err_negative(err_wrap(__VA_ARGS__))
#endif

#endif
