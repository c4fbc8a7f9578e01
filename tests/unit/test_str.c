/* SPDX-License-Identifier: MIT */
#include "base/str.h"

#include "base/mem.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

static const int64_t UNTOUCHED = 0x5EA1;

static void test_integers(void **state)
{
    (void)state;
    static const struct {
        const char *text;
        bool ok;
        int64_t value;
    } rows[] = {
        {"0", true, 0},
        {"-0", true, 0},
        {"+7", true, 7},
        {"0010", true, 10},
        {"9223372036854775807", true, INT64_MAX},
        {"-9223372036854775808", true, INT64_MIN},
        {"9223372036854775808", false, 0},
        {"-9223372036854775809", false, 0},
        {"", false, 0},
        {"-", false, 0},
        {"+", false, 0},
        {"+-5", false, 0},
        {" 5", false, 0},
        {"5 ", false, 0},
        {"5x", false, 0},
        {"0x10", false, 0},
        {"1e3", false, 0},
        {"1.0", false, 0},
        {"\t1", false, 0},
        {"\xD9\xA1", false, 0}, /* ARABIC-INDIC DIGIT ONE */
    };
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        int64_t v = UNTOUCHED;
        if (str_to_i64(rows[i].text, &v) != rows[i].ok || v != (rows[i].ok ? rows[i].value : UNTOUCHED))
            fail_msg("'%s' gave %lld", rows[i].text, (long long)v);
    }
}

static void test_decimals(void **state)
{
    (void)state;
    static const struct {
        const char *text;
        bool ok;
        double value;
    } rows[] = {
        {"0", true, 0},      {"1.5", true, 1.5},   {"-2.25", true, -2.25}, {".5", true, 0.5}, {"5.", true, 5},
        {"1e3", true, 1000}, {"1E-2", true, 0.01}, {"", false, 0},         {".", false, 0},   {"e", false, 0},
        {"inf", false, 0},   {"nan", false, 0},    {"0x10", false, 0},     {" 1", false, 0},  {"1 ", false, 0},
        {"1e999", false, 0}, {"1,5", false, 0},    {"1.5.2", false, 0},    {"--1", false, 0}, {"1-2", false, 0},
    };
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        double v = -77;
        bool ok = str_to_f64(rows[i].text, &v);
        if (ok != rows[i].ok || fabs(v - (ok ? rows[i].value : -77)) > 1e-12)
            fail_msg("'%s' gave %d %f", rows[i].text, ok, v);
    }
}

static void test_durations(void **state)
{
    (void)state;
    static const struct {
        const char *text;
        int64_t bare, value; /* value -1: refused */
    } rows[] = {
        {"0", 1000, 0},
        {"30", 1000, 30000},
        {"30", 60000, 1800000},
        {"30", 0, -1}, /* no bare numbers here */
        {"30s", 0, 30000},
        {"250ms", 1000, 250},
        {"20m", 1000, 1200000},
        {"20min", 1000, 1200000},
        {"20M", 1000, 1200000},
        {"12h", 1000, 43200000},
        {"7d", 1000, 604800000},
        {"000000000000000000000007d", 1000, -1}, /* longer than any number */
        {"106751991167d", 1, 106751991167 * 86400000},
        {"106751991168d", 1, -1},
        {"9223372036854775807ms", 1, INT64_MAX},
        {"9223372036854775807", 1, INT64_MAX},
        {"9223372036854775807", 2, -1},
        {"9223372036854775808ms", 1, -1},
        {"9223372036854775807s", 1, -1},
        {"", 1000, -1},
        {"s", 1000, -1},
        {"-1s", 1000, -1},
        {"+1s", 1000, -1},
        {"1.5s", 1000, -1},
        {"1 s", 1000, -1},
        {"1s ", 1000, -1},
        {"1h30m", 1000, -1},
        {"20 minutes", 1000, -1},
        {"1w", 1000, -1},
    };
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        int64_t v = UNTOUCHED;
        bool ok = str_to_duration_ms(rows[i].text, rows[i].bare, &v);
        if (ok != (rows[i].value >= 0) || v != (ok ? rows[i].value : UNTOUCHED))
            fail_msg("'%s' gave %d %lld", rows[i].text, ok, (long long)v);
    }
}

static void test_sizes(void **state)
{
    (void)state;
    static const struct {
        const char *text;
        int64_t bare, value;
    } rows[] = {
        {"0", 1, 0},
        {"512", 1, 512},
        {"10", 1 << 20, 10 << 20},
        {"512b", 1, 512},
        {"64k", 1, 64 << 10},
        {"64K", 1, 64 << 10},
        {"64kB", 1, 64 << 10},
        {"64KiB", 1, 64 << 10},
        {"10M", 1, 10 << 20},
        {"2G", 1, (int64_t)2 << 30},
        {"3TiB", 1, (int64_t)3 << 40},
        {"8388607T", 1, (int64_t)8388607 << 40},
        {"8388608T", 1, -1}, /* 2^63 */
        {"9223372036854775807", 1, INT64_MAX},
        {"9223372036854775807", 1024, -1},
        {"1P", 1, -1},
        {"K", 1, -1},
        {"-5M", 1, -1},
        {"1.5G", 1, -1},
        {"1 G", 1, -1},
        {"10Mb/s", 1, -1},
        {"", 1, -1},
    };
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        int64_t v = UNTOUCHED;
        bool ok = str_to_bytes(rows[i].text, rows[i].bare, &v);
        if (ok != (rows[i].value >= 0) || v != (ok ? rows[i].value : UNTOUCHED))
            fail_msg("'%s' gave %d %lld", rows[i].text, ok, (long long)v);
    }
}

