/* SPDX-License-Identifier: MIT */
/*
 * The walk over a recording, with a model that says what a script tells it: the linker puts the functions here in place
 * of the batch's. Each window's tries are hand-made texts with their figures, so every rule about what follows from
 * them is seen alone: where the next window begins, what it is told, what is run again, what is reported.
 */
#include "base/buf.h"
#include "base/io.h"
#include "base/str.h"
#include "model_maker.h"
#include "whisper/batch.h"
#include "whisper/model.h"

#include <fcntl.h>
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

enum { S = WHISPER_RATE, MOST_WINDOWS = 400, MOST_TRIES = 2000, MULTILINGUAL = 51865 };

/* One try: "<1.20>" is a stamp, the rest text. */
struct say {
    const char *text;
    float logprob, no_speech;
};

struct window_script {
    struct say tries[6]; /* the last one that is set answers all further tries */
};

struct try_seen {
    size_t window;
    float temperature;
    uint64_t seed;
    int max_tokens, sequences;
    bool beam;
    int prompt[450];
    size_t n_prompt, sot_index;
};

struct window_seen {
    int64_t seek;
    size_t n, tries;
};

/* The script and what was asked of it. */
static struct stage {
    struct whisper_batcher *batcher;
    struct whisper_model *model;
    const float *pcm;
    const struct window_script *script; /* NULL: random texts */
    size_t n_script;
    uint64_t random;
    const float (*languages)[3]; /* probabilities of the first three, window by window */
    size_t asked_languages, n_languages;
    size_t align_from, align_step; /* frames of 20 ms */

    struct window_seen windows[MOST_WINDOWS];
    size_t n_windows;
    struct try_seen tries[MOST_TRIES];
    size_t n_tries;
    size_t open;
} stage;

int __wrap_batch_open(struct batch *b, const float *pcm, size_t n, const struct cancel *cancel,
                      struct batch_window **ret, struct err *err);
void __wrap_batch_close(struct batch_window *w);
int __wrap_batch_decode(struct batch_window *w, const struct batch_try *t, const struct cancel *cancel,
                        float *ret_no_speech, struct err *err);
int __wrap_batch_languages(struct batch_window *w, const struct cancel *cancel, float *ret, struct err *err);
int __wrap_batch_align(struct batch_window *w, const int *tokens, size_t n, const struct head *heads, size_t n_heads,
                       float *ret_scores, float *ret_token_prob, const struct cancel *cancel, struct err *err);

int __wrap_batch_open(struct batch *b, const float *pcm, size_t n, const struct cancel *cancel,
                      struct batch_window **ret, struct err *err)
{
    (void)b, (void)cancel, (void)err;
    assert_true(stage.n_windows < MOST_WINDOWS);
    stage.windows[stage.n_windows++] = (struct window_seen){.seek = pcm - stage.pcm, .n = n};
    stage.open++;
    *ret = (struct batch_window *)(void *)&stage;
    return 0;
}

void __wrap_batch_close(struct batch_window *w)
{
    stage.open -= w ? 1 : 0;
}

int __wrap_batch_languages(struct batch_window *w, const struct cancel *cancel, float *ret, struct err *err)
{
    (void)w, (void)cancel, (void)err;
    assert_true(stage.asked_languages < stage.n_languages);
    memset(ret, 0, 99 * sizeof *ret);
    memcpy(ret, stage.languages[stage.asked_languages++], 3 * sizeof *ret);
    return 0;
}

/* Every token looks at its place: the first at stage.align_from, each next one stage.align_step frames on. */
int __wrap_batch_align(struct batch_window *w, const int *tokens, size_t n, const struct head *heads, size_t n_heads,
                       float *ret_scores, float *ret_token_prob, const struct cancel *cancel, struct err *err)
{
    enum { FRAMES = 1500, BEFORE = 3 /* language, task, no-timestamps: the row before the first text token */ };
    (void)w, (void)tokens, (void)heads, (void)cancel, (void)err;
    for (size_t i = 0; i < n * n_heads * FRAMES; i++) {
        size_t row = i / FRAMES % n, frame = i % FRAMES;
        double place = row < BEFORE ? 0 : (double)stage.align_from + (double)(row - BEFORE) * (double)stage.align_step;
        ret_scores[i] = (float)-fabs((double)frame - place) / 2;
    }
    for (size_t i = 0; i < n; i++)
        ret_token_prob[i] = 0.9f;
    return 0;
}

static uint64_t below(uint64_t n)
{
    stage.random = stage.random * UINT64_C(6364136223846793005) + UINT64_C(1442695040888963407);
    return (stage.random >> 33) % n;
}

static int stamp(double s)
{
    return stage.model->tokenizer->first_timestamp + (int)lround(s * 50);
}

static size_t encode(const char *text, int *ret, size_t max)
{
    struct err err = ERR_INIT;
    size_t n = 0;
    while (*text && n < max) {
        if (*text == '<') {
            ret[n++] = stamp(strtod(text + 1, NULL));
            text = strchr(text, '>') + 1;
            continue;
        }
        size_t len = strcspn(text, "<");
        char *part = strndup(text, len);
        int rc = tokenizer_encode(stage.model->tokenizer, part, ret + n, max - n, &err);
        if (rc < 0)
            fail_msg("%s: %s", part, err.msg);
        n += (size_t)rc;
        free(part);
        text += len;
    }
    return n;
}

