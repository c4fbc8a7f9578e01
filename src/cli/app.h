/* SPDX-License-Identifier: MIT */
/*
 * The composition root: opens what a command needs, hands it down, closes it in reverse.
 *
 * Only here and in the commands do configuration, back ends and roles meet; everything below takes its own small
 * options struct.
 */
#ifndef CLI_APP_H
#define CLI_APP_H

#include "base/buf.h"
#include "base/err.h"
#include "base/log.h"
#include "cli/commands.h"
#include "conf/conf.h"

#include <stdbool.h>

struct app {
    const struct cmd *cmd;
    char **argv;         /* of the program */
    struct flags *flags; /* the parsed command line */
    struct log_ctx log;  /* component: the command's name */
    /* What `needs` of the command asks for; NULL otherwise. */
    struct conf *conf;
    struct db *db;
    struct store *store;
    struct storage *storage;
    struct broker *broker;
    struct client *client;
    struct reload *reload; /* SIGHUP; roles and serve only */
    bool again;            /* set by a role: start this program again (cli/replace.h) once everything is closed */
};

/* Opens what cmd->needs says. On failure what was opened is closed by app_close all the same. */
int app_open(struct app *app, struct err *err) MUST_CHECK;
void app_close(struct app *app);

/* The value of one of the command's own flags ("" for a switch that was given); NULL when it was not given. */
const char *app_flag(const struct app *app, const char *name);
static inline bool app_has(const struct app *app, const char *name)
{
    return app_flag(app, name) != NULL;
}
/* A flag that holds a number in [min, max]; `def` when it was not given. */
int app_flag_int(const struct app *app, const char *name, int64_t min, int64_t max, int64_t def, int64_t *ret,
                 struct err *err) MUST_CHECK;

/* What the settings say about queues, keeping, and trying again. */
struct retention;
struct retry_policy;
struct job_queues;
void app_queues(const struct conf *c, struct job_queues *ret);
void app_retention(const struct conf *c, struct retention *ret);
int app_retry_policy(const struct conf *c, struct retry_policy *ret, struct err *err) MUST_CHECK;

/* Where settings come from for this command line: for conf_load and conf_reload. Borrowed. */
struct conf_load_opts app_conf_sources(const struct app *app);

/* Logs once what settings of other systems came to mean. */
void app_log_notes(const struct app *app);
/* Writes the text to standard output. UNAVAILABLE when nobody can read it (a full disk, a closed pipe). */
int app_print(struct buf *text, struct err *err) MUST_CHECK;

/* "==> FILE <==" before what belongs to one of several files. */
int app_print_headline(const char *file, struct err *err) MUST_CHECK;

/* Makes app->client, as NEED_SERVER does: for commands that need a server only sometimes. */
int app_open_client(struct app *app, struct err *err) MUST_CHECK;
/* A setting as the command line has it; NULL when it does not stand there. `name` with underscores. */
const char *app_setting_given(const struct app *app, const char *name);

/*
 * Runs fn for each argument; one that fails is reported at once and the others still run. The exit status is that of
 * the first failure.
 */
typedef int (*app_each_fn)(struct app *app, const char *arg, struct err *err);
int app_each(struct app *app, int argc, char **argv, app_each_fn fn, struct err *err) MUST_CHECK;
/* Prints "steno COMMAND: sentence" to standard error. */
void app_complain(const struct cmd *cmd, const struct err *err);

#endif
