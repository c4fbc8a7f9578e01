/* SPDX-License-Identifier: MIT */
/*
 * What kinds of models can do, told by their dimensions: English only, with languages, with Cantonese, turbo, distil.
 * Random weights and no sound: only what is said before the first window counts here.
 */
#include "model_maker.h"
#include "whisper/whisper.h"

#include "base/io.h"
#include "base/mem.h"
#include "base/str.h"

#include <fcntl.h>
#include <limits.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

struct model {
    char path[PATH_MAX];
    struct whisper_model *model;
    struct whisper_batcher *batcher;
};

static struct model make(const struct maker_shape *shape)
{
    struct model x = {.model = NULL};
    struct made m;
    struct err err = ERR_INIT;
    maker_make(shape, &m);
    snprintf(x.path, sizeof x.path, "%s/steno-models-XXXXXX", getenv("TMPDIR") ? getenv("TMPDIR") : "/tmp");
    CLEANUP(close_fd) int fd = mkostemp(x.path, O_CLOEXEC);
    assert_true(fd >= 0);
    assert_int_equal(io_write_all(fd, m.data, m.size, &err), 0);
    made_clear(&m);
    const struct whisper_model_opts mo = {.precision = WHISPER_F32};
    const struct whisper_batcher_opts bo = {.threads = 1, .max_windows = 1, .max_rows = 16};
    int rc = whisper_model_open(x.path, &mo, &x.model, &err);
    unlink(x.path);
    if (rc < 0 || whisper_batcher_new(x.model, &bo, &x.batcher, &err) < 0)
        fail_msg("%s", err.msg);
    return x;
}

static void drop(struct model *x)
{
    whisper_batcher_free(x->batcher);
    whisper_model_unref(x->model);
}

/* Runs no sound at all with these wishes. `words`: part of the refusal, NULL when there is to be none. */
static struct whisper_result run(const struct model *x, const struct whisper_params *p, struct arena *a,
                                 const char *words)
{
    struct err err = ERR_INIT;
    struct whisper_result r = {.n_segments = 0};
    const struct whisper_input in = {.n = 0};
    int rc = whisper_run(x->batcher, p, &in, NULL, a, &r, &err);
    if (rc != (words ? ERR_INVALID : 0) || (words && !strstr(err.msg, words)))
        fail_msg("%s: %s", err_name(rc), err.msg);
    return r;
}

static void ask(const struct model *x, const char *language, enum whisper_task task, const char *words)
{
    CLEANUP(arena_clear) struct arena a = ARENA_INIT;
    struct whisper_params p;
    whisper_params_default(&p);
    p.language = language;
    p.task = task;
    run(x, &p, &a, words);
}

static void test_kinds(void **state)
{
    (void)state;
    static const struct {
        struct maker_shape shape;
        bool multilingual, can_translate, cantonese;
        const char *no_translation;
    } rows[] = {
        {{51864, 80, 64, 1, 1, TENSOR_Q4_0, 0.02, 1}, false, false, false, "trained for English only"},
        {{51865, 80, 64, 1, 1, TENSOR_Q4_0, 0.02, 1}, true, true, false, NULL},
        {{51866, 128, 64, 1, 1, TENSOR_Q4_0, 0.02, 1}, true, true, true, NULL},
        {{51866, 128, 64, 32, 4, TENSOR_Q4_0, 0.02, 1},
         true,
         false,
         true,
         "trained for transcription only"}, /* turbo */
        {{51866, 128, 64, 32, 2, TENSOR_Q4_0, 0.02, 1},
         true,
         false,
         true,
         "trained for transcription only"}, /* distil */
        {{51864, 80, 64, 12, 4, TENSOR_Q4_0, 0.02, 1}, false, false, false, "trained for English only"},
    };
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        struct model x = make(&rows[i].shape);
        const struct whisper_info *info = whisper_model_info(x.model);
        assert_int_equal(info->multilingual, rows[i].multilingual);
        assert_int_equal(info->can_translate, rows[i].can_translate);
        assert_int_equal(info->dims.text_layers, rows[i].shape.text_layers);
        ask(&x, NULL, WHISPER_TRANSCRIBE, NULL);
        ask(&x, "en", WHISPER_TRANSCRIBE, NULL);
        ask(&x, "English", WHISPER_TRANSCRIBE, NULL);
        ask(&x, "de", WHISPER_TRANSCRIBE, rows[i].multilingual ? NULL : "it knows English only");
        ask(&x, "german", WHISPER_TRANSCRIBE, rows[i].multilingual ? NULL : "does not know language 'german'");
        ask(&x, "yue", WHISPER_TRANSCRIBE, rows[i].cantonese ? NULL : "does not know language 'yue'");
        ask(&x, "klingon", WHISPER_TRANSCRIBE, "does not know language 'klingon'");
        ask(&x, "en", WHISPER_TRANSLATE, rows[i].no_translation);
        drop(&x);
    }
}

static char *repeat(const char *word, size_t n)
{
    struct buf b = BUF_INIT(1 << 16);
    for (size_t i = 0; i < n; i++)
        buf_adds(&b, word);
    char *s = buf_take(&b);
    assert_non_null(s);
    return s;
}

/* " the" is one token: what has no room in 223 is counted, and the end of the prompt stays. */
static void test_prompts_are_cut_and_counted(void **state)
{
    (void)state;
    static const struct {
        size_t prompt, hotwords;
        int cut, left;
    } rows[] = {{0, 0, 0, 0},       {1, 0, 0, 1},      {223, 0, 0, 223},  {224, 0, 1, 223},
                {500, 0, 277, 223}, {200, 23, 0, 200}, {200, 30, 7, 193}, {10, 300, 77 + 10, 0}};
    struct model x = make(&(struct maker_shape){51864, 80, 64, 1, 1, TENSOR_Q4_0, 0.02, 1});
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        CLEANUP(arena_clear) struct arena a = ARENA_INIT;
        CLEANUP(free_p) char *prompt = rows[i].prompt ? repeat(" the", rows[i].prompt) : NULL;
        CLEANUP(free_p) char *hotwords = rows[i].hotwords ? repeat(" the", rows[i].hotwords) : NULL;
        struct whisper_params p;
        whisper_params_default(&p);
        p.initial_prompt = prompt;
        p.hotwords = hotwords;
        struct whisper_result r = run(&x, &p, &a, NULL);
        assert_int_equal(r.prompt_tokens_cut, rows[i].cut);
        assert_int_equal(r.n_previous, rows[i].left);
        for (size_t k = 0; k < r.n_previous; k++)
            assert_int_equal(r.previous[k], 262);
    }
    /* The end stays: what was said last. */
    CLEANUP(free_p) char *most = repeat(" the", 222);
    CLEANUP(free_p) char *prompt = xasprintf("is is%s is", most);
    CLEANUP(arena_clear) struct arena a = ARENA_INIT;
    struct whisper_params p;
    whisper_params_default(&p);
    p.initial_prompt = prompt;
    struct whisper_result r = run(&x, &p, &a, NULL);
    assert_int_equal(r.prompt_tokens_cut, 2);
    assert_int_equal(r.n_previous, 223);
    assert_int_equal(r.previous[0], 262);
    assert_int_equal(r.previous[222], 318);
    drop(&x);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_kinds),
        cmocka_unit_test(test_prompts_are_cut_and_counted),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
