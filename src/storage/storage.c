/* SPDX-License-Identifier: MIT */
/*
 * The wrappers around a storage back end: what is the same for all of them is here once. Keys and offsets are checked,
 * what is written is counted and hashed on its way, and a write that failed once can no longer be committed.
 */
#include "storage/storage_ops.h"

#include "base/clock.h"
#include "base/fault.h"
#include "base/log.h"
#include "base/mem.h"
#include "base/str.h"

#include <openssl/evp.h>
#include <stdlib.h>
#include <string.h>

enum { URL_MAX = 32 << 10 };

static const struct log_ctx lc = {.component = "storage"};

static const struct storage_ops *const backends[] = {&storage_file_ops, &storage_s3_ops};

/* Counts a failure that is the store's own, an injected one too. Returns rc. */
static int tell(struct storage *s, enum storage_operation o, int rc)
{
    if (rc < 0 && (err_retryable(rc) || rc == ERR_CORRUPT || rc == ERR_INTERNAL))
        atomic_fetch_add_explicit(&s->failures[o], 1, memory_order_relaxed);
    return rc;
}

int storage_open_with(const struct storage_opts *o, struct storage **ret, struct err *err)
{
    const char *url = o->url;
    /* Only the scheme is ever repeated: the rest of a URL may hold a password. */
    size_t n = strcspn(url, ":");
    for (size_t i = 0; url[n] && i < ARRAY_LEN(backends); i++) {
        if (strlen(backends[i]->scheme) != n || strncmp(url, backends[i]->scheme, n) != 0)
            continue;
        struct storage *s = NULL;
        int rc = backends[i]->open(o, url + n + 1, &s, err);
        if (rc < 0)
            return rc;
        s->ops = backends[i];
        *ret = s;
        return 0;
    }
    if (!url[n])
        return err_set(err, ERR_INVALID, "a storage URL names its kind first, for example file:/absolute/folder");
    return err_set(err, ERR_INVALID, "unknown kind of storage '%.*s:'; use file:/absolute/folder or s3://bucket",
                   (int)MIN(n, 40), url);
}

int storage_open(const char *url, struct storage **ret, struct err *err)
{
    const struct storage_opts o = {.url = url};
    return storage_open_with(&o, ret, err);
}

void storage_close(struct storage *s)
{
    if (s)
        s->ops->close(s);
}

int storage_put_begin(struct storage *s, const char *key, struct storage_put **ret, struct err *err)
{
    int rc = storage_key_check(key, err);
    if (rc < 0)
        return rc;
    EVP_MD_CTX *sha = EVP_MD_CTX_new();
    if (!sha || EVP_DigestInit_ex(sha, EVP_sha256(), NULL) != 1) {
        EVP_MD_CTX_free(sha);
        return err_set(err, ERR_NOMEM, "cannot start a SHA-256");
    }
    struct storage_put *p = NULL;
    rc = FAULT_POINT_AT(storage_put, key, err);
    if (rc == 0)
        rc = s->ops->put_begin(s, key, &p, err);
    rc = tell(s, STORAGE_PUT, rc);
    if (rc < 0) {
        EVP_MD_CTX_free(sha);
        return err_wrap(err, "cannot store '%s'", key);
    }
    p->storage = s;
    p->sha = sha;
    log_debug(&lc, "put '%s' begins", key);
    *ret = p;
    return 0;
}

static int write_piece(struct storage_put *p, const void *data, size_t n, struct err *err)
{
    enum fault_effect fault = FAULT_LOOK(storage_write, NULL);
    if (fault == FAULT_NONE)
        return p->storage->ops->put_write(p, data, n, err);
    size_t part = fault == FAULT_CUT ? n / 2 : fault == FAULT_LOST ? n : 0;
    int rc = part ? p->storage->ops->put_write(p, data, part, err) : 0;
    return rc < 0 ? rc : FAULT_STRIKE(storage_write, err);
}

int storage_put_write(struct storage_put *p, const void *data, size_t n, struct err *err)
{
    if (n == 0)
        return 0;
    int rc = p->failed;
    if (rc < 0)
        return err_set(err, rc, "an earlier write of this object failed");
    rc = tell(p->storage, STORAGE_PUT, write_piece(p, data, n, err));
    if (rc >= 0 && EVP_DigestUpdate(p->sha, data, n) != 1)
        rc = err_set(err, ERR_INTERNAL, "SHA-256 failed");
    if (rc < 0) {
        p->failed = rc;
        return rc;
    }
    p->size += (int64_t)n;
    return 0;
}

