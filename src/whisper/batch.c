/* SPDX-License-Identifier: MIT */
/*
 * One compute thread owns the struct compute. Callers put requests into a list and sleep; each turn of the thread
 *
 *   1. takes over new requests,
 *   2. does at most one long one whole (encode, languages, align), so that running decodes wait for one window at most,
 *   3. gives every running decode its rows (a piece of its prompt, or the newest token of each live sequence),
 *   4. runs one step for all of them, lets each search choose from its logits, and wakes the callers whose decode is
 * over.
 *
 * Between the layers of a long one it looks round too (look_round): nobody who is cancelled waits for another's window.
 *
 * Audio slots belong to windows and are given out under the lock by batch_open. Text slots belong to running decodes; a
 * decode that finds too few free ones waits in the list, first come first served.
 */
#include "whisper/batch.h"

#include "base/thread.h"
#include "whisper/mel.h"

#include <math.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>

enum request_kind { ENCODE, LANGUAGES, DECODE, ALIGN };

struct request {
    enum request_kind kind;
    struct batch_window *window;
    const struct cancel *cancel;
    struct request *next;
    bool done; /* guarded by the batch's mu */
    int rc;
    struct err err;

    const float *pcm; /* encode */
    size_t n_pcm;
    float *floats; /* languages, align: result */
    float *probs;  /* align */
    const int *tokens;
    size_t n_tokens;
    const struct head *heads;
    size_t n_heads;

    const struct batch_try *try; /* decode */
    float no_speech;
    size_t fed; /* prompt tokens fed so far */
    unsigned slots[SEARCH_MAX_SEQUENCES];
    size_t first_row; /* of this step */
    size_t n_rows;
};

struct batch_window {
    struct batch *batch;
    unsigned audio_slot;
};

struct batch {
    struct whisper_model *model;
    struct compute *compute; /* of the thread */
    unsigned n_audio, n_text, max_rows;
    atomic_uint most; /* windows in one step */
    float *mel;       /* of the thread: [n_mels][3000] */
    pthread_t thread;

    pthread_mutex_t mu;
    pthread_cond_t work, answered, freed;
    struct request *first, **last; /* guarded by mu: new requests */
    bool *audio_taken;             /* guarded by mu */
    bool stopping;                 /* guarded by mu */

    /* of the thread */
    struct request *waiting, **waiting_last; /* taken over, not started */
    const struct request *current;           /* the long one under way */
    struct request **running;                /* decodes, at most n_text */
    size_t n_running;
    bool *text_taken;
    struct step_row *rows;
};

/* ---- the compute thread ---- */

static void answer(struct batch *b, struct request *r, int rc)
{
    pthread_mutex_lock(&b->mu);
    r->rc = rc;
    r->done = true;
    pthread_cond_broadcast(&b->answered);
    pthread_mutex_unlock(&b->mu);
}

static void answer_cancelled(struct batch *b, struct request *r)
{
    answer(b, r, err_set(&r->err, ERR_CANCELLED, "cancelled"));
}

static int run_encode(struct batch *b, struct request *r)
{
    const struct model_file *f = b->model->file;
    mel_window(r->pcm, r->n_pcm, model_file_mel_filters(f), model_file_dims(f)->n_mels, b->mel);
    return compute_encode(b->compute, r->window->audio_slot, b->mel, r->cancel, NULL, &r->err);
}

static bool take_text_slots(struct batch *b, int n, unsigned *ret)
{
    int found = 0;
    for (unsigned i = 0; i < b->n_text && found < n; i++)
        if (!b->text_taken[i])
            ret[found++] = i;
    if (found < n)
        return false;
    for (int i = 0; i < n; i++)
        b->text_taken[ret[i]] = true;
    return true;
}

static void give_text_slots(struct batch *b, int n, const unsigned *slots)
{
    for (int i = 0; i < n; i++)
        b->text_taken[slots[i]] = false;
}

