/* SPDX-License-Identifier: MIT */
/* How subtitles are laid out: tables of texts and what they look like. */
#include "transcript/format.h"

#include "base/str.h"
#include "transcript/cues.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>
#include <unigbrk.h>
#include <uniwidth.h>

static int to_buf(const void *data, size_t n, void *arg, struct err *err)
{
    buf_add(arg, data, n);
    return buf_check(arg, "test", err);
}

/* "1.000-2.500 first line/second line\n" for each cue; the marked word in []. */
static int describe(const struct cue *c, void *arg, struct err *err)
{
    struct buf *b = arg;
    buf_addf(b, "%lld-%lld ", (long long)c->start_ms, (long long)c->end_ms);
    for (size_t i = 0; i < c->n_lines; i++) {
        buf_adds(b, i ? "/" : "");
        for (size_t at = c->lines[i].from; at < c->lines[i].to; at++) {
            buf_adds(b, at == c->mark_from && c->mark_from < c->mark_to ? "[" : "");
            buf_addc(b, c->text[at]);
            buf_adds(b, at + 1 == c->mark_to && c->mark_from < c->mark_to ? "]" : "");
        }
    }
    buf_adds(b, "\n");
    return buf_check(b, "test", err);
}

static void look(const struct segment *s, const struct subtitle_opts *o, const char *want)
{
    CLEANUP(buf_clear) struct buf b = BUF_INIT(1 << 20);
    struct err e = ERR_INIT;
    assert_int_equal(cues_of_segment(s, o, describe, &b, &e), 0);
    if (!str_eq(buf_str(&b), want))
        fail_msg("'%s' gives\n%sand not\n%s", s->text, buf_str(&b), want);
}

#define FAMILY  "\xF0\x9F\x91\xA8\xE2\x80\x8D\xF0\x9F\x91\xA9\xE2\x80\x8D\xF0\x9F\x91\xA7" /* one, of three people */
#define E_ACUTE "e\xCC\x81"                                                                /* e and an accent */

/* A segment of ten seconds without word times: shared out by width. */
static void test_lines_without_word_times(void **state)
{
    (void)state;
    static const struct {
        const char *text;
        struct subtitle_opts o;
        const char *want;
    } cases[] = {
        {"one two three four", {.max_line_width = 10}, "0-10000 one two/three four\n"},
        {"one two three four", {.max_line_width = 9}, "0-10000 one two/three/four\n"},
        {"one two three four", {.max_line_width = 18}, "0-10000 one two three four\n"},
        {"one two three four", {.max_line_width = 10, .max_line_count = 1}, "0-4444 one two\n4444-10000 three four\n"},
        {"one two three four", {.max_line_width = 5, .max_line_count = 2}, "0-4444 one/two\n4444-10000 three/four\n"},
        {"one two three four five", {.max_words_per_line = 2}, "0-10000 one two/three four/five\n"},
        {"one two three four",
         {.max_words_per_line = 3, .max_line_count = 1},
         "0-7777 one two three\n7777-10000 four\n"},
        {"one two three four", {.max_words_per_line = 3, .max_line_width = 7}, "0-10000 one two/three/four\n"},
        {"one two", {.max_line_count = 1}, "0-10000 one two\n"},
        /* Too wide for a line: cut, but not inside a character. */
        {"abcdefghij", {.max_line_width = 4}, "0-10000 abcd/efgh/ij\n"},
        {"a bcdefghij k", {.max_line_width = 4}, "0-10000 a/bcde/fghi/j k\n"},
        {E_ACUTE E_ACUTE E_ACUTE E_ACUTE E_ACUTE,
         {.max_line_width = 4},
         "0-10000 " E_ACUTE E_ACUTE E_ACUTE E_ACUTE "/" E_ACUTE "\n"},
        {FAMILY FAMILY FAMILY, {.max_line_width = 4}, "0-10000 " FAMILY FAMILY "/" FAMILY "\n"},
        /* Two columns each, and a break anywhere but before a full stop: 今日は良い天気です。 */
        {"\u4ECA\u65E5\u306F\u826F\u3044\u5929\u6C17\u3067\u3059\u3002",
         {.max_line_width = 8},
         "0-10000 \u4ECA\u65E5\u306F\u826F/\u3044\u5929\u6C17\u3067/\u3059\u3002\n"},
        {"\u4ECA\u65E5\u306F\u826F\u3044\u5929\u6C17\u3067\u3059\u3002",
         {.max_line_width = 18},
         "0-10000 \u4ECA\u65E5\u306F\u826F\u3044\u5929\u6C17\u3067/\u3059\u3002\n"},
        {"\u4ECA\u65E5\u306F", {.max_words_per_line = 2}, "0-10000 \u4ECA\u65E5/\u306F\n"},
        /* Korean has blanks, and wide characters. */
        {"\uC548\uB155 \uC138\uACC4", {.max_line_width = 5}, "0-10000 \uC548\uB155/\uC138\uACC4\n"},
        /* Thai vowels above and below stay with their letter: กี่กี่กี่ */
        {"\u0E01\u0E35\u0E48\u0E01\u0E35\u0E48\u0E01\u0E35\u0E48\u0E01\u0E35\u0E48\u0E01\u0E35\u0E48",
         {.max_line_width = 4},
         "0-10000 \u0E01\u0E35\u0E48\u0E01\u0E35\u0E48\u0E01\u0E35\u0E48\u0E01\u0E35\u0E48/\u0E01\u0E35\u0E48\n"},
        {"half-way", {.max_line_width = 5}, "0-10000 half-/way\n"},
        {"10\u00A0km away", {.max_line_width = 6}, "0-10000 10\u00A0km/away\n"},
    };
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        const struct segment s = {.start_ms = 0, .end_ms = 10000, .text = cases[i].text};
        look(&s, &cases[i].o, cases[i].want);
    }
}

