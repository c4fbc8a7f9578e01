/* SPDX-License-Identifier: MIT */
/*
 * One try at a window: a group of token sequences that grow together, by OpenAI's three ways of choosing.
 *
 *   greedy    temperature 0, one sequence: the most likely token
 *   sampling  temperature > 0, best_of sequences: drawn from the soft-max, seeded
 *   beam      temperature 0, beam_size sequences: the best continuations of all; finished ones are kept apart
 *
 * A sequence that goes on in the same loop for GATES_LOOP_SURE tokens is over: no gate would let it pass, and its
 * window can be tried anew without waiting for 224 tokens of it. Of drawn texts one that loops is chosen last, for a
 * loop is the likeliest of texts by its own measure.
 *
 * The caller runs the network: it asks search_next for rows to feed, feeds them, and hands the logits back to
 * search_update. A sequence lives in a text slot of the network; when beams fork, search_update says which slots to
 * copy.
 */
#ifndef WHISPER_SEARCH_H
#define WHISPER_SEARCH_H

#include "whisper/rules.h"

enum { SEARCH_MAX_SEQUENCES = 16, SEARCH_MAX_TOKENS = 224, SEARCH_MAX_PATIENCE = 8 };

struct search_opts {
    float temperature;
    int sequences; /* beam_size or best_of; 1..16 */
    bool beam;
    float patience;       /* above 0, at most 8: a beam search ends with beam_size * patience finished sequences */
    float length_penalty; /* < 0: score by length */
    uint64_t seed;
    int max_tokens; /* room behind the prompt, at most 224 */
};

struct sequence {
    int tokens[SEARCH_MAX_TOKENS];
    float logprobs[SEARCH_MAX_TOKENS]; /* of each token when it was chosen */
    int n;
    float sum_logprob; /* with that of end-of-text, once it is over */
    bool over;
    bool loops; /* drawn: it ended in a loop */
    int slot;   /* 0..sequences-1: its text slot, relative to the search's first */
};

struct slot_copy {
    int to, from;
};

struct search {
    struct search_opts opts;
    struct sequence *live, *spare; /* [sequences] */
    struct sequence *finished;     /* beam: [max_candidates] */
    int n_live, n_finished;
    int max_candidates;
    struct slot_copy copies[SEARCH_MAX_SEQUENCES]; /* to be made before the next rows are fed */
    int n_copies;
    bool done;
};

int search_new(const struct search_opts *o, struct search **ret, struct err *err) MUST_CHECK;
void search_free(struct search *s); /* NULL is fine */

/*
 * One step. `logits[i]`: of live sequence i's newest token (for the first step all are those of the prompt's end and
 * may be one and the same row); changed. Afterwards `done` tells whether all is said; else each live sequence's last
 * token is to be fed at its position, after the copies.
 */
void search_update(struct search *s, const struct rules *r, float *const *logits);

struct search_result {
    const struct sequence *best; /* without end-of-text; borrowed */
    float avg_logprob;           /* sum / (tokens + 1) */
};
void search_result(const struct search *s, struct search_result *ret);

#endif
