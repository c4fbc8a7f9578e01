/* SPDX-License-Identifier: MIT */
/*
 * Numbered migrations, compiled in from migrations/NNNN_name.sql.
 *
 * Each is applied once, in order, in one transaction with its row in `schema_migrations` (version, name,
 * checksum, applied_at). A migration that was applied is never edited: a checksum that differs is an error. A
 * database newer than this program is refused: an old program would write rows the new one does not expect.
 * Several processes may call migrate_up at once.
 */
#ifndef DB_MIGRATE_H
#define DB_MIGRATE_H

#include "db/db.h"

struct migration {
    int version;      /* 1, 2, ... without gaps */
    const char *name; /* "initial" */
    const char *sql;  /* statements separated by ';' at the end of a line */
};

/* Made by the build from migrations/, ends with version 0. */
extern const struct migration migrations[];

struct migration_state {
    int version;
    const char *name;
    bool applied;
    int64_t applied_at; /* ms, 0 when not applied */
};

/* Applies what is missing; *ret_applied how many (0: nothing to do). CONFLICT: checksum differs, or the schema is
 * newer. */
int migrate_up(struct db *db, int *ret_applied, struct err *err) MUST_CHECK;
/* Calls fn for every known migration in order; fails as migrate_up does on a newer or edited schema, after listing. */
int migrate_status(struct db *db, void (*fn)(const struct migration_state *, void *arg), void *arg, struct err *err)
    MUST_CHECK;

#endif
