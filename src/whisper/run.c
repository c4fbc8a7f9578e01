/* SPDX-License-Identifier: MIT */
/*
 * Walks over the PCM in windows, as OpenAI's transcribe.py: each window is decoded at rising temperatures until the
 * gates pass (ladder.c), its tokens are cut into segments at the timestamps (segments.c), what was said becomes the
 * prompt of the next one (prompt.c), and the next window begins at the last stamp.
 *
 * What is ours on top: a window of nothing but tones is not run at all (tones.c); a loop fails a try like a bad gate; a
 * window in which all tries fail keeps the most likely text that does not repeat itself, marked as suspect; a window
 * that ends its text early although the caller heard speech behind it is taken up again from there; speech that got no
 * text in the end is reported as a gap (coverage.c).
 */
#include "whisper/batch.h"
#include "whisper/coverage.h"
#include "whisper/gates.h"
#include "whisper/ladder.h"
#include "whisper/params.h"
#include "whisper/prompt.h"
#include "whisper/segments.h"
#include "whisper/tones.h"
#include "whisper/vote.h"
#include "whisper/words.h"

#include "base/str.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

enum {
    SHORTEST = 1600,       /* samples: a rest below 100 ms is not run */
    SHORT_REST = 80000,    /* on the last 5 s of a recording the text before tends to be repeated */
    SMALLEST_STEP = 16000, /* a window taken up again moves on at least this far */
    MAX_CONTEXT = 448,     /* prompt and text together */
};

struct whisper_batcher {
    struct batch *batch;
    struct whisper_model *model;
};

struct run {
    struct whisper_batcher *b;
    const struct whisper_params *p;
    const struct whisper_input *in;
    const struct cancel *cancel;
    struct arena *a;
    struct rules rules;
    const struct tokenizer *t;
    struct prompt prompt;
    const char *language;
    float language_probability;

    struct whisper_segment *segments;
    size_t n_segments, cap_segments;
    struct whisper_gap *mute, *gaps; /* what was given up; speech without text */
    size_t n_mute, cap_mute, n_gaps, cap_gaps;
    int64_t last_end, last_speech;
};

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

static int64_t window_length(const struct run *r, int64_t seek)
{
    return MIN((int64_t)r->in->n - seek, (int64_t)WHISPER_WINDOW);
}

/* ---- before the first window ---- */

/* A few windows, spread over the recording; those without a voice tell nothing. */
static int hear_language(struct run *r, struct err *err)
{
    enum { MOST_WINDOWS = 5 };
    float probs[VOTE_LANGUAGES] = {0};
    struct vote vote = {.windows = 0};
    int64_t windows = MAX((int64_t)1, (int64_t)r->in->n / WHISPER_WINDOW),
            step = MAX((int64_t)1, windows / MOST_WINDOWS);
    bool sure = false;
    for (int64_t i = 0; i < windows && vote.windows < MOST_WINDOWS && !sure; i += step) {
        int64_t seek = i * WHISPER_WINDOW, length = window_length(r, seek);
        bool last_chance = !vote.windows && i + step >= windows;
        bool voiceless = !coverage_any(r->in, seek, seek + length) || tones_only(r->in->pcm + seek, (size_t)length);
        if (voiceless && !last_chance)
            continue;
        struct batch_window *w = NULL;
        int rc = batch_open(r->b->batch, r->in->pcm + seek, (size_t)length, r->cancel, &w, err);
        if (rc == 0)
            rc = batch_languages(w, r->cancel, probs, err);
        batch_close(w);
        if (rc < 0)
            return rc;
        sure = vote_add(&vote, probs, r->t->n_languages);
    }
    r->language = whisper_language_code(vote_result(&vote, &r->language_probability));
    return 0;
}

static int take_language(struct run *r, struct err *err)
{
    r->language_probability = 1;
    if (!r->t->n_languages)
        r->language = "en";
    else if (r->p->language)
        r->language = whisper_model_language(r->b->model, r->p->language);
    else if (r->in->n >= SHORTEST)
        return hear_language(r, err);
    else
        r->language_probability = 0;
    return 0;
}