/* Any text that rules.c lets through, now and then a loop, nothing, or one that no rule would. */
static size_t random_text(int *ret, size_t max)
{
    size_t n = 0, most = below(max + 1);
    uint64_t kind = below(8);
    int last = stage.model->tokenizer->n_vocab - 1, at = stamp(0) + (int)below(51);
    for (; n < most && kind == 0; n++)
        ret[n] = below(2) ? (int)below(50000) : stamp(0) + (int)below(1501);
    for (; n < most && kind == 1; n++)
        ret[n] = n ? (int)(300 + n % 3) : at;
    while (n < most && at < last && kind > 1) {
        ret[n++] = at;
        for (uint64_t k = 1 + below(12); k > 0 && n < most; k--)
            ret[n++] = (int)below(50000);
        at += 1 + (int)below((uint64_t)MIN(last - at, 400));
        if (n < most)
            ret[n++] = at;
        at = MIN(last, at + (below(2) ? 0 : (int)below(100)));
    }
    return n;
}

int __wrap_batch_decode(struct batch_window *w, const struct batch_try *t, const struct cancel *cancel,
                        float *ret_no_speech, struct err *err)
{
    (void)w;
    if (cancel_is_set(cancel))
        return err_set(err, ERR_CANCELLED, "cancelled");
    struct window_seen *seen = &stage.windows[stage.n_windows - 1];
    struct search *s = t->search;
    struct sequence *q = &s->live[0];
    assert_true(t->n_prompt <= 450);
    if (stage.n_tries < MOST_TRIES) {
        struct try_seen *x = &stage.tries[stage.n_tries++];
        *x = (struct try_seen){.window = stage.n_windows - 1,
                               .temperature = s->opts.temperature,
                               .seed = s->opts.seed,
                               .max_tokens = s->opts.max_tokens,
                               .sequences = s->opts.sequences,
                               .beam = s->opts.beam,
                               .n_prompt = t->n_prompt,
                               .sot_index = t->sot_index};
        memcpy(x->prompt, t->prompt, t->n_prompt * sizeof *x->prompt);
    }
    struct say say = {"", -0.3f, 0.01f};
    if (stage.script) {
        if (stage.n_windows > stage.n_script)
            fail_msg("window %zu at %.2f s is not in the script", stage.n_windows, (double)seen->seek / S);
        const struct say *tries = stage.script[stage.n_windows - 1].tries;
        size_t i = MIN(seen->tries, (size_t)5);
        while (i > 0 && !tries[i].text)
            i--;
        say = tries[i];
        q->n = (int)encode(say.text, q->tokens, SEARCH_MAX_TOKENS);
    } else {
        say.logprob = (float)below(3000) / -1000;
        say.no_speech = (float)below(1000) / 1000;
        q->n = (int)random_text(q->tokens, (size_t)s->opts.max_tokens);
    }
    seen->tries++;
    q->sum_logprob = say.logprob * (float)(q->n + 1);
    q->over = s->done = true;
    *ret_no_speech = say.no_speech;
    return 0;
}

static int set_up(void **state)
{
    (void)state;
    struct err err = ERR_INIT;
    struct made made;
    struct maker_shape shape = *maker_find_shape("nano");
    shape.n_vocab = MULTILINGUAL;
    maker_make(&shape, &made);
    char path[] = "/tmp/steno-walk-XXXXXX";
    int fd = mkstemp(path), rc = -1;
    const struct whisper_model_opts mo = {.precision = WHISPER_F32};
    const struct whisper_batcher_opts bo = {.max_windows = 1, .max_rows = 16};
    if (fd >= 0)
        rc = io_write_all(fd, made.data, made.size, &err);
    if (rc == 0)
        rc = whisper_model_open(path, &mo, &stage.model, &err);
    if (rc == 0)
        rc = whisper_batcher_new(stage.model, &bo, &stage.batcher, &err);
    if (rc < 0)
        print_error("%s\n", err.msg);
    close(fd);
    unlink(path);
    made_clear(&made);
    return rc;
}

static int tear_down(void **state)
{
    (void)state;
    whisper_batcher_free(stage.batcher);
    whisper_model_unref(stage.model);
    return 0;
}

/* A recording under test; its sound is never looked at. */
struct play {
    struct whisper_params p;
    struct whisper_input in;
    struct arena a;
    struct whisper_result r;
    struct err err;
};

static void begin(struct play *x, double seconds, const struct window_script *script, size_t n_script)
{
    *x = (struct play){.a = ARENA_INIT, .err = ERR_INIT};
    whisper_params_default(&x->p);
    x->p.language = "en";
    x->in.n = (size_t)llround(seconds * S);
    float *pcm = calloc(x->in.n + 1, sizeof *pcm);
    assert_non_null(pcm);
    x->in.pcm = stage.pcm = pcm;
    stage.script = script;
    stage.n_script = n_script;
    stage.n_windows = stage.n_tries = stage.asked_languages = stage.open = 0;
}

static int run(struct play *x)
{
    int rc = whisper_run(stage.batcher, &x->p, &x->in, NULL, &x->a, &x->r, &x->err);
    assert_int_equal(stage.open, 0); /* no window is left open, whatever happens */
    return rc;
}

static void must_run(struct play *x)
{
    if (run(x) < 0)
        fail_msg("%s", x->err.msg);
}

static void end(struct play *x)
{
    free((float *)(uintptr_t)x->in.pcm);
    arena_clear(&x->a);
}

/* Windows of the script began there, and all of them were run. */
static void expect_seeks(const double *seconds, size_t n)
{
    for (size_t i = 0; i < MIN(n, stage.n_windows); i++)
        if (stage.windows[i].seek != llround(seconds[i] * S))
            fail_msg("window %zu begins at %.3f s, not at %.3f", i, (double)stage.windows[i].seek / S, seconds[i]);
    assert_int_equal(stage.n_windows, n);
}

