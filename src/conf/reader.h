/* SPDX-License-Identifier: MIT */
/*
 * The two file formats, as a stream of key and value: what a name means is the caller's business. Private to src/conf.
 *
 * INI: `key = value` lines, `[section]` lines, comments on lines of their own (`#` or `;` first) or behind a value,
 * after a blank. A value in "double quotes" is taken literally (\" and \\ inside), also with blanks or `#` in it.
 *
 * .env: `KEY=value` lines, `export ` may stand before; 'literal', "with \n \t \" \\ \$ inside" or bare values (up to a
 * blank and `#`). Quoted values may span lines. Variables are not expanded.
 *
 * Both: strict UTF-8, a byte order mark and \r\n are accepted, at most READER_MAX bytes.
 */
#ifndef CONF_READER_H
#define CONF_READER_H

#include "base/err.h"

#include <stdbool.h>
#include <stddef.h>

enum { READER_MAX = 256 * 1024 };

struct conf_line {
    const char *file;
    int line;            /* from 1; where the key stands */
    const char *section; /* "" before the first one and in .env */
    const char *key;     /* never empty */
    const char *value;   /* may be empty */
    bool bare;           /* not in quotes */
};

/* Borrowed for the call. A negative return ends the reading and is passed on. */
typedef int (*conf_line_fn)(const struct conf_line *l, void *arg, struct err *err);

/* `text` has n bytes and a NUL behind; it is cut up in place. `file` is for messages. INVALID names file and line. */
int conf_read_ini(const char *file, char *text, size_t n, conf_line_fn fn, void *arg, struct err *err) MUST_CHECK;
int conf_read_dotenv(const char *file, char *text, size_t n, conf_line_fn fn, void *arg, struct err *err) MUST_CHECK;

#endif
