/* SPDX-License-Identifier: MIT */
/*
 * Any bytes as a ggml file: refused with a sentence, or read, and then every tensor that was found can be read to its
 * end.
 *
 * Byte 0 of the input says where it begins: 0, the file; else behind the header and the filters of the smallest model
 * (64 KB which are not worth guessing), 1 at the vocabulary, 2 at the tensors.
 */
#include "whisper/model_file_internal.h"

#include <stdint.h>
#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n);

enum { FILTERS = 80 * 201 * 4 };

static void put(unsigned char **at, const void *p, size_t n)
{
    memcpy(*at, p, n);
    *at += n;
}

/* Reads all that was found: the sanitizers see whether it lies where it should. */
static void read_all(const struct model_file *f)
{
    for (size_t i = 0; i < f->n_tensors; i++) {
        const struct tensor_view *t = &f->tensors[i].view;
        if (!t->data)
            continue;
        int64_t all = 1;
        for (int k = 0; k < t->n_dims; k++)
            all *= t->dims[k];
        float *values = malloc((size_t)all * sizeof *values);
        if (!values)
            abort();
        tensor_rows_f32(t, 0, t->dims[0], values);
        free(values);
    }
    size_t sum = 0, len = 0;
    for (size_t i = 0; i < f->n_tokens; i++) {
        const char *p = model_file_token(f, (int)i, &len);
        for (size_t k = 0; p && k < len; k++)
            sum += (unsigned char)p[k];
    }
    if (sum == SIZE_MAX)
        abort();
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n)
{
    static const int32_t header[] = {0x67676d6c, 51864, 1500, 64, 1, 1, 448, 64, 1, 1, 80, 1, 80, 201};
    static const unsigned char no_tokens[] = {1, 0, 0, 0, 1, 0, 0, 0, 'a'};
    if (n < 1)
        return 0;
    /* Exactly as long as the file would be, so that a read behind its end is seen. */
    size_t before = data[0] % 3 == 0   ? 0
                    : data[0] % 3 == 1 ? sizeof header + FILTERS
                                       : sizeof header + FILTERS + sizeof no_tokens;
    unsigned char *file = calloc(1, before + n - 1 ? before + n - 1 : 1), *at = file;
    if (!file)
        return 0;
    if (before)
        put(&at, header, sizeof header);
    if (before)
        at += FILTERS;
    if (data[0] % 3 == 2)
        put(&at, no_tokens, sizeof no_tokens);
    put(&at, data + 1, n - 1);
    struct model_file f = {.arena = ARENA_INIT};
    struct err err = ERR_INIT;
    int rc = ggml_read_bytes(&f, (struct mapping){file, before + n - 1}, &err);
    if ((rc < 0) != (err.msg[0] != '\0'))
        abort();
    read_all(&f);
    free(f.tensors);
    free(f.mel_filters);
    free(f.tokens);
    free(f.token_lens);
    arena_clear(&f.arena);
    free(file);
    return 0;
}
