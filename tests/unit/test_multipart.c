/* SPDX-License-Identifier: MIT */
#include "api/multipart.h"

#include "base/buf.h"
#include "base/mem.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

/* Writes what the parser tells as a line: "[name|filename|type]data." per part. */
static int on_begin(void *arg, const struct multipart_part *p, struct err *err)
{
    (void)err;
    buf_addf(arg, "[%s|%s|%s]", p->name, p->filename ? p->filename : "-", p->content_type ? p->content_type : "-");
    return 0;
}

static int on_data(void *arg, const void *data, size_t n, struct err *err)
{
    (void)err;
    assert_true(n > 0);
    buf_add(arg, data, n);
    return 0;
}

static int on_end(void *arg, struct err *err)
{
    (void)err;
    buf_addc(arg, '.');
    return 0;
}

static const struct multipart_ops ops = {.part_begin = on_begin, .part_data = on_data, .part_end = on_end};

/* Feeds body in pieces of `step` bytes, each in memory of its own so that a sanitizer sees reads beyond it. */
static int parse(const char *body, size_t n, size_t step, struct buf *out, struct err *err)
{
    struct multipart m;
    multipart_init(&m, "XyZ", &ops, out);
    int rc = 0;
    for (size_t i = 0; i < n && rc >= 0; i += step) {
        size_t len = MIN(step, n - i);
        char *piece = malloc(len);
        memcpy(piece, body + i, len);
        rc = multipart_feed(&m, piece, len, err);
        free(piece);
    }
    if (rc >= 0)
        rc = multipart_finish(&m, err);
    multipart_clear(&m);
    return rc;
}

#define CD     "Content-Disposition: form-data; "
#define FILE_A CD "name=\"file\"; filename=\"a.wav\"\r\n"

struct body_case {
    const char *body, *want;
    size_t n; /* 0: strlen */
};

static const struct body_case good[] = {
    {"--XyZ\r\n" FILE_A "\r\nabc\r\n--XyZ--\r\n", "[file|a.wav|-]abc.", 0},
    {"--XyZ\r\n" FILE_A "\r\nabc\r\n--XyZ--", "[file|a.wav|-]abc.", 0},
    {"\r\n--XyZ\r\n" FILE_A "\r\nabc\r\n--XyZ--", "[file|a.wav|-]abc.", 0},
    {"--XyZ\r\n" FILE_A "\r\n\r\n--XyZ--\r\n", "[file|a.wav|-].", 0},
    {"--XyZ \t\r\n" CD "name=a\r\n\r\n1\r\n--XyZ\r\n" CD "name=b\r\n\r\n2\r\n--XyZ--", "[a|-|-]1.[b|-|-]2.", 0},
    {"--XyZ\r\ncontent-TYPE:audio/wav\r\nX-Other: 1\r\n" FILE_A "\r\nx\r\n--XyZ--", "[file|a.wav|audio/wav]x.", 0},
    /* What looks like a delimiter and is none. */
    {"--XyZ\r\n" CD "name=a\r\n\r\n\r\r\n\r\n-\r\n--\r\n--Xy\r\n--xyz--XyZ\r\n--XyZ--",
     "[a|-|-]\r\r\n\r\n-\r\n--\r\n--Xy\r\n--xyz--XyZ.", 0},
    {"--XyZ\r\n" CD "name=a\r\n\r\n\r\n--Xy\r\n--XyZ--", "[a|-|-]\r\n--Xy.", 0},
    {"--XyZ\r\n" CD "name=a\r\n\r\n\r\r\r\n--XyZ--", "[a|-|-]\r\r.", 0},
    /* Names. */
    {"--XyZ\r\n" CD "name=\"file\"; filename=\"a \\\"b\\\\c\\d;e.wav\"\r\n\r\n1\r\n--XyZ--",
     "[file|a \"b\\c\\d;e.wav|-]1.", 0},
    {"--XyZ\r\n" CD "name=\"file\"; filename=\"../../etc/passwd\"\r\n\r\n1\r\n--XyZ--", "[file|../../etc/passwd|-]1.",
     0},
    {"--XyZ\r\n" CD "name=file; filename=\"x\"; filename*=UTF-8''%e2%82%ac%20a\r\n\r\n1\r\n--XyZ--",
     "[file|\xE2\x82\xAC a|-]1.", 0},
    {"--XyZ\r\n" CD "filename*=iso-8859-1'de'%fcb; name=file\r\n\r\n1\r\n--XyZ--",
     "[file|\xC3\xBC"
     "b|-]1.",
     0},
    {"--XyZ\r\n" CD "name=file; filename=\"\"\r\n\r\n1\r\n--XyZ--", "[file||-]1.", 0},
    {"--XyZ\r\nContent-Transfer-Encoding: binary\r\n" CD "name=a\r\n\r\n1\r\n--XyZ--", "[a|-|-]1.", 0},
};

