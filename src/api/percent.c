/* SPDX-License-Identifier: MIT */
#include "api/percent.h"

static int hex_digit(char c)
{
    if (c >= '0' && c <= '9')
        return c - '0';
    if (c >= 'a' && c <= 'f')
        return c - 'a' + 10;
    return c >= 'A' && c <= 'F' ? c - 'A' + 10 : -1;
}

char *percent_decode(const char *s, size_t n, bool plus_is_blank, struct arena *a)
{
    char *out = arena_alloc(a, n + 1);
    size_t len = 0;
    for (size_t i = 0; out && i < n; i++) {
        int c = (unsigned char)s[i];
        if (c == '+' && plus_is_blank)
            c = ' ';
        if (c == '%') {
            int high = i + 2 < n ? hex_digit(s[i + 1]) : -1, low = high < 0 ? -1 : hex_digit(s[i + 2]);
            if (low < 0)
                return NULL;
            c = high * 16 + low;
            i += 2;
        }
        if (!c)
            return NULL;
        out[len++] = (char)c;
    }
    return out;
}
