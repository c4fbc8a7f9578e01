/* SPDX-License-Identifier: MIT */
/* Ids of special tokens, text to tokens and back, and the list of non-speech symbols. */
#include "model_maker.h"
#include "toy_vocabulary.h"
#include "whisper/model_file_internal.h"
#include "whisper/tokenizer.h"

#include "base/io.h"
#include "base/mem.h"
#include "base/str.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

enum { MAX_TOKENS = 8192 };

/* A model whose tensors may be missing: vocabulary and dimensions are enough here. */
static struct tokenizer *of_bytes(const void *data, size_t n)
{
    struct model_file f = {.arena = ARENA_INIT};
    struct tokenizer *t = NULL;
    struct err err = ERR_INIT;
    if (ggml_read_bytes(&f, (struct mapping){data, n}, &err) < 0 || tokenizer_new(&f, &t, &err) < 0)
        fail_msg("%s", err.msg);
    free(f.tensors);
    free(f.mel_filters);
    free(f.tokens);
    free(f.token_lens);
    arena_clear(&f.arena);
    return t;
}

static struct tokenizer *made_up(int n_vocab)
{
    struct maker_shape s = *maker_find_shape("nano");
    struct made m;
    s.n_vocab = n_vocab;
    s.type = TENSOR_Q4_0;
    maker_make(&s, &m);
    struct tokenizer *t = of_bytes(m.data, made_mark(&m, "tokens")[1].at);
    made_clear(&m);
    return t;
}

static struct tokenizer *of_file(const char *path)
{
    struct err err = ERR_INIT;
    CLEANUP(free_p) char *data = NULL;
    size_t n;
    if (io_read_file(path, (size_t)1 << 30, &data, &n, &err) < 0)
        fail_msg("%s", err.msg);
    return of_bytes(data, n);
}

static struct tokenizer *real_words(void)
{
    CLEANUP(free_p) char *path = xasprintf("%s/fixture.bin", getenv("STENO_FIXTURE"));
    return of_file(path);
}

static void test_special_ids(void **state)
{
    (void)state;
    static const struct {
        int n_vocab, languages, eot, sot, first_language, translate, transcribe, lm, prev, no_speech, no_stamps, stamps;
    } rows[] = {
        {51864, 0, 50256, 50257, 50258, 50357, 50358, 50359, 50360, 50361, 50362, 50363},
        {51865, 99, 50257, 50258, 50259, 50358, 50359, 50360, 50361, 50362, 50363, 50364},
        {51866, 100, 50257, 50258, 50259, 50359, 50360, 50361, 50362, 50363, 50364, 50365},
    };
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        struct tokenizer *t = made_up(rows[i].n_vocab);
        assert_int_equal(t->n_languages, rows[i].languages);
        assert_int_equal(t->eot, rows[i].eot);
        assert_int_equal(t->sot, rows[i].sot);
        assert_int_equal(t->first_language, rows[i].first_language);
        assert_int_equal(t->translate, rows[i].translate);
        assert_int_equal(t->transcribe, rows[i].transcribe);
        assert_int_equal(t->sot_lm, rows[i].lm);
        assert_int_equal(t->sot_prev, rows[i].prev);
        assert_int_equal(t->no_speech, rows[i].no_speech);
        assert_int_equal(t->no_timestamps, rows[i].no_stamps);
        assert_int_equal(t->first_timestamp, rows[i].stamps);
        assert_int_equal(t->first_timestamp + 1501, t->n_vocab); /* <|0.00|> to <|30.00|> */
        size_t n;
        assert_null(tokenizer_bytes(t, t->eot, &n));
        assert_null(tokenizer_bytes(t, t->n_vocab, &n));
        assert_null(tokenizer_bytes(t, -1, &n));
        assert_non_null(tokenizer_bytes(t, t->eot - 1, &n));
        tokenizer_free(t);
    }
}

