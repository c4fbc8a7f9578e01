/* SPDX-License-Identifier: MIT */
#include "whisper/params.h"

#include "whisper/search.h"

static const float PATIENCE_MAX = SEARCH_MAX_PATIENCE, WINDOW_S = 30;

/* In [low, high]; NAN is not. */
static bool within(float x, float low, float high)
{
    return x >= low && x <= high;
}

int params_check(const struct whisper_params *p, const struct whisper_model *m, struct err *err)
{
    const struct whisper_info *info = &m->info;
    if (!p->n_temperatures)
        return err_set(err, ERR_INVALID, "at least one temperature is needed");
    for (size_t i = 0; i < p->n_temperatures; i++)
        if (!within(p->temperatures[i], 0, 2))
            return err_set(err, ERR_INVALID, "temperatures must be from 0 to 2");
    if (p->beam_size < 1 || p->beam_size > SEARCH_MAX_SEQUENCES || p->best_of < 1 || p->best_of > SEARCH_MAX_SEQUENCES)
        return err_set(err, ERR_INVALID, "beam_size and best_of must be from 1 to %d", (int)SEARCH_MAX_SEQUENCES);
    if (!within(p->patience, 0, PATIENCE_MAX) || p->patience == 0)
        return err_set(err, ERR_INVALID, "patience must be above 0 and at most %g", (double)PATIENCE_MAX);
    if (!(p->length_penalty < 0) && !within(p->length_penalty, 0, 1))
        return err_set(err, ERR_INVALID, "length_penalty must be from 0 to 1, or negative for none");
    if (!(p->max_initial_timestamp < 0) && !within(p->max_initial_timestamp, 0, WINDOW_S))
        return err_set(err, ERR_INVALID,
                       "max_initial_timestamp must be from 0 to 30 seconds, or negative for no limit");
    if (p->task == WHISPER_TRANSLATE && !info->can_translate)
        return err_set(err, ERR_INVALID, "model '%s' cannot translate: it was trained for %s", info->name,
                       info->multilingual ? "transcription only" : "English only");
    if (p->language && !whisper_model_language(m, p->language))
        return err_set(err, ERR_INVALID, "model '%s' does not know language '%.20s'%s", info->name, p->language,
                       info->multilingual ? "" : ": it knows English only");
    return 0;
}

void whisper_params_default(struct whisper_params *p)
{
    static const float ladder[] = {0.0f, 0.2f, 0.4f, 0.6f, 0.8f, 1.0f};
    *p = (struct whisper_params){
        .temperatures = ladder,
        .n_temperatures = ARRAY_LEN(ladder),
        .beam_size = 5,
        .best_of = 5,
        .patience = 1,
        .length_penalty = -1,
        .compression_ratio_threshold = 2.4f,
        .logprob_threshold = -1,
        .no_speech_threshold = 0.6f,
        .condition_on_previous = true,
        .timestamps = true,
        .max_initial_timestamp = 1,
        .suppress_blank = true,
    };
}
