/* SPDX-License-Identifier: MIT */
/*
 * Speech detection against signals made here (deterministic, so the results are too) and against sentences spoken
 * by flite, which the tests need installed.
 */
#include "audio/vad.h"
#include "base/io.h"

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

enum { S = AUDIO_RATE };

/* A recording under construction; samples as fractions of full scale. */
struct sound {
    double *x;
    size_t n;
    uint64_t seed;
};

static void silence(struct sound *s, double seconds)
{
    size_t more = (size_t)(seconds * S);
    s->x = reallocarray(s->x, s->n + more + 1, sizeof *s->x);
    assert_non_null(s->x);
    memset(s->x + s->n, 0, more * sizeof *s->x);
    s->n += more;
}

static double uniform(struct sound *s)
{
    s->seed = s->seed * UINT64_C(6364136223846793005) + UINT64_C(1442695040888963407);
    return (double)(s->seed >> 11) / 9007199254740992.0 * 2 - 1;
}

static double level(double db)
{
    return pow(10, db / 20);
}

/* Noise of the given RMS level over [from, to) seconds; `slope` 0 white, 1 pink (three poles), 2 brown. */
static void add_noise(struct sound *s, double from, double to, double db, int slope)
{
    double a = 0, b = 0, c = 0, gain = level(db) * (slope == 0 ? sqrt(3) : slope == 1 ? 0.9 : 0.18);
    for (size_t i = (size_t)(from * S); i < (size_t)(to * S) && i < s->n; i++) {
        double w = uniform(s), y = w;
        if (slope == 1) {
            a = 0.99765 * a + w * 0.0990460;
            b = 0.96300 * b + w * 0.2965164;
            c = 0.57000 * c + w * 1.0526913;
            y = a + b + c + w * 0.1848;
        } else if (slope == 2) {
            y = a = 0.995 * a + w;
        }
        s->x[i] += gain * y;
    }
}

/* A tone with 20 ms ramps at both ends. */
static void add_tone(struct sound *s, double from, double to, double db, double hz)
{
    size_t a = (size_t)(from * S), b = (size_t)(to * S);
    for (size_t i = a; i < b && i < s->n; i++) {
        double ramp = fmin(1, fmin((double)(i - a), (double)(b - i)) / (0.02 * S));
        s->x[i] += level(db) * ramp * sin(2 * M_PI * hz * (double)i / S);
    }
}

/*
 * What speech is made of, without words: a gliding pitch with harmonics under two moving resonances, in syllables
 * of about 200 ms, 4 a second.
 */
static void add_syllables(struct sound *s, double from, double to, double db)
{
    double phase = 0;
    for (size_t i = (size_t)(from * S); i < (size_t)(to * S) && i < s->n; i++) {
        double t = (double)i / S - from, f0 = 120 + 25 * sin(2 * M_PI * 0.7 * t);
        double envelope = fmax(0, sin(2 * M_PI * 4 * t)), f1 = 500 + 250 * sin(2 * M_PI * 1.3 * t);
        double f2 = 1600 + 500 * sin(2 * M_PI * 0.9 * t), y = 0;
        phase += 2 * M_PI * f0 / S;
        for (int k = 1; k < 30; k++) {
            double hz = k * f0;
            y += sin(k * phase) * (1 / (1 + pow((hz - f1) / 120, 2)) + 0.5 / (1 + pow((hz - f2) / 200, 2)));
        }
        s->x[i] += level(db) * 0.3 * envelope * y;
    }
}

static int16_t *as_pcm(const struct sound *s)
{
    int16_t *pcm = malloc((s->n + 1) * sizeof *pcm);
    assert_non_null(pcm);
    for (size_t i = 0; i < s->n; i++)
        pcm[i] = (int16_t)lrint(fmax(-1, fmin(1, s->x[i])) * 32767);
    return pcm;
}

struct found {
    struct span at[64];
    size_t n;
};

