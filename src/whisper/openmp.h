/* SPDX-License-Identifier: MIT */
/*
 * OpenMP reads its settings once, when the program is loaded: a process that computes must be started with them. So
 * a command that runs engines starts itself again (exec: same process, same descriptors) with the settings in its
 * environment.
 */
#ifndef WHISPER_OPENMP_H
#define WHISPER_OPENMP_H

#include "base/err.h"

/*
 * Returns 0 when this is the second start; otherwise does not return. `threads`: 0 for what OMP_NUM_THREADS says, else
 * one for each core. Call before any thread is started. SIGHUP is blocked when it returns: see stop_hold. INTERNAL:
 * exec failed.
 */
int openmp_start(unsigned threads, char **argv, struct err *err) MUST_CHECK;

#endif
