/* SPDX-License-Identifier: MIT */
/* The one writer connection of a process and its group commit: private to the SQLite driver. */
#ifndef DB_SQLITE_GROUP_H
#define DB_SQLITE_GROUP_H

#include "db/sqlite_conn.h"

struct sqlite_group;

/* `db` is what transaction functions see as their database. Owns c from here on. */
struct sqlite_group *sqlite_group_new(struct db *db, struct sqlite_conn *c) MUST_CHECK;
void sqlite_group_free(struct sqlite_group *g); /* NULL is fine */
/* As db_write. */
int sqlite_group_write(struct sqlite_group *g, enum db_durability how, db_tx_fn fn, void *arg, struct err *err)
    MUST_CHECK;

#endif
