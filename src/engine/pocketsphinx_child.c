/* SPDX-License-Identifier: MIT */
/*
 * The child that runs PocketSphinx: one decoder, created once, one utterance per chunk.
 *
 *   - The whole chunk is given at once (full_utt): normalisation over all of it halves the errors of live feeding.
 *   - ps_start_stream before each: it forgets the noise tracked so far, else the same chunk gives other words later.
 *   - Silence stays in (-remove_silence no), else word times run early; silent chunks never come here.
 *   - Model files are read, not mapped (-mmap no): with a mapped `sendump` that is too short it reads on in whatever
 * lies behind the mapping, and transcribes with that; read, it notices.
 *   - Its log is silent but for errors, which go to stderr; the parent keeps the last of them.
 *
 * Words become segments at long pauses, and where a piece is longer than a subtitle should be.
 */
#include "engine/sphinx.h"

#include "audio/audio.h"
#include "base/buf.h"
#include "base/log.h"
#include "base/mem.h"
#include "base/str.h"
#include "engine/child.h"
#include "transcript/format.h"

#include <pocketsphinx.h>
#include <sphinxbase/err.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

enum {
    PAUSE_MS = 700,         /* a pause that ends a segment */
    SEGMENT_MAX_MS = 10000, /* longer ones are cut at their longest pause */
};

/* What the model is made of, and where in its folder. */
static const struct {
    const char *option, *path, *probe;
} parts[] = {
    {"-hmm", "en-us", "en-us/mdef"},
    {"-lm", "en-us.lm.bin", "en-us.lm.bin"},
    {"-dict", "cmudict-en-us.dict", "cmudict-en-us.dict"},
};

struct decoder {
    cmd_ln_t *config;
    ps_decoder_t *ps;
    int frame; /* samples */
    char last_error[256];
};

/* sphinxbase's log: "ERROR: \"file.c\", line 1: ...". */
PRINTF_LIKE(3, 4) static void on_log(void *arg, err_lvl_t level, const char *fmt, ...)
{
    struct decoder *d = arg;
    if (level < ERR_ERROR)
        return;
    va_list ap;
    va_start(ap, fmt);
    CLEANUP(buf_clear) struct buf line = BUF_INIT(1024);
    buf_addv(&line, fmt, ap);
    va_end(ap);
    size_t n = MIN(strcspn(buf_str(&line), "\n"), sizeof d->last_error - 1);
    memcpy(d->last_error, buf_str(&line), n);
    d->last_error[n] = '\0';
    fprintf(stderr, "%s\n", d->last_error);
}

static void decoder_close(struct decoder *d)
{
    if (d->ps)
        ps_free(d->ps);
    if (d->config)
        cmd_ln_free_r(d->config);
    d->ps = NULL;
    d->config = NULL;
}

static int decoder_open(struct decoder *d, const char *dir, struct err *err)
{
    int rc = pocketsphinx_find_model(dir, err);
    if (rc < 0)
        return rc;
    CLEANUP(arena_clear) struct arena a = ARENA_INIT;
    const char *path[ARRAY_LEN(parts)];
    for (size_t i = 0; i < ARRAY_LEN(parts); i++) {
        path[i] = arena_printf(&a, "%s/%s", dir, parts[i].path);
        if (!path[i])
            return err_set(err, ERR_NOMEM, "no memory for the model's name");
    }
    d->config = cmd_ln_init(NULL, ps_args(), TRUE, parts[0].option, path[0], parts[1].option, path[1], parts[2].option,
                            path[2], "-remove_silence", "no", "-mmap", "no", NULL);
    d->ps = d->config ? ps_init(d->config) : NULL;
    if (!d->ps) {
        rc = err_set(err, ERR_CORRUPT,
                     "the pocketsphinx model in '%s' seems to be damaged: install pocketsphinx-en-us anew (%s)", dir,
                     d->last_error);
        decoder_close(d);
        return rc;
    }
    d->frame = AUDIO_RATE / (int)cmd_ln_int32_r(d->config, "-frate");
    return 0;
}

/* The word without the number of its pronunciation ("and(2)"); empty for sentence marks, silence and noises. */
static size_t word_length(const char *w)
{
    return *w && strchr("<[+", *w) ? 0 : strcspn(w, "(");
}

/* The words of the utterance just decoded. */
static int read_words(const struct decoder *d, const struct child_ask *ask, struct arena *a, struct word **ret,
                      size_t *ret_n, struct err *err)
{
    size_t n = 0, cap = 0;
    for (ps_seg_t *s = ps_seg_iter(d->ps); s; s = ps_seg_next(s))
        cap++;
    struct word *words = arena_alloc(a, MAX(cap, 1) * sizeof *words);
    if (!words)
        return err_set(err, ERR_NOMEM, "no memory for the words of a chunk");
    logmath_t *lm = ps_get_logmath(d->ps);
    for (ps_seg_t *s = ps_seg_iter(d->ps); s; s = ps_seg_next(s)) {
        const char *text = ps_seg_word(s);
        size_t len = word_length(text);
        if (!len || n == cap)
            continue;
        int first, last; /* frames, the last one included */
        ps_seg_frames(s, &first, &last);
        int64_t start = CLAMP((int64_t)first * d->frame, 0, (int64_t)ask->n_samples);
        int64_t end = CLAMP(((int64_t)last + 1) * d->frame, start, (int64_t)ask->n_samples);
        double p = logmath_exp(lm, ps_seg_prob(s, NULL, NULL, NULL));
        words[n] = (struct word){samples_to_ms(ask->start + start), samples_to_ms(ask->start + end),
                                 arena_dup(a, text, len), CLAMP(p, 0.0, 1.0)};
        if (!words[n].text) {
            ps_seg_free(s);
            return err_set(err, ERR_NOMEM, "no memory for the words of a chunk");
        }
        n++;
    }
    *ret = words;
    *ret_n = n;
    return 0;
}

