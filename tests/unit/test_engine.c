/* SPDX-License-Identifier: MIT */
/*
 * Engines on real speech: sentences spoken by flite that PocketSphinx is known to get exactly, and everything that can
 * go wrong with its children. This program is its own engine child.
 */
#include "engine/engine.h"

#include "base/buf.h"
#include "base/clock.h"
#include "base/io.h"
#include "base/proc.h"
#include "base/str.h"
#include "base/thread.h"
#include "engine/child.h"
#include "transcript/format.h"

#include <dirent.h>
#include <poll.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/pidfd.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#define MODEL_DIR POCKETSPHINX_MODEL_DIR

enum { LONG_MS = 120000, NOISE_S = 30, MANY = 8 };

static const char *const sentences[] = {
    "the quick brown fox jumps over the lazy dog",
    "please call me back before nine o'clock tomorrow morning",
    "the weather today is cold and windy with some rain in the afternoon",
    "the meeting will start at half past ten in the main room",
    "we need to send the report to the manager by friday",
    "he opened the window and looked out at the garden",
    "can you tell me where the nearest train station is",
    "the river runs through the middle of the old town",
    "my brother works as a teacher in a small school",
    "turn left at the next corner and walk two blocks",
    "thank you for listening to this short test recording",
};

enum { SENTENCES = ARRAY_LEN(sentences) };

struct sound {
    int16_t *pcm;
    int64_t n;
};

/* What all tests use; made once. */
struct fixture {
    char folder[32];
    struct sound speech[SENTENCES];
    struct sound noise; /* slow: half a minute of loud white noise keeps the recognizer busy for seconds */
};

static struct sound speak(const struct fixture *f, const char *text)
{
    struct err e = ERR_INIT;
    struct proc *p;
    int status = -1;
    CLEANUP(free_p) char *path = xasprintf("%s/speech.wav", f->folder);
    const char *const argv[] = {"flite", "--setf", "duration_stretch=1.2", "-voice", "rms", "-t", text, "-o",
                                path,    NULL};
    assert_int_equal(proc_spawn(&(struct proc_opts){.path = "flite", .argv = argv, .keep_stderr = true}, &p, &e), 0);
    assert_int_equal(proc_wait(p, LONG_MS, &status, &e), 1);
    proc_free(p);
    assert_int_equal(status, 0);
    char *wav;
    size_t n;
    assert_int_equal(io_read_file(path, 10 << 20, &wav, &n, &e), 0);
    assert_true(n > 44 && memcmp(wav + 24, "\x80\x3e\0\0", 4) == 0); /* 16 kHz; then samples only */
    struct sound s = {malloc(n - 44), (int64_t)(n - 44) / 2};
    assert_non_null(s.pcm);
    memcpy(s.pcm, wav + 44, (size_t)s.n * 2);
    free(wav);
    unlink(path);
    return s;
}

static struct sound make_noise(int64_t n, int32_t loudness)
{
    struct sound s = {malloc((size_t)n * sizeof *s.pcm), n};
    assert_non_null(s.pcm);
    uint32_t seed = 1;
    for (int64_t i = 0; i < n; i++) {
        seed = seed * 1664525u + 1013904223u;
        s.pcm[i] = (int16_t)((int32_t)(seed >> 16) * loudness / 65536 - loudness / 2);
    }
    return s;
}

static int set_up(void **state)
{
    struct fixture *f = xcalloc(1, sizeof *f);
    memcpy(f->folder, "/tmp/steno-engine-XXXXXX", 25);
    if (!mkdtemp(f->folder))
        return -1;
    for (size_t i = 0; i < SENTENCES; i++)
        f->speech[i] = speak(f, sentences[i]);
    f->noise = make_noise(NOISE_S * AUDIO_RATE, 20000);
    *state = f;
    return 0;
}

static int tear_down(void **state)
{
    struct fixture *f = *state;
    struct err e = ERR_INIT;
    for (size_t i = 0; i < SENTENCES; i++)
        free(f->speech[i].pcm);
    free(f->noise.pcm);
    int rc = io_remove_tree(f->folder, &e);
    free(f);
    return rc;
}

static struct engine *must_open(const struct engine_opts *opts)
{
    struct engine *e = NULL;
    struct err err = ERR_INIT;
    if (engine_open(opts, &e, &err) < 0)
        fail_msg("%s", err.msg);
    return e;
}

static struct engine *open_sphinx(unsigned slots, int64_t chunk_time_ms)
{
    return must_open(&(struct engine_opts){.name = "pocketsphinx", .slots = slots, .chunk_time_ms = chunk_time_ms});
}

static const struct engine_request plain = {.task = "transcribe"};

/* One call; the answer as checkpoint JSON (caller frees), NULL after a failure. */
static char *run(struct engine *e, const struct sound *s, int64_t start, const struct cancel *cancel, int *rc,
                 struct err *err)
{
    CLEANUP(arena_clear) struct arena a = ARENA_INIT;
    struct engine_chunk c = {.pcm = s->pcm, .span = {start, start + s->n}};
    struct engine_answer answer = {.state = NULL};
    *rc = engine_run(e, &plain, &c, cancel, &a, &answer, err);
    if (*rc < 0)
        return NULL;
    struct buf b = BUF_INIT(1 << 20);
    *rc = segments_to_json(&answer.segments, &b, err);
    return buf_take(&b);
}

