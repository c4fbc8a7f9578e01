/* SPDX-License-Identifier: MIT */
/* Attributes and the few macros everything uses. */
#ifndef BASE_MACROS_H
#define BASE_MACROS_H

#include <stddef.h>

#define MUST_CHECK        __attribute__((warn_unused_result))
#define PRINTF_LIKE(f, a) __attribute__((format(printf, f, a)))
/* Runs `fn(&var)` when the variable leaves its scope: `CLEANUP(buf_clear) struct buf b = ...`. */
#define CLEANUP(fn)      __attribute__((cleanup(fn)))
#define UNUSED           __attribute__((unused))
#define ARRAY_LEN(a)     (sizeof(a) / sizeof((a)[0]))
#define MIN(a, b)        ((a) < (b) ? (a) : (b))
#define MAX(a, b)        ((a) > (b) ? (a) : (b))
#define CLAMP(x, lo, hi) MIN(MAX(x, lo), hi)
/* The struct that holds `member`, from a pointer to that member (back ends embed their interface). */
#define CONTAINER_OF(p, type, member) ((type *)(void *)((char *)(p)-offsetof(type, member)))
/* Hands a pointer out and leaves NULL behind, so that a CLEANUP no longer frees it. */
#define TAKE(p)                    \
    __extension__({                \
        __typeof__(p) take_ = (p); \
        (p) = NULL;                \
        take_;                     \
    })

#endif
