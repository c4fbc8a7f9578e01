/* SPDX-License-Identifier: MIT */
/*
 * The dialect of /v1/audio and /v1/models: the fields of OpenAI's API and the shape of its errors.
 *
 * A field that OpenAI's API knows acts, or is refused by name when what it asks for cannot be had here; a field that it
 * does not know is ignored, unless it is one of ours (docs/openai.md). OpenAI calls everything that is wrong with a
 * request 400, and its clients have a class of error for that, so several of our statuses become 400.
 */
#include "api/dialect.h"
#include "api/jsonw.h"
#include "api/openai.h"
#include "base/languages.h"
#include "base/str.h"
#include "base/words.h"

#include <jansson.h>
#include <string.h>

static const struct dialect_field fields[] = {
    {.name = "response_format", .field = FORM_COUNT},
    {.name = "timestamp_granularities", .field = FORM_COUNT, .list = true},
    {.name = "include", .field = FORM_COUNT, .list = true},
    {.name = "stream", .field = FORM_COUNT},
    {.name = "languages", .field = FORM_COUNT, .list = true},
    {.name = "keywords", .field = FORM_OWN_COUNT + JOB_OPTION_hotwords, .list = true},
    {.name = "chunking_strategy", .field = FORM_COUNT},
    {.name = "chunking_strategy[type]", .field = FORM_COUNT},
    {.name = "chunking_strategy[prefix_padding_ms]", .field = FORM_COUNT},
    {.name = "chunking_strategy[silence_duration_ms]", .field = FORM_COUNT},
    {.name = "chunking_strategy[threshold]", .field = FORM_COUNT},
    {.name = "known_speaker_names", .field = FORM_COUNT, .list = true},
    {.name = "known_speaker_references", .field = FORM_COUNT, .list = true},
    {0},
};
_Static_assert(ARRAY_LEN(fields) <= FORM_EXTRAS_MAX, "raise FORM_EXTRAS_MAX");

static const char *const format_words[] = {
#define X(name, word, type) word,
    OPENAI_FORMATS(X)
#undef X
};

/* ---- refusals ---- */

static unsigned status_of(const struct refusal *r)
{
    if (r->problem == PROBLEM_model_not_found)
        return 404;
    bool as_400 = r->problem == PROBLEM_not_audio || r->problem == PROBLEM_impossible_request ||
                  r->problem == PROBLEM_bad_recording;
    return as_400 ? 400 : r->status;
}

void openai_write_error(struct buf *b, unsigned status, const char *code, const char *message, const char *param)
{
    struct jsonw w = {b, false};
    jw_open(&w, NULL, '{');
    jw_open(&w, "error", '{');
    jw_str(&w, "message", message);
    jw_str(&w, "type", status >= 500 ? "server_error" : "invalid_request_error");
    jw_str(&w, "param", param);
    jw_str(&w, "code", code);
    jw_close(&w, '}');
    jw_close(&w, '}');
}

static const char *refuse(struct refusal *r, struct buf *b)
{
    const char *param = r->field ? r->field : r->problem == PROBLEM_model_not_found ? "model" : NULL;
    r->status = status_of(r);
    openai_write_error(b, r->status, problem_info(r->problem)->code, r->detail, param);
    buf_addc(b, '\n');
    return "application/json";
}

/* ---- jobs without a transcript ---- */

/* By the error class of a job. Others are failures of ours. */
static const struct {
    const char *class;
    enum problem problem;
    bool retry;
} failures[] = {
    {"corrupt", PROBLEM_bad_recording, false},      {"too_large", PROBLEM_bad_recording, false},
    {"invalid", PROBLEM_impossible_request, false}, {"unsupported", PROBLEM_impossible_request, false},
    {"unavailable", PROBLEM_unavailable, true},     {"busy", PROBLEM_overloaded, true},
    {"out_of_memory", PROBLEM_overloaded, true},    {"timeout", PROBLEM_job_late, false},
};

