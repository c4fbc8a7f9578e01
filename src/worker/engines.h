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

struct engines;

/* Borrows `opts` until engines_free. Opens nothing. `quiet`: another process says what there is to warn of. */
void engines_new(const struct engine_opts *opts, bool quiet, struct engines **ret);
void engines_free(struct engines *e); /* no call may be under way; NULL is fine */

/*
 * The engine of this name; NULL or "auto": the default. Borrowed until engines_free. Errors as
 * engine_open: UNSUPPORTED for an engine there is not, else why it cannot be opened now; the next call tries again.
 */
int engines_get(struct engines *e, const char *name, struct engine **ret, struct err *err) MUST_CHECK;
/* Appends {"engine": "model", ...} for the open ones. */
void engines_describe(struct engines *e, struct buf *b);
/* Appends an object about the models that are loaded (engine_describe); {} when no open engine keeps any. */
void engines_describe_models(struct engines *e, struct buf *b);

#endif
