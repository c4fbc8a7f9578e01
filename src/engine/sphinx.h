/* SPDX-License-Identifier: MIT */
/* Inside src/engine: what both ends of a PocketSphinx child share. */
#ifndef ENGINE_SPHINX_H
#define ENGINE_SPHINX_H

#include "base/err.h"

/* The model's name in results; there is no other. */
#define POCKETSPHINX_MODEL "en-us"

/* Is every part of the model in this folder? UNAVAILABLE, saying what to install or set. */
int pocketsphinx_find_model(const char *dir, struct err *err) MUST_CHECK;
/* `steno __engine pocketsphinx DIR` */
int pocketsphinx_child_main(int argc, char **argv);

#endif