static void test_languages(void **state)
{
    (void)state;
    static const struct {
        const char *code;
        int ids[3];
    } rows[] = {{"en", {-1, 50259, 50259}}, {"zh", {-1, 50260, 50260}}, {"de", {-1, 50261, 50261}},
                {"jw", {-1, 50356, 50356}}, {"su", {-1, 50357, 50357}}, {"yue", {-1, -1, 50358}},
                {"xx", {-1, -1, -1}},       {"english", {-1, -1, -1}},  {"", {-1, -1, -1}}};
    for (int v = 0; v < 3; v++) {
        struct tokenizer *t = made_up(51864 + v);
        for (size_t i = 0; i < ARRAY_LEN(rows); i++)
            assert_int_equal(tokenizer_language_id(t, rows[i].code), rows[i].ids[v]);
        tokenizer_free(t);
    }
    assert_string_equal(whisper_language_code(0), "en");
    assert_string_equal(whisper_language_name("en"), "english");
    assert_string_equal(whisper_language_code(99), "yue");
    assert_null(whisper_language_code(100));
    assert_null(whisper_language_code(-1));
    assert_null(whisper_language_name("xx"));
}

static void expect_ids(const struct tokenizer *t, const char *text, const int *wanted, size_t n)
{
    int ids[64];
    struct err err = ERR_INIT;
    int got = tokenizer_encode(t, text, ids, ARRAY_LEN(ids), &err);
    bool same = got == (int)n && memcmp(ids, wanted, n * sizeof *ids) == 0;
    if (!same) {
        CLEANUP(buf_clear) struct buf b = BUF_INIT(4096);
        for (int i = 0; i < got; i++)
            buf_addf(&b, " %d", ids[i]);
        fail_msg("'%s':%s", text, buf_str(&b));
    }
}

/* GPT-2's pattern decides what may merge: bytes' ids are 0 for '!' to 93 for '~', 220 for the blank, 198 for newline.
 */
static void test_splitting(void **state)
{
    (void)state;
    struct tokenizer *t = made_up(51864);
#define IDS(...) (const int[]){__VA_ARGS__}, ARRAY_LEN(((const int[]){__VA_ARGS__}))
    expect_ids(t, " the", IDS(262));
    expect_ids(t, "a the", IDS(64, 262));
    expect_ids(t, "it's", IDS(72, 83, 338));
    expect_ids(t, "don't", IDS(67, 261, 470));
    expect_ids(t, "they're", IDS(83, 258, 88, 821));
    expect_ids(t, "I've", IDS(40, 1053));
    expect_ids(t, "I'll", IDS(40, 1183));
    expect_ids(t, "I'm", IDS(40, 1101));
    expect_ids(t, "I'd", IDS(40, 1549));
    expect_ids(t, "IT'S", IDS(40, 51, 6, 50));  /* contractions are lower case */
    expect_ids(t, "a 's", IDS(64, 220, 6, 82)); /* a quote behind a blank is none */
    expect_ids(t, "a  b", IDS(64, 220, 275));   /* the last blank belongs to the word */
    expect_ids(t, "a  ", IDS(64, 220, 220));
    expect_ids(t, "a\n b", IDS(64, 198, 275));
    expect_ids(t, "he1re", IDS(258, 16, 260)); /* letters and digits do not mix */
    expect_ids(t, " -", IDS(532));
    expect_ids(t, "--", IDS(438));
    expect_ids(t, " (he", IDS(357, 258));
    expect_ids(t, "", (const int[]){0}, 0);
    /* An e with an accent is a letter: the blank before it and what follows are one piece. */
    expect_ids(t, " s\xc3\xa9", IDS(264, 127, 102));
    tokenizer_free(t);
}

static void expect_round_trip(const struct tokenizer *t, const char *text)
{
    static int ids[MAX_TOKENS];
    CLEANUP(buf_clear) struct buf b = BUF_INIT(1 << 20);
    struct err err = ERR_INIT;
    int n = tokenizer_encode(t, text, ids, MAX_TOKENS, &err);
    if (n < 0)
        fail_msg("'%.40s': %s", text, err.msg);
    tokenizer_decode(t, ids, (size_t)n, &b);
    assert_true(buf_ok(&b));
    assert_string_equal(buf_str(&b), text);
}

