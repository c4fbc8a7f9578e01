/* SPDX-License-Identifier: MIT */
/* steno migrate up, status. Every command that uses jobs migrates by itself; these are for looking and for doing it
 * early. */
#include "base/clock.h"
#include "cli/app.h"
#include "db/migrate.h"

int cmd_migrate_up(struct app *app, int argc, char **argv, struct err *err)
{
    (void)argc;
    (void)argv;
    int applied = 0, rc = migrate_up(app->db, &applied, err);
    if (rc < 0)
        return rc;
    CLEANUP(buf_clear) struct buf b = BUF_INIT(4096);
    if (applied)
        buf_addf(&b, "%d migration%s applied.\n", applied, applied == 1 ? "" : "s");
    else
        buf_adds(&b, "The database is up to date.\n");
    return app_print(&b, err);
}

struct listing {
    struct buf b;
    int pending;
};

static void add_row(const struct migration_state *m, void *arg)
{
    struct listing *l = arg;
    char when[TIME_ISO_SIZE] = "pending";
    if (m->applied)
        time_iso(m->applied_at, when);
    else
        l->pending++;
    buf_addf(&l->b, "%04d  %-24s  %s\n", m->version, m->name, when);
}

int cmd_migrate_status(struct app *app, int argc, char **argv, struct err *err)
{
    (void)argc;
    (void)argv;
    struct listing l = {.b = BUF_INIT(1 << 20)};
    int rc = migrate_status(app->db, add_row, &l, err);
    if (rc < 0) {
        /* The list helps to see what is wrong; the reason for the failure is what gets reported. */
        struct err ignored = ERR_INIT;
        (void)!app_print(&l.b, &ignored);
    } else {
        rc = app_print(&l.b, err);
    }
    buf_clear(&l.b);
    return rc < 0 ? rc : l.pending ? STATUS_FAILED : STATUS_OK;
}
