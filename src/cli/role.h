/* SPDX-License-Identifier: MIT */
/*
 * The child's side of the supervisor: `steno api` and `steno worker` run the same alone and under `steno serve`, which
 * tells them by two variables in their environment.
 */
#ifndef CLI_ROLE_H
#define CLI_ROLE_H

#include "base/err.h"
#include "conf/conf.h"

#include <stdbool.h>

#define ROLE_ENV_SUPERVISOR "STENO_SUPERVISED" /* the supervisor's pid */
#define ROLE_DIRECT         "direct "          /* before an address of the direct service, in what role_ready says */
#define ROLE_ENV_READY      "STENO_READY_FD"   /* a pipe that waits for role_ready */

/* Does a supervisor watch over this process? */
bool role_supervised(void);
/*
 * Under a supervisor: arranges for SIGTERM when that one dies, however it dies. UNAVAILABLE when it is dead already.
 * First thing in a role's main thread.
 */
int role_start(struct err *err) MUST_CHECK;
/*
 * The api serves at these addresses (NULL-terminated; as from api_address): leaves the first one in the data folder for
 * client commands, and tells the supervisor or, without one, the log. `direct`: those of the direct service.
 */
int role_ready(const struct conf *conf, const char *const *addresses, const char *const *direct, struct err *err)
    MUST_CHECK;
/* The api is about to stop: takes that file away, if it is still this process's. */
void role_gone(const struct conf *conf, const char *const *addresses);

#endif
