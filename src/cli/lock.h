/* SPDX-License-Identifier: MIT */
/* One `steno serve` per data folder: flock on <data>/lock, which holds the pid of who has it. */
#ifndef CLI_LOCK_H
#define CLI_LOCK_H

#include "base/err.h"

/* *ret_fd holds the lock until it is closed or the process ends, however. CONFLICT: somebody has it. */
int lock_data(const char *folder, int *ret_fd, struct err *err) MUST_CHECK;

#endif
