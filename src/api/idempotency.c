/* SPDX-License-Identifier: MIT */
#include "api/idempotency.h"

#include "api/dialect.h"
#include "api/server.h"
#include "base/clock.h"
#include "base/log.h"
#include "base/str.h"

#include <openssl/evp.h>
#include <stdio.h>
#include <string.h>

enum { PRINTED_MAX = 1 << 20 };

/* The key without the quotes that the header may have around it; NULL: no good one. */
static const char *read_key(struct request *rq)
{
    const char *p = rq->idempotency_key;
    size_t n = strlen(p);
    if (n >= 2 && p[0] == '"' && p[n - 1] == '"') {
        p++;
        n -= 2;
    }
    for (size_t i = 0; i < n; i++)
        if (p[i] <= ' ' || p[i] >= 0x7F)
            return NULL;
    return n && n <= IDEMPOTENCY_KEY_MAX ? arena_dup(&rq->arena, p, n) : NULL;
}

/* Several dialects may have a route at the same path, each at listeners of its own. */
static const char *scope_of(struct request *rq)
{
    const struct route *r = rq->route;
    return r->dialect == &dialect_native ? r->pattern : arena_printf(&rq->arena, "%s %s", r->dialect->name, r->pattern);
}

int idempotency_begin(struct request *rq, enum problem *ret_problem, struct err *err)
{
    const struct api_opts *o = &rq->api->o;
    int64_t wait_ms = 0;
    if (!rq->idempotency_key)
        return 0;
    const char *name = read_key(rq);
    *ret_problem = PROBLEM_bad_idempotency_key;
    if (!name)
        return err_set(err, ERR_INVALID, "an Idempotency-Key is 1 to %d printable characters without blanks",
                       IDEMPOTENCY_KEY_MAX);
    const char *scope = scope_of(rq);
    struct idempotency *i = arena_alloc(&rq->arena, sizeof *i);
    *ret_problem = PROBLEM_COUNT;
    if (!i || !scope)
        return err_set(err, ERR_NOMEM, "no memory for this request");
    id_new(i->holder);
    i->key = (struct job_key){
        .scope = scope, .name = name, .holder = i->holder, .lease_ms = o->key_lease_ms, .keep_ms = o->key_keep_ms};
    int rc = store_key_claim(o->store, &i->key, &rq->arena, &i->kept, &wait_ms, err);
    if (rc == ERR_BUSY) {
        *ret_problem = PROBLEM_key_in_flight;
        return err_set(err, ERR_CONFLICT, "a request with the Idempotency-Key '%.64s' is under way", name);
    }
    if (rc < 0)
        return rc;
    i->claimed = rc == 1;
    i->renewed_ms = clock_mono_ms();
    rq->idempotency = i;
    return 0;
}

int idempotency_renew(struct request *rq, enum problem *ret_problem, struct err *err)
{
    struct idempotency *i = rq->idempotency;
    if (!i || !i->claimed || clock_mono_ms() - i->renewed_ms < i->key.lease_ms / 3)
        return 0;
    i->renewed_ms = clock_mono_ms();
    struct err e = ERR_INIT;
    int rc = store_key_renew(rq->api->o.store, &i->key, &e);
    if (rc >= 0)
        return 0;
    if (rc == ERR_LOST) {
        i->claimed = false;
        *ret_problem = PROBLEM_key_in_flight;
        return err_set(err, ERR_CONFLICT, "%s", e.msg);
    }
    /* The database away for a moment is no reason to end an upload: the submission will tell. */
    log_debug(&rq->log, "the claim of a key was not renewed: %s", e.msg);
    return 0;
}

static void add_field(struct buf *b, const char *name, const char *value)
{
    if (value)
        buf_addf(b, "%s=%zu:%s\n", name, strlen(value), value);
}

/* Of all that makes a difference for the job: the file's name and the order of fields do not. */
static int fingerprint(const struct request *rq, const struct form *f, const char *options, const char *sha256,
                       char ret[FINGERPRINT_SIZE], struct err *err)
{
    static const char *const names[] = {
#define X(name, max, check, help) #name,
        FORM_FIELDS(X)
#undef X
    };
    CLEANUP(buf_clear) struct buf b = BUF_INIT(PRINTED_MAX);
    add_field(&b, "sha256", sha256);
    for (size_t i = 0; i < ARRAY_LEN(names); i++)
        add_field(&b, names[i], f->values[i]);
    add_field(&b, "options", options);
    const struct dialect_field *rows = f->dialect->fields;
    for (size_t i = 0; rows && rows[i].name; i++)
        if (rows[i].field == FORM_COUNT)
            add_field(&b, rows[i].name, f->extras[i]);
    if (f->dialect->accept_decides)
        add_field(&b, "accept", rq->accept);
    unsigned char digest[EVP_MAX_MD_SIZE];
    unsigned n = 0;
    if (!buf_ok(&b) || EVP_Digest(b.data, b.len, digest, &n, EVP_sha256(), NULL) != 1)
        return err_set(err, ERR_NOMEM, "no memory for this request");
    str_hex(digest, n, ret);
    return 0;
}

