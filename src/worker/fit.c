/* SPDX-License-Identifier: MIT */
/*
 * An attempt that can go on with finished chunks keeps their model: also when it stands in for a larger one that would
 * have room by now, and at first also when it has no room itself, which may pass. Only the last attempt begins anew
 * with a smaller one rather than fail.
 */
#include "worker/fit.h"

#include "base/clock.h"
#include "base/str.h"
#include "worker/choose.h"
#include "worker/plan_json.h"

static void take(struct pipeline_opts *o, struct plan *p, const char *model, const char *instead_of)
{
    o->request.model = p->model = model;
    p->instead_of = instead_of;
}

/* Do the chunks of the saved plan count, with the model that was asked for or with one that stands in for it? */
static bool goes_on(const struct pipeline_opts *o, const struct plan *saved, const struct plan *p)
{
    struct plan same = *p;
    if (!o->has_chunks || !saved || !(str_eq(saved->model, p->model) || str_eq(saved->instead_of, p->model)))
        return false;
    same.model = saved->model;
    return plan_same_header(saved, &same);
}

static int next_smaller(const struct pipeline_opts *o, const struct plan *p, struct arena *a, const char **ret,
                        struct err *err)
{
    const struct model_wish wish = {.language = p->language, .task = p->task};
    return choose_smaller(o->engine, p->model, &wish, a, ret, err);
}

int fit_model(struct pipeline_opts *o, const struct plan *saved, struct arena *a, struct plan *p, struct err *err)
{
    const char *asked = p->model;
    bool resumes = goes_on(o, saved, p), may_change = o->smaller_ok && !(resumes && o->keep_model), fell_back = false;
    struct err first = ERR_INIT; /* about the model that was asked for */
    int64_t began = clock_mono_ms();
    int rc;
    if (resumes && !str_eq(saved->model, asked))
        take(o, p, saved->model, asked);
    while ((rc = engine_load(o->engine, &o->request, o->cancel, err)) == ERR_NOMEM) {
        const char *smaller = NULL;
        struct err why = *err;
        if (!first.code)
            first = why;
        rc = may_change ? next_smaller(o, p, a, &smaller, err) : 0;
        if (rc < 0)
            return rc;
        if (o->hooks.model_too_large)
            o->hooks.model_too_large(o->hooks.arg, p->model, smaller, &why);
        if (!smaller) {
            *err = first;
            return ERR_NOMEM;
        }
        take(o, p, smaller, asked);
        fell_back = true;
    }
    if (rc < 0)
        return rc;
    if (fell_back)
        engine_fell_back(o->engine);
    if (o->hooks.model_ready)
        o->hooks.model_ready(o->hooks.arg, p->model, clock_mono_ms() - began, rc > 0);
    return 0;
}

const char *fit_warning(const struct plan *p, struct arena *a)
{
    const char *text = arena_printf(a, "there was no memory for model '%.60s': '%.60s' was used, the next smaller one",
                                    p->instead_of, p->model);
    return text ? text : "there was no memory for the model: a smaller one was used";
}
