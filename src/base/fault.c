/* SPDX-License-Identifier: MIT */
#include "base/fault.h"

#ifdef STENO_FAULTS
#include "base/clock.h"
#include "base/mem.h"

#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#endif

const char *fault_name(enum fault_point p)
{
    static const char *const names[] = {
#define X(name) #name,
        FAULT_POINTS(X)
#undef X
    };
    return p < FAULT_COUNT ? names[p] : "?";
}

#ifdef STENO_FAULTS

/* True once per test run: the file is the memory that outlives a killed process. */
static bool first_time(const char *point)
{
    const char *dir = getenv("STENO_FAULT_DIR");
    if (!dir)
        return true;
    CLEANUP(free_p) char *path = xasprintf("%s/%s", dir, point);
    CLEANUP(close_fd) int fd = open(path, O_CREAT | O_EXCL | O_WRONLY | O_CLOEXEC, 0600);
    return fd >= 0;
}

static int act(const char *point, const char *action, struct err *err)
{
    if (strcmp(action, "kill") == 0)
        raise(SIGKILL);
    else if (strcmp(action, "stop") == 0)
        raise(SIGSTOP);
    else if (strncmp(action, "sleep:", 6) == 0)
        clock_sleep_ms(atoll(action + 6));
    else if (strcmp(action, "fail") == 0)
        return err_set(err, ERR_UNAVAILABLE, "injected fault at %s", point);
    else {
        fprintf(stderr, "steno: STENO_FAULT: unknown action '%s'\n", action);
        abort();
    }
    return 0;
}

int fault_hit(enum fault_point p, struct err *err)
{
    const char *spec = getenv("STENO_FAULT"), *name = fault_name(p);
    if (!spec)
        return 0;
    CLEANUP(free_p) char *copy = xstrdup(spec);
    char *save = NULL;
    for (char *item = strtok_r(copy, ",", &save); item; item = strtok_r(NULL, ",", &save)) {
        char *eq = strchr(item, '=');
        if (!eq)
            continue;
        *eq = '\0';
        if (strcmp(item, name) == 0 && first_time(name))
            return act(name, eq + 1, err);
    }
    return 0;
}

#endif
