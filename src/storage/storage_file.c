/* SPDX-License-Identifier: MIT */
/*
 * Objects as files: key "uploads/1/a.mp3" is the file <folder>/uploads/1/a.mp3.
 *
 * A write goes to <folder>/.tmp/<id>, is synced, and is renamed to its place; then the folder it came into is synced,
 * and on the way there every folder above it (another process may have made one of them and not synced it yet). So a
 * reader sees the old object or the new one, and after a power cut what was committed is there. Without syncing
 * (storage_sync) the same, but for the power cut.
 *
 * Nothing outside the folder can be reached: keys hold no ".." (storage_key.c), and paths are walked one part at a time
 * without following links, so that a link planted in the folder is not an object and not a folder.
 *
 * Deleting the last object of a folder removes the folder. A commit that is about to rename into it finds it gone
 * (ENOENT) and makes it again.
 *
 * Temp files are locked (flock) while they are written: the sweep tells one that a crash left behind from one of a slow
 * upload by whether it gets the lock. Objects have mode 0400: nothing ever changes one in place, which is what makes
 * handing them out as hard links safe.
 */
#include "storage/storage_ops.h"

#include "base/id.h"
#include "base/io.h"
#include "base/mem.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <unistd.h>

#define TEMP_FOLDER ".tmp"

enum {
    FOLDER_FLAGS = O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC,
    /* Without waiting: a FIFO put in an object's place must not hold a reader. */
    OBJECT_FLAGS = O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_NOCTTY | O_CLOEXEC,
    COMMIT_TRIES = 1000, /* each lost to a delete that emptied the folder at that moment */
    PIECE = 32768,
};

/* Immutable after open, so any thread may use it. */
struct file_storage {
    struct storage base;
    char *folder;  /* for sentences */
    int root, tmp; /* descriptors of the two folders */
    bool no_sync;
};

struct file_put {
    struct storage_put base;
    int fd;
    char temp[ID_SIZE]; /* name in .tmp */
    char key[];
};

struct file_get {
    struct storage_get base;
    int fd;
};

static struct file_storage *of(struct storage *s)
{
    return CONTAINER_OF(s, struct file_storage, base);
}

/* A failed system call as an error: trouble with the disk or its rights may pass, so it is UNAVAILABLE. */
static int fail(const struct file_storage *s, int sys, const char *what, struct err *err)
{
    if (sys == ENOSPC || sys == EDQUOT || sys == EFBIG) {
        const char *why = sys == EFBIG ? "the limit on file sizes is reached" : "disk full";
        err_set(err, ERR_UNAVAILABLE, "%s: no room in storage folder '%s'; free some space there", why, s->folder);
        err->sys = sys;
        return ERR_UNAVAILABLE;
    }
    int code = err_sys(err, sys, "%s in storage folder '%s' failed", what, s->folder);
    if (code != ERR_NOMEM)
        code = err->code = ERR_UNAVAILABLE;
    return code;
}

static const char *leaf_of(const char *key)
{
    const char *slash = strrchr(key, '/');
    return slash ? slash + 1 : key;
}

static int sync_fd(const struct file_storage *s, int fd)
{
    return s->no_sync ? 0 : fsync(fd);
}

/* The folder that holds the last part of `key`; with `make`, its folders are made where missing and synced. Returns a
 * descriptor or -errno. */
static int open_parent(const struct file_storage *s, const char *key, bool make)
{
    int at = fcntl(s->root, F_DUPFD_CLOEXEC, 0);
    if (at < 0)
        return -errno;
    const char *part = key;
    for (const char *slash; (slash = strchr(part, '/')); part = slash + 1) {
        char name[STORAGE_PART_MAX + 1];
        size_t n = MIN((size_t)(slash - part), sizeof name - 1); /* longer parts are no keys */
        memcpy(name, part, n);
        name[n] = '\0';
        int next = -1;
        if (!make || mkdirat(at, name, 0700) == 0 || errno == EEXIST)
            next = openat(at, name, FOLDER_FLAGS);
        int sys = next < 0 || (make && sync_fd(s, at) < 0) ? errno : 0;
        close(at);
        if (sys) {
            close_fd(&next);
            return -sys;
        }
        at = next;
    }
    return at;
}

