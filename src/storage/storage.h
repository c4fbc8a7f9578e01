/* SPDX-License-Identifier: MIT */
/*
 * Objects by key: recordings and transcripts, in a local folder or a bucket of an S3 server, behind one ops table.
 *
 * Keys are "uploads/{job_id}/{name}" and the like: 1 to 1024 bytes of UTF-8 in at most 16 parts separated by '/';
 * no part is empty, over 255 bytes or starts with '.', no control characters, no backslash. Every call checks this
 * (INVALID), so no key can leave the store. A key should not be the folder of another ("a" beside "a/b"): a local
 * folder cannot hold both (CONFLICT).
 *
 * An object appears whole or not at all: put_commit is the moment, and when it returns the object survives a
 * power cut (unless `no_sync`). Objects never change in place: who reads one while it is overwritten or deleted reads
 * the old one to its end. All calls block. A struct storage may be used by any thread; a put or get by one at a time.
 *
 * Errors: INVALID (key, URL), NOT_FOUND, CONFLICT, UNAVAILABLE (disk full, unreachable, refused), TIMEOUT, TOO_LARGE,
 * CORRUPT (not what was stored), NOMEM. An S3 server that is away is asked for up to two minutes before it is said so.
 */
#ifndef STORAGE_STORAGE_H
#define STORAGE_STORAGE_H

#include "base/err.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

struct storage;
struct storage_put;
struct storage_get;

enum {
    STORAGE_SHA256_SIZE = 65,
    STORAGE_KEY_MAX = 1024,
    STORAGE_KEY_PARTS = 16, /* bounds the depth of a walk through a store */
    STORAGE_PART_MAX = 255, /* one file name */
    STORAGE_ETAG_SIZE = 128,
    STORAGE_TYPE_SIZE = 64,
};

/* Before an ETag where a SHA-256 may stand: "etag:\"9a0364...\"". */
#define STORAGE_ETAG_PREFIX "etag:"

struct object_info {
    int64_t size;
    int64_t modified_ms;
    char sha256[STORAGE_SHA256_SIZE]; /* hex; set by put_commit, "" from stat and list */
    char etag[STORAGE_ETAG_SIZE];     /* of an S3 server, with its quotes; set by stat */
    char type[STORAGE_TYPE_SIZE];     /* the Content-Type of an S3 server, perhaps cut off; set by stat */
};

enum storage_s3_style {
    STORAGE_S3_AUTO,    /* virtual on Amazon's servers, path elsewhere */
    STORAGE_S3_PATH,    /* http://host/bucket/key */
    STORAGE_S3_VIRTUAL, /* http://bucket.host/key */
};

/* What an s3: URL needs beside itself. NULL, "" and 0: the default, or what the AWS_* environment says. Copied. */
struct storage_s3_opts {
    const char *endpoint;                                /* "http://host:port"; none: Amazon's server of the region */
    const char *region;                                  /* default us-east-1 */
    const char *access_key, *secret_key, *session_token; /* none: s3_creds.h says where they come from */
    const char *public_url; /* the endpoint as clients reach it, for presigned URLs; none: the endpoint */
    const char *ca_file;    /* certificates to trust, PEM; none: the system's */
    const char *temp;       /* folder for what is on its way; none: $TMPDIR or /tmp */
    enum storage_s3_style style;
    int64_t part_size;  /* larger objects are sent in parts of this size; default 16 MB */
    int64_t timeout_ms; /* longest silence of the server; default 15 s */
};

struct storage_opts {
    const char *url;                  /* "file:/absolute/folder", "s3://bucket", "s3://bucket/folder" */
    const struct storage_s3_opts *s3; /* NULL: all defaults */
    bool no_sync;                     /* a local folder: leave it to the kernel when objects come to the disk */
};

/* INVALID: a setting is wrong, or the S3 server refuses the keys or the bucket. An S3 server that is away now is none.
 */
int storage_open_with(const struct storage_opts *o, struct storage **ret, struct err *err) MUST_CHECK;
/* With nothing but the URL. */
int storage_open(const char *url, struct storage **ret, struct err *err) MUST_CHECK;
void storage_close(struct storage *s); /* NULL is fine; no put or get may be open */

/* Starts a streaming write. Overwrites at commit; two writers of one key: the later commit wins whole. */
int storage_put_begin(struct storage *s, const char *key, struct storage_put **ret, struct err *err) MUST_CHECK;
int storage_put_write(struct storage_put *p, const void *data, size_t n, struct err *err) MUST_CHECK;
/* All was written: ret->size and ret->sha256 are what a commit would make appear. May be left out. */
int storage_put_seal(struct storage_put *p, struct object_info *ret, struct err *err) MUST_CHECK;
/* Makes the object appear, durably. Frees p, also on failure; then the object did not appear (UNCERTAIN: it may have).
 * `ret` may be NULL. */
int storage_put_commit(struct storage_put *p, struct object_info *ret, struct err *err) MUST_CHECK;
/* Leaves nothing behind. NULL is fine. */
void storage_put_abort(struct storage_put *p);
/* All of the above for a small object. */
int storage_put_bytes(struct storage *s, const char *key, const void *data, size_t n, struct err *err) MUST_CHECK;

