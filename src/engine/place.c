/* SPDX-License-Identifier: MIT */
/*
 * Places are counted in samples of speech, pauses left out, and turned into places of the recording by walking over
 * the spans of speech. So a sentence never begins or ends in a pause, and the segments leave no speech out.
 */
#include "engine/place.h"

#include <string.h>

enum { SHORTEST = 20 }; /* bytes: what ends sooner is rather an abbreviation than a sentence ("Dr. No") */

/* ---- sentences ---- */

static size_t blank(const char *s)
{
    return strspn(s, " \t\r\n");
}

/* Length of the mark that ends a sentence here, with quotes and brackets behind it; 0: none does. */
static size_t end_mark(const char *s)
{
    static const char *const wide[] = {"\u3002", "\uff01", "\uff1f"}; /* need no blank behind them */
    static const char *const behind[] = {"\"", "'", ")", "]", "\u201d", "\u2019", "\u00bb", "\u300d"};
    size_t n = 0;
    bool is_wide = false;
    for (size_t i = 0; i < ARRAY_LEN(wide) && !n; i++)
        if (strncmp(s, wide[i], strlen(wide[i])) == 0) {
            n = strlen(wide[i]);
            is_wide = true;
        }
    if (!n && strncmp(s, "\u2026", strlen("\u2026")) == 0)
        n = strlen("\u2026");
    if (!n)
        n = strspn(s, ".!?");
    if (!n)
        return 0;
    for (size_t i = 0; i < ARRAY_LEN(behind); i++)
        if (strncmp(s + n, behind[i], strlen(behind[i])) == 0) {
            n += strlen(behind[i]);
            break;
        }
    return is_wide || blank(s + n) || !s[n] ? n : 0;
}

/* Bytes of the sentence that s begins with; s has no blanks in front. */
static size_t sentence(const char *s)
{
    size_t i = 0;
    while (s[i] && s[i] != '\n') {
        size_t n = end_mark(s + i);
        /* A small letter goes on with the same sentence. */
        if (n && i + n >= SHORTEST) {
            char next = s[i + n + blank(s + i + n)];
            if (!(next >= 'a' && next <= 'z'))
                return i + n;
        }
        i += n ? n : 1;
    }
    return i;
}

/* Characters, as UTF-8 has them; at least one. */
static int64_t weight(const char *s, size_t n)
{
    int64_t w = 0;
    for (size_t i = 0; i < n; i++)
        w += ((unsigned char)s[i] & 0xC0) != 0x80;
    return MAX(w, 1);
}

/* ---- places ---- */

struct walk {
    const struct engine_chunk *c;
    int64_t total; /* samples of speech */
};

/* Speech of the chunk by number, clamped to it; all of the chunk where none is known. */
static struct span speech_of(const struct engine_chunk *c, size_t i)
{
    if (!c->n_speech)
        return c->span;
    struct span s = c->speech[i];
    s.start = CLAMP(s.start, c->span.start, c->span.end);
    s.end = CLAMP(s.end, s.start, c->span.end);
    return s;
}

static size_t n_speech(const struct engine_chunk *c)
{
    return MAX(c->n_speech, (size_t)1);
}

/* Where a place in speech lies in the recording; one between two spans is the end of the first or the next's start. */
static int64_t to_recording(const struct walk *w, int64_t at, bool is_end)
{
    struct span s = speech_of(w->c, 0);
    for (size_t i = 0; i < n_speech(w->c); i++) {
        s = speech_of(w->c, i);
        int64_t n = s.end - s.start;
        if (is_end ? at <= n : at < n)
            return s.start + at;
        at -= n;
    }
    return s.end;
}

int place_text(const char *text, const struct engine_chunk *c, struct arena *a, struct segments *ret, struct err *err)
{
    struct walk w = {.c = c};
    int64_t all = 0, done = 0;
    size_t n = 0, k = 0;
    for (size_t i = 0; i < n_speech(c); i++)
        w.total += speech_of(c, i).end - speech_of(c, i).start;
    for (const char *s = text + blank(text); *s; s += blank(s)) {
        size_t len = sentence(s);
        all += weight(s, len);
        n++;
        s += len;
    }
    struct segment *v = arena_alloc(a, (n + 1) * sizeof *v);
    if (!v)
        return err_set(err, ERR_NOMEM, "no memory for the text of a chunk");
    for (const char *s = text + blank(text); *s; s += blank(s)) {
        size_t len = sentence(s);
        int64_t from = done;
        done += weight(s, len);
        v[k].start_ms = samples_to_ms(to_recording(&w, w.total * from / all, false));
        v[k].end_ms = MAX(samples_to_ms(to_recording(&w, w.total * done / all, true)), v[k].start_ms);
        v[k].text = arena_dup(a, s, len);
        if (!v[k++].text)
            return err_set(err, ERR_NOMEM, "no memory for the text of a chunk");
        s += len;
    }
    *ret = (struct segments){.v = v, .n = n};
    return 0;
}
