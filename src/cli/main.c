/* SPDX-License-Identifier: MIT */
/* The program: find the command, parse its flags, open what it needs, run it, turn the outcome into an exit status. */
#include "base/buf.h"
#include "base/stop.h"
#include "base/str.h"
#include "cli/app.h"
#include "cli/flags.h"
#include "cli/help.h"
#include "cli/replace.h"

#include <stdio.h>
#include <string.h>
#include <sys/prctl.h>

static int print(FILE *to, struct buf *b)
{
    fputs(buf_str(b), to);
    buf_clear(b);
    return fflush(to) ? STATUS_FAILED : STATUS_OK;
}

/* No command has this name: say what was meant, or what there is. */
static int no_command(int argc, char **argv)
{
    struct buf b = BUF_INIT(65536);
    if (argc < 1 || strcmp(argv[0], "--help") == 0 || strcmp(argv[0], "-h") == 0) {
        help_overview(&b);
        return argc < 1 ? (print(stderr, &b), STATUS_USAGE) : print(stdout, &b);
    }
    if (cmd_is_group(argv[0])) {
        bool asked = argc > 1 && (strcmp(argv[1], "--help") == 0 || strcmp(argv[1], "-h") == 0);
        if (argc > 1 && !asked)
            buf_addf(&b, "steno: '%s' has no subcommand '%s'\n", argv[0], argv[1]);
        help_group(&b, argv[0]);
        return asked ? print(stdout, &b) : (print(stderr, &b), STATUS_USAGE);
    }
    const char *near = cmd_nearest(argv[0]);
    buf_adds(&b, "steno: no command '");
    str_add_printable(&b, argv[0]);
    buf_adds(&b, "'");
    if (near)
        buf_addf(&b, ", did you mean '%s'?", near);
    buf_adds(&b, " 'steno --help' lists the commands.\n");
    print(stderr, &b);
    return STATUS_USAGE;
}

static int run(struct app *app, int argc, char **argv, struct err *err)
{
    int rc = flags_parse(app->cmd, argc, argv, &app->flags, err);
    if (rc < 0)
        return rc;
    if (app->flags->help) {
        struct buf b = BUF_INIT(65536);
        help_command(&b, app->cmd);
        return print(stdout, &b);
    }
    rc = app_open(app, err);
    if (rc == ERR_CANCELLED && app->cmd->needs & CMD_ROLE)
        return STATUS_OK; /* told to stop before it had begun */
    if (rc < 0)
        return rc;
    return app->cmd->run(app, app->flags->argc, app->flags->argv, err);
}

int main(int argc, char **argv)
{
    /* Children are started as /proc/self/exe, and would be called "exe" in ps and top. */
    prctl(PR_SET_NAME, "steno");
    char version[] = "version";
    if (argc > 1 && strcmp(argv[1], "--version") == 0)
        argv[1] = version;
    int words = 0;
    const struct cmd *cmd = cmd_find(argc - 1, argv + 1, &words);
    struct err err = ERR_INIT;
    if (cmd && cmd->needs & CMD_RAW)
        return cmd->run(NULL, argc, argv, &err);

    stop_install();
    if (!cmd)
        return no_command(argc - 1, argv + 1);
    struct app app = {.cmd = cmd, .argv = argv};
    int rc = run(&app, argc - 1 - words, argv + 1 + words, &err);
    /* Who reads the log of a service (those have a data folder) as JSON gets this as JSON, too. */
    bool logged = rc < 0 && cmd->needs & NEED_DATA && app.conf && str_eq(app.conf->log_format, "json");
    if (logged)
        log_error(&app.log, "%s", err.msg);
    app_close(&app);
    flags_free(app.flags);
    if (rc >= 0 && app.again && !stop_requested())
        rc = replace_process(argv, &err);
    if (rc == ERR_CANCELLED && app.again)
        rc = STATUS_OK;
    if (rc >= 0)
        return rc;
    if (!logged)
        app_complain(cmd, &err);
    return (int)exit_status_of(rc);
}
