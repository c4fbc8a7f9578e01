/* SPDX-License-Identifier: MIT */
/*
 * The native Whisper (src/whisper) as an engine. Each model that jobs ask for is opened on first need and kept with its
 * batch, a few at most; one that nobody uses makes room for another. All chunks in work run in the model's batch
 * together.
 *
 * Chunks are independent (the worker has cut them at pauses), so no text of one goes into the next: a mistake cannot
 * run through a whole recording, and any chunk can be done again alone.
 */
#include "engine/engine_ops.h"

#include "base/clock.h"
#include "base/log.h"
#include "base/str.h"
#include "whisper/whisper.h"

#include <pthread.h>
#include <stdlib.h>
#include <string.h>

enum {
    RANK = 20, /* before PocketSphinx */
    MODELS_MAX = 4,
    TARGET_S = 26,
    LONGEST_S = 30,
    BEAM_SIZE = 5,
    ROWS_MAX = 64,
    TRAILING_PAUSE = WHISPER_RATE * 3 / 10, /* what speech detection leaves behind the last word */
};

struct loaded {
    char *name; /* as asked for; NULL: a free place */
    struct whisper_model *model;
    struct whisper_batcher *batcher;
    unsigned users;
    int64_t used_ms;
};

struct whisper_engine {
    struct engine engine;
    char *folder, *cache, *model; /* model: the default's name */
    enum whisper_precision precision;
    unsigned slots, threads;
    int beam_size;
    pthread_mutex_t mu;
    struct loaded models[MODELS_MAX]; /* guarded by mu */
};

static const struct log_ctx lc = {.component = "engine"};

static struct whisper_engine *of(const struct engine *e)
{
    union {
        const struct engine *in;
        struct engine *out;
    } u = {.in = e};
    return CONTAINER_OF(u.out, struct whisper_engine, engine);
}

/* ---- which model ---- */

static char *folder_of(const struct engine_opts *o)
{
    return o->model_path ? xstrdup(o->model_path) : o->data_folder ? xasprintf("%s/models", o->data_folder) : NULL;
}

static int first_model(const char *path, void *arg, struct err *err)
{
    (void)err;
    char **ret = arg;
    if (!*ret)
        *ret = xstrdup(path);
    return 0;
}

/* The default model: the one that is named, else the first in the folder. Caller frees. */
static int default_model(const struct engine_opts *o, const char *folder, char **ret, struct err *err)
{
    char *path = NULL;
    int rc;
    if (o->model && *o->model) {
        rc = whisper_find_model(folder, o->model, &path, err);
        free(path);
        if (rc < 0)
            return rc == ERR_NOT_FOUND ? err->code = ERR_INVALID : rc;
        *ret = xstrdup(o->model);
        return 0;
    }
    rc = folder ? whisper_list_models(folder, first_model, &path, err) : 0;
    if (rc == 0 && !path)
        rc = err_set(err, ERR_UNAVAILABLE, "no Whisper model in '%s': get one with 'steno model pull base'",
                     folder ? folder : "(no folder)");
    if (rc < 0)
        return rc;
    struct arena a = ARENA_INIT;
    struct whisper_info info;
    rc = whisper_inspect(path, &a, &info, err);
    if (rc == 0)
        *ret = xstrdup(info.name);
    arena_clear(&a);
    free(path);
    return rc;
}

static int whisper_available(const struct engine_opts *opts, struct err *err)
{
    CLEANUP(free_p) char *folder = folder_of(opts), *model = NULL;
    /* A default model that is not there is no reason against an engine that has others: opening says so. */
    struct engine_opts any = *opts;
    any.model = NULL;
    return default_model(&any, folder, &model, err) < 0 ? 0 : RANK;
}

static int whisper_engine_open(const struct engine_opts *opts, struct engine **ret, struct err *err)
{
    enum whisper_precision precision = WHISPER_AUTO;
    if (opts->precision && *opts->precision && !whisper_precision_parse(opts->precision, &precision))
        return err_set(err, ERR_INVALID, "there is no precision '%.20s'", opts->precision);
    CLEANUP(free_p) char *folder = folder_of(opts), *model = NULL;
    int rc = default_model(opts, folder, &model, err);
    if (rc < 0)
        return rc;
    struct whisper_engine *w = xcalloc(1, sizeof *w);
    w->engine.ops = &engine_whisper_ops;
    w->folder = TAKE(folder);
    w->model = TAKE(model);
    w->cache = opts->data_folder ? xasprintf("%s/cache", opts->data_folder) : NULL;
    w->precision = precision;
    w->slots = opts->slots;
    w->threads = opts->threads;
    w->beam_size = opts->beam_size > 0 ? opts->beam_size : BEAM_SIZE;
    pthread_mutex_init(&w->mu, NULL);
    *ret = &w->engine;
    return 0;
}

static void unload(struct loaded *l)
{
    whisper_batcher_free(l->batcher);
    whisper_model_unref(l->model);
    free(l->name);
    *l = (struct loaded){0};
}

