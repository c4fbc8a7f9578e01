/* SPDX-License-Identifier: MIT */
/* Model files: what a right one gives, and that a wrong one gets one clear sentence. */
#include "model_maker.h"
#include "whisper/model_file_internal.h"
#include "whisper/net.h"

#include "base/io.h"
#include "base/str.h"

#include <fcntl.h>
#include <limits.h>
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>
#include <zlib.h>

#include <cmocka.h>

/* A folder of our own, and the smallest model there is. */
struct world {
    char folder[PATH_MAX], fixture[PATH_MAX];
    struct made nano;
};

static int set_up(void **state)
{
    struct world *w = xcalloc(1, sizeof *w);
    snprintf(w->folder, sizeof w->folder, "%s/steno-files-XXXXXX", getenv("TMPDIR") ? getenv("TMPDIR") : "/tmp");
    snprintf(w->fixture, sizeof w->fixture, "%s", getenv("STENO_FIXTURE"));
    struct maker_shape s = *maker_find_shape("nano");
    s.type = TENSOR_Q4_0;
    maker_make(&s, &w->nano);
    *state = w;
    return mkdtemp(w->folder) ? 0 : -1;
}

static int tear_down(void **state)
{
    struct world *w = *state;
    struct err err = ERR_INIT;
    int rc = io_remove_tree(w->folder, &err);
    made_clear(&w->nano);
    free(w);
    return rc;
}

static void write_file(const char *path, const void *data, size_t n)
{
    struct err err = ERR_INIT;
    unlink(path); /* never through a link to the fixture */
    CLEANUP(close_fd) int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
    assert_true(fd >= 0);
    assert_int_equal(io_write_all(fd, data, n, &err), 0);
}

static char *in_folder(const struct world *w, const char *name)
{
    return xasprintf("%s/%s", w->folder, name);
}

static struct model_file *open_good(const char *path)
{
    struct model_file *f = NULL;
    struct err err = ERR_INIT;
    if (model_file_open(path, &f, &err) < 0)
        fail_msg("%s", err.msg);
    return f;
}

/* One sentence of this class that has the words and names the file. */
static void expect_refused(const char *path, int code, const char *words)
{
    struct model_file *f = NULL;
    struct err err = ERR_INIT;
    int rc = model_file_open(path, &f, &err);
    if (rc != code || !strstr(err.msg, words) || !strstr(err.msg, path) || strchr(err.msg, '\n'))
        fail_msg("wanted %s with '%s', got %s: %s", err_name(code), words, err_name(rc), err.msg);
    assert_null(f);
}

/* ---- values ---- */

static void rows_of(enum tensor_type type, const void *data, int64_t rows, int64_t columns, float *ret)
{
    struct tensor_view v = {.type = type, .n_dims = 2, .dims = {rows, columns}, .data = data};
    tensor_rows_f32(&v, 0, rows, ret);
}

static void test_halves(void **state)
{
    (void)state;
    static const struct {
        uint16_t bits;
        double value;
    } rows[] = {{0x3C00, 1},
                {0xC000, -2},
                {0x3555, 0.333251953125},
                {0x7BFF, 65504},
                {0x0400, 0x1p-14},
                {0x03FF, 1023 * 0x1p-24},
                {0x0001, 0x1p-24},
                {0x8001, -0x1p-24},
                {0x0000, 0},
                {0x7C00, (double)INFINITY},
                {0xFC00, -(double)INFINITY}};
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        float got;
        rows_of(TENSOR_F16, &rows[i].bits, 1, 1, &got);
        assert_true((double)got == rows[i].value);
    }
    float got;
    rows_of(TENSOR_F16, &(uint16_t){0x7E00}, 1, 1, &got);
    assert_true(isnan(got));
    rows_of(TENSOR_F16, &(uint16_t){0x8000}, 1, 1, &got);
    assert_true(signbit(got) && got == 0);
}

static void test_brain_floats_and_floats(void **state)
{
    (void)state;
    static const uint16_t brain[] = {0x3FC0, 0xC040, 0x0001, 0x7F80};
    static const float wanted[] = {1.5f, -3, 0x1p-133f, (double)INFINITY};
    float got[4];
    rows_of(TENSOR_BF16, brain, 2, 2, got);
    assert_memory_equal(got, wanted, sizeof wanted);
    /* Unaligned, as ggml files have them. */
    unsigned char odd[1 + sizeof wanted];
    memcpy(odd + 1, wanted, sizeof wanted);
    rows_of(TENSOR_F32, odd + 1, 2, 2, got);
    assert_memory_equal(got, wanted, sizeof wanted);
}

/* Low nibbles 0..15 upwards, high ones downwards; every third fifth-bit set; scale 2, minimum -3. */
static void test_blocks_of_nibbles(void **state)
{
    (void)state;
    static const struct {
        enum tensor_type type;
        int zero;
        bool minimum, fifth;
    } rows[] = {{TENSOR_Q4_0, 8, false, false},
                {TENSOR_Q4_1, 0, true, false},
                {TENSOR_Q5_0, 16, false, true},
                {TENSOR_Q5_1, 0, true, true}};
    const uint32_t fifths = 0x49249249;
    for (size_t r = 0; r < ARRAY_LEN(rows); r++) {
        unsigned char block[2][24] = {{0}}, *p = block[0];
        *p++ = 0x00, *p++ = 0x40;
        if (rows[r].minimum)
            *p++ = 0x00, *p++ = 0xC2;
        if (rows[r].fifth)
            for (int i = 0; i < 4; i++)
                *p++ = (unsigned char)(fifths >> 8 * i);
        for (int i = 0; i < 16; i++)
            *p++ = (unsigned char)(i | (15 - i) << 4);
        size_t size = (size_t)(p - block[0]);
        unsigned char two[48];
        memcpy(two, block[0], size);
        memcpy(two + size, block[0], size);
        float got[64];
        rows_of(rows[r].type, two, 2, 32, got);
        for (int i = 0; i < 64; i++) {
            int q = i % 32 < 16 ? i % 32 : 31 - i % 32;
            if (rows[r].fifth && fifths >> i % 32 & 1)
                q += 16;
            assert_true(got[i] == (float)(q - rows[r].zero) * 2 + (rows[r].minimum ? -3 : 0));
        }
    }
}

