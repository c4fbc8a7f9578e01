/* SPDX-License-Identifier: MIT */
/* Which bytes a Range header asks for (RFC 9110, 14.1 and 14.2). */
#ifndef API_RANGE_H
#define API_RANGE_H

#include <stdint.h>

enum range {
    RANGE_WHOLE,   /* all: there is no such header, it cannot be understood, or it asks for several parts at once */
    RANGE_PART,    /* *ret_count bytes from *ret_first on, at least one */
    RANGE_NOWHERE, /* no byte that there is */
};

/* Of something with `size` bytes; `header` may be NULL. Only RANGE_PART sets the others. */
enum range range_read(const char *header, int64_t size, int64_t *ret_first, int64_t *ret_count);

#endif
