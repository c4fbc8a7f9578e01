/* SPDX-License-Identifier: MIT */
/*
 * The text of a window's segments is run through the decoder once more as one sequence; the path of its tokens through
 * the cross-attention gives each token's first frame. Tokens become words (at blanks, or at characters in languages
 * without blanks), punctuation joins its neighbour, and words that last implausibly long are shortened as the reference
 * does.
 */
#include "whisper/words.h"

#include "base/str.h"
#include "whisper/dtw.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

enum { FRAME = 320, FRAMES = 1500, MAX_TOKENS = 440, HALF_SECOND = WHISPER_RATE / 2 };

#define PREPENDED "\"'“¿([{-"
#define APPENDED  "\"'.。,，!！?？:：”)]}、"
#define ENDINGS   ".。!！?？"

struct piece {
    size_t first, n;    /* tokens of the text */
    char *text;         /* owned; "" once it has joined another */
    double start, end;  /* samples in the window */
    double probability; /* mean of its tokens' */
};

struct aligned {
    int tokens[MAX_TOKENS]; /* text tokens of all segments */
    size_t n;
    struct piece pieces[MAX_TOKENS];
    size_t n_pieces;
};

/* Is s one of the characters of `marks` (UTF-8)? */
static bool is_one_of(const char *s, const char *marks)
{
    size_t n = strlen(s);
    if (!n)
        return false;
    for (const char *p = marks; *p;) {
        size_t len = 1;
        while ((p[len] & 0xC0) == 0x80)
            len++;
        if (len == n && memcmp(p, s, n) == 0)
            return true;
        p += len;
    }
    return false;
}

static bool is_ascii_punctuation(const char *s)
{
    return strlen(s) == 1 && strchr("!\"#$%&'()*+,-./:;<=>?@[\\]^_`{|}~", *s);
}

static bool has_no_blanks(const char *language)
{
    static const char *const codes[] = {"zh", "ja", "th", "lo", "my", "yue"};
    for (size_t i = 0; i < ARRAY_LEN(codes); i++)
        if (str_eq(language, codes[i]))
            return true;
    return false;
}

static int add_piece(struct aligned *al, size_t first, size_t n, const char *text, bool join, struct err *err)
{
    if (join && al->n_pieces) {
        struct piece *last = &al->pieces[al->n_pieces - 1];
        char *both = xasprintf("%s%s", last->text, text);
        free(last->text);
        last->text = both;
        last->n += n;
        return 0;
    }
    if (al->n_pieces == MAX_TOKENS)
        return err_set(err, ERR_INTERNAL, "more words than tokens");
    al->pieces[al->n_pieces++] = (struct piece){.first = first, .n = n, .text = xstrdup(text)};
    return 0;
}

/* Tokens are joined until they make whole characters, and these until a blank or a punctuation mark begins a word. */
static int split_words(struct aligned *al, const struct tokenizer *t, const char *language, struct err *err)
{
    CLEANUP(buf_clear) struct buf text = BUF_INIT(65536), clean = BUF_INIT(200000);
    bool characters = has_no_blanks(language);
    int rc = 0;
    for (size_t first = 0, i = 0; i < al->n && rc == 0; i++) {
        buf_reset(&text);
        tokenizer_decode(t, al->tokens + first, i + 1 - first, &text);
        bool whole = utf8_valid(buf_str(&text), text.len);
        /* A byte that never becomes a character is given up after a character's length. */
        if (!whole && i + 1 < al->n && i + 1 - first < 4)
            continue;
        buf_reset(&clean);
        utf8_add_clean(&clean, buf_str(&text), text.len);
        rc = buf_check(&clean, "a word", err);
        const char *s = buf_str(&clean), *bare = s + strspn(s, " ");
        bool begins = characters || *s == ' ' || is_ascii_punctuation(bare);
        if (rc == 0)
            rc = add_piece(al, first, i + 1 - first, s, !begins, err);
        first = i + 1;
    }
    return rc;
}

