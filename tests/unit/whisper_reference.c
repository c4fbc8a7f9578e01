/* SPDX-License-Identifier: MIT */
#include "whisper_reference.h"

#include <math.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { FRAMES = 3000, AUDIO = 1500, TEXT = 448, WINDOW = 400, HOP = 160, BINS = 201, RATE = 16000, MAX_TENSORS = 2048 };

struct tensor {
    char name[80];
    const unsigned char *data;
    size_t n;
    double *values; /* made when first asked for */
};

struct reference {
    int vocabulary, bands, state, heads, encoder_layers, decoder_layers;
    struct tensor tensors[MAX_TENSORS];
    size_t n_tensors;
    double *keys, *values; /* of the encoder's output, [decoder layers][1500][state] */
};

static void *memory(size_t n, size_t size)
{
    void *p = calloc(n, size);
    if (!p)
        abort();
    return p;
}

/* ---- the file ---- */

static int32_t number(const unsigned char **at)
{
    int32_t v;
    memcpy(&v, *at, 4);
    *at += 4;
    return v;
}

struct reference *reference_new(const unsigned char *data, size_t size)
{
    const unsigned char *at = data, *end = data + size;
    if (size < 48 || number(&at) != 0x67676d6c)
        return NULL;
    struct reference *r = memory(1, sizeof *r);
    int32_t h[11];
    for (int i = 0; i < 11; i++)
        h[i] = number(&at);
    r->vocabulary = h[0];
    r->state = h[2];
    r->heads = h[3];
    r->encoder_layers = h[4];
    r->decoder_layers = h[8];
    r->bands = h[9];
    int32_t bands = number(&at), bins = number(&at);
    at += 4 * bands * bins;
    for (int32_t n = number(&at); n > 0; n--) {
        int32_t len = number(&at);
        at += len;
    }
    while (at < end && r->n_tensors < MAX_TENSORS) {
        struct tensor *t = &r->tensors[r->n_tensors++];
        int32_t dims = number(&at), len = number(&at), type = number(&at);
        t->n = 1;
        for (; dims > 0; dims--)
            t->n *= (size_t)number(&at);
        snprintf(t->name, sizeof t->name, "%.*s", (int)len, (const char *)at);
        t->data = at + len;
        at = t->data + 4 * t->n;
        if (type != 0) {
            reference_free(r);
            return NULL;
        }
    }
    return r;
}

void reference_free(struct reference *r)
{
    if (!r)
        return;
    for (size_t i = 0; i < r->n_tensors; i++)
        free(r->tensors[i].values);
    free(r->keys);
    free(r->values);
    free(r);
}

/* A tensor's values. */
static const double *values(struct reference *r, const char *block, const char *name, size_t n)
{
    char full[80];
    snprintf(full, sizeof full, "%s%s", block, name);
    for (size_t i = 0; i < r->n_tensors; i++) {
        struct tensor *t = &r->tensors[i];
        if (strcmp(t->name, full) != 0 || t->n != n)
            continue;
        if (!t->values) {
            t->values = memory(n, sizeof *t->values);
            for (size_t k = 0; k < n; k++) {
                float f;
                memcpy(&f, t->data + 4 * k, 4);
                t->values[k] = (double)f;
            }
        }
        return t->values;
    }
    fprintf(stderr, "no tensor '%s' of %zu values\n", full, n);
    abort();
}

/* ---- parts of the network; all matrices are row by row ---- */

/* Sums in eight places, which a compiler may do side by side. n is a multiple of 8. */
static double dot(const double *a, const double *b, size_t n)
{
    double s[8] = {0};
    for (size_t i = 0; i < n; i += 8)
        for (size_t k = 0; k < 8; k++)
            s[k] += a[i + k] * b[i + k];
    return ((s[0] + s[1]) + (s[2] + s[3])) + ((s[4] + s[5]) + (s[6] + s[7]));
}

