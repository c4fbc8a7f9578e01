/* SPDX-License-Identifier: MIT */
/* SIGHUP: reads the configuration again and takes over what can change while running (log level and format). */
#ifndef CLI_RELOAD_H
#define CLI_RELOAD_H

#include "cli/app.h"

struct reload;

/* Applies log_level and log_format. */
void reload_log_setup(const struct conf *conf);
/* Reads all sources again and applies what it can; a broken one is logged and changes nothing. */
void reload_now(const struct app *app);
/* Blocks SIGHUP here and in threads started later, and waits for it on a thread. `app` is borrowed until reload_stop.
 */
int reload_start(struct app *app, struct reload **ret, struct err *err) MUST_CHECK;
void reload_stop(struct reload *r); /* NULL is fine */

#endif
