/* SPDX-License-Identifier: MIT */
/*
 * What only RabbitMQ does, and what becomes of a broker when its server does badly: killed, hung, out of memory, its
 * queues deleted or made by somebody else. The tests share one private server (tests/services.sh), because it may take
 * a minute to start; each has queues of its own. Skipped when RabbitMQ is not installed.
 */
#include "base/buf.h"
#include "base/clock.h"
#include "base/mem.h"
#include "base/str.h"
#include "base/thread.h"
#include "broker/broker.h"

#include <amqp.h>
#include <amqp_tcp_socket.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#include "checks.h"

/* A call that fails does so within a second, and a little for a busy machine. */
enum { LONG_MS = 60000, SOON_MS = 3000 };

static const char *services;
static char folder[64], url[160], tls_url[160], ca[160];
static char prefix[32], queue_high[64], queue_normal[64], queue_retry[64], queue_dead[64], channel[64], exchange[64];

/* Fails soon, as UNAVAILABLE, with this in its sentence. */
#define is_away(text, expr)                                                                                \
    do {                                                                                                   \
        struct err e_ = ERR_INIT, *e = &e_;                                                                \
        int64_t start_ = clock_mono_ms();                                                                  \
        int rc_ = (expr);                                                                                  \
        int64_t ms_ = clock_mono_ms() - start_;                                                            \
        if (rc_ != ERR_UNAVAILABLE || ms_ > SOON_MS || !strstr(e->msg, text))                              \
            fail_msg("%s gives %d after %lld ms, not '%s': %s", #expr, rc_, (long long)ms_, text, e->msg); \
    } while (0)

/* Becomes true before LONG_MS are over. */
#define comes_true(condition)                            \
    do {                                                 \
        int64_t until_ = clock_mono_ms() + LONG_MS;      \
        while (!(condition) && clock_mono_ms() < until_) \
            clock_sleep_ms(20);                          \
        if (!(condition))                                \
            fail_msg("%s: never", #condition);           \
    } while (0)

/* ---- the server ---- */

static int run(char *ret, size_t size, const char *fmt, ...) PRINTF_LIKE(3, 4);

/* `services.sh <...>`: its exit status, and what it printed. */
static int run(char *ret, size_t size, const char *fmt, ...)
{
    CLEANUP(buf_clear) struct buf line = BUF_INIT(4096);
    va_list ap;
    buf_addf(&line, "'%s' ", services);
    va_start(ap, fmt);
    buf_addv(&line, fmt, ap);
    va_end(ap);
    buf_adds(&line, " </dev/null 2>&1");
    FILE *f = popen(buf_str(&line), "re");
    if (!f)
        return -1;
    size_t n = fread(ret, 1, size - 1, f);
    ret[n] = '\0';
    int status = pclose(f);
    return WIFEXITED(status) ? WEXITSTATUS(status) : -1;
}

static void server(const char *action, const char *what)
{
    char out[4096];
    if (run(out, sizeof out, "%s rabbitmq '%s/mq' %s", action, folder, what) != 0)
        fail_msg("services.sh %s %s: %s", action, what, out);
}

static void find_line(const char *text, const char *key, char *ret, size_t size)
{
    const char *at = strstr(text, key);
    size_t n = 0;
    if (at) {
        at += strlen(key);
        n = MIN(strcspn(at, "\n"), size - 1);
        memcpy(ret, at, n);
    }
    ret[n] = '\0';
}

/* Users, virtual hosts and time-outs of the tests, all in one call: on a busy machine each takes its time. */
static const char prepare[] =
    "eval '"
    "rabbit_vhost:add(<<\"a b/c\">>, <<\"test\">>), "
    "rabbit_auth_backend_internal:set_permissions(<<\"app\">>, <<\"a b/c\">>, <<\".*\">>, <<\".*\">>, <<\".*\">>, "
    "<<\"test\">>), "
    "rabbit_auth_backend_internal:add_user(<<\"plain\">>, <<\"secret\">>, <<\"test\">>), "
    "rabbit_auth_backend_internal:set_permissions(<<\"plain\">>, <<\"/\">>, <<\"^amq.gen\">>, <<\".*\">>, <<\".*\">>, "
    "<<\"test\">>), "
    "application:set_env(rabbit, consumer_timeout, 5000), "
    "application:set_env(rabbit, channel_tick_interval, 500).'";

static int start_server(void **state)
{
    (void)state;
    char out[4096];
    signal(SIGPIPE, SIG_IGN); /* as the program does */
    snprintf(folder, sizeof folder, "/tmp/steno-test-XXXXXX");
    if (!mkdtemp(folder))
        return -1;
    setenv("SERVICES_TLS", "1", 1);
    if (run(out, sizeof out, "up rabbitmq '%s/mq'", folder) != 0) {
        print_error("%s\n", out);
        return -1;
    }
    find_line(out, "AMQP_URL=", url, sizeof url);
    find_line(out, "AMQP_TLS_URL=", tls_url, sizeof tls_url);
    find_line(out, "AMQP_CA=", ca, sizeof ca);
    if (run(out, sizeof out, "ctl rabbitmq '%s/mq' %s", folder, prepare) != 0 || !str_starts(out, "ok")) {
        print_error("%s\n", out);
        return -1;
    }
    return 0;
}

static int stop_server(void **state)
{
    (void)state;
    char out[4096];
    int rc = run(out, sizeof out, "kill rabbitmq '%s/mq'", folder);
    CLEANUP(buf_clear) struct buf line = BUF_INIT(256);
    buf_addf(&line, "rm -rf '%s'", folder);
    return rc == 0 && system(buf_str(&line)) == 0 ? 0 : -1;
}

/* ---- the broker ---- */

static int new_names(void **state)
{
    static unsigned n;
    (void)state;
    snprintf(prefix, sizeof prefix, "t%u", ++n);
    snprintf(queue_high, sizeof queue_high, "%s.high", prefix);
    snprintf(queue_normal, sizeof queue_normal, "%s.normal", prefix);
    snprintf(queue_retry, sizeof queue_retry, "%s.retry", prefix);
    snprintf(queue_dead, sizeof queue_dead, "%s.dlq", prefix);
    snprintf(channel, sizeof channel, "%s.events", prefix);
    exchange[0] = '\0';
    return 0;
}

static int open_at(const char *where, bool tokens, bool events, struct broker **ret, struct err *err)
{
    struct broker_opts o = {.url = where,
                            .tokens = tokens,
                            .events = events,
                            .queue_high = queue_high,
                            .queue_normal = queue_normal,
                            .queue_retry = queue_retry,
                            .queue_dead = queue_dead,
                            .channel = channel,
                            .exchange = exchange};
    return broker_open(&o, ret, err);
}

static struct broker *open_broker(bool tokens, bool events)
{
    struct broker *b = NULL;
    ok(open_at(url, tokens, events, &b, e));
    return b;
}

static int send_token(struct broker *b, struct err *err)
{
    static const struct token t = {.queue = "normal", .job_id = "j", .audio_key = "k"};
    return broker_send_token(b, &t, err);
}

static int send_event(struct broker *b, int64_t seq, struct err *err)
{
    struct event e = {.job_id = "j", .seq = seq, .type = "state", .json = "{}"};
    return broker_send_event(b, &e, err);
}

static bool well(struct broker *b)
{
    struct err err = ERR_INIT;
    int64_t ms;
    return broker_ping(b, &ms, &err) == 0;
}

static int ping(struct broker *b, struct err *err)
{
    int64_t ms;
    return broker_ping(b, &ms, err);
}

static int64_t depth_of(struct broker *b, const char *queue)
{
    struct err err = ERR_INIT;
    int64_t depth = -1;
    return broker_depth(b, queue, &depth, &err) == 0 ? depth : -1;
}

/* No token is left, here or at the server. */
static bool drained(struct broker *b)
{
    struct err err = ERR_INIT;
    return broker_wait(b, 500, &err) == 0 && depth_of(b, "normal") == 0;
}

/* Tokens and events pass from one to the other, and the other way round. */
static void messages_pass(struct broker *from, struct broker *to)
{
    struct event got;
    ok(send_token(from, e));
    gives(1, broker_wait(to, LONG_MS, e));
    broker_taken(to, "normal");
    comes_true(depth_of(from, "normal") == 0);
    ok(send_event(from, 7, e));
    gives(1, broker_next_event(to, LONG_MS, &got, e));
    assert_int_equal(got.seq, 7);
}

/* ---- another client ---- */

static amqp_connection_state_t other_client(void)
{
    int64_t port = 0;
    const char *at = strrchr(url, ':');
    CLEANUP(free_p) char *digits = strndup(at + 1, strcspn(at + 1, "/"));
    assert_true(str_to_i64(digits, &port));
    amqp_connection_state_t c = amqp_new_connection();
    assert_int_equal(amqp_socket_open(amqp_tcp_socket_new(c), "127.0.0.1", (int)port), AMQP_STATUS_OK);
    amqp_rpc_reply_t r = amqp_login(c, "/", 0, 131072, 0, AMQP_SASL_METHOD_PLAIN, "app", "secret");
    assert_int_equal(r.reply_type, AMQP_RESPONSE_NORMAL);
    amqp_channel_open(c, 1);
    assert_int_equal(amqp_get_rpc_reply(c).reply_type, AMQP_RESPONSE_NORMAL);
    return c;
}

static void end_client(amqp_connection_state_t c)
{
    amqp_connection_close(c, AMQP_REPLY_SUCCESS);
    amqp_destroy_connection(c);
}

static void make_queue(const char *name, const char *argument, amqp_field_value_t value)
{
    amqp_connection_state_t c = other_client();
    amqp_table_entry_t entry = {amqp_cstring_bytes(argument), value};
    amqp_table_t table = {.num_entries = 1, .entries = &entry};
    amqp_queue_declare(c, 1, amqp_cstring_bytes(name), 0, 1, 0, 0, table);
    assert_int_equal(amqp_get_rpc_reply(c).reply_type, AMQP_RESPONSE_NORMAL);
    end_client(c);
}

static void delete_queue(const char *name)
{
    amqp_connection_state_t c = other_client();
    amqp_queue_delete(c, 1, amqp_cstring_bytes(name), 0, 0);
    assert_int_equal(amqp_get_rpc_reply(c).reply_type, AMQP_RESPONSE_NORMAL);
    end_client(c);
}

/* The oldest message of a queue, its text in ret; it is removed. */
static void take_message(const char *queue, char *ret, size_t size, amqp_basic_properties_t *ret_props)
{
    amqp_connection_state_t c = other_client();
    amqp_message_t m;
    amqp_rpc_reply_t r = amqp_basic_get(c, 1, amqp_cstring_bytes(queue), 1);
    assert_int_equal(r.reply_type, AMQP_RESPONSE_NORMAL);
    assert_int_equal(r.reply.id, AMQP_BASIC_GET_OK_METHOD);
    assert_int_equal(amqp_read_message(c, 1, &m, 0).reply_type, AMQP_RESPONSE_NORMAL);
    size_t n = MIN(m.body.len, size - 1);
    memcpy(ret, m.body.bytes, n);
    ret[n] = '\0';
    ret_props->_flags = m.properties._flags;
    ret_props->delivery_mode = m.properties.delivery_mode;
    amqp_destroy_message(&m);
    end_client(c);
}

/* ---- tests ---- */

static void test_tls(void **state)
{
    (void)state;
    struct broker *b = NULL, *plain = open_broker(true, true);
    CLEANUP(free_p) char *good = xasprintf("%s?cacertfile=%s", tls_url, ca);
    CLEANUP(free_p) char *no_file = xasprintf("%s?cacertfile=/none", tls_url);
    const char *at = strstr(good, "127.0.0.1");
    assert_non_null(at);
    /* The same address by a name that is not in the certificate. */
    CLEANUP(free_p) char *other_name = xasprintf("%.*s127.1%s", (int)(at - good), good, at + strlen("127.0.0.1"));
    CLEANUP(free_p) char *local_name = xasprintf("%.*slocalhost%s", (int)(at - good), good, at + strlen("127.0.0.1"));
    const char *right[] = {good, local_name}, *wrong[] = {tls_url, no_file, other_name};
    for (size_t i = 0; i < ARRAY_LEN(right); i++) {
        ok(open_at(right[i], true, true, &b, e));
        ok(ping(b, e));
        messages_pass(b, b);
        broker_close(b);
    }
    for (size_t i = 0; i < ARRAY_LEN(wrong); i++) {
        ok(open_at(wrong[i], true, true, &b, e));
        is_away("certificate", ping(b, e));
        is_away("certificate", send_token(b, e));
        broker_close(b);
    }
    broker_close(plain);
}

static void test_who_is_let_in(void **state)
{
    (void)state;
    struct broker *b = NULL;
    const char *at = strstr(url, "secret");
    assert_non_null(at);
    CLEANUP(free_p) char *password = xasprintf("%.*swrong%s", (int)(at - url), url, at + strlen("secret"));
    CLEANUP(free_p) char *encoded = xasprintf("%.*s%%73ecret%s", (int)(at - url), url, at + strlen("secret"));
    CLEANUP(free_p) char *no_vhost = xasprintf("%.*s/nowhere", (int)(strrchr(url, '/') - url), url);
    CLEANUP(free_p) char *usual_vhost = xasprintf("%.*s", (int)(strrchr(url, '/') - url), url);
    ok(open_at(password, true, false, &b, e));
    is_away("ACCESS_REFUSED", ping(b, e));
    broker_close(b);
    ok(open_at(no_vhost, true, false, &b, e));
    is_away("nowhere", ping(b, e));
    broker_close(b);
    const char *right[] = {encoded, usual_vhost};
    for (size_t i = 0; i < ARRAY_LEN(right); i++) {
        ok(open_at(right[i], false, false, &b, e));
        ok(ping(b, e));
        broker_close(b);
    }
}

static void test_another_vhost(void **state)
{
    (void)state;
    struct broker *b = NULL, *here = open_broker(false, false);
    CLEANUP(free_p) char *there = xasprintf("%.*s/a%%20b%%2Fc", (int)(strrchr(url, '/') - url), url);
    ok(open_at(there, true, true, &b, e));
    ok(send_token(b, e));
    assert_int_equal(depth_of(here, "normal"), 0);
    gives(1, broker_wait(b, LONG_MS, e));
    broker_close(b);
    broker_close(here);
}

/* What watchers find in the queues. */
static void test_messages_that_stay(void **state)
{
    (void)state;
    struct broker *b = open_broker(false, false);
    struct token t = {.queue = "high", .job_id = "abc", .audio_key = "uploads/abc/a.mp3", .language = "vi"};
    char body[1024];
    amqp_basic_properties_t props;
    ok(broker_send_token(b, &t, e));
    ok(broker_send_dead_letter(b, "abc", "corrupt", "no audio", e));
    take_message(queue_high, body, sizeof body, &props);
    assert_string_equal(body, "{\"job_id\":\"abc\",\"queue\":\"high\",\"minio_path\":\"uploads/abc/a.mp3\","
                              "\"language\":\"vi\",\"model\":null}");
    assert_int_equal(props.delivery_mode, AMQP_DELIVERY_PERSISTENT);
    take_message(queue_dead, body, sizeof body, &props);
    assert_string_equal(body, "{\"job_id\":\"abc\",\"error\":\"corrupt\",\"message\":\"no audio\"}");
    assert_int_equal(props.delivery_mode, AMQP_DELIVERY_PERSISTENT);
    assert_true(props._flags & AMQP_BASIC_EXPIRATION_FLAG);
    broker_close(b);
}

static void test_queues_of_others(void **state)
{
    (void)state;
    make_queue(queue_normal, "x-max-priority", (amqp_field_value_t){.kind = AMQP_FIELD_KIND_I32, .value = {.i32 = 5}});
    make_queue(queue_high, "x-queue-type",
               (amqp_field_value_t){.kind = AMQP_FIELD_KIND_UTF8, .value = {.bytes = amqp_cstring_bytes("quorum")}});
    struct broker *b = open_broker(true, true);
    ok(ping(b, e));
    messages_pass(b, b);
    struct token t = {.queue = "high", .job_id = "j", .audio_key = "k"};
    ok(broker_send_token(b, &t, e));
    gives(1, broker_wait(b, LONG_MS, e));
    broker_close(b);
}

/* A user that may neither make queues nor exchanges uses those that are there. */
static void test_a_user_that_may_make_nothing(void **state)
{
    (void)state;
    broker_close(open_broker(true, true));
    CLEANUP(free_p) char *plain = xasprintf("amqp://plain:%s", strstr(url, "secret"));
    struct broker *b = NULL;
    ok(open_at(plain, true, true, &b, e));
    ok(ping(b, e));
    messages_pass(b, b);
    broker_close(b);
    new_names(NULL); /* and none of these are */
    ok(open_at(plain, true, true, &b, e));
    is_away("NOT_FOUND", ping(b, e));
    broker_close(b);
}

static void test_an_exchange_for_tokens(void **state)
{
    (void)state;
    snprintf(exchange, sizeof exchange, "%s.jobs", prefix);
    struct broker *b = open_broker(true, true);
    messages_pass(b, b);
    amqp_connection_state_t c = other_client();
    amqp_exchange_delete(c, 1, amqp_cstring_bytes(exchange), 0);
    assert_int_equal(amqp_get_rpc_reply(c).reply_type, AMQP_RESPONSE_NORMAL);
    end_client(c);
    /* Notices that it is gone, and makes it again. */
    struct err err = ERR_INIT;
    assert_int_equal(send_token(b, &err), ERR_UNAVAILABLE);
    comes_true(well(b));
    messages_pass(b, b);
    broker_close(b);
}

static void test_deleted_queues(void **state)
{
    (void)state;
    struct broker *sender = open_broker(false, false), *worker = open_broker(true, true);
    struct err err = ERR_INIT;
    delete_queue(queue_normal);
    /* Whether the worker makes it again before this comes is open. */
    if (send_token(sender, &err) < 0)
        assert_int_equal(err.code, ERR_UNAVAILABLE);
    comes_true(well(sender) && well(worker));
    messages_pass(sender, worker);
    broker_close(worker);
    delete_queue(queue_normal); /* now only the sender can */
    is_away("no queue", send_token(sender, e));
    comes_true(well(sender));
    ok(send_token(sender, e));
    assert_int_equal(depth_of(sender, "normal"), 1);
    broker_close(sender);
}

static void test_closed_by_the_administrator(void **state)
{
    (void)state;
    struct broker *b = open_broker(true, true);
    messages_pass(b, b);
    server("ctl", "close_all_connections enough");
    comes_true(well(b));
    messages_pass(b, b);
    broker_close(b);
}

static int64_t accepted_connections(void)
{
    CLEANUP(buf_clear) struct buf line = BUF_INIT(256);
    char out[64] = "";
    int64_t n = -1;
    buf_addf(&line, "cat '%s'/mq/log/test*.log | grep -c 'accepting AMQP connection'", folder);
    FILE *f = popen(buf_str(&line), "re");
    assert_non_null(f);
    assert_non_null(fgets(out, sizeof out, f));
    assert_int_equal(pclose(f), 0);
    out[strcspn(out, "\n")] = '\0';
    assert_true(str_to_i64(out, &n));
    return n;
}

/* Nobody calls the broker for longer than the server bears silence: the connections stay. */
static void test_heartbeats(void **state)
{
    (void)state;
    CLEANUP(free_p) char *quick = xasprintf("%s?heartbeat=2", url);
    struct broker *b = NULL;
    ok(open_at(quick, true, true, &b, e));
    messages_pass(b, b);
    clock_sleep_ms(5000); /* the server writes its log with a delay */
    int64_t before = accepted_connections();
    clock_sleep_ms(9000);
    assert_int_equal(accepted_connections(), before); /* none was made anew */
    messages_pass(b, b);
    broker_close(b);
}

/* A process that is stopped with a token in its hand until the server closes its channel. */
static int stops_with_a_token(struct broker *b)
{
    struct err err = ERR_INIT;
    if (broker_wait(b, LONG_MS, &err) != 1)
        return 1;
    raise(SIGSTOP);
    return broker_wait(b, LONG_MS, &err) == 1 ? 0 : 2;
}

static void test_consumer_time_out(void **state)
{
    (void)state;
    pid_t pid = fork();
    assert_true(pid >= 0);
    if (pid == 0) {
        alarm(120);
        struct broker *mine = NULL;
        struct err err = ERR_INIT;
        _exit(open_at(url, true, false, &mine, &err) < 0 ? 100 : stops_with_a_token(mine));
    }
    struct broker *b = open_broker(false, false);
    ok(send_token(b, e));
    int status = 0;
    assert_int_equal(waitpid(pid, &status, WUNTRACED), pid);
    assert_true(WIFSTOPPED(status));
    comes_true(depth_of(b, "normal") == 1); /* the channel was closed: the token is back */
    kill(pid, SIGCONT);
    assert_int_equal(waitpid(pid, &status, 0), pid);
    assert_true(WIFEXITED(status));
    assert_int_equal(WEXITSTATUS(status), 0);
    broker_close(b);
}

static bool refused(struct broker *b)
{
    struct err err = ERR_INIT;
    return send_token(b, &err) == ERR_UNAVAILABLE && strstr(err.msg, "memory");
}

static void test_memory_alarm(void **state)
{
    (void)state;
    struct broker *b = open_broker(true, true), *blocked_at_close = open_broker(true, true);
    messages_pass(b, b);
    server("ctl", "set_vm_memory_high_watermark absolute 1000");
    comes_true(refused(b)); /* the first message after the alarm still passes */
    comes_true(refused(blocked_at_close));
    is_away("memory", send_token(b, e));
    is_away("memory", send_event(b, 1, e));
    is_away("memory", ping(b, e));
    int64_t start = clock_mono_ms();
    broker_close(blocked_at_close);
    assert_true(clock_mono_ms() - start < 2 * SOON_MS);
    server("ctl", "set_vm_memory_high_watermark absolute 1000000000");
    comes_true(well(b) && drained(b));
    messages_pass(b, b);
    broker_close(b);
}

static void *send_some(void *arg)
{
    int64_t longest = 0;
    for (int i = 0; i < 5; i++) {
        struct err err = ERR_INIT;
        int64_t start = clock_mono_ms();
        if (send_token(arg, &err) >= 0)
            return arg;
        longest = MAX(longest, clock_mono_ms() - start);
    }
    return longest > SOON_MS ? arg : NULL;
}

static void test_a_server_that_hangs(void **state)
{
    (void)state;
    CLEANUP(free_p) char *quick = xasprintf("%s?heartbeat=2", url);
    struct broker *b = NULL, *unused = NULL, *late = NULL;
    ok(open_at(quick, true, true, &b, e));
    ok(open_at(quick, true, true, &unused, e));
    messages_pass(b, b);
    server("signal", "STOP");
    is_away("in time", send_token(b, e));
    is_away("does not answer", send_token(b, e)); /* and no longer waits for it */
    is_away("", ping(b, e));
    struct event ev;
    gives(0, broker_wait(b, 10, e));
    gives(0, broker_next_event(b, 10, &ev, e));
    pthread_t t[8];
    for (size_t i = 0; i < ARRAY_LEN(t); i++)
        ok(thread_start(&t[i], "sender", send_some, b, e));
    for (size_t i = 0; i < ARRAY_LEN(t); i++) {
        void *bad = b;
        pthread_join(t[i], &bad);
        assert_null(bad);
    }
    /* Heartbeats stay away: the connections are given up, also that of who calls nothing. */
    comes_true(!well(unused));
    ok(open_at(quick, true, true, &late, e)); /* a process may start now */
    int64_t start = clock_mono_ms();
    broker_close(unused);
    assert_true(clock_mono_ms() - start < LONG_MS / 2);
    server("signal", "CONT");
    comes_true(well(b) && well(late) && drained(b));
    messages_pass(late, b);
    broker_close(late);
    broker_close(b);
}

static atomic_bool ended;

static void *keep_waiting(void *arg)
{
    struct err err = ERR_INIT;
    int woken = 0;
    while (!atomic_load(&ended)) {
        int rc = broker_wait(arg, 1000, &err);
        if (rc < 0)
            return NULL;
        if (rc == 1 && ++woken == 2)
            return arg;
    }
    return NULL;
}

static void test_a_server_that_is_killed(void **state)
{
    (void)state;
    struct broker *b = open_broker(true, true), *sender = open_broker(false, false), *late = NULL;
    struct broker *waits = open_broker(true, false);
    messages_pass(sender, b);
    broker_close(waits);
    ok(send_token(sender, e)); /* confirmed: it is there afterwards */
    ok(broker_send_dead_letter(sender, "j", "corrupt", "x", e));
    server("signal", "KILL");
    comes_true(!well(b) && !well(sender));
    is_away("", send_token(sender, e));
    is_away("", send_event(b, 1, e));
    is_away("", ping(b, e));
    gives(0, broker_wait(b, 10, e));
    int64_t depth;
    is_away("", broker_depth(b, "normal", &depth, e));
    ok(open_at(url, true, true, &late, e)); /* a process starts without it */
    is_away("", send_token(late, e));
    /* Who waits all the while gets what comes when it is back. */
    pthread_t t;
    void *got = NULL;
    ok(thread_start(&t, "waiter", keep_waiting, late, e));
    broker_close(b);
    server("up", "");
    comes_true(well(late) && well(sender));
    ok(send_token(sender, e));
    pthread_join(t, &got);
    assert_ptr_equal(got, late);
    char body[1024];
    amqp_basic_properties_t props;
    take_message(queue_dead, body, sizeof body, &props);
    struct event ev;
    ok(send_event(sender, 9, e));
    gives(1, broker_next_event(late, LONG_MS, &ev, e));
    assert_int_equal(ev.seq, 9);
    broker_close(late);
    broker_close(sender);
}

static void test_bad_urls(void **state)
{
    (void)state;
    static const char *const rows[] = {
        "amqp://h?cacertfile=/x", "amqp://h?heartbeat=1", "amqp://h?heartbeat=x", "amqps://h?verify=no", "amqp://h:x",
    };
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        struct broker *b = NULL;
        gives(ERR_INVALID, open_at(rows[i], false, false, &b, e));
    }
    struct broker *b = NULL;
    snprintf(exchange, sizeof exchange, "%s", channel);
    gives(ERR_INVALID, open_at(url, false, false, &b, e));
}

int main(void)
{
    char out[4096];
    services = getenv("STENO_TEST_SERVICES");
    if (!services || run(out, sizeof out, "installed rabbitmq") != 0) {
        printf("1..1\nok 1 # SKIP RabbitMQ is not installed\n");
        return 0;
    }
#define with_names(t) cmocka_unit_test_setup(t, new_names)
    const struct CMUnitTest tests[] = {
        with_names(test_bad_urls),
        with_names(test_tls),
        with_names(test_who_is_let_in),
        with_names(test_another_vhost),
        with_names(test_messages_that_stay),
        with_names(test_queues_of_others),
        with_names(test_a_user_that_may_make_nothing),
        with_names(test_an_exchange_for_tokens),
        with_names(test_deleted_queues),
        with_names(test_closed_by_the_administrator),
        with_names(test_heartbeats),
        with_names(test_consumer_time_out),
        with_names(test_memory_alarm),
        with_names(test_a_server_that_hangs),
        with_names(test_a_server_that_is_killed),
    };
    return cmocka_run_group_tests(tests, start_server, stop_server);
}
