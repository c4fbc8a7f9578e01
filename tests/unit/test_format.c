/* SPDX-License-Identifier: MIT */
/* The writers against files in data/, JSON there and back, and JSON nobody wrote. */
#include "transcript/format.h"

#include "base/io.h"
#include "base/str.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#define MAX_TEXT ((size_t)64 << 20)

static int to_buf(const void *data, size_t n, void *arg, struct err *err)
{
    buf_add(arg, data, n);
    return buf_check(arg, "test", err);
}

static void write_to(struct buf *b, const struct transcript *t, enum format f)
{
    struct err e = ERR_INIT;
    if (format_write(t, f, to_buf, b, &e) < 0)
        fail_msg("%s: %s", format_info(f)->name, e.msg);
}

static void add(struct transcript *t, int64_t from, int64_t to, struct segment s, const char *language)
{
    struct err e = ERR_INIT;
    assert_int_equal(transcript_add(t, from, to, &(struct segments){.v = &s, .n = 1, .language = language}, &e), 0);
}

/* A transcript with everything in it that a format could trip over. */
static void make_sample(struct transcript *t)
{
    struct err e = ERR_INIT;
    transcript_init(t);
    t->duration_ms = 3 * 3600000 + 5;
    assert_int_equal(transcript_set(t, &t->engine, "pocketsphinx", &e), 0);
    assert_int_equal(transcript_set(t, &t->model, "en-us", &e), 0);
    assert_int_equal(transcript_set(t, &t->task, "transcribe", &e), 0);
    assert_int_equal(transcript_set(t, &t->quality, "draft", &e), 0);
    assert_int_equal(transcript_set(t, &t->warning, "the recording is cut off \"early\"", &e), 0);
    const struct word words[] = {{0, 400, "hello", 0.875}, {400, 1234, "w\xc3\xb6rld", -1}};
    add(t, 0, 2000,
        (struct segment){.start_ms = 0, .end_ms = 1234, .text = "hello w\xc3\xb6rld", .words = words, .n_words = 2},
        "en");
    add(t, 2000, 5000, (struct segment){.start_ms = 2000, .end_ms = 3000, .text = "a --> b ----> c -> d -- e >"}, "en");
    add(t, 5000, 70000,
        (struct segment){.start_ms = 61001, .end_ms = 61001, .text = "<b>R&D</b>\tand\r\n\r\n7\n00:00:01,000"}, "en");
    add(t, 70000, 80000,
        (struct segment){.start_ms = 70000,
                         .end_ms = 79999,
                         .text = "say \"\\\" \xf0\x9f\x98\x80 \xff",
                         .has_stats = true,
                         .avg_logprob = -0.25,
                         .compression_ratio = 1.5,
                         .no_speech_prob = 0.015625,
                         .temperature = 0.2,
                         .suspect = "the words repeat"},
        "de");
    add(t, 3600000, 3 * 3600000 + 5,
        (struct segment){.start_ms = 3600000, .end_ms = 3 * 3600000 + 5, .text = "NOTE end"}, "en");
    assert_int_equal(transcript_add_gap(t, 80000, 90500, "no words", &e), 0);
    assert_int_equal(transcript_add_gap(t, 91000, 92000, "the words repeat", &e), 0);
    transcript_cover(t, (const struct time_span[]){{0, 30000}, {70000, 95000}}, 2);
}

static char *read_data(const char *name)
{
    const char *folder = getenv("STENO_TEST_DATA");
    assert_non_null(folder);
    CLEANUP(free_p) char *path = xasprintf("%s/%s", folder, name);
    char *text;
    struct err e = ERR_INIT;
    if (io_read_file(path, MAX_TEXT, &text, NULL, &e) < 0)
        fail_msg("%s", e.msg);
    return text;
}

static void test_files(void **state)
{
    (void)state;
    struct transcript sample, empty;
    make_sample(&sample);
    transcript_init(&empty);
    empty.duration_ms = 1500;
    for (int f = 0; f < FORMAT_COUNT; f++)
        for (int k = 0; k < 2; k++) {
            struct buf b = BUF_INIT(MAX_TEXT);
            write_to(&b, k ? &empty : &sample, (enum format)f);
            CLEANUP(free_p) char *name = xasprintf("%s.%s", k ? "empty" : "sample", format_info((enum format)f)->name);
            CLEANUP(free_p) char *want = read_data(name);
            if (strcmp(buf_str(&b), want) != 0)
                fail_msg("%s differs; got:\n%s", name, buf_str(&b));
            buf_clear(&b);
        }
    transcript_clear(&sample);
    transcript_clear(&empty);
}

