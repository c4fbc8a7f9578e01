/* SPDX-License-Identifier: MIT */
#include "base/listen.h"

#include "base/mem.h"
#include "base/str.h"

#include <arpa/inet.h>
#include <errno.h>
#include <netdb.h>
#include <netinet/in.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

enum { BACKLOG = 1024 };

/* Whatever stops a bind is for the operator to repair; the class says that a later try may work. */
static int cannot_listen(int sys, const char *name, struct err *err)
{
    err_sys(err, sys, "cannot listen on %s", name);
    return err->code = ERR_UNAVAILABLE;
}

static int name_of(int fd, char ret[LISTEN_NAME_SIZE], struct err *err)
{
    struct sockaddr_storage sa = {0};
    socklen_t len = sizeof sa;
    char host[INET6_ADDRSTRLEN], port[8];
    if (getsockname(fd, (struct sockaddr *)&sa, &len) < 0)
        return err_sys(err, errno, "cannot ask for the address of a socket");
    if (getnameinfo((struct sockaddr *)&sa, len, host, sizeof host, port, sizeof port, NI_NUMERICHOST | NI_NUMERICSERV))
        return err_set(err, ERR_INTERNAL, "cannot name the address of a socket");
    snprintf(ret, LISTEN_NAME_SIZE, sa.ss_family == AF_INET6 ? "[%s]:%s" : "%s:%s", host, port);
    return 0;
}

static int listen_inet(const struct addrinfo *ai, const char *text, struct listener *l, struct err *err)
{
    static const int on = 1;
    CLEANUP(close_fd) int fd = socket(ai->ai_family, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    if (fd < 0)
        return cannot_listen(errno, text, err);
    /* A restart must not wait for the old connections to time out; and "[::]" is IPv6 alone, so that "0.0.0.0" may
     * stand beside it. */
    if (setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on) < 0 ||
        (ai->ai_family == AF_INET6 && setsockopt(fd, IPPROTO_IPV6, IPV6_V6ONLY, &on, sizeof on) < 0) ||
        bind(fd, ai->ai_addr, ai->ai_addrlen) < 0 || listen(fd, BACKLOG) < 0)
        return cannot_listen(errno, text, err);
    int rc = name_of(fd, l->name, err);
    if (rc < 0)
        return rc;
    l->fd = fd;
    fd = -1;
    return 0;
}

/* Splits "host:port" and "[v6]:port" in place. */
static bool split(char *text, char **ret_host, char **ret_port)
{
    char *colon = strrchr(text, ':');
    int64_t port;
    if (!colon || !str_to_i64(colon + 1, &port) || port < 0 || port > 65535 || colon == text)
        return false;
    *colon = '\0';
    *ret_port = colon + 1;
    *ret_host = text;
    size_t n = strlen(text);
    if (*text == '[' && text[n - 1] == ']') {
        text[n - 1] = '\0';
        *ret_host = text + 1;
        return n > 2;
    }
    return !strchr(text, ':');
}

static int open_inet(const char *text, struct listener *ret, size_t max, size_t *n, struct err *err)
{
    CLEANUP(free_p) char *copy = xstrdup(text);
    char *host, *port;
    if (!split(copy, &host, &port))
        return err_set(err, ERR_INVALID, "listen address '%s' is not host:port, [v6-address]:port or unix:/path", text);
    const struct addrinfo hints = {
        .ai_family = AF_UNSPEC, .ai_socktype = SOCK_STREAM, .ai_flags = AI_PASSIVE | AI_NUMERICSERV};
    struct addrinfo *list = NULL;
    int rc = getaddrinfo(strcmp(host, "*") == 0 ? NULL : host, port, &hints, &list);
    if (rc)
        return err_set(err, rc == EAI_AGAIN ? ERR_UNAVAILABLE : ERR_INVALID, "listen address '%s': %s", text,
                       gai_strerror(rc));
    size_t before = *n;
    rc = 0;
    for (const struct addrinfo *ai = list; ai && rc >= 0; ai = ai->ai_next) {
        if (*n == max)
            rc = err_set(err, ERR_INVALID, "more than %zu listen addresses", max);
        else
            rc = listen_inet(ai, text, &ret[*n], err);
        if (rc >= 0)
            ++*n;
        else if (err->sys == EAFNOSUPPORT || err->sys == EADDRNOTAVAIL)
            rc = *n > before || ai->ai_next ? 0 : rc; /* a machine without IPv6: the others will do */
    }
    freeaddrinfo(list);
    return rc < 0 ? rc : *n > before ? 0 : cannot_listen(EADDRNOTAVAIL, text, err);
}

