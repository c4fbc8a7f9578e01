/* SPDX-License-Identifier: MIT */
/*
 * Encoding merges the neighbours whose joint token has the lowest id, again and again: in both of Whisper's
 * vocabularies ids are in the order of the merges, so no list of merges is needed. Text is first split by GPT-2's
 * pattern, exactly, with PCRE2.
 */
#define PCRE2_CODE_UNIT_WIDTH 8
#include "whisper/tokenizer.h"

#include "base/languages.h"
#include "base/str.h"

#include <pcre2.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { MAX_LANGUAGES = 100, PIECE_MAX = 1024, TEXT_MAX = 65536 };

#define SPLIT_PATTERN "'s|'t|'re|'ve|'m|'ll|'d| ?\\p{L}+| ?\\p{N}+| ?[^\\s\\p{L}\\p{N}]+|\\s+(?!\\S)|\\s+"

static const struct {
    const char *code, *name;
} languages[] = {
#define X(code, name) {code, name},
    LANGUAGES(X)
#undef X
};
_Static_assert(sizeof languages / sizeof languages[0] == MAX_LANGUAGES, "one hundred languages");

struct text {
    const char *bytes;
    uint32_t len;
};

struct tokenizer_private {
    char *blob;
    struct text *tokens;
    int n_tokens;
    int *table; /* open addressing by hash of the bytes; -1: empty */
    uint32_t table_mask;
    pcre2_code *split;
    int *non_speech;
    size_t n_non_speech;
};

const char *whisper_language_code(int i)
{
    return i >= 0 && i < MAX_LANGUAGES ? languages[i].code : NULL;
}

const char *whisper_language_name(const char *code)
{
    for (int i = 0; i < MAX_LANGUAGES; i++)
        if (strcmp(languages[i].code, code) == 0)
            return languages[i].name;
    return NULL;
}

static uint32_t hash(const char *p, size_t n)
{
    uint32_t h = 2166136261u;
    for (size_t i = 0; i < n; i++)
        h = (h ^ (unsigned char)p[i]) * 16777619u;
    return h;
}

static int look_up(const struct tokenizer_private *v, const char *p, size_t n)
{
    for (uint32_t at = hash(p, n) & v->table_mask;; at = (at + 1) & v->table_mask) {
        int id = v->table[at];
        if (id < 0 || (v->tokens[id].len == n && memcmp(v->tokens[id].bytes, p, n) == 0))
            return id;
    }
}

/* The ordinary tokens, in one blob, and the table over them. */
static int copy_tokens(struct tokenizer_private *v, const struct model_file *f, int n, struct err *err)
{
    size_t bytes = 0, len = 0;
    for (int i = 0; i < n; i++)
        if (model_file_token(f, i, &len))
            bytes += len;
    uint32_t size = 1;
    while (size < 2 * (uint32_t)n)
        size *= 2;
    v->blob = malloc(bytes + 1);
    v->tokens = calloc((size_t)n, sizeof *v->tokens);
    v->table = malloc(size * sizeof *v->table);
    if (!v->blob || !v->tokens || !v->table)
        return err_set(err, ERR_NOMEM, "no memory for the vocabulary");
    v->table_mask = size - 1;
    v->n_tokens = n;
    memset(v->table, 0xFF, size * sizeof *v->table);
    char *at = v->blob;
    for (int i = 0; i < n; i++) {
        const char *p = model_file_token(f, i, &len);
        v->tokens[i] = (struct text){.bytes = at, .len = p ? (uint32_t)len : 0};
        if (!p || !len)
            continue;
        memcpy(at, p, len);
        at += len;
        uint32_t slot = hash(p, len) & v->table_mask;
        while (v->table[slot] >= 0)
            slot = (slot + 1) & v->table_mask;
        v->table[slot] = i;
    }
    return 0;
}

static int add_non_speech(const struct tokenizer *t, const char *symbol, bool first_only, struct err *err)
{
    struct tokenizer_private *v = t->priv;
    for (int blank = 0; blank < 2; blank++) {
        char text[16];
        int ids[16], n;
        snprintf(text, sizeof text, "%s%s", blank ? " " : "", symbol);
        n = tokenizer_encode(t, text, ids, ARRAY_LEN(ids), err);
        if (n < 0)
            return n;
        if (n == 1 || (first_only && n > 0))
            v->non_speech[v->n_non_speech++] = ids[0];
    }
    return 0;
}

