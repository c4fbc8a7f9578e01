/* SPDX-License-Identifier: MIT */
/*
 * "<parent>/.steno-XXXXXX/" holds the file "lock" and the folder "work" that is used. The lock is flock(2): the kernel
 * drops it with the process, however that ends, and no child gets it (close on exec).
 *
 * A sweeper removes nothing but what has exactly this shape: "work" and "lock" of a folder whose lock it could take,
 * and a folder that is empty. A new folder is empty, then unlocked, for a moment; a sweeper that comes just then wins,
 * so the maker looks whether the file it locked still stands, and else begins again.
 */
#include "worker/temp.h"

#include "base/io.h"
#include "base/mem.h"
#include "base/str.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#define PREFIX   ".steno-"
#define TEMPLATE PREFIX "XXXXXX"

enum { MAX_TRIES = 100 };

struct temp {
    char *folder, *work, *lock; /* paths */
    int fd;                     /* of the lock */
};

static struct temp *temp_new(const char *parent, const char *name)
{
    struct temp *t = xcalloc(1, sizeof *t);
    t->folder = xasprintf("%s/%s", parent, name);
    t->work = xasprintf("%s/work", t->folder);
    t->lock = xasprintf("%s/lock", t->folder);
    t->fd = -1;
    return t;
}

static void temp_free(struct temp *t)
{
    close_fd(&t->fd);
    free(t->folder);
    free(t->work);
    free(t->lock);
    free(t);
}

/* False with errno; EWOULDBLOCK: somebody has it. */
static bool take_lock(struct temp *t, int create)
{
    t->fd = open(t->lock, O_RDWR | create | O_NOFOLLOW | O_CLOEXEC, 0600);
    if (t->fd < 0 || flock(t->fd, LOCK_EX | LOCK_NB) < 0)
        return false;
    struct stat st;
    if (fstat(t->fd, &st) == 0 && st.st_nlink > 0)
        return true;
    errno = ENOENT; /* removed between the two calls */
    return false;
}

/* With the lock held. What cannot be removed now, the next sweep removes. */
static int remove_all(struct temp *t, struct err *err)
{
    int rc = io_remove_tree(t->work, err);
    if (rc < 0)
        return rc;
    if ((unlink(t->lock) < 0 || rmdir(t->folder) < 0) && errno != ENOENT)
        return err_sys(err, errno, "cannot remove '%s'", t->folder);
    return 0;
}

int temp_open(const char *parent, struct temp **ret, struct err *err)
{
    int rc = io_mkdir_p(parent, err);
    if (rc < 0)
        return rc;
    for (int i = 0; i < MAX_TRIES; i++) {
        struct temp *t = temp_new(parent, TEMPLATE);
        if (!mkdtemp(t->folder)) {
            err_sys(err, errno, "cannot make a temporary folder in '%s'", parent);
            temp_free(t);
            return err->code;
        }
        size_t n = strlen(t->folder);
        memcpy(t->work, t->folder, n);
        memcpy(t->lock, t->folder, n);
        if (take_lock(t, O_CREAT) && mkdir(t->work, 0700) == 0) {
            *ret = t;
            return 0;
        }
        int sys = errno;
        rmdir(t->folder);
        if (sys != ENOENT && sys != EWOULDBLOCK)
            err_sys(err, sys, "cannot make the temporary folder '%s'", t->folder);
        temp_free(t);
        if (sys != ENOENT && sys != EWOULDBLOCK)
            return err->code;
    }
    return err_set(err, ERR_BUSY, "cannot make a temporary folder in '%s': somebody keeps removing it", parent);
}

const char *temp_path(const struct temp *t)
{
    return t->work;
}

void temp_close(struct temp *t)
{
    if (!t)
        return;
    struct err err = ERR_INIT;
    if (remove_all(t, &err) < 0)
        rmdir(t->folder);
    temp_free(t);
}

/* 1: removed, 0: its owner lives, or it is none of ours. */
static int sweep_one(struct temp *t, struct err *err)
{
    if (!take_lock(t, 0))
        return rmdir(t->folder) == 0;
    int rc = remove_all(t, err);
    return rc < 0 ? rc : 1;
}

int temp_sweep(const char *parent, int *ret_removed, struct err *err)
{
    DIR *dir = opendir(parent);
    if (!dir)
        return errno == ENOENT ? (*ret_removed = 0) : err_sys(err, errno, "cannot read '%s'", parent);
    int removed = 0, rc = 0;
    struct dirent *e;
    while (rc >= 0 && (e = readdir(dir))) {
        if (!str_starts(e->d_name, PREFIX) || strlen(e->d_name) != strlen(TEMPLATE))
            continue;
        struct temp *t = temp_new(parent, e->d_name);
        rc = sweep_one(t, err);
        removed += rc > 0;
        temp_free(t);
    }
    closedir(dir);
    if (rc < 0)
        return rc;
    *ret_removed = removed;
    return 0;
}
