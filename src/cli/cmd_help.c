/* SPDX-License-Identifier: MIT */
#include "base/str.h"
#include "cli/app.h"
#include "cli/help.h"

int cmd_help(struct app *app, int argc, char **argv, struct err *err)
{
    (void)app;
    CLEANUP(buf_clear) struct buf b = BUF_INIT(65536);
    int words;
    const struct cmd *c = cmd_find(argc, argv, &words);
    if (argc == 0)
        help_overview(&b);
    else if (c)
        help_command(&b, c);
    else if (str_eq(argv[0], "settings"))
        help_settings(&b);
    else if (cmd_is_group(argv[0]))
        help_group(&b, argv[0]);
    else
        return err_set(err, ERR_INVALID, "no command '%s': 'steno --help' lists the commands", argv[0]);
    return app_print(&b, err);
}
