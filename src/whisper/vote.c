/* SPDX-License-Identifier: MIT */
#include "whisper/vote.h"

static const float SURE = 0.5f;

bool vote_add(struct vote *v, const float *probs, int n)
{
    int best = 0;
    for (int i = 0; i < n; i++) {
        v->sums[i] += probs[i];
        if (probs[i] > probs[best])
            best = i;
    }
    v->wins[best]++;
    v->windows++;
    if (!(probs[best] > SURE))
        return false;
    v->sure = best;
    v->probability = probs[best];
    return true;
}

int vote_result(const struct vote *v, float *ret_probability)
{
    if (v->probability > 0) {
        *ret_probability = v->probability;
        return v->sure;
    }
    int best = 0;
    for (int i = 1; i < VOTE_LANGUAGES; i++)
        if (v->wins[i] > v->wins[best] || (v->wins[i] == v->wins[best] && v->sums[i] > v->sums[best]))
            best = i;
    *ret_probability = v->windows ? v->sums[best] / (float)v->windows : 0;
    return best;
}
