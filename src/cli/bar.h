/* SPDX-License-Identifier: MIT */
/*
 * A progress bar on standard error, for people: nothing is drawn unless that is a terminal.
 *
 *     talk.mp3  [############............]  50%  0:30 of 1:00  12.1x  2.5 s left
 *
 * Redrawn at most ten times a second, unless it is eager; removed at the end, so that what was printed before and after
 * stays readable. One thread at a time.
 */
#ifndef CLI_BAR_H
#define CLI_BAR_H

#include <stdbool.h>
#include <stdint.h>

enum bar_unit { BAR_AUDIO_MS, BAR_BYTES };

struct bar {
    const char *label; /* borrowed */
    enum bar_unit unit;
    bool on;    /* standard error is a terminal */
    bool drawn; /* something stands on the line */
    bool eager; /* every update is drawn: they are few, and after one nothing may come for long */
    int64_t last_ms;
    bool measuring;               /* the total is known: the two below are set */
    int64_t first_ms, first_done; /* from here the speed is measured, so that a resumed job does not look fast */
};

void bar_init(struct bar *b, const char *label, enum bar_unit unit);
/* total 0: unknown; `state` stands in place of the bar then ("waiting ..."), may be NULL. */
void bar_update(struct bar *b, int64_t done, int64_t total, const char *state);
/* Clears the line; before anything else is printed, and at the end. */
void bar_clear(struct bar *b);

#endif