/* y[rows][out] = x[rows][in] W^T + b, W [out][in]. */
static void product(const double *x, size_t rows, size_t in, const double *w, const double *b, size_t out, double *y)
{
    enum { BLOCK = 16 }; /* rows that stay near while W passes by */
#pragma omp parallel for if (rows > BLOCK)
    for (size_t from = 0; from < rows; from += BLOCK)
        for (size_t j = 0; j < out; j++)
            for (size_t i = from; i < rows && i < from + BLOCK; i++)
                y[i * out + j] = dot(x + i * in, w + j * in, in) + (b ? b[j] : 0);
}

/* The linear layer of that name. */
static void linear(struct reference *r, const char *block, const char *name, const double *x, size_t rows, size_t in,
                   size_t out, int bias, double *y)
{
    char part[64];
    snprintf(part, sizeof part, "%s.weight", name);
    const double *w = values(r, block, part, in * out);
    snprintf(part, sizeof part, "%s.bias", name);
    const double *b = bias ? values(r, block, part, out) : NULL;
    product(x, rows, in, w, b, out, y);
}

static void norm(struct reference *r, const char *block, const char *name, const double *x, size_t rows, double *y)
{
    char part[64];
    size_t d = (size_t)r->state;
    snprintf(part, sizeof part, "%s.weight", name);
    const double *gain = values(r, block, part, d);
    snprintf(part, sizeof part, "%s.bias", name);
    const double *bias = values(r, block, part, d);
    for (size_t i = 0; i < rows; i++) {
        double mean = 0, variance = 0;
        for (size_t k = 0; k < d; k++)
            mean += x[i * d + k] / (double)d;
        for (size_t k = 0; k < d; k++)
            variance += (x[i * d + k] - mean) * (x[i * d + k] - mean) / (double)d;
        for (size_t k = 0; k < d; k++)
            y[i * d + k] = (x[i * d + k] - mean) / sqrt(variance + 1e-5) * gain[k] + bias[k];
    }
}

static void gelu(double *x, size_t n)
{
    for (size_t i = 0; i < n; i++)
        x[i] = 0.5 * x[i] * (1 + erf(x[i] / sqrt(2)));
}

/* y = softmax(q k^T / 8) v, head by head; row i sees keys up to i + sees. `scores`: those of the last row. */
static void attend(const struct reference *r, const double *q, size_t rows, const double *k, const double *v,
                   size_t n_keys, int causal, double *y, double *scores)
{
    size_t d = (size_t)r->state, heads = (size_t)r->heads;
#pragma omp parallel for if (rows > 64)
    for (size_t i = 0; i < rows; i++) {
        double *p = memory(n_keys, sizeof *p);
        size_t sees = causal ? i + 1 : n_keys;
        for (size_t h = 0; h < heads; h++) {
            double top = -(double)INFINITY, sum = 0, *out = y + i * d + 64 * h;
            for (size_t t = 0; t < sees; t++) {
                p[t] = dot(q + i * d + 64 * h, k + t * d + 64 * h, 64) / 8;
                top = fmax(top, p[t]);
            }
            if (scores && i + 1 == rows)
                memcpy(scores + h * n_keys, p, n_keys * sizeof *p);
            for (size_t t = 0; t < sees; t++)
                sum += p[t] = exp(p[t] - top);
            memset(out, 0, 64 * sizeof *out);
            for (size_t t = 0; t < sees; t++)
                for (size_t c = 0; c < 64; c++)
                    out[c] += p[t] / sum * v[t * d + 64 * h + c];
        }
        free(p);
    }
}

static void add(double *x, const double *y, size_t n)
{
    for (size_t i = 0; i < n; i++)
        x[i] += y[i];
}

/* x += self-attention(norm(x)), over rows that all see each other or only what came before. */
static void self_attention(struct reference *r, const char *block, double *x, size_t rows, int causal)
{
    size_t d = (size_t)r->state, n = rows * d;
    double *y = memory(5 * n, sizeof *y), *q = y + n, *k = q + n, *v = k + n, *out = v + n;
    norm(r, block, "attn_ln", x, rows, y);
    linear(r, block, "attn.query", y, rows, d, d, 1, q);
    linear(r, block, "attn.key", y, rows, d, d, 0, k);
    linear(r, block, "attn.value", y, rows, d, d, 1, v);
    attend(r, q, rows, k, v, rows, causal, out, NULL);
    linear(r, block, "attn.out", out, rows, d, d, 1, y);
    add(x, y, n);
    free(y);
}

