/* SPDX-License-Identifier: MIT */
/* One option's value, with rows made for the purpose: every type, both ends of a range, and what is refused. */
#include "base/str.h"
#include "conf/option.h"

#include <inttypes.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

static const struct conf_option num = {.name = "num", .type = CONF_INT, .min = -3, .max = 200};
static const struct conf_option num_word = {.name = "num", .type = CONF_INT, .min = 1, .max = 9, .choices = "auto=0"};
static const struct conf_option dur = {
    .name = "dur", .type = CONF_DURATION, .min = CONF_SEC, .max = CONF_HOUR, .unit = CONF_SEC};
static const struct conf_option keep = {
    .name = "keep", .type = CONF_DURATION, .min = 0, .max = 90 * CONF_DAY, .unit = CONF_DAY, .choices = "forever=-1"};
static const struct conf_option size = {
    .name = "size", .type = CONF_BYTES, .min = CONF_KIB, .max = 2 * CONF_GIB, .unit = CONF_MIB};
static const struct conf_option yes = {.name = "yes", .type = CONF_BOOL};
static const struct conf_option choice = {.name = "choice", .type = CONF_CHOICE, .choices = "one|two|three"};
static const struct conf_option text = {.name = "text", .type = CONF_STRING, .min = 0, .max = 8};
static const struct conf_option needed = {.name = "needed", .type = CONF_STRING, .min = 1, .max = 8};
static const struct conf_option list = {.name = "list", .type = CONF_LIST, .min = 1, .max = 20};
static const struct conf_option url = {
    .name = "url", .type = CONF_URL, .min = 0, .max = 60, .choices = "sqlite|postgresql"};
static const struct conf_option secret = {
    .name = "secret", .type = CONF_STRING, .min = 0, .max = 8, .flags = CONF_SECRET};

static void test_what_is_taken(void **state)
{
    (void)state;
    static const struct {
        const struct conf_option *o;
        const char *in;
        int64_t i; /* numbers, and 0 or 1 for yes and no */
        const char *out;
    } rows[] = {
        {&num, "-3", -3, "-3"},
        {&num, "200", 200, "200"},
        {&num, "+7", 7, "7"},
        {&num_word, "1", 1, "1"},
        {&num_word, "auto", 0, "auto"},
        {&num_word, "0", 0, "auto"},
        {&dur, "1", 1000, "1s"},
        {&dur, "1000ms", 1000, "1s"},
        {&dur, "1500ms", 1500, "1500ms"},
        {&dur, "90s", 90000, "90s"},
        {&dur, "60", 60000, "1m"},
        {&dur, "60m", 3600000, "1h"},
        {&keep, "7", 7 * CONF_DAY, "7d"},
        {&keep, "0", 0, "0s"},
        {&keep, "36h", 36 * CONF_HOUR, "36h"},
        {&keep, "48h", 2 * CONF_DAY, "2d"},
        {&keep, "forever", -1, "forever"},
        {&keep, "-1", -1, "forever"},
        {&size, "1", CONF_MIB, "1M"},
        {&size, "1k", CONF_KIB, "1K"},
        {&size, "1025b", 1025, "1025B"},
        {&size, "2048M", 2 * CONF_GIB, "2G"},
        {&size, "1536M", 1536 * CONF_MIB, "1536M"},
        {&yes, "yes", 1, "yes"},
        {&yes, "True", 1, "yes"},
        {&yes, "ON", 1, "yes"},
        {&yes, "1", 1, "yes"},
        {&yes, "no", 0, "no"},
        {&yes, "False", 0, "no"},
        {&yes, "off", 0, "no"},
        {&yes, "0", 0, "no"},
        {&choice, "one", 0, "one"},
        {&choice, "three", 0, "three"},
        {&text, "", 0, ""},
        {&text, "12345678", 0, "12345678"},
        {&text, "\xC3\xA9t\xC3\xA9", 0, "\xC3\xA9t\xC3\xA9"},
        {&list, "a, b,c", 0, "a, b,c"},
        {&url, "", 0, ""},
        {&url, "sqlite:x.db", 0, "sqlite:x.db"},
        {&url, "sqlite", 0, "sqlite"},
        {&url, "postgresql://u:p@h/d", 0, "postgresql://u:p@h/d"},
    };
    struct arena a = ARENA_INIT;
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        struct err e = ERR_INIT;
        union conf_value v = {.i = 77}, again = {.i = 78};
        if (conf_value_parse(rows[i].o, rows[i].in, &a, &v, &e) != 0)
            fail_msg("'%s': %s", rows[i].in, e.msg);
        CLEANUP(buf_clear) struct buf b = BUF_INIT(100);
        conf_value_add(rows[i].o, v, &b);
        assert_string_equal(buf_str(&b), rows[i].out);
        if (rows[i].o->type == CONF_BOOL)
            assert_int_equal(v.b, rows[i].i);
        else if (!conf_type_is_text(rows[i].o->type))
            assert_int_equal(v.i, rows[i].i);
        /* What is printed comes back as the same. */
        assert_int_equal(conf_value_parse(rows[i].o, buf_str(&b), &a, &again, &e), 0);
        assert_true(conf_value_eq(rows[i].o, v, again));
    }
    arena_clear(&a);
}

