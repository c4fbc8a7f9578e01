/* SPDX-License-Identifier: MIT */
/*
 * A thread waits on a signalfd: reading files and allocating is nothing for a signal handler. Everything that a role
 * was started with stays as it was; only the process-wide log settings are replaced, so no lock is needed.
 */
#include "cli/reload.h"

#include "base/mem.h"
#include "base/str.h"
#include "base/thread.h"
#include "cli/role.h"

#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/eventfd.h>
#include <sys/signalfd.h>
#include <unistd.h>

struct reload {
    struct app *app;
    int hup_fd, stop_fd;
    pthread_t thread;
};

void reload_log_setup(const struct conf *conf)
{
    enum log_level level = LOG_INFO;
    if (log_level_parse(conf->log_level, &level))
        log_setup(level, str_eq(conf->log_format, "json"));
}

void reload_now(const struct app *app)
{
    struct conf_load_opts sources = app_conf_sources(app);
    struct err err = ERR_INIT;
    struct conf *fresh = NULL;
    if (conf_reload(app->conf, &sources, &fresh, &err) < 0) {
        log_warn(&app->log, "SIGHUP: settings stay as they were: %s", err.msg);
        return;
    }
    reload_log_setup(fresh);
    /* Under a supervisor that one says it. */
    const char *note;
    for (size_t i = 0; !role_supervised() && (note = conf_note(fresh, i)); i++)
        log_info(&app->log, "%s", note);
    log_info(&app->log, "SIGHUP: settings were read again");
    conf_free(fresh);
}

static void *reload_main(void *arg)
{
    struct reload *r = arg;
    for (;;) {
        struct pollfd fds[] = {{.fd = r->hup_fd, .events = POLLIN}, {.fd = r->stop_fd, .events = POLLIN}};
        if (poll(fds, ARRAY_LEN(fds), -1) < 0)
            continue;
        if (fds[1].revents)
            return NULL;
        struct signalfd_siginfo info;
        if (read(r->hup_fd, &info, sizeof info) == sizeof info)
            reload_now(r->app);
    }
}

int reload_start(struct app *app, struct reload **ret, struct err *err)
{
    sigset_t hup;
    sigemptyset(&hup);
    sigaddset(&hup, SIGHUP);
    pthread_sigmask(SIG_BLOCK, &hup, NULL);
    struct reload *r = xcalloc(1, sizeof *r);
    r->app = app;
    r->hup_fd = signalfd(-1, &hup, SFD_CLOEXEC);
    r->stop_fd = eventfd(0, EFD_CLOEXEC);
    int rc = r->hup_fd < 0 || r->stop_fd < 0 ? err_sys(err, errno, "cannot wait for SIGHUP")
                                             : thread_start(&r->thread, "reload", reload_main, r, err);
    if (rc < 0) {
        close_fd(&r->hup_fd);
        close_fd(&r->stop_fd);
        free(r);
        return rc;
    }
    *ret = r;
    return 0;
}

void reload_stop(struct reload *r)
{
    if (!r)
        return;
    uint64_t one = 1;
    if (write(r->stop_fd, &one, sizeof one) != sizeof one)
        abort(); /* an eventfd takes it always */
    pthread_join(r->thread, NULL);
    close_fd(&r->hup_fd);
    close_fd(&r->stop_fd);
    free(r);
}
