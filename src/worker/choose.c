/* SPDX-License-Identifier: MIT */
#include "worker/choose.h"

#include "base/str.h"

#include <string.h>

static struct model_here *here_of(struct engine *e, const struct engine_model *v, size_t n, struct arena *a)
{
    static const struct engine_request any = {.task = "transcribe"};
    const char *standard = engine_model(e, &any);
    struct model_here *here = arena_alloc(a, (n + 1) * sizeof *here);
    for (size_t i = 0; here && i < n; i++)
        here[i] = (struct model_here){.name = v[i].name,
                                      .bytes = v[i].bytes,
                                      .parameters = v[i].parameters,
                                      .multilingual = v[i].multilingual,
                                      .can_translate = v[i].can_translate,
                                      .standard = str_eq(v[i].name, standard),
                                      .loaded = v[i].loaded};
    return here;
}

static bool any_engine(const struct engine_opts *o)
{
    return !o->name || !o->name[0] || strcmp(o->name, "auto") == 0;
}

/* A path is no name that could stand for another model. */
static bool is_name(const char *model)
{
    return model && *model && *model != '/' && *model != '.';
}

/*
 * The engine is open with a default of its own; what the wish comes to shall be its default. With "auto" the engine
 * itself is a guess (settings of another system say "base", and only PocketSphinx is installed): a model that it has
 * not must not stop all work, whatever is said about missing ones.
 */
static int with_default(const struct engine_opts *own, const struct model_names *names, const struct model_wish *wish,
                        struct arena *a, struct engine **e, const char **ret_warning, struct err *err)
{
    struct model_names mild = names ? *names : (struct model_names){.n_aliases = 0};
    mild.missing_is_error = mild.missing_is_error && !any_engine(own);
    const char *model = NULL;
    int rc = choose_model(*e, &mild, wish, a, &model, ret_warning, err);
    if (rc < 0 || !model)
        return rc == ERR_NOT_FOUND ? err->code = ERR_INVALID : rc;
    engine_close(*e);
    *e = NULL;
    struct engine_opts opts = *own;
    opts.model = model;
    return engine_open(&opts, e, err);
}

/*
 * Models of a server that tells no list: any that the engine lets pass, which are the one that is asked for and those
 * that aliases of the settings lead to.
 */
static int choose_unlisted(struct engine *e, const struct model_names *names, const struct model_wish *wish,
                           struct arena *a, const char **ret_model, const char **ret_warning, struct err *err)
{
    static const struct engine_request any = {.task = "transcribe"};
    size_t n = 0, n_aliases = names ? names->n_aliases : 0;
    struct model_here *here = arena_alloc(a, (n_aliases + 2) * sizeof *here);
    const char *standard = arena_strdup(a, engine_model(e, &any)); /* the caller may close the engine */
    if (!here || !standard)
        return err_set(err, ERR_NOMEM, "no memory for a list of models");
    here[n++] = (struct model_here){.name = standard, .multilingual = true, .can_translate = true, .standard = true};
    for (size_t i = 0; i <= n_aliases; i++) {
        const char *name = i < n_aliases ? names->aliases[i].target : wish->name;
        struct err no = ERR_INIT;
        if (name && *name && !str_eq(name, MODEL_AUTO) &&
            engine_check(e, &(struct engine_request){.task = "transcribe", .model = name}, &no) == 0)
            here[n++] = (struct model_here){.name = name, .multilingual = true, .can_translate = true};
    }
    return model_names_choose(names, wish, here, n, a, ret_model, ret_warning, err);
}

int choose_open(const struct engine_opts *opts, const struct model_names *names, const struct model_wish *wish,
                struct arena *a, struct engine **ret, const char **ret_warning, struct err *err)
{
    struct engine_opts as_asked = *opts, own = *opts;
    struct engine *e = NULL;
    struct err why = ERR_INIT;
    const char *warning = NULL;
    as_asked.model = wish->name;
    own.model = NULL;
    int rc = engine_open(&as_asked, &e, &why);
    if (rc == ERR_INVALID && is_name(wish->name) && engine_open(&own, &e, err) == 0)
        rc = with_default(&own, names, wish, a, &e, &warning, err);
    else if (rc < 0)
        *err = why;
    if (rc < 0) {
        engine_close(e);
        return rc;
    }
    *ret = e;
    *ret_warning = warning;
    return 0;
}

int choose_model(struct engine *e, const struct model_names *names, const struct model_wish *wish, struct arena *a,
                 const char **ret_model, const char **ret_warning, struct err *err)
{
    struct engine_model *v = NULL;
    size_t n = 0;
    struct err why = ERR_INIT;
    int rc = engine_models(e, a, &v, &n, &why);
    if (rc == ERR_UNSUPPORTED)
        return choose_unlisted(e, names, wish, a, ret_model, ret_warning, err);
    if (rc < 0) {
        *err = why;
        return rc;
    }
    const struct model_here *here = here_of(e, v, n, a);
    return here ? model_names_choose(names, wish, here, n, a, ret_model, ret_warning, err)
                : err_set(err, ERR_NOMEM, "no memory for a list of models");
}

int choose_smaller(struct engine *e, const char *model, const struct model_wish *wish, struct arena *a,
                   const char **ret, struct err *err)
{
    struct engine_model *v = NULL;
    size_t n = 0;
    struct err why = ERR_INIT;
    int rc = engine_models(e, a, &v, &n, &why);
    const struct model_here *here = rc == 0 ? here_of(e, v, n, a) : NULL;
    if (rc < 0 && rc != ERR_UNSUPPORTED) {
        *err = why;
        return rc;
    }
    if (rc == 0 && !here)
        return err_set(err, ERR_NOMEM, "no memory for a list of models");
    *ret = here ? model_names_smaller(model, wish, here, n) : NULL;
    return 0;
}
