/* SPDX-License-Identifier: MIT */
/* Inside src/transcript: the writers behind format_write and what they write to. */
#ifndef TRANSCRIPT_WRITERS_H
#define TRANSCRIPT_WRITERS_H

#include "transcript/format.h"

/*
 * The most that stands in the buffer is one segment; no segment is larger than the arena it came from, and a JSON
 * string at most six times its text. The bound only has to be there: no real segment comes near it.
 */
#define OUT_MAX (8 * ARENA_DEFAULT_MAX)

/* Text on its way to a sink. Writers append to `buf` and call out_flush after each segment. */
struct out {
    struct buf buf;
    format_sink sink;
    void *arg;
    struct err *err;
    const struct subtitle_opts *subtitles; /* or NULL */
    int rc;                                /* < 0: the sink or the buffer failed; all later writing is dropped */
};

/* Hands the buffer to the sink when it is worth a call, or with `all` whatever there is. */
void out_flush(struct out *o, bool all);

void write_txt(struct out *o, const struct transcript *t);
void write_json(struct out *o, const struct transcript *t);
void write_verbose_json(struct out *o, const struct transcript *t);
void write_srt(struct out *o, const struct transcript *t);
void write_vtt(struct out *o, const struct transcript *t);
void write_tsv(struct out *o, const struct transcript *t);

#endif
