/* SPDX-License-Identifier: MIT */
/*
 * The alias table, and how values become ours. Rows stand in the order of their weight: where two of one source set the
 * same option the earlier row counts. So RabbitMQ comes before Redis (who has both uses Redis for results), and a URL
 * before its parts.
 */
#include "conf/alias.h"

#include "base/str.h"

#include <inttypes.h>
#include <string.h>

#define NO_RETRY_OF_MESSAGES "it is about messages to the broker; here a lost one is harmless, the database row counts"
#define NO_ROUTING           "wake-ups go to the queues by their names"
#define NO_CELERY            "there is no Celery here"

static const struct conf_alias aliases[] = {
    {NULL, "DATABASE_URL", ALIAS_SQL, "database", "a driver in the scheme (`postgresql+psycopg2:`) is left out", 0, 0,
     false},
    {NULL, "RABBITMQ_URL", ALIAS_COPY, "broker", NULL, 0, 0, false},
    {NULL, "RABBITMQ_HOST", ALIAS_PART, "broker", "`amqp://user:password@host:port/vhost` is put together",
     URL_RABBITMQ, PART_HOST, false},
    {NULL, "RABBITMQ_PORT", ALIAS_PART, "broker", NULL, URL_RABBITMQ, PART_PORT, false},
    {NULL, "RABBITMQ_USER", ALIAS_PART, "broker", NULL, URL_RABBITMQ, PART_USER, false},
    {NULL, "RABBITMQ_USERNAME", ALIAS_PART, "broker", NULL, URL_RABBITMQ, PART_USER, false},
    {NULL, "RABBITMQ_PASSWORD", ALIAS_PART, "broker", NULL, URL_RABBITMQ, PART_PASSWORD, false},
    {NULL, "RABBITMQ_PASS", ALIAS_PART, "broker", NULL, URL_RABBITMQ, PART_PASSWORD, false},
    {NULL, "RABBITMQ_VHOST", ALIAS_PART, "broker", NULL, URL_RABBITMQ, PART_PATH, false},
    {NULL, "RABBITMQ_DEFAULT_USER", ALIAS_PART, "broker", "of the RabbitMQ container; used beside `RABBITMQ_HOST`",
     URL_RABBITMQ, PART_USER, true},
    {NULL, "RABBITMQ_DEFAULT_PASS", ALIAS_PART, "broker", "of the RabbitMQ container; used beside `RABBITMQ_HOST`",
     URL_RABBITMQ, PART_PASSWORD, true},
    {NULL, "RABBITMQ_DEFAULT_VHOST", ALIAS_PART, "broker", "of the RabbitMQ container; used beside `RABBITMQ_HOST`",
     URL_RABBITMQ, PART_PATH, true},
    {NULL, "RABBITMQ_QUEUE", ALIAS_COPY, "queue_normal", NULL, 0, 0, false},
    {NULL, "RABBITMQ_QUEUE_NAME", ALIAS_COPY, "queue_normal", NULL, 0, 0, false},
    {NULL, "RABBITMQ_EXCHANGE", ALIAS_COPY, "queue_exchange", NULL, 0, 0, false},
    {NULL, "REDIS_URL", ALIAS_COPY, "broker", "unless RabbitMQ is set in the same place", 0, 0, false},
    {NULL, "MINIO_ENDPOINT", ALIAS_PART, "s3_endpoint",
     "`http://` or, with `MINIO_USE_SSL` or `MINIO_SECURE`, `https://` is put before it", URL_MINIO_ENDPOINT, PART_HOST,
     false},
    {NULL, "MINIO_USE_SSL", ALIAS_PART, "s3_endpoint", NULL, URL_MINIO_ENDPOINT, PART_SSL, true},
    {NULL, "MINIO_SECURE", ALIAS_PART, "s3_endpoint", NULL, URL_MINIO_ENDPOINT, PART_SSL, true},
    {NULL, "MINIO_BUCKET", ALIAS_PART, "storage", "`s3://bucket`, when `MINIO_ENDPOINT` is set too", URL_MINIO_BUCKET,
     PART_PATH, false},
    {NULL, "MINIO_BUCKET_NAME", ALIAS_PART, "storage", NULL, URL_MINIO_BUCKET, PART_PATH, false},
    {NULL, "MINIO_REGION", ALIAS_COPY, "s3_region", NULL, 0, 0, false},
    {NULL, "MINIO_ACCESS_KEY", ALIAS_COPY, "s3_access_key", NULL, 0, 0, false},
    {NULL, "MINIO_SECRET_KEY", ALIAS_COPY, "s3_secret_key", NULL, 0, 0, false},
    {NULL, "MINIO_ROOT_USER", ALIAS_COPY, "s3_access_key", "of the MinIO container", 0, 0, false},
    {NULL, "MINIO_ROOT_PASSWORD", ALIAS_COPY, "s3_secret_key", "of the MinIO container", 0, 0, false},
    {NULL, "WHISPER_MODEL_SIZE", ALIAS_COPY, "model", NULL, 0, 0, false},
    {NULL, "MODEL_POOL_SIZE", ALIAS_COPY, "model_pool_size", NULL, 0, 0, false},
    {NULL, "MODEL_POOL_MAX_SIZE", ALIAS_COPY, "model_pool_max_size", NULL, 0, 0, false},
    {NULL, "CELERY_CONCURRENCY", ALIAS_COPY, "worker_concurrency", NULL, 0, 0, false},
    {NULL, "MAX_UPLOAD_SIZE_MB", ALIAS_MIB, "max_upload_size", NULL, 0, 0, false},
    {NULL, "MAX_QUEUE_SIZE", ALIAS_COPY, "max_queue_size", NULL, 0, 0, false},
    {NULL, "GEMINI_API_KEY", ALIAS_COPY, "gemini_api_key", "used when `engine` is `gemini`", 0, 0, false},
    {NULL, "GOOGLE_API_KEY", ALIAS_COPY, "gemini_api_key", "used when `engine` is `gemini`", 0, 0, false},
    {NULL, "GEMINI_MODEL", ALIAS_COPY, "gemini_model", NULL, 0, 0, false},
    {NULL, "OPENAI_API_KEY", ALIAS_COPY, "openai_api_key", "used when `engine` is `openai`", 0, 0, false},
    {NULL, "OPENAI_BASE_URL", ALIAS_COPY, "openai_url", NULL, 0, 0, false},
    {NULL, "WORKER_TIMEOUT", ALIAS_SECONDS, "job_time_limit", "a bare number counts seconds", 0, 0, false},

    {"database", "host", ALIAS_PART, "database", "`postgresql://user:password@host:port/database` is put together",
     URL_DATABASE, PART_HOST, false},
    {"database", "port", ALIAS_PART, "database", NULL, URL_DATABASE, PART_PORT, false},
    {"database", "user", ALIAS_PART, "database", NULL, URL_DATABASE, PART_USER, false},
    {"database", "password", ALIAS_PART, "database", NULL, URL_DATABASE, PART_PASSWORD, false},
    {"database", "database", ALIAS_PART, "database", NULL, URL_DATABASE, PART_PATH, false},
    {"database", "ref_table", ALIAS_NOTHING, NULL, "the tables are made by `steno migrate`", 0, 0, false},

    {"aws", "bucket_name", ALIAS_PART, "storage", "`s3://bucket_name`", URL_AWS_BUCKET, PART_PATH, false},
    {"aws", "access_key", ALIAS_COPY, "s3_access_key", NULL, 0, 0, false},
    {"aws", "secret_key", ALIAS_COPY, "s3_secret_key", NULL, 0, 0, false},
    {"aws", "region", ALIAS_COPY, "s3_region", NULL, 0, 0, false},

    {"redis", "host", ALIAS_PART, "broker", "`redis://:password@host:port/db` is put together", URL_REDIS, PART_HOST,
     false},
    {"redis", "port", ALIAS_PART, "broker", NULL, URL_REDIS, PART_PORT, false},
    {"redis", "password", ALIAS_PART, "broker", NULL, URL_REDIS, PART_PASSWORD, false},
    {"redis", "db", ALIAS_PART, "broker", NULL, URL_REDIS, PART_PATH, false},
    {"redis", "pub_sub_channel", ALIAS_COPY, "events_channel", NULL, 0, 0, false},

    {"celery", "task_soft_time_limit", ALIAS_SECONDS, "job_time_limit", "seconds", 0, 0, false},
    {"celery", "task_time_limit", ALIAS_SECONDS, "job_hard_time_limit", "seconds", 0, 0, false},
    {"celery", "task_default_retry_delay", ALIAS_SECONDS, "retry_base", "seconds", 0, 0, false},
    {"celery", "task_max_retries", ALIAS_RETRIES, "max_attempts", "one more: the first try counts as an attempt", 0, 0,
     false},
    {"celery", "retry_policy_max_retries", ALIAS_NOTHING, NULL, NO_RETRY_OF_MESSAGES, 0, 0, false},
    {"celery", "retry_policy_interval_start", ALIAS_NOTHING, NULL, NO_RETRY_OF_MESSAGES, 0, 0, false},
    {"celery", "retry_policy_interval_step", ALIAS_NOTHING, NULL, NO_RETRY_OF_MESSAGES, 0, 0, false},
    {"celery", "retry_policy_interval_max", ALIAS_NOTHING, NULL, NO_RETRY_OF_MESSAGES, 0, 0, false},
    {"celery", "queue_name", ALIAS_COPY, "queue_normal", NULL, 0, 0, false},
    {"celery", "routing_key", ALIAS_NOTHING, NULL, NO_ROUTING, 0, 0, false},
    {"celery", "serialization_format", ALIAS_NOTHING, NULL, "messages are JSON", 0, 0, false},
    {"celery", "timezone", ALIAS_NOTHING, NULL, "all times are UTC", 0, 0, false},
    {"celery", "enable_utc", ALIAS_NOTHING, NULL, "all times are UTC", 0, 0, false},
    {"celery", "task_track_started", ALIAS_NOTHING, NULL, "a job's start is always recorded", 0, 0, false},
    {"celery", "task_acks_late", ALIAS_NOTHING, NULL, "a lease keeps the job, whatever the broker does", 0, 0, false},
    {"celery", "worker_prefetch_multiplier", ALIAS_NOTHING, NULL, "a worker takes only what it works on", 0, 0, false},
    {"celery", "worker_disable_rate_limits", ALIAS_NOTHING, NULL, NO_CELERY, 0, 0, false},
    {"celery", "worker_max_tasks_per_child", ALIAS_COPY, "worker_max_jobs", NULL, 0, 0, false},
    {"celery", "worker_max_memory_per_child", ALIAS_KIB, "worker_max_memory", "kilobytes", 0, 0, false},
    {"celery", "worker_autoscaler", ALIAS_NOTHING, NULL,
     "jobs in work go from `worker_concurrency_min` to `worker_concurrency`", 0, 0, false},

    {"file", "max_size_mb", ALIAS_MIB, "max_upload_size", NULL, 0, 0, false},
    {"file", "allowed_audio_extensions", ALIAS_NOTHING, NULL, "recordings are judged by their content", 0, 0, false},
    {"file", "whisper_model", ALIAS_COPY, "model", NULL, 0, 0, false},
};
_Static_assert(ARRAY_LEN(aliases) <= ALIAS_MAX, "raise ALIAS_MAX");

