/* SPDX-License-Identifier: MIT */
#include "cli/output.h"

#include "base/io.h"
#include "base/mem.h"
#include "base/str.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

/* FOLDER/NAME.ENDING for an input of FOLDER2/NAME.EXT. */
static char *name_in(const char *folder, const char *input, const char *ending)
{
    const char *slash = strrchr(input, '/'), *name = slash ? slash + 1 : input, *dot = strrchr(name, '.');
    if (strcmp(input, "-") == 0)
        name = "stdin";
    size_t stem = dot && dot > name ? (size_t)(dot - name) : strlen(name);
    return xasprintf("%s/%.*s.%s", folder, (int)stem, name, ending);
}

char *output_path(const char *to, bool folder, const char *input, const char *ending)
{
    if (!to || strcmp(to, "-") == 0)
        return NULL;
    return folder ? name_in(to, input, ending) : xstrdup(to);
}

int output_open(struct output *o, const char *to, bool folder, const char *input, const char *ending, struct err *err)
{
    *o = (struct output){.fd = STDOUT_FILENO};
    char *path = output_path(to, folder, input, ending);
    int rc = path && folder ? io_mkdir_p(to, err) : 0;
    if (!path || rc < 0) {
        free(path);
        return rc;
    }
    o->path = path;
    o->temp = xasprintf("%s.%d.part", o->path, (int)getpid());
    o->fd = open(o->temp, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0666);
    return o->fd < 0 ? err_sys(err, errno, "cannot write '%s'", o->path) : 0;
}

int output_write(const void *data, size_t n, void *arg, struct err *err)
{
    struct output *o = arg;
    o->bytes += n;
    int rc = io_write_all(o->fd, data, n, err);
    return rc < 0 && o->path ? err_wrap(err, "'%s'", o->path) : rc;
}

int output_commit(struct output *o, struct err *err)
{
    if (!o->path)
        return 0;
    if (rename(o->temp, o->path) < 0)
        return err_sys(err, errno, "cannot write '%s'", o->path);
    free(o->temp);
    o->temp = NULL;
    return 0;
}

void output_clear(struct output *o)
{
    if (!o->path)
        return;
    close_fd(&o->fd);
    if (o->temp)
        unlink(o->temp);
    free(o->temp);
    free(o->path);
}

bool output_is_folder(const char *to, bool several)
{
    struct stat st;
    return to && (several || (stat(to, &st) == 0 && S_ISDIR(st.st_mode)));
}

void outputs_init(struct outputs *all, size_t most)
{
    *all = (struct outputs){.paths = xcalloc(MAX(most, 1), sizeof *all->paths)};
}

int outputs_claim(struct outputs *all, const char *path, const char *input, struct err *err)
{
    struct stat in, out;
    if (!path)
        return 0;
    if (stat(input, &in) == 0 && stat(path, &out) == 0 && in.st_dev == out.st_dev && in.st_ino == out.st_ino)
        return err_set(err, ERR_INVALID, "the transcript would overwrite the recording: give another --output");
    for (size_t i = 0; i < all->n; i++)
        if (str_eq(all->paths[i], path))
            return err_set(err, ERR_INVALID, "'%s' was just written for another recording: give another --output",
                           path);
    all->paths[all->n++] = xstrdup(path);
    return 0;
}

void outputs_clear(struct outputs *all)
{
    for (size_t i = 0; i < all->n; i++)
        free(all->paths[i]);
    free(all->paths);
}
