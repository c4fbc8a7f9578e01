/* SPDX-License-Identifier: MIT */
/*
 * What an S3 server says no with, and what that means here: one table of its codes. Messages of servers differ and may
 * be empty (Ceph's are): only status and code count.
 */
#ifndef STORAGE_S3_ERROR_H
#define STORAGE_S3_ERROR_H

#include "storage/s3.h"

/* Sets class and sentence for an answer to `method` that is no success; *ret_again: the same request may work in a
 * moment. */
int s3_error(const struct s3 *s, const char *method, const struct s3_answer *a, bool *ret_again, struct err *err);
/* Takes code and region out of an error's body, when it has one. True: it is one. */
bool s3_error_read(struct s3_answer *a);

#endif
