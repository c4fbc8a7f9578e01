/* SPDX-License-Identifier: MIT */
/* The fields of a submission beside the recording: one table, each row with its limit and its check. */
#ifndef API_FORM_H
#define API_FORM_H

#include "api/problem.h"
#include "base/err.h"
#include "base/mem.h"
#include "job/options.h"

#include <stdbool.h>
#include <stddef.h>

/* name, longest value in bytes, check (form.c), help. An empty value counts as not given. */
#define FORM_FIELDS(X)                                                                            \
    X(model, 128, check_model, "model to use; when missing: the server's choice")                 \
    X(language, 35, check_language, "language spoken, such as `en`; `auto` or missing: detected") \
    X(task, 16, check_task, "`transcribe` (when missing) or `translate` into English")            \
    X(queue, 16, check_queue, "`high` or `normal` (when missing)")                                \
    X(priority, 16, check_queue, "another name of `queue`")                                       \
    X(engine, 32, check_engine, "engine to use; `auto` or missing: the server's choice")          \
    X(prompt, 4096, check_text, "words that help the engine: names, spellings, context")          \
    X(description, 4096, check_text, "a note that is kept with the job")

/* The fields of the table above, then those of a job's options (job/options.h). */
enum form_field {
#define X(name, max, check, help) FORM_##name,
    FORM_FIELDS(X)
#undef X
        FORM_OWN_COUNT,
    FORM_COUNT = FORM_OWN_COUNT + JOB_OPTION_COUNT
};

enum { FORM_VALUE_MAX = 4096, FILENAME_MAX_BYTES = 255, FORM_EXTRAS_MAX = 24 };

struct dialect;

struct form {
    const struct dialect *dialect;
    const char *engine_names;           /* comma separated: what `engine` may say */
    const char *values[FORM_OWN_COUNT]; /* NULL: not given */
    struct job_options options;
    bool seen[FORM_COUNT];
    const char *wrong;                   /* dialect.complete: the field it finds wrong; NULL: none */
    const char *extras[FORM_EXTRAS_MAX]; /* by the rows of the dialect's fields that set nothing; NULL: not given */
};

/* Where a field's value goes. */
struct form_slot {
    const char *name;      /* as the client called it, without brackets */
    enum form_field field; /* FORM_COUNT: an extra one ... */
    size_t row;            /* ... of this row of the dialect's fields */
    bool list;
};

/* false: the dialect has no such field, nor have we. `name` is borrowed by *ret when it is ours. */
bool form_find(const struct form *f, const char *name, struct form_slot *ret);
/*
 * Takes the whole value (n bytes, not NUL-terminated) of a field; it is copied into `a`. On failure *ret_problem says
 * which kind it is.
 */
int form_set(struct form *f, const struct form_slot *slot, const char *value, size_t n, struct arena *a,
             enum problem *ret_problem, struct err *err) MUST_CHECK;
/* What was sent in an extra field of the dialect; NULL: nothing. */
const char *form_extra(const struct form *f, const char *name);
size_t form_field_max(enum form_field f);

/* A file name from a client as it is shown: clean UTF-8 without control characters, bounded, never empty. */
const char *form_filename(const char *raw, struct arena *a);

#endif
