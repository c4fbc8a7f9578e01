/* SPDX-License-Identifier: MIT */
#include "worker/warm_up.h"

#include "base/clock.h"
#include "base/str.h"
#include "base/thread.h"

#include <string.h>

#define NOTHING "none"

/* `name` NULL: the default model. */
static int load(struct warm_up *u, const char *name, struct arena *a, struct err *err)
{
    struct worker *w = u->w;
    const struct model_wish wish = {.name = name};
    struct engine *engine = NULL;
    const char *warning = NULL;
    struct engine_request request = {.task = "transcribe"};
    int64_t began = clock_mono_ms();
    int rc = engines_choose(w->engines, NULL, &wish, a, &engine, &request.model, &warning, err);
    if (rc < 0)
        return rc;
    if (warning)
        log_warn(&w->log, "model_warm_up: %s", warning);
    rc = engine_load(engine, &request, &u->cancel, err);
    if (rc > 0)
        log_info(&w->log, "Model acquired in %.2fs: '%s' was loaded, before the first job",
                 (double)(clock_mono_ms() - began) / 1000, engine_model(engine, &request));
    if (rc == ERR_NOMEM) {
        log_warn(&w->log, "OOM loading '%s' before the first job: %s", engine_model(engine, &request), err->msg);
        return 0;
    }
    return rc;
}

static void *warm_up_main(void *arg)
{
    struct warm_up *u = arg;
    CLEANUP(arena_clear) struct arena a = ARENA_INIT;
    for (const char *p = u->w->o->warm_up; *p && !cancel_is_set(&u->cancel);) {
        p += strspn(p, ", ");
        size_t n = strcspn(p, ", ");
        char name[MODEL_NAME_MAX] = "";
        memcpy(name, p, MIN(n, sizeof name - 1));
        p += n;
        struct err err = ERR_INIT;
        if (n && load(u, str_ieq(name, MODEL_AUTO) ? NULL : name, &a, &err) < 0 && !cancel_is_set(&u->cancel))
            log_warn(&u->w->log, "model_warm_up: %s", err.msg);
    }
    return NULL;
}

void warm_up_start(struct warm_up *u, struct worker *w)
{
    struct err err = ERR_INIT;
    u->w = w;
    if (!w->o->warm_up || str_eq(w->o->warm_up, NOTHING))
        return;
    u->started = thread_start(&u->thread, "warm-up", warm_up_main, u, &err) == 0;
    if (!u->started)
        log_warn(&w->log, "no model is loaded before the first job: %s", err.msg);
}

void warm_up_end(struct warm_up *u)
{
    cancel_set(&u->cancel);
    if (u->started)
        pthread_join(u->thread, NULL);
}
