/* SPDX-License-Identifier: MIT */
/*
 * Whisper inference: PCM in, segments out. A library of its own: it knows PCM and its model file, nothing of jobs.
 *
 *   struct whisper_model     weights and vocabulary: immutable, reference counted, any thread, shared
 *   struct whisper_batcher   all mutable state for one model: a compute thread with its OpenMP team, which runs windows
 * of any callers together in one batch
 *
 * whisper_run is the only call that does work. It walks over its PCM in windows of 30 s the way OpenAI's reference does
 * (seek, timestamps, previous text, temperature ladder), each window joining the running batch; it blocks until its own
 * text is done. Run it from several threads to fill the batch.
 *
 * PCM is 16 kHz mono float in [-1, 1]. Times are samples from the start of the PCM given. Texts are well-formed UTF-8.
 *
 * Errors: INVALID (a parameter, or this model cannot do it: the sentence says which), NOT_FOUND (model file), CORRUPT
 * (model file), UNSUPPORTED (model kind or precision), NOMEM, CANCELLED, INTERNAL (oneDNN refused).
 */
#ifndef WHISPER_WHISPER_H
#define WHISPER_WHISPER_H

#include "base/err.h"
#include "base/mem.h"
#include "base/stop.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum { WHISPER_RATE = 16000, WHISPER_WINDOW = 30 * WHISPER_RATE };

/* ---- models ---- */

struct whisper_model;

#define WHISPER_PRECISIONS(X)                                  \
    X(AUTO, "auto", "the fastest this processor has")          \
    X(F32, "f32", "32-bit floats: exact, slow, any processor") \
    X(BF16, "bf16", "bfloat16 products (AMX or AVX-512)")      \
    X(INT8, "int8", "8-bit weights and activations (AMX or VNNI)")

enum whisper_precision {
#define X(name, word, help) WHISPER_##name,
    WHISPER_PRECISIONS(X)
#undef X
};
const char *whisper_precision_name(enum whisper_precision p);
bool whisper_precision_parse(const char *word, enum whisper_precision *ret);
/* What AUTO means on this processor. */
enum whisper_precision whisper_precision_best(void);

struct whisper_batcher_opts;

struct whisper_model_opts {
    enum whisper_precision precision;
    const char *cache_folder; /* packed weights are kept here; NULL: pack at every load, keep nothing */
    /* NOMEM, before any is taken, when the weights and a batcher of this kind need more; NULL: nobody looks. */
    const struct whisper_batcher_opts *batcher;
    int64_t room_bytes;
    const struct cancel *cancel; /* looked at while weights are packed; may be NULL */
};

struct whisper_dims {
    int n_vocab, n_mels;
    int audio_ctx, audio_state, audio_heads, audio_layers; /* 1500 frames of 20 ms */
    int text_ctx, text_state, text_heads, text_layers;     /* 448 tokens */
};

struct whisper_info {
    const char *name; /* from the file or folder name: "base.en" */
    struct whisper_dims dims;
    bool multilingual, can_translate;
    enum whisper_precision precision;
    const char *file_type; /* "ggml q5_0", "safetensors f16" */
    int64_t parameters;
    int64_t file_bytes, packed_bytes;
    bool from_cache; /* the packed form was mapped, not made */
    int64_t load_ms;
};

/*
 * The path of a model: `name` with a '/' is one already, else NAME is ggml-NAME.bin, NAME.bin, or NAME itself (a file
 * .bin or a Hugging Face folder) in `folder`. NOT_FOUND says how to get one; INVALID: no possible name. Caller frees.
 */
int whisper_find_model(const char *folder, const char *name, char **ret, struct err *err) MUST_CHECK;
/* Calls fn for the path of each model in `folder`, by name; none when there is no such folder. Stops at its first
 * failure. */
typedef int (*whisper_list_fn)(const char *path, void *arg, struct err *err);
int whisper_list_models(const char *folder, whisper_list_fn fn, void *arg, struct err *err) MUST_CHECK;

/* What whisper_model_open would find, without packing anything: milliseconds for any size. `name` lives in `a`. The
 * fields about packing are 0. */
int whisper_inspect(const char *path, struct arena *a, struct whisper_info *ret, struct err *err) MUST_CHECK;
struct whisper_verified {
    char sha256[65]; /* of its weight files, one after another, in hex */
    /* Packed forms in the cache: whole and made from these bytes; of an earlier model of that name; not as they were
     * written. The last two were removed: the next load packs anew. */
    unsigned good, stale, damaged;
};
/*
 * As whisper_inspect, and reads every weight, and what the cache (NULL: none) has of it. CORRUPT names the first tensor
 * that holds a NaN or an infinity, or says that the file is not what it was when it was packed.
 */
int whisper_verify(const char *path, const char *cache_folder, const struct cancel *cancel,
                   struct whisper_verified *ret, struct err *err) MUST_CHECK;
/* The instruction set that products run on here, as oneDNN calls it ("avx512_core_amx"). */
const char *whisper_cpu(void);

/* `path`: a ggml .bin file or a Hugging Face folder. Everything in it is checked before use. */
int whisper_model_open(const char *path, const struct whisper_model_opts *o, struct whisper_model **ret,
                       struct err *err) MUST_CHECK;
