/* SPDX-License-Identifier: MIT */
/* What a decoder may say next, what a search chooses, what counts as a loop: on a toy vocabulary, no network needed. */
#include "whisper/gates.h"
#include "whisper/rules.h"
#include "whisper/search.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

/* Text 0..9, end 10, specials 11..16, "no timestamps" 17, timestamps 18..117. */
enum { TEXT = 10, EOT = 10, SOT = 11, NO_STAMPS = 17, STAMP = 18, VOCAB = 118 };

static const struct tokenizer toy = {
    .n_vocab = VOCAB, .eot = EOT, .sot = SOT, .no_timestamps = NO_STAMPS, .first_timestamp = STAMP};

static struct rules rules(void)
{
    return (struct rules){.t = &toy,
                          .kern = kern_best(),
                          .suppress_blank = true,
                          .timestamps = true,
                          .blank = 0,
                          .max_initial_timestamp = 50};
}

/* Which tokens are left after `said`, with all logits equal but for text, which is made likely enough to be kept. */
static void allowed(const struct rules *r, const int *said, size_t n, bool ret[VOCAB])
{
    float logits[VOCAB];
    for (int i = 0; i < VOCAB; i++)
        logits[i] = i < TEXT || i == EOT ? 20 : 0;
    rules_apply(r, said, n, logits);
    for (int i = 0; i < VOCAB; i++)
        ret[i] = logits[i] > -INFINITY;
}

#define SAID(...) (const int[]){__VA_ARGS__}, sizeof((const int[]){__VA_ARGS__}) / sizeof(int)

static void test_the_first_token_is_an_early_stamp(void **state)
{
    (void)state;
    struct rules r = rules();
    bool ok[VOCAB];
    allowed(&r, NULL, 0, ok);
    for (int i = 0; i < VOCAB; i++)
        assert_int_equal(ok[i], i >= STAMP && i <= STAMP + 50);
    r.max_initial_timestamp = -1;
    allowed(&r, NULL, 0, ok);
    assert_true(ok[VOCAB - 1]);
}

static void test_stamps_come_in_pairs_and_never_go_back(void **state)
{
    (void)state;
    struct rules r = rules();
    bool ok[VOCAB];
    allowed(&r, SAID(STAMP + 5), ok); /* opened: text, or the end; no second stamp */
    assert_true(ok[1] && ok[EOT] && !ok[STAMP + 6]);
    allowed(&r, SAID(STAMP + 5, 1, 2), ok); /* in the text: later stamps only */
    assert_true(ok[1] && ok[STAMP + 6] && !ok[STAMP + 5] && !ok[STAMP]);
    allowed(&r, SAID(STAMP + 5, 1, STAMP + 9), ok); /* closed: a stamp from there on, or the end */
    assert_true(!ok[1] && ok[EOT] && ok[STAMP + 9] && ok[STAMP + 10] && !ok[STAMP + 8]);
    allowed(&r, SAID(STAMP + 5, 1, STAMP + 9, STAMP + 9), ok); /* a pair: text or the end */
    assert_true(ok[1] && ok[EOT] && !ok[STAMP + 9] && !ok[STAMP + 20]);
}

static void test_specials_are_never_said(void **state)
{
    (void)state;
    struct rules r = rules();
    bool ok[VOCAB];
    allowed(&r, SAID(STAMP, 1), ok);
    for (int i = SOT; i <= NO_STAMPS; i++)
        assert_false(ok[i]);
    r.timestamps = false;
    allowed(&r, SAID(1), ok);
    for (int i = SOT; i < VOCAB; i++)
        assert_false(ok[i]);
    assert_true(ok[0] && ok[EOT]);
}

static void test_blank_and_end_are_no_beginning(void **state)
{
    (void)state;
    struct rules r = rules();
    r.timestamps = false;
    bool ok[VOCAB];
    allowed(&r, NULL, 0, ok);
    assert_true(!ok[0] && !ok[EOT] && ok[1]);
    r.suppress_blank = false;
    allowed(&r, NULL, 0, ok);
    assert_true(ok[0] && ok[EOT]);
}

