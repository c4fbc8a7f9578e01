/* SPDX-License-Identifier: MIT */
/* Routes, queries, problems, form fields and metrics of the API: everything that is a table. */
#include "api/dialect.h"
#include "api/job_json.h"
#include "api/metrics.h"
#include "api/percent.h"
#include "api/problem.h"
#include "api/query.h"
#include "api/routes.h"
#include "base/str.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

static void test_route_matching(void **state)
{
    (void)state;
    static const struct {
        const char *method, *path, *pattern, *param, *allow;
    } cases[] = {
        {"GET", "/", "/", NULL, "GET, HEAD, OPTIONS"},
        {"HEAD", "/", "/", NULL, "GET, HEAD, OPTIONS"},
        {"POST", "/", NULL, NULL, "GET, HEAD, OPTIONS"},
        {"POST", "/v1/jobs", "/v1/jobs", NULL, NULL},
        {"GET", "/v1/jobs", "/v1/jobs", NULL, NULL},
        {"PUT", "/v1/jobs", NULL, NULL, "POST, GET, HEAD, OPTIONS"},
        {"OPTIONS", "/v1/jobs", NULL, NULL, "POST, GET, HEAD, OPTIONS"},
        {"GET", "/v1/jobs/abc", "/v1/jobs/{id}", "abc", NULL},
        {"DELETE", "/v1/jobs/a.b-c", "/v1/jobs/{id}", "a.b-c", NULL},
        {"POST", "/v1/jobs/abc", NULL, NULL, "GET, HEAD, DELETE, OPTIONS"},
        {"GET", "/v1/jobs/abc/transcript", "/v1/jobs/{id}/transcript", "abc", NULL},
        {"get", "/v1/jobs", NULL, NULL, "POST, GET, HEAD, OPTIONS"},
        {"GET", "", NULL, NULL, ""},
        {"GET", "/v1", NULL, NULL, ""},
        {"GET", "/v1/jobs/", "/v1/jobs", NULL, NULL},
        {"POST", "/v1/jobs/", "/v1/jobs", NULL, NULL},
        {"GET", "/v1/jobs//", NULL, NULL, ""},
        {"GET", "/v1/jobs//transcript", NULL, NULL, ""},
        {"GET", "/v1/jobs/abc/", "/v1/jobs/{id}", "abc", NULL},
        {"GET", "/v1/jobs/abc/transcript/x", NULL, NULL, ""},
        {"GET", "/v1/jobs/abc/transcrip", NULL, NULL, ""},
        {"GET", "/v1/jobs/{id}/x", NULL, NULL, ""},
        {"GET", "//v1/jobs", NULL, NULL, ""},
        {"GET", "/V1/jobs", NULL, NULL, ""},
    };
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        struct route_match m;
        route_find(cases[i].method, cases[i].path, false, &m);
        if (!str_eq(m.route ? m.route->pattern : NULL, cases[i].pattern))
            fail_msg("%s %s: %s", cases[i].method, cases[i].path, m.route ? m.route->pattern : "none");
        if (cases[i].allow)
            assert_string_equal(m.allow, cases[i].allow);
        assert_int_equal(m.n_params, cases[i].param ? 1 : 0);
        if (cases[i].param) {
            assert_int_equal(m.param_lens[0], strlen(cases[i].param));
            assert_memory_equal(m.params[0], cases[i].param, m.param_lens[0]);
        }
    }
}

static void test_the_direct_service_has_routes_of_its_own(void **state)
{
    (void)state;
    static const struct {
        const char *method, *path;
        const struct dialect *main, *direct; /* NULL: no such route there */
    } cases[] = {
        {"POST", "/transcribe", &dialect_pool, &dialect_direct},
        {"POST", "/transcribe/", &dialect_pool, &dialect_direct},
        {"GET", "/transcribe/1", &dialect_pool, NULL},
        {"GET", "/health", &dialect_native, &dialect_direct},
        {"GET", "/config", NULL, &dialect_direct},
        {"GET", "/v1/jobs", &dialect_native, NULL},
        {"POST", "/api/v1/transcribe", &dialect_tool, NULL},
        {"POST", "/api/stt/upload/", &dialect_stt, NULL},
        {"DELETE", "/task/1", &dialect_queue, NULL},
        {"GET", "/api/v1", &dialect_audio_text, NULL},
    };
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        struct route_match m;
        route_find(cases[i].method, cases[i].path, false, &m);
        assert_ptr_equal(m.route ? m.route->dialect : NULL, cases[i].main);
        route_find(cases[i].method, cases[i].path, true, &m);
        assert_ptr_equal(m.route ? m.route->dialect : NULL, cases[i].direct);
    }
}

