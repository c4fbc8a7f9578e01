/* SPDX-License-Identifier: MIT */
/*
 * Walks over the PCM in windows, as OpenAI's transcribe.py: each window is decoded at rising temperatures until the
 * gates pass, its tokens are cut into segments at the timestamps, and the next window begins at the last one.
 *
 * What is ours on top: a loop fails a try like a bad gate; a window in which all tries fail keeps the most likely text
 * that does not repeat itself, marked as suspect; a window that ends its text early although the caller heard speech
 * behind it is taken up again from there; speech that got no text in the end is reported as a gap.
 */
#include "whisper/batch.h"
#include "whisper/gates.h"
#include "whisper/whisper.h"
#include "whisper/words.h"

#include "base/str.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

enum {
    PROMPT_MAX = 223, /* half the context, less one for start-of-previous */
    SHORTEST = 1600,  /* samples: a rest below 100 ms is not run */
    PREFIX_MAX = PROMPT_MAX + 5,
    EARLY_END = 16000,     /* speech this much behind the last text counts as left out */
    SMALLEST_STEP = 16000, /* a window taken up again moves on at least this far */
    MAX_TEXT_TOKENS = 1 << 20,
};

struct whisper_batcher {
    struct batch *batch;
    struct whisper_model *model;
};

/* The text of one window, decoded. */
struct decoded {
    int tokens[SEARCH_MAX_TOKENS];
    size_t n;
    float avg_logprob, compression_ratio, no_speech_prob, temperature;
    const char *failed; /* the gate it failed, NULL: passed */
    bool silent;        /* no speech, by the model's own word */
};

struct run {
    struct whisper_batcher *b;
    const struct whisper_params *p;
    const struct whisper_input *in;
    const struct cancel *cancel;
    struct arena *a;
    struct rules rules;
    const struct tokenizer *t;
    int sot[4]; /* start-of-transcript, language, task, no-timestamps as wanted */
    size_t n_sot;
    const char *language;
    float language_probability;

    int *history; /* text and timestamps so far: what the next window may be prompted with */
    size_t n_history, cap_history, reset;
    int hotwords[PROMPT_MAX];
    size_t n_hotwords;
    int prompt_cut;

    struct whisper_segment *segments;
    size_t n_segments, cap_segments;
    struct whisper_gap *gaps;
    size_t n_gaps, cap_gaps;
    int64_t last_end, last_speech;
};

/* ---- growing lists ---- */

static int grow(void *list, size_t *cap, size_t n, size_t size, struct err *err)
{
    void **p = list;
    if (n < *cap)
        return 0;
    size_t more = *cap ? *cap * 2 : 64;
    void *q = realloc(*p, more * size);
    if (!q)
        return err_set(err, ERR_NOMEM, "no memory for the transcript");
    *p = q;
    *cap = more;
    return 0;
}

static int remember(struct run *r, const int *tokens, size_t n, struct err *err)
{
    for (size_t i = 0; i < n; i++) {
        int rc = grow(&r->history, &r->cap_history, r->n_history, sizeof *r->history, err);
        if (rc < 0)
            return rc;
        r->history[r->n_history++] = tokens[i];
    }
    return 0;
}

/* ---- before the first window ---- */

static int check(const struct run *r, struct err *err)
{
    const struct whisper_params *p = r->p;
    const struct whisper_info *info = whisper_model_info(r->b->model);
    if (!p->n_temperatures)
        return err_set(err, ERR_INVALID, "at least one temperature is needed");
    for (size_t i = 0; i < p->n_temperatures; i++)
        if (!(p->temperatures[i] >= 0 && p->temperatures[i] <= 2))
            return err_set(err, ERR_INVALID, "temperatures must be from 0 to 2");
    if (p->beam_size < 1 || p->beam_size > SEARCH_MAX_SEQUENCES || p->best_of < 1 || p->best_of > SEARCH_MAX_SEQUENCES)
        return err_set(err, ERR_INVALID, "beam_size and best_of must be from 1 to %d", (int)SEARCH_MAX_SEQUENCES);
    if (p->task == WHISPER_TRANSLATE && !info->can_translate)
        return err_set(err, ERR_INVALID, "model '%s' cannot translate: it was trained for %s", info->name,
                       info->multilingual ? "transcription only" : "English only");
    if (p->language && !whisper_model_language(r->b->model, p->language))
        return err_set(err, ERR_INVALID, "model '%s' does not know language '%.20s'%s", info->name, p->language,
                       info->multilingual ? "" : ": it knows English only");
    return 0;
}

