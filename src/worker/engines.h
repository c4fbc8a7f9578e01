/* SPDX-License-Identifier: MIT */
/*
 * The open engines of a process: the default one and those that jobs ask for by name, opened on first need and
 * kept. At most one of each kind there is.
 *
 * Threads: any.
 */
#ifndef WORKER_ENGINES_H
#define WORKER_ENGINES_H

#include "base/buf.h"
#include "engine/engine.h"
#include "job/model_names.h"

struct engines;

/*
 * Borrows `opts` and `names` (NULL: no setting is made) until engines_free. Opens nothing. `quiet`: another process
 * says what there is to warn of.
 */
void engines_new(const struct engine_opts *opts, const struct model_names *names, bool quiet, struct engines **ret);
void engines_free(struct engines *e); /* no call may be under way; NULL is fine */

/*
 * The engine of this name; NULL or "auto": the default. Borrowed until engines_free. Errors as
 * engine_open: UNSUPPORTED for an engine there is not, else why it cannot be opened now; the next call tries again.
 */
int engines_get(struct engines *e, const char *name, struct engine **ret, struct err *err) MUST_CHECK;
/*
 * The engine of this name, as above, and which of its models a wish comes to (see job/model_names.h; *ret_model NULL:
 * its default). Texts live in `a`. NOT_FOUND: no such model, and that is an error.
 */
int engines_choose(struct engines *e, const char *name, const struct model_wish *wish, struct arena *a,
                   struct engine **ret, const char **ret_model, const char **ret_warning, struct err *err) MUST_CHECK;
/* Appends {"engine": "model", ...} for the open ones. */
void engines_describe(struct engines *e, struct buf *b);
/* Looks which models the default engine has: reads files, which may take its time. */
void engines_look(struct engines *e);
/* Appends them as they were then, without waiting for anything: [{"name": ..., "engine": ..., ...}, ...]. */
void engines_describe_models(struct engines *e, struct buf *b);
/* Appends an object about the models that are loaded (engine_describe); {} when no open engine keeps any. */
void engines_describe_pool(struct engines *e, struct buf *b);

#endif
