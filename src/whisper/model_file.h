/* SPDX-License-Identifier: MIT */
/*
 * A model as it lies on disk, whatever the format, checked and mapped read-only.
 *
 * Both readers (ggml .bin, Hugging Face folder) give the same view: dimensions, vocabulary, mel filters and tensors
 * under OpenAI's names ("encoder.blocks.0.attn.query.weight"). Nothing is trusted: offsets, sizes, shapes,
 * counts and overflow are checked before a byte is used, and a gap or a stranger in the tensor list is one clear
 * sentence.
 */
#ifndef WHISPER_MODEL_FILE_H
#define WHISPER_MODEL_FILE_H

#include "whisper/whisper.h"

struct model_file;

#define TENSOR_TYPES(X) /* name, word, bytes of a block, values in a block */ \
    X(F32, "f32", 4, 1)                                                       \
    X(F16, "f16", 2, 1)                                                       \
    X(BF16, "bf16", 2, 1)                                                     \
    X(Q4_0, "q4_0", 18, 32)                                                   \
    X(Q4_1, "q4_1", 20, 32)                                                   \
    X(Q5_0, "q5_0", 22, 32)                                                   \
    X(Q5_1, "q5_1", 24, 32)                                                   \
    X(Q8_0, "q8_0", 34, 32)

enum tensor_type {
#define X(name, word, bytes, values) TENSOR_##name,
    TENSOR_TYPES(X)
#undef X
        TENSOR_TYPE_COUNT
};

struct tensor_view {
    enum tensor_type type;
    int n_dims;
    int64_t dims[3];  /* outermost first: a matrix is [rows out][columns in] */
    const void *data; /* in the mapping; may be unaligned */
};

int model_file_open(const char *path, struct model_file **ret, struct err *err) MUST_CHECK;
void model_file_close(struct model_file *f); /* NULL is fine */

const struct whisper_dims *model_file_dims(const struct model_file *f);
/* NULL when there is none of that name. Every tensor the dims call for is there: open checked it. */
const struct tensor_view *model_file_tensor(const struct model_file *f, const char *name);
/* Rows [first, first + n) of the flattened [dims[0]][rest] tensor as floats: n * rest values. */
void tensor_rows_f32(const struct tensor_view *t, int64_t first, int64_t n, float *ret);
bool floats_finite(const float *x, int64_t n);

/* Mel filters [n_mels][201], from the file or computed (Slaney). */
const float *model_file_mel_filters(const struct model_file *f);
/* Bytes of ordinary token `id` (not NUL-terminated), NULL for special ones and past the end. */
const char *model_file_token(const struct model_file *f, int id, size_t *ret_len);
/* BPE merge ranks come from token ids (GPT-2 order); see tokenizer.h. */
/* (layer, head) pairs of generation_config.json; n 0 when the file names none. */
struct head {
    int layer, head;
};
const struct head *model_file_alignment_heads(const struct model_file *f, size_t *ret_n);
const char *model_file_type(const struct model_file *f); /* "ggml q5_0" */
int64_t model_file_parameters(const struct model_file *f);
int64_t model_file_bytes(const struct model_file *f);
const char *model_file_path(const struct model_file *f); /* absolute */
/* The i-th of its tensors in the order of their names, NULL past the last. */
const struct tensor_view *model_file_tensor_at(const struct model_file *f, size_t i, const char **ret_name);
/* What the packed cache is keyed by: size, newest mtime and a digest of the headers, as hex text. */
const char *model_file_key(const struct model_file *f);
/* SHA-256 over the bytes of its weight files, one after another, as hex. INTERNAL: OpenSSL cannot. */
enum { SHA256_TEXT = 65 };
int model_file_sha256(const struct model_file *f, const struct cancel *cancel, char ret[SHA256_TEXT], struct err *err)
    MUST_CHECK;
/* The same of any bytes. */
int sha256_text(const void *p, size_t n, const struct cancel *cancel, char ret[SHA256_TEXT], struct err *err)
    MUST_CHECK;

#endif
