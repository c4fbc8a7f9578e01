/* SPDX-License-Identifier: MIT */
#include "api/header_value.h"

#include "api/percent.h"

#include <ctype.h>
#include <string.h>

static bool is_token_char(char c)
{
    return isalnum((unsigned char)c) || (c && strchr("!#$%&'*+-.^_`|~", c));
}

const char *header_skip_blanks(const char *p)
{
    return p + strspn(p, " \t");
}

char *header_take_token(const char **p, struct arena *a, bool lower)
{
    size_t n = 0;
    while (is_token_char((*p)[n]))
        n++;
    char *s = n ? arena_dup(a, *p, n) : NULL;
    for (size_t i = 0; s && lower && i < n; i++)
        s[i] = (char)tolower((unsigned char)s[i]);
    *p += n;
    return s;
}

/*
 * The quoted string at *p. A backslash escapes '"' and '\' only: some clients send Windows paths with bare
 * backslashes.
 */
static char *take_quoted(const char **p, struct arena *a)
{
    const char *q = *p + 1;
    char *s = arena_alloc(a, strlen(q) + 1);
    size_t n = 0;
    for (; s && *q && *q != '"'; q++) {
        if (*q == '\\' && (q[1] == '"' || q[1] == '\\'))
            q++;
        s[n++] = *q;
    }
    if (!s || *q != '"')
        return NULL;
    *p = q + 1;
    return s;
}

int header_take_param(const char **p, struct arena *a, char **ret_name, char **ret_value)
{
    const char *q = header_skip_blanks(*p);
    if (*q == ';')
        q = header_skip_blanks(q + 1);
    else if (*q)
        return -1;
    if (!*q) {
        *p = q;
        return 0;
    }
    *ret_name = header_take_token(&q, a, true);
    q = header_skip_blanks(q);
    if (!*ret_name || *q != '=')
        return -1;
    q = header_skip_blanks(q + 1);
    *ret_value = *q == '"' ? take_quoted(&q, a) : header_take_token(&q, a, false);
    if (!*ret_value)
        return -1;
    *p = q;
    return 1;
}

/* RFC 5987: charset'language'percent-encoded. NULL when malformed or in a charset other than UTF-8 and Latin-1. */
static const char *decode_extended(const char *value, struct arena *a)
{
    const char *quote = strchr(value, '\''), *text = quote ? strchr(quote + 1, '\'') : NULL;
    if (!text)
        return NULL;
    size_t charset_len = (size_t)(quote - value);
    char *s = percent_decode(text + 1, strlen(text + 1), false, a);
    if (charset_len == 5 && strncasecmp(value, "utf-8", 5) == 0)
        return s;
    if (charset_len != 10 || strncasecmp(value, "iso-8859-1", 10) != 0)
        return NULL;
    unsigned char *out = s ? arena_alloc(a, 2 * strlen(s) + 1) : NULL;
    for (size_t n = 0; out && *s; s++) {
        unsigned char c = (unsigned char)*s;
        if (c >= 0x80)
            out[n++] = (unsigned char)(0xC0 | c >> 6);
        out[n++] = c >= 0x80 ? (unsigned char)(0x80 | (c & 0x3F)) : c;
    }
    return (char *)out;
}

const char *header_disposition(const char *value, struct arena *a, struct disposition *ret)
{
    const char *p = value, *extended = NULL;
    struct disposition d = {.kind = header_take_token(&p, a, true)};
    char *name = NULL, *text = NULL;
    int more = -1;
    while (d.kind && (more = header_take_param(&p, a, &name, &text)) > 0) {
        const char **slot = strcmp(name, "name") == 0        ? &d.name
                            : strcmp(name, "filename") == 0  ? &d.filename
                            : strcmp(name, "filename*") == 0 ? &extended
                                                             : NULL;
        if (slot && *slot)
            return "a Content-Disposition line names something twice";
        if (slot)
            *slot = text;
    }
    if (more < 0)
        return "a Content-Disposition line is malformed";
    if (extended && !(d.filename = decode_extended(extended, a)))
        return "a filename* is not percent-encoded UTF-8";
    *ret = d;
    return NULL;
}
