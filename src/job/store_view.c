/* SPDX-License-Identifier: MIT */
/*
 * Looking at one job, the most frequent question there is. To a database a statement costs more than a row, so those
 * who ask at the same time share one: a caller who finds a free leader's place goes at once, alone; while all places
 * are taken callers queue, and whoever has its answer hands its place with all that queued to the first of them.
 * Nothing is kept: each sees the row as it is when its statement runs, which is after it asked.
 */
#include "job/store_internal.h"

#include "base/thread.h"

#include <stdlib.h>
#include <string.h>

enum {
    SHARED_MAX = 16, /* questions of one statement: those of VIEW_SQL */
    LEADERS = 2,     /* statements at a time */
};

/* Lives on the stack of its caller until it is answered. */
struct view_call {
    const char *id;
    struct arena *arena;
    struct job_view view;
    bool found;
    struct err err;          /* what failed; code 0: nothing */
    bool answered;           /* guarded by mu, as the following */
    struct view_call *group; /* this caller is a leader, of these */
    struct view_call *next;
    pthread_cond_t wake;
};

struct views {
    const char *sql;
    pthread_mutex_t mu;
    struct view_call *first, **last; /* guarded by mu */
    unsigned leading;                /* guarded by mu */
};

#define JOB_FIELD_OF_JOBS(kind, name) "jobs." #name ", "
/* clang-format off */
#define VIEW_SQL(text)                                                                          \
    "SELECT " JOB_FIELDS(JOB_FIELD_OF_JOBS) "NULL, " RESULT_FIELDS(RESULT_FIELD_NAME) text " "  \
    "FROM jobs LEFT JOIN results ON results.job_id = jobs.id "                                  \
    "WHERE jobs.id IN ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15, $16)"
/* clang-format on */

#define X(kind, name) VIEW_##name,
enum { JOB_FIELDS(X) VIEW_plan, RESULT_COLUMN }; /* the first one of `results` */
#undef X

/* A row for all who asked for its job. */
static int on_view(const struct db_row *row, void *arg, struct err *err)
{
    const char *id = db_col_text(row, 0);
    (void)err;
    for (struct view_call *c = arg; c && id; c = c->next) {
        if (strcmp(c->id, id) != 0)
            continue;
        c->found = true;
        int rc = row_job(row, 0, c->arena, &c->view.job, &c->err);
        c->view.has_result = !db_col_is_null(row, RESULT_COLUMN);
        if (rc == 0 && c->view.has_result)
            rc = row_result(row, RESULT_COLUMN, c->arena, &c->view.result, &c->err);
        (void)rc; /* stands in c->err: the others' answers are good */
    }
    return 0;
}

static void ask(struct db *db, const char *sql, struct view_call *group)
{
    struct db_val ids[SHARED_MAX];
    size_t n = 0;
    for (struct view_call *c = group; c; c = c->next)
        ids[n++] = db_text(c->id);
    while (n < SHARED_MAX)
        ids[n++] = db_text(""); /* nobody's id */
    struct db_stmt stmt = {.sql = sql, .args = ids, .n_args = n, .row = on_view, .row_arg = group};
    struct err err = ERR_INIT;
    if (db_read_stmt(db, &stmt, &err) < 0)
        for (struct view_call *c = group; c; c = c->next)
            c->err = err;
}

static struct view_call *take_group_locked(struct views *v)
{
    struct view_call *group = v->first, *end = group;
    for (int n = 1; n < SHARED_MAX && end->next; n++)
        end = end->next;
    v->first = end->next;
    if (!v->first)
        v->last = &v->first;
    end->next = NULL;
    return group;
}

static void lead(struct views *v, struct db *db, struct view_call *me, struct view_call *group)
{
    ask(db, v->sql, group);
    pthread_mutex_lock(&v->mu);
    /* The owners need the mutex to leave: their calls stand until it is released. */
    for (struct view_call *c = group, *next; c; c = next) {
        next = c->next;
        c->answered = true;
        if (c != me)
            pthread_cond_signal(&c->wake);
    }
    if (v->first) {
        struct view_call *heir = v->first;
        heir->group = take_group_locked(v);
        pthread_cond_signal(&heir->wake);
    } else {
        v->leading--;
    }
    pthread_mutex_unlock(&v->mu);
}

struct views *views_new(bool with_text)
{
    struct views *v = xcalloc(1, sizeof *v);
    v->sql = with_text ? VIEW_SQL("results.text") : VIEW_SQL("NULL");
    pthread_mutex_init(&v->mu, NULL);
    v->last = &v->first;
    return v;
}

void views_free(struct views *v)
{
    if (!v)
        return;
    pthread_mutex_destroy(&v->mu);
    free(v);
}

int store_view(struct store *s, const char *id, bool with_text, struct arena *a, struct job_view *ret, struct err *err)
{
    struct views *v = s->views[with_text];
    struct view_call me = {.id = id, .arena = a, .err = ERR_INIT};
    cond_init(&me.wake);
    pthread_mutex_lock(&v->mu);
    if (v->leading < LEADERS) {
        v->leading++;
        me.group = &me;
    } else {
        *v->last = &me; /* it has left the queue again when this function returns */
        /* cppcheck-suppress autoVariables */
        v->last = &me.next;
    }
    while (!me.answered && !me.group)
        cond_wait_ms(&me.wake, &v->mu, -1);
    pthread_mutex_unlock(&v->mu);
    if (me.group)
        lead(v, s->db, &me, me.group);
    pthread_cond_destroy(&me.wake);
    if (me.err.code) {
        *err = me.err;
        return me.err.code;
    }
    if (!me.found)
        return store_no_job(id, err);
    *ret = me.view;
    return 0;
}