/* A path of a pattern, with something in the place of each {}. */
static const char *some_path(const char *pattern, bool slash, struct buf *b)
{
    buf_reset(b);
    for (const char *p = pattern; *p; p++) {
        buf_addc(b, *p == '{' ? 'x' : *p);
        if (*p == '{')
            p = strchr(p, '}');
    }
    if (slash && pattern[1])
        buf_addc(b, '/');
    return buf_str(b);
}

static void test_every_route_is_found_with_and_without_a_slash(void **state)
{
    (void)state;
    CLEANUP(buf_clear) struct buf b = BUF_INIT(1024);
    for (const struct route *r = api_routes; r->method; r++) {
        bool direct = r->flags & ROUTE_DIRECT;
        for (int slash = 0; slash < 2; slash++) {
            struct route_match m;
            const char *path = some_path(r->pattern, slash, &b);
            route_find(r->method, path, direct, &m);
            if (m.route != r)
                fail_msg("%s %s is found as %s", r->method, path, m.route ? m.route->pattern : "nothing");
            assert_ptr_equal(m.dialect, r->dialect);
            for (size_t i = 0; i < m.n_params; i++)
                assert_int_equal(m.param_lens[i], 1);
            /* The path speaks as it does whatever the method, and elsewhere it is nobody's or another's. */
            route_find("BREW", path, direct, &m);
            assert_null(m.route);
            assert_ptr_equal(m.dialect, r->dialect);
            assert_true(*m.allow);
            route_find(r->method, path, !direct, &m);
            assert_ptr_not_equal(m.route, r);
        }
    }
    struct route_match m;
    route_find("GET", "/nowhere", false, &m);
    assert_null(m.dialect);
}

static void test_the_route_table_is_sound(void **state)
{
    (void)state;
    assert_true(route_count() < METRIC_ROUTES_MAX);
    for (const struct route *r = api_routes; r->method; r++) {
        assert_non_null(r->run);
        assert_non_null(r->query);
        assert_true(strlen(r->help) > 0);
        assert_non_null(r->answers);
        for (const struct route *o = api_routes; o < r; o++)
            assert_false(strcmp(o->method, r->method) == 0 && strcmp(o->pattern, r->pattern) == 0 &&
                         (o->flags & ROUTE_DIRECT) == (r->flags & ROUTE_DIRECT));
    }
}

static bool is_counted(unsigned status)
{
    static const unsigned counted[] = {
#define X(status) status,
        METRIC_STATUSES(X)
#undef X
    };
    for (size_t i = 0; i < ARRAY_LEN(counted); i++)
        if (counted[i] == status)
            return true;
    return false;
}

static void test_every_status_is_counted_by_itself(void **state)
{
    (void)state;
    for (const struct route *r = api_routes; r->method; r++)
        for (const char *p = r->answers; *p; p += strcspn(p, " "), p += strspn(p, " "))
            if (*p != '<' && !is_counted((unsigned)strtoul(p, NULL, 10)))
                fail_msg("%s %s: '%s'", r->method, r->pattern, p);
    for (enum problem p = 0; p < PROBLEM_COUNT; p++)
        if (!is_counted(problem_info(p)->status))
            fail_msg("%s", problem_info(p)->code);
}

static void test_percent_decoding(void **state)
{
    (void)state;
    static const struct {
        const char *in, *out;
        bool plus;
    } cases[] = {
        {"abc", "abc", false}, {"a%20b", "a b", false}, {"%41%6a", "Aj", false}, {"%e2%82%AC", "\xE2\x82\xAC", false},
        {"a+b", "a+b", false}, {"a+b", "a b", true},    {"%2B+", "+ ", true},    {"", "", false},
        {"%", NULL, false},    {"%2", NULL, false},     {"%2g", NULL, false},    {"%g2", NULL, false},
        {"%00", NULL, false},  {"a%0", NULL, false},    {"%%41", NULL, false},
    };
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        struct arena a = ARENA_INIT;
        const char *got = percent_decode(cases[i].in, strlen(cases[i].in), cases[i].plus, &a);
        if (!str_eq(got, cases[i].out))
            fail_msg("'%s' gives '%s'", cases[i].in, got ? got : "nothing");
        arena_clear(&a);
    }
}