/* Children of a process that are engine children of ours, running. */
static size_t children_of(pid_t parent, pid_t *ret, size_t max)
{
    size_t n = 0;
    DIR *d = opendir("/proc");
    assert_non_null(d);
    for (struct dirent *e; (e = readdir(d));) {
        int64_t pid;
        if (!str_to_i64(e->d_name, &pid))
            continue;
        char path[64], stat[512] = "", cmdline[512] = "";
        snprintf(path, sizeof path, "/proc/%d/stat", (int)pid);
        FILE *f = fopen(path, "re");
        if (!f)
            continue;
        size_t got = fread(stat, 1, sizeof stat - 1, f);
        fclose(f);
        const char *after = got ? strrchr(stat, ')') : NULL; /* then " S PPID ..." */
        if (!after || strlen(after) < 5 || after[2] == 'Z' || strtol(after + 4, NULL, 10) != parent)
            continue;
        snprintf(path, sizeof path, "/proc/%d/cmdline", (int)pid);
        f = fopen(path, "re");
        if (!f)
            continue;
        got = fread(cmdline, 1, sizeof cmdline - 1, f);
        fclose(f);
        if (got > 15 && strcmp(cmdline + strlen(cmdline) + 1, "__engine") == 0 && n < max)
            ret[n++] = (pid_t)pid;
    }
    closedir(d);
    return n;
}

static size_t count_children(void)
{
    pid_t pids[MANY];
    return children_of(getpid(), pids, MANY);
}

static pid_t only_child_of(pid_t parent)
{
    pid_t pids[MANY];
    for (int64_t until = clock_mono_ms() + LONG_MS; clock_mono_ms() < until; clock_sleep_ms(20)) {
        size_t n = children_of(parent, pids, MANY);
        assert_true(n <= 1);
        if (n)
            return pids[0];
    }
    fail_msg("no child appeared");
    return -1;
}

/* ---- choice and checks ---- */

static void test_choosing_an_engine(void **state)
{
    (void)state;
    static const struct {
        struct engine_opts opts;
        int want;
        const char *says; /* the engine, or a part of the error */
    } rows[] = {
        {{.name = "auto", .slots = 1}, 0, "pocketsphinx"},
        {{.name = NULL, .slots = 1}, 0, "pocketsphinx"},
        {{.name = "pocketsphinx", .slots = 1}, 0, "pocketsphinx"},
        {{.name = "pocketsphinx", .slots = 1, .model = "en-us"}, 0, "pocketsphinx"},
        {{.name = "pocketsphinx", .slots = 1, .model = "", .model_path = ""}, 0, "pocketsphinx"},
        {{.name = "pocketsphinx", .slots = 1, .model_path = MODEL_DIR}, 0, "pocketsphinx"},
        {{.name = "null", .slots = 1}, 0, "null"},
        {{.name = "null", .slots = 1, .model = "large", .model_path = "/nowhere"}, 0, "null"},
        {{.name = "auto", .slots = 1, .model_path = "/nowhere"}, ERR_UNAVAILABLE, "apt-get install pocketsphinx-en-us"},
        {{.name = "pocketsphinx", .slots = 1, .model_path = "/nowhere"}, ERR_UNAVAILABLE, "or set model_path"},
        {{.name = "pocketsphinx", .slots = 1, .model_path = MODEL_DIR "/en-us"}, ERR_UNAVAILABLE, "cannot be read"},
        {{.name = "pocketsphinx", .slots = 1, .model = "base"}, ERR_INVALID, "no model 'base', only 'en-us'"},
        {{.name = "whisper", .slots = 1}, ERR_UNAVAILABLE, "no Whisper model in"},
        {{.name = "gemini", .slots = 1}, ERR_UNSUPPORTED, "set gemini_api_key"},
        {{.name = "gemini", .slots = 1, .gemini.key = "k"}, 0, "gemini"},
        {{.name = "gemini", .gemini.key = "k", .model = "base"}, ERR_INVALID, "'base' is no model of Gemini"},
        {{.name = "gemini", .gemini.key = "k", .model = "gemini-2/../x"}, ERR_INVALID, "is no model of Gemini"},
        {{.name = "gemini", .gemini.key = "k\r\nHost: x"}, ERR_INVALID, "gemini_api_key has a line break"},
        {{.name = "gemini", .gemini.key = "k", .ca_file = "/nowhere"}, ERR_INVALID, "'/nowhere', cannot be read"},
        {{.name = "openai", .slots = 1}, ERR_UNSUPPORTED, "set openai_api_key or openai_url"},
        {{.name = "openai", .slots = 1, .openai.key = "k"}, 0, "openai"},
        {{.name = "openai", .openai.key = "k", .model = "base"}, ERR_INVALID, "'base' is no model of OpenAI"},
        {{.name = "openai", .openai.key = "k", .openai.url = "http://h/v1", .model = "base"}, 0, "openai"},
        {{.name = "openai", .slots = 1, .openai.url = "http://127.0.0.1:1/v1"}, 0, "openai"},
        {{.name = "Null", .slots = 1}, ERR_UNSUPPORTED, "use auto, whisper, pocketsphinx, gemini, openai, null"},
        {{.name = "", .slots = 1}, ERR_UNSUPPORTED, "no engine ''"},
        {{.name = "null", .slots = 0}, 0, "null"},
        {{.name = "null", .slots = 1, .chunk_time_ms = -1}, ERR_INVALID, "negative"},
    };
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        struct err err = ERR_INIT;
        struct engine *e = NULL;
        int rc = engine_open(&rows[i].opts, &e, &err);
        if (rc != rows[i].want || !strstr(rc < 0 ? err.msg : engine_info(e)->name, rows[i].says))
            fail_msg("row %zu: %s, %s", i, err_name(rc), err.msg);
        engine_close(e);
    }
    assert_int_equal(count_children(), 0); /* opening starts none */
}