static int take_prompt(struct run *r, struct err *err)
{
    const struct whisper_params *p = r->p;
    int rc = prompt_init(&r->prompt, r->t, p->hotwords, p->initial_prompt, err);
    if (rc == 0 && p->condition_on_previous)
        rc = prompt_add(&r->prompt, r->in->previous, r->in->n_previous, err);
    return rc;
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
                              .max_initial_timestamp =
                                  p->max_initial_timestamp < 0 ? -1 : (int)lroundf(p->max_initial_timestamp * 50)};
    if (!p->suppress_tokens)
        r->rules.suppressed = tokenizer_non_speech(r->t, &r->rules.n_suppressed);
}

/* ---- one window ---- */

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

struct attempt {
    struct run *r;
    struct batch_window *w;
    int64_t seek;
};

/* A ladder_try_fn. */
static int try_window(void *arg, float temperature, struct decoded *ret, struct err *err)
{
    const struct attempt *at = arg;
    struct run *r = at->r;
    const struct whisper_params *p = r->p;
    int prefix[PREFIX_MAX];
    bool rest = at->seek > 0 && window_length(r, at->seek) < SHORT_REST;
    size_t sot_index, n = prompt_make(&r->prompt, rest, prefix, &sot_index);
    bool drawn = temperature > 0;
    struct search_opts so = {
        .temperature = temperature,
        .sequences = drawn ? p->best_of : p->beam_size,
        .beam = !drawn && p->beam_size > 1,
        .patience = p->patience,
        .length_penalty = p->length_penalty,
        .seed = p->seed * 0x100000001B3u + (uint64_t)at->seek * 31 + (uint64_t)lroundf(temperature * 1000),
        .max_tokens = (int)MIN((size_t)SEARCH_MAX_TOKENS, MAX_CONTEXT - n),
    };
    struct search *s;
    int rc = search_new(&so, &s, err);
    if (rc < 0)
        return rc;
    struct batch_try t = {.prompt = prefix, .n_prompt = n, .sot_index = sot_index, .rules = &r->rules, .search = s};
    rc = batch_decode(at->w, &t, r->cancel, &ret->no_speech_prob, err);
    if (rc == 0) {
        struct search_result best;
        search_result(s, &best);
        ret->n = (size_t)best.best->n;
        memcpy(ret->tokens, best.best->tokens, ret->n * sizeof ret->tokens[0]);
        ret->avg_logprob = best.avg_logprob;
        rc = text_ratio(r, ret->tokens, ret->n, &ret->compression_ratio, err);
    }
    search_free(s);
    return rc;
}

static int add_segment(struct run *r, const struct decoded *d, int64_t seek, const struct cut *c, struct err *err)
{
    CLEANUP(buf_clear) struct buf raw = BUF_INIT(1 << 20), text = BUF_INIT(1 << 21);
    const int *tokens = d->tokens + c->first;
    tokenizer_decode(r->t, tokens, c->n, &raw);
    utf8_add_clean(&text, buf_str(&raw), raw.len);
    int rc = buf_check(&text, "the text of a segment", err);
    if (rc < 0)
        return rc;
    int64_t start = MAX(seek + c->start, r->last_end), end = MAX(seek + c->end, start);
    const char *s = buf_str(&text);
    if (c->start == c->end || !s[strspn(s, " \t\r\n")])
        return 0; /* no text, or no time: nothing was said */
    rc = grow(&r->segments, &r->cap_segments, r->n_segments, sizeof *r->segments, err);
    if (rc < 0)
        return rc;
    int *kept = arena_alloc(r->a, (c->n + 1) * sizeof *kept);
    const char *copy = arena_dup(r->a, s, text.len);
    if (!kept || !copy)
        return err_set(err, ERR_NOMEM, "no memory for the transcript");
    memcpy(kept, tokens, c->n * sizeof *kept);
    const char *suspect = d->failed ? d->failed : !coverage_any(r->in, start, end) ? "no speech there" : NULL;
    r->segments[r->n_segments++] = (struct whisper_segment){.start = start,
                                                            .end = end,
                                                            .text = copy,
                                                            .tokens = kept,
                                                            .n_tokens = c->n,
                                                            .avg_logprob = d->avg_logprob,
                                                            .compression_ratio = d->compression_ratio,
                                                            .no_speech_prob = d->no_speech_prob,
                                                            .temperature = d->temperature,
                                                            .suspect = suspect};
    r->last_end = end;
    return 0;
}

