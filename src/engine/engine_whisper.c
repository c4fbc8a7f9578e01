/* SPDX-License-Identifier: MIT */
/*
 * The native Whisper (src/whisper) as an engine. All chunks in work with one model run in that model's batch together
 * (whisper_models.c).
 *
 * Chunks are independent (the worker has cut them at pauses), so no text of one goes into the next: a mistake cannot
 * run through a whole recording, and any chunk can be done again alone. In a sequential request each is told the
 * text before it: the state is the newest tokens as numbers, "" when there are none that should be followed.
 */
#include "engine/engine_ops.h"

#include "base/buf.h"
#include "base/str.h"
#include "engine/whisper_list.h"
#include "engine/whisper_models.h"

#include <stdlib.h>
#include <string.h>

enum {
    RANK = 20, /* before PocketSphinx */
    WINDOWS = 8,
    TARGET_S = 26,
    LONGEST_S = 30,
    BEAM_SIZE = 5,
    ROWS_MAX = 64,
    MODELS_KEPT = 2,
    MODELS_MAX = 4,
    SPARE_MS = 30000,     /* longer than a job's pauses between chunks */
    PREVIOUS_MAX = 448,   /* tokens in a state; the library keeps fewer */
    LANGUAGES_SMALL = 99, /* in all vocabularies but the largest, which has Cantonese too */
    VOCABULARY_LARGEST = 51866,
    TRAILING_PAUSE = WHISPER_RATE * 3 / 10, /* what speech detection leaves behind the last word */
};

struct whisper_engine {
    struct engine engine;
    char *model; /* the default's name */
    int beam_size;
    struct models *models;
    struct model_list *list;
};

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

struct first {
    char *name;
    struct err why_not; /* of the first that is none */
};

/*
 * Other files of that ending may lie in the folder, PocketSphinx's for one. A model that cannot be read now, for want
 * of memory say, is no such file: its failure passes, and the next model must not take its place.
 */
static int first_model(const char *path, void *arg, struct err *err)
{
    struct first *first = arg;
    if (first->name)
        return 0;
    struct arena a = ARENA_INIT;
    struct whisper_info info;
    struct err why = ERR_INIT;
    if (whisper_inspect(path, &a, &info, &why) == 0)
        first->name = xstrdup(info.name);
    else if (!first->why_not.code)
        first->why_not = why;
    arena_clear(&a);
    if (!err_retryable(why.code))
        return 0;
    *err = why;
    return why.code;
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
    struct first first = {.why_not = ERR_INIT};
    rc = folder ? whisper_list_models(folder, first_model, &first, err) : 0;
    if (rc < 0) {
        free(first.name);
        return rc;
    }
    if (first.name) {
        *ret = first.name;
        return 0;
    }
    if (first.why_not.code) {
        *err = first.why_not;
        return err->code;
    }
    return err_set(err, ERR_UNAVAILABLE, "no Whisper model in '%s': get one with 'steno model pull base'",
                   folder ? folder : "(no folder)");
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
    CLEANUP(free_p) char *cache = opts->data_folder ? xasprintf("%s/cache", opts->data_folder) : NULL;
    w->engine.ops = &engine_whisper_ops;
    w->beam_size = opts->beam_size > 0 ? opts->beam_size : BEAM_SIZE;
    const struct models_opts mo = {.folder = folder,
                                   .cache = cache,
                                   .precision = precision,
                                   .windows = opts->slots,
                                   .rows = MIN((unsigned)ROWS_MAX, opts->slots * (unsigned)w->beam_size),
                                   .threads = opts->threads,
                                   .memory_bytes = opts->memory_bytes,
                                   .kept = opts->models_kept ? opts->models_kept : MODELS_KEPT,
                                   .max = opts->models_max ? opts->models_max : MODELS_MAX,
                                   .wait_ms = opts->model_wait_ms,
                                   .idle_ms = opts->model_idle_ms,
                                   .spare_ms = SPARE_MS};
    models_new(&mo, &w->models);
    model_list_new(folder, &w->list);
    w->model = TAKE(model);
    *ret = &w->engine;
    return 0;
}

static void whisper_engine_close(struct engine *e)
{
    struct whisper_engine *w = of(e);
    models_free(w->models);
    model_list_free(w->list);
    free(w->model);
    free(w);
}

static const char *whisper_engine_model(const struct engine *e, const struct engine_request *r)
{
    return r->model && *r->model ? r->model : of(e)->model;
}

static int whisper_engine_models(struct engine *e, struct arena *a, struct engine_model **ret, size_t *ret_n,
                                 struct err *err)
{
    struct engine_model *v;
    size_t n;
    int rc = model_list_read(of(e)->list, a, &v, &n, err);
    if (rc < 0)
        return rc;
    for (size_t i = 0; i < n; i++)
        v[i].loaded = models_loaded(of(e)->models, v[i].name);
    *ret = v;
    *ret_n = n;
    return 0;
}

/* ---- requests ---- */