/* `piece` samples a call; 0: pieces of changing sizes. */
static struct found detect(const int16_t *pcm, size_t n, size_t piece)
{
    struct err e = ERR_INIT;
    struct vad *v;
    assert_int_equal(vad_new(&v, &e), 0);
    for (size_t at = 0, round = 0; at < n; round++) {
        size_t k = piece ? piece : round * 61 % 500;
        k = k < n - at ? k : n - at;
        vad_feed(v, pcm + at, k);
        at += k;
    }
    const struct span *spans;
    struct found f;
    assert_int_equal(vad_finish(v, &spans, &f.n, &e), 0);
    assert_true(f.n <= ARRAY_LEN(f.at));
    if (f.n > 0)
        memcpy(f.at, spans, f.n * sizeof *spans);
    vad_free(v);
    for (size_t i = 0; i < f.n; i++) {
        assert_true(f.at[i].start >= (i ? f.at[i - 1].end + 1 : 0));
        assert_true(f.at[i].end > f.at[i].start && f.at[i].end <= (int64_t)n);
    }
    return f;
}

static struct found detect_sound(struct sound *s)
{
    int16_t *pcm = as_pcm(s);
    struct found f = detect(pcm, s->n, 4096);
    free(pcm);
    free(s->x);
    s->x = NULL;
    s->n = 0;
    return f;
}

static void expect_none(const char *what, struct sound *s)
{
    struct found f = detect_sound(s);
    if (f.n > 0)
        fail_msg("%s: speech from %.2f to %.2f s", what, samples_to_s(f.at[0].start), samples_to_s(f.at[0].end));
}

static void test_silence_has_no_speech(void **state)
{
    (void)state;
    static const double lengths[] = {0, 0.00007, 0.01, 0.05, 0.5, 1, 3, 60};
    for (size_t i = 0; i < ARRAY_LEN(lengths); i++) {
        struct sound s = {0};
        silence(&s, lengths[i]);
        expect_none("silence", &s);
    }
}

static void test_steady_noise_has_no_speech(void **state)
{
    (void)state;
    static const char *const names[] = {"white noise", "pink noise", "brown noise"};
    for (int slope = 0; slope <= 2; slope++) {
        for (int db = -70; db <= -10; db += 10) {
            for (uint64_t seed = 1; seed <= 3; seed++) {
                struct sound s = {.seed = seed};
                silence(&s, 20);
                add_noise(&s, 0, 20, db, slope);
                expect_none(names[slope], &s);
            }
        }
    }
}

static void test_noise_that_begins_or_ends_is_no_speech(void **state)
{
    (void)state;
    for (int slope = 0; slope <= 2; slope++) {
        struct sound s = {.seed = 5};
        silence(&s, 20);
        add_noise(&s, 0, 20, -65, 0);
        add_noise(&s, 5, 12, -20, slope);
        expect_none("noise in the middle", &s);
    }
}

static void test_short_noise_is_no_speech(void **state)
{
    (void)state;
    static const double lengths[] = {0.1, 0.3, 1, 1.5, 2.2};
    for (size_t i = 0; i < ARRAY_LEN(lengths); i++) {
        struct sound s = {.seed = 9};
        silence(&s, lengths[i]);
        add_noise(&s, 0, lengths[i], -20, 0);
        expect_none("a short noise", &s);
    }
}

static void test_hum_has_no_speech(void **state)
{
    (void)state;
    for (int hz = 50; hz <= 60; hz += 10) {
        for (int harmonics = 1; harmonics <= 40; harmonics += 13) {
            struct sound s = {.seed = 2};
            silence(&s, 15);
            add_noise(&s, 0, 15, -70, 0);
            for (int k = 1; k <= harmonics; k++)
                add_tone(&s, 0, 15, -20 - 20 * log10(k), hz * k);
            expect_none("hum", &s);
        }
        /* A rectifier's buzz: one spike a period. */
        struct sound s = {0};
        silence(&s, 15);
        for (double t = 0; t < 14.9; t += 1.0 / hz)
            s.x[(size_t)(t * S)] = 0.5;
        expect_none("buzz", &s);
    }
}

