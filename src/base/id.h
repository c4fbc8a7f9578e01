/* SPDX-License-Identifier: MIT */
/* Ids: UUID version 7 (RFC 9562), so that ids sort by the time they were made, across processes too. */
#ifndef BASE_ID_H
#define BASE_ID_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum { ID_SIZE = 37 }; /* 36 characters and the NUL */

/* "019a8f3e-7c1d-7b42-9d2a-5e0c6f1a2b3c" */
void id_new(char ret[ID_SIZE]);
/* Any lower-case UUID text: what may stand in a URL or a storage key as a job id. */
bool id_valid(const char *s);
/* Uniform random bytes, good enough for secrets. Aborts when the kernel gives none. */
void random_bytes(void *p, size_t n);
/* Uniform in [0, bound); 0 for bound <= 0. */
int64_t random_below(int64_t bound);

#endif