/* Removes the folders of `key` that are empty, the deepest first; the root stays. */
static void prune(const struct file_storage *s, const char *key)
{
    char folder[STORAGE_KEY_MAX + 1];
    snprintf(folder, sizeof folder, "%s", key);
    for (char *slash; (slash = strrchr(folder, '/'));) {
        *slash = '\0';
        int dir = open_parent(s, folder, false);
        if (dir < 0)
            continue; /* gone already: look at the one above */
        bool gone = unlinkat(dir, leaf_of(folder), AT_REMOVEDIR) == 0 || errno == ENOENT;
        close(dir);
        if (!gone)
            return;
    }
}

static int64_t modified_ms(const struct stat *st)
{
    return (int64_t)st->st_mtim.tv_sec * 1000 + st->st_mtim.tv_nsec / 1000000;
}

/* A link, folder, socket or missing path of any kind is simply no object. */
static int no_object(const struct file_storage *s, int sys, struct err *err)
{
    if (sys == ENOENT || sys == ENOTDIR || sys == ELOOP || sys == ENXIO || sys == EISDIR)
        return err_set(err, ERR_NOT_FOUND, "no such object");
    return fail(s, sys, "reading", err);
}

/* A descriptor of the object. */
static int open_object(const struct file_storage *s, const char *key, struct stat *ret, struct err *err)
{
    int dir = open_parent(s, key, false);
    if (dir < 0)
        return no_object(s, -dir, err);
    int fd = openat(dir, leaf_of(key), OBJECT_FLAGS), sys = errno;
    close(dir);
    if (fd < 0)
        return no_object(s, sys, err);
    struct stat st;
    int rc = 0;
    if (fstat(fd, &st) < 0)
        rc = fail(s, errno, "reading", err);
    else if (!S_ISREG(st.st_mode))
        rc = no_object(s, ENOENT, err);
    if (rc < 0) {
        close(fd);
        return rc;
    }
    *ret = st;
    return fd;
}

/* The folder is new: its name must survive a power cut as well. Best effort: a folder above may not be ours to open. */
static void sync_folders_above(const char *path)
{
    CLEANUP(free_p) char *p = xstrdup(path);
    struct err ignored = ERR_INIT;
    for (char *slash; (slash = strrchr(p, '/')) && slash > p;) {
        *slash = '\0';
        if (io_sync_dir(p, &ignored) < 0)
            return;
    }
}

static void file_close(struct storage *base)
{
    struct file_storage *s = of(base);
    close_fd(&s->root);
    close_fd(&s->tmp);
    free(s->folder);
    free(s);
}