static void test_blocks_of_bytes(void **state)
{
    (void)state;
    unsigned char block[34] = {0x00, 0x34}; /* 0.25 */
    for (int i = 0; i < 32; i++)
        block[2 + i] = (unsigned char)(i * 8 - 128);
    float got[32];
    rows_of(TENSOR_Q8_0, block, 1, 32, got);
    for (int i = 0; i < 32; i++)
        assert_true(got[i] == (float)(i * 8 - 128) * 0.25f);
}

static void test_sizes(void **state)
{
    (void)state;
    assert_int_equal(tensor_bytes(TENSOR_Q5_1, 2, (const int64_t[3]){3, 64}), 3 * 2 * 24);
    assert_int_equal(tensor_bytes(TENSOR_F16, 3, (const int64_t[3]){2, 3, 5}), 60);
    assert_int_equal(tensor_bytes(TENSOR_Q4_0, 2, (const int64_t[3]){64, 33}), -1); /* no whole blocks */
    assert_int_equal(tensor_bytes(TENSOR_F32, 1, (const int64_t[3]){0}), -1);
    assert_int_equal(tensor_bytes(TENSOR_F32, 1, (const int64_t[3]){-1}), -1);
    assert_int_equal(tensor_bytes(TENSOR_F32, 3, (const int64_t[3]){INT32_MAX, INT32_MAX, INT32_MAX}), -1);
    assert_int_equal(tensor_bytes(TENSOR_F32, 1, (const int64_t[3]){(int64_t)1 << 40}), -1);
}

/* ---- whole models ---- */

static void test_every_type_is_read(void **state)
{
    struct world *w = *state;
    struct maker_shape s = *maker_find_shape("nano");
    CLEANUP(free_p) char *path = in_folder(w, "types.bin");
    float exact[64 * 64], got[64 * 64];
    for (enum tensor_type t = TENSOR_F32; t < TENSOR_TYPE_COUNT; t++) {
        if (t == TENSOR_BF16)
            continue; /* ggml's Whisper files have none */
        struct made m;
        s.type = t;
        maker_make(&s, &m);
        write_file(path, m.data, m.size);
        struct model_file *f = open_good(path);
        char type[32];
        static const char *const words[] = {
#define X(name, word, bytes, values) word,
            TENSOR_TYPES(X)
#undef X
        };
        snprintf(type, sizeof type, "ggml %s", words[t]);
        assert_string_equal(model_file_type(f), type);
        tensor_rows_f32(model_file_tensor(f, "encoder.blocks.0.attn.key.weight"), 0, 64, t == TENSOR_F32 ? exact : got);
        double error = 0, norm = 0;
        for (int i = 0; t != TENSOR_F32 && i < 64 * 64; i++) {
            error += pow((double)got[i] - (double)exact[i], 2);
            norm += pow((double)exact[i], 2);
        }
        /* Relative r.m.s. error of the types on noise: halves 1e-4, bytes 0.6 %, nibbles 9 %. */
        assert_true(t == TENSOR_F32 || sqrt(error / norm) < (t == TENSOR_F16 ? 3e-4 : t == TENSOR_Q8_0 ? 0.01 : 0.12));
        assert_true(t == TENSOR_F32 || error > 0);
        model_file_close(f);
        made_clear(&m);
    }
}

/* The quantised files that whisper.cpp's own tool made of the fixture have these sums. */
static void test_requantised_as_whisper_cpp_does(void **state)
{
    struct world *w = *state;
    static const struct {
        enum tensor_type type;
        unsigned crc;
    } rows[] = {{TENSOR_Q5_0, 0x9696E930u}, {TENSOR_Q8_0, 0xD5967991u}};
    CLEANUP(free_p) char *path = xasprintf("%s/fixture.bin", w->fixture), *data = NULL;
    size_t n;
    struct err err = ERR_INIT;
    assert_int_equal(io_read_file(path, 64 << 20, &data, &n, &err), 0);
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        struct made m;
        assert_true(maker_requantize((const unsigned char *)data, n, rows[i].type, &m));
        assert_int_equal(crc32_z(0, m.data, m.size), rows[i].crc);
        made_clear(&m);
    }
}

static void test_shapes(void **state)
{
    struct world *w = *state;
    static const struct maker_shape shapes[] = {{51864, 80, 64, 1, 1, TENSOR_Q4_0, 0.02, 1},
                                                {51865, 80, 64, 2, 1, TENSOR_Q4_0, 0.02, 1},
                                                {51866, 128, 128, 1, 3, TENSOR_Q4_0, 0.02, 1}};
    CLEANUP(free_p) char *path = in_folder(w, "shape.bin");
    for (size_t i = 0; i < ARRAY_LEN(shapes); i++) {
        struct made m;
        maker_make(&shapes[i], &m);
        write_file(path, m.data, m.size);
        struct model_file *f = open_good(path);
        const struct whisper_dims *d = model_file_dims(f);
        assert_int_equal(d->n_vocab, shapes[i].n_vocab);
        assert_int_equal(d->n_mels, shapes[i].n_mels);
        assert_int_equal(d->text_layers, shapes[i].text_layers);
        assert_int_equal(d->audio_heads, shapes[i].state / 64);
        int64_t s = shapes[i].state, layer = 4 * s * s + 3 * s + 8 * s * s + 5 * s + 4 * s;
        assert_int_equal(model_file_parameters(f), s * d->n_mels * 3 + s + 3 * s * s + s +
                                                       (1500 + 448 + d->n_vocab) * s + 4 * s + d->audio_layers * layer +
                                                       d->text_layers * (layer + 4 * s * s + 3 * s + 2 * s));
        assert_int_equal(model_file_bytes(f), m.size);
        model_file_close(f);
        made_clear(&m);
    }
}

static void test_filters(void **state)
{
    struct world *w = *state;
    CLEANUP(free_p) char *ggml = xasprintf("%s/fixture.bin", w->fixture), *hf = xasprintf("%s/hf", w->fixture);
    struct model_file *a = open_good(ggml), *b = open_good(hf);
    const float *stored = model_file_mel_filters(a), *computed = model_file_mel_filters(b);
    double sum = 0;
    for (int i = 0; i < 80 * 201; i++) {
        assert_true(fabsf(stored[i] - computed[i]) < 1e-6f);
        sum += (double)computed[i];
    }
    assert_true(sum > 1); /* an area of 1 a band, in Hz, with bins 40 Hz apart */
    model_file_close(a);
    model_file_close(b);
}

