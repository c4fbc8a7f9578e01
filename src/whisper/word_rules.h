/* SPDX-License-Identifier: MIT */
/*
 * Words of a text and the rules for their times, as OpenAI's tokenizer.py and timing.py have them. Nothing here knows a
 * network: pieces come in with the frames that the path gave their tokens.
 *
 * One difference to the reference: a word never reaches over the end of its segment, so that the words of a segment
 * are its text.
 */
#ifndef WHISPER_WORD_RULES_H
#define WHISPER_WORD_RULES_H

#include "whisper/tokenizer.h"
#include "whisper/whisper.h"

enum { WORDS_MAX_TOKENS = 440 };

struct word_piece {
    size_t first, n;    /* tokens of the text */
    size_t segment;     /* whose they are */
    char *text;         /* owned; "" once it has joined another */
    double start, end;  /* samples in the window */
    double probability; /* mean of its tokens' */
};

struct word_list {
    int tokens[WORDS_MAX_TOKENS]; /* text tokens of all segments */
    size_t n;
    struct word_piece pieces[WORDS_MAX_TOKENS];
    size_t n_pieces;
};

void word_list_clear(struct word_list *l);

/*
 * Appends ids[0..n), the text of one segment, as pieces: at blanks and before ASCII punctuation, or at every character
 * in a language written without blanks. Bytes that make a character stay together; what never becomes one is U+FFFD.
 * Tokens that have no room are left out.
 */
int word_list_add(struct word_list *l, const struct tokenizer *t, const char *language, size_t segment, const int *ids,
                  size_t n, struct err *err) MUST_CHECK;

/* Of the pieces that last at all, at most 0.7 s, in samples; 0 when there is none. */
double word_list_median(const struct word_list *l);
/* A piece next to the end of a sentence that lasts longer than twice the median gives the pause back. */
void word_list_cut(struct word_list *l, double median);
/* Opening marks join the piece behind them, closing ones that before. */
void word_list_join(struct word_list *l);

/*
 * The rules for words at the edges of a segment; all times are samples of the PCM. `last_speech`: where the words
 * before this segment end.
 */
void words_settle(struct whisper_segment *s, struct whisper_word *words, size_t n, int64_t last_speech, double median);
/* Words never go back, begin not before `floor` and end not behind `limit`; n may be 0. */
void words_keep_order(struct whisper_segment *s, struct whisper_word *words, size_t n, int64_t floor, int64_t limit);

#endif