/*
 * The code of a language as clients write it: a code, a name, or a code with a region ("pt-BR"). NULL: the model does
 * not know it.
 */
static const char *language_code(const struct whisper_info *info, const char *text)
{
    char base[16] = "";
    size_t n = strcspn(text, "-_");
    if (n < sizeof base)
        memcpy(base, text, n);
    int known = !info->multilingual                        ? 1
                : info->dims.n_vocab >= VOCABULARY_LARGEST ? LANGUAGES_SMALL + 1
                                                           : LANGUAGES_SMALL;
    for (int i = 0; i < known; i++) {
        const char *code = whisper_language_code(i);
        if (str_ieq(base, code) || str_ieq(text, whisper_language_name(code)))
            return code;
    }
    return NULL;
}

static int check_info(const struct whisper_info *i, const struct engine_request *r, struct err *err)
{
    if (str_eq(r->task, "translate") && !i->can_translate)
        return err_set(err, ERR_INVALID, "model '%s' cannot translate: it was trained for %s", i->name,
                       i->multilingual ? "transcription only" : "English only");
    if (r->language && !language_code(i, r->language))
        return err_set(err, ERR_INVALID,
                       i->multilingual ? "model '%s' does not know the language '%.35s'"
                                       : "model '%s' knows English only, not '%.35s'",
                       i->name, r->language);
    return 0;
}

static int inspect(struct engine *e, const struct engine_request *r, struct arena *a, struct whisper_info *ret,
                   struct err *err)
{
    return models_inspect(of(e)->models, whisper_engine_model(e, r), a, ret, err);
}

static int whisper_check(struct engine *e, const struct engine_request *r, struct err *err)
{
    CLEANUP(arena_clear) struct arena a = ARENA_INIT;
    struct whisper_info info;
    int rc = inspect(e, r, &a, &info, err);
    return rc < 0 ? rc : check_info(&info, r, err);
}

/* ---- state ---- */

static const char *state_to_text(const struct whisper_result *r, struct arena *a)
{
    CLEANUP(buf_clear) struct buf b = BUF_INIT(PREVIOUS_MAX * 12);
    for (size_t i = 0; i < r->n_previous; i++)
        buf_addf(&b, i ? " %d" : "%d", r->previous[i]);
    return buf_ok(&b) ? arena_dup(a, buf_str(&b), b.len) : NULL;
}

/* How many tokens; CORRUPT for what state_to_text does not write. */
static int state_from_text(const char *text, int n_vocab, int *ret, struct err *err)
{
    int n = 0;
    for (const char *p = text; *p;) {
        char *end;
        long v = strtol(p, &end, 10);
        if (end == p || v < 0 || v >= n_vocab || n == PREVIOUS_MAX || (*end && *end != ' '))
            return err_set(err, ERR_CORRUPT, "the saved text before a chunk is damaged");
        ret[n++] = (int)v;
        p = *end ? end + 1 : end;
    }
    return n;
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
    if (r->prompt_tokens_cut)
        ret->segments.warning = arena_printf(a, "the prompt is too long for the model: %d of its tokens were left out",
                                             r->prompt_tokens_cut);
    return (r->language && !ret->segments.language) || (r->prompt_tokens_cut && !ret->segments.warning)
               ? err_set(err, ERR_NOMEM, "no memory for the text of a chunk")
               : 0;
}

static float *to_floats(const struct engine_chunk *c, size_t *ret_n, struct err *err)
{
    size_t n = (size_t)(c->span.end - c->span.start);
    float *pcm = malloc((n + 1) * sizeof *pcm);
    for (size_t i = 0; pcm && i < n; i++)
        pcm[i] = (float)c->pcm[i] / 32768.0f;
    if (!pcm)
        err_set(err, ERR_NOMEM, "no memory for a chunk of %zu samples", n);
    *ret_n = n;
    return pcm;
}

/* The speech of a chunk, counted from its start, without the pause that the detector leaves behind a word. */
static int take_speech(const struct engine_chunk *c, struct arena *a, struct whisper_input *in, struct err *err)
{
    struct whisper_span *v = arena_alloc(a, (c->n_speech + 1) * sizeof *v);
    if (!v)
        return err_set(err, ERR_NOMEM, "no memory for a chunk");
    size_t n = 0;
    for (size_t i = 0; i < c->n_speech; i++) {
        struct whisper_span s = {c->speech[i].start - c->span.start, c->speech[i].end - c->span.start - TRAILING_PAUSE};
        if (s.end > s.start)
            v[n++] = s;
    }
    in->speech = v;
    in->n_speech = n;
    return 0;
}

static void take_request(const struct whisper_engine *w, const struct whisper_info *info,
                         const struct engine_request *r, struct whisper_params *p)
{
    whisper_params_default(p);
    p->language = r->language ? language_code(info, r->language) : NULL;
    p->task = str_eq(r->task, "translate") ? WHISPER_TRANSLATE : WHISPER_TRANSCRIBE;
    p->beam_size = p->best_of = r->beam_size ? r->beam_size : w->beam_size;
    p->initial_prompt = r->prompt;
    p->hotwords = r->hotwords;
    p->word_timestamps = r->word_timestamps;
    p->seed = r->seed;
    if (r->n_temperatures) {
        p->temperatures = r->temperatures;
        p->n_temperatures = r->n_temperatures;
    }
}