static void test_suppressed_tokens(void **state)
{
    (void)state;
    static const int list[] = {3, 7, -5, 100000};
    struct rules r = rules();
    r.suppressed = list;
    r.n_suppressed = 4;
    bool ok[VOCAB];
    allowed(&r, SAID(STAMP, 1), ok);
    assert_true(!ok[3] && !ok[7] && ok[4]);
}

static void test_likely_stamps_win_together(void **state)
{
    (void)state;
    struct rules r = rules();
    float logits[VOCAB];
    for (int i = 0; i < VOCAB; i++)
        logits[i] = i == 1 ? 2 : i >= STAMP ? 0 : -20; /* each stamp is less likely than the word, all together more */
    rules_apply(&r, SAID(STAMP, 2), logits);
    assert_true(logits[1] == -INFINITY);
    for (int i = 0; i < VOCAB; i++)
        logits[i] = i == 1 ? 8 : i >= STAMP ? 0 : -20;
    rules_apply(&r, SAID(STAMP, 2), logits);
    assert_true(logits[1] > 0);
}

/* ---- search ---- */

/* Log-probabilities that depend on the last token: a tiny language with a tempting wrong turn. */
static void model(const struct sequence *q, float *logits)
{
    for (int i = 0; i < VOCAB; i++)
        logits[i] = -30;
    int last = q->n ? q->tokens[q->n - 1] : -1;
    switch (last) {
    case -1: /* 1 looks best now, 2 leads to a surer end */
        logits[1] = logf(0.55f);
        logits[2] = logf(0.45f);
        break;
    case 1:
        for (int i = 3; i < 8; i++)
            logits[i] = logf(0.2f);
        break;
    case 2:
        logits[8] = 0;
        break;
    default:
        logits[EOT] = 0;
    }
}

static struct search *run(const struct search_opts *o)
{
    struct rules r = rules();
    r.timestamps = false;
    r.suppress_blank = false;
    struct err err = ERR_INIT;
    struct search *s;
    assert_int_equal(search_new(o, &s, &err), 0);
    static float rows[SEARCH_MAX_SEQUENCES][VOCAB];
    for (bool first = true; !s->done; first = false) {
        float *logits[SEARCH_MAX_SEQUENCES];
        for (int i = 0; i < s->n_live; i++) {
            if (!first || i == 0)
                model(&s->live[i], rows[i]);
            logits[i] = first ? rows[0] : rows[i];
        }
        search_update(s, &r, logits);
        bool slots[SEARCH_MAX_SEQUENCES] = {false};
        for (int i = 0; i < s->n_live; i++) {
            assert_true(s->live[i].slot >= 0 && s->live[i].slot < o->sequences);
            assert_false(slots[s->live[i].slot]); /* no two share one */
            slots[s->live[i].slot] = true;
        }
    }
    return s;
}

static void test_greedy_takes_the_best_step(void **state)
{
    (void)state;
    struct search_opts o = {.sequences = 1, .patience = 1, .length_penalty = -1, .max_tokens = 50};
    struct search *s = run(&o);
    struct search_result best;
    search_result(s, &best);
    assert_int_equal(best.best->n, 2);
    assert_int_equal(best.best->tokens[0], 1);
    search_free(s);
}

static void test_a_beam_finds_the_best_way(void **state)
{
    (void)state;
    struct search_opts o = {.sequences = 3, .beam = true, .patience = 1, .length_penalty = -1, .max_tokens = 50};
    struct search *s = run(&o);
    struct search_result best;
    search_result(s, &best);
    assert_int_equal(best.best->n, 2);
    assert_int_equal(best.best->tokens[0], 2);
    assert_int_equal(best.best->tokens[1], 8);
    assert_true(fabsf(best.avg_logprob - logf(0.45f) / 3) < 1e-3f);
    assert_int_equal(s->n_finished, 3);
    search_free(s);
}

static void test_patience_waits_for_more_endings(void **state)
{
    (void)state;
    struct search_opts o = {.sequences = 2, .beam = true, .patience = 2, .length_penalty = -1, .max_tokens = 50};
    struct search *s = run(&o);
    assert_int_equal(s->max_candidates, 4);
    assert_true(s->n_finished >= 2);
    search_free(s);
}