static int encode_text(const struct run *r, const char *text, int *ret, size_t max, struct err *err)
{
    /* One blank in front, as between words; blanks around it say nothing. */
    text += strspn(text, " \t\r\n");
    size_t n = strlen(text);
    while (n && strchr(" \t\r\n", text[n - 1]))
        n--;
    CLEANUP(buf_clear) struct buf b = BUF_INIT(65536);
    buf_addc(&b, ' ');
    buf_add(&b, text, n);
    int rc = buf_check(&b, "the prompt", err);
    return rc < 0 || !n ? rc : tokenizer_encode(r->t, buf_str(&b), ret, max, err);
}

/* Hotwords stand in front of every prompt, the initial prompt in front of the first; both cut to what fits, the end
 * kept. */
static int take_prompts(struct run *r, struct err *err)
{
    enum { LONGEST = 8192 };
    int *ids = malloc(LONGEST * sizeof *ids);
    if (!ids)
        return err_set(err, ERR_NOMEM, "no memory for a prompt");
    int rc = 0;
    if (r->p->hotwords) {
        rc = encode_text(r, r->p->hotwords, ids, LONGEST, err);
        r->n_hotwords = rc > 0 ? MIN((size_t)rc, (size_t)PROMPT_MAX) : 0;
        memcpy(r->hotwords, ids, r->n_hotwords * sizeof *ids);
        r->prompt_cut += rc > PROMPT_MAX ? rc - PROMPT_MAX : 0;
    }
    if (rc >= 0 && r->p->initial_prompt) {
        rc = encode_text(r, r->p->initial_prompt, ids, LONGEST, err);
        int room = PROMPT_MAX - (int)r->n_hotwords, cut = rc > room ? rc - room : 0;
        r->prompt_cut += cut;
        if (rc > 0)
            rc = remember(r, ids + cut, (size_t)(rc - cut), err);
    }
    free(ids);
    if (rc >= 0 && r->in->n_previous && r->p->condition_on_previous)
        rc = remember(r, r->in->previous, r->in->n_previous, err);
    return rc < 0 ? rc : 0;
}

static int64_t window_length(const struct run *r, int64_t seek)
{
    return MIN((int64_t)r->in->n - seek, (int64_t)WHISPER_WINDOW);
}

/* Windows from the start until one is sure, else the language that most windows lean to; a long recording is sampled,
 * not read. */
static int hear_language(struct run *r, struct err *err)
{
    enum { MOST_WINDOWS = 5 };
    float sums[100] = {0}, probs[100] = {0};
    int best = 0, count = r->t->n_languages;
    int64_t windows = MAX((int64_t)1, (int64_t)r->in->n / WHISPER_WINDOW),
            step = MAX((int64_t)1, windows / MOST_WINDOWS);
    for (int64_t i = 0, seen = 0; i < windows && seen < MOST_WINDOWS; i += step, seen++) {
        int64_t seek = i * WHISPER_WINDOW;
        struct batch_window *w = NULL;
        int rc = batch_open(r->b->batch, r->in->pcm + seek, (size_t)window_length(r, seek), r->cancel, &w, err);
        if (rc == 0)
            rc = batch_languages(w, r->cancel, probs, err);
        batch_close(w);
        if (rc < 0)
            return rc;
        for (int k = 0; k < count; k++) {
            sums[k] += probs[k];
            if (sums[k] > sums[best])
                best = k;
        }
        r->language_probability = sums[best] / (float)(seen + 1);
        if (r->language_probability > 0.5f)
            break;
    }
    r->language = whisper_language_code(best);
    return 0;
}

static int take_language(struct run *r, struct err *err)
{
    const struct whisper_params *p = r->p;
    r->language_probability = 1;
    if (!r->t->n_languages)
        r->language = "en";
    else if (p->language)
        r->language = whisper_model_language(r->b->model, p->language);
    else {
        int rc = hear_language(r, err);
        if (rc < 0)
            return rc;
    }
    r->sot[r->n_sot++] = r->t->sot;
    if (r->t->n_languages) {
        r->sot[r->n_sot++] = tokenizer_language_id(r->t, r->language);
        r->sot[r->n_sot++] = p->task == WHISPER_TRANSLATE ? r->t->translate : r->t->transcribe;
    }
    return 0;
}

