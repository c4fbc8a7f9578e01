/* SPDX-License-Identifier: MIT */
/* What only the local broker does: its folder and its pipes. The rest is in tests/conformance. */
#include "base/io.h"
#include "base/mem.h"
#include "base/str.h"
#include "broker/broker.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#include "checks.h"

enum { LONG_MS = 60000 };

static char folder[64];

static const struct token token = {.queue = "normal", .job_id = "j1", .audio_key = "k"};
static const struct event event = {.job_id = "j1", .seq = 1, .type = "state", .json = "{}"};

static int open_in(const char *path, bool tokens, bool events, struct broker **ret, struct err *err)
{
    char url[600];
    snprintf(url, sizeof url, "local:%s", path);
    struct broker_opts o = {.url = url, .tokens = tokens, .events = events};
    return broker_open(&o, ret, err);
}

static struct broker *open_broker(bool tokens, bool events)
{
    struct broker *b = NULL;
    ok(open_in(folder, tokens, events, &b, e));
    return b;
}

/* How many names with this beginning are in the folder; the last of them with its folder goes to ret_path. */
static int names(const char *prefix, char *ret_path)
{
    DIR *d = opendir(folder);
    assert_non_null(d);
    int n = 0;
    for (struct dirent *e; (e = readdir(d));)
        if (e->d_name[0] != '.' && str_starts(e->d_name, prefix)) {
            n++;
            if (ret_path)
                snprintf(ret_path, 400, "%s/%s", folder, e->d_name);
        }
    closedir(d);
    return n;
}

static void test_one_private_pipe_per_kind(void **state)
{
    (void)state;
    char path[400];
    struct stat st;
    struct broker *none = open_broker(false, false);
    assert_int_equal(names("", NULL), 0);
    struct broker *b = open_broker(true, true);
    assert_int_equal(names("", NULL), 2);
    assert_int_equal(names("tokens-", path), 1);
    assert_int_equal(stat(path, &st), 0);
    assert_true(S_ISFIFO(st.st_mode));
    assert_int_equal(st.st_mode & 07777, 0600);
    assert_int_equal(names("events-", NULL), 1);
    assert_int_equal(stat(folder, &st), 0);
    assert_int_equal(st.st_mode & 07777, 0700);
    struct broker *second = open_broker(true, true);
    assert_int_equal(names("", NULL), 4);
    broker_close(second);
    broker_close(b);
    broker_close(none);
    assert_int_equal(names("", NULL), 0);
}

static void test_pipes_of_the_dead_are_removed(void **state)
{
    (void)state;
    pid_t child = fork();
    assert_true(child >= 0);
    if (child == 0) {
        struct err err = ERR_INIT;
        struct broker *mine = NULL;
        if (open_in(folder, true, true, &mine, &err) < 0)
            _exit(1);
        raise(SIGKILL);
    }
    int status;
    assert_int_equal(waitpid(child, &status, 0), child);
    assert_true(WIFSIGNALED(status));
    assert_int_equal(names("", NULL), 2);
    struct broker *b = open_broker(true, true);
    ok(broker_send_token(b, &token, e));
    assert_int_equal(names("tokens-", NULL), 1);
    assert_int_equal(names("events-", NULL), 2); /* nobody looked at those yet */
    ok(broker_send_event(b, &event, e));
    assert_int_equal(names("events-", NULL), 1);
    struct event got;
    gives(1, broker_wait(b, LONG_MS, e));
    gives(1, broker_next_event(b, LONG_MS, &got, e));
    broker_close(b);
}

static void test_unfinished_pipes_are_removed(void **state)
{
    (void)state;
    char path[400];
    snprintf(path, sizeof path, "%s/new-tokens-1-0", folder);
    assert_int_equal(mkfifo(path, 0600), 0);
    struct broker *b = open_broker(true, false);
    assert_int_equal(names("new-", NULL), 0);
    /* Senders leave them alone: their makers are about to open them. */
    assert_int_equal(mkfifo(path, 0600), 0);
    ok(broker_send_token(b, &token, e));
    assert_int_equal(names("new-", NULL), 1);
    broker_close(b);
    assert_int_equal(unlink(path), 0);
}

