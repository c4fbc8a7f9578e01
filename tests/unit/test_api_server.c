/* SPDX-License-Identifier: MIT */
/* The server in this process, with a second broker beside it: what other processes are told of submits and cancels. */
#include "api/api.h"

#include "base/id.h"
#include "base/io.h"
#include "base/mem.h"
#include "base/str.h"
#include "db/migrate.h"

#include <netinet/in.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cmocka.h>

enum { WAIT_MS = 30000 };

struct server {
    char folder[64];
    struct db *db;
    struct store *store;
    struct storage *storage;
    struct broker *broker, *other;
    struct api *api;
};

/* The call must succeed; it uses the `e` of its function. */
#define OK(call)                              \
    do {                                      \
        if ((call) < 0)                       \
            fail_msg("%s: %s", #call, e.msg); \
    } while (0)

static int setup(void **state)
{
    static struct server s;
    struct err e = ERR_INIT;
    memset(&s, 0, sizeof s);
    snprintf(s.folder, sizeof s.folder, "/tmp/steno-api-XXXXXX");
    assert_non_null(mkdtemp(s.folder));
    CLEANUP(free_p) char *db = xasprintf("sqlite:%s/db", s.folder), *objects = xasprintf("file:%s/objects", s.folder);
    CLEANUP(free_p) char *broker = xasprintf("local:%s/broker", s.folder);
    int applied;
    OK(db_open(&(struct db_opts){.url = db, .readers = 2, .busy_ms = WAIT_MS}, &s.db, &e));
    OK(migrate_up(s.db, &applied, &e));
    OK(store_new(s.db, &(struct store_opts){.max_attempts = 3, .max_deaths = 3}, &s.store, &e));
    OK(storage_open(objects, &s.storage, &e));
    OK(broker_open(&(struct broker_opts){.url = broker, .events = true}, &s.broker, &e));
    OK(broker_open(&(struct broker_opts){.url = broker, .tokens = true, .events = true}, &s.other, &e));
    const struct api_opts o = {
        .store = s.store,
        .storage = s.storage,
        .broker = s.broker,
        .listen = "127.0.0.1:0",
        .http_threads = 2,
        .work_threads = 2,
        .storage_threads = 2,
        .max_upload_bytes = 1 << 20,
        .live_max = 100,
        .live_ping_ms = WAIT_MS,
        .idle_ms = WAIT_MS,
        .upload_ms = WAIT_MS,
        .engine_names = "null",
        .version = "1",
        .data_folder = s.folder,
        .temp_folder = s.folder,
    };
    OK(api_open(&o, &s.api, &e));
    *state = &s;
    return 0;
}

static int teardown(void **state)
{
    struct server *s = *state;
    struct err e = ERR_INIT;
    api_close(s->api, 1000);
    broker_close(s->other);
    broker_close(s->broker);
    storage_close(s->storage);
    store_free(s->store);
    db_close(s->db);
    OK(io_remove_tree(s->folder, &e));
    return 0;
}

/* A connection with this request sent. */
static int start(const struct server *s, const char *request)
{
    struct err e = ERR_INIT;
    const char *colon = strrchr(api_address(s->api, 0), ':');
    int64_t port = 0;
    assert_non_null(colon);
    assert_true(str_to_i64(colon + 1, &port));
    const struct sockaddr_in sa = {
        .sin_family = AF_INET, .sin_port = htons((uint16_t)port), .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    assert_int_equal(connect(fd, (const struct sockaddr *)&sa, sizeof sa), 0);
    OK(io_write_all(fd, request, strlen(request), &e));
    return fd;
}

/* All that comes until the other side closes. */
static void read_all(int fd, struct buf *answer)
{
    char piece[4096];
    ssize_t n;
    buf_reset(answer);
    while ((n = read(fd, piece, sizeof piece)) > 0)
        buf_add(answer, piece, (size_t)n);
    assert_int_equal(n, 0);
}

/* One request with "Connection: close"; the whole answer. */
static void ask(const struct server *s, const char *request, struct buf *answer)
{
    CLEANUP(close_fd) int fd = start(s, request);
    read_all(fd, answer);
}

static void test_other_processes_are_told(void **state)
{
    struct server *s = *state;
    static const char submit[] =
        "POST /v1/jobs HTTP/1.1\r\nHost: x\r\nConnection: close\r\nContent-Length: 91\r\n"
        "Content-Type: multipart/form-data; boundary=B\r\n\r\n"
        "--B\r\nContent-Disposition: form-data; name=\"file\"; filename=\"a.wav\"\r\n\r\nRIFF12345678"
        "\r\n--B--\r\n";
    CLEANUP(buf_clear) struct buf answer = BUF_INIT(65536);
    struct err e = ERR_INIT;
    assert_int_equal(strlen(strstr(submit, "\r\n\r\n") + 4), 91);

    ask(s, submit, &answer);
    assert_true(str_starts(buf_str(&answer), "HTTP/1.1 202 "));
    assert_int_equal(broker_wait(s->other, WAIT_MS, &e), 1);

    const char *at = strstr(buf_str(&answer), "{\"id\":\"");
    assert_non_null(at);
    char id[37];
    snprintf(id, sizeof id, "%.36s", at + 7);
    CLEANUP(free_p)
    char *request = xasprintf("DELETE /v1/jobs/%s HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n", id);
    ask(s, request, &answer);
    assert_true(str_starts(buf_str(&answer), "HTTP/1.1 200 "));
    struct event event;
    assert_int_equal(broker_next_event(s->other, WAIT_MS, &event, &e), 1);
    assert_string_equal(event.job_id, id);
    assert_string_equal(event.type, "state");
    assert_non_null(strstr(event.json, "cancelled"));
    struct arena a = ARENA_INIT;
    struct job job;
    OK(store_get(s->store, id, &a, &job, &e));
    assert_int_equal(job.state, JOB_CANCELLED);
    assert_int_equal(event.seq, job.seq);
    arena_clear(&a);

    /* Cancelling what has ended is no event. */
    ask(s, request, &answer);
    assert_true(str_starts(buf_str(&answer), "HTTP/1.1 200 "));
    assert_int_equal(broker_next_event(s->other, 50, &event, &e), 0);
}

struct ids {
    char id[ID_SIZE];
};

static struct ids submit(const struct server *s)
{
    struct err e = ERR_INIT;
    struct ids x;
    id_new(x.id);
    struct job_new j = {.id = x.id, .filename = "a.wav", .audio_key = "uploads/x/a.wav", .audio_sha256 = "0"};
    OK(store_submit(s->store, &j, &e));
    return x;
}

/* As another process does it: the row, and the event or not. */
static void cancel(const struct server *s, const char *id, bool tell)
{
    struct err e = ERR_INIT;
    struct event event = {.type = "state", .json = "{}"};
    OK(store_cancel(s->store, id, &event.seq, &e));
    snprintf(event.job_id, sizeof event.job_id, "%s", id);
    if (tell)
        OK(broker_send_event(s->other, &event, &e));
}

static int follow(const struct server *s, const char *id, bool stream)
{
    CLEANUP(free_p)
    char *request = stream ? xasprintf("GET /v1/jobs/%s/events?since=0 HTTP/1.1\r\nHost: x\r\n\r\n", id)
                           : xasprintf("GET /v1/jobs/%s/ws HTTP/1.1\r\nHost: x\r\nUpgrade: websocket\r\n"
                                       "Connection: Upgrade\r\nSec-WebSocket-Version: 13\r\n"
                                       "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n",
                                       id);
    return start(s, request);
}

static bool holds(const struct buf *b, const char *text)
{
    return b->data && memmem(b->data, b->len, text, strlen(text));
}

enum { FOLLOWERS = 40 };

/* Many follow a few jobs in both ways, some leave, the jobs end with and without events; then more, when it stops. */
static void test_followers(void **state)
{
    struct server *s = *state;
    struct ids jobs[4];
    int fds[FOLLOWERS];
    CLEANUP(buf_clear) struct buf text = BUF_INIT(1 << 20);
    for (size_t i = 0; i < ARRAY_LEN(jobs); i++)
        jobs[i] = submit(s);
    for (int i = 0; i < FOLLOWERS; i++) {
        const char *id = jobs[(size_t)i % ARRAY_LEN(jobs)].id;
        fds[i] = follow(s, id, i % 2);
        if (i % 5 == 4)
            close_fd(&fds[i]);
    }
    for (size_t i = 0; i < ARRAY_LEN(jobs); i++)
        cancel(s, jobs[i].id, i % 2);
    for (int i = 0; i < FOLLOWERS; i++) {
        if (fds[i] < 0)
            continue;
        read_all(fds[i], &text);
        assert_true(str_starts(buf_str(&text), i % 2 ? "HTTP/1.1 200 " : "HTTP/1.1 101 "));
        assert_true(holds(&text, "{\"type\":\"snapshot\""));
        assert_true(holds(&text, "{\"type\":\"end\""));
        close_fd(&fds[i]);
    }
}

/* Connections in every state, while the server stops. */
static void test_followers_of_a_server_that_stops(void **state)
{
    struct server *s = *state;
    struct ids job = submit(s);
    int fds[FOLLOWERS];
    CLEANUP(buf_clear) struct buf text = BUF_INIT(1 << 20);
    for (int i = 0; i < FOLLOWERS; i++)
        fds[i] = follow(s, job.id, i % 2);
    api_close(s->api, 1000);
    s->api = NULL;
    for (int i = 0; i < FOLLOWERS; i++) {
        char piece[4096];
        buf_reset(&text);
        /* Those that were not accepted yet are reset. */
        for (ssize_t n; (n = read(fds[i], piece, sizeof piece)) > 0;)
            buf_add(&text, piece, (size_t)n);
        if (!(i % 2) && holds(&text, "{\"type\":\"snapshot\""))
            assert_true(holds(&text, "\x88\x12\x03\xe9the server stops"));
        close_fd(&fds[i]);
    }
}

static void test_addresses_that_cannot_be_had(void **state)
{
    struct server *s = *state;
    struct err e = ERR_INIT;
    struct broker *broker = NULL; /* events are taken by one */
    CLEANUP(free_p) char *url = xasprintf("local:%s/broker", s->folder);
    OK(broker_open(&(struct broker_opts){.url = url}, &broker, &e));
    struct api *second = NULL;
    const struct api_opts taken = {
        .store = s->store,
        .storage = s->storage,
        .broker = broker,
        .listen = api_address(s->api, 0),
        .http_threads = 1,
        .work_threads = 1,
        .storage_threads = 1,
        .engine_names = "",
        .version = "1",
        .data_folder = s->folder,
        .temp_folder = s->folder,
    };
    assert_int_equal(api_open(&taken, &second, &e), ERR_UNAVAILABLE);
    assert_null(second);
    struct api_opts bad = taken;
    bad.listen = "nowhere";
    assert_int_equal(api_open(&bad, &second, &e), ERR_INVALID);
    assert_null(api_address(s->api, 1));
    api_close(NULL, 0);
    broker_close(broker);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_followers, setup, teardown),
        cmocka_unit_test_setup_teardown(test_followers_of_a_server_that_stops, setup, teardown),
        cmocka_unit_test_setup_teardown(test_other_processes_are_told, setup, teardown),
        cmocka_unit_test_setup_teardown(test_addresses_that_cannot_be_had, setup, teardown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
