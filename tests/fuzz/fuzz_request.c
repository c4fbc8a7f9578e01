/* SPDX-License-Identifier: MIT */
/*
 * Queries and values of headers, as anybody may send them: nothing crashes, and what comes out is what was promised.
 * The first byte says what the rest is.
 */
#include "api/cors.h"
#include "api/etag.h"
#include "api/header_value.h"
#include "api/prefer.h"
#include "api/query.h"
#include "base/str.h"

#include <stdint.h>
#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n);

static void must(bool ok)
{
    if (!ok)
        abort();
}

static void query(const char *text)
{
    struct arena a = ARENA_INIT;
    struct query q;
    struct err e = ERR_INIT;
    if (query_parse(text, &a, &q, &e) == 0)
        for (size_t i = 0; i < q.n; i++) {
            const char *name = q.params[i].name, *value = q.params[i].value;
            must(*name && utf8_valid(name, strlen(name)) && utf8_valid(value, strlen(value)));
            must(query_get(&q, name) == value);
        }
    arena_clear(&a);
}

static void prefer(const char *text)
{
    struct prefer p = prefer_read(text, 60000);
    must(p.wait_s >= 0 && p.wait_s <= 60 && (p.waits || !p.wait_s));
}

static void disposition(const char *text)
{
    struct arena a = ARENA_INIT;
    struct disposition d;
    if (!header_disposition(text, &a, &d))
        must(d.kind && *d.kind);
    arena_clear(&a);
}

static void etags(const char *text)
{
    bool any = etag_listed(text, NULL);
    must(!any || etag_listed(text, "\"x\""));
    must(etag_listed(text, "\"7\"") == etag_listed(text, "W/\"7\""));
}

static void origins(const char *text)
{
    struct err e = ERR_INIT;
    struct answer a;
    if (cors_check(text, &e) < 0)
        return;
    answer_init(&a);
    cors_answer(&a, text, "https://a.example");
    cors_preflight(&a, text, "https://a.example", "GET");
    answer_clear(&a);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n)
{
    static void (*const read[])(const char *text) = {query, prefer, disposition, etags, origins};
    if (!n)
        return 0;
    char *text = strndup((const char *)data + 1, n - 1);
    if (text)
        read[data[0] % (sizeof read / sizeof read[0])](text);
    free(text);
    return 0;
}
