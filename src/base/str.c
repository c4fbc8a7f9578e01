/* SPDX-License-Identifier: MIT */
/* Strict parsing and quoting: see str.h. */
#include "base/str.h"

#include <ctype.h>
#include <errno.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct unit {
    const char *word;
    int64_t factor;
};

bool str_to_i64(const char *s, int64_t *ret)
{
    if (!isdigit((unsigned char)*s) && *s != '-' && *s != '+')
        return false;
    char *end;
    errno = 0;
    long long v = strtoll(s, &end, 10);
    if (errno || end == s || *end)
        return false;
    *ret = v;
    return true;
}

bool str_to_f64(const char *s, double *ret)
{
    /* strtod reads more than decimals: hex, "inf", "nan", leading blanks. */
    if (!*s || s[strspn(s, "0123456789+-.eE")])
        return false;
    char *end;
    errno = 0;
    double v = strtod(s, &end);
    if (errno || end == s || *end || !isfinite(v))
        return false;
    *ret = v;
    return true;
}

/* "<integer><unit>": the integer and what the unit multiplies it by, checked for overflow. */
static bool to_scaled(const char *s, const struct unit *units, size_t n, int64_t bare, int64_t *ret)
{
    size_t digits = strspn(s, "0123456789");
    char number[24];
    if (!digits || digits >= sizeof number)
        return false;
    memcpy(number, s, digits);
    number[digits] = '\0';
    int64_t v, factor = s[digits] ? 0 : bare;
    if (!str_to_i64(number, &v))
        return false;
    for (size_t i = 0; i < n && !factor; i++)
        if (str_ieq(s + digits, units[i].word))
            factor = units[i].factor;
    if (!factor || v > INT64_MAX / factor)
        return false;
    *ret = v * factor;
    return true;
}

bool str_to_duration_ms(const char *s, int64_t bare_unit_ms, int64_t *ret)
{
    static const struct unit units[] = {
        {"ms", 1}, {"s", 1000}, {"m", 60000}, {"min", 60000}, {"h", 3600000}, {"d", 86400000},
    };
    return to_scaled(s, units, ARRAY_LEN(units), bare_unit_ms, ret);
}

bool str_to_bytes(const char *s, int64_t bare_unit, int64_t *ret)
{
    static const struct unit units[] = {
        {"b", 1},
        {"k", (int64_t)1 << 10},
        {"kb", (int64_t)1 << 10},
        {"kib", (int64_t)1 << 10},
        {"m", (int64_t)1 << 20},
        {"mb", (int64_t)1 << 20},
        {"mib", (int64_t)1 << 20},
        {"g", (int64_t)1 << 30},
        {"gb", (int64_t)1 << 30},
        {"gib", (int64_t)1 << 30},
        {"t", (int64_t)1 << 40},
        {"tb", (int64_t)1 << 40},
        {"tib", (int64_t)1 << 40},
    };
    return to_scaled(s, units, ARRAY_LEN(units), bare_unit, ret);
}

void str_add_duration(struct buf *b, double seconds)
{
    if (!(seconds > 0))
        seconds = 0;
    seconds = MIN(seconds, 1e15); /* fits the integers below */
    if (seconds < 9.95) {
        buf_addf(b, "%.1f s", seconds);
        return;
    }
    int64_t s = (int64_t)(seconds + 0.5);
    if (s < 3600)
        buf_addf(b, "%d:%02d", (int)(s / 60), (int)(s % 60));
    else
        buf_addf(b, "%lld:%02d:%02d", (long long)(s / 3600), (int)(s / 60 % 60), (int)(s % 60));
}

bool str_starts(const char *s, const char *prefix)
{
    return strncmp(s, prefix, strlen(prefix)) == 0;
}

bool str_ends(const char *s, const char *suffix)
{
    size_t n = strlen(s), m = strlen(suffix);
    return n >= m && strcmp(s + n - m, suffix) == 0;
}

static int lower(int c)
{
    return c >= 'A' && c <= 'Z' ? c + 32 : c;
}

bool str_ieq(const char *a, const char *b)
{
    while (*a && lower((unsigned char)*a) == lower((unsigned char)*b)) {
        a++;
        b++;
    }
    return lower((unsigned char)*a) == lower((unsigned char)*b);
}

bool str_eq(const char *a, const char *b)
{
    return a && b ? strcmp(a, b) == 0 : a == b;
}