/* Reads from byte `offset` on; at the end of the object there is nothing to read, beyond it is INVALID. ret_info may be
 * NULL. */
int storage_get_begin(struct storage *s, const char *key, int64_t offset, struct storage_get **ret,
                      struct object_info *ret_info, struct err *err) MUST_CHECK;
/* At least one byte, 0 at the end. */
ssize_t storage_get_read(struct storage_get *g, void *data, size_t n, struct err *err) MUST_CHECK;
void storage_get_end(struct storage_get *g); /* NULL is fine */
/*
 * A descriptor of the whole object, for who hands it on to the kernel; the caller closes it. UNSUPPORTED: it is on no
 * disk of this machine, and storage_presign is the way to have somebody else read it.
 */
int storage_get_fd(struct storage *s, const char *key, struct object_info *ret_info, struct err *err) MUST_CHECK;
/* The whole object as a NUL-terminated string (caller frees); TOO_LARGE above max. */
int storage_get_bytes(struct storage *s, const char *key, size_t max, char **ret, size_t *ret_len, struct err *err)
    MUST_CHECK;
/* Puts the object at `path`, which must not exist (CONFLICT): a seekable, read-only copy that outlives the object (a
 * hard link where that is the same: never write to it). NOT_FOUND is about the object; `path` that cannot be made is
 * UNAVAILABLE. */
int storage_fetch(struct storage *s, const char *key, const char *path, struct err *err) MUST_CHECK;
/*
 * The same; a store that has to send the bytes also compares their SHA-256 with this one ("": unknown), or, behind
 * STORAGE_ETAG_PREFIX, asks for the object with this ETag and no other. CORRUPT.
 */
int storage_fetch_checked(struct storage *s, const char *key, const char *sha256, const char *path, struct err *err)
    MUST_CHECK;

int storage_stat(struct storage *s, const char *key, struct object_info *ret, struct err *err) MUST_CHECK;
/* Deleting what is not there is success. */
int storage_delete(struct storage *s, const char *key, struct err *err) MUST_CHECK;
/* Every object whose key starts with "prefix" ("": all), in no order; a non-zero return of fn ends it and is returned
 * (negative: failure). `key` and `info` are borrowed during the call; fn may delete objects. */
typedef int (*storage_list_fn)(const char *key, const struct object_info *info, void *arg, struct err *err);
int storage_list(struct storage *s, const char *prefix, storage_list_fn fn, void *arg, struct err *err) MUST_CHECK;
/* Removes leftovers of writes that were never committed and were last touched before `before_ms` (wall clock): further
 * back than the longest write may take. A local folder also leaves alone what a living process is still writing. */
int storage_sweep(struct storage *s, int64_t before_ms, int *ret_removed, struct err *err) MUST_CHECK;
/* For health: a local folder is written to, an S3 server is asked whether it lets us in. *ret_ms is how long that took,
 * *ret_free_bytes -1 where the store cannot say. */
int storage_ping(struct storage *s, int64_t *ret_ms, int64_t *ret_free_bytes, struct err *err) MUST_CHECK;

enum storage_presign { STORAGE_PRESIGN_GET, STORAGE_PRESIGN_HEAD, STORAGE_PRESIGN_PUT };
/*
 * A URL with which anybody may read or write this one object until *ret_until_ms (wall clock; may be NULL), which is in
 * `expires_s` from now or, with keys that end earlier, then. `type` is the Content-Type that a reader gets, NULL: the
 * stored one. An upload by it is not checked for anything. Caller frees; the URL is a secret. INVALID: expires_s is not
 * 1 to 604800. UNSUPPORTED: a local folder has no URLs.
 */
int storage_presign(struct storage *s, enum storage_presign what, const char *key, const char *type, int64_t expires_s,
                    char **ret_url, int64_t *ret_until_ms, struct err *err) MUST_CHECK;

/* What can go wrong with a store, for who counts it. */
#define STORAGE_OPERATIONS(X) \
    X(PUT, "put")             \
    X(GET, "get")             \
    X(FETCH, "fetch")         \
    X(STAT, "stat")           \
    X(DELETE, "delete")       \
    X(LIST, "list")           \
    X(SWEEP, "sweep")         \
    X(PING, "ping")           \
    X(PRESIGN, "presign")

enum storage_operation {
#define X(name, word) STORAGE_##name,
    STORAGE_OPERATIONS(X)
#undef X
        STORAGE_OPERATION_COUNT
};
const char *storage_operation_name(enum storage_operation o);
/*
 * How often an operation failed by the store's fault: it was away, full, slow or damaged. An object that is not there
 * is no failure.
 */
int64_t storage_failures(const struct storage *s, enum storage_operation o);

/* Is this a well-formed key? INVALID with a sentence otherwise. All calls above ask it themselves. */
int storage_key_check(const char *key, struct err *err) MUST_CHECK;
/* A file name from a client (a path of any system) as one safe key part: never empty, well-formed UTF-8, no '/', no
 * control or direction characters, no leading dot, at most 200 bytes, the ending kept. Writes at most size bytes, the
 * NUL included; `size` must be at least 8. */
void storage_safe_name(const char *filename, char *ret, size_t size);

#endif
