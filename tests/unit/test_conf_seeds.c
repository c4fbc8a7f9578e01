/* SPDX-License-Identifier: MIT */
/*
 * The configurations of other systems, word for word as their users have them (tests/unit/data), loaded as they are:
 * what every single setting came to mean. The sentences are compared whole, so that none can be forgotten.
 */
#include "base/mem.h"
#include "base/str.h"
#include "conf/conf.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

enum { NOTES = 24 };

struct expect {
    const char *name, *value; /* as `config print` shows it */
};

struct system {
    const char *file; /* in tests/unit/data; .env and .ini files are read as such */
    struct expect values[20];
    const char *notes[NOTES]; /* behind the name of the file */
};

static const struct system systems[] = {
    {.file = "conf-001.env",
     .values = {{"database", "postgresql://transcription:***@localhost/transcription"},
                {"broker", "redis://localhost:6379/0"},
                {"model", "tiny"},
                {"model_pool_size", "1"},
                {"model_pool_max_size", "2"},
                {"worker_concurrency", "1"}},
     .notes = {":6: DATABASE_URL means database = postgresql://transcription:***@localhost/transcription",
               ":7: REDIS_URL means broker = redis://localhost:6379/0", ":2: WHISPER_MODEL_SIZE means model = tiny",
               ":3: MODEL_POOL_SIZE means model_pool_size = 1", ":4: MODEL_POOL_MAX_SIZE means model_pool_max_size = 2",
               ":5: CELERY_CONCURRENCY means worker_concurrency = 1"}},
    {.file = "conf-001-production.env",
     .values = {{"model", "medium"},
                {"model_pool_size", "2"},
                {"model_pool_max_size", "4"},
                {"worker_concurrency", "4"},
                {"max_upload_size", "1000M"}},
     .notes = {":2: WHISPER_MODEL_SIZE means model = medium", ":3: MODEL_POOL_SIZE means model_pool_size = 2",
               ":4: MODEL_POOL_MAX_SIZE means model_pool_max_size = 4",
               ":6: MAX_UPLOAD_SIZE_MB means max_upload_size = 1000M",
               ":5: CELERY_CONCURRENCY means worker_concurrency = 4"}},
    {.file = "conf-002.env",
     .values = {{"database", "sqlite:/d/stt.db"},
                {"storage", "s3://stt-audio-files"},
                {"broker", "amqp://guest:***@localhost:5672"},
                {"s3_endpoint", "http://localhost:9000"},
                {"s3_region", ""},
                {"s3_access_key", "minioadmin"},
                {"s3_secret_key", "***"}},
     .notes = {":3: DATABASE_URL means database = sqlite:stt.db",
               ":8: MINIO_BUCKET means storage = s3://stt-audio-files",
               ":11: RABBITMQ_HOST, RABBITMQ_PORT, RABBITMQ_DEFAULT_USER, RABBITMQ_DEFAULT_PASS means broker = "
               "amqp://guest:***@localhost:5672",
               ":5: MINIO_ENDPOINT, MINIO_USE_SSL means s3_endpoint = http://localhost:9000",
               ":6: MINIO_ACCESS_KEY means s3_access_key = minioadmin",
               ":7: MINIO_SECRET_KEY means s3_secret_key = ***", ": without effect here: DEBUG"}},
    {.file = "conf-003.env",
     .values = {{"broker", "redis://localhost:6379"}, {"max_queue_size", "unlimited"}, {"job_time_limit", "20m"}},
     .notes = {":1: REDIS_URL means broker = redis://localhost:6379",
               ":2: MAX_QUEUE_SIZE means max_queue_size = unlimited", ":3: WORKER_TIMEOUT means job_time_limit = 20m"}},
    {.file = "conf-004.ini",
     .values = {{"database", "postgresql://postgres:***@postgres:5432/audiotext"},
                {"storage", "s3://bucket_name"},
                {"broker", "redis://redis:6379"},
                {"s3_endpoint", ""},
                {"s3_region", "eu-west-3"},
                {"s3_access_key", "YOUR_ACCESS_KEY"},
                {"s3_secret_key", "***"},
                {"model", "base"},
                {"max_upload_size", "10M"},
                {"job_time_limit", "25m"},
                {"job_hard_time_limit", "30m"},
                {"worker_max_jobs", "10"},
                {"max_attempts", "4"},
                {"retry_base", "1m"},
                {"queue_normal", "audio_processing"},
                {"events_channel", "job_updates"},
                {"retry_cap", "10m"}},
     .notes =
         {":3: host, port, user, password, database of [database] means database = "
          "postgresql://postgres:***@postgres:5432/audiotext",
          ":10: bucket_name of [aws] means storage = s3://bucket_name",
          ":16: host, port of [redis] means broker = redis://redis:6379",
          ":21: queue_name of [celery] means queue_normal = audio_processing",
          ":18: pub_sub_channel of [redis] means events_channel = job_updates",
          ":13: region of [aws] means s3_region = eu-west-3",
          ":11: access_key of [aws] means s3_access_key = YOUR_ACCESS_KEY",
          ":12: secret_key of [aws] means s3_secret_key = ***", ":44: whisper_model of [file] means model = base",
          ":42: max_size_mb of [file] means max_upload_size = 10M",
          ":30: worker_max_tasks_per_child of [celery] means worker_max_jobs = 10",
          ":32: task_soft_time_limit of [celery] means job_time_limit = 25m",
          ":31: task_time_limit of [celery] means job_hard_time_limit = 30m",
          ":34: task_max_retries of [celery] means max_attempts = 4",
          ":33: task_default_retry_delay of [celery] means retry_base = 1m",
          ": without effect here: ref_table of [database], "
          "retry_policy_max_retries of [celery], retry_policy_interval_start of [celery], retry_policy_interval_step "
          "of "
          "[celery], retry_policy_interval_max of [celery], routing_key of [celery], "
          "serialization_format of [celery], timezone of [celery], enable_utc of [celery], task_track_started of "
          "[celery], task_acks_late of [celery], worker_prefetch_multiplier of [celery], worker_disable_rate_limits of "
          "[celery], worker_autoscaler of [celery], allowed_audio_extensions "
          "of "
          "[file]"}},
};

