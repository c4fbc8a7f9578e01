/* SPDX-License-Identifier: MIT */
/* Short words for what tests of the store do all the time. What fails in them fails the test. */
#ifndef TESTS_CONFORMANCE_STORE_HELPERS_H
#define TESTS_CONFORMANCE_STORE_HELPERS_H

#include "fixture.h"

#include "base/id.h"

struct ids {
    char id[ID_SIZE];
    int64_t created_at;
};

/* For qsort: the order of lists and of a FIFO queue. Ids made in one millisecond are in no order of their own. */
int by_age(const void *a, const void *b);

struct job_new a_job(const char *id);
extern const struct job_result a_result;
extern const struct job_failure a_failure;

/* Moves the clock. */
void pass(int64_t ms);
struct ids submit(struct fixture *f, enum job_queue queue);
struct job get(struct fixture *f, const char *id);
/* Only the position that store_look finds. */
int position_of(struct store *s, const char *id, int64_t *ret, struct err *e) MUST_CHECK;
/* 1 or 0; the lease is 30 seconds. */
int try_claim(struct fixture *f, const char *holder, bool idle, struct job *ret);
/* Claims what must be there. */
struct claim claim(struct fixture *f, const char *holder);
/* ... and saves a plan. */
struct claim planned(struct fixture *f, const char *holder, int chunks);
int save_chunk(struct fixture *f, const struct claim *c, int64_t idx, int64_t *ret_seq, struct err *e) MUST_CHECK;
/* A job that has come to this end; nothing else may be due in queue high. */
struct ids completed(struct fixture *f);
struct ids failed(struct fixture *f);

#endif