static void test_lengths_of_time_for_people(void **state)
{
    (void)state;
    static const struct {
        double seconds;
        const char *text;
    } rows[] = {
        {0, "0.0 s"},
        {3.24, "3.2 s"},
        {9.94, "9.9 s"},
        {9.96, "0:10"},
        {59.4, "0:59"},
        {59.6, "1:00"},
        {3599.4, "59:59"},
        {3599.6, "1:00:00"},
        {3723, "1:02:03"},
        {-5, "0.0 s"},
        {(double)NAN, "0.0 s"},
        {360000, "100:00:00"},
        {(double)INFINITY, "277777777777:46:40"},
    };
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        CLEANUP(buf_clear) struct buf b = BUF_INIT(100);
        str_add_duration(&b, rows[i].seconds);
        assert_string_equal(buf_str(&b), rows[i].text);
    }
}

static void test_comparisons(void **state)
{
    (void)state;
    assert_true(str_starts("steno", "st"));
    assert_true(str_starts("steno", ""));
    assert_false(str_starts("st", "steno"));
    assert_true(str_ends("a.mp3", ".mp3"));
    assert_true(str_ends("a", ""));
    assert_false(str_ends("mp3", "a.mp3"));
    assert_true(str_ieq("MiB", "mIb"));
    assert_false(str_ieq("mib", "mi"));
    assert_false(str_ieq("mi", "mib"));
    assert_false(str_ieq("[", "{")); /* 32 apart, but no letters */
    assert_false(str_ieq("\xC3\x84", "\xC3\xA4"));
    assert_true(str_eq(NULL, NULL));
    assert_false(str_eq(NULL, ""));
    assert_false(str_eq("", NULL));
    assert_true(str_eq("x", "x"));
}

/* One row: bytes, is it well formed, what utf8_add_clean makes of it ('?' for U+FFFD), where utf8_floor cuts. */
static const struct {
    const char *bytes;
    size_t n;
    bool valid;
    const char *clean;
    size_t floor;
} utf8_rows[] = {
    {"", 0, true, "", 0},
    {"abc", 3, true, "abc", 3},
    {"\x7F", 1, true, "\x7F", 1},
    {"\xC2\x80", 2, true, "\xC2\x80", 2},
    {"\xDF\xBF", 2, true, "\xDF\xBF", 2},
    {"\xE0\xA0\x80", 3, true, "\xE0\xA0\x80", 3},
    {"\xED\x9F\xBF", 3, true, "\xED\x9F\xBF", 3},
    {"\xEE\x80\x80", 3, true, "\xEE\x80\x80", 3},
    {"\xEF\xBF\xBF", 3, true, "\xEF\xBF\xBF", 3},
    {"\xF0\x90\x80\x80", 4, true, "\xF0\x90\x80\x80", 4},
    {"\xF4\x8F\xBF\xBF", 4, true, "\xF4\x8F\xBF\xBF", 4},
    /* continuation bytes alone */
    {"\x80", 1, false, "?", 1},
    {"\xBF", 1, false, "?", 1},
    {"a\x80\x80z", 4, false, "a??z", 4},
    {"\x80\x80\x80\x80", 4, false, "????", 4},
    /* overlong */
    {"\xC0\x80", 2, false, "??", 2},
    {"\xC1\xBF", 2, false, "??", 2},
    {"\xE0\x80\x80", 3, false, "???", 3},
    {"\xE0\x9F\xBF", 3, false, "???", 3},
    {"\xF0\x80\x80\x80", 4, false, "????", 4},
    {"\xF0\x8F\xBF\xBF", 4, false, "????", 4},
    /* surrogates, beyond the last, bytes that never occur */
    {"\xED\xA0\x80", 3, false, "???", 3},
    {"\xED\xBF\xBF", 3, false, "???", 3},
    {"\xF4\x90\x80\x80", 4, false, "????", 4},
    {"\xF5\x80\x80\x80", 4, false, "????", 4},
    {"\xFE", 1, false, "?", 1},
    {"\xFF", 1, false, "?", 1},
    /* cut off at the end */
    {"a\xC3", 2, false, "a?", 1},
    {"a\xE2\x82", 3, false, "a??", 1},
    {"a\xE2", 2, false, "a?", 1},
    {"a\xF0\x9F\x98", 4, false, "a???", 1},
    {"a\xF0\x9F", 3, false, "a??", 1},
    {"a\xF0", 2, false, "a?", 1},
    /* cut off in the middle */
    {"\xE2\x82z", 3, false, "??z", 3},
    {"\xC3(", 2, false, "?(", 2},
};

