/* SPDX-License-Identifier: MIT */
/*
 * Writing. What fits in one part goes out as one PUT with its length and SHA-256. A longer object is an upload in
 * parts: it is begun when the first part is full, each full part is sent, and at the commit the last one and the
 * request that puts them together. The object appears with that last request, and S3 has it durably when it answers.
 *
 * Every write has an id of its own in the object's metadata. When the answer to the last request is lost, a look at the
 * object shows whether it is the one just written.
 */
#include "base/clock.h"
#include "base/log.h"
#include "base/mem.h"
#include "base/stop.h"
#include "storage/s3.h"
#include "storage/s3_spool.h"
#include "storage/s3_xml.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* A name for the server's answers; every try of the last request has this long at least. */
enum { ABORT_TRIES = 2, PART_LIST_MAX = 2 << 20, UPLOAD_ID_MAX = 2048, GROW_EVERY = 1000, LIMIT_MS = 120000 };
#define SLOWEST_BYTES_MS 64 /* 64 KB/s */

static const struct log_ctx lc = {.component = "storage"};

struct s3_put {
    struct storage_put base;
    struct s3 *s;
    struct s3_spool spool;
    char write_id[ID_SIZE];
    char *upload_id; /* NULL: no part was sent */
    unsigned parts;
    struct buf list; /* of the parts, as the last request names them */
    char key[];
};

static struct s3_put *put_of(struct storage_put *p)
{
    return CONTAINER_OF(p, struct s3_put, base);
}

static void put_free(struct s3_put *p)
{
    s3_spool_clear(&p->spool);
    buf_clear(&p->list);
    free(p->upload_id);
    free(p);
}

int s3_put_begin(struct storage *base, const char *key, struct storage_put **ret, struct err *err)
{
    struct s3 *s = s3_of(base);
    struct s3_put *p = xcalloc(1, sizeof *p + strlen(key) + 1);
    p->s = s;
    memcpy(p->key, key, strlen(key) + 1);
    id_new(p->write_id);
    buf_init(&p->list, PART_LIST_MAX);
    int rc = s3_spool_init(&p->spool, s->temp, err);
    if (rc < 0) {
        put_free(p);
        return rc;
    }
    *ret = &p->base;
    return 0;
}

static int64_t limit_of(int64_t size)
{
    return LIMIT_MS + size / SLOWEST_BYTES_MS;
}

/* ---- in parts ---- */

struct found {
    char *upload_id;
};

static int take_upload_id(const char *path, const char *text, void *arg, struct err *err)
{
    struct found *f = arg;
    if (strcmp(path, "InitiateMultipartUploadResult/UploadId") != 0)
        return 0;
    if (f->upload_id || !*text || strlen(text) > UPLOAD_ID_MAX)
        return err_set(err, ERR_UNAVAILABLE, "the S3 server gave no usable upload id");
    f->upload_id = xstrdup(text);
    return 0;
}

/* The bucket may have gone since the start, or the server may have been away then: made once. */
static int send_with_bucket(struct s3 *s, const struct s3_ask *q, struct s3_answer *a, struct err *err)
{
    int rc = s3_send(s, q, a, NULL, err);
    if (rc >= 0 || strcmp(a->code, "NoSuchBucket") != 0)
        return rc;
    rc = s3_make_bucket(s, err);
    return rc < 0 ? rc : s3_send(s, q, a, NULL, err);
}

static int begin_parts(struct s3_put *p, struct err *err)
{
    const struct s3_ask q = {
        .method = "POST",
        .key = p->key,
        .query = {{"uploads", ""}},
        .n_query = 1,
        .fields = {{"x-amz-meta-write-id", p->write_id}},
        .n_fields = 1,
        .limit_ms = LIMIT_MS,
    };
    CLEANUP(s3_answer_clear) struct s3_answer a = S3_ANSWER_INIT;
    struct found f = {NULL};
    int rc = send_with_bucket(p->s, &q, &a, err);
    if (rc >= 0)
        rc = s3_xml_read(buf_str(&a.body), a.body.len, take_upload_id, &f, err);
    if (rc >= 0 && !f.upload_id)
        rc = err_set(err, ERR_UNAVAILABLE, "the S3 server gave no upload id");
    if (rc < 0) {
        free(f.upload_id);
        return rc == ERR_CORRUPT ? (err->code = ERR_UNAVAILABLE) : rc;
    }
    p->upload_id = f.upload_id;
    return 0;
}