static int by_value(const void *a, const void *b)
{
    return *(const int *)a - *(const int *)b;
}

/* OpenAI's list: brackets, symbols and notes that stand for noises; '-' and the apostrophe only at the start of a word.
 */
static int make_non_speech(struct tokenizer *t, struct err *err)
{
    static const char *const symbols[] = {"\"",  "#",  "(",  ")",   "*",   "+",   "/",   ":",  ";",   "<",  "=",  ">",
                                          "@",   "[",  "\\", "]",   "^",   "_",   "`",   "{",  "|",   "}",  "~",  "「",
                                          "」",  "『", "』", "<<",  ">>",  "<<<", ">>>", "--", "---", "-(", "-[", "('",
                                          "(\"", "((", "))", "(((", ")))", "[[",  "]]",  "{{", "}}",  "♪♪", "♪♪♪"};
    static const char *const notes[] = {"♩", "♪", "♫", "♬", "♭", "♮", "♯"};
    struct tokenizer_private *v = t->priv;
    v->non_speech = calloc(2 * (ARRAY_LEN(symbols) + ARRAY_LEN(notes)) + 2, sizeof *v->non_speech);
    if (!v->non_speech)
        return err_set(err, ERR_NOMEM, "no memory for the list of symbols");
    int ids[4], rc = 0;
    for (int i = 0; i < 2; i++)
        if (tokenizer_encode(t, i ? " '" : " -", ids, ARRAY_LEN(ids), err) > 0)
            v->non_speech[v->n_non_speech++] = ids[0];
    for (size_t i = 0; i < ARRAY_LEN(symbols) && rc == 0; i++)
        rc = add_non_speech(t, symbols[i], false, err);
    for (size_t i = 0; i < ARRAY_LEN(notes) && rc == 0; i++)
        rc = add_non_speech(t, notes[i], true, err);
    qsort(v->non_speech, v->n_non_speech, sizeof *v->non_speech, by_value);
    size_t n = 0;
    for (size_t i = 0; i < v->n_non_speech; i++)
        if (i == 0 || v->non_speech[i] != v->non_speech[n - 1])
            v->non_speech[n++] = v->non_speech[i];
    v->n_non_speech = n;
    return rc;
}

void tokenizer_special_ids(struct tokenizer *t, int n_vocab)
{
    t->n_vocab = n_vocab;
    t->n_languages = n_vocab == 51864 ? 0 : n_vocab == 51865 ? 99 : 100;
    t->eot = n_vocab == 51864 ? 50256 : 50257;
    t->sot = t->eot + 1;
    t->first_language = t->sot + 1;
    /* English-only models keep the 99 places. */
    t->translate = t->first_language + (t->n_languages ? t->n_languages : 99);
    t->transcribe = t->translate + 1;
    t->sot_lm = t->transcribe + 1;
    t->sot_prev = t->sot_lm + 1;
    t->no_speech = t->sot_prev + 1;
    t->no_timestamps = t->no_speech + 1;
    t->first_timestamp = t->no_timestamps + 1;
}

int tokenizer_new(const struct model_file *f, struct tokenizer **ret, struct err *err)
{
    struct tokenizer *t = xcalloc(1, sizeof *t);
    t->priv = xcalloc(1, sizeof *t->priv);
    tokenizer_special_ids(t, model_file_dims(f)->n_vocab);
    int rc = copy_tokens(t->priv, f, t->eot, err);
    if (rc == 0) {
        int code;
        PCRE2_SIZE where;
        t->priv->split =
            pcre2_compile((PCRE2_SPTR)SPLIT_PATTERN, PCRE2_ZERO_TERMINATED, PCRE2_UTF | PCRE2_UCP, &code, &where, NULL);
        if (!t->priv->split)
            rc = err_set(err, ERR_INTERNAL, "PCRE2 refused GPT-2's pattern (error %d): it must be built with Unicode",
                         code);
    }
    if (rc == 0)
        rc = make_non_speech(t, err);
    if (rc < 0) {
        tokenizer_free(t);
        return rc;
    }
    *ret = t;
    return 0;
}

