/* SPDX-License-Identifier: MIT */
#include "audio/pcm.h"

#include <dirent.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <unistd.h>

#include <cmocka.h>

static char folder[] = "/tmp/steno-pcm-XXXXXX";

static int setup(void **state)
{
    (void)state;
    return mkdtemp(folder) ? 0 : -1;
}

static int teardown(void **state)
{
    (void)state;
    return rmdir(folder); /* fails when something was left behind */
}

static int16_t sample(int64_t i)
{
    return (int16_t)(i * 7919);
}

static void test_what_went_in_comes_out_in_any_pieces(void **state)
{
    (void)state;
    struct err e = ERR_INIT;
    struct pcm *p;
    assert_int_equal(pcm_new(folder, &p, &e), 0);
    assert_int_equal(pcm_length(p), 0);
    int16_t piece[1000];
    int64_t total = 0;
    for (int round = 0; round < 200; round++) {
        size_t n = (size_t)(round * 37 % 1000);
        for (size_t i = 0; i < n; i++)
            piece[i] = sample(total + (int64_t)i);
        assert_int_equal(pcm_append(p, piece, n, &e), 0);
        total += (int64_t)n;
        assert_int_equal(pcm_length(p), total);
    }
    for (int64_t at = 0; at < total; at += 777) {
        struct span s = {at, at + 1000 < total ? at + 1000 : total};
        assert_int_equal(pcm_read(p, s, piece, &e), 0);
        for (int64_t i = s.start; i < s.end; i++)
            assert_int_equal(piece[i - s.start], sample(i));
    }
    pcm_free(p);
}

static void test_reads_outside_are_refused(void **state)
{
    (void)state;
    struct err e = ERR_INIT;
    struct pcm *p;
    assert_int_equal(pcm_new(folder, &p, &e), 0);
    int16_t x[10] = {0};
    assert_int_equal(pcm_append(p, x, 10, &e), 0);
    static const struct span bad[] = {{-1, 3}, {0, 11}, {5, 4}, {INT64_MAX - 1, INT64_MAX}};
    for (size_t i = 0; i < ARRAY_LEN(bad); i++)
        assert_int_equal(pcm_read(p, bad[i], x, &e), ERR_INTERNAL);
    assert_int_equal(pcm_read(p, (struct span){10, 10}, x, &e), 0);
    pcm_free(p);
}

static void test_nothing_stands_in_the_folder(void **state)
{
    (void)state;
    struct err e = ERR_INIT;
    struct pcm *p;
    assert_int_equal(pcm_new(folder, &p, &e), 0);
    DIR *d = opendir(folder);
    assert_non_null(d);
    int entries = 0;
    while (readdir(d))
        entries++;
    closedir(d);
    assert_int_equal(entries, 2); /* . and .. */
    pcm_free(p);
}

static void test_errors_say_where(void **state)
{
    (void)state;
    struct err e = ERR_INIT;
    struct pcm *p = NULL;
    assert_int_equal(pcm_new("/nowhere/at/all", &p, &e), ERR_NOT_FOUND);
    assert_non_null(strstr(e.msg, "/nowhere/at/all"));
    assert_null(p);

    /* A file that may not grow is what a full disk looks like to a writer. */
    assert_int_equal(pcm_new(folder, &p, &e), 0);
    struct rlimit was;
    getrlimit(RLIMIT_FSIZE, &was);
    signal(SIGXFSZ, SIG_IGN);
    setrlimit(RLIMIT_FSIZE, &(struct rlimit){4096, was.rlim_max});
    int16_t x[4096] = {0};
    int rc = pcm_append(p, x, ARRAY_LEN(x), &e);
    setrlimit(RLIMIT_FSIZE, &was);
    assert_int_equal(rc, ERR_UNAVAILABLE);
    assert_int_equal(pcm_length(p), 0);
    /* The next try writes the same place again. */
    assert_int_equal(pcm_append(p, x, ARRAY_LEN(x), &e), 0);
    assert_int_equal(pcm_length(p), ARRAY_LEN(x));
    pcm_free(p);
    pcm_free(NULL);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_what_went_in_comes_out_in_any_pieces),
        cmocka_unit_test(test_reads_outside_are_refused),
        cmocka_unit_test(test_nothing_stands_in_the_folder),
        cmocka_unit_test(test_errors_say_where),
    };
    return cmocka_run_group_tests(tests, setup, teardown);
}