/* An ETag goes into XML: only what needs no escape, which all are. */
static bool plain_etag(const char *s)
{
    return *s && !s[strspn(s, "0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ-\"+/=_.")];
}

static int send_part(struct s3_put *p, struct err *err)
{
    struct s3_http_body body;
    char sha[S3_SHA256_SIZE], number[16];
    if (p->parts == S3_PARTS_MAX)
        return err_set(err, ERR_TOO_LARGE, "an object has at most %d parts; raise s3_part_size", S3_PARTS_MAX);
    int rc = p->upload_id ? 0 : begin_parts(p, err);
    if (rc >= 0)
        rc = s3_spool_body(&p->spool, &body, sha, err);
    if (rc < 0)
        return rc;
    snprintf(number, sizeof number, "%u", p->parts + 1);
    const struct s3_ask q = {
        .method = "PUT",
        .key = p->key,
        .query = {{"partNumber", number}, {"uploadId", p->upload_id}},
        .n_query = 2,
        .body = body,
        .body_sha256 = sha,
        .limit_ms = limit_of(body.size),
    };
    CLEANUP(s3_answer_clear) struct s3_answer a = S3_ANSWER_INIT;
    rc = s3_send(p->s, &q, &a, NULL, err);
    if (rc == ERR_NOT_FOUND)
        return err_set(err, ERR_UNAVAILABLE, "the S3 server has given up this upload; begin it again");
    if (rc < 0)
        return rc;
    if (!plain_etag(a.etag))
        return err_set(err, ERR_UNAVAILABLE, "the S3 server gave no ETag for a part");
    p->parts++;
    buf_addf(&p->list, "<Part><PartNumber>%u</PartNumber><ETag>%s</ETag></Part>", p->parts, a.etag);
    rc = buf_check(&p->list, "the list of parts", err);
    return rc < 0 ? rc : s3_spool_reset(&p->spool, err);
}

/* Parts grow as an object does, or the number of them would limit it to 160 GB. */
static int64_t part_size(const struct s3_put *p)
{
    return MIN(p->s->part_size * (1 + p->parts / GROW_EVERY), S3_PART_MAX);
}

int s3_put_write(struct storage_put *base, const void *data, size_t n, struct err *err)
{
    struct s3_put *p = put_of(base);
    const char *from = data;
    while (n) {
        /* A full part waits until there is more, so that an object of exactly that size is one PUT. */
        if (p->spool.size >= part_size(p)) {
            int rc = send_part(p, err);
            if (rc < 0)
                return rc;
        }
        size_t take = (size_t)MIN((int64_t)n, part_size(p) - p->spool.size);
        int rc = s3_spool_add(&p->spool, from, take, err);
        if (rc < 0)
            return rc;
        from += take;
        n -= take;
    }
    return 0;
}

int s3_drop_upload(struct s3 *s, const char *key, const char *upload_id, struct err *err)
{
    const struct s3_ask q = {
        .method = "DELETE",
        .key = key,
        .query = {{"uploadId", upload_id}},
        .n_query = 1,
        .tries = ABORT_TRIES,
        .limit_ms = LIMIT_MS,
    };
    CLEANUP(s3_answer_clear) struct s3_answer a = S3_ANSWER_INIT;
    int rc = s3_send(s, &q, &a, NULL, err);
    return rc == ERR_NOT_FOUND ? 0 : rc;
}

