/* SPDX-License-Identifier: MIT */
/* Time: milliseconds everywhere. Wall time is for rows and people, monotonic time for waiting and measuring. */
#ifndef BASE_CLOCK_H
#define BASE_CLOCK_H

#include <stdint.h>

int64_t clock_wall_ms(void); /* since 1970 UTC; may jump */
int64_t clock_mono_ms(void); /* since some start; never goes back */
void clock_sleep_ms(int64_t ms);

enum { TIME_ISO_SIZE = 32 };
/* "2026-11-22T05:31:00.123Z" */
void time_iso(int64_t wall_ms, char ret[TIME_ISO_SIZE]);

#endif
