/* SPDX-License-Identifier: MIT */
/* The routes about the service itself: what it is, how it is. */
#include "api/jsonw.h"
#include "api/metrics_page.h"
#include "api/model_pool.h"
#include "api/request.h"
#include "api/server.h"
#include "base/str.h"
#include "metrics/page.h"

enum { PAGE_MAX = 1 << 20, HEALTH_MAX = 8 << 20 };

int route_root(struct request *rq, struct err *err)
{
    CLEANUP(buf_clear) struct buf b = BUF_INIT(PAGE_MAX);
    struct jsonw w = {&b, false};
    jw_open(&w, NULL, '{');
    jw_str(&w, "name", "steno");
    jw_str(&w, "version", rq->api->o.version);
    jw_open(&w, "routes", '[');
    for (const struct route *r = api_routes; r->method; r++) {
        if (r->flags & ROUTE_DIRECT)
            continue;
        jw_open(&w, NULL, '{');
        jw_str(&w, "method", r->method);
        jw_str(&w, "path", r->pattern);
        jw_str(&w, "help", r->help);
        jw_close(&w, '}');
    }
    jw_close(&w, ']');
    jw_close(&w, '}');
    return request_json(rq, 200, &b, err);
}

/* `members` "": the workers were not heard of in time. */
static void write_pool(struct jsonw *w, const char *members)
{
    struct model_pool none;
    model_pool_init(&none, PAGE_MAX);
    jw_open(w, "model_pool", '{');
    if (*members)
        jw_members(w, members);
    else
        model_pool_write(&none, w);
    jw_close(w, '}');
    model_pool_clear(&none);
}

static int answer_health(struct request *rq, bool all, struct err *err)
{
    struct health_report parts[HEALTH_PART_COUNT];
    health_ask(rq->api->health, all, parts);
    bool ok = true;
    for (size_t i = 0; i < HEALTH_PART_COUNT; i++)
        ok = ok && (!parts[i].name || parts[i].ok);
    CLEANUP(buf_clear) struct buf b = BUF_INIT(HEALTH_MAX);
    struct jsonw w = {&b, false};
    jw_open(&w, NULL, '{');
    jw_str(&w, "status", ok ? "ok" : "degraded");
    jw_str(&w, "version", rq->api->o.version);
    jw_open(&w, "parts", '{');
    for (size_t i = 0; i < HEALTH_PART_COUNT; i++) {
        if (!parts[i].name)
            continue;
        jw_open(&w, parts[i].name, '{');
        jw_bool(&w, "ok", parts[i].ok);
        jw_int(&w, "latency_ms", parts[i].latency_ms);
        jw_members(&w, buf_str(&parts[i].details));
        if (!parts[i].ok)
            jw_str(&w, "error", parts[i].error);
        jw_close(&w, '}');
    }
    jw_close(&w, '}');
    if (all)
        write_pool(&w, buf_str(&parts[HEALTH_workers].model_pool));
    jw_close(&w, '}');
    health_clear(parts);
    return request_json(rq, 200, &b, err);
}

int route_health(struct request *rq, struct err *err)
{
    return answer_health(rq, false, err);
}

int route_admin_health(struct request *rq, struct err *err)
{
    return answer_health(rq, true, err);
}

int route_metrics(struct request *rq, struct err *err)
{
    CLEANUP(buf_clear) struct buf b = BUF_INIT(PAGE_MAX);
    metrics_page(rq->api, &rq->log, &b);
    int rc = buf_check(&b, "the page", err);
    if (rc >= 0)
        rc = answer_write(&rq->answer, b.data, b.len, err);
    if (rc < 0)
        return rc;
    rq->answer.status = 200;
    rq->answer.content_type = METRICS_CONTENT_TYPE;
    return 0;
}
