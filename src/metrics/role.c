/* SPDX-License-Identifier: MIT */
#include "metrics/role.h"

#include "base/io.h"
#include "base/mem.h"
#include "base/str.h"
#include "metrics/page.h"

#include <dirent.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <unistd.h>

enum metric_id {
#define X(name, type, help) METRIC_##name,
    ROLE_METRICS(X)
#undef X
};

static const struct metric infos[] = {
#define X(name, type, help) {#name, type, help},
    ROLE_METRICS(X)
#undef X
};

#define INFO(name) (&infos[METRIC_##name])

static int64_t cpu_ms(int who)
{
    struct rusage u;
    if (getrusage(who, &u) < 0)
        return 0;
    return (int64_t)(u.ru_utime.tv_sec + u.ru_stime.tv_sec) * 1000 + (u.ru_utime.tv_usec + u.ru_stime.tv_usec) / 1000;
}

/* Pages that are mapped, and those in RAM. */
static void read_memory(int64_t *ret_mapped, int64_t *ret_resident)
{
    char text[128];
    CLEANUP(close_fd) int fd = open("/proc/self/statm", O_RDONLY | O_CLOEXEC);
    ssize_t n = fd < 0 ? -1 : read(fd, text, sizeof text - 1);
    if (n <= 0)
        return;
    text[n] = '\0';
    char *save = NULL, *mapped = strtok_r(text, " ", &save), *resident = strtok_r(NULL, " ", &save);
    int64_t page = sysconf(_SC_PAGESIZE), pages;
    if (mapped && str_to_i64(mapped, &pages))
        *ret_mapped = pages * page;
    if (resident && str_to_i64(resident, &pages))
        *ret_resident = pages * page;
}

static int64_t open_fds(void)
{
    DIR *d = opendir("/proc/self/fd");
    int64_t n = -1; /* the one of the list itself */
    if (!d)
        return 0;
    for (const struct dirent *e; (e = readdir(d));)
        n += e->d_name[0] != '.';
    closedir(d);
    return n;
}

static int64_t max_fds(void)
{
    struct rlimit r;
    return getrlimit(RLIMIT_NOFILE, &r) < 0 ? 0 : (int64_t)MIN(r.rlim_cur, (rlim_t)INT64_MAX);
}

static void write_process(struct buf *b, int64_t started_at)
{
    int64_t mapped = 0, resident = 0;
    read_memory(&mapped, &resident);
    metric_only_milli(b, INFO(process_cpu_seconds_total), cpu_ms(RUSAGE_SELF));
    metric_only_milli(b, INFO(steno_children_cpu_seconds_total), cpu_ms(RUSAGE_CHILDREN));
    metric_only(b, INFO(process_resident_memory_bytes), resident);
    metric_only(b, INFO(process_virtual_memory_bytes), mapped);
    metric_only(b, INFO(process_open_fds), open_fds());
    metric_only(b, INFO(process_max_fds), max_fds());
    metric_only_milli(b, INFO(process_start_time_seconds), started_at);
}

void role_metrics_write(struct buf *b, const struct role_figures *f)
{
    metric_head(b, INFO(steno_build_info));
    metric_int(b, INFO(steno_build_info), METRIC_LABELS({"version", f->version}, {"role", f->role}), 1);
    metric_only(b, INFO(steno_database_connections_max), f->database_max);
    metric_only(b, INFO(steno_database_connections_open), f->database_open);
    metric_only(b, INFO(steno_database_connections_busy), f->database_busy);
    metric_only(b, INFO(steno_database_connections_waiting), f->database_waiting);
    metric_head(b, INFO(steno_storage_errors_total));
    for (size_t i = 0; i < f->n_storage_errors; i++)
        metric_int(b, INFO(steno_storage_errors_total), METRIC_LABELS({"operation", f->storage_errors[i].name}),
                   f->storage_errors[i].n);
    write_process(b, f->started_at);
}
