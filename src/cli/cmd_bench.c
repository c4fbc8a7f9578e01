/* SPDX-License-Identifier: MIT */
/*
 * steno bench: how fast each model is on this machine. The parts of the network alone (whisper/measure.h), then, given
 * a recording, the whole way from file to text as `transcribe` goes it. The kernel's mark of the most memory held is
 * reset before each model.
 */
#include "base/clock.h"
#include "base/str.h"
#include "cli/app.h"
#include "cli/media.h"
#include "cli/watcher.h"
#include "whisper/measure.h"
#include "worker/pipeline.h"
#include "worker/slots.h"
#include "worker/temp.h"

#include <fcntl.h>
#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/sysinfo.h>
#include <unistd.h>

enum { ROWS_MAX = 24, REPEATS = 5, MODELS_MAX = 64, KEY_SIZE = 24, LABEL_SIZE = 48 };

/* One figure, for the table and for JSON. */
struct figure {
    char key[KEY_SIZE], label[LABEL_SIZE];
    double value;
    const char *unit;
    double more;                      /* a second way to say it; 0: none */
    const char *more_unit, *more_key; /* more_key: in JSON too */
};

struct report {
    struct figure v[ROWS_MAX];
    size_t n;
};

struct bench {
    struct app *app;
    const char *file; /* or NULL */
    int64_t repeats;
    char *folder; /* of models */
    struct temp *temp;
    struct cancel cancel;
    json_t *json; /* NULL: as text */
};

static struct figure *add(struct report *r, double value, const char *unit)
{
    struct figure *f = &r->v[r->n];
    if (r->n + 1 < ROWS_MAX)
        r->n++;
    *f = (struct figure){.value = value, .unit = unit};
    return f;
}

static struct figure *add_named(struct report *r, const char *key, const char *label, double value, const char *unit)
{
    struct figure *f = add(r, value, unit);
    snprintf(f->key, sizeof f->key, "%s", key);
    snprintf(f->label, sizeof f->label, "%s", label);
    return f;
}

/* ---- memory ---- */

static void reset_peak(void)
{
    int fd = open("/proc/self/clear_refs", O_WRONLY | O_CLOEXEC);
    if (fd < 0)
        return;
    if (write(fd, "5", 1) < 0) {
        /* The peak is then that of the whole run. */
    }
    close(fd);
}

static double peak_megabytes(void)
{
    long kilobytes = 0;
    char line[256];
    const char *const key = "VmHWM:";
    FILE *f = fopen("/proc/self/status", "re");
    while (f && fgets(line, sizeof line, f))
        if (str_starts(line, key))
            kilobytes = strtol(line + strlen(key), NULL, 10);
    if (f)
        fclose(f);
    return (double)kilobytes / 1e3;
}

/* Three quarters of what is free: the machine may have other things to do. */
static int64_t memory_to_use(void)
{
    struct sysinfo info;
    if (sysinfo(&info) < 0)
        return INT64_MAX;
    return (int64_t)(info.freeram + info.bufferram) * info.mem_unit / 4 * 3;
}

/* ---- one model ---- */

static int measure_parts(struct bench *b, const char *path, struct report *r, json_t **ret_about, struct err *err)
{
    CLEANUP(free_p) char *cache = xasprintf("%s/cache", b->app->conf->data);
    struct whisper_model_opts o = {.cache_folder = cache};
    struct whisper_model *m = NULL;
    struct whisper_measure t;
    if (!whisper_precision_parse(b->app->conf->precision, &o.precision))
        return err_set(err, ERR_INVALID, "there is no precision '%.20s'", b->app->conf->precision);
    int rc = whisper_model_open(path, &o, &m, err);
    if (rc < 0)
        return rc;
    const struct whisper_info *i = whisper_model_info(m);
    rc =
        whisper_measure(m, (unsigned)b->app->conf->threads, (unsigned)b->repeats, memory_to_use(), &b->cancel, &t, err);
    if (rc == 0) {
        *ret_about = json_pack("{s:s, s:s, s:s, s:s, s:i, s:I}", "model", i->name, "type", i->file_type, "precision",
                               whisper_precision_name(i->precision), "processor", whisper_cpu(), "threads", t.threads,
                               "parameters", (json_int_t)i->parameters);
        add_named(r, "load_ms", i->from_cache ? "load, from the cache" : "load, with packing", (double)i->load_ms,
                  "ms");
        add_named(r, "mel_ms", "spectrogram of 30 s", t.mel_ms, "ms");
        struct figure *f = add_named(r, "encode_ms", "encoder, 30 s", t.encode_ms, "ms");
        f->more = t.encode_gflops / t.encode_ms * 1e3;
        f->more_unit = "GFLOP/s";
        f->more_key = "encode_gflops";
        for (size_t k = 0; k < WHISPER_MEASURE_SIZES; k++) {
            unsigned n = whisper_measure_windows[k];
            if (t.step_ms[k] <= 0)
                continue;
            f = add(r, t.step_ms[k], "ms");
            snprintf(f->key, sizeof f->key, "step_%u_ms", n);
            snprintf(f->label, sizeof f->label, "decoder step, %u window%s", n, n == 1 ? "" : "s");
            f->more = n > 1 ? t.step_ms[k] / t.step_ms[0] : 0;
            f->more_unit = "times one window's";
        }
        add_named(r, "beam_5_ms", "decoder step, 5 beams of a window", t.beam_ms, "ms");
        add_named(r, "prompt_224_ms", "prompt of 224 tokens", t.prompt_ms, "ms");
    }
    whisper_model_unref(m);
    return rc;
}

