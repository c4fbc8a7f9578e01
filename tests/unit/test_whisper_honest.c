/* SPDX-License-Identifier: MIT */
/*
 * Speech is not invented and not dropped: sounds that are no speech give no text, by the way a recording goes in the
 * service (speech detection, chunks, engine) and by the engine alone; and in a recording of three hours every sentence
 * is found where it was said, at the end as at the beginning.
 */
#include "audio/plan.h"
#include "audio/vad.h"
#include "base/mem.h"
#include "engine/engine.h"
#include "whisper/tones.h"
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

enum { S = AUDIO_RATE, LENGTH = 20 * S, TEXT_MAX = 4096 };

static struct engine *engine;

static int set_up(void **state)
{
    (void)state;
    struct err err = ERR_INIT;
    CLEANUP(free_p) char *file = fixture_path("fixture.bin");
    *strrchr(file, '/') = '\0';
    const struct engine_opts o = {
        .name = "whisper", .model = "fixture", .model_path = file, .slots = 1, .precision = "f32", .threads = 2};
    if (engine_open(&o, &engine, &err) < 0)
        fail_msg("%s", err.msg);
    return 0;
}

static int tear_down(void **state)
{
    (void)state;
    engine_close(engine);
    return 0;
}

/* ---- sounds that are no speech ---- */

static uint64_t seed;

static double uniform(void)
{
    seed = seed * UINT64_C(6364136223846793005) + UINT64_C(1442695040888963407);
    return (double)(seed >> 11) / 9007199254740992.0 * 2 - 1;
}

static double level(double db)
{
    return pow(10, db / 20);
}

static void silence(double *x, double db)
{
    (void)x, (void)db;
}

static void white(double *x, double db)
{
    for (int i = 0; i < LENGTH; i++)
        x[i] += level(db) * sqrt(3) * uniform();
}

static void pink(double *x, double db)
{
    double a = 0, b = 0, c = 0;
    for (int i = 0; i < LENGTH; i++) {
        double w = uniform();
        a = 0.99765 * a + w * 0.0990460;
        b = 0.96300 * b + w * 0.2965164;
        c = 0.57000 * c + w * 1.0526913;
        x[i] += level(db) * 0.9 * (a + b + c + w * 0.1848);
    }
}

/* From one second to another, with 20 ms ramps. */
static void tone(double *x, double from, double to, double db, double hz)
{
    int a = (int)(from * S), b = (int)(to * S);
    for (int i = a; i < b && i < LENGTH; i++) {
        double ramp = fmin(1, fmin(i - a, b - i) / (0.02 * S));
        x[i] += level(db) * ramp * sin(2 * M_PI * hz * i / S);
    }
}

static void hum(double *x, double db, double hz)
{
    for (int k = 1; k <= 20; k++)
        tone(x, 0, 20, db - 20 * log10(k), hz * k);
}

static void hum_50(double *x, double db)
{
    hum(x, db, 50);
}

static void hum_60(double *x, double db)
{
    hum(x, db, 60);
}

static void clicks(double *x, double db)
{
    for (double t = 0.3; t < 19; t += 0.45)
        for (int i = 0; i < 80; i++)
            x[(int)(t * S) + i] += level(db) * uniform() * exp(-i / 20.0);
}

static void tones(double *x, double db)
{
    tone(x, 1, 6, db, 440);
    tone(x, 7, 7.4, db, 1000);
    tone(x, 9, 15, db, 3000);
}

static void chords(double *x, double db)
{
    static const double notes[4][3] = {{262, 330, 392}, {294, 349, 440}, {247, 294, 392}, {262, 349, 440}};
    for (int i = 0; i < 20; i++)
        for (int k = 0; k < 3; k++)
            for (int harmonic = 1; harmonic <= 4; harmonic++)
                tone(x, i, i + 1, db - 9 * (harmonic - 1), notes[i % 4][k] * harmonic);
}

static void melody(double *x, double db)
{
    static const double notes[] = {262, 294, 330, 349, 392, 440, 494, 523};
    for (int i = 0; i < 66; i++)
        for (int harmonic = 1; harmonic <= 3; harmonic++)
            tone(x, i * 0.3, i * 0.3 + 0.28, db - 9 * (harmonic - 1), notes[(i * 5) % 8] * harmonic);
}

