/* SPDX-License-Identifier: MIT */
/* Columns of text for people: as wide as what stands in them, the last one open. */
#ifndef CLI_TABLE_H
#define CLI_TABLE_H

#include "base/buf.h"
#include "base/macros.h"

#include <stddef.h>
#include <stdint.h>

enum { TABLE_COLUMNS_MAX = 16 };

struct table {
    struct buf cells; /* each ended by a NUL */
    size_t columns, n;
};

/* `heads`: the first row, NULL-terminated. */
void table_init(struct table *t, const char *const *heads);
void table_clear(struct table *t);
/* The next cell, from left to right, row by row. What is not printable is escaped. */
void table_add(struct table *t, const char *text);
void table_addf(struct table *t, const char *fmt, ...) PRINTF_LIKE(2, 3);
/* How many rows there are beside the heads. */
size_t table_rows(const struct table *t);
/* Appends it; the last row must be whole. */
void table_print(const struct table *t, struct buf *b);

#endif