static void make_rules(struct run *r)
{
    const struct whisper_params *p = r->p;
    int blank = -1;
    struct err ignored = ERR_INIT;
    if (tokenizer_encode(r->t, " ", &blank, 1, &ignored) != 1)
        blank = -1;
    r->rules = (struct rules){.t = r->t,
                              .kern = kern_best(),
                              .suppress_blank = p->suppress_blank,
                              .timestamps = p->timestamps,
                              .suppressed = p->suppress_tokens,
                              .n_suppressed = p->n_suppress_tokens,
                              .blank = blank,
                              .max_initial_timestamp = (int)lroundf(p->max_initial_timestamp * 50)};
    if (!p->suppress_tokens)
        r->rules.suppressed = tokenizer_non_speech(r->t, &r->rules.n_suppressed);
}

/* ---- one window ---- */

/* [previous, hotwords, text before] start-of-transcript ... */
static size_t make_prefix(const struct run *r, int ret[PREFIX_MAX], size_t *ret_sot_index)
{
    size_t n = 0, before = r->n_history - r->reset;
    before = MIN(before, (size_t)PROMPT_MAX - r->n_hotwords);
    if (r->n_hotwords || before) {
        ret[n++] = r->t->sot_prev;
        memcpy(ret + n, r->hotwords, r->n_hotwords * sizeof *ret);
        n += r->n_hotwords;
        memcpy(ret + n, r->history + r->n_history - before, before * sizeof *ret);
        n += before;
    }
    *ret_sot_index = n;
    memcpy(ret + n, r->sot, r->n_sot * sizeof *ret);
    n += r->n_sot;
    if (!r->p->timestamps)
        ret[n++] = r->t->no_timestamps;
    return n;
}

static int text_ratio(const struct run *r, const int *tokens, size_t n, float *ret, struct err *err)
{
    CLEANUP(buf_clear) struct buf text = BUF_INIT(1 << 20);
    tokenizer_decode(r->t, tokens, n, &text);
    int rc = buf_check(&text, "the text of a window", err);
    /* The reference looks at the text without blanks around it. */
    const char *s = buf_str(&text);
    size_t len = text.len, skip = strspn(s, " ");
    while (len > skip && s[len - 1] == ' ')
        len--;
    *ret = gates_compression_ratio(s + skip, len - skip);
    return rc;
}

static int try_window(struct run *r, struct batch_window *w, int64_t seek, float temperature, struct decoded *ret,
                      struct err *err)
{
    const struct whisper_params *p = r->p;
    int prefix[PREFIX_MAX];
    size_t sot_index, n = make_prefix(r, prefix, &sot_index);
    bool drawn = temperature > 0;
    struct search_opts so = {
        .temperature = temperature,
        .sequences = drawn ? p->best_of : p->beam_size,
        .beam = !drawn && p->beam_size > 1,
        .patience = p->patience,
        .length_penalty = p->length_penalty,
        .seed = p->seed * 0x100000001B3u + (uint64_t)seek * 31 + (uint64_t)lroundf(temperature * 1000),
        .max_tokens = (int)MIN((size_t)SEARCH_MAX_TOKENS, 448 - n),
    };
    struct search *s;
    int rc = search_new(&so, &s, err);
    if (rc < 0)
        return rc;
    struct batch_try t = {.prompt = prefix, .n_prompt = n, .sot_index = sot_index, .rules = &r->rules, .search = s};
    rc = batch_decode(w, &t, r->cancel, &ret->no_speech_prob, err);
    if (rc == 0) {
        struct search_result best;
        search_result(s, &best);
        ret->n = (size_t)best.best->n;
        memcpy(ret->tokens, best.best->tokens, ret->n * sizeof ret->tokens[0]);
        ret->avg_logprob = best.avg_logprob;
        ret->temperature = temperature;
        rc = text_ratio(r, ret->tokens, ret->n, &ret->compression_ratio, err);
    }
    search_free(s);
    return rc;
}

/* The gates; comparisons with NAN are false, which is how one is switched off. */
static void judge(const struct whisper_params *p, struct decoded *d)
{
    d->failed = NULL;
    if (d->compression_ratio > p->compression_ratio_threshold)
        d->failed = "repetition";
    else if (gates_loop(d->tokens, d->n))
        d->failed = "loop";
    else if (d->avg_logprob < p->logprob_threshold)
        d->failed = "low probability";
    /* Unlikely text over what the model holds for silence is silence: no further try, no text. */
    d->silent = d->no_speech_prob > p->no_speech_threshold && !(d->avg_logprob > p->logprob_threshold);
}

