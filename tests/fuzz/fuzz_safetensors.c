/* SPDX-License-Identifier: MIT */
/*
 * Any bytes as a file of a Hugging Face folder. Byte 0 of the input says which: 0 weights, 1 config.json, 2 vocab.json,
 * 3 generation_config.json. What was found can be read to its end.
 */
#include "whisper/model_file_internal.h"

#include <stdint.h>
#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n);

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
    for (size_t i = 0; i < f->n_heads; i++)
        if (f->heads[i].layer >= f->dims.text_layers || f->heads[i].head >= f->dims.text_heads)
            abort();
}

static int read_json(struct model_file *f, int what, const char *text, size_t n, struct err *err)
{
    json_t *json = json_loadb(text, n, JSON_REJECT_DUPLICATES, NULL);
    if (!json)
        return err_set(err, ERR_CORRUPT, "not JSON");
    int rc = what == 1   ? hf_read_config(f, json, err)
             : what == 2 ? hf_read_vocabulary(f, json, err)
                         : hf_read_generation(f, json, err);
    json_decref(json);
    return rc;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n)
{
    static const struct whisper_dims nano = {.n_vocab = 51864,
                                             .n_mels = 80,
                                             .audio_ctx = 1500,
                                             .audio_state = 64,
                                             .audio_heads = 1,
                                             .audio_layers = 1,
                                             .text_ctx = 448,
                                             .text_state = 64,
                                             .text_heads = 1,
                                             .text_layers = 1};
    if (n < 2)
        return 0;
    int what = data[0] % 4;
    size_t len = n - 1;
    /* A copy of its own: a read behind the end is seen. */
    unsigned char *file = malloc(len);
    if (!file)
        return 0;
    memcpy(file, data + 1, len);
    struct model_file f = {.arena = ARENA_INIT};
    struct err err = ERR_INIT;
    int rc = what == 1 ? 0 : model_file_expect(&f, &nano, &err);
    if (rc == 0)
        rc = what == 0 ? hf_read_safetensors(&f, (struct mapping){file, len}, &err)
                       : read_json(&f, what, (const char *)file, len, &err);
    if ((rc < 0) != (err.msg[0] != '\0'))
        abort();
    read_all(&f);
    free(f.tensors);
    free(f.tokens);
    free(f.token_lens);
    free(f.heads);
    arena_clear(&f.arena);
    free(file);
    return 0;
}