static int run_languages(struct batch *b, struct request *r, unsigned slot)
{
    const struct tokenizer *t = b->model->tokenizer;
    struct step_row row = {
        .audio_slot = r->window->audio_slot, .text_slot = slot, .token = t->sot, .want_logits = true};
    int rc = compute_step(b->compute, &row, 1, &r->err);
    if (rc == 0)
        kern_best()->softmax(row.logits + t->first_language, (size_t)t->n_languages, r->floats);
    return rc;
}

static int run_align(struct batch *b, struct request *r, unsigned slot)
{
    return compute_align(b->compute, r->window->audio_slot, slot, r->tokens, r->n_tokens, r->heads, r->n_heads,
                         b->model->tokenizer->eot, r->floats, r->probs, &r->err);
}

/* Starts what can be started; false when a request must wait for text slots (and all behind it, for fairness). */
static bool start(struct batch *b, struct request *r)
{
    if (cancel_is_set(r->cancel)) {
        answer_cancelled(b, r);
        return true;
    }
    b->current = r;
    if (r->kind == ENCODE) {
        answer(b, r, run_encode(b, r));
        return true;
    }
    int slots = r->kind == DECODE ? r->try->search->opts.sequences : 1;
    if (!take_text_slots(b, slots, r->slots))
        return false;
    if (r->kind == DECODE) {
        b->running[b->n_running++] = r;
        return true;
    }
    int rc = r->kind == LANGUAGES ? run_languages(b, r, r->slots[0]) : run_align(b, r, r->slots[0]);
    give_text_slots(b, 1, r->slots);
    answer(b, r, rc);
    return true;
}

static void add_waiting(struct batch *b, struct request *r)
{
    r->next = NULL;
    *b->waiting_last = r;
    b->waiting_last = &r->next;
}

static void wait_again(struct batch *b, struct request *r)
{
    r->next = b->waiting;
    if (!b->waiting)
        b->waiting_last = &r->next;
    b->waiting = r;
}

static struct request *next_waiting(struct batch *b)
{
    struct request *r = b->waiting;
    if (!r)
        return NULL;
    b->waiting = r->next;
    if (!b->waiting)
        b->waiting_last = &b->waiting;
    return r;
}

/*
 * Starts waiting requests: all decodes that fit, and at most one of the long kinds. A request that start() has answered
 * is its caller's again, and may be gone.
 */
static void start_waiting(struct batch *b)
{
    bool did_long = false;
    for (struct request *r; (r = next_waiting(b));) {
        bool is_long = r->kind != DECODE;
        if ((is_long && did_long) || !start(b, r)) {
            wait_again(b, r);
            return;
        }
        did_long = did_long || is_long;
    }
}

/* New requests into the waiting list. Needs the lock. */
static void take_over_locked(struct batch *b)
{
    if (!b->first)
        return;
    *b->waiting_last = b->first;
    b->waiting_last = b->last;
    b->first = NULL;
    b->last = &b->first;
}

static void add_row(struct batch *b, size_t *n, struct request *r, unsigned text_slot, size_t position, int token,
                    bool want)
{
    b->rows[(*n)++] = (struct step_row){.audio_slot = r->window->audio_slot,
                                        .text_slot = text_slot,
                                        .position = (int)position,
                                        .token = token,
                                        .want_logits = want};
    r->n_rows++;
}

/* A piece of the prompt, all of it in the first text slot. */
static void add_prompt(struct batch *b, size_t *n, struct request *r)
{
    const struct batch_try *t = r->try;
    for (; r->fed < t->n_prompt && *n < b->max_rows; r->fed++)
        add_row(b, n, r, r->slots[0], r->fed, t->prompt[r->fed], r->fed == t->sot_index || r->fed + 1 == t->n_prompt);
}

/* Rows of this step for every running decode; whoever finds no room waits for the next step. */
static size_t gather_rows(struct batch *b)
{
    size_t n = 0;
    for (size_t i = 0; i < b->n_running; i++) {
        struct request *r = b->running[i];
        const struct search *s = r->try->search;
        r->first_row = n;
        r->n_rows = 0;
        if (r->fed < r->try->n_prompt) {
            add_prompt(b, &n, r);
            continue;
        }
        if (n + (size_t)s->n_live > b->max_rows)
            continue;
        for (int k = 0; k < s->n_live; k++) {
            const struct sequence *q = &s->live[k];
            if (!q->over)
                add_row(b, &n, r, r->slots[q->slot], r->try->n_prompt + (size_t)q->n - 1, q->tokens[q->n - 1], true);
        }
    }
    return n;
}

