/* SPDX-License-Identifier: MIT */
/*
 * Each kind has a function that brings a value into its one form: "true" and "false", decimal integers, numbers with at
 * most three decimals and commas between them, a word of the list, any text. The same function checks what comes back
 * from a row, so a row that was tampered with is found out.
 */
#include "job/options.h"

#include "base/str.h"

#include <jansson.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum kind { BOOL, INT, NUMBERS, CHOICE, TEXT };

static const struct option {
    enum kind kind;
    const char *name;
    int64_t min, max;
    const char *choices;
} options[] = {
#define X(kind, name, flag, arg, min, max, choices, help) {kind, #name, min, max, choices},
    JOB_OPTIONS(X)
#undef X
};

static int set_bool(const struct option *o, const char *value, struct buf *b, struct err *err)
{
    static const char *const yes[] = {"true", "yes", "on", "1"}, *const no[] = {"false", "no", "off", "0"};
    for (size_t i = 0; i < ARRAY_LEN(yes); i++)
        if (str_ieq(value, yes[i]) || str_ieq(value, no[i])) {
            buf_adds(b, str_ieq(value, yes[i]) ? "true" : "false");
            return 0;
        }
    return err_set(err, ERR_INVALID, "'%s' must be true or false", o->name);
}

static int set_int(const struct option *o, const char *value, struct buf *b, struct err *err)
{
    int64_t v;
    if (!str_to_i64(value, &v) || v < o->min || v > o->max)
        return err_set(err, ERR_INVALID, "'%s' must be a whole number from %lld to %lld", o->name, (long long)o->min,
                       (long long)o->max);
    buf_addf(b, "%lld", (long long)v);
    return 0;
}

/* Made from integers: no locale, no rounding. */
static void add_number(struct buf *b, int64_t thousandths)
{
    char text[32];
    int n = snprintf(text, sizeof text, "%lld.%03d", (long long)(thousandths / 1000), (int)(thousandths % 1000));
    while (text[n - 1] == '0')
        n--;
    buf_add(b, text, (size_t)(text[n - 1] == '.' ? n - 1 : n));
}

static int set_numbers(const struct option *o, const char *value, struct buf *b, struct err *err)
{
    size_t count = 0;
    for (const char *p = value;; count++) {
        p += strspn(p, " ");
        size_t n = strcspn(p, ", ");
        char one[24];
        double v = -1;
        if (n && n < sizeof one) {
            memcpy(one, p, n);
            one[n] = '\0';
        }
        if (!n || n >= sizeof one || count == JOB_OPTION_NUMBERS_MAX || !str_to_f64(one, &v) ||
            !(v * 1000 >= (double)o->min && v * 1000 <= (double)o->max))
            return err_set(err, ERR_INVALID, "'%s' must be a number from %lld to %lld, or up to %d with commas between",
                           o->name, (long long)o->min / 1000, (long long)o->max / 1000, (int)JOB_OPTION_NUMBERS_MAX);
        if (count)
            buf_addc(b, ',');
        add_number(b, llround(v * 1000));
        p += n;
        p += strspn(p, " ");
        if (!*p)
            return 0;
        p += *p == ',';
    }
}

static int set_choice(const struct option *o, const char *value, struct buf *b, struct err *err)
{
    CLEANUP(buf_clear) struct buf words = BUF_INIT(1024);
    for (const char *p = o->choices; *p;) {
        size_t n = strcspn(p, "|");
        if (n == strlen(value) && memcmp(p, value, n) == 0) {
            buf_add(b, p, n);
            return 0;
        }
        buf_addf(&words, "%s'%.*s'", words.len ? " or " : "", (int)n, p);
        p += n + (p[n] == '|');
    }
    return err_set(err, ERR_INVALID, "'%s' must be %s", o->name, buf_str(&words));
}

static int set_text(const struct option *o, const char *value, struct buf *b, struct err *err)
{
    size_t n = strlen(value);
    if ((int64_t)n > o->max)
        return err_set(err, ERR_INVALID, "'%s' is over %lld bytes", o->name, (long long)o->max);
    if (!utf8_valid(value, n))
        return err_set(err, ERR_INVALID, "'%s' is not UTF-8 text", o->name);
    buf_add(b, value, n);
    return 0;
}

static int set(const struct option *o, const char *value, struct buf *b, struct err *err)
{
    switch (o->kind) {
    case BOOL:
        return set_bool(o, value, b, err);
    case INT:
        return set_int(o, value, b, err);
    case NUMBERS:
        return set_numbers(o, value, b, err);
    case CHOICE:
        return set_choice(o, value, b, err);
    case TEXT:
        return set_text(o, value, b, err);
    }
    return 0;
}

const char *job_option_name(enum job_option i)
{
    return options[i].name;
}

