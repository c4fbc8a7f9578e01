/* SPDX-License-Identifier: MIT */
/*
 * What is decided about a window, each idea alone on hand-made tokens: where its text is cut, which try is taken, what
 * the next window is told, which speech is left without text, which language a recording has.
 */
#include "base/macros.h"
#include "whisper/coverage.h"
#include "whisper/ladder.h"
#include "whisper/prompt.h"
#include "whisper/segments.h"
#include "whisper/vote.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

/* Text below EOT; AT(s) is the stamp of that second. */
enum { EOT = 100, SOT = 101, PREV = 102, NO_STAMPS = 103, STAMP = 104, VOCAB = STAMP + TIMESTAMP_COUNT };
enum { S = WHISPER_RATE, FULL = WHISPER_WINDOW, END = -1 };

#define AT(s) (STAMP + (int)((s)*50 + 0.5))

/* ---- cuts ---- */

static const struct cut_case {
    const char *what;
    int tokens[16]; /* END behind the last */
    double length, carried, resumes;
    bool open;
    struct {
        size_t first, n;
        double start, end;
    } want[5];
} cut_cases[] = {
    {"nothing", {END}, 30, 30, 30, false, {{0, 0, 0, 0}}},
    {"one segment, closed", {AT(0), 1, 2, AT(3), END}, 30, 30, 30, false, {{0, 4, 0, 3}}},
    {"a pair in the middle, a single stamp at the end",
     {AT(0.5), 1, AT(2), AT(2), 2, AT(4), END},
     30,
     30,
     30,
     false,
     {{0, 3, 0.5, 2}, {3, 3, 2, 4}}},
    {"a pair at the end: the next window begins there", {AT(0), 1, AT(2), AT(2), END}, 30, 2, 2, true, {{0, 3, 0, 2}}},
    {"cut-off text behind the last pair is said again",
     {AT(0), 1, AT(2), AT(2), 5, 6, END},
     30,
     2,
     2,
     true,
     {{0, 3, 0, 2}}},
    {"a pause before the cut-off text", {AT(0), 1, AT(2), AT(9), 5, END}, 30, 2, 9, true, {{0, 3, 0, 2}}},
    {"a pause between two segments",
     {AT(0), 1, AT(2), AT(3), 5, AT(6), END},
     30,
     30,
     30,
     false,
     {{0, 3, 0, 2}, {3, 3, 3, 6}}},
    {"no stamps at all", {1, 2, 3, END}, 30, 30, 30, false, {{0, 3, 0, 30}}},
    {"no stamps in a short window", {1, END}, 4.5, 4.5, 4.5, false, {{0, 1, 0, 4.5}}},
    {"only the beginning is stamped", {AT(5), 1, 2, END}, 30, 30, 30, false, {{0, 3, 5, 30}}},
    {"only the end is stamped", {1, 2, AT(7), END}, 30, 30, 30, false, {{0, 3, 0, 7}}},
    {"a lone stamp of 0 tells no end", {1, AT(0), END}, 30, 30, 30, false, {{0, 2, 0, 30}}},
    {"a stamp and no text", {AT(0), END}, 30, 30, 30, false, {{0, 1, 0, 30}}},
    {"ends are clipped to the sound", {AT(0), 1, AT(6), END}, 4.2, 4.2, 4.2, false, {{0, 3, 0, 4.2}}},
    {"what is said of the padding was not said",
     {AT(0), 1, AT(4), AT(4.5), 2, AT(6), END},
     4.2,
     4.2,
     4.2,
     false,
     {{0, 3, 0, 4}}},
    {"wrong stamps lose no text when it is all there is",
     {AT(1), 1, AT(1.4), END},
     0.6,
     0.6,
     0.6,
     false,
     {{0, 3, 0, 0.6}}},
    {"a pair behind the end carries no further than the sound",
     {AT(0), 1, AT(9), AT(9), 2, END},
     4,
     4,
     4,
     true,
     {{0, 3, 0, 4}}},
};