static void test_queries(void **state)
{
    (void)state;
    static const struct {
        const char *raw, *problem; /* NULL: fine */
    } cases[] = {
        {NULL, NULL},
        {"", NULL},
        {"a=1&b=2", NULL},
        {"a", NULL},
        {"a=&b", NULL},
        {"a=b=c", NULL},
        {"a=%26%3d", NULL},
        {"a=1&", NULL},
        {"&a=1", "without a name"},
        {"a=1&&b=2", "without a name"},
        {"=1", "without a name"},
        {"a=1&a=2", "given twice"},
        {"a=1&%61=2", "given twice"},
        {"a=%", "percent-encoded"},
        {"a=%zz", "percent-encoded"},
        {"a=%00", "percent-encoded"},
        {"a=%ff", "percent-encoded"},
        {"%ff=1", "percent-encoded"},
        {"a&b&c&d&e&f&g&h&i&j&k&l&m&n&o&p&q&r&s&t&u&v&w&x&y&z&A&B&C&D&E&F&G", "more than"},
    };
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        struct arena a = ARENA_INIT;
        struct query q;
        struct err err = ERR_INIT;
        int rc = query_parse(cases[i].raw, &a, &q, &err);
        if (cases[i].problem ? rc != ERR_INVALID || !strstr(err.msg, cases[i].problem) : rc < 0)
            fail_msg("'%s': %d %s", cases[i].raw, rc, err.msg);
        arena_clear(&a);
    }
}

static void test_query_values(void **state)
{
    (void)state;
    struct arena a = ARENA_INIT;
    struct query q;
    struct err err = ERR_INIT;
    assert_int_equal(query_parse("n=12&x=abc&yes=true&no=0&maybe=yes&empty=&blank=a+b", &a, &q, &err), 0);
    assert_string_equal(query_get(&q, "blank"), "a b");
    assert_string_equal(query_get(&q, "empty"), "");
    assert_null(query_get(&q, "none"));
    int64_t n = -1;
    assert_int_equal(query_int(&q, "n", 1, 12, 5, &n, &err), 0);
    assert_int_equal(n, 12);
    assert_int_equal(query_int(&q, "none", 1, 12, 5, &n, &err), 0);
    assert_int_equal(n, 5);
    assert_int_equal(query_int(&q, "n", 1, 11, 5, &n, &err), ERR_INVALID);
    assert_int_equal(query_int(&q, "n", 13, 20, 5, &n, &err), ERR_INVALID);
    assert_int_equal(query_int(&q, "x", 1, 11, 5, &n, &err), ERR_INVALID);
    assert_int_equal(query_int(&q, "empty", 0, 11, 5, &n, &err), ERR_INVALID);
    bool b;
    assert_int_equal(query_bool(&q, "yes", &b, &err), 0);
    assert_true(b);
    assert_int_equal(query_bool(&q, "no", &b, &err), 0);
    assert_false(b);
    assert_int_equal(query_bool(&q, "none", &b, &err), 0);
    assert_false(b);
    assert_int_equal(query_bool(&q, "maybe", &b, &err), ERR_INVALID);
    assert_int_equal(query_allow(&q, "n x yes no maybe empty blank more", &err), 0);
    assert_int_equal(query_allow(&q, "n x yes no maybe empty", &err), ERR_INVALID);
    assert_non_null(strstr(err.msg, "unknown query parameter 'blank'"));
    assert_int_equal(query_allow(&q, "", &err), ERR_INVALID);
    assert_non_null(strstr(err.msg, "takes none"));
    arena_clear(&a);
}

