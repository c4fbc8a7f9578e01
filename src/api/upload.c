/* SPDX-License-Identifier: MIT */
/*
 * Who may touch what: the fields under `mu` both sides; everything else only the task, of which at most one runs or
 * waits at a time (`running`). The task decides and then, under `mu`, tells: so the HTTP thread, which looks under
 * `mu`, sees a finished answer or none.
 *
 * Where a client can vanish: while the connection is not suspended libmicrohttpd notices and calls upload_gone; while
 * it is suspended nobody notices, but every suspended upload has a task on its way that resumes it. An early
 * answer goes out from the task itself, because a client that waits for it may send nothing that would wake the
 * HTTP thread; `gone` is set under `mu` before the socket is closed, so the socket is still ours then.
 */
#include "api/upload.h"

#include "api/form.h"
#include "api/http.h"
#include "api/idempotency.h"
#include "api/room.h"
#include "api/server.h"
#include "api/signed_upload.h"
#include "api/sniff.h"
#include "api/submit.h"
#include "base/clock.h"
#include "base/id.h"
#include "base/str.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { CONTENT_TYPE_MAX = 255 /* a longer one says nothing */, ROOM_EVERY_BYTES = 16 << 20 };

struct upload {
    struct request *rq;
    pthread_mutex_t mu;
    /* guarded by mu: */
    size_t first, n; /* of the ring */
    bool running;    /* a task is queued or at work */
    bool suspended;  /* the connection waits for the task */
    bool ended;      /* the body is complete in the ring */
    bool gone;       /* the request is over */
    bool refused;    /* rq->answer stands */
    bool sent;       /* ... and went out: the body had not ended */
    /* the task's own: */
    struct body body;
    struct form form;
    enum { PART_FILE, PART_FIELD, PART_IGNORED } part; /* that is being read */
    struct form_slot slot;                             /* PART_FIELD */
    bool has_file;
    const char *filename, *content_type;
    struct buf value; /* of a field */
    unsigned char head[SNIFF_BYTES];
    size_t n_head;
    struct storage_put *put;
    int64_t body_bytes, file_bytes;
    int64_t next_look;    /* of file_bytes: when the disk is looked at again */
    enum problem problem; /* what the error under way comes to; PROBLEM_COUNT: by its class */
    char id[ID_SIZE];
    const char *key;
    char *ring; /* UPLOAD_RING_BYTES; NULL once the body was read and the request waits for its job */
};

/* ---- the task: parts ---- */

static int refuse(struct upload *u, struct err *err, enum problem p, int code)
{
    u->problem = p;
    return err->code = code;
}

static int storage_failed(struct upload *u, struct err *err)
{
    if (err->code == ERR_INVALID || err->code == ERR_INTERNAL)
        return err->code;
    u->problem = PROBLEM_storage_unavailable;
    return err_wrap(err, "the recording cannot be stored now, send it again later");
}

static int begin_file(struct upload *u, const struct multipart_part *part, struct err *err)
{
    struct arena *a = &u->rq->arena;
    if (u->has_file) {
        err_set(err, ERR_INVALID, "more than one recording: submit each by itself");
        return refuse(u, err, PROBLEM_duplicate_field, ERR_INVALID);
    }
    u->has_file = true;
    u->part = PART_FILE;
    if (u->rq->signed_upload) {
        u->filename = u->rq->signed_upload->filename;
        u->key = u->rq->signed_upload->key;
        return 0;
    }
    if (!u->filename)
        u->filename = form_filename(part->filename, a);
    const struct dialect *d = u->rq->route->dialect;
    enum problem p = PROBLEM_COUNT;
    int rc = d->check_name ? d->check_name(u->filename, &p, err) : 0;
    if (rc < 0)
        return refuse(u, err, p, rc);
    size_t type_len = part->content_type ? strlen(part->content_type) : 0;
    if (type_len && type_len <= CONTENT_TYPE_MAX && utf8_valid(part->content_type, type_len))
        u->content_type = arena_strdup(a, part->content_type);
    char safe[256];
    storage_safe_name(u->filename, safe, sizeof safe);
    u->key = arena_printf(a, "uploads/%s/%s", u->id, safe);
    return u->key ? 0 : err_set(err, ERR_NOMEM, "no memory for this request");
}

