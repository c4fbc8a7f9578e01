/* SPDX-License-Identifier: MIT */
/*
 * Models with random weights, through the library and through a plain computation in doubles (whisper_reference.c):
 * other sizes, bands and vocabularies than the trained fixture has. Weights have a standard deviation of 0.06, at which
 * every part of the network has a say.
 */
#include "model_maker.h"
#include "whisper/compute.h"
#include "whisper/mel.h"
#include "whisper/tokenizer.h"
#include "whisper_reference.h"

#include "base/io.h"
#include "base/mem.h"

#include <fcntl.h>
#include <limits.h>
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

enum { STEPS = 12, SOUND = 11 * WHISPER_RATE, PROMPT_MAX = 4, HEADS_HERE = 64 };

static const struct maker_shape shapes[] = {
    {51865, 80, 384, 4, 4, TENSOR_F32, 0.06, 1}, /* tiny */
    {51866, 128, 192, 3, 1, TENSOR_F32, 0.06, 2},
    {51864, 80, 320, 1, 3, TENSOR_F32, 0.06, 3},
};

static const struct {
    enum whisper_precision precision;
    double limit;
} precisions[] = {{WHISPER_F32, 1e-5}, {WHISPER_BF16, 1e-2}, {WHISPER_INT8, 4e-2}};

/* r.m.s. of the difference over the r.m.s. of what was wanted. */
static double distance(const float *got, const double *want, size_t n)
{
    double difference = 0, size = 0;
    for (size_t i = 0; i < n; i++) {
        difference += ((double)got[i] - want[i]) * ((double)got[i] - want[i]);
        size += want[i] * want[i];
    }
    return sqrt(difference / size);
}

static void expect_close(const char *what, const char *precision, double got, double limit)
{
    print_message("# %s %s: %.2e (limit %.0e)\n", precision, what, got, limit);
    if (!(got <= limit))
        fail_msg("%s in %s is off by %.3e, more than %.0e", what, precision, got, limit);
}

static int top(const double *x, int n)
{
    int best = 0;
    for (int i = 1; i < n; i++)
        if (x[i] > x[best])
            best = i;
    return best;
}

static int top_float(const float *x, int n)
{
    int best = 0;
    for (int i = 1; i < n; i++)
        if (x[i] > x[best])
            best = i;
    return best;
}

/* One model, and what the plain computation makes of it. */
struct world {
    const struct maker_shape *shape;
    struct reference *reference;
    struct model_file *file;
    float *mel;
    double *encoded, *first; /* first: logits after the prompt */
    int prompt[PROMPT_MAX + STEPS];
    size_t n_prompt;
    int path[STEPS]; /* greedy */
    double *scores;  /* [PROMPT_MAX][layers][heads][1500] */
};

/* Glides and breaths: nothing in it repeats. */
static float *make_sound(void)
{
    float *pcm = xcalloc(SOUND, sizeof *pcm);
    uint32_t noise = 12345;
    for (int i = 0; i < SOUND; i++) {
        double t = (double)i / WHISPER_RATE, loud = 0.5 + 0.5 * sin(7 * t);
        noise = noise * 1664525 + 1013904223;
        pcm[i] = (float)(0.2 * loud * sin(2 * 3.14159265 * (150 + 90 * t) * t) + 0.1 * sin(5000 * t + 3 * sin(4 * t)) +
                         0.02 * ((double)(noise >> 8) / (1 << 23) - 1));
    }
    return pcm;
}

static void test_spectrogram(const struct world *w, const float *pcm)
{
    size_t n = (size_t)w->shape->n_mels * MEL_FRAMES;
    double *want = xcalloc(n, sizeof *want);
    reference_mel(w->reference, pcm, SOUND, want);
    mel_window(pcm, SOUND, model_file_mel_filters(w->file), w->shape->n_mels, w->mel);
    expect_close("spectrogram", "", distance(w->mel, want, n), 1e-5);
    free(want);
}

static void think(struct world *w)
{
    const int heads = w->shape->state / 64, n_vocab = w->shape->n_vocab;
    size_t n_scores = (size_t)(w->shape->text_layers * heads) * 1500;
    double *logits = xcalloc((size_t)n_vocab, sizeof *logits);
    w->encoded = xcalloc((size_t)(1500 * w->shape->state), sizeof *w->encoded);
    w->first = xcalloc((size_t)n_vocab, sizeof *w->first);
    w->scores = xcalloc(PROMPT_MAX * n_scores, sizeof *w->scores);
    reference_encode(w->reference, w->mel, w->encoded);
    for (size_t i = 1; i < w->n_prompt; i++)
        reference_step(w->reference, w->prompt, i, logits, w->scores + (i - 1) * n_scores);
    reference_step(w->reference, w->prompt, w->n_prompt, w->first, w->scores + (w->n_prompt - 1) * n_scores);
    for (size_t i = 0; i < STEPS; i++) {
        reference_step(w->reference, w->prompt, w->n_prompt + i, logits, NULL);
        w->path[i] = w->prompt[w->n_prompt + i] = top(logits, n_vocab);
    }
    free(logits);
}

