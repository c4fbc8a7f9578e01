/* SPDX-License-Identifier: MIT */
/*
 * Word times: the path through the attention against all paths there are, its preparation against a plain computation,
 * which heads are looked at, how tokens become words, and the rules for words that last too long.
 */
#include "toy_vocabulary.h"
#include "whisper/dtw.h"
#include "whisper/heads.h"
#include "whisper/word_rules.h"

#include "base/mem.h"
#include "base/str.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <zlib.h>

#include <cmocka.h>

enum { MAX_ROWS = 6, MAX_FRAMES = 8, SECOND = WHISPER_RATE };

/* The same numbers on every machine and run. */
static uint32_t next(uint64_t *seed)
{
    *seed = *seed * 6364136223846793005u + 1442695040888963407u;
    return (uint32_t)(*seed >> 33);
}

/* ---- the path ---- */

struct grid {
    const float *matrix;
    size_t rows, frames;
    bool by_rule;
};

enum step { BOTH, UP, LEFT };

/*
 * Which way the reference comes: diagonally or from above only when that is cheaper than both others. So when these two
 * are equal it comes along the frames, be that as dear as it may.
 */
static enum step rule(float both, float up, float left)
{
    return both < up && both < left ? BOTH : up < both && up < left ? UP : LEFT;
}

/* The cost of the way to cell (i, j), by trying all there are: the cheapest, or the one that the rule takes. A cell
 * costs minus its value. */
static float cost(const struct grid *g, size_t i, size_t j)
{
    float both = i && j   ? cost(g, i - 1, j - 1)
                 : i || j ? INFINITY
                          : 0,
          up = i ? cost(g, i - 1, j) : INFINITY, left = j ? cost(g, i, j - 1) : INFINITY;
    const float ways[] = {[BOTH] = both, [UP] = up, [LEFT] = left};
    return (g->by_rule ? ways[rule(both, up, left)] : fminf(both, fminf(up, left))) - g->matrix[i * g->frames + j];
}

static void path_back(const struct grid *g, int *ret_start)
{
    size_t i = g->rows - 1, j = g->frames - 1;
    ret_start[i] = (int)j;
    while (i || j) {
        enum step s = rule(i && j ? cost(g, i - 1, j - 1) : INFINITY, i ? cost(g, i - 1, j) : INFINITY,
                           j ? cost(g, i, j - 1) : INFINITY);
        i -= s != LEFT;
        j -= s != UP;
        ret_start[i] = (int)j;
    }
}

static void test_path_is_the_cheapest_of_all(void **state)
{
    (void)state;
    uint64_t seed = 1;
    for (size_t rows = 1; rows <= MAX_ROWS; rows++)
        for (size_t frames = 1; frames <= MAX_FRAMES; frames++)
            for (int kind = 0; kind < 4; kind++) {
                float matrix[MAX_ROWS * MAX_FRAMES];
                /* Few values make many ties; with none at all every cell is one. */
                for (size_t i = 0; i < rows * frames; i++)
                    matrix[i] = kind == 0   ? 0
                                : kind == 1 ? (float)(next(&seed) % 2)
                                : kind == 2 ? (float)(next(&seed) % 5) - 2
                                            : (float)(next(&seed) % 65536) / 4096 - 8;
                struct grid g = {matrix, rows, frames, .by_rule = kind < 3};
                int want[MAX_ROWS], got[MAX_ROWS];
                struct err err = ERR_INIT;
                path_back(&g, want);
                assert_int_equal(dtw_path(matrix, rows, frames, got, &err), 0);
                for (size_t i = 0; i < rows; i++)
                    if (got[i] != want[i])
                        fail_msg("%zu x %zu, kind %d: token %zu begins at %d, not at %d", rows, frames, kind, i, got[i],
                                 want[i]);
            }
}