#define REPLACEMENT "\xEF\xBF\xBD" /* U+FFFD */

/* Length of the well-formed character at s (at most n bytes), 0 for a malformed one, -1 for one cut off by n. */
static int utf8_len(const unsigned char *s, size_t n)
{
    static const unsigned min_value[] = {0, 0, 0x80, 0x800, 0x10000};
    unsigned c = s[0];
    if (c < 0x80)
        return 1;
    int len = c >= 0xC2 && c < 0xE0 ? 2 : (c & 0xF0) == 0xE0 ? 3 : c >= 0xF0 && c < 0xF5 ? 4 : 0;
    if (!len)
        return 0;
    unsigned v = c & (0x7Fu >> len);
    for (int i = 1; i < len; i++) {
        if ((size_t)i >= n)
            return -1;
        if ((s[i] & 0xC0) != 0x80)
            return 0;
        v = v << 6 | (s[i] & 0x3Fu);
    }
    if (v < min_value[len] || (v >= 0xD800 && v < 0xE000) || v > 0x10FFFF)
        return 0;
    return len;
}

bool utf8_valid(const char *s, size_t n)
{
    for (size_t i = 0; i < n;) {
        int len = utf8_len((const unsigned char *)s + i, n - i);
        if (len <= 0)
            return false;
        i += (size_t)len;
    }
    return true;
}

size_t utf8_floor(const char *s, size_t n)
{
    for (size_t back = 1; back <= 3 && back <= n; back++) {
        const unsigned char *p = (const unsigned char *)s + n - back;
        if ((*p & 0xC0) == 0x80)
            continue;
        return utf8_len(p, back) < 0 ? n - back : n;
    }
    return n;
}

void utf8_add_clean(struct buf *b, const char *s, size_t n)
{
    for (size_t i = 0; i < n;) {
        int len = utf8_len((const unsigned char *)s + i, n - i);
        if (len > 0) {
            buf_add(b, s + i, (size_t)len);
            i += (size_t)len;
        } else {
            buf_adds(b, REPLACEMENT);
            i++;
        }
    }
}

/* How many of the n bytes stand in JSON as they are. Most texts are one run. */
static size_t plain_run(const unsigned char *p, size_t n)
{
    size_t i = 0;
    while (i < n && p[i] >= 0x20 && p[i] < 0x7F && p[i] != '"' && p[i] != '\\')
        i++;
    return i;
}

void str_add_json(struct buf *b, const char *s)
{
    const unsigned char *p = (const unsigned char *)s;
    buf_addc(b, '"');
    for (size_t n = strlen(s); n;) {
        size_t took = plain_run(p, n);
        int len = took ? 0 : utf8_len(p, n);
        if (took) {
            buf_add(b, p, took);
        } else if (*p == '"' || *p == '\\') {
            buf_add(b, (const char[]){'\\', (char)*p}, 2);
        } else if (*p == '\n') {
            buf_adds(b, "\\n");
        } else if (*p < 0x80) {
            buf_addf(b, "\\u%04x", *p);
        } else if (len > 0) {
            buf_add(b, p, (size_t)len);
        } else {
            buf_adds(b, REPLACEMENT);
        }
        took = took ? took : (size_t)MAX(len, 1);
        p += took;
        n -= took;
    }
    buf_addc(b, '"');
}

void str_add_printable(struct buf *b, const char *s)
{
    for (size_t n = strlen(s); n;) {
        const unsigned char *p = (const unsigned char *)s;
        int len = utf8_len(p, n);
        /* U+0080 to U+009F are C2 80 to C2 9F: terminals take U+009B for the start of a command. */
        bool c1 = len == 2 && p[0] == 0xC2 && p[1] < 0xA0;
        if (*p == '\n')
            buf_adds(b, "\\n");
        else if (len <= 0 || *p < 0x20 || *p == 0x7F)
            buf_addf(b, "\\x%02x", *p);
        else if (c1)
            buf_addf(b, "\\u%04x", p[1]);
        else
            buf_add(b, s, (size_t)len);
        s += MAX(len, 1);
        n -= (size_t)MAX(len, 1);
    }
}

void str_hex(const unsigned char *p, size_t n, char *ret)
{
    static const char digits[] = "0123456789abcdef";
    for (size_t i = 0; i < n; i++) {
        ret[2 * i] = digits[p[i] >> 4];
        ret[2 * i + 1] = digits[p[i] & 15];
    }
    ret[2 * n] = '\0';
}
