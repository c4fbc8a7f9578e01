/* SPDX-License-Identifier: MIT */
#include "whisper/rules.h"

#include <math.h>

static void refuse(float *logits, int from, int to)
{
    for (int i = from; i < to; i++)
        logits[i] = -INFINITY;
}

/* Pairs, order and length: what the stamps said so far leave open. */
static void refuse_by_grammar(const struct rules *r, const int *said, size_t n, float *logits)
{
    const struct tokenizer *t = r->t;
    bool last = n >= 1 && said[n - 1] >= t->first_timestamp;
    bool before_last = n < 2 || said[n - 2] >= t->first_timestamp;
    if (last && before_last)
        refuse(logits, t->first_timestamp, t->n_vocab); /* the pair is complete: text, or the end */
    else if (last)
        refuse(logits, 0, t->eot); /* the pair wants its second half, or the end */
    for (size_t i = n; i > 0; i--) {
        if (said[i - 1] < t->first_timestamp)
            continue;
        /* Behind an open segment the next stamp must be later, or it would last no time (and loop for ever). */
        int lowest = last && !before_last ? said[i - 1] : said[i - 1] + 1;
        refuse(logits, t->first_timestamp, lowest);
        break;
    }
    if (n == 0) {
        refuse(logits, 0, t->first_timestamp);
        if (r->max_initial_timestamp >= 0)
            refuse(logits, t->first_timestamp + r->max_initial_timestamp + 1, t->n_vocab);
    }
}

/* All stamps together against the best of the rest: the common denominator of the soft-max cancels out. */
static void prefer_timestamps(const struct rules *r, float *logits)
{
    const struct tokenizer *t = r->t;
    float best = -INFINITY;
    for (int i = 0; i < t->first_timestamp; i++)
        best = logits[i] > best ? logits[i] : best;
    float stamps = r->kern->log_sum_exp(logits + t->first_timestamp, (size_t)(t->n_vocab - t->first_timestamp));
    if (stamps > best)
        refuse(logits, 0, t->first_timestamp);
}

void rules_apply(const struct rules *r, const int *said, size_t n, float *logits)
{
    const struct tokenizer *t = r->t;
    if (r->suppress_blank && n == 0) {
        if (r->blank >= 0)
            logits[r->blank] = -INFINITY;
        logits[t->eot] = -INFINITY;
    }
    for (size_t i = 0; i < r->n_suppressed; i++)
        if (r->suppressed[i] >= 0 && r->suppressed[i] < t->n_vocab)
            logits[r->suppressed[i]] = -INFINITY;
    /* Special tokens that are no output: from start-of-text up to and with "no timestamps", whatever the caller
     * suppresses. */
    refuse(logits, t->sot, t->no_timestamps + 1);
    if (!r->timestamps) {
        refuse(logits, t->first_timestamp, t->n_vocab);
        return;
    }
    refuse_by_grammar(r, said, n, logits);
    prefer_timestamps(r, logits);
}
