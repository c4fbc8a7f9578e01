/* SPDX-License-Identifier: MIT */
/*
 * Whatever makes it fast changes nothing: threads, other windows in the batch, the cache of packed weights, beams and
 * draws beside each other. Texts and times must be the same, figures within a thousandth (another number of rows may
 * let oneDNN add in another order); precision may change figures and not text.
 */
#include "base/buf.h"
#include "base/io.h"
#include "base/thread.h"
#include "whisper_fixture.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

static const char *const recordings[] = {"01_digits", "02_one_word", "03_commands", "05_voices", "08_unseen_voice"};

enum { RECORDINGS = ARRAY_LEN(recordings), WAYS = 3, MOST_FIGURES = 400 };

/* Everything a result says. */
struct outcome {
    char *text; /* and times, a line for each segment and word; owned */
    double figures[MOST_FIGURES];
    size_t n;
};

static struct {
    float *pcm[RECORDINGS];
    size_t n[RECORDINGS];
    struct whisper_model *model;
    struct outcome want[WAYS][RECORDINGS]; /* one thread, one window at a time */
} world;

static const float warm[] = {0.8f};

/* Ways to decode: beams, greedy, drawn. */
static void choose(int way, struct whisper_params *p)
{
    whisper_params_default(p);
    p->word_timestamps = way == 0;
    p->beam_size = way == 1 ? 1 : 5;
    if (way == 2) {
        p->temperatures = warm;
        p->n_temperatures = 1;
        p->seed = 12;
    }
}

static void add_figure(struct outcome *o, float x)
{
    assert_true(o->n < MOST_FIGURES);
    o->figures[o->n++] = (double)x;
}

static void run(struct whisper_batcher *b, int way, size_t which, struct outcome *ret)
{
    struct err err = ERR_INIT;
    struct whisper_params p;
    choose(way, &p);
    struct whisper_input in = {.pcm = world.pcm[which], .n = world.n[which]};
    struct arena a = ARENA_INIT;
    struct whisper_result r;
    if (whisper_run(b, &p, &in, NULL, &a, &r, &err) < 0)
        fail_msg("%s: %s", recordings[which], err.msg);
    struct buf out = BUF_INIT(1 << 20);
    *ret = (struct outcome){.n = 0};
    for (size_t i = 0; i < r.n_segments; i++) {
        const struct whisper_segment *s = &r.segments[i];
        buf_addf(&out, "%lld-%lld%s\n", (long long)s->start, (long long)s->end, s->text);
        add_figure(ret, s->avg_logprob);
        add_figure(ret, s->no_speech_prob);
        add_figure(ret, s->compression_ratio);
        add_figure(ret, s->temperature);
        for (size_t k = 0; k < s->n_words; k++) {
            buf_addf(&out, " %lld-%lld%s\n", (long long)s->words[k].start, (long long)s->words[k].end,
                     s->words[k].text);
            add_figure(ret, s->words[k].probability);
        }
    }
    arena_clear(&a);
    ret->text = buf_take(&out);
}

static void expect_same(const struct outcome *got, const struct outcome *want, const char *what, int way, size_t which)
{
    if (strcmp(got->text, want->text) != 0 || got->n != want->n)
        fail_msg("%s, way %d, %s:\n%s\nnot\n%s", what, way, recordings[which], got->text, want->text);
    for (size_t i = 0; i < got->n; i++)
        if (fabs(got->figures[i] - want->figures[i]) > 1e-3)
            fail_msg("%s, way %d, %s: figure %zu is %g, not %g", what, way, recordings[which], i, got->figures[i],
                     want->figures[i]);
}

static struct whisper_batcher *batcher(struct whisper_model *m, unsigned threads, unsigned windows)
{
    struct err err = ERR_INIT;
    struct whisper_batcher *b;
    const struct whisper_batcher_opts o = {
        .threads = threads, .max_windows = windows, .max_rows = windows > 1 ? 64 : 16};
    if (whisper_batcher_new(m, &o, &b, &err) < 0)
        fail_msg("%s", err.msg);
    return b;
}

static void expect_the_same(struct whisper_batcher *b, const char *what)
{
    for (int way = 0; way < WAYS; way++)
        for (size_t i = 0; i < RECORDINGS; i++) {
            struct outcome got;
            run(b, way, i, &got);
            expect_same(&got, &world.want[way][i], what, way, i);
            free(got.text);
        }
}

static int set_up(void **state)
{
    (void)state;
    for (size_t i = 0; i < RECORDINGS; i++)
        world.pcm[i] = fixture_wav(recordings[i], &world.n[i]);
    world.model = fixture_model(WHISPER_F32);
    struct whisper_batcher *b = batcher(world.model, 1, 1);
    for (int way = 0; way < WAYS; way++)
        for (size_t i = 0; i < RECORDINGS; i++)
            run(b, way, i, &world.want[way][i]);
    whisper_batcher_free(b);
    return 0;
}

