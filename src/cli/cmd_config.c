/* SPDX-License-Identifier: MIT */
/* steno config print, check, sample; `config docs` makes docs/configuration.md. */
#include "cli/app.h"

#include <string.h>

enum { MAX_TEXT = 1 << 20 };

int cmd_config_print(struct app *app, int argc, char **argv, struct err *err)
{
    (void)argc;
    (void)argv;
    CLEANUP(buf_clear) struct buf b = BUF_INIT(MAX_TEXT);
    conf_print(app->conf, &b);
    return app_print(&b, err);
}

int cmd_config_check(struct app *app, int argc, char **argv, struct err *err)
{
    (void)argc;
    (void)argv;
    CLEANUP(buf_clear) struct buf b = BUF_INIT(MAX_TEXT);
    const char *note, *file = conf_file(app->conf);
    for (size_t i = 0; (note = conf_note(app->conf, i)); i++)
        buf_addf(&b, "note: %s\n", note);
    if (file)
        buf_addf(&b, "The configuration is fine ('%s').\n", file);
    else
        buf_adds(&b, "The configuration is fine (there is no configuration file).\n");
    return app_print(&b, err);
}

int cmd_config_sample(struct app *app, int argc, char **argv, struct err *err)
{
    (void)app;
    (void)argc;
    (void)argv;
    CLEANUP(buf_clear) struct buf b = BUF_INIT(MAX_TEXT);
    conf_sample(&b);
    return app_print(&b, err);
}

int cmd_config_docs(struct app *app, int argc, char **argv, struct err *err)
{
    (void)app;
    (void)argc;
    (void)argv;
    CLEANUP(buf_clear) struct buf b = BUF_INIT(MAX_TEXT);
    conf_docs(&b);
    return app_print(&b, err);
}