/* On matrices as large as real ones: the way that was laid is found through the noise, to the frame. */
static void test_a_planted_path_is_found(void **state)
{
    (void)state;
    enum { ROWS = 200, FRAMES = 1500 };
    float *matrix = xcalloc((size_t)ROWS * FRAMES, sizeof *matrix);
    uint64_t seed = 7;
    for (int round = 0; round < 3; round++) {
        int want[ROWS], got[ROWS];
        for (int i = 0; i < ROWS; i++)
            want[i] = i == 0 ? 0 : want[i - 1] + 1 + (int)(next(&seed) % 12);
        for (int i = 0; i < ROWS; i++)
            for (int f = 0; f < FRAMES; f++) {
                bool on = f >= want[i] && f < (i + 1 < ROWS ? want[i + 1] : FRAMES);
                matrix[i * FRAMES + f] = (on ? 2.0f : 0.0f) + (float)(next(&seed) % 1000) / 1000 - 0.5f;
            }
        struct err err = ERR_INIT;
        assert_int_equal(dtw_path(matrix, ROWS, FRAMES, got, &err), 0);
        for (int i = 0; i < ROWS; i++)
            assert_in_range(abs(got[i] - want[i]), 0, 1);
        for (int i = 1; i < ROWS; i++)
            assert_true(got[i] >= got[i - 1]);
    }
    /* More tokens than frames, and values that are no numbers: still in order and inside. */
    for (int i = 0; i < ROWS * 20; i++)
        matrix[i] = i % 7 ? 0.5f : NAN;
    int got[ROWS];
    struct err err = ERR_INIT;
    assert_int_equal(dtw_path(matrix, ROWS, 20, got, &err), 0);
    for (int i = 0; i < ROWS; i++)
        assert_true(got[i] >= (i ? got[i - 1] : 0) && got[i] < 20);
    free(matrix);
}

/* ---- its preparation ---- */