/* The value a line of `config print` shows; NULL: no such line. */
static const char *printed(struct arena *a, const char *all, const char *name)
{
    const char *start = arena_printf(a, "\n%s = ", name), *line = strstr(all, start);
    if (!line)
        return NULL;
    line += strlen(start);
    const char *end = strstr(line, " #");
    while (end && end > line && end[-1] == ' ')
        end--;
    return end ? arena_dup(a, line, (size_t)(end - line)) : NULL;
}

static void check(const struct system *s)
{
    struct arena a = ARENA_INIT;
    struct err e = ERR_INIT;
    const char *data = getenv("STENO_TEST_DATA");
    assert_non_null(data);
    const char *path = arena_printf(&a, "%s/%s", data, s->file);
    bool ini = str_ends(s->file, ".ini");
    const char *const env[] = {"STENO_DATA=/d", NULL};
    struct conf_load_opts o = {.file = ini ? path : NULL, .dotenv = ini ? "" : path, .environ = env};
    struct conf *c = NULL;
    if (conf_load(&o, &c, &e) != 0)
        fail_msg("%s", e.msg);
    CLEANUP(buf_clear) struct buf b = BUF_INIT(100000);
    conf_print(c, &b);
    for (const struct expect *x = s->values; x->name; x++) {
        const char *value = printed(&a, buf_str(&b), x->name);
        if (!str_eq(value, x->value))
            fail_msg("%s: %s is '%s'", s->file, x->name, value ? value : "(nothing)");
        assert_true(str_starts(conf_where(c, x->name), path) || strcmp(conf_where(c, x->name), "default") == 0);
    }
    size_t n = 0;
    for (const char *note; (note = conf_note(c, n)); n++) {
        assert_true(n < NOTES && str_starts(note, path));
        assert_non_null(s->notes[n]);
        assert_string_equal(note + strlen(path), s->notes[n]);
    }
    assert_null(s->notes[n]);
    /* What print hides is there. */
    if (strcmp(s->file, "conf-004.ini") == 0) {
        assert_string_equal(c->database, "postgresql://postgres:postgres@postgres:5432/audiotext");
        assert_string_equal(c->s3_secret_key, "YOUR_SECRET_KEY");
    }
    conf_free(c);
    arena_clear(&a);
}

static void test_001_development(void **state)
{
    (void)state;
    check(&systems[0]);
}

static void test_001_production(void **state)
{
    (void)state;
    check(&systems[1]);
}

static void test_002(void **state)
{
    (void)state;
    check(&systems[2]);
}

static void test_003(void **state)
{
    (void)state;
    check(&systems[3]);
}

static void test_004(void **state)
{
    (void)state;
    check(&systems[4]);
}

/* The same settings as true environment variables, as a container gets them. */
static void test_001_as_environment(void **state)
{
    (void)state;
    const char *const env[] = {
        "STENO_DATA=/d",
        "DATABASE_URL=postgresql://transcription:transcription@postgres:5432/transcription",
        "REDIS_URL=redis://redis:6379/0",
        "WHISPER_MODEL_SIZE=small",
        "MODEL_POOL_SIZE=2",
        "MODEL_POOL_MAX_SIZE=4",
        "CELERY_CONCURRENCY=2",
        "MAX_UPLOAD_SIZE_MB=1000",
        NULL,
    };
    struct conf *c = NULL;
    struct err e = ERR_INIT;
    if (conf_load(&(struct conf_load_opts){.dotenv = "", .environ = env}, &c, &e) != 0)
        fail_msg("%s", e.msg);
    assert_string_equal(c->database, "postgresql://transcription:transcription@postgres:5432/transcription");
    assert_string_equal(c->broker, "redis://redis:6379/0");
    assert_string_equal(c->model, "small");
    assert_int_equal(c->model_pool_size, 2);
    assert_int_equal(c->model_pool_max_size, 4);
    assert_int_equal(c->worker_concurrency, 2);
    assert_int_equal(c->max_upload_size, 1000 * CONF_MIB);
    conf_free(c);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_001_development),
        cmocka_unit_test(test_001_production),
        cmocka_unit_test(test_002),
        cmocka_unit_test(test_003),
        cmocka_unit_test(test_004),
        cmocka_unit_test(test_001_as_environment),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