static void expect_segment(const struct play *x, size_t i, double start, double finish, const char *text)
{
    if (i >= x->r.n_segments)
        fail_msg("there is no segment %zu: '%s'", i, text);
    const struct whisper_segment *s = &x->r.segments[i];
    if (s->start != llround(start * S) || s->end != llround(finish * S) || strcmp(s->text, text) != 0)
        fail_msg("segment %zu is %.2f to %.2f '%s', not '%s'", i, (double)s->start / S, (double)s->end / S, s->text,
                 text);
}

static void expect_gap(const struct play *x, size_t i, double start, double finish, const char *why)
{
    if (i >= x->r.n_gaps)
        fail_msg("there is no gap %zu: %s", i, why);
    const struct whisper_gap *g = &x->r.gaps[i];
    if (g->start != llround(start * S) || g->end != llround(finish * S) || strcmp(g->why, why) != 0)
        fail_msg("gap %zu is %.2f to %.2f, %s", i, (double)g->start / S, (double)g->end / S, g->why);
}

#define SEEKS(...) expect_seeks((const double[]){__VA_ARGS__}, sizeof((const double[]){__VA_ARGS__}) / sizeof(double))
#define SCRIPT(...)                              \
    (const struct window_script[]){__VA_ARGS__}, \
        sizeof((const struct window_script[]){__VA_ARGS__}) / sizeof(struct window_script)
#define SAY(...)                 \
    {                            \
        .tries = { __VA_ARGS__ } \
    }

/* A window that only its language is heard of. */
#define HEARD SAY({"", 0, 0})

static const char nothing[] = "<0.00>";

/* ---- where windows begin ---- */

static void test_windows_begin_at_the_last_stamp(void **state)
{
    (void)state;
    struct play x;
    begin(&x, 70.05,
          SCRIPT(SAY({"<0.00> ab<4.00><4.00> cd<12.50><12.50> e", -0.2f, 0}), SAY({"<0.00> ef<8.00>", -0.2f, 0}),
                 SAY({"<0.50> gh<27.50>", -0.2f, 0})));
    must_run(&x);
    /* 12.5 by the pair; a single stamp: 30 s on; then 27.55 s of sound are left, all of which is done. */
    SEEKS(0, 12.5, 42.5);
    assert_int_equal(stage.windows[2].n, llround(27.55 * S));
    assert_int_equal(x.r.n_segments, 4);
    expect_segment(&x, 0, 0, 4, " ab");
    expect_segment(&x, 1, 4, 12.5, " cd");
    expect_segment(&x, 2, 12.5, 20.5, " ef");
    expect_segment(&x, 3, 43, 70, " gh");
    end(&x);
}

static void test_a_rest_below_a_tenth_is_not_run(void **state)
{
    (void)state;
    struct play x;
    begin(&x, 30.099, SCRIPT(SAY({"<0.00> ab<4.00>", -0.2f, 0})));
    must_run(&x);
    SEEKS(0);
    end(&x);
    begin(&x, 30.1, SCRIPT(SAY({"<0.00> ab<4.00>", -0.2f, 0}), SAY({"<0.00> cd<2.00>", -0.2f, 0})));
    must_run(&x);
    SEEKS(0, 30);
    expect_segment(&x, 1, 30, 30.1, " cd"); /* clipped to the sound */
    end(&x);
    begin(&x, 0.099, NULL, 0);
    must_run(&x);
    assert_int_equal(stage.n_windows, 0);
    assert_string_equal(x.r.language, "en");
    end(&x);
    /* Too short to tell the language. */
    begin(&x, 0.05, NULL, 0);
    x.p.language = NULL;
    must_run(&x);
    assert_null(x.r.language);
    end(&x);
}

static void test_a_step_that_is_tiny_still_moves_on(void **state)
{
    (void)state;
    struct play x;
    begin(&x, 31,
          SCRIPT(SAY({"<0.00> a<0.02><0.02> bc", -0.2f, 0}), SAY({"<0.00> bc<30.00>", -0.2f, 0}),
                 SAY({"<0.00> d<0.90>", -0.2f, 0})));
    must_run(&x);
    SEEKS(0, 0.1, 30.1);
    end(&x);
}

static void test_text_without_stamps(void **state)
{
    (void)state;
    struct play x;
    begin(&x, 40, SCRIPT(SAY({" ab cd", -0.2f, 0}), SAY({" ef", -0.2f, 0})));
    x.p.timestamps = false;
    must_run(&x);
    SEEKS(0, 30);
    expect_segment(&x, 0, 0, 30, " ab cd");
    expect_segment(&x, 1, 30, 40, " ef");
    const struct tokenizer *t = stage.model->tokenizer;
    assert_int_equal(stage.tries[0].prompt[stage.tries[0].n_prompt - 1], t->no_timestamps);
    end(&x);
}

static void test_nothing_said_gives_no_segment(void **state)
{
    (void)state;
    struct play x;
    begin(&x, 30, SCRIPT(SAY({"<0.00><2.00><2.00> ab<5.00><5.00> <9.00>", -0.2f, 0})));
    must_run(&x);
    assert_int_equal(x.r.n_segments, 1);
    expect_segment(&x, 0, 2, 5, " ab");
    end(&x);
    begin(&x, 30, SCRIPT(SAY({nothing, -0.2f, 0})));
    must_run(&x);
    assert_int_equal(x.r.n_segments, 0);
    assert_int_equal(x.r.n_previous, 0); /* and no prompt */
    end(&x);
}