static void dtmf(double *x, double db)
{
    static const double low[] = {697, 770, 852, 941}, high[] = {1209, 1336, 1477, 1633};
    for (int i = 0; i < 12; i++) {
        tone(x, 2 + i * 0.2, 2 + i * 0.2 + 0.1, db, low[i % 4]);
        tone(x, 2 + i * 0.2, 2 + i * 0.2 + 0.1, db, high[i / 3]);
    }
}

static const struct sound {
    const char *what;
    void (*make)(double *x, double db);
    double db[4]; /* 0 behind the last */
    bool gated;   /* the engine alone makes nothing of it either */
    bool tonal;
} sounds[] = {
    {"silence", silence, {-1, 0, 0, 0}, true, false},         {"white noise", white, {-70, -50, -30, -15}, true, false},
    {"pink noise", pink, {-70, -50, -30, -15}, true, false},  {"hum of 50 Hz", hum_50, {-50, -30, -15, 0}, true, true},
    {"hum of 60 Hz", hum_60, {-50, -30, -15, 0}, true, true}, {"clicks", clicks, {-30, -3, 0, 0}, false, false},
    {"tones", tones, {-40, -12, 0, 0}, true, true},           {"chords", chords, {-40, -15, 0, 0}, true, true},
    {"a melody", melody, {-40, -15, 0, 0}, true, true},       {"telephone keys", dtmf, {-40, -12, 0, 0}, true, true},
};

static int16_t *make(const struct sound *s, double db)
{
    double *x = calloc(LENGTH, sizeof *x);
    int16_t *pcm = calloc(LENGTH, sizeof *pcm);
    assert_true(x && pcm);
    seed = 7;
    s->make(x, db);
    for (int i = 0; i < LENGTH; i++)
        pcm[i] = (int16_t)lrint(fmax(-1, fmin(1, x[i])) * 32767);
    free(x);
    return pcm;
}

/* ---- the way of a recording ---- */

/* Samples [from, from + n) of it. */
typedef void (*read_fn)(const void *recording, int64_t from, int64_t n, int16_t *ret);

struct chunks {
    struct span *v;
    size_t n;
};

/* Speech detection over the whole, then the plan, as the worker makes it. */
static struct chunks plan(const void *recording, read_fn read, int64_t n)
{
    enum { PIECE = 4 * S };
    const struct engine_info *info = engine_info(engine);
    const struct plan_opts o = {
        .target_samples = info->target_samples, .max_samples = info->max_samples, .min_gap_samples = S / 2};
    struct err err = ERR_INIT;
    int16_t *piece = calloc(PIECE, sizeof *piece);
    const struct span *speech;
    size_t n_speech;
    struct chunks c = {NULL, 0};
    struct vad *v;
    assert_non_null(piece);
    assert_int_equal(vad_new(&v, &err), 0);
    for (int64_t at = 0; at < n; at += PIECE) {
        int64_t len = MIN((int64_t)PIECE, n - at);
        read(recording, at, len, piece);
        vad_feed(v, piece, (size_t)len);
    }
    assert_int_equal(vad_finish(v, &speech, &n_speech, &err), 0);
    assert_int_equal(plan_chunks(speech, n_speech, &o, NULL, &c.v, &c.n, &err), 0);
    vad_free(v);
    free(piece);
    return c;
}

static void run_chunk(const void *recording, read_fn read, struct span span, struct arena *a, struct engine_answer *ret)
{
    static const struct engine_request request = {.task = "transcribe"};
    struct err err = ERR_INIT;
    int16_t *pcm = calloc((size_t)(span.end - span.start), sizeof *pcm);
    assert_non_null(pcm);
    read(recording, span.start, span.end - span.start, pcm);
    const struct engine_chunk c = {.pcm = pcm, .span = span};
    if (engine_run(engine, &request, &c, NULL, a, ret, &err) < 0)
        fail_msg("%s", err.msg);
    free(pcm);
}

static void read_sound(const void *recording, int64_t from, int64_t n, int16_t *ret)
{
    memcpy(ret, (const int16_t *)recording + from, (size_t)n * sizeof *ret);
}

static void test_no_text_from_what_is_no_speech(void **state)
{
    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(sounds); i++)
        for (size_t k = 0; k < 4 && sounds[i].db[k] < 0; k++) {
            int16_t *pcm = make(&sounds[i], sounds[i].db[k]);
            struct chunks c = plan(pcm, read_sound, LENGTH);
            for (size_t j = 0; j < c.n; j++) {
                struct arena a = ARENA_INIT;
                struct engine_answer r;
                run_chunk(pcm, read_sound, c.v[j], &a, &r);
                for (size_t m = 0; m < r.segments.n; m++)
                    if (r.segments.v[m].text[0])
                        fail_msg("%s at %g dB: '%s'", sounds[i].what, sounds[i].db[k], r.segments.v[m].text);
                arena_clear(&a);
            }
            free(c.v);
            free(pcm);
        }
}

