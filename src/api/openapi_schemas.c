/* SPDX-License-Identifier: MIT */
/*
 * What other tables of the program say, as JSON schemas: words of states and formats, options of a job, fields of a
 * form, options of subtitles.
 */
#include "api/openapi.h"
#include "api/openapi_internal.h"

#include "api/form.h"
#include "api/problem.h"
#include "base/macros.h"
#include "job/job.h"
#include "job/options.h"
#include "transcript/format.h"

#include <stdio.h>
#include <string.h>

static void write_words(struct jsonw *w, const char *words, char separator)
{
    const char all[] = {separator, '\0'};
    char word[OPENAPI_NAME_SIZE];
    jw_open(w, "enum", '[');
    for (const char *p = words; *p;) {
        size_t n = strcspn(p, all);
        snprintf(word, sizeof word, "%.*s", (int)n, p);
        jw_str(w, NULL, word);
        p += n;
        p += *p == separator;
    }
    jw_close(w, ']');
}

enum option_kind { BOOL, INT, NUMBERS, CHOICE, TEXT };

static const struct option_doc {
    enum option_kind kind;
    const char *name;
    int64_t min, max;
    const char *choices, *help;
} options[] = {
#define X(kind, name, flag, arg, min, max, choices, help) {kind, #name, min, max, choices, help},
    JOB_OPTIONS(X)
#undef X
};

/* `answer`: as it stands in a job, where several numbers are an array; else as a form field. */
static void write_option(struct jsonw *w, const struct option_doc *o, bool answer)
{
    switch (o->kind) {
    case BOOL:
        jw_str(w, "type", "boolean");
        break;
    case INT:
        jw_str(w, "type", "integer");
        jw_int(w, "minimum", o->min);
        jw_int(w, "maximum", o->max);
        break;
    case NUMBERS:
        jw_raw(w, "type", answer ? "[\"number\",\"array\"]" : "\"string\"");
        if (answer)
            jw_raw(w, "items", "{\"type\":\"number\"}");
        break;
    case CHOICE:
        jw_str(w, "type", "string");
        write_words(w, o->choices, '|');
        break;
    case TEXT:
        jw_str(w, "type", "string");
        jw_int(w, "maxLength", o->max);
        break;
    }
    jw_str(w, "description", o->help);
}

static void write_options_schema(struct jsonw *w)
{
    jw_open(w, "JobOptions", '{');
    jw_str(w, "type", "object");
    jw_open(w, "properties", '{');
    for (size_t i = 0; i < ARRAY_LEN(options); i++) {
        jw_open(w, options[i].name, '{');
        write_option(w, &options[i], true);
        jw_close(w, '}');
    }
    jw_close(w, '}');
    jw_bool(w, "additionalProperties", false);
    jw_close(w, '}');
}

static const char *problem_word(size_t i)
{
    return problem_info((enum problem)i)->code;
}

static const char *state_word(size_t i)
{
    return job_state_name((enum job_state)i);
}

static const char *queue_word(size_t i)
{
    return job_queue_name((enum job_queue)i);
}

static const char *format_word(size_t i)
{
    return format_info((enum format)i)->name;
}

void openapi_write_schemas(struct jsonw *w)
{
    static const struct {
        const char *name;
        size_t n;
        const char *(*word)(size_t i);
    } lists[] = {
        {"ProblemCode", PROBLEM_COUNT, problem_word},
        {"JobState", JOB_STATE_COUNT, state_word},
        {"JobQueue", QUEUE_COUNT, queue_word},
        {"FormatName", FORMAT_COUNT, format_word},
    };
    jw_open(w, "schemas", '{');
    for (size_t i = 0; i < ARRAY_LEN(lists); i++) {
        jw_open(w, lists[i].name, '{');
        jw_str(w, "type", "string");
        jw_open(w, "enum", '[');
        for (size_t k = 0; k < lists[i].n; k++)
            jw_str(w, NULL, lists[i].word(k));
        jw_close(w, ']');
        jw_close(w, '}');
    }
    write_options_schema(w);
    for (const struct openapi_part *p = openapi_schemas; p->name; p++)
        jw_raw(w, p->name, p->json);
    jw_close(w, '}');
}

void openapi_write_ref(struct jsonw *w, const char *schema)
{
    char ref[OPENAPI_NAME_SIZE + 32];
    snprintf(ref, sizeof ref, "#/components/schemas/%s", schema);
    jw_open(w, "schema", '{');
    jw_str(w, "$ref", ref);
    jw_close(w, '}');
}

void openapi_write_content(struct jsonw *w, const char *type, const char *schema)
{
    jw_open(w, type, '{');
    if (*schema)
        openapi_write_ref(w, schema);
    jw_close(w, '}');
}

static const struct {
    enum option_kind kind;
    const char *name;
    int min, max;
    const char *help;
} subtitles[] = {
#define X(kind, name, flag, arg, min, max, help) {kind, #name, min, max, help},
    SUBTITLE_OPTIONS(X)
#undef X
};

/* The members of a parameter that is an option of subtitles; false: it is none. */
bool openapi_write_subtitle_option(struct jsonw *w, const char *name)
{
    size_t i = 0;
    while (i < ARRAY_LEN(subtitles) && strcmp(subtitles[i].name, name) != 0)
        i++;
    if (i == ARRAY_LEN(subtitles))
        return false;
    jw_str(w, "description", subtitles[i].help);
    jw_open(w, "schema", '{');
    jw_str(w, "type", subtitles[i].kind == BOOL ? "boolean" : "integer");
    if (subtitles[i].kind == INT) {
        jw_int(w, "minimum", subtitles[i].min);
        jw_int(w, "maximum", subtitles[i].max);
    }
    jw_close(w, '}');
    return true;
}

static const struct {
    const char *name;
    size_t max;
    const char *help;
} own_fields[] = {
#define X(name, max, check, help) {#name, max, help},
    FORM_FIELDS(X)
#undef X
};

/* The members of a field's schema. */
void openapi_write_field(struct jsonw *w, size_t field)
{
    if (field >= FORM_OWN_COUNT) {
        write_option(w, &options[field - FORM_OWN_COUNT], false);
        return;
    }
    jw_str(w, "type", "string");
    jw_int(w, "maxLength", (int64_t)own_fields[field].max);
    jw_str(w, "description", own_fields[field].help);
}

const char *openapi_field_name(size_t field)
{
    return field < FORM_OWN_COUNT ? own_fields[field].name : options[field - FORM_OWN_COUNT].name;
}
