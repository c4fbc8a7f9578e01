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
    int version;                   /* 1, 2, ... without gaps */
    const char *name;              /* "initial" */
    const char *checksum;          /* of the file */
    const char *const *statements; /* NULL-terminated */
};

/* Made by the build from migrations/ (tools/embed_migrations.py), ends with version 0. */
extern const struct migration migrations[];

struct migration_state {
    int version;
    const char *name;
    bool applied;
    int64_t applied_at; /* ms, 0 when not applied */
};
typedef void (*migration_state_fn)(const struct migration_state *state, void *arg);

/* Applies what is missing; *ret_applied how many (0: nothing to do). CONFLICT: checksum differs, or the schema is
 * newer. */
int migrate_up(struct db *db, int *ret_applied, struct err *err) MUST_CHECK;
/* Calls fn for every known migration in order; fails as migrate_up does on a newer or edited schema, after listing.
 * Writes nothing. */
int migrate_status(struct db *db, migration_state_fn fn, void *arg, struct err *err) MUST_CHECK;

/* The same with another list than `migrations`, made like it. */
int migrate_list_up(struct db *db, const struct migration *list, int *ret_applied, struct err *err) MUST_CHECK;
int migrate_list_status(struct db *db, const struct migration *list, migration_state_fn fn, void *arg, struct err *err)
    MUST_CHECK;

#endif