static void test_word_times_say_where_the_next_window_begins(void **state)
{
    (void)state;
    struct play x;
    stage.align_from = 50;
    stage.align_step = 20;
    begin(
        &x, 40,
        SCRIPT(SAY({"<0.00> ab cd ef<8.00><8.00> cut", -0.2f, 0}), SAY({nothing, -0.2f, 0}), SAY({nothing, -0.2f, 0})));
    x.p.word_timestamps = true;
    must_run(&x);
    assert_int_equal(x.r.n_segments, 1);
    const struct whisper_segment *s = &x.r.segments[0];
    assert_int_equal(s->n_words, 3);
    /* The last word ends long before the stamp: what was cut off may have been said from there on. */
    assert_true(s->end == s->words[2].end && s->end < 6 * S && s->end > 2 * S);
    assert_int_equal(stage.windows[1].seek, s->end);
    end(&x);
    /* A single stamp at the end: the window is done, words or not. */
    begin(&x, 40, SCRIPT(SAY({"<0.00> ab cd ef<8.00>", -0.2f, 0}), SAY({nothing, -0.2f, 0})));
    x.p.word_timestamps = true;
    must_run(&x);
    SEEKS(0, 30);
    end(&x);
}

/* ---- gates, one window at a time ---- */

#define LOOP " ab ab ab ab ab ab ab ab ab ab ab ab ab ab ab ab ab ab"

static void test_a_loop_reruns_its_window_alone(void **state)
{
    (void)state;
    struct play x;
    begin(&x, 90,
          SCRIPT(SAY({"<0.00> cd<9.00>", -0.2f, 0}),
                 SAY({"<0.00>" LOOP "<9.00>", -0.05f, 0}, {"<0.00> ef<9.00>", -0.5f, 0}),
                 SAY({"<0.00> gh<9.00>", -0.2f, 0})));
    x.p.compression_ratio_threshold = NAN; /* the detector alone */
    must_run(&x);
    SEEKS(0, 30, 60);
    assert_true(stage.windows[0].tries == 1 && stage.windows[1].tries == 2 && stage.windows[2].tries == 1);
    expect_segment(&x, 1, 30, 39, " ef");
    assert_true(fabsf(x.r.segments[1].temperature - 0.2f) < 1e-6f && !x.r.segments[1].suspect);
    end(&x);
}

static void test_a_loop_of_segments_is_one_too(void **state)
{
    (void)state;
    struct play x;
    struct buf b = BUF_INIT(4000);
    for (int i = 0; i < 10; i++)
        buf_addf(&b, "<%d.00> ab cd<%d.00>", i, i + 1);
    begin(&x, 30, SCRIPT(SAY({buf_str(&b), -0.05f, 0}, {"<0.00> ab cd<1.00>", -0.5f, 0})));
    x.p.compression_ratio_threshold = NAN;
    must_run(&x);
    assert_int_equal(stage.windows[0].tries, 2);
    assert_int_equal(x.r.n_segments, 1);
    buf_clear(&b);
    end(&x);
}

static void test_a_loop_at_every_temperature_is_cut_and_marked(void **state)
{
    (void)state;
    static const struct whisper_span speech = {0, 29 * S};
    struct play x;
    struct buf b = BUF_INIT(4000);
    for (int i = 0; i < 10; i++)
        buf_addf(&b, "<%d.00> ab cd<%d.00>", i, i + 1);
    begin(&x, 30, SCRIPT(SAY({buf_str(&b), -0.05f, 0}), SAY({"<0.00> ef<28.00>", -0.2f, 0})));
    x.in.speech = &speech;
    x.in.n_speech = 1;
    must_run(&x);
    assert_int_equal(stage.windows[0].tries, 6);
    /* One round stays, as suspect; what is behind it is taken up again and is no worse for it. */
    SEEKS(0, 1);
    assert_int_equal(x.r.n_segments, 2);
    expect_segment(&x, 0, 0, 1, " ab cd");
    assert_non_null(x.r.segments[0].suspect);
    expect_segment(&x, 1, 1, 29, " ef");
    assert_null(x.r.segments[1].suspect);
    assert_int_equal(x.r.n_gaps, 0);
    buf_clear(&b);
    end(&x);
}

static void test_silence_by_the_models_own_word(void **state)
{
    (void)state;
    struct play x;
    begin(&x, 90,
          SCRIPT(SAY({"<0.00> ab<9.00>", -0.2f, 0}), SAY({"<0.00> thanks<2.00><2.00> x", -1.5f, 0.9f}),
                 SAY({"<0.00> cd<9.00>", -0.9f, 0.9f})));
    must_run(&x);
    SEEKS(0, 30, 60);
    assert_int_equal(stage.windows[1].tries, 1);
    assert_int_equal(x.r.n_segments, 2);
    expect_segment(&x, 1, 60, 69, " cd"); /* likely text stands against it */
    assert_true(fabsf(x.r.segments[1].no_speech_prob - 0.9f) < 1e-6f);
    assert_int_equal(x.r.n_gaps, 0);
    end(&x);
}

