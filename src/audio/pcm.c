/* SPDX-License-Identifier: MIT */
/* One unlinked file: gone with the process, however it ends. */
#include "audio/pcm.h"

#include "base/mem.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdlib.h>
#include <unistd.h>

struct pcm {
    int fd;
    int64_t length; /* samples */
};

static int open_unlinked(const char *folder, struct err *err)
{
    int fd = open(folder, O_TMPFILE | O_RDWR | O_CLOEXEC, 0600);
    if (fd >= 0)
        return fd;
    /* Some file systems have no O_TMPFILE; the errno they give for it varies, so any failure tries the old way. */
    CLEANUP(free_p) char *path = xasprintf("%s/pcm-XXXXXX", folder);
    fd = mkostemp(path, O_CLOEXEC);
    if (fd < 0)
        return err_sys(err, errno, "cannot make a temporary file in '%s'", folder);
    unlink(path);
    return fd;
}

int pcm_new(const char *folder, struct pcm **ret, struct err *err)
{
    int fd = open_unlinked(folder, err);
    if (fd < 0)
        return fd;
    struct pcm *p = xcalloc(1, sizeof *p);
    p->fd = fd;
    *ret = p;
    return 0;
}

int pcm_append(struct pcm *p, const int16_t *samples, size_t n, struct err *err)
{
    const char *at = (const char *)samples;
    size_t left = n * sizeof *samples;
    off_t offset = (off_t)p->length * (off_t)sizeof *samples;
    while (left > 0) {
        ssize_t k = pwrite(p->fd, at, left, offset);
        if (k < 0 && errno == EINTR)
            continue;
        if (k < 0) {
            err_sys(err, errno, "cannot spool decoded audio");
            err->code = ERR_UNAVAILABLE; /* whatever the disk says: another try, or another machine, may do better */
            return err->code;
        }
        at += k;
        offset += k;
        left -= (size_t)k;
    }
    p->length += (int64_t)n;
    return 0;
}

int64_t pcm_length(const struct pcm *p)
{
    return p->length;
}

int pcm_read(const struct pcm *p, struct span s, int16_t *ret, struct err *err)
{
    if (s.start < 0 || s.end < s.start || s.end > p->length)
        return err_set(err, ERR_INTERNAL, "samples %" PRId64 " to %" PRId64 " are outside a recording of %" PRId64,
                       s.start, s.end, p->length);
    char *at = (char *)ret;
    size_t left = (size_t)(s.end - s.start) * sizeof *ret;
    off_t offset = (off_t)s.start * (off_t)sizeof *ret;
    while (left > 0) {
        ssize_t k = pread(p->fd, at, left, offset);
        if (k < 0 && errno == EINTR)
            continue;
        if (k < 0)
            return err_sys(err, errno, "cannot read spooled audio");
        if (k == 0)
            return err_set(err, ERR_INTERNAL, "the spooled audio is shorter than was written");
        at += k;
        offset += k;
        left -= (size_t)k;
    }
    return 0;
}

void pcm_free(struct pcm *p)
{
    if (!p)
        return;
    close(p->fd);
    free(p);
}
