/* SPDX-License-Identifier: MIT */
/* What PostgreSQL's errors mean to us: private to src/pg. */
#ifndef PG_PG_ERROR_H
#define PG_PG_ERROR_H

#include "pg/pg.h"

#include <libpq-fe.h>

#include <stddef.h>

/* Sets class and sentence for a failed result. `sql` may be empty. */
enum pg_remedy pg_fail(const PGresult *r, const char *sql, struct err *err);
/* The first line of what was said: the rest are guesses for people at a prompt. */
void pg_one_line(const char *said, char *ret, size_t size);

#endif