static void test_noise_in_a_pipe_is_dropped(void **state)
{
    (void)state;
    char path[400];
    struct broker *b = open_broker(true, true);
    assert_int_equal(names("events-", path), 1);
    int fd = open(path, O_WRONLY | O_NONBLOCK);
    assert_true(fd >= 0);
    static const char *const lines[] = {
        "\n",
        "hello\n",
        "{\"job_id\":\"j\"}\n",
        "{\"job_id\":\"j\",\"seq\":1,\"type\":\"s\",\"data\":{}}x\n",
        "\xff\xfe\x01\n",
    };
    struct event got;
    for (size_t i = 0; i < ARRAY_LEN(lines); i++) {
        assert_int_equal(write(fd, lines[i], strlen(lines[i])), strlen(lines[i]));
        gives(0, broker_next_event(b, 0, &got, e));
        ok(broker_send_event(b, &event, e));
        gives(1, broker_next_event(b, LONG_MS, &got, e));
        assert_string_equal(got.job_id, "j1");
    }
    /* NULs, and a line much longer than any buffer. */
    static char flood[200000];
    assert_int_equal(write(fd, flood, sizeof flood), sizeof flood);
    gives(0, broker_next_event(b, 0, &got, e));
    memset(flood, 'x', sizeof flood);
    assert_int_equal(write(fd, flood, sizeof flood), sizeof flood);
    assert_int_equal(write(fd, "\n", 1), 1);
    ok(broker_send_event(b, &event, e));
    gives(1, broker_next_event(b, LONG_MS, &got, e));
    /* An event in two pieces is one event. */
    static const char first[] = "{\"job_id\":\"j2\",\"seq\":5,\"type\":\"sta", rest[] = "te\",\"data\":{}}\n";
    assert_int_equal(write(fd, first, strlen(first)), strlen(first));
    gives(0, broker_next_event(b, 0, &got, e));
    assert_int_equal(write(fd, rest, strlen(rest)), strlen(rest));
    gives(1, broker_next_event(b, LONG_MS, &got, e));
    assert_string_equal(got.job_id, "j2");
    assert_string_equal(got.type, "state");
    close(fd);
    broker_close(b);
}

static void test_only_pipes_are_written_to(void **state)
{
    (void)state;
    char file[200], link[200], target[200];
    snprintf(file, sizeof file, "%s/events-file.fifo", folder);
    snprintf(link, sizeof link, "%s/events-link.fifo", folder);
    snprintf(target, sizeof target, "%s/target", folder);
    int fd = open(file, O_CREAT | O_WRONLY, 0600);
    assert_true(fd >= 0);
    close(fd);
    assert_int_equal(mkfifo(target, 0600), 0);
    int reader = open(target, O_RDWR | O_NONBLOCK);
    assert_true(reader >= 0);
    assert_int_equal(symlink(target, link), 0);
    struct broker *b = open_broker(false, true);
    struct event got;
    ok(broker_send_event(b, &event, e));
    gives(1, broker_next_event(b, LONG_MS, &got, e));
    struct stat st;
    assert_int_equal(stat(file, &st), 0);
    assert_int_equal(st.st_size, 0);
    char byte;
    assert_int_equal(read(reader, &byte, 1), -1);
    assert_int_equal(errno, EAGAIN);
    close(reader);
    broker_close(b);
    unlink(file);
    unlink(link);
    unlink(target);
}

static void test_a_full_pipe_takes_messages_again_later(void **state)
{
    (void)state;
    struct broker *b = open_broker(true, true);
    struct event big = event, got;
    memset(big.json, ' ', sizeof big.json - 1);
    big.json[0] = '{';
    big.json[sizeof big.json - 2] = '}';
    for (int i = 0; i < 1000; i++) { /* 3.5 MB */
        big.seq = i;
        ok(broker_send_event(b, &big, e));
        ok(broker_send_token(b, &token, e));
    }
    int64_t n = 0;
    struct err err = ERR_INIT;
    for (; broker_next_event(b, 0, &got, &err) == 1; n++)
        assert_int_equal(got.seq, n); /* the first ones, whole and in order */
    assert_true(n >= 10 && n < 1000);
    ok(broker_send_event(b, &event, e));
    gives(1, broker_next_event(b, LONG_MS, &got, e));
    assert_string_equal(got.json, "{}");
    gives(1, broker_wait(b, LONG_MS, e));
    gives(0, broker_wait(b, 0, e)); /* all tokens were one wake-up */
    ok(broker_send_token(b, &token, e));
    gives(1, broker_wait(b, LONG_MS, e));
    broker_close(b);
}

static void test_a_long_folder(void **state)
{
    (void)state;
    char deep[600];
    snprintf(deep, sizeof deep, "%s", folder);
    for (int i = 0; i < 8; i++)
        strncat(deep, "/a-folder-name-of-some-length-with-a-blank in-it", sizeof deep - strlen(deep) - 1);
    assert_true(strlen(deep) > 300); /* the address of a socket ends at 107 */
    struct broker *b = NULL;
    struct event got;
    ok(open_in(deep, true, true, &b, e));
    ok(broker_send_token(b, &token, e));
    ok(broker_send_event(b, &event, e));
    gives(1, broker_wait(b, LONG_MS, e));
    gives(1, broker_next_event(b, LONG_MS, &got, e));
    broker_close(b);
}

