/* SPDX-License-Identifier: MIT */
#include "whisper/gates.h"

#include <stdlib.h>
#include <string.h>
#include <zlib.h>

enum { LOOP_PERIOD_MAX = 32, LOOP_ROUNDS = 4, LOOK_BACK = 224 };

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

size_t gates_loop(const int *tokens, size_t n, int first_timestamp, size_t least)
{
    int text[LOOK_BACK];
    size_t at[LOOK_BACK + 1], k = 0;
    for (size_t i = n > LOOK_BACK ? n - LOOK_BACK : 0; i < n; i++)
        if (tokens[i] < first_timestamp) {
            text[k] = tokens[i];
            at[k++] = i;
        }
    for (size_t period = 1; period <= LOOP_PERIOD_MAX && period * LOOP_ROUNDS <= k; period++) {
        size_t same = 0; /* how many tokens from the end equal the one a period earlier */
        while (same + period < k && text[k - 1 - same] == text[k - 1 - same - period])
            same++;
        if (same < period * (LOOP_ROUNDS - 1) || same + period < least)
            continue;
        size_t end = at[k - same - 1] + 1; /* behind the first round */
        return end < n && tokens[end] >= first_timestamp ? end + 1 : end;
    }
    return 0;
}
