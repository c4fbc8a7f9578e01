/* SPDX-License-Identifier: MIT */
/*
 * One request: path and query are built, everything is signed, sent, and sent again while it may help: connection
 * errors, silence, 5xx and the few codes that pass. Pauses are random up to a bound that doubles, so that many clients
 * of a server that comes back do not arrive together. All requests can be repeated: a PUT writes the same again.
 */
#include "base/clock.h"
#include "base/log.h"
#include "base/mem.h"
#include "base/stop.h"
#include "base/str.h"
#include "storage/s3_error.h"

#include <curl/curl.h>
#include <openssl/crypto.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { URL_MAX = 32 << 10, AUTH_MAX = 4096 };

static const char nothing_sha256[] = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";
static const struct log_ctx lc = {.component = "storage"};

void s3_answer_clear(struct s3_answer *a)
{
    buf_clear(&a->body);
}

void s3_pause(const struct s3 *s, unsigned attempt)
{
    /* With a time-out of 15 s: 200 ms at first, never over 5 s. */
    int64_t first = MAX(s->timeout_ms / 75, (int64_t)1);
    int64_t most = MIN(first << MIN(attempt - 1, 10u), MAX(s->timeout_ms / 3, (int64_t)1));
    clock_sleep_ms(most / 4 + random_below(most));
}

void s3_add_path(struct buf *b, const struct s3 *s, const char *key)
{
    buf_adds(b, s->path);
    if (!key) {
        /* "/bucket/" is the bucket as well, but not to every server. */
        if (b->len > 1 && b->data[b->len - 1] == '/')
            b->data[--b->len] = '\0';
        return;
    }
    s3_add_encoded(b, s->prefix, true);
    s3_add_encoded(b, key, true);
}

static void copy(char *to, size_t size, const char *from)
{
    if (strlen(from) < size)
        memcpy(to, from, strlen(from) + 1);
}

/* "bytes 100-299/1000" */
static void take_range(const char *value, struct s3_answer *a)
{
    char text[80];
    if (!str_starts(value, "bytes ") || strlen(value) >= sizeof text)
        return;
    memcpy(text, value, strlen(value) + 1);
    char *first = text + strlen("bytes "), *dash = strchr(first, '-'), *slash = strchr(first, '/');
    if (!dash || !slash)
        return;
    *dash = '\0';
    int64_t from, total;
    if (str_to_i64(first, &from) && str_to_i64(slash + 1, &total)) {
        a->first = from;
        a->total = total;
    }
}

/* What objects carry of ours stands in x-amz-meta-. */
static void on_field(const char *name, const char *value, void *arg)
{
    struct s3_answer *a = arg;
    if (strcmp(name, "content-length") == 0) {
        if (!str_to_i64(value, &a->length))
            a->length = -1;
    } else if (strcmp(name, "content-range") == 0) {
        take_range(value, a);
    } else if (strcmp(name, "last-modified") == 0) {
        time_t t = curl_getdate(value, NULL);
        a->modified_ms = t < 0 ? 0 : (int64_t)t * 1000;
    } else if (strcmp(name, "etag") == 0) {
        copy(a->etag, sizeof a->etag, value);
    } else if (strcmp(name, "content-type") == 0) {
        copy(a->type, sizeof a->type, value);
    } else if (strcmp(name, "x-amz-meta-sha256") == 0) {
        copy(a->sha256, sizeof a->sha256, value);
    } else if (strcmp(name, "x-amz-meta-write-id") == 0) {
        copy(a->write_id, sizeof a->write_id, value);
    } else if (strcmp(name, "x-amz-bucket-region") == 0) {
        copy(a->region, sizeof a->region, value);
    }
}

/* Forgets the try before; what was lost stays lost. */
static void forget(struct s3_answer *a)
{
    struct buf body = a->body;
    bool lost = a->lost;
    buf_reset(&body);
    *a = (struct s3_answer){.length = -1, .first = -1, .total = -1, .lost = lost, .body = body};
}

static int sign(const struct s3 *s, const struct s3_ask *q, const struct s3_keyset *keys, const char *path,
                const char *query, int64_t now_ms, struct s3_field fields[S3_FIELDS_MAX], size_t *n_fields,
                struct buf *auth, struct err *err)
{
    const struct s3_scope scope = {.region = s->region, .service = "s3", .now_ms = now_ms};
    const struct s3_signable what = {
        .method = q->method,
        .path = path,
        .query = query,
        .fields = fields,
        .n_fields = *n_fields,
        .payload = q->body_sha256 ? q->body_sha256 : nothing_sha256,
    };
    const struct s3_keys k = {keys->access, keys->secret, keys->token};
    int rc = s3_sign(&what, &scope, &k, auth, err);
    if (rc >= 0)
        fields[(*n_fields)++] = (struct s3_field){"authorization", buf_str(auth)};
    return rc;
}

static int read_body(struct s3_http_call *call, struct s3_answer *a, struct err *err)
{
    char piece[16 << 10];
    for (;;) {
        ssize_t k = s3_http_read(call, piece, sizeof piece, err);
        if (k < 0)
            return (int)k;
        if (k == 0)
            return buf_check(&a->body, "the S3 server's answer", err);
        buf_add(&a->body, piece, (size_t)k);
    }
}