static void test_what_is_refused(void **state)
{
    (void)state;
    static const struct {
        const struct conf_option *o;
        const char *in, *msg;
    } rows[] = {
        {&num, "-4", "num = '-4' is wrong: allowed is -3 to 200"},
        {&num, "201", "num = '201' is wrong: allowed is -3 to 200"},
        {&num, "", "num = '' is wrong: allowed is -3 to 200"},
        {&num, "1.5", "num = '1.5' is wrong: allowed is -3 to 200"},
        {&num, "99999999999999999999", "num = '99999999999999999999' is wrong: allowed is -3 to 200"},
        {&num_word, "Auto", "num = 'Auto' is wrong: allowed is 1 to 9, or auto (0)"},
        {&num_word, "-1", "num = '-1' is wrong: allowed is 1 to 9, or auto (0)"},
        {&num_word, "auto=0", "num = 'auto=0' is wrong: allowed is 1 to 9, or auto (0)"},
        {&dur, "999ms", "dur = '999ms' is wrong: allowed is 1s to 1h; a bare number counts seconds"},
        {&dur, "61m", "dur = '61m' is wrong: allowed is 1s to 1h; a bare number counts seconds"},
        {&dur, "-1", "dur = '-1' is wrong: allowed is 1s to 1h; a bare number counts seconds"},
        {&dur, "a\nb", "dur = 'a\\nb' is wrong: allowed is 1s to 1h; a bare number counts seconds"},
        {&keep, "91d", "keep = '91d' is wrong: allowed is 0s to 90d, or forever (-1); a bare number counts days"},
        {&keep, "-2", "keep = '-2' is wrong: allowed is 0s to 90d, or forever (-1); a bare number counts days"},
        {&size, "1023b", "size = '1023b' is wrong: allowed is 1K to 2G; a bare number counts megabytes"},
        {&size, "3G", "size = '3G' is wrong: allowed is 1K to 2G; a bare number counts megabytes"},
        {&size, "10 M", "size = '10 M' is wrong: allowed is 1K to 2G; a bare number counts megabytes"},
        {&yes, "maybe", "yes = 'maybe' is wrong: allowed is yes or no"},
        {&yes, "", "yes = '' is wrong: allowed is yes or no"},
        {&choice, "", "choice = '' is wrong: allowed is one, two or three"},
        {&choice, "One", "choice = 'One' is wrong: allowed is one, two or three"},
        {&choice, "on", "choice = 'on' is wrong: allowed is one, two or three"},
        {&choice, "one|two", "choice = 'one|two' is wrong: allowed is one, two or three"},
        {&text, "123456789", "text: the value has 9 bytes, at most 8 are allowed"},
        {&text, "a\xFF", "text: the value is not UTF-8"},
        {&text, "a\tb", "text: the value has a control character (byte 2)"},
        {&text, "a\x7F", "text: the value has a control character (byte 2)"},
        {&needed, "", "needed may not be empty"},
        {&list, "", "list may not be empty"},
        {&url, "mysql://u:geheim@h/d", "url has a wrong value: allowed is sqlite: or postgresql:"},
        {&url, "sql:x", "url has a wrong value: allowed is sqlite: or postgresql:"},
        {&url, "sqlite3:x", "url has a wrong value: allowed is sqlite: or postgresql:"},
        {&url, ":x", "url has a wrong value: allowed is sqlite: or postgresql:"},
        {&secret, "geheim-geheim", "secret: the value has 13 bytes, at most 8 are allowed"},
    };
    struct arena a = ARENA_INIT;
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        struct err e = ERR_INIT;
        union conf_value v = {.i = 77};
        if (conf_value_parse(rows[i].o, rows[i].in, &a, &v, &e) != ERR_INVALID)
            fail_msg("'%s' was taken", rows[i].in);
        assert_string_equal(e.msg, rows[i].msg);
        assert_int_equal(v.i, 77); /* untouched */
        assert_null(strstr(e.msg, "geheim"));
    }
    arena_clear(&a);
}