const char *openai_reason(const struct job *j)
{
    if (j->state == JOB_CANCELLED)
        return "the job was cancelled";
    return j->error_message ? j->error_message : j->error_class ? j->error_class : "it is not known why";
}

enum problem openai_problem(const struct job *j, bool *ret_retry)
{
    *ret_retry = false;
    if (j->state == JOB_CANCELLED)
        return PROBLEM_job_cancelled;
    for (size_t i = 0; i < ARRAY_LEN(failures); i++)
        if (str_eq(failures[i].class, j->error_class)) {
            *ret_retry = failures[i].retry;
            return failures[i].problem;
        }
    return PROBLEM_transcription_failed;
}

/* ---- the form ---- */

static const char *cannot(const char *field)
{
    return str_starts(field, "known_speaker_") ? "nobody tells speakers apart here" : NULL;
}

/* What complete() is about to find wrong. */
static int wrong(struct form *f, const char *field, enum problem *ret_problem)
{
    f->wrong = field;
    *ret_problem = PROBLEM_bad_field;
    return ERR_INVALID;
}

static bool listed(const char *list, const char *word)
{
    return words_have(list, ",", word);
}

/* Does a list hold nothing but words of another list? */
static bool all_listed(const char *list, const char *words)
{
    const char *one;
    size_t n;
    while (words_next(&list, ",", &one, &n)) {
        char word[32];
        if (n >= sizeof word)
            return false;
        memcpy(word, one, n);
        word[n] = '\0';
        if (!listed(words, word))
            return false;
    }
    return true;
}

static bool is_true(const char *s)
{
    return s && (str_ieq(s, "true") || strcmp(s, "1") == 0);
}

static bool is_false(const char *s)
{
    return !s || str_ieq(s, "false") || strcmp(s, "0") == 0;
}

struct openai_want openai_want(const struct form *f)
{
    const char *format = form_extra(f, "response_format"), *times = form_extra(f, "timestamp_granularities");
    struct openai_want w = {.format = OPENAI_JSON,
                            .words = listed(times, "word"),
                            .segments = !times || listed(times, "segment"),
                            .logprobs = listed(form_extra(f, "include"), "logprobs"),
                            .stream = is_true(form_extra(f, "stream"))};
    while (format && w.format < OPENAI_FORMAT_COUNT && strcmp(format_words[w.format], format) != 0)
        w.format++;
    return w;
}

static int check_model(struct form *f, enum problem *p, struct err *err)
{
    if (f->values[FORM_model])
        return 0;
    err_set(err, ERR_INVALID, "you must name a model in the field 'model'; 'whisper-1' is always right");
    wrong(f, "model", p);
    *p = PROBLEM_missing_field;
    return ERR_INVALID;
}

static int check_language(struct form *f, enum problem *p, struct err *err)
{
    const char *code = f->values[FORM_language];
    if (!code || language_name(code))
        return 0;
    err_set(err, ERR_INVALID, "there is no language '%.35s': use a code of ISO 639-1, such as 'en'", code);
    return wrong(f, "language", p);
}

/* A list of one names the language; which of several it is cannot be said to the engine. */
static int take_languages(struct form *f, enum problem *p, struct err *err)
{
    const char *list = form_extra(f, "languages"), *language = f->values[FORM_language];
    if (!list)
        return 0;
    if (strchr(list, ',')) {
        err_set(err, ERR_INVALID, "'languages' may name one language: leave it out, and the language is detected");
        return wrong(f, "languages", p);
    }
    if (strpbrk(list, "-_") || !language_name(list)) {
        err_set(err, ERR_INVALID, "there is no language '%.35s': use a code of ISO 639-1, such as 'en'", list);
        return wrong(f, "languages", p);
    }
    if (language && !str_ieq(language, list)) {
        err_set(err, ERR_INVALID, "'language' and 'languages' must not differ");
        return wrong(f, "languages", p);
    }
    f->values[FORM_language] = list;
    return 0;
}

