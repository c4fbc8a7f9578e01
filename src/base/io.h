/* SPDX-License-Identifier: MIT */
/* Files: whole reads and writes, durable renames, folders. All block; all set `err`. */
#ifndef BASE_IO_H
#define BASE_IO_H

#include "base/err.h"

#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

/* Writes all n bytes. */
int io_write_all(int fd, const void *p, size_t n, struct err *err) MUST_CHECK;
/* Reads until n bytes or the end; how many came. */
ssize_t io_read_full(int fd, void *p, size_t n, struct err *err) MUST_CHECK;
/* The whole file as a NUL-terminated string (caller frees); ERR_TOO_LARGE above max. */
int io_read_file(const char *path, size_t max, char **ret, size_t *ret_len, struct err *err) MUST_CHECK;
/* Creates the folder and its parents (mode 0700 for new ones). */
int io_mkdir_p(const char *path, struct err *err) MUST_CHECK;
/* Makes a rename or unlink in this folder survive a power cut. */
int io_sync_dir(const char *path, struct err *err) MUST_CHECK;
/* Removes a folder with all that is in it; a missing one is fine. Follows no links. */
int io_remove_tree(const char *path, struct err *err) MUST_CHECK;
/* Bytes free for an unprivileged writer on the file system that holds `path`. */
int io_free_bytes(const char *path, int64_t *ret, struct err *err) MUST_CHECK;
/*
 * Is there room at `path` for n more bytes with `keep` left free? BUSY: not now; TOO_LARGE: not even with the disk
 * empty.
 */
int io_room(const char *path, int64_t n, int64_t keep, struct err *err) MUST_CHECK;

#endif
