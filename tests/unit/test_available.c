/* SPDX-License-Identifier: MIT */
#include "base/available.h"

#include "base/io.h"
#include "base/mem.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

struct file {
    const char *path, *text;
};

static void test_what_is_left(void **state)
{
    (void)state;
    static const struct {
        const char *name;
        struct file files[8];
        int64_t want;
    } rows[] = {
        {"nothing is known", {{0}}, INT64_MAX},
        {"the machine", {{"proc/meminfo", "MemTotal:  9 kB\nMemAvailable:    100 kB\n"}}, 102400},
        {"no limit",
         {{"proc/meminfo", "MemAvailable: 100 kB\n"},
          {"proc/self/cgroup", "0::/a\n"},
          {"sys/a/memory.max", "max\n"},
          {"sys/a/memory.current", "5\n"}},
         102400},
        {"our group",
         {{"proc/meminfo", "MemAvailable: 100 kB\n"},
          {"proc/self/cgroup", "0::/a/b\n"},
          {"sys/a/b/memory.max", "5000\n"},
          {"sys/a/b/memory.current", "4000\n"},
          {"sys/a/b/memory.stat", "anon 7\ninactive_file 300\n"}},
         1300},
        {"the group around it",
         {{"proc/self/cgroup", "1:cpu:/x\n0::/a/b\n"},
          {"sys/a/b/memory.max", "5000\n"},
          {"sys/a/b/memory.current", "4000\n"},
          {"sys/a/memory.max", "4100\n"},
          {"sys/a/memory.current", "4050\n"}},
         50},
        {"a container's root",
         {{"proc/self/cgroup", "0::/\n"}, {"sys/memory.max", "10\n"}, {"sys/memory.current", "20\n"}},
         0},
        {"version 1",
         {{"sys/memory/memory.limit_in_bytes", "1000\n"}, {"sys/memory/memory.usage_in_bytes", "400\n"}},
         600},
    };
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        char folder[] = "/tmp/steno-test-available-XXXXXX";
        struct err err = ERR_INIT;
        assert_non_null(mkdtemp(folder));
        for (const struct file *f = rows[i].files; f->path; f++) {
            CLEANUP(free_p) char *path = xasprintf("%s/%s", folder, f->path), *parent = xstrdup(path);
            *strrchr(parent, '/') = '\0';
            assert_int_equal(io_mkdir_p(parent, &err), 0);
            FILE *out = fopen(path, "w");
            assert_non_null(out);
            fputs(f->text, out);
            fclose(out);
        }
        CLEANUP(free_p) char *proc = xasprintf("%s/proc", folder), *sys = xasprintf("%s/sys", folder);
        int64_t got = available_memory_in(proc, sys);
        if (got != rows[i].want)
            fail_msg("%s: %lld", rows[i].name, (long long)got);
        assert_int_equal(io_remove_tree(folder, &err), 0);
    }
}

static void test_this_machine(void **state)
{
    (void)state;
    int64_t left = available_memory();
    assert_true(left > 0 && left < INT64_MAX);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_what_is_left),
        cmocka_unit_test(test_this_machine),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