static void test_round_trips(void **state)
{
    (void)state;
    static const char *const texts[] = {"",
                                        " ",
                                        "a",
                                        " seven three nine zero four.",
                                        "Open the red box, please!",
                                        "  leading and trailing  ",
                                        "tabs\tand\nlines\r\n\n",
                                        "can't won't IT'S y'all 'tis",
                                        "1234 5.67 8,900 2nd",
                                        "na\xc3\xafve caf\xc3\xa9",
                                        "\xd0\x9f\xd1\x80\xd0\xb8\xd0\xb2\xd0\xb5\xd1\x82",
                                        "\xe6\x97\xa5\xe6\x9c\xac\xe8\xaa\x9e",
                                        "\xf0\x9f\x98\x80\xf0\x9f\x91\xa9\xe2\x80\x8d\xf0\x9f\x9a\x80 x",
                                        "x\xc2\xb2 \xc2\xbd \xd9\xa3",
                                        "\xc2\xa0no-break\xe3\x80\x80wide",
                                        "\x01\x7f control",
                                        "<|endoftext|><|0.00|>",
                                        "\"quotes\" (and) [more] {etc}"};
    struct tokenizer *both[] = {made_up(51866), real_words()};
    for (size_t k = 0; k < ARRAY_LEN(both); k++) {
        for (size_t i = 0; i < ARRAY_LEN(texts); i++)
            expect_round_trip(both[k], texts[i]);
        /* Words longer than anybody's: nothing is lost, no character is cut. */
        char word[6001];
        for (size_t i = 0; i < 6000; i += 3)
            memcpy(word + i, "\xe6\x97\xa5", 3);
        word[6000] = '\0';
        expect_round_trip(both[k], word);
        memset(word, 'a', 5000);
        word[5000] = '\0';
        expect_round_trip(both[k], word);
        tokenizer_free(both[k]);
    }
}

/* Special tokens written as text are text: no prompt can command the model. */
static void test_no_special_tokens_from_text(void **state)
{
    (void)state;
    struct tokenizer *t = real_words();
    int ids[64];
    struct err err = ERR_INIT;
    int n = tokenizer_encode(t, "<|startoftranscript|><|nospeech|>", ids, ARRAY_LEN(ids), &err);
    assert_true(n > 10);
    for (int i = 0; i < n; i++)
        assert_true(ids[i] < t->eot);
    tokenizer_free(t);
}

static void test_words_of_the_fixture(void **state)
{
    (void)state;
    struct tokenizer *t = real_words();
    /* GPT-2's own ids. */
    expect_ids(t, " seven three nine zero four.", IDS(3598, 1115, 5193, 6632, 1440, 13));
    expect_ids(t, " red green blue", IDS(2266, 4077, 4171));
    /* The decoder passes over special ids. */
    CLEANUP(buf_clear) struct buf b = BUF_INIT(1000);
    static const int mixed[] = {50257, 50363, 3598, 50256, 1115, 51863, -1, 60000};
    tokenizer_decode(t, mixed, ARRAY_LEN(mixed), &b);
    assert_string_equal(buf_str(&b), " seven three");
    tokenizer_free(t);
}

static void test_refusals(void **state)
{
    (void)state;
    struct tokenizer *t = made_up(51864);
    struct err err = ERR_INIT;
    int ids[4] = {-7, -7, -7, -7};
    assert_int_equal(tokenizer_encode(t, "bcd", ids, 2, &err), ERR_TOO_LARGE);
    assert_non_null(strstr(err.msg, "more than 2 tokens"));
    assert_int_equal(ids[2], -7);
    assert_int_equal(tokenizer_encode(t, "a\xff", ids, 4, &err), ERR_INVALID);
    assert_non_null(strstr(err.msg, "UTF-8"));
    assert_int_equal(tokenizer_encode(t, "\xed\xa0\x80", ids, 4, &err), ERR_INVALID); /* a surrogate */
    char *long_text = malloc(70001);
    assert_non_null(long_text);
    memset(long_text, ' ', 70000);
    long_text[70000] = '\0';
    assert_int_equal(tokenizer_encode(t, long_text, ids, 4, &err), ERR_TOO_LARGE);
    free(long_text);
    tokenizer_free(t);
}

