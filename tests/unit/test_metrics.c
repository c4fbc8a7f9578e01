/* SPDX-License-Identifier: MIT */
/* The text format, histograms, what every role tells, and the server that gives a page out. */
#include "metrics/histogram.h"
#include "metrics/page.h"
#include "metrics/role.h"
#include "metrics/server.h"

#include "base/mem.h"
#include "base/str.h"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cmocka.h>

static void test_numbers(void **state)
{
    (void)state;
    static const struct {
        int64_t milli;
        const char *text;
    } rows[] = {
        {0, "0"},
        {1, "0.001"},
        {10, "0.01"},
        {100, "0.1"},
        {999, "0.999"},
        {1000, "1"},
        {1500, "1.5"},
        {61005, "61.005"},
        {-1, "-0.001"},
        {-1500, "-1.5"},
        {-2000, "-2"},
        {INT64_MAX, "9223372036854775.807"},
        {INT64_MIN, "-9223372036854775.808"},
    };
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        CLEANUP(buf_clear) struct buf b = BUF_INIT(64);
        metric_add_milli(&b, rows[i].milli);
        assert_string_equal(buf_str(&b), rows[i].text);
    }
}

static void test_samples(void **state)
{
    (void)state;
    static const struct metric m = {"steno_x_total", "counter", "Things"};
    CLEANUP(buf_clear) struct buf b = BUF_INIT(4096);
    metric_head(&b, &m);
    metric_int(&b, &m, NULL, 7);
    metric_int(&b, &m, METRIC_LABELS({"a", "q\"b\\n\nend"}, {"c", ""}), -1);
    metric_milli(&b, &m, METRIC_LABELS({"a", "1"}), 2500);
    assert_string_equal(buf_str(&b), "# HELP steno_x_total Things\n"
                                     "# TYPE steno_x_total counter\n"
                                     "steno_x_total 7\n"
                                     "steno_x_total{a=\"q\\\"b\\\\n\\nend\",c=\"\"} -1\n"
                                     "steno_x_total{a=\"1\"} 2.5\n");
}

static void test_histogram(void **state)
{
    (void)state;
    static const struct metric m = {"steno_t_seconds", "histogram", "Times"};
    static const struct histogram_scale scale = {3, {5, 1000, 2500}};
    static const int64_t values[] = {0, 5, 6, 1000, 2500, 2501, 1000000};
    struct histogram h = {0};
    for (size_t i = 0; i < ARRAY_LEN(values); i++)
        histogram_add(&h, &scale, values[i]);
    assert_int_equal(histogram_count(&h), 7);
    assert_int_equal(histogram_sum(&h), 1006012);
    CLEANUP(buf_clear) struct buf b = BUF_INIT(4096);
    histogram_write(&b, &m, METRIC_LABELS({"q", "high"}), &h, &scale);
    assert_string_equal(buf_str(&b), "steno_t_seconds_bucket{q=\"high\",le=\"0.005\"} 2\n"
                                     "steno_t_seconds_bucket{q=\"high\",le=\"1\"} 4\n"
                                     "steno_t_seconds_bucket{q=\"high\",le=\"2.5\"} 5\n"
                                     "steno_t_seconds_bucket{q=\"high\",le=\"+Inf\"} 7\n"
                                     "steno_t_seconds_sum{q=\"high\"} 1006.012\n"
                                     "steno_t_seconds_count{q=\"high\"} 7\n");
    buf_reset(&b);
    histogram_write(&b, &m, NULL, &h, &scale);
    assert_true(str_starts(buf_str(&b), "steno_t_seconds_bucket{le=\"0.005\"} 2\n"));
    assert_non_null(strstr(buf_str(&b), "steno_t_seconds_sum 1006.012\n"));
}

/* The scales of the program ascend: a bucket out of order would never be met. */
static void test_scales(void **state)
{
    (void)state;
    const struct histogram_scale *const all[] = {&histogram_answers, &histogram_work, &histogram_ratio};
    for (size_t i = 0; i < ARRAY_LEN(all); i++) {
        assert_in_range(all[i]->n, 1, HISTOGRAM_MAX);
        for (size_t k = 1; k < all[i]->n; k++)
            assert_true(all[i]->bounds[k] > all[i]->bounds[k - 1]);
    }
}

/* The value of a sample without labels. */
static int64_t sample(const char *page, const char *name)
{
    CLEANUP(free_p) char *start = xasprintf("\n%s ", name);
    const char *at = strstr(page, start);
    if (!at)
        fail_msg("no %s in %s", name, page);
    else
        return strtoll(at + strlen(start), NULL, 10);
    return 0;
}

