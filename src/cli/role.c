/* SPDX-License-Identifier: MIT */
#include "cli/role.h"

#include "base/buf.h"
#include "base/io.h"
#include "base/log.h"
#include "base/str.h"
#include "cli/server_url.h"

#include <errno.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/prctl.h>
#include <unistd.h>

static bool env_int(const char *name, int64_t *ret)
{
    const char *text = getenv(name);
    return text && str_to_i64(text, ret);
}

bool role_supervised(void)
{
    int64_t pid;
    return env_int(ROLE_ENV_SUPERVISOR, &pid);
}

int role_start(struct err *err)
{
    int64_t pid;
    if (!env_int(ROLE_ENV_SUPERVISOR, &pid))
        return 0;
    if (prctl(PR_SET_PDEATHSIG, SIGTERM) < 0)
        return err_sys(err, errno, "cannot watch the supervisor");
    /* It may have died before the line above. */
    if (getppid() != (pid_t)pid)
        return err_set(err, ERR_UNAVAILABLE, "the supervisor (pid %lld) is gone", (long long)pid);
    return 0;
}

int role_ready(const struct conf *conf, const char *const *addresses, const char *const *direct, struct err *err)
{
    static const struct log_ctx lc = {.component = "api"};
    CLEANUP(buf_clear) struct buf text = BUF_INIT(65536);
    for (size_t i = 0; addresses[i]; i++)
        buf_addf(&text, "%s\n", addresses[i]);
    for (size_t i = 0; direct[i]; i++)
        buf_addf(&text, ROLE_DIRECT "%s\n", direct[i]);
    int rc = buf_check(&text, "the list of addresses", err);
    if (rc < 0)
        return rc;
    /* A convenience for commands on this machine: a full disk is no reason not to serve. */
    struct err unknown = ERR_INIT;
    if (addresses[0] && server_url_publish(conf, addresses[0], &unknown) < 0)
        log_warn(&lc, "commands on this machine will not find this server by themselves (use --server): %s",
                 unknown.msg);

    int64_t fd;
    if (!env_int(ROLE_ENV_READY, &fd)) {
        for (size_t i = 0; addresses[i]; i++)
            log_info(&lc, "listening on %s", addresses[i]);
        for (size_t i = 0; direct[i]; i++)
            log_info(&lc, "direct service listening on %s", direct[i]);
        return 0;
    }
    rc = io_write_all((int)fd, text.data, text.len, err);
    close((int)fd);
    return rc;
}

void role_gone(const struct conf *conf, const char *const *addresses)
{
    if (addresses[0])
        server_url_withdraw(conf, addresses[0]);
}
