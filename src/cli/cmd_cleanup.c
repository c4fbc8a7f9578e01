/* SPDX-License-Identifier: MIT */
/*
 * steno cleanup: first jobs that ended long ago (row, then objects: a kill in between leaves orphans, never a row
 * without its objects), then objects without a row, then leftovers of broken uploads.
 *
 * A dry run takes the same way and only counts.
 */
#include "base/clock.h"
#include "base/id.h"
#include "base/stop.h"
#include "base/str.h"
#include "cli/app.h"
#include "job/store.h"
#include "storage/storage.h"

#include <string.h>

enum { PAGE = 200, ORPHANS_AT_A_TIME = 1000, DAY_MS = 86400000 };

struct cleanup {
    struct app *app;
    bool dry;
    int64_t now_ms, before_ms;
    int64_t jobs, orphans, leftovers, bytes;
};

struct keys {
    struct cleanup *c;
    struct arena a;
    const char *v[ORPHANS_AT_A_TIME];
    int64_t sizes[ORPHANS_AT_A_TIME];
    size_t n;
    bool orphans; /* only those without a row */
};

/* Keys are collected first: nothing promises that a listing goes on well while its objects vanish. */
static int collect(const char *key, const struct object_info *info, void *arg, struct err *err)
{
    struct keys *k = arg;
    if (k->n == ORPHANS_AT_A_TIME)
        return 1;
    if (k->orphans) {
        bool wanted = true;
        /* Younger ones may belong to an upload whose row is about to come. */
        if (info->modified_ms >= k->c->now_ms - k->c->app->conf->upload_time_limit)
            return 0;
        int rc = store_key_wanted(k->c->app->store, key, &wanted, err);
        if (rc < 0 || wanted)
            return rc < 0 ? rc : 0;
    }
    k->v[k->n] = arena_strdup(&k->a, key);
    if (!k->v[k->n])
        return err_set(err, ERR_NOMEM, "no memory for a list of objects");
    k->sizes[k->n++] = info->size;
    return 0;
}

/* Removes (or counts) what lies under a prefix, at most ORPHANS_AT_A_TIME; *ret_full: there may be more. */
static int remove_some(struct cleanup *c, const char *prefix, bool orphans, bool *ret_full, int64_t *count,
                       struct err *err)
{
    struct keys *k = xcalloc(1, sizeof *k);
    *k = (struct keys){.c = c, .a = ARENA_INIT, .orphans = orphans};
    int rc = storage_list(c->app->storage, prefix, collect, k, err);
    for (size_t i = 0; i < k->n && rc >= 0; i++) {
        if (!c->dry)
            rc = storage_delete(c->app->storage, k->v[i], err);
        if (rc >= 0) {
            *count += 1;
            c->bytes += k->sizes[i];
        }
    }
    *ret_full = k->n == ORPHANS_AT_A_TIME;
    arena_clear(&k->a);
    free_p(&k);
    return rc;
}

static int remove_all(struct cleanup *c, const char *prefix, bool orphans, int64_t *count, struct err *err)
{
    bool full = true;
    int rc = 0;
    /* A dry run would see the same ones again. */
    for (bool first = true; rc >= 0 && full && (first || !c->dry) && !stop_requested(); first = false)
        rc = remove_some(c, prefix, orphans, &full, count, err);
    return rc;
}

static int remove_job(struct cleanup *c, const char *id, struct err *err)
{
    int rc = c->dry ? 0 : store_purge(c->app->store, id, err);
    if (rc == ERR_NOT_FOUND || rc == ERR_CONFLICT)
        return 0; /* purged or retried by somebody else meanwhile */
    if (rc < 0)
        return rc;
    c->jobs++;
    static const char *const roots[] = {"uploads", "results"};
    for (size_t i = 0; i < ARRAY_LEN(roots) && rc >= 0; i++) {
        CLEANUP(free_p) char *prefix = xasprintf("%s/%s/", roots[i], id);
        int64_t objects = 0;
        rc = remove_all(c, prefix, false, &objects, err);
    }
    return rc;
}

static int remove_jobs(struct cleanup *c, struct err *err)
{
    char cursor[1024] = "";
    for (bool more = true; more && !stop_requested();) {
        CLEANUP(arena_clear) struct arena a = ARENA_INIT;
        struct job_filter f = {.any_state = true, .limit = PAGE, .cursor = *cursor ? cursor : NULL};
        struct job_page page;
        int rc = store_list(c->app->store, &f, &a, &page, err);
        for (size_t i = 0; rc >= 0 && i < page.n && !stop_requested(); i++) {
            const struct job *j = &page.jobs[i];
            if (job_state_terminal(j->state) && j->finished_at < c->before_ms)
                rc = remove_job(c, j->id, err);
        }
        if (rc < 0)
            return rc;
        more = page.next && strlen(page.next) < sizeof cursor;
        if (more)
            memcpy(cursor, page.next, strlen(page.next) + 1);
    }
    return 0;
}

int cmd_cleanup(struct app *app, int argc, char **argv, struct err *err)
{
    (void)argc;
    (void)argv;
    struct cleanup c = {.app = app, .dry = app_has(app, "dry-run"), .now_ms = clock_wall_ms()};
    const char *older = app_flag(app, "older-than");
    int64_t age;
    if (!older)
        return err_set(err, ERR_INVALID, "say how old: steno cleanup --older-than 30d");
    if (!str_to_duration_ms(older, DAY_MS, &age))
        return err_set(err, ERR_INVALID, "--older-than takes a time such as 30d or 12h, not '%s'", older);
    c.before_ms = c.now_ms - age;
    int rc = remove_jobs(&c, err);
    if (rc >= 0)
        rc = remove_all(&c, "uploads/", true, &c.orphans, err);
    if (rc >= 0)
        rc = remove_all(&c, "results/", true, &c.orphans, err);
    int leftovers = 0;
    if (rc >= 0 && !c.dry)
        rc = storage_sweep(app->storage, c.now_ms - app->conf->upload_time_limit, &leftovers, err);
    if (rc < 0)
        return rc;
    CLEANUP(buf_clear) struct buf b = BUF_INIT(4096);
    buf_addf(&b, "%s: jobs %lld, objects without a job %lld, leftovers of uploads %d; %.1f MB\n",
             c.dry ? "would remove" : "removed", (long long)c.jobs, (long long)c.orphans, leftovers,
             (double)c.bytes / 1e6);
    if (stop_requested())
        return err_set(err, ERR_CANCELLED, "interrupted; what was removed so far stays removed");
    return app_print(&b, err);
}
