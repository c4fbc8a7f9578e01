/* SPDX-License-Identifier: MIT */
/* The models there are, as the live workers say in their heartbeats; of several workers each model counts once. */
#ifndef API_MODELS_H
#define API_MODELS_H

#include "api/request.h"
#include "job/model_names.h"
#include "job/store.h"

/* Texts and arrays live in the request's arena. */
struct models_known {
    struct model_here *here; /* the table of names looks at these ... */
    struct models_more {
        const char *engine;
        int64_t created; /* seconds since 1970 */
    } * more;            /* ... and this is known beside them */
    size_t n;
    const char *standard; /* the default model; NULL: none is known */
};

int models_look(struct request *rq, struct models_known *ret, struct err *err) MUST_CHECK;
/* Which of them a name stands for, exactly; k->n: none. */
size_t models_find(struct request *rq, const struct models_known *k, const char *name);
/*
 * NOT_FOUND: the job asks for a model that no worker has, and that is an error by the settings. Where that cannot be
 * known (no worker lives, or the job names an engine), it is left to the worker.
 */
int models_check(struct request *rq, const struct job_new *job, struct err *err) MUST_CHECK;

#endif