static int by_size(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

/* Of the words that last at all, at most 0.7 s. */
static double median_duration(const struct aligned *al)
{
    double all[MAX_TOKENS];
    size_t n = 0;
    for (size_t i = 0; i < al->n_pieces; i++)
        if (al->pieces[i].end > al->pieces[i].start)
            all[n++] = al->pieces[i].end - al->pieces[i].start;
    if (!n)
        return 0;
    qsort(all, n, sizeof *all, by_size);
    double m = n % 2 ? all[n / 2] : (all[n / 2 - 1] + all[n / 2]) / 2;
    return MIN(m, 0.7 * WHISPER_RATE);
}

/* A word next to the end of a sentence that lasts too long gives the pause back. */
static void cut_at_sentences(struct aligned *al, double longest)
{
    for (size_t i = 1; i < al->n_pieces; i++) {
        struct piece *p = &al->pieces[i];
        if (p->end - p->start <= longest)
            continue;
        if (is_one_of(p->text, ENDINGS))
            p->end = p->start + longest;
        else if (is_one_of(al->pieces[i - 1].text, ENDINGS))
            p->start = p->end - longest;
    }
}

static void join_text(struct piece *into, struct piece *from, bool in_front)
{
    char *both = in_front ? xasprintf("%s%s", from->text, into->text) : xasprintf("%s%s", into->text, from->text);
    free(into->text);
    into->text = both;
    if (in_front)
        into->first = from->first;
    into->n += from->n;
    from->n = 0;
    from->text[0] = '\0';
}

static void join_punctuation(struct aligned *al)
{
    for (size_t j = al->n_pieces - 1, i = j; i-- > 0;) {
        struct piece *p = &al->pieces[i];
        if (p->text[0] == ' ' && is_one_of(p->text + strspn(p->text, " "), PREPENDED))
            join_text(&al->pieces[j], p, true);
        else
            j = i;
    }
    for (size_t i = 0, j = 1; j < al->n_pieces; j++) {
        struct piece *p = &al->pieces[i];
        if (!str_ends(p->text, " ") && is_one_of(al->pieces[j].text, APPENDED))
            join_text(p, &al->pieces[j], false);
        else
            i = j;
    }
}

/* Heads that the model file names, or all of the upper half of the decoder. */
static size_t choose_heads(const struct whisper_model *m, struct head *ret, size_t max)
{
    size_t n;
    const struct head *named = model_file_alignment_heads(m->file, &n);
    const struct whisper_dims *d = model_file_dims(m->file);
    if (n) {
        memcpy(ret, named, MIN(n, max) * sizeof *ret);
        return MIN(n, max);
    }
    for (int l = d->text_layers / 2; l < d->text_layers; l++)
        for (int h = 0; h < d->text_heads && n < max; h++)
            ret[n++] = (struct head){.layer = l, .head = h};
    return n;
}

static int time_pieces(struct batch_window *w, const struct whisper_model *m, const struct words_opts *o,
                       struct aligned *al, const struct cancel *cancel, struct err *err)
{
    enum { MAX_HEADS = 64 };
    struct head heads[MAX_HEADS];
    size_t n_heads = choose_heads(m, heads, MAX_HEADS), n = o->n_sot + al->n + 2, rows = al->n + 1;
    size_t frames = (size_t)CLAMP(o->length / FRAME, (int64_t)1, (int64_t)FRAMES);
    int tokens[MAX_TOKENS + 8], start[MAX_TOKENS + 1];
    float probs[MAX_TOKENS + 8] = {0};
    memcpy(tokens, o->sot, o->n_sot * sizeof *tokens);
    tokens[o->n_sot] = m->tokenizer->no_timestamps;
    memcpy(tokens + o->n_sot + 1, al->tokens, al->n * sizeof *tokens);
    tokens[n - 1] = m->tokenizer->eot;
    float *scores = calloc((n_heads + 1) * n, FRAMES * sizeof *scores), *matrix = malloc(n * frames * sizeof *matrix);
    int rc = scores && matrix ? 0 : err_set(err, ERR_NOMEM, "no memory for word times");
    if (rc == 0)
        rc = batch_align(w, tokens, n, heads, n_heads, scores, probs, cancel, err);
    if (rc == 0)
        rc = dtw_matrix(scores, n_heads, n, FRAMES, frames, matrix, err);
    if (rc == 0) /* the row of "no timestamps" is where the first token is chosen; that of end-of-text has no say */
        rc = dtw_path(matrix + o->n_sot * frames, rows, frames, start, err);
    for (size_t i = 0; i < al->n_pieces && rc == 0; i++) {
        struct piece *p = &al->pieces[i];
        p->start = (double)start[p->first] * FRAME;
        p->end = (double)start[p->first + p->n] * FRAME;
        for (size_t k = 0; k < p->n; k++)
            p->probability += (double)probs[o->n_sot + 1 + p->first + k] / (double)p->n;
    }
    free(scores);
    free(matrix);
    return rc;
}

/* The reference's rules for words at the edges of a segment; times are samples of the PCM. */
static void settle_edges(struct whisper_segment *s, struct whisper_word *words, size_t n, int64_t last_speech,
                         double median)
{
    int64_t middle = (int64_t)median, longest = (int64_t)(2 * median);
    struct whisper_word *first = &words[0], *last = &words[n - 1];
    bool long_pair = n > 1 && words[1].end - first->start > 2 * longest;
    if (first->end - last_speech > 4 * middle && (first->end - first->start > longest || long_pair)) {
        if (n > 1 && words[1].end - words[1].start > longest) {
            int64_t boundary = MAX(words[1].end / 2, words[1].end - longest);
            first->end = words[1].start = boundary;
        }
        first->start = MAX((int64_t)0, first->end - longest);
    }
    if (s->start < first->end && s->start - HALF_SECOND > first->start)
        first->start = MAX((int64_t)0, MIN(first->end - middle, s->start));
    else
        s->start = first->start;
    if (s->end > last->start && s->end + HALF_SECOND < last->end)
        last->end = MAX(last->start + middle, s->end);
    else
        s->end = last->end;
}

/* Words never go back, and stay inside the PCM. */
static void keep_order(struct whisper_segment *s, struct whisper_word *words, size_t n, int64_t floor, int64_t limit)
{
    s->start = CLAMP(s->start, floor, limit);
    int64_t at = s->start;
    for (size_t i = 0; i < n; i++) {
        words[i].start = CLAMP(words[i].start, at, limit);
        words[i].end = CLAMP(words[i].end, words[i].start, limit);
        at = words[i].end;
    }
    s->end = CLAMP(s->end, at, limit);
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
static int hand_out(struct aligned *al, const struct words_opts *o, int eot, struct whisper_segment *segments, size_t n,
                    double median, int64_t *last_speech, struct arena *a, struct err *err)
{
    int ignored[MAX_TOKENS];
    size_t piece = 0;
    int64_t floor = *last_speech; /* nothing goes back behind the text before */
    for (size_t i = 0; i < n; i++) {
        size_t want = text_tokens(&segments[i], eot, ignored, MAX_TOKENS), have = 0, count = 0;
        struct whisper_word *words = arena_alloc(a, (want + 1) * sizeof *words);
        if (!words)
            return err_set(err, ERR_NOMEM, "no memory for words");
        for (; piece < al->n_pieces && have < want; piece++) {
            struct piece *p = &al->pieces[piece];
            have += p->n;
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
            settle_edges(&segments[i], words, count, *last_speech, median);
        keep_order(&segments[i], words, count, floor, o->offset + o->length);
        floor = segments[i].end;
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
    struct aligned *al = calloc(1, sizeof *al);
    if (!al)
        return err_set(err, ERR_NOMEM, "no memory for word times");
    const struct tokenizer *t = m->tokenizer;
    for (size_t i = 0; i < n; i++)
        al->n += text_tokens(&segments[i], t->eot, al->tokens + al->n, MAX_TOKENS - al->n);
    int rc = split_words(al, t, o->language, err);
    if (rc == 0 && al->n)
        rc = time_pieces(w, m, o, al, cancel, err);
    if (rc == 0 && al->n_pieces) {
        double median = median_duration(al);
        if (median > 0)
            cut_at_sentences(al, 2 * median);
        join_punctuation(al);
        rc = hand_out(al, o, t->eot, segments, n, median, last_speech, a, err);
    }
    for (size_t i = 0; i < al->n_pieces; i++)
        free(al->pieces[i].text);
    free(al);
    return rc;
}
