/* SPDX-License-Identifier: MIT */
/*
 * Follows OpenAI's decoding.py: log-probabilities are those of the filtered logits at temperature 1, also when tokens
 * are drawn at another; a beam looks at beam_size + 1 continuations of each sequence, so that endings cannot starve it;
 * equal sequences (all are equal at the first step) count once.
 */
#include "whisper/search.h"

#include "whisper/gates.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

/* A continuation of a live sequence. */
struct candidate {
    int source, token;
    float logprob, score;
};

enum { MAX_CANDIDATES = SEARCH_MAX_SEQUENCES * (SEARCH_MAX_SEQUENCES + 1) };

int search_new(const struct search_opts *o, struct search **ret, struct err *err)
{
    if (o->sequences < 1 || o->sequences > SEARCH_MAX_SEQUENCES)
        return err_set(err, ERR_INVALID, "beam_size and best_of must be 1 to %d", (int)SEARCH_MAX_SEQUENCES);
    struct search *s = calloc(1, sizeof *s);
    size_t n = (size_t)o->sequences;
    /* Halves to even, as the reference rounds. */
    int candidates = MAX(1, (int)lrintf((float)o->sequences * CLAMP(o->patience, 0.0f, (float)SEARCH_MAX_PATIENCE)));
    struct sequence *all = calloc(2 * n + (size_t)candidates, sizeof *all);
    if (!s || !all) {
        free(s);
        free(all);
        return err_set(err, ERR_NOMEM, "no memory for a search");
    }
    s->opts = *o;
    s->opts.max_tokens = CLAMP(o->max_tokens, 1, SEARCH_MAX_TOKENS);
    s->live = all;
    s->spare = all + n;
    s->finished = all + 2 * n;
    s->n_live = o->sequences;
    s->max_candidates = candidates;
    for (int i = 0; i < o->sequences; i++)
        s->live[i].slot = i;
    *ret = s;
    return 0;
}

void search_free(struct search *s)
{
    if (!s)
        return;
    free(MIN(s->live, s->spare)); /* the three are one allocation; live and spare change places */
    free(s);
}

/* splitmix64 of (seed, sequence, step): the draw does not depend on what else is in the batch. */
static double draw(uint64_t seed, int sequence, int step)
{
    uint64_t z = seed + 0x9E3779B97F4A7C15u * (uint64_t)(sequence * 1024 + step + 1);
    z = (z ^ (z >> 30)) * 0xBF58476D1CE4E5B9u;
    z = (z ^ (z >> 27)) * 0x94D049BB133111EBu;
    z ^= z >> 31;
    return (double)(z >> 11) * 0x1p-53;
}

static int most_likely(const float *logits, int n)
{
    int best = 0;
    for (int i = 1; i < n; i++)
        if (logits[i] > logits[best])
            best = i;
    return best;
}

static int sample(const float *logits, int n, float temperature, double u)
{
    float most = logits[most_likely(logits, n)];
    double sum = 0;
    for (int i = 0; i < n; i++)
        sum += (double)expf((logits[i] - most) / temperature);
    double left = u * sum;
    int last = 0;
    for (int i = 0; i < n; i++) {
        double p = (double)expf((logits[i] - most) / temperature);
        if (p > 0)
            last = i;
        left -= p;
        if (left < 0 && p > 0)
            return i;
    }
    return last; /* rounding: the last possible one */
}

static void append(struct sequence *q, int token, float logprob, int eot)
{
    q->sum_logprob += logprob;
    if (token == eot) {
        q->over = true;
        return;
    }
    q->tokens[q->n] = token;
    q->logprobs[q->n] = logprob;
    q->n++;
}

static bool loops(const struct sequence *q, const struct rules *r, size_t least)
{
    return gates_loop(q->tokens, (size_t)q->n, r->t->first_timestamp, least) > 0;
}

static void update_simple(struct search *s, const struct rules *r, float *const *logits)
{
    const int n = r->t->n_vocab;
    bool all_over = true;
    for (int i = 0; i < s->n_live; i++) {
        struct sequence *q = &s->live[i];
        if (q->over)
            continue;
        float norm = r->kern->log_sum_exp(logits[i], (size_t)n);
        int token = s->opts.temperature > 0 ? sample(logits[i], n, s->opts.temperature, draw(s->opts.seed, i, q->n))
                                            : most_likely(logits[i], n);
        append(q, token, logits[i][token] - norm, r->t->eot);
        q->over = q->over || q->n == s->opts.max_tokens || loops(q, r, GATES_LOOP_SURE);
        q->loops = q->over && loops(q, r, GATES_LOOP);
        all_over = all_over && q->over;
    }
    s->done = all_over;
}

/* The k most likely tokens, best first. k is small: one pass with an insertion into a short list. */
static int top(const float *logits, int n, int k, int *ret)
{
    int have = 0;
    for (int i = 0; i < n; i++) {
        if (logits[i] == -INFINITY || (have == k && logits[i] <= logits[ret[k - 1]]))
            continue;
        int at = have < k ? have++ : k - 1;
        for (; at > 0 && logits[ret[at - 1]] < logits[i]; at--)
            ret[at] = ret[at - 1];
        ret[at] = i;
    }
    return have;
}

