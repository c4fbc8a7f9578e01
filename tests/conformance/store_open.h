/* SPDX-License-Identifier: MIT */
/*
 * Which store a storage suite runs on. Without an argument: STENO_TEST_STORAGE (a URL), else a fresh local folder. With
 * the argument "s3": the server that STENO_TEST_S3_ENDPOINT, _ACCESS_KEY, _SECRET_KEY, _REGION and _BUCKET name, in a
 * folder of its own in that bucket; without them the suite is skipped.
 */
#ifndef TESTS_STORE_OPEN_H
#define TESTS_STORE_OPEN_H

#include "storage/storage.h"

/* True: all is skipped, and one line of TAP says so. Call it first in main. */
bool store_skip(int argc, char **argv, const char *suite);
bool store_is_s3(void);
/* `folder` is a private local one, for a local store. */
int store_open(const char *folder, struct storage **ret, struct err *err);
/* The options of the S3 server of the environment, in a folder "name" of this run. */
void store_s3_opts(struct storage_opts *o, struct storage_s3_opts *s3, const char *name);
const char *store_env(const char *name);

#endif
