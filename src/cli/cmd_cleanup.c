/* SPDX-License-Identifier: MIT */
/*
 * steno cleanup: first what the settings, or --older-than, do not want to be kept (worker/retention.h), then objects
 * without a row, then leftovers of broken uploads: what the workers' sweepers do, now and to the end.
 *
 * A dry run only counts. What it would leave without a row does not count among the objects that have none now.
 */
#include "base/clock.h"
#include "base/id.h"
#include "base/stop.h"
#include "base/str.h"
#include "cli/app.h"
#include "job/store.h"
#include "storage/storage.h"
#include "worker/retention.h"

enum { ORPHANS_AT_A_TIME = 1000, DAY_MS = 86400000 };

struct cleanup {
    struct app *app;
    bool dry;
    int64_t now_ms;
    struct retention_counts kept;
    int64_t orphans, bytes;
};

struct keys {
    struct cleanup *c;
    struct arena a;
    const char *v[ORPHANS_AT_A_TIME];
    int64_t sizes[ORPHANS_AT_A_TIME];
    size_t n;
};

/* Keys are collected first: nothing promises that a listing goes on well while its objects vanish. */
static int collect(const char *key, const struct object_info *info, void *arg, struct err *err)
{
    struct keys *k = arg;
    if (k->n == ORPHANS_AT_A_TIME)
        return 1;
    bool wanted = true;
    /* Younger ones may belong to an upload whose row is about to come. */
    if (info->modified_ms >= k->c->now_ms - k->c->app->conf->upload_time_limit)
        return 0;
    int rc = store_key_wanted(k->c->app->store, key, &wanted, err);
    if (rc < 0 || wanted)
        return rc < 0 ? rc : 0;
    k->v[k->n] = arena_strdup(&k->a, key);
    if (!k->v[k->n])
        return err_set(err, ERR_NOMEM, "no memory for a list of objects");
    k->sizes[k->n++] = info->size;
    return 0;
}

/* Removes (or counts) what lies under a prefix without a row, at most ORPHANS_AT_A_TIME; *ret_full: there may be more.
 */
static int remove_some(struct cleanup *c, const char *prefix, bool *ret_full, struct err *err)
{
    struct keys *k = xcalloc(1, sizeof *k);
    *k = (struct keys){.c = c, .a = ARENA_INIT};
    int rc = storage_list(c->app->storage, prefix, collect, k, err);
    for (size_t i = 0; i < k->n && rc >= 0; i++) {
        if (!c->dry)
            rc = storage_delete(c->app->storage, k->v[i], err);
        if (rc >= 0) {
            c->orphans++;
            c->bytes += k->sizes[i];
        }
    }
    *ret_full = k->n == ORPHANS_AT_A_TIME;
    arena_clear(&k->a);
    free_p(&k);
    return rc;
}

static int remove_orphans(struct cleanup *c, const char *prefix, struct err *err)
{
    bool full = true;
    int rc = 0;
    /* A dry run would see the same ones again. */
    for (bool first = true; rc >= 0 && full && (first || !c->dry) && !stop_requested(); first = false)
        rc = remove_some(c, prefix, &full, err);
    return rc;
}

/* What the settings do not keep; jobs not longer than --older-than. */
static int read_retention(const struct app *app, struct retention *ret, struct err *err)
{
    const char *older = app_flag(app, "older-than");
    int64_t age;
    app_retention(app->conf, ret);
    if (!older)
        return 0;
    if (!str_to_duration_ms(older, DAY_MS, &age))
        return err_set(err, ERR_INVALID, "--older-than takes a time such as 30d or 12h, not '%s'", older);
    if (ret->jobs_ms < 0 || age < ret->jobs_ms)
        ret->jobs_ms = age;
    return 0;
}

static int remove_old(struct cleanup *c, const struct retention *r, struct err *err)
{
    if (c->dry)
        return retention_count(r, c->app->store, &c->kept, err);
    return retention_run(r, c->app->store, c->app->storage, INT64_MAX, &c->kept, err);
}

int cmd_cleanup(struct app *app, int argc, char **argv, struct err *err)
{
    (void)argc;
    (void)argv;
    struct cleanup c = {.app = app, .dry = app_has(app, "dry-run"), .now_ms = clock_wall_ms()};
    struct retention r;
    int rc = read_retention(app, &r, err);
    if (rc >= 0)
        rc = remove_old(&c, &r, err);
    if (rc >= 0)
        rc = remove_orphans(&c, "uploads/", err);
    if (rc >= 0)
        rc = remove_orphans(&c, "results/", err);
    int leftovers = 0;
    if (rc >= 0 && !c.dry)
        rc = storage_sweep(app->storage, c.now_ms - app->conf->upload_time_limit, &leftovers, err);
    if (rc < 0)
        return rc;
    CLEANUP(buf_clear) struct buf b = BUF_INIT(4096);
    buf_addf(&b,
             "%s: jobs %lld, of others transcripts %lld and recordings %lld, objects without a job %lld (%.1f MB), "
             "leftovers of uploads %d\n",
             c.dry ? "would remove" : "removed", (long long)c.kept.jobs, (long long)c.kept.results,
             (long long)c.kept.audio, (long long)c.orphans, (double)c.bytes / 1e6, leftovers);
    if (stop_requested())
        return err_set(err, ERR_CANCELLED, "interrupted; what was removed so far stays removed");
    return app_print(&b, err);
}