static void test_both_formats_give_the_same(void **state)
{
    struct world *w = *state;
    CLEANUP(free_p) char *ggml = xasprintf("%s/fixture.bin", w->fixture), *hf = xasprintf("%s/hf", w->fixture);
    struct model_file *a = open_good(ggml), *b = open_good(hf);
    assert_string_equal(model_file_type(a), "ggml f16");
    assert_string_equal(model_file_type(b), "safetensors f16");
    assert_memory_equal(model_file_dims(a), model_file_dims(b), sizeof(struct whisper_dims));
    const char *name;
    const struct tensor_view *t;
    size_t n = 0;
    for (; (t = model_file_tensor_at(a, n, &name)); n++) {
        const struct tensor_view *o = model_file_tensor(b, name);
        assert_non_null(o);
        assert_int_equal(t->type, o->type);
        assert_memory_equal(t->data, o->data, (size_t)tensor_bytes(t->type, t->n_dims, t->dims));
    }
    assert_int_equal(n, 143);
    for (int i = 0; i < 51864; i++) {
        size_t len_a = 0, len_b = 0;
        const char *p = model_file_token(a, i, &len_a), *q = model_file_token(b, i, &len_b);
        assert_true(!p == !q && len_a == len_b);
        if (p)
            assert_memory_equal(p, q, len_a);
    }
    model_file_close(a);
    model_file_close(b);
}

/* A weight that is no number is found when the weights are packed, whatever kind of tensor it is in. */
static void test_weights_that_are_no_numbers(void **state)
{
    struct world *w = *state;
    static const char *const tensors[] = {"encoder.conv1.weight", "encoder.blocks.0.mlp.0.weight",
                                          "encoder.blocks.0.attn.out.bias", "decoder.ln.weight",
                                          "decoder.token_embedding.weight"};
    static const unsigned char bad[2][4] = {{0xFF, 0xFF, 0xFF, 0x7F}, {0x00, 0x7C, 0x80, 0x7F}}; /* also as halves */
    CLEANUP(free_p) char *path = in_folder(w, "nan.bin");
    for (size_t i = 0; i < 2 * ARRAY_LEN(tensors); i++) {
        unsigned char *at = w->nano.data + made_mark(&w->nano, tensors[i / 2])->data, old[4];
        memcpy(old, at, 4);
        memcpy(at, bad[i % 2], 4);
        write_file(path, w->nano.data, w->nano.size);
        memcpy(at, old, 4);
        struct model_file *f = open_good(path);
        struct net *n = NULL;
        struct err err = ERR_INIT;
        int rc = net_open(f, WHISPER_F32, NULL, &n, &err);
        if (rc != ERR_CORRUPT || !strstr(err.msg, tensors[i / 2]) || !strstr(err.msg, "no number"))
            fail_msg("%s: %s: %s", tensors[i / 2], err_name(rc), err.msg);
        model_file_close(f);
    }
}

/* ---- ggml: damage ---- */

static void test_ggml_damage(void **state)
{
    struct world *w = *state;
    static const struct {
        const char *mark;
        size_t offset;
        int32_t value;
        int code;
        const char *words;
    } rows[] = {
        {"header", 0, 0x46554747, ERR_CORRUPT, "does not begin with 'lmgg'"},
        {"header", 4, 51863, ERR_UNSUPPORTED, "51863 tokens"},
        {"header", 4, -1, ERR_UNSUPPORTED, "-1 tokens"},
        {"header", 4, 51865, ERR_CORRUPT, "another shape"},
        {"header", 8, 1499, ERR_UNSUPPORTED, "1499"},
        {"header", 12, 0, ERR_CORRUPT, "not a Whisper"},
        {"header", 12, 63, ERR_CORRUPT, "not a Whisper"},
        {"header", 12, INT32_MIN, ERR_CORRUPT, "not a Whisper"},
        {"header", 12, 1 << 20, ERR_CORRUPT, "not a Whisper"},
        {"header", 16, 2, ERR_CORRUPT, "heads"},
        {"header", 20, 0, ERR_CORRUPT, "layers"},
        {"header", 20, 2, ERR_CORRUPT, "missing"},
        {"header", 20, INT32_MAX, ERR_CORRUPT, "layers"},
        {"header", 24, 224, ERR_UNSUPPORTED, "224"},
        {"header", 28, 128, ERR_CORRUPT, "not a Whisper"},
        {"header", 36, 65, ERR_CORRUPT, "layers"},
        {"header", 40, 128, ERR_CORRUPT, "mel filters are 80"},
        {"header", 40, 81, ERR_UNSUPPORTED, "81 mel bands"},
        {"filters", 0, 79, ERR_CORRUPT, "mel filters"},
        {"filters", 4, 200, ERR_CORRUPT, "mel filters"},
        {"filters", 4, -201, ERR_CORRUPT, "mel filters"},
        {"tokens", 0, -1, ERR_CORRUPT, "-1 tokens"},
        {"tokens", 0, 0, ERR_CORRUPT, "0 tokens"},
        {"tokens", 0, 51865, ERR_CORRUPT, "51865 tokens"},
        {"tokens", 0, INT32_MAX, ERR_CORRUPT, "tokens"},
        {"tokens", 4, -1, ERR_CORRUPT, "inside the vocabulary"},
        {"tokens", 4, INT32_MAX, ERR_CORRUPT, "inside the vocabulary"},
        {"tokens", 4, 1025, ERR_CORRUPT, "token 0 has 1025 bytes"},
        {"filters", 8, 0x7F800000, ERR_CORRUPT, "mel filters hold a value that is no number"},
        {"filters", 808, 0x7FC00000, ERR_CORRUPT, "mel filters hold a value that is no number"},
        {"encoder.conv1.bias", 0, 0, ERR_CORRUPT, "tensor's header"},
        {"encoder.conv1.bias", 0, 4, ERR_CORRUPT, "tensor's header"},
        {"encoder.conv1.bias", 0, -1, ERR_CORRUPT, "tensor's header"},
        {"encoder.conv1.bias", 4, 0, ERR_CORRUPT, "tensor's header"},
        {"encoder.conv1.bias", 4, -5, ERR_CORRUPT, "tensor's header"},
        {"encoder.conv1.bias", 4, INT32_MAX, ERR_CORRUPT, "tensor's header"},
        {"encoder.conv1.bias", 8, 4, ERR_UNSUPPORTED, "ggml type 4"},
        {"encoder.conv1.bias", 8, 99, ERR_UNSUPPORTED, "ggml type 99"},
        {"encoder.conv1.bias", 8, -1, ERR_UNSUPPORTED, "ggml type -1"},
        {"encoder.conv1.bias", 12, 65, ERR_CORRUPT, "another shape"},
        {"encoder.conv1.bias", 12, -64, ERR_CORRUPT, "another shape"},
        {"encoder.conv1.bias", 12, 0, ERR_CORRUPT, "another shape"},
        {"encoder.conv1.bias", 16, 0x78787878, ERR_CORRUPT, "none of Whisper's"},
        {"encoder.conv1.weight", 12, 64, ERR_CORRUPT, "another shape"},
    };
    CLEANUP(free_p) char *path = in_folder(w, "damaged.bin");
    write_file(path, w->nano.data, w->nano.size);
    model_file_close(open_good(path));
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        unsigned char *at = w->nano.data + made_mark(&w->nano, rows[i].mark)->at + rows[i].offset, old[4];
        memcpy(old, at, 4);
        memcpy(at, &rows[i].value, 4);
        write_file(path, w->nano.data, w->nano.size);
        expect_refused(path, rows[i].code, rows[i].words);
        memcpy(at, old, 4);
    }
}

