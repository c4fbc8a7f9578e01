/* SPDX-License-Identifier: MIT */
/*
 * Merging is clamping: `floor` (the end of what is there) only rises, and every time is put between it and the end of
 * its chunk. Segment and gap tables grow by doubling on the heap; all texts and words live in the arena, which also
 * bounds what one recording may take.
 */
#include "transcript/transcript.h"

#include "base/buf.h"
#include "base/str.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

static int out_of_memory(struct err *err)
{
    return err_set(err, ERR_NOMEM, "no memory left for the transcript");
}

/* Room for one more element behind n. */
static int grow(void **v, size_t n, size_t *cap, size_t size, struct err *err)
{
    if (n < *cap)
        return 0;
    size_t more = *cap ? *cap * 2 : 64;
    void *p = more > SIZE_MAX / 2 / size ? NULL : realloc(*v, more * size);
    if (!p)
        return out_of_memory(err);
    *v = p;
    *cap = more;
    return 0;
}

/* With the six decimals that JSON keeps, so that a transcript read back is the same; 0 for what is no figure. */
static double clean_figure(double v)
{
    return isfinite(v) && fabs(v) <= 1e9 ? round(v * 1e6) / 1e6 : 0.0;
}

static double clean_probability(double p)
{
    return isfinite(p) && p >= 0 ? clean_figure(MIN(p, 1.0)) : -1.0;
}

/* The words of one segment, clamped to it. Those without text fall away. */
static int add_words(struct transcript *t, const struct segment *from, struct segment *to, struct err *err)
{
    if (!from->n_words)
        return 0;
    struct word *words =
        from->n_words > SIZE_MAX / sizeof *words ? NULL : arena_alloc(&t->arena, from->n_words * sizeof *words);
    if (!words)
        return out_of_memory(err);
    size_t n = 0;
    int64_t floor = to->start_ms;
    for (size_t i = 0; i < from->n_words; i++) {
        const struct word *w = &from->words[i];
        const char *text = transcript_clean(&t->arena, w->text);
        if (!text)
            return out_of_memory(err);
        if (!*text)
            continue;
        int64_t start = CLAMP(w->start_ms, floor, to->end_ms);
        int64_t end = CLAMP(w->end_ms, start, to->end_ms);
        words[n++] = (struct word){start, end, text, clean_probability(w->probability)};
        floor = end;
    }
    to->words = n ? words : NULL;
    to->n_words = n;
    return 0;
}

/* The first `from` segments are of earlier chunks. */
static int count_language(struct transcript *t, size_t from, const struct segments *s, struct err *err)
{
    size_t i = 0;
    while (i < t->n_languages && !str_ieq(t->languages[i].language, s->language))
        i++;
    if (i == TRANSCRIPT_LANGUAGES)
        return 0;
    if (i == t->n_languages) {
        const char *copy = transcript_clean(&t->arena, s->language);
        if (!copy)
            return out_of_memory(err);
        if (!*copy)
            return 0;
        t->languages[t->n_languages++] = (struct language_time){.language = copy};
    }
    double probability = isfinite(s->language_probability) ? CLAMP(s->language_probability, 0.0, 1.0) : 0;
    for (size_t k = from; k < t->n_segments; k++) {
        int64_t ms = t->segments[k].end_ms - t->segments[k].start_ms;
        t->segments[k].language = t->languages[i].language;
        t->languages[i].ms += ms;
        t->languages[i].probability_ms += probability * (double)ms;
    }
    const struct language_time *most = &t->languages[0];
    for (size_t k = 1; k < t->n_languages; k++)
        if (t->languages[k].ms > most->ms)
            most = &t->languages[k];
    t->language = most->language;
    t->language_probability = most->ms ? clean_figure(MIN(most->probability_ms / (double)most->ms, 1.0)) : 0;
    return 0;
}

void transcript_init(struct transcript *t)
{
    *t = (struct transcript){.arena = ARENA_INIT};
}

void transcript_clear(struct transcript *t)
{
    free(t->segments);
    free(t->gaps);
    arena_clear(&t->arena);
    transcript_init(t);
}

int transcript_set(struct transcript *t, const char **field, const char *value, struct err *err)
{
    const char *copy = value ? transcript_clean(&t->arena, value) : NULL;
    if (value && !copy)
        return out_of_memory(err);
    *field = copy;
    return 0;
}

