/* SPDX-License-Identifier: MIT */
/* Writes JSON into a buffer: commas and quoting, nothing else. Failures stick to the buffer. */
#ifndef API_JSONW_H
#define API_JSONW_H

#include "base/buf.h"

#include <stdbool.h>
#include <stdint.h>

struct jsonw {
    struct buf *b;
    bool comma; /* something stands before in this object or array */
};

/* In arrays `key` is NULL. */
void jw_open(struct jsonw *w, const char *key, char bracket);     /* '{' or '[' */
void jw_close(struct jsonw *w, char bracket);                     /* '}' or ']' */
void jw_str(struct jsonw *w, const char *key, const char *value); /* NULL gives null */
void jw_int(struct jsonw *w, const char *key, int64_t value);
void jw_seconds(struct jsonw *w, const char *key, int64_t ms);  /* 1500 gives 1.5 */
void jw_real(struct jsonw *w, const char *key, double value);   /* to two places: 33.33 */
void jw_figure(struct jsonw *w, const char *key, double value); /* six decimals; 0 for what is no number */
void jw_bool(struct jsonw *w, const char *key, bool value);
void jw_raw(struct jsonw *w, const char *key, const char *json); /* JSON as it is */
void jw_members(struct jsonw *w, const char *members);           /* of an object, as they are; "" adds nothing */
void jw_null(struct jsonw *w, const char *key);
void jw_time(struct jsonw *w, const char *key, int64_t wall_ms); /* ISO 8601; 0 gives null */

#endif
