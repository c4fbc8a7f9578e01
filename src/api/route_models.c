/* SPDX-License-Identifier: MIT */
/*
 * GET /v1/models: what the workers say they have (their heartbeats), and the names that stand for it. OpenAI's members,
 * and ours beside them. Of several workers each model counts once.
 */
#include "api/health.h"
#include "api/jsonw.h"
#include "api/request.h"
#include "api/server.h"
#include "base/str.h"

#include <jansson.h>
#include <stdlib.h>
#include <string.h>

enum { MODELS_MAX = 1024, LIST_MAX = 4 << 20 };

/* All that is known; texts and arrays live in the request's arena. */
struct known {
    struct model_here *here; /* the table of names looks at these ... */
    struct more {
        const char *engine;
        int64_t created;
    } * more; /* ... and this is known beside them */
    size_t n;
    const char *standard; /* the default model; NULL: none is known */
};

/* ---- from heartbeats ---- */

static int add_model(struct known *k, const json_t *o, struct arena *a)
{
    const char *name = json_string_value(json_object_get(o, "name"));
    const char *engine = json_string_value(json_object_get(o, "engine"));
    bool loaded = json_is_true(json_object_get(o, "loaded"));
    size_t i = 0;
    if (!name || !engine)
        return 0;
    while (i < k->n && strcmp(k->here[i].name, name) != 0)
        i++;
    if (i == MODELS_MAX)
        return 0;
    if (i < k->n) {
        k->here[i].loaded = k->here[i].loaded || loaded;
        return 0;
    }
    struct model_here m = {
        .name = arena_strdup(a, name),
        .bytes = json_integer_value(json_object_get(o, "bytes")),
        .parameters = json_integer_value(json_object_get(o, "parameters")),
        .multilingual = json_is_true(json_object_get(o, "multilingual")),
        .can_translate = json_is_true(json_object_get(o, "can_translate")),
        .loaded = loaded,
    };
    k->more[i].engine = arena_strdup(a, engine);
    k->more[i].created = json_integer_value(json_object_get(o, "created"));
    if (!m.name || !k->more[i].engine)
        return ERR_NOMEM;
    if (!k->standard && json_is_true(json_object_get(o, "default")))
        k->standard = m.name;
    k->here[k->n++] = m;
    return 0;
}

static int add_worker(struct known *k, const struct worker_row *row, struct arena *a)
{
    json_t *info = json_loads(row->info, JSON_REJECT_DUPLICATES, NULL), *models = json_object_get(info, "models");
    int rc = 0;
    for (size_t i = 0; rc == 0 && i < json_array_size(models); i++)
        rc = add_model(k, json_array_get(models, i), a);
    json_decref(info);
    return rc;
}

static int look(struct request *rq, struct known *ret, struct err *err)
{
    struct arena *a = &rq->arena;
    struct worker_row *rows = NULL;
    size_t n = 0;
    int rc = store_list_workers(rq->api->o.store, a, &rows, &n, err);
    if (rc < 0)
        return rc;
    struct known k = {.here = arena_alloc(a, MODELS_MAX * sizeof *k.here),
                      .more = arena_alloc(a, MODELS_MAX * sizeof *k.more)};
    bool ok = k.here && k.more;
    for (size_t i = 0; ok && i < n; i++)
        if (rows[i].silent_ms <= HEALTH_WORKER_SILENT_MS)
            ok = add_worker(&k, &rows[i], a) == 0;
    if (!ok)
        return err_set(err, ERR_NOMEM, "no memory for a list of models");
    *ret = k;
    return 0;
}

/* ---- names ---- */

/* The model that a name stands for; k->n: none that is installed. */
static size_t model_of(struct request *rq, const struct known *k, const char *name)
{
    struct model_names strict = rq->api->o.models ? *rq->api->o.models : (struct model_names){.n_aliases = 0};
    const struct model_wish wish = {.name = name};
    const char *model = NULL, *warning = NULL;
    struct err none = ERR_INIT;
    size_t i = 0;
    strict.missing_is_error = true;
    if (model_names_choose(&strict, &wish, k->here, k->n, &rq->arena, &model, &warning, &none) < 0)
        return k->n;
    if (!model)
        model = k->standard;
    while (i < k->n && !str_eq(k->here[i].name, model))
        i++;
    return i;
}

static void write_model(struct jsonw *w, const struct known *k, size_t i, const char *id)
{
    const struct model_here *m = &k->here[i];
    jw_open(w, NULL, '{');
    jw_str(w, "id", id);
    jw_str(w, "object", "model");
    jw_int(w, "created", k->more[i].created);
    jw_str(w, "owned_by", "steno");
    if (strcmp(id, m->name) != 0)
        jw_str(w, "alias_of", m->name);
    jw_str(w, "engine", k->more[i].engine);
    jw_int(w, "size", m->bytes);
    jw_int(w, "parameters", m->parameters);
    jw_bool(w, "multilingual", m->multilingual);
    jw_bool(w, "can_translate", m->can_translate);
    jw_bool(w, "loaded", m->loaded);
    jw_bool(w, "default", str_eq(m->name, k->standard));
    jw_close(w, '}');
}

static bool is_model(const struct known *k, const char *name)
{
    for (size_t i = 0; i < k->n; i++)
        if (strcmp(k->here[i].name, name) == 0)
            return true;
    return false;
}

/* Was the alias of this name listed already, as one of the setting? */
static bool is_earlier(const struct model_names *names, size_t before, const char *name)
{
    struct model_alias alias;
    for (size_t i = 0; i < before && model_names_alias(names, i, &alias); i++)
        if (str_ieq(alias.name, name))
            return true;
    return false;
}

static int answer(struct request *rq, struct buf *b, struct err *err)
{
    int rc = request_json(rq, 200, b, err);
    rq->answer.content_type = "application/json";
    return rc;
}

int route_models(struct request *rq, struct err *err)
{
    const struct model_names *names = rq->api->o.models;
    struct known k;
    struct model_alias alias;
    int rc = look(rq, &k, err);
    if (rc < 0)
        return rc;
    CLEANUP(buf_clear) struct buf b = BUF_INIT(LIST_MAX);
    struct jsonw w = {&b, false};
    jw_open(&w, NULL, '{');
    jw_str(&w, "object", "list");
    jw_open(&w, "data", '[');
    for (size_t i = 0; i < k.n; i++)
        write_model(&w, &k, i, k.here[i].name);
    for (size_t i = 0; model_names_alias(names, i, &alias); i++) {
        if (is_earlier(names, i, alias.name) || is_model(&k, alias.name))
            continue;
        size_t at = model_of(rq, &k, alias.name);
        if (at < k.n)
            write_model(&w, &k, at, alias.name);
    }
    jw_close(&w, ']');
    jw_close(&w, '}');
    return answer(rq, &b, err);
}

int route_model(struct request *rq, struct err *err)
{
    const char *name = rq->params[1] ? arena_printf(&rq->arena, "%s/%s", rq->params[0], rq->params[1]) : rq->params[0];
    struct known k;
    if (!name)
        return err_set(err, ERR_NOMEM, "no memory for the name of a model");
    int rc = look(rq, &k, err);
    if (rc < 0)
        return rc;
    size_t at = model_of(rq, &k, name);
    if (at == k.n)
        return request_problem(rq, PROBLEM_model_not_found, "there is no model '%.100s' here: see /v1/models", name);
    CLEANUP(buf_clear) struct buf b = BUF_INIT(LIST_MAX);
    struct jsonw w = {&b, false};
    write_model(&w, &k, at, name);
    return answer(rq, &b, err);
}
