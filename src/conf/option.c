/* SPDX-License-Identifier: MIT */
/*
 * The option table as an array, and the one place that knows the types: each has a parser that ends in the row's
 * range check, and a printer whose text parses to the same value again.
 */
#include "conf/option.h"

#include "base/str.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

enum { NEAR_MAX = 64, SHOWN_MAX = 60 };

static const struct conf_option options[] = {
#define X(group, name, type, def, min, max, unit, choices, flags, help) \
    {group, #name, CONF_##type, def, min, max, unit, choices, flags, help, offsetof(struct conf, name)},
    CONF_OPTIONS(X)
#undef X
};

static const struct scale {
    const char *word;
    int64_t factor;
    const char *plural;
} durations[] = {{"d", CONF_DAY, "days"},
                 {"h", CONF_HOUR, "hours"},
                 {"m", CONF_MIN, "minutes"},
                 {"s", CONF_SEC, "seconds"},
                 {"ms", 1, "milliseconds"}},
  sizes[] = {
      {"G", CONF_GIB, "gigabytes"}, {"M", CONF_MIB, "megabytes"}, {"K", CONF_KIB, "kilobytes"}, {"B", 1, "bytes"}};

const struct conf_option *conf_options(size_t *ret_n)
{
    *ret_n = ARRAY_LEN(options);
    return options;
}

enum conf_index conf_option_index(const struct conf_option *o)
{
    return (enum conf_index)(o - options);
}

bool conf_type_is_text(enum conf_type t)
{
    return t == CONF_STRING || t == CONF_LIST || t == CONF_URL || t == CONF_CHOICE;
}

static bool same_name(const char *a, const char *b)
{
    while (*a && (*a == *b || (*a == '-' && *b == '_') || (*a == '_' && *b == '-'))) {
        a++;
        b++;
    }
    return *a == *b;
}

const struct conf_option *conf_option_find(const char *name)
{
    for (size_t i = 0; i < ARRAY_LEN(options); i++)
        if (same_name(options[i].name, name))
            return &options[i];
    return NULL;
}

static char fold(char c)
{
    return c == '-' ? '_' : c >= 'A' && c <= 'Z' ? (char)(c + 32) : c;
}

size_t conf_distance(const char *a, const char *b)
{
    /* Optimal string alignment, three rows of the table at a time; upper case and dashes cost nothing. */
    size_t n = strnlen(a, NEAR_MAX), m = strnlen(b, NEAR_MAX);
    size_t rows[3][NEAR_MAX + 1];
    for (size_t j = 0; j <= m; j++)
        rows[0][j] = j;
    for (size_t i = 1; i <= n; i++) {
        size_t *now = rows[i % 3], *last = rows[(i + 2) % 3], *before = rows[(i + 1) % 3];
        now[0] = i;
        for (size_t j = 1; j <= m; j++) {
            char ca = fold(a[i - 1]), cb = fold(b[j - 1]);
            now[j] = MIN(MIN(last[j], now[j - 1]) + 1, last[j - 1] + (ca != cb));
            if (i > 1 && j > 1 && ca == fold(b[j - 2]) && fold(a[i - 2]) == cb)
                now[j] = MIN(now[j], before[j - 2] + 1);
        }
    }
    return rows[n % 3][m];
}

const char *conf_option_near(const char *name)
{
    const char *best = NULL;
    size_t best_d = SIZE_MAX;
    for (size_t i = 0; i < ARRAY_LEN(options); i++) {
        size_t d = conf_distance(name, options[i].name);
        /* A third of the letters wrong is another word, not a slip. */
        if (d < best_d && d <= 3 && 3 * d <= strlen(options[i].name)) {
            best_d = d;
            best = options[i].name;
        }
    }
    return best;
}

/* The word of a number's special value and what it stands for. */
static bool special(const struct conf_option *o, const char **ret_word, size_t *ret_len, int64_t *ret)
{
    const char *eq = o->choices ? strchr(o->choices, '=') : NULL;
    if (!eq || !str_to_i64(eq + 1, ret))
        return false;
    *ret_word = o->choices;
    *ret_len = (size_t)(eq - o->choices);
    return true;
}

/* Is `word` (n bytes) one of "a|b|c"? */
static bool in_choices(const char *choices, const char *word, size_t n)
{
    for (const char *p = choices; *p; p += *p == '|') {
        size_t len = strcspn(p, "|");
        if (len == n && memcmp(p, word, n) == 0)
            return true;
        p += len;
    }
    return false;
}

static void add_scaled(const struct scale *s, size_t n, int64_t v, struct buf *b)
{
    size_t i = 0;
    while (i < n - 1 && (v == 0 || v % s[i].factor))
        i++;
    /* "0s", not "0ms". */
    if (v == 0 && s == durations)
        i = n - 2;
    buf_addf(b, "%" PRId64 "%s", v / s[i].factor, s[i].word);
}

static void add_number(const struct conf_option *o, int64_t v, struct buf *b)
{
    if (o->type == CONF_DURATION)
        add_scaled(durations, ARRAY_LEN(durations), v, b);
    else if (o->type == CONF_BYTES)
        add_scaled(sizes, ARRAY_LEN(sizes), v, b);
    else
        buf_addf(b, "%" PRId64, v);
}

/* "a, b or c" from "a|b|c", each with `tail` behind it. */
static void add_choices(const char *choices, const char *tail, struct buf *b)
{
    for (const char *p = choices; *p; p += *p == '|') {
        size_t len = strcspn(p, "|");
        if (p != choices)
            buf_adds(b, strchr(p, '|') ? ", " : " or ");
        buf_add(b, p, len);
        buf_adds(b, tail);
        p += len;
    }
}

static void add_bare_unit(const struct conf_option *o, struct buf *b)
{
    const struct scale *s = o->type == CONF_DURATION ? durations : sizes;
    size_t n = o->type == CONF_DURATION ? ARRAY_LEN(durations) : ARRAY_LEN(sizes);
    for (size_t i = 0; i < n; i++)
        if (s[i].factor == o->unit)
            buf_addf(b, "; a bare number counts %s", s[i].plural);
}

void conf_option_add_values(const struct conf_option *o, struct buf *b)
{
    const char *word;
    size_t len;
    int64_t value;
    switch (o->type) {
    case CONF_STRING:
        buf_adds(b, "text");
        break;
    case CONF_LIST:
        buf_adds(b, "list, separated by commas");
        break;
    case CONF_URL:
        add_choices(o->choices, ":", b);
        break;
    case CONF_CHOICE:
        add_choices(o->choices, "", b);
        break;
    case CONF_BOOL:
        buf_adds(b, "yes or no");
        break;
    case CONF_INT:
    case CONF_DURATION:
    case CONF_BYTES:
        add_number(o, o->min, b);
        buf_adds(b, " to ");
        add_number(o, o->max, b);
        if (special(o, &word, &len, &value))
            buf_addf(b, ", or %.*s (%" PRId64 ")", (int)len, word, value);
        if (o->type != CONF_INT)
            add_bare_unit(o, b);
        break;
    }
}

/* "lease = '2 days' is wrong: allowed is 1s to 1h; ..." */
static int wrong_value(const struct conf_option *o, const char *text, struct err *err)
{
    CLEANUP(buf_clear) struct buf shown = BUF_INIT(1024), values = BUF_INIT(400);
    size_t n = strlen(text), cut = n > SHOWN_MAX ? utf8_floor(text, SHOWN_MAX) : n;
    CLEANUP(buf_clear) struct buf part = BUF_INIT(SHOWN_MAX * 4);
    utf8_add_clean(&part, text, cut);
    str_add_printable(&shown, buf_str(&part));
    if (cut < n)
        buf_adds(&shown, "...");
    conf_option_add_values(o, &values);
    if (o->flags & CONF_SECRET || o->type == CONF_URL)
        return err_set(err, ERR_INVALID, "%s has a wrong value: allowed is %s", o->name, buf_str(&values));
    return err_set(err, ERR_INVALID, "%s = '%s' is wrong: allowed is %s", o->name, buf_str(&shown), buf_str(&values));
}

static int parse_text(const struct conf_option *o, const char *text, struct arena *a, union conf_value *ret,
                      struct err *err)
{
    size_t n = strlen(text);
    if (!utf8_valid(text, n))
        return err_set(err, ERR_INVALID, "%s: the value is not UTF-8", o->name);
    for (size_t i = 0; i < n; i++)
        if ((unsigned char)text[i] < 0x20 || text[i] == 0x7F)
            return err_set(err, ERR_INVALID, "%s: the value has a control character (byte %zu)", o->name, i + 1);
    if (o->type == CONF_CHOICE) {
        if (!in_choices(o->choices, text, n))
            return wrong_value(o, text, err);
    } else {
        if ((int64_t)n > o->max)
            return err_set(err, ERR_INVALID, "%s: the value has %zu bytes, at most %" PRId64 " are allowed", o->name, n,
                           o->max);
        if ((int64_t)n < o->min)
            return err_set(err, ERR_INVALID, "%s may not be empty", o->name);
        if (o->type == CONF_URL && n && !in_choices(o->choices, text, strcspn(text, ":")))
            return wrong_value(o, text, err);
    }
    ret->s = arena_strdup(a, text);
    return ret->s ? 0 : err_set(err, ERR_NOMEM, "no memory for the settings");
}

static int parse_number(const struct conf_option *o, const char *text, union conf_value *ret, struct err *err)
{
    const char *word;
    size_t len;
    int64_t v, value;
    if (special(o, &word, &len, &value) &&
        ((strlen(text) == len && memcmp(text, word, len) == 0) || (str_to_i64(text, &v) && v == value))) {
        ret->i = value;
        return 0;
    }
    bool ok = o->type == CONF_DURATION ? str_to_duration_ms(text, o->unit, &v)
              : o->type == CONF_BYTES  ? str_to_bytes(text, o->unit, &v)
                                       : str_to_i64(text, &v);
    if (!ok || v < o->min || v > o->max)
        return wrong_value(o, text, err);
    ret->i = v;
    return 0;
}

static int parse_bool(const struct conf_option *o, const char *text, union conf_value *ret, struct err *err)
{
    static const char *const words[2][4] = {{"no", "false", "off", "0"}, {"yes", "true", "on", "1"}};
    for (size_t v = 0; v < 2; v++)
        for (size_t i = 0; i < ARRAY_LEN(words[v]); i++)
            if (str_ieq(text, words[v][i])) {
                ret->b = v == 1;
                return 0;
            }
    return wrong_value(o, text, err);
}

int conf_value_parse(const struct conf_option *o, const char *text, struct arena *a, union conf_value *ret,
                     struct err *err)
{
    switch (o->type) {
    case CONF_STRING:
    case CONF_LIST:
    case CONF_URL:
    case CONF_CHOICE:
        return parse_text(o, text, a, ret, err);
    case CONF_INT:
    case CONF_DURATION:
    case CONF_BYTES:
        return parse_number(o, text, ret, err);
    case CONF_BOOL:
        return parse_bool(o, text, ret, err);
    }
    return err_set(err, ERR_INTERNAL, "%s has no type", o->name);
}

void conf_value_add(const struct conf_option *o, union conf_value v, struct buf *b)
{
    const char *word;
    size_t len;
    int64_t value;
    switch (o->type) {
    case CONF_STRING:
    case CONF_LIST:
    case CONF_URL:
    case CONF_CHOICE:
        buf_adds(b, v.s);
        break;
    case CONF_INT:
    case CONF_DURATION:
    case CONF_BYTES:
        if (special(o, &word, &len, &value) && v.i == value)
            buf_add(b, word, len);
        else
            add_number(o, v.i, b);
        break;
    case CONF_BOOL:
        buf_adds(b, v.b ? "yes" : "no");
        break;
    }
}

bool conf_value_eq(const struct conf_option *o, union conf_value a, union conf_value b)
{
    switch (o->type) {
    case CONF_STRING:
    case CONF_LIST:
    case CONF_URL:
    case CONF_CHOICE:
        return strcmp(a.s, b.s) == 0;
    case CONF_INT:
    case CONF_DURATION:
    case CONF_BYTES:
        return a.i == b.i;
    case CONF_BOOL:
        return a.b == b.b;
    }
    return false;
}

/* The field's C type follows from the row's type by CONF_TYPES, so these copies always fit. */
void conf_store(struct conf *c, const struct conf_option *o, union conf_value v)
{
    void *field = (char *)c + o->offset;
    switch (o->type) {
#define X(type, ctype, member)                     \
    case CONF_##type:                              \
        memcpy(field, &v.member, sizeof v.member); \
        break;
        CONF_TYPES(X)
#undef X
    }
}

union conf_value conf_fetch(const struct conf *c, const struct conf_option *o)
{
    union conf_value v = {0};
    const void *field = (const char *)c + o->offset;
    switch (o->type) {
#define X(type, ctype, member)                     \
    case CONF_##type:                              \
        memcpy(&v.member, field, sizeof v.member); \
        break;
        CONF_TYPES(X)
#undef X
    }
    return v;
}