static int on_part_begin(void *arg, const struct multipart_part *part, struct err *err)
{
    struct upload *u = arg;
    u->rq->wrong_field = "file";
    if (strcmp(part->name, "file") == 0)
        return begin_file(u, part, err);
    buf_reset(&u->value);
    u->part = form_find(&u->form, part->name, &u->slot) ? PART_FIELD : PART_IGNORED;
    u->rq->wrong_field = u->slot.name;
    const struct dialect *d = u->rq->route->dialect;
    const char *why = u->part == PART_FIELD && d->cannot ? d->cannot(u->slot.name) : NULL;
    if (why) {
        err_set(err, ERR_INVALID, "'%s' cannot be had: %s", u->slot.name, why);
        return refuse(u, err, PROBLEM_bad_field, ERR_INVALID);
    }
    if (u->part == PART_FIELD || d->ignores_unknown)
        return 0;
    CLEANUP(buf_clear) struct buf name = BUF_INIT(1024);
    str_add_printable(&name, part->name);
    err_set(err, ERR_INVALID, "there is no field '%.64s'; the recording goes into 'file'", buf_str(&name));
    u->rq->wrong_field = arena_strdup(&u->rq->arena, buf_str(&name));
    return refuse(u, err, PROBLEM_unknown_field, ERR_INVALID);
}

/* Decides by the first bytes, then opens the object. */
static int open_object(struct upload *u, bool whole, struct err *err)
{
    bool any = u->rq->route->dialect->name_decides || u->rq->signed_upload; /* S3 does not look at it either */
    const char *what = any ? NULL : sniff_refuse(u->head, u->n_head, whole);
    if (what) {
        err_set(err, ERR_UNSUPPORTED, "'%.100s' is no recording but %s", u->filename, what);
        return refuse(u, err, PROBLEM_not_audio, ERR_UNSUPPORTED);
    }
    int rc = storage_put_begin(u->rq->api->o.storage, u->key, &u->put, err);
    if (rc >= 0)
        rc = storage_put_write(u->put, u->head, u->n_head, err);
    return rc < 0 ? storage_failed(u, err) : 0;
}

/* Many uploads fill a disk together that had room for each, and one without a length may do it alone. */
static int look_for_room(struct upload *u, struct err *err)
{
    if (u->file_bytes < u->next_look)
        return 0;
    u->next_look = u->file_bytes + ROOM_EVERY_BYTES;
    int rc = room_is_known(u->rq->api, 0) ? 0 : room_find(u->rq->api, 0, err);
    return rc == ERR_BUSY ? refuse(u, err, PROBLEM_disk_full, rc) : rc;
}

static int file_data(struct upload *u, const char *p, size_t n, struct err *err)
{
    int64_t max = request_max_upload(u->rq);
    int rc = look_for_room(u, err);
    if (rc < 0)
        return rc;
    u->file_bytes += (int64_t)n;
    if (u->file_bytes > max) {
        err_set(err, ERR_TOO_LARGE, "the recording is over %lld bytes", (long long)max);
        return refuse(u, err, PROBLEM_file_too_large, ERR_TOO_LARGE);
    }
    if (!u->put) {
        size_t take = MIN(n, sizeof u->head - u->n_head);
        memcpy(u->head + u->n_head, p, take);
        u->n_head += take;
        p += take;
        n -= take;
        if (u->n_head < sizeof u->head)
            return 0;
        rc = open_object(u, false, err);
        if (rc < 0 || !n)
            return rc;
    }
    rc = storage_put_write(u->put, p, n, err);
    return rc < 0 ? storage_failed(u, err) : 0;
}

static int on_part_data(void *arg, const void *data, size_t n, struct err *err)
{
    struct upload *u = arg;
    if (u->part == PART_FILE)
        return file_data(u, data, n, err);
    if (u->part == PART_IGNORED)
        return 0;
    /* One byte beyond the limit is enough to know that it is too long. */
    size_t room = form_field_max(u->slot.field) + 1 - u->value.len;
    buf_add(&u->value, data, MIN(n, room));
    return buf_ok(&u->value) ? 0 : err_set(err, ERR_NOMEM, "no memory for this request");
}

