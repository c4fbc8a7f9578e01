/* SPDX-License-Identifier: MIT */
/*
 * MemAvailable of /proc/meminfo, and for each group from ours up to the root memory.max less memory.current (files in
 * the page cache that nobody uses count as free: the kernel gives them up). Version 2 of control groups; in version 1
 * the limit of the memory controller's root is what a container sees.
 */
#include "base/available.h"

#include "base/io.h"
#include "base/macros.h"
#include "base/mem.h"

#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { FILE_MAX = 65536 };

/* The content, "" when it cannot be read. Caller frees. */
static char *slurp(const char *folder, const char *name)
{
    CLEANUP(free_p) char *path = xasprintf("%s/%s", folder, name);
    CLEANUP(close_fd) int fd = open(path, O_RDONLY | O_CLOEXEC);
    struct err ignored = ERR_INIT;
    char *text = xcalloc(1, FILE_MAX + 1);
    if (fd < 0 || io_read_full(fd, text, FILE_MAX, &ignored) < 0)
        text[0] = '\0';
    return text;
}

/* The number behind `key` at the start of a line; -1: there is none. */
static int64_t number_of(const char *text, const char *key)
{
    size_t n = strlen(key);
    for (const char *line = text; *line;) {
        if (strncmp(line, key, n) == 0) {
            char *end;
            long long v = strtoll(line + n, &end, 10);
            return end != line + n && v >= 0 ? v : -1;
        }
        line += strcspn(line, "\n");
        line += *line == '\n';
    }
    return -1;
}

/* Limit, use, and what of the use can be given up; INT64_MAX without a limit. */
static int64_t left_of(const char *folder, const char *limit_name, const char *used_name)
{
    CLEANUP(free_p) char *limit_text = slurp(folder, limit_name), *used_text = slurp(folder, used_name);
    CLEANUP(free_p) char *stat = slurp(folder, "memory.stat");
    int64_t limit = number_of(limit_text, ""), used = number_of(used_text, ""); /* "max" is no number */
    if (limit < 0 || used < 0)
        return INT64_MAX;
    int64_t idle_files = MAX(number_of(stat, "inactive_file "), (int64_t)0);
    return MAX(limit - used + MIN(idle_files, used), (int64_t)0);
}

int64_t available_memory_in(const char *proc, const char *cgroup)
{
    CLEANUP(free_p) char *meminfo = slurp(proc, "meminfo"), *groups = slurp(proc, "self/cgroup");
    int64_t kib = number_of(meminfo, "MemAvailable:");
    int64_t left = kib >= 0 ? kib * 1024 : INT64_MAX;
    CLEANUP(free_p) char *v1 = xasprintf("%s/memory", cgroup);
    left = MIN(left, left_of(v1, "memory.limit_in_bytes", "memory.usage_in_bytes"));
    char *own = strncmp(groups, "0::", 3) == 0 ? groups + 3 : strstr(groups, "\n0::");
    if (own && own != groups + 3)
        own += 4;
    if (!own)
        return left;
    own[strcspn(own, "\n")] = '\0';
    CLEANUP(free_p) char *folder = xasprintf("%s%s", cgroup, own);
    for (size_t root = strlen(cgroup);;) {
        left = MIN(left, left_of(folder, "memory.max", "memory.current"));
        char *slash = strrchr(folder, '/');
        if (!slash || (size_t)(slash - folder) < root)
            return left;
        *slash = '\0';
    }
}

int64_t available_memory(void)
{
    return available_memory_in("/proc", "/sys/fs/cgroup");
}
