/* SPDX-License-Identifier: MIT */
/*
 * The numbers of the network, against ones that other software computed from the same weights: spectrogram, encoder,
 * logits of every step; in each precision with the error that its rounding allows (r.m.s. of the difference over r.m.s.
 * of the value).
 */
#include "base/mem.h"
#include "whisper/compute.h"
#include "whisper/dnn.h"
#include "whisper/mel.h"
#include "whisper/tokenizer.h"
#include "whisper_fixture.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

static const char *const recordings[] = {"01_digits", "04_lists"};

struct numbers {
    float *mel, *enc, *logits;
    int *tokens, *ids;
    size_t n_mel, n_enc, n_logits, n_tokens, n_ids;
    double no_speech;
};

static struct numbers load(const char *recording)
{
    struct numbers x;
    char name[96];
#define LOAD(field, file)                                       \
    snprintf(name, sizeof name, "numbers/%s/" file, recording); \
    x.field = fixture_values(name, &x.n_##field)
    LOAD(mel, "mel.f32");
    LOAD(enc, "enc.f32");
    LOAD(logits, "logits.f32");
    LOAD(tokens, "tokens.i32");
    LOAD(ids, "ids.i32");
#undef LOAD
    snprintf(name, sizeof name, "numbers/%s/info.json", recording);
    json_t *info = fixture_json(name);
    x.no_speech = json_number_value(json_object_get(info, "nospeech"));
    json_decref(info);
    return x;
}

static void unload(struct numbers *x)
{
    free(x->mel);
    free(x->enc);
    free(x->logits);
    free(x->tokens);
    free(x->ids);
}

/* r.m.s. of the difference over the r.m.s. of what was wanted. */
static double distance(const float *got, const float *want, size_t n)
{
    double difference = 0, size = 0;
    for (size_t i = 0; i < n; i++) {
        difference += ((double)got[i] - (double)want[i]) * ((double)got[i] - (double)want[i]);
        size += (double)want[i] * (double)want[i];
    }
    return sqrt(difference / size);
}

static void expect_close(const char *what, double got, double limit)
{
    print_message("# %s: %.2e (limit %.0e)\n", what, got, limit);
    if (!(got <= limit))
        fail_msg("%s is off by %.3e, more than %.0e", what, got, limit);
}

static void test_spectrogram(void **state)
{
    (void)state;
    struct err err = ERR_INIT;
    struct model_file *f;
    char *path = fixture_path("fixture.bin");
    assert_int_equal(model_file_open(path, &f, &err), 0);
    free(path);
    float *mel = xcalloc(80 * MEL_FRAMES, sizeof *mel);
    for (size_t i = 0; i < ARRAY_LEN(recordings); i++) {
        struct numbers x = load(recordings[i]);
        size_t n;
        float *pcm = fixture_wav(recordings[i], &n);
        mel_window(pcm, n, model_file_mel_filters(f), 80, mel);
        assert_int_equal(x.n_mel, 80 * MEL_FRAMES);
        expect_close("spectrogram", distance(mel, x.mel, x.n_mel), 1e-5);
        free(pcm);
        unload(&x);
    }
    free(mel);
    model_file_close(f);
}

/* Encoder and every step of the decoder, fed with the tokens that the other software said. */
static void run_precision(enum whisper_precision p, double encoder_limit, double logits_limit)
{
    struct err err = ERR_INIT;
    struct model_file *f;
    struct net *net;
    struct compute *c;
    struct tokenizer *t;
    char *path = fixture_path("fixture.bin");
    assert_int_equal(model_file_open(path, &f, &err), 0);
    free(path);
    assert_int_equal(tokenizer_new(f, &t, &err), 0);
    assert_int_equal(net_open(f, p, NULL, &net, &err), 0);
    struct compute_opts o = {.audio_slots = 1, .text_slots = 1, .max_rows = 16};
    assert_int_equal(compute_new(net, &o, &c, &err), 0);
    int state = net_dims(net)->audio_state;
    float *encoded = xcalloc((size_t)1500 * (size_t)state, sizeof *encoded);
    for (size_t i = 0; i < ARRAY_LEN(recordings); i++) {
        struct numbers x = load(recordings[i]);
        assert_int_equal(compute_encode(c, 0, x.mel, NULL, encoded, &err), 0);
        expect_close("encoder", distance(encoded, x.enc, x.n_enc), encoder_limit);
        float *logits = xcalloc(x.n_ids, sizeof *logits);
        for (size_t k = 0; k < x.n_tokens; k++) {
            struct step_row row = {.position = (int)k, .token = x.tokens[k], .want_logits = true};
            assert_int_equal(compute_step(c, &row, 1, &err), 0);
            for (size_t j = 0; j < x.n_ids; j++)
                logits[j] = row.logits[x.ids[j]];
            double d = distance(logits, x.logits + k * x.n_ids, x.n_ids);
            if (!(d <= logits_limit))
                fail_msg("%s: logits of step %zu are off by %.3e", recordings[i], k, d);
            if (k == 0) {
                float no_speech =
                    expf(row.logits[t->no_speech] - kern_best()->log_sum_exp(row.logits, (size_t)t->n_vocab));
                assert_true(fabs((double)no_speech - x.no_speech) < 0.01);
            }
        }
        free(logits);
        unload(&x);
    }
    free(encoded);
    compute_free(c);
    net_close(net);
    tokenizer_free(t);
    model_file_close(f);
}

static void test_f32(void **state)
{
    (void)state;
    run_precision(WHISPER_F32, 1e-5, 1e-5);
}

static void test_bf16(void **state)
{
    (void)state;
    run_precision(WHISPER_BF16, 2e-2, 5e-2);
}

static void test_int8(void **state)
{
    (void)state;
    run_precision(WHISPER_INT8, 6e-2, 1e-1);
}

/* Several rows of several windows in one step give what each gives alone. */
static void test_rows_do_not_mix(void **state)
{
    (void)state;
    struct err err = ERR_INIT;
    struct model_file *f;
    struct net *net;
    struct compute *c;
    char *path = fixture_path("fixture.bin");
    assert_int_equal(model_file_open(path, &f, &err), 0);
    free(path);
    assert_int_equal(net_open(f, WHISPER_F32, NULL, &net, &err), 0);
    struct compute_opts o = {.audio_slots = 2, .text_slots = 6, .max_rows = 32};
    assert_int_equal(compute_new(net, &o, &c, &err), 0);
    size_t n_vocab = (size_t)net_dims(net)->n_vocab;
    struct numbers x[2] = {load(recordings[0]), load(recordings[1])};
    float *alone = xcalloc(2 * n_vocab, sizeof *alone);
    enum { LEN = 5 };
    for (unsigned w = 0; w < 2; w++) {
        assert_int_equal(compute_encode(c, w, x[w].mel, NULL, NULL, &err), 0);
        for (int k = 0; k < LEN; k++) {
            struct step_row row = {
                .audio_slot = w, .text_slot = w, .position = k, .token = x[w].tokens[k], .want_logits = k == LEN - 1};
            assert_int_equal(compute_step(c, &row, 1, &err), 0);
            if (row.logits)
                memcpy(alone + w * n_vocab, row.logits, n_vocab * sizeof *alone);
        }
    }
    /* Both prompts at once, window 1 first, each as one piece. */
    struct step_row rows[2 * LEN];
    for (int k = 0; k < 2 * LEN; k++) {
        unsigned w = k < LEN ? 1 : 0;
        rows[k] = (struct step_row){.audio_slot = w,
                                    .text_slot = 2 + w,
                                    .position = k % LEN,
                                    .token = x[w].tokens[k % LEN],
                                    .want_logits = k % LEN == LEN - 1};
    }
    assert_int_equal(compute_step(c, rows, ARRAY_LEN(rows), &err), 0);
    expect_close("two prompts in one step", distance(rows[LEN - 1].logits, alone + n_vocab, n_vocab), 1e-5);
    expect_close("the other", distance(rows[2 * LEN - 1].logits, alone, n_vocab), 1e-5);
    /* A copied text slot goes on like the original. */
    compute_copy_text(c, 5, 2, LEN);
    struct step_row fork[2] = {
        {.audio_slot = 0, .text_slot = 2, .position = LEN, .token = x[0].tokens[LEN], .want_logits = true},
        {.audio_slot = 0, .text_slot = 5, .position = LEN, .token = x[0].tokens[LEN], .want_logits = true},
    };
    assert_int_equal(compute_step(c, fork, 2, &err), 0);
    expect_close("a copied slot", distance(fork[1].logits, fork[0].logits, n_vocab), 1e-6);
    /* What is out of range is refused. */
    struct step_row bad = {.token = (int)n_vocab};
    assert_int_equal(compute_step(c, &bad, 1, &err), ERR_INTERNAL);
    bad = (struct step_row){.text_slot = 6};
    assert_int_equal(compute_step(c, &bad, 1, &err), ERR_INTERNAL);
    free(alone);
    unload(&x[0]);
    unload(&x[1]);
    compute_free(c);
    net_close(net);
    model_file_close(f);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_spectrogram),
        cmocka_unit_test(test_f32),
        cmocka_unit_test(test_bf16),
        cmocka_unit_test(test_int8),
        cmocka_unit_test(test_rows_do_not_mix),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
