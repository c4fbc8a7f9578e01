/* SPDX-License-Identifier: MIT */
/* What is made from the command table for readers outside the program. */
#ifndef CLI_DOCS_H
#define CLI_DOCS_H

#include "base/buf.h"

void docs_man(struct buf *b);        /* steno(1), troff with man macros */
void docs_markdown(struct buf *b);   /* docs/commands.md */
void docs_api(struct buf *b);        /* docs/api.md */
void docs_metrics(struct buf *b);    /* docs/metrics.md */
void docs_completion(struct buf *b); /* for bash */

#endif
