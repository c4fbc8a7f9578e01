/* SPDX-License-Identifier: MIT */
/* The handler only counts and writes one byte to a pipe: all that is safe in a signal handler. */
#include "base/stop.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdlib.h>
#include <unistd.h>

static atomic_int requests;
static int pipe_fds[2] = {-1, -1};

void stop_request(void)
{
    int saved = errno;
    atomic_fetch_add(&requests, 1);
    if (pipe_fds[1] >= 0 && write(pipe_fds[1], "", 1) < 0) {
        /* Full pipe: it is readable already. */
    }
    errno = saved;
}

static void on_signal(int sig)
{
    (void)sig;
    stop_request();
}

void stop_install(void)
{
    if (pipe2(pipe_fds, O_CLOEXEC | O_NONBLOCK) < 0)
        abort();
    struct sigaction sa = {.sa_handler = on_signal};
    sigemptyset(&sa.sa_mask);
    sigaction(SIGTERM, &sa, NULL);
    sigaction(SIGINT, &sa, NULL);
    sa.sa_handler = SIG_IGN;
    sigaction(SIGPIPE, &sa, NULL);
    stop_release(); /* what an earlier image of this process may have held back */
}

void stop_hold(void)
{
    sigset_t all;
    sigemptyset(&all);
    sigaddset(&all, SIGTERM);
    sigaddset(&all, SIGINT);
    sigaddset(&all, SIGHUP);
    sigprocmask(SIG_BLOCK, &all, NULL);
}

void stop_release(void)
{
    sigset_t both;
    sigemptyset(&both);
    sigaddset(&both, SIGTERM);
    sigaddset(&both, SIGINT);
    sigprocmask(SIG_UNBLOCK, &both, NULL);
}

int stop_requested(void)
{
    return atomic_load_explicit(&requests, memory_order_relaxed);
}

int stop_fd(void)
{
    return pipe_fds[0];
}
