/* SPDX-License-Identifier: MIT */
/*
 * A growing byte string with a maximum and a sticky failure.
 *
 * Every buffer is made with the most it may ever hold. Appending never needs a check: the first append that
 * would pass the maximum, or finds no memory, sets `failed`, and all later ones do nothing. Ask buf_ok() once
 * at the end. `data` is NUL-terminated behind `len` (and NULL until the first append: use buf_str).
 */
#ifndef BASE_BUF_H
#define BASE_BUF_H

#include "base/err.h"

#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct buf {
    char *data;
    size_t len, cap, max;
    bool failed;
    bool no_memory; /* why it failed: memory ran out, else the maximum was reached */
};

#define BUF_INIT(max_bytes)                   \
    {                                         \
        NULL, 0, 0, (max_bytes), false, false \
    }

void buf_init(struct buf *b, size_t max); /* allocates nothing */
void buf_clear(struct buf *b);            /* frees; usable again with the same maximum */
void buf_reset(struct buf *b);            /* empties, keeps the memory, forgets a failure */

void buf_add(struct buf *b, const void *p, size_t n);
void buf_addc(struct buf *b, char c);
void buf_adds(struct buf *b, const char *s);
void buf_addi(struct buf *b, int64_t v); /* in decimal */
void buf_addf(struct buf *b, const char *fmt, ...) PRINTF_LIKE(2, 3);
void buf_addv(struct buf *b, const char *fmt, va_list ap) PRINTF_LIKE(2, 0);
/* Drops the first n bytes. */
void buf_consume(struct buf *b, size_t n);

/* All appends so far went in. */
bool buf_ok(const struct buf *b) MUST_CHECK;
/* As buf_ok; on failure sets ERR_TOO_LARGE or ERR_NOMEM naming `what`. */
int buf_check(const struct buf *b, const char *what, struct err *err) MUST_CHECK;
/* The content as a C string, "" when empty; borrowed until the next change. */
const char *buf_str(const struct buf *b);
/* Hands the memory out (caller frees; NULL when failed) and leaves the buffer empty. */
char *buf_take(struct buf *b) MUST_CHECK;

#endif
