/* SPDX-License-Identifier: MIT */
#ifndef API_PERCENT_H
#define API_PERCENT_H

#include "base/mem.h"

#include <stdbool.h>
#include <stddef.h>

/*
 * Percent-decodes n bytes into the arena ('+' is a blank where plus_is_blank). NULL when an escape is malformed, when
 * it gives a NUL, or when the arena is full. The result need not be UTF-8.
 */
char *percent_decode(const char *s, size_t n, bool plus_is_blank, struct arena *a);

#endif
