/* SPDX-License-Identifier: MIT */
/*
 * Answers that pages of other origins may read (the Fetch standard's CORS). Off unless the setting `cors_origins` names
 * some. Credentials (cookies) are never allowed: there are none here.
 */
#ifndef API_CORS_H
#define API_CORS_H

#include "api/answer.h"
#include "base/err.h"

#include <stdbool.h>

/* INVALID: neither empty, nor `*`, nor origins such as https://example.org with commas between them. */
int cors_check(const char *origins, struct err *err) MUST_CHECK;
/* Adds what lets a page of `origin` (NULL: none was sent) read the answer. */
void cors_answer(struct answer *a, const char *origins, const char *origin);
/* Adds the same for the question before a request: `methods` as in Allow. */
void cors_preflight(struct answer *a, const char *origins, const char *origin, const char *methods);
/*
 * May a page of `origin` hold a WebSocket to us, who are called `host` (either NULL: was not sent)? Browsers ask nobody
 * before they open one, and let every page read it. Pages of our own may, those that may read answers, and whatever is
 * no browser.
 */
bool cors_websocket(const char *origins, const char *origin, const char *host);

#endif
