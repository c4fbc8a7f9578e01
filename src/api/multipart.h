/* SPDX-License-Identifier: MIT */
/*
 * multipart/form-data (RFC 7578) as a strict streaming parser: bytes in, parts out. Pure: no I/O, no HTTP.
 *
 * The body may come in pieces of any size. What it says of a body is exact: a body that stops before its closing
 * boundary is told from a whole one, and whatever is not well formed is an error with a sentence. Memory is bounded:
 * one part's header lines (MULTIPART_HEADER_MAX bytes) are the most it ever holds.
 *
 * One thread at a time.
 */
#ifndef API_MULTIPART_H
#define API_MULTIPART_H

#include "base/buf.h"
#include "base/err.h"
#include "base/mem.h"

#include <stddef.h>

enum {
    MULTIPART_BOUNDARY_MAX = 70, /* RFC 2046 */
    MULTIPART_HEADER_MAX = 8192, /* all header lines of one part */
    MULTIPART_PARTS_MAX = 100,
};

/* What the header lines of a part say. Texts are NUL-terminated, as sent (not checked to be UTF-8) and borrowed. */
struct multipart_part {
    const char *name;         /* of the form field; never NULL */
    const char *filename;     /* NULL: none given; filename* wins over filename and is decoded */
    const char *content_type; /* NULL: none given */
};

/* Any negative return ends the parsing; multipart_feed hands it on. */
struct multipart_ops {
    int (*part_begin)(void *arg, const struct multipart_part *part, struct err *err);
    int (*part_data)(void *arg, const void *data, size_t n, struct err *err); /* n > 0; any number of times */
    int (*part_end)(void *arg, struct err *err);
};

enum multipart_state {
    MULTIPART_START,
    MULTIPART_AFTER_DELIMITER,
    MULTIPART_HEADERS,
    MULTIPART_DATA,
    MULTIPART_CLOSED,
    MULTIPART_FAILED,
};

struct multipart {
    const struct multipart_ops *ops;
    void *arg;
    enum multipart_state state;
    char delimiter[4 + MULTIPART_BOUNDARY_MAX + 1]; /* CR LF "--" boundary */
    size_t delimiter_len;
    size_t matched; /* bytes of the delimiter seen at the end of what came */
    char after[2];  /* what follows a delimiter, until it is clear */
    size_t n_after;
    struct buf header; /* the line being read */
    size_t header_bytes;
    unsigned n_parts;
    struct arena part_arena;
    struct multipart_part part;
    bool has_disposition;
};

/*
 * Takes the boundary out of a Content-Type value. UNSUPPORTED: it is not multipart/form-data (or NULL); INVALID: its
 * boundary is missing or malformed.
 */
int multipart_boundary(const char *content_type, char ret[MULTIPART_BOUNDARY_MAX + 1], struct err *err) MUST_CHECK;

/* `boundary` as from above; ops and arg are borrowed. Clear with multipart_clear. */
void multipart_init(struct multipart *m, const char *boundary, const struct multipart_ops *ops, void *arg);
void multipart_clear(struct multipart *m);
/* INVALID: malformed; else what an operation returned. After an error every further call is INVALID. */
int multipart_feed(struct multipart *m, const void *data, size_t n, struct err *err) MUST_CHECK;
/* The body is over: INVALID when the closing boundary did not come. */
int multipart_finish(struct multipart *m, struct err *err) MUST_CHECK;

#endif