static void test_cuts(void **state)
{
    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(cut_cases); i++) {
        const struct cut_case *c = &cut_cases[i];
        size_t n = 0, want = 0;
        while (c->tokens[n] != END)
            n++;
        while (want < ARRAY_LEN(c->want) && c->want[want].n)
            want++;
        struct cuts got;
        segments_cut(c->tokens, n, STAMP, llround(c->length * S), &got);
        if (got.n != want || got.open != c->open || got.carried != llround(c->carried * S) ||
            got.resumes != llround(c->resumes * S))
            fail_msg("%s: %zu cuts, carried to %.2f, resumes at %.2f, open %d", c->what, got.n, (double)got.carried / S,
                     (double)got.resumes / S, got.open);
        for (size_t k = 0; k < want; k++)
            if (got.v[k].first != c->want[k].first || got.v[k].n != c->want[k].n ||
                got.v[k].start != llround(c->want[k].start * S) || got.v[k].end != llround(c->want[k].end * S))
                fail_msg("%s: cut %zu is tokens %zu+%zu, %.2f to %.2f", c->what, k, got.v[k].first, got.v[k].n,
                         (double)got.v[k].start / S, (double)got.v[k].end / S);
    }
}

static uint64_t seed;

static int below(int n)
{
    seed = seed * UINT64_C(6364136223846793005) + UINT64_C(1442695040888963407);
    return (int)((seed >> 33) % (uint64_t)n);
}

/* A text by the grammar of rules.c, ended anywhere; or, one time in four, tokens in any order. */
static size_t random_text(int *ret)
{
    size_t n = 0, most = (size_t)below(SEARCH_MAX_TOKENS + 1);
    if (below(4) == 0) {
        while (n < most)
            ret[n++] = below(2) ? below(EOT) : STAMP + below(TIMESTAMP_COUNT);
        return n;
    }
    for (int at = below(50); at < TIMESTAMP_COUNT - 1;) {
        if (n < most)
            ret[n++] = STAMP + at;
        for (int k = below(6); k >= 0 && n < most; k--)
            ret[n++] = below(EOT);
        at += 1 + below(TIMESTAMP_COUNT - 1 - at);
        if (n < most)
            ret[n++] = STAMP + at;
        if (n == most)
            break;
        at += below(3) ? 0 : below(100);
    }
    return n;
}

static void test_any_text_is_cut_in_order(void **state)
{
    (void)state;
    for (int round = 0; round < 20000; round++) {
        seed = (uint64_t)round;
        int tokens[SEARCH_MAX_TOKENS];
        size_t n = random_text(tokens), at = 0;
        bool by_grammar = true;
        for (size_t i = 0, last = 0; i < n; i++)
            if (tokens[i] >= STAMP) {
                by_grammar = by_grammar && (size_t)tokens[i] >= last;
                last = (size_t)tokens[i];
            }
        int64_t length = below(3) ? FULL : 1600 + below(FULL - 1600), end = 0;
        struct cuts c;
        segments_cut(tokens, n, STAMP, length, &c);
        for (size_t i = 0; i < c.n; i++) {
            assert_true(c.v[i].n > 0 && c.v[i].first >= at && c.v[i].first + c.v[i].n <= n);
            at = c.v[i].first + c.v[i].n;
            assert_true(c.v[i].start >= 0 && c.v[i].end >= c.v[i].start && c.v[i].end <= length);
            if (by_grammar)
                assert_true(c.v[i].start >= end);
            end = c.v[i].end;
        }
        assert_true(c.carried >= 0 && c.carried <= c.resumes && c.resumes <= length);
        assert_true(c.open || c.carried == length);
        /* Nothing is lost but what is said again and what lies in the padding. */
        if (!c.open && n && length == FULL)
            assert_int_equal(at, n);
    }
}

