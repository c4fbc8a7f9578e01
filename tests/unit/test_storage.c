/* SPDX-License-Identifier: MIT */
/* What is the same for every storage back end: keys, safe names, URLs. */
#include "storage/storage.h"

#include "base/str.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#define DEEP16 "1/2/3/4/5/6/7/8/9/a/b/c/d/e/f/g"

static void test_keys(void **state)
{
    (void)state;
    static const struct {
        const char *key;
        const char *why; /* a part of the sentence; NULL: good */
    } rows[] = {
        {"a", NULL},
        {"uploads/019a8f3e-7c1d-7b42-9d2a-5e0c6f1a2b3c/my song.mp3", NULL},
        {"results/1/2/transcription.json", NULL},
        {"a..b/c.", NULL},
        {"-", NULL},
        {"grün/録音/🎙️", NULL},
        {DEEP16, NULL},
        {"", "1 to 1024 bytes"},
        {"/", "empty part"},
        {"/a", "empty part"},
        {"a/", "empty part"},
        {"a//b", "empty part"},
        {".", "starts with a dot"},
        {"..", "starts with a dot"},
        {"../../etc/passwd", "starts with a dot"},
        {"a/../b", "starts with a dot"},
        {"a/./b", "starts with a dot"},
        {"a/..", "starts with a dot"},
        {".tmp/x", "starts with a dot"},
        {"a/.hidden", "starts with a dot"},
        {"a\\..\\b", "backslash"},
        {"a\nb", "control"},
        {"a\tb", "control"},
        {"a\x01", "control"},
        {"a\x7f", "control"},
        {"a\xc2\x80", "control"},
        {"a\xc2\x9f", "control"},
        {"a\xc2\xa0", NULL},
        {"\xff", "UTF-8"},
        {"a\xc3", "UTF-8"},
        {"\xc0\xaf", "UTF-8"},     /* overlong '/' */
        {"\xed\xa0\x80", "UTF-8"}, /* surrogate */
        {DEEP16 "/h", "17 parts"},
    };
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        struct err e = ERR_INIT;
        int rc = storage_key_check(rows[i].key, &e);
        if (rc != (rows[i].why ? ERR_INVALID : 0) || (rows[i].why && !strstr(e.msg, rows[i].why)))
            fail_msg("key '%s': %d \"%s\"", rows[i].key, rc, e.msg);
    }
}

static void test_key_lengths(void **state)
{
    (void)state;
    char key[1100];
    struct err e = ERR_INIT;
    memset(key, 'x', sizeof key);
    key[255] = '\0';
    assert_int_equal(storage_key_check(key, &e), 0);
    key[255] = 'x';
    key[256] = '\0';
    assert_int_equal(storage_key_check(key, &e), ERR_INVALID);
    assert_non_null(strstr(e.msg, "256 bytes"));
    key[256] = 'x';
    for (int i = 200; i < 1100; i += 200)
        key[i] = '/';
    key[1024] = '\0';
    assert_int_equal(storage_key_check(key, &e), 0);
    key[1024] = 'x';
    key[1025] = '\0';
    assert_int_equal(storage_key_check(key, &e), ERR_INVALID);
    assert_non_null(strstr(e.msg, "1025"));
}

#define TEN(s) s s s s s s s s s s

static void test_safe_names(void **state)
{
    (void)state;
    static const struct {
        const char *in, *out;
    } rows[] = {
        {"song.mp3", "song.mp3"},
        {"My Song (live) [2024].mp3", "My Song (live) [2024].mp3"},
        {"", "audio"},
        {".", "audio"},
        {"..", "audio"},
        {"...", "audio"},
        {" ", "audio"},
        {". . .", "audio"},
        {"/", "audio"},
        {"\\", "audio"},
        {"a/", "audio"},
        {"../../etc/passwd", "passwd"},
        {"/etc/passwd", "passwd"},
        {"..\\..\\windows\\system32\\x.wav", "x.wav"},
        {"C:\\Users\\me\\x.wav", "x.wav"},
        {"a/b\\c", "c"},
        {"a\\b/c", "c"},
        {"CON", "CON"},
        {".hidden", "hidden"},
        {"..mp3", "mp3"},
        {" .x.mp3", "x.mp3"},
        {"-rf", "-rf"},
        {"a..b.mp3", "a..b.mp3"},
        {"line\nend.mp3", "line_end.mp3"},
        {"\x1b[31mred.mp3", "_[31mred.mp3"},
        {"bell\x07\x7f.mp3", "bell__.mp3"},
        {"c1\xc2\x9b"
         "31m.mp3",
         "c1_31m.mp3"},
        {"grün 録音 🎙️.ogg", "grün 録音 🎙️.ogg"},
        {"\xe2\x80\xaegpj.exe", "_gpj.exe"},          /* right-to-left override */
        {"a\xe2\x80\x8f\xe2\x81\xa7.mp3", "a__.mp3"}, /* right-to-left mark, isolate */
        {"a\xe2\x80\xa8.mp3", "a_.mp3"},              /* line separator */
        {"\xef\xbb\xbf"
         "bom.mp3",
         "_bom.mp3"},
        {"bad\xff\xfe.mp3", "bad\xef\xbf\xbd\xef\xbf\xbd.mp3"},
        {"cut\xc3", "cut\xef\xbf\xbd"},
        {"overlong\xc0\xaf.mp3", "overlong\xef\xbf\xbd\xef\xbf\xbd.mp3"},
        {"%2e%2e%2fx", "%2e%2e%2fx"},
        /* 200 bytes stay, the 201st cuts the stem and keeps the ending. */
        {TEN("0123456789") TEN("012345678"), TEN("0123456789") TEN("012345678")},
        {TEN("0123456789") TEN("0123456789"), TEN("0123456789") TEN("0123456789")},
        {TEN("0123456789") TEN("0123456789") ".mp3",
         TEN("0123456789") "012345678901234567890123456789012345678901234567890123456789"
                           "012345678901234567890123456789012345.mp3"},
        {TEN("0123456789") TEN("0123456789") ".not an ending at all", TEN("0123456789") TEN("0123456789")},
        /* 66 three-byte characters are 198 bytes: no half character, also before an ending. */
        {TEN("音音音音音音音音音音"), TEN("音音音音音音") "音音音音音音"},
        {TEN("音音音音音音音音音音") ".flac", TEN("音音音音音音") "音音音音音.flac"},
    };
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        char out[256];
        memset(out, '#', sizeof out);
        storage_safe_name(rows[i].in, out, sizeof out);
        if (strcmp(out, rows[i].out) != 0)
            fail_msg("row %zu: '%s' became '%s', not '%s'", i, rows[i].in, out, rows[i].out);
        assert_true(strlen(out) <= 200);
        struct err e = ERR_INIT;
        if (storage_key_check(out, &e) < 0)
            fail_msg("row %zu: '%s' is no key part: %s", i, out, e.msg);
        assert_null(strchr(out, '/'));
    }
}