static void test_long_values_are_shown_in_part(void **state)
{
    (void)state;
    struct arena a = ARENA_INIT;
    struct err e = ERR_INIT;
    union conf_value v;
    char big[4001];
    memset(big, 1, 59);
    memset(big + 59, 0xC3, 1); /* the cut would fall into a character */
    memset(big + 60, 0xBC, 1);
    memset(big + 61, 'x', sizeof big - 62);
    big[4000] = '\0';
    assert_int_equal(conf_value_parse(&num, big, &a, &v, &e), ERR_INVALID);
    assert_true(utf8_valid(e.msg, strlen(e.msg)));
    assert_non_null(strstr(e.msg, "\\x01...' is wrong: allowed is -3 to 200"));
    arena_clear(&a);
}

static void test_no_memory(void **state)
{
    (void)state;
    struct arena a = {.max = 0};
    struct err e = ERR_INIT;
    union conf_value v;
    assert_int_equal(conf_value_parse(&text, "abc", &a, &v, &e), ERR_NOMEM);
}

static void test_shown_values_keep_secrets(void **state)
{
    (void)state;
    static const struct {
        const char *url, *shown;
    } rows[] = {
        {"postgresql://user:geheim@host:5432/name", "postgresql://user:***@host:5432/name"},
        {"postgresql://user:ge@he:i/m@host/name", "postgresql://user:***@host/name"}, /* not encoded as it should be */
        {"redis://:geheim@host/0", "redis://:***@host/0"},
        {"postgresql://user@host/name", "postgresql://user@host/name"},
        {"postgresql://host/name?user=u&password=geheim&x=1", "postgresql://host/name?user=u&password=***&x=1"},
        {"postgresql://u:geheim@host/name?password=geheim", "postgresql://u:***@host/name?password=***"},
        {"redis://host:6379/0", "redis://host:6379/0"},
        {"http://[::1]:9000", "http://[::1]:9000"},
        {"sqlite:/a@b:c", "sqlite:/a@b:c"},
        {"", ""},
    };
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        CLEANUP(buf_clear) struct buf b = BUF_INIT(200);
        conf_add_masked_url(&b, rows[i].url);
        assert_string_equal(buf_str(&b), rows[i].shown);
        buf_reset(&b);
        conf_add_shown(&url, (union conf_value){.s = rows[i].url}, &b);
        assert_string_equal(buf_str(&b), rows[i].shown);
    }
    CLEANUP(buf_clear) struct buf b = BUF_INIT(200);
    conf_add_shown(&secret, (union conf_value){.s = "geheim"}, &b);
    assert_string_equal(buf_str(&b), "***");
    buf_reset(&b);
    conf_add_shown(&secret, (union conf_value){.s = ""}, &b); /* not set can be seen */
    assert_string_equal(buf_str(&b), "");
}