/* ---- the ladder ---- */

enum { PASS, REPEAT, LOOPED, UNLIKELY };

struct rung {
    int kind;
    float logprob, no_speech;
};

struct climb {
    struct rung rungs[6];
    size_t n;       /* of rungs */
    size_t reached; /* how many tries were made */
};

static int play(void *arg, float temperature, struct decoded *ret, struct err *err)
{
    struct climb *c = arg;
    const struct rung *r = &c->rungs[c->reached++];
    if (r->kind < 0)
        return err_set(err, ERR_CANCELLED, "cancelled");
    (void)temperature;
    ret->n = r->kind == LOOPED ? 60 : 10;
    for (size_t i = 0; i < ret->n; i++)
        ret->tokens[i] = r->kind == LOOPED && i >= 6 ? (int)(i % 3) : (int)i + 10;
    ret->compression_ratio = r->kind == REPEAT ? 2.41f : 2.4f;
    ret->avg_logprob = r->logprob;
    ret->no_speech_prob = r->no_speech;
    return 0;
}

static const struct climb_case {
    const char *what;
    struct rung rungs[6];
    size_t n, tries, taken; /* taken: which try's figures came out, from 0 */
    bool silent;
    const char *failed;
} climbs[] = {
    {"the first passes", {{PASS, -0.2f, 0.1f}}, 6, 1, 0, false, NULL},
    {"exactly at the limits passes", {{PASS, -1, 0.6f}}, 6, 1, 0, false, NULL},
    {"too repetitive, then well", {{REPEAT, -0.1f, 0}, {PASS, -0.3f, 0}}, 6, 2, 1, false, NULL},
    {"a loop fails like a bad gate", {{LOOPED, -0.1f, 0}, {PASS, -0.9f, 0}}, 6, 2, 1, false, NULL},
    {"unlikely, then well", {{UNLIKELY, -1.2f, 0}, {PASS, -0.9f, 0}}, 6, 2, 1, false, NULL},
    {"unlikely over silence is silence, no further try", {{UNLIKELY, -1.2f, 0.7f}}, 6, 1, 0, true, "low probability"},
    {"likely text over silence is text", {{PASS, -0.9f, 0.99f}}, 6, 1, 0, false, NULL},
    {"repetition over silence is tried again", {{REPEAT, -0.5f, 0.99f}, {PASS, -0.5f, 0.99f}}, 6, 2, 1, false, NULL},
    {"... until its text is unlikely too",
     {{REPEAT, -0.5f, 0.99f}, {UNLIKELY, -1.5f, 0.99f}},
     6,
     2,
     1,
     true,
     "low probability"},
    {"all fail: the likeliest",
     {{UNLIKELY, -1.5f, 0}, {UNLIKELY, -1.2f, 0}, {UNLIKELY, -2, 0}},
     3,
     3,
     1,
     false,
     "low probability"},
    {"all fail: the likeliest that does not repeat itself",
     {{REPEAT, -0.1f, 0}, {UNLIKELY, -1.9f, 0}, {UNLIKELY, -1.4f, 0}, {LOOPED, -0.05f, 0}},
     4,
     4,
     2,
     false,
     "low probability"},
    {"all repeat: the likeliest of them", {{REPEAT, -0.5f, 0}, {REPEAT, -0.3f, 0}}, 2, 2, 1, false, "repetition"},
};

