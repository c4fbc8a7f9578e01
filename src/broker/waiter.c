/* SPDX-License-Identifier: MIT */
#include "broker/waiter.h"

#include "base/clock.h"
#include "base/mem.h"
#include "base/stop.h"

#include <errno.h>
#include <limits.h>
#include <poll.h>
#include <sys/eventfd.h>

int waiter_open(struct waiter *w, struct err *err)
{
    w->wake = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
    return w->wake < 0 ? err_sys(err, errno, "cannot make an eventfd") : 0;
}

void waiter_close(struct waiter *w)
{
    close_fd(&w->wake);
}

void waiter_wake(struct waiter *w)
{
    /* Fails only on a full counter, which is readable already. */
    (void)eventfd_write(w->wake, 1);
}

int waiter_wait(struct waiter *w, int fd, bool heed_stop, int64_t until_ms, struct err *err)
{
    for (;;) {
        int64_t left = until_ms - clock_mono_ms();
        struct pollfd p[] = {{.fd = fd, .events = POLLIN},
                             {.fd = w->wake, .events = POLLIN},
                             {.fd = heed_stop ? stop_fd() : -1, .events = POLLIN}};
        int got = poll(p, ARRAY_LEN(p), (int)CLAMP(left, 0, INT_MAX));
        if (got < 0 && errno != EINTR) {
            err_sys(err, errno, "waiting for the broker failed");
            return err->code = ERR_UNAVAILABLE;
        }
        if (got > 0 && p[2].revents)
            return WAITER_STOPPED;
        eventfd_t count;
        if (got > 0 && p[1].revents && eventfd_read(w->wake, &count) == 0)
            return WAITER_WOKEN;
        if (got > 0 && p[0].revents)
            return WAITER_READABLE;
        if (left <= 0)
            return WAITER_TIME;
    }
}

int64_t waiter_deadline(int64_t timeout_ms)
{
    int64_t now = clock_mono_ms();
    return timeout_ms < 0 || timeout_ms > INT64_MAX - now ? INT64_MAX : now + timeout_ms;
}
