/* SPDX-License-Identifier: MIT */
/* A look costs a system call for each folder, which may wait for a network disk: so one a second is remembered. */
#include "api/room.h"

#include "api/server.h"
#include "base/clock.h"
#include "base/io.h"

#include <unistd.h>

enum { FRESH_MS = 1000 };

bool room_is_known(struct api *a, int64_t bytes)
{
    int64_t keep = a->o.min_free_bytes;
    if (!keep)
        return true;
    int64_t at = atomic_load(&a->room_looked_ms);
    return at && clock_mono_ms() - at < FRESH_MS && MAX(bytes, 0) <= atomic_load(&a->room_bytes) - keep;
}

int room_find(struct api *a, int64_t bytes, struct err *err)
{
    const char *folders[] = {a->o.data_folder, a->o.temp_folder, a->o.storage_folder};
    int64_t least = INT64_MAX, keep = a->o.min_free_bytes;
    if (!keep)
        return 0;
    for (size_t i = 0; i < ARRAY_LEN(folders); i++) {
        int64_t n = 0;
        if (!folders[i] || access(folders[i], F_OK) < 0)
            continue; /* an S3 server looks to its own; a temp folder that is not made yet will be in the data folder */
        int rc = io_room(folders[i], MAX(bytes, 0), keep, err);
        if (rc == ERR_TOO_LARGE)
            rc = err->code = ERR_BUSY; /* all the same to a client */
        if (rc == 0)
            rc = io_free_bytes(folders[i], &n, err);
        if (rc < 0)
            return rc;
        least = MIN(least, n);
    }
    atomic_store(&a->room_bytes, least);
    atomic_store(&a->room_looked_ms, clock_mono_ms());
    return 0;
}
