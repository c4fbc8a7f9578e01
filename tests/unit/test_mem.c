/* SPDX-License-Identifier: MIT */
#include "base/mem.h"

#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

static void test_arena_pieces(void **state)
{
    (void)state;
    struct arena a = ARENA_INIT;
    struct {
        unsigned char *p;
        size_t n;
    } got[400];
    for (size_t i = 0; i < ARRAY_LEN(got); i++) {
        /* Small ones, some that fill a block, some larger than one. */
        got[i].n = i % 50 == 49 ? 9000 : i % 20 == 19 ? 4000 : i % 37;
        got[i].p = arena_alloc(&a, got[i].n);
        assert_non_null(got[i].p);
        assert_int_equal((uintptr_t)got[i].p % _Alignof(max_align_t), 0);
        for (size_t k = 0; k < got[i].n; k++)
            assert_int_equal(got[i].p[k], 0);
        memset(got[i].p, (int)(i & 0xFF), got[i].n);
    }
    /* No piece lies in another. */
    for (size_t i = 0; i < ARRAY_LEN(got); i++)
        for (size_t k = 0; k < got[i].n; k++)
            assert_int_equal(got[i].p[k], i & 0xFF);
    arena_clear(&a);
    assert_int_equal(a.used, 0);
    char *again = arena_strdup(&a, "used again");
    assert_string_equal(again, "used again");
    arena_clear(&a);
}

static void test_arena_maximum(void **state)
{
    (void)state;
    struct arena a = {.max = 160};
    assert_non_null(arena_alloc(&a, 150)); /* takes 160 */
    assert_null(arena_alloc(&a, 1));
    assert_null(arena_strdup(&a, ""));
    arena_clear(&a);
    assert_null(arena_alloc(&a, 161));
    /* Small pieces count what they really take. */
    size_t n = 0;
    while (arena_alloc(&a, 1))
        n++;
    assert_int_equal(n, 10);
    arena_clear(&a);
    a.max = SIZE_MAX;
    assert_null(arena_alloc(&a, SIZE_MAX));
    assert_null(arena_alloc(&a, SIZE_MAX - 8));
    assert_null(arena_dup(&a, "", SIZE_MAX));
    assert_int_equal(a.used, 0);
}

static void test_a_large_piece_keeps_the_newest_block(void **state)
{
    (void)state;
    struct arena a = ARENA_INIT;
    char *one = arena_alloc(&a, 16), *large = arena_alloc(&a, 100000), *two = arena_alloc(&a, 16);
    assert_non_null(large);
    assert_ptr_equal(two, one + 16);
    arena_clear(&a);
    large = arena_alloc(&a, 100000); /* a large one first */
    assert_non_null(large);
    assert_non_null(arena_alloc(&a, 16));
    arena_clear(&a);
}

static void test_arena_texts(void **state)
{
    (void)state;
    struct arena a = ARENA_INIT;
    assert_string_equal(arena_dup(&a, "abcdef", 3), "abc");
    assert_string_equal(arena_dup(&a, NULL, 0), "");
    assert_memory_equal(arena_dup(&a, "a\0b", 3), "a\0b", 4);
    assert_null(arena_strdup(&a, NULL));
    char *big = malloc(10001);
    assert_non_null(big);
    memset(big, 'x', 10000);
    big[10000] = '\0';
    char *s = arena_printf(&a, "%d-%s", 42, big);
    assert_non_null(s);
    assert_int_equal(strlen(s), 10003);
    assert_memory_equal(s, "42-xxx", 6);
    a.max = a.used + 16;
    assert_null(arena_printf(&a, "%s", big));
    assert_string_equal(arena_printf(&a, "%s", "fits"), "fits");
    free(big);
    arena_clear(&a);
}

static void test_x_functions(void **state)
{
    (void)state;
    unsigned char *p = xcalloc(3, 5);
    for (int i = 0; i < 15; i++)
        assert_int_equal(p[i], 0);
    free(p);
    p = xcalloc(0, 0); /* never NULL */
    assert_non_null(p);
    free(p);
    char *s = xstrdup("text");
    assert_string_equal(s, "text");
    free(s);
    assert_null(xstrdup(NULL));
    s = xasprintf("%s %d", "number", 5);
    assert_string_equal(s, "number 5");
    free(s);
}

static int scoped_fd(void)
{
    CLEANUP(close_fd) int fd = open("/dev/null", O_RDONLY | O_CLOEXEC);
    assert_true(fd >= 0);
    return fd;
}

static void test_cleanups(void **state)
{
    (void)state;
    int fd = scoped_fd();
    assert_int_equal(fcntl(fd, F_GETFD), -1);
    int none = -1;
    close_fd(&none);
    CLEANUP(free_p) char *kept = xstrdup("kept");
    char *out = TAKE(kept);
    assert_null(kept);
    assert_string_equal(out, "kept");
    free(out);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_arena_pieces),
        cmocka_unit_test(test_arena_maximum),
        cmocka_unit_test(test_a_large_piece_keeps_the_newest_block),
        cmocka_unit_test(test_arena_texts),
        cmocka_unit_test(test_x_functions),
        cmocka_unit_test(test_cleanups),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