/* What speech detection would pass: the model's own word and the gates. */
static void test_the_engine_alone_makes_nothing_of_noise(void **state)
{
    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(sounds); i++)
        for (size_t k = 0; k < 4 && sounds[i].db[k] < 0 && sounds[i].gated; k++) {
            int16_t *pcm = make(&sounds[i], sounds[i].db[k]);
            struct arena a = ARENA_INIT;
            struct engine_answer r;
            run_chunk(pcm, read_sound, (struct span){0, LENGTH}, &a, &r);
            for (size_t m = 0; m < r.segments.n; m++)
                if (r.segments.v[m].text[0])
                    fail_msg("%s at %g dB: '%s'", sounds[i].what, sounds[i].db[k], r.segments.v[m].text);
            arena_clear(&a);
            free(pcm);
        }
}

static float *as_floats(const int16_t *pcm, size_t n)
{
    float *x = calloc(n, sizeof *x);
    assert_non_null(x);
    for (size_t i = 0; i < n; i++)
        x[i] = (float)pcm[i] / 32768;
    return x;
}

static void test_tones_are_told_from_voices(void **state)
{
    (void)state;
    static const char *const voices[] = {"01_digits", "02_one_word",   "03_commands",     "04_lists",      "05_voices",
                                         "06_faint",  "07_late_start", "08_unseen_voice", "09_two_windows"};
    for (size_t i = 0; i < ARRAY_LEN(sounds); i++)
        for (size_t k = 0; k < 4 && sounds[i].db[k] < 0; k++) {
            int16_t *pcm = make(&sounds[i], sounds[i].db[k]);
            float *x = as_floats(pcm, LENGTH);
            if (tones_only(x, LENGTH) != sounds[i].tonal)
                fail_msg("%s at %g dB", sounds[i].what, sounds[i].db[k]);
            free(x);
            free(pcm);
        }
    /* Voices alone, and the loudest second of each over a melody that is not louder. */
    double *x = calloc(LENGTH, sizeof *x);
    assert_non_null(x);
    melody(x, -25);
    for (size_t i = 0; i < ARRAY_LEN(voices); i++) {
        size_t n, loudest = 0;
        float *voice = fixture_wav(voices[i], &n);
        if (tones_only(voice, MIN(n, (size_t)WHISPER_WINDOW)))
            fail_msg("%s is taken for tones", voices[i]);
        double best = 0;
        for (size_t at = 0; at + S / 2 < n; at += S / 10) {
            double power = 0;
            for (size_t k = at; k < MIN(at + S, n); k++)
                power += (double)voice[k] * (double)voice[k];
            loudest = power > best ? at : loudest;
            best = fmax(best, power);
        }
        double gain = level(-18) / sqrt(best / S);
        float *mixed = calloc(LENGTH, sizeof *mixed);
        assert_non_null(mixed);
        for (size_t k = 0; k < LENGTH; k++)
            mixed[k] = (float)x[k];
        for (size_t k = 0; k < S && loudest + k < n; k++)
            mixed[8 * S + k] += (float)gain * voice[loudest + k];
        if (tones_only(mixed, LENGTH))
            fail_msg("%s over a melody is taken for tones", voices[i]);
        free(mixed);
        free(voice);
    }
    free(x);
    float nothing[2000] = {0};
    assert_false(tones_only(nothing, 0) || tones_only(nothing, 1024) || tones_only(nothing, 2000));
}

/* ---- three hours ---- */

enum { HOURS_3 = 3 * 3600 * S, PLACES = 12, MOST_SEGMENTS = 8 };

/* A recording of tests/fixture and when each of its segments is said. */
struct piece {
    const char *name;
    int16_t *pcm;
    int64_t n;
    struct {
        double start, end;
        const char *text;
    } segments[MOST_SEGMENTS];
    size_t n_segments;
};

struct three_hours {
    struct piece pieces[3];
    int64_t at[PLACES]; /* piece i % 3 begins there */
    int16_t floor[S];   /* faint noise, over and over */
};