static int tear_down(void **state)
{
    (void)state;
    for (size_t i = 0; i < RECORDINGS; i++) {
        free(world.pcm[i]);
        for (int way = 0; way < WAYS; way++)
            free(world.want[way][i].text);
    }
    whisper_model_unref(world.model);
    return 0;
}

static void test_again(void **state)
{
    (void)state;
    struct whisper_batcher *b = batcher(world.model, 1, 1);
    expect_the_same(b, "again");
    whisper_batcher_free(b);
}

static void test_threads(void **state)
{
    (void)state;
    for (unsigned threads = 2; threads <= 4; threads += 2) {
        struct whisper_batcher *b = batcher(world.model, threads, 1);
        expect_the_same(b, threads == 2 ? "two threads" : "four threads");
        whisper_batcher_free(b);
    }
}

struct beside {
    struct whisper_batcher *batcher;
    int way;
    size_t which;
    struct outcome got;
    pthread_t thread;
};

static void *run_beside(void *arg)
{
    struct beside *x = arg;
    run(x->batcher, x->way, x->which, &x->got);
    return NULL;
}

/* All ways of all recordings at once: beams, greedy and drawn rows in the same steps. */
static void test_a_full_batch(void **state)
{
    (void)state;
    struct err err = ERR_INIT;
    struct whisper_batcher *b = batcher(world.model, 2, 8);
    static struct beside all[WAYS * RECORDINGS];
    for (size_t i = 0; i < ARRAY_LEN(all); i++) {
        all[i] = (struct beside){.batcher = b, .way = (int)(i % WAYS), .which = i / WAYS};
        assert_int_equal(thread_start(&all[i].thread, "beside", run_beside, &all[i], &err), 0);
    }
    for (size_t i = 0; i < ARRAY_LEN(all); i++)
        pthread_join(all[i].thread, NULL);
    for (size_t i = 0; i < ARRAY_LEN(all); i++) {
        expect_same(&all[i].got, &world.want[all[i].way][all[i].which], "in a batch", all[i].way, all[i].which);
        free(all[i].got.text);
    }
    whisper_batcher_free(b);
}

static void test_the_cache_of_packed_weights(void **state)
{
    (void)state;
    struct err err = ERR_INIT;
    char folder[] = "/tmp/steno-same-XXXXXX";
    assert_non_null(mkdtemp(folder));
    char *path = fixture_path("fixture.bin");
    const struct whisper_model_opts o = {.precision = WHISPER_F32, .cache_folder = folder};
    for (int i = 0; i < 2; i++) { /* packed and kept, then mapped */
        struct whisper_model *m;
        if (whisper_model_open(path, &o, &m, &err) < 0)
            fail_msg("%s", err.msg);
        assert_int_equal(whisper_model_info(m)->from_cache, i == 1);
        struct whisper_batcher *b = batcher(m, 1, 1);
        expect_the_same(b, i ? "from the cache" : "into the cache");
        whisper_batcher_free(b);
        whisper_model_unref(m);
    }
    free(path);
    assert_int_equal(io_remove_tree(folder, &err), 0);
}

/* The text of a result without its figures and words; caller frees. */
static char *text_of(const char *result)
{
    struct buf b = BUF_INIT(1 << 20);
    for (const char *line = result; *line; line = strchr(line, '\n') + 1) {
        if (*line == ' ')
            continue;
        size_t from = strcspn(line, " "), to = strcspn(line, "\n");
        buf_add(&b, line + from, to - from);
    }
    return buf_take(&b);
}

static void test_precisions(void **state)
{
    (void)state;
    static const enum whisper_precision precisions[] = {WHISPER_BF16, WHISPER_INT8};
    for (size_t k = 0; k < ARRAY_LEN(precisions); k++) {
        struct whisper_model *m = fixture_model(precisions[k]);
        struct whisper_batcher *b = batcher(m, 2, 1);
        for (int way = 0; way < 2; way++) /* a draw may fall otherwise by a figure's last bit */
            for (size_t i = 0; i < RECORDINGS; i++) {
                struct outcome all;
                run(b, way, i, &all);
                char *got = text_of(all.text), *want = text_of(world.want[way][i].text);
                if (strcmp(got, want) != 0)
                    fail_msg("%s, %s: '%s', not '%s'", whisper_precision_name(precisions[k]), recordings[i], got, want);
                free(all.text);
                free(got);
                free(want);
            }
        whisper_batcher_free(b);
        whisper_model_unref(m);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_again),        cmocka_unit_test(test_threads),
        cmocka_unit_test(test_a_full_batch), cmocka_unit_test(test_the_cache_of_packed_weights),
        cmocka_unit_test(test_precisions),
    };
    return cmocka_run_group_tests(tests, set_up, tear_down);
}
