/* SPDX-License-Identifier: MIT */
/*
 * Settings: one table (conf/options.h) makes the INI file, `.env`, environment, flags, `steno config`, the sample file
 * and docs/configuration.md.
 *
 * Order, later wins: defaults, configuration file, `.env`, environment, command line. Within one source an option's
 * own name wins over an alias. The result is read-only after conf_load; strings live as long as the struct.
 */
#ifndef CONF_CONF_H
#define CONF_CONF_H

#include "base/buf.h"
#include "base/err.h"
#include "base/mem.h"

#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>

enum conf_type {
    CONF_STRING,
    CONF_LIST, /* comma separated; kept as one string */
    CONF_INT,
    CONF_BOOL,     /* yes/no, true/false, on/off, 1/0 */
    CONF_DURATION, /* milliseconds; "30s", "20m" or a bare number in `unit` */
    CONF_BYTES,    /* "500M" or a bare number in `unit` */
    CONF_CHOICE,   /* one of `choices` */
};

/* The values. Each field is named by a row of CONF_OPTIONS in options.h; see there for meaning, range and default. */
struct conf;

enum conf_source { CONF_FROM_DEFAULT, CONF_FROM_FILE, CONF_FROM_DOTENV, CONF_FROM_ENV, CONF_FROM_FLAG };

struct conf_load_opts {
    const char *file;           /* --config; NULL: STENO_CONFIG, else steno.ini in the data folder when there */
    const char *dotenv;         /* NULL: ".env" in the working folder when there */
    const char *const *environ; /* "NAME=value" list */
    const char *const *flags;   /* "name=value" list from the command line, NULL-terminated; NULL: none */
};

/* Reads all sources. INVALID names file, line and allowed range. Free with conf_free. */
int conf_load(const struct conf_load_opts *o, struct conf **ret, struct err *err) MUST_CHECK;
void conf_free(struct conf *c);

#endif
