/* SPDX-License-Identifier: MIT */
/* Subcommands that are not for people: child processes, and what the build and the tests ask for. */
#include "audio/decode.h"
#include "base/fault.h"
#include "base/str.h"
#include "cli/app.h"
#include "cli/docs.h"
#include "engine/engine.h"

enum { MAX_TEXT = 1 << 20 };

int cmd_decode_child(struct app *app, int argc, char **argv, struct err *err)
{
    (void)app;
    (void)err;
    return decode_child_main(argc, argv);
}

int cmd_engine_child(struct app *app, int argc, char **argv, struct err *err)
{
    (void)app;
    (void)err;
    return engine_child_main(argc, argv);
}

int cmd_faults(struct app *app, int argc, char **argv, struct err *err)
{
    (void)app;
    (void)argc;
    (void)argv;
#ifdef STENO_FAULTS
    CLEANUP(buf_clear) struct buf b = BUF_INIT(MAX_TEXT);
    for (int p = 0; p < FAULT_POINT_COUNT; p++)
        buf_addf(&b, "%s\n", fault_name((enum fault_point)p));
    return app_print(&b, err);
#else
    return err_set(err, ERR_UNSUPPORTED, "this program was built without fault points (-Dfaults=true)");
#endif
}

int cmd_man(struct app *app, int argc, char **argv, struct err *err)
{
    (void)app;
    (void)argc;
    (void)argv;
    CLEANUP(buf_clear) struct buf b = BUF_INIT(MAX_TEXT);
    docs_man(&b);
    return app_print(&b, err);
}

int cmd_docs(struct app *app, int argc, char **argv, struct err *err)
{
    (void)app;
    (void)argc;
    (void)argv;
    CLEANUP(buf_clear) struct buf b = BUF_INIT(MAX_TEXT);
    docs_markdown(&b);
    return app_print(&b, err);
}

int cmd_metrics_docs(struct app *app, int argc, char **argv, struct err *err)
{
    (void)app;
    (void)argc;
    (void)argv;
    CLEANUP(buf_clear) struct buf b = BUF_INIT(MAX_TEXT);
    docs_metrics(&b);
    return app_print(&b, err);
}

int cmd_api_docs(struct app *app, int argc, char **argv, struct err *err)
{
    (void)app;
    (void)argc;
    (void)argv;
    CLEANUP(buf_clear) struct buf b = BUF_INIT(MAX_TEXT);
    docs_api(&b);
    return app_print(&b, err);
}

int cmd_completion(struct app *app, int argc, char **argv, struct err *err)
{
    (void)app;
    (void)argc;
    if (!str_eq(argv[0], "bash"))
        return err_set(err, ERR_UNSUPPORTED, "there is a completion for bash only");
    CLEANUP(buf_clear) struct buf b = BUF_INIT(MAX_TEXT);
    docs_completion(&b);
    return app_print(&b, err);
}
