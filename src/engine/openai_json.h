/* SPDX-License-Identifier: MIT */
/* What an OpenAI-compatible server answers for one chunk. No network here. */
#ifndef ENGINE_OPENAI_JSON_H
#define ENGINE_OPENAI_JSON_H

#include "engine/engine.h"

/*
 * Reads verbose_json, with words inside the segments or beside them, and json, which has no times: then the text is put
 * where speech was heard (place.h). Times come out ascending and inside the chunk, whatever the server says.
 * UNAVAILABLE: not such an answer.
 */
int openai_read_answer(const char *body, size_t n, const struct engine_chunk *c, struct arena *a, struct segments *ret,
                       struct err *err) MUST_CHECK;

#endif