/* What OpenAI's tokenizer suppresses, id by id, and the texts of these ids: those of notes begin with two bytes that
 * many notes share. */
static const struct toy_token non_speech_en[] = {{1, "\""},
                                                 {2, "#"},
                                                 {7, "("},
                                                 {8, ")"},
                                                 {9, "*"},
                                                 {10, "+"},
                                                 {14, "/"},
                                                 {25, ":"},
                                                 {26, ";"},
                                                 {27, "<"},
                                                 {28, "="},
                                                 {29, ">"},
                                                 {31, "@"},
                                                 {58, "["},
                                                 {59, "\\"},
                                                 {60, "]"},
                                                 {61, "^"},
                                                 {62, "_"},
                                                 {63, "`"},
                                                 {90, "{"},
                                                 {91, "|"},
                                                 {92, "}"},
                                                 {93, "~"},
                                                 {357, " ("},
                                                 {366, " \""},
                                                 {438, "--"},
                                                 {532, " -"},
                                                 {685, " ["},
                                                 {705, " '"},
                                                 {796, " ="},
                                                 {930, " |"},
                                                 {1058, " :"},
                                                 {1220, " /"},
                                                 {1267, " )"},
                                                 {1279, " <"},
                                                 {1303, " #"},
                                                 {1343, " +"},
                                                 {1377, " --"},
                                                 {1391, " {"},
                                                 {1635, " *"},
                                                 {1782, " }"},
                                                 {1875, " >"},
                                                 {2162, " ;"},
                                                 {2361, " ]"},
                                                 {2488, " @"},
                                                 {3467, " \\"},
                                                 {4008, "))"},
                                                 {4211, ">>"},
                                                 {4600, " `"},
                                                 {4808, " _"},
                                                 {5299, " ~"},
                                                 {5855, " (\""},
                                                 {6329, "---"},
                                                 {7203, "(\""},
                                                 {9609, " >>"},
                                                 {9959, " <<"},
                                                 {10563, " ^"},
                                                 {10786, "('"},
                                                 {11420, " ---"},
                                                 {11709, "}}"},
                                                 {11907, "]]"},
                                                 {13163, " >>>"},
                                                 {13697, "\xe3\x80\x8c"},
                                                 {13700, "\xe3\x80\x8d"},
                                                 {14808, " (("},
                                                 {15306, " ))"},
                                                 {16410, " [["},
                                                 {16791, "<<"},
                                                 {17992, "\xe2\x99"},
                                                 {19203, " ('"},
                                                 {19510, "(("},
                                                 {20724, " \xe2\x99"},
                                                 {22305, ")))"},
                                                 {22935, " {{"},
                                                 {27007, "{{"},
                                                 {30109, "[["},
                                                 {30420, "-("},
                                                 {33409, ">>>"},
                                                 {34949, " }}"},
                                                 {40283, " \xe3\x80\x8c"},
                                                 {40493, "\xe3\x80\x8e"},
                                                 {40549, "\xe3\x80\x8f"},
                                                 {47282, " )))"},
                                                 {49146, "-["}};
