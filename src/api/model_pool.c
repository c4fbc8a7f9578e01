/* SPDX-License-Identifier: MIT */
#include "api/model_pool.h"

#include "base/macros.h"
#include "base/str.h"

#include <stddef.h>

/* What is summed up, and stands in the answer under the same name. */
static const struct {
    const char *name;
    size_t at;
} sums[] = {
#define X(field)                                   \
    {                                              \
#field, offsetof(struct model_pool, field) \
    }
    X(hits),     X(misses),  X(evictions), X(unloads),       X(oom_fallbacks),
    X(timeouts), X(waiting), X(max_size),  X(load_ms_total), X(memory_mb),
#undef X
};

void model_pool_init(struct model_pool *p, size_t max_json)
{
    *p = (struct model_pool){.names = json_object(), .models = BUF_INIT(max_json)};
}

void model_pool_clear(struct model_pool *p)
{
    json_decref(p->names);
    buf_clear(&p->models);
}

static int64_t figure(const json_t *o, const char *name)
{
    return (int64_t)json_integer_value(json_object_get(o, name));
}

/* A model that one worker has loaded. */
static void add_model(struct model_pool *p, const char *worker_id, const json_t *m)
{
    const char *name = json_string_value(json_object_get(m, "name"));
    if (!name)
        return;
    struct jsonw w = {&p->models, p->models.len > 0};
    jw_open(&w, NULL, '{');
    jw_str(&w, "worker", worker_id);
    jw_str(&w, "name", name);
    jw_str(&w, "loaded_at", json_string_value(json_object_get(m, "loaded_at")));
    jw_str(&w, "last_used", json_string_value(json_object_get(m, "last_used")));
    jw_int(&w, "use_count", figure(m, "use_count"));
    jw_int(&w, "in_use", figure(m, "in_use"));
    jw_int(&w, "memory_mb", figure(m, "memory_mb"));
    jw_int(&w, "load_ms", figure(m, "load_ms"));
    jw_int(&w, "windows", figure(m, "windows"));
    jw_close(&w, '}');
}

void model_pool_add(struct model_pool *p, const char *worker_id, const json_t *info)
{
    const json_t *pool = json_object_get(info, "model_pool"), *v;
    size_t i;
    for (size_t k = 0; k < ARRAY_LEN(sums); k++)
        *(int64_t *)((char *)p + sums[k].at) += figure(pool, sums[k].name);
    p->size += figure(pool, "size");
    if (json_object_size(pool) > 0) {
        p->n_workers++;
        p->memory_budget_mb += figure(pool, "memory_budget_mb");
        p->unlimited = p->unlimited || !json_is_integer(json_object_get(pool, "memory_budget_mb"));
    }
    json_array_foreach (json_object_get(pool, "loaded"), i, v) {
        if (json_is_string(v))
            json_object_set(p->names, json_string_value(v), json_true());
    }
    json_array_foreach (json_object_get(pool, "models"), i, v) {
        add_model(p, worker_id, v);
    }
}

static void real_or_null(struct jsonw *w, const char *name, double v, bool known)
{
    if (known)
        jw_real(w, name, v);
    else
        jw_null(w, name);
}

void model_pool_write(const struct model_pool *p, struct jsonw *w)
{
    int64_t all = p->hits + p->misses;
    const char *name;
    json_t *v;
    jw_int(w, "acquisitions", all);
    for (size_t k = 0; k < ARRAY_LEN(sums); k++)
        jw_int(w, sums[k].name, *(const int64_t *)((const char *)p + sums[k].at));
    real_or_null(w, "hit_rate", all ? (double)p->hits / (double)all : 0, all);
    real_or_null(w, "load_ms_mean", p->misses ? (double)p->load_ms_total / (double)p->misses : 0, p->misses);
    jw_int(w, "pool_size", p->size);
    if (p->unlimited || !p->n_workers)
        jw_null(w, "memory_budget_mb");
    else
        jw_int(w, "memory_budget_mb", p->memory_budget_mb);
    jw_open(w, "loaded_models", '[');
    json_object_foreach (p->names, name, v) {
        jw_str(w, NULL, name);
    }
    jw_close(w, ']');
    jw_open(w, "models", '[');
    jw_members(w, buf_str(&p->models));
    jw_close(w, ']');
}
