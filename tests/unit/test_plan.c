/* SPDX-License-Identifier: MIT */
#include "audio/pcm.h"
#include "audio/plan.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

enum { S = AUDIO_RATE };

static const struct plan_opts usual = {.target_samples = 20 * S, .max_samples = 30 * S, .min_gap_samples = S / 2};

static uint64_t seed;

static int64_t random_below(int64_t n)
{
    seed = seed * UINT64_C(6364136223846793005) + UINT64_C(1442695040888963407);
    return (int64_t)((seed >> 33) % (uint64_t)n);
}

/* Every promise of plan.h, on any input. */
static void check_promises(const struct span *speech, size_t n, const struct plan_opts *o, const struct span *c,
                           size_t m)
{
    for (size_t i = 0; i < m; i++) {
        assert_true(c[i].end > c[i].start);
        assert_true(c[i].end - c[i].start <= o->max_samples);
        assert_true(i == 0 || c[i].start >= c[i - 1].end);
    }
    /* The chunks cover each span without a hole. */
    size_t k = 0;
    for (size_t i = 0; i < n; i++) {
        int64_t at = speech[i].start;
        while (at < speech[i].end) {
            while (k < m && c[k].end <= at)
                k++;
            assert_true(k < m);
            assert_true(c[k].start <= at);
            at = c[k].end < speech[i].end ? c[k].end : speech[i].end;
        }
    }
    /* No chunk begins or ends in silence. */
    for (size_t i = 0; i < m; i++) {
        bool begins = false, ends = false;
        for (size_t j = 0; j < n; j++) {
            begins |= c[i].start >= speech[j].start && c[i].start < speech[j].end;
            ends |= c[i].end > speech[j].start && c[i].end <= speech[j].end;
        }
        assert_true(begins && ends);
    }
}

static size_t random_spans(struct span *ret, size_t max)
{
    size_t n = (size_t)random_below((int64_t)max + 1);
    int64_t at = random_below(3) ? random_below(10 * S) : 0;
    int64_t longest = random_below(4) ? 8 * S : 90 * S, widest = random_below(3) ? S : 8 * S;
    for (size_t i = 0; i < n; i++) {
        ret[i].start = at;
        ret[i].end = at + 1 + random_below(longest);
        at = ret[i].end + random_below(widest);
    }
    return n;
}

static void test_random_plans_keep_every_promise(void **state)
{
    (void)state;
    for (int round = 0; round < 5000; round++) {
        seed = (uint64_t)round;
        struct span speech[40];
        size_t n = random_spans(speech, ARRAY_LEN(speech));
        struct plan_opts o = usual;
        if (round % 3 == 1) {
            o.max_samples = 1 + random_below(40 * S);
            o.target_samples = random_below(60 * S);
            o.min_gap_samples = random_below(5 * S);
        }
        struct err e = ERR_INIT;
        struct span *c = NULL, *again = NULL;
        size_t m = 0, m2 = 0;
        assert_int_equal(plan_chunks(speech, n, &o, NULL, &c, &m, &e), 0);
        check_promises(speech, n, &o, c, m);
        assert_int_equal(plan_chunks(speech, n, &o, NULL, &again, &m2, &e), 0);
        assert_int_equal(m, m2);
        if (m > 0)
            assert_memory_equal(c, again, m * sizeof *c);
        free(c);
        free(again);
    }
}

/* Spans and chunks in tenths of a second. */
static const struct plan_case {
    const char *what;
    struct span speech[8], chunks[8];
} cases[] = {
    {"nothing", {{0, 0}}, {{0, 0}}},
    {"one word", {{10, 15}}, {{10, 15}}},
    {"short pauses are joined up to the target", {{0, 50}, {60, 100}, {110, 190}}, {{0, 190}}},
    {"long silence belongs to no chunk", {{0, 50}, {80, 100}}, {{0, 50}, {80, 100}}},
    {"the longest pause near the target",
     {{0, 140}, {146, 180}, {192, 220}, {227, 300}, {306, 400}},
     {{0, 180}, {192, 400}}},
    {"of equal pauses the one nearest the target",
     {{0, 140}, {147, 190}, {197, 240}, {247, 350}},
     {{0, 190}, {197, 350}}},
    {"a pause far before the target, when there is no other", {{0, 40}, {50, 340}}, {{0, 40}, {50, 340}}},
    {"before the target, the nearest to it", {{0, 40}, {50, 90}, {100, 340}}, {{0, 90}, {100, 340}}},
    {"beyond the target, the nearest to it", {{0, 275}, {282, 290}, {297, 400}}, {{0, 275}, {282, 400}}},
    {"a short pause, when the maximum forces it", {{0, 150}, {152, 250}, {251, 400}}, {{0, 150}, {152, 400}}},
    {"all that is left is not cut when it ends near the target", {{0, 100}, {110, 250}}, {{0, 250}}},
};

