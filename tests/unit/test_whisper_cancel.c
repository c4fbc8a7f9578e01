/* SPDX-License-Identifier: MIT */
/*
 * How much is still computed after a cancel, counted in products and steps, not in time: the linker puts the counters
 * here in front of the functions that compute. A model of many layers with random weights never comes to an end by
 * itself.
 */
#include "base/io.h"
#include "base/thread.h"
#include "model_maker.h"
#include "whisper/batch.h"
#include "whisper/dnn.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

enum {
    AUDIO_LAYERS = 16,
    TEXT_LAYERS = 2,
    ENCODER_ROWS = 1500,
    LAYER_PRODUCTS = 4, /* of an encoder layer */
    STEP_PRODUCTS = 6 * TEXT_LAYERS + 1,
    ENCODE_PRODUCTS = 2 + LAYER_PRODUCTS * AUDIO_LAYERS + TEXT_LAYERS,
    SOON = 6,
    SLOTS = 3,
    ROWS = 32,
    SOUND = 40 * WHISPER_RATE,
    PATIENCE_MS = 300, /* for another thread to wake up: only a failing test takes that long */
};

/* Of the compute thread, but for what the comments say. */
static struct watch {
    int products, steps;   /* so far; products of the encoder only */
    int all;               /* products of any kind */
    int cancel_at_product; /* after this many */
    int cancel_at_step;
    int cancel_at_all;
    struct cancel *cancel;                   /* whom */
    int products_then, steps_then, all_then; /* when it was set; -1: not yet */

    /* Other callers: `second` is started at that step; `awaited`, once cancelled, is given a while at each product. */
    int second_at_step;
    struct caller *second, *awaited;
    pthread_mutex_t mu;
    pthread_cond_t cond;
} watch;

/* One call of whisper_run in a thread of its own. */
struct caller {
    pthread_t thread;
    struct cancel cancel;
    int rc;
    bool back;              /* guarded by watch.mu */
    int products_when_back; /* how far another's encode was then */
};

static struct {
    struct whisper_model *model;
    struct whisper_batcher *batcher;
    float *sound;
} world;

static void set_cancel(void)
{
    cancel_set(watch.cancel);
    watch.products_then = watch.products;
    watch.steps_then = watch.steps;
    watch.all_then = watch.all;
}

static void *call(void *arg)
{
    struct caller *c = arg;
    struct whisper_params p;
    whisper_params_default(&p);
    p.language = "en";
    struct whisper_input in = {.pcm = world.sound, .n = SOUND};
    struct arena a = ARENA_INIT;
    struct whisper_result r;
    struct err err = ERR_INIT;
    c->rc = whisper_run(world.batcher, &p, &in, &c->cancel, &a, &r, &err);
    arena_clear(&a);
    pthread_mutex_lock(&watch.mu);
    c->back = true;
    c->products_when_back = watch.products;
    pthread_cond_broadcast(&watch.cond);
    pthread_mutex_unlock(&watch.mu);
    return NULL;
}

static void start_caller(struct caller *c)
{
    struct err err = ERR_INIT;
    if (thread_start(&c->thread, "caller", call, c, &err) < 0)
        fail_msg("%s", err.msg);
}

static void await(struct caller *c)
{
    pthread_mutex_lock(&watch.mu);
    if (!c->back)
        cond_wait_ms(&watch.cond, &watch.mu, PATIENCE_MS);
    pthread_mutex_unlock(&watch.mu);
}

int __real_dnn_linear(struct dnn *d, int64_t m, const void *x, const struct dnn_matrix *w, const float *bias,
                      enum dnn_post post, bool y_bf16, void *y, struct err *err);
int __wrap_dnn_linear(struct dnn *d, int64_t m, const void *x, const struct dnn_matrix *w, const float *bias,
                      enum dnn_post post, bool y_bf16, void *y, struct err *err);
int __real_compute_step(struct compute *c, struct step_row *rows, size_t n, struct err *err);
int __wrap_compute_step(struct compute *c, struct step_row *rows, size_t n, struct err *err);