static int by_size(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

static size_t mirrored(long at, size_t n)
{
    long last = (long)n - 1;
    return (size_t)(at < 0 ? -at : at > last ? 2 * last - at : at);
}

/* Soft-max over frames, standard score over tokens, median of seven, mean over heads: step by step in doubles. */
static void prepare(const float *scores, size_t heads, size_t tokens, size_t stride, size_t frames, double *ret)
{
    double *w = xcalloc(tokens * frames, sizeof *w);
    memset(ret, 0, tokens * frames * sizeof *ret);
    for (size_t h = 0; h < heads; h++) {
        for (size_t t = 0; t < tokens; t++) {
            const float *line = scores + (h * tokens + t) * stride;
            double sum = 0;
            for (size_t f = 0; f < frames; f++)
                sum += exp((double)line[f]);
            for (size_t f = 0; f < frames; f++)
                w[t * frames + f] = exp((double)line[f]) / sum;
        }
        for (size_t f = 0; f < frames; f++) {
            double mean = 0, square = 0;
            for (size_t t = 0; t < tokens; t++)
                mean += w[t * frames + f];
            mean /= (double)tokens;
            for (size_t t = 0; t < tokens; t++)
                square += pow(w[t * frames + f] - mean, 2) / (double)tokens;
            for (size_t t = 0; t < tokens; t++)
                w[t * frames + f] = square > 1e-20 ? (w[t * frames + f] - mean) / sqrt(square) : 0;
        }
        for (size_t t = 0; t < tokens; t++)
            for (size_t f = 0; f < frames; f++) {
                double near[7];
                for (long k = 0; k < 7; k++)
                    near[k] = frames > 3 ? w[t * frames + mirrored((long)f + k - 3, frames)] : w[t * frames + f];
                qsort(near, 7, sizeof *near, by_size);
                ret[t * frames + f] += near[3] / (double)heads;
            }
    }
    free(w);
}

static void test_the_matrix(void **state)
{
    (void)state;
    static const size_t widths[] = {1, 2, 3, 4, 5, 7, 8, 50, 301, 1500};
    enum { HEADS = 3, TOKENS = 11, STRIDE = 1500 };
    float *scores = xcalloc((size_t)HEADS * TOKENS * STRIDE, sizeof *scores),
          *got = xcalloc(TOKENS * STRIDE, sizeof *got);
    double *want = xcalloc(TOKENS * STRIDE, sizeof *want);
    uint64_t seed = 3;
    for (size_t i = 0; i < ARRAY_LEN(widths); i++) {
        struct err err = ERR_INIT;
        for (size_t k = 0; k < (size_t)HEADS * TOKENS * STRIDE; k++)
            scores[k] = (float)(next(&seed) % 10000) / 1000 - 5;
        /* The second head looks nowhere in particular: it has no say. */
        for (size_t k = 0; k < TOKENS * STRIDE; k++)
            scores[TOKENS * STRIDE + k] = 0;
        prepare(scores, HEADS, TOKENS, STRIDE, widths[i], want);
        assert_int_equal(dtw_matrix(scores, HEADS, TOKENS, STRIDE, widths[i], got, &err), 0);
        for (size_t k = 0; k < TOKENS * widths[i]; k++)
            if (!(fabs((double)got[k] - want[k]) < 2e-4))
                fail_msg("%zu frames: value %zu is %f, not %f", widths[i], k, (double)got[k], want[k]);
    }
    free(scores);
    free(got);
    free(want);
}

/* ---- heads ---- */

/* What OpenAI published: a flag for each head of each layer, gzipped, in base 85. */
static const struct {
    const char *name, *text;
    int n_vocab, state, layers;
} published[] = {
    {"tiny.en", "ABzY8J1N>@0{>%R00Bk>$p{7v037`oCl~+#00", 51864, 384, 4},
    {"tiny", "ABzY8bu8Lr0{>%RKn9Fp%m@SkK7Kt=7ytkO", 51865, 384, 4},
    {"base.en", "ABzY8;40c<0{>%RzzG;p*o+Vo09|#PsxSZm00", 51864, 512, 6},
    {"base", "ABzY8KQ!870{>%RzyTQH3`Q^yNP!>##QT-<FaQ7m", 51865, 512, 6},
    {"small.en", "ABzY8>?_)10{>%RpeA61k&I|OI3I$65C{;;pbCHh0B{qLQ;+}v00", 51864, 768, 12},
    {"small", "ABzY8DmU6=0{>%Rpa?J`kvJ6qF(V^F86#Xh7JUGMK}P<N0000", 51865, 768, 12},
    {"medium.en", "ABzY8usPae0{>%R7<zz_OvQ{)4kMa0BMw6u5rT}kRKX;$NfYBv00*Hl@qhsU00", 51864, 1024, 24},
    {"medium", "ABzY8B0Jh+0{>%R7}kK1fFL7w6%<-Pf*t^=N)Qr&0RR9", 51865, 1024, 24},
    {"large-v1", "ABzY8r9j$a0{>%R7#4sLmoOs{s)o3~84-RPdcFk!JR<kSfC2yj", 51865, 1280, 32},
    {"large-v2", "ABzY8zd+h!0{>%R7=D0pU<_bnWW*tkYAhobTNnu$jnkEkXqp)j;w1Tzk)UH3X%SZd&fFZ2fC2yj", 51865, 1280, 32},
    {"large", "ABzY8zd+h!0{>%R7=D0pU<_bnWW*tkYAhobTNnu$jnkEkXqp)j;w1Tzk)UH3X%SZd&fFZ2fC2yj", 51865, 1280, 32},
    {"large-v3", "ABzY8gWO1E0{>%R7(9S+Kn!D~%ngiGaR?*L!iJG9p-nab0JQ=-{D1-g00", 51866, 1280, 32},
    {"large-v3-turbo", "ABzY8j^C+e0{>%RARaKHP%t(lGR*)0g!tONPyhe`", 51866, 1280, 4},
    {"turbo", "ABzY8j^C+e0{>%RARaKHP%t(lGR*)0g!tONPyhe`", 51866, 1280, 4},
};

/* Base 85 as Python's b85decode, and gzip. Returns how many bytes. */
static size_t unpack(const char *text, unsigned char *ret, size_t size)
{
    static const char digits[] =
        "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz!#$%&()*+-;<=>?@^_`{|}~";
    unsigned char packed[256];
    size_t n = strlen(text), len = 0;
    for (size_t i = 0; i < n; i += 5) {
        uint32_t v = 0;
        for (size_t k = 0; k < 5; k++)
            v = v * 85 + (i + k < n ? (uint32_t)(strchr(digits, text[i + k]) - digits) : 84);
        for (int k = 0; k < 4; k++)
            packed[len++] = (unsigned char)(v >> (24 - 8 * k));
    }
    z_stream z = {.next_in = packed, .avail_in = (unsigned)len, .next_out = ret, .avail_out = (unsigned)size};
    assert_int_equal(inflateInit2(&z, 31), Z_OK);
    assert_int_equal(inflate(&z, Z_FINISH), Z_STREAM_END);
    n = z.total_out;
    inflateEnd(&z);
    return n;
}

static void test_heads_are_the_published_ones(void **state)
{
    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(published); i++) {
        unsigned char flags[1024];
        struct head got[HEADS_MAX];
        int heads = published[i].state / 64;
        assert_int_equal(unpack(published[i].text, flags, sizeof flags), published[i].layers * heads);
        struct whisper_dims d = {.n_vocab = published[i].n_vocab,
                                 .text_state = published[i].state,
                                 .text_heads = heads,
                                 .text_layers = published[i].layers};
        size_t n = heads_choose(&d, published[i].name, NULL, 0, got), found = 0;
        for (int k = 0; k < published[i].layers * heads; k++) {
            if (!flags[k])
                continue;
            assert_true(found < n);
            if (got[found].layer != k / heads || got[found].head != k % heads)
                fail_msg("%s: head %zu is %d of layer %d", published[i].name, found, got[found].head, got[found].layer);
            found++;
        }
        assert_int_equal(found, n);
    }
}