int job_options_set(struct job_options *o, enum job_option i, const char *value, struct arena *a, struct err *err)
{
    if (!*value) {
        o->values[i] = NULL;
        return 0;
    }
    CLEANUP(buf_clear) struct buf b = BUF_INIT(JOB_OPTION_TEXT_MAX + 1);
    int rc = set(&options[i], value, &b, err);
    if (rc == 0)
        rc = buf_check(&b, options[i].name, err);
    if (rc < 0)
        return rc;
    const char *copy = arena_dup(a, buf_str(&b), b.len);
    if (!copy)
        return err_set(err, ERR_NOMEM, "no memory for '%s'", options[i].name);
    o->values[i] = copy;
    return 0;
}

void job_options_default(struct job_options *o, const struct job_options *defaults)
{
    for (size_t i = 0; i < JOB_OPTION_COUNT; i++)
        if (!o->values[i] && defaults)
            o->values[i] = defaults->values[i];
}

void job_options_to_json(const struct job_options *o, struct buf *b)
{
    bool first = true;
    buf_addc(b, '{');
    for (size_t i = 0; i < JOB_OPTION_COUNT; i++) {
        const char *value = o->values[i];
        if (!value)
            continue;
        buf_addf(b, "%s\"%s\":", first ? "" : ",", options[i].name);
        first = false;
        bool list = options[i].kind == NUMBERS && strchr(value, ',');
        if (options[i].kind == CHOICE || options[i].kind == TEXT)
            str_add_json(b, value);
        else
            buf_addf(b, list ? "[%s]" : "%s", value);
    }
    buf_addc(b, '}');
}

/* A member's value as the text that it was made from; NULL when no such value can be. Caller frees. */
static char *text_of(enum kind kind, const json_t *v)
{
    CLEANUP(buf_clear) struct buf b = BUF_INIT(JOB_OPTIONS_JSON_MAX);
    if (json_is_string(v) && (kind == CHOICE || kind == TEXT))
        return xstrdup(json_string_value(v));
    CLEANUP(free_p) char *text = json_dumps(v, JSON_ENCODE_ANY | JSON_COMPACT | JSON_REAL_PRECISION(6));
    if (!text || (json_is_array(v) && kind != NUMBERS) || json_is_string(v) || json_is_object(v))
        return NULL;
    buf_adds(&b, text + json_is_array(v));
    if (buf_ok(&b) && json_is_array(v))
        b.data[b.len - 1] = '\0';
    return *buf_str(&b) ? xstrdup(buf_str(&b)) : NULL;
}

static int from_json(const json_t *root, struct arena *a, struct job_options *ret, struct err *err)
{
    for (size_t i = 0; i < JOB_OPTION_COUNT; i++) {
        const json_t *v = json_object_get(root, options[i].name);
        if (!v)
            continue;
        CLEANUP(free_p) char *text = text_of(options[i].kind, v);
        struct err why = ERR_INIT;
        int rc = text ? job_options_set(ret, (enum job_option)i, text, a, &why) : ERR_INVALID;
        if (rc == ERR_NOMEM)
            return err_set(err, rc, "%s", why.msg);
        if (rc < 0)
            return err_set(err, ERR_CORRUPT, "the job's options are damaged: %s",
                           why.msg[0] ? why.msg : options[i].name);
    }
    return 0;
}

int job_options_from_json(const char *json, struct arena *a, struct job_options *ret, struct err *err)
{
    *ret = (struct job_options){{NULL}};
    if (!json || !*json)
        return 0;
    json_error_t at;
    json_t *root = json_loads(json, JSON_REJECT_DUPLICATES, &at);
    int rc = json_is_object(root) ? from_json(root, a, ret, err)
                                  : err_set(err, ERR_CORRUPT, "the job's options are no JSON object");
    json_decref(root);
    return rc;
}

bool job_option_is(const struct job_options *o, enum job_option i, const char *value)
{
    return str_eq(o->values[i], value);
}

int64_t job_option_int(const struct job_options *o, enum job_option i, int64_t if_none)
{
    int64_t v;
    return o->values[i] && str_to_i64(o->values[i], &v) ? v : if_none;
}

size_t job_option_numbers(const struct job_options *o, enum job_option i, float *ret, size_t max)
{
    size_t n = 0;
    for (const char *p = o->values[i]; p && n < max; p = *p ? p + 1 : NULL) {
        char one[24];
        size_t len = MIN(strcspn(p, ","), sizeof one - 1);
        memcpy(one, p, len);
        one[len] = '\0';
        double v;
        if (!str_to_f64(one, &v))
            break;
        ret[n++] = (float)v;
        p += len;
        if (!*p)
            break;
    }
    return n;
}
