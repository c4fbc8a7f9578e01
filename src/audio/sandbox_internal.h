/* SPDX-License-Identifier: MIT */
/* The two halves behind sandbox.h. Both need no_new_privs to be set. */
#ifndef AUDIO_SANDBOX_INTERNAL_H
#define AUDIO_SANDBOX_INTERNAL_H

#include "audio/sandbox.h"

/* The Landlock ABI of this kernel, 0 when it has none or has it switched off. */
int sandbox_files_abi(void);
int sandbox_files_enter(const struct sandbox *s, int abi, struct err *err) MUST_CHECK;

bool sandbox_calls_supported(void);
int sandbox_calls_enter(struct err *err) MUST_CHECK;

#endif
