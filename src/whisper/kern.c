/* SPDX-License-Identifier: MIT */
#include "whisper/kern.h"

extern const struct kern kern_v2, kern_v3, kern_v4;

const struct kern *kern_at(size_t i)
{
    switch (i) {
    case 0:
        return &kern_v2;
    case 1:
        return __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma") ? &kern_v3 : NULL;
    case 2:
        return __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") &&
                       __builtin_cpu_supports("avx512dq") && __builtin_cpu_supports("avx512vl")
                   ? &kern_v4
                   : NULL;
    default:
        return NULL;
    }
}

const struct kern *kern_best(void)
{
    for (size_t i = 2; i > 0; i--)
        if (kern_at(i))
            return kern_at(i);
    return kern_at(0);
}
