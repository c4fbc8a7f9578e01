/* SPDX-License-Identifier: MIT */
/* Merging: what comes out keeps every promise of transcript.h, whatever went in. */
#include "transcript/transcript.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#define DURATION 10000

static void add(struct transcript *t, int64_t from, int64_t to, const struct segment *v, size_t n, const char *language)
{
    struct err e = ERR_INIT;
    struct segment copy[8];
    memcpy(copy, v, n * sizeof *v);
    struct segments s = {.v = copy, .n = n, .language = language};
    assert_int_equal(transcript_add(t, from, to, &s, &e), 0);
    assert_int_equal(transcript_check(t, &e), 0);
}

/* "0-1000 one|1000-2000 two" */
static const char *show(const struct transcript *t)
{
    static char text[1024];
    size_t n = 0;
    text[0] = '\0';
    for (size_t i = 0; i < t->n_segments; i++)
        n += (size_t)snprintf(text + n, sizeof text - n, "%s%d-%d %s", i ? "|" : "", (int)t->segments[i].start_ms,
                              (int)t->segments[i].end_ms, t->segments[i].text);
    return text;
}

static void test_times_are_clamped(void **state)
{
    (void)state;
    static const struct {
        const char *name;
        int64_t from, to; /* of the second chunk; the first is 0-4000 and ends at 3000 */
        int64_t start, end;
        const char *want;
    } rows[] = {
        {"as it should be", 4000, 8000, 4500, 7000, "4500-7000"},
        {"right behind the other", 3000, 8000, 3000, 3500, "3000-3500"},
        {"starts before its chunk", 4000, 8000, 3500, 7000, "4000-7000"},
        {"ends after its chunk", 4000, 8000, 7500, 8500, "7500-8000"},
        {"chunk overlaps the text before", 2000, 8000, 2500, 7000, "3000-7000"},
        {"wholly inside the text before", 1000, 8000, 1500, 2500, "3000-3000"},
        {"backwards", 4000, 8000, 7000, 5000, "7000-7000"},
        {"negative", 4000, 8000, -5000, -1000, "4000-4000"},
        {"behind its chunk", 4000, 8000, 9000, 9500, "8000-8000"},
        {"past the recording", 8000, 20000, 9000, 19000, "9000-10000"},
        {"a chunk past the recording", 15000, 20000, 16000, 17000, "10000-10000"},
        {"a chunk that ends before it starts", 8000, 4000, 5000, 6000, "4000-4000"},
        {"the extremes", INT64_MIN, INT64_MAX, INT64_MIN, INT64_MAX, "3000-10000"},
    };
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        struct transcript t;
        transcript_init(&t);
        t.duration_ms = DURATION;
        add(&t, 0, 4000, &(struct segment){.start_ms = 1000, .end_ms = 3000, .text = "one"}, 1, "en");
        add(&t, rows[i].from, rows[i].to,
            &(struct segment){.start_ms = rows[i].start, .end_ms = rows[i].end, .text = "two"}, 1, "en");
        char want[100];
        snprintf(want, sizeof want, "1000-3000 one|%s two", rows[i].want);
        if (strcmp(show(&t), want) != 0)
            fail_msg("%s: got %s, want %s", rows[i].name, show(&t), want);
        transcript_clear(&t);
    }
}

static void test_segments_within_a_chunk_follow_each_other(void **state)
{
    (void)state;
    struct transcript t;
    transcript_init(&t);
    t.duration_ms = DURATION;
    const struct segment v[] = {
        {.start_ms = 100, .end_ms = 2000, .text = "a"},
        {.start_ms = 1500, .end_ms = 2500, .text = "b"},
        {.start_ms = 1000, .end_ms = 1200, .text = "c"},
        {.start_ms = 3000, .end_ms = 4000, .text = "d"},
    };
    add(&t, 0, 5000, v, ARRAY_LEN(v), NULL);
    assert_string_equal(show(&t), "100-2000 a|2000-2500 b|2500-2500 c|3000-4000 d");
    assert_null(t.language);
    transcript_clear(&t);
}

