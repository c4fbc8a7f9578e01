/* SPDX-License-Identifier: MIT */
/*
 * Why a reader of our own: Debian's inih cuts lines at 200 bytes, which a URL with a password reaches; libini-config
 * brings four more libraries; and both take `value   # comment`, as many files have it, for the value. Neither reads
 * `.env`. Both formats here fit in one screen each, and every error names file and line.
 *
 * The text is cut up in place: unquoting never makes it longer.
 */
#include "conf/reader.h"

#include "base/str.h"

#include <string.h>

static bool blank(char c)
{
    return c == ' ' || c == '\t' || c == '\r';
}

static char *skip_blanks(char *p)
{
    while (blank(*p))
        p++;
    return p;
}

static void trim_end(const char *from, char *end)
{
    while (end > from && blank(end[-1]))
        end--;
    *end = '\0';
}

static bool name_char(char c)
{
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '_' || c == '-' ||
           c == '.';
}

/* Checked once for the whole file, so that nothing later sees a NUL or half a character. */
static int check_text(const char *file, const char *text, size_t n, struct err *err)
{
    int line = 1;
    for (size_t at = 0; at < n; line++) {
        const char *nl = memchr(text + at, '\n', n - at);
        size_t len = nl ? (size_t)(nl - text) - at : n - at;
        if (memchr(text + at, '\0', len))
            return err_set(err, ERR_INVALID, "%s:%d: there is a NUL byte: this is not a text file", file, line);
        if (!utf8_valid(text + at, len))
            return err_set(err, ERR_INVALID, "%s:%d: the line is not UTF-8", file, line);
        at += len + 1;
    }
    return 0;
}

static char *skip_mark(char *text)
{
    return str_starts(text, "\xEF\xBB\xBF") ? text + 3 : text;
}

/* A comment or nothing. */
static bool rest_is_empty(char *p)
{
    p = skip_blanks(p);
    return *p == '\0' || *p == '#' || *p == ';';
}

/* Ends the value at p in place; false: the quotes are not closed or something stands behind them. */
static bool cut_ini_value(char **value, bool *ret_bare)
{
    char *p = *value;
    *ret_bare = *p != '"';
    if (*ret_bare) {
        char *end = p;
        while (*end && !((*end == '#' || *end == ';') && (end == p || blank(end[-1]))))
            end++;
        trim_end(p, end);
        return true;
    }
    char *to = p;
    for (p++; *p && *p != '"'; p++) {
        if (*p == '\\' && (p[1] == '"' || p[1] == '\\'))
            p++;
        *to++ = *p;
    }
    bool closed = *p == '"' && rest_is_empty(p + 1);
    *to = '\0';
    return closed;
}

int conf_read_ini(const char *file, char *text, size_t n, conf_line_fn fn, void *arg, struct err *err)
{
    int rc = check_text(file, text, n, err);
    struct conf_line l = {.file = file, .section = ""};
    for (char *next = skip_mark(text); rc >= 0 && *next;) {
        char *p = skip_blanks(next), *end = strchr(p, '\n');
        next = end ? end + 1 : p + strlen(p);
        if (end)
            *end = '\0';
        l.line++;
        if (rest_is_empty(p))
            continue;
        if (*p == '[') {
            char *close = strchr(p, ']');
            if (!close || !rest_is_empty(close + 1))
                return err_set(err, ERR_INVALID, "%s:%d: a section is written [name], alone on its line", file, l.line);
            p = skip_blanks(p + 1);
            trim_end(p, close);
            l.section = p;
            continue;
        }
        char *eq = p;
        while (name_char(*eq))
            eq++;
        char *key_end = eq;
        eq = skip_blanks(eq);
        if (key_end == p || *eq != '=')
            return err_set(err, ERR_INVALID, "%s:%d: expected 'name = value', '[section]' or '# comment'", file,
                           l.line);
        *key_end = '\0';
        char *value = skip_blanks(eq + 1);
        if (!cut_ini_value(&value, &l.bare))
            return err_set(err, ERR_INVALID, "%s:%d: the value of '%s' has no closing quote, or more behind it", file,
                           l.line, p);
        l.key = p;
        l.value = value;
        rc = fn(&l, arg, err);
    }
    return rc < 0 ? rc : 0;
}

/* Unquotes at *at in place and moves *at behind the closing quote; NULL: there is none. Counts lines. */
static char *cut_quoted(char **at, int *line)
{
    char quote = **at, *start = *at, *to = start, *p = start + 1;
    for (; *p && *p != quote; p++) {
        if (*p == '\n')
            (*line)++;
        if (quote == '"' && *p == '\\' && p[1] && strchr("nrt\"\\$`", p[1])) {
            p++;
            *to++ = *p == 'n' ? '\n' : *p == 'r' ? '\r' : *p == 't' ? '\t' : *p;
        } else {
            *to++ = *p;
        }
    }
    if (*p != quote)
        return NULL;
    *at = p + 1;
    /* At least the opening quote lies between `to` and the rest. */
    *to = '\0';
    return start;
}

int conf_read_dotenv(const char *file, char *text, size_t n, conf_line_fn fn, void *arg, struct err *err)
{
    int rc = check_text(file, text, n, err);
    struct conf_line l = {.file = file, .section = ""};
    int line = 1;
    for (char *p = skip_mark(text); rc >= 0 && *(p = skip_blanks(p)); line++) {
        char *end = p + strcspn(p, "\n");
        if (p == end || *p == '#') {
            p = end + (*end == '\n');
            continue;
        }
        l.line = line;
        if (str_starts(p, "export") && blank(p[6]))
            p = skip_blanks(p + 6);
        char *key = p;
        while (name_char(*p))
            p++;
        char *key_end = p;
        p = skip_blanks(p);
        if (key == key_end || *p != '=')
            return err_set(err, ERR_INVALID, "%s:%d: expected 'NAME=value' or '# comment'", file, line);
        *key_end = '\0';
        p = skip_blanks(p + 1);
        l.key = key;
        l.bare = *p != '"' && *p != '\'';
        if (l.bare) {
            char *stop = p;
            while (stop < end && !(*stop == '#' && (stop == p || blank(stop[-1]))))
                stop++;
            l.value = p;
            char *next = end + (*end == '\n');
            trim_end(p, stop);
            p = next;
        } else {
            l.value = cut_quoted(&p, &line);
            if (!l.value)
                return err_set(err, ERR_INVALID, "%s:%d: the value of %s has no closing quote", file, l.line, key);
            p = skip_blanks(p);
            if (*p && *p != '\n' && *p != '#')
                return err_set(err, ERR_INVALID, "%s:%d: there is more behind the closing quote of %s", file, line,
                               key);
            p += strcspn(p, "\n");
            p += *p == '\n';
        }
        rc = fn(&l, arg, err);
    }
    return rc < 0 ? rc : 0;
}