static void test_beam_first_then_drawn(void **state)
{
    (void)state;
    struct play x;
    begin(&x, 60, SCRIPT(SAY({"<0.00> ab<9.00>", -1.5f, 0}), SAY({"<0.00> ab<9.00>", -1.5f, 0})));
    x.p.beam_size = 4;
    x.p.best_of = 3;
    must_run(&x);
    assert_int_equal(stage.n_tries, 12);
    for (size_t i = 0; i < 12; i++) {
        const struct try_seen *t = &stage.tries[i];
        assert_true(fabsf(t->temperature - 0.2f * (float)(i % 6)) < 1e-6f);
        assert_int_equal(t->beam, i % 6 == 0);
        assert_int_equal(t->sequences, i % 6 == 0 ? 4 : 3);
        for (size_t k = 0; k < i; k++)
            assert_true(stage.tries[k].seed != t->seed); /* every try draws anew */
    }
    uint64_t before = stage.tries[3].seed;
    end(&x);
    begin(&x, 60, SCRIPT(SAY({"<0.00> ab<9.00>", -1.5f, 0}), SAY({"<0.00> ab<9.00>", -1.5f, 0})));
    must_run(&x);
    assert_true(stage.tries[3].seed == before); /* and the same again */
    end(&x);
    begin(&x, 60, SCRIPT(SAY({"<0.00> ab<9.00>", -1.5f, 0}), SAY({"<0.00> ab<9.00>", -1.5f, 0})));
    x.p.seed = 7;
    must_run(&x);
    assert_true(stage.tries[3].seed != before);
    assert_string_equal(x.r.segments[0].suspect, "low probability");
    end(&x);
}

static void test_no_numbers_fail_the_run(void **state)
{
    (void)state;
    struct play x;
    begin(&x, 30, SCRIPT(SAY({"<0.00> ab<9.00>", NAN, 0})));
    assert_int_equal(run(&x), ERR_CORRUPT);
    end(&x);
}

/* ---- prompts ---- */

/* The try was told "[previous] text" before start-of-transcript; text NULL: nothing. */
static void expect_prompt(const struct try_seen *t, const char *text)
{
    int want[450];
    size_t n = text ? encode(text, want, 450) : 0;
    const struct tokenizer *k = stage.model->tokenizer;
    size_t before = text ? n + 1 : 0;
    if (t->sot_index != before)
        fail_msg("%zu tokens are in front, not %zu", t->sot_index, before);
    if (text) {
        assert_int_equal(t->prompt[0], k->sot_prev);
        assert_memory_equal(t->prompt + 1, want, n * sizeof *want);
    }
    assert_int_equal(t->n_prompt, before + 3);
    assert_int_equal(t->prompt[before], k->sot);
    assert_int_equal(t->prompt[before + 1], tokenizer_language_id(k, "en"));
    assert_int_equal(t->prompt[before + 2], k->transcribe);
}

static void test_text_before_is_the_prompt(void **state)
{
    (void)state;
    struct play x;
    begin(&x, 120,
          SCRIPT(SAY({"<0.00> ab<2.00><2.00> cut", -0.2f, 0}), SAY({"<0.00> cd<9.00>", -0.2f, 0}),
                 SAY({nothing, -2, 0.9f}), SAY({"<0.00> ef<9.00>", -0.2f, 0}), SAY({"<0.00> gh<20.00>", -0.2f, 0})));
    must_run(&x);
    SEEKS(0, 2, 32, 62, 92);
    expect_prompt(&stage.tries[0], NULL);
    expect_prompt(&stage.tries[1], "<0.00> ab<2.00>"); /* what was cut off is not in it */
    expect_prompt(&stage.tries[2], "<0.00> ab<2.00><0.00> cd<9.00>");
    expect_prompt(&stage.tries[3], "<0.00> ab<2.00><0.00> cd<9.00>"); /* silence says nothing */
    assert_true(x.r.n_previous > 0);
    end(&x);
}

static void test_no_prompt_when_not_wanted(void **state)
{
    (void)state;
    struct play x;
    begin(&x, 60, SCRIPT(SAY({"<0.00> ab<9.00>", -0.2f, 0}), SAY({"<0.00> cd<9.00>", -0.2f, 0})));
    x.p.condition_on_previous = false;
    x.p.initial_prompt = " first \n";
    static const int before[] = {5, 6};
    x.in.previous = before;
    x.in.n_previous = 2;
    must_run(&x);
    expect_prompt(&stage.tries[0], " first");
    expect_prompt(&stage.tries[1], NULL);
    assert_int_equal(x.r.n_previous, 0);
    end(&x);
}

static void test_a_mistake_is_not_carried_on(void **state)
{
    (void)state;
    struct play x;
    /* Passed at 0.4: kept; passed at 0.6: forgotten; all failed, though the text is of temperature 0: forgotten. */
    begin(&x, 150,
          SCRIPT(SAY({"<0.00> a<9.00>", -2, 0}, {"<0.00> a<9.00>", -2, 0}, {"<0.00> ab<9.00>", -0.2f, 0}),
                 SAY({"<0.00> b<9.00>", -2, 0}, {"<0.00> b<9.00>", -2, 0}, {"<0.00> b<9.00>", -2, 0},
                     {"<0.00> cd<9.00>", -0.2f, 0}),
                 SAY({"<0.00> ef<9.00>", -0.2f, 0}), SAY({"<0.00> gh<9.00>", -1.5f, 0}, {"<0.00> i<9.00>", -3, 0}),
                 SAY({"<0.00> kl<9.00>", -0.2f, 0})));
    must_run(&x);
    expect_prompt(&stage.tries[3], "<0.00> ab<9.00>");
    expect_prompt(&stage.tries[7], NULL);
    expect_prompt(&stage.tries[8], "<0.00> ef<9.00>");
    assert_true(x.r.segments[3].temperature == 0 && x.r.segments[3].suspect);
    expect_prompt(&stage.tries[14], NULL);
    end(&x);
}