int __wrap_dnn_linear(struct dnn *d, int64_t m, const void *x, const struct dnn_matrix *w, const float *bias,
                      enum dnn_post post, bool y_bf16, void *y, struct err *err)
{
    int rc = __real_dnn_linear(d, m, x, w, bias, post, y_bf16, y, err);
    watch.all++;
    if (watch.all == watch.cancel_at_all)
        set_cancel();
    if (m < ENCODER_ROWS)
        return rc;
    pthread_mutex_lock(&watch.mu);
    watch.products++;
    pthread_mutex_unlock(&watch.mu);
    if (watch.products == watch.cancel_at_product)
        set_cancel();
    if (watch.awaited && watch.products_then >= 0)
        await(watch.awaited);
    return rc;
}

int __wrap_compute_step(struct compute *c, struct step_row *rows, size_t n, struct err *err)
{
    watch.steps++;
    if (watch.steps == watch.second_at_step) {
        pthread_mutex_lock(&watch.mu);
        watch.products = 0;
        pthread_mutex_unlock(&watch.mu);
        watch.cancel_at_product = SOON;
        start_caller(watch.second);
    }
    int rc = __real_compute_step(c, rows, n, err);
    if (watch.steps == watch.cancel_at_step)
        set_cancel();
    return rc;
}

static int set_up(void **state)
{
    (void)state;
    struct err err = ERR_INIT;
    struct made made;
    struct maker_shape shape = *maker_find_shape("nano");
    shape.audio_layers = AUDIO_LAYERS;
    shape.text_layers = TEXT_LAYERS;
    maker_make(&shape, &made);
    char path[] = "/tmp/steno-cancel-XXXXXX";
    int fd = mkstemp(path), rc = -1;
    const struct whisper_model_opts mo = {.precision = WHISPER_F32};
    const struct whisper_batcher_opts bo = {.max_windows = SLOTS, .max_rows = ROWS};
    if (fd >= 0)
        rc = io_write_all(fd, made.data, made.size, &err);
    if (rc == 0)
        rc = whisper_model_open(path, &mo, &world.model, &err);
    if (rc == 0)
        rc = whisper_batcher_new(world.model, &bo, &world.batcher, &err);
    if (rc < 0)
        print_error("%s\n", err.msg);
    close(fd);
    unlink(path);
    made_clear(&made);
    world.sound = calloc(SOUND, sizeof *world.sound);
    uint32_t seed = 1;
    for (int i = 0; i < SOUND && world.sound; i++) {
        seed = seed * 1664525u + 1013904223u;
        world.sound[i] = (float)(seed >> 8) / (float)(1 << 24) - 0.5f;
    }
    pthread_mutex_init(&watch.mu, NULL);
    cond_init(&watch.cond);
    return rc < 0 || !world.sound ? -1 : 0;
}

static int tear_down(void **state)
{
    (void)state;
    whisper_batcher_free(world.batcher);
    whisper_model_unref(world.model);
    free(world.sound);
    pthread_mutex_destroy(&watch.mu);
    pthread_cond_destroy(&watch.cond);
    return 0;
}

static void reset(void)
{
    watch.products = watch.steps = watch.all = 0;
    watch.cancel_at_product = watch.cancel_at_step = watch.cancel_at_all = watch.second_at_step = -1;
    watch.products_then = watch.steps_then = watch.all_then = -1;
    watch.second = watch.awaited = NULL;
}

/* At every place of the encoder: the layer under way is finished, no other is begun, and nothing is decoded. */
static void test_an_encode_stops_behind_its_layer(void **state)
{
    (void)state;
    for (int at = 1; at <= ENCODE_PRODUCTS; at += 5) {
        struct caller c = {.rc = 1};
        reset();
        watch.cancel = &c.cancel;
        watch.cancel_at_product = at;
        call(&c);
        assert_int_equal(c.rc, ERR_CANCELLED);
        assert_int_equal(watch.products_then, at);
        assert_in_range(watch.products - at, 0, LAYER_PRODUCTS - 1);
        assert_int_equal(watch.steps, 0);
    }
}

static void test_a_decode_stops_behind_its_step(void **state)
{
    (void)state;
    for (int at = 1; at <= 60; at += 7) {
        struct caller c = {.rc = 1};
        reset();
        watch.cancel = &c.cancel;
        watch.cancel_at_step = at;
        call(&c);
        assert_int_equal(c.rc, ERR_CANCELLED);
        assert_int_equal(watch.steps, at);
    }
}

