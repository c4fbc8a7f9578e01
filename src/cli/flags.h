/* SPDX-License-Identifier: MIT */
/*
 * The command line against the tables: a command's own flags, then (with NEED_CONF) every option of the configuration.
 *
 * "--name value", "--name=value", "-x value", "-xvalue"; switches and yes/no options take a value only with "=".
 * "--" ends the flags. A flag given twice: the later one counts.
 */
#ifndef CLI_FLAGS_H
#define CLI_FLAGS_H

#include "cli/commands.h"

#include <stdbool.h>

/* Names a configuration file; taken by every command with NEED_CONF. */
#define CONFIG_FLAG "config"

struct flags {
    const struct cmd *cmd;
    const char **values; /* one per row of cmd->flags; NULL: not given */
    char **conf;         /* "name=value" list for conf_load, NULL-terminated */
    size_t n_conf;
    const char *config; /* --config */
    bool help;
    int argc; /* what is left: positional arguments; argv borrowed from the command line, reordered */
    char **argv;
};

/* INVALID names the flag and what to do. Free with flags_free, also after a failure. */
int flags_parse(const struct cmd *cmd, int argc, char **argv, struct flags **ret, struct err *err) MUST_CHECK;
void flags_free(struct flags *f); /* NULL is fine */
/* See app_flag. */
const char *flags_get(const struct flags *f, const char *name);

#endif