static void cross_attention(struct reference *r, int layer, const char *block, double *x, size_t rows, double *scores)
{
    size_t d = (size_t)r->state, n = rows * d, at = (size_t)layer * AUDIO * d;
    double *y = memory(3 * n, sizeof *y), *q = y + n, *out = q + n;
    norm(r, block, "cross_attn_ln", x, rows, y);
    linear(r, block, "cross_attn.query", y, rows, d, d, 1, q);
    attend(r, q, rows, r->keys + at, r->values + at, AUDIO, 0, out, scores);
    linear(r, block, "cross_attn.out", out, rows, d, d, 1, y);
    add(x, y, n);
    free(y);
}

static void feed_forward(struct reference *r, const char *block, double *x, size_t rows)
{
    size_t d = (size_t)r->state;
    double *y = memory(5 * rows * d, sizeof *y), *hidden = y + rows * d;
    norm(r, block, "mlp_ln", x, rows, y);
    linear(r, block, "mlp.0", y, rows, d, 4 * d, 1, hidden);
    gelu(hidden, rows * 4 * d);
    linear(r, block, "mlp.2", hidden, rows, 4 * d, d, 1, y);
    add(x, y, rows * d);
    free(y);
}

/* A convolution over three neighbours, in [channels][length], with a step; ret [length / step][d]. */
static void convolve(struct reference *r, const char *name, const double *in, size_t channels, size_t length,
                     size_t step, double *ret)
{
    size_t out = length / step;
    double *columns = memory(out * channels * 3, sizeof *columns);
    for (size_t i = 0; i < out; i++)
        for (size_t c = 0; c < channels; c++)
            for (size_t tap = 0; tap < 3; tap++) {
                size_t at = i * step + tap; /* one to the left of the frame itself */
                columns[(i * channels + c) * 3 + tap] = at < 1 || at > length ? 0 : in[c * length + at - 1];
            }
    linear(r, "encoder.", name, columns, out, channels * 3, (size_t)r->state, 1, ret);
    gelu(ret, out * (size_t)r->state);
    free(columns);
}

/* ---- in public ---- */

static double mel_to_hz(double mel)
{
    return mel < 15 ? mel * 200 / 3 : 1000 * pow(6.4, (mel - 15) / 27);
}

void reference_mel(const struct reference *r, const float *pcm, size_t n, double *ret)
{
    const double pi = 3.14159265358979323846, last_mel = 15 + 27 * log(8) / log(6.4);
    double wave[WINDOW][2], hann[WINDOW], top = -(double)INFINITY, power[BINS];
    for (int i = 0; i < WINDOW; i++) {
        wave[i][0] = cos(2 * pi * i / WINDOW);
        wave[i][1] = sin(2 * pi * i / WINDOW);
        hann[i] = 0.5 - 0.5 * wave[i][0];
    }
    for (long f = 0; f < FRAMES; f++) {
        double x[WINDOW];
        for (long i = 0; i < WINDOW; i++) {
            long at = f * HOP + i - WINDOW / 2; /* mirrored at the beginning, silent behind the end */
            at = at < 0 ? -at : at;
            x[i] = at < (long)n ? (double)pcm[at] * hann[i] : 0;
        }
        for (size_t k = 0; k < BINS; k++) {
            double re = 0, im = 0;
            for (size_t i = 0; i < WINDOW; i++) {
                re += x[i] * wave[k * i % WINDOW][0];
                im += x[i] * wave[k * i % WINDOW][1];
            }
            power[k] = re * re + im * im;
        }
        for (int b = 0; b < r->bands; b++) {
            double low = mel_to_hz(last_mel * b / (r->bands + 1)),
                   peak = mel_to_hz(last_mel * (b + 1) / (r->bands + 1)),
                   high = mel_to_hz(last_mel * (b + 2) / (r->bands + 1)), sum = 0;
            for (int k = 0; k < BINS; k++) {
                double hz = (double)k * RATE / WINDOW;
                if (hz > low && hz < high) /* a triangle of area 1 */
                    sum += power[k] * (hz < peak ? (hz - low) / (peak - low) : (high - hz) / (high - peak)) * 2 /
                           (high - low);
            }
            ret[b * FRAMES + f] = log10(fmax(sum, 1e-10));
            top = fmax(top, ret[b * FRAMES + f]);
        }
    }
    for (int i = 0; i < r->bands * FRAMES; i++)
        ret[i] = (fmax(ret[i], top - 8) + 4) / 4;
}