static void test_word_times_stop_behind_their_step(void **state)
{
    (void)state;
    enum { TOKENS = 120 };
    struct err err = ERR_INIT;
    struct batch *b;
    const struct whisper_batcher_opts bo = {.max_windows = 1, .max_rows = ROWS};
    assert_int_equal(batch_new(world.model, &bo, &b, &err), 0);
    struct batch_window *w;
    reset();
    assert_int_equal(batch_open(b, world.sound, WHISPER_WINDOW, NULL, &w, &err), 0);
    static const struct head head = {.layer = 1, .head = 0};
    int tokens[TOKENS];
    float *scores = calloc((size_t)TOKENS * ENCODER_ROWS, sizeof *scores), probs[TOKENS];
    for (int i = 0; i < TOKENS; i++)
        tokens[i] = 300 + i;
    for (int at = 1; at < STEP_PRODUCTS * 6; at += 9) {
        struct cancel cancel = {.also = NULL};
        reset();
        watch.cancel = &cancel;
        watch.cancel_at_all = at;
        assert_int_equal(batch_align(w, tokens, TOKENS, &head, 1, scores, probs, &cancel, &err), ERR_CANCELLED);
        assert_in_range(watch.all - watch.all_then, 0, STEP_PRODUCTS);
    }
    free(scores);
    batch_close(w);
    batch_free(b);
}

/* Two callers: the second's window is encoded while `first` waits its turn or is being decoded. */
static void back_before_the_encode_is_over(struct caller *encoding, struct caller *cancelled)
{
    pthread_join(cancelled->thread, NULL);
    assert_int_equal(cancelled->rc, ERR_CANCELLED);
    assert_true(watch.products_then >= 0);
    if (cancelled->products_when_back >= ENCODE_PRODUCTS - TEXT_LAYERS)
        fail_msg("cancelled at product %d of another's encode, back only at %d", watch.products_then,
                 cancelled->products_when_back);
    cancel_set(&encoding->cancel);
    pthread_join(encoding->thread, NULL);
    assert_int_equal(encoding->rc, ERR_CANCELLED);
}

static void test_who_decodes_does_not_wait_for_anothers_encode(void **state)
{
    (void)state;
    static struct caller first = {.rc = 1}, second = {.rc = 1};
    reset();
    watch.second_at_step = 3;
    watch.second = &second;
    watch.cancel = &first.cancel; /* SOON in the second's encode */
    watch.awaited = &first;
    start_caller(&first);
    back_before_the_encode_is_over(&second, &first);
}

static void test_who_waits_does_not_wait_for_anothers_encode(void **state)
{
    (void)state;
    static struct caller first = {.rc = 1}, second = {.rc = 1};
    reset();
    watch.cancel = &second.cancel;
    watch.cancel_at_product = SOON; /* in the first's encode */
    watch.awaited = &second;
    start_caller(&first);
    start_caller(&second);
    back_before_the_encode_is_over(&first, &second);
}

/* After all that, the batch works as before. */
static void test_nothing_is_left_behind(void **state)
{
    (void)state;
    struct err err = ERR_INIT;
    struct whisper_params p;
    static const float cold[] = {0};
    whisper_params_default(&p);
    p.temperatures = cold;
    p.n_temperatures = 1;
    reset();
    struct whisper_input in = {.pcm = world.sound, .n = WHISPER_RATE};
    struct arena a = ARENA_INIT;
    struct whisper_result r;
    for (int i = 0; i < SLOTS + 1; i++)
        assert_int_equal(whisper_run(world.batcher, &p, &in, NULL, &a, &r, &err), 0);
    arena_clear(&a);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_an_encode_stops_behind_its_layer),
        cmocka_unit_test(test_a_decode_stops_behind_its_step),
        cmocka_unit_test(test_word_times_stop_behind_their_step),
        cmocka_unit_test(test_who_decodes_does_not_wait_for_anothers_encode),
        cmocka_unit_test(test_who_waits_does_not_wait_for_anothers_encode),
        cmocka_unit_test(test_nothing_is_left_behind),
    };
    return cmocka_run_group_tests(tests, set_up, tear_down);
}
