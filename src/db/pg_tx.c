/* SPDX-License-Identifier: MIT */
#include "db/pg_tx.h"

#include "base/macros.h"
#include "base/str.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

enum { ARGS_MAX = 32, LATER_MAX = 64, NUMBER = 32 };

struct pg_row {
    struct db_row row;
    const struct pg_result *result;
    size_t at;
};

/* ---- values ---- */

int pg_send_stmt(struct pg_link *l, const char *sql, const struct db_val *args, size_t n_args, struct err *err)
{
    char numbers[ARGS_MAX][NUMBER];
    const char *values[ARGS_MAX];
    if (n_args > ARGS_MAX)
        return err_set(err, ERR_INTERNAL, "more than %d values: %.80s", ARGS_MAX, sql);
    for (size_t i = 0; i < n_args; i++) {
        values[i] = numbers[i];
        switch (args[i].type) {
        case DB_NULL:
            values[i] = NULL;
            break;
        case DB_INT:
            snprintf(numbers[i], NUMBER, "%" PRId64, args[i].i);
            break;
        case DB_REAL:
            snprintf(numbers[i], NUMBER, "%.17g", args[i].r);
            break;
        case DB_TEXT:
            values[i] = args[i].s;
            break;
        }
    }
    return pg_send(l, sql, values, n_args, err);
}

int pg_each_row(const struct pg_result *r, db_row_fn row, void *row_arg, struct err *err)
{
    size_t n = pg_rows(r);
    for (size_t i = 0; i < n; i++) {
        struct pg_row x = {{&db_postgres_ops}, r, i};
        int rc = row(&x.row, row_arg, err);
        if (rc)
            return MIN(rc, 0);
    }
    return 0;
}

/* `row` stands first in the struct. */
static const struct pg_row *of(const struct db_row *row)
{
    return (const struct pg_row *)(const void *)row;
}

static enum pg_type type_of(const struct pg_row *r, int col)
{
    return col < 0 ? PG_NULL : pg_type(r->result, r->at, (size_t)col);
}

int64_t pg_col_int(const struct db_row *row, int col)
{
    const struct pg_row *r = of(row);
    int64_t v = 0;
    if (type_of(r, col) != PG_INT || !str_to_i64(pg_text(r->result, r->at, (size_t)col), &v))
        return 0;
    return v;
}

double pg_col_real(const struct db_row *row, int col)
{
    const struct pg_row *r = of(row);
    enum pg_type type = type_of(r, col);
    double v = 0;
    if ((type != PG_INT && type != PG_REAL) || !str_to_f64(pg_text(r->result, r->at, (size_t)col), &v))
        return 0;
    return v;
}

const char *pg_col_text(const struct db_row *row, int col)
{
    const struct pg_row *r = of(row);
    return type_of(r, col) == PG_TEXT ? pg_text(r->result, r->at, (size_t)col) : NULL;
}

bool pg_col_is_null(const struct db_row *row, int col)
{
    return type_of(of(row), col) == PG_NULL;
}

/* ---- the transaction ---- */

int pg_send_durability(struct pg_link *l, enum db_durability how, struct err *err)
{
    int want = how == DB_DURABLE ? PG_SYNC_ON : PG_SYNC_OFF;
    if (pg_note(l) == want)
        return 0;
    pg_set_note(l, PG_SYNC_UNKNOWN); /* until the transaction that sets it is kept */
    return pg_send_quiet(l, how == DB_DURABLE ? "SET synchronous_commit = on" : "SET synchronous_commit = off", err);
}

static int begin(struct pg_tx *t, struct err *err)
{
    if (t->begun)
        return 0;
    t->begun = true;
    if (t->read)
        return pg_send_quiet(t->link, "BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY", err);
    int rc = pg_send_quiet(t->link, "BEGIN", err);
    return rc < 0 ? rc : pg_send_durability(t->link, t->how, err);
}

