/* SPDX-License-Identifier: MIT */
/*
 * The migration runner: one transaction looks for the first missing migration, applies it and records it, until
 * none is missing. All looking is done inside the writing transaction, so that of several processes starting at
 * once each finds what the one before it has done.
 */
#include "db/migrate.h"

#include "base/clock.h"

#include <stdlib.h>
#include <string.h>

/* Another process may be at a long migration: waiting for it is better than failing the start. */
enum { WAIT_MS = 60000 };

static const char create_table[] = "CREATE TABLE IF NOT EXISTS schema_migrations ("
                                   "version BIGINT PRIMARY KEY, name TEXT NOT NULL, checksum TEXT NOT NULL, "
                                   "applied_at BIGINT NOT NULL)";

/* What the database says, held against the list. */
struct history {
    const struct migration *list;
    int known;           /* how many the list has */
    int64_t *applied_at; /* per known migration; 0: not applied */
    int64_t newest;      /* highest version applied, known or not */
    int edited;          /* first version whose name or checksum differs, or 0 */
};

static int on_applied(const struct db_row *row, void *arg, struct err *err)
{
    (void)err;
    struct history *h = arg;
    int64_t version = db_col_int(row, 0);
    h->newest = MAX(h->newest, version);
    if (version < 1 || version > h->known)
        return 0;
    const struct migration *m = &h->list[version - 1];
    const char *name = db_col_text(row, 1), *sum = db_col_text(row, 2);
    if (!h->edited && (!name || !sum || strcmp(name, m->name) != 0 || strcmp(sum, m->checksum) != 0))
        h->edited = m->version;
    h->applied_at[version - 1] = db_col_int(row, 3);
    return 0;
}

static int load_history(struct db_tx *tx, struct history *h, struct err *err)
{
    h->newest = h->edited = 0;
    memset(h->applied_at, 0, (size_t)h->known * sizeof *h->applied_at);
    return db_query(tx, "SELECT version, name, checksum, applied_at FROM schema_migrations ORDER BY version",
                    DB_NO_ARGS, on_applied, h, err);
}

static int check_history(const struct history *h, struct err *err)
{
    if (h->newest > h->known)
        return err_set(err, ERR_CONFLICT,
                       "the database has schema version %lld, this program knows %d: use the newer program",
                       (long long)h->newest, h->known);
    if (h->edited)
        return err_set(err, ERR_CONFLICT,
                       "migration %04d_%s was edited after it was applied to this database: restore the file and put "
                       "the change into a new migration",
                       h->edited, h->list[h->edited - 1].name);
    return 0;
}

/* 1: one migration applied; 0: none is missing. */
static int apply_next(struct db_tx *tx, void *arg, struct err *err)
{
    struct history *h = arg;
    if (db_lock_schema(tx, err) < 0)
        return err->code;
    if (db_exec(tx, create_table, DB_NO_ARGS, err) < 0)
        return err->code;
    int rc = load_history(tx, h, err);
    if (rc >= 0)
        rc = check_history(h, err);
    if (rc < 0)
        return rc;
    const struct migration *m = h->list;
    while (m->version && h->applied_at[m->version - 1])
        m++;
    if (!m->version)
        return 0;
    for (const char *const *s = m->statements; *s; s++)
        if (db_exec(tx, *s, DB_NO_ARGS, err) < 0)
            return err_wrap(err, "migration %04d_%s", m->version, m->name);
    if (db_exec(tx, "INSERT INTO schema_migrations (version, name, checksum, applied_at) VALUES ($1, $2, $3, $4)",
                DB_ARGS(db_int(m->version), db_text(m->name), db_text(m->checksum), db_int(db_now(tx))), err) < 0)
        return err->code;
    return 1;
}

static int on_found(const struct db_row *row, void *arg, struct err *err)
{
    (void)row;
    (void)err;
    *(bool *)arg = true;
    return 0;
}

static int read_history(struct db_tx *tx, void *arg, struct err *err)
{
    struct history *h = arg;
    bool found = false;
    int rc = db_query(tx, db_tx_dialect(tx)->find_table, DB_ARGS(db_text("schema_migrations")), on_found, &found, err);
    return rc < 0 || !found ? rc : load_history(tx, h, err);
}

static void history_init(struct history *h, const struct migration *list)
{
    *h = (struct history){.list = list};
    while (list[h->known].version)
        h->known++;
    h->applied_at = xcalloc((size_t)h->known, sizeof *h->applied_at);
}

static void history_clear(struct history *h)
{
    free(h->applied_at);
}

int migrate_list_up(struct db *db, const struct migration *list, int *ret_applied, struct err *err)
{
    CLEANUP(history_clear) struct history h;
    history_init(&h, list);
    int64_t end = clock_mono_ms() + WAIT_MS;
    int applied = 0;
    for (;;) {
        int rc = db_write(db, DB_DURABLE, apply_next, &h, err);
        if (rc == ERR_BUSY && clock_mono_ms() < end)
            continue;
        if (rc < 0)
            return rc;
        if (rc == 0)
            break;
        applied++;
    }
    *ret_applied = applied;
    return 0;
}

int migrate_list_status(struct db *db, const struct migration *list, migration_state_fn fn, void *arg, struct err *err)
{
    CLEANUP(history_clear) struct history h;
    history_init(&h, list);
    int rc = db_read(db, read_history, &h, err);
    if (rc < 0)
        return rc;
    for (int i = 0; i < h.known; i++)
        fn(&(struct migration_state){list[i].version, list[i].name, h.applied_at[i] != 0, h.applied_at[i]}, arg);
    return check_history(&h, err);
}

int migrate_up(struct db *db, int *ret_applied, struct err *err)
{
    return migrate_list_up(db, migrations, ret_applied, err);
}

int migrate_status(struct db *db, migration_state_fn fn, void *arg, struct err *err)
{
    return migrate_list_status(db, migrations, fn, arg, err);
}