static void test_role(void **state)
{
    (void)state;
    static const struct role_count errors[] = {{"put", 3}, {"get", 0}};
    const struct role_figures f = {.role = "worker",
                                   .version = "1.2.3",
                                   .started_at = 1700000000123,
                                   .database_max = 16,
                                   .database_open = 4,
                                   .database_busy = 2,
                                   .database_waiting = 1,
                                   .storage_errors = errors,
                                   .n_storage_errors = ARRAY_LEN(errors)};
    CLEANUP(buf_clear) struct buf b = BUF_INIT(65536), c = BUF_INIT(65536);
    role_metrics_write(&b, &f);
    const char *page = buf_str(&b);
    assert_non_null(strstr(page, "\nsteno_build_info{version=\"1.2.3\",role=\"worker\"} 1\n"));
    assert_non_null(strstr(page, "\nsteno_storage_errors_total{operation=\"put\"} 3\n"));
    assert_non_null(strstr(page, "\nprocess_start_time_seconds 1700000000.123\n"));
    assert_int_equal(sample(page, "steno_database_connections_max"), 16);
    assert_int_equal(sample(page, "steno_database_connections_open"), 4);
    assert_int_equal(sample(page, "steno_database_connections_busy"), 2);
    assert_int_equal(sample(page, "steno_database_connections_waiting"), 1);
    assert_true(sample(page, "process_resident_memory_bytes") > 1 << 20);
    assert_true(sample(page, "process_virtual_memory_bytes") >= sample(page, "process_resident_memory_bytes"));
    assert_true(sample(page, "process_max_fds") > 3);
    int fd = dup(STDERR_FILENO);
    role_metrics_write(&c, &f);
    close(fd);
    assert_int_equal(sample(buf_str(&c), "process_open_fds"), sample(page, "process_open_fds") + 1);
}

/* ---- the server ---- */

static void fill(void *arg, struct buf *page)
{
    buf_adds(page, arg);
}

static void flood(void *arg, struct buf *page)
{
    (void)arg;
    page->failed = true;
}

/* Sends a request, returns all that comes back; caller frees. */
static char *ask(const struct metrics_server *s, const char *request)
{
    const char *address = metrics_server_address(s, 0);
    int64_t port = 0;
    assert_true(str_to_i64(strrchr(address, ':') + 1, &port));
    struct sockaddr_in sa = {.sin_family = AF_INET, .sin_port = htons((uint16_t)port)};
    sa.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    assert_int_equal(connect(fd, (const struct sockaddr *)&sa, sizeof sa), 0);
    assert_int_equal(write(fd, request, strlen(request)), (ssize_t)strlen(request));
    CLEANUP(buf_clear) struct buf b = BUF_INIT(65536);
    char piece[1024];
    for (ssize_t n; (n = read(fd, piece, sizeof piece)) > 0;)
        buf_add(&b, piece, (size_t)n);
    close(fd);
    buf_addc(&b, '\0');
    return buf_take(&b);
}

#define CLOSE "Host: x\r\nConnection: close\r\n"

static void test_server(void **state)
{
    (void)state;
    static char page[] = "steno_up 1\n";
    static const struct {
        const char *request, *status, *body;
    } rows[] = {
        {"GET /metrics HTTP/1.1\r\n" CLOSE "\r\n", "HTTP/1.1 200 ", "\r\n\r\nsteno_up 1\n"},
        {"GET /metrics?x=1 HTTP/1.1\r\n" CLOSE "\r\n", "HTTP/1.1 200 ", "\r\n\r\nsteno_up 1\n"},
        {"GET / HTTP/1.1\r\n" CLOSE "\r\n", "HTTP/1.1 404 ", "/metrics is all"},
        {"GET /metrics/ HTTP/1.1\r\n" CLOSE "\r\n", "HTTP/1.1 404 ", "/metrics is all"},
        {"POST /metrics HTTP/1.1\r\n" CLOSE "Content-Length: 5\r\n\r\nhello", "HTTP/1.1 405 ", "Allow: GET, HEAD\r\n"},
        {"DELETE /metrics HTTP/1.1\r\n" CLOSE "\r\n", "HTTP/1.1 405 ", "Allow: GET, HEAD\r\n"},
    };
    struct err err = ERR_INIT;
    struct metrics_server *s = NULL;
    assert_int_equal(metrics_server_open("127.0.0.1:0", fill, page, &s, &err), 0);
    assert_null(metrics_server_address(s, 1));
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        CLEANUP(free_p) char *answer = ask(s, rows[i].request);
        if (!str_starts(answer, rows[i].status) || !strstr(answer, rows[i].body))
            fail_msg("%s gives %s", rows[i].request, answer);
    }
    CLEANUP(free_p) char *head = ask(s, "HEAD /metrics HTTP/1.1\r\n" CLOSE "\r\n");
    assert_true(str_starts(head, "HTTP/1.1 200 "));
    assert_true(str_ends(head, "\r\n\r\n"));
    assert_non_null(strstr(head, "Content-Type: " METRICS_CONTENT_TYPE "\r\n"));

    /* The port is taken. */
    struct metrics_server *second = NULL;
    assert_int_equal(metrics_server_open(metrics_server_address(s, 0), fill, page, &second, &err), ERR_UNAVAILABLE);
    metrics_server_close(s);
    assert_int_equal(metrics_server_open("nonsense", fill, page, &second, &err), ERR_INVALID);
    metrics_server_close(NULL);
}

static void test_server_without_room(void **state)
{
    (void)state;
    struct err err = ERR_INIT;
    struct metrics_server *s = NULL;
    assert_int_equal(metrics_server_open("127.0.0.1:0", flood, NULL, &s, &err), 0);
    CLEANUP(free_p) char *answer = ask(s, "GET /metrics HTTP/1.1\r\n" CLOSE "\r\n");
    assert_true(str_starts(answer, "HTTP/1.1 500 "));
    metrics_server_close(s);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_numbers),
        cmocka_unit_test(test_samples),
        cmocka_unit_test(test_histogram),
        cmocka_unit_test(test_scales),
        cmocka_unit_test(test_role),
        cmocka_unit_test(test_server),
        cmocka_unit_test(test_server_without_room),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
