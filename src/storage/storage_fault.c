/* SPDX-License-Identifier: MIT */
#include "storage/storage_fault.h"

#include "base/mem.h"
#include "base/str.h"
#include "storage/storage_ops.h"

#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>

enum kind { FAIL, EVERY, LOST, CUT };

struct fault_storage {
    struct storage base;
    struct storage *inner;
    enum kind kind;
    int64_t n;
    atomic_uint count;
    atomic_bool struck;
};

struct fault_put {
    struct storage_put base;
    struct fault_storage *s;
    struct storage_put *inner;
};

struct fault_get {
    struct storage_get base;
    struct fault_storage *s;
    struct storage_get *inner;
};

static struct fault_storage *of(struct storage *s)
{
    return CONTAINER_OF(s, struct fault_storage, base);
}

/* Counts an operation. True: it is the one. */
static bool strikes(struct fault_storage *s, bool write)
{
    if (s->kind == CUT && !write)
        return false;
    unsigned i = atomic_fetch_add(&s->count, 1) + 1;
    bool yes = s->kind == EVERY ? i % s->n == 0 : i == s->n;
    if (yes)
        atomic_store(&s->struck, true);
    return yes;
}

static int strike(struct err *err)
{
    return err_set(err, ERR_UNAVAILABLE, "injected fault of storage");
}

/* The verdict on an operation that was done with `rc`. */
static int after(const struct fault_storage *s, bool struck, int rc, struct err *err)
{
    return struck && rc >= 0 && s->kind == LOST ? strike(err) : rc;
}

/* An operation that fails is not done, unless only its answer is lost. */
#define BEFORE(s)                    \
    bool struck = strikes(s, false); \
    if (struck && (s)->kind != LOST) \
        return strike(err);

static void fault_close(struct storage *base)
{
    struct fault_storage *s = of(base);
    storage_close(s->inner);
    free(s);
}

static int fault_put_begin(struct storage *base, const char *key, struct storage_put **ret, struct err *err)
{
    struct fault_storage *s = of(base);
    BEFORE(s)
    struct fault_put *p = xcalloc(1, sizeof *p);
    p->s = s;
    int rc = s->inner->ops->put_begin(s->inner, key, &p->inner, err);
    if (rc < 0) {
        free(p);
        return rc;
    }
    p->inner->storage = s->inner;
    if (struck) {
        s->inner->ops->put_abort(p->inner);
        free(p);
        return strike(err);
    }
    *ret = &p->base;
    return 0;
}

static int fault_put_write(struct storage_put *base, const void *data, size_t n, struct err *err)
{
    struct fault_put *p = CONTAINER_OF(base, struct fault_put, base);
    bool struck = strikes(p->s, true);
    if (struck && p->s->kind != LOST) {
        struct err ignored = ERR_INIT;
        if (p->s->kind == CUT && n > 1 && p->s->inner->ops->put_write(p->inner, data, n / 2, &ignored) < 0)
            return strike(err);
        return strike(err);
    }
    return after(p->s, struck, p->s->inner->ops->put_write(p->inner, data, n, err), err);
}

static void fault_put_abort(struct storage_put *base)
{
    struct fault_put *p = CONTAINER_OF(base, struct fault_put, base);
    p->s->inner->ops->put_abort(p->inner);
    free(p);
}

static int fault_put_commit(struct storage_put *base, struct err *err)
{
    struct fault_put *p = CONTAINER_OF(base, struct fault_put, base);
    struct fault_storage *s = p->s;
    bool struck = strikes(s, false);
    if (struck && s->kind != LOST) {
        fault_put_abort(base);
        return strike(err);
    }
    p->inner->size = base->size;
    int rc = s->inner->ops->put_commit(p->inner, err);
    free(p);
    return struck && rc >= 0 ? (strike(err), err->code = ERR_UNCERTAIN) : rc;
}

static int fault_get_begin(struct storage *base, const char *key, int64_t offset, struct storage_get **ret,
                           struct object_info *ret_info, struct err *err)
{
    struct fault_storage *s = of(base);
    BEFORE(s)
    struct fault_get *g = xcalloc(1, sizeof *g);
    g->s = s;
    int rc = s->inner->ops->get_begin(s->inner, key, offset, &g->inner, ret_info, err);
    if (rc < 0) {
        free(g);
        return rc;
    }
    g->inner->storage = s->inner;
    if (struck) {
        s->inner->ops->get_end(g->inner);
        free(g);
        return strike(err);
    }
    *ret = &g->base;
    return 0;
}