static void test_no_text_makes_an_arrow(void **state)
{
    (void)state;
    static const char *const texts[] = {"-->", "--->", "-> ->", "-->-->", "- ->",      "--",
                                        ">",   "-",    "->>",   "a--",    "-------->x"};
    for (size_t i = 0; i < ARRAY_LEN(texts); i++) {
        struct transcript t;
        transcript_init(&t);
        t.duration_ms = 1000;
        add(&t, 0, 1000, (struct segment){.end_ms = 1000, .text = texts[i]}, NULL);
        for (int k = 0; k < 2; k++) {
            struct buf b = BUF_INIT(1000);
            write_to(&b, &t, k ? FORMAT_SRT : FORMAT_VTT);
            const char *arrow = strstr(buf_str(&b), "-->");
            assert_non_null(arrow); /* the one between the times */
            assert_null(strstr(arrow + 3, "-->"));
            buf_clear(&b);
        }
        transcript_clear(&t);
    }
}

struct failing_sink {
    int calls, fail_at;
};

static int fail_sometimes(const void *data, size_t n, void *arg, struct err *err)
{
    (void)data;
    struct failing_sink *s = arg;
    assert_true(n > 0);
    return ++s->calls == s->fail_at ? err_set(err, ERR_UNAVAILABLE, "the disk is full") : 0;
}

static void test_pieces_and_a_sink_that_fails(void **state)
{
    (void)state;
    struct transcript t;
    transcript_init(&t);
    t.duration_ms = 10000000;
    for (int i = 0; i < 10000; i++)
        add(&t, 0, 10000000,
            (struct segment){.start_ms = i * 1000, .end_ms = i * 1000 + 900, .text = "some words in it"}, NULL);
    for (int f = 0; f < FORMAT_COUNT; f++) {
        struct failing_sink s = {0, 0};
        struct err e = ERR_INIT;
        assert_int_equal(format_write(&t, (enum format)f, fail_sometimes, &s, &e), 0);
        assert_true(s.calls > 5); /* a long transcript is not one piece */
        s = (struct failing_sink){0, 3};
        assert_int_equal(format_write(&t, (enum format)f, fail_sometimes, &s, &e), ERR_UNAVAILABLE);
        assert_string_equal(e.msg, "the disk is full");
        assert_int_equal(s.calls, 3);
    }
    transcript_clear(&t);
}

static void test_names(void **state)
{
    (void)state;
    enum format f;
    for (int i = 0; i < FORMAT_COUNT; i++) {
        assert_true(format_parse(format_info((enum format)i)->name, &f));
        assert_int_equal(f, i);
        assert_non_null(format_info((enum format)i)->help);
    }
    assert_true(format_parse("text", &f));
    assert_int_equal(f, FORMAT_TXT);
    assert_false(format_parse("SRT", &f));
    assert_false(format_parse("", &f));
    assert_false(format_parse(NULL, &f));
}

