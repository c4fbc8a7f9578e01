/* SPDX-License-Identifier: MIT */
/*
 * Where clients find the server: the option `server`, else what a running api left in the data folder (so that port 0
 * works), else the first address of `listen`.
 */
#ifndef CLI_SERVER_URL_H
#define CLI_SERVER_URL_H

#include "base/buf.h"
#include "conf/conf.h"

/* "http://127.0.0.1:8000" or "unix:/path"; caller frees. INVALID: `listen` is no address. */
int server_url(const struct conf *conf, char **ret, struct err *err) MUST_CHECK;
/* As a client has to write it: "0.0.0.0:80" is reached as "http://127.0.0.1:80", "unix:/path" stays. */
void server_url_add(struct buf *b, const char *address);
/* Leaves the address in the data folder. */
int server_url_publish(const struct conf *conf, const char *address, struct err *err) MUST_CHECK;
/* Removes it again, unless another server has replaced it. */
void server_url_withdraw(const struct conf *conf, const char *address);

#endif
