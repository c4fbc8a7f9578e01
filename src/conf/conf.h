/* SPDX-License-Identifier: MIT */
/*
 * Settings: one table (conf/options.h) makes the INI file, `.env`, environment, flags, `steno config`, the sample file
 * and docs/configuration.md; a second one (conf/alias.c) says what settings of other systems mean here.
 *
 * Order, later wins: defaults, configuration file, `.env`, environment, command line. Within one source an option's
 * own name wins over an alias. An empty value in the environment or in `.env` counts as not set.
 *
 * A struct conf is read-only after conf_load, so any thread may read it; all its strings live as long as it does.
 */
#ifndef CONF_CONF_H
#define CONF_CONF_H

#include "base/buf.h"
#include "base/err.h"
#include "base/mem.h"
#include "conf/options.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* type, C type of the field, its member in union conf_value (conf/option.h) */
#define CONF_TYPES(X)                                                                           \
    X(STRING, const char *, s)                                                                  \
    X(LIST, const char *, s)   /* comma separated; kept as one string */                        \
    X(URL, const char *, s)    /* starts with one of the choices; a password in it is masked */ \
    X(CHOICE, const char *, s) /* one of the choices, spelled as in the table */                \
    X(INT, int64_t, i)                                                                          \
    X(DURATION, int64_t, i) /* milliseconds; "30s", "20m" or a bare number of `unit` */         \
    X(BYTES, int64_t, i)    /* "500M" or a bare number of `unit` */                             \
    X(BOOL, bool, b)        /* yes no, true false, on off, 1 0 */

enum conf_type {
#define X(type, ctype, member) CONF_##type,
    CONF_TYPES(X)
#undef X
};

/* conf_STRING and so on: so that a row's type decides the type of its field. */
#define X(type, ctype, member) typedef ctype conf_##type;
CONF_TYPES(X)
#undef X

enum { CONF_SECRET = 1 << 0, CONF_RELOAD = 1 << 1 };

/*
 * The values, one field a row of CONF_OPTIONS: see there for meaning and range. Texts are never NULL: "" is "not set".
 * Resolved by conf_load: `data` and `temp` are absolute; so are the paths in `database` ("sqlite:/..."), `storage`
 * ("file:/...") and `broker` ("local:/...").
 */
struct conf {
#define X(group, name, type, def, min, max, unit, choices, flags, help) conf_##type name;
    CONF_OPTIONS(X)
#undef X
    struct conf_origin *origin; /* where each value came from, notes, memory: private to src/conf */
};

/* One row of the table, for help texts, man page and completion. Static. */
struct conf_option {
    const char *group, *name;
    enum conf_type type;
    const char *def;
    int64_t min, max, unit;
    const char *choices; /* or NULL */
    unsigned flags;
    const char *help;
    size_t offset; /* of the field in struct conf */
};

const struct conf_option *conf_options(size_t *ret_n);
/* By name; '-' and '_' are the same here. NULL: no such option. */
const struct conf_option *conf_option_find(const char *name);
/* The name nearest to a misspelled one, for "did you mean"; NULL: nothing is near. */
const char *conf_option_near(const char *name);
/* "fifo or lifo", "1s to 7d; a bare number counts seconds", "text" ... */
void conf_option_add_values(const struct conf_option *o, struct buf *b);

/* Where a value came from; later ones win. */
enum conf_source { CONF_FROM_DEFAULT, CONF_FROM_FILE, CONF_FROM_DOTENV, CONF_FROM_ENV, CONF_FROM_FLAG };

struct conf_load_opts {
    const char *file;           /* --config; NULL: STENO_CONFIG, else steno.ini in the data folder when there */
    const char *dotenv;         /* NULL: ".env" in the working folder when there; "": none */
    const char *const *environ; /* "NAME=value" list, NULL-terminated; NULL: none */
    const char *const *flags;   /* "name=value" list from the command line, NULL-terminated; NULL: none */
};

/*
 * Reads all sources. Errors: INVALID (unknown name, value out of range, broken file: names the place and what is
 * allowed), NOT_FOUND and others of a file that cannot be read, TOO_LARGE. Free with conf_free (NULL is fine).
 */
int conf_load(const struct conf_load_opts *o, struct conf **ret, struct err *err) MUST_CHECK;
void conf_free(struct conf *c);
/*
 * For SIGHUP: reads all sources again. *ret holds the new values of options with CONF_RELOAD and those of `old` for all
 * others; conf_note then also names each setting that changed and needs a restart. `old` stays as it is.
 */
int conf_reload(const struct conf *old, const struct conf_load_opts *o, struct conf **ret, struct err *err) MUST_CHECK;

/* The i-th sentence the program should log once at start: what an alias came to mean, what has no effect. NULL past
 * the last. */
const char *conf_note(const struct conf *c, size_t i);
/* The configuration file that was read, or NULL. */
const char *conf_file(const struct conf *c);
/* "default", "/etc/steno.ini:12", "environment STENO_LEASE", "flag --lease" ...; `name` is an option's. */
const char *conf_where(const struct conf *c, const char *name);
/* An absolute path as it is, a relative one in the data folder. NULL when the arena is full. */
char *conf_path(const struct conf *c, struct arena *a, const char *path) MUST_CHECK;

/* Appends a URL with the password in it as "***". */
void conf_add_masked_url(struct buf *b, const char *url);
/* `steno config print`: an INI file with every value, and where it came from as a comment; secrets are "***". */
void conf_print(const struct conf *c, struct buf *b);
/*
 * What may be told to whoever asks, as a JSON object of texts: numbers, times, sizes and choices. Never texts, lists
 * and addresses, which may be secret or say where things are.
 */
void conf_tell(const struct conf *c, struct buf *b);
/* `steno config sample`: a commented INI file with every option at its default. */
void conf_sample(struct buf *b);
/* docs/configuration.md. */
void conf_docs(struct buf *b);

#endif