static void test_accept(void **state)
{
    (void)state;
    static const struct {
        const char *accept;
        int want; /* -1: nothing fits */
    } rows[] = {
        {NULL, FORMAT_JSON},
        {"", FORMAT_JSON},
        {" , ", FORMAT_JSON},
        {"*/*", FORMAT_JSON},
        {"application/*", FORMAT_JSON},
        {"application/json", FORMAT_JSON},
        {"text/plain", FORMAT_TXT},
        {"text/*", FORMAT_TXT},
        {"text/vtt", FORMAT_VTT},
        {"TEXT/VTT", FORMAT_VTT},
        {"application/x-subrip", FORMAT_SRT},
        {"text/tab-separated-values", FORMAT_TSV},
        {"text/plain;charset=utf-8", FORMAT_TXT},
        {"text/vtt, text/plain", FORMAT_VTT},
        {"text/plain, text/vtt", FORMAT_TXT},
        {"text/plain;q=0.5, text/vtt;q=0.9", FORMAT_VTT},
        {"text/plain ; q=0.5 , text/vtt ; Q=0.50", FORMAT_TXT},
        {"text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8", FORMAT_JSON},
        {"*/*, text/vtt", FORMAT_VTT},
        {"*/*, text/vtt;q=0.9", FORMAT_JSON},
        {"*/*;q=0.1, text/*;q=0.5", FORMAT_TXT},
        {"text/*, text/plain;q=0.3", FORMAT_VTT},
        {"application/json;q=0, */*", FORMAT_TXT},
        {"text/*;q=0, */*;q=0.1", FORMAT_JSON},
        {"text/plain;q=0", -1},
        {"*/*;q=0", -1},
        {"*/*;q=0.000", -1},
        {"*/*;q=0.001", FORMAT_JSON},
        {"image/png", -1},
        {"text/html", -1},
        {"text/vttx", -1},
        {"text/vt", -1},
        {"text", -1},
        {"/", -1},
        {"text/", -1},
        {"*/vtt", -1},
        {"text/vtt;q=2", -1},
        {"text/vtt;q=0.1234", -1},
        {"text/vtt;q=", -1},
        {"text/vtt;q=x, text/plain;q=0.1", FORMAT_TXT},
        {"text/vtt;q=1.000", FORMAT_VTT},
        {"text/vtt;q=1.001", -1},
        {"text/vtt;x=\"a,b;q=0\"", FORMAT_VTT},
        {"text/vtt;x=\"a\\\",text/plain\"", FORMAT_VTT},
        {"text/vtt;x=\"open", FORMAT_VTT},
        {",,text/vtt,,", FORMAT_VTT},
    };
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        enum format f = FORMAT_COUNT;
        bool got = format_from_accept(rows[i].accept, &f);
        if (got != (rows[i].want >= 0) || (got && (int)f != rows[i].want))
            fail_msg("\"%s\": got %s", rows[i].accept, got ? format_info(f)->name : "nothing");
    }
}

static bool same_word(const struct word *a, const struct word *b)
{
    return a->start_ms == b->start_ms && a->end_ms == b->end_ms && str_eq(a->text, b->text) &&
           a->probability == b->probability;
}

static bool same_segment(const struct segment *a, const struct segment *b)
{
    bool same = a->start_ms == b->start_ms && a->end_ms == b->end_ms && str_eq(a->text, b->text) &&
                str_eq(a->suspect, b->suspect) && a->has_stats == b->has_stats && a->n_words == b->n_words &&
                a->avg_logprob == b->avg_logprob && a->compression_ratio == b->compression_ratio &&
                a->no_speech_prob == b->no_speech_prob && a->temperature == b->temperature;
    for (size_t i = 0; same && i < a->n_words; i++)
        same = same_word(&a->words[i], &b->words[i]);
    return same;
}

static void assert_same(const struct transcript *a, const struct transcript *b)
{
    assert_true(a->duration_ms == b->duration_ms && a->speech_ms == b->speech_ms && a->covered_ms == b->covered_ms);
    assert_true(str_eq(a->language, b->language) && str_eq(a->engine, b->engine) && str_eq(a->model, b->model) &&
                str_eq(a->quality, b->quality) && str_eq(a->warning, b->warning));
    assert_true(a->language_probability == b->language_probability);
    assert_string_equal(a->task ? a->task : "transcribe", b->task);
    assert_int_equal(a->n_segments, b->n_segments);
    assert_int_equal(a->n_gaps, b->n_gaps);
    for (size_t i = 0; i < a->n_segments; i++)
        assert_true(same_segment(&a->segments[i], &b->segments[i]));
    for (size_t i = 0; i < a->n_gaps; i++)
        assert_true(a->gaps[i].start_ms == b->gaps[i].start_ms && a->gaps[i].end_ms == b->gaps[i].end_ms &&
                    str_eq(a->gaps[i].why, b->gaps[i].why));
}

/* xorshift: the same transcripts in every run. */
static uint64_t next(uint64_t *seed)
{
    *seed ^= *seed << 13;
    *seed ^= *seed >> 7;
    *seed ^= *seed << 17;
    return *seed;
}

