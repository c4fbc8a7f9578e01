/* SPDX-License-Identifier: MIT */
/*
 * Text, subtitles and tables. All rely on texts being one clean line (transcript_clean); what else a format cannot
 * bear in a text is replaced here.
 */
#include "transcript/writers.h"

#include <inttypes.h>
#include <string.h>

enum { FLUSH_BYTES = 16384 };

/* "01:02:03,004" */
static void add_clock(struct buf *b, int64_t ms, char point)
{
    buf_addf(b, "%02" PRId64 ":%02d:%02d%c%03d", ms / 3600000, (int)(ms / 60000 % 60), (int)(ms / 1000 % 60), point,
             (int)(ms % 1000));
}

/*
 * A cue of 0 ms is never shown, and in WebVTT it is an error: it gets 1 ms. That may reach 1 ms into the next cue,
 * which players take.
 */
static void add_cue_times(struct buf *b, const struct segment *s, char point)
{
    add_clock(b, s->start_ms, point);
    buf_adds(b, " --> ");
    add_clock(b, MAX(s->end_ms, s->start_ms + 1), point);
    buf_addc(b, '\n');
}

/* The text with every arrow that a reader could take for a time line ("-->", longer ones too) as "->". */
static void add_without_arrows(struct buf *b, const char *text)
{
    while (*text) {
        size_t plain = strcspn(text, "-"), dashes = strspn(text + plain, "-");
        buf_add(b, text, plain);
        text += plain;
        buf_add(b, text, *(text + dashes) == '>' ? MIN(dashes, (size_t)1) : dashes);
        text += dashes;
    }
}

void out_flush(struct out *o, bool all)
{
    if (o->rc == 0)
        o->rc = buf_check(&o->buf, "a segment of the transcript", o->err);
    if (o->rc == 0 && o->buf.len && (all || o->buf.len >= FLUSH_BYTES)) {
        int rc = o->sink(o->buf.data, o->buf.len, o->arg, o->err);
        o->rc = MIN(rc, 0);
    }
    if (o->rc < 0 || all || o->buf.len >= FLUSH_BYTES)
        buf_reset(&o->buf);
}

void write_txt(struct out *o, const struct transcript *t)
{
    for (size_t i = 0; i < t->n_segments && o->rc == 0; i++) {
        buf_adds(&o->buf, t->segments[i].text);
        buf_addc(&o->buf, '\n');
        out_flush(o, false);
    }
}

void write_srt(struct out *o, const struct transcript *t)
{
    for (size_t i = 0; i < t->n_segments && o->rc == 0; i++) {
        buf_addf(&o->buf, "%zu\n", i + 1);
        add_cue_times(&o->buf, &t->segments[i], ',');
        add_without_arrows(&o->buf, t->segments[i].text);
        buf_adds(&o->buf, "\n\n");
        out_flush(o, false);
    }
}

void write_vtt(struct out *o, const struct transcript *t)
{
    buf_adds(&o->buf, "WEBVTT\n");
    for (size_t i = 0; i < t->n_segments && o->rc == 0; i++) {
        buf_addc(&o->buf, '\n');
        add_cue_times(&o->buf, &t->segments[i], '.');
        for (const char *p = t->segments[i].text; *p; p++) {
            if (*p == '&')
                buf_adds(&o->buf, "&amp;");
            else if (*p == '<')
                buf_adds(&o->buf, "&lt;");
            else if (*p == '>')
                buf_adds(&o->buf, "&gt;"); /* which also ends every arrow */
            else
                buf_addc(&o->buf, *p);
        }
        buf_addc(&o->buf, '\n');
        out_flush(o, false);
    }
}

void write_tsv(struct out *o, const struct transcript *t)
{
    buf_adds(&o->buf, "start\tend\ttext\n");
    for (size_t i = 0; i < t->n_segments && o->rc == 0; i++) {
        const struct segment *s = &t->segments[i];
        buf_addf(&o->buf, "%" PRId64 "\t%" PRId64 "\t%s\n", s->start_ms, s->end_ms, s->text);
        out_flush(o, false);
    }
}
