/* SPDX-License-Identifier: MIT */
#include "cli/app.h"

#include <curl/curl.h>
#include <jansson.h>
#include <stdio.h>

int cmd_version(struct app *app, int argc, char **argv, struct err *err)
{
    (void)argc;
    (void)argv;
    (void)err;
    printf("steno %s\n", STENO_VERSION);
    if (!app_has(app, "verbose"))
        return STATUS_OK;
    printf("compiler   %s\n", __VERSION__);
    printf("libcurl    %s\n", curl_version_info(CURLVERSION_NOW)->version);
    printf("jansson    %s\n", JANSSON_VERSION);
#ifdef STENO_FAULTS
    printf("faults     compiled in: for tests only\n");
#endif
    return STATUS_OK;
}
