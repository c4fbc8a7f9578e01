/* SPDX-License-Identifier: MIT */
/*
 * Text without times, put where speech was heard: for engines that tell no times, or none one could trust.
 *
 * The text is cut into sentences, and each gets a share of the chunk's detected speech by its number of characters.
 */
#ifndef ENGINE_PLACE_H
#define ENGINE_PLACE_H

#include "engine/engine.h"

/* `text` is UTF-8. Texts of the answer live in `a`. No segments for a text of blanks. */
int place_text(const char *text, const struct engine_chunk *c, struct arena *a, struct segments *ret, struct err *err)
    MUST_CHECK;

#endif