/* How the parts are joined. */
static const struct {
    const char *option, *scheme;
} urls[URL_COUNT] = {
    [URL_RABBITMQ] = {"broker", "amqp"},    [URL_MINIO_ENDPOINT] = {"s3_endpoint", "http"},
    [URL_MINIO_BUCKET] = {"storage", "s3"}, [URL_DATABASE] = {"database", "postgresql"},
    [URL_AWS_BUCKET] = {"storage", "s3"},   [URL_REDIS] = {"broker", "redis"},
};

const struct conf_alias *conf_aliases(size_t *ret_n)
{
    *ret_n = ARRAY_LEN(aliases);
    return aliases;
}

const struct conf_alias *conf_alias_find(const char *section, const char *key)
{
    for (size_t i = 0; i < ARRAY_LEN(aliases); i++)
        if (str_eq(aliases[i].section, section) && strcmp(aliases[i].key, key) == 0)
            return &aliases[i];
    return NULL;
}

bool conf_alias_section(const char *section)
{
    for (size_t i = 0; i < ARRAY_LEN(aliases); i++)
        if (str_eq(aliases[i].section, section))
            return true;
    return false;
}

/* "postgresql+psycopg2://" to "postgresql://"; sqlite's path stands behind three slashes, relative without a fourth. */
static void add_sql_url(struct buf *b, const char *url)
{
    size_t scheme = strcspn(url, ":"), name = strcspn(url, "+:");
    const char *rest = url + scheme;
    buf_add(b, url, name);
    if (name == strlen("sqlite") && str_starts(url, "sqlite") && str_starts(rest, ":///")) {
        buf_addc(b, ':');
        rest += strlen(":///");
        rest += str_starts(rest, "./") ? 2 : 0;
    }
    buf_adds(b, rest);
}