static int64_t below(uint64_t *seed, int64_t n)
{
    return (int64_t)(next(seed) % (uint64_t)n);
}

static double figure(uint64_t *seed)
{
    return (double)below(seed, 2000000) / 1e5 - 10;
}

/* Any bytes, with those that matter more often. */
static void random_text(uint64_t *seed, char *ret, size_t size)
{
    static const char often[] = "\"\\\n\t -->&<>,{}[]\xc3\xa4\xf0\x9f\x98\x80\xff\x7f";
    size_t n = (size_t)below(seed, (int64_t)size);
    for (size_t i = 0; i < n; i++) {
        bool any = below(seed, 3) == 0;
        ret[i] = any ? (char)(1 + below(seed, 255)) : often[below(seed, (int64_t)sizeof often - 1)];
    }
    ret[n] = '\0';
}

/* Times in and around [0, length]. */
static int64_t random_time(uint64_t *seed, int64_t length)
{
    return below(seed, length * 3 / 2) - length / 4;
}

enum { TEXT = 40, WORDS = 6, SEGMENTS = 5 };

struct random_chunk {
    char texts[SEGMENTS][2 + WORDS][TEXT];
    struct word words[SEGMENTS][WORDS];
    struct segment v[SEGMENTS];
    struct segments segments;
};

static void random_chunk(uint64_t *seed, int64_t length, struct random_chunk *c)
{
    static const char *const languages[] = {NULL, "en", "de", "yue"};
    c->segments = (struct segments){.v = c->v,
                                    .n = (size_t)below(seed, SEGMENTS),
                                    .language = languages[below(seed, 4)],
                                    .language_probability = (double)below(seed, 5) / 4,
                                    .warning = below(seed, 2) ? "the prompt was cut" : NULL};
    for (size_t i = 0; i < c->segments.n; i++) {
        struct segment *s = &c->v[i];
        *s = (struct segment){.start_ms = random_time(seed, length),
                              .end_ms = random_time(seed, length),
                              .text = c->texts[i][0],
                              .words = c->words[i],
                              .n_words = (size_t)below(seed, WORDS)};
        random_text(seed, c->texts[i][0], TEXT);
        if (below(seed, 3) == 0) {
            random_text(seed, c->texts[i][1], TEXT);
            s->suspect = c->texts[i][1];
        }
        if (below(seed, 2)) {
            s->has_stats = true;
            s->avg_logprob = figure(seed);
            s->compression_ratio = figure(seed);
            s->no_speech_prob = figure(seed);
            s->temperature = figure(seed);
        }
        for (size_t k = 0; k < s->n_words; k++) {
            random_text(seed, c->texts[i][2 + k], TEXT);
            c->words[i][k] = (struct word){random_time(seed, length), random_time(seed, length), c->texts[i][2 + k],
                                           figure(seed) / 5};
        }
    }
}

static void random_transcript(uint64_t *seed, struct transcript *t)
{
    struct err e = ERR_INIT;
    transcript_init(t);
    t->duration_ms = 1 + below(seed, 1 << below(seed, 30));
    char text[TEXT];
    const char **const fields[] = {&t->engine, &t->model, &t->task, &t->quality, &t->warning};
    for (size_t i = 0; i < ARRAY_LEN(fields); i++)
        if (below(seed, 2)) {
            random_text(seed, text, sizeof text);
            assert_int_equal(transcript_set(t, fields[i], text, &e), 0);
        }
    for (int64_t n = below(seed, 5); n > 0; n--) {
        struct random_chunk c;
        random_chunk(seed, t->duration_ms, &c);
        assert_int_equal(
            transcript_add(t, random_time(seed, t->duration_ms), random_time(seed, t->duration_ms), &c.segments, &e),
            0);
        random_text(seed, text, sizeof text);
        assert_int_equal(
            transcript_add_gap(t, random_time(seed, t->duration_ms), random_time(seed, t->duration_ms), text, &e), 0);
    }
    struct time_span speech = {random_time(seed, t->duration_ms), random_time(seed, t->duration_ms)};
    transcript_cover(t, &speech, 1);
}