static int on_part_end(void *arg, struct err *err)
{
    struct upload *u = arg;
    enum problem p = PROBLEM_COUNT;
    int rc = 0;
    switch (u->part) {
    case PART_FILE:
        break;
    case PART_FIELD:
        rc = form_set(&u->form, &u->slot, buf_str(&u->value), u->value.len, &u->rq->arena, &p, err);
        return rc < 0 ? refuse(u, err, p, rc) : 0;
    case PART_IGNORED:
        return 0;
    }
    if (!u->file_bytes) {
        err_set(err, ERR_INVALID, "'%.100s' is empty: there is nothing to transcribe", u->filename);
        return refuse(u, err, PROBLEM_empty_file, ERR_INVALID);
    }
    return u->put ? 0 : open_object(u, true, err);
}

static const struct multipart_ops parts = {
    .part_begin = on_part_begin,
    .part_data = on_part_data,
    .part_end = on_part_end,
};

/* ---- the task ---- */

static int take_bytes(struct upload *u, const char *p, size_t n, struct err *err)
{
    if (clock_mono_ms() - u->rq->started_ms > u->rq->api->o.upload_ms) {
        err_set(err, ERR_TIMEOUT, "the upload took longer than %lld s", (long long)(u->rq->api->o.upload_ms / 1000));
        return refuse(u, err, PROBLEM_upload_timeout, ERR_TIMEOUT);
    }
    int rc = idempotency_renew(u->rq, &u->problem, err);
    if (rc < 0)
        return rc;
    int64_t max = request_max_upload(u->rq) + UPLOAD_OVERHEAD_BYTES;
    u->body_bytes += (int64_t)n;
    if (u->body_bytes > max) {
        err_set(err, ERR_TOO_LARGE, "the request body is over %lld bytes", (long long)max);
        return refuse(u, err, PROBLEM_file_too_large, ERR_TOO_LARGE);
    }
    rc = body_feed(&u->body, p, n, err);
    if (rc == ERR_INVALID && u->problem == PROBLEM_COUNT)
        u->problem = u->body.malformed;
    return rc;
}

/* The whole body was read. */
static int finish(struct upload *u, struct err *err)
{
    int rc = body_finish(&u->body, err);
    if (rc < 0)
        return u->problem == PROBLEM_COUNT ? refuse(u, err, u->body.cut_off, rc) : rc;
    if (!u->has_file) {
        u->rq->wrong_field = "file";
        err_set(err, ERR_INVALID, "there is no recording: send it in the field 'file'");
        return refuse(u, err, PROBLEM_missing_file, ERR_INVALID);
    }
    if (u->rq->signed_upload) {
        rc = upload_url_store(u->rq, TAKE(u->put), &u->problem, err);
        return rc < 0 ? rc : u->rq->route->run(u->rq, err);
    }
    const struct dialect *d = u->rq->route->dialect;
    rc = d->complete ? d->complete(&u->form, &u->rq->arena, &u->problem, err) : 0;
    u->rq->wrong_field = u->form.wrong;
    if (rc < 0)
        return rc;
    struct storage_put *put = TAKE(u->put); /* submit's from here on */
    const struct submission s = {
        .id = u->id,
        .key = u->key,
        .filename = u->filename,
        .content_type = u->content_type,
        .form = &u->form,
        .put = put,
    };
    rc = submit(u->rq, &s, &u->problem, err);
    if (rc < 0 || u->rq->answer.status) /* answered as before */
        return rc;
    return u->rq->route->run(u->rq, err);
}

static void drop_object(struct upload *u)
{
    storage_put_abort(TAKE(u->put));
}

/* Makes the answer of a failure and, while the body is still coming in, sends it at once. */
static void answer_failure(struct upload *u, const struct err *err)
{
    drop_object(u);
    idempotency_release(u->rq);
    request_error(u->rq, u->problem, err);
    pthread_mutex_lock(&u->mu);
    u->refused = true;
    u->first = u->n = 0;
    u->sent = !u->ended && !u->gone;
    if (u->sent)
        http_send_early(u->rq);
    pthread_mutex_unlock(&u->mu);
}

/* The next piece of the ring; 0 bytes when it is empty. */
static size_t next_piece(struct upload *u, const char **ret)
{
    *ret = u->ring + u->first;
    return MIN(u->n, (size_t)UPLOAD_RING_BYTES - u->first);
}