static void test_where_the_cuts_fall(void **state)
{
    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        struct span speech[8];
        size_t n = 0, m = 0, want = 0;
        for (; n < 8 && cases[i].speech[n].end; n++)
            speech[n] = (struct span){cases[i].speech[n].start * S / 10, cases[i].speech[n].end * S / 10};
        while (want < 8 && cases[i].chunks[want].end)
            want++;
        struct span *c = NULL;
        struct err e = ERR_INIT;
        assert_int_equal(plan_chunks(speech, n, &usual, NULL, &c, &m, &e), 0);
        if (m != want)
            fail_msg("%s: %zu chunks, expected %zu", cases[i].what, m, want);
        for (size_t k = 0; k < m; k++)
            if (c[k].start != cases[i].chunks[k].start * S / 10 || c[k].end != cases[i].chunks[k].end * S / 10)
                fail_msg("%s: chunk %zu is %.1f-%.1f", cases[i].what, k, samples_to_s(c[k].start),
                         samples_to_s(c[k].end));
        free(c);
    }
}

static void test_unbroken_speech_is_cut_at_its_quietest_place(void **state)
{
    (void)state;
    struct err e = ERR_INIT;
    struct pcm *p;
    assert_int_equal(pcm_new("/tmp", &p, &e), 0);
    /* Loud for 50 s; quieter at 5 s (too early), at 22.0 to 22.2 s (the place) and, less so, at 27 s. */
    static int16_t second[S];
    for (int s = 0; s < 50; s++) {
        for (int i = 0; i < S; i++) {
            int loud = 8000;
            if (s == 5 && i < S / 5)
                loud = 10;
            if (s == 22 && i < S / 5)
                loud = 100;
            if (s == 27 && i < S / 5)
                loud = 500;
            second[i] = (int16_t)(i % 2 ? loud : -loud);
        }
        assert_int_equal(pcm_append(p, second, S, &e), 0);
    }
    struct span speech = {0, 50 * (int64_t)S}, *c = NULL;
    size_t m = 0;
    assert_int_equal(plan_chunks(&speech, 1, &usual, p, &c, &m, &e), 0);
    assert_int_equal(m, 2);
    assert_true(c[0].end >= 22 * S && c[0].end <= 22 * S + S / 5);
    assert_int_equal(c[1].start, c[0].end);
    assert_int_equal(c[1].end, 50 * S);
    free(c);

    /* Without the samples the cut falls at the maximum. */
    assert_int_equal(plan_chunks(&speech, 1, &usual, NULL, &c, &m, &e), 0);
    assert_int_equal(m, 2);
    assert_int_equal(c[0].end, 30 * S);
    free(c);

    /* Speech that is not in the recording. */
    speech.end = 90 * (int64_t)S;
    assert_int_equal(plan_chunks(&speech, 1, &usual, p, &c, &m, &e), ERR_INTERNAL);
    pcm_free(p);
}

static void test_random_plans_with_samples(void **state)
{
    (void)state;
    struct err e = ERR_INIT;
    struct pcm *p;
    assert_int_equal(pcm_new("/tmp", &p, &e), 0);
    seed = 4711;
    static int16_t second[S];
    for (int s = 0; s < 600; s++) {
        for (int i = 0; i < S; i++)
            second[i] = (int16_t)(random_below(1 + 100 * (s % 7)) - 50);
        assert_int_equal(pcm_append(p, second, S, &e), 0);
    }
    for (int round = 0; round < 300; round++) {
        seed = (uint64_t)round;
        struct span speech[8];
        size_t n = random_spans(speech, ARRAY_LEN(speech)), m = 0;
        while (n > 0 && speech[n - 1].end > pcm_length(p))
            n--;
        struct span *c = NULL;
        assert_int_equal(plan_chunks(speech, n, &usual, p, &c, &m, &e), 0);
        check_promises(speech, n, &usual, c, m);
        free(c);
    }
    pcm_free(p);
}

static void test_wrong_input_is_our_own_bug(void **state)
{
    (void)state;
    struct err e = ERR_INIT;
    struct span *c = NULL;
    size_t m = 0;
    static const struct span bad[][2] = {{{0, 10}, {5, 20}}, {{20, 30}, {0, 10}}, {{0, 0}, {5, 6}}, {{-5, 2}, {3, 4}}};
    for (size_t i = 0; i < ARRAY_LEN(bad); i++)
        assert_int_equal(plan_chunks(bad[i], 2, &usual, NULL, &c, &m, &e), ERR_INTERNAL);
    static const struct span good = {0, 10};
    assert_int_equal(plan_chunks(&good, 1, &(struct plan_opts){.target_samples = 5}, NULL, &c, &m, &e), ERR_INTERNAL);
    assert_null(c);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_random_plans_keep_every_promise),
        cmocka_unit_test(test_where_the_cuts_fall),
        cmocka_unit_test(test_unbroken_speech_is_cut_at_its_quietest_place),
        cmocka_unit_test(test_random_plans_with_samples),
        cmocka_unit_test(test_wrong_input_is_our_own_bug),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