static void test_verbose_json_there_and_back(void **state)
{
    (void)state;
    uint64_t seed = 0x9e3779b97f4a7c15;
    for (int i = 0; i < 1000; i++) {
        struct err e = ERR_INIT;
        struct transcript t, back;
        if (i == 0)
            make_sample(&t);
        else
            random_transcript(&seed, &t);
        assert_int_equal(transcript_check(&t, &e), 0);
        struct buf first = BUF_INIT(MAX_TEXT), second = BUF_INIT(MAX_TEXT);
        write_to(&first, &t, FORMAT_VERBOSE_JSON);
        if (transcript_from_json(first.data, first.len, &back, &e) < 0)
            fail_msg("round %d: %s in\n%s", i, e.msg, buf_str(&first));
        assert_same(&t, &back);
        write_to(&second, &back, FORMAT_VERBOSE_JSON);
        assert_string_equal(buf_str(&first), buf_str(&second));
        /* Every other format works on it and on what was read back alike. */
        for (int f = 0; f < FORMAT_COUNT; f++) {
            buf_reset(&first);
            buf_reset(&second);
            write_to(&first, &t, (enum format)f);
            write_to(&second, &back, (enum format)f);
            assert_string_equal(buf_str(&first), buf_str(&second));
            assert_true(utf8_valid(buf_str(&first), first.len));
        }
        buf_clear(&first);
        buf_clear(&second);
        transcript_clear(&t);
        transcript_clear(&back);
    }
}

static void test_segments_there_and_back(void **state)
{
    (void)state;
    uint64_t seed = 42;
    for (int i = 0; i < 1000; i++) {
        struct err e = ERR_INIT;
        struct arena a = ARENA_INIT;
        struct random_chunk c;
        struct segments once, twice;
        random_chunk(&seed, 1 + below(&seed, 1 << below(&seed, 30)), &c);
        struct buf first = BUF_INIT(MAX_TEXT), second = BUF_INIT(MAX_TEXT);
        assert_int_equal(segments_to_json(&c.segments, &first, &e), 0);
        assert_int_equal(segments_from_json(first.data, first.len, &a, &once, &e), 0);
        assert_int_equal(once.n, c.segments.n);
        assert_true(str_eq(once.language, c.segments.language));
        assert_true(str_eq(once.warning, c.segments.warning));
        assert_true(once.language_probability == c.segments.language_probability);
        for (size_t k = 0; k < once.n; k++) /* times as they were, however wrong: transcript_add mends them */
            assert_true(once.v[k].start_ms == c.v[k].start_ms && once.v[k].end_ms == c.v[k].end_ms &&
                        once.v[k].n_words == c.v[k].n_words &&
                        str_eq(once.v[k].text, transcript_clean(&a, c.v[k].text)));
        assert_int_equal(segments_to_json(&once, &second, &e), 0);
        assert_int_equal(segments_from_json(second.data, second.len, &a, &twice, &e), 0);
        for (size_t k = 0; k < once.n; k++)
            assert_true(same_segment(&once.v[k], &twice.v[k]));
        buf_clear(&first);
        buf_clear(&second);
        arena_clear(&a);
    }
}

static int read_back(const char *json, size_t n, struct err *e)
{
    struct transcript t;
    int rc = transcript_from_json(json, n, &t, e);
    if (rc == 0) {
        assert_int_equal(transcript_check(&t, e), 0);
        transcript_clear(&t);
    }
    return rc;
}

#define SEGMENT(members) "{\"duration\":9,\"segments\":[{" members "}]}"
#define WORD(members)    SEGMENT("\"start\":0,\"end\":1,\"text\":\"a\",\"words\":[" members "]")

