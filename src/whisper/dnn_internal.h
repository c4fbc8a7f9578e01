/* SPDX-License-Identifier: MIT */
/* What the two oneDNN files share. */
#ifndef WHISPER_DNN_INTERNAL_H
#define WHISPER_DNN_INTERNAL_H

#include "whisper/dnn.h"

#include <oneapi/dnnl/dnnl.h>

dnnl_engine_t dnn_engine(struct dnn *d);
/* `status` is a dnnl_status_t. */
int dnn_fail(struct err *err, int status, const char *what);

/* oneDNN takes no const, but only reads its inputs. */
static inline void *dnn_unconst(const void *p)
{
    union {
        const void *in;
        void *out;
    } u = {.in = p};
    return u.out;
}

#endif
