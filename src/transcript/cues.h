/* SPDX-License-Identifier: MIT */
/*
 * From a segment to what is shown at a time: cues of lines. Lines break where Unicode allows a line to break (UAX 14),
 * so also between Chinese characters and never inside a character that is made of several; a word that is too wide for
 * a line is cut between characters.
 *
 * The time of a cue is that of its words, where the segment has them; else the segment's time is shared out by width,
 * as if it was spoken evenly.
 */
#ifndef TRANSCRIPT_CUES_H
#define TRANSCRIPT_CUES_H

#include "transcript/subtitles.h"
#include "transcript/transcript.h"

struct cue_line {
    size_t from, to; /* bytes of the segment's text, without blanks at the ends */
};

struct cue {
    const char *text; /* of the segment */
    int64_t start_ms, end_ms;
    const struct cue_line *lines;
    size_t n_lines;
    size_t mark_from, mark_to; /* the word to be shown as spoken; equal: none */
};

/* A negative return ends it and is handed on. */
typedef int (*cue_fn)(const struct cue *c, void *arg, struct err *err);

/* Cues in order; none begins before the one before it ended, and all lie inside the segment. NOMEM. */
int cues_of_segment(const struct segment *s, const struct subtitle_opts *o, cue_fn fn, void *arg, struct err *err)
    MUST_CHECK;

#endif