/*
 * Where to cut words[0..n), n >= 2, in two: behind which word; 0: nowhere. At the longest pause if that is long, or if
 * the whole is too long; then the pauses in its middle half count first, so that no crumbs fall off its ends.
 */
static size_t find_cut(const struct word *words, size_t n)
{
    int64_t from = words[0].start_ms, length = words[n - 1].end_ms - from;
    size_t longest = 1, middle = 0;
    int64_t longest_ms = -1, middle_ms = -1;
    for (size_t i = 1; i < n; i++) {
        int64_t pause = words[i].start_ms - words[i - 1].end_ms;
        if (pause > longest_ms) {
            longest_ms = pause;
            longest = i;
        }
        int64_t at = words[i].start_ms - from;
        if (at * 4 >= length && at * 4 <= length * 3 && pause > middle_ms) {
            middle_ms = pause;
            middle = i;
        }
    }
    if (longest_ms > PAUSE_MS)
        return longest;
    if (length <= SEGMENT_MAX_MS)
        return 0;
    return middle ? middle : longest;
}

/* Appends the segments of words[0..n), n >= 1, to ret, which has room for n more. */
static int add_segments(const struct word *words, size_t n, struct arena *a, struct segments *ret, struct err *err)
{
    size_t cut = n > 1 ? find_cut(words, n) : 0;
    if (cut) {
        int rc = add_segments(words, cut, a, ret, err);
        return rc < 0 ? rc : add_segments(words + cut, n - cut, a, ret, err);
    }
    CLEANUP(buf_clear) struct buf text = BUF_INIT(CHILD_MAX_REPLY);
    for (size_t i = 0; i < n; i++)
        buf_addf(&text, "%s%s", i ? " " : "", words[i].text);
    const char *copy = buf_ok(&text) ? arena_strdup(a, buf_str(&text)) : NULL;
    if (!copy)
        return err_set(err, ERR_NOMEM, "no memory for the text of a chunk");
    ret->v[ret->n++] = (struct segment){
        .start_ms = words[0].start_ms,
        .end_ms = words[n - 1].end_ms,
        .text = copy,
        .words = words,
        .n_words = n,
    };
    return 0;
}

static int transcribe(const struct decoder *d, const struct child_ask *ask, const int16_t *pcm, struct arena *a,
                      struct buf *ret, struct err *err)
{
    if (ps_start_stream(d->ps) < 0 || ps_start_utt(d->ps) < 0)
        return err_set(err, ERR_INTERNAL, "pocketsphinx does not start: %s", d->last_error);
    int frames = ps_process_raw(d->ps, pcm, ask->n_samples, FALSE, TRUE);
    if (ps_end_utt(d->ps) < 0 || frames < 0)
        return err_set(err, ERR_INTERNAL, "pocketsphinx gave up on a chunk: %s", d->last_error);
    struct word *words = NULL;
    size_t n = 0;
    int rc = read_words(d, ask, a, &words, &n, err);
    if (rc < 0)
        return rc;
    struct segments s = {.v = arena_alloc(a, MAX(n, 1) * sizeof *s.v), .language = "en"};
    if (!s.v)
        return err_set(err, ERR_NOMEM, "no memory for the text of a chunk");
    rc = n ? add_segments(words, n, a, &s, err) : 0;
    return rc < 0 ? rc : segments_to_json(&s, ret, err);
}

/* Answers asks until the parent is gone. */
static int serve(const struct decoder *d, struct child_side *side, struct err *err)
{
    for (;;) {
        struct child_ask ask;
        int rc = child_side_next(side, &ask, err);
        if (rc <= 0)
            return rc;
        CLEANUP(arena_clear) struct arena a = ARENA_INIT;
        CLEANUP(buf_clear) struct buf json = BUF_INIT(CHILD_MAX_REPLY);
        rc = transcribe(d, &ask, side->pcm, &a, &json, err);
        if (rc < 0)
            child_side_reply(side, rc, err->msg, strlen(err->msg));
        else
            child_side_reply(side, 0, buf_str(&json), json.len);
    }
}

int pocketsphinx_find_model(const char *dir, struct err *err)
{
    for (size_t i = 0; i < ARRAY_LEN(parts); i++) {
        CLEANUP(free_p) char *path = xasprintf("%s/%s", dir, parts[i].probe);
        if (access(path, R_OK) < 0)
            return err_set(err, ERR_UNAVAILABLE,
                           "pocketsphinx finds no model ('%s' cannot be read): install pocketsphinx-en-us "
                           "(apt-get install pocketsphinx-en-us) or set model_path to a folder that holds one",
                           path);
    }
    return 0;
}

int pocketsphinx_child_main(int argc, char **argv)
{
    if (argc != 4)
        return 2;
    struct err err = ERR_INIT;
    struct child_side side;
    struct decoder d = {.ps = NULL};
    err_set_callback(on_log, &d);
    err_set_logfp(NULL); /* the table of settings goes there past the callback */
    int rc = child_side_open(&side, &err);
    if (rc < 0) {
        fprintf(stderr, "%s\n", err.msg);
        return 1;
    }
    rc = decoder_open(&d, argv[3], &err);
    if (rc == 0) {
        child_side_reply(&side, 0, "", 0);
        rc = serve(&d, &side, &err);
    }
    if (rc < 0)
        child_side_reply(&side, rc, err.msg, strlen(err.msg));
    decoder_close(&d);
    child_side_close(&side);
    return 0;
}
