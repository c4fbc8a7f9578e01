/* SPDX-License-Identifier: MIT */
/* The reader of server-sent events: what the standard says, whatever the pieces are in which it comes. */
#include "cli/sse.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

struct seen {
    struct buf text; /* "[data]" of each event */
    int fail;
};

static int note(void *arg, const char *data, size_t n, struct err *err)
{
    struct seen *seen = arg;
    buf_addc(&seen->text, '[');
    buf_add(&seen->text, data, n);
    buf_addc(&seen->text, ']');
    return seen->fail ? err_set(err, seen->fail, "enough") : 0;
}

/* Feeds in pieces of `step` bytes. */
static void check(const char *stream, size_t len, size_t step, const char *expect, const char *id)
{
    struct seen seen = {.text = BUF_INIT(1 << 16)};
    struct sse s;
    struct err err = ERR_INIT;
    sse_init(&s, note, &seen);
    for (size_t i = 0; i < len; i += step)
        assert_int_equal(sse_feed(&s, stream + i, MIN(step, len - i), &err), 0);
    assert_string_equal(buf_str(&seen.text), expect);
    assert_string_equal(sse_last_id(&s), id);
    sse_clear(&s);
    buf_clear(&seen.text);
}

static void test_the_standard(void **state)
{
    (void)state;
    static const struct {
        const char *stream, *expect, *id;
    } rows[] = {
        {"data: one\n\n", "[one]", ""},
        {"data: one\n\ndata: two\n\n", "[one][two]", ""},
        {"data: one\ndata: two\n\n", "[one\ntwo]", ""},
        {"data: one\r\ndata: two\r\n\r\n", "[one\ntwo]", ""},
        {"data: one\rdata: two\r\r", "[one\ntwo]", ""},
        {"data: one\r\r\ndata: two\n\r", "[one][two]", ""},
        {"\xef\xbb\xbf"
         "data: one\n\n",
         "[one]", ""},
        {"data: \xef\xbb\xbfone\n\n", "[\xef\xbb\xbfone]", ""},
        {"data:one\n\ndata:  two\n\n", "[one][ two]", ""},
        {"data\n\n", "[]", ""},
        {"data\ndata\n\n", "[\n]", ""},
        {"data:\n\n", "[]", ""},
        {": a comment\n\n:\n\ndata: one\n:again\n\n", "[one]", ""},
        {"retry: 2000\n\nid: 3\ndata: {\"a\":1}\n\n", "[{\"a\":1}]", "3"},
        {"id: 3\ndata: one\n\ndata: two\n\n", "[one][two]", "3"},
        {"id: 3\ndata: one\n\nid\ndata: two\n\n", "[one][two]", ""},
        {"event: x\ndata: one\n\nnothing: known\nDATA: two\n data: three\n\n", "[one]", ""},
        {"data: not yet over\n", "", ""},
        {"id: 3\ndata: one\n\nid: 4\ndata: not yet over\n", "[one]", "3"},
        {"data: not yet over", "", ""},
        {"", "", ""},
        {"\n\n\r\n", "", ""},
    };
    for (size_t i = 0; i < ARRAY_LEN(rows); i++)
        for (size_t step = 1; step < 8; step++)
            check(rows[i].stream, strlen(rows[i].stream), step, rows[i].expect, rows[i].id);
    static const char zero[] = "id: 7\ndata: a\n\nid: 8\0x\ndata: b\n\n";
    check(zero, sizeof zero - 1, 5, "[a][b]", "7");
}

static void test_an_id_that_is_too_long_is_none(void **state)
{
    (void)state;
    CLEANUP(buf_clear) struct buf b = BUF_INIT(4096);
    buf_adds(&b, "id: 1\ndata: a\n\nid: ");
    for (int i = 0; i < SSE_ID_MAX + 1; i++)
        buf_addc(&b, '9');
    buf_adds(&b, "\ndata: b\n\n");
    check(b.data, b.len, 100, "[a][b]", "");
}

/* Nothing is kept beyond the limit, be it one line or many. */
static void test_the_limit(void **state)
{
    (void)state;
    static const char *const starts[] = {"data: ", ": "};
    char *block = malloc(65536);
    memset(block, 'x', 65536);
    for (int lines = 0; lines < 2; lines++)
        for (size_t k = 0; k < ARRAY_LEN(starts); k++) {
            struct seen seen = {.text = BUF_INIT(16)};
            struct err err = ERR_INIT;
            struct sse s;
            sse_init(&s, note, &seen);
            int rc = 0, n = 0;
            for (; rc == 0 && n < 2 * SSE_MAX / 65536; n++) {
                if (!n || lines)
                    rc = sse_feed(&s, starts[k], strlen(starts[k]), &err);
                if (rc == 0)
                    rc = sse_feed(&s, block, 65536, &err);
                if (rc == 0 && lines)
                    rc = sse_feed(&s, "\n", 1, &err);
            }
            /* Many comments are no event: they may go on for ever. */
            assert_int_equal(rc, lines && k == 1 ? 0 : ERR_TOO_LARGE);
            assert_true(s.line.cap <= 2 * SSE_MAX && s.data.cap <= 2 * SSE_MAX);
            sse_clear(&s);
            buf_clear(&seen.text);
        }
    free(block);
}

static void test_a_new_connection_forgets_halves_but_not_the_id(void **state)
{
    (void)state;
    struct seen seen = {.text = BUF_INIT(1000)};
    struct err err = ERR_INIT;
    struct sse s;
    sse_init(&s, note, &seen);
    static const char cut[] = "id: 5\ndata: whole\n\nid: 6\ndata: cut\nda";
    assert_int_equal(sse_feed(&s, cut, sizeof cut - 1, &err), 0);
    sse_restart(&s);
    assert_string_equal(sse_last_id(&s), "5");
    static const char next[] = "\xef\xbb\xbf"
                               "data: next\n\n";
    assert_int_equal(sse_feed(&s, next, sizeof next - 1, &err), 0);
    assert_string_equal(buf_str(&seen.text), "[whole][next]");
    sse_clear(&s);
    buf_clear(&seen.text);
}

static void test_whoever_takes_events_can_end_it(void **state)
{
    (void)state;
    struct seen seen = {.text = BUF_INIT(1000), .fail = ERR_CANCELLED};
    struct err err = ERR_INIT;
    struct sse s;
    sse_init(&s, note, &seen);
    static const char two[] = "data: one\n\ndata: two\n\n";
    assert_int_equal(sse_feed(&s, two, sizeof two - 1, &err), ERR_CANCELLED);
    assert_string_equal(buf_str(&seen.text), "[one]");
    sse_clear(&s);
    buf_clear(&seen.text);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_the_standard),
        cmocka_unit_test(test_an_id_that_is_too_long_is_none),
        cmocka_unit_test(test_the_limit),
        cmocka_unit_test(test_a_new_connection_forgets_halves_but_not_the_id),
        cmocka_unit_test(test_whoever_takes_events_can_end_it),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