static void test_tones_and_slow_chords_have_no_speech(void **state)
{
    (void)state;
    static const double tones[] = {100, 220, 440, 1000, 3000, 6500};
    for (size_t i = 0; i < ARRAY_LEN(tones); i++) {
        struct sound s = {0};
        silence(&s, 10);
        add_tone(&s, 0, 10, -10, tones[i]);
        expect_none("a tone", &s);
        silence(&s, 10);
        add_tone(&s, 3, 3.4, -10, tones[i]);
        add_tone(&s, 5, 7, -30, tones[i]);
        expect_none("beeps", &s);
    }
    static const double chords[4][3] = {{262, 330, 392}, {294, 349, 440}, {247, 294, 392}, {262, 349, 440}};
    for (int seconds = 1; seconds <= 4; seconds *= 2) {
        struct sound s = {0};
        silence(&s, 24);
        for (int i = 0; i * seconds < 24; i++)
            for (int k = 0; k < 3; k++)
                add_tone(&s, i * seconds, (i + 1) * seconds, -12, chords[i % 4][k]);
        expect_none("chords", &s);
    }
}

static void test_clicks_are_no_speech(void **state)
{
    (void)state;
    struct sound s = {.seed = 3};
    silence(&s, 20);
    add_noise(&s, 0, 20, -70, 0);
    for (double t = 0.3; t < 19; t += 0.45)
        for (int i = 0; i < 80; i++)
            s.x[(size_t)(t * S) + (size_t)i] += 0.8 * uniform(&s) * exp(-i / 20.0);
    expect_none("clicks", &s);
    silence(&s, 20);
    for (double t = 0.3; t < 19; t += 0.1)
        s.x[(size_t)(t * S)] = 0.9;
    expect_none("ten clicks a second", &s);
    silence(&s, 20);
    for (double t = 0.3; t < 19; t += 0.08)
        add_noise(&s, t, t + 0.005, -10, 0);
    expect_none("a rattle", &s);
}

/* The span that holds [from, to); the other way round than "none found" this must not be one that holds everything. */
static void expect_span(const char *what, const struct found *f, double from, double to)
{
    for (size_t i = 0; i < f->n; i++)
        if (samples_to_s(f->at[i].start) <= from && samples_to_s(f->at[i].end) >= to)
            return;
    fail_msg("%s: no span holds %.2f to %.2f s", what, from, to);
}

static void test_syllables_are_found(void **state)
{
    (void)state;
    static const struct {
        const char *what;
        double speech_db, noise_db;
        int slope;
    } cases[] = {
        {"clear", -10, -80, 0},         {"quiet", -40, -85, 0},          {"in white noise", -15, -45, 0},
        {"in pink noise", -15, -45, 1}, {"in brown noise", -15, -40, 2},
    };
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        struct sound s = {.seed = 1};
        silence(&s, 30);
        add_noise(&s, 0, 30, cases[i].noise_db, cases[i].slope);
        add_syllables(&s, 5, 8, cases[i].speech_db);
        add_syllables(&s, 15, 15.5, cases[i].speech_db);
        struct found f = detect_sound(&s);
        expect_span(cases[i].what, &f, 5, 7.85);
        expect_span(cases[i].what, &f, 15, 15.35);
        assert_int_equal(f.n, 2);
        assert_true(f.at[0].start > 4 * S && f.at[0].end < 9 * S);
        assert_true(f.at[1].start > 14 * S && f.at[1].end < 17 * S);
    }
}

static void test_speech_may_fill_the_recording(void **state)
{
    (void)state;
    struct sound s = {0};
    silence(&s, 60);
    add_syllables(&s, 0, 60, -15);
    struct found f = detect_sound(&s);
    assert_int_equal(f.n, 1);
    assert_int_equal(f.at[0].start, 0);
    assert_true(f.at[0].end > 59 * S + S / 2);
}