static void follow_path(const struct world *w, struct compute *c)
{
    int tokens[PROMPT_MAX + STEPS];
    struct err err = ERR_INIT;
    memcpy(tokens, w->prompt, w->n_prompt * sizeof *tokens);
    for (size_t i = 0; i < STEPS; i++) {
        int position = (int)(w->n_prompt + i) - 1;
        struct step_row row = {.position = position, .token = tokens[position], .want_logits = true};
        assert_int_equal(compute_step(c, &row, 1, &err), 0);
        tokens[position + 1] = top_float(row.logits, w->shape->n_vocab);
        if (tokens[position + 1] != w->path[i])
            fail_msg("token %zu is %d, not %d", i, tokens[position + 1], w->path[i]);
    }
}

/* What the words' times are made of: the scores of every head, as they are read for alignment. */
static void look_at_heads(const struct world *w, struct compute *c, const char *precision, double limit)
{
    const int per_layer = w->shape->state / 64;
    const size_t n_heads = (size_t)(w->shape->text_layers * per_layer), n = w->n_prompt;
    struct head heads[HEADS_HERE];
    float *got = xcalloc(n_heads * n * 1500, sizeof *got), probabilities[PROMPT_MAX];
    double *want = xcalloc(n_heads * n * 1500, sizeof *want);
    struct err err = ERR_INIT;
    for (size_t h = 0; h < n_heads; h++) {
        heads[h] = (struct head){.layer = (int)h / per_layer, .head = (int)h % per_layer};
        for (size_t i = 0; i < n; i++)
            memcpy(want + (h * n + i) * 1500, w->scores + (i * n_heads + h) * 1500, 1500 * sizeof *want);
    }
    assert_int_equal(compute_align(c, 0, 1, w->prompt, n, heads, n_heads, w->shape->n_vocab, got, probabilities, &err),
                     0);
    expect_close("cross-attention", precision, distance(got, want, n_heads * n * 1500), limit);
    free(got);
    free(want);
}

static void run_precision(const struct world *w, size_t k)
{
    const char *name = whisper_precision_name(precisions[k].precision);
    struct err err = ERR_INIT;
    struct net *net = NULL;
    struct compute *c = NULL;
    const struct compute_opts o = {.audio_slots = 1, .text_slots = 2, .max_rows = 16};
    if (net_open(w->file, precisions[k].precision, NULL, &net, &err) < 0 || compute_new(net, &o, &c, &err) < 0)
        fail_msg("%s", err.msg);
    size_t n = (size_t)(1500 * w->shape->state);
    float *encoded = xcalloc(n, sizeof *encoded);
    assert_int_equal(compute_encode(c, 0, w->mel, NULL, encoded, &err), 0);
    expect_close("encoder", name, distance(encoded, w->encoded, n), precisions[k].limit);
    struct step_row rows[PROMPT_MAX];
    for (size_t i = 0; i < w->n_prompt; i++)
        rows[i] = (struct step_row){.position = (int)i, .token = w->prompt[i], .want_logits = i + 1 == w->n_prompt};
    assert_int_equal(compute_step(c, rows, w->n_prompt, &err), 0);
    expect_close("first logits", name, distance(rows[w->n_prompt - 1].logits, w->first, (size_t)w->shape->n_vocab),
                 precisions[k].limit);
    if (precisions[k].precision == WHISPER_F32)
        follow_path(w, c);
    look_at_heads(w, c, name, precisions[k].precision == WHISPER_F32 ? 1e-5 : 2 * precisions[k].limit);
    free(encoded);
    compute_free(c);
    net_close(net);
}

static void run_shape(const struct maker_shape *shape)
{
    char path[PATH_MAX];
    struct world w = {.shape = shape};
    struct made m;
    struct err err = ERR_INIT;
    struct tokenizer *t = NULL;
    maker_make(shape, &m);
    snprintf(path, sizeof path, "%s/steno-reference-XXXXXX", getenv("TMPDIR") ? getenv("TMPDIR") : "/tmp");
    CLEANUP(close_fd) int fd = mkostemp(path, O_CLOEXEC);
    assert_true(fd >= 0);
    assert_int_equal(io_write_all(fd, m.data, m.size, &err), 0);
    int rc = model_file_open(path, &w.file, &err);
    unlink(path);
    if (rc < 0 || tokenizer_new(w.file, &t, &err) < 0)
        fail_msg("%s", err.msg);
    w.reference = reference_new(m.data, m.size);
    assert_non_null(w.reference);
    w.prompt[w.n_prompt++] = t->sot;
    if (t->n_languages) {
        w.prompt[w.n_prompt++] = t->first_language;
        w.prompt[w.n_prompt++] = t->transcribe;
    }
    w.prompt[w.n_prompt++] = t->no_timestamps;
    w.mel = xcalloc((size_t)shape->n_mels * MEL_FRAMES, sizeof *w.mel);
    float *pcm = make_sound();
    test_spectrogram(&w, pcm);
    think(&w);
    for (size_t k = 0; k < ARRAY_LEN(precisions); k++)
        run_precision(&w, k);
    free(pcm);
    free(w.mel);
    free(w.encoded);
    free(w.first);
    free(w.scores);
    reference_free(w.reference);
    tokenizer_free(t);
    model_file_close(w.file);
    made_clear(&m);
}

static void test_multilingual(void **state)
{
    (void)state;
    run_shape(&shapes[0]);
}

static void test_many_bands_and_one_decoder_layer(void **state)
{
    (void)state;
    run_shape(&shapes[1]);
}

static void test_english_only(void **state)
{
    (void)state;
    run_shape(&shapes[2]);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_multilingual),
        cmocka_unit_test(test_many_bands_and_one_decoder_layer),
        cmocka_unit_test(test_english_only),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