static void whisper_engine_close(struct engine *e)
{
    struct whisper_engine *w = of(e);
    for (size_t i = 0; i < MODELS_MAX; i++)
        unload(&w->models[i]);
    pthread_mutex_destroy(&w->mu);
    free(w->folder);
    free(w->cache);
    free(w->model);
    free(w);
}

static int load(const struct whisper_engine *w, const char *name, struct loaded *ret, struct err *err)
{
    CLEANUP(free_p) char *path = NULL;
    int rc = whisper_find_model(w->folder, name, &path, err);
    if (rc < 0)
        return rc == ERR_NOT_FOUND ? err->code = ERR_INVALID : rc;
    struct loaded l = {.used_ms = clock_mono_ms()};
    struct whisper_model_opts mo = {.precision = w->precision, .cache_folder = w->cache};
    rc = whisper_model_open(path, &mo, &l.model, err);
    if (rc == 0) {
        unsigned rows = MAX(16u, MIN((unsigned)ROWS_MAX, w->slots * (unsigned)w->beam_size));
        struct whisper_batcher_opts bo = {.threads = w->threads, .max_windows = w->slots, .max_rows = rows};
        rc = whisper_batcher_new(l.model, &bo, &l.batcher, err);
    }
    if (rc < 0) {
        unload(&l);
        return rc;
    }
    const struct whisper_info *i = whisper_model_info(l.model);
    log_debug(&lc, "whisper: '%s' (%s, %s) loaded in %lld ms%s", i->name, i->file_type,
              whisper_precision_name(i->precision), (long long)i->load_ms, i->from_cache ? ", from the cache" : "");
    l.name = xstrdup(name);
    *ret = l;
    return 0;
}

/*
 * The model of this name, for use until release. Loading happens under the lock, against the rule of no slow call under
 * a lock: who wants the same model has to wait anyway, and must not load it twice.
 */
static int acquire(struct whisper_engine *w, const char *name, struct loaded **ret, struct err *err)
{
    int rc = 0;
    pthread_mutex_lock(&w->mu);
    struct loaded *place = NULL;
    for (size_t i = 0; i < MODELS_MAX; i++) {
        struct loaded *l = &w->models[i];
        if (l->name && str_eq(l->name, name)) {
            place = l;
            break;
        }
        /* A free place, else the one unused for longest. */
        if (!l->users && (!place || !l->name || (place->name && l->used_ms < place->used_ms)))
            place = l;
    }
    if (!place)
        rc = err_set(err, ERR_BUSY, "%d models are in use already, '%s' must wait", (int)MODELS_MAX, name);
    else if (!place->name || !str_eq(place->name, name)) {
        unload(place);
        rc = load(w, name, place, err);
    }
    if (rc == 0) {
        place->users++;
        *ret = place;
    }
    pthread_mutex_unlock(&w->mu);
    return rc;
}

static void release(struct whisper_engine *w, struct loaded *l)
{
    pthread_mutex_lock(&w->mu);
    l->users--;
    l->used_ms = clock_mono_ms();
    pthread_mutex_unlock(&w->mu);
}

static const char *whisper_engine_model(const struct engine *e, const struct engine_request *r)
{
    return r->model && *r->model ? r->model : of(e)->model;
}

/* ---- requests ---- */

static int check_info(const struct whisper_info *i, const struct engine_request *r, struct err *err)
{
    if (str_eq(r->task, "translate") && !i->can_translate)
        return err_set(err, ERR_INVALID, "model '%s' cannot translate: it was trained for %s", i->name,
                       i->multilingual ? "transcription only" : "English only");
    if (!i->multilingual && r->language && !str_ieq(r->language, "en") && !str_ieq(r->language, "english"))
        return err_set(err, ERR_INVALID, "model '%s' knows English only, not '%.20s'", i->name, r->language);
    return 0;
}

static int whisper_check(struct engine *e, const struct engine_request *r, struct err *err)
{
    struct whisper_engine *w = of(e);
    const char *name = whisper_engine_model(e, r);
    int rc = 1;
    pthread_mutex_lock(&w->mu);
    for (size_t i = 0; i < MODELS_MAX && rc > 0; i++)
        if (w->models[i].name && str_eq(w->models[i].name, name))
            rc = check_info(whisper_model_info(w->models[i].model), r, err);
    pthread_mutex_unlock(&w->mu);
    if (rc <= 0)
        return rc;
    CLEANUP(free_p) char *path = NULL;
    rc = whisper_find_model(w->folder, name, &path, err);
    if (rc < 0)
        return rc == ERR_NOT_FOUND ? err->code = ERR_INVALID : rc;
    struct arena a = ARENA_INIT;
    struct whisper_info info;
    rc = whisper_inspect(path, &a, &info, err);
    if (rc == 0)
        rc = check_info(&info, r, err);
    arena_clear(&a);
    return rc;
}

/* ---- a chunk ---- */

