/* SPDX-License-Identifier: MIT */
/* From a recording to PCM on disk, with one repair attempt for damaged input. */
#ifndef WORKER_INTAKE_H
#define WORKER_INTAKE_H

#include "audio/pcm.h"
#include "worker/pipeline.h"

struct intake {
    struct pcm *pcm; /* the caller frees it */
    bool damaged;    /* this is what could be saved of a damaged recording */
};

/* Errors as decode_read, and UNAVAILABLE when the temp folder is full. Fills report->detail, decode_ms and no_room. */
int intake_decode(const struct pipeline_opts *o, struct intake *ret, struct pipeline_report *report, struct err *err)
    MUST_CHECK;

#endif
