/* SPDX-License-Identifier: MIT */
/*
 * The transcript: segments and words, and how they are merged and written.
 *
 * Times are milliseconds in the recording: 0 <= start <= end <= duration, non-decreasing; transcript_add enforces
 * this by clamping to the chunk that the segment came from. Texts are clean UTF-8. All memory is the
 * transcript's; strings given are copied. Not thread-safe.
 */
#ifndef TRANSCRIPT_TRANSCRIPT_H
#define TRANSCRIPT_TRANSCRIPT_H

#include "base/err.h"
#include "base/mem.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct word {
    int64_t start_ms, end_ms;
    const char *text;   /* no blanks around it */
    double probability; /* 0..1; negative: unknown */
};

struct segment {
    int64_t start_ms, end_ms;
    const char *text; /* no blanks around it */
    const struct word *words;
    size_t n_words;
    /* Whisper's figures; 0 and has_stats false from engines that have none. */
    bool has_stats;
    double avg_logprob, compression_ratio, no_speech_prob, temperature;
    const char *suspect; /* why this text should be doubted; NULL: it should not */
};

/* What an engine makes of one chunk; times count from the start of the recording. Owned by the arena it was made in. */
struct segments {
    struct segment *v;
    size_t n;
    const char *language; /* ISO 639-1 or NULL */
};

/* A part of the detected speech that has no text or a doubtful one. */
struct gap {
    int64_t start_ms, end_ms;
    const char *why;
};

struct transcript {
    struct arena arena;
    struct segment *segments;
    size_t n_segments, cap_segments;
    struct gap *gaps;
    size_t n_gaps, cap_gaps;
    const char *language; /* by majority of duration; NULL: none heard */
    const char *engine, *model, *task;
    const char *quality; /* "draft", "standard", "test": what the engine says of itself */
    const char *warning; /* about the recording as a whole (damaged input ...); NULL: none */
    int64_t duration_ms, speech_ms, covered_ms;
};

void transcript_init(struct transcript *t);
void transcript_clear(struct transcript *t);
/* Sets name-like fields; copies. */
int transcript_set(struct transcript *t, const char **field, const char *value, struct err *err) MUST_CHECK;
/*
 * Adds what a chunk gave, chunks in ascending order: clamps times to the chunk [start_ms, end_ms] and to what came
 * before, drops empty texts, counts the language.
 */
int transcript_add(struct transcript *t, int64_t start_ms, int64_t end_ms, const struct segments *s, struct err *err)
    MUST_CHECK;
int transcript_add_gap(struct transcript *t, int64_t start_ms, int64_t end_ms, const char *why, struct err *err)
    MUST_CHECK;
/* Segment texts joined by single blanks, into the arena of t. */
const char *transcript_text(struct transcript *t);
int64_t transcript_word_count(const struct transcript *t);
/* Mean word probability; negative when unknown. */
double transcript_confidence(const struct transcript *t);

#endif
