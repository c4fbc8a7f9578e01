/* SPDX-License-Identifier: MIT */
/*
 * The prepared statements of one connection, found by their text: private to src/pg.
 *
 * A plain array: the whole program has some dozens of statements, and comparing their hashes costs less than a byte
 * on the network.
 */
#ifndef PG_PG_STMTS_H
#define PG_PG_STMTS_H

#include "base/err.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum { PG_STMTS_MAX = 128, PG_STMT_NAME = 24 };

struct pg_stmts {
    struct pg_stmt {
        uint64_t hash, number, used;
        char *sql;
        size_t n_args;
    } list[PG_STMTS_MAX];
    size_t n;
    uint64_t tick, last_number;
};

struct pg_use {
    uint64_t stmt; /* its number, for pg_stmts_drop and _text */
    char name[PG_STMT_NAME];
    bool is_new;                /* to be prepared under this name now */
    char evicted[PG_STMT_NAME]; /* "" or the name of one to be given up for it */
};

/* INTERNAL when the text does not use exactly the values $1 to $n. */
int pg_stmts_use(struct pg_stmts *s, const char *sql, size_t n_args, struct pg_use *ret, struct err *err) MUST_CHECK;
/* It could not be prepared. Unknown numbers are fine. */
void pg_stmts_drop(struct pg_stmts *s, uint64_t stmt);
const char *pg_stmts_text(const struct pg_stmts *s, uint64_t stmt); /* "" when unknown */
void pg_stmts_clear(struct pg_stmts *s);

#endif
