/* SPDX-License-Identifier: MIT */
#include "worker/plan_json.h"

#include "base/macros.h"
#include "base/str.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

static const struct span speech[] = {{0, 7000}, {7001, 16000}, {16000, 400000}};
static const struct plan_chunk chunks[] = {
    {{0, 16000}, speech, 2},
    {{16000, 400000}, speech + 2, 1},
    {{INT64_C(1) << 40, (INT64_C(1) << 40) + 5}, NULL, 0},
};

static const struct plan full = {
    .input_sha256 = "0123456789abcdef",
    .engine = "pocketsphinx",
    .model = "en-us",
    .language = "en",
    .task = "transcribe",
    .prompt = "names: \"Zoë\", back\\slash,\n\ttab \xf0\x9f\x8e\xa4",
    .options = "{\"beam_size\":5}",
    .heard = "de",
    .heard_probability = 0.75,
    .total_samples = INT64_C(1) << 41,
    .damaged = true,
    .chunks = chunks,
    .n_chunks = ARRAY_LEN(chunks),
};

static void assert_round_trip(const struct plan *p)
{
    struct arena a = ARENA_INIT;
    struct buf b = BUF_INIT(100000);
    struct err err = ERR_INIT;
    struct plan back;
    assert_int_equal(plan_to_json(p, &b, &err), 0);
    assert_int_equal(plan_from_json(b.data, b.len, &a, &back, &err), 0);
    assert_true(plan_same_header(p, &back));
    assert_int_equal(back.damaged, p->damaged);
    assert_true(str_eq(back.heard, p->heard));
    assert_true(str_eq(back.instead_of, p->instead_of));
    assert_true(back.heard_probability == p->heard_probability);
    assert_int_equal(back.n_chunks, p->n_chunks);
    for (size_t i = 0; i < p->n_chunks; i++) {
        assert_int_equal(back.chunks[i].span.start, p->chunks[i].span.start);
        assert_int_equal(back.chunks[i].span.end, p->chunks[i].span.end);
        assert_int_equal(back.chunks[i].n_speech, p->chunks[i].n_speech);
        for (size_t k = 0; k < p->chunks[i].n_speech; k++) {
            assert_int_equal(back.chunks[i].speech[k].start, p->chunks[i].speech[k].start);
            assert_int_equal(back.chunks[i].speech[k].end, p->chunks[i].speech[k].end);
        }
    }
    buf_clear(&b);
    arena_clear(&a);
}

static void test_round_trip(void **state)
{
    (void)state;
    assert_round_trip(&full);
    static const struct plan_chunk whole = {{0, 0}, NULL, 0};
    const struct plan soundless = {
        .input_sha256 = "", .engine = "null", .model = "fixed", .chunks = &whole, .n_chunks = 1};
    assert_round_trip(&soundless);
    const struct plan silent = {.input_sha256 = "ab", .engine = "e", .model = "m", .total_samples = 48000};
    assert_round_trip(&silent);
    const struct plan replaced = {.input_sha256 = "ab", .engine = "e", .model = "m", .instead_of = "large \"one\""};
    assert_round_trip(&replaced);
}

static void test_header_decides_whether_checkpoints_hold(void **state)
{
    (void)state;
    struct plan other = full;
    assert_true(plan_same_header(&full, &other));
    other.damaged = false;
    other.n_chunks = 1;
    other.heard = NULL;
    assert_true(plan_same_header(&full, &other));
#define DIFFERS(field, value)                      \
    other = full;                                  \
    other.field = value;                           \
    assert_false(plan_same_header(&full, &other)); \
    assert_false(plan_same_header(&other, &full))
    DIFFERS(input_sha256, "f");
    DIFFERS(engine, "null");
    DIFFERS(model, "de-de");
    DIFFERS(language, NULL);
    DIFFERS(task, "translate");
    DIFFERS(prompt, NULL);
    DIFFERS(options, "{}");
    DIFFERS(total_samples, 7);
#undef DIFFERS
}

static void test_too_small_a_buffer_is_an_error(void **state)
{
    (void)state;
    struct buf b = BUF_INIT(50);
    struct err err = ERR_INIT;
    assert_int_equal(plan_to_json(&full, &b, &err), ERR_TOO_LARGE);
    buf_clear(&b);
}

#define HEAD                                                                                             \
    "\"sha256\":\"s\",\"engine\":\"e\",\"model\":\"m\",\"language\":null,\"task\":null,\"prompt\":null," \
    "\"options\":null,\"heard\":null,\"probability\":0"
#define START "{\"version\":2," HEAD ",\"total\":100,\"damaged\":false,\"chunks\":"

static const char *const good[] = {
    START "[]}",
    START "[[0,100]]}",
    START "[[0,100,0,100]]}",
    START "[[0,10],[10,100,10,20,20,100]]}",
};