/* Frees p. */
static int commit(struct storage_put *p, struct err *err)
{
    enum fault_effect fault = FAULT_LOOK(storage_commit, NULL);
    if (!fault_is_done(fault)) {
        p->storage->ops->put_abort(p);
        return FAULT_STRIKE(storage_commit, err);
    }
    int rc = p->storage->ops->put_commit(p, err);
    if (rc < 0 || fault == FAULT_NONE)
        return rc;
    (void)FAULT_STRIKE(storage_commit, err);
    return err->code = ERR_UNCERTAIN;
}

int storage_put_seal(struct storage_put *p, struct object_info *ret, struct err *err)
{
    unsigned char digest[EVP_MAX_MD_SIZE];
    unsigned n = 0;
    if (p->failed)
        return err_set(err, p->failed, "the object is not stored: a write of it failed");
    if (p->sha) {
        if (EVP_DigestFinal_ex(p->sha, digest, &n) != 1 || 2 * n + 1 != sizeof p->sha256)
            return err_set(err, ERR_INTERNAL, "SHA-256 failed");
        str_hex(digest, n, p->sha256);
        EVP_MD_CTX_free(TAKE(p->sha));
    }
    *ret = (struct object_info){.size = p->size};
    memcpy(ret->sha256, p->sha256, sizeof ret->sha256);
    return 0;
}

int storage_put_commit(struct storage_put *p, struct object_info *ret, struct err *err)
{
    struct object_info info;
    int rc = storage_put_seal(p, &info, err);
    if (rc < 0) {
        storage_put_abort(p);
        return rc;
    }
    int64_t start = clock_mono_ms();
    struct storage *s = p->storage;
    rc = tell(s, STORAGE_PUT, commit(p, err));
    if (rc < 0)
        return err_wrap(err, "cannot store the object");
    info.modified_ms = clock_wall_ms();
    log_debug(&lc, "put committed: %lld bytes, sha256 %s, %lld ms", (long long)info.size, info.sha256,
              (long long)(clock_mono_ms() - start));
    if (ret)
        *ret = info;
    return 0;
}

void storage_put_abort(struct storage_put *p)
{
    if (!p)
        return;
    EVP_MD_CTX_free(TAKE(p->sha));
    log_debug(&lc, "put aborted after %lld bytes", (long long)p->size);
    p->storage->ops->put_abort(p);
}

int storage_put_bytes(struct storage *s, const char *key, const void *data, size_t n, struct err *err)
{
    struct storage_put *p = NULL;
    int rc = storage_put_begin(s, key, &p, err);
    if (rc < 0)
        return rc;
    rc = storage_put_write(p, data, n, err);
    if (rc < 0) {
        storage_put_abort(p);
        return err_wrap(err, "cannot store '%s'", key);
    }
    return storage_put_commit(p, NULL, err);
}

int storage_get_begin(struct storage *s, const char *key, int64_t offset, struct storage_get **ret,
                      struct object_info *ret_info, struct err *err)
{
    int rc = storage_key_check(key, err);
    if (rc < 0)
        return rc;
    if (offset < 0)
        return err_set(err, ERR_INVALID, "cannot read '%s' from byte %lld", key, (long long)offset);
    struct object_info info = {0};
    struct storage_get *g = NULL;
    rc = FAULT_POINT_AT(storage_get, key, err);
    if (rc == 0)
        rc = s->ops->get_begin(s, key, offset, &g, &info, err);
    rc = tell(s, STORAGE_GET, rc);
    if (rc < 0)
        return err_wrap(err, "cannot read '%s'", key);
    g->storage = s;
    log_debug(&lc, "get '%s' from byte %lld of %lld", key, (long long)offset, (long long)info.size);
    *ret = g;
    if (ret_info)
        *ret_info = info;
    return 0;
}

ssize_t storage_get_read(struct storage_get *g, void *data, size_t n, struct err *err)
{
    ssize_t got = FAULT_POINT(storage_read, err);
    if (got == 0)
        got = g->storage->ops->get_read(g, data, n, err);
    return got < 0 ? tell(g->storage, STORAGE_GET, (int)got) : got;
}