static void piece_done(struct upload *u, size_t n)
{
    u->n -= n;
    /* Starting again at the front keeps a slow upload on few pages. */
    u->first = u->n ? (u->first + n) % UPLOAD_RING_BYTES : 0;
}

/* Lets the HTTP thread go on. */
static void resume_locked(struct upload *u)
{
    if (u->suspended) {
        u->suspended = false;
        http_resume(u->rq);
    }
}

/* Takes out what the ring holds; true when there may be more after a fair share. */
static bool take_out_locked(struct upload *u, struct err *err)
{
    size_t share = UPLOAD_RING_BYTES;
    const char *p;
    size_t n;
    while (!u->gone && !u->refused && (n = next_piece(u, &p)) > 0) {
        if (!share)
            return true;
        n = MIN(n, share);
        share -= n;
        pthread_mutex_unlock(&u->mu);
        int rc = take_bytes(u, p, n, err);
        if (rc < 0)
            answer_failure(u, err);
        pthread_mutex_lock(&u->mu);
        if (rc >= 0)
            piece_done(u, n);
        if (!u->ended)
            resume_locked(u);
    }
    return false;
}

/* The request may wait for long, and takes nothing in any more: it is no upload now. */
static void drop_ring(struct upload *u)
{
    free(u->ring);
    u->ring = NULL;
    atomic_fetch_sub(&u->rq->api->uploads, 1);
}

/* True: there is more to do. Else `u` may be gone. */
static bool work(struct upload *u)
{
    struct request *rq = u->rq;
    struct err err = ERR_INIT;
    pthread_mutex_lock(&u->mu);
    if (take_out_locked(u, &err)) {
        /* Others wait for this thread too: to the end of the line, see upload_task. */
        pthread_mutex_unlock(&u->mu);
        return true;
    }
    bool over = u->ended && !u->gone;
    int rc = 0;
    if (over && !u->refused) {
        pthread_mutex_unlock(&u->mu);
        rc = finish(u, &err);
        if (rc < 0)
            answer_failure(u, &err);
        else if (rc == 0)
            idempotency_answered(rq);
        pthread_mutex_lock(&u->mu);
    }
    if (rc > 0) {
        /* The handler goes on later: the connection stays suspended, and the task under way. */
        u->running = u->suspended = false;
        drop_ring(u);
        pthread_mutex_unlock(&u->mu);
        http_handled(rq, rc, &err);
        return false;
    }
    if (over)
        rq->phase = PHASE_ANSWERED;
    if (u->gone) {
        drop_object(u);
        idempotency_release(rq);
    }
    u->running = false;
    resume_locked(u);
    pthread_mutex_unlock(&u->mu);
    http_task_end(rq);
    return false;
}

static void upload_task(void *arg)
{
    struct upload *u = arg;
    struct request *rq = u->rq;
    struct log_scope before = log_scope_swap(request_scope(rq));
    bool more = work(u);
    log_scope_swap(before);
    if (more)
        http_run_storing(rq, upload_task, u);
}

/* ---- the HTTP thread ---- */

/* The fields of a raw body: what the query holds beside the route's own parameters. */
static int take_query(struct upload *u, enum problem *ret_problem, struct err *err)
{
    struct request *rq = u->rq;
    for (size_t i = 0; i < rq->query.n; i++) {
        const struct query_param *p = &rq->query.params[i];
        if (query_has_word(rq->route->query, p->name))
            continue;
        rq->wrong_field = p->name;
        if (strcmp(p->name, "filename") == 0) {
            u->filename = *p->value ? form_filename(p->value, &rq->arena) : NULL;
            continue;
        }
        *ret_problem = PROBLEM_unknown_field;
        if (!form_find(&u->form, p->name, &u->slot))
            return err_set(err, ERR_INVALID, "there is no field '%.64s'; the recording's name goes into 'filename'",
                           p->name);
        int rc = form_set(&u->form, &u->slot, p->value, strlen(p->value), &rq->arena, ret_problem, err);
        if (rc < 0)
            return rc;
    }
    rq->wrong_field = NULL;
    return 0;
}

