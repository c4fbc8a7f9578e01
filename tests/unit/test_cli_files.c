/* SPDX-License-Identifier: MIT */
/* What the commands leave in folders: the server's address, the lock, outputs; and the URLs they make. */
#include "base/io.h"
#include "base/mem.h"
#include "base/str.h"
#include "cli/client.h"
#include "cli/lock.h"
#include "cli/output.h"
#include "cli/server_url.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

static int make_folder(void **state)
{
    char name[] = "/tmp/steno-cli-XXXXXX";
    if (!mkdtemp(name))
        return -1;
    *state = xstrdup(name);
    return 0;
}

static int remove_folder(void **state)
{
    struct err err = ERR_INIT;
    int rc = io_remove_tree(*state, &err);
    free(*state);
    return rc;
}

static char *content(const char *folder, const char *name)
{
    CLEANUP(free_p) char *path = xasprintf("%s/%s", folder, name);
    struct err err = ERR_INIT;
    char *text = NULL;
    return io_read_file(path, 4096, &text, NULL, &err) < 0 ? NULL : text;
}

static void addresses_for_clients(void **state)
{
    static const char *const rows[][2] = {
        {"127.0.0.1:8000", "http://127.0.0.1:8000"}, {"0.0.0.0:8000", "http://127.0.0.1:8000"},
        {"[::]:8000", "http://[::1]:8000"},          {"[::1]:80", "http://[::1]:80"},
        {"example.org:80", "http://example.org:80"}, {"unix:/run/s.sock", "unix:/run/s.sock"},
    };
    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        CLEANUP(buf_clear) struct buf b = BUF_INIT(256);
        server_url_add(&b, rows[i][0]);
        assert_string_equal(buf_str(&b), rows[i][1]);
    }
}

static struct conf *load(const char *folder, const char *flag1, const char *flag2)
{
    CLEANUP(free_p) char *data = xasprintf("data=%s", folder);
    const char *flags[] = {data, flag1, flag2, NULL};
    struct conf_load_opts o = {.dotenv = "", .flags = flags};
    struct conf *c = NULL;
    struct err err = ERR_INIT;
    assert_int_equal(conf_load(&o, &c, &err), 0);
    return c;
}

static void expect_url(const char *folder, const char *flag1, const char *flag2, const char *url)
{
    struct conf *c = load(folder, flag1, flag2);
    struct err err = ERR_INIT;
    char *got = NULL;
    assert_int_equal(server_url(c, &got, &err), 0);
    assert_string_equal(got, url);
    free(got);
    conf_free(c);
}

static void server_is_found(void **state)
{
    const char *folder = *state;
    struct err err = ERR_INIT;
    expect_url(folder, "listen=127.0.0.1:81,127.0.0.1:82", NULL, "http://127.0.0.1:81");
    expect_url(folder, "listen=unix:/tmp/s.sock", NULL, "unix:/tmp/s.sock");
    struct conf *free_port = load(folder, "listen=127.0.0.1:0", NULL);
    char *url = NULL;
    assert_int_equal(server_url(free_port, &url, &err), ERR_UNAVAILABLE);
    assert_null(url);

    assert_int_equal(server_url_publish(free_port, "127.0.0.1:4711", &err), 0);
    char *text = content(folder, "run/api.address");
    assert_string_equal(text, "http://127.0.0.1:4711\n");
    free(text);
    expect_url(folder, "listen=127.0.0.1:0", NULL, "http://127.0.0.1:4711");
    expect_url(folder, "listen=127.0.0.1:81", NULL, "http://127.0.0.1:4711");
    expect_url(folder, "server=http://other:80/", "listen=127.0.0.1:81", "http://other:80");

    /* Another server took over: the first must not take its address away. */
    assert_int_equal(server_url_publish(free_port, "127.0.0.1:4712", &err), 0);
    server_url_withdraw(free_port, "127.0.0.1:4711");
    expect_url(folder, "listen=127.0.0.1:0", NULL, "http://127.0.0.1:4712");
    server_url_withdraw(free_port, "127.0.0.1:4712");
    assert_null(content(folder, "run/api.address"));
    conf_free(free_port);
}

static void one_lock_a_folder(void **state)
{
    struct err err = ERR_INIT;
    int first = -1, second = -1;
    assert_int_equal(lock_data(*state, &first, &err), 0);
    assert_int_equal(lock_data(*state, &second, &err), ERR_CONFLICT);
    char pid[32];
    snprintf(pid, sizeof pid, "(pid %d)", (int)getpid());
    assert_non_null(strstr(err.msg, pid));
    assert_int_equal(second, -1);
    close(first);
    assert_int_equal(lock_data(*state, &second, &err), 0);
    close(second);
    assert_int_equal(lock_data("/nowhere", &second, &err), ERR_NOT_FOUND);
}

static void output_appears_whole(void **state)
{
    const char *folder = *state;
    struct err err = ERR_INIT;
    struct output o;
    CLEANUP(free_p) char *path = xasprintf("%s/out.txt", folder), *sub = xasprintf("%s/many", folder);
    assert_int_equal(output_open(&o, path, false, "in.wav", "txt", &err), 0);
    assert_int_equal(output_write("hello", 5, &o, &err), 0);
    assert_null(content(folder, "out.txt"));
    output_clear(&o); /* never committed */
    assert_null(content(folder, "out.txt"));

    assert_int_equal(output_open(&o, path, false, "in.wav", "txt", &err), 0);
    assert_int_equal(output_write("hello", 5, &o, &err), 0);
    assert_int_equal(output_commit(&o, &err), 0);
    output_clear(&o);
    char *text = content(folder, "out.txt");
    assert_string_equal(text, "hello");
    free(text);

    static const char *const names[][2] = {
        {"/a/b/talk.mp3", "many/talk.srt"}, {"talk", "many/talk.srt"}, {"two.dots.wav", "many/two.dots.srt"},
        {".hidden", "many/.hidden.srt"},    {"-", "many/stdin.srt"},
    };
    for (size_t i = 0; i < ARRAY_LEN(names); i++) {
        assert_int_equal(output_open(&o, sub, true, names[i][0], "srt", &err), 0);
        assert_int_equal(output_commit(&o, &err), 0);
        output_clear(&o);
        text = content(folder, names[i][1]);
        assert_non_null(text);
        free(text);
    }
    assert_int_equal(output_open(&o, "/nowhere/x", false, "a", "srt", &err), ERR_NOT_FOUND);
    output_clear(&o);
}

static void requests_are_escaped(void **state)
{
    (void)state;
    CLEANUP(buf_clear) struct buf b = BUF_INIT(1024);
    buf_adds(&b, "/v1/jobs/");
    client_add_escaped(&b, "../a b?c#d\n");
    client_add_query(&b, "none", NULL);
    client_add_query(&b, "status", "a&b=c");
    client_add_query(&b, "cursor", "\xC3\xA4+~");
    assert_string_equal(buf_str(&b), "/v1/jobs/..%2Fa%20b%3Fc%23d%0A?status=a%26b%3Dc&cursor=%C3%A4%2B~");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(addresses_for_clients),
        cmocka_unit_test_setup_teardown(server_is_found, make_folder, remove_folder),
        cmocka_unit_test_setup_teardown(one_lock_a_folder, make_folder, remove_folder),
        cmocka_unit_test_setup_teardown(output_appears_whole, make_folder, remove_folder),
        cmocka_unit_test(requests_are_escaped),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