static ssize_t fault_get_read(struct storage_get *base, void *data, size_t n, struct err *err)
{
    struct fault_get *g = CONTAINER_OF(base, struct fault_get, base);
    if (strikes(g->s, false))
        return strike(err);
    return g->s->inner->ops->get_read(g->inner, data, n, err);
}

static void fault_get_end(struct storage_get *base)
{
    struct fault_get *g = CONTAINER_OF(base, struct fault_get, base);
    g->s->inner->ops->get_end(g->inner);
    free(g);
}

static int fault_fetch(struct storage *base, const char *key, const char *sha256, const char *path, struct err *err)
{
    struct fault_storage *s = of(base);
    if (strikes(s, false))
        return strike(err); /* a failed fetch leaves no file: there is no lost answer to it */
    return s->inner->ops->fetch(s->inner, key, sha256, path, err);
}

static int fault_stat(struct storage *base, const char *key, struct object_info *ret, struct err *err)
{
    struct fault_storage *s = of(base);
    BEFORE(s)
    return after(s, struck, s->inner->ops->stat(s->inner, key, ret, err), err);
}

static int fault_remove(struct storage *base, const char *key, struct err *err)
{
    struct fault_storage *s = of(base);
    BEFORE(s)
    return after(s, struck, s->inner->ops->remove(s->inner, key, err), err);
}

static int fault_list(struct storage *base, const char *prefix, storage_list_fn fn, void *arg, struct err *err)
{
    struct fault_storage *s = of(base);
    BEFORE(s)
    return after(s, struck, s->inner->ops->list(s->inner, prefix, fn, arg, err), err);
}

static int fault_sweep(struct storage *base, int64_t before_ms, int *ret_removed, struct err *err)
{
    struct fault_storage *s = of(base);
    BEFORE(s)
    return after(s, struck, s->inner->ops->sweep(s->inner, before_ms, ret_removed, err), err);
}

static int fault_ping(struct storage *base, int64_t *ret_free_bytes, struct err *err)
{
    struct fault_storage *s = of(base);
    BEFORE(s)
    return after(s, struck, s->inner->ops->ping(s->inner, ret_free_bytes, err), err);
}

static int fault_presign(struct storage *base, const char *method, const char *key, int64_t expires_s, struct buf *ret,
                         int64_t *ret_until_ms, struct err *err)
{
    struct storage *inner = of(base)->inner;
    if (!inner->ops->presign)
        return err_set(err, ERR_UNSUPPORTED, "this store has no links");
    return inner->ops->presign(inner, method, key, expires_s, ret, ret_until_ms, err);
}

static const struct storage_ops storage_fault_ops = {
    .scheme = "fault",
    .close = fault_close,
    .put_begin = fault_put_begin,
    .put_write = fault_put_write,
    .put_commit = fault_put_commit,
    .put_abort = fault_put_abort,
    .get_begin = fault_get_begin,
    .get_read = fault_get_read,
    .get_end = fault_get_end,
    .fetch = fault_fetch,
    .stat = fault_stat,
    .remove = fault_remove,
    .list = fault_list,
    .sweep = fault_sweep,
    .ping = fault_ping,
    .presign = fault_presign,
};

int storage_fault_wrap(struct storage *inner, const char *plan, struct storage **ret, struct err *err)
{
    static const char *const words[] = {[FAIL] = "fail:", [EVERY] = "every:", [LOST] = "lost:", [CUT] = "cut:"};
    for (size_t i = 0; i < ARRAY_LEN(words); i++) {
        int64_t n;
        if (!str_starts(plan, words[i]) || !str_to_i64(plan + strlen(words[i]), &n) || n < 1)
            continue;
        struct fault_storage *s = xcalloc(1, sizeof *s);
        s->base.ops = &storage_fault_ops;
        s->inner = inner;
        s->kind = (enum kind)i;
        s->n = n;
        *ret = &s->base;
        return 0;
    }
    storage_close(inner);
    return err_set(err, ERR_INVALID, "STENO_STORAGE_FAULT is fail:N, every:N, lost:N or cut:N");
}

unsigned storage_fault_count(const struct storage *s)
{
    const struct fault_storage *f = (const struct fault_storage *)(const void *)s; /* base stands first */
    return atomic_load(&f->count);
}

bool storage_fault_struck(struct storage *s)
{
    return atomic_exchange(&of(s)->struck, false);
}
