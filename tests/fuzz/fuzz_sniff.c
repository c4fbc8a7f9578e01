/* SPDX-License-Identifier: MIT */
/* Any first bytes: no read beyond them, and the answer for a part of a file is no stricter than for the whole of it. */
#include "api/sniff.h"

#include <stdint.h>
#include <stdlib.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n)
{
    if (n > SNIFF_BYTES)
        return 0;
    if (sniff_refuse(data, n, true) && !sniff_refuse(data, n, false) && n)
        abort();
    return 0;
}
