/* SPDX-License-Identifier: MIT */
/* The S3 back end from inside: its parts (requests, writes, reads, lists) share this. See storage_s3.c. */
#ifndef STORAGE_S3_H
#define STORAGE_S3_H

#include "base/buf.h"
#include "base/id.h"
#include "storage/s3_creds.h"
#include "storage/s3_http.h"
#include "storage/storage_ops.h"

#define S3_MIB ((int64_t)1 << 20)

/* What S3 lays down. */
#define S3_PART_MIN (5 * S3_MIB)
#define S3_PART_MAX (5 * 1024 * S3_MIB)
enum { S3_PARTS_MAX = 10000, S3_PRESIGN_MAX_S = 7 * 24 * 3600 };

enum { S3_BUCKET_MAX = 63, S3_ETAG_SIZE = 128, S3_CODE_SIZE = 64, S3_TRIES = 6 };

/* Immutable after open. */
struct s3 {
    struct storage base;
    struct s3_http *http;
    struct s3_creds *creds;
    char *bucket;
    char *prefix;     /* "" or "folder/" */
    char *base_url;   /* "https://host:port" requests go to */
    char *host;       /* what stands in the Host header */
    char *public_url; /* the same for presigned URLs */
    char *public_host;
    char *path; /* in front of the key: "/" or "/bucket/", encoded */
    char *temp; /* folder for parts on their way */
    char region[S3_REGION_SIZE];
    bool amazon; /* no endpoint of its own */
    int64_t part_size, timeout_ms;
};

static inline struct s3 *s3_of(struct storage *s)
{
    return CONTAINER_OF(s, struct s3, base);
}

/* ---- requests: s3_request.c ---- */

struct s3_ask {
    const char *method;
    const char *key; /* ours, without the prefix; NULL: the bucket */
    struct s3_field query[8];
    size_t n_query;
    struct s3_field fields[8]; /* x-amz-..., range, if-match: lower case */
    size_t n_fields;
    struct s3_http_body body;
    const char *body_sha256; /* NULL: there is no body */
    unsigned tries;          /* 0: S3_TRIES */
    int64_t limit_ms;        /* for each try; 0: only silence counts */
};

struct s3_answer {
    int status;                  /* 0: none came */
    bool lost;                   /* in one of the tries the answer was lost: the server may have done it */
    int64_t length, modified_ms; /* -1: not said */
    int64_t first, total;        /* of Content-Range */
    char etag[S3_ETAG_SIZE];     /* with its quotes */
    char type[STORAGE_TYPE_SIZE];
    char sha256[S3_SHA256_SIZE]; /* of the whole object, as its writer noted it */
    char write_id[ID_SIZE];      /* likewise */
    char region[S3_REGION_SIZE];
    char code[S3_CODE_SIZE]; /* "NoSuchKey" */
    struct buf body;
};
#define S3_ANSWER_INIT                           \
    {                                            \
        .length = -1, .body = BUF_INIT(16 << 20) \
    }
void s3_answer_clear(struct s3_answer *a);

/*
 * Signs, sends, tries again what may pass. With `stream` the body of a good answer is left to be read, else it is in
 * ret->body. Errors: by s3_error.h; ret is filled as far as known also then.
 */
int s3_send(struct s3 *s, const struct s3_ask *q, struct s3_answer *ret, struct s3_http_call **stream, struct err *err)
    MUST_CHECK;
/* The path of a key (NULL: of the bucket) as it goes into URL and signature. */
void s3_add_path(struct buf *b, const struct s3 *s, const char *key);
/* Makes the bucket; that it is there already is success. */
int s3_make_bucket(struct s3 *s, struct err *err) MUST_CHECK;
/* Waits before try `attempt` (1 is the second): random, up to a bound that doubles. */
void s3_pause(const struct s3 *s, unsigned attempt);

/* ---- the operations ---- */

int s3_put_begin(struct storage *s, const char *key, struct storage_put **ret, struct err *err) MUST_CHECK;
int s3_put_write(struct storage_put *p, const void *data, size_t n, struct err *err) MUST_CHECK;
int s3_put_commit(struct storage_put *p, struct err *err) MUST_CHECK;
void s3_put_abort(struct storage_put *p);
int s3_get_begin(struct storage *s, const char *key, int64_t offset, struct storage_get **ret,
                 struct object_info *ret_info, struct err *err) MUST_CHECK;
ssize_t s3_get_read(struct storage_get *g, void *data, size_t n, struct err *err) MUST_CHECK;
void s3_get_end(struct storage_get *g);
int s3_fetch(struct storage *s, const char *key, const char *sha256, const char *path, struct err *err) MUST_CHECK;
int s3_list(struct storage *s, const char *prefix, storage_list_fn fn, void *arg, struct err *err) MUST_CHECK;
int s3_sweep(struct storage *s, int64_t before_ms, int *ret_removed, struct err *err) MUST_CHECK;
/* Gives up an unfinished upload in parts; that it is gone is success. */
int s3_drop_upload(struct s3 *s, const char *key, const char *upload_id, struct err *err) MUST_CHECK;

#endif
