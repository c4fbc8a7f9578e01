/* SPDX-License-Identifier: MIT */
/*
 * What is under way on a connection stands in a ring of expected answers, in the order libpq will give them: the
 * preparing of a statement, its rows, the end of a round trip. pg_next and pg_end walk along it.
 */
#include "pg/pg.h"

#include "base/clock.h"
#include "base/log.h"
#include "base/macros.h"
#include "base/mem.h"
#include "pg/pg_error.h"
#include "pg/pg_stmts.h"

#include <errno.h>
#include <limits.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum {
    RING = 512,        /* answers under way; two for each statement at most */
    SETUP_MS = 5000,   /* as connect_timeout: settings wait for nothing */
    SILENT_MS = 10000, /* a loss after this was the network giving up, more likely than the server hanging up */
};

static const struct log_ctx lc = {.component = "postgresql"};

enum expected {
    EXPECT_PREPARE,
    EXPECT_ROWS,
    EXPECT_QUIET,
    EXPECT_SYNC,
};

struct pg_link {
    PGconn *c;
    struct pg_stmts stmts;
    int64_t answer_ms;
    int note;
    bool lost;
    bool silent;
    bool refused; /* the last failure was the server's word */
    enum pg_remedy remedy;
    bool stale; /* works, but its prepared statements do not */
    struct {
        enum expected what;
        uint64_t stmt; /* of a PREPARE */
    } ring[RING];
    size_t first, n;
    struct err broken; /* first failure since the last sync that pg_next has not told of */
    PGnotify *notice;
};

/* ---- waiting ---- */

static int lose(struct pg_link *l, struct err *err, const char *what)
{
    l->lost = true;
    l->refused = false;
    const char *said = PQerrorMessage(l->c);
    if (PQstatus(l->c) == CONNECTION_BAD && said && *said) {
        err_set(err, ERR_UNAVAILABLE, "PostgreSQL: %s: ", what);
        size_t at = strlen(err->msg);
        pg_one_line(said, err->msg + at, sizeof err->msg - at);
        return err->code;
    }
    return err_set(err, ERR_UNAVAILABLE, "PostgreSQL: %s", what);
}

/* Waits until the socket has something to read (or room to write, when `write`), reads it. */
static int wait_socket(struct pg_link *l, bool write, int64_t until_ms, struct err *err)
{
    int64_t began = clock_mono_ms();
    for (;;) {
        int64_t left = until_ms - clock_mono_ms();
        struct pollfd p = {.fd = PQsocket(l->c), .events = (short)(POLLIN | (write ? POLLOUT : 0))};
        int got = poll(&p, 1, (int)CLAMP(left, 0, INT_MAX));
        if (got < 0 && errno != EINTR)
            return lose(l, err, "waiting failed");
        if (got > 0) {
            if (p.revents & ~POLLOUT && !PQconsumeInput(l->c)) {
                l->silent = clock_mono_ms() - began >= SILENT_MS;
                return lose(l, err, "the connection was lost");
            }
            return 0;
        }
        if (got == 0 && left <= 0) {
            l->silent = true;
            return lose(l, err, "no answer in time");
        }
    }
}

static int flush(struct pg_link *l, struct err *err)
{
    int64_t until = clock_mono_ms() + l->answer_ms;
    for (;;) {
        int rc = PQflush(l->c);
        if (rc == 0)
            return 0;
        if (rc < 0)
            return lose(l, err, "the connection was lost");
        rc = wait_socket(l, true, until, err);
        if (rc < 0)
            return rc;
    }
}

