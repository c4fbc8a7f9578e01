/* SPDX-License-Identifier: MIT */
/* SHA-256 of whole files, and the little files that note it ("SUM  NAME", as sha256sum writes them). */
#ifndef CLI_SHA256_H
#define CLI_SHA256_H

#include "base/err.h"

#include <stdbool.h>

enum { SHA256_HEX = 65 };

/* Lower-case hex. CANCELLED on a stop. */
int sha256_file(const char *path, char ret[SHA256_HEX], struct err *err) MUST_CHECK;
/* 64 hex digits? */
bool sha256_valid(const char *s) MUST_CHECK;
/* PATH.sha256. 1: noted, 0: there is no such note. */
int sha256_read_note(const char *path, char ret[SHA256_HEX], struct err *err) MUST_CHECK;
int sha256_write_note(const char *path, const char *sum, struct err *err) MUST_CHECK;

#endif
