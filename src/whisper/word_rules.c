/* SPDX-License-Identifier: MIT */
/*
 * Where the reference asks whether a word is in a string of marks, Python looks for it as a part of that string: so
 * does this (within), and the empty word is in every string.
 */
#include "whisper/word_rules.h"

#include "base/str.h"

#include <stdlib.h>
#include <string.h>

enum { HALF_SECOND = WHISPER_RATE / 2, TEXT_MAX = 65536 };

#define PREPENDED   "\"'“¿([{-"
#define APPENDED    "\"'.。,，!！?？:：”)]}、"
#define ENDINGS     ".。!！?？"
#define PUNCTUATION "!\"#$%&'()*+,-./:;<=>?@[\\]^_`{|}~"
#define REPLACEMENT "\xEF\xBF\xBD" /* U+FFFD */
#define BLANKS      " \t\n\v\f\r"

void word_list_clear(struct word_list *l)
{
    for (size_t i = 0; i < l->n_pieces; i++)
        free(l->pieces[i].text);
    l->n_pieces = l->n = 0;
}

static bool within(const char *marks, const char *word)
{
    return strstr(marks, word) != NULL;
}

/* The same without the blanks around it. */
static bool bare_within(const char *marks, const char *word)
{
    char bare[16];
    const char *from = word + strspn(word, BLANKS);
    size_t n = strlen(from);
    while (n && strchr(BLANKS, from[n - 1]))
        n--;
    if (n >= sizeof bare)
        return false; /* longer than any run of marks */
    memcpy(bare, from, n);
    bare[n] = '\0';
    return within(marks, bare);
}

static bool has_no_blanks(const char *language)
{
    static const char *const codes[] = {"zh", "ja", "th", "lo", "my", "yue"};
    for (size_t i = 0; i < ARRAY_LEN(codes); i++)
        if (str_eq(language, codes[i]))
            return true;
    return false;
}

static void add_piece(struct word_list *l, struct word_piece p, const char *text, bool join)
{
    if (join) {
        struct word_piece *last = &l->pieces[l->n_pieces - 1];
        char *both = xasprintf("%s%s", last->text, text);
        free(last->text);
        last->text = both;
        last->n += p.n;
        return;
    }
    p.text = xstrdup(text);
    l->pieces[l->n_pieces++] = p; /* a piece has at least one token: there is room */
}

/*
 * Is `text`, which begins at `at` of the whole text, made of whole characters? Not when it has a replacement where the
 * whole text has none: then more bytes of that character are to come.
 */
static bool is_whole(const char *text, const struct buf *whole, size_t at)
{
    const char *gap = strstr(text, REPLACEMENT);
    size_t where = gap ? at + (size_t)(gap - text) : 0;
    return !gap || where + 3 > whole->len || memcmp(buf_str(whole) + where, REPLACEMENT, 3) == 0;
}

static void decode_clean(const struct tokenizer *t, const int *ids, size_t n, struct buf *raw, struct buf *ret)
{
    buf_reset(raw);
    buf_reset(ret);
    tokenizer_decode(t, ids, n, raw);
    utf8_add_clean(ret, buf_str(raw), raw->len);
}

int word_list_add(struct word_list *l, const struct tokenizer *t, const char *language, size_t segment, const int *ids,
                  size_t n, struct err *err)
{
    CLEANUP(buf_clear)
    struct buf raw = BUF_INIT(TEXT_MAX), whole = BUF_INIT(3 * TEXT_MAX), text = BUF_INIT(3 * TEXT_MAX);
    const bool characters = has_no_blanks(language);
    n = MIN(n, WORDS_MAX_TOKENS - l->n);
    memcpy(l->tokens + l->n, ids, n * sizeof *ids);
    decode_clean(t, ids, n, &raw, &whole);
    int rc = buf_check(&raw, "the text of a segment", err);
    const size_t n_before = l->n_pieces;
    for (size_t from = 0, i = 0, at = 0; i < n && rc == 0; i++) {
        decode_clean(t, ids + from, i + 1 - from, &raw, &text);
        const char *s = buf_str(&text);
        if (i + 1 < n && !is_whole(s, &whole, at))
            continue;
        bool begins = characters || *s == ' ' || bare_within(PUNCTUATION, s) || l->n_pieces == n_before;
        add_piece(l, (struct word_piece){.first = l->n + from, .n = i + 1 - from, .segment = segment}, s, !begins);
        at += text.len;
        from = i + 1;
    }
    l->n += n;
    return rc;
}

static int by_size(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

double word_list_median(const struct word_list *l)
{
    double all[WORDS_MAX_TOKENS];
    size_t n = 0;
    for (size_t i = 0; i < l->n_pieces; i++)
        if (l->pieces[i].end > l->pieces[i].start)
            all[n++] = l->pieces[i].end - l->pieces[i].start;
    if (!n)
        return 0;
    qsort(all, n, sizeof *all, by_size);
    double m = n % 2 ? all[n / 2] : (all[n / 2 - 1] + all[n / 2]) / 2;
    return MIN(m, 0.7 * WHISPER_RATE);
}

void word_list_cut(struct word_list *l, double median)
{
    const double longest = 2 * median;
    for (size_t i = 1; i < l->n_pieces && median > 0; i++) {
        struct word_piece *p = &l->pieces[i];
        if (p->end - p->start <= longest)
            continue;
        if (within(ENDINGS, p->text))
            p->end = p->start + longest;
        else if (within(ENDINGS, l->pieces[i - 1].text))
            p->start = p->end - longest;
    }
}

static void join_text(struct word_piece *into, struct word_piece *from, bool in_front)
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

void word_list_join(struct word_list *l)
{
    if (!l->n_pieces)
        return;
    for (size_t j = l->n_pieces - 1, i = j; i-- > 0;) {
        struct word_piece *p = &l->pieces[i];
        if (p->text[0] == ' ' && bare_within(PREPENDED, p->text) && p->segment == l->pieces[j].segment)
            join_text(&l->pieces[j], p, true);
        else
            j = i;
    }
    for (size_t i = 0, j = 1; j < l->n_pieces; j++) {
        struct word_piece *p = &l->pieces[i];
        if (!str_ends(p->text, " ") && within(APPENDED, l->pieces[j].text) && p->segment == l->pieces[j].segment)
            join_text(p, &l->pieces[j], false);
        else
            i = j;
    }
}

void words_settle(struct whisper_segment *s, struct whisper_word *words, size_t n, int64_t last_speech, double median)
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
    /* The segment's own stamps are surer than a word that is half a second longer. */
    if (s->start < first->end && s->start - HALF_SECOND > first->start)
        first->start = MAX((int64_t)0, MIN(first->end - middle, s->start));
    else
        s->start = first->start;
    if (s->end > last->start && s->end + HALF_SECOND < last->end)
        last->end = MAX(last->start + middle, s->end);
    else
        s->end = last->end;
}

void words_keep_order(struct whisper_segment *s, struct whisper_word *words, size_t n, int64_t floor, int64_t limit)
{
    s->start = CLAMP(s->start, MIN(floor, limit), limit);
    int64_t at = s->start;
    for (size_t i = 0; i < n; i++) {
        words[i].start = CLAMP(words[i].start, at, limit);
        words[i].end = CLAMP(words[i].end, words[i].start, limit);
        at = words[i].end;
    }
    s->end = CLAMP(s->end, at, limit);
}