static const struct word words[] = {
    {1000, 1400, "So,", -1}, {1500, 2000, "what", -1}, {5000, 5500, "now", -1}, {5500, 5500, "then?", -1}};

static void test_cues_by_word_times(void **state)
{
    (void)state;
    const struct segment s = {
        .start_ms = 900, .end_ms = 6000, .text = "So, what now then?", .words = words, .n_words = 4};
    look(&s, &(struct subtitle_opts){.max_words_per_line = 2, .max_line_count = 1},
         "1000-2000 So, what\n5000-5500 now then?\n");
    look(&s, &(struct subtitle_opts){.max_words_per_line = 1, .max_line_count = 1},
         "1000-1400 So,\n1500-2000 what\n5000-5500 now\n5500-5500 then?\n");
    look(&s, &(struct subtitle_opts){.max_line_width = 8}, "1000-5500 So, what/now/then?\n");
    /* A word over two lines has its time shared out. */
    look(&(struct segment){.start_ms = 0,
                           .end_ms = 800,
                           .text = "abcdefgh",
                           .words = &(struct word){0, 800, "abcdefgh", -1},
                           .n_words = 1},
         &(struct subtitle_opts){.max_line_width = 4, .max_line_count = 1}, "0-400 abcd\n400-800 efgh\n");
    static const struct word letters[] = {{0, 100, "I", -1}, {200, 300, "a", -1}, {400, 500, "b", -1}};
    const struct segment short_ones = {.start_ms = 0, .end_ms = 900, .text = "I a b", .words = letters, .n_words = 3};
    look(&short_ones, &(struct subtitle_opts){.max_words_per_line = 1, .max_line_count = 1},
         "0-100 I\n200-300 a\n400-500 b\n");
    look(&short_ones, &(struct subtitle_opts){.max_words_per_line = 1, .max_line_count = 1, .highlight_words = 1},
         "0-100 [I]\n200-300 [a]\n400-500 [b]\n");
}

static void test_words_are_highlighted(void **state)
{
    (void)state;
    struct segment s = {.start_ms = 900, .end_ms = 6000, .text = "So, what now then?", .words = words, .n_words = 4};
    look(&s, &(struct subtitle_opts){.highlight_words = 1},
         "1000-1400 [So,] what now then?\n1400-1500 So, what now then?\n1500-2000 So, [what] now then?\n"
         "2000-5000 So, what now then?\n5000-5500 So, what [now] then?\n");
    look(&s, &(struct subtitle_opts){.highlight_words = 1, .max_words_per_line = 2, .max_line_count = 1},
         "1000-1400 [So,] what\n1400-1500 So, what\n1500-2000 So, [what]\n5000-5500 [now] then?\n");
    s.n_words = 0;
    look(&s, &(struct subtitle_opts){.highlight_words = 1}, "900-6000 So, what now then?\n");
}

static void test_words_that_are_not_the_text_count_for_nothing(void **state)
{
    (void)state;
    static const struct word others[] = {{0, 100, "two", -1}, {100, 200, "one", -1}}, more[] = {{0, 50, "two", -1}};
    struct segment s = {.start_ms = 0, .end_ms = 7000, .text = "one two", .words = others, .n_words = 2};
    const struct subtitle_opts o = {.max_words_per_line = 1, .max_line_count = 1, .highlight_words = 1};
    look(&s, &o, "0-4000 one\n4000-7000 two\n");
    s.words = more;
    s.n_words = 1;
    look(&s, &o, "0-4000 one\n4000-7000 two\n");
}

