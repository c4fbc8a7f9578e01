/* SPDX-License-Identifier: MIT */
/*
 * Inside src/engine: the Whisper models in a folder. It may be asked for every job and heartbeat: a file is looked into
 * when it is new or has changed.
 *
 * Threads: any.
 */
#ifndef ENGINE_WHISPER_LIST_H
#define ENGINE_WHISPER_LIST_H

#include "engine/engine.h"

struct model_list;

/* `folder` NULL: there are no models. */
void model_list_new(const char *folder, struct model_list **ret);
void model_list_free(struct model_list *l); /* NULL is fine */
/* As engine_models; `loaded` is left false. */
int model_list_read(struct model_list *l, struct arena *a, struct engine_model **ret, size_t *ret_n, struct err *err)
    MUST_CHECK;

#endif