/* *ret NULL: the answer to one command is complete. */
static int get_result(struct pg_link *l, PGresult **ret, struct err *err)
{
    if (l->lost)
        return err_set(err, ERR_UNAVAILABLE, "the connection to PostgreSQL was lost");
    int64_t until = clock_mono_ms() + l->answer_ms;
    while (PQisBusy(l->c)) {
        int rc = wait_socket(l, false, until, err);
        if (rc < 0)
            return rc;
    }
    PGresult *r = PQgetResult(l->c);
    if (PQstatus(l->c) == CONNECTION_BAD) {
        /* The server may have said why. */
        bool said = r && PQresultStatus(r) == PGRES_FATAL_ERROR && PQresultErrorField(r, PG_DIAG_SQLSTATE);
        lose(l, err, "the connection was lost");
        if (said)
            pg_fail(r, "", err);
        l->refused = said;
        PQclear(r);
        return err->code;
    }
    *ret = r;
    return 0;
}

static void note_failure(struct pg_link *l, const PGresult *r, const char *sql, struct err *err)
{
    l->refused = true;
    l->remedy = pg_fail(r, sql, err);
    l->stale = l->stale || l->remedy == PG_RECONNECT;
}

/* ---- the ring ---- */

static int expect(struct pg_link *l, enum expected what, uint64_t stmt, struct err *err)
{
    if (l->n == RING)
        return err_set(err, ERR_INTERNAL, "too many statements in one round trip");
    size_t at = (l->first + l->n++) % RING;
    l->ring[at].what = what;
    l->ring[at].stmt = stmt;
    return 0;
}

/* Reads the answer to the next thing under way; its class, or *ret (NULL for a sync). */
static int read_one(struct pg_link *l, enum expected *ret_what, PGresult **ret, struct err *err)
{
    enum expected what = l->ring[l->first].what;
    uint64_t stmt = l->ring[l->first].stmt;
    PGresult *r = NULL;
    *ret_what = what;
    int rc = get_result(l, &r, err);
    if (rc < 0)
        return rc;
    ExecStatusType status = PQresultStatus(r);
    if (what == EXPECT_SYNC) {
        while (!r || status == PGRES_FATAL_ERROR) { /* the commit at the sync failed; the sync itself follows */
            if (r)
                note_failure(l, r, "", &l->broken);
            PQclear(r);
            r = NULL;
            rc = get_result(l, &r, err);
            if (rc < 0)
                return rc;
            status = PQresultStatus(r);
        }
        PQclear(r);
        if (status != PGRES_PIPELINE_SYNC)
            return lose(l, err, "an answer came out of turn");
    } else {
        rc = 0;
        if (status == PGRES_FATAL_ERROR) {
            note_failure(l, r, pg_stmts_text(&l->stmts, stmt), err);
            rc = err->code;
        } else if (status == PGRES_PIPELINE_ABORTED) {
            rc = err_set(err, ERR_INTERNAL, "an earlier statement of the round trip failed");
        } else if (status == PGRES_EMPTY_QUERY) {
            rc = err_set(err, ERR_INTERNAL, "not exactly one statement: %.80s", pg_stmts_text(&l->stmts, stmt));
        } else if (status != PGRES_TUPLES_OK && status != PGRES_COMMAND_OK) {
            rc = lose(l, err, "an answer came out of turn");
        }
        if (rc < 0 && what == EXPECT_PREPARE)
            pg_stmts_drop(&l->stmts, stmt);
        /* Each of these ends with a NULL. */
        PGresult *end = NULL;
        struct err ignored = ERR_INIT;
        if (!l->lost && get_result(l, &end, &ignored) >= 0 && end) {
            PQclear(end);
            lose(l, &ignored, "an answer came out of turn");
        }
        if (rc < 0 || what != EXPECT_ROWS)
            PQclear(r);
        else
            *ret = r;
    }
    l->first = (l->first + 1) % RING;
    l->n--;
    return rc;
}

/* Keeps the first failure of a round trip: those behind it only follow from it. */
static void note_broken(struct pg_link *l, const struct err *e)
{
    if (!l->broken.code)
        l->broken = *e;
}

/* ---- public ---- */

