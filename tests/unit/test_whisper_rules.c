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

static void test_the_first_stamp_may_be_held_back(void **state)
{
    (void)state;
    struct rules r = rules();
    bool ok[VOCAB];
    r.max_initial_timestamp = 0;
    allowed(&r, NULL, 0, ok);
    assert_true(ok[STAMP] && !ok[STAMP + 1]);
    r.max_initial_timestamp = 50;
    allowed(&r, SAID(STAMP, 1), ok); /* the first only */
    assert_true(ok[VOCAB - 1]);
}

static void test_a_text_ends_where_stamps_run_out(void **state)
{
    (void)state;
    struct rules r = rules();
    bool ok[VOCAB];
    allowed(&r, SAID(STAMP, 1, VOCAB - 1), ok); /* the last stamp there is: once more, or the end */
    for (int i = 0; i < VOCAB; i++)
        assert_int_equal(ok[i], i == EOT || i == VOCAB - 1);
    allowed(&r, SAID(STAMP, 1, VOCAB - 1, VOCAB - 1, 2), ok); /* nothing can close it any more */
    for (int i = STAMP; i < VOCAB; i++)
        assert_false(ok[i]);
    assert_true(ok[EOT]);
}

static uint64_t chance;

static int below(int n)
{
    chance = chance * UINT64_C(6364136223846793005) + UINT64_C(1442695040888963407);
    return (int)((chance >> 33) % (uint64_t)n);
}

