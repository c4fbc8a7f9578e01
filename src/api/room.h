/* SPDX-License-Identifier: MIT */
/*
 * Is there room for another recording? With less than min_free_disk in the data folder, the temp folder or a storage
 * folder, uploads are refused while there is still room for what was accepted: rows, transcripts, decoding.
 */
#ifndef API_ROOM_H
#define API_ROOM_H

#include "base/err.h"

#include <stdbool.h>
#include <stdint.h>

struct api;

/* Was there plenty a moment ago? Any thread; never blocks. */
bool room_is_known(struct api *a, int64_t bytes);
/* Looks now, for so many more bytes (negative: not known). BUSY says where there is none. */
int room_find(struct api *a, int64_t bytes, struct err *err) MUST_CHECK;

#endif
