/* SPDX-License-Identifier: MIT */
/*
 * What the name of a model means here: one table for every dialect, the commands and the worker.
 *
 * Clients ask for models by the names of other services ("whisper-1"), by sizes ("medium", "large") and by the names
 * of files and repositories ("Systran/faster-whisper-small"). A name is looked up in this order; what comes first
 * counts:
 *
 *   1. the aliases of the setting `model_aliases`
 *   2. the models that are installed: as written, then without what people put around a name
 *   3. the built-in aliases: names of OpenAI's models, and sizes that stand for one of several ("large")
 *   4. `model_missing`: an error, or the installed model that is nearest in size and can do what is asked
 *
 * An alias of the default model does not insist on it: when that one does not know the language, or cannot translate,
 * the nearest one that can is taken, unless `model_missing` is an error.
 */
#ifndef JOB_MODEL_NAMES_H
#define JOB_MODEL_NAMES_H

#include "base/err.h"
#include "base/mem.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define MODEL_AUTO "auto" /* as the target of an alias: what is used when nobody asks for a model */

enum { MODEL_NAME_MAX = 128 };

/* A model that is installed. */
struct model_here {
    const char *name;
    int64_t bytes, parameters; /* 0: not known */
    bool multilingual, can_translate;
    bool standard; /* the default one */
    bool loaded;   /* in memory now */
};

struct model_alias {
    const char *name, *target;
};

struct model_names {
    const struct model_alias *aliases; /* of the setting */
    size_t n_aliases;
    bool missing_is_error;
};

/*
 * `aliases`: "name=model,name=model", `missing`: "nearest" or "error"; as the settings have them. Texts live in `a`.
 * INVALID says what is wrong with the list.
 */
int model_names_read(const char *aliases, const char *missing, struct arena *a, struct model_names *ret,
                     struct err *err) MUST_CHECK;

/* Alias `i` of all that count, those of the setting first; false past the last. */
bool model_names_alias(const struct model_names *n, size_t i, struct model_alias *ret);

/* What is asked for. NULL: nothing. */
struct model_wish {
    const char *name, *language, *task;
};

/*
 * Which of the installed models it is; *ret NULL: the default one. *ret_warning, in `a`: the one used is another than
 * the one asked for; else NULL. NOT_FOUND (with model_missing = error) names those there are. `n` may be NULL: no
 * setting is made.
 */
int model_names_choose(const struct model_names *n, const struct model_wish *w, const struct model_here *here,
                       size_t n_here, struct arena *a, const char **ret, const char **ret_warning, struct err *err)
    MUST_CHECK;

/*
 * Of the installed models the largest that has fewer parameters than `name` and can do what `w` asks in its place (the
 * name in `w` does not count), one for English or many languages as it is itself when there are both; for a recording
 * in an unknown language a multilingual one is not replaced by another kind. NULL: there is none.
 */
const char *model_names_smaller(const char *name, const struct model_wish *w, const struct model_here *here,
                                size_t n_here);

#endif