void storage_get_end(struct storage_get *g)
{
    if (g)
        g->storage->ops->get_end(g);
}

int storage_get_fd(struct storage *s, const char *key, struct object_info *ret_info, struct err *err)
{
    int rc = storage_key_check(key, err);
    if (rc < 0)
        return rc;
    if (!s->ops->get_fd)
        return err_set(err, ERR_UNSUPPORTED, "objects of '%s:' are on no disk of this machine", s->ops->scheme);
    struct object_info info = {0};
    rc = FAULT_POINT_AT(storage_get, key, err);
    if (rc == 0)
        rc = s->ops->get_fd(s, key, &info, err);
    rc = tell(s, STORAGE_GET, rc);
    if (rc < 0)
        return err_wrap(err, "cannot read '%s'", key);
    log_debug(&lc, "opened '%s' of %lld bytes", key, (long long)info.size);
    *ret_info = info;
    return rc;
}

int storage_get_bytes(struct storage *s, const char *key, size_t max, char **ret, size_t *ret_len, struct err *err)
{
    struct storage_get *g = NULL;
    struct object_info info;
    int rc = storage_get_begin(s, key, 0, &g, &info, err);
    if (rc < 0)
        return rc;
    CLEANUP(free_p) char *text = NULL;
    size_t want = 0, have = 0;
    if (info.size < 0 || (uint64_t)info.size > max) {
        rc = err_set(err, ERR_TOO_LARGE, "'%s' has %lld bytes, at most %zu are expected", key, (long long)info.size,
                     max);
        goto out;
    }
    want = (size_t)info.size;
    text = malloc(want + 1);
    if (!text) {
        rc = err_set(err, ERR_NOMEM, "no memory for the %zu bytes of '%s'", want, key);
        goto out;
    }
    while (have < want) {
        ssize_t k = storage_get_read(g, text + have, want - have, err);
        if (k < 0) {
            rc = err_wrap(err, "cannot read '%s'", key);
            goto out;
        }
        if (k == 0) {
            rc = err_set(err, ERR_UNAVAILABLE, "'%s' ended after %zu of %zu bytes", key, have, want);
            goto out;
        }
        have += (size_t)k;
    }
    text[want] = '\0';
    *ret = TAKE(text);
    if (ret_len)
        *ret_len = want;
out:
    storage_get_end(g);
    return rc;
}

int storage_fetch(struct storage *s, const char *key, const char *path, struct err *err)
{
    return storage_fetch_checked(s, key, "", path, err);
}

int storage_fetch_checked(struct storage *s, const char *key, const char *sha256, const char *path, struct err *err)
{
    int rc = storage_key_check(key, err);
    if (rc < 0)
        return rc;
    int64_t start = clock_mono_ms();
    rc = FAULT_POINT_AT(storage_fetch, key, err);
    if (rc == 0)
        rc = s->ops->fetch(s, key, sha256 ? sha256 : "", path, err);
    rc = tell(s, STORAGE_FETCH, rc);
    if (rc < 0)
        return err_wrap(err, "cannot fetch '%s'", key);
    log_debug(&lc, "fetched '%s' in %lld ms", key, (long long)(clock_mono_ms() - start));
    return 0;
}

int storage_stat(struct storage *s, const char *key, struct object_info *ret, struct err *err)
{
    int rc = storage_key_check(key, err);
    if (rc < 0)
        return rc;
    struct object_info info = {0};
    rc = FAULT_POINT_AT(storage_stat, key, err);
    if (rc == 0)
        rc = s->ops->stat(s, key, &info, err);
    rc = tell(s, STORAGE_STAT, rc);
    if (rc < 0)
        return err_wrap(err, "cannot look at '%s'", key);
    *ret = info;
    return 0;
}

int storage_delete(struct storage *s, const char *key, struct err *err)
{
    int rc = storage_key_check(key, err);
    if (rc < 0)
        return rc;
    enum fault_effect fault = FAULT_LOOK(storage_delete, key);
    if (fault_is_done(fault))
        rc = s->ops->remove(s, key, err);
    if (rc >= 0 && fault != FAULT_NONE)
        rc = FAULT_STRIKE(storage_delete, err);
    rc = tell(s, STORAGE_DELETE, rc);
    if (rc < 0)
        return err_wrap(err, "cannot delete '%s'", key);
    log_debug(&lc, "deleted '%s'", key);
    return 0;
}