/* Whatever a model prefers, what the rules let through is a text of segments that follow each other and last. */
static void test_any_text_that_passes_is_well_stamped(void **state)
{
    (void)state;
    struct rules r = rules();
    for (int round = 0; round < 2000; round++) {
        chance = (uint64_t)round;
        int said[60], n = 0, last = -1, stamps = 0;
        for (bool over = false; n < 60 && !over;) {
            float logits[VOCAB];
            int open[VOCAB], k = 0;
            for (int i = 0; i < VOCAB; i++)
                logits[i] = (float)below(1000) / 50 - (i >= STAMP ? (float)below(10) : 0);
            rules_apply(&r, said, (size_t)n, logits);
            for (int i = 0; i < VOCAB; i++)
                if (logits[i] > -INFINITY)
                    open[k++] = i;
            assert_true(k > 0); /* never a dead end */
            int token = open[below(k)];
            over = token == EOT;
            if (!over)
                said[n++] = token;
        }
        assert_true(n == 0 || said[0] >= STAMP);
        for (int i = 0; i < n; i++) {
            if (said[i] < STAMP) {
                assert_true(said[i] < TEXT && said[i] != EOT);
                /* Text only inside an opened segment: an odd number of stamps before it. */
                assert_true(stamps % 2 == 1);
                continue;
            }
            bool opens = stamps % 2 == 0;
            assert_true(opens ? said[i] >= last : said[i] > last);
            last = said[i];
            stamps++;
        }
    }
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

typedef void (*model_fn)(const struct sequence *q, float *logits);

static struct search *run_model(const struct search_opts *o, model_fn say)
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
                say(&s->live[i], rows[i]);
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

static struct search *run(const struct search_opts *o)
{
    return run_model(o, model);
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

/* The end is the likeliest at once; of the two ways behind it the second is the better. */
static void early_end(const struct sequence *q, float *logits)
{
    model(q, logits);
    if (q->n)
        return;
    logits[EOT] = logf(0.4f);
    logits[1] = logf(0.35f);
    logits[2] = logf(0.25f);
}

static void test_an_ending_takes_no_beam_away(void **state)
{
    (void)state;
    struct search_opts o = {.sequences = 2, .beam = true, .patience = 2, .length_penalty = -1, .max_tokens = 50};
    struct search *s = run_model(&o, early_end);
    struct search_result best;
    search_result(s, &best);
    assert_int_equal(best.best->tokens[0], 2);
    search_free(s);
}

/* Two quick endings that look well, and a third way that ends later and is better for its length. */
static void late_winner(const struct sequence *q, float *logits)
{
    for (int i = 0; i < VOCAB; i++)
        logits[i] = -30;
    int last = q->n ? q->tokens[q->n - 1] : -1;
    switch (last) {
    case -1:
        logits[1] = logf(0.5f);
        logits[2] = logf(0.5f);
        break;
    case 1:
        logits[EOT] = logf(0.6f);
        logits[3] = logf(0.4f);
        break;
    case 2:
        logits[EOT] = logf(0.55f);
        logits[4] = logf(0.45f);
        break;
    case 3:
        logits[5] = 0;
        break;
    case 5:
        logits[6] = 0;
        break;
    default:
        logits[EOT] = 0;
    }
}

static void test_patience_waits_for_more_endings(void **state)
{
    (void)state;
    struct search_opts o = {.sequences = 2, .beam = true, .patience = 1, .length_penalty = -1, .max_tokens = 50};
    struct search_result best;
    struct search *s = run_model(&o, late_winner);
    assert_int_equal(s->n_finished, 2);
    search_result(s, &best);
    assert_int_equal(best.best->n, 1); /* over before the better one could end */
    search_free(s);
    o.patience = 3;
    s = run_model(&o, late_winner);
    assert_int_equal(s->n_finished, 6);
    search_result(s, &best);
    assert_int_equal(best.best->n, 4);
    assert_true(fabsf(best.avg_logprob - logf(0.5f * 0.4f) / 5) < 1e-3f);
    search_free(s);
}

static void test_length_penalty_chooses(void **state)
{
    (void)state;
    /* By length the long one wins, without any penalty the likeliest whole: a short one. */
    static const struct {
        float penalty;
        int n;
    } cases[] = {{-1, 4}, {1, 4}, {0, 1}};
    for (size_t i = 0; i < 3; i++) {
        struct search_opts o = {
            .sequences = 2, .beam = true, .patience = 3, .length_penalty = cases[i].penalty, .max_tokens = 50};
        struct search *s = run_model(&o, late_winner);
        struct search_result best;
        search_result(s, &best);
        assert_int_equal(best.best->n, cases[i].n);
        search_free(s);
    }
}

static void test_patience_rounds_as_the_reference(void **state)
{
    (void)state;
    static const struct {
        int beams;
        float patience;
        int candidates;
    } cases[] = {{5, 1, 5}, {5, 0.5f, 2}, {5, 1.5f, 8}, {5, 0.01f, 1}, {16, 8, 128}, {2, 100, 16}};
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct search_opts o = {
            .sequences = cases[i].beams, .beam = true, .patience = cases[i].patience, .max_tokens = 5};
        struct search *s;
        struct err err = ERR_INIT;
        assert_int_equal(search_new(&o, &s, &err), 0);
        assert_int_equal(s->max_candidates, cases[i].candidates);
        search_free(s);
    }
}

/* Never ends by itself. */
static void endless(const struct sequence *q, float *logits)
{
    for (int i = 0; i < VOCAB; i++)
        logits[i] = i < TEXT ? (i == (q->n * q->n + q->n / 7) % TEXT ? 1.0f : 0.0f) : -30;
}

static void test_beams_without_an_ending_stop_at_their_room(void **state)
{
    (void)state;
    struct search_opts o = {.sequences = 3, .beam = true, .patience = 1, .length_penalty = -1, .max_tokens = 40};
    struct search *s = run_model(&o, endless);
    struct search_result best;
    search_result(s, &best);
    assert_int_equal(s->n_finished, 0);
    assert_int_equal(best.best->n, 40);
    search_free(s);
}

/* Token 3 for ever once it was said; other ways end after five. */
static void looping(const struct sequence *q, float *logits)
{
    for (int i = 0; i < VOCAB; i++)
        logits[i] = -30;
    if (q->n && q->tokens[q->n - 1] == 3) {
        logits[3] = 0;
    } else if (q->n == 0) {
        logits[3] = 0.3f;
        logits[4] = 0;
    } else if (q->n < 5) {
        logits[4 + q->n] = 0;
        logits[EOT] = -1;
    } else {
        logits[EOT] = 0;
    }
}

static void test_a_loop_ends_its_sequence(void **state)
{
    (void)state;
    struct search_opts o = {.sequences = 1, .patience = 1, .length_penalty = -1, .max_tokens = SEARCH_MAX_TOKENS};
    struct search *s = run_model(&o, looping);
    struct search_result best;
    search_result(s, &best);
    assert_int_equal(best.best->n, GATES_LOOP_SURE);
    assert_int_equal(gates_loop(best.best->tokens, (size_t)best.best->n, STAMP, GATES_LOOP), 1);
    search_free(s);
    o.sequences = 2;
    o.beam = true;
    o.patience = 8;
    s = run_model(&o, looping);
    assert_true(s->live[0].n <= GATES_LOOP_SURE + 1);
    search_free(s);
}

static void test_of_drawn_texts_one_that_loops_comes_last(void **state)
{
    (void)state;
    bool chose = false;
    for (uint64_t seed = 0; seed < 40; seed++) {
        struct search_opts o = {.temperature = 1,
                                .sequences = 5,
                                .patience = 1,
                                .length_penalty = -1,
                                .max_tokens = SEARCH_MAX_TOKENS,
                                .seed = seed};
        struct search *s = run_model(&o, looping);
        int loops = 0, likelier = 0;
        struct search_result best;
        search_result(s, &best);
        for (int i = 0; i < 5; i++) {
            const struct sequence *q = &s->live[i];
            assert_int_equal(q->loops, q->tokens[0] == 3);
            loops += q->loops;
            likelier += q->loops && q->sum_logprob / (float)q->n > best.best->sum_logprob / (float)best.best->n;
        }
        assert_int_equal(best.best->loops, loops == 5);
        chose = chose || (loops < 5 && likelier);
        search_free(s);
    }
    assert_true(chose); /* it did win by its likelihood, and lost all the same */
}

static void three_ways(const struct sequence *q, float *logits)
{
    for (int i = 0; i < VOCAB; i++)
        logits[i] = -INFINITY;
    logits[EOT] = q->n ? 0 : -INFINITY;
    logits[1] = q->n ? -INFINITY : logf(0.5f);
    logits[2] = q->n ? -INFINITY : logf(0.3f);
    logits[3] = q->n ? -INFINITY : logf(0.2f);
}

static void test_draws_follow_the_probabilities(void **state)
{
    (void)state;
    static const struct {
        float temperature;
        double want[3];
    } cases[] = {{1, {0.5, 0.3, 0.2}}, {0.5f, {0.25 / 0.38, 0.09 / 0.38, 0.04 / 0.38}}};
    for (size_t c = 0; c < 2; c++) {
        int count[4] = {0};
        for (uint64_t seed = 0; seed < 2000; seed++) {
            struct search_opts o = {.temperature = cases[c].temperature,
                                    .sequences = 5,
                                    .patience = 1,
                                    .length_penalty = -1,
                                    .max_tokens = 3,
                                    .seed = seed};
            struct search *s = run_model(&o, three_ways);
            for (int i = 0; i < 5; i++) {
                assert_true(s->live[i].n == 1 && s->live[i].tokens[0] >= 1 && s->live[i].tokens[0] <= 3);
                count[s->live[i].tokens[0]]++;
                /* Log-probabilities are those at temperature 1, whatever the draw. */
                assert_true(fabsf(s->live[i].sum_logprob -
                                  logf((const float[]){0, 0.5f, 0.3f, 0.2f}[s->live[i].tokens[0]])) < 1e-4f);
            }
            search_free(s);
        }
        for (int i = 0; i < 3; i++)
            assert_true(fabs(count[i + 1] / 10000.0 - cases[c].want[i]) < 0.02);
    }
}

static void no_numbers(const struct sequence *q, float *logits)
{
    (void)q;
    for (int i = 0; i < VOCAB; i++)
        logits[i] = NAN;
}

static void all_refused(const struct sequence *q, float *logits)
{
    (void)q;
    for (int i = 0; i < VOCAB; i++)
        logits[i] = -INFINITY;
}

/* Damaged weights end a search too, and its figure says so. */
static void test_nothing_to_choose_from_ends(void **state)
{
    (void)state;
    static const model_fn models[] = {no_numbers, all_refused};
    for (size_t i = 0; i < 6; i++) {
        bool beam = i % 3 == 1;
        struct search_opts o = {.temperature = i % 3 == 2 ? 0.5f : 0,
                                .sequences = i % 3 ? 4 : 1,
                                .beam = beam,
                                .patience = 1,
                                .length_penalty = -1,
                                .max_tokens = 20};
        struct search *s = run_model(&o, models[i / 3]);
        struct search_result best;
        search_result(s, &best);
        if (i < 3)
            assert_true(isnan(best.avg_logprob));
        search_free(s);
    }
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

static void test_loops_are_seen_through_stamps(void **state)
{
    (void)state;
    int tokens[60];
    size_t n = 0;
    for (int i = 0; i < 8; i++) { /* <i> 1 2 <i+1>, eight times: 16 tokens of text */
        tokens[n++] = STAMP + i;
        tokens[n++] = 1;
        tokens[n++] = 2;
        tokens[n++] = STAMP + i + 1;
    }
    /* The first round stays, with the stamp that ends it. */
    assert_int_equal(gates_loop(tokens, n, STAMP, GATES_LOOP), 4);
    assert_int_equal(gates_loop(tokens, n, STAMP, GATES_LOOP_SURE), 0);
    assert_int_equal(gates_loop(tokens, n - 4, STAMP, GATES_LOOP), 0); /* 14 tokens: not yet */
    for (int i = 0; i < 60; i++)
        tokens[i] = STAMP + i; /* stamps alone are none */
    assert_int_equal(gates_loop(tokens, 60, STAMP, GATES_LOOP), 0);
    /* The longest period, and one more. */
    int longer[224];
    for (int i = 0; i < 132; i++)
        longer[i] = i % 32;
    assert_int_equal(gates_loop(longer, 128, 1000, GATES_LOOP), 32);
    for (int i = 0; i < 132; i++)
        longer[i] = i % 33;
    assert_int_equal(gates_loop(longer, 132, 1000, GATES_LOOP), 0);
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
        cmocka_unit_test(test_the_first_stamp_may_be_held_back),
        cmocka_unit_test(test_a_text_ends_where_stamps_run_out),
        cmocka_unit_test(test_any_text_that_passes_is_well_stamped),
        cmocka_unit_test(test_greedy_takes_the_best_step),
        cmocka_unit_test(test_a_beam_finds_the_best_way),
        cmocka_unit_test(test_patience_waits_for_more_endings),
        cmocka_unit_test(test_an_ending_takes_no_beam_away),
        cmocka_unit_test(test_length_penalty_chooses),
        cmocka_unit_test(test_patience_rounds_as_the_reference),
        cmocka_unit_test(test_beams_without_an_ending_stop_at_their_room),
        cmocka_unit_test(test_a_loop_ends_its_sequence),
        cmocka_unit_test(test_of_drawn_texts_one_that_loops_comes_last),
        cmocka_unit_test(test_draws_follow_the_probabilities),
        cmocka_unit_test(test_nothing_to_choose_from_ends),
        cmocka_unit_test(test_drawing_is_seeded),
        cmocka_unit_test(test_a_search_ends_at_its_room),
        cmocka_unit_test(test_compression_ratio),
        cmocka_unit_test(test_loops),
        cmocka_unit_test(test_loops_are_seen_through_stamps),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
