/* SPDX-License-Identifier: MIT */
#include "whisper/prompt.h"

#include "base/str.h"

#include <stdlib.h>
#include <string.h>

enum { LONGEST = 8192 }; /* tokens of one text */

/* One blank in front, as between words; blanks around it say nothing. */
static int encode_text(const struct tokenizer *t, const char *text, int *ret, struct err *err)
{
    text += strspn(text, " \t\r\n");
    size_t n = strlen(text);
    while (n && strchr(" \t\r\n", text[n - 1]))
        n--;
    CLEANUP(buf_clear) struct buf b = BUF_INIT(65536);
    buf_addc(&b, ' ');
    buf_add(&b, text, n);
    int rc = buf_check(&b, "the prompt", err);
    return rc < 0 || !n ? rc : tokenizer_encode(t, buf_str(&b), ret, LONGEST, err);
}

static size_t room(const struct prompt *p)
{
    return PROMPT_MAX - p->n_hotwords;
}

static void append(struct prompt *p, const int *tokens, size_t n)
{
    if (n > room(p)) {
        tokens += n - room(p);
        n = room(p);
    }
    size_t kept = MIN(p->n_before, room(p) - n);
    memmove(p->before, p->before + p->n_before - kept, kept * sizeof *p->before);
    memcpy(p->before + kept, tokens, n * sizeof *tokens);
    p->n_before = kept + n;
}

int prompt_init(struct prompt *p, const struct tokenizer *t, const char *hotwords, const char *initial, struct err *err)
{
    *p = (struct prompt){.t = t};
    int *ids = malloc(LONGEST * sizeof *ids), rc = 0;
    if (!ids)
        return err_set(err, ERR_NOMEM, "no memory for a prompt");
    if (hotwords) {
        rc = encode_text(t, hotwords, ids, err);
        p->n_hotwords = rc > 0 ? MIN((size_t)rc, (size_t)PROMPT_MAX) : 0;
        memcpy(p->hotwords, ids, p->n_hotwords * sizeof *ids);
        p->cut += rc > PROMPT_MAX ? rc - PROMPT_MAX : 0;
    }
    if (rc >= 0 && initial) {
        rc = encode_text(t, initial, ids, err);
        p->cut += MAX(rc - (int)room(p), 0);
        append(p, ids, rc > 0 ? (size_t)rc : 0);
    }
    free(ids);
    return rc < 0 ? rc : 0;
}

void prompt_set_sot(struct prompt *p, const char *language, bool translate, bool timestamps)
{
    p->n_sot = 0;
    p->sot[p->n_sot++] = p->t->sot;
    if (p->t->n_languages) {
        p->sot[p->n_sot++] = tokenizer_language_id(p->t, language);
        p->sot[p->n_sot++] = translate ? p->t->translate : p->t->transcribe;
    }
    p->timestamps = timestamps;
}

int prompt_add(struct prompt *p, const int *tokens, size_t n, struct err *err)
{
    for (size_t i = 0; i < n; i++)
        if (tokens[i] < 0 || tokens[i] >= p->t->n_vocab)
            return err_set(err, ERR_INVALID, "the previous text has a token %d, which this model has not", tokens[i]);
    if (n)
        append(p, tokens, n);
    return 0;
}

void prompt_forget(struct prompt *p)
{
    p->n_before = 0;
}

size_t prompt_make(const struct prompt *p, bool without_before, int ret[PREFIX_MAX], size_t *ret_sot_index)
{
    size_t n = 0, before = without_before ? 0 : p->n_before;
    if (p->n_hotwords || before) {
        ret[n++] = p->t->sot_prev;
        memcpy(ret + n, p->hotwords, p->n_hotwords * sizeof *ret);
        n += p->n_hotwords;
        memcpy(ret + n, p->before, before * sizeof *ret);
        n += before;
    }
    *ret_sot_index = n;
    memcpy(ret + n, p->sot, p->n_sot * sizeof *ret);
    n += p->n_sot;
    if (!p->timestamps)
        ret[n++] = p->t->no_timestamps;
    return n;
}
