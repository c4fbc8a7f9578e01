/* SPDX-License-Identifier: MIT */
#include "cli/app.h"

#include "cli/flags.h"

int app_open(struct app *app, struct err *err)
{
    (void)err;
    app->log.component = app->cmd->name;
    return 0;
}

void app_close(struct app *app)
{
    (void)app;
}

const char *app_flag(const struct app *app, const char *name)
{
    return flags_get(app->flags, name);
}
