/* SPDX-License-Identifier: MIT */
/* The stages in their order, each a function that leaves its name in the report. */
#include "worker/pipeline.h"

#include "base/fault.h"
#include "base/str.h"
#include "worker/chunks.h"
#include "worker/fit.h"
#include "worker/gaps.h"
#include "worker/hear.h"
#include "worker/intake.h"
#include "worker/plan_json.h"
#include "worker/plan_make.h"

#define DAMAGED_WARNING "the recording is damaged; this is what could be read of it"

struct run {
    struct pipeline_opts own; /* the model may become another */
    const struct pipeline_opts *o;
    const struct engine_info *info;
    struct pipeline_report *report;
    struct intake in;
    struct arena arena; /* of the plan */
    struct plan plan;
    bool resume; /* the plan is the saved one */
};

const char *pipeline_stage_name(enum pipeline_stage s)
{
    static const char *const names[] = {
#define X(name, word) word,
        PIPELINE_STAGES(X)
#undef X
    };
    return s < STAGE_COUNT ? names[s] : "?";
}

static void enter(struct run *r, enum pipeline_stage s)
{
    r->report->stage = s;
    if (r->o->hooks.stage)
        r->o->hooks.stage(r->o->hooks.arg, s);
}

static int check(struct run *r, struct err *err)
{
    enter(r, STAGE_CHECK);
    if (cancel_is_set(r->o->cancel))
        return err_set(err, ERR_CANCELLED, "stopped before the start");
    const struct engine_request *q = &r->o->request;
    int rc = engine_check(r->o->engine, q, err);
    if (rc < 0)
        return rc;
    r->plan = (struct plan){.input_sha256 = r->o->input_sha256 ? r->o->input_sha256 : "",
                            .engine = r->info->name,
                            .model = engine_model(r->o->engine, q),
                            .language = q->language,
                            .task = q->task,
                            .prompt = q->prompt,
                            .options = r->o->options};
    return 0;
}

static int decode(struct run *r, struct err *err)
{
    enter(r, STAGE_DECODE);
    if (!(r->info->caps & ENGINE_NEEDS_PCM))
        return 0;
    int rc = intake_decode(r->o, &r->in, r->report, err);
    if (rc < 0)
        return rc;
    r->plan.total_samples = pcm_length(r->in.pcm);
    r->plan.damaged = r->in.damaged;
    return FAULT_POINT(audio_decoded, err);
}

/* An earlier plan counts when nothing it depends on has changed, and this engine can still take its chunks. */
static bool take_earlier_plan(struct run *r)
{
    const struct pipeline_hooks *h = &r->o->hooks;
    const struct plan *old = h->load_plan ? h->load_plan(h->arg) : NULL;
    if (!old || !plan_same_header(old, &r->plan))
        return false;
    for (size_t i = 0; i < old->n_chunks; i++)
        if (r->in.pcm && old->chunks[i].span.end - old->chunks[i].span.start > r->info->max_samples)
            return false;
    r->plan.chunks = old->chunks;
    r->plan.n_chunks = old->n_chunks;
    r->plan.heard = old->heard;
    r->plan.heard_probability = old->heard_probability;
    return true;
}

static int make_plan(struct run *r, struct err *err)
{
    static const struct plan_chunk whole = {{0, 0}, NULL, 0};
    if (r->in.pcm)
        return plan_make(r->in.pcm, r->info, r->o->cancel, &r->arena, &r->plan, err);
    r->plan.chunks = &whole;
    r->plan.n_chunks = 1;
    return 0;
}

/* Checkpoints of two models must not come together, so the model is settled before there is a plan. */
static int fit(struct run *r, struct err *err)
{
    r->report->stage = STAGE_ENGINE;
    const struct pipeline_hooks *h = &r->o->hooks;
    return fit_model(&r->own, h->load_plan ? h->load_plan(h->arg) : NULL, &r->arena, &r->plan, err);
}

static int plan(struct run *r, struct err *err)
{
    enter(r, STAGE_PLAN);
    r->resume = take_earlier_plan(r);
    if (r->resume)
        return 0;
    int rc = make_plan(r, err);
    if (rc < 0)
        return rc;
    enter(r, STAGE_ENGINE);
    rc = hear_language(r->o, r->in.pcm, &r->plan, err);
    if (rc < 0)
        return rc;
    const struct pipeline_hooks *h = &r->o->hooks;
    if (!h->save_plan)
        return 0;
    enter(r, STAGE_STORE);
    rc = h->save_plan(h->arg, &r->plan, err);
    return rc < 0 ? rc : FAULT_POINT(plan_saved, err);
}

static int transcribe(struct run *r, struct transcript *t, struct err *err)
{
    enter(r, STAGE_ENGINE);
    t->duration_ms = samples_to_ms(r->plan.total_samples);
    return chunks_run(r->o, &r->plan, r->in.pcm, r->resume, t, r->report, err);
}

static int label(struct run *r, struct transcript *t, struct err *err)
{
    enter(r, STAGE_MERGE);
    if (r->plan.heard)
        t->language_probability = r->plan.heard_probability;
    int rc = gaps_cover(t, &r->plan, err);
    if (rc == 0 && r->o->warning)
        rc = transcript_warn(t, r->o->warning, err);
    if (rc == 0 && r->plan.instead_of)
        rc = transcript_warn(t, fit_warning(&r->plan, &r->arena), err);
    if (rc == 0 && r->plan.damaged)
        rc = transcript_warn(t, DAMAGED_WARNING, err);
    if (rc < 0)
        return rc;
    const struct {
        const char **field, *value;
    } names[] = {
        {&t->engine, r->plan.engine},
        {&t->model, r->plan.model},
        {&t->task, r->plan.task ? r->plan.task : "transcribe"},
        {&t->quality, r->info->quality},
    };
    for (size_t i = 0; i < ARRAY_LEN(names); i++) {
        rc = names[i].value ? transcript_set(t, names[i].field, names[i].value, err) : 0;
        if (rc < 0)
            return rc;
    }
    rc = transcript_check(t, err);
    return rc < 0 ? rc : FAULT_POINT(job_merged, err);
}

int pipeline_run(const struct pipeline_opts *o, struct transcript *ret, struct pipeline_report *report, struct err *err)
{
    *report = (struct pipeline_report){0};
    struct run r = {.own = *o, .info = engine_info(o->engine), .report = report, .arena = ARENA_INIT};
    r.o = &r.own;
    int rc = check(&r, err);
    if (rc == 0)
        rc = decode(&r, err);
    if (rc == 0)
        rc = fit(&r, err);
    if (rc == 0)
        rc = plan(&r, err);
    if (rc == 0)
        rc = transcribe(&r, ret, err);
    if (rc == 0)
        rc = label(&r, ret, err);
    pcm_free(r.in.pcm);
    arena_clear(&r.arena);
    return rc;
}