static void test_climbs(void **state)
{
    (void)state;
    struct whisper_params p;
    whisper_params_default(&p);
    assert_int_equal(p.n_temperatures, 6);
    for (int i = 0; i < 6; i++)
        assert_true(fabsf(p.temperatures[i] - 0.2f * (float)i) < 1e-6f);
    for (size_t i = 0; i < ARRAY_LEN(climbs); i++) {
        const struct climb_case *c = &climbs[i];
        struct climb climb = {.n = c->n};
        memcpy(climb.rungs, c->rungs, sizeof climb.rungs);
        p.n_temperatures = c->n;
        struct decoded d;
        struct err err = ERR_INIT;
        assert_int_equal(ladder_climb(&p, STAMP, play, &climb, &d, &err), 0);
        bool same = c->failed ? d.failed && strcmp(c->failed, d.failed) == 0 : !d.failed;
        if (climb.reached != c->tries || d.silent != c->silent || !same ||
            fabsf(d.avg_logprob - c->rungs[c->taken].logprob) > 1e-6f ||
            fabsf(d.temperature - p.temperatures[c->taken]) > 1e-6f)
            fail_msg("%s: %zu tries, temperature %.1f, silent %d, failed %s", c->what, climb.reached,
                     (double)d.temperature, d.silent, d.failed ? d.failed : "none");
    }
}

static void test_of_a_loop_the_first_round_stays(void **state)
{
    (void)state;
    struct whisper_params p;
    whisper_params_default(&p);
    p.n_temperatures = 1;
    struct climb climb = {.rungs = {{LOOPED, -0.1f, 0}}, .n = 1};
    struct decoded d;
    struct err err = ERR_INIT;
    assert_int_equal(ladder_climb(&p, STAMP, play, &climb, &d, &err), 0);
    assert_string_equal(d.failed, "loop");
    assert_int_equal(d.n, 9); /* six tokens, then one round of three */
}

static void test_gates_can_be_switched_off(void **state)
{
    (void)state;
    struct whisper_params p;
    whisper_params_default(&p);
    p.compression_ratio_threshold = p.logprob_threshold = p.no_speech_threshold = NAN;
    static const struct rung rungs[] = {{REPEAT, -0.1f, 0}, {UNLIKELY, -3, 0}, {PASS, -3, 1}};
    for (size_t i = 0; i < ARRAY_LEN(rungs); i++) {
        struct climb climb = {.rungs = {rungs[i]}};
        struct decoded d;
        struct err err = ERR_INIT;
        assert_int_equal(ladder_climb(&p, STAMP, play, &climb, &d, &err), 0);
        assert_true(climb.reached == 1 && !d.failed && !d.silent);
    }
    /* Silence without the gate of probabilities: the model's word alone. */
    p.no_speech_threshold = 0.6f;
    struct climb climb = {.rungs = {{PASS, -0.1f, 0.7f}}};
    struct decoded d;
    struct err err = ERR_INIT;
    assert_int_equal(ladder_climb(&p, STAMP, play, &climb, &d, &err), 0);
    assert_true(d.silent);
}

static void test_no_numbers_are_an_error(void **state)
{
    (void)state;
    struct whisper_params p;
    whisper_params_default(&p);
    static const struct rung rungs[] = {{PASS, NAN, 0}, {PASS, -0.1f, NAN}};
    for (size_t i = 0; i < ARRAY_LEN(rungs); i++) {
        struct climb climb = {.rungs = {rungs[i]}};
        struct decoded d;
        struct err err = ERR_INIT;
        assert_int_equal(ladder_climb(&p, STAMP, play, &climb, &d, &err), ERR_CORRUPT);
    }
    struct climb climb = {.rungs = {{UNLIKELY, -2, 0}, {-1, 0, 0}}};
    struct decoded d;
    struct err err = ERR_INIT;
    assert_int_equal(ladder_climb(&p, STAMP, play, &climb, &d, &err), ERR_CANCELLED);
    assert_int_equal(climb.reached, 2);
}

/* ---- the prompt ---- */

static const struct tokenizer english = {
    .n_vocab = VOCAB, .eot = EOT, .sot = SOT, .sot_prev = PREV, .no_timestamps = NO_STAMPS, .first_timestamp = STAMP};