static const struct toy_token non_speech_multilingual[] = {{1, "\""},
                                                           {2, "#"},
                                                           {7, "("},
                                                           {8, ")"},
                                                           {9, "*"},
                                                           {10, "+"},
                                                           {14, "/"},
                                                           {25, ":"},
                                                           {26, ";"},
                                                           {27, "<"},
                                                           {28, "="},
                                                           {29, ">"},
                                                           {31, "@"},
                                                           {58, "["},
                                                           {59, "\\"},
                                                           {60, "]"},
                                                           {61, "^"},
                                                           {62, "_"},
                                                           {63, "`"},
                                                           {90, "{"},
                                                           {91, "|"},
                                                           {92, "}"},
                                                           {93, "~"},
                                                           {359, " -"},
                                                           {503, " \""},
                                                           {522, " ("},
                                                           {542, " ["},
                                                           {873, " \xe2\x99"},
                                                           {893, ">>"},
                                                           {902, " >>"},
                                                           {918, "--"},
                                                           {922, " '"},
                                                           {931, " \xe2\x99\xaa"},
                                                           {1350, " --"},
                                                           {1853, " *"},
                                                           {1982, " :"},
                                                           {2460, " /"},
                                                           {2627, " <"},
                                                           {3246, "\xe3\x80\x8c"},
                                                           {3253, "\xe3\x80\x8d"},
                                                           {3268, "\xe2\x99"},
                                                           {3536, " #"},
                                                           {3846, " \xe2\x99\xab"},
                                                           {3961, "\xe2\x99\xaa"},
                                                           {4183, " ]"},
                                                           {4667, " +"},
                                                           {6585, " ="},
                                                           {6647, " -("},
                                                           {7273, " )"},
                                                           {9061, " \xe2\x99\xaa\xe2\x99\xaa"},
                                                           {9383, "))"},
                                                           {10428, " @"},
                                                           {10929, " {"},
                                                           {11938, " ~"},
                                                           {12033, " \\"},
                                                           {12331, " >"},
                                                           {12562, " ;"},
                                                           {13793, " >>>"},
                                                           {14157, "\xe2\x99\xab"},
                                                           {14635, " -["},
                                                           {15265, " (("},
                                                           {15618, " (\""},
                                                           {16553, "\xe3\x80\x8e"},
                                                           {16604, "\xe3\x80\x8f"},
                                                           {18362, " |"},
                                                           {18956, " ^"},
                                                           {20075, "---"},
                                                           {21675, " \xe3\x80\x8c"},
                                                           {22520, " \xe2\x99\xac"},
                                                           {26130, "\xe2\x99\xaa\xe2\x99\xaa"},
                                                           {26161, " _"},
                                                           {26435, " )))"},
                                                           {28279, " `"},
                                                           {29464, "}}"},
                                                           {31650, " \xe2\x99\xaa\xe2\x99\xaa\xe2\x99\xaa"},
                                                           {32302, " ))"},
                                                           {32470, " ---"},
                                                           {36865, " \xe2\x99\xa9"},
                                                           {42863, "\xe2\x99\xac"},
                                                           {47425, " <<"},
                                                           {49870, " }"},
                                                           {50254, " ('"}};

static bool contains(const struct toy_token *list, size_t n, int id)
{
    for (size_t i = 0; i < n; i++)
        if (list[i].id == id)
            return true;
    return false;
}

static bool has_id(const int *list, size_t n, int id)
{
    for (size_t i = 0; i < n; i++)
        if (list[i] == id)
            return true;
    return false;
}

/* The list is found from the texts of the tokens, and is the published one, no more and no less. */
static void expect_list(int n_vocab, const struct toy_token *want, size_t n_want)
{
    struct tokenizer *t = toy_tokenizer(n_vocab, want, n_want);
    size_t n;
    const int *got = tokenizer_non_speech(t, &n);
    for (size_t i = 0; i < MIN(n, n_want); i++)
        if (got[i] != want[i].id)
            fail_msg("vocabulary of %d: token %zu of the list is %d, not %d", n_vocab, i, got[i], want[i].id);
    assert_int_equal(n, n_want);
    tokenizer_free(t);
}

static void test_non_speech_is_the_published_list(void **state)
{
    (void)state;
    expect_list(51864, non_speech_en, ARRAY_LEN(non_speech_en));
    expect_list(51865, non_speech_multilingual, ARRAY_LEN(non_speech_multilingual));
    expect_list(51866, non_speech_multilingual, ARRAY_LEN(non_speech_multilingual));
}

