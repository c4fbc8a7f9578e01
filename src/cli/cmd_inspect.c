/* SPDX-License-Identifier: MIT */
/*
 * steno inspect: what workers do, have and can. All of it is in their heartbeats, which the api shows; each view takes
 * some members of them, as JSON or as a table for people.
 */
#include "base/clock.h"
#include "base/mem.h"
#include "base/str.h"
#include "cli/app.h"
#include "cli/client.h"
#include "cli/table.h"

#include <jansson.h>
#include <stdlib.h>
#include <string.h>

enum { MAX_TEXT = 64 << 20, MEMBERS_MAX = 4 };

/* What all workers say; the server knows of no more than one page. */
static int get_workers(struct app *app, json_t **ret, struct err *err)
{
    json_t *page = NULL;
    int rc = client_call(app->client, "GET", "/v1/workers?limit=1000", &page, err);
    if (rc < 0)
        return rc;
    *ret = json_incref(json_object_get(page, "workers"));
    json_decref(page);
    return 0;
}

/* ---- cells ---- */

static const char *text(const json_t *o, const char *name)
{
    const char *v = json_string_value(json_object_get(o, name));
    return v ? v : "";
}

static long long number(const json_t *o, const char *name)
{
    return (long long)json_number_value(json_object_get(o, name));
}

/* "host:pid", and the state when it is not the usual one. */
static void add_worker(struct table *t, const json_t *w)
{
    const char *state = text(w, "state");
    bool usual = str_eq(state, "running");
    table_addf(t, "%s:%lld%s%s%s", text(w, "host"), number(w, "pid"), usual ? "" : " (", usual ? "" : state,
               usual ? "" : ")");
}

static void add_duration(struct table *t, double seconds)
{
    CLEANUP(buf_clear) struct buf b = BUF_INIT(64);
    str_add_duration(&b, seconds);
    table_add(t, buf_str(&b));
}

static void add_list(struct table *t, const json_t *list)
{
    CLEANUP(buf_clear) struct buf b = BUF_INIT(4096);
    for (size_t i = 0; i < json_array_size(list); i++)
        buf_addf(&b, "%s%s", i ? ", " : "", json_string_value(json_array_get(list, i)));
    table_add(t, b.len ? buf_str(&b) : "-");
}

/* ---- views: rows of one worker ---- */

static void add_jobs(struct table *t, const json_t *w, const char *member)
{
    const json_t *list = json_object_get(json_object_get(w, "info"), member), *job;
    size_t i;
    json_array_foreach (list, i, job) {
        add_worker(t, w);
        table_add(t, text(job, "job_id"));
        table_add(t, text(job, "stage"));
        table_addf(t, "%lld", number(job, "attempt"));
        table_add(t, text(job, "claimed_at"));
        CLEANUP(buf_clear) struct buf b = BUF_INIT(128);
        str_add_duration(&b, (double)number(job, "done_ms") / 1000);
        if (number(job, "total_ms")) {
            buf_adds(&b, " of ");
            str_add_duration(&b, (double)number(job, "total_ms") / 1000);
        }
        table_add(t, buf_str(&b));
    }
}

static void active(struct table *t, const json_t *w)
{
    add_jobs(t, w, "active");
}

static void reserved(struct table *t, const json_t *w)
{
    add_jobs(t, w, "reserved");
}

static bool has_models(const json_t *info, const char *engine)
{
    const json_t *m;
    size_t i;
    json_array_foreach (json_object_get(info, "models"), i, m) {
        if (str_eq(text(m, "engine"), engine))
            return true;
    }
    return false;
}

