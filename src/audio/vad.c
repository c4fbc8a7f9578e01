/* SPDX-License-Identifier: MIT */
/*
 * Speech moves, noise stays.
 *
 * Every 10 ms a 16 ms spectrum is summed into eight bands. The mean of two frames (26 ms) holds a whole period of hum,
 * a median over seven removes clicks. The noise floor of a band is the greater of its minima over the second before and
 * the second after: speech dips in every band several times a second, so the floor sinks to the background; noise, hum,
 * tones and held chords do not dip, so the floor is the sound itself, even right after they began or before they end.
 * What stands over the floor, averaged over the bands, is the frame's score. Spans open on enough frames of high score
 * within a short time, reach back and forth over frames of lower score, and close after a pause. A span of pure tone
 * was a beep.
 *
 * Outside the recording is silence. Decisions come one second late, so that the ring of features is all the memory.
 */
#include "audio/vad.h"

#include "base/mem.h"

#include <math.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

enum {
    HOP = AUDIO_RATE / 100,
    WINDOW = 256,
    BINS = WINDOW / 2 + 1,
    BANDS = 8,
    MEDIAN = 7,           /* frames; a click fills three */
    REACH = 100,          /* frames to either side for the floor */
    KEPT = 200,           /* judged frames that a span may reach back over when it opens */
    RING = 512,           /* more than KEPT + REACH + MEDIAN */
    OPEN_LOOK = 20,       /* a span opens when, of this many frames, ... */
    OPEN_NEED = 8,        /* ... so many score high */
    CLOSE_AFTER = 25,     /* frames of low score that end a span */
    PAD = AUDIO_RATE / 4, /* put around each span */
    MAX_SPANS = 1 << 20,
};

/* dB over the floor, mean of the bands. Steady noise of any colour has a mean of 1.5 with a deviation of 0.3. */
#define SCORE_HIGH 4.0F
#define SCORE_LOW  3.0F
#define BAND_CAP   22.0F  /* one band alone does not make speech ... */
#define BELOW_TOP  45.0F  /* ... nor do bands so far below the loudest: the window's leakage reaches them */
#define TONE_SHARE 0.997F /* of a frame's energy, in its peak */
#define BEEP_SHARE 0.7F   /* of a span's frames */
#define FLOOR_DB   (-90.0F)

/* The first bin of each band (62.5 Hz a bin); below 150 Hz is hum and rumble. */
static const int edges[BANDS + 1] = {3, 8, 13, 19, 27, 38, 52, 72, 112};

struct frame {
    float raw[BANDS];    /* dB, of this and the frame before */
    float smooth[BANDS]; /* median of raw */
    float score;
    bool tone;
};

struct vad {
    int16_t window[WINDOW]; /* of the next frame */
    size_t fill;            /* samples in it */
    float hann[WINDOW], cosine[WINDOW / 2], sine[WINDOW / 2];
    float before[BANDS]; /* power of the frame before */
    int64_t samples;     /* fed */
    /* How far each step has come. Frame t is centred on sample t * HOP and lives in ring[t % RING]. */
    int64_t frames, smoothed, judged;
    struct frame ring[RING];
    bool open;              /* a span is being built ... */
    int64_t start, last;    /* ... from this frame to this one so far */
    int64_t free_from;      /* the first frame behind the span before */
    int64_t counted, tones; /* frames of the span with enough score; how many of them are tones */
    struct span *spans;
    size_t n, cap;
    int failed;
};

/* In place, WINDOW/2 complex values, radix 2. The twiddles are those of a transform of WINDOW, hence every other one.
 */
static void transform(const struct vad *v, float *re, float *im)
{
    enum { N = WINDOW / 2 };
    for (unsigned i = 1, j = 0; i < N; i++) {
        unsigned bit = N >> 1;
        for (; j & bit; bit >>= 1)
            j ^= bit;
        j ^= bit;
        if (i < j) {
            float r = re[i], m = im[i];
            re[i] = re[j], im[i] = im[j];
            re[j] = r, im[j] = m;
        }
    }
    for (unsigned len = 2; len <= N; len <<= 1) {
        unsigned half = len / 2, step = WINDOW / len;
        for (unsigned base = 0; base < N; base += len) {
            for (unsigned k = 0; k < half; k++) {
                unsigned a = base + k, b = a + half;
                float c = v->cosine[k * step], s = v->sine[k * step];
                float r = re[b] * c + im[b] * s, m = im[b] * c - re[b] * s;
                re[b] = re[a] - r, im[b] = im[a] - m;
                re[a] += r, im[a] += m;
            }
        }
    }
}