static void test_drawing_is_seeded(void **state)
{
    (void)state;
    struct search_opts o = {
        .temperature = 1, .sequences = 5, .patience = 1, .length_penalty = -1, .max_tokens = 50, .seed = 7};
    int seen[5][2];
    struct search *s = run(&o);
    for (int i = 0; i < 5; i++) {
        memcpy(seen[i], s->live[i].tokens, sizeof seen[i]);
    }
    search_free(s);
    s = run(&o);
    for (int i = 0; i < 5; i++)
        assert_memory_equal(seen[i], s->live[i].tokens, sizeof seen[i]);
    search_free(s);
    bool differs = false;
    for (uint64_t seed = 8; seed < 20 && !differs; seed++) {
        o.seed = seed;
        s = run(&o);
        for (int i = 0; i < 5; i++)
            differs = differs || memcmp(seen[i], s->live[i].tokens, sizeof seen[i]) != 0;
        search_free(s);
    }
    assert_true(differs);
}

static void test_a_search_ends_at_its_room(void **state)
{
    (void)state;
    struct search_opts o = {.sequences = 1, .patience = 1, .length_penalty = -1, .max_tokens = 1};
    struct search *s = run(&o);
    assert_int_equal(s->live[0].n, 1);
    search_free(s);
    struct err err = ERR_INIT;
    o.sequences = SEARCH_MAX_SEQUENCES + 1;
    assert_int_equal(search_new(&o, &s, &err), ERR_INVALID);
}

/* ---- gates ---- */

static void test_compression_ratio(void **state)
{
    (void)state;
    static const char thanks[] = "thank you ";
    char text[500];
    assert_true(gates_compression_ratio("", 0) == 0);
    for (size_t i = 0; i < sizeof text; i++)
        text[i] = thanks[i % (sizeof thanks - 1)];
    assert_true(gates_compression_ratio(text, sizeof text) > 2.4f);
    const char *said = "the quick brown fox jumps over the lazy dog";
    assert_true(gates_compression_ratio(said, strlen(said)) < 1.5f);
}

static void test_loops(void **state)
{
    (void)state;
    int tokens[200];
    for (int i = 0; i < 200; i++)
        tokens[i] = i;
    assert_int_equal(gates_loop(tokens, 200, STAMP + 1000, GATES_LOOP), 0);
    for (int i = 50; i < 200; i++)
        tokens[i] = 7 + i % 3; /* from 50 on: period 3 */
    assert_int_equal(gates_loop(tokens, 200, STAMP + 1000, GATES_LOOP), 53);
    for (int i = 0; i < 200; i++)
        tokens[i] = i < 190 ? i : 5; /* ten equal words are a spoken list */
    assert_int_equal(gates_loop(tokens, 200, STAMP + 1000, GATES_LOOP), 0);
    for (int i = 0; i < 200; i++)
        tokens[i] = i < 180 ? i : 5; /* twenty are not */
    assert_true(gates_loop(tokens, 200, STAMP + 1000, GATES_LOOP) > 0);
    assert_int_equal(gates_loop(tokens, 0, STAMP, GATES_LOOP), 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_the_first_token_is_an_early_stamp),
        cmocka_unit_test(test_stamps_come_in_pairs_and_never_go_back),
        cmocka_unit_test(test_specials_are_never_said),
        cmocka_unit_test(test_blank_and_end_are_no_beginning),
        cmocka_unit_test(test_suppressed_tokens),
        cmocka_unit_test(test_likely_stamps_win_together),
        cmocka_unit_test(test_greedy_takes_the_best_step),
        cmocka_unit_test(test_a_beam_finds_the_best_way),
        cmocka_unit_test(test_patience_waits_for_more_endings),
        cmocka_unit_test(test_drawing_is_seeded),
        cmocka_unit_test(test_a_search_ends_at_its_room),
        cmocka_unit_test(test_compression_ratio),
        cmocka_unit_test(test_loops),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
