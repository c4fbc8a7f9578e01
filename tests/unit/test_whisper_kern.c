/* SPDX-License-Identifier: MIT */
/* Every vector level this processor can run, against plain double arithmetic. */
#include "base/macros.h"
#include "whisper/kern.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

enum { N = 1503 }; /* no multiple of any vector */

/* Numbers that are the same everywhere: uniform in [-scale, scale). */
static void fill(float *x, size_t n, float scale, uint64_t seed)
{
    for (size_t i = 0; i < n; i++) {
        seed = seed * 6364136223846793005u + 1442695040888963407u;
        x[i] = ((float)(seed >> 40) / 8388608.0f - 1.0f) * scale;
    }
}

static float widen(bf16 b)
{
    union {
        uint32_t u;
        float f;
    } v = {.u = (uint32_t)b << 16};
    return v.f;
}

static void close_to(double got, double want, double tolerance)
{
    if (!(fabs(got - want) <= tolerance))
        fail_msg("%.9g is not within %g of %.9g", got, tolerance, want);
}

#define FOR_EACH_KERN(k)                       \
    for (size_t k##_i = 0; k##_i < 3; k##_i++) \
        for (const struct kern *k = kern_at(k##_i); k; k = NULL)

static void test_best_is_the_last(void **state)
{
    (void)state;
    const struct kern *last = NULL;
    FOR_EACH_KERN(k)
    last = k;
    assert_ptr_equal(kern_best(), last);
}

static void test_bf16_rounds_to_nearest_even(void **state)
{
    (void)state;
    static const struct {
        float in;
        bf16 out;
    } cases[] = {
        {1.0f, 0x3F80},        {-2.0f, 0xC000},   {1.00390625f, 0x3F80}, /* half way: to even */
        {1.01171875f, 0x3F82},                                           /* half way: to even */
        {1.004f, 0x3F81},      {0.0f, 0},         {INFINITY, 0x7F80},
        {-INFINITY, 0xFF80},   {3.4e38f, 0x7F80}, /* rounds up to infinity */
    };
    FOR_EACH_KERN(k)
    {
        for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
            bf16 got;
            k->to_bf16(&cases[i].in, 1, &got);
            assert_int_equal(got, cases[i].out);
        }
        float nan = NAN;
        bf16 b;
        k->to_bf16(&nan, 1, &b);
        assert_true(isnan(widen(b)));
        float x[N], back[N];
        bf16 y[N];
        fill(x, N, 100, 1);
        k->to_bf16(x, N, y);
        k->from_bf16(y, N, back);
        for (size_t i = 0; i < N; i++)
            close_to((double)back[i], (double)x[i], fabs((double)x[i]) / 256);
    }
}

static void test_layer_norm(void **state)
{
    (void)state;
    float x[N], gain[N], bias[N], got[N];
    bf16 narrow[N];
    fill(x, N, 3, 2);
    fill(gain, N, 2, 3);
    fill(bias, N, 1, 4);
    double mean = 0, square = 0;
    for (size_t i = 0; i < N; i++)
        mean += (double)x[i] / N;
    for (size_t i = 0; i < N; i++)
        square += ((double)x[i] - mean) * ((double)x[i] - mean) / N;
    FOR_EACH_KERN(k)
    {
        k->layer_norm(x, gain, bias, N, got, NULL);
        k->layer_norm(x, gain, bias, N, NULL, narrow);
        for (size_t i = 0; i < N; i++) {
            double want = ((double)x[i] - mean) / sqrt(square + 1e-5) * (double)gain[i] + (double)bias[i];
            close_to((double)got[i], want, 1e-5);
            close_to((double)widen(narrow[i]), want, fabs(want) / 200 + 1e-5);
        }
    }
}

static void test_softmax_and_log_sum_exp(void **state)
{
    (void)state;
    static const float scales[] = {0.1f, 5, 80};
    for (size_t s = 0; s < ARRAY_LEN(scales); s++) {
        float x[N], got[N];
        bf16 narrow[N];
        fill(x, N, scales[s], 5 + s);
        double most = -(double)INFINITY, sum = 0;
        for (size_t i = 0; i < N; i++)
            most = fmax(most, (double)x[i]);
        for (size_t i = 0; i < N; i++)
            sum += exp((double)x[i] - most);
        FOR_EACH_KERN(k)
        {
            k->softmax(x, N, got);
            double total = 0;
            for (size_t i = 0; i < N; i++) {
                double want = exp((double)x[i] - most) / sum;
                close_to((double)got[i], want, want * 5e-6 + 1e-30);
                total += (double)got[i];
            }
            close_to(total, 1, 1e-5);
            close_to((double)k->exp_row(x, N, got), sum, sum * 5e-6);
            close_to((double)k->exp_row_bf16(x, N, narrow), sum, sum * 1e-4);
            for (size_t i = 0; i < N; i++) {
                double want = exp((double)x[i] - most);
                close_to((double)got[i], want, want * 5e-6 + 1e-30);
                close_to((double)widen(narrow[i]), want, want / 250 + 1e-30);
            }
            close_to((double)k->log_sum_exp(x, N), most + log(sum), 1e-5 * (fabs(most) + 1));
        }
    }
}

static void test_refused_logits_stay_refused(void **state)
{
    (void)state;
    FOR_EACH_KERN(k)
    {
        float x[] = {-INFINITY, 1, -INFINITY, 1};
        k->softmax(x, 4, x);
        close_to((double)x[0], 0, 1e-30);
        close_to((double)x[1], 0.5, 1e-6);
        float none[] = {-INFINITY, -INFINITY};
        assert_true(k->log_sum_exp(none, 2) == -INFINITY);
    }
}

static void test_bytes_there_and_back(void **state)
{
    (void)state;
    float x[N], scales[N], bias[N], y[N], before[N];
    int8_t q[N];
    int32_t sums[N];
    fill(x, N, 7, 9);
    fill(scales, N, 0.01f, 10);
    fill(bias, N, 1, 11);
    FOR_EACH_KERN(k)
    {
        float scale = k->quantise_row(x, N, q);
        for (size_t i = 0; i < N; i++) {
            close_to((double)q[i] * (double)scale, (double)x[i], (double)scale * 0.501);
            sums[i] = q[i] * 100;
        }
        float zeros[4] = {0};
        k->quantise_row(zeros, 4, q);
        assert_int_equal(q[0], 0);
        for (int mode = 0; mode < 3; mode++) {
            fill(y, N, 1, 12);
            memcpy(before, y, sizeof y);
            k->dequantise(sums, N, 0.5f, scales, bias, mode == 1, mode == 2, y);
            for (size_t i = 0; i < N; i++) {
                double v = (double)sums[i] * 0.5 * (double)scales[i] + (double)bias[i];
                if (mode == 1)
                    v = 0.5 * v * (1 + erf(v / sqrt(2)));
                if (mode == 2)
                    v += (double)before[i];
                close_to((double)y[i], v, 2e-5 * (fabs(v) + 1));
            }
        }
    }
}

static void test_scaled_to_bf16(void **state)
{
    (void)state;
    float x[N];
    bf16 got[N];
    fill(x, N, 4, 13);
    FOR_EACH_KERN(k)
    {
        k->scale_to_bf16(x, N, 0.3f, got);
        for (size_t i = 0; i < N; i++)
            close_to((double)widen(got[i]), (double)x[i] * 0.3, fabs((double)x[i]) * 0.3 / 250);
    }
}

static void test_key_layout(void **state)
{
    (void)state;
    enum { LEN = 130 };
    static unsigned char seen[2][LEN / KEY_BLOCK * KEY_BLOCK * HEAD_DIM + KEY_BLOCK * HEAD_DIM];
    assert_int_equal(kern_key_room(1), 64);
    assert_int_equal(kern_key_room(64), 64);
    assert_int_equal(kern_key_room(65), 128);
    for (size_t t = 0; t < LEN; t++)
        for (size_t c = 0; c < HEAD_DIM; c++) {
            /* Every place is used once, and all of a block lies in the block. */
            assert_int_equal(seen[0][kern_key_f32(c, t)]++, 0);
            assert_int_equal(seen[1][kern_key_bf16(c, t)]++, 0);
            assert_int_equal(kern_key_f32(c, t) / (KEY_BLOCK * HEAD_DIM), t / KEY_BLOCK);
            assert_int_equal(kern_key_bf16(c, t) / (KEY_BLOCK * HEAD_DIM), t / KEY_BLOCK);
        }
}

static void test_attention_of_one_row(void **state)
{
    (void)state;
    enum { LEN = 1500, ROOM = 1536 };
    /* keys: [dim][position], for the sums by hand */
    float *keys = malloc(sizeof(float) * HEAD_DIM * LEN), *values = malloc(sizeof(float) * HEAD_DIM * LEN);
    float *blocks = calloc(ROOM, sizeof(float) * HEAD_DIM);
    bf16 *narrow_keys = malloc(sizeof(bf16) * HEAD_DIM * LEN), *narrow_values = malloc(sizeof(bf16) * HEAD_DIM * LEN),
         *narrow_blocks = calloc(ROOM, sizeof(bf16) * HEAD_DIM);
    float q[HEAD_DIM], p[LEN], scores[ROOM], ret[HEAD_DIM];
    fill(keys, HEAD_DIM * LEN, 1, 20);
    fill(values, HEAD_DIM * LEN, 1, 21);
    fill(q, HEAD_DIM, 1, 22);
    fill(p, LEN, 0.01f, 23);
    static const size_t lengths[] = {1, 63, 64, 65, 447, 1500};
    FOR_EACH_KERN(k)
    {
        k->to_bf16(keys, HEAD_DIM * LEN, narrow_keys);
        k->to_bf16(values, HEAD_DIM * LEN, narrow_values);
        for (size_t c = 0; c < HEAD_DIM; c++)
            for (size_t t = 0; t < LEN; t++) {
                blocks[kern_key_f32(c, t)] = keys[c * LEN + t];
                narrow_blocks[kern_key_bf16(c, t)] = narrow_keys[c * LEN + t];
            }
        for (size_t l = 0; l < ARRAY_LEN(lengths); l++) {
            size_t n = lengths[l];
            for (int narrow = 0; narrow < 2; narrow++) {
                if (narrow) {
                    k->scores_bf16(q, narrow_blocks, n, scores);
                    k->mix_bf16(p, narrow_values, n, ret);
                } else {
                    k->scores_f32(q, blocks, n, scores);
                    k->mix_f32(p, values, n, ret);
                }
                /* Against the values it was given: only the sums may differ. */
                for (size_t t = 0; t < n; t++) {
                    double want = 0;
                    for (size_t c = 0; c < HEAD_DIM; c++)
                        want += (double)q[c] * (double)(narrow ? widen(narrow_keys[c * LEN + t]) : keys[c * LEN + t]);
                    close_to((double)scores[t], want, 1e-5);
                }
                for (size_t c = 0; c < HEAD_DIM; c++) {
                    double want = 0;
                    for (size_t t = 0; t < n; t++)
                        want += (double)p[t] *
                                (double)(narrow ? widen(narrow_values[t * HEAD_DIM + c]) : values[t * HEAD_DIM + c]);
                    close_to((double)ret[c], want, 1e-5);
                }
            }
        }
    }
    free(keys);
    free(values);
    free(blocks);
    free(narrow_keys);
    free(narrow_values);
    free(narrow_blocks);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_best_is_the_last),
        cmocka_unit_test(test_bf16_rounds_to_nearest_even),
        cmocka_unit_test(test_layer_norm),
        cmocka_unit_test(test_softmax_and_log_sum_exp),
        cmocka_unit_test(test_refused_logits_stay_refused),
        cmocka_unit_test(test_bytes_there_and_back),
        cmocka_unit_test(test_scaled_to_bf16),
        cmocka_unit_test(test_key_layout),
        cmocka_unit_test(test_attention_of_one_row),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