int transcript_warn(struct transcript *t, const char *warning, struct err *err)
{
    if (t->warning && strstr(t->warning, warning))
        return 0;
    CLEANUP(buf_clear) struct buf b = BUF_INIT(t->arena.max);
    buf_addf(&b, "%s%s%s", t->warning ? t->warning : "", t->warning ? "; " : "", warning);
    return buf_ok(&b) ? transcript_set(t, &t->warning, buf_str(&b), err) : out_of_memory(err);
}

int transcript_add(struct transcript *t, int64_t start_ms, int64_t end_ms, const struct segments *s, struct err *err)
{
    int64_t floor = t->n_segments ? t->segments[t->n_segments - 1].end_ms : 0;
    int64_t ceiling = CLAMP(end_ms, floor, MAX(floor, t->duration_ms));
    floor = CLAMP(start_ms, floor, ceiling);
    size_t before = t->n_segments;
    for (size_t i = 0; i < s->n; i++) {
        const struct segment *from = &s->v[i];
        const char *text = transcript_clean(&t->arena, from->text);
        if (!text)
            return out_of_memory(err);
        if (!*text)
            continue;
        struct segment to = {.text = text};
        to.start_ms = CLAMP(from->start_ms, floor, ceiling);
        to.end_ms = CLAMP(from->end_ms, to.start_ms, ceiling);
        if (from->has_stats) {
            to.has_stats = true;
            to.avg_logprob = clean_figure(from->avg_logprob);
            to.compression_ratio = clean_figure(from->compression_ratio);
            to.no_speech_prob = clean_figure(from->no_speech_prob);
            to.temperature = clean_figure(from->temperature);
        }
        int rc = transcript_set(t, &to.suspect, from->suspect, err);
        if (rc == 0)
            rc = add_words(t, from, &to, err);
        void *v = t->segments;
        if (rc == 0)
            rc = grow(&v, t->n_segments, &t->cap_segments, sizeof *t->segments, err);
        t->segments = v;
        if (rc < 0)
            return rc;
        t->segments[t->n_segments++] = to;
        floor = to.end_ms;
    }
    int rc = t->n_segments > before && s->language ? count_language(t, before, s, err) : 0;
    return rc == 0 && s->warning ? transcript_warn(t, s->warning, err) : rc;
}

int transcript_add_gap(struct transcript *t, int64_t start_ms, int64_t end_ms, const char *why, struct err *err)
{
    int64_t floor = t->n_gaps ? t->gaps[t->n_gaps - 1].end_ms : 0;
    int64_t ceiling = MAX(floor, t->duration_ms);
    struct gap g = {.start_ms = CLAMP(start_ms, floor, ceiling)};
    g.end_ms = CLAMP(end_ms, g.start_ms, ceiling);
    if (g.end_ms == g.start_ms)
        return 0;
    int rc = transcript_set(t, &g.why, why, err);
    void *v = t->gaps;
    if (rc == 0)
        rc = grow(&v, t->n_gaps, &t->cap_gaps, sizeof *t->gaps, err);
    t->gaps = v;
    if (rc < 0)
        return rc;
    t->gaps[t->n_gaps++] = g;
    return 0;
}

void transcript_cover(struct transcript *t, const struct time_span *speech, size_t n)
{
    int64_t speech_ms = 0, gaps_ms = 0;
    size_t g = 0;
    for (size_t i = 0; i < n; i++) {
        int64_t start = CLAMP(speech[i].start_ms, 0, t->duration_ms),
                end = CLAMP(speech[i].end_ms, start, t->duration_ms);
        speech_ms += end - start;
        while (g < t->n_gaps && t->gaps[g].end_ms <= start)
            g++;
        for (size_t k = g; k < t->n_gaps && t->gaps[k].start_ms < end; k++)
            gaps_ms += MIN(t->gaps[k].end_ms, end) - MAX(t->gaps[k].start_ms, start);
    }
    t->speech_ms = MIN(speech_ms, t->duration_ms);
    t->covered_ms = MAX(t->speech_ms - gaps_ms, 0);
}

