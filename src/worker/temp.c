/* SPDX-License-Identifier: MIT */
/*
 * The lock is flock(2) on "<folder>/lock": the kernel drops it with the process, however that ends, and no child gets
 * it (close on exec). A new folder exists for a moment before its lock is held; a sweeper that comes just then takes
 * the lock itself, so the maker looks whether the file it locked still stands, and else begins again.
 */
#include "worker/temp.h"

#include "base/io.h"
#include "base/mem.h"
#include "base/str.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#define PREFIX    "steno-"
#define LOCK_FILE "lock"

enum { MAX_TRIES = 100 };

struct temp {
    char *path;
    int lock;
};

/* The lock file of a folder, locked; -1 with errno (EWOULDBLOCK: its owner lives). */
static int lock_folder(const char *path)
{
    CLEANUP(free_p) char *file = xasprintf("%s/" LOCK_FILE, path);
    CLEANUP(close_fd) int fd = open(file, O_RDWR | O_CREAT | O_NOFOLLOW | O_CLOEXEC, 0600);
    if (fd < 0 || flock(fd, LOCK_EX | LOCK_NB) < 0)
        return -1;
    struct stat st;
    if (fstat(fd, &st) < 0 || st.st_nlink == 0) {
        errno = ESTALE; /* a sweeper removed it under us */
        return -1;
    }
    int locked = fd;
    fd = -1;
    return locked;
}

int temp_open(const char *parent, struct temp **ret, struct err *err)
{
    int rc = io_mkdir_p(parent, err);
    if (rc < 0)
        return rc;
    for (int i = 0; i < MAX_TRIES; i++) {
        CLEANUP(free_p) char *path = xasprintf("%s/" PREFIX "XXXXXX", parent);
        if (!mkdtemp(path))
            return err_sys(err, errno, "cannot make a temporary folder in '%s'", parent);
        int fd = lock_folder(path);
        if (fd < 0 && errno != ENOENT && errno != ESTALE && errno != EWOULDBLOCK) {
            err_sys(err, errno, "cannot lock the temporary folder '%s'", path);
            rmdir(path);
            return err->code;
        }
        if (fd < 0)
            continue;
        struct temp *t = xcalloc(1, sizeof *t);
        t->path = TAKE(path);
        t->lock = fd;
        *ret = t;
        return 0;
    }
    return err_set(err, ERR_BUSY, "cannot make a temporary folder in '%s': somebody keeps removing it", parent);
}

const char *temp_path(const struct temp *t)
{
    return t->path;
}

void temp_close(struct temp *t)
{
    if (!t)
        return;
    struct err err = ERR_INIT;
    /* What cannot be removed now, the next sweep removes. */
    if (io_remove_tree(t->path, &err) < 0)
        rmdir(t->path);
    close_fd(&t->lock);
    free(t->path);
    free(t);
}

/* 1: removed, 0: its owner lives (or it went away by itself). */
static int sweep_one(const char *path, struct err *err)
{
    CLEANUP(close_fd) int fd = lock_folder(path);
    if (fd < 0)
        return 0;
    int rc = io_remove_tree(path, err);
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
        if (!str_starts(e->d_name, PREFIX))
            continue;
        CLEANUP(free_p) char *path = xasprintf("%s/%s", parent, e->d_name);
        rc = sweep_one(path, err);
        removed += rc > 0;
    }
    closedir(dir);
    if (rc < 0)
        return rc;
    *ret_removed = removed;
    return 0;
}
