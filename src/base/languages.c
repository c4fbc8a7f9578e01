/* SPDX-License-Identifier: MIT */
#include "base/languages.h"

#include "base/macros.h"
#include "base/str.h"

#include <string.h>

const char *language_name(const char *code)
{
    static const struct {
        const char *code, *name;
    } table[] = {
#define X(code, name) {code, name},
        LANGUAGES(X)
#undef X
    };
    char base[8] = "";
    size_t n = strcspn(code, "-_");
    if (n < sizeof base)
        memcpy(base, code, n);
    for (size_t i = 0; i < ARRAY_LEN(table); i++)
        if (str_ieq(table[i].code, base))
            return table[i].name;
    return NULL;
}
