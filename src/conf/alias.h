/* SPDX-License-Identifier: MIT */
/*
 * Settings of other systems and what they mean here: one table (alias.c). Private to src/conf.
 *
 * A row is an environment name (also read from .env) or a section and key of an INI file. Most rows set one option from
 * one value; some are a part of a URL that is put together once all sources are read, so that the parts may come from
 * several of them.
 */
#ifndef CONF_ALIAS_H
#define CONF_ALIAS_H

#include "conf/option.h"

enum alias_how {
    ALIAS_COPY,    /* the value as it is */
    ALIAS_SQL,     /* a database URL as SQLAlchemy writes it */
    ALIAS_MIB,     /* a number of megabytes */
    ALIAS_KIB,     /* a number of kilobytes */
    ALIAS_SECONDS, /* a number of seconds */
    ALIAS_RETRIES, /* a number of retries: one less than attempts */
    ALIAS_PART,    /* a part of a URL */
    ALIAS_NOTHING, /* accepted, without effect */
};

/* The URLs that are put together from parts. */
enum alias_url {
    URL_RABBITMQ,
    URL_MINIO_ENDPOINT,
    URL_MINIO_BUCKET,
    URL_DATABASE,
    URL_AWS_BUCKET,
    URL_REDIS,
    URL_COUNT
};

enum alias_part { PART_HOST, PART_PORT, PART_USER, PART_PASSWORD, PART_PATH, PART_SSL, PART_COUNT };

struct conf_alias {
    const char *section; /* NULL: an environment name */
    const char *key;
    enum alias_how how;
    const char *option; /* that it sets, alone or with others; NULL: none */
    const char *help;   /* for the documentation; may be NULL */
    enum alias_url url;
    enum alias_part part;
    bool weak; /* a part that is used beside others, but alone makes no URL */
};

enum { ALIAS_MAX = 96 };

const struct conf_alias *conf_aliases(size_t *ret_n);
/* section NULL: an environment name. NULL: no such alias. */
const struct conf_alias *conf_alias_find(const char *section, const char *key);
/* Is this a section of another system, in which unknown keys are let pass? */
bool conf_alias_section(const char *section);

/* What one alias, or one URL put together from parts, comes to. */
struct alias_result {
    const char *option; /* its name */
    const char *text;   /* to be parsed by the option; NULL: this cannot be used alone and has no effect */
    const char *names;  /* "DATABASE_URL", "host, port of [redis]": who said so */
    const char *where;
    enum conf_source source;
};

/* The value found for an alias, by its place in conf_aliases; text NULL: none. */
struct alias_value {
    const char *text, *where;
    enum conf_source source;
};

/* INVALID names the alias and its place. */
typedef int (*alias_result_fn)(const struct alias_result *r, void *arg, struct err *err);

/*
 * Calls fn for every meaning of the values found, those that matter more first: of two for one option from the same
 * source the first counts. Texts live in `a`.
 */
int conf_alias_resolve(const struct alias_value values[ALIAS_MAX], struct arena *a, alias_result_fn fn, void *arg,
                       struct err *err) MUST_CHECK;

#endif