/* Cut at the beginning, in the middle and at the end of every part. */
static void test_ggml_cut_short(void **state)
{
    struct world *w = *state;
    CLEANUP(free_p) char *path = in_folder(w, "cut.bin");
    write_file(path, w->nano.data, w->nano.size);
    for (size_t i = w->nano.n_marks - 1; i-- > 0;) {
        const struct maker_mark *m = &w->nano.marks[i];
        size_t end = w->nano.marks[i + 1].at;
        const size_t cuts[] = {end - 1, (m->data + end) / 2, m->data + 1, m->at + 13, m->at + 5, m->at};
        for (size_t k = 0; k < ARRAY_LEN(cuts); k++) {
            assert_int_equal(truncate(path, (off_t)cuts[k]), 0);
            expect_refused(path, ERR_CORRUPT,
                           cuts[k] == 0                          ? "no file with something in it"
                           : cuts[k] < 4                         ? "does not begin"
                           : strcmp(m->what, "filters") == 0     ? "mel filters"
                           : cuts[k] == m->at && m->data > m->at ? "missing"
                                                                 : "");
        }
    }
}

static void test_ggml_stranger_twice_missing(void **state)
{
    struct world *w = *state;
    CLEANUP(free_p) char *path = in_folder(w, "list.bin");
    const struct made *m = &w->nano;
    const struct maker_mark *last = &m->marks[m->n_marks - 2], *one = made_mark(m, "decoder.ln.bias");
    size_t n = (size_t)(one[1].at - one->at);
    assert_non_null(last);
    /* The same tensor once more at the end. */
    unsigned char *longer = malloc(m->size + n);
    assert_non_null(longer);
    memcpy(longer, m->data, m->size);
    memcpy(longer + m->size, m->data + one->at, n);
    write_file(path, longer, m->size + n);
    expect_refused(path, ERR_CORRUPT, "'decoder.ln.bias' twice");
    /* Left out in the middle. */
    memcpy(longer + one->at, m->data + one[1].at, m->size - one[1].at);
    write_file(path, longer, m->size - n);
    expect_refused(path, ERR_CORRUPT, "'decoder.ln.bias' is missing");
    /* Something behind the end that is no tensor. */
    memcpy(longer, m->data, m->size);
    memset(longer + m->size, 0, n);
    write_file(path, longer, m->size + 3);
    expect_refused(path, ERR_CORRUPT, "tensor's header");
    free(longer);
}

static void test_ggml_vocabulary_with_holes(void **state)
{
    struct world *w = *state;
    CLEANUP(free_p) char *path = in_folder(w, "holes.bin");
    struct made *m = &w->nano;
    /* One token instead of 50256: the rest of the vocabulary is cut out. */
    size_t tokens = made_mark(m, "tokens")->at;
    const struct maker_mark *after = made_mark(m, "tokens") + 1;
    unsigned char *copy = malloc(m->size);
    assert_non_null(copy);
    memcpy(copy, m->data, tokens + 9);
    memcpy(copy + tokens, &(int32_t){1}, 4);
    memcpy(copy + tokens + 9, m->data + after->at, m->size - after->at);
    write_file(path, copy, tokens + 9 + m->size - after->at);
    free(copy);
    expect_refused(path, ERR_CORRUPT, "no token 1");
}

static void test_not_a_model(void **state)
{
    struct world *w = *state;
    CLEANUP(free_p) char *none = in_folder(w, "none.bin"), *fifo = in_folder(w, "fifo"), *dir = in_folder(w, "dir");
    expect_refused(none, ERR_NOT_FOUND, "cannot open");
    assert_int_equal(mkfifo(fifo, 0600), 0);
    expect_refused(fifo, ERR_CORRUPT, "no file");
    assert_int_equal(mkdir(dir, 0700), 0);
    expect_refused(dir, ERR_NOT_FOUND, "config.json");
}

/* The key of the packed cache follows contents and times. */
static void test_key(void **state)
{
    struct world *w = *state;
    CLEANUP(free_p) char *path = in_folder(w, "key.bin");
    char keys[3][80];
    for (int i = 0; i < 3; i++) {
        w->nano.data[44] = (unsigned char)(i == 2);
        write_file(path, w->nano.data, w->nano.size);
        const struct timespec times[2] = {{.tv_sec = 1000}, {.tv_sec = i == 0 ? 1000 : 2000, .tv_nsec = 5}};
        assert_int_equal(utimensat(AT_FDCWD, path, times, 0), 0);
        struct model_file *f = open_good(path);
        snprintf(keys[i], sizeof keys[i], "%s", model_file_key(f));
        assert_string_equal(model_file_path(f), path);
        model_file_close(f);
    }
    assert_string_not_equal(keys[0], keys[1]);
    assert_string_not_equal(keys[1], keys[2]);
}