static void test_empty_texts_are_dropped(void **state)
{
    (void)state;
    struct transcript t;
    transcript_init(&t);
    t.duration_ms = DURATION;
    const struct word words[] = {{0, 100, "ghost", 0.5}};
    const struct segment v[] = {
        {.start_ms = 0, .end_ms = 1000, .text = ""},
        {.start_ms = 1000, .end_ms = 2000, .text = " \t\r\n\x01 ", .words = words, .n_words = 1},
        {.start_ms = 2000, .end_ms = 3000, .text = NULL},
        {.start_ms = 3000, .end_ms = 4000, .text = "kept"},
    };
    add(&t, 0, 5000, v, ARRAY_LEN(v), "en");
    assert_string_equal(show(&t), "3000-4000 kept");
    add(&t, 5000, 9000, v, 3, "de");
    assert_string_equal(show(&t), "3000-4000 kept");
    assert_string_equal(t.language, "en");
    transcript_clear(&t);
}

static void test_texts_are_cleaned(void **state)
{
    (void)state;
    static const struct {
        const char *from, *want;
    } rows[] = {
        {"plain", "plain"},
        {"  two\n\nlines\t. ", "two lines ."},
        {"a\r\n\x1b[31mb\x7f"
         "c",
         "a [31mb c"},
        {"\xc3\xa4\xf0\x9f\x98\x80 \xe4\xb8\xad\xe6\x96\x87", "\xc3\xa4\xf0\x9f\x98\x80 \xe4\xb8\xad\xe6\x96\x87"},
        {"cut \xe4\xb8", "cut \xef\xbf\xbd\xef\xbf\xbd"},
        {"\xff\xfe", "\xef\xbf\xbd\xef\xbf\xbd"},
        {"\xed\xa0\x80", "\xef\xbf\xbd\xef\xbf\xbd\xef\xbf\xbd"},
        {"", ""},
        {NULL, ""},
    };
    struct arena a = ARENA_INIT;
    for (size_t i = 0; i < ARRAY_LEN(rows); i++)
        assert_string_equal(transcript_clean(&a, rows[i].from), rows[i].want);
    arena_clear(&a);
}

static void test_words_stay_inside_their_segment(void **state)
{
    (void)state;
    struct transcript t;
    transcript_init(&t);
    t.duration_ms = DURATION;
    const struct word words[] = {
        {500, 1200, "early", 0.5},
        {1200, 1300, " good\n", 2.0},
        {1100, 1250, "overlapping", nan("")},
        {1300, 1400, " ", 0.9},
        {1900, 1500, "backwards", -3},
        {3000, 4000, "late", HUGE_VAL},
        {INT64_MIN, INT64_MAX, "wild", 0},
    };
    add(&t, 0, 5000,
        &(struct segment){.start_ms = 1000, .end_ms = 2000, .text = "x", .words = words, .n_words = ARRAY_LEN(words)},
        1, "en");
    static const struct word want[] = {
        {1000, 1200, "early", 0.5},    {1200, 1300, "good", 1},  {1300, 1300, "overlapping", -1},
        {1900, 1900, "backwards", -1}, {2000, 2000, "late", -1}, {2000, 2000, "wild", 0},
    };
    const struct segment *s = &t.segments[0];
    assert_int_equal(s->n_words, ARRAY_LEN(want));
    for (size_t i = 0; i < ARRAY_LEN(want); i++) {
        assert_string_equal(s->words[i].text, want[i].text);
        assert_int_equal(s->words[i].start_ms, want[i].start_ms);
        assert_int_equal(s->words[i].end_ms, want[i].end_ms);
        assert_true(s->words[i].probability == want[i].probability);
    }
    assert_int_equal(transcript_word_count(&t), 6);
    assert_true(fabs(transcript_confidence(&t) - 0.5) < 1e-9); /* of 0.5, 1 and 0: the others are unknown */
    transcript_clear(&t);
}

static void test_words_are_counted_in_the_text_where_there_are_none(void **state)
{
    (void)state;
    struct transcript t;
    transcript_init(&t);
    t.duration_ms = DURATION;
    assert_int_equal(transcript_word_count(&t), 0);
    add(&t, 0, 5000, &(struct segment){.end_ms = 100, .text = "  one two\tthree "}, 1, NULL);
    assert_int_equal(transcript_word_count(&t), 3);
    assert_true(transcript_confidence(&t) < 0);
    transcript_clear(&t);
}

