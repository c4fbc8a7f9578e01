/* SPDX-License-Identifier: MIT */
#include "base/fault.h"

#ifdef STENO_FAULTS
#include "base/clock.h"
#include "base/mem.h"
#include "base/str.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#endif

const char *fault_name(enum fault_point p)
{
    static const char *const names[] = {
#define X(name) #name,
        FAULT_POINTS(X) FAULT_OPERATIONS(X)
#undef X
    };
    return p < FAULT_COUNT ? names[p] : "?";
}

#ifdef STENO_FAULTS

/* A mistake in a test must not look like a fault that did not fire. */
static _Noreturn void bad_spec(const char *what, const char *item)
{
    fprintf(stderr, "steno: STENO_FAULT: %s in '%s'\n", what, item);
    abort();
}

/* True once per test run: the file is the memory that outlives a killed process. */
static bool first_time(const char *point)
{
    const char *dir = getenv("STENO_FAULT_DIR");
    if (!dir)
        return true;
    CLEANUP(free_p) char *path = xasprintf("%s/%s", dir, point);
    CLEANUP(close_fd) int fd = open(path, O_CREAT | O_EXCL | O_WRONLY | O_CLOEXEC, 0600);
    if (fd < 0 && errno != EEXIST)
        bad_spec("cannot write to STENO_FAULT_DIR", path);
    return fd >= 0;
}

/* Cuts "@N" off the action; 0: none. */
static int64_t which_pass(char *action)
{
    char *at = strchr(action, '@');
    int64_t n = 0;
    if (at && (!str_to_i64(at + 1, &n) || n < 1))
        bad_spec("no number behind '@'", action);
    if (at)
        *at = '\0';
    return n;
}

static int act(const char *point, const char *action, struct err *err)
{
    int64_t ms;
    if (strcmp(action, "kill") == 0)
        raise(SIGKILL);
    else if (strcmp(action, "stop") == 0)
        raise(SIGSTOP);
    else if (str_starts(action, "sleep:") && str_to_i64(action + strlen("sleep:"), &ms))
        clock_sleep_ms(ms);
    else if (strcmp(action, "fail") == 0)
        return err_set(err, ERR_UNAVAILABLE, "injected fault at %s", point);
    else
        bad_spec("unknown action", action);
    return 0;
}

static bool known(const char *name)
{
    for (int p = 0; p < FAULT_COUNT; p++)
        if (strcmp(fault_name((enum fault_point)p), name) == 0)
            return true;
    return false;
}

int fault_hit(enum fault_point p, struct err *err)
{
    static atomic_llong passes[FAULT_COUNT];
    int64_t pass = atomic_fetch_add(&passes[p], 1) + 1;
    const char *spec = getenv("STENO_FAULT"), *name = fault_name(p);
    CLEANUP(free_p) char *copy = xstrdup(spec ? spec : "");
    int rc = 0;
    for (char *item = copy, *next; *item && rc == 0; item = next) {
        size_t n = strcspn(item, ",");
        next = item + n + (item[n] == ',');
        item[n] = '\0';
        char *eq = strchr(item, '=');
        if (!eq)
            bad_spec("no '='", item);
        *eq = '\0';
        if (!known(item))
            bad_spec("unknown point", item);
        int64_t only = which_pass(eq + 1);
        if (strcmp(item, name) == 0 && (!only || only == pass) && first_time(name))
            rc = act(name, eq + 1, err);
    }
    return rc;
}

#endif
