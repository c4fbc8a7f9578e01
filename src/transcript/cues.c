/* SPDX-License-Identifier: MIT */
/*
 * The text is cut into units, the least that can stand on a line; lines are filled with them greedily, and cues with
 * lines. Columns are counted per byte once, so that widths and shares of time are differences. A segment may be a whole
 * recording of many hours: every step is linear in it, or searches by halves.
 */
#include "transcript/cues.h"

#include "base/macros.h"

#include <stdlib.h>
#include <string.h>
#include <unigbrk.h>
#include <unilbrk.h>
#include <uniwidth.h>

static const char encoding[] = "UTF-8";

struct unit {
    size_t from, to; /* without the blanks behind it */
    int words;       /* that begin in it */
};

struct layout {
    const struct segment *s;
    const struct subtitle_opts *o;
    size_t n;               /* bytes of the text */
    char *begins;           /* 1: a character begins at byte i */
    int *columns;           /* before byte i; n + 1 of them */
    struct cue_line *words; /* where the timed words stand, in order; NULL: they are not all there */
    size_t counted;         /* words that begin in the units so far */
    struct unit *units;
    size_t n_units;
    struct cue_line *lines;
    size_t n_lines;
    int64_t last_ms; /* where the cue before ended */
};

static bool is_blank(char c)
{
    return c == ' ';
}

static int width(const struct layout *l, size_t from, size_t to)
{
    return l->columns[to] - l->columns[from];
}

/* Where the character (a grapheme cluster) at byte `at` ends. */
static size_t next_character(const struct layout *l, size_t at)
{
    do
        at++;
    while (at < l->n && !l->begins[at]);
    return at;
}

static void count_columns(struct layout *l)
{
    const uint8_t *text = (const uint8_t *)l->s->text;
    int columns = 0;
    u8_grapheme_breaks(text, l->n, l->begins);
    for (size_t at = 0, next; at < l->n; at = next) {
        next = next_character(l, at);
        for (size_t i = at; i < next; i++)
            l->columns[i] = columns;
        /* What is drawn as one character takes no more than two columns, however many it is made of. */
        columns += MIN(u8_width(text + at, next - at, encoding), 2);
    }
    l->columns[l->n] = columns;
}

/* Finds the timed words in the text; when one is not there, nothing is known of any. */
static void find_words(struct layout *l)
{
    size_t at = 0;
    for (size_t i = 0; i < l->s->n_words; i++) {
        const char *word = l->s->words[i].text;
        size_t n = strlen(word);
        while (is_blank(l->s->text[at]))
            at++;
        if (!n || strncmp(l->s->text + at, word, n) != 0) {
            free(l->words);
            l->words = NULL;
            return;
        }
        l->words[i] = (struct cue_line){at, at + n};
        at += n;
    }
}

/* ---- units ---- */

static int words_in(struct layout *l, size_t from, size_t to)
{
    if (!l->words)
        /* A word begins behind a blank; where none are written, each character counts. */
        return from == 0 || is_blank(l->s->text[from - 1]) || width(l, from, to) > 1;
    size_t before = l->counted;
    while (l->counted < l->s->n_words && l->words[l->counted].from < to)
        l->counted++;
    return (int)(l->counted - before);
}

static void add_unit(struct layout *l, size_t from, size_t to)
{
    l->units[l->n_units++] = (struct unit){from, to, words_in(l, from, to)};
}

/* One unit, or several when it is too wide for a line. */
static void add_piece(struct layout *l, size_t from, size_t to)
{
    while (to > from && is_blank(l->s->text[to - 1]))
        to--;
    size_t begin = from;
    for (size_t at = from; at < to && l->o->max_line_width > 0;) {
        size_t next = next_character(l, at);
        if (at > begin && width(l, begin, next) > l->o->max_line_width) {
            add_unit(l, begin, at);
            begin = at;
        }
        at = next;
    }
    if (to > begin)
        add_unit(l, begin, to);
}

static void cut_into_units(struct layout *l, char *breaks)
{
    size_t from = 0;
    u8_possible_linebreaks((const uint8_t *)l->s->text, l->n, encoding, breaks);
    /* Only where a character begins: UAX 14 would part an accent from a blank before it. */
    for (size_t i = 1; i < l->n; i++)
        if (l->begins[i] && (breaks[i] == UC_BREAK_POSSIBLE || breaks[i] == UC_BREAK_MANDATORY)) {
            add_piece(l, from, i);
            from = i;
        }
    add_piece(l, from, l->n);
}

/* ---- lines ---- */

static bool fits(const struct layout *l, const struct cue_line *line, int words, const struct unit *u)
{
    const struct subtitle_opts *o = l->o;
    return (o->max_line_width <= 0 || width(l, line->from, u->to) <= o->max_line_width) &&
           (o->max_words_per_line <= 0 || words + u->words <= o->max_words_per_line);
}

static void fill_lines(struct layout *l)
{
    struct cue_line *line = NULL;
    int words = 0;
    for (size_t i = 0; i < l->n_units; i++) {
        const struct unit *u = &l->units[i];
        if (line && fits(l, line, words, u)) {
            line->to = u->to;
            words += u->words;
            continue;
        }
        line = &l->lines[l->n_lines++];
        *line = (struct cue_line){u->from, u->to};
        words = u->words;
    }
}

/* ---- times ---- */

