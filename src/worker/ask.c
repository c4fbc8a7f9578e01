/* SPDX-License-Identifier: MIT */
#include "worker/ask.h"

int ask_options(struct pipeline_opts *o, const struct job_options *asked, const struct job_options *settings,
                struct arena *a, struct err *err)
{
    struct job_options all = *asked;
    job_options_default(&all, settings);
    bool follows = engine_info(o->engine)->caps & ENGINE_FOLLOWS;
    if (!follows && !asked->values[JOB_OPTION_decode_mode])
        all.values[JOB_OPTION_decode_mode] = NULL;

    struct engine_request *r = &o->request;
    r->hotwords = all.values[JOB_OPTION_hotwords];
    r->word_timestamps = job_option_is(&all, JOB_OPTION_word_timestamps, "true");
    r->sequential = job_option_is(&all, JOB_OPTION_decode_mode, "sequential");
    r->beam_size = (int)job_option_int(&all, JOB_OPTION_beam_size, 0);
    r->seed = (uint64_t)job_option_int(&all, JOB_OPTION_seed, 0);
    r->n_temperatures = job_option_numbers(&all, JOB_OPTION_temperature, r->temperatures, ENGINE_TEMPERATURES_MAX);
    o->language_per_chunk = job_option_is(&all, JOB_OPTION_language_per_chunk, "true");

    CLEANUP(buf_clear) struct buf json = BUF_INIT(JOB_OPTIONS_JSON_MAX);
    job_options_to_json(&all, &json);
    int rc = buf_check(&json, "the options of a job", err);
    o->options = rc < 0 ? NULL : arena_dup(a, json.data, json.len);
    return rc < 0 || o->options ? rc : err_set(err, ERR_NOMEM, "out of memory for the options of a job");
}
