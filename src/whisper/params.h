/* SPDX-License-Identifier: MIT */
/* What may be asked of a run. */
#ifndef WHISPER_PARAMS_H
#define WHISPER_PARAMS_H

#include "whisper/model.h"

/* INVALID names the first parameter that is out of range or that this model cannot do. */
int params_check(const struct whisper_params *p, const struct whisper_model *m, struct err *err) MUST_CHECK;

#endif
