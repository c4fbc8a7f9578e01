/* SPDX-License-Identifier: MIT */
/* The table of formats, and finding one by name or by an Accept header (RFC 9110, 12.5.1). */
#include "transcript/format.h"

#include "base/str.h"
#include "transcript/writers.h"

#include <string.h>

static const struct format_info table[FORMAT_COUNT] = {
#define X(id, word, end, type, text) [FORMAT_##id] = {word, end, type, text},
    FORMATS(X)
#undef X
};

/* One range of an Accept header. A type and q=0.5 gives the type and 500. */
struct range {
    const char *type; /* "type/subtype", or "type/" when any subtype does, or "" for all */
    size_t len;
    int specific; /* 0 for all types, 1 for any subtype, 2 for one type */
    int q;        /* thousandths */
};

static bool is_blank(char c)
{
    return c == ' ' || c == '\t';
}

/* From p to the first of `stops` (or the end) that is not inside a quoted string. */
static const char *find_stop(const char *p, const char *stops)
{
    for (bool quoted = false; *p; p++) {
        if (quoted && *p == '\\' && p[1])
            p++;
        else if (*p == '"')
            quoted = !quoted;
        else if (!quoted && strchr(stops, *p))
            break;
    }
    return p;
}

/* "0", "0.5", "1.000" as thousandths; -1 for anything else. */
static int parse_q(const char *p, const char *end)
{
    if (p == end || (*p != '0' && *p != '1'))
        return -1;
    int q = (*p++ - '0') * 1000;
    if (p < end && *p++ != '.')
        return -1;
    if (end - p > 3)
        return -1;
    for (int unit = 100; p < end; p++, unit /= 10) {
        if (*p < '0' || *p > '9')
            return -1;
        q += (*p - '0') * unit;
    }
    return q <= 1000 ? q : -1;
}

static void trim(const char **p, const char **end)
{
    while (*p < *end && is_blank(**p))
        (*p)++;
    while (*end > *p && is_blank((*end)[-1]))
        (*end)--;
}

/* The range at *at, which moves behind it. False for a malformed one, which then counts as not sent. */
static bool next_range(const char **at, struct range *ret)
{
    const char *p = *at, *end = find_stop(p, ",;");
    const char *stop = find_stop(end, ",");
    *at = *stop ? stop + 1 : stop;
    *ret = (struct range){.q = 1000};
    for (const char *param = end; param < stop;) {
        const char *from = param + 1, *to = find_stop(from, ",;");
        param = to;
        trim(&from, &to);
        if (to - from >= 2 && (*from == 'q' || *from == 'Q') && from[1] == '=')
            ret->q = parse_q(from + 2, to);
    }
    trim(&p, &end);
    const char *slash = memchr(p, '/', (size_t)(end - p));
    if (!slash || slash == p || slash + 1 == end || ret->q < 0)
        return false;
    bool any_subtype = end - slash == 2 && slash[1] == '*';
    ret->type = p;
    if (*p == '*') {
        ret->specific = 0;
        return any_subtype && slash == p + 1;
    }
    ret->specific = any_subtype ? 1 : 2;
    ret->len = (size_t)((any_subtype ? slash + 1 : end) - p);
    return true;
}

static bool range_matches(const struct range *r, const char *media_type)
{
    size_t len = strcspn(media_type, ";");
    if (r->specific == 2 && r->len != len)
        return false;
    for (size_t i = 0; i < r->len; i++) {
        char c = r->type[i];
        if (c >= 'A' && c <= 'Z')
            c = (char)(c + 32);
        if (i >= len || c != media_type[i])
            return false;
    }
    return true;
}

const struct format_info *format_info(enum format f)
{
    return &table[f];
}

bool format_parse(const char *name, enum format *ret)
{
    if (str_eq(name, "text"))
        name = "txt";
    for (int f = 0; f < FORMAT_COUNT; f++)
        if (str_eq(name, table[f].name)) {
            *ret = (enum format)f;
            return true;
        }
    return false;
}

bool format_from_accept(const char *accept, enum format *ret)
{
    if (!accept || !accept[strspn(accept, " \t,")]) {
        *ret = FORMAT_JSON;
        return true;
    }
    /* JSON is asked first, so that it wins where the client does not care. */
    int best_q = 0, best_specific = 0, best_place = 0;
    for (int i = 0; i < FORMAT_COUNT; i++) {
        int f = i == 0 ? FORMAT_JSON : i <= FORMAT_JSON ? i - 1 : i;
        /* What the client says of a type is what its most specific range says. */
        int q = 0, specific = -1, place = 0, n = 0;
        struct range r;
        for (const char *at = accept; *at; n++)
            if (next_range(&at, &r) && r.specific > specific && range_matches(&r, table[f].media_type)) {
                q = r.q;
                specific = r.specific;
                place = n;
            }
        bool better = q > best_q || (q == best_q && q > 0 &&
                                     (specific > best_specific || (specific == best_specific && place < best_place)));
        if (better) {
            best_q = q;
            best_specific = specific;
            best_place = place;
            *ret = (enum format)f;
        }
    }
    return best_q > 0;
}

bool format_is_subtitles(enum format f)
{
    return f == FORMAT_SRT || f == FORMAT_VTT;
}

int format_write(const struct transcript *t, enum format f, format_sink sink, void *arg, struct err *err)
{
    return format_write_laid_out(t, f, NULL, sink, arg, err);
}

int format_write_laid_out(const struct transcript *t, enum format f, const struct subtitle_opts *subtitles,
                          format_sink sink, void *arg, struct err *err)
{
    struct out o = {.buf = BUF_INIT(OUT_MAX), .sink = sink, .arg = arg, .err = err, .subtitles = subtitles};
    switch (f) {
    case FORMAT_TXT:
        write_txt(&o, t);
        break;
    case FORMAT_JSON:
        write_json(&o, t);
        break;
    case FORMAT_VERBOSE_JSON:
        write_verbose_json(&o, t);
        break;
    case FORMAT_SRT:
        write_srt(&o, t);
        break;
    case FORMAT_VTT:
        write_vtt(&o, t);
        break;
    case FORMAT_TSV:
        write_tsv(&o, t);
        break;
    case FORMAT_COUNT:
        return err_set(err, ERR_INTERNAL, "no such transcript format");
    }
    out_flush(&o, true);
    buf_clear(&o.buf);
    return o.rc;
}