/* Of two failed tries, the better: one that does not repeat itself before one that does, then the more likely. */
static bool better(const struct decoded *a, const struct decoded *b)
{
    bool a_repeats = strcmp(a->failed, "low probability") != 0, b_repeats = strcmp(b->failed, "low probability") != 0;
    return a_repeats != b_repeats ? b_repeats : a->avg_logprob > b->avg_logprob;
}

static int decode_window(struct run *r, struct batch_window *w, int64_t seek, struct decoded *ret, struct err *err)
{
    const struct whisper_params *p = r->p;
    struct decoded d = {.n = 0};
    *ret = d;
    for (size_t i = 0; i < p->n_temperatures; i++) {
        int rc = try_window(r, w, seek, p->temperatures[i], &d, err);
        if (rc < 0)
            return rc;
        judge(p, &d);
        if (!d.failed || d.silent) {
            *ret = d;
            return 0;
        }
        if (i == 0 || better(&d, ret))
            *ret = d;
    }
    size_t loop = gates_loop(ret->tokens, ret->n);
    if (loop)
        ret->n = loop; /* one round of it may have been said */
    return 0;
}

/* ---- tokens to segments ---- */

static bool is_stamp(const struct run *r, int token)
{
    return token >= r->t->first_timestamp;
}

static int64_t stamp_samples(const struct run *r, int token)
{
    return (int64_t)(token - r->t->first_timestamp) * TIMESTAMP_STEP;
}

static int add_segment(struct run *r, const struct decoded *d, int64_t start, int64_t end, int64_t limit,
                       const int *tokens, size_t n, struct err *err)
{
    CLEANUP(buf_clear) struct buf raw = BUF_INIT(1 << 20), text = BUF_INIT(1 << 21);
    tokenizer_decode(r->t, tokens, n, &raw);
    utf8_add_clean(&text, buf_str(&raw), raw.len);
    int rc = buf_check(&text, "the text of a segment", err);
    if (rc < 0)
        return rc;
    end = MIN(end, limit);
    start = MIN(MAX(start, r->last_end), end);
    const char *s = buf_str(&text);
    if (start == end || !s[strspn(s, " \t\r\n")])
        return 0; /* no text, or no time: nothing was said */
    rc = grow(&r->segments, &r->cap_segments, r->n_segments, sizeof *r->segments, err);
    if (rc < 0)
        return rc;
    int *kept = arena_alloc(r->a, (n + 1) * sizeof *kept);
    const char *copy = arena_dup(r->a, s, text.len);
    if (!kept || !copy)
        return err_set(err, ERR_NOMEM, "no memory for the transcript");
    memcpy(kept, tokens, n * sizeof *kept);
    r->segments[r->n_segments++] = (struct whisper_segment){.start = start,
                                                            .end = end,
                                                            .text = copy,
                                                            .tokens = kept,
                                                            .n_tokens = n,
                                                            .avg_logprob = d->avg_logprob,
                                                            .compression_ratio = d->compression_ratio,
                                                            .no_speech_prob = d->no_speech_prob,
                                                            .temperature = d->temperature,
                                                            .suspect = d->failed};
    r->last_end = end;
    return 0;
}

/* Where the caller's last speech before `limit` ends; 0 when it heard none behind `from`. */
static int64_t speech_until(const struct run *r, int64_t from, int64_t limit)
{
    int64_t until = 0;
    for (size_t i = 0; i < r->in->n_speech && r->in->speech[i].start < limit; i++)
        if (r->in->speech[i].end > from)
            until = MIN(r->in->speech[i].end, limit);
    return until;
}

/*
 * Segments end where two stamps stand together. Returns how far the window carried: to its end when the text ends with
 * a single stamp (or has no pairs), else to the last stamp, where the next window begins.
 */