/* ---- Hugging Face folders ---- */

static const char *const hf_files[] = {"config.json", "generation_config.json", "model.safetensors", "vocab.json"};

/* A folder whose files are links to the fixture's; tests put their own in place of some. */
static char *make_folder(const struct world *w, const char *name)
{
    char *folder = in_folder(w, name);
    assert_int_equal(mkdir(folder, 0700), 0);
    for (size_t i = 0; i < ARRAY_LEN(hf_files); i++) {
        CLEANUP(free_p) char *from = xasprintf("%s/hf/%s", w->fixture, hf_files[i]);
        CLEANUP(free_p) char *to = xasprintf("%s/%s", folder, hf_files[i]);
        assert_int_equal(symlink(from, to), 0);
    }
    return folder;
}

static void put_text(const char *folder, const char *name, const char *text)
{
    CLEANUP(free_p) char *path = xasprintf("%s/%s", folder, name);
    write_file(path, text, strlen(text));
}

static void leave_out(const char *folder, const char *name)
{
    CLEANUP(free_p) char *path = xasprintf("%s/%s", folder, name);
    assert_int_equal(unlink(path), 0);
}

static json_t *load(const char *folder, const char *name)
{
    CLEANUP(free_p) char *path = xasprintf("%s/%s", folder, name);
    json_t *json = json_load_file(path, 0, NULL);
    assert_non_null(json);
    return json;
}

static void put_json(const char *folder, const char *name, const json_t *json)
{
    CLEANUP(free_p) char *text = json_dumps(json, 0);
    assert_non_null(text);
    put_text(folder, name, text);
}

static void test_hf_config(void **state)
{
    struct world *w = *state;
    static const struct {
        const char *key, *value;
        int code;
        const char *words;
    } rows[] = {
        {"model_type", "\"bert\"", ERR_UNSUPPORTED, "'bert' model"},
        {"model_type", "1", ERR_UNSUPPORTED, "'?' model"},
        {"activation_function", "\"relu\"", ERR_UNSUPPORTED, "activation 'relu'"},
        {"scale_embedding", "true", ERR_UNSUPPORTED, "scaled embedding"},
        {"vocab_size", "50000", ERR_UNSUPPORTED, "50000 tokens"},
        {"vocab_size", "\"51864\"", ERR_UNSUPPORTED, "-1 tokens"},
        {"vocab_size", "4294967296", ERR_UNSUPPORTED, "-1 tokens"},
        {"num_mel_bins", "64", ERR_UNSUPPORTED, "64 mel bands"},
        {"max_source_positions", "3000", ERR_UNSUPPORTED, "3000"},
        {"d_model", "1e9", ERR_CORRUPT, "not a Whisper"},
        {"d_model", "192", ERR_CORRUPT, "not a Whisper"},
        {"encoder_layers", "1000", ERR_CORRUPT, "1000 encoder"},
        {"encoder_layers", "5", ERR_CORRUPT, "missing"},
        {"decoder_layers", "2", ERR_CORRUPT, "none of Whisper's"},
    };
    CLEANUP(free_p) char *folder = make_folder(w, "hf-config");
    model_file_close(open_good(folder));
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        CLEANUP(free_p) char *good = xasprintf("%s/hf", w->fixture);
        json_t *config = load(good, "config.json");
        json_object_set_new(config, rows[i].key, json_loads(rows[i].value, JSON_DECODE_ANY, NULL));
        put_json(folder, "config.json", config);
        json_decref(config);
        expect_refused(folder, rows[i].code, rows[i].words);
    }
    put_text(folder, "config.json", "{\"model_type\": \"whisper\", ");
    expect_refused(folder, ERR_CORRUPT, "config.json is not JSON");
    put_text(folder, "config.json", "[]");
    expect_refused(folder, ERR_UNSUPPORTED, "config.json");
}

/* Sizes that no real file has are refused before anything is made of them. */
static void test_hf_files_too_large(void **state)
{
    struct world *w = *state;
    static const char *const files[] = {"config.json", "generation_config.json", "vocab.json",
                                        "model.safetensors.index.json"};
    for (size_t i = 0; i < ARRAY_LEN(files); i++) {
        CLEANUP(free_p) char *name = xasprintf("hf-large-%zu", i);
        CLEANUP(free_p) char *folder = make_folder(w, name);
        CLEANUP(free_p) char *path = xasprintf("%s/%s", folder, files[i]);
        write_file(path, "{}", 2);
        assert_int_equal(truncate(path, (off_t)1 << 40), 0); /* a hole: takes no room */
        expect_refused(folder, ERR_TOO_LARGE, files[i]);
        /* And what is no file at all is not waited for. */
        assert_int_equal(unlink(path), 0);
        assert_int_equal(mkfifo(path, 0600), 0);
        expect_refused(folder, ERR_CORRUPT, "is no file");
    }
}

static void test_hf_missing_files(void **state)
{
    struct world *w = *state;
    static const struct {
        const char *file;
        int code;
        const char *words;
    } rows[] = {{"config.json", ERR_NOT_FOUND, "no config.json"},
                {"model.safetensors", ERR_NOT_FOUND, "model.safetensors"},
                {"vocab.json", ERR_NOT_FOUND, "neither vocab.json nor tokenizer.json"}};
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        CLEANUP(free_p) char *name = xasprintf("hf-without-%zu", i);
        CLEANUP(free_p) char *folder = make_folder(w, name);
        leave_out(folder, rows[i].file);
        expect_refused(folder, rows[i].code, rows[i].words);
    }
    /* tokenizer.json does as well; alignment heads may be missing. */
    CLEANUP(free_p) char *folder = make_folder(w, "hf-tokenizer");
    CLEANUP(free_p) char *from = xasprintf("%s/hf/tokenizer.json", w->fixture);
    CLEANUP(free_p) char *to = xasprintf("%s/tokenizer.json", folder);
    leave_out(folder, "vocab.json");
    leave_out(folder, "generation_config.json");
    assert_int_equal(symlink(from, to), 0);
    struct model_file *f = open_good(folder);
    size_t n = 0;
    const char *text = model_file_token(f, 262, &n);
    assert_true(n == 4 && memcmp(text, " the", 4) == 0);
    model_file_alignment_heads(f, &n);
    assert_int_equal(n, 0);
    model_file_close(f);
}