static void test_ping_sees_a_lost_pipe(void **state)
{
    (void)state;
    char path[400];
    int64_t ms;
    struct err err = ERR_INIT;
    struct broker *b = open_broker(true, true);
    ok(broker_ping(b, &ms, e));
    assert_int_equal(names("events-", path), 1);
    assert_int_equal(unlink(path), 0);
    assert_int_equal(broker_ping(b, &ms, &err), ERR_UNAVAILABLE);
    assert_int_equal(mkfifo(path, 0600), 0);
    assert_int_equal(broker_ping(b, &ms, &err), ERR_UNAVAILABLE);
    assert_non_null(strstr(err.msg, "replaced"));
    broker_close(b);

    b = open_broker(true, false);
    ok(io_remove_tree(folder, e));
    assert_int_equal(broker_ping(b, &ms, &err), ERR_UNAVAILABLE);
    ok(broker_send_token(b, &token, e)); /* a hint nobody gets */
    broker_close(b);
}

static void test_a_pipe_that_is_taken_away_is_made_anew(void **state)
{
    (void)state;
    char tokens[400], events[400];
    int64_t ms;
    struct event got;
    struct broker *b = open_broker(true, true);
    assert_int_equal(names("tokens-", tokens), 1);
    assert_int_equal(names("events-", events), 1);
    assert_int_equal(unlink(tokens), 0);
    assert_int_equal(unlink(events), 0);
    gives(0, broker_wait(b, 0, e));
    gives(0, broker_next_event(b, 0, &got, e));
    ok(broker_ping(b, &ms, e));
    ok(broker_send_token(b, &token, e));
    ok(broker_send_event(b, &event, e));
    gives(1, broker_wait(b, LONG_MS, e));
    gives(1, broker_next_event(b, LONG_MS, &got, e));
    broker_close(b);
    assert_int_equal(names("tokens-", NULL) + names("events-", NULL), 0);
}

static void test_bad_folders(void **state)
{
    (void)state;
    char open_folder[200];
    snprintf(open_folder, sizeof open_folder, "local:%s/open", folder);
    assert_int_equal(mkdir(open_folder + 6, 0700), 0);
    assert_int_equal(chmod(open_folder + 6, 0777), 0);
    const struct {
        const char *url;
        int code;
        const char *why;
    } rows[] = {
        {"", ERR_INVALID, "local:/absolute/folder"},
        {"/srv/broker", ERR_INVALID, "local:/absolute/folder"},
        {"local:", ERR_INVALID, "absolute"},
        {"local:broker", ERR_INVALID, "absolute"},
        {"local://host/x", ERR_INVALID, "absolute"},
        {"kafka://user:secret@host", ERR_INVALID, "'kafka:'"},
        {"rediss://:secret@host", ERR_UNSUPPORTED, "TLS"},
        {"amqps://user:secret@host:x", ERR_INVALID, "port"},
        {"amqp://user:secret@host?cacertfile=/x", ERR_INVALID, "amqps"},
        {"amqp://user:secret@host?heartbeat=1", ERR_INVALID, "2 to 600"},
        {"amqp://user:secret@host?verify=no", ERR_INVALID, "'verify'"},
        {"postgresql://user:sec/ret@host/db", ERR_INVALID, "malformed"},
        {"local:/dev/null", ERR_INVALID, "/dev/null"},
        {open_folder, ERR_INVALID, "chmod 700"},
    };
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        struct err err = ERR_INIT;
        struct broker *b = NULL;
        struct broker_opts o = {.url = rows[i].url, .tokens = true, .events = true};
        int rc = broker_open(&o, &b, &err);
        if (rc != rows[i].code || b || !strstr(err.msg, rows[i].why) || strstr(err.msg, "secret"))
            fail_msg("'%s': %s \"%s\"", rows[i].url, err_name(rc), err.msg);
    }
}

static int set_up(void **state)
{
    (void)state;
    snprintf(folder, sizeof folder, "/tmp/steno-test-XXXXXX");
    return mkdtemp(folder) ? 0 : -1;
}

static int tear_down(void **state)
{
    (void)state;
    struct err err = ERR_INIT;
    return io_remove_tree(folder, &err);
}

int main(void)
{
#define in_folder(t) cmocka_unit_test_setup_teardown(t, set_up, tear_down)
    const struct CMUnitTest tests[] = {
        in_folder(test_one_private_pipe_per_kind),
        in_folder(test_pipes_of_the_dead_are_removed),
        in_folder(test_unfinished_pipes_are_removed),
        in_folder(test_noise_in_a_pipe_is_dropped),
        in_folder(test_only_pipes_are_written_to),
        in_folder(test_a_full_pipe_takes_messages_again_later),
        in_folder(test_a_long_folder),
        in_folder(test_ping_sees_a_lost_pipe),
        in_folder(test_a_pipe_that_is_taken_away_is_made_anew),
        in_folder(test_bad_folders),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