static void read_hours(const void *recording, int64_t from, int64_t n, int16_t *ret)
{
    const struct three_hours *h = recording;
    for (int64_t i = 0; i < n; i++)
        ret[i] = h->floor[(from + i) % S];
    for (size_t k = 0; k < PLACES; k++) {
        const struct piece *p = &h->pieces[k % 3];
        int64_t a = MAX(h->at[k], from), b = MIN(h->at[k] + p->n, from + n);
        for (int64_t i = a; i < b; i++)
            ret[i - from] = (int16_t)(ret[i - from] + p->pcm[i - h->at[k]]);
    }
}

static void load_piece(const json_t *truth, const char *name, struct piece *ret)
{
    size_t n;
    float *pcm = fixture_wav(name, &n);
    *ret = (struct piece){.name = name, .pcm = calloc(n, sizeof *ret->pcm), .n = (int64_t)n};
    assert_non_null(ret->pcm);
    for (size_t i = 0; i < n; i++)
        ret->pcm[i] = (int16_t)lrintf(fmaxf(-0.99f, fminf(0.99f, pcm[i])) * 32767);
    free(pcm);
    json_t *list = json_object_get(json_object_get(truth, name), "segments");
    for (size_t i = 0; i < json_array_size(list) && i < MOST_SEGMENTS; i++) {
        json_t *one = json_array_get(list, i);
        ret->segments[i].start = json_number_value(json_object_get(one, "start"));
        ret->segments[i].end = json_number_value(json_object_get(one, "end"));
        ret->segments[i].text = json_string_value(json_object_get(one, "text"));
        ret->n_segments++;
    }
    assert_true(ret->n_segments > 0);
}

/* How far the answer's times are from the truth, at most; the texts must be those that were said. */
static double worst_time(const struct piece *p, int64_t at, const struct segments *got)
{
    double worst = 0;
    if (got->n != p->n_segments)
        fail_msg("%s at %.1f s: %zu segments, not %zu", p->name, samples_to_s(at), got->n, p->n_segments);
    for (size_t i = 0; i < got->n; i++) {
        double start = (double)got->v[i].start_ms / 1000 - samples_to_s(at) - p->segments[i].start;
        double end = (double)got->v[i].end_ms / 1000 - samples_to_s(at) - p->segments[i].end;
        if (word_errors(p->segments[i].text, got->v[i].text) > 0)
            fail_msg("%s at %.1f s: '%s'", p->name, samples_to_s(at), got->v[i].text);
        worst = fmax(worst, fmax(fabs(start), fabs(end)));
    }
    return worst;
}

static void test_three_hours_without_drift(void **state)
{
    (void)state;
    static const char *const names[3] = {"01_digits", "02_one_word", "03_commands"};
    struct three_hours *h = calloc(1, sizeof *h);
    assert_non_null(h);
    json_t *truth = fixture_json("reference.json");
    for (size_t i = 0; i < 3; i++)
        load_piece(truth, names[i], &h->pieces[i]);
    seed = 3;
    for (int i = 0; i < S; i++)
        h->floor[i] = (int16_t)lrint(8 * uniform());
    /* No multiple of anything, the first near the beginning and the last near the end. */
    for (size_t k = 0; k < PLACES; k++)
        h->at[k] = 54321 + (int64_t)k * (HOURS_3 - 12 * S - 54321) / (PLACES - 1);
    struct chunks c = plan(h, read_hours, HOURS_3);
    assert_int_equal(c.n, PLACES);
    double first = 0;
    for (size_t k = 0; k < PLACES; k++) {
        const struct piece *p = &h->pieces[k % 3];
        struct arena a = ARENA_INIT;
        struct engine_answer r;
        assert_true(c.v[k].start >= h->at[k] - S && c.v[k].end <= h->at[k] + p->n + S);
        run_chunk(h, read_hours, c.v[k], &a, &r);
        double worst = worst_time(p, h->at[k], &r.segments);
        first = k < 3 ? fmax(first, worst) : first;
        if (worst > 0.2)
            fail_msg("%s at %.1f s: %.3f s off", p->name, samples_to_s(h->at[k]), worst);
        if (k >= PLACES - 3)
            assert_true(worst < first + 0.05);
        arena_clear(&a);
    }
    free(c.v);
    for (size_t i = 0; i < 3; i++)
        free(h->pieces[i].pcm);
    json_decref(truth);
    free(h);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_tones_are_told_from_voices),
        cmocka_unit_test(test_no_text_from_what_is_no_speech),
        cmocka_unit_test(test_the_engine_alone_makes_nothing_of_noise),
        cmocka_unit_test(test_three_hours_without_drift),
    };
    return cmocka_run_group_tests(tests, set_up, tear_down);
}
