/* SPDX-License-Identifier: MIT */
/* Values of header lines with parameters: `form-data; name="file"; filename*=UTF-8''a%20b`. Pure; texts go to an arena.
 */
#ifndef API_HEADER_VALUE_H
#define API_HEADER_VALUE_H

#include "base/mem.h"

#include <stdbool.h>

const char *header_skip_blanks(const char *p);
/* The word at *p, in lower case when asked; NULL when there is none. Moves *p behind it. */
char *header_take_token(const char **p, struct arena *a, bool lower);
/* "; name=value" at *p: 1 and both, 0 at the end, -1 malformed. */
int header_take_param(const char **p, struct arena *a, char **ret_name, char **ret_value);

/* A Content-Disposition value: `attachment; filename="talk.wav"`. */
struct disposition {
    const char *kind;            /* in lower case */
    const char *name, *filename; /* NULL: not given; filename* wins over filename and is decoded */
};
/* NULL, or what is wrong with it. */
const char *header_disposition(const char *value, struct arena *a, struct disposition *ret);

#endif
