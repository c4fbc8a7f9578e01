/* SPDX-License-Identifier: MIT */
/*
 * The commands, one table (commands.c): dispatch, checks of the command line, --help, the man page, the shell
 * completion and docs/commands.md all come from its rows.
 *
 * To add a command: write cmd_NAME.c with its function, declare it at the end here, add a row.
 */
#ifndef CLI_COMMANDS_H
#define CLI_COMMANDS_H

#include "base/err.h"

#include <stddef.h>

struct app; /* cli/app.h */

/* What must stand before a command runs; app.c opens it in this order and closes it in reverse. */
enum cmd_needs {
    NEED_CONF = 1 << 0,    /* settings; every option is a flag too */
    NEED_DATA = 1 << 1,    /* the data folder exists (made when missing, mode 0700) */
    NEED_DB = 1 << 2,      /* the database, with whatever schema it has */
    NEED_STORE = 1 << 3,   /* the job store on a migrated database */
    NEED_STORAGE = 1 << 4, /* recordings and transcripts */
    NEED_BROKER = 1 << 5,  /* sending wake-ups and events */
    NEED_TOKENS = 1 << 6,  /* ... and receiving wake-ups: a worker */
    NEED_EVENTS = 1 << 7,  /* ... and receiving events */
    NEED_SERVER = 1 << 8,  /* talks to a running server over HTTP */
    CMD_ROLE = 1 << 9, /* long-running: may be a child of `steno serve` (cli/role.h), takes SIGHUP, many connections */
    CMD_HIDDEN = 1 << 10, /* not in help and documents */
    CMD_ENGINE = 1 << 12, /* runs engines in this process: started with OpenMP's settings (whisper/openmp.h) */
    CMD_RAW = 1 << 11,    /* gets the command line as it is; nothing is set up, no signal is touched */
};

struct cmd_flag {
    const char *name; /* without "--"; a row with NULL ends the list */
    char letter;      /* for "-x", or 0 */
    const char *arg;  /* what the value is called in help; NULL: a switch */
    const char *help;
};

/*
 * Runs the command with its positional arguments (flags are in the app: app_flag). Returns an exit status, or an ERR_
 * class with the sentence in err: main prints it and maps it to an exit status.
 */
typedef int (*cmd_fn)(struct app *app, int argc, char **argv, struct err *err);

struct cmd {
    const char *name; /* one word, or two: "errors list" */
    const char *args; /* "ID...": one or more; "[ID]": optional. Checked before `run`. "" for none */
    const char *help; /* one line: a verb, no full stop */
    unsigned needs;
    const struct cmd_flag *flags; /* or NULL */
    cmd_fn run;
    const char *more; /* further text for --help and documents, or NULL */
};

/* Ends with a row without name. */
extern const struct cmd commands[];

/* The exit statuses of every command. */
#define EXIT_STATUSES(X)                                                                 \
    X(OK, 0, "success")                                                                  \
    X(FAILED, 1, "it did not work; the message says why")                                \
    X(USAGE, 2, "wrong command line or configuration, or what was named does not exist") \
    X(UNAVAILABLE, 3,                                                                    \
      "the server, the database, the storage or the broker cannot be reached or is "     \
      "busy: try again later")                                                           \
    X(JOB, 4, "the job ended as failed or cancelled")                                    \
    X(INTERRUPTED, 130, "stopped by Ctrl-C or SIGTERM before it was done")

enum exit_status {
#define X(name, value, help) STATUS_##name = (value),
    EXIT_STATUSES(X)
#undef X
};

/* The exit status for an ERR_ class. */
enum exit_status exit_status_of(int err_code);

/* The command named by the first words of argv; *ret_words how many they are. NULL when there is none. */
const struct cmd *cmd_find(int argc, char **argv, int *ret_words);
/* Does a command of two words begin with this one ("errors")? */
int cmd_is_group(const char *word);
/* The known name nearest to a mistyped one; NULL when nothing is near. */
const char *cmd_nearest(const char *word);
/* The least and the most positional arguments that `args` allows; *ret_max is -1 for no limit. */
void cmd_arg_range(const char *args, int *ret_min, int *ret_max);

int cmd_serve(struct app *app, int argc, char **argv, struct err *err);
int cmd_direct(struct app *app, int argc, char **argv, struct err *err);
int cmd_api(struct app *app, int argc, char **argv, struct err *err);
int cmd_worker(struct app *app, int argc, char **argv, struct err *err);
int cmd_transcribe(struct app *app, int argc, char **argv, struct err *err);
int cmd_submit(struct app *app, int argc, char **argv, struct err *err);
int cmd_status(struct app *app, int argc, char **argv, struct err *err);
int cmd_wait(struct app *app, int argc, char **argv, struct err *err);
int cmd_result(struct app *app, int argc, char **argv, struct err *err);
int cmd_jobs(struct app *app, int argc, char **argv, struct err *err);
int cmd_cancel(struct app *app, int argc, char **argv, struct err *err);
int cmd_health(struct app *app, int argc, char **argv, struct err *err);
int cmd_inspect(struct app *app, int argc, char **argv, struct err *err);
int cmd_inspect_queues(struct app *app, int argc, char **argv, struct err *err);
int cmd_queue_list(struct app *app, int argc, char **argv, struct err *err);
int cmd_queue_pause(struct app *app, int argc, char **argv, struct err *err);
int cmd_queue_resume(struct app *app, int argc, char **argv, struct err *err);
int cmd_errors_list(struct app *app, int argc, char **argv, struct err *err);
int cmd_errors_show(struct app *app, int argc, char **argv, struct err *err);
int cmd_errors_retry(struct app *app, int argc, char **argv, struct err *err);
int cmd_errors_resolve(struct app *app, int argc, char **argv, struct err *err);
int cmd_cleanup(struct app *app, int argc, char **argv, struct err *err);
int cmd_migrate_up(struct app *app, int argc, char **argv, struct err *err);
int cmd_migrate_status(struct app *app, int argc, char **argv, struct err *err);
int cmd_config_print(struct app *app, int argc, char **argv, struct err *err);
int cmd_config_check(struct app *app, int argc, char **argv, struct err *err);
int cmd_config_sample(struct app *app, int argc, char **argv, struct err *err);
int cmd_model_list(struct app *app, int argc, char **argv, struct err *err);
int cmd_model_info(struct app *app, int argc, char **argv, struct err *err);
int cmd_model_pull(struct app *app, int argc, char **argv, struct err *err);
int cmd_model_verify(struct app *app, int argc, char **argv, struct err *err);
int cmd_bench(struct app *app, int argc, char **argv, struct err *err);
int cmd_openapi(struct app *app, int argc, char **argv, struct err *err);
int cmd_version(struct app *app, int argc, char **argv, struct err *err);
int cmd_help(struct app *app, int argc, char **argv, struct err *err);
/* Not for people. */
int cmd_decode_child(struct app *app, int argc, char **argv, struct err *err);
int cmd_engine_child(struct app *app, int argc, char **argv, struct err *err);
int cmd_config_docs(struct app *app, int argc, char **argv, struct err *err);
int cmd_faults(struct app *app, int argc, char **argv, struct err *err);
int cmd_man(struct app *app, int argc, char **argv, struct err *err);
int cmd_docs(struct app *app, int argc, char **argv, struct err *err);
int cmd_metrics_docs(struct app *app, int argc, char **argv, struct err *err);
int cmd_api_docs(struct app *app, int argc, char **argv, struct err *err);
int cmd_completion(struct app *app, int argc, char **argv, struct err *err);

#endif
