/* SPDX-License-Identifier: MIT */
/* The file is never removed: a second server could lock the removed one while a third makes a new one. */
#include "cli/lock.h"

#include "base/io.h"
#include "base/mem.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <unistd.h>

static int held(const char *folder, const char *path, struct err *err)
{
    CLEANUP(free_p) char *text = NULL;
    struct err none = ERR_INIT;
    if (io_read_file(path, 64, &text, NULL, &none) < 0 || !*text)
        return err_set(err, ERR_CONFLICT, "the data folder '%s' is in use by another 'steno serve'", folder);
    return err_set(
        err, ERR_CONFLICT,
        "the data folder '%s' is in use by another 'steno serve' (pid %.*s): stop that one, or choose another "
        "folder with --data",
        folder, (int)strcspn(text, "\n"), text);
}

int lock_data(const char *folder, int *ret_fd, struct err *err)
{
    CLEANUP(free_p) char *path = xasprintf("%s/lock", folder);
    CLEANUP(close_fd) int fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
    if (fd < 0)
        return err_sys(err, errno, "cannot open '%s'", path);
    if (flock(fd, LOCK_EX | LOCK_NB) < 0)
        return errno == EWOULDBLOCK ? held(folder, path, err) : err_sys(err, errno, "cannot lock '%s'", path);
    char text[32];
    int n = snprintf(text, sizeof text, "%d\n", (int)getpid());
    if (ftruncate(fd, 0) < 0)
        return err_sys(err, errno, "cannot write '%s'", path);
    int rc = io_write_all(fd, text, (size_t)n, err);
    if (rc < 0)
        return rc;
    *ret_fd = fd;
    fd = -1;
    return 0;
}