static int read_head(struct upload *u, const struct body_head *head, enum problem *ret_problem, struct err *err)
{
    static const struct body_head bytes = {.type = "application/octet-stream"};
    if (u->rq->route->body == BODY_OBJECT) {
        int rc = upload_url_type(head->type, ret_problem, err);
        return rc < 0 ? rc : body_init(&u->body, &bytes, true, &parts, u, ret_problem, err);
    }
    bool raw_too = u->rq->route->flags & ROUTE_RAW;
    int rc = body_init(&u->body, head, raw_too, &parts, u, ret_problem, err);
    return rc >= 0 && raw_too && body_is_raw(head->type) ? take_query(u, ret_problem, err) : rc;
}

int upload_new(struct request *rq, const struct body_head *head, enum problem *ret_problem, struct err *err)
{
    struct upload *u = calloc(1, sizeof *u);
    char *ring = malloc(UPLOAD_RING_BYTES); /* its pages come into being as they are used */
    *ret_problem = PROBLEM_overloaded;
    if (!u || !ring) {
        free(u);
        free(ring);
        return err_set(err, ERR_NOMEM, "no memory for another upload; try again later");
    }
    u->rq = rq;
    u->ring = ring;
    u->problem = PROBLEM_COUNT;
    u->form.dialect = rq->route->dialect;
    u->form.engine_names = rq->api->o.engine_names;
    rq->form = &u->form;
    pthread_mutex_init(&u->mu, NULL);
    buf_init(&u->value, FORM_VALUE_MAX + 1);
    id_new(u->id);
    atomic_fetch_add(&rq->api->uploads, 1);
    rq->upload = u; /* freed with it */
    return read_head(u, head, ret_problem, err);
}

void upload_free(struct upload *u)
{
    if (!u)
        return;
    /* Nothing is left in storage by now: submitted, refused, or removed by the task that upload_gone began. */
    if (u->ring)
        drop_ring(u);
    body_clear(&u->body);
    buf_clear(&u->value);
    pthread_mutex_destroy(&u->mu);
    free(u);
}

enum upload_state upload_feed(struct upload *u, const char *data, size_t *n)
{
    struct request *rq = u->rq;
    enum upload_state state = UPLOAD_GOES_ON;
    bool start = false;
    pthread_mutex_lock(&u->mu);
    if (u->sent) {
        state = UPLOAD_ANSWERED;
    } else if (!u->running && !http_task_begin(rq)) {
        state = UPLOAD_CUT;
    } else {
        size_t size = UPLOAD_RING_BYTES, take = MIN(*n, size - u->n);
        size_t at = (u->first + u->n) % size, part = MIN(take, size - at);
        memcpy(u->ring + at, data, part);
        memcpy(u->ring, data + part, take - part);
        u->n += take;
        *n -= take;
        start = !u->running;
        u->running = true;
        if (*n) {
            /* Under the lock, or the task could resume before we suspend. */
            http_suspend(rq);
            u->suspended = true;
        }
        atomic_fetch_add_explicit(&rq->api->metrics.upload_bytes, (long long)take, memory_order_relaxed);
    }
    pthread_mutex_unlock(&u->mu);
    if (start)
        http_run_storing(rq, upload_task, u);
    return state;
}

enum upload_state upload_end(struct upload *u)
{
    struct request *rq = u->rq;
    enum upload_state state = UPLOAD_GOES_ON;
    bool start = false;
    pthread_mutex_lock(&u->mu);
    if (u->sent) {
        state = UPLOAD_ANSWERED;
    } else if (!u->running && !http_task_begin(rq)) {
        state = UPLOAD_CUT;
    } else {
        start = !u->running;
        u->running = true;
        u->ended = true;
        rq->phase = PHASE_WORK;
        http_suspend(rq);
        u->suspended = true;
    }
    pthread_mutex_unlock(&u->mu);
    if (start)
        http_run_storing(rq, upload_task, u);
    return state;
}

unsigned upload_gone(struct upload *u)
{
    pthread_mutex_lock(&u->mu);
    u->gone = true;
    unsigned status = u->sent ? u->rq->answer.status : 0;
    bool start = !u->running && (u->put || idempotency_pending(u->rq));
    if (start) {
        u->running = true;
        http_task_force(u->rq);
    }
    pthread_mutex_unlock(&u->mu);
    if (start)
        http_run_storing(u->rq, upload_task, u);
    return status;
}