static void registered(struct table *t, const json_t *w)
{
    json_t *info = json_object_get(w, "info");
    const json_t *m;
    json_t *model;
    const char *engine;
    size_t i;
    json_array_foreach (json_object_get(info, "models"), i, m) {
        add_worker(t, w);
        table_add(t, text(m, "engine"));
        table_add(t, text(m, "name"));
        table_add(t, json_is_true(json_object_get(m, "can_translate")) ? "transcribe, translate" : "transcribe");
        table_addf(t, "%s%s", json_is_true(json_object_get(m, "default")) ? "default" : "",
                   json_is_true(json_object_get(m, "loaded")) ? " loaded" : "");
    }
    json_object_foreach (json_object_get(info, "engines"), engine, model) {
        if (has_models(info, engine))
            continue;
        add_worker(t, w);
        table_add(t, engine);
        table_add(t, json_is_string(model) ? json_string_value(model) : "-");
        table_add(t, "transcribe");
        table_add(t, str_eq(engine, text(info, "default_engine")) ? "default" : "");
    }
}

static void conf(struct table *t, const json_t *w)
{
    const char *name;
    json_t *value;
    json_object_foreach (json_object_get(json_object_get(w, "info"), "settings"), name, value) {
        add_worker(t, w);
        table_add(t, name);
        table_add(t, json_is_string(value) ? json_string_value(value) : "");
    }
}

static void active_queues(struct table *t, const json_t *w)
{
    add_worker(t, w);
    add_list(t, json_object_get(json_object_get(w, "info"), "queues"));
}

/* The mean of {"count": N, "sum": S}; "-" without any. */
static void add_mean(struct table *t, const json_t *info, const char *name, bool duration)
{
    const json_t *h = json_object_get(info, name);
    double n = json_number_value(json_object_get(h, "count")), sum = json_number_value(json_object_get(h, "sum"));
    if (n <= 0)
        table_add(t, "-");
    else if (duration)
        add_duration(t, sum / n);
    else
        table_addf(t, "%.3f", sum / n);
}

static void stats(struct table *t, const json_t *w)
{
    static const char *const counts[] = {"completed", "failed", "retried", "handed_back", "lost", "expired", "chunks"};
    const json_t *info = json_object_get(w, "info");
    add_worker(t, w);
    for (size_t i = 0; i < ARRAY_LEN(counts); i++)
        table_addf(t, "%lld", number(info, counts[i]));
    add_duration(t, (double)number(info, "audio_ms") / 1000);
    add_mean(t, info, "queue_wait", true);
    add_mean(t, info, "run_time", true);
    add_mean(t, info, "real_time_factor", false);
}

static void add_mib(struct table *t, const json_t *o, const char *name)
{
    table_addf(t, "%lld MB", number(o, name));
}

static void pool(struct table *t, const json_t *w)
{
    static const char *const counts[] = {"hits",          "misses",   "evictions", "unloads",
                                         "oom_fallbacks", "timeouts", "waiting"};
    const json_t *p = json_object_get(json_object_get(w, "info"), "model_pool");
    if (json_object_size(p) == 0)
        return;
    double misses = (double)number(p, "misses");
    add_worker(t, w);
    table_addf(t, "%lld of %lld", number(p, "size"), number(p, "max_size"));
    add_mib(t, p, "memory_mb");
    for (size_t i = 0; i < ARRAY_LEN(counts); i++)
        table_addf(t, "%lld", number(p, counts[i]));
    if (misses > 0)
        add_duration(t, (double)number(p, "load_ms_total") / 1000 / misses);
    else
        table_add(t, "-");
}

static void models(struct table *t, const json_t *w)
{
    const json_t *m;
    size_t i;
    json_array_foreach (json_object_get(json_object_get(json_object_get(w, "info"), "model_pool"), "models"), i, m) {
        add_worker(t, w);
        table_add(t, text(m, "name"));
        add_mib(t, m, "memory_mb");
        table_addf(t, "%lld", number(m, "use_count"));
        table_addf(t, "%lld", number(m, "in_use"));
        table_add(t, text(m, "loaded_at"));
        table_add(t, text(m, "last_used"));
        add_duration(t, (double)number(m, "load_ms") / 1000);
    }
}