/* The answers to what was queued without waiting. */
static int answer_later(struct pg_tx *t, struct err *err)
{
    for (; t->later; t->later--) {
        struct pg_result *r = NULL;
        int rc = pg_next(t->link, &r, err);
        if (rc < 0)
            return rc;
        pg_free(r);
    }
    return 0;
}

/* One round trip: all that is queued; *ret is the answer to the last statement, when it is wanted. */
static int exchange(struct pg_tx *t, struct pg_result **ret, struct err *err)
{
    int rc = pg_sync(t->link, err);
    struct pg_result *r = NULL;
    if (rc >= 0)
        rc = answer_later(t, err);
    if (rc >= 0 && ret)
        rc = pg_next(t->link, &r, err);
    t->later = 0;
    struct err end = ERR_INIT;
    if (!pg_lost(t->link) && pg_end(t->link, &end) < 0 && rc >= 0) {
        *err = end;
        rc = end.code;
    }
    if (rc < 0) {
        pg_free(r);
        return rc;
    }
    if (ret)
        *ret = r;
    return 0;
}

int pg_tx_query(struct pg_tx *t, const char *sql, const struct db_val *args, size_t n_args, db_row_fn row,
                void *row_arg, int64_t *ret_changed, struct err *err)
{
    struct pg_result *r = NULL;
    int rc = begin(t, err);
    if (rc >= 0)
        rc = pg_send_stmt(t->link, sql, args, n_args, err);
    if (rc >= 0)
        rc = exchange(t, &r, err);
    if (rc < 0 && t->read && pg_remedy(t->link) == PG_NEEDS_WRITER)
        return err_set(err, ERR_INTERNAL, "a statement that writes inside db_read: %.120s", sql);
    if (rc < 0)
        return rc;
    rc = pg_each_row(r, row, row_arg, err);
    if (rc >= 0)
        *ret_changed = pg_changed(r);
    pg_free(r);
    return rc;
}

int pg_tx_later(struct pg_tx *t, const char *sql, const struct db_val *args, size_t n_args, struct err *err)
{
    int rc = begin(t, err);
    if (rc >= 0)
        rc = pg_send_stmt(t->link, sql, args, n_args, err);
    if (rc < 0)
        return rc;
    t->later++;
    return t->later < LATER_MAX ? 0 : exchange(t, NULL, err);
}

int pg_tx_commit(struct pg_tx *t, struct err *err)
{
    if (!t->begun)
        return 0;
    int rc;
    if (t->read) { /* nothing can be lost: the answer is read before the next round trip */
        rc = pg_send_quiet(t->link, "COMMIT", err);
        return rc < 0 ? rc : pg_sync(t->link, err);
    }
    struct pg_result *r = NULL;
    rc = pg_send_stmt(t->link, "COMMIT", DB_NO_ARGS, err);
    if (rc < 0)
        return rc;
    t->committing = true;
    rc = exchange(t, &r, err);
    if (rc >= 0 && !str_eq(pg_tag(r), "COMMIT"))
        rc = err_set(err, ERR_INTERNAL, "the transaction was rolled back: a statement in it had failed");
    pg_free(r);
    if (rc >= 0) {
        t->begun = false;
        pg_set_note(t->link, t->how == DB_DURABLE ? PG_SYNC_ON : PG_SYNC_OFF);
        return 0;
    }
    if (pg_lost(t->link))
        return err_set(err, ERR_UNCERTAIN, "it is not known whether the change was kept: %.400s", err->msg);
    return rc;
}

void pg_tx_rollback(struct pg_tx *t)
{
    struct err ignored = ERR_INIT;
    bool done = !t->begun || pg_lost(t->link);
    /* Twice: queued statements that were never sent may fail, and the ROLLBACK behind them is skipped then. */
    for (int i = 0; i < 2 && !done; i++)
        done = pg_do(t->link, "ROLLBACK", &ignored) >= 0;
    if (!done)
        pg_abandon(t->link);
    t->begun = false;
    t->later = 0;
}
