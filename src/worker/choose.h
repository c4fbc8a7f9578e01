/* SPDX-License-Identifier: MIT */
/* Which of an engine's models is used: the table of names (job/model_names.h) and what is installed, put together. */
#ifndef WORKER_CHOOSE_H
#define WORKER_CHOOSE_H

#include "engine/engine.h"
#include "job/model_names.h"

/*
 * As engine_open with the wish's model as the default one, looked up in the table of names first. Unless `names` makes
 * a missing one an error, another is the default then, and *ret_warning (in `a`) says so, else it is NULL.
 */
int choose_open(const struct engine_opts *opts, const struct model_names *names, const struct model_wish *wish,
                struct arena *a, struct engine **ret, const char **ret_warning, struct err *err) MUST_CHECK;
/*
 * Which model of an open engine a wish comes to: *ret_model NULL is its default. Texts live in `a`. NOT_FOUND as
 * model_names_choose.
 */
int choose_model(struct engine *e, const struct model_names *names, const struct model_wish *wish, struct arena *a,
                 const char **ret_model, const char **ret_warning, struct err *err) MUST_CHECK;
/*
 * Which model of an open engine may stand in for one that does not fit into memory (model_names_smaller), in `a`; *ret
 * NULL: none, or only the engine's server knows.
 */
int choose_smaller(struct engine *e, const char *model, const struct model_wish *wish, struct arena *a,
                   const char **ret, struct err *err) MUST_CHECK;

#endif