static const char *next_line(char **p)
{
    char *line = *p, *end = line ? strchr(line, '\n') : NULL;
    if (!end)
        return NULL;
    *end = '\0';
    *p = end + 1;
    return line;
}

/* The headers that are kept: names must be static, as in struct answer. */
static const char *const kept_headers[] = {"Location", "Retry-After", "ETag", "Preference-Applied", "X-Job-Id"};

static int replay(struct request *rq, const struct kept_answer *k, struct err *err)
{
    char *p = arena_strdup(&rq->arena, k->headers);
    for (const char *line; (line = next_line(&p));)
        for (size_t i = 0; i < ARRAY_LEN(kept_headers); i++) {
            size_t n = strlen(kept_headers[i]);
            if (strncmp(line, kept_headers[i], n) == 0 && line[n] == ':')
                answer_header(&rq->answer, kept_headers[i], "%s", line + n + 2);
        }
    int rc = k->body ? answer_write(&rq->answer, k->body, strlen(k->body), err) : 0;
    rq->answer.status = (unsigned)k->status;
    rq->answer.content_type = k->content_type;
    return rc;
}

int idempotency_compare(struct request *rq, const struct form *f, const char *options, const char *sha256,
                        enum problem *ret_problem, struct err *err)
{
    struct idempotency *i = rq->idempotency;
    const struct kept_answer *k = &i->kept;
    struct store *store = rq->api->o.store;
    int rc = fingerprint(rq, f, options, sha256, i->fingerprint, err);
    if (rc < 0 || !k->job_id)
        return rc;
    if (!str_eq(k->fingerprint, i->fingerprint)) {
        *ret_problem = PROBLEM_key_reused;
        return err_set(err, ERR_INVALID, "the Idempotency-Key '%.64s' stands for another recording or other options",
                       i->key.name);
    }
    struct job *row = arena_alloc(&rq->arena, sizeof *row);
    if (!row)
        return err_set(err, ERR_NOMEM, "no memory for this request");
    rc = store_get(store, k->job_id, &rq->arena, row, err);
    if (rc == ERR_NOT_FOUND)
        return err_set(err, ERR_CONFLICT, "the job of this Idempotency-Key is just being removed: send it again");
    if (rc < 0)
        return rc;
    rq->job = row;
    answer_header(&rq->answer, "Idempotency-Replayed", "true");
    rc = k->status ? replay(rq, k, err) : 0;
    return rc < 0 ? rc : 1;
}

void idempotency_answered(struct request *rq)
{
    struct idempotency *i = rq->idempotency;
    const struct answer *a = &rq->answer;
    if (!i || !i->bound || a->status < 200 || a->status > 299 || a->fd >= 0 || a->body.len > IDEMPOTENCY_BODY_MAX)
        return;
    i->bound = false; /* once */
    const char *body = a->body.len ? a->body.data : "";
    if (!utf8_valid(body, a->body.len) || memchr(body, '\0', a->body.len))
        return;
    CLEANUP(buf_clear) struct buf lines = BUF_INIT(PRINTED_MAX);
    for (size_t h = 0; h < a->n_headers; h++)
        for (size_t n = 0; n < ARRAY_LEN(kept_headers); n++)
            if (strcmp(a->headers[h].name, kept_headers[n]) == 0)
                buf_addf(&lines, "%s: %s\n", kept_headers[n], a->headers[h].value);
    const struct kept_answer kept = {.status = a->status,
                                     .content_type = a->content_type,
                                     .headers = buf_str(&lines),
                                     .body = arena_dup(&rq->arena, body, a->body.len)};
    struct err err = ERR_INIT;
    if (!kept.body || store_key_answer(rq->api->o.store, &i->key, &kept, &err) < 0)
        log_debug(&rq->log, "the answer was not kept, it will be made anew: %s", err.msg);
}

bool idempotency_pending(const struct request *rq)
{
    return rq->idempotency && rq->idempotency->claimed;
}

void idempotency_release(struct request *rq)
{
    struct err err = ERR_INIT;
    if (!idempotency_pending(rq))
        return;
    rq->idempotency->claimed = false;
    if (store_key_release(rq->api->o.store, &rq->idempotency->key, &err) < 0)
        log_debug(&rq->log, "a key stays claimed until its lease ends: %s", err.msg);
}