static void test_misspelled_names(void **state)
{
    (void)state;
    static const struct {
        const char *name, *near;
    } rows[] = {
        {"lease", "lease"},
        {"laese", "lease"}, /* swapped neighbours are one slip */
        {"leas", "lease"},
        {"max_upload_sizes", "max_upload_size"},
        {"max-upload-size", "max_upload_size"},
        {"MAX_UPLOAD_SIZE", "max_upload_size"},
        {"upload_max_size", NULL},
        {"databse", "database"},
        {"modell_path", "model_path"},
        {"wörker_concurrency", "worker_concurrency"},
        {"xyz", NULL},
        {"dta", "data"},
        {"dat_", "data"},
        {"d", NULL},
        {"", NULL},
        {"a_name_longer_than_sixty_four_bytes_that_must_not_run_over_any_end_of_a_table", NULL},
    };
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        const char *near = conf_option_near(rows[i].name);
        if (!str_eq(near, rows[i].near))
            fail_msg("'%s' is near '%s'", rows[i].name, near ? near : "(nothing)");
    }
    assert_int_equal(conf_distance("", "abc"), 3);
    assert_int_equal(conf_distance("abc", ""), 3);
    assert_int_equal(conf_distance("abcd", "acbd"), 1);
    assert_int_equal(conf_distance("kitten", "sitting"), 3);
}

/* The rows of the real table. */
static void test_the_table(void **state)
{
    (void)state;
    size_t n;
    const struct conf_option *all = conf_options(&n);
    struct arena a = ARENA_INIT;
    assert_int_equal(n, CONF_COUNT);
    for (size_t i = 0; i < n; i++) {
        struct err e = ERR_INIT;
        union conf_value v, again;
        const struct conf_option *o = &all[i];
        assert_ptr_equal(conf_option_find(o->name), o);
        assert_int_equal(conf_option_index(o), i);
        if (conf_value_parse(o, o->def, &a, &v, &e) != 0)
            fail_msg("the default of %s: %s", o->name, e.msg);
        struct conf c;
        conf_store(&c, o, v);
        again = conf_fetch(&c, o);
        assert_true(conf_value_eq(o, v, again));
        /* Names must work as keys, environment and flags; help must work in a table and as one line. */
        assert_int_equal(strspn(o->name, "abcdefghijklmnopqrstuvwxyz0123456789_"), strlen(o->name));
        assert_null(strpbrk(o->help, "|\n"));
        assert_true(str_ends(o->help, "."));
        assert_true(o->min <= o->max);
        if (o->type == CONF_DURATION || o->type == CONF_BYTES)
            assert_true(o->unit > 0);
        if (o->type == CONF_CHOICE || o->type == CONF_URL)
            assert_non_null(o->choices);
        CLEANUP(buf_clear) struct buf b = BUF_INIT(400);
        conf_option_add_values(o, &b);
        assert_true(buf_ok(&b) && b.len);
        /* Groups are whole: a name that comes back would print its heading twice. */
        for (size_t k = i + 1; k < n && i; k++)
            if (strcmp(all[i - 1].group, all[i].group) != 0)
                assert_string_not_equal(all[k].group, all[i - 1].group);
    }
    assert_ptr_equal(conf_option_find("max-upload-size"), conf_option_find("max_upload_size"));
    assert_null(conf_option_find("max_upload"));
    assert_null(conf_option_find("max_upload_size_"));
    assert_null(conf_option_find(""));
    arena_clear(&a);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_what_is_taken),
        cmocka_unit_test(test_what_is_refused),
        cmocka_unit_test(test_long_values_are_shown_in_part),
        cmocka_unit_test(test_no_memory),
        cmocka_unit_test(test_shown_values_keep_secrets),
        cmocka_unit_test(test_misspelled_names),
        cmocka_unit_test(test_the_table),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
