/* SPDX-License-Identifier: MIT */
/*
 * A role that starts itself again: exec of this program with its own arguments, in this process. To a supervisor,
 * systemd or a container nothing has happened, and none of them is needed.
 */
#ifndef CLI_REPLACE_H
#define CLI_REPLACE_H

#include "base/err.h"

/* How often this process has been replaced so far. */
unsigned replace_count(void);
/*
 * Ends all children and starts again; on success it does not return. Works whatever threads there are and whatever they
 * do. CANCELLED: the process was asked to stop meanwhile, which an exec would forget. INTERNAL: exec failed.
 */
int replace_process(char **argv, struct err *err) MUST_CHECK;

#endif
