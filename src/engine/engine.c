/* SPDX-License-Identifier: MIT */
/* The list of engines, the choice among them, and the checks and the timing that all of them share. */
#include "engine/engine_ops.h"

#include "base/buf.h"
#include "base/clock.h"
#include "base/cpu.h"
#include "base/log.h"
#include "base/str.h"

#include <stdio.h>

static const struct engine_ops *const engines[] = {&engine_whisper_ops, &engine_pocketsphinx_ops, &engine_gemini_ops,
                                                   &engine_openai_ops, &engine_null_ops};

static const struct log_ctx lc = {.component = "engine"};

static const struct engine_ops *find(const char *name)
{
    for (size_t i = 0; i < ARRAY_LEN(engines); i++)
        if (str_eq(engines[i]->info.name, name))
            return engines[i];
    return NULL;
}

static int unknown(const char *name, struct err *err)
{
    CLEANUP(buf_clear) struct buf names = BUF_INIT(256);
    for (size_t i = 0; i < ARRAY_LEN(engines); i++)
        /* NOLINTNEXTLINE(clang-analyzer-core.NullDereference): the table has no NULL in that range */
        buf_addf(&names, ", %s", engines[i]->info.name);
    return err_set(err, ERR_UNSUPPORTED, "there is no engine '%.40s': use auto%s", name, buf_str(&names));
}

static const struct engine_ops *choose(const struct engine_opts *opts, struct err *err)
{
    const struct engine_ops *best = NULL;
    int best_rank = 0;
    CLEANUP(buf_clear) struct buf why = BUF_INIT(sizeof err->msg);
    for (size_t i = 0; i < ARRAY_LEN(engines); i++) {
        struct err e = ERR_INIT;
        int rank = engines[i]->available(opts, &e);
        if (rank > best_rank) {
            best_rank = rank;
            best = engines[i];
        } else if (rank <= 0) {
            buf_addf(&why, "%s%s", why.len ? "; " : "", e.msg);
        }
    }
    if (!best)
        err_set(err, ERR_UNAVAILABLE, "no engine is available: %s", buf_str(&why));
    return best;
}

static struct engine_request with_defaults(const struct engine_request *r)
{
    struct engine_request full = *r;
    if (!full.task)
        full.task = "transcribe";
    if (full.language && !*full.language)
        full.language = NULL;
    if (full.model && !*full.model)
        full.model = NULL;
    return full;
}

int engine_open(const struct engine_opts *opts, struct engine **ret, struct err *err)
{
    if (opts->chunk_time_ms < 0)
        return err_set(err, ERR_INVALID, "an engine's time limit cannot be negative");
    bool any = !opts->name || str_eq(opts->name, "auto");
    const struct engine_ops *ops = any ? choose(opts, err) : find(opts->name);
    if (!ops)
        return any ? ERR_UNAVAILABLE : unknown(opts->name, err);
    struct engine_opts full = *opts;
    if (!full.slots)
        full.slots = ops->info.slots ? ops->info.slots : cpu_cores();
    struct engine *e = NULL;
    int rc = ops->open(&full, &e, err);
    if (rc < 0)
        return rc;
    e->slots = full.slots;
    log_debug(&lc, "opened '%s' with %u slots", ops->info.name, full.slots);
    *ret = e;
    return 0;
}

void engine_close(struct engine *e)
{
    if (e)
        e->ops->close(e);
}

const struct engine_info *engine_info(const struct engine *e)
{
    return &e->ops->info;
}

bool engine_describe(struct engine *e, struct buf *b)
{
    if (e->ops->describe)
        e->ops->describe(e, b);
    return e->ops->describe != NULL;
}

unsigned engine_slots(const struct engine *e)
{
    return e->slots;
}

const char *engine_model(const struct engine *e, const struct engine_request *r)
{
    return e->ops->model(e, r);
}

int engine_check(struct engine *e, const struct engine_request *r, struct err *err)
{
    struct engine_request full = with_defaults(r);
    if (!str_eq(full.task, "transcribe") && !str_eq(full.task, "translate"))
        return err_set(err, ERR_INVALID, "there is no task '%.40s': use transcribe or translate", full.task);
    if (full.sequential && !(e->ops->info.caps & ENGINE_FOLLOWS))
        return err_set(err, ERR_UNSUPPORTED, "'%s' has no sequential mode: use decode_mode batched", e->ops->info.name);
    return e->ops->check(e, &full, err);
}

