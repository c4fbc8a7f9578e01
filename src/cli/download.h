/* SPDX-License-Identifier: MIT */
/*
 * Fetches a large file over HTTP, with resume.
 *
 * Bytes are appended to `part`; the ETag they belong to is noted in PART.etag. When both are there, only the rest is
 * asked for (Range, If-Range): a server whose file has changed sends the whole of the new one. A connection
 * that breaks is taken up again a few times as long as bytes keep coming. What has arrived stays after any failure and
 * after Ctrl-C.
 */
#ifndef CLI_DOWNLOAD_H
#define CLI_DOWNLOAD_H

#include "base/err.h"
#include "cli/bar.h"

enum { DOWNLOAD_SUM_SIZE = 65 };

/* Opens and locks the part; hold the descriptor until it has its final name. BUSY: another process has it. */
int download_begin(const char *part, int *ret_fd, struct err *err) MUST_CHECK;
/*
 * ret_sum: the SHA-256 that the server names for the file (in X-Linked-ETag or ETag, where that is one), "" when it
 * names none. Errors: NOT_FOUND (404), UNAVAILABLE, CANCELLED, others by HTTP status.
 */
int download(const char *url, const char *part, int fd, struct bar *bar, char ret_sum[DOWNLOAD_SUM_SIZE],
             struct err *err) MUST_CHECK;
/* Removes the part and its note. */
void download_forget(const char *part);

#endif