static void test_json_nobody_wrote(void **state)
{
    (void)state;
    static const struct {
        const char *json;
        int want;
    } rows[] = {
        {"{\"duration\":9,\"segments\":[]}", 0},
        {" \t\r\n{ \"segments\" : [ ] , \"duration\" : 9.5 , \"new\" : {\"a\":[1,2,{}]} } \n", 0},
        {SEGMENT("\"start\":0,\"end\":1,\"text\":\"a\""), 0},
        {SEGMENT("\"start\":0,\"end\":1,\"text\":\"a\",\"words\":null,\"suspect\":null"), 0},
        {WORD("{\"word\":\"a\",\"start\":0,\"end\":1}"), 0},
        {WORD("{\"word\":\"a\",\"start\":0,\"end\":1,\"probability\":7}"), 0},
        {"{\"duration\":9,\"segments\":[],\"words\":[1,\"x\",[]]}", 0},
        {"{\"duration\":9,\"segments\":[],\"coverage\":null}", 0},
        {"", ERR_CORRUPT},
        {" ", ERR_CORRUPT},
        {"null", ERR_CORRUPT},
        {"[]", ERR_CORRUPT},
        {"\"x\"", ERR_CORRUPT},
        {"{}", ERR_CORRUPT},
        {"{\"duration\":9}", ERR_CORRUPT},
        {"{\"segments\":[]}", ERR_CORRUPT},
        {"{\"duration\":9,\"segments\":[]", ERR_CORRUPT},
        {"{\"duration\":9,\"segments\":[]}}", ERR_CORRUPT},
        {"{\"duration\":9,\"segments\":[]} x", ERR_CORRUPT},
        {"{\"duration\":9,\"segments\":[],}", ERR_CORRUPT},
        {"{\"duration\":9 \"segments\":[]}", ERR_CORRUPT},
        {"{\"duration\" 9,\"segments\":[]}", ERR_CORRUPT},
        {"{duration:9,\"segments\":[]}", ERR_CORRUPT},
        {"{1:9,\"segments\":[]}", ERR_CORRUPT},
        {"{\"duration\":9,\"segments\":[,]}", ERR_CORRUPT},
        {"{\"duration\":9,\"segments\":[[]]}", ERR_CORRUPT},
        {"{\"duration\":9,\"segments\":[1]}", ERR_CORRUPT},
        {"{\"duration\":9,\"segments\":{}}", ERR_CORRUPT},
        {"{\"duration\":9,\"segments\":null}", ERR_CORRUPT},
        {"{\"duration\":9,\"segments\":[{}]}", ERR_CORRUPT},
        {"{\"duration\":9,\"segments\":[],\"segments\":[]}", ERR_CORRUPT},
        {"{\"duration\":9,\"duration\":9,\"segments\":[]}", ERR_CORRUPT},
        {"{\"duration\":\"9\",\"segments\":[]}", ERR_CORRUPT},
        {"{\"duration\":null,\"segments\":[]}", ERR_CORRUPT},
        {"{\"duration\":true,\"segments\":[]}", ERR_CORRUPT},
        {"{\"duration\":-1,\"segments\":[]}", ERR_CORRUPT},
        {"{\"duration\":NaN,\"segments\":[]}", ERR_CORRUPT},
        {"{\"duration\":Infinity,\"segments\":[]}", ERR_CORRUPT},
        {"{\"duration\":1e300,\"segments\":[]}", ERR_CORRUPT},
        {"{\"duration\":1e999,\"segments\":[]}", ERR_CORRUPT},
        {"{\"duration\":99999999999999999999,\"segments\":[]}", ERR_CORRUPT},
        {"{\"duration\":9223372036854775807,\"segments\":[]}", ERR_CORRUPT},
        {"{\"duration\":9,\"segments\":[],\"language\":7}", ERR_CORRUPT},
        {"{\"duration\":9,\"segments\":[],\"engine\":[]}", ERR_CORRUPT},
        {"{\"duration\":9,\"segments\":[],\"engine\":\"a\\u0000b\"}", ERR_CORRUPT},
        {"{\"duration\":9,\"segments\":[],\"engine\":\"\\ud800\"}", ERR_CORRUPT},
        {"{\"duration\":9,\"segments\":[],\"engine\":\"\xff\"}", ERR_CORRUPT},
        {"{\"duration\":9,\"segments\":[],\"words\":{}}", ERR_CORRUPT},
        {"{\"duration\":9,\"segments\":[],\"words\":[1", ERR_CORRUPT},
        {"{\"duration\":9,\"segments\":[],\"coverage\":[]}", ERR_CORRUPT},
        {"{\"duration\":9,\"segments\":[],\"coverage\":{}}", ERR_CORRUPT},
        {"{\"duration\":9,\"segments\":[],\"coverage\":{\"speech\":2,\"covered\":3}}", ERR_CORRUPT},
        {"{\"duration\":9,\"segments\":[],\"coverage\":{\"speech\":10,\"covered\":3}}", ERR_CORRUPT},
        {"{\"duration\":9,\"segments\":[],\"coverage\":{\"speech\":2,\"covered\":1,\"gaps\":{}}}", ERR_CORRUPT},
        {"{\"duration\":9,\"segments\":[],\"coverage\":{\"speech\":2,\"covered\":1,\"gaps\":[3]}}", ERR_CORRUPT},
        {"{\"duration\":9,\"segments\":[],\"coverage\":{\"speech\":2,\"covered\":1,\"gaps\":[{\"start\":2,\"end\":1}]}"
         "}",
         ERR_CORRUPT},
        {SEGMENT("\"start\":1,\"end\":0,\"text\":\"a\""), ERR_CORRUPT},
        {SEGMENT("\"start\":-1,\"end\":0,\"text\":\"a\""), ERR_CORRUPT},
        {SEGMENT("\"start\":0,\"end\":10,\"text\":\"a\""), ERR_CORRUPT},
        {SEGMENT("\"start\":0,\"end\":1,\"text\":\" \""), ERR_CORRUPT},
        {SEGMENT("\"start\":0,\"end\":1,\"text\":null"), ERR_CORRUPT},
        {SEGMENT("\"start\":0,\"end\":1,\"text\":3"), ERR_CORRUPT},
        {SEGMENT("\"start\":0,\"end\":1"), ERR_CORRUPT},
        {SEGMENT("\"start\":0,\"text\":\"a\""), ERR_CORRUPT},
        {SEGMENT("\"start\":0,\"start\":0,\"end\":1,\"text\":\"a\""), ERR_CORRUPT},
        {SEGMENT("\"start\":0,\"end\":1,\"text\":\"a\"},{\"start\":0.5,\"end\":1,\"text\":\"b\""), ERR_CORRUPT},
        {SEGMENT("\"start\":0,\"end\":1,\"text\":\"a\",\"has_stats\":true,\"temperature\":\"hot\""), ERR_CORRUPT},
        {SEGMENT("\"start\":0,\"end\":1,\"text\":\"a\",\"words\":{}"), ERR_CORRUPT},
        {WORD("1"), ERR_CORRUPT},
        {WORD("{}"), ERR_CORRUPT},
        {WORD("{\"word\":\"\",\"start\":0,\"end\":1}"), ERR_CORRUPT},
        {WORD("{\"word\":\"a\",\"start\":0,\"end\":2}"), ERR_CORRUPT},
        {WORD("{\"word\":\"a\",\"start\":0,\"end\":1,\"probability\":\"1\"}"), ERR_CORRUPT},
        {WORD("{\"word\":\"a\",\"start\":0,\"end\":1},{\"word\":\"b\",\"start\":0,\"end\":1}"), ERR_CORRUPT},
    };
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        struct err e = ERR_INIT;
        int rc = read_back(rows[i].json, strlen(rows[i].json), &e);
        if (rc != rows[i].want)
            fail_msg("%s: got %s (%s)", rows[i].json, err_name(rc), e.msg);
        if (rc < 0)
            assert_true(str_starts(e.msg, "the transcript is damaged") || str_starts(e.msg, "the transcript's") ||
                        strstr(e.msg, "of the transcript"));
    }
}