static int measure_file(struct bench *b, const char *path, struct report *r, struct err *err)
{
    struct engine_opts eo = media_engine(b->app->conf);
    eo.name = "whisper";
    eo.model = path;
    struct engine *engine = NULL;
    struct slots *slots = NULL;
    struct transcript t;
    transcript_init(&t);
    int rc = engine_open(&eo, &engine, err);
    if (rc == 0)
        rc = slots_new(engine_slots(engine), &slots, err);
    struct pipeline_opts o = {.engine = engine,
                              .slots = slots,
                              .request = {.language = media_language(b->app->conf), .task = "transcribe"},
                              .audio_path = b->file,
                              .input_sha256 = "",
                              .temp_folder = b->temp ? temp_path(b->temp) : NULL,
                              .decode = media_decode(b->app->conf),
                              .cancel = &b->cancel};
    struct pipeline_report report;
    int64_t started = clock_mono_ms();
    if (rc == 0)
        rc = pipeline_run(&o, &t, &report, err);
    if (rc == 0) {
        double took = (double)MAX(clock_mono_ms() - started, 1) / 1e3, length = (double)t.duration_ms / 1e3;
        struct figure *f = add_named(r, "file_s", "the recording, model loaded first", took, "s");
        f->more = length / took;
        f->more_unit = "times real time";
        f->more_key = "file_speed";
        add_named(r, "file_length_s", "its length", length, "s");
    }
    slots_free(slots);
    engine_close(engine);
    transcript_clear(&t);
    return rc;
}

static void set_json(json_t *about, const struct figure *f)
{
    json_object_set_new(about, f->key, json_real(f->value));
    if (f->more_key)
        json_object_set_new(about, f->more_key, json_real(f->more));
}

static int print_text(const json_t *about, const struct report *r, struct err *err)
{
    CLEANUP(buf_clear) struct buf b = BUF_INIT(65536);
    str_add_printable(&b, json_string_value(json_object_get(about, "model")));
    buf_addf(&b, ": %s, %s on %s, %lld threads\n", json_string_value(json_object_get(about, "type")),
             json_string_value(json_object_get(about, "precision")),
             json_string_value(json_object_get(about, "processor")),
             (long long)json_integer_value(json_object_get(about, "threads")));
    for (size_t i = 0; i < r->n; i++) {
        const struct figure *f = &r->v[i];
        buf_addf(&b, "  %-36s %10.2f %-4s", f->label, f->value, f->unit);
        if (f->more > 0)
            buf_addf(&b, " %9.1f %s", f->more, f->more_unit);
        buf_addc(&b, '\n');
    }
    return app_print(&b, err);
}

static int bench_model(struct bench *b, const char *name, struct err *err)
{
    CLEANUP(free_p) char *path = NULL;
    struct report r = {.n = 0};
    json_t *about = NULL;
    reset_peak();
    int rc = whisper_find_model(b->folder, name, &path, err);
    if (rc == 0)
        rc = measure_parts(b, path, &r, &about, err);
    if (rc == 0 && b->file)
        rc = measure_file(b, path, &r, err);
    if (rc == 0) {
        add_named(&r, "peak_memory_mb", "most memory held", peak_megabytes(), "MB");
        if (b->json) {
            for (size_t i = 0; i < r.n; i++)
                set_json(about, &r.v[i]);
            json_array_append(b->json, about);
        } else {
            rc = print_text(about, &r, err);
        }
    }
    json_decref(about);
    return rc;
}

/* ---- all of them ---- */

struct found {
    char *paths[MODELS_MAX];
    size_t n;
};

static int keep_path(const char *path, void *arg, struct err *err)
{
    struct found *f = arg;
    (void)err;
    if (f->n < MODELS_MAX)
        f->paths[f->n++] = xstrdup(path);
    return 0;
}

static int bench_all(struct bench *b, struct err *err)
{
    struct found found = {.n = 0};
    int rc = whisper_list_models(b->folder, keep_path, &found, err);
    if (rc == 0 && !found.n)
        rc = err_set(err, ERR_NOT_FOUND, "there are no models in '%s': get one with 'steno model pull base.en'",
                     b->folder);
    for (size_t i = 0; i < found.n; i++) {
        if (rc == 0)
            rc = bench_model(b, found.paths[i], err);
        free(found.paths[i]);
    }
    return rc;
}

static int print_json(const json_t *json, struct err *err)
{
    CLEANUP(buf_clear) struct buf b = BUF_INIT(1 << 20);
    CLEANUP(free_p) char *text = json_dumps(json, JSON_INDENT(2) | JSON_REAL_PRECISION(6));
    if (!text)
        return err_set(err, ERR_INTERNAL, "the figures do not fit JSON");
    buf_addf(&b, "%s\n", text);
    return app_print(&b, err);
}

int cmd_bench(struct app *app, int argc, char **argv, struct err *err)
{
    struct bench b = {.app = app, .file = app_flag(app, "file"), .folder = media_model_folder(app->conf)};
    struct watcher watcher = WATCHER_INIT;
    b.json = app_has(app, "json") ? json_array() : NULL;
    int rc = app_flag_int(app, "repeat", 1, 1000, REPEATS, &b.repeats, err);
    if (rc == 0 && b.file)
        rc = temp_open(media_scratch(app->conf), &b.temp, err);
    if (rc == 0)
        rc = watcher_start(&watcher, &b.cancel, err);
    for (int i = 0; i < argc && rc == 0; i++)
        rc = bench_model(&b, argv[i], err);
    if (rc == 0 && !argc)
        rc = bench_all(&b, err);
    if (rc == 0 && b.json)
        rc = print_json(b.json, err);
    watcher_stop(&watcher);
    temp_close(b.temp);
    json_decref(b.json);
    free(b.folder);
    return rc;
}
