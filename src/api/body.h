/* SPDX-License-Identifier: MIT */
/*
 * The body of a submission as it comes in, taken apart into parts: form fields and the recording. There are two kinds:
 * multipart/form-data, and a recording by itself ("raw"), which is one part named "file"; its fields stand in the query
 * and its name in a Content-Disposition line. One thread at a time.
 */
#ifndef API_BODY_H
#define API_BODY_H

#include "api/multipart.h"
#include "api/problem.h"

/* What the headers say of a body. Texts are borrowed. */
struct body_head {
    const char *type;        /* Content-Type, or NULL */
    const char *disposition; /* Content-Disposition, or NULL */
};

struct body;

struct body_ops {
    /* As multipart_feed and multipart_finish. */
    int (*feed)(struct body *b, const void *data, size_t n, struct err *err);
    int (*finish)(struct body *b, struct err *err);
};

struct body {
    const struct body_ops *ops;
    enum problem malformed, cut_off; /* what a body comes to that feed or finish call INVALID by themselves */
    const struct multipart_ops *parts;
    void *arg;
    struct multipart multipart;
    struct multipart_part part; /* raw */
    bool begun;                 /* raw: its part was announced */
    struct arena arena;
};

/* Is this the type of a recording: audio, video, or bytes of any kind? */
bool body_is_raw(const char *type);
/* May what has this type in a store be a recording? None at all ("" and NULL) says nothing against it. */
bool body_type_fits(const char *type);
/*
 * Knows the kind by the type; raw ones are taken where `raw_too`. `parts` and `arg` are borrowed. On failure
 * *ret_problem says which kind it is. Clear with body_clear.
 */
int body_init(struct body *b, const struct body_head *head, bool raw_too, const struct multipart_ops *parts, void *arg,
              enum problem *ret_problem, struct err *err) MUST_CHECK;
void body_clear(struct body *b); /* fine for a zeroed one */
/* Any negative return ends it: INVALID of the parser's own, or what an operation of `parts` returned. */
int body_feed(struct body *b, const void *data, size_t n, struct err *err) MUST_CHECK;
int body_finish(struct body *b, struct err *err) MUST_CHECK;

#endif