static void test_the_last_seconds_have_no_prompt(void **state)
{
    (void)state;
    struct play x;
    begin(&x, 34.9, SCRIPT(SAY({"<0.00> ab<9.00>", -0.2f, 0}), SAY({"<0.00> cd<3.00>", -0.2f, 0})));
    x.p.hotwords = "hot";
    must_run(&x);
    expect_prompt(&stage.tries[1], " hot");
    end(&x);
    begin(&x, 35, SCRIPT(SAY({"<0.00> ab<9.00>", -0.2f, 0}), SAY({"<0.00> cd<3.00>", -0.2f, 0})));
    must_run(&x);
    expect_prompt(&stage.tries[1], "<0.00> ab<9.00>");
    end(&x);
    begin(&x, 3, SCRIPT(SAY({"<0.00> ab<2.00>", -0.2f, 0})));
    x.p.initial_prompt = "first";
    must_run(&x);
    expect_prompt(&stage.tries[0], " first"); /* all there is */
    end(&x);
}

static void test_prompts_that_are_cut_say_so(void **state)
{
    (void)state;
    struct play x;
    char many[3 * 300 + 1] = "";
    for (int i = 0; i < 300; i++)
        memcpy(many + 3L * i, " zq", 4); /* two tokens at least */
    int ids[1000];
    int n = (int)encode(many, ids, 1000);
    begin(&x, 3, SCRIPT(SAY({"<0.00> ab<2.00>", -0.2f, 0})));
    x.p.initial_prompt = many;
    must_run(&x);
    assert_true(n > 223);
    assert_int_equal(x.r.prompt_tokens_cut, n - 223);
    assert_int_equal(stage.tries[0].sot_index, 224);
    assert_memory_equal(stage.tries[0].prompt + 1, ids + n - 223, 223 * sizeof *ids); /* its end is kept */
    assert_true(stage.tries[0].max_tokens + (int)stage.tries[0].n_prompt <= 448);
    end(&x);
    begin(&x, 3, SCRIPT(SAY({"<0.00> ab<2.00>", -0.2f, 0})));
    x.p.hotwords = many;
    x.p.initial_prompt = "first";
    must_run(&x);
    assert_true(x.r.prompt_tokens_cut > n - 223); /* hotwords leave it no room */
    assert_memory_equal(stage.tries[0].prompt + 1, ids, 223 * sizeof *ids);
    end(&x);
    begin(&x, 3, SCRIPT(SAY({"<0.00> ab<2.00>", -0.2f, 0})));
    x.p.initial_prompt = " \n ";
    must_run(&x);
    assert_int_equal(x.r.prompt_tokens_cut, 0);
    expect_prompt(&stage.tries[0], NULL);
    end(&x);
}

static void test_the_previous_text_goes_from_call_to_call(void **state)
{
    (void)state;
    struct play x, y;
    begin(&x, 30, SCRIPT(SAY({"<0.00> ab<9.00>", -0.2f, 0})));
    must_run(&x);
    begin(&y, 30, SCRIPT(SAY({"<0.00> cd<9.00>", -0.2f, 0})));
    y.in.previous = x.r.previous;
    y.in.n_previous = x.r.n_previous;
    must_run(&y);
    expect_prompt(&stage.tries[0], "<0.00> ab<9.00>");
    end(&y);
    static const int wrong[] = {MULTILINGUAL};
    begin(&y, 30, NULL, 0);
    y.in.previous = wrong;
    y.in.n_previous = 1;
    assert_int_equal(run(&y), ERR_INVALID);
    end(&y);
    end(&x);
}

static void test_translation_is_asked_by_its_token(void **state)
{
    (void)state;
    struct play x;
    begin(&x, 30, SCRIPT(SAY({"<0.00> ab<9.00>", -0.2f, 0})));
    x.p.task = WHISPER_TRANSLATE;
    x.p.language = "german";
    must_run(&x);
    assert_string_equal(x.r.language, "de");
    const struct tokenizer *k = stage.model->tokenizer;
    assert_int_equal(stage.tries[0].prompt[1], tokenizer_language_id(k, "de"));
    assert_int_equal(stage.tries[0].prompt[2], k->translate);
    end(&x);
}

/* ---- coverage ---- */

static void test_an_early_end_runs_the_rest_again(void **state)
{
    (void)state;
    static const struct whisper_span speech[] = {{0, 12 * S}, {13 * S, 29 * S}};
    struct play x;
    begin(&x, 30, SCRIPT(SAY({"<0.00> ab<7.90>", -0.2f, 0}), SAY({"<0.00> cd<21.00>", -0.2f, 0})));
    x.in.speech = speech;
    x.in.n_speech = 2;
    must_run(&x);
    SEEKS(0, 7.9);
    expect_segment(&x, 1, 7.9, 28.9, " cd");
    assert_int_equal(x.r.n_gaps, 0);
    end(&x);
    /* The rest gives nothing: it is a gap, as much of it as is speech. */
    begin(&x, 30, SCRIPT(SAY({"<0.00> ab<7.90>", -0.2f, 0}), SAY({nothing, -0.2f, 0})));
    x.in.speech = speech;
    x.in.n_speech = 2;
    must_run(&x);
    assert_int_equal(x.r.n_gaps, 2);
    expect_gap(&x, 0, 7.9, 12, "no text");
    expect_gap(&x, 1, 13, 29, "no text");
    end(&x);
    /* Nobody said that there is speech: the model is believed. */
    begin(&x, 30, SCRIPT(SAY({"<0.00> ab<7.90>", -0.2f, 0})));
    must_run(&x);
    assert_int_equal(x.r.n_gaps, 0);
    end(&x);
    /* A second of it is the edge of what was said. */
    begin(&x, 30, SCRIPT(SAY({"<0.00> ab<28.00>", -0.2f, 0})));
    x.in.speech = speech;
    x.in.n_speech = 2;
    must_run(&x);
    assert_int_equal(x.r.n_gaps, 0);
    end(&x);
}