void reference_encode(struct reference *r, const float *mel, double *ret)
{
    size_t d = (size_t)r->state, bands = (size_t)r->bands;
    double *in = memory(bands * FRAMES, sizeof *in), *wide = memory(d * FRAMES, sizeof *wide),
           *turned = memory(d * FRAMES, sizeof *turned), *x = memory(AUDIO * d, sizeof *x);
    for (size_t i = 0; i < bands * FRAMES; i++)
        in[i] = (double)mel[i];
    convolve(r, "conv1", in, bands, FRAMES, 1, wide);
    for (size_t i = 0; i < FRAMES; i++)
        for (size_t c = 0; c < d; c++)
            turned[c * FRAMES + i] = wide[i * d + c];
    convolve(r, "conv2", turned, d, FRAMES, 2, x);
    const double *positions = values(r, "", "encoder.positional_embedding", AUDIO * d);
    add(x, positions, AUDIO * d);
    for (int i = 0; i < r->encoder_layers; i++) {
        char block[64];
        snprintf(block, sizeof block, "encoder.blocks.%d.", i);
        self_attention(r, block, x, AUDIO, 0);
        feed_forward(r, block, x, AUDIO);
    }
    norm(r, "encoder.", "ln_post", x, AUDIO, ret);
    free(r->keys);
    free(r->values);
    r->keys = memory((size_t)r->decoder_layers * AUDIO * d, sizeof *r->keys);
    r->values = memory((size_t)r->decoder_layers * AUDIO * d, sizeof *r->values);
    for (int i = 0; i < r->decoder_layers; i++) {
        char block[64];
        snprintf(block, sizeof block, "decoder.blocks.%d.", i);
        linear(r, block, "cross_attn.key", ret, AUDIO, d, d, 0, r->keys + (size_t)i * AUDIO * d);
        linear(r, block, "cross_attn.value", ret, AUDIO, d, d, 1, r->values + (size_t)i * AUDIO * d);
    }
    free(in);
    free(wide);
    free(turned);
    free(x);
}

void reference_step(struct reference *r, const int *tokens, size_t n, double *ret_logits, double *ret_scores)
{
    size_t d = (size_t)r->state;
    double *x = memory(n * d, sizeof *x), *y = memory(n * d, sizeof *y);
    const double *words = values(r, "", "decoder.token_embedding.weight", (size_t)r->vocabulary * d);
    const double *positions = values(r, "", "decoder.positional_embedding", TEXT * d);
    for (size_t i = 0; i < n; i++)
        for (size_t k = 0; k < d; k++)
            x[i * d + k] = words[(size_t)tokens[i] * d + k] + positions[i * d + k];
    for (int i = 0; i < r->decoder_layers; i++) {
        char block[64];
        snprintf(block, sizeof block, "decoder.blocks.%d.", i);
        self_attention(r, block, x, n, 1);
        cross_attention(r, i, block, x, n, ret_scores ? ret_scores + (size_t)(i * r->heads) * AUDIO : NULL);
        feed_forward(r, block, x, n);
    }
    norm(r, "decoder.", "ln", x, n, y);
    product(y + (n - 1) * d, 1, d, words, NULL, (size_t)r->vocabulary, ret_logits);
    free(x);
    free(y);
}