static void test_the_list(void **state)
{
    (void)state;
    const struct engine_info *const *list = engine_list();
    assert_string_equal(list[0]->name, "whisper");
    assert_string_equal(list[0]->quality, "standard");
    assert_int_equal(list[0]->caps, ENGINE_NEEDS_PCM | ENGINE_FOLLOWS | ENGINE_INTERRUPTS | ENGINE_DETECTS);
    assert_string_equal(list[1]->name, "pocketsphinx");
    assert_string_equal(list[1]->quality, "draft");
    assert_int_equal(list[1]->caps, ENGINE_NEEDS_PCM);
    for (size_t i = 0; i < 2; i++)
        assert_true(list[i]->target_samples > 0 && list[i]->target_samples <= list[i]->max_samples &&
                    list[i]->max_samples <= CHILD_MAX_SAMPLES);
    assert_string_equal(list[2]->name, "gemini");
    assert_string_equal(list[3]->name, "openai");
    assert_string_equal(list[4]->name, "null");
    assert_string_equal(list[4]->quality, "test");
    assert_int_equal(list[4]->caps, 0);
    assert_null(list[5]);
}

static void test_requests_that_never_work(void **state)
{
    struct fixture *f = *state;
    static const struct {
        struct engine_request r;
        int want;
        const char *says;
    } rows[] = {
        {{.task = NULL}, 0, ""},
        {{.task = "transcribe", .language = "en", .model = "en-us", .prompt = "names"}, 0, ""},
        {{.language = "EN"}, 0, ""},
        {{.language = "en-US"}, 0, ""},
        {{.language = "en_GB"}, 0, ""},
        {{.language = "english"}, 0, ""},
        {{.language = "English"}, 0, ""},
        {{.language = "", .model = ""}, 0, ""},
        {{.sequential = true}, ERR_UNSUPPORTED, "use decode_mode batched"},
        {{.language = "de"}, ERR_UNSUPPORTED, "only knows English, not 'de'"},
        {{.language = "enm"}, ERR_UNSUPPORTED, "only knows English"},
        {{.language = "e"}, ERR_UNSUPPORTED, "only knows English"},
        {{.language = "eng"}, ERR_UNSUPPORTED, "only knows English"},
        {{.language = "german"}, ERR_UNSUPPORTED, "only knows English"},
        {{.language = "auto"}, ERR_UNSUPPORTED, "only knows English"},
        {{.task = "translate"}, ERR_UNSUPPORTED, "cannot translate"},
        {{.task = "summarize"}, ERR_INVALID, "no task 'summarize'"},
        {{.model = "whisper-1"}, ERR_INVALID, "no model 'whisper-1', only 'en-us'"},
    };
    struct engine *e = open_sphinx(1, 0);
    struct arena a = ARENA_INIT;
    struct engine_chunk c = {.pcm = f->noise.pcm, .span = {0, 100}};
    struct engine_answer answer;
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        struct err err = ERR_INIT;
        int rc = engine_check(e, &rows[i].r, &err);
        if (rc != rows[i].want || !strstr(err.msg, rows[i].says))
            fail_msg("row %zu: %s, %s", i, err_name(rc), err.msg);
        if (rc < 0)
            assert_int_equal(engine_run(e, &rows[i].r, &c, NULL, &a, &answer, &err), rc);
    }
    assert_string_equal(engine_model(e, &plain), "en-us");
    assert_int_equal(count_children(), 0);

    struct err err = ERR_INIT;
    c.span.end = engine_info(e)->max_samples + 1;
    assert_int_equal(engine_run(e, &plain, &c, NULL, &a, &answer, &err), ERR_INTERNAL);
    c.span = (struct span){5, 4};
    assert_int_equal(engine_run(e, &plain, &c, NULL, &a, &answer, &err), ERR_INTERNAL);
    c = (struct engine_chunk){.span = {0, 100}};
    assert_int_equal(engine_run(e, &plain, &c, NULL, &a, &answer, &err), ERR_INTERNAL);
    engine_close(e);
    engine_close(NULL);
}