static void test_problems(void **state)
{
    (void)state;
    for (enum problem p = 0; p < PROBLEM_COUNT; p++) {
        const struct problem_info *i = problem_info(p);
        assert_true(i->status >= 400 && i->status < 600);
        assert_true(strlen(i->title) > 0 && strlen(i->advice) > 0);
        for (enum problem o = 0; o < p; o++)
            assert_string_not_equal(problem_info(o)->code, i->code);
    }
    CLEANUP(buf_clear) struct buf b = BUF_INIT(4096);
    struct refusal r = {
        .problem = PROBLEM_queue_full, .status = 503, .detail = "say \"when\"", .path = "/v1/jobs", .request_id = "r1"};
    assert_string_equal(dialect_native.refuse(&r, &b), "application/problem+json; charset=utf-8");
    assert_string_equal(buf_str(&b),
                        "{\"type\":\"urn:steno:problem:queue_full\",\"title\":\"Queue full\",\"status\":503,"
                        "\"detail\":\"say \\\"when\\\"\",\"instance\":\"/v1/jobs\",\"code\":\"queue_full\","
                        "\"request_id\":\"r1\"}\n");
}

static void test_every_error_class_has_a_problem(void **state)
{
    (void)state;
    static const struct {
        int code;
        unsigned status;
    } cases[] = {
        {ERR_NOMEM, 503},       {ERR_INVALID, 400},     {ERR_NOT_FOUND, 404}, {ERR_CONFLICT, 409},  {ERR_BUSY, 503},
        {ERR_TIMEOUT, 503},     {ERR_UNAVAILABLE, 503}, {ERR_UNCERTAIN, 503}, {ERR_TOO_LARGE, 500}, {ERR_CORRUPT, 500},
        {ERR_UNSUPPORTED, 400}, {ERR_CANCELLED, 409},   {ERR_LOST, 409},      {ERR_CRASHED, 500},   {ERR_INTERNAL, 500},
    };
    int classes = 0;
#define X(name, value, word, retry) classes++;
    ERR_CLASSES(X)
#undef X
    assert_int_equal(classes, ARRAY_LEN(cases));
    for (size_t i = 0; i < ARRAY_LEN(cases); i++)
        assert_int_equal(problem_info(problem_of_error(cases[i].code))->status, cases[i].status);
}

