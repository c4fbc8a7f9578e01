/* SPDX-License-Identifier: MIT */
/* Lists in one text: words with separators between them, such as "json, text". Empty words are none. */
#ifndef BASE_WORDS_H
#define BASE_WORDS_H

#include <stdbool.h>
#include <stddef.h>

/* The next word of *list (NULL: an empty one), which moves on behind it; false at the end. `seps`: what separates. */
bool words_next(const char **list, const char *seps, const char **ret, size_t *ret_n);
bool words_have(const char *list, const char *seps, const char *word);
/* Case-insensitive for ASCII only. */
bool words_have_ieq(const char *list, const char *seps, const char *word);

#endif