static int64_t share(int64_t start_ms, int64_t end_ms, int part, int whole)
{
    return whole > 0 ? start_ms + (end_ms - start_ms) * part / whole : start_ms;
}

/* The first timed word that ends behind the byte; n_words when none does. */
static size_t word_behind(const struct layout *l, size_t at)
{
    size_t low = 0, high = l->s->n_words;
    while (low < high) {
        size_t mid = (low + high) / 2;
        if (l->words[mid].to > at)
            high = mid;
        else
            low = mid + 1;
    }
    return low;
}

/* When the byte is reached, as the beginning (or the end) of what is shown. */
static int64_t time_at(const struct layout *l, size_t at, bool end)
{
    const struct segment *s = l->s;
    if (!l->words || !s->n_words)
        return share(s->start_ms, s->end_ms, l->columns[at], l->columns[l->n]);
    /* An end at the end of a word is that word's. */
    size_t i = end && at ? word_behind(l, at - 1) : word_behind(l, at);
    int64_t last = i ? s->words[i - 1].end_ms : s->start_ms;
    if (i == s->n_words)
        return end ? last : s->end_ms;
    const struct cue_line *w = &l->words[i];
    if (end ? at <= w->from : at < w->from)
        return end ? last : s->words[i].start_ms;
    return share(s->words[i].start_ms, s->words[i].end_ms, width(l, w->from, at), width(l, w->from, w->to));
}

/* ---- cues ---- */

static int give(struct layout *l, struct cue *c, int64_t start_ms, int64_t end_ms, cue_fn fn, void *arg,
                struct err *err)
{
    c->start_ms = CLAMP(start_ms, l->last_ms, l->s->end_ms);
    c->end_ms = CLAMP(end_ms, c->start_ms, l->s->end_ms);
    l->last_ms = c->end_ms;
    return fn(c, arg, err);
}

/* One cue for each word of it, and for the silence between them. */
static int give_words(struct layout *l, struct cue *c, cue_fn fn, void *arg, struct err *err)
{
    size_t from = c->lines[0].from, to = c->lines[c->n_lines - 1].to;
    int64_t at = c->start_ms, end_ms = c->end_ms;
    int rc = 0;
    for (size_t i = word_behind(l, from); i < l->s->n_words && l->words[i].from < to && rc >= 0; i++) {
        const struct cue_line *w = &l->words[i];
        const struct word *word = &l->s->words[i];
        size_t mark_from = MAX(w->from, from), mark_to = MIN(w->to, to);
        int64_t begin = MAX(word->start_ms, at), end = MIN(word->end_ms, end_ms);
        if (begin >= end)
            continue;
        c->mark_from = c->mark_to = 0;
        if (begin > at)
            rc = give(l, c, at, begin, fn, arg, err);
        c->mark_from = mark_from;
        c->mark_to = mark_to;
        if (rc >= 0)
            rc = give(l, c, begin, end, fn, arg, err);
        at = end;
    }
    c->mark_from = c->mark_to = 0;
    /* At the end, and when no word of it takes any time. */
    return rc >= 0 && (at < end_ms || at == c->start_ms) ? give(l, c, at, end_ms, fn, arg, err) : rc;
}

static int give_cues(struct layout *l, cue_fn fn, void *arg, struct err *err)
{
    size_t most = l->o->max_line_count > 0 ? (size_t)l->o->max_line_count : l->n_lines;
    int rc = 0;
    for (size_t i = 0; i < l->n_lines && rc >= 0; i += most) {
        size_t n = MIN(most, l->n_lines - i);
        struct cue c = {.text = l->s->text, .lines = &l->lines[i], .n_lines = n};
        bool first = i == 0, last = i + n == l->n_lines;
        int64_t start_ms = first && !l->words ? l->s->start_ms : time_at(l, c.lines[0].from, false);
        int64_t end_ms = l->words ? time_at(l, c.lines[n - 1].to, true)
                         : last   ? l->s->end_ms
                                  : time_at(l, c.lines[n].from, true); /* without a gap */
        c.start_ms = start_ms;
        c.end_ms = MAX(end_ms, start_ms);
        rc = l->o->highlight_words && l->words ? give_words(l, &c, fn, arg, err)
                                               : give(l, &c, start_ms, end_ms, fn, arg, err);
    }
    return rc;
}

int cues_of_segment(const struct segment *s, const struct subtitle_opts *o, cue_fn fn, void *arg, struct err *err)
{
    struct layout l = {.s = s, .o = o, .n = strlen(s->text), .last_ms = s->start_ms};
    char *breaks = malloc(l.n + 1);
    l.begins = malloc(l.n + 1);
    l.columns = calloc(l.n + 1, sizeof *l.columns);
    l.units = calloc(l.n + 1, sizeof *l.units);
    l.lines = calloc(l.n + 1, sizeof *l.lines);
    l.words = s->n_words ? calloc(s->n_words, sizeof *l.words) : NULL;
    int rc = 0;
    if (!breaks || !l.begins || !l.columns || !l.units || !l.lines || (s->n_words && !l.words)) {
        rc = err_set(err, ERR_NOMEM, "no memory for subtitles");
    } else {
        count_columns(&l);
        find_words(&l);
        cut_into_units(&l, breaks);
        fill_lines(&l);
        rc = give_cues(&l, fn, arg, err);
    }
    free(breaks);
    free(l.begins);
    free(l.columns);
    free(l.units);
    free(l.lines);
    free(l.words);
    return rc;
}
