/* SPDX-License-Identifier: MIT */
/*
 * The canonical request is hashed, the hash goes into the string to sign, and that is signed with a key derived from
 * the secret, the day, the region and the service. libcurl has a signer of its own, but it signs queries unsorted and
 * paths as written, cannot presign, and breaks when a header of its own is taken out.
 */
#include "storage/s3_sign.h"

#include "base/str.h"

#include <openssl/crypto.h>
#include <openssl/evp.h>
#include <openssl/hmac.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

#define ALGORITHM "AWS4-HMAC-SHA256"

enum { DIGEST = 32, CANONICAL_MAX = 64 << 10, PRESIGN_PARAMS_MAX = 8 };

static bool is_plain(unsigned char c)
{
    return (c >= 'A' && c <= 'Z') || (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9') || c == '-' || c == '.' ||
           c == '_' || c == '~';
}

void s3_add_encoded(struct buf *b, const char *s, bool keep_slash)
{
    for (; *s; s++) {
        unsigned char c = (unsigned char)*s;
        if (is_plain(c) || (keep_slash && c == '/'))
            buf_addc(b, *s);
        else
            buf_addf(b, "%%%02X", c);
    }
}

/* `fields`, at most S3_FIELDS_MAX, by name. */
static void sort_fields(const struct s3_field *fields, size_t n, struct s3_field sorted[S3_FIELDS_MAX])
{
    for (size_t i = 0; i < n; i++) {
        size_t at = i;
        for (; at > 0 && strcmp(sorted[at - 1].name, fields[i].name) > 0; at--)
            sorted[at] = sorted[at - 1];
        sorted[at] = fields[i];
    }
}

void s3_add_query(struct buf *b, const struct s3_field *params, size_t n)
{
    struct s3_field sorted[S3_FIELDS_MAX];
    n = MIN(n, S3_FIELDS_MAX);
    sort_fields(params, n, sorted);
    for (size_t i = 0; i < n; i++) {
        buf_addf(b, "%s%s=", i ? "&" : "", sorted[i].name);
        s3_add_encoded(b, sorted[i].value, false);
    }
}

void s3_date(int64_t wall_ms, char ret[S3_DATE_SIZE])
{
    time_t t = (time_t)(wall_ms / 1000);
    struct tm tm;
    gmtime_r(&t, &tm);
    if (strftime(ret, S3_DATE_SIZE, "%Y%m%dT%H%M%SZ", &tm) == 0)
        ret[0] = '\0';
}

int s3_sha256(const void *data, size_t n, char ret[S3_SHA256_SIZE], struct err *err)
{
    unsigned char digest[EVP_MAX_MD_SIZE];
    unsigned len = 0;
    if (EVP_Digest(data, n, digest, &len, EVP_sha256(), NULL) != 1 || len != DIGEST)
        return err_set(err, ERR_INTERNAL, "SHA-256 failed");
    str_hex(digest, len, ret);
    return 0;
}

static bool hmac(const void *key, size_t key_len, const char *text, unsigned char ret[DIGEST])
{
    unsigned len = 0;
    return HMAC(EVP_sha256(), key, (int)key_len, (const unsigned char *)text, strlen(text), ret, &len) && len == DIGEST;
}

/* Blanks at both ends do not count, and a run of them counts as one. */
static void add_value(struct buf *b, const char *v)
{
    bool started = false, blank = false;
    for (; *v; v++) {
        if (*v == ' ' || *v == '\t') {
            blank = started;
            continue;
        }
        if (blank)
            buf_addc(b, ' ');
        buf_addc(b, *v);
        started = true;
        blank = false;
    }
}

static void add_signed_names(struct buf *b, const struct s3_field *sorted, size_t n)
{
    for (size_t i = 0; i < n; i++)
        buf_addf(b, "%s%s", i ? ";" : "", sorted[i].name);
}

static void add_credential_scope(struct buf *b, const struct s3_scope *scope, const char *date)
{
    buf_addf(b, "%.8s/%s/%s/aws4_request", date, scope->region, scope->service);
}

/* The signature in hex; q's fields are sorted. */
static int signature(const struct s3_signable *q, const struct s3_scope *scope, const char *secret,
                     char ret[2 * DIGEST + 1], struct err *err)
{
    CLEANUP(buf_clear) struct buf text = BUF_INIT(CANONICAL_MAX);
    buf_addf(&text, "%s\n%s\n%s\n", q->method, q->path, q->query);
    for (size_t i = 0; i < q->n_fields; i++) {
        buf_addf(&text, "%s:", q->fields[i].name);
        add_value(&text, q->fields[i].value);
        buf_addc(&text, '\n');
    }
    buf_addc(&text, '\n');
    add_signed_names(&text, q->fields, q->n_fields);
    buf_addf(&text, "\n%s", q->payload);
    int rc = buf_check(&text, "the request to sign", err);
    if (rc < 0)
        return rc;
    char hash[S3_SHA256_SIZE], date[S3_DATE_SIZE], day[9];
    rc = s3_sha256(text.data, text.len, hash, err);
    if (rc < 0)
        return rc;
    s3_date(scope->now_ms, date);
    snprintf(day, sizeof day, "%.8s", date);
    buf_reset(&text);
    buf_addf(&text, ALGORITHM "\n%s\n", date);
    add_credential_scope(&text, scope, date);
    buf_addf(&text, "\n%s", hash);

    unsigned char key[DIGEST], mac[DIGEST];
    CLEANUP(buf_clear) struct buf first = BUF_INIT(4096);
    buf_addf(&first, "AWS4%s", secret);
    rc = buf_check(&first, "the secret key", err);
    if (rc < 0)
        return rc;
    bool ok = buf_ok(&text) && hmac(first.data, first.len, day, key) && hmac(key, DIGEST, scope->region, mac) &&
              hmac(mac, DIGEST, scope->service, key) && hmac(key, DIGEST, "aws4_request", mac) &&
              hmac(mac, DIGEST, buf_str(&text), key);
    OPENSSL_cleanse(first.data, first.len);
    OPENSSL_cleanse(mac, sizeof mac);
    if (!ok)
        return err_set(err, ERR_INTERNAL, "HMAC-SHA-256 failed");
    str_hex(key, DIGEST, ret);
    return 0;
}

int s3_sign(const struct s3_signable *q, const struct s3_scope *scope, const struct s3_keys *keys, struct buf *ret,
            struct err *err)
{
    struct s3_field sorted[S3_FIELDS_MAX];
    char hex[2 * DIGEST + 1], date[S3_DATE_SIZE];
    if (q->n_fields > S3_FIELDS_MAX)
        return err_set(err, ERR_INTERNAL, "too many headers to sign");
    sort_fields(q->fields, q->n_fields, sorted);
    struct s3_signable in_order = *q;
    in_order.fields = sorted;
    int rc = signature(&in_order, scope, keys->secret, hex, err);
    if (rc < 0)
        return rc;
    s3_date(scope->now_ms, date);
    buf_addf(ret, ALGORITHM " Credential=%s/", keys->access);
    add_credential_scope(ret, scope, date);
    buf_adds(ret, ",SignedHeaders=");
    add_signed_names(ret, sorted, q->n_fields);
    buf_addf(ret, ",Signature=%s", hex);
    return buf_check(ret, "the signature", err);
}

int s3_presign(const char *method, const char *base, const char *host, const char *path, const struct s3_field *params,
               size_t n_params, int64_t expires_s, const struct s3_scope *scope, const struct s3_keys *keys,
               struct buf *ret, struct err *err)
{
    char date[S3_DATE_SIZE], expires[24], hex[2 * DIGEST + 1];
    if (n_params > PRESIGN_PARAMS_MAX)
        return err_set(err, ERR_INTERNAL, "too many parameters to sign");
    s3_date(scope->now_ms, date);
    snprintf(expires, sizeof expires, "%lld", (long long)expires_s);
    CLEANUP(buf_clear) struct buf credential = BUF_INIT(4096), query = BUF_INIT(CANONICAL_MAX);
    buf_addf(&credential, "%s/", keys->access);
    add_credential_scope(&credential, scope, date);
    struct s3_field all[S3_FIELDS_MAX] = {
        {"X-Amz-Algorithm", ALGORITHM},
        {"X-Amz-Credential", buf_str(&credential)},
        {"X-Amz-Date", date},
        {"X-Amz-Expires", expires},
        {"X-Amz-SignedHeaders", "host"},
    };
    size_t n = 5;
    if (keys->token && *keys->token)
        all[n++] = (struct s3_field){"X-Amz-Security-Token", keys->token};
    for (size_t i = 0; i < n_params; i++)
        all[n++] = params[i];
    s3_add_query(&query, all, n);
    int rc = buf_check(&credential, "the access key", err);
    if (rc >= 0)
        rc = buf_check(&query, "the query", err);
    if (rc < 0)
        return rc;
    const struct s3_field field = {"host", host};
    const struct s3_signable q = {
        .method = method,
        .path = path,
        .query = buf_str(&query),
        .fields = &field,
        .n_fields = 1,
        .payload = S3_UNSIGNED_PAYLOAD,
    };
    rc = signature(&q, scope, keys->secret, hex, err);
    if (rc < 0)
        return rc;
    buf_addf(ret, "%s%s?%s&X-Amz-Signature=%s", base, path, buf_str(&query), hex);
    return buf_check(ret, "the URL", err);
}