static void test_hf_vocabulary(void **state)
{
    struct world *w = *state;
    static const struct {
        const char *text;
        json_int_t id;
        const char *words;
    } rows[] = {{"again", 262, "no number of its own"},
                {"high", 51864, "no number of its own"},
                {"low", -1, "no number of its own"},
                {"two words", 50258, "GPT-2's alphabet"},
                {"\xe2\x82\xac", 50258, "GPT-2's alphabet"}};
    CLEANUP(free_p) char *folder = make_folder(w, "hf-vocab");
    json_t *good = load(folder, "vocab.json");
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        json_object_set_new(good, rows[i].text, json_integer(rows[i].id));
        put_json(folder, "vocab.json", good);
        json_object_del(good, rows[i].text);
        expect_refused(folder, ERR_CORRUPT, rows[i].words);
    }
    json_object_del(good, "!");
    put_json(folder, "vocab.json", good);
    expect_refused(folder, ERR_CORRUPT, "no token 0");
    json_decref(good);
    put_text(folder, "vocab.json", "[1, 2]");
    expect_refused(folder, ERR_CORRUPT, "no table of tokens");
}

static void test_hf_heads(void **state)
{
    struct world *w = *state;
    static const char *const bad[] = {"[[3, 0]]", "[[0, 2]]", "[[-1, 0]]", "[[0]]", "[[0, \"1\"]]", "[7]"};
    CLEANUP(free_p) char *folder = make_folder(w, "hf-heads");
    put_text(folder, "generation_config.json", "{\"alignment_heads\": [[0, 1], [2, 0]]}");
    struct model_file *f = open_good(folder);
    size_t n;
    const struct head *h = model_file_alignment_heads(f, &n);
    assert_true(n == 2 && h[0].layer == 0 && h[0].head == 1 && h[1].layer == 2 && h[1].head == 0);
    model_file_close(f);
    for (size_t i = 0; i < ARRAY_LEN(bad); i++) {
        CLEANUP(free_p) char *text = xasprintf("{\"alignment_heads\": %s}", bad[i]);
        put_text(folder, "generation_config.json", text);
        expect_refused(folder, ERR_CORRUPT, "alignment head 0");
    }
}

/* Ids of special tokens that a file names must be those of the vocabulary. */
static void test_hf_special_tokens(void **state)
{
    struct world *w = *state;
    static const struct {
        const char *file, *text, *words; /* words NULL: fine */
    } rows[] = {
        {"generation_config.json", "{\"no_timestamps_token_id\": 50362, \"prev_sot_token_id\": 50360}", NULL},
        {"generation_config.json", "{\"no_timestamps_token_id\": 50363}",
         "'<|notimestamps|>' another number than 50362"},
        {"generation_config.json", "{\"no_timestamps_token_id\": \"50362\"}", "another number"},
        {"generation_config.json", "{\"task_to_id\": {\"transcribe\": 50358, \"translate\": 50357, \"dance\": 7}}",
         NULL},
        {"generation_config.json", "{\"task_to_id\": {\"transcribe\": 50359}}",
         "'<|transcribe|>' another number than 50358"},
        {"generation_config.json", "{\"lang_to_id\": {\"<|xx|>\": 5}}", NULL},
        {"generation_config.json", "{\"lang_to_id\": [1], \"task_to_id\": 7}", NULL},
        {"tokenizer.json", "[{\"id\": 50256, \"content\": \"<|endoftext|>\"}, {}, 7]", NULL},
        {"tokenizer.json", "[{\"id\": 50257, \"content\": \"<|endoftext|>\"}]",
         "'<|endoftext|>' another number than 50256"},
        {"tokenizer.json", "[{\"content\": \"<|nocaptions|>\"}]", "'<|nocaptions|>'"},
    };
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        CLEANUP(free_p) char *name = xasprintf("hf-special-%zu", i);
        CLEANUP(free_p) char *folder = make_folder(w, name);
        if (strcmp(rows[i].file, "tokenizer.json") == 0) {
            json_t *vocab = load(folder, "vocab.json");
            json_t *file =
                json_pack("{s:{s:o}, s:o}", "model", "vocab", vocab, "added_tokens", json_loads(rows[i].text, 0, NULL));
            leave_out(folder, "vocab.json");
            put_json(folder, rows[i].file, file);
            json_decref(file);
        } else {
            put_text(folder, rows[i].file, rows[i].text);
        }
        if (rows[i].words)
            expect_refused(folder, ERR_UNSUPPORTED, rows[i].words);
        else
            model_file_close(open_good(folder));
    }
    CLEANUP(free_p) char *folder = make_folder(w, "hf-special");
    json_t *vocab = load(folder, "vocab.json");
    json_object_set_new(vocab, "<|startoftranscript|>", json_integer(50258));
    put_json(folder, "vocab.json", vocab);
    json_decref(vocab);
    expect_refused(folder, ERR_UNSUPPORTED, "'<|startoftranscript|>' another number than 50257");
}

/* As above for the vocabularies with languages, without the files around them. */
static void test_hf_languages(void **state)
{
    (void)state;
    static const struct {
        int n_vocab;
        const char *text;
        bool fine;
    } rows[] = {
        {51865, "{\"lang_to_id\": {\"<|en|>\": 50259, \"<|su|>\": 50357}, \"no_timestamps_token_id\": 50363}", true},
        {51866,
         "{\"lang_to_id\": {\"<|en|>\": 50259, \"<|yue|>\": 50358, \"<|haw|>\": 50352},"
         " \"task_to_id\": {\"translate\": 50359, \"transcribe\": 50360}, \"no_timestamps_token_id\": 50364}",
         true},
        {51866, "{\"no_timestamps_token_id\": 50363}", false}, /* that of an older model */
        {51866, "{\"lang_to_id\": {\"<|yue|>\": 50359}}", false},
        {51865, "{\"lang_to_id\": {\"<|de|>\": 50262}}", false},
    };
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        struct model_file f = {.dims = {.n_vocab = rows[i].n_vocab, .text_layers = 1, .text_heads = 1}};
        struct err err = ERR_INIT;
        json_t *json = json_loads(rows[i].text, 0, NULL);
        assert_non_null(json);
        assert_int_equal(hf_read_generation(&f, json, &err), rows[i].fine ? 0 : ERR_UNSUPPORTED);
        json_decref(json);
    }
}

