/* SPDX-License-Identifier: MIT */
/*
 * The part of a URL behind '?', strictly: what is not understood is refused, so that no option is silently without
 * effect.
 */
#ifndef API_QUERY_H
#define API_QUERY_H

#include "base/err.h"
#include "base/mem.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum { QUERY_MAX = 32 };

struct query_param {
    const char *name, *value;
};

struct query {
    struct query_param params[QUERY_MAX];
    size_t n;
};

/* `raw`: behind the '?', or NULL. INVALID: a malformed escape, a name that is empty or stands twice, too many. */
int query_parse(const char *raw, struct arena *a, struct query *ret, struct err *err) MUST_CHECK;
/* INVALID when a parameter is not one of the blank-separated names. */
int query_allow(const struct query *q, const char *names, struct err *err) MUST_CHECK;
bool query_has_word(const char *names, const char *name);
/* NULL: not given. */
const char *query_get(const struct query *q, const char *name);
/* Whole numbers from min to max, `def` when not given. */
int query_int(const struct query *q, const char *name, int64_t min, int64_t max, int64_t def, int64_t *ret,
              struct err *err) MUST_CHECK;
/* "true" or "false", "1" or "0"; false when not given. */
int query_bool(const struct query *q, const char *name, bool *ret, struct err *err) MUST_CHECK;

#endif
