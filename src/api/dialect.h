/* SPDX-License-Identifier: MIT */
/*
 * How a family of routes speaks. The core is one: it takes recordings, keeps jobs, looks them up. A dialect says what
 * form fields are called and how a refusal is worded; its handlers (routes.h) say how a job is shown. Each dialect is a
 * file of its own, dialect_NAME.c, and its routes' rows name it.
 */
#ifndef API_DIALECT_H
#define API_DIALECT_H

#include "api/form.h"
#include "api/problem.h"

#include <stdbool.h>

/* What is refused. */
struct refusal {
    enum problem problem;
    unsigned status;    /* as the table of problems has it; a dialect may send another */
    const char *detail; /* a sentence */
    const char *field;  /* the form field or query parameter that is wrong, as the client calls it; NULL: none */
    const char *path, *request_id;
};

/* What a form field is called here. */
struct dialect_field {
    const char *name;      /* as clients send it; a row with NULL ends the table */
    enum form_field field; /* what it sets; FORM_COUNT: nothing, handlers ask for it (form_extra) */
    bool list;             /* may be sent as NAME, NAME[] or NAME[0], and several times: joined with commas */
};

struct dialect {
    const char *name;
    /* Writes the body and returns its media type. Any thread. */
    const char *(*refuse)(struct refusal *r, struct buf *body);
    const char *error_type, *error_schema; /* of that body, for the document (openapi.h); the type without parameters */
    const struct dialect_field *fields;    /* beside the native names, which mean the same everywhere; may be NULL */
    const char *(*cannot)(const char *field); /* why a field of that table cannot be had; NULL: it can. May be NULL */
    bool ignores_unknown;                     /* fields nobody knows, as many servers do; else they are refused */
    const char *job_word;                     /* what jobs are called in refusals of fastapi.h; NULL: "Job" */
    bool name_decides;                        /* any content is taken: what cannot be decoded fails in the worker */
    bool accept_decides;                      /* Accept chooses what a submission is answered with */
    /*
     * Looks at a recording's name before its content is taken, and at the form when all of it is there (defaults, what
     * follows from extra fields). INVALID or UNSUPPORTED refuse it; *ret_problem may say what kind it is. May be NULL.
     */
    int (*check_name)(const char *filename, enum problem *ret_problem, struct err *err);
    int (*complete)(struct form *f, struct arena *a, enum problem *ret_problem, struct err *err);
};

extern const struct dialect dialect_native; /* RFC 9457, our own names */
extern const struct dialect dialect_openai, dialect_openai_translation;
/* Of services whose clients work unchanged; each in a file of its own. */
extern const struct dialect dialect_tool, dialect_pool, dialect_stt, dialect_queue, dialect_direct, dialect_audio_text;

#endif
