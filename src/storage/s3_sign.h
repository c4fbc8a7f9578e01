/* SPDX-License-Identifier: MIT */
/*
 * AWS Signature Version 4: a request's Authorization header, and URLs that carry their signature (presigned).
 *
 * Pure: no clock, no network. The caller sends exactly what it gave here. Any thread. Errors: NOMEM, INTERNAL.
 */
#ifndef STORAGE_S3_SIGN_H
#define STORAGE_S3_SIGN_H

#include "base/buf.h"

#include <stdint.h>

#define S3_UNSIGNED_PAYLOAD "UNSIGNED-PAYLOAD"

enum { S3_FIELDS_MAX = 16, S3_DATE_SIZE = 17 };

/* A header or a parameter of a query; both borrowed. */
struct s3_field {
    const char *name, *value;
};

struct s3_keys {
    const char *access, *secret;
    const char *token; /* of temporary keys; NULL or "": none */
};

struct s3_scope {
    const char *region, *service;
    int64_t now_ms; /* wall clock */
};

struct s3_signable {
    const char *method;
    const char *path;              /* encoded, from the first '/' on */
    const char *query;             /* as s3_add_query makes it; "" for none */
    const struct s3_field *fields; /* the headers to sign, with host: lower-case names, each once */
    size_t n_fields;               /* at most S3_FIELDS_MAX */
    const char *payload;           /* SHA-256 of the body in hex, or S3_UNSIGNED_PAYLOAD */
};

/* Percent-encodes all but A-Z a-z 0-9 - . _ ~ and, with keep_slash, '/'. */
void s3_add_encoded(struct buf *b, const char *s, bool keep_slash);
/* "a=1&b=%2F", sorted by name: names are distinct and need no encoding, at most S3_FIELDS_MAX. */
void s3_add_query(struct buf *b, const struct s3_field *params, size_t n);
/* "20130524T000000Z" */
void s3_date(int64_t wall_ms, char ret[S3_DATE_SIZE]);

/* Appends the value of the Authorization header. The headers x-amz-date and, with a token, x-amz-security-token must be
 * among the fields. */
int s3_sign(const struct s3_signable *q, const struct s3_scope *scope, const struct s3_keys *keys, struct buf *ret,
            struct err *err) MUST_CHECK;
/*
 * Appends "scheme://host/path?..." that anybody may use for `method` until `expires_s` from scope->now_ms. `base` is
 * "scheme://host", `host` what stands in the Host header. `params` go into the query too (at most 8).
 */
int s3_presign(const char *method, const char *base, const char *host, const char *path, const struct s3_field *params,
               size_t n_params, int64_t expires_s, const struct s3_scope *scope, const struct s3_keys *keys,
               struct buf *ret, struct err *err) MUST_CHECK;

/* Hex SHA-256 of n bytes. */
enum { S3_SHA256_SIZE = 65 };
int s3_sha256(const void *data, size_t n, char ret[S3_SHA256_SIZE], struct err *err) MUST_CHECK;

#endif