/* The window's tokens as segments; returns how far it carried. *ret_open: the text behind is to be said again. */
static int64_t split(struct run *r, const struct decoded *d, int64_t seek, int64_t length, bool *ret_open,
                     struct err *err)
{
    struct cuts cuts;
    segments_cut(d->tokens, d->n, r->t->first_timestamp, length, &cuts);
    for (size_t i = 0; i < cuts.n; i++) {
        int rc = add_segment(r, d, seek, &cuts.v[i], err);
        if (rc < 0)
            return rc;
    }
    *ret_open = cuts.open;
    /* The model skips what lies before the cut-off text; not so when the caller heard speech there. */
    int64_t from = seek + cuts.carried;
    return coverage_speech_end(r->in, from, seek + cuts.resumes) > from ? cuts.carried : cuts.resumes;
}

static int give_words(struct run *r, struct batch_window *w, size_t first, int64_t seek, int64_t length,
                      struct err *err)
{
    struct words_opts o = {
        .language = r->language, .sot = r->prompt.sot, .n_sot = r->prompt.n_sot, .offset = seek, .length = length};
    return words_align(w, r->b->model, &o, r->segments + first, r->n_segments - first, &r->last_speech, r->cancel, r->a,
                       err);
}

/* What the next window is prompted with. A text that passed no gate, or only with luck, would breed its like. */
static int follow(struct run *r, size_t first, const struct decoded *d, struct err *err)
{
    int rc = 0;
    for (size_t i = first; i < r->n_segments && rc == 0; i++)
        rc = prompt_add(&r->prompt, r->segments[i].tokens, r->segments[i].n_tokens, err);
    if (!r->p->condition_on_previous || d->temperature > 0.5f || d->failed)
        prompt_forget(&r->prompt);
    return rc;
}

/* Gives [start, end) up. */
static int add_mute(struct run *r, int64_t start, int64_t end, const char *why, struct err *err)
{
    int rc = grow(&r->mute, &r->cap_mute, r->n_mute, sizeof *r->mute, err);
    if (rc == 0)
        r->mute[r->n_mute++] = (struct whisper_gap){start, end, why};
    return rc;
}

/* The text of the window at `seek`; returns how far it carried. */
static int64_t hear_window(struct run *r, int64_t seek, int64_t length, struct decoded *d, struct err *err)
{
    size_t first = r->n_segments;
    int64_t carried = length;
    struct batch_window *w = NULL;
    int rc = batch_open(r->b->batch, r->in->pcm + seek, (size_t)length, r->cancel, &w, err);
    if (rc == 0)
        rc = ladder_climb(r->p, r->t->first_timestamp, try_window, &(struct attempt){r, w, seek}, d, err);
    if (rc == 0 && !d->silent) {
        bool open = false;
        carried = split(r, d, seek, length, &open, err);
        rc = carried < 0 ? (int)carried : 0;
        if (rc == 0 && r->p->word_timestamps && r->n_segments > first) {
            rc = give_words(r, w, first, seek, length, err);
            r->last_end = r->segments[r->n_segments - 1].end;
            if (open && r->last_end > seek) /* word times are surer than stamps */
                carried = r->last_end - seek;
        }
        if (rc == 0)
            rc = follow(r, first, d, err);
    }
    batch_close(w);
    return rc < 0 ? rc : carried;
}