struct whisper_model *whisper_model_ref(struct whisper_model *m);
void whisper_model_unref(struct whisper_model *m); /* the last one unmaps; NULL is fine */
const struct whisper_info *whisper_model_info(const struct whisper_model *m);
/* ISO code of language i, NULL past the last; names as OpenAI writes them ("english"). */
const char *whisper_language_code(int i);
const char *whisper_language_name(const char *code);
/* Does the model know it? Accepts code or name; returns the code, NULL when unknown. */
const char *whisper_model_language(const struct whisper_model *m, const char *code_or_name);

/* ---- running ---- */

struct whisper_batcher;

struct whisper_batcher_opts {
    unsigned threads;     /* OpenMP team; 0: what OpenMP says */
    unsigned max_windows; /* windows in one batch; memory grows with it */
    unsigned max_rows;    /* decoder rows in one step (windows x beams) */
};

/* Bytes it would allocate: ask before making one. */
int64_t whisper_batcher_memory(const struct whisper_model *m, const struct whisper_batcher_opts *o);
/* Keeps a reference to m. */
int whisper_batcher_new(struct whisper_model *m, const struct whisper_batcher_opts *o, struct whisper_batcher **ret,
                        struct err *err) MUST_CHECK;
/* The most windows that were ever in one decoder step together. */
unsigned whisper_batcher_most(const struct whisper_batcher *b);
void whisper_batcher_free(struct whisper_batcher *b); /* no call may be under way; NULL is fine */

enum whisper_task { WHISPER_TRANSCRIBE, WHISPER_TRANSLATE };

struct whisper_params {
    const char *language; /* code or name; NULL: detect */
    enum whisper_task task;
    const float *temperatures; /* tried in turn until the gates pass */
    size_t n_temperatures;
    int beam_size;        /* at temperature 0; 1: greedy */
    int best_of;          /* samples at temperature > 0 */
    float patience;       /* beams: stop when patience * beam_size texts are done; above 0, at most 8 */
    float length_penalty; /* < 0: by length; else Google's alpha, 0 to 1 */
    float compression_ratio_threshold, logprob_threshold, no_speech_threshold; /* gates; NAN switches one off */
    const char *initial_prompt; /* cut to its last 223 tokens; the cut is reported */
    const char *hotwords;
    bool condition_on_previous;  /* text of the window before as prompt, with the reference's resets */
    bool timestamps;             /* the timestamp grammar; off: one segment a window */
    bool word_timestamps;        /* DTW over the alignment heads */
    float max_initial_timestamp; /* seconds; negative: no limit */
    bool suppress_blank;
    const int *suppress_tokens; /* NULL: the model's non-speech list */
    size_t n_suppress_tokens;
    uint64_t seed; /* the same input and seed give the same text */
};
/* The reference's defaults with beam_size 5, best_of 5. */
void whisper_params_default(struct whisper_params *p);

struct whisper_word {
    int64_t start, end; /* samples */
    const char *text;   /* with its leading blank, as the tokens have it */
    float probability;
};

struct whisper_segment {
    int64_t start, end; /* samples; 0 <= start <= end <= length of the PCM, non-decreasing */
    const char *text;
    const int *tokens;
    size_t n_tokens;
    const struct whisper_word *words; /* with word_timestamps */
    size_t n_words;
    float avg_logprob, compression_ratio, no_speech_prob, temperature;
    /* The gate that it failed at every temperature ("repetition", "loop", "low probability"), or "no speech there": the
     * caller heard none; NULL: neither. */
    const char *suspect;
};

/* A stretch that got no text although the caller said there is speech. */
struct whisper_gap {
    int64_t start, end;
    /* "no speech": the model heard none; "failed gates": no try passed, and none had text; "early end": the text ended
     * before, also when the rest was run again; "no text": nothing between two texts; "tones": hum, beeps, chords. */
    const char *why;
};

struct whisper_span {
    int64_t start, end; /* samples */
};

struct whisper_input {
    const float *pcm;
    size_t n;
    /* Where the caller found speech, ascending; n_speech 0: it does not know. Speech left without text is run again,
     * then reported. */
    const struct whisper_span *speech;
    size_t n_speech;
    /* Text tokens that came before, as an earlier result gave them (for condition_on_previous across calls). */
    const int *previous;
    size_t n_previous;
};

struct whisper_result {
    const struct whisper_segment *segments;
    size_t n_segments;
    const struct whisper_gap *gaps;
    size_t n_gaps;
    const char *language;       /* NULL: too short to tell */
    float language_probability; /* of the window that decided, or the mean over those heard; 1 when it was given */
    const int *previous;        /* to hand to the next call */
    size_t n_previous;
    int prompt_tokens_cut; /* how many tokens of initial_prompt and hotwords had no room */
};

/* Transcribes; the result lives in `a`. Any thread; looks at `cancel` between encoder layers and decoder steps. */
int whisper_run(struct whisper_batcher *b, const struct whisper_params *p, const struct whisper_input *in,
                const struct cancel *cancel, struct arena *a, struct whisper_result *ret, struct err *err) MUST_CHECK;

/* Probability of each language for the first window of `pcm`; *ret_code borrowed. */
int whisper_detect_language(struct whisper_batcher *b, const float *pcm, size_t n, const struct cancel *cancel,
                            const char **ret_code, float *ret_probability, struct err *err) MUST_CHECK;

#endif
