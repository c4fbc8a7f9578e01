/* SPDX-License-Identifier: MIT */
/* What goes to Gemini's generateContent and what comes back. No network here. */
#ifndef ENGINE_GEMINI_JSON_H
#define ENGINE_GEMINI_JSON_H

#include "engine/engine.h"

/* The body of a request for this chunk. */
void gemini_add_request(struct buf *b, const struct engine_request *r, const struct engine_chunk *c);

/*
 * Reads the body of an answer. No segments: nothing is said in the chunk. Classes:
 *   UNAVAILABLE   not what was asked for (no JSON, no text), or ended before its time (MAX_TOKENS, RECITATION, OTHER,
 *                 no reason): another try may go well, since the model draws its words by lot
 *   UNSUPPORTED   Gemini does not do it: SAFETY, PROHIBITED_CONTENT, a blocked prompt, LANGUAGE ...
 */
int gemini_read_answer(const char *body, size_t n, const struct engine_chunk *c, struct arena *a, struct segments *ret,
                       struct err *err) MUST_CHECK;

#endif