void s3_put_abort(struct storage_put *base)
{
    struct s3_put *p = put_of(base);
    struct err err = ERR_INIT;
    if (p->upload_id && s3_drop_upload(p->s, p->key, p->upload_id, &err) < 0)
        log_debug(&lc, "an unfinished upload is left for the sweep: %s", err.msg);
    put_free(p);
}

/* ---- the last request ---- */

/* Is the object the one of this write? 1, 0, or negative: cannot be said. */
static int is_there(struct s3_put *p, struct err *err)
{
    const struct s3_ask q = {.method = "HEAD", .key = p->key, .limit_ms = LIMIT_MS};
    CLEANUP(s3_answer_clear) struct s3_answer a = S3_ANSWER_INIT;
    int rc = s3_send(p->s, &q, &a, NULL, err);
    if (rc == ERR_NOT_FOUND)
        return 0;
    return rc < 0 ? rc : strcmp(a.write_id, p->write_id) == 0 && a.length == p->base.size;
}

/* Sends the request that makes the object appear. */
static int send_last(struct s3_put *p, const struct s3_ask *q, struct err *err)
{
    CLEANUP(s3_answer_clear) struct s3_answer a = S3_ANSWER_INIT;
    int rc = p->upload_id ? s3_send(p->s, q, &a, NULL, err) : send_with_bucket(p->s, q, &a, err);
    if (rc >= 0 || !a.lost)
        return rc == ERR_NOT_FOUND
                   ? err_set(err, ERR_UNAVAILABLE, "the S3 server has given up this upload; begin it again")
                   : rc;
    struct err look = ERR_INIT;
    log_debug(&lc, "looking whether '%s' was stored: %s", p->key, err->msg);
    int there = stop_requested() ? ERR_UNAVAILABLE : is_there(p, &look);
    if (there > 0)
        return 0;
    err_wrap(err, there < 0 ? "nobody knows whether it was stored" : "it was not seen stored, and may be later");
    return err->code = ERR_UNCERTAIN;
}

static int commit_whole(struct s3_put *p, struct err *err)
{
    struct s3_http_body body;
    char sha[S3_SHA256_SIZE];
    int rc = s3_spool_body(&p->spool, &body, sha, err);
    if (rc < 0)
        return rc;
    const struct s3_ask q = {
        .method = "PUT",
        .key = p->key,
        .fields = {{"x-amz-meta-sha256", sha}, {"x-amz-meta-write-id", p->write_id}},
        .n_fields = 2,
        .body = body,
        .body_sha256 = sha,
        .limit_ms = limit_of(body.size),
    };
    return send_last(p, &q, err);
}

static int commit_parts(struct s3_put *p, struct err *err)
{
    CLEANUP(buf_clear) struct buf body = BUF_INIT(PART_LIST_MAX + 256);
    char sha[S3_SHA256_SIZE];
    int rc = send_part(p, err);
    if (rc < 0)
        return rc;
    buf_adds(&body, "<CompleteMultipartUpload xmlns=\"http://s3.amazonaws.com/doc/2006-03-01/\">");
    buf_add(&body, p->list.data, p->list.len);
    buf_adds(&body, "</CompleteMultipartUpload>");
    rc = buf_check(&body, "the list of parts", err);
    if (rc >= 0)
        rc = s3_sha256(body.data, body.len, sha, err);
    if (rc < 0)
        return rc;
    const struct s3_ask q = {
        .method = "POST",
        .key = p->key,
        .query = {{"uploadId", p->upload_id}},
        .n_query = 1,
        .body = {.data = body.data, .size = (int64_t)body.len},
        .body_sha256 = sha,
        .limit_ms = limit_of(p->base.size),
    };
    return send_last(p, &q, err);
}

int s3_put_commit(struct storage_put *base, struct err *err)
{
    struct s3_put *p = put_of(base);
    int rc = p->upload_id ? commit_parts(p, err) : commit_whole(p, err);
    if (rc < 0 && rc != ERR_UNCERTAIN) {
        s3_put_abort(base);
        return rc;
    }
    put_free(p);
    return rc;
}