/* An unescaped '/' in a password ends up here, and libpq's complaint would repeat it. */
static bool has_good_port(const PQconninfoOption *o)
{
    for (; o->keyword; o++)
        if (strcmp(o->keyword, "port") == 0 && o->val)
            return o->val[strspn(o->val, "0123456789,")] == '\0';
    return true;
}

int pg_check_url(const char *url, struct err *err)
{
    char *said = NULL;
    PQconninfoOption *o = PQconninfoParse(url, &said);
    bool good = o && has_good_port(o);
    PQconninfoFree(o);
    PQfreemem(said); /* it may repeat a part of the password */
    if (good)
        return 0;
    return err_set(
        err, ERR_INVALID,
        "the PostgreSQL URL is malformed: it looks like postgresql://user:password@host:port/database?option="
        "value, with special characters in name and password written as %%XX, and only options libpq knows");
}

static void on_notice(void *arg, const PGresult *r)
{
    (void)arg;
    char text[300];
    const char *said = PQresultErrorField(r, PG_DIAG_MESSAGE_PRIMARY);
    pg_one_line(said ? said : "", text, sizeof text);
    log_debug(&lc, "the server says: %s", text);
}

static int send_setup(struct pg_link *l, const char *setup, struct err *err)
{
    if (!PQsendQuery(l->c, setup))
        return lose(l, err, "the connection was lost");
    int rc = flush(l, err), failed = 0;
    while (rc >= 0) {
        PGresult *r = NULL;
        rc = get_result(l, &r, err);
        if (rc < 0 || !r)
            break;
        ExecStatusType status = PQresultStatus(r);
        if (status != PGRES_COMMAND_OK && status != PGRES_TUPLES_OK) {
            pg_fail(r, "", err);
            failed = err->code;
        }
        PQclear(r);
    }
    return rc < 0 ? rc : failed;
}

/* A pooler may let us in and then have no server for us. */
static int run_setup(struct pg_link *l, const char *setup, struct err *err)
{
    int64_t ms = l->answer_ms;
    l->answer_ms = MIN(ms, (int64_t)SETUP_MS);
    int rc = send_setup(l, setup, err);
    l->answer_ms = ms;
    return rc;
}

int pg_open(const struct pg_opts *opts, struct pg_link **ret, struct err *err)
{
    int rc = pg_check_url(opts->url, err);
    if (rc < 0)
        return rc;
    /*
     * What stands before the URL are defaults that it may change. TCP_USER_TIMEOUT and keepalives find a peer that is
     * gone without a word; a connection that is only slow has answer_ms.
     */
    const char *const keys[] = {"connect_timeout",  "keepalives_idle",  "keepalives_interval",
                                "keepalives_count", "tcp_user_timeout", "fallback_application_name",
                                "dbname",           "client_encoding",  NULL};
    const char *const values[] = {"5", "30", "10", "3", "20000", opts->name, opts->url, "UTF8", NULL};
    struct pg_link *l = xcalloc(1, sizeof *l);
    l->answer_ms = opts->answer_ms;
    l->c = PQconnectdbParams(keys, values, 1);
    if (!l->c) {
        free(l);
        return err_set(err, ERR_NOMEM, "out of memory for a connection to PostgreSQL");
    }
    PQsetNoticeReceiver(l->c, on_notice, NULL);
    if (PQstatus(l->c) != CONNECTION_OK)
        rc = lose(l, err, "cannot connect");
    else if (PQsetnonblocking(l->c, 1) < 0)
        rc = lose(l, err, "cannot connect without blocking");
    else if (opts->setup)
        rc = run_setup(l, opts->setup, err);
    if (rc >= 0 && !PQenterPipelineMode(l->c))
        rc = lose(l, err, "cannot start a pipeline");
    if (rc < 0) {
        pg_close(l);
        return rc;
    }
    *ret = l;
    return 0;
}

