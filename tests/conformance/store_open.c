/* SPDX-License-Identifier: MIT */
#include "store_open.h"

#include "base/id.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static bool on_s3;
static char run_id[ID_SIZE];

const char *store_env(const char *name)
{
    const char *v = getenv(name);
    return v && *v ? v : NULL;
}

bool store_skip(int argc, char **argv, const char *suite)
{
    on_s3 = argc > 1 && strcmp(argv[1], "s3") == 0;
    id_new(run_id);
    if (!on_s3 || store_env("STENO_TEST_S3_ENDPOINT"))
        return false;
    printf("1..0 # SKIP no S3 server for the suite '%s': STENO_TEST_S3_ENDPOINT is not set\n", suite);
    return true;
}

bool store_is_s3(void)
{
    return on_s3;
}

void store_s3_opts(struct storage_opts *o, struct storage_s3_opts *s3, const char *name)
{
    static char url[256];
    const char *bucket = store_env("STENO_TEST_S3_BUCKET");
    snprintf(url, sizeof url, "s3://%s/test-%s/%s", bucket ? bucket : "steno-test", run_id, name);
    *s3 = (struct storage_s3_opts){
        .endpoint = store_env("STENO_TEST_S3_ENDPOINT"),
        .access_key = store_env("STENO_TEST_S3_ACCESS_KEY"),
        .secret_key = store_env("STENO_TEST_S3_SECRET_KEY"),
        .region = store_env("STENO_TEST_S3_REGION"),
        .part_size = (int64_t)5 << 20, /* small, so that many tests send parts */
    };
    *o = (struct storage_opts){.url = url, .s3 = s3};
}

int store_open(const char *folder, struct storage **ret, struct err *err)
{
    struct storage_opts o;
    struct storage_s3_opts s3;
    if (on_s3) {
        store_s3_opts(&o, &s3, "suite");
        return storage_open_with(&o, ret, err);
    }
    char url[256];
    const char *given = store_env("STENO_TEST_STORAGE");
    if (given)
        snprintf(url, sizeof url, "%s", given);
    else
        snprintf(url, sizeof url, "file:%s/objects", folder);
    return storage_open(url, ret, err);
}