void tokenizer_free(struct tokenizer *t)
{
    if (!t)
        return;
    struct tokenizer_private *v = t->priv;
    pcre2_code_free(v->split);
    free(v->blob);
    free(v->tokens);
    free(v->table);
    free(v->non_speech);
    free(v);
    free(t);
}

const char *tokenizer_bytes(const struct tokenizer *t, int id, size_t *ret_len)
{
    if (id < 0 || id >= t->priv->n_tokens)
        return NULL;
    *ret_len = t->priv->tokens[id].len;
    return t->priv->tokens[id].bytes;
}

void tokenizer_decode(const struct tokenizer *t, const int *ids, size_t n, struct buf *ret)
{
    for (size_t i = 0; i < n; i++) {
        size_t len = 0;
        const char *p = tokenizer_bytes(t, ids[i], &len);
        if (p)
            buf_add(ret, p, len);
    }
}

/*
 * One piece of the split, at most PIECE_MAX bytes. A piece that is a token as a whole is that token, as in the
 * reference's encoder; else parts are merged in place until no two neighbours make a token.
 */
static int encode_piece(const struct tokenizer_private *v, const char *p, size_t n, int *ret, size_t max)
{
    int whole = look_up(v, p, n);
    if (whole >= 0 && max > 0) {
        ret[0] = whole;
        return 1;
    }
    uint16_t ends[PIECE_MAX]; /* part i is [ends[i - 1], ends[i]) */
    size_t parts = n;
    for (size_t i = 0; i < n; i++)
        ends[i] = (uint16_t)(i + 1);
    while (parts > 1) {
        size_t best = parts;
        int best_id = -1;
        for (size_t i = 0; i + 1 < parts; i++) {
            size_t from = i ? ends[i - 1] : 0;
            int id = look_up(v, p + from, ends[i + 1] - from);
            if (id >= 0 && (best_id < 0 || id < best_id)) {
                best = i;
                best_id = id;
            }
        }
        if (best_id < 0)
            break;
        memmove(&ends[best], &ends[best + 1], (parts - best - 1) * sizeof *ends);
        parts--;
    }
    size_t wrote = 0;
    for (size_t i = 0; i < parts; i++) {
        size_t from = i ? ends[i - 1] : 0;
        int id = look_up(v, p + from, ends[i] - from);
        if (id < 0)
            continue; /* a byte that this vocabulary lacks: only in damaged ones */
        if (wrote == max)
            return -1;
        ret[wrote++] = id;
    }
    return (int)wrote;
}

int tokenizer_encode(const struct tokenizer *t, const char *text, int *ret, size_t max, struct err *err)
{
    size_t len = strlen(text), n = 0;
    if (len > TEXT_MAX)
        return err_set(err, ERR_TOO_LARGE, "a prompt of %zu bytes is over %d", len, (int)TEXT_MAX);
    pcre2_match_data *m = pcre2_match_data_create_from_pattern(t->priv->split, NULL);
    if (!m)
        return err_set(err, ERR_NOMEM, "no memory to split a prompt");
    int rc = 0;
    for (size_t at = 0; at < len && rc >= 0;) {
        if (pcre2_match(t->priv->split, (PCRE2_SPTR)text, len, at, 0, m, NULL) < 1) {
            rc = err_set(err, ERR_INVALID, "a prompt is not well-formed UTF-8");
            break;
        }
        const PCRE2_SIZE *where = pcre2_get_ovector_pointer(m);
        /* What is no text (a thousand letters without a blank) is taken in parts: merging is quadratic. */
        size_t piece = utf8_floor(text + where[0], MIN(where[1] - where[0], (size_t)PIECE_MAX));
        rc = encode_piece(t->priv, text + where[0], piece, ret + n, max - n);
        if (rc < 0) {
            rc = err_set(err, ERR_TOO_LARGE, "a prompt has more than %zu tokens", max);
            break;
        }
        n += (size_t)rc;
        at = where[0] + piece;
    }
    pcre2_match_data_free(m);
    return rc < 0 ? rc : (int)n;
}

int tokenizer_language_id(const struct tokenizer *t, const char *code)
{
    for (int i = 0; i < t->n_languages; i++)
        if (strcmp(languages[i].code, code) == 0)
            return t->first_language + i;
    return -1;
}

const int *tokenizer_non_speech(const struct tokenizer *t, size_t *ret_n)
{
    *ret_n = t->priv->n_non_speech;
    return t->priv->non_speech;
}
