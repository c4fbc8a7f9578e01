/* SPDX-License-Identifier: MIT */
#include "base/languages.h"

#include "base/macros.h"
#include "base/str.h"

#include <string.h>

static const struct {
    const char *code, *name;
} table[] = {
#define X(code, name) {code, name},
    LANGUAGES(X)
#undef X
};

/* The row of a code, with or without a region; -1: none. */
static int find_code(const char *code)
{
    char base[8] = "";
    size_t n = strcspn(code, "-_");
    if (n < sizeof base)
        memcpy(base, code, n);
    for (size_t i = 0; i < ARRAY_LEN(table); i++)
        if (str_ieq(table[i].code, base))
            return (int)i;
    return -1;
}

const char *language_name(const char *code)
{
    int i = find_code(code);
    return i < 0 ? NULL : table[i].name;
}

const char *language_code(const char *text)
{
    int k = find_code(text);
    for (size_t i = 0; i < ARRAY_LEN(table) && k < 0; i++)
        if (str_ieq(table[i].name, text))
            k = (int)i;
    return k < 0 ? NULL : table[k].code;
}
