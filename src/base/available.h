/* SPDX-License-Identifier: MIT */
/* How much memory a large allocation may still take. */
#ifndef BASE_AVAILABLE_H
#define BASE_AVAILABLE_H

#include <stdint.h>

/*
 * Bytes that this process could use more without pushing anything out to swap: what the machine has left, and what each
 * control group around the process (a container, a systemd service) has left of its limit. INT64_MAX when nobody says.
 */
int64_t available_memory(void);
/* The same with other places than /proc and /sys/fs/cgroup. */
int64_t available_memory_in(const char *proc, const char *cgroup);

#endif