/* The fixture's weights taken apart: the header as JSON, and the data behind it. */
struct weights {
    json_t *header;
    unsigned char *file;
    size_t size, data;
};

static struct weights take_apart(const struct world *w)
{
    struct weights s;
    char *text;
    struct err err = ERR_INIT;
    CLEANUP(free_p) char *path = xasprintf("%s/hf/model.safetensors", w->fixture);
    assert_int_equal(io_read_file(path, 64 << 20, &text, &s.size, &err), 0);
    s.file = (unsigned char *)text;
    uint64_t n;
    memcpy(&n, s.file, 8);
    s.data = 8 + (size_t)n;
    s.header = json_loadb(text + 8, (size_t)n, 0, NULL);
    assert_non_null(s.header);
    return s;
}

static void put_together(const struct weights *s, const json_t *header, const char *folder, const char *name)
{
    CLEANUP(free_p) char *text = json_dumps(header, 0), *path = xasprintf("%s/%s", folder, name);
    uint64_t n = strlen(text);
    struct err err = ERR_INIT;
    write_file(path, &n, 8);
    CLEANUP(close_fd) int fd = open(path, O_WRONLY | O_APPEND | O_CLOEXEC);
    assert_true(fd >= 0);
    assert_int_equal(io_write_all(fd, text, (size_t)n, &err), 0);
    assert_int_equal(io_write_all(fd, s->file + s->data, s->size - s->data, &err), 0);
}

static void weights_clear(struct weights *s)
{
    json_decref(s->header);
    free(s->file);
}

static void test_hf_entries(void **state)
{
    struct world *w = *state;
    static const struct {
        const char *tensor, *key, *value; /* key NULL: the whole entry; value NULL: left out */
        int code;
        const char *words;
    } rows[] = {
        {"model.encoder.conv1.bias", "dtype", "\"I8\"", ERR_UNSUPPORTED, "type I8"},
        {"model.encoder.conv1.bias", "dtype", "7", ERR_CORRUPT, "entry"},
        {"model.encoder.conv1.bias", "dtype", "\"F16\"", ERR_CORRUPT, "does not lie"},
        {"model.encoder.conv1.bias", "shape", "[]", ERR_CORRUPT, "entry"},
        {"model.encoder.conv1.bias", "shape", "[1,1,1,128]", ERR_CORRUPT, "entry"},
        {"model.encoder.conv1.bias", "shape", "[2,64]", ERR_CORRUPT, "another shape"},
        {"model.encoder.conv1.bias", "shape", "[\"128\"]", ERR_CORRUPT, "does not lie"},
        {"model.encoder.conv1.bias", "shape", "[9223372036854775807]", ERR_CORRUPT, "does not lie"},
        {"model.encoder.conv1.bias", "data_offsets", "[0]", ERR_CORRUPT, "entry"},
        {"model.encoder.conv1.bias", "data_offsets", "[-512, 0]", ERR_CORRUPT, "does not lie"},
        {"model.encoder.conv1.bias", "data_offsets", "[512, 0]", ERR_CORRUPT, "does not lie"},
        {"model.encoder.conv1.bias", "data_offsets", "[0, 511]", ERR_CORRUPT, "does not lie"},
        {"model.encoder.conv1.bias", "data_offsets", "[99999999, 100000511]", ERR_CORRUPT, "does not lie"},
        {"model.encoder.conv1.bias", "data_offsets", "[9223372036854775295, 9223372036854775807]", ERR_CORRUPT,
         "does not lie"},
        {"model.encoder.conv1.bias", NULL, "\"x\"", ERR_CORRUPT, "entry"},
        {"model.encoder.conv1.bias", NULL, NULL, ERR_CORRUPT, "'encoder.conv1.bias' is missing"},
        {"model.encoder.conv3.bias", NULL, "{\"dtype\":\"F32\",\"shape\":[1],\"data_offsets\":[0,4]}", ERR_CORRUPT,
         "none of Whisper's"},
        {"encoder.conv1.bias", NULL, "{\"dtype\":\"F32\",\"shape\":[128],\"data_offsets\":[0,512]}", ERR_CORRUPT,
         "twice"},
    };
    CLEANUP(free_p) char *folder = make_folder(w, "hf-entries");
    struct weights s = take_apart(w);
    put_together(&s, s.header, folder, "model.safetensors");
    model_file_close(open_good(folder));
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        json_t *header = json_deep_copy(s.header), *entry = json_object_get(header, rows[i].tensor);
        if (!rows[i].value)
            json_object_del(header, rows[i].tensor);
        else
            json_object_set_new(rows[i].key ? entry : header, rows[i].key ? rows[i].key : rows[i].tensor,
                                json_loads(rows[i].value, JSON_DECODE_ANY, NULL));
        put_together(&s, header, folder, "model.safetensors");
        json_decref(header);
        expect_refused(folder, rows[i].code, rows[i].words);
    }
    /* The tied output matrix that some folders have is passed over. */
    json_object_set_new(s.header, "proj_out.weight", json_object());
    put_together(&s, s.header, folder, "model.safetensors");
    model_file_close(open_good(folder));
    weights_clear(&s);
}

