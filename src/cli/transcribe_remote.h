/* SPDX-License-Identifier: MIT */
/* steno transcribe --server: the same by a server. */
#ifndef CLI_TRANSCRIBE_REMOTE_H
#define CLI_TRANSCRIBE_REMOTE_H

#include "cli/app.h"

/*
 * Only the flag asks for it. The setting in a file or in the environment says where a server is for the commands that
 * need one; it must not send recordings away that were to be transcribed right here.
 */
bool transcribe_remote_asked(const struct app *app);
int transcribe_remote(struct app *app, int argc, char **argv, struct err *err) MUST_CHECK;

#endif