static void test_null(void **state)
{
    (void)state;
    struct engine *e = must_open(&(struct engine_opts){.name = "null", .slots = 1});
    struct err err = ERR_INIT;
    struct arena a = ARENA_INIT;
    struct engine_request r = {.task = "translate", .language = "xx", .model = "large"};
    struct engine_chunk c = {.span = {16000, 40000}};
    struct engine_answer answer;
    assert_string_equal(engine_model(e, &r), "null");
    assert_int_equal(engine_run(e, &r, &c, NULL, &a, &answer, &err), 0);
    assert_int_equal(answer.segments.n, 1);
    assert_string_equal(answer.segments.v[0].text, "null engine: no transcription was made");
    assert_int_equal(answer.segments.v[0].start_ms, 1000);
    assert_int_equal(answer.segments.v[0].end_ms, 2500);
    assert_null(answer.state);
    struct cancel inner = {.also = &(struct cancel){.flag = true}};
    assert_int_equal(engine_run(e, &r, &c, &inner, &a, &answer, &err), ERR_CANCELLED);
    r.task = "sing";
    assert_int_equal(engine_run(e, &r, &c, NULL, &a, &answer, &err), ERR_INVALID);
    arena_clear(&a);
    engine_close(e);
}

/* ---- speech ---- */

struct caller {
    pthread_t thread;
    struct engine *engine;
    const struct fixture *f;
    size_t first, step;
    char **answers;
    size_t most_children;
    bool failed;
};

static void *call_some(void *arg)
{
    struct caller *c = arg;
    for (size_t i = c->first; i < SENTENCES; i += c->step) {
        struct err err = ERR_INIT;
        int rc;
        c->answers[i] = run(c->engine, &c->f->speech[i], AUDIO_RATE, NULL, &rc, &err);
        c->failed = c->failed || rc < 0;
        c->most_children = MAX(c->most_children, count_children());
    }
    return NULL;
}

/* Text and times of an answer whose chunk began at 1 s. */
static void check_sentence(const char *json, size_t i, int64_t n_samples)
{
    struct arena a = ARENA_INIT;
    struct segments s;
    struct err err = ERR_INIT;
    assert_int_equal(segments_from_json(json, strlen(json), &a, &s, &err), 0);
    assert_int_equal(s.n, 1);
    assert_string_equal(s.v[0].text, sentences[i]);
    assert_string_equal(s.language, "en");
    const struct word *w = s.v[0].words;
    size_t n = s.v[0].n_words;
    assert_true(n > 5 && !s.v[0].has_stats);
    assert_true(s.v[0].start_ms == w[0].start_ms && s.v[0].end_ms == w[n - 1].end_ms);
    struct buf joined = BUF_INIT(1000);
    int64_t floor = 1000;
    for (size_t k = 0; k < n; k++) {
        assert_true(w[k].start_ms >= floor && w[k].end_ms > w[k].start_ms);
        assert_true(w[k].probability >= 0 && w[k].probability <= 1);
        floor = w[k].end_ms;
        buf_addf(&joined, "%s%s", k ? " " : "", w[k].text);
    }
    int64_t end = samples_to_ms(AUDIO_RATE + n_samples);
    assert_true(floor <= end);
    /* flite is silent for about 0.2 s before and behind what it says: a word clock that lags or leads would show. */
    assert_in_range(w[0].start_ms, 1000, 1400);
    assert_in_range(floor, end - 700, end);
    assert_string_equal(buf_str(&joined), sentences[i]);
    buf_clear(&joined);
    arena_clear(&a);
}

/* Four callers share two children; then one child hears half of it backwards: the answers are exact, and the same. */
static void test_sentences_in_any_order_by_any_child(void **state)
{
    const struct fixture *f = *state;
    struct err err = ERR_INIT;
    char *answers[SENTENCES] = {NULL};
    struct caller callers[4];
    struct engine *e = open_sphinx(2, LONG_MS);
    for (size_t i = 0; i < ARRAY_LEN(callers); i++) {
        callers[i] = (struct caller){.engine = e, .f = f, .first = i, .step = ARRAY_LEN(callers), .answers = answers};
        assert_int_equal(thread_start(&callers[i].thread, "caller", call_some, &callers[i], &err), 0);
    }
    size_t most = 0;
    for (size_t i = 0; i < ARRAY_LEN(callers); i++) {
        pthread_join(callers[i].thread, NULL);
        assert_false(callers[i].failed);
        most = MAX(most, callers[i].most_children);
    }
    assert_int_equal(most, 2);
    engine_close(e);
    assert_int_equal(count_children(), 0);

    e = open_sphinx(1, LONG_MS);
    for (size_t i = SENTENCES; i-- > 0;) {
        check_sentence(answers[i], i, f->speech[i].n);
        if (i % 2) {
            free(answers[i]);
            continue;
        }
        int rc;
        char *again = run(e, &f->speech[i], AUDIO_RATE, NULL, &rc, &err);
        assert_int_equal(rc, 0);
        assert_string_equal(again, answers[i]);
        free(again);
        free(answers[i]);
    }
    engine_close(e);
}

