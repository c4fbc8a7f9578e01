/* SPDX-License-Identifier: MIT */
/* The kernel says three things: the affinity mask, which processors share a core (sysfs), and the groups' quotas. */
#include "base/cpu.h"

#include "base/cgroup.h"
#include "base/io.h"
#include "base/mem.h"
#include "base/str.h"

#include <sched.h>
#include <stdlib.h>
#include <string.h>

enum { FILE_MAX = 1 << 16 };

/* The number at the start of *text, which moves on behind it; false when there is none. */
static bool number(const char **text, int64_t *ret)
{
    char *end;
    *ret = strtoll(*text, &end, 10);
    bool found = end != *text;
    *text = end;
    return found;
}

/* The first numbers of a small file, "0-1" or "0,4" or "100000 50000"; false when there are not `n`. */
static bool numbers_of(const char *path, int64_t *ret, size_t n)
{
    CLEANUP(free_p) char *text = NULL;
    struct err ignored = ERR_INIT;
    size_t len;
    if (io_read_file(path, FILE_MAX, &text, &len, &ignored) < 0)
        return false;
    const char *at = text;
    for (size_t i = 0; i < n; i++)
        if (!number(&at, &ret[i]))
            return false;
    return true;
}

unsigned cpu_cores_in(const char *sys, const int *cpus, unsigned n_cpus)
{
    /* A core goes by its first thread, which may be outside the mask; -1: not known, a core of its own. */
    CLEANUP(free_p) int64_t *core = xcalloc(n_cpus + 1, sizeof *core);
    unsigned cores = 0;
    for (unsigned i = 0; i < n_cpus; i++) {
        CLEANUP(free_p)
        char *path = xasprintf("%s/devices/system/cpu/cpu%d/topology/thread_siblings_list", sys, cpus[i]);
        bool seen = false;
        if (!numbers_of(path, &core[i], 1))
            core[i] = -1;
        for (unsigned k = 0; k < i && core[i] >= 0 && !seen; k++)
            seen = core[k] == core[i];
        cores += !seen;
    }
    return MAX(cores, 1u);
}

/* Quota over period of one group, rounded up; 0: none. `v2`: one file "QUOTA PERIOD", else two files. */
static unsigned group_quota(const char *folder, bool v2)
{
    CLEANUP(free_p) char *quota = xasprintf("%s/%s", folder, v2 ? "cpu.max" : "cpu.cfs_quota_us");
    CLEANUP(free_p) char *period = xasprintf("%s/cpu.cfs_period_us", folder);
    int64_t v[2];
    /* "max 100000" begins with no number. */
    bool found = v2 ? numbers_of(quota, v, 2) : numbers_of(quota, &v[0], 1) && numbers_of(period, &v[1], 1);
    return found && v[0] > 0 && v[1] > 0 ? (unsigned)MIN((v[0] + v[1] - 1) / v[1], 65536) : 0;
}

static void keep_least(const char *folder, bool v2, void *arg)
{
    unsigned *least = arg, quota = group_quota(folder, v2);
    if (quota && (!*least || quota < *least))
        *least = quota;
}

unsigned cpu_quota_in(const char *cgroup, const char *group_file)
{
    unsigned least = 0;
    cgroup_walk(cgroup, group_file, "cpu", keep_least, &least);
    return least;
}

unsigned cpu_cores(void)
{
    cpu_set_t set;
    int cpus[CPU_SETSIZE];
    unsigned n = 0;
    if (sched_getaffinity(0, sizeof set, &set) < 0)
        return 1;
    for (int i = 0; i < CPU_SETSIZE; i++)
        if (CPU_ISSET(i, &set))
            cpus[n++] = i;
    unsigned cores = cpu_cores_in("/sys", cpus, n), quota = cpu_quota_in("/sys/fs/cgroup", "/proc/self/cgroup");
    return quota && quota < cores ? quota : cores;
}
