/* SPDX-License-Identifier: MIT */
/*
 * One decode as it is; when that finds damage, a second, tolerant one. Of the two the one with more sound is kept:
 * a repair may also lose the place where the first got through.
 */
#include "worker/intake.h"

#include "base/clock.h"
#include "base/io.h"
#include "base/log.h"

#include <errno.h>
#include <stdio.h>

enum { BLOCK_SAMPLES = 8192, PROGRESS_EVERY_MS = 500, ROOM_EVERY_SAMPLES = 8 << 20 /* 16 MB, nine minutes */ };

static const struct log_ctx lc = {.component = "decoder"};

static void tell_progress(const struct pipeline_opts *o, const struct pcm *pcm)
{
    struct progress p = {.stage = STAGE_DECODE, .done_ms = samples_to_ms(pcm_length(pcm))};
    if (o->hooks.progress)
        o->hooks.progress(o->hooks.arg, &p);
}

/* Other jobs and other programs fill the same disk. */
static int look_for_room(const struct pipeline_opts *o, const struct pcm *pcm, struct pipeline_report *report,
                         struct err *err)
{
    int rc = o->min_free_bytes ? io_room(o->temp_folder, 0, o->min_free_bytes, err) : 0;
    if (rc == 0)
        return 0;
    report->no_room = true;
    err_wrap(err, "decoding stopped after %.0f s of sound", samples_to_s(pcm_length(pcm)));
    return err->code = ERR_UNAVAILABLE;
}

static int append(const struct pipeline_opts *o, struct pcm *pcm, const int16_t *block, size_t n,
                  struct pipeline_report *report, struct err *err)
{
    int rc = pcm_append(pcm, block, n, err);
    if (rc == 0)
        return 0;
    report->no_room = err->sys == ENOSPC || err->sys == EDQUOT;
    return err_wrap(err, "spooling decoded audio to '%s'", o->temp_folder);
}

static int spool(const struct pipeline_opts *o, struct decode *d, struct pcm *pcm, struct pipeline_report *report,
                 struct err *err)
{
    int16_t block[BLOCK_SAMPLES];
    int64_t told = clock_mono_ms(), next_look = 0;
    for (;;) {
        if (cancel_is_set(o->cancel) || cancel_is_set(o->drain))
            return err_set(err, ERR_CANCELLED, "stopped while decoding");
        int rc = 0;
        if (pcm_length(pcm) >= next_look) {
            next_look += ROOM_EVERY_SAMPLES;
            rc = look_for_room(o, pcm, report, err);
        }
        ssize_t n = rc < 0 ? rc : decode_read(d, block, BLOCK_SAMPLES, err);
        if (n <= 0)
            return (int)n;
        rc = append(o, pcm, block, (size_t)n, report, err);
        if (rc < 0)
            return rc;
        if (clock_mono_ms() - told >= PROGRESS_EVERY_MS) {
            told = clock_mono_ms();
            tell_progress(o, pcm);
        }
    }
}

static int decode_once(const struct pipeline_opts *o, bool repair, struct intake *ret, struct pipeline_report *report,
                       struct err *err)
{
    struct decode_opts opts = o->decode;
    opts.cancel = o->cancel;
    opts.repair = repair;
    struct pcm *pcm = NULL;
    struct decode *d = NULL;
    int rc = pcm_new(o->temp_folder, &pcm, err);
    if (rc == 0)
        rc = decode_open(o->audio_path, &opts, &d, err);
    if (rc == 0)
        rc = spool(o, d, pcm, report, err);
    if (rc == 0)
        *ret = (struct intake){TAKE(pcm), decode_damaged(d)};
    if (d && (rc < 0 || ret->damaged)) {
        snprintf(report->detail, sizeof report->detail, "%s", decode_stderr(d));
        log_debug(&lc, "%s the child said: %s", repair ? "repairing," : "decoding,", report->detail);
    }
    decode_close(d);
    pcm_free(pcm);
    return rc;
}

int intake_decode(const struct pipeline_opts *o, struct intake *ret, struct pipeline_report *report, struct err *err)
{
    int64_t began = clock_mono_ms();
    struct intake first = {0}, second = {0};
    int rc = decode_once(o, false, &first, report, err);
    if (rc == ERR_CORRUPT || (rc == 0 && first.damaged)) {
        struct err again = ERR_INIT;
        int rc2 = decode_once(o, true, &second, report, &again);
        if (rc2 == 0 && (rc < 0 || pcm_length(second.pcm) > pcm_length(first.pcm))) {
            pcm_free(first.pcm);
            first = second;
            rc = 0;
        } else if (rc2 == 0) {
            pcm_free(second.pcm);
        } else if (rc2 == ERR_CANCELLED || rc2 == ERR_TOO_LARGE) {
            pcm_free(first.pcm);
            *err = again;
            rc = rc2;
        }
        /* Also when the repair went through without a complaint: the recording is damaged all the same. */
        first.damaged = true;
    }
    report->decode_ms = clock_mono_ms() - began;
    if (rc < 0)
        return rc;
    report->no_room = false; /* the second decode may have found none, and is not needed */
    *ret = first;
    return 0;
}
