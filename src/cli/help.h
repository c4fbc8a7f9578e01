/* SPDX-License-Identifier: MIT */
/* --help, from the command table. */
#ifndef CLI_HELP_H
#define CLI_HELP_H

#include "base/buf.h"
#include "cli/commands.h"

/* The overview of all commands. */
void help_overview(struct buf *b);
/* One command: usage, flags, settings. */
void help_command(struct buf *b, const struct cmd *c);
/* The commands whose first word is this. */
void help_group(struct buf *b, const char *word);
/* Every setting, by group. */
void help_settings(struct buf *b);
/* A command's help as a sentence: capital letter, full stop. */
void help_sentence(struct buf *b, const char *help);
/* Text wrapped to 100 columns, further lines behind `indent` blanks, where the first stands already. */
void help_wrap(struct buf *b, size_t indent, const char *text);
/* "  --format FORMAT, -f" padded, then text wrapped to 100 columns. */
void help_row(struct buf *b, const char *left, const char *text);

#endif
