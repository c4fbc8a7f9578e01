/* SPDX-License-Identifier: MIT */
/* What those ask who watch jobs: often, about many, and mostly nothing has changed. Reads only. */
#include "job/store_internal.h"

#include <string.h>

struct stands_call {
    const char *const *ids;
    size_t n;
    struct job_stand *stands;
};

static int on_stand(const struct db_row *row, void *arg, struct err *err)
{
    const struct stands_call *c = arg;
    const char *id = db_col_text(row, 0);
    struct job_stand x = {.found = true, .seq = db_col_int(row, 2)};
    if (!id || !job_state_parse(db_col_text(row, 1), &x.state))
        return err_set(err, ERR_CORRUPT, "job %s has a state this program does not know", id ? id : "?");
    for (size_t i = 0; i < c->n; i++)
        if (strcmp(c->ids[i], id) == 0)
            c->stands[i] = x;
    return 0;
}

#define IDS_1  "$1,$2,$3,$4,$5,$6,$7,$8,$9,$10,$11,$12,$13,$14,$15,$16,"
#define IDS_17 "$17,$18,$19,$20,$21,$22,$23,$24,$25,$26,$27,$28,$29,$30,$31,$32"

int store_stands(struct store *s, const char *const *ids, size_t n, struct job_stand *ret, struct err *err)
{
    struct job_stand stands[STORE_STANDS_MAX] = {{0}};
    struct stands_call c = {.ids = ids, .n = n, .stands = stands};
    struct db_val args[STORE_STANDS_MAX];
    if (!n || n > STORE_STANDS_MAX)
        return n ? err_set(err, ERR_INTERNAL, "%zu jobs asked for at once", n) : 0;
    /* One text, however many are asked for: it is prepared once. */
    for (size_t i = 0; i < STORE_STANDS_MAX; i++)
        args[i] = db_text(ids[MIN(i, n - 1)]);
    struct db_stmt stmt = {.sql = "SELECT id, state, seq FROM jobs WHERE id IN (" IDS_1 IDS_17 ")",
                           .args = args,
                           .n_args = STORE_STANDS_MAX,
                           .row = on_stand,
                           .row_arg = &c};
    int rc = db_read_stmt(s->db, &stmt, err);
    if (rc < 0)
        return rc;
    memcpy(ret, stands, n * sizeof *ret);
    return 0;
}
