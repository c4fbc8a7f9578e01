/* SPDX-License-Identifier: MIT */
/*
 * The text of a window's segments is run through the decoder once more as one sequence; the path of its tokens through
 * the cross-attention gives each token's first frame. Tokens become words and words are put in order by word_rules.c.
 */
#include "whisper/words.h"

#include "whisper/dtw.h"
#include "whisper/heads.h"
#include "whisper/word_rules.h"

#include <stdlib.h>
#include <string.h>

enum { FRAME = 320, FRAMES = 1500 };

static int time_pieces(struct batch_window *w, const struct whisper_model *m, const struct words_opts *o,
                       struct word_list *l, const struct cancel *cancel, struct err *err)
{
    struct head heads[HEADS_MAX];
    size_t n_named, n = o->n_sot + l->n + 2, rows = l->n + 1;
    const struct head *named = model_file_alignment_heads(m->file, &n_named);
    size_t n_heads = heads_choose(model_file_dims(m->file), m->name, named, n_named, heads);
    size_t frames = (size_t)CLAMP(o->length / FRAME, (int64_t)1, (int64_t)FRAMES);
    int tokens[WORDS_MAX_TOKENS + 8], start[WORDS_MAX_TOKENS + 1];
    float probs[WORDS_MAX_TOKENS + 8] = {0};
    memcpy(tokens, o->sot, o->n_sot * sizeof *tokens);
    tokens[o->n_sot] = m->tokenizer->no_timestamps;
    memcpy(tokens + o->n_sot + 1, l->tokens, l->n * sizeof *tokens);
    tokens[n - 1] = m->tokenizer->eot;
    float *scores = calloc((n_heads + 1) * n, FRAMES * sizeof *scores), *matrix = malloc(n * frames * sizeof *matrix);
    int rc = scores && matrix ? 0 : err_set(err, ERR_NOMEM, "no memory for word times");
    if (rc == 0)
        rc = batch_align(w, tokens, n, heads, n_heads, scores, probs, cancel, err);
    if (rc == 0)
        rc = dtw_matrix(scores, n_heads, n, FRAMES, frames, matrix, err);
    if (rc == 0) /* the row of "no timestamps" is where the first token is chosen; that of end-of-text has no say */
        rc = dtw_path(matrix + o->n_sot * frames, rows, frames, start, err);
    for (size_t i = 0; i < l->n_pieces && rc == 0; i++) {
        struct word_piece *p = &l->pieces[i];
        p->start = (double)start[p->first] * FRAME;
        p->end = (double)start[p->first + p->n] * FRAME;
        for (size_t k = 0; k < p->n; k++)
            p->probability += (double)probs[o->n_sot + 1 + p->first + k] / (double)p->n;
    }
    free(scores);
    free(matrix);
    return rc;
}

static size_t text_tokens(const struct whisper_segment *s, int eot, int *ret, size_t max)
{
    size_t n = 0;
    for (size_t i = 0; i < s->n_tokens; i++)
        if (s->tokens[i] < eot && n < max)
            ret[n++] = s->tokens[i];
    return n;
}

/* Hands the pieces out to the segments their tokens came from. */
static int hand_out(struct word_list *l, const struct words_opts *o, struct whisper_segment *segments, size_t n,
                    double median, int64_t *last_speech, struct arena *a, struct err *err)
{
    size_t piece = 0;
    for (size_t i = 0; i < n; i++) {
        size_t end = piece, count = 0;
        while (end < l->n_pieces && l->pieces[end].segment == i)
            end++;
        struct whisper_word *words = arena_alloc(a, (end - piece + 1) * sizeof *words);
        if (!words)
            return err_set(err, ERR_NOMEM, "no memory for words");
        for (; piece < end; piece++) {
            struct word_piece *p = &l->pieces[piece];
            if (!p->text[0])
                continue;
            words[count] = (struct whisper_word){.start = o->offset + (int64_t)p->start,
                                                 .end = o->offset + (int64_t)p->end,
                                                 .text = arena_strdup(a, p->text),
                                                 .probability = (float)p->probability};
            if (!words[count++].text)
                return err_set(err, ERR_NOMEM, "no memory for words");
        }
        if (count)
            words_settle(&segments[i], words, count, *last_speech, median);
        words_keep_order(&segments[i], words, count, *last_speech, o->offset + o->length);
        *last_speech = segments[i].end;
        segments[i].words = words;
        segments[i].n_words = count;
    }
    return 0;
}

int words_align(struct batch_window *w, const struct whisper_model *m, const struct words_opts *o,
                struct whisper_segment *segments, size_t n, int64_t *last_speech, const struct cancel *cancel,
                struct arena *a, struct err *err)
{
    const struct tokenizer *t = m->tokenizer;
    int ids[WORDS_MAX_TOKENS], rc = 0;
    struct word_list *l = calloc(1, sizeof *l);
    if (!l)
        return err_set(err, ERR_NOMEM, "no memory for word times");
    for (size_t i = 0; i < n && rc == 0; i++)
        rc = word_list_add(l, t, o->language, i, ids, text_tokens(&segments[i], t->eot, ids, WORDS_MAX_TOKENS), err);
    if (rc == 0 && l->n)
        rc = time_pieces(w, m, o, l, cancel, err);
    if (rc == 0) {
        double median = word_list_median(l);
        word_list_cut(l, median);
        word_list_join(l);
        rc = hand_out(l, o, segments, n, median, last_speech, a, err);
    }
    word_list_clear(l);
    free(l);
    return rc;
}
