/* SPDX-License-Identifier: MIT */
/*
 * Threads: one for each core (base/cpu.h). Waiting: for a moment in a loop, because the parts of a decoder step take
 * some ten microseconds each and sleeping in between would double them; then asleep, so that a waiting worker costs
 * nothing. Not bound to cores: that gained nothing here, and a bound thread must wait for whatever else runs on its
 * core. What the user has set stays.
 */
#include "whisper/openmp.h"

#include "base/cpu.h"
#include "base/mem.h"
#include "base/stop.h"
#include "base/str.h"

#include <errno.h>
#include <omp.h>
#include <sched.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* Says that this is the second start; its value is the process, so that a child of it begins anew. */
#define ENV_STARTED "STENO_OPENMP"

/*
 * With OMP_PROC_BIND the library has put this thread on one processor while the program was loaded, and every thread
 * and child of ours would inherit that: takes it back. Teams are still bound, each when it first runs.
 */
static void unbind(void)
{
    cpu_set_t set;
    CPU_ZERO(&set);
    for (int place = 0; place < omp_get_num_places(); place++) {
        int n = omp_get_place_num_procs(place);
        CLEANUP(free_p) int *ids = xcalloc((size_t)n + 1, sizeof *ids);
        omp_get_place_proc_ids(place, ids);
        for (int i = 0; i < n; i++)
            CPU_SET((size_t)ids[i], &set);
    }
    if (CPU_COUNT(&set) && sched_setaffinity(0, sizeof set, &set) < 0) {
        /* Slower, no worse. */
    }
}

struct setting {
    const char *name, *value;
    bool overwrite;
};

/* Does an entry "NAME=value" set this name? */
static bool sets(const char *entry, const char *name)
{
    size_t n = strlen(name);
    return strncmp(entry, name, n) == 0 && entry[n] == '=';
}

/* Our environment with these settings; its strings and the list itself live until the process ends in exec. */
static char **environment(const struct setting *settings, size_t n)
{
    size_t had = 0, at = 0;
    while (environ[had])
        had++;
    char **ret = xcalloc(had + n + 1, sizeof *ret);
    for (size_t i = 0; i < had; i++) {
        bool replaced = false;
        for (size_t k = 0; k < n; k++)
            replaced |= settings[k].overwrite && sets(environ[i], settings[k].name);
        if (!replaced)
            ret[at++] = environ[i];
    }
    for (size_t k = 0; k < n; k++)
        if (settings[k].overwrite || !getenv(settings[k].name))
            ret[at++] = xasprintf("%s=%s", settings[k].name, settings[k].value);
    return ret;
}

int openmp_start(unsigned threads, char **argv, struct err *err)
{
    unbind();
    CLEANUP(free_p) char *me = xasprintf("%ld", (long)getpid());
    CLEANUP(free_p) char *count = xasprintf("%u", threads ? threads : cpu_cores());
    if (str_eq(getenv(ENV_STARTED), me))
        return 0;
    const struct setting settings[] = {
        {ENV_STARTED, me, true},           {"OMP_NUM_THREADS", count, threads != 0}, {"OMP_DYNAMIC", "false", false},
        {"OMP_PROC_BIND", "false", false}, {"GOMP_SPINCOUNT", "100000", false},
    };
    stop_hold();
    if (stop_requested()) { /* exec would forget it, and a process that is stopping needs no speed */
        stop_release();
        return 0;
    }
    execve("/proc/self/exe", argv, environment(settings, ARRAY_LEN(settings)));
    return err_sys(err, errno, "cannot start again with OpenMP's settings");
}
