/* SPDX-License-Identifier: MIT */
/* The model as the library's own files see it. */
#ifndef WHISPER_MODEL_H
#define WHISPER_MODEL_H

#include "whisper/net_internal.h"
#include "whisper/tokenizer.h"

#include <stdatomic.h>

struct whisper_model {
    atomic_int refs;
    struct model_file *file; /* stays open: alignment heads, mel filters */
    struct tokenizer *tokenizer;
    struct net *net;
    struct whisper_info info;
    char *name;
};

#endif