/* With the model in use. */
static int run_chunk(const struct whisper_engine *w, struct loaded *l, const struct engine_request *r,
                     const struct engine_chunk *c, const struct whisper_info *info, const struct cancel *cancel,
                     struct arena *a, struct engine_answer *ret, struct err *err)
{
    struct whisper_params p;
    struct whisper_input in = {0};
    struct whisper_result result;
    int previous[PREVIOUS_MAX];
    take_request(w, info, r, &p);
    int rc = take_speech(c, a, &in, err);
    if (rc == 0 && r->sequential && c->state) {
        p.initial_prompt = NULL; /* it is in the state, as long as it should be */
        rc = state_from_text(c->state, info->dims.n_vocab, previous, err);
        in.previous = previous;
        in.n_previous = rc > 0 ? (size_t)rc : 0;
    }
    float *pcm = rc < 0 ? NULL : to_floats(c, &in.n, err);
    if (!pcm)
        return rc < 0 ? rc : ERR_NOMEM;
    in.pcm = pcm;
    rc = whisper_run(loaded_batcher(l), &p, &in, cancel, a, &result, err);
    free(pcm);
    if (rc == 0)
        rc = hand_out(&result, c, a, ret, err);
    if (rc < 0)
        return rc;
    ret->segments.language_probability = r->language ? 0 : (double)result.language_probability;
    if (r->sequential && !(ret->state = state_to_text(&result, a)))
        return err_set(err, ERR_NOMEM, "no memory for the state of a chunk");
    return 0;
}

static int whisper_engine_run(struct engine *e, const struct engine_request *r, const struct engine_chunk *c,
                              const struct cancel *cancel, struct arena *a, struct engine_answer *ret, struct err *err)
{
    struct whisper_engine *w = of(e);
    struct loaded *l = NULL;
    struct whisper_info info;
    int rc = models_acquire(w->models, whisper_engine_model(e, r), cancel, &l, err);
    if (rc < 0)
        return rc;
    rc = inspect(e, r, a, &info, err);
    if (rc == 0)
        rc = run_chunk(w, l, r, c, &info, cancel, a, ret, err);
    models_release(w->models, l);
    return rc;
}

static int whisper_engine_detect(struct engine *e, const struct engine_request *r, const struct engine_chunk *c,
                                 const struct cancel *cancel, struct engine_language *ret, struct err *err)
{
    struct whisper_engine *w = of(e);
    struct loaded *l = NULL;
    struct whisper_info info;
    CLEANUP(arena_clear) struct arena a = ARENA_INIT;
    int rc = inspect(e, r, &a, &info, err);
    if (rc < 0 || !info.multilingual)
        return rc;
    rc = models_acquire(w->models, whisper_engine_model(e, r), cancel, &l, err);
    if (rc < 0)
        return rc;
    size_t n;
    float *pcm = to_floats(c, &n, err), probability = 0;
    rc = pcm ? whisper_detect_language(loaded_batcher(l), pcm, n, cancel, &ret->code, &probability, err) : ERR_NOMEM;
    free(pcm);
    models_release(w->models, l);
    ret->probability = (double)probability;
    return rc < 0 ? rc : 1;
}

static int whisper_engine_load(struct engine *e, const struct engine_request *r, const struct cancel *cancel,
                               struct err *err)
{
    struct loaded *l = NULL;
    int rc = models_acquire(of(e)->models, whisper_engine_model(e, r), cancel, &l, err);
    if (rc >= 0)
        models_release(of(e)->models, l);
    return rc;
}

static void whisper_engine_fell_back(struct engine *e)
{
    models_fell_back(of(e)->models);
}

static void whisper_engine_describe(struct engine *e, struct buf *b)
{
    models_describe(of(e)->models, b);
}

const struct engine_ops engine_whisper_ops = {
    .info =
        {
            .name = "whisper",
            .help = "Whisper models, run natively: many languages, punctuation, times",
            .caps = ENGINE_NEEDS_PCM | ENGINE_FOLLOWS | ENGINE_INTERRUPTS | ENGINE_DETECTS,
            .quality = "standard",
            .target_samples = (int64_t)TARGET_S * AUDIO_RATE,
            .max_samples = (int64_t)LONGEST_S * AUDIO_RATE,
            .slots = WINDOWS,
        },
    .available = whisper_available,
    .open = whisper_engine_open,
    .close = whisper_engine_close,
    .model = whisper_engine_model,
    .check = whisper_check,
    .run = whisper_engine_run,
    .detect = whisper_engine_detect,
    .load = whisper_engine_load,
    .fell_back = whisper_engine_fell_back,
    .models = whisper_engine_models,
    .describe = whisper_engine_describe,
};