/* What stands for itself in a URL, else %XX. */
static void add_encoded(struct buf *b, const char *s)
{
    for (; *s; s++) {
        unsigned char c = (unsigned char)*s;
        if ((c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || strchr("-._~", c))
            buf_addc(b, (char)c);
        else
            buf_addf(b, "%%%02X", c);
    }
}

/* The parts found for one URL: for each the strongest source, then the earlier row. */
struct parts {
    const struct conf_alias *row[PART_COUNT];
    struct alias_value value[PART_COUNT];
    bool strong; /* at least one that is not weak */
};

static void collect(enum alias_url url, const struct alias_value *values, struct parts *ret)
{
    *ret = (struct parts){.strong = false};
    for (size_t i = 0; i < ARRAY_LEN(aliases); i++) {
        const struct conf_alias *row = &aliases[i];
        if (row->how != ALIAS_PART || row->url != url || !values[i].text)
            continue;
        if (!ret->row[row->part] || values[i].source > ret->value[row->part].source) {
            ret->row[row->part] = row;
            ret->value[row->part] = values[i];
        }
        ret->strong = ret->strong || !row->weak;
    }
}

static int wrong_part(const struct parts *p, enum alias_part part, const char *what, struct err *err)
{
    /* A part that is not there has a default, which is right. NOLINTNEXTLINE(clang-analyzer-core.NullDereference) */
    return err_set(err, ERR_INVALID, "%s: %s is not %s", p->value[part].where, p->row[part]->key, what);
}

static int add_host_port(const struct parts *p, struct buf *b, struct err *err)
{
    const char *host = p->row[PART_HOST] ? p->value[PART_HOST].text : "localhost";
    if (host[strspn(host, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-._:[]")])
        return wrong_part(p, PART_HOST, "a host name", err);
    bool v6 = strchr(host, ':') && host[0] != '[';
    buf_addf(b, v6 ? "[%s]" : "%s", host);
    if (p->row[PART_PORT]) {
        int64_t port;
        if (!str_to_i64(p->value[PART_PORT].text, &port) || port < 1 || port > 65535)
            return wrong_part(p, PART_PORT, "a port (1 to 65535)", err);
        buf_addf(b, ":%d", (int)port);
    }
    return 0;
}

/* scheme://user:password@host:port/path */
static int add_server_url(const char *scheme, const struct parts *p, struct buf *b, struct err *err)
{
    buf_addf(b, "%s://", scheme);
    if (p->row[PART_USER])
        add_encoded(b, p->value[PART_USER].text);
    if (p->row[PART_PASSWORD]) {
        buf_addc(b, ':');
        add_encoded(b, p->value[PART_PASSWORD].text);
    }
    if (p->row[PART_USER] || p->row[PART_PASSWORD])
        buf_addc(b, '@');
    int rc = add_host_port(p, b, err);
    if (rc == 0 && p->row[PART_PATH]) {
        buf_addc(b, '/');
        add_encoded(b, p->value[PART_PATH].text);
    }
    return rc;
}

static int add_endpoint(const struct parts *p, struct arena *a, struct buf *b, struct err *err)
{
    union conf_value ssl = {.b = false};
    if (p->row[PART_SSL]) {
        const struct conf_option use_ssl = {.name = p->row[PART_SSL]->key, .type = CONF_BOOL};
        int rc = conf_value_parse(&use_ssl, p->value[PART_SSL].text, a, &ssl, err);
        if (rc < 0)
            return err_wrap(err, "%s", p->value[PART_SSL].where);
    }
    const char *text = p->value[PART_HOST].text;
    if (!strstr(text, "://"))
        buf_adds(b, ssl.b ? "https://" : "http://");
    buf_adds(b, text);
    return 0;
}

/* 1: b holds the URL; 0: these parts make none. */
static int add_url(enum alias_url url, const struct parts *p, const struct alias_value *values, struct arena *a,
                   struct buf *b, struct err *err)
{
    struct parts endpoint;
    if (!p->strong)
        return 0;
    switch (url) {
    case URL_RABBITMQ:
    case URL_DATABASE:
    case URL_REDIS: {
        int rc = add_server_url(urls[url].scheme, p, b, err);
        return rc < 0 ? rc : 1;
    }
    case URL_MINIO_ENDPOINT: {
        int rc = add_endpoint(p, a, b, err);
        return rc < 0 ? rc : 1;
    }
    case URL_MINIO_BUCKET:
        collect(URL_MINIO_ENDPOINT, values, &endpoint);
        if (!endpoint.strong)
            return 0;
        buf_addf(b, "s3://%s", p->value[PART_PATH].text);
        return 1;
    case URL_AWS_BUCKET:
        buf_addf(b, "s3://%s", p->value[PART_PATH].text);
        return 1;
    case URL_COUNT:
        break;
    }
    return 0;
}

/* Names who said so, and hands the URL on as the strongest of its parts. */
static int resolve_url(enum alias_url url, const struct alias_value *values, struct arena *a, alias_result_fn fn,
                       void *arg, struct err *err)
{
    struct parts p;
    collect(url, values, &p);
    CLEANUP(buf_clear) struct buf text = BUF_INIT(8 * CONF_TEXT), names = BUF_INIT(CONF_TEXT);
    int made = add_url(url, &p, values, a, &text, err);
    if (made < 0)
        return made;
    struct alias_result r = {.option = urls[url].option};
    const char *section = NULL;
    for (size_t i = 0; i < PART_COUNT; i++) {
        if (!p.row[i])
            continue;
        section = p.row[i]->section;
        buf_addf(&names, "%s%s", names.len ? ", " : "", p.row[i]->key);
        if (!r.where || p.value[i].source > r.source) {
            r.source = p.value[i].source;
            r.where = p.value[i].where;
        }
    }
    if (!r.where)
        return 0;
    if (section)
        buf_addf(&names, " of [%s]", section);
    r.names = arena_strdup(a, buf_str(&names));
    r.text = made ? arena_strdup(a, buf_str(&text)) : NULL;
    if (!r.names || (made && !r.text))
        return err_set(err, ERR_NOMEM, "no memory for the settings");
    int rc = buf_check(&text, r.names, err);
    return rc < 0 ? rc : fn(&r, arg, err);
}

static int resolve_one(const struct conf_alias *row, const struct alias_value *v, struct arena *a, alias_result_fn fn,
                       void *arg, struct err *err)
{
    int64_t number;
    bool is_number = str_to_i64(v->text, &number);
    CLEANUP(buf_clear) struct buf b = BUF_INIT(8 * CONF_TEXT);
    switch (row->how) {
    case ALIAS_SQL:
        add_sql_url(&b, v->text);
        break;
    case ALIAS_MIB:
        buf_addf(&b, is_number ? "%sM" : "%s", v->text);
        break;
    case ALIAS_KIB:
        buf_addf(&b, is_number ? "%sK" : "%s", v->text);
        break;
    case ALIAS_SECONDS:
        buf_addf(&b, is_number ? "%ss" : "%s", v->text);
        break;
    case ALIAS_RETRIES:
        if (!is_number || number < 0 || number == INT64_MAX)
            return err_set(err, ERR_INVALID, "%s: %s is not a number of retries", v->where, row->key);
        buf_addf(&b, "%" PRId64, number + 1);
        break;
    case ALIAS_COPY:
    case ALIAS_PART:
    case ALIAS_NOTHING:
        buf_adds(&b, v->text);
        break;
    }
    struct alias_result r = {.option = row->option, .where = v->where, .source = v->source};
    r.names = row->section ? arena_printf(a, "%s of [%s]", row->key, row->section) : row->key;
    r.text = row->how == ALIAS_NOTHING ? NULL : arena_strdup(a, buf_str(&b));
    if (!r.names || (row->how != ALIAS_NOTHING && !r.text))
        return err_set(err, ERR_NOMEM, "no memory for the settings");
    int rc = buf_check(&b, r.names, err);
    return rc < 0 ? rc : fn(&r, arg, err);
}

int conf_alias_resolve(const struct alias_value values[ALIAS_MAX], struct arena *a, alias_result_fn fn, void *arg,
                       struct err *err)
{
    bool done[URL_COUNT] = {false};
    int rc = 0;
    for (size_t i = 0; rc >= 0 && i < ARRAY_LEN(aliases); i++) {
        const struct conf_alias *row = &aliases[i];
        if (row->how == ALIAS_PART) {
            if (!done[row->url])
                rc = resolve_url(row->url, values, a, fn, arg, err);
            done[row->url] = true;
        } else if (values[i].text) {
            rc = resolve_one(row, &values[i], a, fn, arg, err);
        }
    }
    return rc;
}