void pg_close(struct pg_link *l)
{
    if (!l)
        return;
    PQfreemem(l->notice);
    PQfinish(l->c);
    pg_stmts_clear(&l->stmts);
    free(l);
}

bool pg_lost(const struct pg_link *l)
{
    return l->lost;
}

bool pg_silent(const struct pg_link *l)
{
    return l->silent;
}

bool pg_alive(struct pg_link *l)
{
    /* A farewell is a message and then the end of the stream: two looks. */
    for (int i = 0; i < 3 && !l->lost; i++) {
        struct pollfd p = {.fd = PQsocket(l->c), .events = POLLIN};
        if (poll(&p, 1, 0) <= 0)
            break;
        l->lost = !PQconsumeInput(l->c) || PQstatus(l->c) == CONNECTION_BAD;
    }
    return !l->lost;
}

void pg_abandon(struct pg_link *l)
{
    l->lost = true;
}

bool pg_stale(const struct pg_link *l)
{
    return l->stale;
}

bool pg_refused(const struct pg_link *l)
{
    return l->refused;
}

enum pg_remedy pg_remedy(const struct pg_link *l)
{
    return l->remedy;
}

void pg_set_answer_ms(struct pg_link *l, int64_t ms)
{
    l->answer_ms = ms;
}

int pg_note(const struct pg_link *l)
{
    return l->note;
}

void pg_set_note(struct pg_link *l, int note)
{
    l->note = note;
}

static int send_any(struct pg_link *l, const char *sql, const char *const *values, size_t n, enum expected what,
                    struct err *err)
{
    if (l->lost)
        return err_set(err, ERR_UNAVAILABLE, "the connection to PostgreSQL was lost");
    struct pg_use use;
    int rc = pg_stmts_use(&l->stmts, sql, n, &use, err);
    if (rc < 0)
        return rc;
    if (use.evicted[0]) {
        char text[64];
        snprintf(text, sizeof text, "DEALLOCATE %s", use.evicted);
        if (!PQsendQueryParams(l->c, text, 0, NULL, NULL, NULL, NULL, 0))
            return lose(l, err, "the connection was lost");
        rc = expect(l, EXPECT_QUIET, 0, err);
    }
    if (rc >= 0 && use.is_new) {
        if (!PQsendPrepare(l->c, use.name, sql, 0, NULL))
            return lose(l, err, "the connection was lost");
        rc = expect(l, EXPECT_PREPARE, use.stmt, err);
    }
    if (rc < 0)
        return rc;
    if (!PQsendQueryPrepared(l->c, use.name, (int)n, values, NULL, NULL, 0))
        return lose(l, err, "the connection was lost");
    return expect(l, what, use.stmt, err);
}

int pg_send(struct pg_link *l, const char *sql, const char *const *values, size_t n, struct err *err)
{
    return send_any(l, sql, values, n, EXPECT_ROWS, err);
}

int pg_send_quiet(struct pg_link *l, const char *sql, struct err *err)
{
    return send_any(l, sql, NULL, 0, EXPECT_QUIET, err);
}

int pg_sync(struct pg_link *l, struct err *err)
{
    if (l->lost)
        return err_set(err, ERR_UNAVAILABLE, "the connection to PostgreSQL was lost");
    if (!PQpipelineSync(l->c))
        return lose(l, err, "the connection was lost");
    int rc = expect(l, EXPECT_SYNC, 0, err);
    return rc < 0 ? rc : flush(l, err);
}

int pg_next(struct pg_link *l, struct pg_result **ret, struct err *err)
{
    l->remedy = PG_NO_REMEDY;
    while (l->n) {
        enum expected what;
        int rc = read_one(l, &what, ret, err);
        if (l->lost && rc < 0)
            return rc;
        switch (what) {
        case EXPECT_ROWS:
            if (rc >= 0 || !l->broken.code)
                return rc;
            *err = l->broken; /* the reason behind it */
            l->broken.code = 0;
            return err->code;
        case EXPECT_PREPARE:
        case EXPECT_QUIET:
            if (rc < 0)
                note_broken(l, err);
            break;
        case EXPECT_SYNC:
            l->broken.code = 0; /* of quiet statements only */
            break;
        }
    }
    return err_set(err, ERR_INTERNAL, "no statement is under way");
}

