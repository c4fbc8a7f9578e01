/* SPDX-License-Identifier: MIT */
/* A short name to a path, in one place: the commands and the engine mean the same file by the same name. */
#include "whisper/whisper.h"

#include "base/str.h"

#include <dirent.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

static bool is_file(const char *path)
{
    struct stat st;
    return stat(path, &st) == 0 && S_ISREG(st.st_mode);
}

static bool is_folder_of_model(const char *path)
{
    CLEANUP(free_p) char *config = xasprintf("%s/config.json", path);
    return is_file(config);
}

int whisper_find_model(const char *folder, const char *name, char **ret, struct err *err)
{
    struct stat st;
    if (strchr(name, '/')) {
        if (stat(name, &st) < 0)
            return err_sys(err, errno, "cannot open model '%s'", name);
        *ret = xstrdup(name);
        return 0;
    }
    if (!name[0] || name[0] == '.')
        return err_set(err, ERR_INVALID, "'%.60s' is no name of a model: it is one like base.en, or a path with a '/'",
                       name);
    for (int i = 0; i < 3; i++) {
        char *path = i == 0   ? xasprintf("%s/ggml-%s.bin", folder, name)
                     : i == 1 ? xasprintf("%s/%s.bin", folder, name)
                              : xasprintf("%s/%s", folder, name);
        if (i < 2 || str_ends(name, ".bin") ? is_file(path) : is_folder_of_model(path)) {
            *ret = path;
            return 0;
        }
        free(path);
    }
    return err_set(err, ERR_NOT_FOUND,
                   "there is no model '%.60s' in '%s': get one with 'steno model pull', or give a path with a '/'",
                   name, folder);
}

static int by_text(const void *a, const void *b)
{
    return strcmp(*(char *const *)a, *(char *const *)b);
}

int whisper_list_models(const char *folder, whisper_list_fn fn, void *arg, struct err *err)
{
    enum { MAX_LISTED = 4096 };
    DIR *dir = opendir(folder);
    if (!dir)
        return errno == ENOENT ? 0 : err_sys(err, errno, "cannot read the model folder '%s'", folder);
    char **paths = xcalloc(MAX_LISTED, sizeof *paths);
    size_t n = 0;
    for (const struct dirent *e; n < MAX_LISTED && (e = readdir(dir));) {
        char *path = xasprintf("%s/%s", folder, e->d_name);
        if (e->d_name[0] != '.' && (str_ends(e->d_name, ".bin") ? is_file(path) : is_folder_of_model(path)))
            paths[n++] = path;
        else
            free(path);
    }
    closedir(dir);
    qsort(paths, n, sizeof *paths, by_text);
    int rc = 0;
    for (size_t i = 0; i < n; i++) {
        if (rc == 0)
            rc = fn(paths[i], arg, err);
        free(paths[i]);
    }
    free(paths);
    return rc;
}
