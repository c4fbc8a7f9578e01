/* SPDX-License-Identifier: MIT */
/*
 * What a storage back end provides. Reached only through storage.c, which checks keys, hashes what is written
 * and logs at debug. Contracts are those of storage.h; keys are already checked.
 */
#ifndef STORAGE_STORAGE_OPS_H
#define STORAGE_STORAGE_OPS_H

#include "storage/storage.h"

/* Back ends embed these as their first member. */
struct storage {
    const struct storage_ops *ops;
};
struct storage_put {
    struct storage *storage;
    void *sha; /* storage.c's running SHA-256 */
    int64_t size;
};
struct storage_get {
    struct storage *storage;
};

struct storage_ops {
    const char *scheme; /* "file" */
    int (*open)(const char *url_rest, struct storage **ret, struct err *err);
    void (*close)(struct storage *s);
    int (*put_begin)(struct storage *s, const char *key, struct storage_put **ret, struct err *err);
    int (*put_write)(struct storage_put *p, const void *data, size_t n, struct err *err);
    int (*put_commit)(struct storage_put *p, struct err *err); /* frees p either way */
    void (*put_abort)(struct storage_put *p);
    int (*get_begin)(struct storage *s, const char *key, int64_t offset, struct storage_get **ret,
                     struct object_info *ret_info, struct err *err);
    ssize_t (*get_read)(struct storage_get *g, void *data, size_t n, struct err *err);
    void (*get_end)(struct storage_get *g);
    int (*fetch)(struct storage *s, const char *key, const char *path, struct err *err);
    int (*stat)(struct storage *s, const char *key, struct object_info *ret, struct err *err);
    int (*remove)(struct storage *s, const char *key, struct err *err);
    int (*list)(struct storage *s, const char *prefix, storage_list_fn fn, void *arg, struct err *err);
    int (*sweep)(struct storage *s, int64_t before_ms, int *ret_removed, struct err *err);
    int (*ping)(struct storage *s, int64_t *ret_free_bytes, struct err *err);
};

extern const struct storage_ops storage_file_ops;

#endif