static void test_heads_of_other_models(void **state)
{
    (void)state;
    struct head got[HEADS_MAX];
    static const struct head named[] = {{0, 1}, {1, 3}};
    /* The file's word counts first, also for a model that is known. */
    struct whisper_dims d = {.n_vocab = 51865, .text_state = 384, .text_heads = 6, .text_layers = 4};
    assert_int_equal(heads_choose(&d, "tiny", named, 2, got), 2);
    assert_memory_equal(got, named, sizeof named);
    /* Distil: two layers that nobody described. */
    d = (struct whisper_dims){.n_vocab = 51866, .text_state = 1280, .text_heads = 20, .text_layers = 2};
    assert_int_equal(heads_choose(&d, "distil-large-v3", NULL, 0, got), 20);
    assert_true(got[0].layer == 1 && got[0].head == 0 && got[19].layer == 1 && got[19].head == 19);
    d.text_layers = 1;
    assert_int_equal(heads_choose(&d, "one", NULL, 0, got), 20);
    /* Never more than there is room for. */
    d.text_layers = 30;
    assert_int_equal(heads_choose(&d, "x", NULL, 0, got), HEADS_MAX);
    static const struct head many[HEADS_MAX + 9];
    assert_int_equal(heads_choose(&d, "x", many, ARRAY_LEN(many), got), HEADS_MAX);
}

/* ---- words ---- */

