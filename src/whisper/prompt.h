/* SPDX-License-Identifier: MIT */
/*
 * What a window is told before it is decoded:
 *
 *   start-of-previous, hotwords, text before | start-of-transcript, language, task | no-timestamps
 *
 * The hotwords stand in front of every window's prompt; the text before is the initial prompt at first, then what
 * windows said, and is forgotten where it could carry a mistake on. Both together are at most PROMPT_MAX tokens.
 */
#ifndef WHISPER_PROMPT_H
#define WHISPER_PROMPT_H

#include "whisper/tokenizer.h"

enum {
    PROMPT_MAX = 223, /* half the context, less one for start-of-previous */
    PROMPT_SOT_MAX = 3,
    PREFIX_MAX = 1 + PROMPT_MAX + PROMPT_SOT_MAX + 1,
};

struct prompt {
    const struct tokenizer *t;
    int hotwords[PROMPT_MAX], before[PROMPT_MAX];
    size_t n_hotwords, n_before;
    int cut; /* tokens of hotwords and initial prompt that had no room */
    int sot[PROMPT_SOT_MAX];
    size_t n_sot;
    bool timestamps;
};

/* Texts may be NULL. Of the hotwords the first tokens are kept, of the initial prompt the last. INVALID: no UTF-8. */
int prompt_init(struct prompt *p, const struct tokenizer *t, const char *hotwords, const char *initial, struct err *err)
    MUST_CHECK;
/* What follows the prompt: start-of-transcript and, for models of many languages, language and task. */
void prompt_set_sot(struct prompt *p, const char *language, bool translate, bool timestamps);
/* Text that was said; only the end of it that has room is kept. INVALID: a token this model has not. */
int prompt_add(struct prompt *p, const int *tokens, size_t n, struct err *err) MUST_CHECK;
/* Forgets the text before, not the hotwords. */
void prompt_forget(struct prompt *p);
/* The whole of it; without_before leaves the text before out this once. Returns how many. */
size_t prompt_make(const struct prompt *p, bool without_before, int ret[PREFIX_MAX], size_t *ret_sot_index);

#endif