/* Whatever the text: no line is too wide unless it is one character, none is lost, times go on. */
struct check {
    const struct segment *s;
    const struct subtitle_opts *o;
    size_t at;
    int64_t last_ms;
};

static int check_cue(const struct cue *c, void *arg, struct err *err)
{
    (void)err;
    struct check *k = arg;
    assert_true(c->start_ms >= k->last_ms && c->end_ms >= c->start_ms && c->end_ms <= k->s->end_ms);
    assert_true(c->n_lines >= 1 && c->n_lines <= (size_t)k->o->max_line_count);
    k->last_ms = c->end_ms;
    for (size_t i = 0; i < c->n_lines; i++) {
        const struct cue_line *l = &c->lines[i];
        const uint8_t *text = (const uint8_t *)c->text;
        for (; k->at < l->from; k->at++)
            assert_int_equal(c->text[k->at], ' ');
        assert_int_equal(k->at, l->from);
        assert_true(l->to > l->from);
        k->at = l->to;
        assert_true(utf8_valid(c->text + l->from, l->to - l->from));
        char begins[1024];
        int characters = 0;
        u8_grapheme_breaks(text + l->from, l->to - l->from, begins);
        for (size_t b = 0; b < l->to - l->from; b++)
            characters += begins[b] != 0;
        assert_true(characters == 1 || u8_width(text + l->from, l->to - l->from, "UTF-8") <= k->o->max_line_width);
    }
    return 0;
}

static void test_random_texts(void **state)
{
    (void)state;
    static const char *const pieces[] = {"a",      "word ",  " ",      "-",      "\u4ECA", "\u3002", "\u0301", "\u00E9",
                                         "\u0E01", "\u0E35", "\u200B", "\u00A0", "(",      ")",      "\u05D0", ", "};
    unsigned seed = 12345;
    for (int round = 0; round < 2000; round++) {
        CLEANUP(buf_clear) struct buf raw = BUF_INIT(4096);
        for (int i = 0; i < 40; i++) {
            seed = seed * 1103515245u + 12345u;
            buf_adds(&raw, pieces[seed >> 16 & 15]);
        }
        struct arena a = ARENA_INIT;
        struct err e = ERR_INIT;
        const char *text = transcript_clean(&a, buf_str(&raw));
        assert_non_null(text);
        struct segment s = {.start_ms = 1000, .end_ms = 9000, .text = text};
        const struct subtitle_opts o = {.max_line_width = 4 + round % 13, .max_line_count = 1 + round % 3};
        struct check k = {.s = &s, .o = &o, .last_ms = 1000};
        assert_int_equal(cues_of_segment(&s, &o, check_cue, &k, &e), 0);
        assert_int_equal(k.at, strlen(text));
        arena_clear(&a);
    }
}

static void test_files(void **state)
{
    (void)state;
    struct transcript t;
    struct err e = ERR_INIT;
    transcript_init(&t);
    t.duration_ms = 10000;
    static const struct word marked[] = {{500, 900, "R&D", -1}, {900, 1500, "<is>", -1}, {2000, 2500, "-->", -1}};
    struct segment v[] = {{.start_ms = 500, .end_ms = 2500, .text = "R&D <is> -->", .words = marked, .n_words = 3},
                          {.start_ms = 3000, .end_ms = 5000, .text = "and more words"}};
    assert_int_equal(transcript_add(&t, 0, 10000, &(struct segments){.v = v, .n = 2}, &e), 0);
    const struct subtitle_opts o = {.max_line_width = 8, .max_line_count = 2, .highlight_words = 1};
    static const struct {
        enum format f;
        const char *want;
    } cases[] = {
        {FORMAT_SRT, "1\n00:00:00,500 --> 00:00:00,900\n<u>R&D</u> <is>\n->\n\n"
                     "2\n00:00:00,900 --> 00:00:01,500\nR&D <u><is></u>\n->\n\n"
                     "3\n00:00:01,500 --> 00:00:02,000\nR&D <is>\n->\n\n"
                     "4\n00:00:02,000 --> 00:00:02,500\nR&D <is>\n<u>-></u>\n\n"
                     "5\n00:00:03,000 --> 00:00:05,000\nand more\nwords\n\n"},
        {FORMAT_VTT, "WEBVTT\n\n00:00:00.500 --> 00:00:00.900\n<u>R&amp;D</u> &lt;is&gt;\n--&gt;\n\n"
                     "00:00:00.900 --> 00:00:01.500\nR&amp;D <u>&lt;is&gt;</u>\n--&gt;\n\n"
                     "00:00:01.500 --> 00:00:02.000\nR&amp;D &lt;is&gt;\n--&gt;\n\n"
                     "00:00:02.000 --> 00:00:02.500\nR&amp;D &lt;is&gt;\n<u>--&gt;</u>\n\n"
                     "00:00:03.000 --> 00:00:05.000\nand more\nwords\n"},
        {FORMAT_TXT, "R&D <is> -->\nand more words\n"},
    };
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        CLEANUP(buf_clear) struct buf b = BUF_INIT(65536);
        assert_int_equal(format_write_laid_out(&t, cases[i].f, &o, to_buf, &b, &e), 0);
        assert_string_equal(buf_str(&b), cases[i].want);
    }
    transcript_clear(&t);
}

