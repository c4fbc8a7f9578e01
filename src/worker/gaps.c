/* SPDX-License-Identifier: MIT */
/*
 * Three kinds of gaps: segments that the engine itself doubts (or that it left without text), speech that lies outside
 * of every segment for at least HOLE_MS, and all speech of a chunk in which nothing was recognised. Shorter holes are
 * no gaps: engines do not place their segments better than that.
 */
#include "worker/gaps.h"

#include <stdlib.h>

enum { HOLE_MS = 1000 };

static const char *const no_words = "no words were recognised";

struct list {
    struct gap *v;
    size_t n;
};

static int by_start(const void *a, const void *b)
{
    const struct gap *x = a, *y = b;
    return (x->start_ms > y->start_ms) - (x->start_ms < y->start_ms);
}

static bool has_text(const struct segment *s)
{
    return s->text && s->text[0];
}

static struct time_span to_time(struct span s)
{
    return (struct time_span){samples_to_ms(s.start), samples_to_ms(s.end)};
}

/* What the engine accounts for, by start; `why` NULL where it has no doubts. */
static void add_segments(struct list *l, const struct segments *s)
{
    for (size_t i = 0; i < s->n; i++)
        if (has_text(&s->v[i]) || s->v[i].suspect)
            l->v[l->n++] = (struct gap){s->v[i].start_ms, s->v[i].end_ms, s->v[i].suspect};
    qsort(l->v, l->n, sizeof *l->v, by_start);
}

/* Speech in none of the first `n` spans of the list, which ascend, behind them. */
static void add_holes(struct list *l, size_t n, const struct plan_chunk *c)
{
    for (size_t i = 0; i < c->n_speech; i++) {
        struct time_span s = to_time(c->speech[i]);
        int64_t from = s.start_ms;
        for (size_t k = 0; k <= n; k++) {
            int64_t until = k < n ? MIN(l->v[k].start_ms, s.end_ms) : s.end_ms;
            if (until - from >= HOLE_MS)
                l->v[l->n++] = (struct gap){from, until, no_words};
            if (k < n)
                from = MAX(from, l->v[k].end_ms);
        }
    }
}

int gaps_add(struct transcript *t, const struct plan_chunk *c, const struct segments *s, struct err *err)
{
    if (!c->n_speech && !s->n)
        return 0;
    struct list l = {.v = calloc(s->n + c->n_speech * (s->n + 1) + 1, sizeof *l.v)};
    if (!l.v)
        return err_set(err, ERR_NOMEM, "out of memory for the gaps of a chunk");
    add_segments(&l, s);
    if (l.n)
        add_holes(&l, l.n, c);
    else if (c->n_speech)
        l.v[l.n++] = (struct gap){to_time(c->speech[0]).start_ms, to_time(c->speech[c->n_speech - 1]).end_ms, no_words};
    qsort(l.v, l.n, sizeof *l.v, by_start);
    int rc = 0;
    for (size_t i = 0; i < l.n && rc == 0; i++)
        if (l.v[i].why)
            rc = transcript_add_gap(t, l.v[i].start_ms, l.v[i].end_ms, l.v[i].why, err);
    free(l.v);
    return rc;
}

int gaps_cover(struct transcript *t, const struct plan *p, struct err *err)
{
    size_t n = 0, k = 0;
    for (size_t i = 0; i < p->n_chunks; i++)
        n += p->chunks[i].n_speech;
    struct time_span *speech = calloc(n + 1, sizeof *speech);
    if (!speech)
        return err_set(err, ERR_NOMEM, "out of memory for the coverage of a transcript");
    for (size_t i = 0; i < p->n_chunks; i++)
        for (size_t j = 0; j < p->chunks[i].n_speech; j++)
            speech[k++] = to_time(p->chunks[i].speech[j]);
    transcript_cover(t, speech, n);
    free(speech);
    return 0;
}
