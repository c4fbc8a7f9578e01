/* SPDX-License-Identifier: MIT */
/*
 * What a storage back end provides. Reached only through storage.c, which checks keys and offsets, hashes what is
 * written, refuses to commit after a failed write and logs at debug. Contracts are those of storage.h; all may be
 * called from any thread and block.
 */
#ifndef STORAGE_STORAGE_OPS_H
#define STORAGE_STORAGE_OPS_H

#include "base/buf.h"
#include "storage/storage.h"

#include <stdatomic.h>

/* Back ends embed these as their first member. */
struct storage {
    const struct storage_ops *ops;
    atomic_llong failures[STORAGE_OPERATION_COUNT]; /* storage.c's own; a back end only zeroes them */
};
struct storage_put {
    /* storage.c's own; a back end only zeroes them. */
    struct storage *storage;
    void *sha; /* running SHA-256 */
    int64_t size;
    int failed;                       /* class of the first failed write */
    char sha256[STORAGE_SHA256_SIZE]; /* once sealed, which ends `sha` */
};
struct storage_get {
    struct storage *storage;
};

struct storage_ops {
    const char *scheme; /* "file" */
    /* url_rest is what follows "scheme:". */
    int (*open)(const struct storage_opts *o, const char *url_rest, struct storage **ret, struct err *err);
    void (*close)(struct storage *s);
    /* Must keep its own copy of the key. */
    int (*put_begin)(struct storage *s, const char *key, struct storage_put **ret, struct err *err);
    int (*put_write)(struct storage_put *p, const void *data, size_t n, struct err *err);
    int (*put_commit)(struct storage_put *p, struct err *err); /* frees p either way */
    void (*put_abort)(struct storage_put *p);                  /* never NULL */
    /* offset >= 0; beyond the end: INVALID. ret_info is never NULL. */
    int (*get_begin)(struct storage *s, const char *key, int64_t offset, struct storage_get **ret,
                     struct object_info *ret_info, struct err *err);
    ssize_t (*get_read)(struct storage_get *g, void *data, size_t n, struct err *err);
    void (*get_end)(struct storage_get *g);
    /* Optional. ret_info is never NULL. */
    int (*get_fd)(struct storage *s, const char *key, struct object_info *ret_info, struct err *err);
    int (*fetch)(struct storage *s, const char *key, const char *sha256, const char *path, struct err *err);
    int (*stat)(struct storage *s, const char *key, struct object_info *ret, struct err *err);
    int (*remove)(struct storage *s, const char *key, struct err *err);
    /* Hands over nothing but keys that pass storage_key_check. */
    int (*list)(struct storage *s, const char *prefix, storage_list_fn fn, void *arg, struct err *err);
    int (*sweep)(struct storage *s, int64_t before_ms, int *ret_removed, struct err *err);
    int (*ping)(struct storage *s, int64_t *ret_free_bytes, struct err *err);
    /* Optional. method is "GET", "HEAD" or "PUT", expires_s at least 1; type may be NULL. */
    int (*presign)(struct storage *s, const char *method, const char *key, const char *type, int64_t expires_s,
                   struct buf *ret, int64_t *ret_until_ms, struct err *err);
};

extern const struct storage_ops storage_file_ops;
extern const struct storage_ops storage_s3_ops;

#endif
