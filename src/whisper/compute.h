/* SPDX-License-Identifier: MIT */
/*
 * Running the network: all scratch, caches and primitives of one batcher, planned at creation; nothing is
 * allocated while it runs. One thread at a time (that thread leads an OpenMP team).
 *
 *   audio slot   cross-attention keys and values of one encoded window
 *   text slot    self-attention keys and values of one token sequence (a beam)
 *
 * A step takes rows: (audio slot, text slot, position, token). Rows of one text slot must have ascending consecutive
 * positions; a row sees positions 0..its own of its slot, so a prompt is simply several rows. Logits are
 * written only for rows that ask. 16 rows cost about what one costs: the weights are read once for all.
 */
#ifndef WHISPER_COMPUTE_H
#define WHISPER_COMPUTE_H

#include "base/stop.h"
#include "whisper/net.h"

struct compute;

struct compute_opts {
    unsigned threads;     /* 0: what OpenMP says */
    unsigned audio_slots; /* windows held at a time */
    unsigned text_slots;
    unsigned max_rows; /* rows in one step, prompts included */
    /* Asked between encoder layers and between the steps of compute_align, which end as CANCELLED when it says no.
     * NULL: they are not interrupted by it. */
    bool (*go_on)(void *arg);
    void *go_on_arg;
};

int64_t compute_memory(const struct net *n, const struct compute_opts *o);
/* Borrows n. */
int compute_new(const struct net *n, const struct compute_opts *o, struct compute **ret, struct err *err) MUST_CHECK;
void compute_free(struct compute *c); /* NULL is fine */

/*
 * mel: [n_mels][3000]. Leaves cross keys and values in `audio_slot`. Looks at cancel between layers. `ret_states`, when
 * not NULL, gets the encoder's output after the last norm, [1500][state], for tests and debugging.
 */
int compute_encode(struct compute *c, unsigned audio_slot, const float *mel, const struct cancel *cancel,
                   float *ret_states, struct err *err) MUST_CHECK;

struct step_row {
    unsigned audio_slot, text_slot;
    int position, token;
    bool want_logits;
    float *logits; /* set when wanted: [n_vocab], borrowed until the next step; may be changed by the caller */
};
/* `rows`: at most max_rows. Rows of one audio slot should stand together: its keys are then read once for all. */
int compute_step(struct compute *c, struct step_row *rows, size_t n, struct err *err) MUST_CHECK;

/* Text slot `to` becomes a copy of the first `n` positions of `from`. */
void compute_copy_text(struct compute *c, unsigned to, unsigned from, int n);

/*
 * Cross-attention weights of `heads` while running tokens[0..n) from position 0 in `text_slot`: raw scores scaled by
 * 1/sqrt(64) before the soft-max, ret [n_heads][n][1500]. `ret_token_prob` [n]: probability of tokens[i] given those
 * before (0 for i = 0).
 */
int compute_align(struct compute *c, unsigned audio_slot, unsigned text_slot, const int *tokens, size_t n,
                  const struct head *heads, size_t n_heads, int n_text, float *ret_scores, float *ret_token_prob,
                  struct err *err) MUST_CHECK;

#endif