enum {
    THE = 262,
    RE = 260,
    IS = 318,
    S = 338,
    OPEN = 357,
    QUOTE = 366,
    DOTS = 986,
    SHI = 300,
    BLANK = 220,
    ARROW = 400
};
static const struct toy_token few[] = {{THE, " the"},       {RE, "re"},     {IS, " is"},   {S, "'s"},
                                       {OPEN, " ("},        {QUOTE, " \""}, {DOTS, "..."}, {SHI, "\xe4\xb8\x96"},
                                       {ARROW, " \xe2\x86"}};

struct ids {
    int ids[32];
    size_t n;
};

static void split(const struct tokenizer *t, const char *language, const struct ids *segments, size_t n,
                  struct word_list *ret)
{
    struct err err = ERR_INIT;
    ret->n = ret->n_pieces = 0;
    for (size_t i = 0; i < n; i++)
        if (word_list_add(ret, t, language, i, segments[i].ids, segments[i].n, &err) < 0)
            fail_msg("%s", err.msg);
    /* Pieces hold all tokens, one after another. */
    size_t at = 0;
    for (size_t i = 0; i < ret->n_pieces; i++) {
        assert_int_equal(ret->pieces[i].first, at);
        assert_true(utf8_valid(ret->pieces[i].text, strlen(ret->pieces[i].text)));
        at += ret->pieces[i].n;
    }
    assert_int_equal(at, ret->n);
}

static void expect_words(const struct word_list *l, const char *want)
{
    CLEANUP(buf_clear) struct buf b = BUF_INIT(4096);
    for (size_t i = 0; i < l->n_pieces; i++)
        buf_addf(&b, "%s%s", i ? "|" : "", l->pieces[i].text);
    assert_string_equal(buf_str(&b), want);
}

static void test_words_of_tokens(void **state)
{
    (void)state;
    const int dot = toy_byte('.'), a = toy_byte('a'), close = toy_byte(')'), line = toy_byte('\n'), c3 = toy_byte(0xC3),
              a9 = toy_byte(0xA9), f0 = toy_byte(0xF0), x9f = toy_byte(0x9F), x98 = toy_byte(0x98),
              x80 = toy_byte(0x80), e4 = toy_byte(0xE4), b8 = toy_byte(0xB8), x96 = toy_byte(0x96);
    const struct {
        const char *language, *want;
        struct ids ids;
    } rows[] = {
        {"en", "", {{0}, 0}},
        {"en", " there| is", {{THE, RE, IS}, 3}},
        {"en", "re| the", {{RE, THE}, 2}},
        {"en", " the's| is", {{THE, S, IS}, 3}}, /* a contraction is no punctuation */
        {"en", " the|.| (| \"re|)", {{THE, dot, OPEN, QUOTE, RE, close}, 6}},
        {"en", " the...| is", {{THE, DOTS, IS}, 3}}, /* no part of the list of marks, as in the reference */
        {"en", " the|\nre", {{THE, line, RE}, 3}},   /* nothing is in every list */
        {"en",
         " th\xc3\xa9"
         "a",
         {{BLANK, toy_byte('t'), toy_byte('h'), c3, a9, a}, 6}},
        {"en", " the\xf0\x9f\x98\x80", {{THE, f0, x9f, x98, x80}, 5}},
        {"en", " the\xe4\xb8\x96\xe4\xb8\x96", {{THE, SHI, e4, b8, x96}, 5}},
        {"zh", " the|\xe4\xb8\x96|\xe4\xb8\x96|re", {{THE, SHI, e4, b8, x96, RE}, 6}},
        {"th", "\xc3\xa9|a", {{c3, a9, a}, 3}},
        {"ja", "a|.", {{a, dot}, 2}},
        {"yue", "a|a", {{a, a}, 2}},
        {"lo", "a|a", {{a, a}, 2}},
        {"my", "a|a", {{a, a}, 2}},
        {"de", "aa", {{a, a}, 2}},
        {"en", " \xe2\x86\x98|.", {{ARROW, x98, dot}, 3}}, /* begun with a blank in the middle of a token */
        /* What never becomes a character. */
        {"en", "\xef\xbf\xbd", {{e4}, 1}},
        {"en", "\xef\xbf\xbd\xef\xbf\xbd", {{e4, b8}, 2}},
        {"zh", "\xef\xbf\xbd|a", {{x80, a}, 2}},
        {"zh", "a|\xef\xbf\xbd|a|\xe4\xb8\x96", {{a, e4, a, SHI}, 4}},
    };
    struct word_list *l = xcalloc(1, sizeof *l);
    struct tokenizer *t = toy_tokenizer(51866, few, ARRAY_LEN(few));
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        split(t, rows[i].language, &rows[i].ids, 1, l);
        expect_words(l, rows[i].want);
        word_list_clear(l);
    }
    tokenizer_free(t);
    free(l);
}

