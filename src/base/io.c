/* SPDX-License-Identifier: MIT */
#include "base/io.h"

#include "base/buf.h"
#include "base/mem.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <unistd.h>

int io_write_all(int fd, const void *p, size_t n, struct err *err)
{
    const char *at = p;
    while (n) {
        ssize_t k = write(fd, at, n);
        if (k < 0) {
            if (errno == EINTR)
                continue;
            return err_sys(err, errno, "writing");
        }
        at += k;
        n -= (size_t)k;
    }
    return 0;
}

ssize_t io_read_full(int fd, void *p, size_t n, struct err *err)
{
    size_t have = 0;
    while (have < n) {
        ssize_t k = read(fd, (char *)p + have, n - have);
        if (k < 0) {
            if (errno == EINTR)
                continue;
            return err_sys(err, errno, "reading");
        }
        if (k == 0)
            break;
        have += (size_t)k;
    }
    return (ssize_t)have;
}

int io_read_file(const char *path, size_t max, char **ret, size_t *ret_len, struct err *err)
{
    CLEANUP(close_fd) int fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0)
        return err_sys(err, errno, "cannot open '%s'", path);
    CLEANUP(buf_clear) struct buf b = BUF_INIT(max);
    char piece[16384];
    while (buf_ok(&b)) { /* no further than the maximum: a file may be endless */
        ssize_t k = io_read_full(fd, piece, sizeof piece, err);
        if (k < 0)
            return err_wrap(err, "'%s'", path);
        if (k == 0)
            break;
        buf_add(&b, piece, (size_t)k);
    }
    int rc = buf_check(&b, path, err);
    if (rc < 0)
        return rc;
    size_t len = b.len;
    char *text = buf_take(&b);
    if (!text)
        return err_set(err, ERR_NOMEM, "no memory to read '%s'", path);
    *ret = text;
    if (ret_len)
        *ret_len = len;
    return 0;
}

int io_mkdir_p(const char *path, struct err *err)
{
    if (!*path)
        return err_set(err, ERR_INVALID, "a folder has no name");
    CLEANUP(free_p) char *p = xstrdup(path);
    for (char *slash = p; slash;) {
        slash = strchr(slash + 1, '/');
        if (slash)
            *slash = '\0';
        if (mkdir(p, 0700) < 0 && errno != EEXIST)
            return err_sys(err, errno, "cannot make folder '%s'", p);
        if (slash)
            *slash = '/';
    }
    struct stat st;
    if (stat(path, &st) < 0 || !S_ISDIR(st.st_mode))
        return err_set(err, ERR_INVALID, "'%s' is not a folder", path);
    return 0;
}

int io_sync_dir(const char *path, struct err *err)
{
    CLEANUP(close_fd) int fd = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (fd < 0 || fsync(fd) < 0)
        return err_sys(err, errno, "cannot sync folder '%s'", path);
    return 0;
}

static int remove_at(int dirfd, const char *name, struct err *err)
{
    if (unlinkat(dirfd, name, 0) == 0 || errno == ENOENT)
        return 0;
    int why = errno;
    if (why != EISDIR && why != EPERM)
        return err_sys(err, why, "cannot remove '%s'", name);
    int fd = openat(dirfd, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
    if (fd < 0 && errno == ENOTDIR) /* EPERM was about a file */
        return err_sys(err, why, "cannot remove '%s'", name);
    if (fd < 0)
        return err_sys(err, errno, "cannot open folder '%s'", name);
    DIR *d = fdopendir(fd);
    if (!d) {
        close(fd);
        return err_sys(err, errno, "cannot read folder '%s'", name);
    }
    int rc = 0;
    for (struct dirent *e; rc == 0 && (e = readdir(d));)
        if (strcmp(e->d_name, ".") != 0 && strcmp(e->d_name, "..") != 0)
            rc = remove_at(fd, e->d_name, err);
    closedir(d);
    if (rc == 0 && unlinkat(dirfd, name, AT_REMOVEDIR) < 0 && errno != ENOENT)
        rc = err_sys(err, errno, "cannot remove folder '%s'", name);
    return rc;
}

int io_remove_tree(const char *path, struct err *err)
{
    return remove_at(AT_FDCWD, path, err);
}

/* Of the file system that holds `path`. */
struct space {
    int64_t free, total;
};

static int look_at_space(const char *path, struct space *ret, struct err *err)
{
    struct statvfs v;
    if (statvfs(path, &v) < 0)
        return err_sys(err, errno, "cannot ask for free space at '%s'", path);
    *ret = (struct space){.free = (int64_t)v.f_bavail * (int64_t)v.f_frsize,
                          .total = (int64_t)v.f_blocks * (int64_t)v.f_frsize};
    return 0;
}

int io_free_bytes(const char *path, int64_t *ret, struct err *err)
{
    struct space s = {0};
    int rc = look_at_space(path, &s, err);
    if (rc == 0)
        *ret = s.free;
    return rc;
}

int io_room(const char *path, int64_t n, int64_t keep, struct err *err)
{
    struct space s = {0};
    int rc = look_at_space(path, &s, err);
    if (rc < 0 || n <= s.free - keep || s.total == 0) /* some file systems do not say */
        return rc;
    rc = n > s.total - keep && n > 0 ? ERR_TOO_LARGE : ERR_BUSY;
    if (n > 0)
        return err_set(err, rc, "%lld MB are free in '%s', and %lld MB are needed beside the %lld MB of min_free_disk",
                       (long long)(s.free >> 20), path, (long long)((n >> 20) + 1), (long long)(keep >> 20));
    return err_set(err, rc, "%lld MB are free in '%s', less than min_free_disk (%lld MB)", (long long)(s.free >> 20),
                   path, (long long)(keep >> 20));
}