static void test_times_count_from_the_start_of_the_recording(void **state)
{
    const struct fixture *f = *state;
    struct engine *e = open_sphinx(1, LONG_MS);
    const int64_t start = (int64_t)10 * 3600 * AUDIO_RATE + 1234; /* not on a millisecond */
    struct segments s[2];
    struct arena a = ARENA_INIT;
    for (int i = 0; i < 2; i++) {
        struct err err = ERR_INIT;
        int rc;
        char *json = run(e, &f->speech[0], i ? start : 0, NULL, &rc, &err);
        assert_int_equal(rc, 0);
        assert_int_equal(segments_from_json(json, strlen(json), &a, &s[i], &err), 0);
        free(json);
    }
    assert_int_equal(s[0].v[0].n_words, s[1].v[0].n_words);
    for (size_t k = 0; k < s[0].v[0].n_words; k++) {
        const struct word *w = &s[0].v[0].words[k], *later = &s[1].v[0].words[k];
        assert_int_equal(w->start_ms % 10, 0); /* frames of 10 ms, exactly */
        assert_int_equal(later->start_ms, samples_to_ms(start + w->start_ms * AUDIO_RATE / 1000));
        assert_int_equal(later->end_ms, samples_to_ms(start + w->end_ms * AUDIO_RATE / 1000));
    }
    arena_clear(&a);
    engine_close(e);
}

static void test_long_pauses_make_segments(void **state)
{
    const struct fixture *f = *state;
    static const size_t parts[] = {3, 4, 5, 7};
    const int64_t pause = AUDIO_RATE * 8 / 10;
    struct sound s = {calloc((size_t)engine_list()[0]->max_samples, sizeof *s.pcm), 0};
    assert_non_null(s.pcm);
    int64_t at[ARRAY_LEN(parts)];
    for (size_t i = 0; i < ARRAY_LEN(parts); i++) {
        const struct sound *part = &f->speech[parts[i]];
        at[i] = s.n;
        assert_true(s.n + part->n + pause <= engine_list()[0]->max_samples);
        memcpy(s.pcm + s.n, part->pcm, (size_t)part->n * sizeof *s.pcm);
        s.n += part->n + pause;
    }
    struct engine *e = open_sphinx(1, LONG_MS);
    struct err err = ERR_INIT;
    int rc;
    char *json = run(e, &s, 0, NULL, &rc, &err);
    struct arena a = ARENA_INIT;
    struct segments got;
    assert_int_equal(rc, 0);
    assert_int_equal(segments_from_json(json, strlen(json), &a, &got, &err), 0);
    assert_int_equal(got.n, ARRAY_LEN(parts));
    for (size_t i = 0; i < got.n; i++) {
        assert_string_equal(got.v[i].text, sentences[parts[i]]);
        assert_in_range(got.v[i].start_ms, samples_to_ms(at[i]), samples_to_ms(at[i]) + 400);
        assert_in_range(got.v[i].end_ms, samples_to_ms(at[i] + f->speech[parts[i]].n) - 700,
                        samples_to_ms(at[i] + f->speech[parts[i]].n) + 100);
    }
    free(json);
    free(s.pcm);
    arena_clear(&a);
    engine_close(e);
}

/* Speech without a pause longer than a subtitle should be is cut all the same, and nothing is lost by it. */
static void test_long_pieces_are_cut(void **state)
{
    const struct fixture *f = *state;
    struct sound s =
        speak(f, "we need to send the report to the manager by friday and he opened the window and looked out "
                 "at the garden and my brother works as a teacher in a small school and the river runs "
                 "through the middle of the old town and you can turn left at the next corner");
    assert_true(s.n > 12 * AUDIO_RATE && s.n < engine_list()[0]->max_samples);
    struct engine *e = open_sphinx(1, LONG_MS);
    struct err err = ERR_INIT;
    int rc;
    char *json = run(e, &s, 0, NULL, &rc, &err);
    struct arena a = ARENA_INIT;
    struct segments got;
    assert_int_equal(rc, 0);
    assert_int_equal(segments_from_json(json, strlen(json), &a, &got, &err), 0);
    assert_true(got.n >= 2);
    for (size_t i = 0; i < got.n; i++) {
        assert_true(got.v[i].end_ms - got.v[i].start_ms <= 10000);
        assert_true(got.v[i].n_words >= 3); /* no crumbs */
        assert_true(i == 0 || got.v[i].start_ms >= got.v[i - 1].end_ms);
    }
    free(json);
    free(s.pcm);
    arena_clear(&a);
    engine_close(e);
}

static void test_no_words_where_there_are_none(void **state)
{
    (void)state;
    const struct {
        const char *name;
        struct sound sound;
        size_t children; /* silence does not even start one */
    } rows[] = {
        {"nothing", make_noise(0, 1), 0},
        {"zeros", make_noise(20 * AUDIO_RATE, 0), 0},
        {"dither", make_noise(5 * AUDIO_RATE, 3), 0},
        {"10 ms of noise", make_noise(AUDIO_RATE / 100, 20000), 1},
        {"one sample", make_noise(1, 20000), 1},
        {"loud noise", make_noise(2 * AUDIO_RATE, 20000), 1},
    };
    struct engine *e = open_sphinx(1, LONG_MS);
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        struct err err = ERR_INIT;
        int rc;
        char *json = run(e, &rows[i].sound, 0, NULL, &rc, &err);
        if (rc < 0 || !strstr(json, "\"segments\":[]"))
            fail_msg("%s: %s", rows[i].name, rc < 0 ? err.msg : json);
        assert_int_equal(count_children(), rows[i].children);
        free(json);
        free(rows[i].sound.pcm);
    }
    engine_close(e);
}