int pg_end(struct pg_link *l, struct err *err)
{
    while (l->n) {
        enum expected what;
        PGresult *r = NULL;
        struct err e = ERR_INIT;
        int rc = read_one(l, &what, &r, &e);
        if (rc >= 0)
            PQclear(r);
        if (l->lost && rc < 0) {
            *err = l->broken.code ? l->broken : e;
            return err->code;
        }
        if (rc < 0)
            note_broken(l, &e);
        if (what == EXPECT_SYNC && l->n)
            l->broken.code = 0; /* of an earlier round trip, which nobody waited for */
    }
    if (!l->broken.code)
        return 0;
    *err = l->broken;
    l->broken.code = 0;
    return err->code;
}

int pg_do(struct pg_link *l, const char *sql, struct err *err)
{
    l->remedy = PG_NO_REMEDY;
    int rc = pg_send_quiet(l, sql, err);
    if (rc >= 0)
        rc = pg_sync(l, err);
    return rc < 0 ? rc : pg_end(l, err);
}

/* ---- results ---- */

void pg_free(struct pg_result *r)
{
    PQclear(r);
}

size_t pg_rows(const struct pg_result *r)
{
    return (size_t)PQntuples(r);
}

size_t pg_cols(const struct pg_result *r)
{
    return (size_t)PQnfields(r);
}

/* libpq's older calls take a result that is not const; they change nothing. */
static PGresult *as_libpq(const struct pg_result *r)
{
    union {
        const struct pg_result *in;
        PGresult *out;
    } u = {.in = r};
    return u.out;
}

int64_t pg_changed(const struct pg_result *r)
{
    return strtoll(PQcmdTuples(as_libpq(r)), NULL, 10);
}

const char *pg_tag(const struct pg_result *r)
{
    return PQcmdStatus(as_libpq(r));
}

/* Numbers of built-in types (pg_type.h of the server), which never change. */
enum {
    OID_BOOL = 16,
    OID_INT8 = 20,
    OID_INT2 = 21,
    OID_INT4 = 23,
    OID_FLOAT4 = 700,
    OID_FLOAT8 = 701,
    OID_NUMERIC = 1700
};

enum pg_type pg_type(const struct pg_result *r, size_t row, size_t col)
{
    if (col >= pg_cols(r) || PQgetisnull(r, (int)row, (int)col))
        return PG_NULL;
    switch (PQftype(r, (int)col)) {
    case OID_INT2:
    case OID_INT4:
    case OID_INT8:
    case OID_NUMERIC: /* sums of BIGINT */
        return PG_INT;
    case OID_FLOAT4:
    case OID_FLOAT8:
        return PG_REAL;
    }
    return PG_TEXT;
}

const char *pg_text(const struct pg_result *r, size_t row, size_t col)
{
    return PQgetvalue(r, (int)row, (int)col);
}

int pg_notice(struct pg_link *l, const char **ret_payload, struct err *err)
{
    PQfreemem(TAKE(l->notice));
    if (l->lost)
        return err_set(err, ERR_UNAVAILABLE, "the connection to PostgreSQL was lost");
    l->notice = PQnotifies(l->c);
    if (!l->notice) {
        if (!PQconsumeInput(l->c) || PQstatus(l->c) == CONNECTION_BAD)
            return lose(l, err, "the connection was lost");
        l->notice = PQnotifies(l->c);
    }
    if (!l->notice)
        return 0;
    *ret_payload = l->notice->extra;
    return 1;
}

int pg_fd(const struct pg_link *l)
{
    return PQsocket(l->c);
}
