/* SPDX-License-Identifier: MIT */
/*
 * The plan is parted into as many stretches as chunks are asked about, and of each stretch the chunk with the most
 * speech is taken. They run side by side in the job's lane, as chunks do.
 */
#include "worker/hear.h"

#include "base/str.h"
#include "worker/slots.h"

#include <stdlib.h>

enum { QUESTIONS = 5, LOOK_MS = 100 };

struct question {
    struct slot_task task;
    const struct pipeline_opts *o;
    const struct pcm *pcm;
    const struct plan_chunk *chunk;
    const struct cancel *stop;
    struct engine_language heard;
    int rc; /* 1: *heard */
    struct err err;
};

static int ask(struct question *q)
{
    struct span s = q->chunk->span;
    CLEANUP(free_p) int16_t *pcm = malloc((size_t)(s.end - s.start) * sizeof *pcm);
    if (!pcm)
        return err_set(&q->err, ERR_NOMEM, "out of memory for the sound of a chunk");
    int rc = pcm_read(q->pcm, s, pcm, &q->err);
    const struct engine_chunk c = {.pcm = pcm, .span = s, .speech = q->chunk->speech, .n_speech = q->chunk->n_speech};
    return rc < 0 ? rc : engine_detect(q->o->engine, &q->o->request, &c, q->stop, &q->heard, &q->err);
}

static void on_slot(struct slot_task *t)
{
    struct question *q = CONTAINER_OF(t, struct question, task);
    q->rc = ask(q);
}

static int64_t speech_of(const struct plan_chunk *c)
{
    int64_t n = 0;
    for (size_t i = 0; i < c->n_speech; i++)
        n += c->speech[i].end - c->speech[i].start;
    return n;
}

static const struct plan_chunk *most_speech(const struct plan *p, size_t from, size_t to)
{
    const struct plan_chunk *best = &p->chunks[from];
    for (size_t i = from + 1; i < to; i++)
        if (speech_of(&p->chunks[i]) > speech_of(best))
            best = &p->chunks[i];
    return best;
}

static int cancelled(struct err *err)
{
    return err_set(err, ERR_CANCELLED, "stopped while the language was detected");
}

/* Runs them all; the first failure stops the others. */
static int ask_all(const struct pipeline_opts *o, struct question *q, size_t n, struct cancel *stop, struct err *err)
{
    int rc = 0;
    size_t left = n;
    struct lane *lane = lane_open(o->slots);
    for (size_t i = 0; i < n; i++) {
        q[i].task.run = on_slot;
        lane_post(lane, &q[i].task);
    }
    while (left) {
        if (rc == 0 && (cancel_is_set(o->cancel) || cancel_is_set(o->drain)))
            rc = cancelled(err);
        if (rc < 0) {
            cancel_set(stop);
            while (lane_withdraw(lane))
                left--;
            if (!left)
                break;
        }
        struct slot_task *t = lane_next(lane, LOOK_MS);
        if (!t)
            continue;
        left--;
        const struct question *done = CONTAINER_OF(t, struct question, task);
        if (rc == 0 && done->rc < 0) {
            rc = done->rc;
            *err = done->err;
        }
    }
    lane_close(lane);
    return rc;
}

/* The language that most heard; of equals the one that was heard more surely. */
static void elect(const struct question *q, size_t n, struct plan *p)
{
    size_t most = 0;
    double surest = 0;
    for (size_t i = 0; i < n; i++) {
        size_t votes = 0;
        double sum = 0;
        for (size_t k = 0; k < n; k++)
            if (q[i].rc > 0 && q[k].rc > 0 && str_eq(q[i].heard.code, q[k].heard.code)) {
                votes++;
                sum += q[k].heard.probability;
            }
        if (votes > most || (votes == most && sum > surest)) {
            most = votes;
            surest = sum;
            p->heard = q[i].heard.code;
        }
    }
    p->heard_probability = surest / (double)n;
}

int hear_language(const struct pipeline_opts *o, const struct pcm *pcm, struct plan *p, struct err *err)
{
    if (!(engine_info(o->engine)->caps & ENGINE_DETECTS) || o->language_per_chunk || p->language || p->n_chunks < 2)
        return 0;
    struct question q[QUESTIONS];
    struct cancel stop = {.also = o->cancel};
    size_t n = MIN(p->n_chunks, (size_t)QUESTIONS);
    for (size_t i = 0; i < n; i++)
        q[i] = (struct question){
            .o = o, .pcm = pcm, .stop = &stop, .chunk = most_speech(p, i * p->n_chunks / n, (i + 1) * p->n_chunks / n)};
    int rc = ask_all(o, q, n, &stop, err);
    if (rc == 0)
        elect(q, n, p);
    return rc;
}