/* ---- trouble ---- */

struct slow_call {
    pthread_t thread;
    struct engine *engine;
    const struct sound *sound;
    const struct cancel *cancel;
    int rc;
    struct err err;
    int64_t ended_ms;
};

static void *call_slowly(void *arg)
{
    struct slow_call *c = arg;
    free(run(c->engine, c->sound, 0, c->cancel, &c->rc, &c->err));
    c->ended_ms = clock_mono_ms();
    return NULL;
}

static void start_call(struct slow_call *c, struct engine *e, const struct sound *s, const struct cancel *cancel)
{
    struct err err = ERR_INIT;
    *c = (struct slow_call){.engine = e, .sound = s, .cancel = cancel};
    assert_int_equal(thread_start(&c->thread, "slow", call_slowly, c, &err), 0);
}

/* A sentence through the engine: brings a child up, or shows that all is well again. */
static void must_work(struct engine *e, const struct fixture *f)
{
    struct err err = ERR_INIT;
    int rc;
    char *json = run(e, &f->speech[0], AUDIO_RATE, NULL, &rc, &err);
    if (rc < 0)
        fail_msg("%s", err.msg);
    check_sentence(json, 0, f->speech[0].n);
    free(json);
}

static void test_cancel(void **state)
{
    const struct fixture *f = *state;
    struct engine *e = open_sphinx(1, 0);
    must_work(e, f);
    struct cancel cancel = {.flag = false}, waiting_cancel = {.flag = false};
    struct slow_call working, waiting;
    start_call(&working, e, &f->noise, &cancel);
    clock_sleep_ms(300); /* into the chunk */
    start_call(&waiting, e, &f->noise, &waiting_cancel);
    clock_sleep_ms(100);

    int64_t asked = clock_mono_ms();
    cancel_set(&waiting_cancel);
    pthread_join(waiting.thread, NULL);
    assert_int_equal(waiting.rc, ERR_CANCELLED);
    assert_true(waiting.ended_ms - asked < 1000);
    assert_int_equal(count_children(), 1);

    asked = clock_mono_ms();
    cancel_set(&cancel);
    pthread_join(working.thread, NULL);
    assert_int_equal(working.rc, ERR_CANCELLED);
    assert_true(working.ended_ms - asked < 1000);
    assert_int_equal(count_children(), 0);
    must_work(e, f);

    int rc;
    struct err err = ERR_INIT;
    assert_null(run(e, &f->noise, 0, &cancel, &rc, &err)); /* set before: no call at all */
    assert_int_equal(rc, ERR_CANCELLED);
    assert_int_equal(count_children(), 1);
    engine_close(e);
}

static void test_time_limit(void **state)
{
    const struct fixture *f = *state;
    struct engine *e = open_sphinx(1, 1500);
    struct err err = ERR_INIT;
    int rc;
    int64_t asked = clock_mono_ms();
    assert_null(run(e, &f->noise, 0, NULL, &rc, &err));
    assert_int_equal(rc, ERR_TIMEOUT);
    assert_in_range(clock_mono_ms() - asked, 1500, 2500);
    assert_int_equal(count_children(), 0);
    engine_close(e);
}

static void test_a_killed_child(void **state)
{
    const struct fixture *f = *state;
    struct engine *e = open_sphinx(1, 0);
    must_work(e, f);
    struct slow_call call;
    start_call(&call, e, &f->noise, NULL);
    clock_sleep_ms(300);
    pid_t first = only_child_of(getpid());
    kill(first, SIGKILL);
    pthread_join(call.thread, NULL);
    assert_int_equal(call.rc, ERR_CRASHED);
    assert_true(err_retryable(call.rc));
    assert_non_null(strstr(call.err.msg, "killed by signal 9"));
    must_work(e, f);

    /* Killed while idle, nobody notices but a slower next call. */
    pid_t second = only_child_of(getpid());
    assert_int_not_equal(first, second);
    CLEANUP(close_fd) int watch = pidfd_open(second, 0); /* /proc shows it as a zombie before its last thread is gone */
    assert_true(watch >= 0);
    kill(second, SIGKILL);
    assert_int_equal(poll(&(struct pollfd){.fd = watch, .events = POLLIN}, 1, LONG_MS), 1);
    must_work(e, f);
    assert_int_not_equal(only_child_of(getpid()), second);
    engine_close(e);
    assert_int_equal(count_children(), 0);
}

