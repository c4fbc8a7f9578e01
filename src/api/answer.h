/* SPDX-License-Identifier: MIT */
/*
 * What a handler answers with: status, a few headers, a body. A handler fills it on its own thread; it is sent later
 * from an HTTP thread. Long bodies go to an unlinked temporary file, so that many slow readers cost no memory.
 */
#ifndef API_ANSWER_H
#define API_ANSWER_H

#include "api/dialect.h"
#include "base/buf.h"
#include "base/err.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum { ANSWER_HEADERS_MAX = 20, ANSWER_MEMORY_MAX = 256 << 10, ANSWER_BODY_MAX = 1 << 30 };

struct answer_header {
    const char *name;
    char *value; /* owned */
};

struct answer {
    unsigned status;          /* 0: nothing answered yet */
    enum problem problem;     /* PROBLEM_COUNT: none */
    const char *content_type; /* static, or in the request's arena; NULL: no body */
    struct answer_header headers[ANSWER_HEADERS_MAX];
    size_t n_headers;
    struct buf body;      /* the first ANSWER_MEMORY_MAX bytes ... */
    int fd;               /* ... or all of it, here; else -1 */
    const void *constant; /* or this, which lives as long as the program; NULL: none */
    size_t constant_bytes;
    int64_t fd_offset, fd_bytes; /* where in it, and how much */
};

void answer_init(struct answer *a);
void answer_clear(struct answer *a);
/* `name` is static, the value copied; control characters in it become '?'. */
void answer_header(struct answer *a, const char *name, const char *fmt, ...) PRINTF_LIKE(3, 4);
bool answer_has_header(const struct answer *a, const char *name);
/* Appends to the body; beyond ANSWER_MEMORY_MAX it moves to a temporary file. UNAVAILABLE: no room for that. */
int answer_write(struct answer *a, const void *data, size_t n, struct err *err) MUST_CHECK;
/* The same with all that b holds, mostly without copying; b is empty after it. */
int answer_give(struct answer *a, struct buf *b, struct err *err) MUST_CHECK;
/* Answers with what is part of the program. */
void answer_constant(struct answer *a, const void *data, size_t n);
/* Answers with a part of a file, whose descriptor it takes. */
void answer_file(struct answer *a, int fd, int64_t offset, int64_t n);
/* Drops what was written so far and answers with a refusal, in the words of a dialect. */
void answer_refusal(struct answer *a, const struct dialect *d, struct refusal *r);

#endif
