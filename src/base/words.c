/* SPDX-License-Identifier: MIT */
#include "base/words.h"

#include <string.h>
#include <strings.h>

bool words_next(const char **list, const char *seps, const char **ret, size_t *ret_n)
{
    if (!*list)
        return false;
    *list += strspn(*list, seps);
    *ret = *list;
    *ret_n = strcspn(*list, seps);
    *list += *ret_n;
    return *ret_n > 0;
}

bool words_have(const char *list, const char *seps, const char *word)
{
    const char *one;
    size_t n, len = strlen(word);
    while (words_next(&list, seps, &one, &n))
        if (n == len && memcmp(one, word, n) == 0)
            return true;
    return false;
}

bool words_have_ieq(const char *list, const char *seps, const char *word)
{
    const char *one;
    size_t n, len = strlen(word);
    while (words_next(&list, seps, &one, &n))
        if (n == len && strncasecmp(one, word, n) == 0)
            return true;
    return false;
}