static void test_prompts(void **state)
{
    (void)state;
    struct err err = ERR_INIT;
    struct prompt p;
    int got[PREFIX_MAX], said[600];
    size_t sot_index = 99;
    assert_int_equal(prompt_init(&p, &english, NULL, NULL, &err), 0);
    prompt_set_sot(&p, "en", false, true);
    /* Nothing before: no start-of-previous. */
    assert_int_equal(prompt_make(&p, false, got, &sot_index), 1);
    assert_true(got[0] == SOT && sot_index == 0);
    prompt_set_sot(&p, "en", false, false);
    assert_int_equal(prompt_make(&p, false, got, &sot_index), 2);
    assert_int_equal(got[1], NO_STAMPS);
    /* The end of what was said, 223 tokens at most, however it came. */
    for (int i = 0; i < 600; i++)
        said[i] = i % EOT;
    for (int i = 0; i < 600; i += 7)
        assert_int_equal(prompt_add(&p, said + i, (size_t)MIN(7, 600 - i), &err), 0);
    size_t n = prompt_make(&p, false, got, &sot_index);
    assert_int_equal(n, 1 + PROMPT_MAX + 2);
    assert_int_equal(got[0], PREV);
    assert_memory_equal(got + 1, said + 600 - PROMPT_MAX, PROMPT_MAX * sizeof *got);
    assert_true(sot_index == 1 + PROMPT_MAX && got[sot_index] == SOT);
    assert_int_equal(prompt_add(&p, said, 600, &err), 0);
    assert_int_equal(prompt_make(&p, false, got, &sot_index), n);
    assert_memory_equal(got + 1, said + 600 - PROMPT_MAX, PROMPT_MAX * sizeof *got);
    /* Left out this once, then forgotten. */
    assert_int_equal(prompt_make(&p, true, got, &sot_index), 2);
    assert_int_equal(prompt_make(&p, false, got, &sot_index), n);
    prompt_forget(&p);
    assert_int_equal(prompt_make(&p, false, got, &sot_index), 2);
    /* Stamps are part of it; ids that the model has not are refused. */
    said[0] = AT(1);
    assert_int_equal(prompt_add(&p, said, 2, &err), 0);
    assert_int_equal(prompt_make(&p, false, got, &sot_index), 5);
    assert_int_equal(got[1], AT(1));
    said[0] = VOCAB;
    assert_int_equal(prompt_add(&p, said, 1, &err), ERR_INVALID);
    said[0] = -1;
    assert_int_equal(prompt_add(&p, said, 1, &err), ERR_INVALID);
}

static void test_hotwords_stay_in_front(void **state)
{
    (void)state;
    struct err err = ERR_INIT;
    struct prompt p;
    int got[PREFIX_MAX], said[300];
    size_t sot_index;
    assert_int_equal(prompt_init(&p, &english, NULL, NULL, &err), 0);
    prompt_set_sot(&p, "en", false, true);
    p.n_hotwords = 3;
    for (int i = 0; i < 3; i++)
        p.hotwords[i] = 90 + i;
    for (int i = 0; i < 300; i++)
        said[i] = i % 80;
    assert_int_equal(prompt_add(&p, said, 300, &err), 0);
    assert_int_equal(prompt_make(&p, false, got, &sot_index), 1 + PROMPT_MAX + 1);
    assert_memory_equal(got + 1, p.hotwords, 3 * sizeof *got);
    assert_memory_equal(got + 4, said + 300 - (PROMPT_MAX - 3), (PROMPT_MAX - 3) * sizeof *got);
    prompt_forget(&p);
    assert_int_equal(prompt_make(&p, false, got, &sot_index), 5);
    assert_true(got[0] == PREV && got[1] == 90 && got[4] == SOT && sot_index == 4);
    assert_int_equal(prompt_make(&p, true, got, &sot_index), 5);
}

/* ---- coverage ---- */

#define NONE       \
    {              \
        0, 0, NULL \
    }

struct second_span {
    double start, end;
};

