/* SPDX-License-Identifier: MIT */
/* Rows to structs: texts are copied into the caller's arena, NULL numbers become 0. */
#include "job/store_internal.h"

int64_t row_int(struct row_reader *r)
{
    return db_col_int(r->row, r->col++);
}

const char *row_text(struct row_reader *r)
{
    const char *s = db_col_text(r->row, r->col++);
    if (!s)
        return NULL;
    s = arena_strdup(r->arena, s);
    r->failed = r->failed || !s;
    return s;
}

double row_real(struct row_reader *r, double if_null)
{
    int col = r->col++;
    return db_col_is_null(r->row, col) ? if_null : db_col_real(r->row, col);
}

int row_check(const struct row_reader *r, struct err *err)
{
    return r->failed ? err_set(err, ERR_NOMEM, "out of memory for rows of the database") : 0;
}

/* One column to the field of the same name. */
#define READ(kind, name)      READ_##kind(name);
#define READ_TEXT(name)       ret->name = row_text(&r)
#define READ_INT64(name)      ret->name = row_int(&r)
#define READ_INT(name)        ret->name = (int)row_int(&r)
#define READ_REAL(name)       ret->name = row_real(&r, 0)
#define READ_CONFIDENCE(name) ret->name = row_real(&r, -1)

int row_job(const struct db_row *row, int first, struct arena *a, struct job *ret, struct err *err)
{
    struct row_reader r = {.row = row, .arena = a, .col = first};
    bool known = true;
    *ret = (struct job){0};
#define READ_STATE(name) known = job_state_parse(db_col_text(row, r.col++), &ret->name) && known
#define READ_QUEUE(name) known = job_queue_parse(db_col_text(row, r.col++), &ret->name) && known
    JOB_FIELDS(READ)
    ret->plan = row_text(&r);
    if (!known)
        return err_set(err, ERR_CORRUPT, "job %s has a state or queue this program does not know",
                       ret->id ? ret->id : "?");
    return row_check(&r, err);
}

int row_result(const struct db_row *row, int first, struct arena *a, struct job_result *ret, struct err *err)
{
    struct row_reader r = {.row = row, .arena = a, .col = first};
    *ret = (struct job_result){0};
    RESULT_FIELDS(READ)
    ret->text = row_text(&r);
    if (ret->removed_at)
        ret->text = NULL;
    return row_check(&r, err);
}

int job_rows_init(struct job_rows *r, struct arena *a, int cap, struct err *err)
{
    *r = (struct job_rows){.arena = a, .cap = (size_t)cap};
    r->jobs = arena_alloc(a, r->cap * sizeof *r->jobs);
    return r->jobs ? 0 : err_set(err, ERR_NOMEM, "out of memory for a list of jobs");
}

int job_rows_add(const struct db_row *row, void *job_rows, struct err *err)
{
    struct job_rows *r = job_rows;
    if (r->n == r->cap) {
        r->more = true;
        return 1;
    }
    int rc = row_job(row, 0, r->arena, &r->jobs[r->n], err);
    if (rc >= 0)
        r->n++;
    return rc;
}