/* Power by bin of the windowed samples: a real transform as a complex one of half the length. */
static void power_spectrum(const struct vad *v, float *ret)
{
    enum { N = WINDOW / 2 };
    float re[N], im[N];
    for (int i = 0; i < N; i++) {
        re[i] = (float)v->window[2 * i] * v->hann[2 * i];
        im[i] = (float)v->window[2 * i + 1] * v->hann[2 * i + 1];
    }
    transform(v, re, im);
    ret[0] = (re[0] + im[0]) * (re[0] + im[0]);
    ret[N] = (re[0] - im[0]) * (re[0] - im[0]);
    for (int k = 1; k < N; k++) {
        float er = 0.5F * (re[k] + re[N - k]), ei = 0.5F * (im[k] - im[N - k]);
        float or = 0.5F * (im[k] + im[N - k]), oi = 0.5F * (re[N - k] - re[k]);
        float xr = er + or *v->cosine[k] + oi * v->sine[k];
        float xi = ei + oi * v->cosine[k] - or *v->sine[k];
        ret[k] = xr * xr + xi * xi;
    }
}

static struct frame *at(struct vad *v, int64_t t)
{
    return &v->ring[t % RING];
}

static float median(float *x, int n)
{
    for (int i = 1; i < n; i++) {
        float y = x[i];
        int k = i;
        for (; k > 0 && x[k - 1] > y; k--)
            x[k] = x[k - 1];
        x[k] = y;
    }
    return x[n / 2];
}

/* Nearly all of the energy in one peak, as wide as the window makes a sine: no voice does that. */
static bool is_tone(const float *power)
{
    int peak = 2;
    float all = 0, near = 0;
    for (int k = 1; k < BINS - 1; k++) {
        all += power[k];
        if (power[k] > power[peak])
            peak = k;
    }
    for (int k = MAX(peak - 2, 1); k <= MIN(peak + 2, BINS - 2); k++)
        near += power[k];
    return near > TONE_SHARE * all;
}

static void make_frame(struct vad *v)
{
    /* A full-scale sine, windowed, comes out as 0 dB. */
    static const float full_scale = 32768.0F * WINDOW / 4;
    struct frame *f = at(v, v->frames++);
    float power[BINS];
    power_spectrum(v, power);
    f->tone = is_tone(power);
    for (int b = 0; b < BANDS; b++) {
        float sum = 0;
        for (int k = edges[b]; k < edges[b + 1]; k++)
            sum += power[k];
        float both = 0.5F * (sum + v->before[b]);
        v->before[b] = sum;
        f->raw[b] = fmaxf(FLOOR_DB, 10.0F * log10f(both / (full_scale * full_scale) + 1e-12F));
    }
}

static void smooth_frame(struct vad *v, int64_t t)
{
    for (int b = 0; b < BANDS; b++) {
        float x[MEDIAN];
        for (int i = 0; i < MEDIAN; i++)
            x[i] = at(v, CLAMP(t + i - MEDIAN / 2, 0, v->frames - 1))->raw[b];
        at(v, t)->smooth[b] = median(x, MEDIAN);
    }
}

static void lowest(struct vad *v, int64_t from, int64_t to, float *ret)
{
    for (int b = 0; b < BANDS; b++)
        ret[b] = INFINITY;
    for (int64_t t = from; t <= to; t++) {
        const struct frame *f = at(v, t);
        for (int b = 0; b < BANDS; b++)
            ret[b] = MIN(ret[b], f->smooth[b]);
    }
}

static void score_frame(struct vad *v, int64_t t)
{
    float past[BANDS], future[BANDS], top = FLOOR_DB, sum = 0;
    int64_t from = t - REACH, to = t + REACH;
    bool no_past = from < 0, no_future = to >= v->smoothed;
    lowest(v, MAX(from, 0), t, past);
    lowest(v, t, MIN(to, v->smoothed - 1), future);
    struct frame *f = at(v, t);
    for (int b = 0; b < BANDS; b++)
        top = fmaxf(top, f->smooth[b]);
    for (int b = 0; b < BANDS; b++) {
        if (f->smooth[b] < top - BELOW_TOP)
            continue;
        float floor = fmaxf(past[b], future[b]);
        if (no_past != no_future)
            floor = no_past ? future[b] : past[b];
        sum += CLAMP(f->smooth[b] - floor, 0.0F, BAND_CAP);
    }
    f->score = sum / BANDS;
}

