/* SPDX-License-Identifier: MIT */
/*
 * What is certainly not audio or video, told from the first bytes. Whatever is not certain goes to the decoder, which
 * knows better.
 */
#ifndef API_SNIFF_H
#define API_SNIFF_H

#include <stdbool.h>
#include <stddef.h>

enum { SNIFF_BYTES = 512 }; /* as many of the first bytes as there are */

/* NULL: may be a recording. Else what it is, for a sentence: "a ZIP archive". `whole`: head is the whole file. */
const char *sniff_refuse(const void *head, size_t n, bool whole);

#endif
