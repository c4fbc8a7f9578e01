/* SPDX-License-Identifier: MIT */
#include "api/jsonw.h"

#include "base/clock.h"
#include "base/str.h"

#include <math.h>
#include <stdlib.h>

static void begin(struct jsonw *w, const char *key)
{
    if (w->comma)
        buf_addc(w->b, ',');
    w->comma = true;
    if (key) {
        str_add_json(w->b, key);
        buf_addc(w->b, ':');
    }
}

void jw_open(struct jsonw *w, const char *key, char bracket)
{
    begin(w, key);
    buf_addc(w->b, bracket);
    w->comma = false;
}

void jw_close(struct jsonw *w, char bracket)
{
    buf_addc(w->b, bracket);
    w->comma = true;
}

void jw_str(struct jsonw *w, const char *key, const char *value)
{
    begin(w, key);
    if (value)
        str_add_json(w->b, value);
    else
        buf_adds(w->b, "null");
}

void jw_int(struct jsonw *w, const char *key, int64_t value)
{
    begin(w, key);
    buf_addi(w->b, value);
}

void jw_seconds(struct jsonw *w, const char *key, int64_t ms)
{
    begin(w, key);
    buf_addf(w->b, "%lld.%03lld", (long long)(ms / 1000), (long long)(ms % 1000));
}

void jw_real(struct jsonw *w, const char *key, double value)
{
    int64_t hundredths = (int64_t)(value * 100 + (value < 0 ? -0.5 : 0.5)), whole = hundredths / 100;
    int rest = (int)(hundredths % 100);
    begin(w, key);
    buf_addf(w->b, "%s%lld.%02d", hundredths < 0 && !whole ? "-" : "", (long long)whole, rest < 0 ? -rest : rest);
}

void jw_figure(struct jsonw *w, const char *key, double value)
{
    int64_t v = isfinite(value) && fabs(value) < 1e9 ? llround(value * 1e6) : 0;
    begin(w, key);
    buf_addf(w->b, "%s%lld.%06d", v < 0 ? "-" : "", llabs(v) / 1000000, (int)(llabs(v) % 1000000));
}

void jw_bool(struct jsonw *w, const char *key, bool value)
{
    begin(w, key);
    buf_adds(w->b, value ? "true" : "false");
}

void jw_raw(struct jsonw *w, const char *key, const char *json)
{
    begin(w, key);
    buf_adds(w->b, json);
}

void jw_members(struct jsonw *w, const char *members)
{
    if (!*members)
        return;
    begin(w, NULL);
    buf_adds(w->b, members);
}

void jw_null(struct jsonw *w, const char *key)
{
    begin(w, key);
    buf_adds(w->b, "null");
}

void jw_time(struct jsonw *w, const char *key, int64_t wall_ms)
{
    char text[TIME_ISO_SIZE];
    if (wall_ms)
        time_iso(wall_ms, text);
    jw_str(w, key, wall_ms ? text : NULL);
}