static int16_t *flite(const char *folder, const char *text, size_t *ret_n)
{
    char cmd[512], path[128];
    snprintf(path, sizeof path, "%s/speech.wav", folder);
    snprintf(cmd, sizeof cmd, "flite --setf duration_stretch=1.2 -voice rms -t '%s' -o %s", text, path);
    assert_int_equal(system(cmd), 0);
    struct err e = ERR_INIT;
    char *wav;
    size_t len;
    assert_int_equal(io_read_file(path, 10 << 20, &wav, &len, &e), 0);
    unlink(path);
    assert_true(len > 44 + S);
    *ret_n = (len - 44) / 2;
    int16_t *pcm = malloc(*ret_n * sizeof *pcm);
    assert_non_null(pcm);
    memcpy(pcm, wav + 44, *ret_n * sizeof *pcm);
    free(wav);
    return pcm;
}

/* Where the voice begins and ends: flite puts near silence around it. */
static struct span loud_part(const int16_t *pcm, size_t n)
{
    struct span s = {-1, 0};
    for (size_t i = 0; i < n; i++) {
        if (abs(pcm[i]) < 400)
            continue;
        if (s.start < 0)
            s.start = (int64_t)i;
        s.end = (int64_t)i + 1;
    }
    return s;
}

/* Keeps 300 to 3400 Hz or so: 24 dB an octave at the upper edge and 12 at the lower. */
static void telephone(double *x, size_t n)
{
    for (int pass = 0; pass < 4; pass++) {
        double low = 0;
        for (size_t i = 0; i < n; i++)
            x[i] = low += 0.74 * (x[i] - low);
    }
    for (int pass = 0; pass < 2; pass++) {
        double low = 0;
        for (size_t i = 0; i < n; i++) {
            low += 0.11 * (x[i] - low);
            x[i] -= low;
        }
    }
}

static void test_spoken_sentences_are_found_whole(void **state)
{
    const char *folder = *state;
    static const char *const sentences[] = {
        "The meeting starts at nine o clock in the morning.",
        "She sells fresh fish and fruit from the shop at the far side of the street.",
        "Stop.",
        "Please send the report to the manager before noon, and call the office.",
    };
    static const struct {
        const char *what;
        double gain_db, noise_below_db;
        bool phone;
    } ways[] = {{"as it is", 0, 0, false},
                {"30 dB down", -30, 0, false},
                {"in noise 20 dB below", -6, 20, false},
                {"in noise 10 dB below", -6, 10, false},
                {"by telephone", 0, 0, true}};
    for (size_t i = 0; i < ARRAY_LEN(sentences); i++) {
        size_t n;
        int16_t *voice = flite(folder, sentences[i], &n);
        struct span part = loud_part(voice, n);
        double power = 0;
        for (int64_t k = part.start; k < part.end; k++)
            power += (double)voice[k] * voice[k];
        double rms_db = 10 * log10(power / (double)(part.end - part.start)) - 20 * log10(32768);
        for (size_t w = 0; w < ARRAY_LEN(ways); w++) {
            struct sound s = {.seed = 7};
            silence(&s, 4 + samples_to_s((int64_t)n) + 4);
            for (size_t k = 0; k < n; k++)
                s.x[4 * S + k] = voice[k] / 32768.0 * level(ways[w].gain_db);
            if (ways[w].phone)
                telephone(s.x, s.n);
            double whole = samples_to_s((int64_t)s.n);
            if (ways[w].noise_below_db > 0)
                add_noise(&s, 0, whole, rms_db + ways[w].gain_db - ways[w].noise_below_db, 0);
            struct found f = detect_sound(&s);
            char what[160];
            snprintf(what, sizeof what, "'%s' %s", sentences[i], ways[w].what);
            /* Every loud sample is in a span, with a margin, and the silence around is not. */
            assert_true(f.n >= 1);
            double from = 4 + samples_to_s(part.start), to = 4 + samples_to_s(part.end);
            double margin = ways[w].noise_below_db > 0 ? 0 : 0.1;
            if (samples_to_s(f.at[0].start) > from - margin || samples_to_s(f.at[f.n - 1].end) < to + margin)
                fail_msg("%s: found %.2f to %.2f, spoken %.2f to %.2f", what, samples_to_s(f.at[0].start),
                         samples_to_s(f.at[f.n - 1].end), from, to);
            assert_true(f.at[0].start > 3 * S);
            assert_true(samples_to_s(f.at[f.n - 1].end) < whole - 3);
            for (size_t k = 0; k + 1 < f.n; k++) /* between spans there are only pauses */
                for (int64_t t = f.at[k].end; t < f.at[k + 1].start; t++)
                    assert_true(t < 4 * S || t >= 4 * S + (int64_t)n || abs(voice[t - 4 * S]) < 4000);
        }
        free(voice);
    }
}