static void test_hf_headers(void **state)
{
    struct world *w = *state;
    CLEANUP(free_p) char *folder = make_folder(w, "hf-header"), *path = xasprintf("%s/model.safetensors", folder);
    struct weights s = take_apart(w);
    static const uint64_t lengths[] = {UINT64_MAX, (uint64_t)1 << 40, UINT64_MAX - 7};
    for (size_t i = 0; i < ARRAY_LEN(lengths); i++) {
        memcpy(s.file, &lengths[i], 8);
        write_file(path, s.file, s.size);
        expect_refused(folder, ERR_CORRUPT, "inside its header");
    }
    write_file(path, s.file, 7);
    expect_refused(folder, ERR_CORRUPT, "inside its header");
    uint64_t n = s.data - 8;
    memcpy(s.file, &n, 8);
    write_file(path, s.file, s.data - 1);
    expect_refused(folder, ERR_CORRUPT, "inside its header");
    write_file(path, s.file, s.size - 1);
    expect_refused(folder, ERR_CORRUPT, "cut short");
    /* Deeper than a parser may go, larger than any header is, the same name twice. */
    static const size_t depths[] = {3000, 1 << 20};
    for (size_t i = 0; i < ARRAY_LEN(depths); i++) {
        unsigned char *deep = malloc(8 + depths[i]);
        assert_non_null(deep);
        uint64_t length = depths[i];
        memcpy(deep, &length, 8);
        memset(deep + 8, '[', depths[i]);
        write_file(path, deep, 8 + depths[i]);
        free(deep);
        expect_refused(folder, ERR_CORRUPT, "header is not JSON");
    }
    const uint64_t large = (4 << 20) + 1;
    CLEANUP(free_p) char *blanks = malloc(8 + large);
    assert_non_null(blanks);
    memset(blanks, ' ', 8 + large);
    memcpy(blanks, &large, 8);
    write_file(path, blanks, 8 + large);
    expect_refused(folder, ERR_CORRUPT, "inside its header");
    static const char twice[] = "\x0e\0\0\0\0\0\0\0{\"a\":1, \"a\":1}";
    write_file(path, twice, sizeof twice - 1);
    expect_refused(folder, ERR_CORRUPT, "header is not JSON");
    n -= 20; /* more than the blanks that fill it up */
    memcpy(s.file, &n, 8);
    write_file(path, s.file, s.size);
    expect_refused(folder, ERR_CORRUPT, "header is not JSON");
    write_file(path, "\2\0\0\0\0\0\0\0[]", 10);
    expect_refused(folder, ERR_CORRUPT, "header is not JSON");
    write_file(path, "\2\0\0\0\0\0\0\0{}", 10);
    expect_refused(folder, ERR_CORRUPT, "missing");
    weights_clear(&s);
}

/* Two shards: each has every second tensor in its header, and all of the data. */
static void test_hf_shards(void **state)
{
    struct world *w = *state;
    CLEANUP(free_p) char *folder = make_folder(w, "hf-shards");
    struct weights s = take_apart(w);
    json_t *half[2] = {json_object(), json_object()}, *map = json_object(), *entry;
    const char *tensor;
    size_t i = 0;
    json_object_foreach (s.header, tensor, entry) {
        bool second = i++ % 2;
        json_object_set(half[second], tensor, entry);
        json_object_set_new(map, tensor, json_string(second ? "b.safetensors" : "a.safetensors"));
    }
    put_together(&s, half[0], folder, "a.safetensors");
    put_together(&s, half[1], folder, "b.safetensors");
    leave_out(folder, "model.safetensors");
    json_t *index = json_pack("{s:o}", "weight_map", map);
    put_json(folder, "model.safetensors.index.json", index);
    struct model_file *f = open_good(folder);
    assert_true(model_file_bytes(f) > (int64_t)(s.size - s.data) * 2);
    model_file_close(f);

    static const char *const tricks[] = {"\"../a.safetensors\"", "\"/etc/passwd\"", "\"..\"", "\"\"", "7", "null"};
    for (i = 0; i < ARRAY_LEN(tricks); i++) {
        json_object_set_new(map, "model.encoder.conv1.bias", json_loads(tricks[i], JSON_DECODE_ANY, NULL));
        put_json(folder, "model.safetensors.index.json", index);
        expect_refused(folder, ERR_CORRUPT, "names no file for 'model.encoder.conv1.bias'");
    }
    json_object_set_new(map, "model.encoder.conv1.bias", json_string("c.safetensors"));
    put_json(folder, "model.safetensors.index.json", index);
    expect_refused(folder, ERR_NOT_FOUND, "c.safetensors");
    leave_out(folder, "b.safetensors");
    expect_refused(folder, ERR_NOT_FOUND, ".safetensors");
    put_text(folder, "model.safetensors.index.json", "{}");
    expect_refused(folder, ERR_CORRUPT, "no weight_map");
    /* More files than any real model has. */
    json_object_clear(map);
    for (int k = 0; k < 100; k++) {
        CLEANUP(free_p) char *name = xasprintf("x%d.safetensors", k);
        CLEANUP(free_p) char *shard = xasprintf("%s/%s", folder, name);
        write_file(shard, "\2\0\0\0\0\0\0\0{}", 10);
        json_object_set_new(map, name, json_string(name));
    }
    put_json(folder, "model.safetensors.index.json", index);
    expect_refused(folder, ERR_UNSUPPORTED, "split into more than");
    json_decref(index);
    json_decref(half[0]);
    json_decref(half[1]);
    weights_clear(&s);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_halves),
        cmocka_unit_test(test_brain_floats_and_floats),
        cmocka_unit_test(test_blocks_of_nibbles),
        cmocka_unit_test(test_blocks_of_bytes),
        cmocka_unit_test(test_sizes),
        cmocka_unit_test(test_every_type_is_read),
        cmocka_unit_test(test_requantised_as_whisper_cpp_does),
        cmocka_unit_test(test_shapes),
        cmocka_unit_test(test_filters),
        cmocka_unit_test(test_both_formats_give_the_same),
        cmocka_unit_test(test_weights_that_are_no_numbers),
        cmocka_unit_test(test_ggml_damage),
        cmocka_unit_test(test_ggml_cut_short),
        cmocka_unit_test(test_ggml_stranger_twice_missing),
        cmocka_unit_test(test_ggml_vocabulary_with_holes),
        cmocka_unit_test(test_not_a_model),
        cmocka_unit_test(test_key),
        cmocka_unit_test(test_hf_config),
        cmocka_unit_test(test_hf_files_too_large),
        cmocka_unit_test(test_hf_missing_files),
        cmocka_unit_test(test_hf_vocabulary),
        cmocka_unit_test(test_hf_heads),
        cmocka_unit_test(test_hf_special_tokens),
        cmocka_unit_test(test_hf_languages),
        cmocka_unit_test(test_hf_entries),
        cmocka_unit_test(test_hf_headers),
        cmocka_unit_test(test_hf_shards),
    };
    return cmocka_run_group_tests(tests, set_up, tear_down);
}