static void test_figures_are_kept_if_they_are_numbers(void **state)
{
    (void)state;
    struct transcript t;
    transcript_init(&t);
    t.duration_ms = DURATION;
    const struct segment v[] = {
        {.end_ms = 1,
         .text = "a",
         .has_stats = true,
         .avg_logprob = -0.5,
         .compression_ratio = 1.5,
         .no_speech_prob = 0.25,
         .temperature = 0.2,
         .suspect = " loops\n"},
        {.end_ms = 2, .text = "b", .has_stats = true, .avg_logprob = -HUGE_VAL, .compression_ratio = nan("")},
        {.end_ms = 3, .text = "c", .avg_logprob = -7},
    };
    add(&t, 0, 5000, v, 3, NULL);
    const struct segment *s = t.segments;
    assert_true(s[0].has_stats && s[0].avg_logprob == -0.5 && s[0].compression_ratio == 1.5 &&
                s[0].no_speech_prob == 0.25 && s[0].temperature == 0.2);
    assert_string_equal(s[0].suspect, "loops");
    assert_true(s[1].has_stats && s[1].avg_logprob == 0 && s[1].compression_ratio == 0);
    assert_null(s[1].suspect);
    assert_true(!s[2].has_stats && s[2].avg_logprob == 0);
    transcript_clear(&t);
}

static void test_the_language_heard_longest_wins(void **state)
{
    (void)state;
    static const struct {
        struct {
            const char *language;
            int64_t ms;
        } chunks[4];
        const char *want;
    } rows[] = {
        {{{"en", 1000}}, "en"},
        {{{"en", 1000}, {"de", 1500}}, "de"},
        {{{"en", 1000}, {"de", 1500}, {"EN", 600}}, "en"},
        {{{"en", 1000}, {"de", 1000}}, "en"}, /* the first of equals */
        {{{NULL, 1000}, {"fr", 1}}, "fr"},
        {{{" ", 1000}}, NULL},
        {{{NULL, 1000}}, NULL},
    };
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        struct transcript t;
        transcript_init(&t);
        t.duration_ms = DURATION;
        int64_t at = 0;
        for (size_t k = 0; k < 4 && rows[i].chunks[k].ms; k++) {
            int64_t end = at + rows[i].chunks[k].ms;
            add(&t, at, end, &(struct segment){.start_ms = at, .end_ms = end, .text = "x"}, 1,
                rows[i].chunks[k].language);
            at = end;
        }
        if (!rows[i].want)
            assert_null(t.language);
        else
            assert_string_equal(t.language, rows[i].want);
        transcript_clear(&t);
    }
}

/* Its probability is the mean over what is in that language; segments in another say so. */
static void test_languages_of_chunks(void **state)
{
    (void)state;
    struct err e = ERR_INIT;
    struct transcript t;
    transcript_init(&t);
    t.duration_ms = DURATION;
    static const struct {
        const char *language;
        double probability;
    } chunks[] = {{"en", 0.5}, {"de", 0.9}, {"en", 1}, {"fr", HUGE_VAL}};
    for (size_t i = 0; i < ARRAY_LEN(chunks); i++) {
        int64_t at = (int64_t)i * 1000;
        struct segment v = {.start_ms = at, .end_ms = at + 1000, .text = "x"};
        struct segments s = {
            .v = &v, .n = 1, .language = chunks[i].language, .language_probability = chunks[i].probability};
        assert_int_equal(transcript_add(&t, at, at + 1000, &s, &e), 0);
    }
    assert_string_equal(t.language, "en");
    assert_true(fabs(t.language_probability - 0.75) < 1e-9);
    for (size_t i = 0; i < ARRAY_LEN(chunks); i++)
        assert_string_equal(t.segments[i].language, chunks[i].language);
    transcript_clear(&t);
}

static void test_warnings_are_said_once(void **state)
{
    (void)state;
    struct err e = ERR_INIT;
    struct transcript t;
    transcript_init(&t);
    t.duration_ms = DURATION;
    static const char *const warnings[] = {"the prompt was cut", NULL, "the prompt was cut", "it is cold"};
    for (size_t i = 0; i < ARRAY_LEN(warnings); i++)
        assert_int_equal(transcript_add(&t, 0, 1000, &(struct segments){.warning = warnings[i]}, &e), 0);
    assert_string_equal(t.warning, "the prompt was cut; it is cold");
    transcript_clear(&t);
}