/* The fixture has the true texts of some ids and placeholders for the others: those it has must be found. */
static void test_non_speech_of_the_fixture(void **state)
{
    (void)state;
    struct tokenizer *t = real_words();
    size_t n, known = 0;
    const int *list = tokenizer_non_speech(t, &n);
    for (size_t i = 0; i < ARRAY_LEN(non_speech_en); i++) {
        size_t len;
        const char *text = tokenizer_bytes(t, non_speech_en[i].id, &len);
        if (len > 2 && memcmp(text, "<u", 2) == 0)
            continue;
        known++;
        if (!has_id(list, n, non_speech_en[i].id))
            fail_msg("%d is missing", non_speech_en[i].id);
    }
    assert_true(known >= 25);
    for (size_t i = 0; i < n; i++) {
        assert_true(i == 0 || list[i] > list[i - 1]);
        /* Notes are several bytes here, without the merges of a whole vocabulary: their first byte, or the blank. */
        if (list[i] != 220 && list[i] != 158 && !contains(non_speech_en, ARRAY_LEN(non_speech_en), list[i]))
            fail_msg("%d is too much", list[i]);
    }
    tokenizer_free(t);
}

/* Some vocabularies in circulation (those of whisper.cpp's test files) lost the bytes above ASCII. */
static bool has_all_bytes(const struct tokenizer *t)
{
    size_t len = 0;
    for (int i = 0; i < 256; i++)
        if (!tokenizer_bytes(t, i, &len) || len != 1)
            return false;
    return true;
}

static bool is_ascii(const struct tokenizer *t, int id)
{
    size_t len = 0;
    const char *p = tokenizer_bytes(t, id, &len);
    for (size_t i = 0; i < len; i++)
        if (p[i] & 0x80)
            return false;
    return true;
}

/* With a whole vocabulary at hand: STENO_VOCABULARY names a ggml file (its weights are not looked at). */
static void test_non_speech_of_a_whole_vocabulary(void **state)
{
    (void)state;
    struct tokenizer *t = of_file(getenv("STENO_VOCABULARY"));
    const struct toy_token *wanted = t->n_languages ? non_speech_multilingual : non_speech_en;
    size_t n, n_wanted = t->n_languages ? ARRAY_LEN(non_speech_multilingual) : ARRAY_LEN(non_speech_en);
    const int *list = tokenizer_non_speech(t, &n);
    bool whole = has_all_bytes(t);
    for (size_t i = 0; i < n_wanted; i++)
        if ((whole || is_ascii(t, wanted[i].id)) && !has_id(list, n, wanted[i].id))
            fail_msg("%d is missing", wanted[i].id);
    for (size_t i = 0; i < n; i++)
        if ((whole || (is_ascii(t, list[i]) && list[i] != 220)) && !contains(wanted, n_wanted, list[i]))
            fail_msg("%d is too much", list[i]);
    expect_round_trip(t, "Whole vocabularies merge: 'tis 1234's [end].");
    tokenizer_free(t);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_special_ids),
        cmocka_unit_test(test_languages),
        cmocka_unit_test(test_splitting),
        cmocka_unit_test(test_round_trips),
        cmocka_unit_test(test_no_special_tokens_from_text),
        cmocka_unit_test(test_words_of_the_fixture),
        cmocka_unit_test(test_refusals),
        cmocka_unit_test(test_non_speech_is_the_published_list),
        cmocka_unit_test(test_non_speech_of_the_fixture),
        cmocka_unit_test(test_non_speech_of_a_whole_vocabulary),
    };
    /* The last one only where there is one: no file of that kind may be kept here. */
    return getenv("STENO_VOCABULARY") ? cmocka_run_group_tests(tests, NULL, NULL)
                                      : _cmocka_run_group_tests("tokenizer", tests, ARRAY_LEN(tests) - 1, NULL, NULL);
}