static void test_checkpoints_nobody_wrote(void **state)
{
    (void)state;
    static const char *const rows[] = {
        "",
        "null",
        "[]",
        "{}",
        "{\"language\":\"en\"}",
        "{\"segments\":0}",
        "{\"segments\":[1]}",
        "{\"segments\":[{\"start\":0,\"end\":1}]}",
        "{\"language\":1,\"segments\":[]}",
        "{\"segments\":[{\"start\":1e12,\"end\":1,\"text\":\"a\"}]}",
        "{\"segments\":[]}{",
    };
    struct arena a = ARENA_INIT;
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        struct err e = ERR_INIT;
        struct segments s;
        if (segments_from_json(rows[i], strlen(rows[i]), &a, &s, &e) != ERR_CORRUPT)
            fail_msg("%s was taken", rows[i]);
        assert_true(str_starts(e.msg, "the text of a chunk is damaged"));
    }
    arena_clear(&a);
}

/* Deep nesting and long lists, in every place where there can be some. */
static void test_monsters(void **state)
{
    (void)state;
    static const struct {
        const char *before, *piece, *after;
        int times, want;
    } rows[] = {
        {"", "[", "", 1000000, ERR_CORRUPT},
        {"{\"duration\":9,\"x\":", "[", "", 1000000, ERR_CORRUPT},
        {"{\"duration\":9,\"x\":", "{\"a\":", "", 1000000, ERR_CORRUPT},
        {"{\"duration\":9,\"segments\":[", "[", "", 1000000, ERR_CORRUPT},
        {"{\"duration\":9,\"words\":[", "[", "", 1000000, ERR_CORRUPT},
        {"{\"duration\":9,\"segments\":[],\"words\":[", "0,", "0]}", 1000000, 0},
        {"{\"duration\":9,\"segments\":[", "{\"start\":0,\"end\":0,\"text\":\"a\"},",
         "{\"start\":0,\"end\":0,\"text\":\"a\"}]}", 100000, 0},
        {"{\"duration\":9,\"segments\":[],\"coverage\":{\"speech\":0,\"covered\":0,\"gaps\":[",
         "{\"start\":0,\"end\":0},", "{\"start\":0,\"end\":0}]}}", 100000, 0},
        {"{\"duration\":9,\"segments\":[],\"engine\":\"", "aaaaaaaaaaaaaaaa", "\"}", 5 << 20, ERR_NOMEM},
    };
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        struct buf b = BUF_INIT((size_t)256 << 20);
        buf_adds(&b, rows[i].before);
        for (int k = 0; k < rows[i].times; k++)
            buf_adds(&b, rows[i].piece);
        buf_adds(&b, rows[i].after);
        assert_true(buf_ok(&b));
        struct err e = ERR_INIT;
        int rc = read_back(b.data, b.len, &e);
        if (rc != rows[i].want)
            fail_msg("row %zu: got %s (%s)", i, err_name(rc), e.msg);
        buf_clear(&b);
    }
}