/* What both calls on a chunk look at first. */
static int check_chunk(struct engine *e, const struct engine_request *r, const struct engine_chunk *c,
                       const struct cancel *cancel, struct err *err)
{
    if (cancel_is_set(cancel))
        return err_set(err, ERR_CANCELLED, "cancelled");
    int rc = engine_check(e, r, err);
    if (rc < 0)
        return rc;
    const struct engine_info *info = &e->ops->info;
    int64_t n = c->span.end - c->span.start;
    if (c->span.start < 0 || n < 0)
        return err_set(err, ERR_INTERNAL, "a chunk ends before it begins");
    if (info->caps & ENGINE_NEEDS_PCM && (!c->pcm || n > info->max_samples))
        return err_set(err, ERR_INTERNAL, "a chunk of %lld samples without sound or too long for '%s'", (long long)n,
                       info->name);
    return 0;
}

int engine_run(struct engine *e, const struct engine_request *r, const struct engine_chunk *c,
               const struct cancel *cancel, struct arena *a, struct engine_answer *ret, struct err *err)
{
    int rc = check_chunk(e, r, c, cancel, err);
    if (rc < 0)
        return rc;
    const struct engine_info *info = &e->ops->info;
    int64_t n = c->span.end - c->span.start;
    struct engine_request full = with_defaults(r);
    struct engine_answer answer = {.state = NULL};
    int64_t started = clock_mono_ms();
    rc = e->ops->run(e, &full, c, cancel, a, &answer, err);
    log_debug(&lc, "'%s': %.1f s at %.1f s took %lld ms: %s", info->name, samples_to_s(n), samples_to_s(c->span.start),
              (long long)(clock_mono_ms() - started), rc < 0 ? err->msg : "ok");
    if (rc < 0)
        ret->said = answer.said;
    else
        *ret = answer;
    return MIN(rc, 0);
}

int engine_detect(struct engine *e, const struct engine_request *r, const struct engine_chunk *c,
                  const struct cancel *cancel, struct engine_language *ret, struct err *err)
{
    if (!(e->ops->info.caps & ENGINE_DETECTS))
        return 0;
    int rc = check_chunk(e, r, c, cancel, err);
    if (rc < 0)
        return rc;
    struct engine_request full = with_defaults(r);
    struct engine_language heard = {.code = NULL};
    rc = e->ops->detect(e, &full, c, cancel, &heard, err);
    if (rc > 0)
        *ret = heard;
    return rc;
}

int engine_load(struct engine *e, const struct engine_request *r, const struct cancel *cancel, struct err *err)
{
    struct engine_request full = with_defaults(r);
    return e->ops->load ? e->ops->load(e, &full, cancel, err) : 0;
}

void engine_fell_back(struct engine *e)
{
    if (e->ops->fell_back)
        e->ops->fell_back(e);
}

int engine_models(struct engine *e, struct arena *a, struct engine_model **ret, size_t *ret_n, struct err *err)
{
    if (!e->ops->models)
        return err_set(err, ERR_UNSUPPORTED, "which models '%s' has is not known here", e->ops->info.name);
    return e->ops->models(e, a, ret, ret_n, err);
}

const struct engine_info *const *engine_list(void)
{
    static const struct engine_info *const list[] = {&engine_whisper_ops.info, &engine_pocketsphinx_ops.info,
                                                     &engine_gemini_ops.info,  &engine_openai_ops.info,
                                                     &engine_null_ops.info,    NULL};
    _Static_assert(ARRAY_LEN(list) == ARRAY_LEN(engines) + 1, "every engine is listed");
    return list;
}

int engine_child_main(int argc, char **argv)
{
    const struct engine_ops *ops = argc > 2 ? find(argv[2]) : NULL;
    if (ops && ops->child_main)
        return ops->child_main(argc, argv);
    fprintf(stderr, "__engine is for the program itself: it starts its engines' processes with it\n");
    return 2;
}