static void workers(struct table *t, const json_t *w)
{
    const json_t *info = json_object_get(w, "info");
    table_add(t, text(w, "id"));
    table_addf(t, "%s:%lld", text(w, "host"), number(w, "pid"));
    table_add(t, text(w, "state"));
    table_addf(t, "%lld of %lld", number(w, "running"), number(info, "concurrency"));
    table_addf(t, "%lld", number(info, "slots"));
    table_add(t, text(w, "version"));
    table_add(t, text(w, "started_at"));
    table_add(t, text(w, "heartbeat_at"));
    add_list(t, json_object_get(info, "metrics"));
}

#define JOB_HEADS                                                  \
    {                                                              \
        "WORKER", "JOB", "STAGE", "ATTEMPT", "SINCE", "DONE", NULL \
    }

static const struct view {
    const char *name;
    const char *members[MEMBERS_MAX]; /* of a heartbeat, for --json; none: all that no other view takes */
    const char *heads[TABLE_COLUMNS_MAX];
    void (*add)(struct table *t, const json_t *worker);
    const char *none; /* said when there is no row */
    const char *more; /* said below the table; or NULL */
} views[] = {
    {"active", {"active"}, JOB_HEADS, active, "No job is in work.", NULL},
    {"reserved",
     {"reserved"},
     JOB_HEADS,
     reserved,
     "No job is reserved: a worker claims one only when it has a place for it, and begins at once.",
     NULL},
    {"registered",
     {"engines", "models", "default_engine"},
     {"WORKER", "ENGINE", "MODEL", "TASKS", "STATE", NULL},
     registered,
     "No worker runs.",
     NULL},
    {"conf",
     {"settings"},
     {"WORKER", "SETTING", "VALUE", NULL},
     conf,
     "No worker runs.",
     "Texts, paths and addresses are not told over the network: 'steno config print' shows them where it is run."},
    {"active_queues", {"queues"}, {"WORKER", "QUEUES", NULL}, active_queues, "No worker runs.", NULL},
    {"stats",
     {NULL},
     {"WORKER", "COMPLETED", "FAILED", "RETRIED", "BACK", "LOST", "EXPIRED", "CHUNKS", "AUDIO", "WAIT", "RUN", "RTF",
      NULL},
     stats,
     "No worker runs.",
     "Since each worker's start. WAIT and RUN are means; RTF is run time by length of audio."},
    {"pool",
     {"model_pool"},
     {"WORKER", "MODELS", "MEMORY", "HITS", "MISSES", "EVICTED", "UNLOADED", "SMALLER", "TIMEOUTS", "WAITING",
      "LOADING", NULL},
     pool,
     "No worker keeps models in memory.",
     "Since each worker's start. HITS found their model in memory, MISSES loaded it; LOADING is the mean time of that. "
     "SMALLER are jobs that got a smaller model because memory was short."},
    {"models",
     {"model_pool"},
     {"WORKER", "MODEL", "MEMORY", "USES", "IN USE", "LOADED AT", "LAST USED", "LOADED IN", NULL},
     models,
     "No model is in memory.",
     NULL},
    {"workers",
     {NULL},
     {"ID", "WORKER", "STATE", "JOBS", "SLOTS", "VERSION", "SINCE", "HEARTBEAT", "METRICS", NULL},
     workers,
     "No worker runs.",
     NULL},
};

/* ---- as JSON ---- */

static bool is_taken(const char *member)
{
    for (size_t v = 0; v < ARRAY_LEN(views); v++)
        for (size_t i = 0; i < MEMBERS_MAX && views[v].members[i]; i++)
            if (str_eq(views[v].members[i], member))
                return true;
    return false;
}

