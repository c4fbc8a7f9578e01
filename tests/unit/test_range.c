/* SPDX-License-Identifier: MIT */
/* Parts of a recording: which bytes a Range header names, and as what they are given out. */
#include "api/media_type.h"
#include "api/range.h"
#include "base/macros.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>

#include <cmocka.h>

#define HUGE_NUMBER "99999999999999999999999999"

static void test_ranges(void **state)
{
    (void)state;
    static const struct {
        const char *header;
        int64_t size;
        enum range want;
        int64_t first, count;
    } cases[] = {
        {NULL, 10, RANGE_WHOLE, 0, 0},
        {"", 10, RANGE_WHOLE, 0, 0},
        {"bytes=0-", 10, RANGE_PART, 0, 10},
        {"bytes=0-0", 10, RANGE_PART, 0, 1},
        {"bytes=3-5", 10, RANGE_PART, 3, 3},
        {"Bytes=3-5", 10, RANGE_PART, 3, 3},
        {"bytes= 3-5 ", 10, RANGE_PART, 3, 3},
        {"bytes=9-", 10, RANGE_PART, 9, 1},
        {"bytes=9-9", 10, RANGE_PART, 9, 1},
        {"bytes=5-100", 10, RANGE_PART, 5, 5},
        {"bytes=5-" HUGE_NUMBER, 10, RANGE_PART, 5, 5},
        {"bytes=0-9223372036854775807", 10, RANGE_PART, 0, 10},
        {"bytes=-1", 10, RANGE_PART, 9, 1},
        {"bytes=-10", 10, RANGE_PART, 0, 10},
        {"bytes=-11", 10, RANGE_PART, 0, 10},
        {"bytes=-" HUGE_NUMBER, 10, RANGE_PART, 0, 10},
        {"bytes=4294967296-4294967299", (int64_t)1 << 40, RANGE_PART, (int64_t)1 << 32, 4},
        {"bytes=10-", 10, RANGE_NOWHERE, 0, 0},
        {"bytes=10-20", 10, RANGE_NOWHERE, 0, 0},
        {"bytes=" HUGE_NUMBER "-", 10, RANGE_NOWHERE, 0, 0},
        {"bytes=" HUGE_NUMBER "-" HUGE_NUMBER, INT64_MAX, RANGE_NOWHERE, 0, 0},
        {"bytes=-0", 10, RANGE_NOWHERE, 0, 0},
        {"bytes=0-", 0, RANGE_NOWHERE, 0, 0},
        {"bytes=-5", 0, RANGE_NOWHERE, 0, 0},
        {"bytes=5-3", 10, RANGE_WHOLE, 0, 0},
        {"bytes=0-1,4-5", 10, RANGE_WHOLE, 0, 0},
        {"bytes=0-1,", 10, RANGE_WHOLE, 0, 0},
        {"bytes=-", 10, RANGE_WHOLE, 0, 0},
        {"bytes=", 10, RANGE_WHOLE, 0, 0},
        {"bytes", 10, RANGE_WHOLE, 0, 0},
        {"bytes=5", 10, RANGE_WHOLE, 0, 0},
        {"bytes=--5", 10, RANGE_WHOLE, 0, 0},
        {"bytes=+1-2", 10, RANGE_WHOLE, 0, 0},
        {"bytes=0x1-2", 10, RANGE_WHOLE, 0, 0},
        {"bytes=1-2-3", 10, RANGE_WHOLE, 0, 0},
        {"bytes=1 - 2", 10, RANGE_WHOLE, 0, 0},
        {"items=1-2", 10, RANGE_WHOLE, 0, 0},
    };
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        int64_t first = 0, count = 0;
        print_message("%s of %lld\n", cases[i].header ? cases[i].header : "none", (long long)cases[i].size);
        assert_int_equal(range_read(cases[i].header, cases[i].size, &first, &count), cases[i].want);
        assert_true(first == cases[i].first && count == cases[i].count);
    }
}

static void test_media_types(void **state)
{
    (void)state;
    static const char any[] = "application/octet-stream";
    static const struct {
        const char *type, *filename, *want;
    } cases[] = {
        {"audio/mpeg", "a.wav", "audio/mpeg"},
        {"Video/MP4", NULL, "Video/MP4"},
        {"audio/ogg; codecs=opus", NULL, "audio/ogg; codecs=opus"},
        {any, "talk.mp3", "audio/mpeg"},
        {NULL, "my.talk.WAV", "audio/wav"},
        {NULL, "talk.opus", "audio/ogg"},
        {"text/html", "talk.mp3", "audio/mpeg"},
        {"text/html", "page.html", any},
        {"image/svg+xml", "a.svg", any},
        {"application/xhtml+xml", NULL, any},
        {"audio/", "a", any},
        {"audio/,text/html", "a", any},
        {"audio/x text/html", "a", any},
        {"audio/x ; a=b", "a", "audio/x ; a=b"},
        {"audio/x\r\nX-Bad: 1", "a", any},
        {"audio/gr\xC3\xBCn", "a", any},
        {" audio/mpeg", "a", any},
        {"audiox/mpeg", "a", any},
        {NULL, "mp3", any},
        {NULL, "a.", any},
        {NULL, NULL, any},
        {"", "", any},
    };
    for (size_t i = 0; i < ARRAY_LEN(cases); i++)
        assert_string_equal(media_type(cases[i].type, cases[i].filename), cases[i].want);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_ranges),
        cmocka_unit_test(test_media_types),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