static void test_a_word_cut_out_tightly_is_found(void **state)
{
    size_t n;
    int16_t *voice = flite(*state, "Stop.", &n);
    struct span part = loud_part(voice, n);
    struct found f = detect(voice + part.start, (size_t)(part.end - part.start), 1000);
    assert_int_equal(f.n, 1);
    assert_int_equal(f.at[0].start, 0);
    assert_int_equal(f.at[0].end, part.end - part.start);
    free(voice);
}

static void test_the_cut_into_calls_changes_nothing(void **state)
{
    (void)state;
    struct sound s = {.seed = 11};
    silence(&s, 20.003);
    add_noise(&s, 0, 21, -50, 1);
    for (int i = 0; i < 6; i++)
        add_syllables(&s, 1 + 3 * i, 2.2 + 3 * i + 0.1 * i, -20);
    int16_t *pcm = as_pcm(&s);
    struct found whole = detect(pcm, s.n, s.n);
    assert_int_equal(whole.n, 6);
    static const size_t pieces[] = {0, 1, 7, 159, 160, 161, 255, 256, 257, 16000};
    for (size_t i = 0; i < ARRAY_LEN(pieces); i++) {
        struct found f = detect(pcm, s.n, pieces[i]);
        assert_int_equal(f.n, whole.n);
        assert_memory_equal(f.at, whole.at, whole.n * sizeof *whole.at);
    }
    free(pcm);
    free(s.x);
}

static void test_more_spans_than_fit_at_first(void **state)
{
    (void)state;
    /* Ten minutes of a short burst every two seconds: 300 spans. */
    struct sound s = {.seed = 1};
    silence(&s, 2);
    add_syllables(&s, 0.5, 1, -15);
    int16_t *pcm = as_pcm(&s);
    struct err e = ERR_INIT;
    struct vad *v;
    assert_int_equal(vad_new(&v, &e), 0);
    for (int i = 0; i < 300; i++)
        vad_feed(v, pcm, s.n);
    const struct span *spans;
    size_t n;
    assert_int_equal(vad_finish(v, &spans, &n, &e), 0);
    assert_int_equal(n, 300);
    for (size_t i = 0; i < n; i++) /* all alike but the first and last, which have silence beside them */
        assert_true(spans[i].start / (2 * S) == (int64_t)i && spans[i].end / (2 * S) == (int64_t)i);
    vad_free(v);
    vad_free(NULL);
    free(pcm);
    free(s.x);
}

static int setup(void **state)
{
    static char folder[] = "/tmp/steno-vad-XXXXXX";
    *state = mkdtemp(folder);
    return *state ? 0 : -1;
}

static int teardown(void **state)
{
    struct err e = ERR_INIT;
    return io_remove_tree(*state, &e);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_silence_has_no_speech),
        cmocka_unit_test(test_steady_noise_has_no_speech),
        cmocka_unit_test(test_noise_that_begins_or_ends_is_no_speech),
        cmocka_unit_test(test_short_noise_is_no_speech),
        cmocka_unit_test(test_hum_has_no_speech),
        cmocka_unit_test(test_tones_and_slow_chords_have_no_speech),
        cmocka_unit_test(test_clicks_are_no_speech),
        cmocka_unit_test(test_syllables_are_found),
        cmocka_unit_test(test_speech_may_fill_the_recording),
        cmocka_unit_test(test_spoken_sentences_are_found_whole),
        cmocka_unit_test(test_a_word_cut_out_tightly_is_found),
        cmocka_unit_test(test_the_cut_into_calls_changes_nothing),
        cmocka_unit_test(test_more_spans_than_fit_at_first),
    };
    return cmocka_run_group_tests(tests, setup, teardown);
}