static const char *const bad[] = {
    "",
    "null",
    "[]",
    "{}",
    "{\"version\":2",
    "{\"version\":1," HEAD ",\"total\":100,\"damaged\":false,\"chunks\":[]}",
    "{\"version\":\"1\"," HEAD ",\"total\":100,\"damaged\":false,\"chunks\":[]}",
    "{\"version\":2," HEAD ",\"total\":-1,\"damaged\":false,\"chunks\":[]}",
    "{\"version\":2," HEAD ",\"total\":1e2,\"damaged\":false,\"chunks\":[]}",
    "{\"version\":2," HEAD ",\"total\":99999999999999999999,\"damaged\":false,\"chunks\":[]}",
    "{\"version\":2," HEAD ",\"total\":100,\"damaged\":0,\"chunks\":[]}",
    "{\"version\":2," HEAD ",\"total\":100,\"chunks\":[]}",
    "{\"version\":2," HEAD ",\"total\":100,\"damaged\":false}",
    "{\"version\":2,\"sha256\":null,\"engine\":\"e\",\"model\":\"m\",\"language\":null,\"task\":null,\"prompt\":null,"
    "\"total\":100,\"damaged\":false,\"chunks\":[]}",
    "{\"version\":2,\"sha256\":\"s\",\"engine\":\"e\",\"model\":\"m\",\"language\":5,\"task\":null,\"prompt\":null,"
    "\"total\":100,\"damaged\":false,\"chunks\":[]}",
    "{\"version\":2,\"sha256\":\"s\",\"engine\":\"e\",\"model\":\"m\",\"total\":100,\"damaged\":false,\"chunks\":[]}",
    START "{}}",
    START "[0]}",
    START "[[0]]}",
    START "[[0,100,1]]}",
    START "[[0,100,1,1]]}", /* speech of no length */
    START "[[0,100,\"1\",2]]}",
    START "[[\"0\",100]]}",
    START "[[0,100.0]]}",
    START "[[-1,100]]}",
    START "[[0,101]]}",           /* beyond the end */
    START "[[50,50]]}",           /* empty */
    START "[[60,50]]}",           /* backwards */
    START "[[10,50,9,20]]}",      /* speech before its chunk */
    START "[[0,50,40,51]]}",      /* behind it */
    START "[[0,50,0,20,19,30]]}", /* over other speech */
    START "[[0,50],[49,100]]}",   /* overlap */
    START "[[50,100],[0,50]]}",   /* order */
    START "[[0,0]]}",             /* without length in a recording that has one */
    "{\"version\":2,\"sha256\":\"s\",\"engine\":\"e\",\"model\":\"m\",\"language\":null,\"task\":null,\"prompt\":null,"
    "\"options\":null,\"heard\":\"en\",\"probability\":1000001,\"total\":100,\"damaged\":false,\"chunks\":[]}",
    START "[]} trailing",
    START "[],\"total\":5}",
    "{\"version\":2," HEAD ",\"total\":0,\"damaged\":false,\"chunks\":[[0,0],[0,0]]}",
};

static void test_anything_else_is_refused(void **state)
{
    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(good); i++) {
        struct arena a = ARENA_INIT;
        struct err err = ERR_INIT;
        struct plan p;
        assert_int_equal(plan_from_json(good[i], strlen(good[i]), &a, &p, &err), 0);
        arena_clear(&a);
    }
    for (size_t i = 0; i < ARRAY_LEN(bad); i++) {
        struct arena a = ARENA_INIT;
        struct err err = ERR_INIT;
        struct plan p = {.n_chunks = 77};
        if (plan_from_json(bad[i], strlen(bad[i]), &a, &p, &err) != ERR_CORRUPT)
            fail_msg("accepted: %s", bad[i]);
        assert_int_equal(p.n_chunks, 77); /* untouched */
        assert_true(err.msg[0]);
        arena_clear(&a);
    }
}

/* Every cut of a good plan, and every single byte changed: an error or a plan that holds its promises, never a crash.
 */
static void test_damaged_text(void **state)
{
    (void)state;
    struct buf b = BUF_INIT(100000);
    struct err err = ERR_INIT;
    assert_int_equal(plan_to_json(&full, &b, &err), 0);
    for (size_t i = 0; i < b.len; i++) {
        struct arena a = ARENA_INIT;
        struct plan p;
        assert_int_equal(plan_from_json(b.data, i, &a, &p, &err), ERR_CORRUPT);
        char kept = b.data[i];
        b.data[i] = (char)(kept ^ 0x11);
        if (plan_from_json(b.data, b.len, &a, &p, &err) == 0)
            for (size_t k = 0; k < p.n_chunks; k++)
                assert_true(p.chunks[k].span.start < p.chunks[k].span.end && p.chunks[k].span.end <= p.total_samples);
        b.data[i] = kept;
        arena_clear(&a);
    }
    buf_clear(&b);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_round_trip),
        cmocka_unit_test(test_header_decides_whether_checkpoints_hold),
        cmocka_unit_test(test_too_small_a_buffer_is_an_error),
        cmocka_unit_test(test_anything_else_is_refused),
        cmocka_unit_test(test_damaged_text),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
