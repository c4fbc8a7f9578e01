/* SPDX-License-Identifier: MIT */
/*
 * What a client may ask of the engine for one job, beside engine, model, language, task and prompt: one table. Form
 * fields, flags of `submit` and `transcribe`, the JSON in jobs.options and the documents come from it.
 *
 * A value is kept as a text in one canonical form, so that two sets of options are the same when their JSON is.
 */
#ifndef JOB_OPTIONS_H
#define JOB_OPTIONS_H

#include "base/buf.h"
#include "base/err.h"
#include "base/mem.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/*
 *   X(KIND, name, flag, arg, min, max, choices, help)
 *
 *   name      form field and JSON key; `flag` the same as a flag, `arg` what its value is called in help
 *   min, max  INT: the value; NUMBERS: each in thousandths; TEXT: bytes
 *   choices   CHOICE: the words, "a|b"
 */

/* Those with a setting of the same name in conf/options.h, which counts when a job asks for nothing. */
#define JOB_OPTIONS_WITH_SETTING(X)                                                                   \
    X(BOOL, word_timestamps, "word-timestamps", NULL, 0, 1, NULL, "find start and end of every word") \
    X(BOOL, language_per_chunk, "language-per-chunk", NULL, 0, 1, NULL,                               \
      "detect the language of every chunk by itself, for recordings in several languages")            \
    X(CHOICE, decode_mode, "decode-mode", "MODE", 0, 0, "batched|sequential",                         \
      "`batched`, or `sequential`: chunks in order, each told the text before it")                    \
    X(INT, beam_size, "beam-size", "N", 1, 16, NULL, "how many beginnings of a text are kept in view, 1 to 16")

#define JOB_OPTIONS_OF_ONE_JOB(X)                                                                  \
    X(TEXT, hotwords, "hotwords", "TEXT", 1, 4096, NULL,                                           \
      "words and names that are likely in every part of the recording")                            \
    X(NUMBERS, temperature, "temperature", "LIST", 0, 1000, NULL,                                  \
      "0 to 1, or several with commas, tried in turn while the text is bad (0,0.2,0.4,0.6,0.8,1)") \
    X(INT, seed, "seed", "N", 0, INT64_C(9007199254740991), NULL,                                  \
      "start of the random numbers that temperatures above 0 use; the same seed gives the same text")

#define JOB_OPTIONS(X)          \
    JOB_OPTIONS_WITH_SETTING(X) \
    JOB_OPTIONS_OF_ONE_JOB(X)

enum job_option {
#define X(kind, name, flag, arg, min, max, choices, help) JOB_OPTION_##name,
    JOB_OPTIONS(X)
#undef X
        JOB_OPTION_COUNT
};

enum { JOB_OPTION_NUMBERS_MAX = 8, JOB_OPTION_TEXT_MAX = 4096, JOB_OPTIONS_JSON_MAX = 64 << 10 };

/* Canonical texts, NULL where nothing was asked for. All zero: nothing at all. Owned by an arena. */
struct job_options {
    const char *values[JOB_OPTION_COUNT];
};

const char *job_option_name(enum job_option i);

/*
 * Takes a value as a client wrote it. INVALID says what is allowed, and calls the option by its name. An empty value
 * takes the option back.
 */
int job_options_set(struct job_options *o, enum job_option i, const char *value, struct arena *a, struct err *err)
    MUST_CHECK;
/* Fills what `o` leaves open from `defaults`; texts stay where they are. NULL: there are none. */
void job_options_default(struct job_options *o, const struct job_options *defaults);

/* Appends an object of what is there, in the order of the table. */
void job_options_to_json(const struct job_options *o, struct buf *b);
/* NULL or "": nothing. CORRUPT for what job_options_to_json does not write; members it does not know are left out. */
int job_options_from_json(const char *json, struct arena *a, struct job_options *ret, struct err *err) MUST_CHECK;

bool job_option_is(const struct job_options *o, enum job_option i, const char *value);
int64_t job_option_int(const struct job_options *o, enum job_option i, int64_t if_none);
/* How many there are, at most `max`; 0 for none. */
size_t job_option_numbers(const struct job_options *o, enum job_option i, float *ret, size_t max);

#endif
