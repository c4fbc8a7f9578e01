/* SPDX-License-Identifier: MIT */
/* Text and tables. Both rely on texts being one clean line (transcript_clean). */
#include "transcript/writers.h"

#include <inttypes.h>

enum { FLUSH_BYTES = 16384 };

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

void write_tsv(struct out *o, const struct transcript *t)
{
    buf_adds(&o->buf, "start\tend\ttext\n");
    for (size_t i = 0; i < t->n_segments && o->rc == 0; i++) {
        const struct segment *s = &t->segments[i];
        buf_addf(&o->buf, "%" PRId64 "\t%" PRId64 "\t%s\n", s->start_ms, s->end_ms, s->text);
        out_flush(o, false);
    }
}