static void test_utf8(void **state)
{
    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(utf8_rows); i++) {
        /* An exact copy, so that a sanitizer sees any look past the end. */
        CLEANUP(free_p) char *p = malloc(utf8_rows[i].n ? utf8_rows[i].n : 1);
        assert_non_null(p);
        memcpy(p, utf8_rows[i].bytes, utf8_rows[i].n);
        if (utf8_valid(p, utf8_rows[i].n) != utf8_rows[i].valid)
            fail_msg("row %zu: valid", i);
        if (utf8_floor(p, utf8_rows[i].n) != utf8_rows[i].floor)
            fail_msg("row %zu: floor %zu", i, utf8_floor(p, utf8_rows[i].n));
        CLEANUP(buf_clear) struct buf b = BUF_INIT(100), want = BUF_INIT(100);
        for (const char *c = utf8_rows[i].clean; *c; c++)
            if (*c == '?')
                buf_adds(&want, "\xEF\xBF\xBD");
            else
                buf_addc(&want, *c);
        utf8_add_clean(&b, p, utf8_rows[i].n);
        assert_string_equal(buf_str(&b), buf_str(&want));
        assert_true(utf8_valid(buf_str(&b), b.len));
    }
}

/* Every code point there is, encoded by the definition. */
static void test_utf8_takes_every_character(void **state)
{
    (void)state;
    for (unsigned c = 1; c <= 0x110000; c++) {
        unsigned char s[4];
        size_t n = c < 0x80 ? 1 : c < 0x800 ? 2 : c < 0x10000 ? 3 : 4;
        static const unsigned char lead[] = {0, 0, 0xC0, 0xE0, 0xF0};
        unsigned v = c;
        for (size_t i = n - 1; i > 0; i--, v >>= 6)
            s[i] = (unsigned char)(0x80 | (v & 0x3F));
        s[0] = (unsigned char)(lead[n] | v);
        bool want = c <= 0x10FFFF && !(c >= 0xD800 && c <= 0xDFFF);
        if (utf8_valid((const char *)s, n) != want)
            fail_msg("U+%04X", c);
        if (want && n > 1 && utf8_floor((const char *)s, n - 1) != 0)
            fail_msg("U+%04X: cut", c);
    }
}

static void test_json(void **state)
{
    (void)state;
    static const struct {
        const char *in, *out;
    } rows[] = {
        {"", "\"\""},
        {"plain", "\"plain\""},
        {"a\"b\\c", "\"a\\\"b\\\\c\""},
        {"two\nlines\t\r", "\"two\\nlines\\u0009\\u000d\""},
        {"\x01\x1F\x7F", "\"\\u0001\\u001f\\u007f\""},
        {"gr\xC3\xBC\xC3\x9F", "\"gr\xC3\xBC\xC3\x9F\""},
        {"bad\xFF", "\"bad\xEF\xBF\xBD\""},
        {"</script>", "\"</script>\""},
    };
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        CLEANUP(buf_clear) struct buf b = BUF_INIT(100);
        str_add_json(&b, rows[i].in);
        assert_string_equal(buf_str(&b), rows[i].out);
    }
    CLEANUP(buf_clear) struct buf small = BUF_INIT(6);
    str_add_json(&small, "1234"); /* six bytes with its quotes */
    assert_true(buf_ok(&small));
    buf_reset(&small);
    str_add_json(&small, "12345");
    assert_false(buf_ok(&small));
    buf_reset(&small);
    str_add_json(&small, "1234567");
    assert_false(buf_ok(&small));
}

static void test_printable(void **state)
{
    (void)state;
    static const struct {
        const char *in, *out;
    } rows[] = {
        {"plain \xC3\xBC", "plain \xC3\xBC"},
        {"a\nb", "a\\nb"},
        {"\x1B[31m\r\x7F", "\\x1b[31m\\x0d\\x7f"},
        {"\xC2\x9B"
         "31m",
         "\\u009b31m"}, /* the one-character form of ESC [ */
        {"\xC2\xA0", "\xC2\xA0"},
        {"\x9B"
         "31m\xFF",
         "\\x9b31m\\xff"},
        {"\xE2\x82", "\\xe2\\x82"},
    };
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        CLEANUP(buf_clear) struct buf b = BUF_INIT(100);
        str_add_printable(&b, rows[i].in);
        assert_string_equal(buf_str(&b), rows[i].out);
    }
}

static void test_hex(void **state)
{
    (void)state;
    char out[9] = "........";
    str_hex((const unsigned char *)"\x00\x1F\xA0\xFF", 4, out);
    assert_string_equal(out, "001fa0ff");
    str_hex(NULL, 0, out);
    assert_string_equal(out, "");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_integers),
        cmocka_unit_test(test_decimals),
        cmocka_unit_test(test_durations),
        cmocka_unit_test(test_sizes),
        cmocka_unit_test(test_lengths_of_time_for_people),
        cmocka_unit_test(test_comparisons),
        cmocka_unit_test(test_utf8),
        cmocka_unit_test(test_utf8_takes_every_character),
        cmocka_unit_test(test_json),
        cmocka_unit_test(test_printable),
        cmocka_unit_test(test_hex),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
