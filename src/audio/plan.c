/* SPDX-License-Identifier: MIT */
/*
 * From left to right: a chunk begins with the first speech not yet covered and ends at the best of the pauses it could
 * end at. Pauses are ranked by how far from the target they make the chunk end (a window around the target, then
 * beyond it, then before it) and, in the window, by their length; a pause of LONG_GAP ends the chunk always, so that
 * long silence belongs to none. Only when every pause within the maximum is too short (min_gap) does a short one do,
 * and when there is none in the later half, the cut falls inside speech, at the quietest place.
 */
#include "audio/plan.h"

#include "audio/pcm.h"
#include "base/mem.h"

#include <stdlib.h>

enum {
    LONG_GAP = 2 * AUDIO_RATE,
    FRAME = AUDIO_RATE / 100, /* the quietest place is looked for in steps of 10 ms ... */
    QUIET_FRAMES = 8,         /* ... and is 80 ms wide, about a stop consonant */
};

struct planner {
    const struct span *speech;
    size_t n;
    const struct plan_opts *opts;
    const struct pcm *pcm;
    struct span *chunks;
    size_t n_chunks, cap;
};

/* Where a chunk that begins at `start`, inside or at the start of span `first`, ends. */
struct cut {
    int64_t end;  /* of the chunk */
    size_t next;  /* the span the next chunk begins with */
    int64_t from; /* where in it */
};

static int add_chunk(struct planner *p, int64_t start, int64_t end, struct err *err)
{
    if (p->n_chunks == p->cap) {
        size_t cap = p->cap ? 2 * p->cap : 64;
        struct span *more = reallocarray(p->chunks, cap, sizeof *more);
        if (!more)
            return err_set(err, ERR_NOMEM, "no memory for the chunk plan");
        p->chunks = more;
        p->cap = cap;
    }
    p->chunks[p->n_chunks++] = (struct span){start, end};
    return 0;
}

static int check(const struct span *speech, size_t n, const struct plan_opts *opts, struct err *err)
{
    if (opts->max_samples <= 0)
        return err_set(err, ERR_INTERNAL, "a chunk plan needs a maximum above 0");
    for (size_t i = 0; i < n; i++)
        if (speech[i].start < (i ? speech[i - 1].end : 0) || speech[i].end <= speech[i].start)
            return err_set(err, ERR_INTERNAL, "speech spans must ascend, not overlap and not be empty");
    return 0;
}

/* The pause behind span i; at the end of everything it is endless. */
static int64_t gap_after(const struct planner *p, size_t i)
{
    return i + 1 < p->n ? p->speech[i + 1].start - p->speech[i].end : INT64_MAX;
}

static struct cut cut_after(const struct planner *p, size_t i)
{
    return (struct cut){p->speech[i].end, i + 1, i + 1 < p->n ? p->speech[i + 1].start : 0};
}

/* 0: in the window around the target, 1: beyond it, 2: before it. Lower is better. */
static int zone(int64_t length, int64_t target)
{
    if (length < target - target / 3)
        return 2;
    return length > target + target / 3;
}

/* Is a chunk of length `a` with pause `gap_a` behind it better than the other? */
static bool better(int64_t a, int64_t gap_a, int64_t b, int64_t gap_b, int64_t target)
{
    int za = zone(a, target), zb = zone(b, target);
    if (za != zb)
        return za < zb;
    switch (za) {
    case 0:
        return gap_a != gap_b ? gap_a > gap_b : llabs(a - target) < llabs(b - target);
    case 1:
        return a < b;
    }
    return a > b;
}

/* The best pause of at least min_gap within the maximum; false when there is none. */
static bool find_pause(const struct planner *p, int64_t start, size_t first, int64_t min_gap, int64_t min_length,
                       struct cut *ret)
{
    int64_t target = MIN(p->opts->target_samples, p->opts->max_samples), best = 0, best_gap = 0;
    bool found = false;
    for (size_t i = first; i < p->n; i++) {
        int64_t length = p->speech[i].end - start, gap = gap_after(p, i);
        if (length > p->opts->max_samples)
            break;
        bool last = gap >= LONG_GAP;
        if ((last || gap >= min_gap) && length >= min_length &&
            (!found || better(length, gap, best, best_gap, target))) {
            found = true;
            best = length;
            best_gap = gap;
            *ret = cut_after(p, i);
        }
        if (last)
            break;
    }
    return found;
}

/* The middle of the quietest 80 ms in [lo, hi); the latest such place when there are several. */
static int find_quiet(const struct planner *p, int64_t lo, int64_t hi, int64_t *ret, struct err *err)
{
    uint64_t ring[QUIET_FRAMES] = {0}, sum = 0, best = UINT64_MAX;
    int16_t frame[FRAME];
    int64_t place = hi;
    for (int64_t i = 0; p->pcm && lo + (i + 1) * FRAME <= hi; i++) {
        int64_t at = lo + i * FRAME;
        int rc = pcm_read(p->pcm, (struct span){at, at + FRAME}, frame, err);
        if (rc < 0)
            return rc;
        uint64_t energy = 0;
        for (int k = 0; k < FRAME; k++)
            energy += (uint64_t)((int32_t)frame[k] * frame[k]);
        sum += energy - ring[i % QUIET_FRAMES];
        ring[i % QUIET_FRAMES] = energy;
        if (i >= QUIET_FRAMES - 1 && sum <= best) {
            best = sum;
            place = at + FRAME - QUIET_FRAMES * FRAME / 2;
        }
    }
    *ret = place;
    return 0;
}

static int find_cut(const struct planner *p, int64_t start, size_t first, struct cut *ret, struct err *err)
{
    int64_t max = p->opts->max_samples, target = CLAMP(p->opts->target_samples, 1, max);
    if (find_pause(p, start, first, MAX(p->opts->min_gap_samples, 0), 0, ret))
        return 0;
    if (find_pause(p, start, first, 0, target / 2, ret))
        return 0;
    /* The span in which the maximum falls. */
    size_t i = first;
    while (i < p->n && p->speech[i].end <= start + max)
        i++;
    if (i == p->n || p->speech[i].start >= start + max) { /* it falls in a pause: end before that */
        *ret = cut_after(p, i - 1);
        return 0;
    }
    int64_t lo = MAX(start + target - target / 3, p->speech[i].start + 1), at;
    int rc = find_quiet(p, lo, start + max, &at, err);
    if (rc == 0)
        *ret = (struct cut){at, i, at};
    return rc;
}

int plan_chunks(const struct span *speech, size_t n, const struct plan_opts *opts, const struct pcm *pcm,
                struct span **ret, size_t *ret_n, struct err *err)
{
    struct planner p = {.speech = speech, .n = n, .opts = opts, .pcm = pcm};
    int rc = check(speech, n, opts, err);
    size_t i = 0;
    int64_t start = n ? speech[0].start : 0;
    while (rc == 0 && i < n) {
        struct cut cut = {0};
        rc = find_cut(&p, start, i, &cut, err);
        if (rc == 0)
            rc = add_chunk(&p, start, cut.end, err);
        i = cut.next;
        start = cut.from;
    }
    if (rc < 0) {
        free(p.chunks);
        return rc;
    }
    *ret = p.chunks;
    *ret_n = p.n_chunks;
    return 0;
}