static int64_t to_ms(const struct engine_chunk *c, int64_t sample)
{
    return samples_to_ms(c->span.start + sample);
}

static const char *trimmed(struct arena *a, const char *s)
{
    s += strspn(s, " \t\r\n");
    size_t n = strlen(s);
    while (n && strchr(" \t\r\n", s[n - 1]))
        n--;
    return arena_dup(a, s, n);
}

static int copy_segment(const struct whisper_segment *from, const struct engine_chunk *c, struct arena *a,
                        struct segment *to, struct err *err)
{
    struct word *words = arena_alloc(a, (from->n_words + 1) * sizeof *words);
    *to = (struct segment){.start_ms = to_ms(c, from->start),
                           .end_ms = to_ms(c, from->end),
                           .text = trimmed(a, from->text),
                           .words = words,
                           .n_words = from->n_words,
                           .has_stats = true,
                           .avg_logprob = (double)from->avg_logprob,
                           .compression_ratio = (double)from->compression_ratio,
                           .no_speech_prob = (double)from->no_speech_prob,
                           .temperature = (double)from->temperature,
                           .suspect = from->suspect};
    bool ok = words && to->text;
    for (size_t i = 0; i < from->n_words && ok; i++) {
        words[i] = (struct word){.start_ms = to_ms(c, from->words[i].start),
                                 .end_ms = to_ms(c, from->words[i].end),
                                 .text = trimmed(a, from->words[i].text),
                                 .probability = (double)from->words[i].probability};
        ok = words[i].text != NULL;
    }
    return ok ? 0 : err_set(err, ERR_NOMEM, "no memory for the text of a chunk");
}

/* Segments and gaps by time: a gap is a segment without text that says why. */
static int hand_out(const struct whisper_result *r, const struct engine_chunk *c, struct arena *a,
                    struct engine_answer *ret, struct err *err)
{
    struct segment *v = arena_alloc(a, (r->n_segments + r->n_gaps + 1) * sizeof *v);
    if (!v)
        return err_set(err, ERR_NOMEM, "no memory for the text of a chunk");
    size_t n = 0, s = 0, g = 0;
    while (s < r->n_segments || g < r->n_gaps) {
        if (g == r->n_gaps || (s < r->n_segments && r->segments[s].start <= r->gaps[g].start)) {
            int rc = copy_segment(&r->segments[s++], c, a, &v[n++], err);
            if (rc < 0)
                return rc;
        } else {
            v[n++] = (struct segment){.start_ms = to_ms(c, r->gaps[g].start),
                                      .end_ms = to_ms(c, r->gaps[g].end),
                                      .text = "",
                                      .suspect = r->gaps[g].why};
            g++;
        }
    }
    ret->segments = (struct segments){.v = v, .n = n, .language = arena_strdup(a, r->language)};
    return 0;
}

static int whisper_engine_run(struct engine *e, const struct engine_request *r, const struct engine_chunk *c,
                              const struct cancel *cancel, struct arena *a, struct engine_answer *ret, struct err *err)
{
    struct whisper_engine *w = of(e);
    size_t n = (size_t)(c->span.end - c->span.start);
    float *pcm = malloc((n + 1) * sizeof *pcm);
    if (!pcm)
        return err_set(err, ERR_NOMEM, "no memory for a chunk of %zu samples", n);
    for (size_t i = 0; i < n; i++)
        pcm[i] = (float)c->pcm[i] / 32768.0f;
    struct loaded *l = NULL;
    int rc = acquire(w, whisper_engine_model(e, r), &l, err);
    if (rc == 0) {
        struct whisper_params p;
        whisper_params_default(&p);
        p.language = r->language;
        p.task = str_eq(r->task, "translate") ? WHISPER_TRANSLATE : WHISPER_TRANSCRIBE;
        p.beam_size = w->beam_size;
        p.best_of = w->beam_size;
        p.initial_prompt = r->prompt;
        struct whisper_span speech = {0, (int64_t)n - TRAILING_PAUSE};
        struct whisper_input in = {.pcm = pcm, .n = n, .speech = &speech, .n_speech = speech.end > 0};
        struct whisper_result result;
        rc = whisper_run(l->batcher, &p, &in, cancel, a, &result, err);
        if (rc == 0)
            rc = hand_out(&result, c, a, ret, err);
        release(w, l);
    }
    free(pcm);
    return rc;
}

const struct engine_ops engine_whisper_ops = {
    .info =
        {
            .name = "whisper",
            .help = "Whisper models, run natively: many languages, punctuation, times",
            .caps = ENGINE_NEEDS_PCM | ENGINE_INTERRUPTS,
            .quality = "standard",
            .target_samples = (int64_t)TARGET_S * AUDIO_RATE,
            .max_samples = (int64_t)LONGEST_S * AUDIO_RATE,
        },
    .available = whisper_available,
    .open = whisper_engine_open,
    .close = whisper_engine_close,
    .model = whisper_engine_model,
    .check = whisper_check,
    .run = whisper_engine_run,
};