/* A new span, or more of the last one when padding makes them touch. */
static void add_span(struct vad *v, int64_t start, int64_t end)
{
    if (v->n > 0 && start <= v->spans[v->n - 1].end) {
        v->spans[v->n - 1].end = end;
        return;
    }
    if (v->n == v->cap && !v->failed) {
        size_t cap = v->cap ? 2 * v->cap : 64;
        struct span *more = cap <= MAX_SPANS ? reallocarray(v->spans, cap, sizeof *more) : NULL;
        if (!more) {
            v->failed = cap <= MAX_SPANS ? ERR_NOMEM : ERR_TOO_LARGE;
            return;
        }
        v->spans = more;
        v->cap = cap;
    }
    if (!v->failed)
        v->spans[v->n++] = (struct span){start, end};
}

static void close_span(struct vad *v)
{
    v->open = false;
    v->free_from = v->last + 1;
    if (v->tones >= BEEP_SHARE * (float)v->counted)
        return;
    /* A frame's score also tells of its neighbours by the median; the padding is wider than that. */
    add_span(v, MAX(0, v->start * HOP - PAD), MIN(v->samples, (v->last + 1) * HOP + PAD));
}

/* Frames of low score in between are neither counted nor the end, yet. */
static void extend_span(struct vad *v, int64_t t)
{
    if (at(v, t)->score < SCORE_LOW)
        return;
    v->last = t;
    v->counted++;
    v->tones += at(v, t)->tone;
}

/* Opens a span when enough of the latest frames score high; it reaches back over low scores. */
static void try_open(struct vad *v, int64_t t)
{
    int high = 0;
    int64_t first = t;
    for (int64_t k = MAX(v->free_from, t - OPEN_LOOK + 1); k <= t; k++) {
        if (at(v, k)->score < SCORE_HIGH)
            continue;
        first = high++ ? first : k;
    }
    if (high < OPEN_NEED)
        return;
    while (first > v->free_from && first > t - KEPT && at(v, first - 1)->score >= SCORE_LOW)
        first--;
    v->open = true;
    v->start = first;
    v->last = first;
    v->tones = v->counted = 0;
    for (int64_t k = first; k <= t; k++)
        extend_span(v, k);
}

static void judge_frame(struct vad *v, int64_t t)
{
    score_frame(v, t);
    if (!v->open)
        try_open(v, t);
    else
        extend_span(v, t);
    if (v->open && t - v->last >= CLOSE_AFTER)
        close_span(v);
}

/* Smooths and judges what can be: all of it once the stream has ended. */
static void advance(struct vad *v, bool end)
{
    while (v->smoothed < v->frames - (end ? 0 : MEDIAN / 2))
        smooth_frame(v, v->smoothed++);
    while (v->judged < v->smoothed - (end ? 0 : REACH))
        judge_frame(v, v->judged++);
}

int vad_new(struct vad **ret, struct err *err)
{
    struct vad *v = calloc(1, sizeof *v);
    if (!v)
        return err_set(err, ERR_NOMEM, "no memory for speech detection");
    for (int i = 0; i < WINDOW; i++)
        v->hann[i] = (float)(0.5 - 0.5 * cos(2 * M_PI * i / WINDOW));
    for (int i = 0; i < WINDOW / 2; i++) {
        v->cosine[i] = (float)cos(2 * M_PI * i / WINDOW);
        v->sine[i] = (float)sin(2 * M_PI * i / WINDOW);
    }
    v->fill = WINDOW / 2; /* the first frame's first half is before the recording */
    *ret = v;
    return 0;
}

void vad_feed(struct vad *v, const int16_t *pcm, size_t n)
{
    v->samples += (int64_t)n;
    while (n > 0) {
        size_t k = MIN(n, WINDOW - v->fill);
        memcpy(v->window + v->fill, pcm, k * sizeof *pcm);
        v->fill += k;
        pcm += k;
        n -= k;
        if (v->fill < WINDOW)
            return;
        make_frame(v);
        advance(v, false);
        memmove(v->window, v->window + HOP, (WINDOW - HOP) * sizeof *pcm);
        v->fill = WINDOW - HOP;
    }
}

int vad_finish(struct vad *v, const struct span **ret, size_t *ret_n, struct err *err)
{
    /* Samples that make no whole frame any more are less than the padding. */
    advance(v, true);
    if (v->open)
        close_span(v);
    if (v->failed)
        return v->failed == ERR_NOMEM ? err_set(err, ERR_NOMEM, "no memory for the speech spans")
                                      : err_set(err, ERR_TOO_LARGE, "more than %d stretches of speech", MAX_SPANS);
    *ret = v->spans;
    *ret_n = v->n;
    return 0;
}

void vad_free(struct vad *v)
{
    if (!v)
        return;
    free(v->spans);
    free(v);
}