/* Lets one search choose from the logits of its rows. Runs in parallel for different decodes. */
static void choose(struct batch *b, struct request *r)
{
    const struct batch_try *t = r->try;
    struct step_row *rows = b->rows + r->first_row;
    float *logits[SEARCH_MAX_SEQUENCES];
    if (!r->n_rows)
        return;
    bool prompt = rows[0].position < (int)t->n_prompt;
    if (prompt) {
        for (size_t i = 0; i < r->n_rows; i++)
            if ((size_t)rows[i].position == t->sot_index) {
                const float *l = rows[i].logits;
                r->no_speech =
                    expf(l[t->rules->t->no_speech] - kern_best()->log_sum_exp(l, (size_t)t->rules->t->n_vocab));
            }
        if (r->fed < t->n_prompt)
            return;
        for (int k = 0; k < t->search->n_live; k++)
            logits[k] = rows[r->n_rows - 1].logits;
        /* All sequences begin from this one row. */
        search_update(t->search, t->rules, logits);
        return;
    }
    size_t at = 0;
    for (int k = 0; k < t->search->n_live; k++)
        logits[k] = t->search->live[k].over ? NULL : rows[at++].logits;
    search_update(t->search, t->rules, logits);
}

/* After the choice: copies of text slots that the search asks for, and those that drawn sequences need after the
 * prompt. */
static void copy_slots(struct batch *b, const struct request *r)
{
    const struct search *s = r->try->search;
    if (!r->n_rows || r->fed < r->try->n_prompt)
        return;
    bool first = b->rows[r->first_row].position < (int)r->try->n_prompt;
    int length = b->rows[r->first_row + r->n_rows - 1].position + 1;
    if (first && !s->opts.beam)
        for (int k = 1; k < s->n_live; k++)
            compute_copy_text(b->compute, r->slots[k], r->slots[0], length);
    for (int k = 0; k < s->n_copies; k++)
        compute_copy_text(b->compute, r->slots[s->copies[k].to], r->slots[s->copies[k].from], length);
}

static void finish_over(struct batch *b, int rc, const struct err *why)
{
    size_t kept = 0;
    for (size_t i = 0; i < b->n_running; i++) {
        struct request *r = b->running[i];
        bool cancelled = cancel_is_set(r->cancel);
        if (rc == 0 && !cancelled && !r->try->search->done) {
            b->running[kept++] = r;
            continue;
        }
        if (rc < 0)
            r->err = *why;
        give_text_slots(b, r->try->search->opts.sequences, r->slots);
        bool over = r->try->search->done;
        answer(b, r, rc < 0 ? rc : over ? 0 : err_set(&r->err, ERR_CANCELLED, "cancelled"));
    }
    b->n_running = kept;
}

/* A compute_opts go_on: answers all who are cancelled; false when the long request under way is. */
static bool look_round(void *arg)
{
    struct batch *b = arg;
    pthread_mutex_lock(&b->mu);
    take_over_locked(b);
    pthread_mutex_unlock(&b->mu);
    struct request *r = b->waiting;
    b->waiting = NULL;
    b->waiting_last = &b->waiting;
    while (r) {
        struct request *next = r->next;
        if (cancel_is_set(r->cancel))
            answer_cancelled(b, r);
        else
            add_waiting(b, r);
        r = next;
    }
    finish_over(b, 0, NULL);
    return !cancel_is_set(b->current->cancel);
}

static void step(struct batch *b)
{
    struct err err = ERR_INIT;
    finish_over(b, 0, &err); /* the cancelled ones */
    size_t n = gather_rows(b);
    unsigned windows = 0;
    for (size_t i = 0; i < b->n_running; i++)
        windows += b->running[i]->n_rows > 0;
    if (windows > atomic_load(&b->most))
        atomic_store(&b->most, windows);
    int rc = n ? compute_step(b->compute, b->rows, n, &err) : 0;
    if (rc == 0) {
#pragma omp parallel for schedule(dynamic)
        for (size_t i = 0; i < b->n_running; i++)
            choose(b, b->running[i]);
        for (size_t i = 0; i < b->n_running; i++)
            copy_slots(b, b->running[i]);
    }
    finish_over(b, rc, &err);
}

