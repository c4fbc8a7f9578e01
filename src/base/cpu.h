/* SPDX-License-Identifier: MIT */
/* How many processors there are to compute with. */
#ifndef BASE_CPU_H
#define BASE_CPU_H

/*
 * Cores this process may use: of the processors it is allowed on, those that share a core count once (a second thread
 * on a core's vector units slows the first), and never more than the control group's quota of processor time, rounded
 * up. At least 1.
 */
unsigned cpu_cores(void);

/* The parts of cpu_cores, for tests. `sys`: "/sys"; the other two as cgroup_walk takes them. */
unsigned cpu_cores_in(const char *sys, const int *cpus, unsigned n_cpus);
/* Processors' worth of time by the quotas of this group and all above it; 0: no limit. */
unsigned cpu_quota_in(const char *cgroup, const char *group_file);

#endif