struct bad_case {
    const char *body, *want; /* a part of the sentence */
    size_t n;
};

static const struct bad_case bad[] = {
    {"", "cut off", 0},
    {"--XyZ", "cut off", 0},
    {"--XyZ\r\n" FILE_A, "cut off", 0},
    {"--XyZ\r\n" FILE_A "\r\n", "cut off", 0},
    {"--XyZ\r\n" FILE_A "\r\nabc", "cut off", 0},
    {"--XyZ\r\n" FILE_A "\r\nabc\r\n--XyZ", "cut off", 0},
    {"--XyZ\r\n" FILE_A "\r\nabc\r\n--XyZ-", "cut off", 0},
    {"--XyZ\r\n" FILE_A "\r\nabc\r\n--XyZ\r\n", "cut off", 0},
    {"--abc\r\n" FILE_A "\r\nabc\r\n--abc--", "does not begin with the boundary", 0},
    {"preamble\r\n--XyZ\r\n" FILE_A "\r\nabc\r\n--XyZ--", "does not begin with the boundary", 0},
    {"\r\n\n--XyZ\r\n", "does not begin with the boundary", 0},
    {"\r\n--Xyz\r\n", "does not begin with the boundary", 0},
    {"--XyZ\n" CD "name=a\n\n1\n--XyZ--", "followed by something else", 0},
    {"--XyZa\r\n", "followed by something else", 0},
    {"--XyZ-\r\n", "followed by something else", 0},
    {"--XyZ\r\n" FILE_A "\r\nabc\r\n--XyZw", "cut off", 0},
    {"--XyZ\r\n" FILE_A "\r\nabc\r\n--XyZwx", "followed by something else", 0},
    {"--XyZ\r\n" FILE_A "\r\nabc\r\n--XyZ--\r\nGET / HTTP/1.1\r\n", "follows the closing boundary", 0},
    {"--XyZ--\r\n\0", "follows the closing boundary", 10},
    {"--XyZ\r\n\r\nabc\r\n--XyZ--", "no Content-Disposition", 0},
    {"--XyZ\r\nContent-Type: a/b\r\n\r\nabc\r\n--XyZ--", "no Content-Disposition", 0},
    {"--XyZ\r\n" CD "\r\n\r\n", "is not 'form-data", 0},
    {"--XyZ\r\n" CD "name=\"\"\r\n\r\n", "is not 'form-data", 0},
    {"--XyZ\r\n" CD "name=\"a\r\n\r\n", "line is malformed", 0},
    {"--XyZ\r\n" CD "name=a b\r\n\r\n", "line is malformed", 0},
    {"--XyZ\r\n" CD "name\r\n\r\n", "line is malformed", 0},
    {"--XyZ\r\n" CD "=a\r\n\r\n", "line is malformed", 0},
    {"--XyZ\r\nContent-Disposition: attachment; name=a\r\n\r\n", "is not 'form-data", 0},
    {"--XyZ\r\n" CD "name=a; name=b\r\n\r\n", "names something twice", 0},
    {"--XyZ\r\n" CD "name=a; filename=b; filename=c\r\n\r\n", "names something twice", 0},
    {"--XyZ\r\n" CD "name=a\r\n" CD "name=a\r\n\r\n", "two Content-Disposition", 0},
    {"--XyZ\r\n" CD "name=a; filename*=UTF-8''%zz\r\n\r\n", "filename*", 0},
    {"--XyZ\r\n" CD "name=a; filename*=UTF-8''%0\r\n\r\n", "filename*", 0},
    {"--XyZ\r\n" CD "name=a; filename*=UTF-8''%00\r\n\r\n", "filename*", 0},
    {"--XyZ\r\n" CD "name=a; filename*=koi8-r''a\r\n\r\n", "filename*", 0},
    {"--XyZ\r\n" CD "name=a; filename*=a\r\n\r\n", "filename*", 0},
    {"--XyZ\r\n" CD "name=a;\r\n filename=b\r\n\r\n", "folded", 0},
    {"--XyZ\r\nno colon\r\n\r\n", "not 'Name: value'", 0},
    {"--XyZ\r\n: x\r\n\r\n", "not 'Name: value'", 0},
    {"--XyZ\r\nName : x\r\n\r\n", "not 'Name: value'", 0},
    {"--XyZ\r\n" CD "name=a\nb\r\n\r\n", "bare line break", 0},
    {"--XyZ\r\n" CD "name=a\rb\r\n\r\n", "bare line break", 0},
    {"--XyZ\r\n" CD "name=\"a\0b\"\r\n\r\n", "NUL", 51},
    {"--XyZ\r\nContent-Transfer-Encoding: base64\r\n" CD "name=a\r\n\r\n", "transfer encoding", 0},
};

