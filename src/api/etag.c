/* SPDX-License-Identifier: MIT */
#include "api/etag.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

enum { TAG_MAX = 128 };

static const char *without_weakness(const char *tag)
{
    return strncmp(tag, "W/", 2) == 0 ? tag + 2 : tag;
}

bool etag_listed(const char *if_none_match, const char *tag)
{
    static const char blanks[] = ", \t";
    const char *p = if_none_match;
    if (!p)
        return false;
    const char *opaque = tag ? without_weakness(tag) : NULL;
    p += strspn(p, blanks);
    if (*p == '*')
        return !p[1 + strspn(p + 1, blanks)];
    while (*p) {
        const char *q = without_weakness(p);
        /* A comma may stand inside a tag, so the quotes decide where it ends. */
        const char *end = *q == '"' ? strchr(q + 1, '"') : NULL;
        if (!end)
            return false;
        size_t n = (size_t)(end + 1 - q);
        if (opaque && strlen(opaque) == n && memcmp(opaque, q, n) == 0)
            return true;
        p = end + 1;
        size_t gap = strspn(p, blanks);
        if (*p && !memchr(p, ',', gap))
            return false;
        p += gap;
    }
    return false;
}

bool etag_answer(struct request *rq, const char *fmt, ...)
{
    char text[TAG_MAX], tag[TAG_MAX + 3];
    va_list ap;
    va_start(ap, fmt);
    int n = vsnprintf(text, sizeof text, fmt, ap);
    va_end(ap);
    if (n < 0 || (size_t)n >= sizeof text)
        return false;
    snprintf(tag, sizeof tag, "\"%s\"", text);
    answer_header(&rq->answer, "ETag", "%s", tag);
    if (!etag_listed(rq->if_none_match, tag))
        return false;
    rq->answer.status = 304;
    return true;
}
