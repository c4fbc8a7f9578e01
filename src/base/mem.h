/* SPDX-License-Identifier: MIT */
/*
 * Memory.
 *
 * x-functions are for small things of a size we choose: they abort when memory is out (the lease brings the
 * job back). Anything sized by a client, a file or a model is allocated with the plain functions and a
 * failure is reported as ERR_NOMEM.
 */
#ifndef BASE_MEM_H
#define BASE_MEM_H

#include "base/macros.h"

#include <stddef.h>

void *xcalloc(size_t n, size_t size) MUST_CHECK; /* zeroed; never NULL */
char *xstrdup(const char *s) MUST_CHECK;         /* NULL gives NULL */
char *xasprintf(const char *fmt, ...) PRINTF_LIKE(1, 2) MUST_CHECK;
/* For CLEANUP(free_p) char *s = ...; */
void free_p(void *pointer_to_pointer);
/* For CLEANUP(close_fd) int fd = -1; closes unless negative. */
void close_fd(int *fd);

/* Memory freed all at once: everything read for one request or one job. Not thread-safe. */
struct arena {
    struct arena_block *head;
    size_t used; /* bytes handed out so far, each piece rounded up to the alignment */
    size_t max;  /* arena_alloc fails beyond it */
};

#define ARENA_DEFAULT_MAX ((size_t)64 << 20)
#define ARENA_INIT                 \
    {                              \
        NULL, 0, ARENA_DEFAULT_MAX \
    }

/* Zeroed, aligned for any type; NULL when memory or the arena's maximum is out. */
void *arena_alloc(struct arena *a, size_t size) MUST_CHECK;
/* A copy with a NUL behind it; NULL as above. */
char *arena_dup(struct arena *a, const void *p, size_t n) MUST_CHECK;
char *arena_strdup(struct arena *a, const char *s) MUST_CHECK;
char *arena_printf(struct arena *a, const char *fmt, ...) PRINTF_LIKE(2, 3) MUST_CHECK;
/* Frees all; the arena can be used again. */
void arena_clear(struct arena *a);

#endif
