/* SPDX-License-Identifier: MIT */
/* Counting cores on made-up machines: a folder in the shape of /sys, a file in that of /proc/self/cgroup. */
#include "base/cpu.h"

#include "base/io.h"
#include "base/mem.h"

#include <fcntl.h>
#include <sched.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

struct machine {
    char sys[64];
};

static int setup(void **state)
{
    struct machine *m = xcalloc(1, sizeof *m);
    snprintf(m->sys, sizeof m->sys, "/tmp/steno-cpu-XXXXXX");
    *state = m;
    return mkdtemp(m->sys) ? 0 : -1;
}

static int teardown(void **state)
{
    struct machine *m = *state;
    struct err err = ERR_INIT;
    int rc = io_remove_tree(m->sys, &err);
    free(m);
    return rc;
}

static void write_file(const struct machine *m, const char *name, const char *text)
{
    struct err err = ERR_INIT;
    CLEANUP(free_p) char *path = xasprintf("%s/%s", m->sys, name), *folder = xstrdup(path);
    *strrchr(folder, '/') = 0;
    assert_int_equal(io_mkdir_p(folder, &err), 0);
    int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
    assert_true(fd >= 0);
    assert_int_equal(io_write_all(fd, text, strlen(text), &err), 0);
    close(fd);
}

static void test_threads_of_a_core_count_once(void **state)
{
    const struct machine *m = *state;
    static const char *const siblings[] = {"0,4\n", "1,5\n", "2-3\n", "2-3\n", "0,4\n", "1,5\n"};
    static const struct {
        int cpus[8];
        unsigned n, cores;
    } rows[] = {
        {{0, 1, 2, 3, 4, 5}, 6, 3},
        {{0}, 1, 1},
        {{4, 5}, 2, 2}, /* their cores' first threads are not ours */
        {{0, 4}, 2, 1},
        {{6, 7}, 2, 2}, /* nothing is known of them */
        {{0}, 0, 1},
    };
    for (size_t i = 0; i < ARRAY_LEN(siblings); i++) {
        CLEANUP(free_p)
        char *name = xasprintf("devices/system/cpu/cpu%zu/topology/thread_siblings_list", i);
        write_file(m, name, siblings[i]);
    }
    for (size_t i = 0; i < ARRAY_LEN(rows); i++)
        assert_int_equal(cpu_cores_in(m->sys, rows[i].cpus, rows[i].n), rows[i].cores);
}

static unsigned quota(const struct machine *m, const char *groups)
{
    write_file(m, "cgroup", groups);
    CLEANUP(free_p) char *path = xasprintf("%s/cgroup", m->sys), *mount = xasprintf("%s/fs/cgroup", m->sys);
    return cpu_quota_in(mount, path);
}

static void test_quota_of_version_2(void **state)
{
    const struct machine *m = *state;
    write_file(m, "fs/cgroup/a/b/cpu.max", "max 100000\n");
    write_file(m, "fs/cgroup/a/cpu.max", "250000 100000\n");
    assert_int_equal(quota(m, "0::/a/b\n"), 3);
    assert_int_equal(quota(m, "0::/\n"), 0);
    /* In a container the path may be one of the host's; what is mounted is the container's own group. */
    write_file(m, "fs/cgroup/cpu.max", "50000 100000\n");
    assert_int_equal(quota(m, "0::/docker/0123\n"), 1);
    assert_int_equal(quota(m, "0::/a/b\n"), 1);
    write_file(m, "fs/cgroup/cpu.max", "nonsense\n");
    assert_int_equal(quota(m, "0::/docker/0123\n"), 0);
}

static void test_quota_of_version_1(void **state)
{
    const struct machine *m = *state;
    write_file(m, "fs/cgroup/cpu,cpuacct/x/cpu.cfs_quota_us", "200000\n");
    write_file(m, "fs/cgroup/cpu,cpuacct/x/cpu.cfs_period_us", "100000\n");
    write_file(m, "fs/cgroup/cpuset/x/cpu.cfs_quota_us", "100000\n");
    write_file(m, "fs/cgroup/cpuset/x/cpu.cfs_period_us", "100000\n");
    assert_int_equal(quota(m, "4:cpu,cpuacct:/x\n3:cpuset:/x\n0::/\n"), 2);
    write_file(m, "fs/cgroup/cpu,cpuacct/x/cpu.cfs_quota_us", "-1\n");
    assert_int_equal(quota(m, "4:cpu,cpuacct:/x\n3:cpuset:/x\n0::/\n"), 0);
}

static void test_no_such_files(void **state)
{
    const struct machine *m = *state;
    assert_int_equal(cpu_quota_in(m->sys, "/nowhere"), 0);
    assert_int_equal(quota(m, "no colons\n4:cpu\n"), 0);
}

static void test_this_machine(void **state)
{
    (void)state;
    cpu_set_t set;
    assert_int_equal(sched_getaffinity(0, sizeof set, &set), 0);
    assert_true(cpu_cores() >= 1 && cpu_cores() <= (unsigned)CPU_COUNT(&set));
    /* One processor is one core. */
    cpu_set_t one;
    CPU_ZERO(&one);
    for (int i = 0; i < CPU_SETSIZE && !CPU_COUNT(&one); i++)
        if (CPU_ISSET(i, &set))
            CPU_SET(i, &one);
    assert_int_equal(sched_setaffinity(0, sizeof one, &one), 0);
    assert_int_equal(cpu_cores(), 1);
    assert_int_equal(sched_setaffinity(0, sizeof set, &set), 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_threads_of_a_core_count_once, setup, teardown),
        cmocka_unit_test_setup_teardown(test_quota_of_version_2, setup, teardown),
        cmocka_unit_test_setup_teardown(test_quota_of_version_1, setup, teardown),
        cmocka_unit_test_setup_teardown(test_no_such_files, setup, teardown),
        cmocka_unit_test(test_this_machine),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
