/* SPDX-License-Identifier: MIT */
/*
 * Reading. A connection that breaks in the middle is taken up again where it stopped, as long as the object is the same
 * (If-Match with its ETag): a reader never gets the beginning of one object and the end of another. Who reads the whole
 * of an object whose writer noted its SHA-256 gets the last bytes only if it is right.
 */
#include "base/clock.h"
#include "base/io.h"
#include "base/log.h"
#include "base/mem.h"
#include "base/str.h"
#include "storage/s3.h"

#include <errno.h>
#include <fcntl.h>
#include <openssl/evp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { RESUMES = 6, FETCHES = 2, PIECE = 256 << 10 };

static const struct log_ctx lc = {.component = "storage"};

struct s3_get {
    struct storage_get base;
    struct s3 *s;
    struct s3_http_call *call; /* NULL: broken off, or nothing left to read */
    int64_t at, size;
    unsigned resumes; /* without a byte in between */
    char etag[S3_ETAG_SIZE];
    char sha256[S3_SHA256_SIZE]; /* what must come out; "": nobody knows, or not the whole is read */
    EVP_MD_CTX *sha;
    char key[];
};

static struct s3_get *get_of(struct storage_get *g)
{
    return CONTAINER_OF(g, struct s3_get, base);
}

/* Asks for everything from g->at on. */
static int request(struct s3_get *g, struct s3_answer *a, struct err *err)
{
    char range[40];
    snprintf(range, sizeof range, "bytes=%lld-", (long long)g->at);
    struct s3_ask q = {.method = "GET", .key = g->key};
    if (g->at > 0)
        q.fields[q.n_fields++] = (struct s3_field){"range", range};
    if (*g->etag)
        q.fields[q.n_fields++] = (struct s3_field){"if-match", g->etag};
    int rc = s3_send(g->s, &q, a, &g->call, err);
    if (rc < 0)
        return rc;
    if (g->at > 0 && (a->status != 206 || a->first != g->at)) {
        s3_http_end(TAKE(g->call));
        return err_set(err, ERR_UNAVAILABLE, "the S3 server sends other bytes than were asked for");
    }
    return 0;
}

/* At the end of an object, and in an empty one, there is no byte that a range could name: the size decides. */
static int look_at_end(struct s3_get *g, int64_t offset, struct s3_answer *a, struct err *err)
{
    struct err why = *err;
    const struct s3_ask q = {.method = "HEAD", .key = g->key};
    int rc = s3_send(g->s, &q, a, NULL, err);
    if (rc < 0)
        return rc;
    if (a->length == offset)
        return 0;
    if (a->length > offset) {
        *err = why;
        return err->code = ERR_UNAVAILABLE; /* it changed between the two */
    }
    return err_set(err, ERR_INVALID, "byte %lld is beyond its %lld bytes", (long long)offset, (long long)a->length);
}

/* `etag`: only the object that has this one; "": any. */
static int get_begin(struct storage *base, const char *key, const char *etag, int64_t offset, struct storage_get **ret,
                     struct object_info *ret_info, struct err *err)
{
    struct s3_get *g = xcalloc(1, sizeof *g + strlen(key) + 1);
    CLEANUP(s3_answer_clear) struct s3_answer a = S3_ANSWER_INIT;
    memcpy(g->key, key, strlen(key) + 1);
    g->s = s3_of(base);
    g->at = offset;
    snprintf(g->etag, sizeof g->etag, "%s", etag);
    int rc = request(g, &a, err);
    if (rc == ERR_INVALID && a.status == 416)
        rc = look_at_end(g, offset, &a, err);
    g->size = g->call && offset > 0 ? a.total : a.length;
    if (rc >= 0 && g->size < 0)
        rc = err_set(err, ERR_UNAVAILABLE, "the S3 server does not say how long the object is");
    if (rc >= 0 && offset == 0 && strlen(a.sha256) == S3_SHA256_SIZE - 1) {
        memcpy(g->sha256, a.sha256, sizeof g->sha256);
        g->sha = EVP_MD_CTX_new();
        if (!g->sha || EVP_DigestInit_ex(g->sha, EVP_sha256(), NULL) != 1)
            rc = err_set(err, ERR_NOMEM, "cannot start a SHA-256");
    }
    if (rc < 0) {
        s3_get_end(&g->base);
        return rc;
    }
    memcpy(g->etag, a.etag, sizeof g->etag);
    ret_info->size = g->size;
    ret_info->modified_ms = a.modified_ms;
    *ret = &g->base;
    return 0;
}

int s3_get_begin(struct storage *base, const char *key, int64_t offset, struct storage_get **ret,
                 struct object_info *ret_info, struct err *err)
{
    return get_begin(base, key, "", offset, ret, ret_info, err);
}

static int resume(struct s3_get *g, struct err *err)
{
    struct s3_answer a = S3_ANSWER_INIT;
    log_debug(&lc, "going on with '%s' at byte %lld: %s", g->key, (long long)g->at, err->msg);
    int rc = *g->etag ? request(g, &a, err)
                      : err_set(err, ERR_UNAVAILABLE, "it broke off, and the S3 server gave no ETag to go on with");
    s3_answer_clear(&a);
    if (rc == ERR_CONFLICT || rc == ERR_NOT_FOUND || rc == ERR_INVALID)
        return err_set(err, ERR_UNAVAILABLE, "it broke off, and was replaced or deleted before it could go on");
    return rc;
}