static const struct cover_case {
    const char *what;
    struct second_span speech[5], text[5];
    struct {
        double start, end;
        const char *why;
    } mute[3], want[5];
} cover_cases[] = {
    {"nothing is known", {{0, 0}}, {{0, 0}}, {NONE}, {NONE}},
    {"all has text", {{1, 5}, {6, 9}}, {{1, 5}, {5, 9}}, {NONE}, {NONE}},
    {"a pause within speech is no hole", {{0, 20}}, {{0, 8}, {11, 20}}, {NONE}, {NONE}},
    {"a longer one is", {{0, 20}}, {{0, 8}, {11.5, 20}}, {NONE}, {{8, 11.5, "no text"}}},
    {"silence needs no text", {{0, 5}, {50, 60}}, {{0, 5}, {50, 60}}, {NONE}, {NONE}},
    {"a phrase without any text", {{0, 5}, {6, 7.5}, {9, 12}}, {{0, 5}, {9, 12}}, {NONE}, {{6, 7.5, "no text"}}},
    {"a phrase too short to tell", {{0, 5}, {6, 6.9}, {9, 12}}, {{0, 5}, {9, 12}}, {NONE}, {NONE}},
    {"half a word of text saves a phrase", {{0, 5}, {6, 7.5}}, {{0, 5}, {6.5, 7}}, {NONE}, {NONE}},
    {"what was given up has its reason",
     {{0, 70}},
     {{0, 28}},
     {{30, 60, "no speech"}, {60, 90, "failed gates"}},
     {{30, 60, "no speech"}, {60, 70, "failed gates"}}},
    {"an early end", {{0, 29}}, {{0, 25}}, {{25, 30, "early end"}}, {{25, 29, "early end"}}},
    {"given up, but silent", {{0, 20}, {100, 110}}, {{0, 20}, {100, 110}}, {{30, 60, "no speech"}}, {NONE}},
    {"before and behind what was given up",
     {{0, 50}},
     {{0, 0}},
     {{10, 40, "no speech"}},
     {{0, 10, "no text"}, {10, 40, "no speech"}, {40, 50, "no text"}}},
    {"speech beyond the end is cut", {{0, 200}}, {{0, 110}}, {NONE}, {{110, 120, "no text"}}},
};

struct gaps_seen {
    struct whisper_gap v[8];
    size_t n;
};

static int take_gap(void *arg, const struct whisper_gap *g, struct err *err)
{
    struct gaps_seen *s = arg;
    if (s->n == ARRAY_LEN(s->v))
        return err_set(err, ERR_TOO_LARGE, "too many");
    s->v[s->n++] = *g;
    return 0;
}

static void test_speech_without_text(void **state)
{
    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(cover_cases); i++) {
        const struct cover_case *c = &cover_cases[i];
        struct whisper_span speech[5];
        struct whisper_segment text[5] = {{.n_tokens = 0}};
        struct whisper_gap mute[3];
        struct whisper_input in = {.n = (size_t)120 * S, .speech = speech};
        size_t n = 0, n_mute = 0, want = 0;
        for (; in.n_speech < 5 && c->speech[in.n_speech].end > 0; in.n_speech++)
            speech[in.n_speech] = (struct whisper_span){llround(c->speech[in.n_speech].start * S),
                                                        llround(c->speech[in.n_speech].end * S)};
        for (; n < 5 && c->text[n].end > 0; n++) {
            text[n].start = llround(c->text[n].start * S);
            text[n].end = llround(c->text[n].end * S);
        }
        for (; n_mute < 3 && c->mute[n_mute].why; n_mute++)
            mute[n_mute] = (struct whisper_gap){llround(c->mute[n_mute].start * S), llround(c->mute[n_mute].end * S),
                                                c->mute[n_mute].why};
        while (want < 5 && c->want[want].why)
            want++;
        struct gaps_seen got = {.n = 0};
        struct err err = ERR_INIT;
        assert_int_equal(coverage_gaps(&in, text, n, mute, n_mute, take_gap, &got, &err), 0);
        if (got.n != want)
            fail_msg("%s: %zu gaps, not %zu", c->what, got.n, want);
        for (size_t k = 0; k < want; k++)
            if (got.v[k].start != llround(c->want[k].start * S) || got.v[k].end != llround(c->want[k].end * S) ||
                strcmp(got.v[k].why, c->want[k].why) != 0)
                fail_msg("%s: gap %zu is %.2f to %.2f, %s", c->what, k, (double)got.v[k].start / S,
                         (double)got.v[k].end / S, got.v[k].why);
    }
}