static void *batch_main(void *arg)
{
    struct batch *b = arg;
    for (;;) {
        pthread_mutex_lock(&b->mu);
        while (!b->first && !b->waiting && !b->n_running && !b->stopping)
            cond_wait_ms(&b->work, &b->mu, -1);
        bool stop = b->stopping && !b->first && !b->waiting && !b->n_running;
        take_over_locked(b);
        pthread_mutex_unlock(&b->mu);
        if (stop)
            return NULL;
        start_waiting(b);
        if (b->n_running)
            step(b);
    }
}

/* ---- making one ---- */

static struct compute_opts compute_options(const struct whisper_batcher_opts *o)
{
    return (struct compute_opts){
        .threads = o->threads, .audio_slots = o->max_windows, .text_slots = o->max_rows, .max_rows = o->max_rows};
}

int64_t batch_memory(const struct whisper_model *m, const struct whisper_batcher_opts *o)
{
    struct compute_opts c = compute_options(o);
    return compute_memory(m->net, &c);
}

/* OpenMP keeps its number of threads for each thread: the compute thread makes its own struct compute. */
struct making {
    struct batch *b;
    const struct whisper_batcher_opts *o;
    int rc;
    struct err err;
};

static void *make_and_run(void *arg)
{
    struct making *m = arg;
    struct batch *b = m->b;
    struct compute_opts c = compute_options(m->o);
    c.go_on = look_round;
    c.go_on_arg = b;
    int rc = compute_new(b->model->net, &c, &b->compute, &m->err);
    pthread_mutex_lock(&b->mu);
    m->rc = rc < 0 ? rc : 1;
    pthread_cond_broadcast(&b->answered);
    pthread_mutex_unlock(&b->mu);
    return rc < 0 ? NULL : batch_main(b);
}

int batch_new(struct whisper_model *m, const struct whisper_batcher_opts *o, struct batch **ret, struct err *err)
{
    if (o->max_windows < 1 || o->max_rows < SEARCH_MAX_SEQUENCES)
        return err_set(err, ERR_INVALID, "a batch needs a window and %d rows at least", (int)SEARCH_MAX_SEQUENCES);
    struct batch *b = xcalloc(1, sizeof *b);
    b->model = whisper_model_ref(m);
    b->n_audio = o->max_windows;
    b->n_text = b->max_rows = o->max_rows;
    b->last = &b->first;
    b->waiting_last = &b->waiting;
    pthread_mutex_init(&b->mu, NULL);
    cond_init(&b->work);
    cond_init(&b->answered);
    cond_init(&b->freed);
    b->audio_taken = xcalloc(b->n_audio, sizeof *b->audio_taken);
    b->text_taken = xcalloc(b->n_text, sizeof *b->text_taken);
    b->running = xcalloc(b->n_text, sizeof(struct request *));
    b->rows = xcalloc(b->max_rows, sizeof *b->rows);
    b->mel = xcalloc((size_t)model_file_dims(m->file)->n_mels * MEL_FRAMES, sizeof *b->mel);
    struct making making = {.b = b, .o = o};
    int rc = thread_start(&b->thread, "whisper", make_and_run, &making, err);
    if (rc == 0) {
        pthread_mutex_lock(&b->mu);
        while (!making.rc)
            cond_wait_ms(&b->answered, &b->mu, -1);
        rc = making.rc < 0 ? making.rc : 0;
        pthread_mutex_unlock(&b->mu);
        if (rc < 0) {
            *err = making.err;
            pthread_join(b->thread, NULL);
        }
    }
    if (rc < 0) {
        b->thread = 0;
        batch_free(b);
        return rc;
    }
    *ret = b;
    return 0;
}

unsigned batch_most(const struct batch *b)
{
    return atomic_load(&b->most);
}