static int64_t split(struct run *r, const struct decoded *d, int64_t seek, int64_t length, bool *ret_open,
                     struct err *err)
{
    size_t n = d->n, from = 0;
    int64_t limit = seek + length, carried = length;
    bool single = n >= 1 && is_stamp(r, d->tokens[n - 1]) && !(n >= 2 && is_stamp(r, d->tokens[n - 2]));
    bool pairs = false;
    int rc = 0;
    for (size_t i = 1; i <= n && rc == 0; i++) {
        bool pair = i < n && is_stamp(r, d->tokens[i - 1]) && is_stamp(r, d->tokens[i]);
        pairs = pairs || pair;
        if (!pair && !(i == n && pairs && single))
            continue;
        int64_t start = is_stamp(r, d->tokens[from]) ? stamp_samples(r, d->tokens[from]) : 0;
        int64_t end = is_stamp(r, d->tokens[i - 1]) ? stamp_samples(r, d->tokens[i - 1]) : length;
        rc = add_segment(r, d, seek + start, seek + end, limit, d->tokens + from, i - from, err);
        if (!single)
            carried = end;
        from = i;
    }
    if (rc == 0 && !pairs) {
        int64_t start = n && is_stamp(r, d->tokens[0]) ? stamp_samples(r, d->tokens[0]) : 0, end = length;
        for (size_t i = n; i > 0; i--)
            if (is_stamp(r, d->tokens[i - 1])) {
                if (d->tokens[i - 1] != r->t->first_timestamp && i - 1 > 0)
                    end = stamp_samples(r, d->tokens[i - 1]);
                break;
            }
        rc = add_segment(r, d, seek + MIN(start, end), seek + end, limit, d->tokens, n, err);
    }
    *ret_open = pairs && !single;
    /* The model skips what lies before the cut-off segment; not so when the caller heard speech there. */
    if (*ret_open && from < n && is_stamp(r, d->tokens[from])) {
        int64_t next = stamp_samples(r, d->tokens[from]);
        if (next > carried && !speech_until(r, seek + carried, seek + next))
            carried = next;
    }
    return rc < 0 ? rc : MIN(carried, length);
}

static int add_gap(struct run *r, int64_t start, int64_t end, const char *why, struct err *err)
{
    if (r->n_gaps && r->gaps[r->n_gaps - 1].end >= start && strcmp(r->gaps[r->n_gaps - 1].why, why) == 0) {
        r->gaps[r->n_gaps - 1].end = MAX(r->gaps[r->n_gaps - 1].end, end);
        return 0;
    }
    int rc = grow(&r->gaps, &r->cap_gaps, r->n_gaps, sizeof *r->gaps, err);
    if (rc == 0)
        r->gaps[r->n_gaps++] = (struct whisper_gap){start, end, why};
    return rc;
}

static int give_words(struct run *r, struct batch_window *w, size_t first, int64_t seek, int64_t length,
                      struct err *err)
{
    struct words_opts o = {.language = r->language, .sot = r->sot, .n_sot = r->n_sot, .offset = seek, .length = length};
    return words_align(w, r->b->model, &o, r->segments + first, r->n_segments - first, &r->last_speech, r->cancel, r->a,
                       err);
}

/* What the next window may be prompted with. */
static int follow(struct run *r, size_t first, const struct decoded *d, struct err *err)
{
    int rc = 0;
    for (size_t i = first; i < r->n_segments && rc == 0; i++)
        rc = remember(r, r->segments[i].tokens, r->segments[i].n_tokens, err);
    if (!r->p->condition_on_previous || d->temperature > 0.5f)
        r->reset = r->n_history;
    return rc;
}

/* Runs the window at `seek`; returns where the next one begins. */
static int64_t run_window(struct run *r, int64_t seek, struct err *err)
{
    int64_t length = window_length(r, seek), limit = seek + length;
    size_t first = r->n_segments;
    struct batch_window *w = NULL;
    struct decoded d = {.n = 0};
    int rc = batch_open(r->b->batch, r->in->pcm + seek, (size_t)length, r->cancel, &w, err);
    if (rc == 0)
        rc = decode_window(r, w, seek, &d, err);
    int64_t carried = length;
    if (rc == 0 && !d.silent) {
        bool open = false;
        carried = split(r, &d, seek, length, &open, err);
        rc = carried < 0 ? (int)carried : 0;
        if (rc == 0 && r->p->word_timestamps && r->n_segments > first) {
            rc = give_words(r, w, first, seek, length, err);
            r->last_end = r->segments[r->n_segments - 1].end;
            if (open && r->last_end > seek) /* word times are surer than stamps */
                carried = r->last_end - seek;
        }
        if (rc == 0)
            rc = follow(r, first, &d, err);
    }
    batch_close(w);
    if (rc < 0)
        return rc;
    int64_t next = seek + MAX(carried, (int64_t)SHORTEST), text_end = r->n_segments > first ? r->last_end : seek;
    int64_t speech_end = speech_until(r, text_end, limit);
    if (next >= limit && speech_end - text_end > EARLY_END) {
        if (text_end - seek >= SMALLEST_STEP)
            return text_end; /* an early end: take the rest up again */
        rc = add_gap(r, MAX(text_end, seek), speech_end, d.silent ? "no speech" : "no text", err);
    }
    return rc < 0 ? rc : next;
}

/* ---- all ---- */