static int by_score(const void *a, const void *b)
{
    const struct candidate *x = a, *y = b;
    if (x->score != y->score)
        return x->score < y->score ? 1 : -1;
    return x->source != y->source ? x->source - y->source : x->token - y->token;
}

static bool same_tokens(const struct sequence *a, const struct sequence *b)
{
    return a->n == b->n && memcmp(a->tokens, b->tokens, (size_t)a->n * sizeof a->tokens[0]) == 0;
}

static int gather(struct search *s, const struct rules *r, float *const *logits, struct candidate *ret)
{
    int n = 0, tokens[SEARCH_MAX_SEQUENCES + 1] = {0};
    for (int i = 0; i < s->n_live; i++) {
        bool twin = false;
        for (int k = 0; k < i && !twin; k++)
            twin = same_tokens(&s->live[i], &s->live[k]);
        if (twin)
            continue;
        float norm = r->kern->log_sum_exp(logits[i], (size_t)r->t->n_vocab);
        int found = top(logits[i], r->t->n_vocab, s->opts.sequences + 1, tokens);
        for (int k = 0; k < found; k++) {
            float logprob = logits[i][tokens[k]] - norm;
            ret[n++] = (struct candidate){
                .source = i, .token = tokens[k], .logprob = logprob, .score = s->live[i].sum_logprob + logprob};
        }
    }
    qsort(ret, (size_t)n, sizeof *ret, by_score);
    return n;
}

/* Children of one parent: the first keeps its slot, the others get slots whose owners had no child, and a copy. */
static void assign_slots(struct search *s, const int *parents, int n)
{
    bool taken[SEARCH_MAX_SEQUENCES] = {false};
    bool placed[SEARCH_MAX_SEQUENCES] = {false};
    for (int i = 0; i < n; i++) {
        int slot = s->spare[parents[i]].slot; /* spare holds the parents now */
        if (!taken[slot]) {
            taken[slot] = placed[i] = true;
            s->live[i].slot = slot;
        }
    }
    s->n_copies = 0;
    for (int i = 0; i < n; i++) {
        if (placed[i])
            continue;
        int free_slot = 0;
        while (taken[free_slot])
            free_slot++;
        taken[free_slot] = true;
        s->live[i].slot = free_slot;
        s->copies[s->n_copies++] = (struct slot_copy){.to = free_slot, .from = s->spare[parents[i]].slot};
    }
}

static void keep_finished(struct search *s, const struct sequence *parent, const struct candidate *c, int eot)
{
    if (s->n_finished == s->max_candidates)
        return;
    struct sequence *f = &s->finished[s->n_finished++];
    *f = *parent;
    append(f, c->token, c->logprob, eot);
}

static void update_beam(struct search *s, const struct rules *r, float *const *logits)
{
    struct candidate all[MAX_CANDIDATES] = {{0}};
    int n = gather(s, r, logits, all), parents[SEARCH_MAX_SEQUENCES], kept = 0;
    struct sequence *old = s->live;
    s->live = s->spare;
    s->spare = old;
    for (int i = 0; i < n && kept < s->opts.sequences; i++) {
        if (all[i].token == r->t->eot) {
            keep_finished(s, &old[all[i].source], &all[i], r->t->eot);
            continue;
        }
        s->live[kept] = old[all[i].source];
        append(&s->live[kept], all[i].token, all[i].logprob, r->t->eot);
        parents[kept++] = all[i].source;
    }
    s->n_live = kept;
    assign_slots(s, parents, kept);
    s->done = kept == 0 || s->n_finished >= s->max_candidates || s->live[0].n >= s->opts.max_tokens ||
              loops(&s->live[0], r, GATES_LOOP_SURE);
}

void search_update(struct search *s, const struct rules *r, float *const *logits)
{
    s->n_copies = 0;
    for (int i = 0; i < s->n_live; i++) {
        bool shared = false; /* the first step hands out one row to all */
        for (int k = 0; k < i && !shared; k++)
            shared = logits[k] == logits[i];
        if (!shared && !s->live[i].over)
            rules_apply(r, s->live[i].tokens, (size_t)s->live[i].n, logits[i]);
    }
    if (s->opts.beam)
        update_beam(s, r, logits);
    else
        update_simple(s, r, logits);
}

static float score(const struct search *s, const struct sequence *q)
{
    float length = (float)q->n;
    if (s->opts.length_penalty >= 0)
        length = powf((5.0f + length) / 6.0f, s->opts.length_penalty);
    return length > 0 ? q->sum_logprob / length : -INFINITY;
}

void search_result(const struct search *s, struct search_result *ret)
{
    const struct sequence *best = s->n_finished ? s->finished : s->live;
    float best_score = score(s, best);
    for (int i = 1; i < s->n_finished; i++)
        if (score(s, &s->finished[i]) > best_score) {
            best = &s->finished[i];
            best_score = score(s, best);
        }
    /* Too few endings: the unfinished, most likely first, fill up; without a beam the live ones are all there is. */
    int room = s->opts.beam ? s->opts.sequences - s->n_finished : s->n_live;
    for (int i = 0; i < s->n_live && i < room; i++) {
        const struct sequence *q = &s->live[i];
        if (q->loops != best->loops ? best->loops : score(s, q) > best_score) {
            best = q;
            best_score = score(s, best);
        }
    }
    ret->best = best;
    ret->avg_logprob = best->sum_logprob / (float)(best->n + 1);
}