static void test_good_bodies_split_everywhere(void **state)
{
    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(good); i++) {
        size_t n = good[i].n ? good[i].n : strlen(good[i].body);
        for (size_t step = 1; step <= n; step++) {
            CLEANUP(buf_clear) struct buf out = BUF_INIT(65536);
            struct err err = ERR_INIT;
            int rc = parse(good[i].body, n, step, &out, &err);
            if (rc < 0 || strcmp(buf_str(&out), good[i].want) != 0)
                fail_msg("body %zu in pieces of %zu: '%s' %s", i, step, buf_str(&out), err.msg);
        }
    }
}

static void test_bad_bodies_split_everywhere(void **state)
{
    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(bad); i++) {
        size_t n = bad[i].n ? bad[i].n : strlen(bad[i].body);
        for (size_t step = 1; step <= MAX(n, 1); step++) {
            CLEANUP(buf_clear) struct buf out = BUF_INIT(65536);
            struct err err = ERR_INIT;
            int rc = parse(bad[i].body, n, step, &out, &err);
            if (rc != ERR_INVALID || !strstr(err.msg, bad[i].want))
                fail_msg("body %zu in pieces of %zu: %d '%s'", i, step, rc, err.msg);
        }
    }
}

/* Cut anywhere, a whole body is never taken for whole. */
static void test_truncation_is_seen_at_every_byte(void **state)
{
    (void)state;
    static const char body[] = "--XyZ\r\n" FILE_A "\r\nabc\r\n--XyZ\r\n" CD "name=b\r\n\r\n2\r\n--XyZ--";
    for (size_t n = 0; n < sizeof body - 1; n++) {
        CLEANUP(buf_clear) struct buf out = BUF_INIT(65536);
        struct err err = ERR_INIT;
        assert_int_equal(parse(body, n, 7, &out, &err), ERR_INVALID);
    }
}

static void test_memory_is_bounded(void **state)
{
    (void)state;
    CLEANUP(buf_clear) struct buf body = BUF_INIT(1 << 20), out = BUF_INIT(1 << 20);
    struct err err = ERR_INIT;
    buf_adds(&body, "--XyZ\r\nX: ");
    for (int i = 0; i < MULTIPART_HEADER_MAX; i++)
        buf_addc(&body, 'a');
    assert_int_equal(parse(body.data, body.len, 1000, &out, &err), ERR_INVALID);
    assert_non_null(strstr(err.msg, "too long"));

    buf_reset(&body);
    for (int i = 0; i <= MULTIPART_PARTS_MAX; i++)
        buf_addf(&body, "%s--XyZ\r\n" CD "name=a\r\n\r\n1", i ? "\r\n" : "");
    buf_adds(&body, "\r\n--XyZ--");
    assert_int_equal(parse(body.data, body.len, 1000, &out, &err), ERR_INVALID);
    assert_non_null(strstr(err.msg, "too many parts"));
}

static int count_data(void *arg, const void *data, size_t n, struct err *err)
{
    (void)data;
    (void)n;
    (void)err;
    ++*(int *)arg;
    return 0;
}

static int ignore_begin(void *arg, const struct multipart_part *p, struct err *err)
{
    (void)arg;
    (void)p;
    (void)err;
    return 0;
}

static int ignore_end(void *arg, struct err *err)
{
    (void)arg;
    (void)err;
    return 0;
}

