/* SPDX-License-Identifier: MIT */
#include "whisper/gates.h"

#include <stdlib.h>
#include <string.h>
#include <zlib.h>

enum { LOOP_PERIOD_MAX = 32, LOOP_ROUNDS = 4, LOOP_TOKENS = 16 };

float gates_compression_ratio(const char *text, size_t n)
{
    if (!n)
        return 0;
    uLongf packed = compressBound(n);
    Bytef *to = malloc(packed);
    float ratio = 0;
    if (to && compress(to, &packed, (const Bytef *)text, n) == Z_OK)
        ratio = (float)n / (float)packed;
    free(to);
    return ratio;
}

size_t gates_loop(const int *tokens, size_t n)
{
    for (size_t period = 1; period <= LOOP_PERIOD_MAX && period * LOOP_ROUNDS <= n; period++) {
        size_t same = 0; /* how many tokens from the end equal the one a period earlier */
        while (same + period < n && tokens[n - 1 - same] == tokens[n - 1 - same - period])
            same++;
        if (same >= period * (LOOP_ROUNDS - 1) && same + period >= LOOP_TOKENS)
            return n - same;
    }
    return 0;
}
