/* SPDX-License-Identifier: MIT */
/*
 * Frames of 64 ms every 16 ms. The phase that each bin gains over one sample is the frequency of what sounds there, far
 * finer than the bin; where it is still the same two frames later, the bin's power counts as tone. Keys of telephones
 * are too short for that: they are known by their two frequencies.
 */
#include "whisper/tones.h"

#include "base/macros.h"

#include <math.h>
#include <stdlib.h>

enum { RATE = 16000, FRAME = 1024, BINS = FRAME / 2 + 1, HOP = 256, LAG = 2 }; /* LAG: frames */
enum { AROUND = 31, BREAKS_AROUND = 16 }; /* half a second, in frames, and the most breaks in it */

static const double WAVER = 2;         /* Hz */
static const double TONAL = 0.7;       /* of a frame's power */
static const double LOUD = 3.16e-4;    /* of the loudest frame's power: -35 dB */
static const double FAINT = 1e-6;      /* of a frame's power: its frequency is noise */
static const double BREAKS = 0.45;     /* of the loud frames */
static const double KEY_POWER = 0.85;  /* of a frame's power, in two frequencies */
static const double KEY_WIDTH = 45;    /* Hz */
static const double KEY_BALANCE = 0.1; /* of the stronger of the two */

struct frame {
    double power[BINS], hz[BINS], total;
};

struct point {
    double re, im;
};

struct listener {
    double window[FRAME];
    struct point roots[FRAME / 2], z[FRAME];
    struct frame frames[LAG + 1];
};

/* a and b change into a + w b and a - w b. */
static void turn(struct point *a, struct point *b, struct point w)
{
    struct point wb = {w.re * b->re - w.im * b->im, w.re * b->im + w.im * b->re}, old = *a;
    *a = (struct point){old.re + wb.re, old.im + wb.im};
    *b = (struct point){old.re - wb.re, old.im - wb.im};
}

static void fft(struct point *z, const struct point *roots)
{
    for (size_t i = 1, j = 0; i < FRAME; i++) {
        size_t bit = FRAME >> 1;
        for (; j & bit; bit >>= 1)
            j ^= bit;
        j ^= bit;
        if (i < j) {
            struct point t = z[i];
            z[i] = z[j];
            z[j] = t;
        }
    }
    for (size_t len = 2; len <= FRAME; len *= 2)
        for (size_t i = 0; i < FRAME; i += len)
            for (size_t k = 0; k < len / 2; k++)
                turn(&z[i + k], &z[i + k + len / 2], roots[k * (FRAME / len)]);
}

/* The frame and the same a sample later are transformed as the two parts of one complex signal. */
static void hear(struct listener *l, const float *x, struct frame *ret)
{
    for (size_t i = 0; i < FRAME; i++)
        l->z[i] = (struct point){l->window[i] * (double)x[i], l->window[i] * (double)x[i + 1]};
    fft(l->z, l->roots);
    ret->total = 0;
    for (size_t k = 0; k < BINS; k++) {
        struct point p = l->z[k], q = l->z[(FRAME - k) % FRAME];
        struct point now = {(p.re + q.re) / 2, (p.im - q.im) / 2}, later = {(p.im + q.im) / 2, (q.re - p.re) / 2};
        double along = later.re * now.re + later.im * now.im, across = later.im * now.re - later.re * now.im;
        ret->power[k] = now.re * now.re + now.im * now.im;
        ret->hz[k] = atan2(across, along) * RATE / (2 * M_PI);
        ret->total += ret->power[k];
    }
}

static double power_near(const struct frame *f, double hz)
{
    double sum = 0;
    for (size_t k = (size_t)ceil((hz - KEY_WIDTH) * FRAME / RATE); (double)k * RATE / FRAME < hz + KEY_WIDTH; k++)
        sum += f->power[k];
    return sum;
}

static bool is_key(const struct frame *f)
{
    static const double rows[] = {697, 770, 852, 941}, columns[] = {1209, 1336, 1477, 1633};
    double row = 0, column = 0;
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        row = fmax(row, power_near(f, rows[i]));
        column = fmax(column, power_near(f, columns[i]));
    }
    return row + column > KEY_POWER * f->total && fmin(row, column) > KEY_BALANCE * fmax(row, column);
}

static bool is_tonal(const struct frame *f, const struct frame *later)
{
    double tonal = 0;
    for (size_t k = 0; k < BINS; k++)
        if (f->power[k] > FAINT * f->total && fabs(f->hz[k] - later->hz[k]) < WAVER)
            tonal += f->power[k];
    return tonal >= TONAL * f->total || is_key(f);
}

static double loudness(const struct listener *l, const float *x)
{
    double sum = 0;
    for (size_t i = 0; i < FRAME; i++)
        sum += (double)x[i] * (double)x[i] * l->window[i] * l->window[i];
    return sum;
}

static void begin(struct listener *l)
{
    for (size_t i = 0; i < FRAME; i++)
        l->window[i] = 0.5 - 0.5 * cos(2 * M_PI * (double)i / FRAME);
    for (size_t i = 0; i < FRAME / 2; i++)
        l->roots[i] = (struct point){cos(2 * M_PI * (double)i / FRAME), -sin(2 * M_PI * (double)i / FRAME)};
}

bool tones_only(const float *pcm, size_t n)
{
    size_t frames = n > FRAME ? (n - FRAME - 1) / HOP + 1 : 0, loud = 0, breaks = 0, around = 0;
    bool broken[AROUND] = {false}; /* the last frames, over and over */
    struct listener *l = frames > LAG ? malloc(sizeof *l) : NULL;
    if (!l)
        return false;
    begin(l);
    double loudest = 0;
    for (size_t i = 0; i < frames; i++)
        loudest = fmax(loudest, loudness(l, pcm + i * HOP));
    if (loudest <= 0)
        frames = 0;
    for (size_t i = 0; i < frames && around <= BREAKS_AROUND; i++) {
        hear(l, pcm + i * HOP, &l->frames[i % (LAG + 1)]);
        if (i < LAG)
            continue;
        size_t judged = i - LAG;
        bool counts = loudness(l, pcm + judged * HOP) > LOUD * loudest, *place = &broken[judged % AROUND];
        around -= *place;
        *place = counts && !is_tonal(&l->frames[judged % (LAG + 1)], &l->frames[i % (LAG + 1)]);
        around += *place;
        loud += counts;
        breaks += *place;
    }
    free(l);
    return loud > 0 && around <= BREAKS_AROUND && (double)breaks <= BREAKS * (double)loud;
}