static int check_format(struct form *f, const struct openai_want *w, enum problem *p, struct err *err)
{
    if (w->format < OPENAI_FORMAT_COUNT)
        return 0;
    const char *format = form_extra(f, "response_format");
    if (strcmp(format, "diarized_json") == 0)
        err_set(err, ERR_INVALID,
                "'response_format' diarized_json cannot be had: nobody tells speakers apart here; use verbose_json");
    else
        err_set(err, ERR_INVALID, "'response_format' must be json, text, srt, verbose_json or vtt");
    return wrong(f, "response_format", p);
}

static int check_times(struct form *f, const struct openai_want *w, enum problem *p, struct err *err)
{
    const char *times = form_extra(f, "timestamp_granularities");
    if (!all_listed(times, "word,segment"))
        err_set(err, ERR_INVALID, "'timestamp_granularities' may hold 'word' and 'segment'");
    else if (times && w->format != OPENAI_VERBOSE_JSON)
        err_set(err, ERR_INVALID, "'timestamp_granularities' needs the response_format verbose_json");
    else
        return 0;
    return wrong(f, "timestamp_granularities", p);
}

static int check_include(struct form *f, const struct openai_want *w, enum problem *p, struct err *err)
{
    const char *include = form_extra(f, "include");
    if (!all_listed(include, "logprobs"))
        err_set(err, ERR_INVALID, "'include' may hold 'logprobs'");
    else if (include && w->format != OPENAI_JSON)
        err_set(err, ERR_INVALID, "'include' needs the response_format json");
    else
        return 0;
    return wrong(f, "include", p);
}

static int check_stream(struct form *f, const struct openai_want *w, enum problem *p, struct err *err)
{
    const char *stream = form_extra(f, "stream");
    if (!is_true(stream) && !is_false(stream))
        err_set(err, ERR_INVALID, "'stream' must be true or false");
    else if (w->stream && (w->format == OPENAI_SRT || w->format == OPENAI_VTT))
        err_set(err, ERR_INVALID,
                "'stream' cannot be had with subtitles: use the response_format json or verbose_json");
    else
        return 0;
    return wrong(f, "stream", p);
}

/* ---- chunking_strategy ---- */

/* What of a server_vad there is, with the only value it can have here. */
static const struct {
    const char *name, *field;
    double value;
} vad[] = {
    {"prefix_padding_ms", "chunking_strategy[prefix_padding_ms]", 300},
    {"silence_duration_ms", "chunking_strategy[silence_duration_ms]", 200},
    {"threshold", "chunking_strategy[threshold]", 0.5},
};

static int check_vad_type(const char *type, struct err *err)
{
    if (type && strcmp(type, "server_vad") == 0)
        return 0;
    return err_set(err, ERR_INVALID, "'chunking_strategy' must be \"auto\", or an object with the type \"server_vad\"");
}

static int check_vad_value(size_t i, double value, struct err *err)
{
    if (value >= vad[i].value && value <= vad[i].value)
        return 0;
    return err_set(err, ERR_INVALID,
                   "'chunking_strategy' cannot have another %s than %g: recordings are cut at pauses that are found by "
                   "steno's own rules",
                   vad[i].name, vad[i].value);
}

static int check_vad_object(json_t *o, struct err *err)
{
    const char *key;
    json_t *value;
    int rc = check_vad_type(json_string_value(json_object_get(o, "type")), err);
    json_object_foreach (o, key, value) {
        size_t i = 0;
        while (i < ARRAY_LEN(vad) && strcmp(vad[i].name, key) != 0)
            i++;
        if (rc < 0 || strcmp(key, "type") == 0)
            continue;
        if (i == ARRAY_LEN(vad) || !json_is_number(value))
            rc =
                err_set(err, ERR_INVALID, "'chunking_strategy' has a member '%.40s' that is unknown or no number", key);
        else
            rc = check_vad_value(i, json_number_value(value), err);
    }
    return rc;
}