int transcript_check(const struct transcript *t, struct err *err)
{
    if (t->duration_ms < 0 || t->speech_ms < 0 || t->speech_ms > t->duration_ms || t->covered_ms < 0 ||
        t->covered_ms > t->speech_ms)
        return err_set(err, ERR_CORRUPT, "the transcript's duration and coverage contradict each other");
    int64_t floor = 0;
    for (size_t i = 0; i < t->n_segments; i++) {
        const struct segment *s = &t->segments[i];
        if (s->start_ms < floor || s->end_ms < s->start_ms || s->end_ms > t->duration_ms)
            return err_set(err, ERR_CORRUPT, "segment %zu of the transcript has impossible times", i);
        if (!*s->text)
            return err_set(err, ERR_CORRUPT, "segment %zu of the transcript has no text", i);
        int64_t word_floor = s->start_ms;
        for (size_t k = 0; k < s->n_words; k++) {
            const struct word *w = &s->words[k];
            if (w->start_ms < word_floor || w->end_ms < w->start_ms || w->end_ms > s->end_ms || !*w->text)
                return err_set(err, ERR_CORRUPT, "word %zu in segment %zu of the transcript is impossible", k, i);
            word_floor = w->end_ms;
        }
        floor = s->end_ms;
    }
    floor = 0;
    for (size_t i = 0; i < t->n_gaps; i++) {
        if (t->gaps[i].start_ms < floor || t->gaps[i].end_ms < t->gaps[i].start_ms ||
            t->gaps[i].end_ms > t->duration_ms)
            return err_set(err, ERR_CORRUPT, "gap %zu of the transcript has impossible times", i);
        floor = t->gaps[i].end_ms;
    }
    return 0;
}

const char *transcript_text(struct transcript *t)
{
    size_t n = 0;
    for (size_t i = 0; i < t->n_segments; i++)
        n += strlen(t->segments[i].text) + 1;
    char *text = arena_alloc(&t->arena, n + 1);
    if (!text)
        return NULL;
    char *at = text;
    for (size_t i = 0; i < t->n_segments; i++) {
        if (i)
            *at++ = ' ';
        size_t len = strlen(t->segments[i].text);
        memcpy(at, t->segments[i].text, len);
        at += len;
    }
    return text;
}

int64_t transcript_word_count(const struct transcript *t)
{
    int64_t n = 0;
    for (size_t i = 0; i < t->n_segments; i++) {
        const struct segment *s = &t->segments[i];
        if (s->n_words) {
            n += (int64_t)s->n_words;
            continue;
        }
        n += *s->text != '\0';
        for (const char *p = s->text; *p; p++)
            n += *p == ' ';
    }
    return n;
}

/* avg_logprob is the mean logarithm of the token probabilities. */
static double confidence_of_segments(const struct transcript *t)
{
    double sum = 0, ms = 0;
    for (size_t i = 0; i < t->n_segments; i++) {
        const struct segment *s = &t->segments[i];
        double weight = s->has_stats ? (double)MAX(s->end_ms - s->start_ms, (int64_t)1) : 0;
        sum += weight * exp(MIN(s->avg_logprob, 0.0));
        ms += weight;
    }
    return ms > 0 ? sum / ms : -1;
}

double transcript_confidence(const struct transcript *t)
{
    double sum = 0;
    int64_t n = 0;
    for (size_t i = 0; i < t->n_segments; i++)
        for (size_t k = 0; k < t->segments[i].n_words; k++)
            if (t->segments[i].words[k].probability >= 0) {
                sum += t->segments[i].words[k].probability;
                n++;
            }
    return n ? sum / (double)n : confidence_of_segments(t);
}

const char *transcript_clean(struct arena *a, const char *s)
{
    if (!s)
        s = "";
    CLEANUP(buf_clear) struct buf b = BUF_INIT(a->max);
    size_t n = strlen(s);
    for (size_t i = 0; i < n;) {
        size_t word = i;
        while (word < n && (unsigned char)s[word] > ' ' && s[word] != 0x7F)
            word++;
        if (word > i) {
            if (b.len)
                buf_addc(&b, ' ');
            utf8_add_clean(&b, s + i, word - i);
        }
        i = word + 1;
    }
    return buf_ok(&b) ? arena_dup(a, buf_str(&b), b.len) : NULL;
}
