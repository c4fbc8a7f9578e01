/* SPDX-License-Identifier: MIT */
/* From settings to what decoding and engines take: the same for `worker` and `transcribe`. */
#ifndef CLI_MEDIA_H
#define CLI_MEDIA_H

#include "audio/decode.h"
#include "conf/conf.h"
#include "engine/engine.h"
#include "job/model_names.h"
#include "job/options.h"

/* Strings are borrowed from conf. */
struct engine_opts media_engine(const struct conf *conf);
struct decode_opts media_decode(const struct conf *conf);
/* What the settings say where a job asks for nothing. Texts live in `a`. */
int media_options(const struct conf *conf, struct arena *a, struct job_options *ret, struct err *err) MUST_CHECK;
/* What names of models mean. Texts live in `a`. */
int media_model_names(const struct conf *conf, struct arena *a, struct model_names *ret, struct err *err) MUST_CHECK;
/* The settings' language; NULL when none is set. */
const char *media_language(const struct conf *conf);
/* The folder of Whisper's models: model_path, else `models` in the data folder. Caller frees. */
char *media_model_folder(const struct conf *conf) MUST_CHECK;
/* Where scratch files go when there is no data folder: a place that may be large. Borrowed. */
const char *media_scratch(const struct conf *conf);

#endif