static void test_safe_names_fit_small_buffers(void **state)
{
    (void)state;
    static const char *const names[] = {"0123456789.mp3",       "録音録音録音.mp3",  "", ".",
                                        "🎙🎙🎙🎙🎙", "a.0123456789012345"};
    for (size_t i = 0; i < ARRAY_LEN(names); i++)
        for (size_t size = 8; size < 32; size++) {
            char *out = malloc(size); /* the sanitizer sees a byte too many */
            assert_non_null(out);
            storage_safe_name(names[i], out, size);
            struct err e = ERR_INIT;
            assert_int_equal(storage_key_check(out, &e), 0);
            free(out);
        }
    char out[8];
    storage_safe_name("0123456789.mp3", out, sizeof out);
    assert_string_equal(out, "0123456");
    char ten[11];
    storage_safe_name("0123456789.mp3", ten, sizeof ten);
    assert_string_equal(ten, "012345.mp3");
}

/* Any bytes at all give a good name. */
static void test_safe_names_of_noise(void **state)
{
    (void)state;
    unsigned x = 1;
    for (int i = 0; i < 20000; i++) {
        char in[400], out[256];
        x = x * 1664525 + 1013904223;
        size_t n = (x >> 8) % sizeof in;
        for (size_t k = 0; k < n; k++) {
            x = x * 1664525 + 1013904223;
            in[k] = (char)(1 + (x >> 16) % 255);
        }
        in[n > 0 ? n - 1 : 0] = '\0';
        storage_safe_name(in, out, sizeof out);
        struct err e = ERR_INIT;
        if (storage_key_check(out, &e) < 0 || strlen(out) > 200)
            fail_msg("round %d: %s", i, e.msg);
    }
}

static void test_urls(void **state)
{
    (void)state;
    static const struct {
        const char *url;
        int code;
        const char *why;
    } rows[] = {
        {"", ERR_INVALID, "file:/absolute/folder"},
        {"/srv/objects", ERR_INVALID, "file:/absolute/folder"},
        {"file:", ERR_INVALID, "absolute"},
        {"file:objects", ERR_INVALID, "absolute"},
        {"file:./objects", ERR_INVALID, "absolute"},
        {"file://host/objects", ERR_INVALID, "absolute"},
        {"files:/x", ERR_INVALID, "'files:'"},
        {"fil:/x", ERR_INVALID, "'fil:'"},
        {"ftp://user:secret@host/x", ERR_INVALID, "'ftp:'"},
        {"s3:", ERR_INVALID, "s3://bucket"},
        {"s3:bucket", ERR_INVALID, "s3://bucket"},
        {"s3://", ERR_INVALID, "3 to 63"},
        {"s3://ab", ERR_INVALID, "3 to 63"},
        {"s3://user:secret@bucket", ERR_INVALID, "3 to 63"},
        {"s3://bucket?secret", ERR_INVALID, "3 to 63"},
        {"s3://bucket//x", ERR_INVALID, "empty part"},
        {"s3://bucket/../x", ERR_INVALID, "starts with a dot"},
        {"file:/dev/null", ERR_INVALID, "not a folder"},
        {"file:/dev/null/x", ERR_INVALID, "not a folder"},
    };
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        struct err e = ERR_INIT;
        struct storage *s = NULL;
        int rc = storage_open(rows[i].url, &s, &e);
        if (rc != rows[i].code || s || !strstr(e.msg, rows[i].why) || strstr(e.msg, "secret"))
            fail_msg("'%s': %s \"%s\"", rows[i].url, err_name(rc), e.msg);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_keys),
        cmocka_unit_test(test_key_lengths),
        cmocka_unit_test(test_safe_names),
        cmocka_unit_test(test_safe_names_fit_small_buffers),
        cmocka_unit_test(test_safe_names_of_noise),
        cmocka_unit_test(test_urls),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
