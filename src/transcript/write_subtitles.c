/* SPDX-License-Identifier: MIT */
/*
 * SubRip and WebVTT. Texts are one clean line (transcript_clean); what else the formats cannot bear in a text is
 * replaced here.
 */
#include "transcript/cues.h"
#include "transcript/writers.h"

#include <inttypes.h>
#include <string.h>

/* "01:02:03,004" */
static void add_clock(struct buf *b, int64_t ms, char point)
{
    buf_addf(b, "%02" PRId64 ":%02d:%02d%c%03d", ms / 3600000, (int)(ms / 60000 % 60), (int)(ms / 1000 % 60), point,
             (int)(ms % 1000));
}

/* n bytes with every arrow that a reader could take for a time line ("-->", longer ones too) as "->". */
static void add_without_arrows(struct buf *b, const char *text, size_t n)
{
    for (size_t i = 0; i < n;) {
        size_t dashes = strspn(text + i, "-");
        dashes = MIN(dashes, n - i);
        if (!dashes) {
            buf_addc(b, text[i++]);
            continue;
        }
        bool arrow = i + dashes < n && text[i + dashes] == '>';
        buf_add(b, text + i, arrow ? 1 : dashes);
        i += dashes;
    }
}

/* `>` too, which also ends every arrow. */
static void add_escaped(struct buf *b, const char *text, size_t n)
{
    for (size_t i = 0; i < n; i++)
        if (text[i] == '&')
            buf_adds(b, "&amp;");
        else if (text[i] == '<')
            buf_adds(b, "&lt;");
        else if (text[i] == '>')
            buf_adds(b, "&gt;");
        else
            buf_addc(b, text[i]);
}

struct subtitles {
    struct out *o;
    char point;
    const char *before, *after; /* a cue */
    size_t number;              /* of the cue before; WebVTT needs none */
    bool numbered;
    void (*add)(struct buf *b, const char *text, size_t n);
};

/* A line, with what of it is marked. */
static void add_line(struct subtitles *w, const struct cue *c, const struct cue_line *line)
{
    struct buf *b = &w->o->buf;
    size_t from = CLAMP(c->mark_from, line->from, line->to), to = CLAMP(c->mark_to, line->from, line->to);
    if (from >= to) {
        w->add(b, c->text + line->from, line->to - line->from);
        return;
    }
    w->add(b, c->text + line->from, from - line->from);
    buf_adds(b, "<u>");
    w->add(b, c->text + from, to - from);
    buf_adds(b, "</u>");
    w->add(b, c->text + to, line->to - to);
}

/*
 * A cue of 0 ms is never shown, and in WebVTT it is an error: it gets 1 ms. That may reach 1 ms into the next cue,
 * which players take.
 */
static int add_cue(const struct cue *c, void *arg, struct err *err)
{
    (void)err;
    struct subtitles *w = arg;
    struct buf *b = &w->o->buf;
    buf_adds(b, w->before);
    if (w->numbered)
        buf_addf(b, "%zu\n", ++w->number);
    add_clock(b, c->start_ms, w->point);
    buf_adds(b, " --> ");
    add_clock(b, MAX(c->end_ms, c->start_ms + 1), w->point);
    for (size_t i = 0; i < c->n_lines; i++) {
        buf_addc(b, '\n');
        add_line(w, c, &c->lines[i]);
    }
    buf_adds(b, w->after);
    out_flush(w->o, false);
    return w->o->rc;
}

static void add_cues(struct subtitles *w, const struct transcript *t)
{
    static const struct subtitle_opts none;
    const struct subtitle_opts *opts = w->o->subtitles ? w->o->subtitles : &none;
    for (size_t i = 0; i < t->n_segments && w->o->rc == 0; i++) {
        const struct segment *s = &t->segments[i];
        const struct cue_line all = {0, strlen(s->text)};
        const struct cue whole = {
            .text = s->text, .start_ms = s->start_ms, .end_ms = s->end_ms, .lines = &all, .n_lines = 1};
        int rc = subtitle_any(opts) ? cues_of_segment(s, opts, add_cue, w, w->o->err) : add_cue(&whole, w, w->o->err);
        w->o->rc = MIN(rc, w->o->rc);
    }
}

void write_srt(struct out *o, const struct transcript *t)
{
    struct subtitles w = {
        .o = o, .point = ',', .before = "", .after = "\n\n", .numbered = true, .add = add_without_arrows};
    add_cues(&w, t);
}

void write_vtt(struct out *o, const struct transcript *t)
{
    struct subtitles w = {.o = o, .point = '.', .before = "\n", .after = "\n", .add = add_escaped};
    buf_adds(&o->buf, "WEBVTT\n");
    add_cues(&w, t);
}
