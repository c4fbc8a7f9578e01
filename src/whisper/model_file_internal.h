/* SPDX-License-Identifier: MIT */
/* What the two readers fill in, and the list of tensors that a Whisper of given dimensions must have. */
#ifndef WHISPER_MODEL_FILE_INTERNAL_H
#define WHISPER_MODEL_FILE_INTERNAL_H

#include "whisper/model_file.h"

#include <jansson.h>

enum { TENSOR_NAME_MAX = 64, MAX_VOCAB = 65536, MAX_LAYERS = 64, MAX_STATE = 4096, MAX_MELS = 256 };

/* One tensor that must be there; `view.data` is NULL until a reader found it. */
struct tensor {
    char name[TENSOR_NAME_MAX];
    struct tensor_view view; /* n_dims and dims are what must be */
};

struct mapping {
    const unsigned char *data;
    size_t size;
};

struct model_file {
    struct whisper_dims dims;
    struct tensor *tensors; /* sorted by name */
    size_t n_tensors;
    float *mel_filters;
    const char **tokens; /* [n_tokens]: borrowed from mapping or arena */
    uint32_t *token_lens;
    size_t n_tokens;
    struct head *heads;
    size_t n_heads;
    char type[32], key[80];
    char *path;              /* absolute */
    int64_t bytes, mtime_ns; /* of all files together; of the newest */
    struct mapping maps[64];
    size_t n_maps;
    struct arena arena;
};

/* Checks the dimensions' ranges and makes the list of tensors. */
int model_file_expect(struct model_file *f, const struct whisper_dims *dims, struct err *err) MUST_CHECK;
/*
 * Puts a tensor found at `data` (with `room` bytes behind it) into its place. Checks type, shape and size; an unknown
 * name or a second one of the same name is CORRUPT.
 */
int model_file_place(struct model_file *f, const char *name, const struct tensor_view *found, size_t room,
                     struct err *err) MUST_CHECK;
/* Bytes of a tensor of this type and shape; -1 when the shape does not suit the type or overflows. */
int64_t tensor_bytes(enum tensor_type type, int n_dims, const int64_t dims[3]);
/* Maps a file read-only and remembers it. */
int model_file_map(struct model_file *f, const char *path, struct mapping *ret, struct err *err) MUST_CHECK;
/* Slaney filters for n_mels bands. */
void mel_filters_slaney(int n_mels, float *ret);

int ggml_read(struct model_file *f, const char *path, struct err *err) MUST_CHECK;
int hf_read(struct model_file *f, const char *folder, struct err *err) MUST_CHECK;

/* The readers behind the files, for whoever has the bytes in memory already; `m` must outlive f. */
int ggml_read_bytes(struct model_file *f, struct mapping m, struct err *err) MUST_CHECK;
int hf_read_safetensors(struct model_file *f, struct mapping m, struct err *err) MUST_CHECK;
int hf_read_config(struct model_file *f, const json_t *config, struct err *err) MUST_CHECK;
int hf_read_vocabulary(struct model_file *f, json_t *vocab, struct err *err) MUST_CHECK;
int hf_read_generation(struct model_file *f, json_t *generation_config, struct err *err) MUST_CHECK;

#endif