/* A folder that looks like the model, file by file. */
static void link_model(const char *folder)
{
    static const char *const files[] = {"en-us/feat.params", "en-us/mdef",    "en-us/means",
                                        "en-us/noisedict",   "en-us/sendump", "en-us/transition_matrices",
                                        "en-us/variances",   "en-us.lm.bin",  "cmudict-en-us.dict"};
    struct err err = ERR_INIT;
    CLEANUP(free_p) char *inner = xasprintf("%s/en-us", folder);
    assert_int_equal(io_mkdir_p(inner, &err), 0);
    for (size_t i = 0; i < ARRAY_LEN(files); i++) {
        CLEANUP(free_p) char *link = xasprintf("%s/%s", folder, files[i]);
        CLEANUP(free_p) char *target = xasprintf("%s/%s", MODEL_DIR, files[i]);
        unlink(link);
        assert_int_equal(symlink(target, link), 0);
    }
}

/* In place of the link, the first n bytes of the file. */
static void cut_file(const char *folder, const char *file, size_t n)
{
    struct err err = ERR_INIT;
    CLEANUP(free_p) char *path = xasprintf("%s/%s", folder, file);
    CLEANUP(free_p) char *whole = NULL;
    size_t len;
    assert_int_equal(io_read_file(path, 64 << 20, &whole, &len, &err), 0);
    assert_true(len > n);
    unlink(path);
    FILE *f = fopen(path, "we");
    assert_non_null(f);
    assert_int_equal(fwrite(whole, 1, n, f), n);
    fclose(f);
}

/*
 * PocketSphinx reads beyond its buffers on damaged models: that it may crash is what the test is about. What the
 * sanitizer says of it in the children goes to their standard error only, not to the reports that count against us.
 */
static void keep_reports_of_children(bool keep)
{
    static const char *const names[] = {"ASAN_OPTIONS", "TSAN_OPTIONS"};
    static char saved[ARRAY_LEN(names)][1024];
    for (size_t i = 0; i < ARRAY_LEN(names); i++) {
        if (keep) {
            setenv(names[i], saved[i], 1);
            continue;
        }
        const char *now = getenv(names[i]);
        snprintf(saved[i], sizeof saved[i], "%s", now ? now : "");
        char without[2200]; /* room for all of `saved`, as the compiler sees it */
        snprintf(without, sizeof without, "%s:log_path=stderr", saved[i]);
        setenv(names[i], without, 1);
    }
}

static void test_damaged_models(void **state)
{
    const struct fixture *f = *state;
    keep_reports_of_children(false);
    static const struct {
        const char *file;
        size_t n;
    } rows[] = {
        {"en-us/sendump", 0},       {"en-us/sendump", 5000},  {"en-us/sendump", 500000},
        {"en-us/sendump", 1969000}, {"en-us/mdef", 100},      {"en-us/mdef", 5000}, /* segmentation fault */
        {"en-us/means", 5000},      {"en-us/variances", 100}, {"en-us/transition_matrices", 100},
        {"en-us/feat.params", 100}, {"en-us.lm.bin", 0},      {"en-us.lm.bin", 500000},
    };
    CLEANUP(free_p) char *folder = xasprintf("%s/model", f->folder);
    link_model(folder);
    struct engine *e = must_open(&(struct engine_opts){.name = "pocketsphinx", .slots = 1, .model_path = folder});
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        cut_file(folder, rows[i].file, rows[i].n);
        struct err err = ERR_INIT;
        int rc;
        free(run(e, &f->speech[0], 0, NULL, &rc, &err));
        if (rc != ERR_CORRUPT || !strstr(err.msg, "seems to be damaged: install pocketsphinx-en-us anew"))
            fail_msg("%s cut to %zu: %s, %s", rows[i].file, rows[i].n, err_name(rc), err.msg);
        link_model(folder);
    }
    keep_reports_of_children(true);
    must_work(e, f);
    engine_close(e);

    /* Gone between open and use. */
    e = must_open(&(struct engine_opts){.name = "pocketsphinx", .slots = 1, .model_path = folder});
    struct err err = ERR_INIT;
    assert_int_equal(io_remove_tree(folder, &err), 0);
    int rc;
    assert_null(run(e, &f->speech[0], 0, NULL, &rc, &err));
    assert_int_equal(rc, ERR_UNAVAILABLE);
    assert_non_null(strstr(err.msg, "apt-get install pocketsphinx-en-us"));
    engine_close(e);
}

/* A child spoken to by hand, so that its exit status can be seen: leaks would show in it. */
static void test_a_child_ends_cleanly(void **state)
{
    const struct fixture *f = *state;
    struct err err = ERR_INIT;
    int pair[2];
    assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair), 0);
    const char *const argv[] = {"test", "__engine", "pocketsphinx", MODEL_DIR, NULL};
    const struct proc_fd fd = {CHILD_FD, pair[1]};
    struct proc *p;
    assert_int_equal(
        proc_spawn(&(struct proc_opts){.argv = argv, .fds = &fd, .n_fds = 1, .keep_stderr = true}, &p, &err), 0);
    close(pair[1]);
    for (int i = 0; i < 3; i++) { /* hello, then two answers */
        struct child_reply reply;
        assert_int_equal(io_read_full(pair[0], &reply, sizeof reply, &err), sizeof reply);
        assert_int_equal(reply.status, 0);
        char *body = xcalloc(reply.size + 1, 1);
        assert_int_equal(io_read_full(pair[0], body, reply.size, &err), reply.size);
        if (i)
            assert_non_null(strstr(body, sentences[0]));
        free(body);
        if (i == 2)
            break;
        struct child_ask ask = {CHILD_MAGIC, CHILD_VERSION, 0, (uint64_t)f->speech[0].n};
        assert_int_equal(io_write_all(pair[0], &ask, sizeof ask, &err), 0);
        assert_int_equal(io_write_all(pair[0], f->speech[0].pcm, (size_t)f->speech[0].n * 2, &err), 0);
    }
    close(pair[0]);
    int status = -1;
    assert_int_equal(proc_wait(p, LONG_MS, &status, &err), 1);
    assert_int_equal(status, 0);
    proc_free(p);
}

