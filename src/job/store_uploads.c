/* SPDX-License-Identifier: MIT */
/*
 * Objects that clients put into storage by themselves. A row is made with the URL and used by the submission of a job,
 * which has the same id (store_submit); one that was never used is forgotten when it expired, and the sweeper then
 * finds an object nobody wants.
 */
#include "job/store_internal.h"

#include "base/id.h"

int store_add_upload(struct store *s, const struct job_upload *u, struct err *err)
{
    struct db_stmt stmt = {
        .sql = "INSERT INTO uploads (id, object_key, filename, content_type, size, created_at, expires_at) "
               "VALUES ($1, $2, $3, $4, $5, $6, $7)",
        .args = (const struct db_val[]){db_text(u->id), db_text(u->key), db_text(u->filename), db_text(u->content_type),
                                        u->size < 0 ? db_null() : db_int(u->size), db_int(db_clock(s->db)),
                                        db_int(u->expires_at)},
        .n_args = 7,
    };
    return db_write_stmts(s->db, DB_RELAXED, &stmt, 1, err);
}

struct upload_call {
    struct arena *arena;
    struct job_upload upload;
    bool found;
};

static int on_upload(const struct db_row *row, void *arg, struct err *err)
{
    struct upload_call *c = arg;
    struct row_reader r = {.row = row, .arena = c->arena};
    struct job_upload u = {0};
    u.id = row_text(&r);
    u.key = row_text(&r);
    u.filename = row_text(&r);
    u.content_type = row_text(&r);
    u.size = db_col_is_null(row, r.col) ? -1 : db_col_int(row, r.col);
    r.col++;
    u.etag = row_text(&r);
    u.created_at = row_int(&r);
    u.expires_at = row_int(&r);
    u.used_at = row_int(&r);
    c->upload = u;
    c->found = true;
    return row_check(&r, err);
}

static int no_upload(const char *id, struct err *err)
{
    return err_set(err, ERR_NOT_FOUND, "there is no upload '%.64s'", id);
}

int store_get_upload(struct store *s, const char *id, struct arena *a, struct job_upload *ret, struct err *err)
{
    struct upload_call c = {.arena = a};
    if (!id_valid(id))
        return no_upload(id, err);
    struct db_stmt stmt = {
        .sql = "SELECT id, object_key, filename, content_type, size, etag, created_at, expires_at, used_at "
               "FROM uploads WHERE id = $1",
        .args = (const struct db_val[]){db_text(id)},
        .n_args = 1,
        .row = on_upload,
        .row_arg = &c,
    };
    int rc = db_read_stmt(s->db, &stmt, err);
    if (rc < 0)
        return rc;
    if (!c.found)
        return no_upload(id, err);
    *ret = c.upload;
    return 0;
}

int store_upload_comes(struct store *s, const char *id, const char *etag, struct err *err)
{
    struct db_stmt stmt = {
        .sql = "UPDATE uploads SET etag = $2 WHERE id = $1 AND used_at IS NULL AND (etag IS NULL OR etag = $2)",
        .args = (const struct db_val[]){db_text(id), db_text(etag)},
        .n_args = 2,
    };
    int rc = db_write_stmts(s->db, DB_DURABLE, &stmt, 1, err);
    if (rc < 0 || stmt.changed)
        return rc < 0 ? rc : 0;
    CLEANUP(arena_clear) struct arena a = ARENA_INIT;
    struct job_upload there;
    rc = store_get_upload(s, id, &a, &there, err);
    if (rc < 0)
        return rc;
    return err_set(err, ERR_CONFLICT,
                   there.used_at ? "upload %s has become a job already"
                                 : "another recording came for upload %s before: ask for a URL for each",
                   id);
}

int store_drop_uploads(struct store *s, int64_t before_ms, struct err *err)
{
    struct db_stmt stmt = {
        .sql = "DELETE FROM uploads WHERE expires_at < $1 AND used_at IS NULL",
        .args = (const struct db_val[]){db_int(before_ms)},
        .n_args = 1,
    };
    return db_write_stmts(s->db, DB_RELAXED, &stmt, 1, err);
}
