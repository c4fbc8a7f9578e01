/* SPDX-License-Identifier: MIT */
/*
 * A store that fails as told, around any other: what storage does to those above it when it is in trouble. Only in
 * builds with -Dfaults=true, where STENO_STORAGE_FAULT in the environment puts one around the store of the process.
 *
 *   fail:N   the N-th operation is not done and fails          every:N   so does each N-th
 *   lost:N   the N-th is done, but said to have failed         cut:N     the N-th write is done by half, then fails
 */
#ifndef STORAGE_STORAGE_FAULT_H
#define STORAGE_STORAGE_FAULT_H

#include "storage/storage.h"

/* Takes the store also on failure (INVALID: the plan). Failures are UNAVAILABLE, a lost commit is UNCERTAIN. */
int storage_fault_wrap(struct storage *inner, const char *plan, struct storage **ret, struct err *err) MUST_CHECK;
/* Operations counted so far, and whether a fault struck since the last call. */
unsigned storage_fault_count(const struct storage *s);
bool storage_fault_struck(struct storage *s);

#endif