static int file_open(const struct storage_opts *o, const char *rest, struct storage **ret, struct err *err)
{
    if (rest[0] != '/' || (rest[1] == '/' && rest[2] != '/'))
        return err_set(err, ERR_INVALID, "the storage URL needs an absolute folder: file:/absolute/folder");
    struct file_storage *s = xcalloc(1, sizeof *s);
    s->folder = xstrdup(rest);
    s->no_sync = o->no_sync;
    s->tmp = -1;
    s->root = open(rest, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    int rc = 0;
    if (s->root < 0 && errno == ENOENT) {
        rc = io_mkdir_p(rest, err);
        if (rc < 0)
            goto failed;
        sync_folders_above(rest);
        s->root = open(rest, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    }
    if (s->root < 0) {
        rc = errno == ENOTDIR ? err_set(err, ERR_INVALID, "storage: '%s' is not a folder", rest)
                              : err_sys(err, errno, "cannot open storage folder '%s'", rest);
        goto failed;
    }
    if (mkdirat(s->root, TEMP_FOLDER, 0700) < 0 && errno != EEXIST) {
        rc = err_sys(err, errno, "cannot make '%s/" TEMP_FOLDER "'", rest);
        goto failed;
    }
    s->tmp = openat(s->root, TEMP_FOLDER, FOLDER_FLAGS);
    if (s->tmp < 0) {
        rc = err_sys(err, errno, "cannot open '%s/" TEMP_FOLDER "'", rest);
        goto failed;
    }
    *ret = &s->base;
    return 0;
failed:
    file_close(&s->base);
    return rc;
}

static void free_put(struct file_put *p)
{
    close_fd(&p->fd);
    free(p);
}

static int file_put_begin(struct storage *base, const char *key, struct storage_put **ret, struct err *err)
{
    struct file_storage *s = of(base);
    struct file_put *p = xcalloc(1, sizeof *p + strlen(key) + 1);
    memcpy(p->key, key, strlen(key) + 1);
    id_new(p->temp);
    p->fd = openat(s->tmp, p->temp, O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0400);
    if (p->fd < 0) {
        int rc = fail(s, errno, "making a file", err);
        free_put(p);
        return rc;
    }
    if (flock(p->fd, LOCK_EX | LOCK_NB) < 0) {
        /* A file system without locks: the age that the sweep asks for has to do. */
    }
    *ret = &p->base;
    return 0;
}

static int file_put_write(struct storage_put *base, const void *data, size_t n, struct err *err)
{
    struct file_put *p = CONTAINER_OF(base, struct file_put, base);
    if (io_write_all(p->fd, data, n, err) < 0)
        return fail(of(base->storage), err->sys, "writing", err);
    return 0;
}

static void file_put_abort(struct storage_put *base)
{
    struct file_put *p = CONTAINER_OF(base, struct file_put, base);
    unlinkat(of(base->storage)->tmp, p->temp, 0);
    free_put(p);
}

/* Renames the temp file to its key, durably. 0, -errno, or 1 when it is in place but the folder could not be synced. */
static int publish(const struct file_storage *s, const struct file_put *p)
{
    for (int i = 0; i < COMMIT_TRIES; i++) {
        CLEANUP(close_fd) int dir = open_parent(s, p->key, true);
        if (dir >= 0 && renameat(s->tmp, p->temp, dir, leaf_of(p->key)) == 0)
            return sync_fd(s, dir) < 0;
        int sys = dir < 0 ? -dir : errno;
        /* ENOENT: a delete removed the folder meanwhile; or somebody removed the temp file, or the whole store. */
        struct stat st;
        if (sys != ENOENT || fstatat(s->tmp, p->temp, &st, AT_SYMLINK_NOFOLLOW) < 0)
            return -sys;
    }
    return -EBUSY;
}

static int file_put_commit(struct storage_put *base, struct err *err)
{
    struct file_put *p = CONTAINER_OF(base, struct file_put, base);
    struct file_storage *s = of(base->storage);
    int rc = 0;
    /* modified_ms is the moment of the commit, not that of the last byte. */
    if (futimens(p->fd, NULL) < 0 || sync_fd(s, p->fd) < 0) {
        rc = fail(s, errno, "syncing a file", err);
        file_put_abort(base);
        return rc;
    }
    int done = publish(s, p);
    if (done == 0) {
        free_put(p);
        return 0;
    }
    if (done > 0) {
        free_put(p);
        return err_set(err, ERR_UNCERTAIN, "syncing a folder in storage folder '%s' failed", s->folder);
    }
    if (done == -EISDIR || done == -ENOTDIR || done == -ELOOP)
        rc = err_set(err, ERR_CONFLICT, "key '%s' is the folder of other objects, or a folder of it is an object",
                     p->key);
    else
        rc = fail(s, -done, "placing a file", err);
    prune(s, p->key);
    file_put_abort(base);
    return rc;
}

static int file_get_begin(struct storage *base, const char *key, int64_t offset, struct storage_get **ret,
                          struct object_info *ret_info, struct err *err)
{
    struct file_storage *s = of(base);
    struct stat st;
    int fd = open_object(s, key, &st, err);
    if (fd < 0)
        return fd;
    int rc = 0;
    if (offset > st.st_size)
        rc = err_set(err, ERR_INVALID, "byte %lld is beyond its %lld bytes", (long long)offset, (long long)st.st_size);
    else if (lseek(fd, offset, SEEK_SET) < 0)
        rc = fail(s, errno, "seeking", err);
    if (rc < 0) {
        close(fd);
        return rc;
    }
    struct file_get *g = xcalloc(1, sizeof *g);
    g->fd = fd;
    ret_info->size = st.st_size;
    ret_info->modified_ms = modified_ms(&st);
    *ret = &g->base;
    return 0;
}

static ssize_t file_get_read(struct storage_get *base, void *data, size_t n, struct err *err)
{
    struct file_get *g = CONTAINER_OF(base, struct file_get, base);
    for (;;) {
        ssize_t k = read(g->fd, data, n);
        if (k >= 0)
            return k;
        if (errno != EINTR)
            return fail(of(base->storage), errno, "reading", err);
    }
}

static void file_get_end(struct storage_get *base)
{
    struct file_get *g = CONTAINER_OF(base, struct file_get, base);
    close(g->fd);
    free(g);
}

static int file_get_fd(struct storage *base, const char *key, struct object_info *ret_info, struct err *err)
{
    struct stat st;
    int fd = open_object(of(base), key, &st, err);
    if (fd < 0)
        return fd;
    ret_info->size = st.st_size;
    ret_info->modified_ms = modified_ms(&st);
    return fd;
}

static int copy_out(const struct file_storage *s, int from, int to, struct err *err)
{
    char piece[PIECE];
    for (;;) {
        ssize_t k = read(from, piece, sizeof piece);
        if (k == 0)
            return 0;
        if (k < 0 && errno == EINTR)
            continue;
        if (k < 0)
            return fail(s, errno, "reading", err);
        int rc = io_write_all(to, piece, (size_t)k, err);
        if (rc < 0)
            return rc;
    }
}

static int file_fetch(struct storage *base, const char *key, const char *sha256, const char *path, struct err *err)
{
    (void)sha256; /* the same disk holds both: nothing was sent that could be damaged on its way */
    struct file_storage *s = of(base);
    struct stat st;
    CLEANUP(close_fd) int from = open_object(s, key, &st, err);
    if (from < 0)
        return from;
    /* By descriptor: what is linked is what was looked at. */
    char self[64];
    snprintf(self, sizeof self, "/proc/self/fd/%d", from);
    if (linkat(AT_FDCWD, self, AT_FDCWD, path, AT_SYMLINK_FOLLOW) == 0)
        return 0;
    /* Another file system, no links there, too many of them, deleted this very moment: a copy always works. */
    CLEANUP(close_fd) int to = open(path, O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0400);
    if (to < 0) {
        /* Not NOT_FOUND when the folder is missing: that would say the object is. */
        int rc = err_sys(err, errno, "cannot make '%s'", path);
        return rc == ERR_CONFLICT || rc == ERR_NOMEM ? rc : (err->code = ERR_UNAVAILABLE);
    }
    int rc = copy_out(s, from, to, err);
    if (rc < 0) {
        unlink(path);
        return err->sys == ENOSPC || err->sys == EDQUOT
                   ? err_set(err, ERR_UNAVAILABLE, "disk full: no room for '%s'; free some space there", path)
                   : err_wrap(err, "'%s'", path);
    }
    return 0;
}

static int file_stat(struct storage *base, const char *key, struct object_info *ret, struct err *err)
{
    struct file_storage *s = of(base);
    CLEANUP(close_fd) int dir = open_parent(s, key, false);
    if (dir < 0)
        return no_object(s, -dir, err);
    struct stat st;
    if (fstatat(dir, leaf_of(key), &st, AT_SYMLINK_NOFOLLOW) < 0)
        return no_object(s, errno, err);
    if (!S_ISREG(st.st_mode))
        return no_object(s, ENOENT, err);
    ret->size = st.st_size;
    ret->modified_ms = modified_ms(&st);
    return 0;
}

static int file_remove(struct storage *base, const char *key, struct err *err)
{
    /* Not synced: a deleted object that a power cut brings back has no row any more and is swept as an orphan. */
    struct file_storage *s = of(base);
    int dir = open_parent(s, key, false), sys = 0;
    if (dir < 0) {
        sys = -dir;
    } else {
        if (unlinkat(dir, leaf_of(key), 0) < 0)
            sys = errno;
        close(dir);
    }
    if (sys && sys != ENOENT && sys != ENOTDIR && sys != ELOOP && sys != EISDIR)
        return fail(s, sys, "deleting", err);
    prune(s, key);
    return 0;
}

struct walk {
    const struct file_storage *s;
    const char *prefix;
    storage_list_fn fn;
    void *arg;
    struct err *err;
    char key[STORAGE_KEY_MAX + 1];
};

/* Walks the folder whose key, with its '/', is the first `len` bytes of w->key; takes `fd`. */
static int walk(struct walk *w, int fd, size_t len, int depth)
{
    DIR *d = fdopendir(fd);
    if (!d) {
        int sys = errno;
        close(fd);
        return fail(w->s, sys, "listing", w->err);
    }
    int rc = 0;
    while (rc == 0) {
        errno = 0;
        struct dirent *e = readdir(d);
        if (!e) {
            rc = errno ? fail(w->s, errno, "listing", w->err) : 0;
            break;
        }
        size_t n = strlen(e->d_name);
        if (e->d_name[0] == '.' || len + n > STORAGE_KEY_MAX)
            continue;
        memcpy(w->key + len, e->d_name, n + 1);
        if (strncmp(w->key, w->prefix, strlen(w->prefix)) != 0)
            continue;
        struct stat st;
        if (fstatat(fd, e->d_name, &st, AT_SYMLINK_NOFOLLOW) < 0)
            continue; /* deleted meanwhile */
        if (S_ISDIR(st.st_mode) && depth < STORAGE_KEY_PARTS && len + n < STORAGE_KEY_MAX) {
            int sub = openat(fd, e->d_name, FOLDER_FLAGS);
            if (sub >= 0) {
                memcpy(w->key + len + n, "/", 2);
                rc = walk(w, sub, len + n + 1, depth + 1);
            } else if (errno != ENOENT && errno != ENOTDIR && errno != ELOOP) {
                rc = fail(w->s, errno, "listing", w->err);
            }
        } else if (S_ISREG(st.st_mode)) {
            struct err not_a_key = ERR_INIT; /* then it is somebody else's file */
            struct object_info info = {.size = st.st_size, .modified_ms = modified_ms(&st)};
            if (storage_key_check(w->key, &not_a_key) == 0)
                rc = w->fn(w->key, &info, w->arg, w->err);
        }
    }
    closedir(d);
    return rc;
}

static int file_list(struct storage *base, const char *prefix, storage_list_fn fn, void *arg, struct err *err)
{
    struct walk w = {.s = of(base), .prefix = prefix, .fn = fn, .arg = arg, .err = err};
    int fd = open_parent(w.s, prefix, false);
    if (fd == -ENOENT || fd == -ENOTDIR || fd == -ELOOP)
        return 0;
    if (fd < 0)
        return fail(w.s, -fd, "listing", err);
    /* The duplicated root shares its reading position with all others: a walk needs a description of its own. */
    int own = openat(fd, ".", FOLDER_FLAGS), sys = errno;
    close(fd);
    if (own < 0)
        return sys == ENOENT ? 0 : fail(w.s, sys, "listing", err);
    size_t len = (size_t)(leaf_of(prefix) - prefix);
    int depth = 1;
    for (size_t i = 0; i < len; i++)
        depth += prefix[i] == '/';
    memcpy(w.key, prefix, len);
    w.key[len] = '\0';
    return walk(&w, own, len, depth);
}

static int file_sweep(struct storage *base, int64_t before_ms, int *ret_removed, struct err *err)
{
    struct file_storage *s = of(base);
    int fd = openat(s->tmp, ".", FOLDER_FLAGS);
    DIR *d = fd < 0 ? NULL : fdopendir(fd);
    if (!d) {
        int rc = fail(s, errno, "sweeping", err);
        close_fd(&fd);
        return rc;
    }
    int removed = 0;
    for (struct dirent *e; (e = readdir(d));) {
        struct stat st;
        if (fstatat(fd, e->d_name, &st, AT_SYMLINK_NOFOLLOW) < 0 || !S_ISREG(st.st_mode) ||
            modified_ms(&st) >= before_ms)
            continue;
        CLEANUP(close_fd) int file = openat(fd, e->d_name, OBJECT_FLAGS);
        if (file < 0 || (flock(file, LOCK_EX | LOCK_NB) < 0 && errno == EWOULDBLOCK))
            continue; /* gone, or its writer lives */
        if (unlinkat(fd, e->d_name, 0) == 0)
            removed++;
    }
    closedir(d);
    *ret_removed = removed;
    return 0;
}

static int file_ping(struct storage *base, int64_t *ret_free_bytes, struct err *err)
{
    /* Not synced: a health check that runs every few seconds must not make the disk busy. */
    struct file_storage *s = of(base);
    static const char probe[4096];
    char name[ID_SIZE];
    id_new(name);
    CLEANUP(close_fd) int fd = openat(s->tmp, name, O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0400);
    if (fd < 0)
        return fail(s, errno, "making a file", err);
    int rc = io_write_all(fd, probe, sizeof probe, err);
    unlinkat(s->tmp, name, 0);
    if (rc < 0)
        return fail(s, err->sys, "writing", err);
    struct statvfs v;
    if (fstatvfs(s->root, &v) < 0)
        return fail(s, errno, "asking for free space", err);
    *ret_free_bytes = (int64_t)v.f_bavail * (int64_t)v.f_frsize;
    return 0;
}

const struct storage_ops storage_file_ops = {
    .scheme = "file",
    .open = file_open,
    .close = file_close,
    .put_begin = file_put_begin,
    .put_write = file_put_write,
    .put_commit = file_put_commit,
    .put_abort = file_put_abort,
    .get_begin = file_get_begin,
    .get_read = file_get_read,
    .get_end = file_get_end,
    .get_fd = file_get_fd,
    .fetch = file_fetch,
    .stat = file_stat,
    .remove = file_remove,
    .list = file_list,
    .sweep = file_sweep,
    .ping = file_ping,
};
