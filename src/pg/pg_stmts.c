/* SPDX-License-Identifier: MIT */
#include "pg/pg_stmts.h"

#include "base/mem.h"

#include <ctype.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { ARGS_MAX = 64 };

static uint64_t hash_text(const char *s)
{
    uint64_t h = 14695981039346656037u;
    for (; *s; s++)
        h = (h ^ (unsigned char)*s) * 1099511628211u;
    return h;
}

/* One statement with the parameters $1 to $n; looks outside of quotes. The server would find it too, in many words. */
static int check_text(const char *sql, size_t n_args, struct err *err)
{
    uint64_t seen = 0;
    size_t highest = 0;
    char quote = 0;
    bool ended = false, second = false;
    for (const char *p = sql; *p; p++) {
        second = second || (ended && !strchr("; \t\r\n", *p));
        if (quote) {
            quote = *p == quote ? 0 : quote;
        } else if (*p == '\'' || *p == '"') {
            quote = *p;
        } else if (*p == ';') {
            ended = true;
        } else if (*p == '$' && isdigit((unsigned char)p[1])) {
            unsigned long n = strtoul(p + 1, NULL, 10);
            if (n < 1 || n > ARGS_MAX)
                return err_set(err, ERR_INTERNAL, "parameter $%lu is out of range: %.80s", n, sql);
            seen |= (uint64_t)1 << (n - 1);
            highest = n > highest ? n : highest;
        }
    }
    if (second)
        return err_set(err, ERR_INTERNAL, "not exactly one statement: %.80s", sql);
    for (size_t i = 1; i <= highest; i++)
        if (!(seen >> (i - 1) & 1))
            return err_set(err, ERR_INTERNAL, "parameter $%zu is not used: %.80s", i, sql);
    if (highest != n_args)
        return err_set(err, ERR_INTERNAL, "%zu values for %zu parameters: %.80s", n_args, highest, sql);
    return 0;
}

static void make_name(uint64_t number, char ret[PG_STMT_NAME])
{
    snprintf(ret, PG_STMT_NAME, "s%" PRIu64, number);
}

int pg_stmts_use(struct pg_stmts *s, const char *sql, size_t n_args, struct pg_use *ret, struct err *err)
{
    uint64_t hash = hash_text(sql);
    struct pg_stmt *slot = NULL;
    *ret = (struct pg_use){0};
    s->tick++;
    for (size_t i = 0; i < s->n; i++) {
        struct pg_stmt *t = &s->list[i];
        if (t->hash == hash && t->n_args == n_args && strcmp(t->sql, sql) == 0) {
            t->used = s->tick;
            ret->stmt = t->number;
            make_name(t->number, ret->name);
            return 0;
        }
        if (!slot || t->used < slot->used)
            slot = t;
    }
    int rc = check_text(sql, n_args, err);
    if (rc < 0)
        return rc;
    if (s->n < PG_STMTS_MAX) {
        slot = &s->list[s->n++];
    } else {
        make_name(slot->number, ret->evicted);
        free(slot->sql);
    }
    *slot = (struct pg_stmt){
        .hash = hash, .number = ++s->last_number, .used = s->tick, .sql = xstrdup(sql), .n_args = n_args};
    ret->stmt = slot->number;
    ret->is_new = true;
    make_name(slot->number, ret->name);
    return 0;
}

void pg_stmts_drop(struct pg_stmts *s, uint64_t stmt)
{
    for (size_t i = 0; i < s->n; i++) {
        if (s->list[i].number != stmt)
            continue;
        free(s->list[i].sql);
        s->list[i] = s->list[--s->n];
        return;
    }
}

const char *pg_stmts_text(const struct pg_stmts *s, uint64_t stmt)
{
    for (size_t i = 0; i < s->n; i++)
        if (s->list[i].number == stmt)
            return s->list[i].sql;
    return "";
}

void pg_stmts_clear(struct pg_stmts *s)
{
    for (size_t i = 0; i < s->n; i++)
        free(s->list[i].sql);
    s->n = 0;
}
