/* SPDX-License-Identifier: MIT */
#include "cli/watcher.h"

#include "base/io.h"
#include "base/mem.h"
#include "base/thread.h"

#include <errno.h>
#include <poll.h>
#include <sys/eventfd.h>

static void *watch(void *arg)
{
    const struct watcher *w = arg;
    struct pollfd fds[] = {{.fd = stop_fd(), .events = POLLIN}, {.fd = w->done_fd, .events = POLLIN}};
    while (poll(fds, 2, -1) < 0 && errno == EINTR)
        ;
    if (stop_requested())
        cancel_set(w->cancel);
    return NULL;
}

int watcher_start(struct watcher *w, struct cancel *cancel, struct err *err)
{
    *w = (struct watcher){.cancel = cancel, .done_fd = eventfd(0, EFD_CLOEXEC)};
    if (w->done_fd < 0)
        return err_sys(err, errno, "cannot watch for Ctrl-C");
    int rc = thread_start(&w->thread, "watcher", watch, w, err);
    if (rc < 0)
        close_fd(&w->done_fd);
    return rc;
}

void watcher_stop(struct watcher *w)
{
    if (w->done_fd < 0)
        return;
    eventfd_write(w->done_fd, 1);
    pthread_join(w->thread, NULL);
    close_fd(&w->done_fd);
}
