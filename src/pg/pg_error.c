/* SPDX-License-Identifier: MIT */
/*
 * One table from SQLSTATE to error class, the longest prefix first. Only the primary message is passed on: "detail"
 * and "context" quote values, which belong to users.
 */
#include "pg/pg_error.h"

#include "base/macros.h"
#include "base/str.h"

#include <string.h>

enum { SQL_SHOWN = 120 };

static const struct {
    const char *state; /* SQLSTATE, or its beginning */
    int code;
    enum pg_remedy remedy;
    const char *hint; /* for a person, or NULL */
} classes[] = {
    {"40001", ERR_CONFLICT, PG_REPEAT, NULL},
    {"40P01", ERR_CONFLICT, PG_REPEAT, NULL},
    {"23505", ERR_CONFLICT, PG_NO_REMEDY, NULL},
    {"23503", ERR_CONFLICT, PG_NO_REMEDY, NULL},
    {"25006", ERR_UNAVAILABLE, PG_NEEDS_WRITER, "the server takes no writes now: is it a standby?"},
    {"25P03", ERR_UNAVAILABLE, PG_NO_REMEDY, NULL}, /* idle in transaction for too long */
    {"0A000", ERR_UNAVAILABLE, PG_RECONNECT, NULL}, /* the table changed under a prepared statement */
    {"26000", ERR_UNAVAILABLE, PG_RECONNECT, "prepared statements get lost: is a pooler in transaction mode between?"},
    {"42501", ERR_UNAVAILABLE, PG_NO_REMEDY, "grant the user what is missing"},
    {"3D000", ERR_UNAVAILABLE, PG_NO_REMEDY, "create the database first"},
    {"53100", ERR_UNAVAILABLE, PG_NO_REMEDY, "free some space on the server's disk"},
    {"53300", ERR_UNAVAILABLE, PG_NO_REMEDY,
     "the server has no free connection: lower database_pool or raise max_connections"},
    {"55P03", ERR_BUSY, PG_NO_REMEDY, NULL},
    {"57014", ERR_UNAVAILABLE, PG_NO_REMEDY, "the server took too long"},
    {"XX001", ERR_CORRUPT, PG_NO_REMEDY, "the server's data is damaged"},
    {"XX002", ERR_CORRUPT, PG_NO_REMEDY, "the server's data is damaged"},
    {"08", ERR_UNAVAILABLE, PG_NO_REMEDY, NULL},
    {"28", ERR_UNAVAILABLE, PG_NO_REMEDY, "check user and password"},
    {"53", ERR_UNAVAILABLE, PG_NO_REMEDY, NULL},
    {"54", ERR_TOO_LARGE, PG_NO_REMEDY, NULL},
    {"57", ERR_UNAVAILABLE, PG_NO_REMEDY, NULL}, /* shut down, started, cancelled by an administrator */
    {"58", ERR_UNAVAILABLE, PG_NO_REMEDY, NULL}, /* the server's disk or system */
};

void pg_one_line(const char *said, char *ret, size_t size)
{
    if (!size)
        return;
    size_t n = utf8_floor(said, MIN(strcspn(said, "\r\n"), size - 1));
    for (size_t i = 0; i < n; i++)
        ret[i] = (unsigned char)said[i] < 0x20 ? ' ' : said[i];
    ret[n] = '\0';
}

enum pg_remedy pg_fail(const PGresult *r, const char *sql, struct err *err)
{
    const char *state = PQresultErrorField(r, PG_DIAG_SQLSTATE), *said = PQresultErrorField(r, PG_DIAG_MESSAGE_PRIMARY);
    char text[300];
    pg_one_line(said ? said : PQresultErrorMessage(r), text, sizeof text);
    if (!state) {
        err_set(err, ERR_UNAVAILABLE, "PostgreSQL: %s", text);
        return PG_NO_REMEDY;
    }
    for (size_t i = 0; i < ARRAY_LEN(classes); i++) {
        if (!str_starts(state, classes[i].state))
            continue;
        const char *hint = classes[i].hint;
        err_set(err, classes[i].code, "PostgreSQL: %s%s%s%s", text, hint ? " (" : "", hint ? hint : "",
                hint ? ")" : "");
        return classes[i].remedy;
    }
    err_set(err, ERR_INTERNAL, "PostgreSQL: %s: %s: %.*s", state, text, SQL_SHOWN, sql);
    return PG_NO_REMEDY;
}
