/* SPDX-License-Identifier: MIT */
/*
 * Inside a container the path of our group may be the host's, which is not mounted there: walking up from it ends at
 * the root of what is mounted, which is the container's own group.
 */
#include "base/cgroup.h"

#include "base/io.h"
#include "base/mem.h"

#include <stdlib.h>
#include <string.h>

enum { FILE_MAX = 1 << 16 };

/* From `path` to the root of the hierarchy at `mount`. Cuts path. */
static void walk(const char *mount, char *path, bool v2, cgroup_fn fn, void *arg)
{
    for (;;) {
        CLEANUP(free_p) char *folder = xasprintf("%s%s", mount, path);
        fn(folder, v2, arg);
        char *slash = strrchr(path, '/');
        if (!slash || !*path)
            return;
        *slash = '\0';
    }
}

/* Does a list such as "cpu,cpuacct" name the controller? */
static bool lists(const char *list, const char *controller)
{
    for (const char *at = list; *at;) {
        size_t n = strcspn(at, ",");
        if (n == strlen(controller) && strncmp(at, controller, n) == 0)
            return true;
        at += n + (at[n] == ',');
    }
    return false;
}

void cgroup_walk(const char *mount, const char *group_file, const char *controller, cgroup_fn fn, void *arg)
{
    CLEANUP(free_p) char *text = NULL;
    struct err ignored = ERR_INIT;
    size_t len;
    if (io_read_file(group_file, FILE_MAX, &text, &len, &ignored) < 0)
        return;
    /* Lines "ID:CONTROLLERS:PATH"; version 2 is the one that names no controllers. */
    char *save = NULL;
    for (char *line = strtok_r(text, "\n", &save); line; line = strtok_r(NULL, "\n", &save)) {
        char *list = strchr(line, ':'), *path = list ? strchr(list + 1, ':') : NULL;
        if (!path)
            continue;
        *list++ = *path++ = '\0';
        bool v2 = !*list;
        if (!v2 && !lists(list, controller))
            continue;
        CLEANUP(free_p) char *root = v2 ? xstrdup(mount) : xasprintf("%s/%s", mount, list);
        walk(root, path, v2, fn, arg);
    }
}
