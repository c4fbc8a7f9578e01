/* SPDX-License-Identifier: MIT */
/*
 * Bytes on their way into one request, of which length and SHA-256 must be known before the first is sent. The first
 * S3_SPOOL_MEMORY bytes are kept in memory, more go to a file without a name: memory stays small however many uploads
 * are open, and a try that failed can be repeated.
 */
#ifndef STORAGE_S3_SPOOL_H
#define STORAGE_S3_SPOOL_H

#include "storage/s3_http.h"

enum { S3_SPOOL_MEMORY = 256 << 10 };

struct s3_spool {
    const char *folder; /* borrowed */
    struct buf memory;  /* until the file is opened */
    int fd;             /* -1: none */
    int64_t size;
    void *sha;
};

/* NOMEM. The folder is used only when a file is needed. */
int s3_spool_init(struct s3_spool *s, const char *folder, struct err *err) MUST_CHECK;
void s3_spool_clear(struct s3_spool *s);
/* UNAVAILABLE (disk full), NOMEM. */
int s3_spool_add(struct s3_spool *s, const void *data, size_t n, struct err *err) MUST_CHECK;
/* What was added, as a body; valid until the spool changes. Nothing may be added after it but behind a reset. */
int s3_spool_body(struct s3_spool *s, struct s3_http_body *ret, char ret_sha256[S3_SHA256_SIZE], struct err *err)
    MUST_CHECK;
/* Empty again. */
int s3_spool_reset(struct s3_spool *s, struct err *err) MUST_CHECK;

#endif