/* auto, "auto" or {"type": "server_vad"} */
static int check_vad_text(const char *text, struct err *err)
{
    if (strcmp(text, "auto") == 0)
        return 0;
    json_t *v = json_loads(text, JSON_DECODE_ANY | JSON_REJECT_DUPLICATES, NULL);
    int rc = 0;
    if (json_is_object(v))
        rc = check_vad_object(v, err);
    else if (!str_eq(json_string_value(v), "auto"))
        rc = check_vad_type(NULL, err);
    json_decref(v);
    return rc;
}

static int check_chunking(struct form *f, enum problem *p, struct err *err)
{
    const char *text = form_extra(f, "chunking_strategy"), *type = form_extra(f, "chunking_strategy[type]");
    int rc = text ? check_vad_text(text, err) : 0;
    bool parts = type != NULL;
    for (size_t i = 0; i < ARRAY_LEN(vad) && rc == 0; i++) {
        const char *part = form_extra(f, vad[i].field);
        double value;
        if (!part)
            continue;
        parts = true;
        rc = str_to_f64(part, &value) ? check_vad_value(i, value, err)
                                      : err_set(err, ERR_INVALID, "'%s' must be a number", vad[i].field);
    }
    if (rc == 0 && parts)
        rc = check_vad_type(type, err);
    return rc < 0 ? wrong(f, "chunking_strategy", p) : 0;
}

/* ---- what follows for the job ---- */

/* OpenAI's 0 is a start at 0 that rises while the text is bad, which is what we do when nothing is said. */
static int take_temperature(struct form *f, enum problem *p, struct err *err)
{
    const char **t = &f->options.values[JOB_OPTION_temperature];
    if (*t && strchr(*t, ',')) {
        err_set(err, ERR_INVALID, "'temperature' must be one number from 0 to 1");
        return wrong(f, "temperature", p);
    }
    if (str_eq(*t, "0"))
        *t = NULL;
    return 0;
}

/* Somebody waits for the answer: before what nobody waits for. */
static void take_queue(struct form *f)
{
    if (!f->values[FORM_queue] && !f->values[FORM_priority])
        f->values[FORM_queue] = "high";
}

static int complete(struct form *f, struct arena *a, enum problem *p, struct err *err)
{
    const struct openai_want w = openai_want(f);
    int rc = check_model(f, p, err);
    if (rc == 0)
        rc = check_language(f, p, err);
    if (rc == 0)
        rc = take_languages(f, p, err);
    if (rc == 0)
        rc = check_format(f, &w, p, err);
    if (rc == 0)
        rc = check_times(f, &w, p, err);
    if (rc == 0)
        rc = check_include(f, &w, p, err);
    if (rc == 0)
        rc = check_stream(f, &w, p, err);
    if (rc == 0)
        rc = check_chunking(f, p, err);
    if (rc == 0)
        rc = take_temperature(f, p, err);
    if (rc == 0 && (w.words || w.logprobs))
        rc = job_options_set(&f->options, JOB_OPTION_word_timestamps, "true", a, err);
    take_queue(f);
    return rc;
}

static int complete_translation(struct form *f, struct arena *a, enum problem *p, struct err *err)
{
    if (f->values[FORM_task] && strcmp(f->values[FORM_task], "translate") != 0) {
        err_set(err, ERR_INVALID, "'task' must be translate here: transcriptions are at /v1/audio/transcriptions");
        return wrong(f, "task", p);
    }
    f->values[FORM_task] = "translate";
    return complete(f, a, p, err);
}

#define OPENAI_DIALECT                                                                                   \
    .refuse = refuse, .error_type = "application/json", .error_schema = "OpenAiError", .fields = fields, \
    .cannot = cannot, .ignores_unknown = true

const struct dialect dialect_openai = {.name = "openai", OPENAI_DIALECT, .complete = complete};
const struct dialect dialect_openai_translation = {
    .name = "openai translation", OPENAI_DIALECT, .complete = complete_translation};
