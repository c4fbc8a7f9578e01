/* SPDX-License-Identifier: MIT */
#include "worker/limits.h"

#include "base/macros.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

enum { S = 1000, MIN_MS = 60 * S, HOUR = 60 * MIN_MS };

static const struct {
    struct job_limits l;
    int64_t duration, soft, patience;
} cases[] = {
    {{.soft_ms = HOUR}, 0, HOUR, LIMITS_PATIENCE_MS},
    {{.soft_ms = HOUR, .hard_ms = HOUR + MIN_MS}, 0, HOUR, MIN_MS},
    {{.soft_ms = HOUR, .hard_ms = HOUR + MIN_MS}, 10 * HOUR, HOUR, MIN_MS}, /* not scaled */
    /* Only the hard one, or one that comes first: it is both, with a moment to stop in. */
    {{.hard_ms = HOUR}, 0, HOUR, LIMITS_PATIENCE_MIN_MS},
    {{.soft_ms = 2 * HOUR, .hard_ms = HOUR}, 0, HOUR, LIMITS_PATIENCE_MIN_MS},
    {{.soft_ms = HOUR, .hard_ms = HOUR}, 0, HOUR, LIMITS_PATIENCE_MIN_MS},
    /* By the length of the recording, once it is known; never shorter. */
    {{.soft_ms = HOUR, .factor = 3}, 0, HOUR, LIMITS_PATIENCE_MS},
    {{.soft_ms = HOUR, .factor = 3}, 10 * MIN_MS, HOUR, LIMITS_PATIENCE_MS},
    {{.soft_ms = HOUR, .factor = 3}, 2 * HOUR, 6 * HOUR, LIMITS_PATIENCE_MS},
    {{.soft_ms = HOUR, .hard_ms = HOUR + MIN_MS, .factor = 1}, 2 * HOUR, 2 * HOUR, MIN_MS},
    {{.soft_ms = HOUR, .factor = 1000}, INT64_MAX / 2, INT64_MAX, LIMITS_PATIENCE_MS},
    /* Without a limit nothing is scaled; what is told to stop for another reason must stop all the same. */
    {{.factor = 3}, 2 * HOUR, 0, LIMITS_PATIENCE_MS},
    {{.fails = true}, 0, 0, LIMITS_PATIENCE_MS},
};

static void test_limits(void **state)
{
    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        assert_int_equal(limits_soft_ms(&cases[i].l, cases[i].duration), cases[i].soft);
        assert_int_equal(limits_patience_ms(&cases[i].l), cases[i].patience);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_limits)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