static void test_what_is_no_engine_child(void **state)
{
    (void)state;
    static const char *const lines[][3] = {{NULL}, {"null", NULL}, {"whisper", NULL}, {"pocketsphinx", NULL}};
    for (size_t i = 0; i < ARRAY_LEN(lines); i++) {
        const char *argv[6] = {"test", "__engine", lines[i][0], lines[i][0] ? lines[i][1] : NULL, NULL};
        struct err err = ERR_INIT;
        struct proc *p;
        int status = -1;
        assert_int_equal(proc_spawn(&(struct proc_opts){.argv = argv}, &p, &err), 0);
        assert_int_equal(proc_wait(p, LONG_MS, &status, &err), 1);
        assert_true(WIFEXITED(status) && WEXITSTATUS(status) == 2);
        proc_free(p);
    }
}

/* The other end of the test below: a worker in the middle of a chunk. */
static int hold_engine(void)
{
    struct err err = ERR_INIT;
    struct engine *e;
    struct sound noise = make_noise(NOISE_S * AUDIO_RATE, 20000);
    if (engine_open(&(struct engine_opts){.name = "pocketsphinx", .slots = 1}, &e, &err) < 0)
        return 1;
    for (;;) {
        int rc;
        free(run(e, &noise, 0, NULL, &rc, &err));
    }
}

static void test_children_end_with_a_killed_worker(void **state)
{
    (void)state;
    struct err err = ERR_INIT;
    struct proc *worker;
    const char *const argv[] = {"test", "__hold", NULL};
    assert_int_equal(proc_spawn(&(struct proc_opts){.argv = argv, .keep_stderr = true}, &worker, &err), 0);
    pid_t child = only_child_of(proc_pid(worker));
    CLEANUP(close_fd) int watch = pidfd_open(child, 0);
    assert_true(watch >= 0);
    clock_sleep_ms(1500); /* loading is over by now, or not: the child must end either way */
    proc_free(worker);    /* SIGKILL */
    struct pollfd pfd = {.fd = watch, .events = POLLIN};
    assert_int_equal(poll(&pfd, 1, 5000), 1);
}

static void test_models(void **state)
{
    (void)state;
    static const struct {
        struct engine_opts opts;
        const char *model;
        bool multilingual;
    } rows[] = {
        {{.name = "null", .slots = 1}, "null", true},
        {{.name = "pocketsphinx", .slots = 1}, "en-us", false},
    };
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        CLEANUP(arena_clear) struct arena a = ARENA_INIT;
        struct engine_model *v = NULL;
        size_t n = 0;
        struct engine *e = NULL;
        struct err err = ERR_INIT;
        assert_int_equal(engine_open(&rows[i].opts, &e, &err), 0);
        assert_int_equal(engine_models(e, &a, &v, &n, &err), 0);
        assert_int_equal(n, 1);
        assert_string_equal(v->name, rows[i].model);
        assert_true(v->multilingual == rows[i].multilingual && v->can_translate == rows[i].multilingual);
        engine_close(e);
    }
}

int main(int argc, char **argv)
{
    if (argc > 1 && str_eq(argv[1], "__engine"))
        return engine_child_main(argc, argv);
    if (argc > 1 && str_eq(argv[1], "__hold"))
        return hold_engine();
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_choosing_an_engine),
        cmocka_unit_test(test_the_list),
        cmocka_unit_test(test_models),
        cmocka_unit_test(test_requests_that_never_work),
        cmocka_unit_test(test_null),
        cmocka_unit_test(test_sentences_in_any_order_by_any_child),
        cmocka_unit_test(test_times_count_from_the_start_of_the_recording),
        cmocka_unit_test(test_long_pauses_make_segments),
        cmocka_unit_test(test_long_pieces_are_cut),
        cmocka_unit_test(test_no_words_where_there_are_none),
        cmocka_unit_test(test_cancel),
        cmocka_unit_test(test_time_limit),
        cmocka_unit_test(test_a_killed_child),
        cmocka_unit_test(test_damaged_models),
        cmocka_unit_test(test_a_child_ends_cleanly),
        cmocka_unit_test(test_what_is_no_engine_child),
        cmocka_unit_test(test_children_end_with_a_killed_worker),
    };
    return cmocka_run_group_tests(tests, set_up, tear_down);
}
