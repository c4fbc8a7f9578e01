/* SPDX-License-Identifier: MIT */
/* Entity tags and the conditions on them (RFC 9110, 8.8.3 and 13.1.2). */
#ifndef API_ETAG_H
#define API_ETAG_H

#include "api/request.h"

#include <stdbool.h>

/*
 * Does an If-None-Match header name this tag (`"7"` or `W/"7"`; NULL: the answer has none)? Compared weakly; `*` names
 * whatever there is. A malformed list names what stands before the mistake. NULL names nothing.
 */
bool etag_listed(const char *if_none_match, const char *tag);
/*
 * Gives the answer its tag, printed as in printf without the quotes. true: the client has it, and rq is answered with
 * 304.
 */
bool etag_answer(struct request *rq, const char *fmt, ...) PRINTF_LIKE(2, 3);

#endif
