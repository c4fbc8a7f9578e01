/* SPDX-License-Identifier: MIT */
/*
 * Objects in a bucket of an S3 server: Amazon's, MinIO, Ceph and others that speak its protocol.
 *
 * The parts: s3_sign (signatures), s3_creds* (whose keys), s3_http (one exchange), s3_request (signed, with retries),
 * s3_error (what a no means), s3_xml, s3_spool (bytes of the next request), and the operations: s3_put, s3_get,
 * s3_list; the small ones are here.
 *
 * Nothing is kept about the bucket, so any number of processes may share it. At the start it is looked at once, and
 * made when it is missing; a server that is away then is no obstacle: each operation says so by itself later.
 */
#include "base/clock.h"
#include "base/log.h"
#include "base/mem.h"
#include "base/str.h"
#include "storage/s3.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { CONNECT_MS = 5000, SILENCE_MS = 15000, PROBE_MS = 5000, REQUEST_MS = 60000 };

static const struct log_ctx lc = {.component = "storage"};

static void s3_close(struct storage *base)
{
    struct s3 *s = s3_of(base);
    s3_http_free(s->http);
    s3_creds_free(s->creds);
    free(s->bucket);
    free(s->prefix);
    free(s->base_url);
    free(s->host);
    free(s->public_url);
    free(s->public_host);
    free(s->path);
    free(s->temp);
    free(s);
}

/* ---- where it is ---- */

/* "//bucket/folder" */
static int parse_url(struct s3 *s, const char *rest, struct err *err)
{
    static const char *const letters = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789.-_";
    if (!str_starts(rest, "//"))
        return err_set(err, ERR_INVALID, "the storage URL names a bucket: s3://bucket or s3://bucket/folder");
    rest += 2;
    size_t n = strcspn(rest, "/");
    if (n < 3 || n > S3_BUCKET_MAX || strspn(rest, letters) < n)
        return err_set(err, ERR_INVALID,
                       "a bucket's name has 3 to %d letters, digits, dots or dashes: s3://bucket or s3://bucket/folder",
                       S3_BUCKET_MAX);
    s->bucket = xasprintf("%.*s", (int)n, rest);
    const char *folder = rest + n + (rest[n] == '/');
    size_t len = strlen(folder);
    while (len && folder[len - 1] == '/')
        len--;
    s->prefix = len ? xasprintf("%.*s/", (int)len, folder) : xstrdup("");
    if (!len)
        return 0;
    s->prefix[len] = '\0';
    int rc = storage_key_check(s->prefix, err);
    s->prefix[len] = '/';
    if (rc >= 0 && len > STORAGE_KEY_MAX / 4)
        rc = err_set(err, ERR_INVALID, "it has more than %d bytes", STORAGE_KEY_MAX / 4);
    return rc < 0 ? err_wrap(err, "the folder in the storage URL") : 0;
}

/* "http://host:port" apart: host gets what stands in the Host header, with the bucket before it where that is the
 * style. */
static int take_endpoint(const char *setting, const char *url, const char *bucket, char **ret_base, char **ret_host,
                         struct err *err)
{
    const char *host = strstr(url, "://");
    size_t n;
    if (!str_starts(url, "http://") && !str_starts(url, "https://"))
        return err_set(err, ERR_INVALID, "%s begins with http:// or https://", setting);
    host += 3;
    n = strcspn(host, "/?#");
    if (!n || memchr(host, '@', n) || (host[n] && strcmp(host + n, "/") != 0))
        return err_set(err, ERR_INVALID, "%s is http://host:port or https://host:port and nothing more", setting);
    /* A port that goes without saying goes unsaid in the Host header, and so in the signature. */
    bool tls = url[4] == 's';
    if (tls && n > 4 && strncmp(host + n - 4, ":443", 4) == 0)
        n -= 4;
    else if (!tls && n > 3 && strncmp(host + n - 3, ":80", 3) == 0)
        n -= 3;
    *ret_host = xasprintf("%s%s%.*s", bucket, *bucket ? "." : "", (int)n, host);
    *ret_base = xasprintf("%s://%s", tls ? "https" : "http", *ret_host);
    return 0;
}