/* Every 256th byte of a recording is a CR: if each made a piece of its own, storage would get a write for each. */
static void test_data_comes_in_large_pieces(void **state)
{
    (void)state;
    const struct multipart_ops counting = {.part_begin = ignore_begin, .part_data = count_data, .part_end = ignore_end};
    static const char head[] = "--XyZ\r\n" FILE_A "\r\n";
    char data[4096];
    int pieces = 0;
    struct err err = ERR_INIT;
    struct multipart m;
    for (size_t i = 0; i < sizeof data; i++)
        data[i] = "\r\n--Xy\r"[i % 7];
    multipart_init(&m, "XyZ", &counting, &pieces);
    assert_int_equal(multipart_feed(&m, head, sizeof head - 1, &err), 0);
    for (int i = 0; i < 10; i++)
        assert_int_equal(multipart_feed(&m, data, sizeof data, &err), 0);
    multipart_clear(&m);
    assert_true(pieces >= 10 && pieces <= 20);
}

static int refuse_data(void *arg, const void *data, size_t n, struct err *err)
{
    (void)arg;
    (void)data;
    (void)n;
    return err_set(err, ERR_TOO_LARGE, "enough");
}

static void test_an_operation_ends_it(void **state)
{
    (void)state;
    const struct multipart_ops refusing = {.part_begin = on_begin, .part_data = refuse_data, .part_end = on_end};
    CLEANUP(buf_clear) struct buf out = BUF_INIT(65536);
    static const char body[] = "--XyZ\r\n" FILE_A "\r\nabc\r\n--XyZ--\r\n";
    struct err err = ERR_INIT;
    struct multipart m;
    multipart_init(&m, "XyZ", &refusing, &out);
    assert_int_equal(multipart_feed(&m, body, sizeof body - 1, &err), ERR_TOO_LARGE);
    assert_int_equal(multipart_feed(&m, body, sizeof body - 1, &err), ERR_INVALID);
    assert_int_equal(multipart_finish(&m, &err), ERR_INVALID);
    multipart_clear(&m);
}

static void test_boundaries(void **state)
{
    (void)state;
    static const struct {
        const char *type, *want; /* want NULL: refused with `code` */
        int code;
    } cases[] = {
        {"multipart/form-data; boundary=abc", "abc", 0},
        {"Multipart/Form-Data;boundary=\"a b'()+_,-./:=?\"", "a b'()+_,-./:=?", 0},
        {"multipart/form-data; charset=utf-8; BOUNDARY=----WebKit0", "----WebKit0", 0},
        {"multipart/form-data;  boundary=abc;", "abc", 0},
        {"multipart/form-data ; boundary=abc", "abc", 0},
        {NULL, NULL, ERR_UNSUPPORTED},
        {"", NULL, ERR_UNSUPPORTED},
        {"application/json", NULL, ERR_UNSUPPORTED},
        {"multipart/mixed; boundary=a", NULL, ERR_UNSUPPORTED},
        {"multipart/form-datax; boundary=a", NULL, ERR_UNSUPPORTED},
        {"multipart/form-data", NULL, ERR_INVALID},
        {"multipart/form-data; boundary", NULL, ERR_INVALID},
        {"multipart/form-data; boundary=", NULL, ERR_INVALID},
        {"multipart/form-data; boundary=\"\"", NULL, ERR_INVALID},
        {"multipart/form-data; boundary=\"a", NULL, ERR_INVALID},
        {"multipart/form-data; boundary=\"a \"", NULL, ERR_INVALID},
        {"multipart/form-data; boundary=\"a\x01\"", NULL, ERR_INVALID},
        {"multipart/form-data; boundary=a; boundary=b", NULL, ERR_INVALID},
        {"multipart/form-data; boundary=a b", NULL, ERR_INVALID},
        {"multipart/form-data; boundary=0123456789012345678901234567890123456789012345678901234567890123456789",
         "0123456789012345678901234567890123456789012345678901234567890123456789", 0},
        {"multipart/form-data; boundary=01234567890123456789012345678901234567890123456789012345678901234567890", NULL,
         ERR_INVALID},
    };
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        char got[MULTIPART_BOUNDARY_MAX + 1] = "untouched";
        struct err err = ERR_INIT;
        int rc = multipart_boundary(cases[i].type, got, &err);
        if (rc != (cases[i].want ? 0 : cases[i].code) || strcmp(got, cases[i].want ? cases[i].want : "untouched") != 0)
            fail_msg("case %zu: %d '%s' %s", i, rc, got, err.msg);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_good_bodies_split_everywhere),
        cmocka_unit_test(test_bad_bodies_split_everywhere),
        cmocka_unit_test(test_truncation_is_seen_at_every_byte),
        cmocka_unit_test(test_memory_is_bounded),
        cmocka_unit_test(test_an_operation_ends_it),
        cmocka_unit_test(test_data_comes_in_large_pieces),
        cmocka_unit_test(test_boundaries),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
