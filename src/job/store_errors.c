/* SPDX-License-Identifier: MIT */
/* Error rows and dead letters. */
#include "job/store_internal.h"

#include "base/id.h"

/* What the decoder printed can be long; its beginning is what explains. */
enum { ERROR_TEXT_MAX = 512, ERROR_DETAIL_MAX = 8192 };

#define ERROR_COLUMNS                                                                                        \
    "e.id, e.job_id, j.filename, e.error_class, e.message, e.stage, e.detail, e.worker, e.attempt, e.dead, " \
    "e.resolved, e.created_at, e.resolved_at"
#define ERROR_TABLES " FROM error_logs e JOIN jobs j ON j.id = e.job_id "

static int row_error(const struct db_row *row, struct arena *a, struct job_error *ret, struct err *err)
{
    struct row_reader r = {.row = row, .arena = a};
    ret->id = row_text(&r);
    ret->job_id = row_text(&r);
    ret->filename = row_text(&r);
    ret->error_class = row_text(&r);
    ret->message = row_text(&r);
    ret->stage = row_text(&r);
    ret->detail = row_text(&r);
    ret->worker = row_text(&r);
    ret->attempt = (int)row_int(&r);
    ret->dead = row_int(&r) != 0;
    ret->resolved = row_int(&r) != 0;
    ret->created_at = row_int(&r);
    ret->resolved_at = row_int(&r);
    return row_check(&r, err);
}

int store_add_error(struct db_tx *tx, const char *job_id, const struct job_failure *f, int64_t attempt, bool dead,
                    struct err *err)
{
    char id[ID_SIZE];
    id_new(id);
    return db_exec_later(tx,
                         "INSERT INTO error_logs (id, job_id, error_class, message, stage, detail, worker, attempt, "
                         "dead, created_at) VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10)",
                         DB_ARGS(db_text(id), db_text(job_id), db_text(f->error_class), db_text(f->message),
                                 db_text(f->stage), db_text(f->detail), db_text(f->worker), db_int(attempt),
                                 db_int(dead), db_int(db_now(tx))),
                         err);
}

int store_clean_failure(struct arena *a, const struct job_failure *f, struct job_failure *ret, struct err *err)
{
    bool oom = false;
    *ret = (struct job_failure){
        .error_class = store_clean(a, f->error_class ? f->error_class : err_name(ERR_INTERNAL), ERROR_TEXT_MAX, &oom),
        .message = store_clean(a, f->message ? f->message : "", ERROR_TEXT_MAX, &oom),
        .stage = store_clean(a, f->stage ? f->stage : "", ERROR_TEXT_MAX, &oom),
        .detail = store_clean(a, f->detail, ERROR_DETAIL_MAX, &oom),
        .worker = store_clean(a, f->worker, ERROR_TEXT_MAX, &oom),
    };
    return oom ? err_set(err, ERR_NOMEM, "out of memory for a failure's texts") : 0;
}

struct list_call {
    const struct error_filter *filter;
    struct arena *arena;
    int64_t created_at; /* of the cursor */
    const char *id;
    struct job_error *errors;
    size_t n, cap;
    bool more;
};

static int on_error(const struct db_row *row, void *arg, struct err *err)
{
    struct list_call *c = arg;
    if (c->n == c->cap) {
        c->more = true;
        return 1;
    }
    int rc = row_error(row, c->arena, &c->errors[c->n], err);
    if (rc >= 0)
        c->n++;
    return rc;
}

static int list_fn(struct db_tx *tx, void *arg, struct err *err)
{
#define PAGE "(e.created_at, e.id) < ($1, $2) ORDER BY e.created_at DESC, e.id DESC LIMIT $3"
    static const char *const sql[2][2] = {
        /* [all][one job] */
        {
            "SELECT " ERROR_COLUMNS ERROR_TABLES "WHERE e.dead = 1 AND e.resolved = 0 AND " PAGE,
            "SELECT " ERROR_COLUMNS ERROR_TABLES "WHERE e.dead = 1 AND e.resolved = 0 AND e.job_id = $4 AND " PAGE,
        },
        {
            "SELECT " ERROR_COLUMNS ERROR_TABLES "WHERE " PAGE,
            "SELECT " ERROR_COLUMNS ERROR_TABLES "WHERE e.job_id = $4 AND " PAGE,
        },
    };
    struct list_call *c = arg;
    const struct error_filter *f = c->filter;
    c->n = 0;
    c->more = false;
    c->cap = (size_t)f->limit;
    c->errors = arena_alloc(c->arena, c->cap * sizeof *c->errors);
    if (!c->errors)
        return err_set(err, ERR_NOMEM, "out of memory for a list of errors");
    const struct db_val args[] = {db_int(c->created_at), db_text(c->id), db_int(f->limit + 1), db_text(f->job_id)};
    return db_query(tx, sql[f->all][f->job_id != NULL], args, f->job_id ? 4 : 3, on_error, c, err);
}

int store_list_errors(struct store *s, const struct error_filter *f, struct arena *a, struct error_page *ret,
                      struct err *err)
{
    struct list_call c = {.filter = f, .arena = a};
    int rc = store_limit_check(f->limit, err);
    if (rc >= 0)
        rc = store_cursor_parse(f->cursor, &c.created_at, &c.id, err);
    if (rc >= 0)
        rc = db_read(s->db, list_fn, &c, err);
    if (rc < 0)
        return rc;
    const char *next = NULL;
    if (c.more) {
        next = store_cursor(a, c.errors[c.n - 1].created_at, c.errors[c.n - 1].id);
        if (!next)
            return err_set(err, ERR_NOMEM, "out of memory for a list of errors");
    }
    *ret = (struct error_page){c.errors, c.n, next};
    return 0;
}

static int no_error(const char *id, struct err *err)
{
    return err_set(err, ERR_NOT_FOUND, "there is no error '%.64s'", id);
}

struct get_call {
    const char *id;
    struct arena *arena;
    struct job_error error;
    bool found;
};

static int on_one(const struct db_row *row, void *arg, struct err *err)
{
    struct get_call *c = arg;
    c->found = true;
    return row_error(row, c->arena, &c->error, err);
}

static int get_fn(struct db_tx *tx, void *arg, struct err *err)
{
    struct get_call *c = arg;
    c->found = false;
    int rc =
        db_query(tx, "SELECT " ERROR_COLUMNS ERROR_TABLES "WHERE e.id = $1", DB_ARGS(db_text(c->id)), on_one, c, err);
    if (rc < 0)
        return rc;
    return c->found ? 0 : no_error(c->id, err);
}

int store_get_error(struct store *s, const char *error_id, struct arena *a, struct job_error *ret, struct err *err)
{
    struct get_call c = {.id = error_id, .arena = a};
    int rc = db_read(s->db, get_fn, &c, err);
    if (rc < 0)
        return rc;
    *ret = c.error;
    return 0;
}

static int resolve_fn(struct db_tx *tx, void *arg, struct err *err)
{
    const struct get_call *c = arg;
    int64_t n = db_exec(tx, "UPDATE error_logs SET resolved = 1, resolved_at = COALESCE(resolved_at, $2) WHERE id = $1",
                        DB_ARGS(db_text(c->id), db_int(db_now(tx))), err);
    if (n < 0)
        return err->code;
    return n ? 0 : no_error(c->id, err);
}

int store_resolve_error(struct store *s, const char *error_id, struct err *err)
{
    return db_write(s->db, DB_DURABLE, resolve_fn, &(struct get_call){.id = error_id}, err);
}
