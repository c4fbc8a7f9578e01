/* SPDX-License-Identifier: MIT */
#include "storage/s3_spool.h"

#include "base/io.h"
#include "base/mem.h"
#include "base/str.h"

#include <errno.h>
#include <fcntl.h>
#include <openssl/evp.h>
#include <stdlib.h>
#include <unistd.h>

static int restart_sha(struct s3_spool *s, struct err *err)
{
    return EVP_DigestInit_ex(s->sha, EVP_sha256(), NULL) == 1 ? 0 : err_set(err, ERR_INTERNAL, "SHA-256 failed");
}

int s3_spool_init(struct s3_spool *s, const char *folder, struct err *err)
{
    *s = (struct s3_spool){.folder = folder, .fd = -1, .sha = EVP_MD_CTX_new()};
    buf_init(&s->memory, S3_SPOOL_MEMORY);
    if (!s->sha)
        return err_set(err, ERR_NOMEM, "no memory for an upload");
    return restart_sha(s, err);
}

void s3_spool_clear(struct s3_spool *s)
{
    EVP_MD_CTX_free(s->sha);
    buf_clear(&s->memory);
    close_fd(&s->fd);
    *s = (struct s3_spool){.fd = -1};
}

static int no_room(const struct s3_spool *s, int sys, struct err *err)
{
    int code = err_sys(err, sys, "no room for an upload in '%s'; free some space there", s->folder);
    return code == ERR_NOMEM ? code : (err->code = ERR_UNAVAILABLE);
}

/* A file nobody else sees, and that is gone with its last descriptor. */
static int open_file(const struct s3_spool *s, struct err *err)
{
    int fd = open(s->folder, O_TMPFILE | O_RDWR | O_CLOEXEC, 0600);
    if (fd < 0 && errno == ENOENT) {
        int rc = io_mkdir_p(s->folder, err);
        if (rc < 0)
            return err->code = ERR_UNAVAILABLE;
        fd = open(s->folder, O_TMPFILE | O_RDWR | O_CLOEXEC, 0600);
    }
    if (fd < 0 && (errno == EOPNOTSUPP || errno == EISDIR)) {
        /* A file system that cannot do that (overlayfs of old kernels, NFS). */
        CLEANUP(free_p) char *path = xasprintf("%s/s3-XXXXXX", s->folder);
        fd = mkostemp(path, O_CLOEXEC);
        if (fd >= 0)
            unlink(path);
    }
    return fd < 0 ? no_room(s, errno, err) : fd;
}

static int write_at(struct s3_spool *s, const char *p, size_t n, int64_t at, struct err *err)
{
    while (n) {
        ssize_t k = pwrite(s->fd, p, n, at);
        if (k < 0 && errno == EINTR)
            continue;
        if (k <= 0)
            return no_room(s, k < 0 ? errno : ENOSPC, err);
        p += k;
        n -= (size_t)k;
        at += k;
    }
    return 0;
}

int s3_spool_add(struct s3_spool *s, const void *data, size_t n, struct err *err)
{
    int rc = 0;
    if (s->fd < 0 && s->memory.len + n > S3_SPOOL_MEMORY) {
        s->fd = open_file(s, err);
        rc = s->fd < 0 ? s->fd : write_at(s, buf_str(&s->memory), s->memory.len, 0, err);
        if (rc < 0)
            return rc;
        buf_clear(&s->memory);
    }
    if (s->fd >= 0) {
        rc = write_at(s, data, n, s->size, err);
    } else {
        buf_add(&s->memory, data, n);
        rc = buf_check(&s->memory, "an upload", err);
    }
    if (rc >= 0 && EVP_DigestUpdate(s->sha, data, n) != 1)
        rc = err_set(err, ERR_INTERNAL, "SHA-256 failed");
    if (rc >= 0)
        s->size += (int64_t)n;
    return rc;
}

int s3_spool_body(struct s3_spool *s, struct s3_http_body *ret, char ret_sha256[S3_SHA256_SIZE], struct err *err)
{
    unsigned char digest[EVP_MAX_MD_SIZE];
    unsigned n = 0;
    if (EVP_DigestFinal_ex(s->sha, digest, &n) != 1 || 2 * n + 1 != S3_SHA256_SIZE)
        return err_set(err, ERR_INTERNAL, "SHA-256 failed");
    str_hex(digest, n, ret_sha256);
    *ret = (struct s3_http_body){.data = s->fd < 0 ? buf_str(&s->memory) : NULL, .fd = s->fd, .size = s->size};
    return 0;
}

int s3_spool_reset(struct s3_spool *s, struct err *err)
{
    /* The file keeps its pages: the next part writes over them. */
    s->size = 0;
    buf_reset(&s->memory);
    return restart_sha(s, err);
}