/* Every beginning of a good file is CORRUPT; with any one byte changed it is that or still a good transcript. */
static void test_broken_files(void **state)
{
    (void)state;
    struct transcript t;
    make_sample(&t);
    struct buf b = BUF_INIT(MAX_TEXT);
    write_to(&b, &t, FORMAT_VERBOSE_JSON);
    transcript_clear(&t);
    struct err e = ERR_INIT;
    assert_int_equal(read_back(b.data, b.len, &e), 0);
    for (size_t n = 0; n + 1 < b.len; n++) { /* the last byte is a newline */
        char *cut = malloc(n ? n : 1);       /* so that a byte read too far is noticed */
        assert_non_null(cut);
        memcpy(cut, b.data, n);
        assert_int_equal(read_back(cut, n, &e), ERR_CORRUPT);
        free(cut);
    }
    static const char bytes[] = {'"', '{', '}', '[', ']', ',', ':', '0', '9', '-', 'e', '\\', '\0', '\xff', ' '};
    for (size_t at = 0; at < b.len; at++)
        for (size_t k = 0; k < 4; k++) {
            char good = b.data[at];
            b.data[at] = bytes[(at + 4 * k) % ARRAY_LEN(bytes)];
            int rc = read_back(b.data, b.len, &e);
            assert_true(rc == 0 || rc == ERR_CORRUPT);
            b.data[at] = good;
        }
    buf_clear(&b);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_files),
        cmocka_unit_test(test_no_text_makes_an_arrow),
        cmocka_unit_test(test_pieces_and_a_sink_that_fails),
        cmocka_unit_test(test_names),
        cmocka_unit_test(test_accept),
        cmocka_unit_test(test_verbose_json_there_and_back),
        cmocka_unit_test(test_segments_there_and_back),
        cmocka_unit_test(test_json_nobody_wrote),
        cmocka_unit_test(test_checkpoints_nobody_wrote),
        cmocka_unit_test(test_monsters),
        cmocka_unit_test(test_broken_files),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