/* One worker as this view shows it: who it is, and the members of its heartbeat, which stand where `info` stood. */
static json_t *select_members(const struct view *v, json_t *w)
{
    json_t *info = json_object_get(w, "info"), *ret = json_object(), *value;
    const char *name;
    json_object_foreach (w, name, value) {
        if (value != info)
            json_object_set(ret, name, value);
    }
    json_object_foreach (info, name, value) {
        bool wanted = !v->members[0] && !is_taken(name);
        for (size_t i = 0; i < MEMBERS_MAX && v->members[i]; i++)
            wanted = wanted || str_eq(v->members[i], name);
        if (wanted)
            json_object_set(ret, name, value);
    }
    return ret;
}

static int print_json(json_t *json, struct err *err)
{
    CLEANUP(free_p) char *dump = json_dumps(json, JSON_INDENT(2));
    CLEANUP(buf_clear) struct buf b = BUF_INIT(MAX_TEXT);
    if (!dump)
        return err_set(err, ERR_NOMEM, "no memory for the answer");
    buf_adds(&b, dump);
    buf_addc(&b, '\n');
    return app_print(&b, err);
}

static int print_workers_json(const struct view *v, const json_t *list, struct err *err)
{
    json_t *all = json_array(), *w;
    size_t i;
    json_array_foreach (list, i, w) {
        json_array_append_new(all, select_members(v, w));
    }
    json_t *root = json_pack("{s:o}", "workers", all);
    int rc = print_json(root, err);
    json_decref(root);
    return rc;
}

/* ---- commands ---- */

static int print_table(const struct table *t, const char *none, const char *more, struct err *err)
{
    CLEANUP(buf_clear) struct buf b = BUF_INIT(MAX_TEXT);
    if (!table_rows(t)) {
        buf_addf(&b, "%s\n", none);
    } else {
        table_print(t, &b);
        if (more)
            buf_addf(&b, "%s\n", more);
    }
    return app_print(&b, err);
}

int cmd_inspect(struct app *app, int argc, char **argv, struct err *err)
{
    (void)argc;
    (void)argv;
    const char *name = strchr(app->cmd->name, ' ') + 1;
    const struct view *v = views;
    while (!str_eq(v->name, name))
        v++;
    json_t *list = NULL, *w;
    size_t i;
    int rc = get_workers(app, &list, err);
    if (rc < 0)
        return rc;
    if (app_has(app, "json")) {
        rc = print_workers_json(v, list, err);
        json_decref(list);
        return rc;
    }
    CLEANUP(table_clear) struct table t;
    table_init(&t, v->heads);
    json_array_foreach (list, i, w) {
        v->add(&t, w);
    }
    rc = print_table(&t, v->none, v->more, err);
    json_decref(list);
    return rc;
}

int cmd_inspect_queues(struct app *app, int argc, char **argv, struct err *err)
{
    (void)argc;
    (void)argv;
    static const char *const heads[] = {"QUEUE", "STATE", "READY", "DELAYED", "LONGEST WAIT", "AT THE BROKER", NULL};
    json_t *answer = NULL, *q;
    size_t i;
    int rc = client_call(app->client, "GET", "/v1/queues", &answer, err);
    if (rc < 0)
        return rc;
    if (app_has(app, "json")) {
        rc = print_json(answer, err);
        json_decref(answer);
        return rc;
    }
    CLEANUP(table_clear) struct table t;
    table_init(&t, heads);
    json_array_foreach (json_object_get(answer, "queues"), i, q) {
        table_add(&t, text(q, "name"));
        table_add(&t, json_is_true(json_object_get(q, "paused")) ? "paused" : "open");
        table_addf(&t, "%lld", number(q, "ready"));
        table_addf(&t, "%lld", number(q, "delayed"));
        add_duration(&t, json_number_value(json_object_get(q, "oldest")));
        if (json_is_integer(json_object_get(q, "broker_depth")))
            table_addf(&t, "%lld", number(q, "broker_depth"));
        else
            table_add(&t, "-");
    }
    rc = print_table(&t, "There are no queues.", NULL, err);
    json_decref(answer);
    return rc;
}
