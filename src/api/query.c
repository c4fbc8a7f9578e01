/* SPDX-License-Identifier: MIT */
#include "api/query.h"

#include "api/percent.h"
#include "base/str.h"
#include "base/words.h"

#include <string.h>

/* NULL when it is no UTF-8 either. */
static const char *decode(const char *s, size_t n, struct arena *a)
{
    const char *text = percent_decode(s, n, true, a);
    return text && utf8_valid(text, strlen(text)) ? text : NULL;
}

int query_parse(const char *raw, struct arena *a, struct query *ret, struct err *err)
{
    struct query q = {.n = 0};
    for (const char *p = raw; p && *p;) {
        size_t n = strcspn(p, "&"), name_len = strcspn(p, "=&");
        if (q.n == QUERY_MAX)
            return err_set(err, ERR_INVALID, "more than %d query parameters", QUERY_MAX);
        const char *name = decode(p, name_len, a);
        const char *value = name_len < n ? decode(p + name_len + 1, n - name_len - 1, a) : "";
        if (!name || !value)
            return err_set(err, ERR_INVALID, "the query of the URL is not percent-encoded UTF-8");
        if (!*name)
            return err_set(err, ERR_INVALID, "the query of the URL has a parameter without a name");
        if (query_get(&q, name))
            return err_set(err, ERR_INVALID, "query parameter '%.64s' is given twice", name);
        q.params[q.n++] = (struct query_param){name, value};
        p += n;
        p += *p == '&';
    }
    *ret = q;
    return 0;
}

bool query_has_word(const char *words, const char *word)
{
    return words_have(words, " ", word);
}

int query_allow(const struct query *q, const char *names, struct err *err)
{
    for (size_t i = 0; i < q->n; i++)
        if (!query_has_word(names, q->params[i].name))
            return err_set(err, ERR_INVALID, "unknown query parameter '%.64s'; %s%s", q->params[i].name,
                           *names ? "this route takes: " : "this route takes none", names);
    return 0;
}

const char *query_get(const struct query *q, const char *name)
{
    for (size_t i = 0; i < q->n; i++)
        if (strcmp(q->params[i].name, name) == 0)
            return q->params[i].value;
    return NULL;
}

int query_int(const struct query *q, const char *name, int64_t min, int64_t max, int64_t def, int64_t *ret,
              struct err *err)
{
    const char *text = query_get(q, name);
    int64_t v = def;
    if (text && (!str_to_i64(text, &v) || v < min || v > max))
        return err_set(err, ERR_INVALID, "query parameter '%s' must be a whole number from %lld to %lld", name,
                       (long long)min, (long long)max);
    *ret = v;
    return 0;
}

int query_bool(const struct query *q, const char *name, bool *ret, struct err *err)
{
    const char *text = query_get(q, name);
    bool yes = text && (strcmp(text, "true") == 0 || strcmp(text, "1") == 0);
    if (text && !yes && strcmp(text, "false") != 0 && strcmp(text, "0") != 0)
        return err_set(err, ERR_INVALID, "query parameter '%s' must be true or false", name);
    *ret = yes;
    return 0;
}
