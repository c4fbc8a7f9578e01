/* SPDX-License-Identifier: MIT */
#include "cli/server_url.h"

#include "base/io.h"
#include "base/mem.h"
#include "base/str.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { MAX_URL = 4096 };

static char *address_file(const struct conf *conf)
{
    return xasprintf("%s/run/api.address", conf->data);
}

void server_url_add(struct buf *b, const char *address)
{
    if (str_starts(address, "unix:")) {
        buf_adds(b, address);
        return;
    }
    /* "Any address" is where a server listens, not where it can be reached. */
    const char *port = strrchr(address, ':');
    if (str_starts(address, "0.0.0.0:") || str_starts(address, "*:"))
        buf_addf(b, "http://127.0.0.1%s", port);
    else if (str_starts(address, "[::]:"))
        buf_addf(b, "http://[::1]%s", port);
    else
        buf_addf(b, "http://%s", address);
}

static int check(const struct buf *b, struct err *err)
{
    return buf_check(b, "the server's address", err);
}

static int first_listen(const char *listen, struct buf *b, struct err *err)
{
    listen += strspn(listen, " ,");
    size_t n = strcspn(listen, ", ");
    CLEANUP(buf_clear) struct buf address = BUF_INIT(MAX_URL);
    buf_add(&address, listen, n);
    int rc = check(&address, err);
    if (rc < 0)
        return rc;
    if (str_ends(buf_str(&address), ":0") && !str_starts(buf_str(&address), "unix:"))
        return err_set(err, ERR_UNAVAILABLE,
                       "no server is running on this data folder, so nobody knows its port: start 'steno serve', "
                       "or name a server with --server");
    server_url_add(b, buf_str(&address));
    return 0;
}

int server_url(const struct conf *conf, char **ret, struct err *err)
{
    CLEANUP(buf_clear) struct buf b = BUF_INIT(MAX_URL);
    CLEANUP(free_p) char *path = address_file(conf), *text = NULL;
    struct err none = ERR_INIT;
    int rc = 0;
    if (*conf->server)
        buf_adds(&b, conf->server);
    else if (io_read_file(path, MAX_URL, &text, NULL, &none) >= 0 && *text)
        buf_add(&b, text, strcspn(text, "\n"));
    else
        rc = first_listen(conf->listen, &b, err);
    if (rc < 0 || (rc = check(&b, err)) < 0)
        return rc;
    while (b.len > 1 && b.data[b.len - 1] == '/')
        b.data[--b.len] = '\0';
    *ret = buf_take(&b);
    return 0;
}

int server_url_publish(const struct conf *conf, const char *address, struct err *err)
{
    CLEANUP(free_p) char *folder = xasprintf("%s/run", conf->data), *path = address_file(conf);
    CLEANUP(free_p) char *temp = xasprintf("%s.%d", path, (int)getpid());
    CLEANUP(buf_clear) struct buf b = BUF_INIT(MAX_URL);
    server_url_add(&b, address);
    buf_addc(&b, '\n');
    int rc = check(&b, err);
    if (rc >= 0)
        rc = io_mkdir_p(folder, err);
    if (rc < 0)
        return rc;
    CLEANUP(close_fd) int fd = open(temp, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
    if (fd < 0)
        return err_sys(err, errno, "cannot write '%s'", temp);
    rc = io_write_all(fd, b.data, b.len, err);
    /* By rename, so that no client ever reads half an address. */
    if (rc >= 0 && rename(temp, path) < 0)
        rc = err_sys(err, errno, "cannot write '%s'", path);
    if (rc < 0)
        unlink(temp);
    return rc;
}

void server_url_withdraw(const struct conf *conf, const char *address)
{
    CLEANUP(free_p) char *path = address_file(conf), *text = NULL;
    CLEANUP(buf_clear) struct buf b = BUF_INIT(MAX_URL);
    struct err none = ERR_INIT;
    server_url_add(&b, address);
    buf_addc(&b, '\n');
    if (buf_ok(&b) && io_read_file(path, MAX_URL, &text, NULL, &none) >= 0 && str_eq(text, b.data))
        unlink(path);
}
