/* SPDX-License-Identifier: MIT */
/*
 * The transform of 400 real samples as 16 x 25 (Good and Thomas: the factors have no common divisor, so there are no
 * twiddle factors between the two stages), for 16 frames side by side: every inner loop runs over the frames, which
 * compilers turn into vectors. Only bins 0..200 are computed.
 *
 * Input index n = (25 a + 16 b) mod 400, output index k with k mod 16 = ka and k mod 25 = kb.
 */
#include "whisper/mel.h"

#include "base/macros.h"

#include <math.h>
#include <string.h>

enum { N = 400, A = 16, B = 25, LANES = 16, PAD = N / 2, WINDOW = MEL_FRAMES * MEL_HOP };

struct tables {
    float hann[N];
    float cos_a[A][A], sin_a[A][A]; /* DFT of 16: [output][input] */
    float cos_b[B][B], sin_b[B][B];
};

static void make_tables(struct tables *t)
{
    const double turn = 2 * M_PI;
    for (int i = 0; i < N; i++)
        t->hann[i] = (float)(0.5 * (1 - cos(turn * i / N)));
    /* With n = 25a + 16b: exp(-2 pi i k n / 400) = exp(-2 pi i k a / 16) exp(-2 pi i k b / 25). */
    for (int k = 0; k < A; k++)
        for (int a = 0; a < A; a++) {
            t->cos_a[k][a] = (float)cos(turn * (k * a % A) / A);
            t->sin_a[k][a] = (float)-sin(turn * (k * a % A) / A);
        }
    for (int k = 0; k < B; k++)
        for (int b = 0; b < B; b++) {
            t->cos_b[k][b] = (float)cos(turn * (k * b % B) / B);
            t->sin_b[k][b] = (float)-sin(turn * (k * b % B) / B);
        }
}

/* Sample at position i of the padded window; reflected at both ends, as the reference does. */
static float sample(const float *pcm, size_t n, long i)
{
    if (i < 0)
        i = -i;
    if (i >= WINDOW)
        i = 2L * WINDOW - 2 - i;
    return (size_t)i < n ? pcm[i] : 0.0f;
}

/* Power of bins 0..200 of 16 frames from `first` on. */
static void power_spectrum(const struct tables *t, const float *pcm, size_t n, int first, float power[MEL_BINS][LANES])
{
    static const int half = A / 2 + 1;
    float x[A][LANES], re[B][A][LANES], im[B][A][LANES];
    for (int b = 0; b < B; b++) {
        for (int a = 0; a < A; a++) {
            int at = (25 * a + 16 * b) % N;
            for (int l = 0; l < LANES; l++)
                x[a][l] = sample(pcm, n, (long)(first + l) * MEL_HOP + at - PAD) * t->hann[at];
        }
        for (int k = 0; k < half; k++) {
            float r[LANES] = {0}, i[LANES] = {0};
            for (int a = 0; a < A; a++)
                for (int l = 0; l < LANES; l++) {
                    r[l] += x[a][l] * t->cos_a[k][a];
                    i[l] += x[a][l] * t->sin_a[k][a];
                }
            memcpy(re[b][k], r, sizeof r);
            memcpy(im[b][k], i, sizeof i);
        }
        /* The input is real: the upper half mirrors the lower. */
        for (int k = half; k < A; k++)
            for (int l = 0; l < LANES; l++) {
                re[b][k][l] = re[b][A - k][l];
                im[b][k][l] = -im[b][A - k][l];
            }
    }
    for (int k = 0; k < MEL_BINS; k++) {
        float r[LANES] = {0}, i[LANES] = {0};
        for (int b = 0; b < B; b++) {
            float c = t->cos_b[k % B][b], s = t->sin_b[k % B][b];
            for (int l = 0; l < LANES; l++) {
                r[l] += re[b][k % A][l] * c - im[b][k % A][l] * s;
                i[l] += re[b][k % A][l] * s + im[b][k % A][l] * c;
            }
        }
        for (int l = 0; l < LANES; l++)
            power[k][l] = r[l] * r[l] + i[l] * i[l];
    }
}

/* First and one past the last bin that a filter looks at. */
static void filter_range(const float *filter, int *ret_from, int *ret_to)
{
    int from = 0, to = MEL_BINS;
    while (from < to && filter[from] == 0.0f)
        from++;
    while (to > from && filter[to - 1] == 0.0f)
        to--;
    *ret_from = from;
    *ret_to = to;
}

void mel_window(const float *pcm, size_t n, const float *filters, int n_mels, float *ret)
{
    struct tables t;
    make_tables(&t);
    n = MIN(n, (size_t)WINDOW);
    float most = 1e-10f;
#pragma omp parallel for reduction(max : most)
    for (int first = 0; first < MEL_FRAMES; first += LANES) {
        float power[MEL_BINS][LANES];
        power_spectrum(&t, pcm, n, first, power);
        int lanes = MIN(LANES, MEL_FRAMES - first);
        for (int m = 0; m < n_mels; m++) {
            int from, to;
            filter_range(filters + m * MEL_BINS, &from, &to);
            float sum[LANES] = {0};
            for (int k = from; k < to; k++)
                for (int l = 0; l < LANES; l++)
                    sum[l] += power[k][l] * filters[m * MEL_BINS + k];
            for (int l = 0; l < lanes; l++) {
                float v = sum[l] > 1e-10f ? sum[l] : 1e-10f;
                ret[m * MEL_FRAMES + first + l] = v;
                most = v > most ? v : most;
            }
        }
    }
    float floor = log10f(most) - 8.0f;
#pragma omp parallel for
    for (int i = 0; i < n_mels * MEL_FRAMES; i++) {
        float v = log10f(ret[i]);
        ret[i] = ((v > floor ? v : floor) + 4.0f) / 4.0f;
    }
}
