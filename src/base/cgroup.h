/* SPDX-License-Identifier: MIT */
/* The control groups around this process (a container, a systemd service): each may limit what it gets. */
#ifndef BASE_CGROUP_H
#define BASE_CGROUP_H

#include <stdbool.h>
#include <stdint.h>

/* `folder`: of one group; `v2`: version 2 of control groups, whose files have other names. */
typedef void (*cgroup_fn)(const char *folder, bool v2, void *arg);

/*
 * Calls fn for each group from ours up to the root, in every hierarchy that has the controller ("cpu", "memory").
 * Groups that cannot be read are skipped. `mount`: "/sys/fs/cgroup"; `group_file`: "/proc/self/cgroup".
 */
void cgroup_walk(const char *mount, const char *group_file, const char *controller, cgroup_fn fn, void *arg);

#endif
