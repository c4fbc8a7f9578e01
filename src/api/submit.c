/* SPDX-License-Identifier: MIT */
/*
 * The order is the promise: object durable, row durable, wake-up; then only the answer. A crash leaves at worst an
 * object without a row, which the sweeper removes, or a row whose wake-up was never sent, which workers find by
 * themselves and the sweeper when it compares queue and table. So a wake-up that cannot be sent is no failure.
 *
 * The row says from the start that it is announced. Saying so afterwards would cost another write, and worse: the
 * worker that is just being woken would find the row locked by it, skip it, and sleep.
 */
#include "api/submit.h"

#include "api/idempotency.h"
#include "api/models.h"
#include "api/room.h"
#include "api/server.h"
#include "base/fault.h"
#include "base/log.h"
#include "base/str.h"

static enum job_queue queue_of(const struct form *f)
{
    const char *word = f->values[FORM_queue] ? f->values[FORM_queue] : f->values[FORM_priority];
    enum job_queue q = QUEUE_NORMAL;
    return word && job_queue_parse(word, &q) ? q : QUEUE_NORMAL;
}

/*
 * Is the row there although the answer of the commit was lost? One that is not to be seen may still come: the server
 * may be at its commit, so it stays uncertain.
 */
static int insert(struct request *rq, const struct job_new *job, struct err *err)
{
    struct store *store = rq->api->o.store;
    int rc = store_submit(store, job, err);
    if (rc != ERR_UNCERTAIN)
        return rc;
    struct job seen;
    struct err look = ERR_INIT;
    return store_get(store, job->id, &rq->arena, &seen, &look) >= 0 ? 0 : ERR_UNCERTAIN;
}

static void announce(struct request *rq, const struct job_new *job)
{
    struct api *api = rq->api;
    struct err err = ERR_INIT;
    struct token t = {
        .queue = job_queue_name(job->queue),
        .job_id = job->id,
        .audio_key = job->audio_key,
        .language = job->language,
        .model = job->model,
    };
    int rc = FAULT_POINT(job_inserted, &err);
    if (rc >= 0)
        rc = broker_send_token(api->o.broker, &t, &err);
    if (rc >= 0)
        rc = FAULT_POINT(job_announced, &err);
    if (rc >= 0)
        return;
    log_warn(&rq->log, "the job is accepted but not announced, workers will find it: %s", err.msg);
    struct err again = ERR_INIT;
    if (store_not_announced(api->o.store, job->id, &again) < 0)
        log_warn(&rq->log, "the job is left for the sweeper to find: %s", again.msg);
}

/* The row as it was inserted. Where it stands in the queue is not told: counting that costs more than the insert. */
static int show(struct request *rq, const struct job_new *job, struct err *err)
{
    struct job *row = arena_alloc(&rq->arena, sizeof *row);
    if (!row)
        return err_set(err, ERR_NOMEM, "no memory for this request");
    *row = (struct job){.id = job->id,
                        .state = JOB_PENDING,
                        .queue = job->queue,
                        .created_at = job->created_at,
                        .updated_at = job->created_at,
                        .engine = job->engine,
                        .model = job->model,
                        .language = job->language,
                        .task = job->task ? job->task : "transcribe",
                        .prompt = job->prompt,
                        .description = job->description,
                        .options = job->options,
                        .filename = job->filename,
                        .content_type = job->content_type,
                        .audio_key = job->audio_key,
                        .audio_bytes = job->audio_bytes,
                        .audio_sha256 = job->audio_sha256,
                        .max_attempts = store_max_attempts(rq->api->o.store),
                        .seq = 1};
    rq->job = row;
    return 0;
}

/* NULL when nothing was asked for. */
static int take_options(struct request *rq, const struct form *f, const char **ret, struct err *err)
{
    CLEANUP(buf_clear) struct buf b = BUF_INIT(JOB_OPTIONS_JSON_MAX);
    job_options_to_json(&f->options, &b);
    int rc = buf_check(&b, "the options of a job", err);
    if (rc < 0 || str_eq(buf_str(&b), "{}"))
        return rc;
    *ret = arena_dup(&rq->arena, b.data, b.len);
    return *ret ? 0 : err_set(err, ERR_NOMEM, "no memory for the options of a job");
}

