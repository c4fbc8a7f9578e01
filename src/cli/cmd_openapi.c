/* SPDX-License-Identifier: MIT */
/* steno openapi: the document, without a server. */
#include "api/openapi.h"
#include "cli/app.h"

int cmd_openapi(struct app *app, int argc, char **argv, struct err *err)
{
    (void)argc;
    (void)argv;
    CLEANUP(buf_clear) struct buf b = BUF_INIT(OPENAPI_MAX);
    openapi_write(&b, STENO_VERSION, app_has(app, "direct"));
    return app_print(&b, err);
}