static void test_options(void **state)
{
    (void)state;
    static const struct {
        const char *name, *value, *problem; /* NULL: fine */
    } cases[] = {
        {"max_line_width", "42", NULL},
        {"max_line_width", "3", "from 4 to 1000"},
        {"max_line_width", "", "from 4"},
        {"max_line_width", "wide", "from 4"},
        {"max_line_count", "2", NULL},
        {"max_line_count", "0", "from 1 to 100"},
        {"max_words_per_line", "1", NULL},
        {"max_words_per_line", "-1", "from 1"},
        {"highlight_words", "true", NULL},
        {"highlight_words", "0", NULL},
        {"highlight_words", "maybe", "true or false"},
        {"colour", "red", "no option"},
    };
    struct subtitle_opts none = {0};
    assert_false(subtitle_any(&none));
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        struct subtitle_opts o = {0};
        struct err e = ERR_INIT;
        int rc = subtitle_set(&o, cases[i].name, cases[i].value, &e);
        if (cases[i].problem ? rc >= 0 || !strstr(e.msg, cases[i].problem) : rc != 0)
            fail_msg("%s=%s: %d %s", cases[i].name, cases[i].value, rc, e.msg);
        assert_int_equal(subtitle_any(&o), rc == 0 && !str_eq(cases[i].value, "0"));
    }
}

struct tally {
    size_t n, marked, last_mark;
    int64_t end_ms;
};

static int count(const struct cue *c, void *arg, struct err *err)
{
    struct tally *t = arg;
    (void)err;
    assert_true(c->start_ms >= t->end_ms && c->end_ms >= c->start_ms);
    t->end_ms = c->end_ms;
    t->n++;
    if (c->mark_from == c->mark_to)
        return 0;
    assert_true(t->marked == 0 || c->mark_from > t->last_mark);
    t->last_mark = c->mark_from;
    t->marked++;
    return 0;
}

/* What an engine may give that tells nothing but words: ten hours in one segment. No step may be quadratic in it. */
static void test_ten_hours_in_one_segment(void **state)
{
    (void)state;
    enum { WORDS = 90000, WORD_MS = 400 };
    CLEANUP(buf_clear) struct buf text = BUF_INIT(WORDS * 6);
    struct word *list = calloc(WORDS, sizeof *list);
    for (int i = 0; i < WORDS; i++) {
        buf_addf(&text, i ? " hello" : "hello");
        list[i] = (struct word){i * WORD_MS, i * WORD_MS + WORD_MS / 2, "hello", 1};
    }
    const struct segment s = {
        .start_ms = 0, .end_ms = WORDS * WORD_MS, .text = buf_str(&text), .words = list, .n_words = WORDS};
    const struct subtitle_opts o = {.max_line_width = 42, .max_line_count = 2, .highlight_words = 1};
    struct tally t = {0};
    struct err e = ERR_INIT;
    assert_int_equal(cues_of_segment(&s, &o, count, &t, &e), 0);
    assert_int_equal(t.marked, WORDS);
    /* Seven words in a line, two lines in a cue, and a silence after each word but the last of a cue. */
    assert_int_equal(t.n, 2 * WORDS - (WORDS + 13) / 14);
    free(list);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_lines_without_word_times),
        cmocka_unit_test(test_cues_by_word_times),
        cmocka_unit_test(test_words_are_highlighted),
        cmocka_unit_test(test_words_that_are_not_the_text_count_for_nothing),
        cmocka_unit_test(test_random_texts),
        cmocka_unit_test(test_files),
        cmocka_unit_test(test_ten_hours_in_one_segment),
        cmocka_unit_test(test_options),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
