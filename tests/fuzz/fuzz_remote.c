/* SPDX-License-Identifier: MIT */
/*
 * Any answer of a remote server. The first byte says whose: segments must have times inside the chunk, ascending, and
 * clean text; a refusal must be one printable line without the key.
 */
#include "base/str.h"
#include "engine/gemini_json.h"
#include "engine/openai_json.h"
#include "engine/place.h"
#include "engine/remote_refusal.h"

#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#define KEY "AIza-key"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n);

static const struct span speech[] = {{16000, 48000}, {64000, 64000}, {70000, 170000}, {165000, 200000}};
static const struct engine_chunk chunk = {.span = {8000, 160000}, .speech = speech, .n_speech = 4};

static void check(const struct segments *s)
{
    int64_t floor = samples_to_ms(chunk.span.start), end = samples_to_ms(chunk.span.end);
    for (size_t i = 0; i < s->n; i++) {
        const struct segment *g = &s->v[i];
        if (g->start_ms < floor || g->end_ms < g->start_ms || g->end_ms > end || !*g->text ||
            !utf8_valid(g->text, strlen(g->text)))
            abort();
        int64_t at = g->start_ms;
        for (size_t k = 0; k < g->n_words; k++) {
            const struct word *w = &g->words[k];
            if (w->start_ms < at || w->end_ms < w->start_ms || w->end_ms > g->end_ms || !*w->text ||
                !(w->probability <= 1))
                abort();
            at = w->end_ms;
        }
        floor = g->end_ms;
    }
}

static void refusal(int status, const char *body, size_t n)
{
    struct remote_refusal r;
    remote_refusal_read(status, body, n, KEY, &r);
    if (r.code >= 0 || r.wait_ms < 0 || strstr(r.message, KEY) || !utf8_valid(r.message, strlen(r.message)) ||
        strpbrk(r.message, "\r\n\t"))
        abort();
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n)
{
    struct arena a = ARENA_INIT;
    struct err err = ERR_INIT;
    struct segments s = {.n = 0};
    if (!n)
        return 0;
    char *body = malloc(n); /* with a NUL, as a buffer has it; its own block, so that a byte too far is seen */
    if (!body)
        return 0;
    memcpy(body, data + 1, n - 1);
    body[n - 1] = '\0';
    int rc = 0;
    if (data[0] % 4 == 0)
        rc = gemini_read_answer(body, n - 1, &chunk, &a, &s, &err);
    else if (data[0] % 4 == 1)
        rc = openai_read_answer(body, n - 1, &chunk, &a, &s, &err);
    else if (data[0] % 4 == 2)
        rc = utf8_valid(body, strlen(body)) ? place_text(body, &chunk, &a, &s, &err) : 0;
    else
        refusal(data[0] * 2, body, n - 1);
    if (rc < 0 && !*err.msg)
        abort();
    check(&s);
    arena_clear(&a);
    free(body);
    return 0;
}
