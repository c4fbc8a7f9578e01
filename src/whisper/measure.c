/* SPDX-License-Identifier: MIT */
/*
 * Runs compute.h directly, without batch and search: what is measured is the network and nothing else. Caches that
 * no window was encoded into hold zeros, which cost what other numbers cost.
 */
#include "whisper/measure.h"

#include "whisper/compute.h"
#include "whisper/mel.h"
#include "whisper/model.h"

#include <omp.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

const unsigned whisper_measure_windows[WHISPER_MEASURE_SIZES] = {1, 2, 4, 8, 16};

enum { BEAMS = 5, POSITION = 64, PROMPT = 224, PROMPT_PIECE = 16, STEPS_FOR_ONE = 8, REPEATS_MAX = 1000 };

struct bench {
    struct whisper_model *model;
    struct compute *compute;
    const struct cancel *cancel;
    unsigned repeats;
    float *pcm, *mel;
    double *times;
};

static double now_ms(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec * 1e3 + (double)t.tv_nsec / 1e6;
}

static int by_value(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

typedef int (*part_fn)(struct bench *b, unsigned n, struct err *err);

static int part_mel(struct bench *b, unsigned n, struct err *err)
{
    (void)n;
    (void)err;
    mel_window(b->pcm, WHISPER_WINDOW, model_file_mel_filters(b->model->file), b->model->info.dims.n_mels, b->mel);
    return 0;
}

static int part_encode(struct bench *b, unsigned n, struct err *err)
{
    (void)n;
    return compute_encode(b->compute, 0, b->mel, b->cancel, NULL, err);
}

/* A row for each of n sequences: of n windows, or beams of the first window. */
static int step(struct bench *b, unsigned n, bool windows, struct err *err)
{
    struct step_row rows[16];
    for (unsigned i = 0; i < n; i++)
        rows[i] = (struct step_row){.audio_slot = windows ? i : 0,
                                    .text_slot = i,
                                    .position = POSITION,
                                    .token = (int)(100 + i),
                                    .want_logits = true};
    return compute_step(b->compute, rows, n, err);
}

static int part_step(struct bench *b, unsigned n, struct err *err)
{
    return step(b, n, true, err);
}

static int part_beams(struct bench *b, unsigned n, struct err *err)
{
    return step(b, n, false, err);
}

static int part_prompt(struct bench *b, unsigned n, struct err *err)
{
    struct step_row rows[PROMPT_PIECE];
    int rc = 0;
    for (unsigned at = 0; at < n && rc == 0; at += PROMPT_PIECE) {
        for (unsigned i = 0; i < PROMPT_PIECE; i++)
            rows[i] = (struct step_row){
                .text_slot = 0, .position = (int)(at + i), .token = (int)(100 + i), .want_logits = at + i + 1 == n};
        rc = compute_step(b->compute, rows, PROMPT_PIECE, err);
    }
    return rc;
}

/* The median over b->repeats runs, after one that makes what is made on first use. */
static int median(struct bench *b, part_fn part, unsigned n, unsigned repeats, double *ret, struct err *err)
{
    for (unsigned i = 0; i <= repeats; i++) {
        if (cancel_is_set(b->cancel))
            return err_set(err, ERR_CANCELLED, "cancelled");
        double started = now_ms();
        int rc = part(b, n, err);
        if (rc < 0)
            return rc;
        if (i)
            b->times[i - 1] = now_ms() - started;
    }
    qsort(b->times, repeats, sizeof *b->times, by_value);
    *ret = b->times[repeats / 2];
    return 0;
}

/* Products and convolutions of the encoder and the cross-attention's keys and values. */
static double encoder_gflops(const struct whisper_dims *d)
{
    const double t = d->audio_ctx, s = d->audio_state;
    double conv = 2 * (2 * t * 3 * d->n_mels * s + t * 3 * s * s);
    double layer = 2 * (12 * t * s * s + 2 * t * t * s);
    double cross = 2 * (2 * t * s * s);
    return (conv + d->audio_layers * layer + d->text_layers * cross) / 1e9;
}

static int run_all(struct bench *b, unsigned windows, struct whisper_measure *ret, struct err *err)
{
    unsigned many = MIN(b->repeats * STEPS_FOR_ONE, (unsigned)REPEATS_MAX);
    int rc = median(b, part_mel, 0, b->repeats, &ret->mel_ms, err);
    if (rc == 0)
        rc = median(b, part_encode, 0, b->repeats, &ret->encode_ms, err);
    for (size_t i = 0; i < WHISPER_MEASURE_SIZES && rc == 0; i++)
        if (whisper_measure_windows[i] <= windows)
            rc = median(b, part_step, whisper_measure_windows[i], many, &ret->step_ms[i], err);
    if (rc == 0)
        rc = median(b, part_beams, BEAMS, many, &ret->beam_ms, err);
    if (rc == 0)
        rc = median(b, part_prompt, PROMPT, b->repeats, &ret->prompt_ms, err);
    ret->threads = omp_get_max_threads();
    ret->encode_gflops = encoder_gflops(&b->model->info.dims);
    return rc;
}

/* Something that is neither silence nor pure: a saw tooth. */
static void fill(float *pcm)
{
    for (int i = 0; i < WHISPER_WINDOW; i++)
        pcm[i] = (float)(i % 160) / 320.0f - 0.25f;
}

int whisper_measure(struct whisper_model *m, unsigned threads, unsigned repeats, int64_t max_bytes,
                    const struct cancel *cancel, struct whisper_measure *ret, struct err *err)
{
    *ret = (struct whisper_measure){.mel_ms = 0};
    unsigned windows = whisper_measure_windows[WHISPER_MEASURE_SIZES - 1];
    struct compute_opts o = {.threads = threads, .text_slots = windows, .max_rows = PROMPT_PIECE};
    for (;; windows /= 2) {
        o.audio_slots = windows;
        if (compute_memory(m->net, &o) <= max_bytes)
            break;
        if (windows == 1)
            return err_set(err, ERR_NOMEM, "no memory for one window of model '%s'", m->info.name);
    }
    repeats = MIN(MAX(repeats, 1u), (unsigned)REPEATS_MAX);
    struct bench b = {.model = m,
                      .cancel = cancel,
                      .repeats = repeats,
                      .pcm = malloc(WHISPER_WINDOW * sizeof(float)),
                      .mel = malloc((size_t)m->info.dims.n_mels * MEL_FRAMES * sizeof(float)),
                      .times = malloc((REPEATS_MAX + 1) * sizeof(double))};
    int rc = b.pcm && b.mel && b.times ? compute_new(m->net, &o, &b.compute, err)
                                       : err_set(err, ERR_NOMEM, "no memory to measure with");
    if (rc == 0) {
        fill(b.pcm);
        rc = run_all(&b, windows, ret, err);
    }
    compute_free(b.compute);
    free(b.pcm);
    free(b.mel);
    free(b.times);
    return rc;
}