static void test_an_early_end_goes_on_until_nothing_comes(void **state)
{
    (void)state;
    static const struct whisper_span speech = {0, 30 * S};
    struct play x;
    begin(&x, 30,
          SCRIPT(SAY({"<0.00> ab<7.00>", -0.2f, 0}), SAY({"<0.00> cd<8.00>", -0.2f, 0}),
                 SAY({"<0.00> ef<0.50>", -0.2f, 0})));
    x.in.speech = &speech;
    x.in.n_speech = 1;
    must_run(&x);
    SEEKS(0, 7, 15);
    assert_int_equal(x.r.n_gaps, 1);
    expect_gap(&x, 0, 15.5, 30, "early end");
    end(&x);
}

static void test_speech_that_the_model_does_not_hear(void **state)
{
    (void)state;
    static const struct whisper_span speech = {S, 80 * S};
    struct play x;
    begin(&x, 90, SCRIPT(SAY({nothing, -2, 0.9f}), SAY({nothing, -2, 0.9f}), SAY({nothing, -2, 0.1f})));
    x.in.speech = &speech;
    x.in.n_speech = 1;
    must_run(&x);
    assert_int_equal(x.r.n_gaps, 2);
    expect_gap(&x, 0, 1, 60, "no speech");
    expect_gap(&x, 1, 60, 80, "failed gates");
    end(&x);
}

static void test_text_where_nobody_spoke_is_doubted(void **state)
{
    (void)state;
    static const struct whisper_span speech = {0, 5 * S};
    struct play x;
    begin(&x, 30, SCRIPT(SAY({"<0.00> ab<5.00><12.00> thanks<14.00>", -0.2f, 0})));
    x.in.speech = &speech;
    x.in.n_speech = 1;
    must_run(&x);
    assert_null(x.r.segments[0].suspect);
    assert_string_equal(x.r.segments[1].suspect, "no speech there");
    end(&x);
}

static void test_a_pause_with_speech_is_not_skipped(void **state)
{
    (void)state;
    static const struct whisper_span speech[] = {{0, 2 * S}, {4 * S, 8 * S}, {20 * S, 30 * S}};
    struct play x;
    begin(&x, 40,
          SCRIPT(SAY({"<0.00> ab<2.00><20.00> cut", -0.2f, 0}), SAY({"<0.00> cd<29.00>", -0.2f, 0}),
                 SAY({nothing, -0.2f, 0})));
    x.in.speech = speech;
    x.in.n_speech = 3;
    must_run(&x);
    SEEKS(0, 2, 32);
    end(&x);
    begin(&x, 40, SCRIPT(SAY({"<0.00> ab<2.00><20.00> cut", -0.2f, 0}), SAY({"<0.00> cd<19.00>", -0.2f, 0})));
    must_run(&x);
    SEEKS(0, 20); /* the model alone: what it skips is skipped */
    end(&x);
}

/* ---- language ---- */

static void test_languages_are_heard_until_one_is_sure(void **state)
{
    (void)state;
    static const float heard[][3] = {{0.4f, 0.3f, 0.3f}, {0.2f, 0.7f, 0.1f}, {0.9f, 0.1f, 0}};
    struct play x;
    begin(&x, 90,
          SCRIPT(HEARD, HEARD, SAY({"<0.00> ab<9.00>", -0.2f, 0}), SAY({"<0.00> ab<9.00>", -0.2f, 0}),
                 SAY({"<0.00> ab<9.00>", -0.2f, 0})));
    x.p.language = NULL;
    stage.languages = heard;
    stage.n_languages = 3;
    must_run(&x);
    SEEKS(0, 30, 0, 30, 60);
    assert_string_equal(x.r.language, whisper_language_code(1));
    assert_true(fabsf(x.r.language_probability - 0.7f) < 1e-6f);
    assert_int_equal(stage.tries[0].prompt[1], stage.model->tokenizer->first_language + 1);
    end(&x);
}

static void test_silent_windows_have_no_vote(void **state)
{
    (void)state;
    static const float heard[][3] = {{0.1f, 0.1f, 0.8f}};
    static const struct whisper_span speech = {70 * S, 80 * S};
    struct play x;
    begin(&x, 90,
          SCRIPT(HEARD, SAY({nothing, -2, 0.9f}), SAY({nothing, -2, 0.9f}), SAY({"<0.00> ab<19.00>", -0.2f, 0})));
    x.p.language = NULL;
    x.in.speech = &speech;
    x.in.n_speech = 1;
    stage.languages = heard;
    stage.n_languages = 1;
    must_run(&x);
    SEEKS(60, 0, 30, 60);
    assert_string_equal(x.r.language, whisper_language_code(2));
    end(&x);
}