static void test_confidence_of_segments(void **state)
{
    (void)state;
    struct transcript t;
    transcript_init(&t);
    t.duration_ms = DURATION;
    const struct segment v[] = {
        {.end_ms = 3000, .text = "a", .has_stats = true, .avg_logprob = log(0.5)},
        {.start_ms = 3000, .end_ms = 4000, .text = "b", .has_stats = true, .avg_logprob = 1},
        {.start_ms = 4000, .end_ms = 5000, .text = "c", .avg_logprob = -7},
    };
    add(&t, 0, 5000, v, 3, NULL);
    assert_true(fabs(transcript_confidence(&t) - (3 * 0.5 + 1) / 4) < 1e-5);
    transcript_clear(&t);
}

static void test_languages_are_counted_up_to_a_limit(void **state)
{
    (void)state;
    struct transcript t;
    transcript_init(&t);
    t.duration_ms = DURATION;
    for (int i = 0; i < 40; i++) {
        const char code[] = {(char)('a' + i % 26), (char)('a' + i / 26), '\0'};
        add(&t, i * 10, i * 10 + 10, &(struct segment){.start_ms = i * 10, .end_ms = i * 10 + 10, .text = "x"}, 1,
            code);
    }
    assert_string_equal(t.language, "aa");
    assert_int_equal(t.n_languages, TRANSCRIPT_LANGUAGES);
    transcript_clear(&t);
}

static void test_gaps_and_coverage(void **state)
{
    (void)state;
    struct err e = ERR_INIT;
    struct transcript t;
    transcript_init(&t);
    t.duration_ms = DURATION;
    static const int64_t gaps[][2] = {{-5, 1000}, {500, 2000}, {1500, 1700}, {3000, 2500}, {9000, 99000}, {0, 5}};
    for (size_t i = 0; i < ARRAY_LEN(gaps); i++)
        assert_int_equal(transcript_add_gap(&t, gaps[i][0], gaps[i][1], "no words\n", &e), 0);
    assert_int_equal(t.n_gaps, 3);
    static const int64_t want[][2] = {{0, 1000}, {1000, 2000}, {9000, 10000}};
    for (size_t i = 0; i < 3; i++) {
        assert_int_equal(t.gaps[i].start_ms, want[i][0]);
        assert_int_equal(t.gaps[i].end_ms, want[i][1]);
        assert_string_equal(t.gaps[i].why, "no words");
    }
    static const struct {
        struct time_span speech[3];
        size_t n;
        int64_t speech_ms, covered_ms;
    } covers[] = {
        {{{0, 0}}, 0, 0, 0},
        {{{2000, 9000}}, 1, 7000, 7000},              /* between the gaps */
        {{{500, 1500}}, 1, 1000, 0},                  /* over two of them */
        {{{500, 3000}, {4000, 9500}}, 2, 8000, 6000}, /* the end of one, the start of another */
        {{{0, 20000}}, 1, DURATION, DURATION - 3000},
        {{{5000, 4000}, {30000, 40000}}, 2, 0, 0},
        {{{100, 200}, {300, 400}, {9999, 10000}}, 3, 201, 0},
    };
    for (size_t i = 0; i < ARRAY_LEN(covers); i++) {
        transcript_cover(&t, covers[i].speech, covers[i].n);
        assert_int_equal(t.speech_ms, covers[i].speech_ms);
        assert_int_equal(t.covered_ms, covers[i].covered_ms);
    }
    assert_int_equal(transcript_check(&t, &e), 0);
    transcript_clear(&t);
}

static void test_text_and_set(void **state)
{
    (void)state;
    struct err e = ERR_INIT;
    struct transcript t;
    transcript_init(&t);
    t.duration_ms = DURATION;
    assert_string_equal(transcript_text(&t), "");
    const struct segment v[] = {
        {.end_ms = 1, .text = "one"}, {.end_ms = 2, .text = "two three"}, {.end_ms = 3, .text = "4"}};
    add(&t, 0, 100, v, 3, NULL);
    assert_string_equal(transcript_text(&t), "one two three 4");
    char name[] = "null";
    assert_int_equal(transcript_set(&t, &t.engine, name, &e), 0);
    name[0] = 'x';
    assert_string_equal(t.engine, "null");
    assert_int_equal(transcript_set(&t, &t.engine, NULL, &e), 0);
    assert_null(t.engine);
    transcript_clear(&t);
    assert_int_equal(t.n_segments, 0);
}

