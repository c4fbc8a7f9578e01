/* SPDX-License-Identifier: MIT */
/*
 * How long a model takes to open, packing it and from the cache. usage: model_load MODEL CACHE_FOLDER [PRECISION]
 *
 * Prints a line for each of four opens: milliseconds, packed or cached, megabytes of packed weights.
 */
#include "whisper/whisper.h"

#include <stdio.h>

int main(int argc, char **argv)
{
    struct whisper_model_opts o = {.cache_folder = argc > 2 ? argv[2] : NULL};
    if (argc < 3 || argc > 4 || (argc == 4 && !whisper_precision_parse(argv[3], &o.precision))) {
        fprintf(stderr, "usage: model_load MODEL CACHE_FOLDER [PRECISION]\n");
        return 2;
    }
    for (int i = 0; i < 4; i++) {
        struct whisper_model *m = NULL;
        struct err err = ERR_INIT;
        if (whisper_model_open(argv[1], &o, &m, &err) < 0) {
            fprintf(stderr, "%s\n", err.msg);
            return 1;
        }
        const struct whisper_info *info = whisper_model_info(m);
        printf("%s %s: %lld ms, %s, %.1f MB\n", info->name, whisper_precision_name(info->precision),
               (long long)info->load_ms, info->from_cache ? "cached" : "packed", (double)info->packed_bytes / 1e6);
        whisper_model_unref(m);
    }
    return 0;
}