static int check_sum(struct s3_get *g, struct err *err)
{
    unsigned char digest[EVP_MAX_MD_SIZE];
    unsigned n = 0;
    char hex[2 * EVP_MAX_MD_SIZE + 1];
    if (EVP_DigestFinal_ex(g->sha, digest, &n) != 1)
        return err_set(err, ERR_INTERNAL, "SHA-256 failed");
    EVP_MD_CTX_free(TAKE(g->sha));
    str_hex(digest, n, hex);
    if (strcmp(hex, g->sha256) != 0)
        return err_set(err, ERR_CORRUPT, "its SHA-256 is %s, not %s as it was stored", hex, g->sha256);
    return 0;
}

ssize_t s3_get_read(struct storage_get *base, void *data, size_t n, struct err *err)
{
    struct s3_get *g = get_of(base);
    if (g->at >= g->size || n == 0)
        return g->sha && g->at >= g->size && check_sum(g, err) < 0 ? err->code : 0;
    n = (size_t)MIN((int64_t)n, g->size - g->at);
    for (;;) {
        ssize_t k = g->call ? s3_http_read(g->call, data, n, err) : 0;
        if (k == 0)
            err_set(err, ERR_UNAVAILABLE, "the answer ended too early");
        if (k > 0) {
            g->at += k;
            g->resumes = 0;
            if (g->sha && EVP_DigestUpdate(g->sha, data, (size_t)k) != 1)
                return err_set(err, ERR_INTERNAL, "SHA-256 failed");
            /* Before the last bytes leave, or a reader that counts would never ask for the end. */
            if (g->sha && g->at == g->size && check_sum(g, err) < 0)
                return err->code;
            return k;
        }
        s3_http_end(TAKE(g->call));
        if (err->code == ERR_NOMEM || ++g->resumes > RESUMES)
            return err->code;
        if (g->resumes > 1)
            s3_pause(g->s, g->resumes - 1);
        int rc = resume(g, err);
        if (rc < 0)
            return rc;
    }
}

void s3_get_end(struct storage_get *base)
{
    struct s3_get *g = get_of(base);
    s3_http_end(g->call);
    EVP_MD_CTX_free(g->sha);
    free(g);
}

/* ---- to a file ---- */

/* Writes the object to fd and gives its SHA-256. */
static int copy_out(struct s3 *s, const char *key, const char *etag, int fd, const char *path,
                    char ret_sha256[S3_SHA256_SIZE], struct err *err)
{
    struct storage_get *g = NULL;
    struct object_info info = {0};
    int rc = get_begin(&s->base, key, etag, 0, &g, &info, err);
    if (rc == ERR_CONFLICT && *etag)
        return err_set(err, ERR_CORRUPT, "it was replaced after it was submitted");
    if (rc < 0)
        return rc;
    EVP_MD_CTX *sha = EVP_MD_CTX_new();
    char *piece = malloc(PIECE);
    unsigned char digest[EVP_MAX_MD_SIZE];
    unsigned n = 0;
    if (!sha || !piece || EVP_DigestInit_ex(sha, EVP_sha256(), NULL) != 1)
        rc = err_set(err, ERR_NOMEM, "no memory to fetch an object");
    while (rc == 0) {
        ssize_t k = s3_get_read(g, piece, PIECE, err);
        if (k <= 0) {
            rc = (int)k;
            break;
        }
        if (EVP_DigestUpdate(sha, piece, (size_t)k) != 1)
            rc = err_set(err, ERR_INTERNAL, "SHA-256 failed");
        if (rc == 0 && io_write_all(fd, piece, (size_t)k, err) < 0) {
            rc = err->sys == ENOSPC || err->sys == EDQUOT
                     ? err_set(err, ERR_UNAVAILABLE, "disk full: no room for '%s'; free some space there", path)
                     : err_wrap(err, "'%s'", path);
        }
    }
    if (rc == 0 && EVP_DigestFinal_ex(sha, digest, &n) == 1)
        str_hex(digest, n, ret_sha256);
    EVP_MD_CTX_free(sha);
    free(piece);
    s3_get_end(g);
    return rc;
}

int s3_fetch(struct storage *base, const char *key, const char *sha256, const char *path, struct err *err)
{
    struct s3 *s = s3_of(base);
    CLEANUP(close_fd) int fd = open(path, O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0400);
    if (fd < 0) {
        /* Not NOT_FOUND when the folder is missing: that would say the object is. */
        int rc = err_sys(err, errno, "cannot make '%s'", path);
        return rc == ERR_CONFLICT || rc == ERR_NOMEM ? rc : (err->code = ERR_UNAVAILABLE);
    }
    bool by_etag = sha256 && str_starts(sha256, STORAGE_ETAG_PREFIX);
    const char *etag = by_etag ? sha256 + strlen(STORAGE_ETAG_PREFIX) : "";
    int rc = 0;
    for (int i = 1; i <= FETCHES; i++) {
        char sum[S3_SHA256_SIZE] = "";
        rc = copy_out(s, key, etag, fd, path, sum, err);
        if (rc == 0 && !*etag && sha256 && *sha256 && strcmp(sum, sha256) != 0)
            rc = err_set(err, ERR_CORRUPT, "its SHA-256 is %s, not %s as it was stored", sum, sha256);
        /* Damage on the way passes; damage in the store shows again. */
        if (rc != ERR_CORRUPT || i == FETCHES)
            break;
        log_debug(&lc, "fetching '%s' again: %s", key, err->msg);
        if (ftruncate(fd, 0) < 0 || lseek(fd, 0, SEEK_SET) < 0) {
            rc = err_sys(err, errno, "cannot empty '%s'", path);
            break;
        }
    }
    if (rc < 0)
        unlink(path);
    return rc;
}