void batch_free(struct batch *b)
{
    if (!b)
        return;
    if (b->compute) {
        pthread_mutex_lock(&b->mu);
        b->stopping = true;
        pthread_cond_signal(&b->work);
        pthread_mutex_unlock(&b->mu);
        pthread_join(b->thread, NULL);
    }
    compute_free(b->compute);
    pthread_mutex_destroy(&b->mu);
    pthread_cond_destroy(&b->work);
    pthread_cond_destroy(&b->answered);
    pthread_cond_destroy(&b->freed);
    free(b->audio_taken);
    free(b->text_taken);
    free(b->running);
    free(b->rows);
    free(b->mel);
    whisper_model_unref(b->model);
    free(b);
}

/* ---- calls ---- */

static int call(struct batch *b, struct request *r, struct err *err)
{
    pthread_mutex_lock(&b->mu);
    r->next = NULL;
    *b->last = r;
    b->last = &r->next;
    pthread_cond_signal(&b->work);
    while (!r->done)
        cond_wait_ms(&b->answered, &b->mu, -1);
    pthread_mutex_unlock(&b->mu);
    if (r->rc < 0)
        *err = r->err;
    return r->rc;
}

static int take_audio_slot(struct batch *b, const struct cancel *cancel, unsigned *ret, struct err *err)
{
    enum { LOOK_MS = 100 }; /* at the cancel, while waiting */
    int rc = 1;
    pthread_mutex_lock(&b->mu);
    while (rc > 0) {
        for (unsigned i = 0; i < b->n_audio && rc > 0; i++)
            if (!b->audio_taken[i]) {
                b->audio_taken[i] = true;
                *ret = i;
                rc = 0;
            }
        if (rc > 0 && cancel_is_set(cancel))
            rc = err_set(err, ERR_CANCELLED, "cancelled");
        if (rc > 0)
            cond_wait_ms(&b->freed, &b->mu, LOOK_MS);
    }
    pthread_mutex_unlock(&b->mu);
    return rc;
}

int batch_open(struct batch *b, const float *pcm, size_t n, const struct cancel *cancel, struct batch_window **ret,
               struct err *err)
{
    unsigned slot = 0;
    int rc = take_audio_slot(b, cancel, &slot, err);
    if (rc < 0)
        return rc;
    struct batch_window *w = xcalloc(1, sizeof *w);
    *w = (struct batch_window){.batch = b, .audio_slot = slot};
    struct request r = {.kind = ENCODE, .window = w, .cancel = cancel, .pcm = pcm, .n_pcm = n};
    rc = call(b, &r, err);
    if (rc < 0)
        batch_close(w);
    else
        *ret = w;
    return rc;
}

void batch_close(struct batch_window *w)
{
    if (!w)
        return;
    struct batch *b = w->batch;
    pthread_mutex_lock(&b->mu);
    b->audio_taken[w->audio_slot] = false;
    pthread_cond_signal(&b->freed);
    pthread_mutex_unlock(&b->mu);
    free(w);
}

int batch_languages(struct batch_window *w, const struct cancel *cancel, float *ret, struct err *err)
{
    struct request r = {.kind = LANGUAGES, .window = w, .cancel = cancel, .floats = ret};
    return call(w->batch, &r, err);
}

int batch_decode(struct batch_window *w, const struct batch_try *t, const struct cancel *cancel, float *ret_no_speech,
                 struct err *err)
{
    struct request r = {.kind = DECODE, .window = w, .cancel = cancel, .try = t};
    int rc = call(w->batch, &r, err);
    if (rc == 0)
        *ret_no_speech = r.no_speech;
    return rc;
}

int batch_align(struct batch_window *w, const int *tokens, size_t n, const struct head *heads, size_t n_heads,
                float *ret_scores, float *ret_token_prob, const struct cancel *cancel, struct err *err)
{
    struct request r = {.kind = ALIGN,
                        .window = w,
                        .cancel = cancel,
                        .floats = ret_scores,
                        .probs = ret_token_prob,
                        .tokens = tokens,
                        .n_tokens = n,
                        .heads = heads,
                        .n_heads = n_heads};
    return call(w->batch, &r, err);
}