static void test_metrics_page(void **state)
{
    (void)state;
    static struct metrics m;
    memset(&m, 0, sizeof m);
    metrics_request(&m, 1, 202, 1500);
    metrics_request(&m, 1, 202, 1);
    metrics_request(&m, 1, 299, 0);
    metrics_request(&m, 9999, 404, 0);
    struct store_counts counts = {.by_state = {[JOB_PENDING] = 3},
                                  .ready = {[QUEUE_HIGH] = 2},
                                  .delayed_in = {[QUEUE_RETRY] = 9},
                                  .oldest_in = {[QUEUE_HIGH] = 61005}};
    const struct role_figures role = {.role = "api", .version = "1\"2\\3\n"};
    const int64_t depth[QUEUE_COUNT] = {[QUEUE_NORMAL] = 7}, no_depth[QUEUE_COUNT] = {-1, -1, -1};
    const struct metrics_gauges g = {.role = &role,
                                     .in_flight = 4,
                                     .uploads = 5,
                                     .live = 6,
                                     .counts = &counts,
                                     .workers = {[WORKERS_SILENT] = 8},
                                     .broker_up = true,
                                     .depth = depth};
    CLEANUP(buf_clear) struct buf b = BUF_INIT(1 << 20);
    metrics_write(&b, &m, &g);
    static const char *const lines[] = {
        "\nsteno_build_info{version=\"1\\\"2\\\\3\\n\",role=\"api\"} 1\n",
        "\nsteno_up 1\n",
        "# TYPE steno_http_requests_total counter\n",
        "\nsteno_http_requests_total{method=\"POST\",route=\"/v1/jobs\",status=\"202\"} 2\n",
        "\nsteno_http_requests_total{method=\"POST\",route=\"/v1/jobs\",status=\"0\"} 1\n",
        "\nsteno_http_requests_total{method=\"\",route=\"none\",status=\"404\"} 1\n",
        "\nsteno_http_request_duration_seconds_bucket{method=\"POST\",route=\"/v1/jobs\",le=\"0.005\"} 2\n",
        "\nsteno_http_request_duration_seconds_bucket{method=\"POST\",route=\"/v1/jobs\",le=\"2.5\"} 3\n",
        "\nsteno_http_request_duration_seconds_sum{method=\"POST\",route=\"/v1/jobs\"} 1.501\n",
        "\nsteno_http_request_duration_seconds_count{method=\"POST\",route=\"/v1/jobs\"} 3\n",
        "\nsteno_http_requests_in_flight 4\n",
        "\nsteno_uploads_in_flight 5\n",
        "\nsteno_live_connections 6\n",
        "\nsteno_jobs{state=\"pending\"} 3\n",
        "\nsteno_jobs_ready{queue=\"high\"} 2\n",
        "\nsteno_jobs_delayed{queue=\"retry\"} 9\n",
        "\nsteno_jobs_oldest_wait_seconds{queue=\"high\"} 61.005\n",
        "\nsteno_workers{state=\"silent\"} 8\n",
        "\nsteno_broker_up 1\n",
        "\nsteno_broker_depth{queue=\"normal\"} 7\n",
    };
    assert_true(buf_ok(&b));
    for (size_t i = 0; i < ARRAY_LEN(lines); i++)
        if (!strstr(buf_str(&b), lines[i]))
            fail_msg("missing %sin %s", lines[i], buf_str(&b));
#define X(name, type, help) \
    assert_non_null(strstr(buf_str(&b), "# HELP " #name " " help "\n# TYPE " #name " " type "\n"));
    METRICS(X)
#undef X
    buf_reset(&b);
    metrics_write(&b, &m, &(struct metrics_gauges){.role = &role, .depth = no_depth});
    assert_non_null(strstr(buf_str(&b), "\nsteno_up 0\n"));
    assert_null(strstr(buf_str(&b), "steno_jobs{"));
    assert_non_null(strstr(buf_str(&b), "\nsteno_broker_up 0\n"));
    assert_null(strstr(buf_str(&b), "steno_broker_depth{"));
}

static void test_job_json(void **state)
{
    (void)state;
    CLEANUP(buf_clear) struct buf b = BUF_INIT(1 << 20);
    struct jsonw w = {&b, false};
    struct job j = {.id = "i",
                    .state = JOB_FAILED,
                    .queue = QUEUE_RETRY,
                    .created_at = 1,
                    .filename = "a\"b",
                    .task = "t",
                    .duration_ms = 4000,
                    .progress_ms = 1000,
                    .error_class = "corrupt",
                    .error_message = "no"};
    jw_open(&w, NULL, '[');
    job_json_write(&w, NULL, &j, &(struct job_extra){.position = -1});
    j.error_class = NULL;
    j.state = JOB_PENDING;
    job_json_write(&w, NULL, &j, &(struct job_extra){.position = 7});
    jw_close(&w, ']');
    const char *s = buf_str(&b);
    assert_non_null(strstr(
        s, "[{\"id\":\"i\",\"status\":\"failed\",\"queue\":\"retry\",\"created_at\":\"1970-01-01T00:00:00.001Z\""));
    assert_non_null(strstr(s, "\"filename\":\"a\\\"b\",\"content_type\":null"));
    assert_non_null(strstr(s, "\"done_ms\":1000,\"total_ms\":4000,\"percent\":25"));
    assert_non_null(strstr(s, "\"error\":{\"code\":\"corrupt\",\"message\":\"no\"}"));
    assert_non_null(strstr(s, "\"links\":{\"self\":\"/v1/jobs/i\",\"transcript\":\"/v1/jobs/i/transcript\","
                              "\"audio\":\"/v1/jobs/i/audio\","
                              "\"events\":\"/v1/jobs/i/events\",\"ws\":\"/v1/jobs/i/ws\"}}"));
    assert_non_null(strstr(s, ",{\"id\":\"i\",\"status\":\"pending\",\"queue\":\"retry\",\"position\":7"));
    assert_non_null(strstr(s, "\"error\":null"));
    assert_int_equal(job_retry_after(&j), JOB_RETRY_PENDING_S);
    j.state = JOB_COMPLETED;
    assert_int_equal(job_retry_after(&j), 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_route_matching),
        cmocka_unit_test(test_every_route_is_found_with_and_without_a_slash),
        cmocka_unit_test(test_the_route_table_is_sound),
        cmocka_unit_test(test_every_status_is_counted_by_itself),
        cmocka_unit_test(test_the_direct_service_has_routes_of_its_own),
        cmocka_unit_test(test_percent_decoding),
        cmocka_unit_test(test_queries),
        cmocka_unit_test(test_query_values),
        cmocka_unit_test(test_problems),
        cmocka_unit_test(test_every_error_class_has_a_problem),
        cmocka_unit_test(test_metrics_page),
        cmocka_unit_test(test_job_json),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