/* Runs the window at `seek`; returns where the next one begins. */
static int64_t run_window(struct run *r, int64_t seek, struct err *err)
{
    int64_t length = window_length(r, seek), limit = seek + length;
    if (tones_only(r->in->pcm + seek, (size_t)length)) {
        int rc = add_mute(r, seek, limit, "tones", err);
        return rc < 0 ? rc : limit;
    }
    size_t first = r->n_segments;
    struct decoded d = {.n = 0};
    int64_t carried = hear_window(r, seek, length, &d, err);
    if (carried < 0)
        return carried;
    bool mute = r->n_segments == first;
    int64_t next = seek + MAX(carried, (int64_t)SHORTEST), text_end = mute ? seek : MAX(r->last_end, seek);
    if (next < limit || coverage_speech_end(r->in, text_end, limit) - text_end <= COVERAGE_END)
        return next;
    if (text_end - seek >= SMALLEST_STEP)
        return text_end; /* an early end: take the rest up again */
    const char *why = d.silent ? "no speech" : !mute ? "early end" : d.failed ? "failed gates" : "no text";
    int rc = add_mute(r, text_end, limit, why, err);
    return rc < 0 ? rc : next;
}

/* ---- all ---- */

/* A coverage_fn: stretches that only the walk's windows divide become one. */
static int add_gap(void *arg, const struct whisper_gap *gap, struct err *err)
{
    struct run *r = arg;
    size_t n = r->n_gaps;
    if (n && r->gaps[n - 1].end == gap->start && strcmp(r->gaps[n - 1].why, gap->why) == 0) {
        r->gaps[n - 1].end = gap->end;
        return 0;
    }
    int rc = grow(&r->gaps, &r->cap_gaps, n, sizeof *r->gaps, err);
    if (rc == 0)
        r->gaps[r->n_gaps++] = *gap;
    return rc;
}

static int hand_out(struct run *r, struct whisper_result *ret, struct err *err)
{
    int rc = coverage_gaps(r->in, r->segments, r->n_segments, r->mute, r->n_mute, add_gap, r, err);
    if (rc < 0)
        return rc;
    struct whisper_result x = {.n_segments = r->n_segments,
                               .n_gaps = r->n_gaps,
                               .language = r->language,
                               .language_probability = r->language_probability,
                               .n_previous = r->prompt.n_before,
                               .prompt_tokens_cut = r->prompt.cut};
    struct whisper_segment *s = arena_alloc(r->a, (r->n_segments + 1) * sizeof *s);
    struct whisper_gap *g = arena_alloc(r->a, (r->n_gaps + 1) * sizeof *g);
    int *p = arena_alloc(r->a, (x.n_previous + 1) * sizeof *p);
    if (!s || !g || !p)
        return err_set(err, ERR_NOMEM, "no memory for the transcript");
    if (r->n_segments)
        memcpy(s, r->segments, r->n_segments * sizeof *s);
    if (r->n_gaps)
        memcpy(g, r->gaps, r->n_gaps * sizeof *g);
    memcpy(p, r->prompt.before, x.n_previous * sizeof *p);
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
    int rc = params_check(p, b->model, err);
    if (rc == 0)
        rc = take_prompt(&r, err);
    if (rc == 0)
        rc = take_language(&r, err);
    if (rc == 0 && r.language) {
        make_rules(&r);
        prompt_set_sot(&r.prompt, r.language, p->task == WHISPER_TRANSLATE, p->timestamps);
    }
    for (int64_t seek = 0; rc == 0 && (int64_t)in->n - seek >= SHORTEST;) {
        seek = run_window(&r, seek, err);
        rc = seek < 0 ? (int)seek : 0;
    }
    if (rc == 0)
        rc = hand_out(&r, ret, err);
    free(r.segments);
    free(r.mute);
    free(r.gaps);
    return rc;
}

int whisper_detect_language(struct whisper_batcher *b, const float *pcm, size_t n, const struct cancel *cancel,
                            const char **ret_code, float *ret_probability, struct err *err)
{
    struct whisper_params p;
    whisper_params_default(&p);
    struct whisper_input in = {.pcm = pcm, .n = MIN(n, (size_t)WHISPER_WINDOW)};
    struct run r = {.b = b, .p = &p, .in = &in, .cancel = cancel, .t = b->model->tokenizer};
    int rc = take_language(&r, err);
    if (rc < 0)
        return rc;
    *ret_code = r.language;
    *ret_probability = r.language_probability;
    return 0;
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
