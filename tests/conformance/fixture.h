/* SPDX-License-Identifier: MIT */
/*
 * What the database suites share: an empty database per test, a clock they can set, threads and child processes.
 *
 * STENO_TEST_BACKEND says what they run on: "sqlite" (the default), a file in a temporary folder; "postgres", a
 * database made for each program on the server of STENO_TEST_POSTGRES_URL, whose user must be allowed to do so.
 */
#ifndef TESTS_CONFORMANCE_FIXTURE_H
#define TESTS_CONFORMANCE_FIXTURE_H

#include "db/migrate.h"
#include "job/store.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

struct fixture {
    struct db *db;
    struct store *store; /* with fixture_setup_store */
    struct arena arena;
    const char *url;
    char folder[64]; /* for files of the test; removed at the end */
};

/* First thing in main: true when the server is missing, and TAP says so. */
bool fixture_skip(void);
bool fixture_postgres(void);

/* cmocka group and test fixtures; *state of a test is a struct fixture. */
int fixture_setup_group(void **state);
int fixture_teardown_group(void **state);
int fixture_setup(void **state);       /* an open, empty database */
int fixture_setup_store(void **state); /* ... migrated, with a store and the clock at 1,000,000 */
int fixture_teardown(void **state);

/* Everything a test opens uses this clock while it is above 0. */
void fixture_set_clock(int64_t ms);
int64_t fixture_clock(void);

int fixture_open_db(struct fixture *f, unsigned readers, int64_t busy_ms, struct db **ret, struct err *err) MUST_CHECK;
int fixture_open_store(struct db *db, enum job_order order, struct store **ret, struct err *err) MUST_CHECK;

/* Closes the fixture's database, which must not be carried over a fork, runs fn(f, i) in n child processes, waits,
 * opens it again and fails the test unless each returned 0. */
void fixture_fork(struct fixture *f, int n, int (*fn)(struct fixture *f, int i));
/* Runs fn in n threads with the addresses of n elements of `size` bytes. */
void fixture_threads(int n, void *(*fn)(void *), void *args, size_t size);

/* Runs one statement in its own transaction. */
int64_t fixture_exec(struct db *db, const char *sql, struct err *err) MUST_CHECK;
/* The integer a query gives; fails the test when it fails. */
int64_t fixture_int(struct db *db, const char *sql);

/* The call must succeed; its value. */
#define OK(call) fixture_ok((call), #call, &e, __FILE__, __LINE__)
int64_t fixture_ok(int64_t rc, const char *what, const struct err *e, const char *file, int line);
/* The call must fail with this class, and its sentence must contain `words`. */
#define FAILS(code, words, call) fixture_fails((call), (code), (words), #call, &e, __FILE__, __LINE__)
void fixture_fails(int64_t rc, int code, const char *words, const char *what, const struct err *e, const char *file,
                   int line);
/* For children and threads, where cmocka cannot be used: prints and returns 1. */
#define CHILD_OK(call)                                                            \
    do {                                                                          \
        if ((call) < 0) {                                                         \
            fprintf(stderr, "%s:%d: %s: %s\n", __FILE__, __LINE__, #call, e.msg); \
            return 1;                                                             \
        }                                                                         \
    } while (0)

#endif
