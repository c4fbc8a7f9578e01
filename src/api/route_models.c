/* SPDX-License-Identifier: MIT */
/* GET /v1/models: the models there are, and the names that stand for them. OpenAI's members, and ours beside them. */
#include "api/jsonw.h"
#include "api/models.h"
#include "api/server.h"
#include "base/str.h"

#include <string.h>

enum { LIST_MAX = 4 << 20 };

static void write_model(struct jsonw *w, const struct models_known *k, size_t i, const char *id)
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

static bool is_model(const struct models_known *k, const char *name)
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
    struct models_known k;
    struct model_alias alias;
    int rc = models_look(rq, &k, err);
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
        size_t at = models_find(rq, &k, alias.name);
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
    struct models_known k;
    if (!name)
        return err_set(err, ERR_NOMEM, "no memory for the name of a model");
    int rc = models_look(rq, &k, err);
    if (rc < 0)
        return rc;
    size_t at = models_find(rq, &k, name);
    if (at == k.n)
        return request_problem(rq, PROBLEM_model_not_found, "there is no model '%.100s' here: see /v1/models", name);
    CLEANUP(buf_clear) struct buf b = BUF_INIT(LIST_MAX);
    struct jsonw w = {&b, false};
    write_model(&w, &k, at, name);
    return answer(rq, &b, err);
}