static void test_segments_share_no_word(void **state)
{
    (void)state;
    struct word_list *l = xcalloc(1, sizeof *l);
    struct tokenizer *t = toy_tokenizer(51866, few, ARRAY_LEN(few));
    const struct ids two[] = {{{THE, QUOTE, toy_byte(0xC3)}, 3}, {{RE, toy_byte('.'), IS}, 3}, {{toy_byte('.')}, 1}};
    split(t, "en", two, 3, l);
    expect_words(l, " the| \"\xef\xbf\xbd|re|.| is|.");
    word_list_join(l);
    expect_words(l, " the| \"\xef\xbf\xbd|re.|| is|.");
    assert_int_equal(l->pieces[1].segment, 0);
    assert_int_equal(l->pieces[2].segment, 1);
    assert_int_equal(l->pieces[5].segment, 2);
    word_list_clear(l);
    /* More text than there is room for: what came first is kept. */
    int many[WORDS_MAX_TOKENS];
    struct err err = ERR_INIT;
    for (size_t i = 0; i < WORDS_MAX_TOKENS; i++)
        many[i] = THE;
    for (size_t i = 0; i < 3; i++)
        assert_int_equal(word_list_add(l, t, "en", i, many, 300, &err), 0);
    assert_int_equal(l->n, WORDS_MAX_TOKENS);
    assert_int_equal(l->n_pieces, WORDS_MAX_TOKENS);
    word_list_clear(l);
    tokenizer_free(t);
    free(l);
}

/* Words as text parted by '|'; each has a token. */
static void put_words(struct word_list *l, const char *text)
{
    l->n_pieces = 0;
    for (size_t n; *text; text += n + (text[n] == '|')) {
        n = strcspn(text, "|");
        l->pieces[l->n_pieces] =
            (struct word_piece){.first = l->n_pieces, .n = 1, .text = xasprintf("%.*s", (int)n, text)};
        l->n_pieces++;
    }
    l->n = l->n_pieces;
}

static void test_punctuation_joins(void **state)
{
    (void)state;
    static const char *const rows[][2] = {
        {" a", " a"},
        {" a|.", " a.|"},
        {" a|.|\"", " a.\"||"},
        {" \"| a", "| \" a"},
        {" (| \"|a|\"|)| b", "|| ( \"a\")||| b"},
        {" \xe2\x80\x9c|a|\xe2\x80\x9d", "| \xe2\x80\x9c"
                                         "a\xe2\x80\x9d|"},
        {" \xc2\xbf|que|?", "| \xc2\xbfque?|"},
        {"\xe4\xb8\x96|\xe3\x80\x82", "\xe4\xb8\x96\xe3\x80\x82|"},
        {" a|.| (", " a.|| ("}, /* nothing behind it */
        {" |a", "| a"},         /* a lone blank goes to what follows */
        {"(|a", "(|a"},         /* opens only behind a blank */
        {" a |.", " a |."},     /* not over a blank */
        {" -| -|a", "|| - -a"},
        {" a| .| b", " a| .| b"},
        {".", "."},
    };
    struct word_list *l = xcalloc(1, sizeof *l);
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        put_words(l, rows[i][0]);
        size_t n = l->n_pieces, tokens = 0;
        word_list_join(l);
        expect_words(l, rows[i][1]);
        for (size_t k = 0; k < n; k++)
            tokens += l->pieces[k].n;
        assert_int_equal(tokens, n); /* none lost */
        word_list_clear(l);
    }
    word_list_join(l); /* of nothing */
    free(l);
}

