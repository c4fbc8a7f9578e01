/* SPDX-License-Identifier: MIT */
/*
 * Products with weight matrices, by oneDNN: the only files that see dnnl.h.
 *
 * A weight matrix W [n out][k in] is packed once into the blocked layout that oneDNN likes for it (the same for any
 * number of rows); y = x W^T + bias is then one call. Precisions differ in what is packed and in what x must be:
 *
 *   f32    floats; x floats
 *   bf16   bfloat16; x bfloat16
 *   int8   signed bytes with a scale for each output column; x floats, which dnn_linear quantises row by row
 *
 * A struct dnn (primitives, scratch) belongs to one thread, which leads an OpenMP team; packed weights are read-only
 * and shared.
 */
#ifndef WHISPER_DNN_H
#define WHISPER_DNN_H

#include "whisper/kern.h"
#include "whisper/whisper.h"

struct dnn;

/* How a packed matrix of this shape is laid out; plain data, may be written to a file read by the same oneDNN version.
 */
enum { DNN_LAYOUT_BYTES = 1024 };
struct dnn_layout {
    enum whisper_precision precision;
    int64_t k, n, bytes; /* bytes: of the packed values */
    unsigned char desc[DNN_LAYOUT_BYTES];
};

struct dnn_matrix {
    struct dnn_layout layout;
    const void *packed;  /* layout.bytes, 64-byte aligned */
    const float *scales; /* int8: [n]; else NULL */
};

enum dnn_post {
    DNN_NONE,
    DNN_GELU, /* exact (erf) */
    DNN_ADD,  /* add to what is in y */
};

int dnn_new(unsigned threads, struct dnn **ret, struct err *err) MUST_CHECK;
void dnn_free(struct dnn *d); /* NULL is fine */

/* Asks oneDNN how it wants a [n][k] matrix. */
int dnn_layout(struct dnn *d, enum whisper_precision p, int64_t k, int64_t n, struct dnn_layout *ret, struct err *err)
    MUST_CHECK;
/* Packs w, row-major [n][k]; ret: layout->bytes, 64-byte aligned; ret_scales: [n], int8 only. */
int dnn_pack(struct dnn *d, const struct dnn_layout *layout, const float *w, void *ret, float *ret_scales,
             struct err *err) MUST_CHECK;

/*
 * y[m][n] = post(x[m][k] W^T + bias). x: bf16 when the matrix is bf16, else float. y: bf16 when y_bf16 (bf16 matrices
 * only), else float; DNN_ADD wants floats. bias may be NULL. The first call with a new shape makes a primitive
 * (milliseconds).
 */
int dnn_linear(struct dnn *d, int64_t m, const void *x, const struct dnn_matrix *w, const float *bias,
               enum dnn_post post, bool y_bf16, void *y, struct err *err) MUST_CHECK;

/*
 * A product of a fixed size between two things that both change, which each thread of a team runs by itself
 * (attention): y[m][n] = x[m][k] B, rows of x and y `x_stride` and `y_stride` values apart. Floats, or bfloat16 with a
 * float or bfloat16 result.
 */
struct dnn_small;
struct dnn_small_opts {
    bool bf16, y_bf16;
    int64_t m, k, n, x_stride, y_stride;
    int64_t b_stride_k,
        b_stride_n; /* how B lies before it is packed: element (i, j) at i * b_stride_k + j * b_stride_n */
    unsigned threads;
};
int dnn_small_new(struct dnn *d, const struct dnn_small_opts *o, struct dnn_small **ret, struct err *err) MUST_CHECK;
void dnn_small_free(struct dnn_small *s); /* NULL is fine */
size_t dnn_small_packed_bytes(const struct dnn_small *s);
/* `thread`: who calls, below opts.threads. Both return false when oneDNN refuses, which it does not once made. */
bool dnn_small_pack(struct dnn_small *s, unsigned thread, const void *b, void *ret_packed) MUST_CHECK;
bool dnn_small_run(struct dnn_small *s, unsigned thread, const void *x, const void *packed, void *y) MUST_CHECK;

enum { DNN_VERSION_SIZE = 40 };
/* "2.6.3" */
void dnn_version(char ret[DNN_VERSION_SIZE]);
/* The instruction set oneDNN uses here: part of the packed cache's key ("avx512_core_amx"). */
const char *dnn_cpu(void);
/* Has the processor fast products of this kind? */
bool dnn_fast(enum whisper_precision p);

#endif
