/* SPDX-License-Identifier: MIT */
/*
 * steno serve: the whole service on one machine; steno direct: the same, with no listener but that of the direct
 * service. Opens no back end: the schema is brought up to date by a child too, so that an error there is said once and
 * nothing is started.
 */
#include "base/log.h"
#include "base/mem.h"
#include "base/proc.h"
#include "base/str.h"
#include "cli/app.h"
#include "cli/flags.h"
#include "cli/lock.h"
#include "cli/reload.h"
#include "cli/role.h"
#include "cli/server_url.h"
#include "cli/supervisor.h"

#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>

/* Beyond drain_timeout: for handing back, and for closing back ends. */
enum { WORKER_GRACE_MS = 15000, API_DRAIN_MS = 20000, MIGRATE_MS = 600000, MAX_ARGS = 60 };

#define LISTEN_FLAG    "--listen="
#define DIRECT_FLAG    "--direct-listen="
#define DIRECT_DEFAULT "127.0.0.1:8001"

enum { DOOR_MAIN, DOOR_DIRECT, DOOR_COUNT };

struct serve {
    struct app *app;
    /* The ports in use, so that a restarted api takes the same ones; NULL: as it is set. */
    char *listen_flags[DOOR_COUNT];
    const char *extra[DOOR_COUNT + 1];
    bool announced;
};
_Static_assert(DOOR_COUNT <= (int)SUPERVISOR_EXTRA_MAX, "raise SUPERVISOR_EXTRA_MAX");

/* `text`: one address a line. */
static int api_ready(char *text, void *arg, struct err *err)
{
    struct serve *s = arg;
    CLEANUP(buf_clear) struct buf out = BUF_INIT(131072);
    CLEANUP(buf_clear) struct buf main_flag = BUF_INIT(65536);
    CLEANUP(buf_clear) struct buf direct_flag = BUF_INIT(65536);
    struct buf *flags[DOOR_COUNT] = {&main_flag, &direct_flag};
    char *save = NULL;
    for (char *line = strtok_r(text, "\n", &save); line; line = strtok_r(NULL, "\n", &save)) {
        bool direct = str_starts(line, ROLE_DIRECT);
        const char *address = direct ? line + strlen(ROLE_DIRECT) : line;
        struct buf *flag = flags[direct ? DOOR_DIRECT : DOOR_MAIN];
        buf_adds(&out, direct ? "steno: direct service listening on " : "steno: listening on ");
        server_url_add(&out, address);
        buf_adds(&out, "\n");
        buf_addf(flag, "%s%s", flag->len ? "," : direct ? DIRECT_FLAG : LISTEN_FLAG, address);
    }
    buf_addf(&out, "steno: data in %s\n", s->app->conf->data);
    for (size_t i = 0; i < DOOR_COUNT; i++) {
        int rc = buf_check(flags[i], "the list of addresses", err);
        if (rc < 0)
            return rc;
        if (!flags[i]->len)
            continue;
        free(s->listen_flags[i]);
        s->listen_flags[i] = buf_take(flags[i]);
    }
    if (s->announced) {
        log_info(&s->app->log, "api is back");
        return 0;
    }
    s->announced = true;
    return app_print(&out, err);
}

static const char *const *api_flags(void *arg)
{
    struct serve *s = arg;
    size_t n = 0;
    for (size_t i = 0; i < DOOR_COUNT; i++)
        if (s->listen_flags[i])
            s->extra[n++] = s->listen_flags[i];
    s->extra[n] = NULL;
    return s->extra;
}

static void hangup(void *arg)
{
    const struct serve *s = arg;
    reload_now(s->app);
}

/* Runs `steno migrate up` with our flags; its exit status. */
static int migrate(char **flags, struct err *err)
{
    const char *argv[MAX_ARGS] = {"steno", "migrate", "up"};
    for (size_t n = 3; *flags; flags++, n++) {
        if (n >= MAX_ARGS - 1)
            return err_set(err, ERR_INVALID, "too many flags: put them into a configuration file");
        argv[n] = *flags;
    }
    struct proc *p = NULL;
    int status = 0, rc = proc_spawn(&(struct proc_opts){.argv = argv, .keep_stderr = true}, &p, err);
    if (rc < 0)
        return rc;
    rc = proc_wait(p, MIGRATE_MS, &status, err);
    proc_free(p);
    if (rc < 0)
        return rc;
    if (rc == 0)
        return err_set(err, ERR_TIMEOUT, "bringing the database up to date takes too long");
    return WIFEXITED(status) ? WEXITSTATUS(status) : STATUS_FAILED;
}

/* Settings and --config again as flags, for the children. */
static char **child_flags(const struct app *app)
{
    size_t n = 0, k = 0;
    while (app->flags->conf[n])
        n++;
    char **list = xcalloc(n + 2, sizeof *list);
    if (app->flags->config)
        list[k++] = xasprintf("--" CONFIG_FLAG "=%s", app->flags->config);
    for (size_t i = 0; i < n; i++)
        list[k++] = xasprintf("--%s", app->flags->conf[i]);
    return list;
}

static int serve(struct serve *s, struct err *err)
{
    struct app *app = s->app;
    const struct role roles[] = {
        {"worker", app->conf->drain_timeout + WORKER_GRACE_MS, NULL, NULL},
        {"api", API_DRAIN_MS, api_ready, api_flags},
    };
    CLEANUP(close_fd) int lock = -1;
    app_log_notes(app);
    int rc = lock_data(app->conf->data, &lock, err);
    if (rc < 0)
        return rc;
    char **flags = child_flags(app);
    rc = migrate(flags, err);
    if (rc == 0) {
        const struct supervisor_opts opts = {
            .roles = roles, .n_roles = ARRAY_LEN(roles), .flags = flags, .hangup = hangup, .arg = s};
        rc = supervisor_run(&opts, err);
    }
    for (char **f = flags; *f; f++)
        free(*f);
    free(flags);
    for (size_t i = 0; i < DOOR_COUNT; i++)
        free(s->listen_flags[i]);
    return rc;
}

int cmd_serve(struct app *app, int argc, char **argv, struct err *err)
{
    (void)argc;
    (void)argv;
    return serve(&(struct serve){.app = app}, err);
}

int cmd_direct(struct app *app, int argc, char **argv, struct err *err)
{
    (void)argc;
    (void)argv;
    struct serve s = {.app = app};
    s.listen_flags[DOOR_MAIN] = xstrdup(LISTEN_FLAG "none");
    if (!*app->conf->direct_listen)
        s.listen_flags[DOOR_DIRECT] = xstrdup(DIRECT_FLAG DIRECT_DEFAULT);
    return serve(&s, err);
}