static void put_times(struct word_list *l, const double *seconds)
{
    for (size_t i = 0; i < l->n_pieces; i++) {
        l->pieces[i].start = seconds[i] * SECOND;
        l->pieces[i].end = seconds[i + 1] * SECOND;
    }
}

static void test_long_words_are_cut_at_sentences(void **state)
{
    (void)state;
    struct word_list *l = xcalloc(1, sizeof *l);
    assert_true(word_list_median(l) == 0);
    /* Lasting 0.4, 0, 0.2, 3, 2 and 0.3 s: the median of those that last is 0.4. */
    put_words(l, " a| b| c|.| d| e");
    put_times(l, (const double[]){0, 0.4, 0.4, 0.6, 3.6, 5.6, 5.9});
    assert_true(fabs(word_list_median(l) - 0.4 * SECOND) < 1e-6);
    word_list_cut(l, word_list_median(l));
    assert_true(fabs(l->pieces[3].end - 1.4 * SECOND) < 1e-6);   /* the mark ends early */
    assert_true(fabs(l->pieces[4].start - 4.8 * SECOND) < 1e-6); /* the word behind it begins late */
    assert_true(fabs(l->pieces[5].start - 5.6 * SECOND) < 1e-6);
    word_list_clear(l);
    /* An even number: the middle between two; long ones count as 0.7 s. */
    put_words(l, " a| b");
    put_times(l, (const double[]){0, 0.2, 0.6});
    assert_true(fabs(word_list_median(l) - 0.3 * SECOND) < 1e-6);
    put_times(l, (const double[]){0, 2, 5});
    assert_true(fabs(word_list_median(l) - 0.7 * SECOND) < 1e-6);
    word_list_cut(l, word_list_median(l)); /* no sentence ends here */
    assert_true(fabs(l->pieces[1].end - 5 * SECOND) < 1e-6);
    /* None lasts: nothing to go by. */
    put_times(l, (const double[]){1, 1, 1});
    assert_true(word_list_median(l) == 0);
    word_list_clear(l);
    put_words(l, " a|?");
    put_times(l, (const double[]){0, 0, 3});
    word_list_cut(l, 0);
    assert_true(fabs(l->pieces[1].end - 3 * SECOND) < 1e-6);
    word_list_clear(l);
    free(l);
}

/* Times in hundredths of a second. */
enum { HUNDREDTH = SECOND / 100 };

