/* SPDX-License-Identifier: MIT */
#include "base/id.h"

#include "base/clock.h"
#include "base/str.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>

void random_bytes(void *p, size_t n)
{
    for (size_t done = 0; done < n;) {
        ssize_t got = getrandom((char *)p + done, n - done, 0);
        if (got < 0 && errno != EINTR)
            abort();
        done += got > 0 ? (size_t)got : 0;
    }
}

int64_t random_below(int64_t bound)
{
    if (bound <= 0)
        return 0;
    uint64_t limit = UINT64_MAX - UINT64_MAX % (uint64_t)bound, v;
    do
        random_bytes(&v, sizeof v);
    while (v >= limit);
    return (int64_t)(v % (uint64_t)bound);
}

void id_new(char ret[ID_SIZE])
{
    unsigned char b[16];
    random_bytes(b, sizeof b);
    uint64_t ms = (uint64_t)clock_wall_ms();
    for (int i = 0; i < 6; i++)
        b[i] = (unsigned char)(ms >> (40 - 8 * i));
    b[6] = (unsigned char)(0x70 | (b[6] & 0x0F));
    b[8] = (unsigned char)(0x80 | (b[8] & 0x3F));
    char hex[33];
    str_hex(b, sizeof b, hex);
    static const int groups[] = {8, 4, 4, 4, 12};
    const char *from = hex;
    char *to = ret;
    for (size_t i = 0; i < ARRAY_LEN(groups); i++) {
        if (i)
            *to++ = '-';
        memcpy(to, from, (size_t)groups[i]);
        to += groups[i];
        from += groups[i];
    }
    *to = '\0';
}

bool id_valid(const char *s)
{
    for (int i = 0; i < ID_SIZE - 1; i++) {
        bool dash = i == 8 || i == 13 || i == 18 || i == 23;
        if (dash ? s[i] != '-' : !s[i] || !strchr("0123456789abcdef", s[i]))
            return false;
    }
    return s[ID_SIZE - 1] == '\0';
}