static int hand_out(struct run *r, struct whisper_result *ret, struct err *err)
{
    size_t previous = MIN(r->n_history - r->reset, (size_t)PROMPT_MAX);
    struct whisper_result x = {.n_segments = r->n_segments,
                               .n_gaps = r->n_gaps,
                               .language = r->language,
                               .language_probability = r->language_probability,
                               .n_previous = previous,
                               .prompt_tokens_cut = r->prompt_cut};
    struct whisper_segment *s = arena_alloc(r->a, (r->n_segments + 1) * sizeof *s);
    struct whisper_gap *g = arena_alloc(r->a, (r->n_gaps + 1) * sizeof *g);
    int *p = arena_alloc(r->a, (previous + 1) * sizeof *p);
    if (!s || !g || !p)
        return err_set(err, ERR_NOMEM, "no memory for the transcript");
    if (r->n_segments)
        memcpy(s, r->segments, r->n_segments * sizeof *s);
    if (r->n_gaps)
        memcpy(g, r->gaps, r->n_gaps * sizeof *g);
    if (previous)
        memcpy(p, r->history + r->n_history - previous, previous * sizeof *p);
    x.segments = s;
    x.gaps = g;
    x.previous = p;
    *ret = x;
    return 0;
}

int whisper_run(struct whisper_batcher *b, const struct whisper_params *p, const struct whisper_input *in,
                const struct cancel *cancel, struct arena *a, struct whisper_result *ret, struct err *err)
{
    struct run r = {.b = b, .p = p, .in = in, .cancel = cancel, .a = a, .t = b->model->tokenizer};
    int rc = check(&r, err);
    if (rc == 0)
        rc = take_prompts(&r, err);
    if (rc == 0 && in->n >= SHORTEST)
        rc = take_language(&r, err);
    make_rules(&r);
    for (int64_t seek = 0; rc == 0 && (int64_t)in->n - seek >= SHORTEST;) {
        seek = run_window(&r, seek, err);
        rc = seek < 0 ? (int)seek : 0;
    }
    if (rc == 0)
        rc = hand_out(&r, ret, err);
    free(r.history);
    free(r.segments);
    free(r.gaps);
    return rc;
}

int whisper_detect_language(struct whisper_batcher *b, const float *pcm, size_t n, const struct cancel *cancel,
                            const char **ret_code, float *ret_probability, struct err *err)
{
    struct whisper_params p;
    whisper_params_default(&p);
    struct whisper_input in = {.pcm = pcm, .n = MIN(n, (size_t)WHISPER_WINDOW)};
    struct run r = {.b = b,
                    .p = &p,
                    .in = &in,
                    .cancel = cancel,
                    .t = b->model->tokenizer,
                    .language = "en",
                    .language_probability = 1};
    int rc = r.t->n_languages ? hear_language(&r, err) : 0;
    if (rc < 0)
        return rc;
    *ret_code = r.language;
    *ret_probability = r.language_probability;
    return 0;
}

void whisper_params_default(struct whisper_params *p)
{
    static const float ladder[] = {0.0f, 0.2f, 0.4f, 0.6f, 0.8f, 1.0f};
    *p = (struct whisper_params){
        .temperatures = ladder,
        .n_temperatures = ARRAY_LEN(ladder),
        .beam_size = 5,
        .best_of = 5,
        .patience = 1,
        .length_penalty = -1,
        .compression_ratio_threshold = 2.4f,
        .logprob_threshold = -1,
        .no_speech_threshold = 0.6f,
        .condition_on_previous = true,
        .timestamps = true,
        .max_initial_timestamp = 1,
        .suppress_blank = true,
    };
}

int64_t whisper_batcher_memory(const struct whisper_model *m, const struct whisper_batcher_opts *o)
{
    return batch_memory(m, o);
}

int whisper_batcher_new(struct whisper_model *m, const struct whisper_batcher_opts *o, struct whisper_batcher **ret,
                        struct err *err)
{
    struct whisper_batcher *b = xcalloc(1, sizeof *b);
    int rc = batch_new(m, o, &b->batch, err);
    if (rc < 0) {
        free(b);
        return rc;
    }
    b->model = whisper_model_ref(m);
    *ret = b;
    return 0;
}

unsigned whisper_batcher_most(const struct whisper_batcher *b)
{
    return batch_most(b->batch);
}

void whisper_batcher_free(struct whisper_batcher *b)
{
    if (!b)
        return;
    batch_free(b->batch);
    whisper_model_unref(b->model);
    free(b);
}
