/* SPDX-License-Identifier: MIT */
#include "api/cors.h"

#include "base/str.h"
#include "base/words.h"

#include <string.h>
#include <strings.h>

/* How long a browser may remember the answer to a preflight: Chromium's limit. */
#define MAX_AGE_S "7200"
/* Of answers, beside those that every page may read. */
#define EXPOSED                                                                                                    \
    "Location, Retry-After, X-Request-Id, ETag, Preference-Applied, Idempotency-Replayed, X-Should-Retry, Allow, " \
    "Content-Disposition, X-Job-Id, Accept-Ranges, Content-Range"
/* Of requests, beside those that every page may send. */
#define ALLOWED                                                                                                   \
    "Authorization, Content-Type, Content-Disposition, Idempotency-Key, If-None-Match, If-Range, Last-Event-ID, " \
    "Prefer, Range, X-Request-Id"

/* Between origins. */
#define SEPARATORS ", "

static bool origin_ok(const char *p, size_t n)
{
    static const char *const schemes[] = {"https://", "http://"};
    static const char chars[] = "abcdefghijklmnopqrstuvwxyz0123456789.-_:[]";
    for (size_t i = 0; i < ARRAY_LEN(schemes); i++) {
        size_t len = strlen(schemes[i]);
        if (n <= len || memcmp(p, schemes[i], len) != 0)
            continue;
        for (size_t k = len; k < n; k++)
            if (!memchr(chars, p[k], sizeof chars - 1))
                return false;
        return true;
    }
    return false;
}

int cors_check(const char *origins, struct err *err)
{
    const char *one;
    size_t n;
    if (str_eq(origins, "*"))
        return 0;
    for (const char *p = origins; words_next(&p, SEPARATORS, &one, &n);)
        if (!origin_ok(one, n))
            return err_set(
                err, ERR_INVALID,
                "cors_origins: '%.*s' is no origin: write '*' alone, or https://host:port in lower case, without "
                "a path",
                (int)MIN(n, (size_t)100), one);
    return 0;
}

/* Says who may read the answer; false: nobody else. */
static bool allow_origin(struct answer *a, const char *origins, const char *origin)
{
    if (!origins || !*origins)
        return false;
    if (strcmp(origins, "*") == 0) {
        if (origin)
            answer_header(a, "Access-Control-Allow-Origin", "*");
        return origin != NULL;
    }
    /* Caches must not give one origin's answer to another. */
    answer_header(a, "Vary", "Origin");
    if (!origin || !words_have_ieq(origins, SEPARATORS, origin))
        return false;
    answer_header(a, "Access-Control-Allow-Origin", "%s", origin);
    return true;
}

void cors_answer(struct answer *a, const char *origins, const char *origin)
{
    if (allow_origin(a, origins, origin))
        answer_header(a, "Access-Control-Expose-Headers", EXPOSED);
}

void cors_preflight(struct answer *a, const char *origins, const char *origin, const char *methods)
{
    /* The origin itself comes with cors_answer, as on every answer. */
    if (!origins || !*origins || !origin || (strcmp(origins, "*") != 0 && !words_have_ieq(origins, SEPARATORS, origin)))
        return;
    answer_header(a, "Access-Control-Allow-Methods", "%s", methods);
    answer_header(a, "Access-Control-Allow-Headers", ALLOWED);
    answer_header(a, "Access-Control-Max-Age", MAX_AGE_S);
}

bool cors_websocket(const char *origins, const char *origin, const char *host)
{
    const char *own = origin ? strstr(origin, "://") : NULL;
    if (!origin || (own && host && strcasecmp(own + strlen("://"), host) == 0))
        return true;
    return origins && (strcmp(origins, "*") == 0 || words_have_ieq(origins, SEPARATORS, origin));
}
