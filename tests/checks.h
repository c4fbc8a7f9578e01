/* SPDX-License-Identifier: MIT */
/* Calls that end with `e` for their error: what they must give. A test that includes this includes cmocka.h too. */
#ifndef TESTS_CHECKS_H
#define TESTS_CHECKS_H

#include "base/err.h"

/* It succeeds. */
#define ok(expr)                               \
    do {                                       \
        struct err e_ = ERR_INIT, *e = &e_;    \
        int rc_ = (expr);                      \
        if (rc_ < 0)                           \
            fail_msg("%s: %s", #expr, e->msg); \
    } while (0)

/* It returns this value. */
#define gives(value, expr)                                                  \
    do {                                                                    \
        struct err e_ = ERR_INIT, *e = &e_;                                 \
        int rc_ = (expr);                                                   \
        if (rc_ != (value))                                                 \
            fail_msg("%s gives %d, not %d: %s", #expr, rc_, value, e->msg); \
    } while (0)

/* It fails with this class, and a sentence. */
#define fails(class, expr)                                             \
    do {                                                               \
        struct err e_ = ERR_INIT, *e = &e_;                            \
        int rc_ = (expr);                                              \
        if (rc_ != ERR_##class || e->code != rc_ || !e->msg[0])        \
            fail_msg("%s: %s (\"%s\")", #expr, err_name(rc_), e->msg); \
    } while (0)

#endif
