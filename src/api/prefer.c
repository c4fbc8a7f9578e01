/* SPDX-License-Identifier: MIT */
#include "api/prefer.h"

#include "api/header_value.h"
#include "base/mem.h"
#include "base/str.h"

#include <string.h>

/* Skips to what stands behind the next comma outside of quotes. */
static const char *next_preference(const char *p)
{
    bool quoted = false;
    for (; *p; p++) {
        if (quoted && *p == '\\' && p[1])
            p++;
        else if (*p == '"')
            quoted = !quoted;
        else if (*p == ',' && !quoted)
            return p + 1;
    }
    return p;
}

struct prefer prefer_read(const char *header, int64_t max_ms)
{
    struct prefer ret = {0};
    CLEANUP(arena_clear) struct arena a = ARENA_INIT;
    for (const char *p = header; p && *p; p = next_preference(p)) {
        const char *at = header_skip_blanks(p);
        const char *name = header_take_token(&at, &a, true), *value = NULL;
        at = header_skip_blanks(at);
        if (name && *at == '=') {
            at = header_skip_blanks(at + 1);
            value = header_take_token(&at, &a, false);
        }
        int64_t seconds = 0;
        /* What is named twice counts as it stands first. */
        if (str_eq(name, "respond-async")) {
            ret.async = true;
        } else if (str_eq(name, "wait") && !ret.waits && value && str_to_i64(value, &seconds) && seconds >= 0 &&
                   max_ms >= 1000) {
            ret.waits = true;
            ret.wait_s = MIN(seconds, max_ms / 1000);
        }
    }
    return ret;
}

void prefer_answer(struct answer *a, const struct prefer *p)
{
    if (p->waits)
        answer_header(a, "Preference-Applied", "%swait=%lld", p->async ? "respond-async, " : "", (long long)p->wait_s);
    else if (p->async)
        answer_header(a, "Preference-Applied", "respond-async");
}
