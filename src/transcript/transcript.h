/* SPDX-License-Identifier: MIT */
/*
 * The transcript: segments and words, and how they are merged.
 *
 * Times are milliseconds in the recording. What holds for every transcript made here (transcript_check):
 *
 *   - 0 <= start <= end <= duration; a segment starts no earlier than the one before it ended;
 *   - words lie inside their segment, in the same order, none over another;
 *   - gaps lie inside the recording, in order, none over another;
 *   - no segment and no word without text; texts are clean (transcript_clean).
 *
 * transcript_add brings this about by clamping to the chunk that a segment came from and to what came before. A segment
 * may become 0 ms long that way, but no text is ever dropped for its times: what was said matters more than when.
 * All memory is the transcript's; strings given are copied. Not thread-safe.
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
    const char *suspect;  /* why this text should be doubted; NULL: it should not */
    const char *language; /* of this segment, where it is another than the transcript's; else NULL */
};

/*
 * What an engine makes of one chunk; times count from the start of the recording. Owned by the arena it was made in.
 * Nothing is promised about it: transcript_add is what trusts no engine.
 */
struct segments {
    struct segment *v;
    size_t n;
    const char *language;        /* ISO 639-1 or NULL */
    double language_probability; /* 0: the engine did not detect it, or does not say */
    const char *warning;         /* about the whole recording or the request ("the prompt was cut"); NULL: none */
};

/* A part of the detected speech that has no text or a doubtful one. */
struct gap {
    int64_t start_ms, end_ms;
    const char *why;
};

/* How long a language was heard. */
struct language_time {
    const char *language;
    int64_t ms;
    double probability_ms; /* sum of probability times duration */
};

struct time_span {
    int64_t start_ms, end_ms;
};

enum { TRANSCRIPT_LANGUAGES = 16 }; /* counted at most; later ones are not */

struct transcript {
    struct arena arena;
    struct segment *segments;
    size_t n_segments, cap_segments;
    struct gap *gaps;
    size_t n_gaps, cap_gaps;
    const char *language;        /* by majority of duration; NULL: none heard */
    double language_probability; /* as the engine heard it, 0..1; 0: it was given, or the engine does not say */
    const char *engine, *model, *task;
    const char *quality; /* "draft", "standard", "test": what the engine says of itself */
    const char *warning; /* about the recording as a whole (damaged input ...), several with "; "; NULL: none */
    int64_t duration_ms; /* of the recording; set it before adding anything */
    /*
     * Coverage: speech_ms is how much speech was detected in the recording, covered_ms how much of that has a text
     * nobody doubts: what of it lies in no gap. Both are set by transcript_cover; 0 <= covered <= speech.
     */
    int64_t speech_ms, covered_ms;
    struct language_time languages[TRANSCRIPT_LANGUAGES]; /* what `language` is elected from */
    size_t n_languages;
};

void transcript_init(struct transcript *t);
void transcript_clear(struct transcript *t);
/* Sets one of the string fields of t to a copy (NULL stays NULL). */
int transcript_set(struct transcript *t, const char **field, const char *value, struct err *err) MUST_CHECK;
/* Adds a warning, unless the same stands there already. */
int transcript_warn(struct transcript *t, const char *warning, struct err *err) MUST_CHECK;
/*
 * Adds what a chunk gave, chunks in ascending order: clamps times to the chunk [start_ms, end_ms] and to what came
 * before, cleans texts, drops empty ones, and elects the language anew: the one with the longest segments; chunks
 * without text have no vote (engines guess a language for silence too). Its warning is added too. NOMEM when the
 * transcript's arena is full.
 */
int transcript_add(struct transcript *t, int64_t start_ms, int64_t end_ms, const struct segments *s, struct err *err)
    MUST_CHECK;
/* Adds a gap, in ascending order: clamped to the recording and to the gap before; one of no length is dropped. */
int transcript_add_gap(struct transcript *t, int64_t start_ms, int64_t end_ms, const char *why, struct err *err)
    MUST_CHECK;
/* Sets speech_ms and covered_ms from the detected speech (ascending, apart) and the gaps added so far: call it last. */
void transcript_cover(struct transcript *t, const struct time_span *speech, size_t n);
/* Does all hold that the head of this file promises? CORRUPT, with the first thing that does not. */
int transcript_check(const struct transcript *t, struct err *err) MUST_CHECK;
/* Segment texts joined by single blanks, into the arena of t; NULL when that is full. */
const char *transcript_text(struct transcript *t) MUST_CHECK;
/* Words as the engine told them; where it told none, the blank-separated ones of the segment's text. */
int64_t transcript_word_count(const struct transcript *t);
/*
 * Mean probability of the words that have one; where no word has, of the tokens of the segments that have figures, by
 * duration; negative when there is neither.
 */
double transcript_confidence(const struct transcript *t);

/*
 * A copy of s that is well-formed UTF-8 without control characters, every run of blanks and control characters one
 * blank, none at the ends: a clean text is one line, whatever an engine or a file said. NULL when the arena is full.
 */
const char *transcript_clean(struct arena *a, const char *s) MUST_CHECK;

#endif
