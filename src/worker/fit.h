/* SPDX-License-Identifier: MIT */
/* A job's model in memory, or the largest smaller one that there is room for. */
#ifndef WORKER_FIT_H
#define WORKER_FIT_H

#include "worker/pipeline.h"

/*
 * Loads the model that `p` names, its header being complete but for what this call decides: which model it is at last
 * (in p and o->request) and which one it stands in for. `saved`: the plan of an earlier attempt, NULL: none. Texts live
 * in `a`. Fails as engine_load.
 */
int fit_model(struct pipeline_opts *o, const struct plan *saved, struct arena *a, struct plan *p, struct err *err)
    MUST_CHECK;
/* For the result of a plan that has another model than was asked for; in `a`, or static. */
const char *fit_warning(const struct plan *p, struct arena *a);

#endif
