/* SPDX-License-Identifier: MIT */
/*
 * How fast an object goes in and out. usage: storage URL MEGABYTES
 *
 * For an s3: URL the server is the one of STENO_TEST_S3_ENDPOINT, _ACCESS_KEY, _SECRET_KEY and _REGION. Prints
 * megabytes a second of put, get and fetch, and the peak of this process's memory.
 */
#include "storage/storage.h"
#include "base/clock.h"
#include "base/io.h"
#include "base/mem.h"
#include "base/str.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { PIECE = 128 << 10 }; /* as uploads come in */

static char piece[PIECE];

static int put(struct storage *s, int64_t bytes, struct err *err)
{
    struct storage_put *p = NULL;
    int rc = storage_put_begin(s, "bench/object", &p, err);
    for (; rc >= 0 && bytes > 0; bytes -= PIECE) {
        piece[bytes % PIECE] = (char)bytes;
        rc = storage_put_write(p, piece, sizeof piece, err);
    }
    if (rc < 0) {
        storage_put_abort(p);
        return rc;
    }
    return storage_put_commit(p, NULL, err);
}

static int get(struct storage *s, int64_t bytes, struct err *err)
{
    (void)bytes;
    struct storage_get *g = NULL;
    int rc = storage_get_begin(s, "bench/object", 0, &g, NULL, err);
    if (rc < 0)
        return rc;
    ssize_t k;
    do
        k = storage_get_read(g, piece, sizeof piece, err);
    while (k > 0);
    storage_get_end(g);
    return (int)k;
}

static int fetch(struct storage *s, int64_t bytes, struct err *err)
{
    (void)bytes;
    char path[] = "/tmp/steno-bench-XXXXXX";
    int fd = mkstemp(path);
    if (fd < 0)
        return err_set(err, ERR_UNAVAILABLE, "no file in /tmp");
    close(fd);
    unlink(path);
    int rc = storage_fetch(s, "bench/object", path, err);
    unlink(path);
    return rc;
}

/* Not by getrusage, which counts what this process was before exec. */
static int print_peak(void)
{
    CLEANUP(free_p) char *text = NULL;
    struct err err = ERR_INIT;
    if (io_read_file("/proc/self/status", 1 << 16, &text, NULL, &err) < 0)
        return 1;
    const char *line = strstr(text, "VmHWM:");
    printf("peak %.1f\n", line ? strtod(line + strlen("VmHWM:"), NULL) / 1024 : 0.0);
    return 0;
}

int main(int argc, char **argv)
{
    static const struct {
        const char *name;
        int (*fn)(struct storage *s, int64_t bytes, struct err *err);
    } steps[] = {{"put", put}, {"get", get}, {"fetch", fetch}};
    int64_t megabytes;
    if (argc != 3 || !str_to_i64(argv[2], &megabytes) || megabytes < 1) {
        fprintf(stderr, "usage: storage URL MEGABYTES\n");
        return 2;
    }
    const struct storage_s3_opts s3 = {
        .endpoint = getenv("STENO_TEST_S3_ENDPOINT"),
        .access_key = getenv("STENO_TEST_S3_ACCESS_KEY"),
        .secret_key = getenv("STENO_TEST_S3_SECRET_KEY"),
        .region = getenv("STENO_TEST_S3_REGION"),
    };
    const struct storage_opts o = {.url = argv[1], .s3 = &s3};
    struct storage *s = NULL;
    struct err err = ERR_INIT;
    int rc = storage_open_with(&o, &s, &err);
    for (size_t i = 0; rc >= 0 && i < ARRAY_LEN(steps); i++) {
        int64_t start = clock_mono_ms();
        rc = steps[i].fn(s, megabytes << 20, &err);
        printf("%s %.1f\n", steps[i].name, (double)megabytes * 1000 / (double)MAX(clock_mono_ms() - start, 1));
    }
    if (rc >= 0)
        rc = storage_delete(s, "bench/object", &err);
    storage_close(s);
    if (rc < 0) {
        fprintf(stderr, "%s\n", err.msg);
        return 1;
    }
    return print_peak();
}
