/* SPDX-License-Identifier: MIT */
/*
 * Answers of an S3 server, which are XML. Each element is handed over when it ends, with its path from the root and its
 * own text: "ListBucketResult/Contents/Key", "a.mp3". Document types are refused; depth and length of texts are
 * bounded.
 */
#ifndef STORAGE_S3_XML_H
#define STORAGE_S3_XML_H

#include "base/err.h"

#include <stddef.h>

enum { S3_XML_DEPTH = 8, S3_XML_TEXT_MAX = 8192, S3_XML_PATH_MAX = 256 };

/* Strings are borrowed during the call. Negative ends the reading and is returned. */
typedef int (*s3_xml_fn)(const char *path, const char *text, void *arg, struct err *err);
/* CORRUPT: that is no such answer. */
int s3_xml_read(const char *data, size_t n, s3_xml_fn fn, void *arg, struct err *err) MUST_CHECK;

#endif
