/* SPDX-License-Identifier: MIT */
/*
 * Private temporary folders that do not outlive their process for long: a locked file in each says that its owner
 * lives, so that the next process can remove what a killed one left, and nothing else.
 */
#ifndef WORKER_TEMP_H
#define WORKER_TEMP_H

#include "base/err.h"

struct temp;

/* Makes a private folder (0700) in `parent`, and that when missing. */
int temp_open(const char *parent, struct temp **ret, struct err *err) MUST_CHECK;
/* The folder to use, empty at first. */
const char *temp_path(const struct temp *t);
/* Removes it with all in it. NULL is fine. */
void temp_close(struct temp *t);

/* Removes what dead processes left below `parent`; *ret_removed counts folders. Safe beside living ones. */
int temp_sweep(const char *parent, int *ret_removed, struct err *err) MUST_CHECK;

#endif
