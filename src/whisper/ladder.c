/* SPDX-License-Identifier: MIT */
#include "whisper/ladder.h"

#include "whisper/gates.h"

#include <math.h>

static const char improbable[] = "low probability";

/* The gates; comparisons with NAN are false, which is how one is switched off. */
static void judge(const struct whisper_params *p, int first_timestamp, struct decoded *d)
{
    d->failed = NULL;
    if (d->compression_ratio > p->compression_ratio_threshold)
        d->failed = "repetition";
    else if (gates_loop(d->tokens, d->n, first_timestamp, GATES_LOOP))
        d->failed = "loop";
    else if (d->avg_logprob < p->logprob_threshold)
        d->failed = improbable;
    /* Unlikely text over what the model holds for silence is silence: no further try, no text. */
    d->silent = d->no_speech_prob > p->no_speech_threshold && !(d->avg_logprob > p->logprob_threshold);
}

/* Of two failed tries, the better: one that does not repeat itself before one that does, then the more likely. */
static bool better(const struct decoded *a, const struct decoded *b)
{
    bool a_repeats = a->failed != improbable, b_repeats = b->failed != improbable;
    return a_repeats != b_repeats ? b_repeats : a->avg_logprob > b->avg_logprob;
}

int ladder_climb(const struct whisper_params *p, int first_timestamp, ladder_try_fn try, void *arg, struct decoded *ret,
                 struct err *err)
{
    for (size_t i = 0; i < p->n_temperatures; i++) {
        struct decoded d = {.temperature = p->temperatures[i]};
        int rc = try(arg, d.temperature, &d, err);
        if (rc < 0)
            return rc;
        /* Every gate would let it pass. */
        if (isnan(d.avg_logprob) || isnan(d.no_speech_prob))
            return err_set(err, ERR_CORRUPT, "the model computes values that are no numbers: its weights are damaged");
        judge(p, first_timestamp, &d);
        if (i == 0 || !d.failed || d.silent || better(&d, ret))
            *ret = d;
        if (!d.failed || d.silent)
            return 0;
    }
    size_t loop = gates_loop(ret->tokens, ret->n, first_timestamp, GATES_LOOP);
    if (loop)
        ret->n = loop; /* one round of it may have been said */
    return 0;
}