/* One try; *ret_again says whether another may help. */
static int once(struct s3 *s, const struct s3_ask *q, const struct s3_keyset *keys, struct s3_answer *a,
                struct s3_http_call **stream, bool *ret_again, struct err *err)
{
    CLEANUP(buf_clear) struct buf url = BUF_INIT(URL_MAX), query = BUF_INIT(URL_MAX), auth = BUF_INIT(AUTH_MAX);
    char date[S3_DATE_SIZE];
    *ret_again = false;
    int64_t now_ms = clock_wall_ms(); /* one moment for header and signature */
    s3_date(now_ms, date);
    buf_adds(&url, s->base_url);
    size_t path = url.len;
    s3_add_path(&url, s, q->key);
    s3_add_query(&query, q->query, q->n_query);
    CLEANUP(free_p) char *path_text = xstrdup(buf_str(&url) + path);
    buf_addf(&url, query.len ? "?%s" : "%s", buf_str(&query));
    int rc = buf_check(&url, "the URL", err);
    if (rc < 0)
        return rc;
    struct s3_field fields[S3_FIELDS_MAX + 1] = {
        {"host", s->host},
        {"x-amz-date", date},
        {"x-amz-content-sha256", q->body_sha256 ? q->body_sha256 : nothing_sha256},
    };
    size_t n = 3;
    if (keys->token)
        fields[n++] = (struct s3_field){"x-amz-security-token", keys->token};
    for (size_t i = 0; i < q->n_fields; i++)
        fields[n++] = q->fields[i];
    rc = sign(s, q, keys, path_text, buf_str(&query), now_ms, fields, &n, &auth, err);
    if (rc < 0)
        return rc;
    const struct s3_http_request request = {
        .method = q->method,
        .url = buf_str(&url),
        .fields = fields,
        .n_fields = n,
        .body = q->body,
        .limit_ms = q->limit_ms,
    };
    struct s3_http_call *call = NULL;
    bool lost = false;
    forget(a);
    rc = s3_http_begin(s->http, &request, on_field, a, &a->status, &lost, &call, err);
    a->lost = a->lost || lost;
    if (rc < 0) {
        *ret_again = rc != ERR_NOMEM;
        return err_wrap(err, "S3 server %s", s->host);
    }
    bool good = a->status >= 200 && a->status < 300;
    if (good && stream) {
        *stream = call;
        return 0;
    }
    rc = read_body(call, a, err);
    s3_http_end(call);
    if (rc < 0 && good) {
        a->lost = true;
        *ret_again = rc != ERR_NOMEM && rc != ERR_TOO_LARGE;
        return err_wrap(err, "S3 server %s", s->host);
    }
    /* A complete may answer 200 and then change its mind. */
    if ((!good || strcmp(q->method, "POST") == 0) && s3_error_read(a) && good)
        a->status = 500;
    return a->status >= 200 && a->status < 300 ? 0 : s3_error(s, q->method, a, ret_again, err);
}

static bool about_keys(const struct s3_answer *a)
{
    return strcmp(a->code, "ExpiredToken") == 0 || strcmp(a->code, "TokenRefreshRequired") == 0 ||
           strcmp(a->code, "InvalidToken") == 0;
}

int s3_send(struct s3 *s, const struct s3_ask *q, struct s3_answer *ret, struct s3_http_call **stream, struct err *err)
{
    unsigned tries = q->tries ? q->tries : S3_TRIES;
    bool renewed = false;
    int rc;
    for (unsigned i = 1;; i++) {
        CLEANUP(s3_keyset_clear) struct s3_keyset keys = {0};
        bool again = false;
        rc = s3_creds_get(s->creds, &keys, err);
        if (rc < 0)
            return rc;
        rc = once(s, q, &keys, ret, stream, &again, err);
        if (rc >= 0)
            return rc;
        if (!renewed && about_keys(ret) && s3_creds_expired(s->creds, &keys)) {
            renewed = true;
            i--;
            continue;
        }
        /* Whoever stops has no time for a server that is away: others take the work over. */
        if (!again || stop_requested() || i >= tries)
            return rc;
        log_debug(&lc, "S3 %s, try %u: %s", q->method, i, err->msg);
        s3_pause(s, i);
    }
}

int s3_make_bucket(struct s3 *s, struct err *err)
{
    CLEANUP(buf_clear) struct buf body = BUF_INIT(1024);
    char sha[S3_SHA256_SIZE];
    /* Servers other than Amazon's know no such regions, and Amazon's first one must not be named. */
    if (s->amazon && strcmp(s->region, "us-east-1") != 0)
        buf_addf(&body,
                 "<CreateBucketConfiguration xmlns=\"http://s3.amazonaws.com/doc/2006-03-01/\"><LocationConstraint>%s"
                 "</LocationConstraint></CreateBucketConfiguration>",
                 s->region);
    int rc = s3_sha256(buf_str(&body), body.len, sha, err);
    if (rc < 0)
        return rc;
    const struct s3_ask q = {
        .method = "PUT", .body = {.data = buf_str(&body), .size = (int64_t)body.len}, .body_sha256 = sha};
    CLEANUP(s3_answer_clear) struct s3_answer a = S3_ANSWER_INIT;
    rc = s3_send(s, &q, &a, NULL, err);
    if (rc < 0 && strcmp(a.code, "BucketAlreadyOwnedByYou") == 0)
        return 0;
    return rc < 0 ? err_wrap(err, "cannot make bucket '%s'", s->bucket) : 0;
}
