/* SPDX-License-Identifier: MIT */
#include "cli/input.h"

#include "base/io.h"
#include "base/mem.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

static int interrupted(struct err *err)
{
    return err_set(err, ERR_CANCELLED, "interrupted");
}

/* A pipe cannot be read by the decoder, which has to seek: all of it goes to a temporary file first. */
static int spool(int from, const char *path, const struct cancel *cancel, struct err *err)
{
    CLEANUP(close_fd) int to = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
    if (to < 0)
        return err_sys(err, errno, "cannot write '%s'", path);
    char block[65536];
    for (;;) {
        struct pollfd fds[] = {{.fd = from, .events = POLLIN}, {.fd = stop_fd(), .events = POLLIN}};
        if (poll(fds, 2, -1) < 0 && errno != EINTR)
            return err_sys(err, errno, "waiting for input");
        if (cancel_is_set(cancel) || stop_requested())
            return interrupted(err);
        ssize_t n = read(from, block, sizeof block);
        if (n == 0)
            return 0;
        if (n < 0 && errno != EINTR && errno != EAGAIN)
            return err_sys(err, errno, "reading input");
        int rc = n > 0 ? io_write_all(to, block, (size_t)n, err) : 0;
        if (rc < 0)
            return err_wrap(err, "keeping the input in '%s'", path);
    }
}

int input_find(const char *file, const char *folder, const struct cancel *cancel, char **ret, bool *ret_temp,
               struct err *err)
{
    CLEANUP(close_fd) int fd = -1;
    struct stat st;
    *ret_temp = false;
    int from = STDIN_FILENO;
    if (strcmp(file, "-") != 0) {
        if (stat(file, &st) < 0)
            return err_sys(err, errno, "cannot read it");
        if (S_ISDIR(st.st_mode))
            return err_set(err, ERR_INVALID, "it is a folder, not a recording");
        if (S_ISREG(st.st_mode)) {
            *ret = xstrdup(file);
            return 0;
        }
        from = fd = open(file, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
        if (fd < 0)
            return err_sys(err, errno, "cannot read it");
    } else if (isatty(STDIN_FILENO)) {
        return err_set(err, ERR_INVALID, "'-' reads a recording from standard input, but that is a terminal");
    }
    *ret = xasprintf("%s/input", folder);
    *ret_temp = true;
    return spool(from, *ret, cancel, err);
}