static int check(struct request *rq, const struct job_new *job, enum problem *ret_problem, struct err *err)
{
    const struct api_opts *o = &rq->api->o;
    struct err why = ERR_INIT;
    int rc = o->check ? o->check(o->check_arg, job, &why) : models_check(rq, job, &why);
    if (rc == ERR_INVALID || rc == ERR_UNSUPPORTED || rc == ERR_NOT_FOUND) {
        *err = why;
        *ret_problem = rc == ERR_NOT_FOUND ? PROBLEM_model_not_found : PROBLEM_impossible_request;
        return rc;
    }
    if (rc < 0)
        log_debug(&rq->log, "whether the job can be done is left to the worker: %s", why.msg);
    return 0;
}

/* 0: the row is there; 1: the same submission made it before, and its recording stands elsewhere. */
static int make_job(struct request *rq, struct job_new *job, const struct form *f, enum problem *ret_problem,
                    struct err *err)
{
    struct idempotency *i = rq->idempotency;
    int rc = i ? idempotency_compare(rq, f, job->options, job->audio_sha256, ret_problem, err) : 0;
    if (rc != 0)
        return rc;
    if (i) {
        job->key = &i->key;
        job->fingerprint = i->fingerprint;
    }
    rc = insert(rq, job, err);
    if (rc < 0)
        *ret_problem = rc == ERR_BUSY ? PROBLEM_queue_full : rc == ERR_LOST ? PROBLEM_key_in_flight : PROBLEM_COUNT;
    if (rc == 0 && i) {
        i->claimed = false;
        i->bound = true;
    }
    return rc;
}

int submit(struct request *rq, const struct submission *s, enum problem *ret_problem, struct err *err)
{
    struct storage *storage = rq->api->o.storage;
    struct object_info info = {0};
    struct job_new job = {
        .id = s->id,
        .queue = queue_of(s->form),
        .engine = s->form->values[FORM_engine],
        .model = s->form->values[FORM_model],
        .language = s->form->values[FORM_language],
        .task = s->form->values[FORM_task],
        .prompt = s->form->values[FORM_prompt],
        .description = s->form->values[FORM_description],
        .filename = s->filename,
        .content_type = s->content_type,
        .audio_key = s->key,
        .request_id = rq->id,
        .created_at = store_now(rq->api->o.store),
        .max_queue = rq->api->o.max_queue,
        .announced = true,
    };
    rq->log.job_id = arena_strdup(&rq->arena, s->id);
    log_scope_swap(request_scope(rq)); /* for the rest of this task */
    int rc = take_options(rq, s->form, &job.options, err);
    if (rc == 0)
        rc = check(rq, &job, ret_problem, err);
    if (rc < 0) {
        storage_put_abort(s->put);
        return rc;
    }
    rc = s->put ? storage_put_commit(s->put, &info, err) : 0;
    if (rc < 0) {
        *ret_problem = PROBLEM_storage_unavailable;
        return rc;
    }
    if (s->stored)
        info = *s->stored;
    job.audio_sha256 = s->sum ? s->sum : arena_strdup(&rq->arena, info.sha256);
    job.uploaded = s->stored != NULL;
    job.audio_bytes = info.size;
    rc = job.audio_sha256 ? FAULT_POINT(upload_stored, err) : err_set(err, ERR_NOMEM, "no memory for this request");
    if (rc >= 0)
        rc = make_job(rq, &job, s->form, ret_problem, err);
    if (rc != 0) {
        struct err again = ERR_INIT;
        /* When nobody knows whether the row will be there, the object stays: the sweeper knows later. */
        if (rc != ERR_UNCERTAIN && s->put && storage_delete(storage, s->key, &again) < 0)
            log_warn(&rq->log, "'%s' is left for the sweeper: %s", s->key, again.msg);
        return MIN(rc, 0);
    }
    announce(rq, &job);
    log_info(&rq->log, "accepted, %lld bytes", (long long)job.audio_bytes);
    return show(rq, &job, err);
}

int submit_admit(struct request *rq, enum problem *ret_problem, struct err *err)
{
    int64_t max = rq->api->o.max_queue;
    struct store_counts c;
    int rc = idempotency_begin(rq, ret_problem, err);
    /* What was accepted before needs no room. */
    if (rc < 0 || (rq->idempotency && !rq->idempotency->claimed))
        return rc;
    rc = room_find(rq->api, rq->body_bytes, err);
    if (rc == ERR_BUSY)
        *ret_problem = PROBLEM_disk_full;
    if (rc >= 0 && max)
        rc = store_counts(rq->api->o.store, false, &c, err);
    if (rc >= 0 && max && c.by_state[JOB_PENDING] >= max) {
        *ret_problem = PROBLEM_queue_full;
        rc = err_set(err, ERR_BUSY, "%lld jobs wait already; try again later", (long long)c.by_state[JOB_PENDING]);
    }
    if (rc < 0)
        idempotency_release(rq);
    return rc;
}
