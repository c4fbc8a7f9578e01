/* SPDX-License-Identifier: MIT */
/*
 * Any text in any layout: no character is lost or cut, no line too wide, no cue out of its time. The first four bytes
 * are the layout, the fifth how long the words last.
 */
#include "base/str.h"
#include "transcript/cues.h"
#include "transcript/transcript.h"

#include <stdint.h>
#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n);

enum { WORDS_MAX = 64, LAYOUT_BYTES = 5 };

struct check {
    const struct segment *s;
    const struct subtitle_opts *o;
    size_t at;
    int64_t last_ms;
};

static void must(bool ok)
{
    if (!ok)
        abort();
}

static int on_cue(const struct cue *c, void *arg, struct err *err)
{
    (void)err;
    struct check *k = arg;
    must(c->start_ms >= k->last_ms && c->end_ms >= c->start_ms && c->end_ms <= k->s->end_ms);
    must(c->n_lines > 0 && (!k->o->max_line_count || c->n_lines <= (size_t)k->o->max_line_count));
    k->last_ms = c->end_ms;
    for (size_t i = 0; i < c->n_lines; i++) {
        const struct cue_line *l = &c->lines[i];
        must(l->to > l->from && l->to <= strlen(c->text) && utf8_valid(c->text + l->from, l->to - l->from));
        /* Highlighted words show the same lines again and again. */
        for (; !k->o->highlight_words && k->at < l->from; k->at++)
            must(c->text[k->at] == ' ');
        must(k->o->highlight_words || k->at == l->from);
        k->at = l->to;
    }
    return 0;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n)
{
    if (n < LAYOUT_BYTES)
        return 0;
    struct arena a = ARENA_INIT;
    struct err e = ERR_INIT;
    const struct subtitle_opts o = {data[0], data[1], data[2], data[3] & 1};
    char *raw = arena_dup(&a, data + LAYOUT_BYTES, n - LAYOUT_BYTES);
    const char *text = raw ? transcript_clean(&a, raw) : NULL;
    struct word words[WORDS_MAX];
    struct segment s = {.end_ms = 60000, .text = text, .words = words};
    for (const char *p = text; data[3] & 2 && p && *p && s.n_words < WORDS_MAX;) {
        size_t len = strcspn(p, " ");
        int64_t start = (int64_t)s.n_words * data[4];
        words[s.n_words++] = (struct word){start, start + data[4], arena_dup(&a, p, len), -1};
        p += len;
        p += strspn(p, " ");
    }
    struct check k = {.s = &s, .o = &o};
    if (text && *text) {
        must(cues_of_segment(&s, &o, on_cue, &k, &e) == 0);
        must(k.at == strlen(text));
    }
    arena_clear(&a);
    return 0;
}