/* So that a failure of the caller's is not counted as the store's. */
struct listing {
    storage_list_fn fn;
    void *arg;
    bool ended;
};

static int on_listed(const char *key, const struct object_info *info, void *arg, struct err *err)
{
    struct listing *l = arg;
    int rc = l->fn(key, info, l->arg, err);
    l->ended = rc != 0;
    return rc;
}

int storage_list(struct storage *s, const char *prefix, storage_list_fn fn, void *arg, struct err *err)
{
    /* The beginning of a key: what is missing at its end may be a whole part. */
    char probe[STORAGE_KEY_MAX + 2];
    size_t n = strlen(prefix);
    if (n >= STORAGE_KEY_MAX)
        return err_set(err, ERR_INVALID, "a storage prefix has less than %d bytes", STORAGE_KEY_MAX);
    if (n) {
        memcpy(probe, prefix, n + 1);
        if (prefix[n - 1] == '/')
            memcpy(probe + n, "x", 2);
        int rc = storage_key_check(probe, err);
        if (rc < 0)
            return err_wrap(err, "prefix");
    }
    struct listing l = {.fn = fn, .arg = arg};
    int rc = FAULT_POINT_AT(storage_list, prefix, err);
    if (rc == 0)
        rc = s->ops->list(s, prefix, on_listed, &l, err);
    return l.ended ? rc : tell(s, STORAGE_LIST, rc);
}

int storage_sweep(struct storage *s, int64_t before_ms, int *ret_removed, struct err *err)
{
    int removed = 0, rc = FAULT_POINT(storage_sweep, err);
    if (rc == 0)
        rc = s->ops->sweep(s, before_ms, &removed, err);
    rc = tell(s, STORAGE_SWEEP, rc);
    if (rc < 0)
        return err_wrap(err, "cannot sweep the storage");
    log_debug(&lc, "swept %d leftovers", removed);
    *ret_removed = removed;
    return 0;
}

int storage_ping(struct storage *s, int64_t *ret_ms, int64_t *ret_free_bytes, struct err *err)
{
    int64_t start = clock_mono_ms(), free_bytes = -1;
    int rc = FAULT_POINT(storage_ping, err);
    if (rc == 0)
        rc = s->ops->ping(s, &free_bytes, err);
    rc = tell(s, STORAGE_PING, rc);
    if (rc < 0)
        return err_wrap(err, "storage");
    *ret_ms = clock_mono_ms() - start;
    *ret_free_bytes = free_bytes;
    return 0;
}

int storage_presign(struct storage *s, enum storage_presign what, const char *key, const char *type, int64_t expires_s,
                    char **ret_url, int64_t *ret_until_ms, struct err *err)
{
    static const char *const methods[] = {
        [STORAGE_PRESIGN_GET] = "GET", [STORAGE_PRESIGN_HEAD] = "HEAD", [STORAGE_PRESIGN_PUT] = "PUT"};
    int rc = storage_key_check(key, err);
    if (rc < 0)
        return rc;
    if (!s->ops->presign)
        return err_set(err, ERR_UNSUPPORTED, "links to objects need 'storage' on an S3 server; this is '%s:'",
                       s->ops->scheme);
    if (expires_s < 1)
        return err_set(err, ERR_INVALID, "a link lasts at least a second");
    CLEANUP(buf_clear) struct buf url = BUF_INIT(URL_MAX);
    int64_t until_ms = 0;
    rc = tell(s, STORAGE_PRESIGN, s->ops->presign(s, methods[what], key, type, expires_s, &url, &until_ms, err));
    if (rc < 0)
        return err_wrap(err, "cannot make a link to '%s'", key);
    log_debug(&lc, "link for %s of '%s' until %lld", methods[what], key, (long long)until_ms);
    *ret_url = buf_take(&url);
    if (ret_until_ms)
        *ret_until_ms = until_ms;
    return 0;
}

const char *storage_operation_name(enum storage_operation o)
{
    static const char *const names[] = {
#define X(name, word) word,
        STORAGE_OPERATIONS(X)
#undef X
    };
    return o < STORAGE_OPERATION_COUNT ? names[o] : "?";
}

int64_t storage_failures(const struct storage *s, enum storage_operation o)
{
    return atomic_load_explicit(&s->failures[o], memory_order_relaxed);
}
