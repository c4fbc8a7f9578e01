/* SPDX-License-Identifier: MIT */
#include "api/range.h"

#include "base/macros.h"

#include <stdbool.h>
#include <string.h>
#include <strings.h>

#define BLANKS " \t"

/* Digits to the number they are, or to INT64_MAX, which is beyond the end of anything. false: there is none. */
static bool read_digits(const char **p, int64_t *ret)
{
    const char *s = *p;
    int64_t n = 0;
    for (; *s >= '0' && *s <= '9'; s++)
        n = n > (INT64_MAX - 9) / 10 ? INT64_MAX : n * 10 + (*s - '0');
    if (s == *p)
        return false;
    *p = s;
    *ret = n;
    return true;
}

enum range range_read(const char *header, int64_t size, int64_t *ret_first, int64_t *ret_count)
{
    static const char unit[] = "bytes=";
    int64_t first = 0, last = INT64_MAX;
    if (!header || strncasecmp(header, unit, sizeof unit - 1) != 0)
        return RANGE_WHOLE;
    const char *p = header + sizeof unit - 1;
    p += strspn(p, BLANKS);
    bool from_start = read_digits(&p, &first);
    if (*p++ != '-')
        return RANGE_WHOLE;
    bool has_last = read_digits(&p, &last);
    p += strspn(p, BLANKS);
    if (*p || (!from_start && !has_last) || (from_start && last < first))
        return RANGE_WHOLE;
    if (!from_start) { /* so many at the end */
        first = size - MIN(last, size);
        last = INT64_MAX;
    }
    if (first >= size)
        return RANGE_NOWHERE;
    *ret_first = first;
    *ret_count = MIN(last, size - 1) - first + 1;
    return RANGE_PART;
}
