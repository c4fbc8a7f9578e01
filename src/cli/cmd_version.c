/* SPDX-License-Identifier: MIT */
#include "cli/app.h"
#include "engine/engine.h"
#include "whisper/whisper.h"

#include <curl/curl.h>
#include <jansson.h>

int cmd_version(struct app *app, int argc, char **argv, struct err *err)
{
    (void)argc;
    (void)argv;
    CLEANUP(buf_clear) struct buf b = BUF_INIT(4096);
    buf_addf(&b, "steno %s\n", STENO_VERSION);
    if (app_has(app, "verbose")) {
        buf_addf(&b, "compiler   %s\n", __VERSION__);
        buf_addf(&b, "libcurl    %s\n", curl_version_info(CURLVERSION_NOW)->version);
        buf_addf(&b, "jansson    %s\n", JANSSON_VERSION);
        buf_adds(&b, "engines   ");
        for (const struct engine_info *const *e = engine_list(); *e; e++)
            buf_addf(&b, " %s", (*e)->name);
        buf_addc(&b, '\n');
        buf_addf(&b, "processor  %s: precision auto is %s\n", whisper_cpu(),
                 whisper_precision_name(whisper_precision_best()));
#ifdef STENO_FAULTS
        buf_adds(&b, "faults     compiled in: for tests only\n");
#endif
    }
    return app_print(&b, err);
}