static void test_memory_is_bounded(void **state)
{
    (void)state;
    struct err e = ERR_INIT;
    struct transcript t;
    transcript_init(&t);
    t.duration_ms = INT64_MAX;
    t.arena.max = 20000;
    struct segment v = {.text = "0123456789012345678901234567890123456789"};
    struct segments s = {.v = &v, .n = 1};
    int rc = 0;
    for (int i = 0; i < 10000 && rc == 0; i++)
        rc = transcript_add(&t, 0, INT64_MAX, &s, &e);
    assert_int_equal(rc, ERR_NOMEM);
    assert_in_range(t.n_segments, 20000 / 64, 20000 / 41); /* 41 bytes each, and what the arena adds */
    assert_int_equal(transcript_check(&t, &e), 0);
    assert_null(transcript_text(&t));
    assert_int_equal(transcript_add_gap(&t, 0, 5, "0123456789012345678901234567890123456789", &e), ERR_NOMEM);
    transcript_clear(&t);
}

static void test_check_finds_what_is_wrong(void **state)
{
    (void)state;
    struct word w[] = {{100, 200, "a", 1}, {200, 300, "b", 1}};
    struct segment s[] = {{.start_ms = 0, .end_ms = 500, .text = "a b", .words = w, .n_words = 2},
                          {.start_ms = 500, .end_ms = 900, .text = "c"}};
    struct gap g[] = {{10, 20, "x"}, {20, 30, "y"}};
    struct transcript t = {.segments = s,
                           .n_segments = 2,
                           .gaps = g,
                           .n_gaps = 2,
                           .duration_ms = 1000,
                           .speech_ms = 900,
                           .covered_ms = 880};
    struct err e = ERR_INIT;
    assert_int_equal(transcript_check(&t, &e), 0);
    const struct {
        int64_t *field;
        int64_t bad;
    } rows[] = {
        {&t.duration_ms, 899}, {&t.duration_ms, -1},  {&t.speech_ms, 1001}, {&t.speech_ms, 879}, {&t.covered_ms, -1},
        {&s[0].start_ms, -1},  {&s[0].start_ms, 101}, {&s[0].end_ms, 501},  {&s[0].end_ms, 299}, {&s[1].end_ms, 499},
        {&w[0].start_ms, -1},  {&w[0].end_ms, 201},   {&w[1].end_ms, 199},  {&w[1].end_ms, 501}, {&g[0].start_ms, -1},
        {&g[0].end_ms, 21},    {&g[1].end_ms, 19},    {&g[1].end_ms, 1001},
    };
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        int64_t good = *rows[i].field;
        *rows[i].field = rows[i].bad;
        if (transcript_check(&t, &e) != ERR_CORRUPT)
            fail_msg("row %zu was not found", i);
        *rows[i].field = good;
    }
    s[1].text = "";
    assert_int_equal(transcript_check(&t, &e), ERR_CORRUPT);
    s[1].text = "c";
    w[0].text = "";
    assert_int_equal(transcript_check(&t, &e), ERR_CORRUPT);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_times_are_clamped),
        cmocka_unit_test(test_segments_within_a_chunk_follow_each_other),
        cmocka_unit_test(test_empty_texts_are_dropped),
        cmocka_unit_test(test_texts_are_cleaned),
        cmocka_unit_test(test_words_stay_inside_their_segment),
        cmocka_unit_test(test_words_are_counted_in_the_text_where_there_are_none),
        cmocka_unit_test(test_figures_are_kept_if_they_are_numbers),
        cmocka_unit_test(test_the_language_heard_longest_wins),
        cmocka_unit_test(test_languages_of_chunks),
        cmocka_unit_test(test_warnings_are_said_once),
        cmocka_unit_test(test_confidence_of_segments),
        cmocka_unit_test(test_languages_are_counted_up_to_a_limit),
        cmocka_unit_test(test_gaps_and_coverage),
        cmocka_unit_test(test_text_and_set),
        cmocka_unit_test(test_memory_is_bounded),
        cmocka_unit_test(test_check_finds_what_is_wrong),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