/* A socket file nobody answers on is what a killed server left. */
static int remove_stale(const struct sockaddr_un *sa, const char *text, struct err *err)
{
    struct stat st;
    if (lstat(sa->sun_path, &st) < 0)
        return errno == ENOENT ? 0 : cannot_listen(errno, text, err);
    if (!S_ISSOCK(st.st_mode))
        return err_set(err, ERR_INVALID, "cannot listen on %s: there is a file that is no socket", text);
    CLEANUP(close_fd) int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    if (fd < 0)
        return cannot_listen(errno, text, err);
    if (connect(fd, (const struct sockaddr *)sa, sizeof *sa) == 0 || errno != ECONNREFUSED)
        return cannot_listen(EADDRINUSE, text, err);
    if (unlink(sa->sun_path) < 0 && errno != ENOENT)
        return cannot_listen(errno, text, err);
    return 0;
}

static int open_unix(const char *text, struct listener *l, struct err *err)
{
    const mode_t mode = 0660; /* who may connect is a matter of the file's group */
    struct sockaddr_un sa = {.sun_family = AF_UNIX};
    const char *path = text + strlen("unix:");
    if (*path != '/' || strlen(path) >= sizeof sa.sun_path)
        return err_set(err, ERR_INVALID, "listen address '%s' must be unix:/path of at most %zu bytes", text,
                       sizeof sa.sun_path - 1);
    memcpy(sa.sun_path, path, strlen(path) + 1);
    int rc = remove_stale(&sa, text, err);
    if (rc < 0)
        return rc;
    CLEANUP(close_fd) int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    /* fchmod before bind: there is no moment in which others could connect. */
    if (fd < 0 || fchmod(fd, mode) < 0 || bind(fd, (const struct sockaddr *)&sa, sizeof sa) < 0 ||
        chmod(path, mode) < 0 || listen(fd, BACKLOG) < 0)
        return cannot_listen(errno, text, err);
    snprintf(l->name, sizeof l->name, "%s", text);
    l->fd = fd;
    fd = -1;
    return 0;
}

int listen_open(const char *addresses, struct listener *ret, size_t max, size_t *ret_n, struct err *err)
{
    CLEANUP(free_p) char *copy = xstrdup(addresses);
    size_t n = 0;
    int rc = 0;
    char *save = NULL;
    for (char *item = strtok_r(copy, ", \t", &save); item && rc >= 0; item = strtok_r(NULL, ", \t", &save)) {
        if (n == max) {
            rc = err_set(err, ERR_INVALID, "more than %zu listen addresses", max);
        } else if (str_starts(item, "unix:")) {
            rc = open_unix(item, &ret[n], err);
            n += rc >= 0;
        } else {
            rc = open_inet(item, ret, max, &n, err);
        }
    }
    if (rc >= 0 && !n)
        rc = err_set(err, ERR_INVALID, "no address to listen on");
    if (rc < 0) {
        for (size_t i = 0; i < n; i++)
            listen_close(&ret[i]);
        return rc;
    }
    *ret_n = n;
    return 0;
}

void listen_close(struct listener *l)
{
    close_fd(&l->fd);
    if (str_starts(l->name, "unix:"))
        unlink(l->name + strlen("unix:"));
}
