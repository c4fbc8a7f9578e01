/* SPDX-License-Identifier: MIT */
#include "api/models.h"

#include "api/health.h"
#include "api/server.h"
#include "base/str.h"

#include <jansson.h>
#include <string.h>

enum { MODELS_MAX = 1024 };

/* ---- from heartbeats ---- */

static int add_model(struct models_known *k, const json_t *o, struct arena *a)
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
        .standard = !k->standard && json_is_true(json_object_get(o, "default")),
        .loaded = loaded,
    };
    k->more[i].engine = arena_strdup(a, engine);
    k->more[i].created = json_integer_value(json_object_get(o, "created"));
    if (!m.name || !k->more[i].engine)
        return ERR_NOMEM;
    if (m.standard)
        k->standard = m.name;
    k->here[k->n++] = m;
    return 0;
}

static int add_worker(struct models_known *k, const struct worker_row *row, struct arena *a)
{
    json_t *info = json_loads(row->info, JSON_REJECT_DUPLICATES, NULL), *models = json_object_get(info, "models");
    int rc = 0;
    for (size_t i = 0; rc == 0 && i < json_array_size(models); i++)
        rc = add_model(k, json_array_get(models, i), a);
    json_decref(info);
    return rc;
}

int models_look(struct request *rq, struct models_known *ret, struct err *err)
{
    struct arena *a = &rq->arena;
    struct worker_row *rows = NULL;
    size_t n = 0;
    int rc = store_list_workers(rq->api->o.store, a, &rows, &n, err);
    if (rc < 0)
        return rc;
    struct models_known k = {.here = arena_alloc(a, MODELS_MAX * sizeof *k.here),
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

size_t models_find(struct request *rq, const struct models_known *k, const char *name)
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

int models_check(struct request *rq, const struct job_new *job, struct err *err)
{
    const struct model_names *names = rq->api->o.models;
    const struct model_wish wish = {.name = job->model, .language = job->language, .task = job->task};
    struct models_known k;
    const char *model, *warning;
    if (!names || !names->missing_is_error || !job->model || job->engine)
        return 0;
    int rc = models_look(rq, &k, err);
    if (rc < 0 || !k.n)
        return rc;
    return model_names_choose(names, &wish, k.here, k.n, &rq->arena, &model, &warning, err);
}