static int find_region(struct s3 *s, const struct storage_s3_opts *o, struct err *err)
{
    const char *given = o->region;
    int rc = 0;
    if (given && strlen(given) >= sizeof s->region)
        return err_set(err, ERR_INVALID, "s3_region has more than %d characters", S3_REGION_SIZE - 1);
    if (given && *given)
        snprintf(s->region, sizeof s->region, "%s", given);
    else
        rc = s3_creds_region(s->region, err);
    if (rc >= 0 && !*s->region)
        snprintf(s->region, sizeof s->region, "us-east-1");
    if (rc >= 0 && s->region[strspn(s->region, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-_")])
        return err_set(err, ERR_INVALID, "s3_region is a word such as eu-west-3");
    return rc;
}

static int find_server(struct s3 *s, const struct storage_s3_opts *o, struct err *err)
{
    const char *endpoint = o->endpoint && *o->endpoint ? o->endpoint : s3_env("AWS_ENDPOINT_URL_S3");
    CLEANUP(free_p) char *amazons = NULL;
    if (!endpoint)
        endpoint = s3_env("AWS_ENDPOINT_URL");
    if (!endpoint) {
        s->amazon = true;
        amazons = xasprintf("https://s3.%s.amazonaws.com%s", s->region, str_starts(s->region, "cn-") ? ".cn" : "");
        endpoint = amazons;
    }
    /* Amazon's certificate covers one label before the server's name, and a name with dots has more. */
    bool in_host =
        o->style == STORAGE_S3_VIRTUAL || (o->style == STORAGE_S3_AUTO && s->amazon && !strchr(s->bucket, '.'));
    const char *label = in_host ? s->bucket : "";
    int rc = take_endpoint("s3_endpoint", endpoint, label, &s->base_url, &s->host, err);
    if (rc < 0)
        return rc;
    s->path = in_host ? xstrdup("/") : xasprintf("/%s/", s->bucket);
    const char *public = o->public_url && *o->public_url ? o->public_url : endpoint;
    return take_endpoint("s3_public_url", public, label, &s->public_url, &s->public_host, err);
}

/* ---- small operations ---- */

/* Is the bucket there, and do the keys open it? Not by HEAD: its answers hold no code that says what is wrong. */
static int probe(struct s3 *s, int64_t limit_ms, struct s3_answer *a, struct err *err)
{
    const struct s3_ask q = {
        .method = "GET",
        .query = {{"list-type", "2"}, {"max-keys", "1"}, {"prefix", s->prefix}},
        .n_query = 3,
        .tries = 1,
        .limit_ms = limit_ms,
    };
    return s3_send(s, &q, a, NULL, err);
}

static int look_at_bucket(struct s3 *s, struct err *err)
{
    CLEANUP(s3_answer_clear) struct s3_answer a = S3_ANSWER_INIT;
    int rc = probe(s, PROBE_MS, &a, err);
    if (rc < 0 && strcmp(a.code, "NoSuchBucket") == 0)
        rc = s3_make_bucket(s, err);
    if (rc >= 0)
        return 0;
    if (rc == ERR_INVALID)
        return rc;
    /* What a setting must mend stops the start; what may pass does not. */
    if (a.status >= 300 && a.status < 500 && a.status != 429 && a.status != 408)
        return err->code = ERR_INVALID;
    if (a.status == 0 && err->sys == EKEYREJECTED)
        return err->code = ERR_INVALID;
    log_debug(&lc, "S3 is away at the start: %s", err->msg);
    return 0;
}

static int s3_open(const struct storage_opts *o, const char *rest, struct storage **ret, struct err *err)
{
    static const struct storage_s3_opts defaults = {0};
    const struct storage_s3_opts *so = o->s3 ? o->s3 : &defaults;
    struct s3 *s = xcalloc(1, sizeof *s);
    const char *temp = so->temp && *so->temp ? so->temp : s3_env("TMPDIR");
    s->timeout_ms = so->timeout_ms ? so->timeout_ms : SILENCE_MS;
    s->part_size = so->part_size ? so->part_size : 16 * S3_MIB;
    s->temp = xstrdup(temp ? temp : "/tmp");
    const struct s3_http_opts http = {
        .ca_file = so->ca_file,
        .connect_ms = MIN(s->timeout_ms, (int64_t)CONNECT_MS),
        .silence_ms = s->timeout_ms,
    };
    int rc = parse_url(s, rest, err);
    if (rc >= 0 && (s->part_size < S3_PART_MIN || s->part_size > S3_PART_MAX))
        rc = err_set(err, ERR_INVALID, "s3_part_size is 5M to 5G");
    if (rc >= 0)
        rc = find_region(s, so, err);
    if (rc >= 0)
        rc = find_server(s, so, err);
    if (rc >= 0)
        rc = s3_creds_new(so->access_key, so->secret_key, so->session_token, &s->creds, err);
    if (rc >= 0)
        rc = s3_http_new(&http, &s->http, err);
    if (rc >= 0)
        rc = look_at_bucket(s, err);
    if (rc < 0) {
        s3_close(&s->base);
        return rc;
    }
    log_debug(&lc, "bucket '%s' at %s, region %s", s->bucket, s->base_url, s->region);
    *ret = &s->base;
    return 0;
}

static int s3_stat(struct storage *base, const char *key, struct object_info *ret, struct err *err)
{
    const struct s3_ask q = {.method = "HEAD", .key = key, .limit_ms = REQUEST_MS};
    CLEANUP(s3_answer_clear) struct s3_answer a = S3_ANSWER_INIT;
    int rc = s3_send(s3_of(base), &q, &a, NULL, err);
    if (rc >= 0 && a.length < 0)
        rc = err_set(err, ERR_UNAVAILABLE, "the S3 server does not say how long the object is");
    if (rc < 0)
        return rc;
    ret->size = a.length;
    ret->modified_ms = a.modified_ms;
    snprintf(ret->etag, sizeof ret->etag, "%s", a.etag);
    snprintf(ret->type, sizeof ret->type, "%s", a.type);
    return 0;
}

static int s3_remove(struct storage *base, const char *key, struct err *err)
{
    const struct s3_ask q = {.method = "DELETE", .key = key, .limit_ms = REQUEST_MS};
    CLEANUP(s3_answer_clear) struct s3_answer a = S3_ANSWER_INIT;
    int rc = s3_send(s3_of(base), &q, &a, NULL, err);
    return rc == ERR_NOT_FOUND ? 0 : rc;
}

static int s3_ping(struct storage *base, int64_t *ret_free_bytes, struct err *err)
{
    CLEANUP(s3_answer_clear) struct s3_answer a = S3_ANSWER_INIT;
    int rc = probe(s3_of(base), PROBE_MS, &a, err);
    if (rc < 0)
        return rc;
    *ret_free_bytes = -1;
    return 0;
}

static int s3_presign_url(struct storage *base, const char *method, const char *key, const char *type,
                          int64_t expires_s, struct buf *ret, int64_t *ret_until_ms, struct err *err)
{
    struct s3 *s = s3_of(base);
    if (expires_s > S3_PRESIGN_MAX_S)
        return err_set(err, ERR_INVALID, "a link to S3 lasts at most 7 days");
    CLEANUP(s3_keyset_clear) struct s3_keyset keys = {0};
    int rc = s3_creds_get(s->creds, &keys, err);
    if (rc < 0)
        return rc;
    CLEANUP(buf_clear) struct buf path = BUF_INIT(8 * STORAGE_KEY_MAX);
    s3_add_path(&path, s, key);
    rc = buf_check(&path, "the key", err);
    if (rc < 0)
        return rc;
    const struct s3_scope scope = {.region = s->region, .service = "s3", .now_ms = clock_wall_ms()};
    const struct s3_field as = {"response-content-type", type};
    const struct s3_keys k = {keys.access, keys.secret, keys.token};
    *ret_until_ms = scope.now_ms + expires_s * 1000;
    if (keys.until_ms)
        *ret_until_ms = MIN(*ret_until_ms, keys.until_ms);
    return s3_presign(method, s->public_url, s->public_host, buf_str(&path), &as, type != NULL, expires_s, &scope, &k,
                      ret, err);
}

const struct storage_ops storage_s3_ops = {
    .scheme = "s3",
    .open = s3_open,
    .close = s3_close,
    .put_begin = s3_put_begin,
    .put_write = s3_put_write,
    .put_commit = s3_put_commit,
    .put_abort = s3_put_abort,
    .get_begin = s3_get_begin,
    .get_read = s3_get_read,
    .get_end = s3_get_end,
    .fetch = s3_fetch,
    .stat = s3_stat,
    .remove = s3_remove,
    .list = s3_list,
    .sweep = s3_sweep,
    .ping = s3_ping,
    .presign = s3_presign_url,
};