static void test_where_speech_ends(void **state)
{
    (void)state;
    static const struct whisper_span speech[] = {{2, 5}, {10, 20}};
    struct whisper_input in = {.n = 100, .speech = speech, .n_speech = 2}, unknown = {.n = 100};
    assert_int_equal(coverage_speech_end(&in, 0, 100), 20);
    assert_int_equal(coverage_speech_end(&in, 0, 15), 15);
    assert_int_equal(coverage_speech_end(&in, 0, 9), 5);
    assert_int_equal(coverage_speech_end(&in, 5, 10), 5); /* none between */
    assert_int_equal(coverage_speech_end(&in, 30, 100), 30);
    assert_int_equal(coverage_speech_end(&unknown, 7, 100), 7);
    assert_true(coverage_any(&in, 4, 6) && !coverage_any(&in, 5, 10) && coverage_any(&unknown, 5, 10));
}

/* ---- the language ---- */

static const struct vote_case {
    const char *what;
    float windows[5][3]; /* probabilities of three languages; all 0: no more windows */
    int heard, language;
    float probability;
} votes[] = {
    {"the first is sure", {{0.1f, 0.8f, 0.1f}, {0.9f, 0.05f, 0.05f}}, 1, 1, 0.8f},
    {"the first is not, the second is", {{0.4f, 0.35f, 0.25f}, {0.1f, 0.2f, 0.7f}, {0.9f, 0, 0.1f}}, 2, 2, 0.7f},
    {"exactly half is not sure", {{0.5f, 0.5f, 0}, {0.2f, 0.3f, 0.5f}}, 2, 0, 0.35f},
    {"none is: the majority, not the largest sum",
     {{0.35f, 0.4f, 0.25f}, {0.35f, 0.4f, 0.25f}, {0.5f, 0.05f, 0.45f}},
     3,
     1,
     0.85f / 3},
    {"a tie goes to the likelier", {{0.4f, 0.3f, 0.3f}, {0.1f, 0.5f, 0.4f}}, 2, 1, 0.4f},
};

static void test_votes(void **state)
{
    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(votes); i++) {
        struct vote v = {.windows = 0};
        bool sure = false;
        for (size_t k = 0; k < 5 && !sure && votes[i].windows[k][0] + votes[i].windows[k][1] > 0; k++)
            sure = vote_add(&v, votes[i].windows[k], 3);
        float probability;
        int language = vote_result(&v, &probability);
        if (v.windows != votes[i].heard || language != votes[i].language ||
            fabsf(probability - votes[i].probability) > 1e-5f)
            fail_msg("%s: %d windows, language %d with %.3f", votes[i].what, v.windows, language, (double)probability);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_cuts),
        cmocka_unit_test(test_any_text_is_cut_in_order),
        cmocka_unit_test(test_climbs),
        cmocka_unit_test(test_of_a_loop_the_first_round_stays),
        cmocka_unit_test(test_gates_can_be_switched_off),
        cmocka_unit_test(test_no_numbers_are_an_error),
        cmocka_unit_test(test_prompts),
        cmocka_unit_test(test_hotwords_stay_in_front),
        cmocka_unit_test(test_speech_without_text),
        cmocka_unit_test(test_where_speech_ends),
        cmocka_unit_test(test_votes),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