static void test_a_long_recording_is_sampled(void **state)
{
    (void)state;
    static const float heard[][3] = {
        {0.4f, 0.3f, 0.3f}, {0.4f, 0.3f, 0.3f}, {0.2f, 0.5f, 0.3f}, {0.2f, 0.5f, 0.3f}, {0.4f, 0.3f, 0.3f}};
    struct play x;
    static struct window_script script[5 + 20];
    for (size_t i = 5; i < ARRAY_LEN(script); i++)
        script[i].tries[0] = (struct say){nothing, -0.2f, 0};
    begin(&x, 600, script, ARRAY_LEN(script));
    x.p.language = NULL;
    stage.languages = heard;
    stage.n_languages = 5;
    must_run(&x);
    assert_int_equal(stage.asked_languages, 5);
    assert_true(stage.windows[4].seek >= (int64_t)300 * S); /* not the beginning alone */
    assert_string_equal(x.r.language, whisper_language_code(0));
    end(&x);
}

/* ---- whatever the model says ---- */

static bool is_speech(const struct play *x, const struct whisper_gap *g)
{
    for (size_t i = 0; i < x->in.n_speech; i++)
        if (x->in.speech[i].start <= g->start && x->in.speech[i].end >= g->end)
            return true;
    return false;
}

static void check_result(const struct play *x)
{
    const struct whisper_result *r = &x->r;
    int64_t at = 0, n = (int64_t)x->in.n;
    for (size_t i = 0; i < r->n_segments; i++) {
        const struct whisper_segment *s = &r->segments[i];
        if (s->start < at || s->end < s->start || s->end > n)
            fail_msg("segment %zu of %zu, %lld to %lld, behind %lld, of %lld", i, r->n_segments, (long long)s->start,
                     (long long)s->end, (long long)at, (long long)n);
        assert_true(utf8_valid(s->text, strlen(s->text)) && s->text[strspn(s->text, " ")] && s->n_tokens > 0);
        int64_t word = s->start;
        for (size_t k = 0; k < s->n_words; k++) {
            assert_true(s->words[k].start >= word && s->words[k].end >= s->words[k].start);
            word = s->words[k].end;
        }
        assert_true(word <= s->end);
        at = s->end;
    }
    at = 0;
    for (size_t i = 0; i < r->n_gaps; i++) {
        const struct whisper_gap *g = &r->gaps[i];
        assert_true(g->start >= at && g->end > g->start && g->end <= n && g->why);
        at = g->end;
        for (size_t k = 0; k < r->n_segments; k++) /* what has text is no gap */
            assert_true(r->segments[k].end <= g->start || r->segments[k].start >= g->end);
        assert_true(is_speech(x, g));
    }
}

static void test_any_model_gives_an_orderly_result(void **state)
{
    (void)state;
    for (uint64_t round = 1; round <= 150; round++) {
        struct play x;
        struct whisper_span speech[6];
        stage.random = round;
        double seconds = below(4) ? (double)below(60000) / 1000 : (double)below(400000) / 1000;
        begin(&x, seconds, NULL, 0);
        x.p.timestamps = below(8) > 0;
        x.p.condition_on_previous = below(2);
        x.p.word_timestamps = below(3) == 0;
        stage.align_from = below(200);
        stage.align_step = below(30);
        int64_t at = (int64_t)below(5 * S);
        for (size_t i = 0; i < ARRAY_LEN(speech) && round % 3; i++) {
            speech[i] = (struct whisper_span){at, at + 1 + (int64_t)below(20 * S)};
            at = speech[i].end + (int64_t)below(10 * S);
            x.in.n_speech++;
        }
        x.in.speech = speech;
        must_run(&x);
        check_result(&x);
        for (size_t i = 1; i < stage.n_windows; i++) /* it always moves on */
            assert_true(stage.windows[i].seek >= stage.windows[i - 1].seek + 1600);
        end(&x);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_windows_begin_at_the_last_stamp),
        cmocka_unit_test(test_a_rest_below_a_tenth_is_not_run),
        cmocka_unit_test(test_a_step_that_is_tiny_still_moves_on),
        cmocka_unit_test(test_text_without_stamps),
        cmocka_unit_test(test_nothing_said_gives_no_segment),
        cmocka_unit_test(test_word_times_say_where_the_next_window_begins),
        cmocka_unit_test(test_a_loop_reruns_its_window_alone),
        cmocka_unit_test(test_a_loop_of_segments_is_one_too),
        cmocka_unit_test(test_a_loop_at_every_temperature_is_cut_and_marked),
        cmocka_unit_test(test_silence_by_the_models_own_word),
        cmocka_unit_test(test_beam_first_then_drawn),
        cmocka_unit_test(test_no_numbers_fail_the_run),
        cmocka_unit_test(test_text_before_is_the_prompt),
        cmocka_unit_test(test_no_prompt_when_not_wanted),
        cmocka_unit_test(test_a_mistake_is_not_carried_on),
        cmocka_unit_test(test_the_last_seconds_have_no_prompt),
        cmocka_unit_test(test_prompts_that_are_cut_say_so),
        cmocka_unit_test(test_the_previous_text_goes_from_call_to_call),
        cmocka_unit_test(test_translation_is_asked_by_its_token),
        cmocka_unit_test(test_an_early_end_runs_the_rest_again),
        cmocka_unit_test(test_an_early_end_goes_on_until_nothing_comes),
        cmocka_unit_test(test_speech_that_the_model_does_not_hear),
        cmocka_unit_test(test_text_where_nobody_spoke_is_doubted),
        cmocka_unit_test(test_a_pause_with_speech_is_not_skipped),
        cmocka_unit_test(test_languages_are_heard_until_one_is_sure),
        cmocka_unit_test(test_silent_windows_have_no_vote),
        cmocka_unit_test(test_a_long_recording_is_sampled),
        cmocka_unit_test(test_any_model_gives_an_orderly_result),
    };
    return cmocka_run_group_tests(tests, set_up, tear_down);
}
