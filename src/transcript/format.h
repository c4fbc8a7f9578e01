/* SPDX-License-Identifier: MIT */
/*
 * The output formats, one table: command line, API and documents take names, media types and endings from it.
 *
 * A writer sends its text to a sink piece by piece, so that a long transcript is never twice in memory.
 */
#ifndef TRANSCRIPT_FORMAT_H
#define TRANSCRIPT_FORMAT_H

#include "base/buf.h"
#include "transcript/subtitles.h"
#include "transcript/transcript.h"

/* name, word, file ending, media type, help */
#define FORMATS(X)                                                                                             \
    X(TXT, "txt", "txt", "text/plain; charset=utf-8", "plain text, one segment a line")                        \
    X(JSON, "json", "json", "application/json", "the text and what it was made from")                          \
    X(VERBOSE_JSON, "verbose_json", "json", "application/json", "with segments, words, coverage and warnings") \
    X(SRT, "srt", "srt", "application/x-subrip", "SubRip subtitles")                                           \
    X(VTT, "vtt", "vtt", "text/vtt; charset=utf-8", "WebVTT subtitles")                                        \
    X(TSV, "tsv", "tsv", "text/tab-separated-values; charset=utf-8", "start and end in ms, and text")

enum format {
#define X(name, word, ending, type, help) FORMAT_##name,
    FORMATS(X)
#undef X
        FORMAT_COUNT
};

struct format_info {
    const char *name, *ending, *media_type, *help;
};
const struct format_info *format_info(enum format f);
/* By name ("srt"; "text" is "txt"). */
bool format_parse(const char *name, enum format *ret);
/* The best match for an HTTP Accept header; false when none of ours is acceptable. NULL or a wildcard gives JSON. */
bool format_from_accept(const char *accept, enum format *ret);

typedef int (*format_sink)(const void *data, size_t n, void *arg, struct err *err);
/* A negative return of the sink ends it and is handed on. */
int format_write(const struct transcript *t, enum format f, format_sink sink, void *arg, struct err *err) MUST_CHECK;
/* Does the format have lines to lay out? */
bool format_is_subtitles(enum format f);
/* The same with a layout, which formats without lines do not look at. */
int format_write_laid_out(const struct transcript *t, enum format f, const struct subtitle_opts *subtitles,
                          format_sink sink, void *arg, struct err *err) MUST_CHECK;

/* What VERBOSE_JSON wrote, back as a transcript: storage holds that form only, every other format is made from it. */
int transcript_from_json(const char *json, size_t n, struct transcript *ret, struct err *err) MUST_CHECK;

/* Segments of one chunk as JSON and back: the form of a checkpoint and of the answers of engine children. */
int segments_to_json(const struct segments *s, struct buf *ret, struct err *err) MUST_CHECK;
int segments_from_json(const char *json, size_t n, struct arena *a, struct segments *ret, struct err *err) MUST_CHECK;

#endif