static void test_words_at_the_edges_of_a_segment(void **state)
{
    (void)state;
    static const struct {
        const char *what;
        int segment[2], words[3][2], n, last_speech, median;
        int want_segment[2], want[3][2];
    } rows[] = {
        {"words are surer", {100, 300}, {{110, 150}, {150, 310}}, 2, 90, 40, {110, 310}, {{110, 150}, {150, 310}}},
        {"a first word that is too long after a pause",
         {500, 900},
         {{400, 620}, {620, 650}, {650, 900}},
         3,
         100,
         40,
         {540, 900},
         {{540, 620}, {620, 650}, {650, 900}}},
        {"no pause: it may be long",
         {500, 900},
         {{470, 620}, {620, 650}, {650, 900}},
         3,
         470,
         40,
         {470, 900},
         {{470, 620}, {620, 650}, {650, 900}}},
        {"the second is too long",
         {500, 900},
         {{400, 420}, {420, 620}, {620, 900}},
         3,
         100,
         40,
         {460, 900},
         {{460, 540}, {540, 620}, {620, 900}}},
        {"half of the end, when that is later",
         {0, 300},
         {{0, 10}, {10, 100}, {100, 300}},
         3,
         -300,
         20,
         {20, 300},
         {{20, 60}, {60, 100}, {100, 300}}},
        {"the segment begins half a second after its first word",
         {200, 400},
         {{140, 230}, {230, 400}},
         2,
         140,
         60,
         {200, 400},
         {{170, 230}, {230, 400}}},
        {"and ends before its last",
         {100, 300},
         {{100, 150}, {150, 360}},
         2,
         90,
         60,
         {100, 300},
         {{100, 150}, {150, 300}}},
        {"but never less than the median",
         {100, 200},
         {{100, 180}, {180, 260}},
         2,
         90,
         60,
         {100, 200},
         {{100, 180}, {180, 240}}},
        {"a single word", {100, 200}, {{120, 180}}, 1, 100, 60, {120, 180}, {{120, 180}}},
    };
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        struct whisper_segment s = {.start = rows[i].segment[0] * HUNDREDTH, .end = rows[i].segment[1] * HUNDREDTH};
        struct whisper_word words[3] = {{.start = 0}};
        for (int k = 0; k < rows[i].n; k++)
            words[k] =
                (struct whisper_word){.start = rows[i].words[k][0] * HUNDREDTH, .end = rows[i].words[k][1] * HUNDREDTH};
        words_settle(&s, words, (size_t)rows[i].n, rows[i].last_speech * HUNDREDTH, rows[i].median * HUNDREDTH);
        bool same = s.start == rows[i].want_segment[0] * HUNDREDTH && s.end == rows[i].want_segment[1] * HUNDREDTH;
        for (int k = 0; k < rows[i].n; k++)
            same = same && words[k].start == rows[i].want[k][0] * HUNDREDTH &&
                   words[k].end == rows[i].want[k][1] * HUNDREDTH;
        if (!same)
            fail_msg("%s: segment %d-%d, words %d-%d %d-%d", rows[i].what, (int)s.start / HUNDREDTH,
                     (int)s.end / HUNDREDTH, (int)words[0].start / HUNDREDTH, (int)words[0].end / HUNDREDTH,
                     (int)words[1].start / HUNDREDTH, (int)words[1].end / HUNDREDTH);
    }
}

static void test_words_never_go_back(void **state)
{
    (void)state;
    struct whisper_segment s = {.start = 50, .end = 60};
    struct whisper_word words[] = {{.start = 40, .end = 90}, {.start = 80, .end = 85}, {.start = 100, .end = 900}};
    words_keep_order(&s, words, ARRAY_LEN(words), 70, 500);
    assert_int_equal(s.start, 70);
    assert_int_equal(s.end, 500);
    assert_true(words[0].start == 70 && words[0].end == 90);
    assert_true(words[1].start == 90 && words[1].end == 90);
    assert_true(words[2].start == 100 && words[2].end == 500);
    /* Also a segment without words, and a floor behind the end. */
    s = (struct whisper_segment){.start = 10, .end = 20};
    words_keep_order(&s, NULL, 0, 15, 500);
    assert_true(s.start == 15 && s.end == 20);
    words_keep_order(&s, NULL, 0, 600, 500);
    assert_true(s.start == 500 && s.end == 500);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_path_is_the_cheapest_of_all),
        cmocka_unit_test(test_a_planted_path_is_found),
        cmocka_unit_test(test_the_matrix),
        cmocka_unit_test(test_heads_are_the_published_ones),
        cmocka_unit_test(test_heads_of_other_models),
        cmocka_unit_test(test_words_of_tokens),
        cmocka_unit_test(test_segments_share_no_word),
        cmocka_unit_test(test_punctuation_joins),
        cmocka_unit_test(test_long_words_are_cut_at_sentences),
        cmocka_unit_test(test_words_at_the_edges_of_a_segment),
        cmocka_unit_test(test_words_never_go_back),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
