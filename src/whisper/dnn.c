/* SPDX-License-Identifier: MIT */
/*
 * One matmul primitive per (shape, rows, output, post-operation), made on first use and kept in a small hash table;
 * their scratch memory is one buffer of the largest size asked for. int8 goes through a 32-bit result and a pass of our
 * own that applies the scales of row and column, bias and post-operation: oneDNN 2.6 has no fast kernel with a factor
 * for each row.
 */
#include "whisper/dnn.h"

#include "whisper/dnn_internal.h"
#include "whisper/kern.h"

#include <omp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

_Static_assert(sizeof(dnnl_memory_desc_t) <= DNN_LAYOUT_BYTES, "a oneDNN descriptor must fit a layout");

enum { TABLE_SIZE = 1024 }; /* a model has 8 shapes, each with some 10 row counts */

struct op {
    bool used;
    int64_t m, k, n;
    enum whisper_precision precision;
    enum dnn_post post;
    bool y_bf16, bias;
    dnnl_primitive_t prim;
    dnnl_memory_t x, w, b, y, scratch;
};

struct dnn {
    dnnl_engine_t engine;
    dnnl_stream_t stream;
    struct op ops[TABLE_SIZE];
    size_t n_ops;
    void *scratch;
    size_t scratch_bytes;
    int8_t *quantised; /* int8: x of the call under way */
    size_t quantised_cap;
    float *row_scales;
    size_t row_scales_cap;
    int32_t *sums;
    size_t sums_cap;
};

int dnn_fail(struct err *err, int status, const char *what)
{
    int code = status == (int)dnnl_out_of_memory ? ERR_NOMEM : ERR_INTERNAL;
    return err_set(err, code, "oneDNN: %s failed (status %d)", what, status);
}

dnnl_engine_t dnn_engine(struct dnn *d)
{
    return d->engine;
}

static void *aligned(size_t bytes)
{
    return aligned_alloc(64, (bytes + 63) & ~(size_t)63);
}

/* Makes *p hold at least `bytes`; contents are lost. */
static int grow(void *pointer, size_t *cap, size_t bytes, struct err *err)
{
    void **p = pointer;
    if (bytes <= *cap)
        return 0;
    free(*p);
    *cap = 0;
    *p = aligned(bytes);
    if (!*p)
        return err_set(err, ERR_NOMEM, "no memory for %zu bytes of scratch", bytes);
    *cap = bytes;
    return 0;
}

int dnn_new(unsigned threads, struct dnn **ret, struct err *err)
{
    struct dnn *d = calloc(1, sizeof *d);
    if (!d)
        return err_set(err, ERR_NOMEM, "no memory for oneDNN's tables");
    if (threads)
        omp_set_num_threads((int)threads);
    dnnl_status_t s = dnnl_engine_create(&d->engine, dnnl_cpu, 0);
    if (s == dnnl_success)
        s = dnnl_stream_create(&d->stream, d->engine, dnnl_stream_default_flags);
    if (s != dnnl_success) {
        dnn_free(d);
        return dnn_fail(err, (int)s, "making an engine");
    }
    *ret = d;
    return 0;
}

static void op_clear(struct op *o)
{
    dnnl_memory_t all[] = {o->x, o->w, o->b, o->y, o->scratch};
    for (size_t i = 0; i < ARRAY_LEN(all); i++)
        if (all[i])
            dnnl_memory_destroy(all[i]);
    if (o->prim)
        dnnl_primitive_destroy(o->prim);
    memset(o, 0, sizeof *o);
}

void dnn_free(struct dnn *d)
{
    if (!d)
        return;
    for (size_t i = 0; i < TABLE_SIZE; i++)
        op_clear(&d->ops[i]);
    if (d->stream)
        dnnl_stream_destroy(d->stream);
    if (d->engine)
        dnnl_engine_destroy(d->engine);
    free(d->scratch);
    free(d->quantised);
    free(d->row_scales);
    free(d->sums);
    free(d);
}

static dnnl_data_type_t in_type(enum whisper_precision p)
{
    return p == WHISPER_BF16 ? dnnl_bf16 : p == WHISPER_INT8 ? dnnl_s8 : dnnl_f32;
}

static dnnl_status_t desc2(dnnl_memory_desc_t *ret, int64_t rows, int64_t cols, dnnl_data_type_t type,
                           dnnl_format_tag_t tag)
{
    dnnl_dims_t dims = {rows, cols};
    return dnnl_memory_desc_init_by_tag(ret, 2, dims, type, tag);
}

static dnnl_data_type_t out_type(enum whisper_precision p, bool y_bf16)
{
    return p == WHISPER_INT8 ? dnnl_s32 : y_bf16 ? dnnl_bf16 : dnnl_f32;
}

/* The primitive descriptor of one product; the caller destroys it. */
static dnnl_status_t describe(struct dnn *d, enum whisper_precision p, int64_t m, int64_t k, int64_t n,
                              const dnnl_memory_desc_t *w, bool bias, enum dnn_post post, bool y_bf16,
                              dnnl_primitive_desc_t *ret)
{
    dnnl_memory_desc_t x, b, y;
    dnnl_status_t s = desc2(&x, m, k, in_type(p), dnnl_ab);
    if (s == dnnl_success)
        s = desc2(&b, 1, n, dnnl_f32, dnnl_ab);
    if (s == dnnl_success)
        s = desc2(&y, m, n, out_type(p, y_bf16), dnnl_ab);
    dnnl_matmul_desc_t op;
    if (s == dnnl_success)
        s = dnnl_matmul_desc_init(&op, &x, w, bias ? &b : NULL, &y);
    if (s != dnnl_success)
        return s;
    dnnl_primitive_attr_t attr;
    dnnl_post_ops_t po;
    s = dnnl_primitive_attr_create(&attr);
    if (s != dnnl_success)
        return s;
    s = dnnl_post_ops_create(&po);
    if (s == dnnl_success) {
        if (post == DNN_GELU)
            s = dnnl_post_ops_append_eltwise(po, 1, dnnl_eltwise_gelu_erf, 0, 0);
        else if (post == DNN_ADD)
            s = dnnl_post_ops_append_sum(po, 1);
        if (s == dnnl_success)
            s = dnnl_primitive_attr_set_post_ops(attr, po);
        if (s == dnnl_success)
            s = dnnl_primitive_attr_set_scratchpad_mode(attr, dnnl_scratchpad_mode_user);
        if (s == dnnl_success)
            s = dnnl_primitive_desc_create(ret, &op, attr, d->engine, NULL);
        dnnl_post_ops_destroy(po);
    }
    dnnl_primitive_attr_destroy(attr);
    return s;
}

int dnn_layout(struct dnn *d, enum whisper_precision p, int64_t k, int64_t n, struct dnn_layout *ret, struct err *err)
{
    dnnl_memory_desc_t any;
    dnnl_primitive_desc_t pd;
    dnnl_status_t s = desc2(&any, k, n, in_type(p), dnnl_format_tag_any);
    /* The layout for many rows is also the one for few. */
    if (s == dnnl_success)
        s = describe(d, p, 1500, k, n, &any, false, DNN_NONE, false, &pd);
    if (s != dnnl_success)
        return dnn_fail(err, (int)s, "choosing a layout");
    const dnnl_memory_desc_t *md = dnnl_primitive_desc_query_md(pd, dnnl_query_weights_md, 0);
    *ret = (struct dnn_layout){.precision = p, .k = k, .n = n, .bytes = (int64_t)dnnl_memory_desc_get_size(md)};
    memcpy(ret->desc, md, sizeof *md);
    dnnl_primitive_desc_destroy(pd);
    return 0;
}

/* Symmetric bytes with a scale for each row of w (an output column of the product). */
static void quantise_weights(const float *w, int64_t n, int64_t k, int8_t *ret, float *ret_scales)
{
    const struct kern *kern = kern_best();
#pragma omp parallel for
    for (int64_t i = 0; i < n; i++)
        ret_scales[i] = kern->quantise_row(w + i * k, k, ret + i * k);
}

int dnn_pack(struct dnn *d, const struct dnn_layout *layout, const float *w, void *ret, float *ret_scales,
             struct err *err)
{
    enum whisper_precision p = layout->precision;
    int64_t k = layout->k, n = layout->n;
    int8_t *bytes = NULL;
    dnnl_memory_desc_t from, to;
    memcpy(&to, layout->desc, sizeof to);
    /* [n][k] row-major is [k][n] with transposed strides. */
    dnnl_status_t s = desc2(&from, k, n, p == WHISPER_INT8 ? dnnl_s8 : dnnl_f32, dnnl_ba);
    if (p == WHISPER_INT8) {
        bytes = malloc((size_t)(k * n));
        if (!bytes)
            return err_set(err, ERR_NOMEM, "no memory to quantise a matrix");
        quantise_weights(w, n, k, bytes, ret_scales);
    }
    dnnl_memory_t a = NULL, b = NULL;
    dnnl_primitive_desc_t pd = NULL;
    dnnl_primitive_t prim = NULL;
    if (s == dnnl_success)
        s = dnnl_memory_create(&a, &from, d->engine, dnn_unconst(bytes ? (const void *)bytes : (const void *)w));
    if (s == dnnl_success)
        s = dnnl_memory_create(&b, &to, d->engine, ret);
    if (s == dnnl_success)
        s = dnnl_reorder_primitive_desc_create(&pd, &from, d->engine, &to, d->engine, NULL);
    if (s == dnnl_success)
        s = dnnl_primitive_create(&prim, pd);
    if (s == dnnl_success) {
        dnnl_exec_arg_t args[] = {{DNNL_ARG_FROM, a}, {DNNL_ARG_TO, b}};
        s = dnnl_primitive_execute(prim, d->stream, 2, args);
    }
    if (s == dnnl_success)
        s = dnnl_stream_wait(d->stream);
    if (prim)
        dnnl_primitive_destroy(prim);
    if (pd)
        dnnl_primitive_desc_destroy(pd);
    if (a)
        dnnl_memory_destroy(a);
    if (b)
        dnnl_memory_destroy(b);
    free(bytes);
    return s == dnnl_success ? 0 : dnn_fail(err, (int)s, "packing a matrix");
}

static int op_make(struct dnn *d, struct op *o, const struct dnn_matrix *w, struct err *err)
{
    dnnl_memory_desc_t wd;
    memcpy(&wd, w->layout.desc, sizeof wd);
    dnnl_primitive_desc_t pd;
    dnnl_status_t s = describe(d, o->precision, o->m, o->k, o->n, &wd, o->bias, o->post, o->y_bf16, &pd);
    if (s != dnnl_success)
        return dnn_fail(err, (int)s, "describing a product");
    s = dnnl_primitive_create(&o->prim, pd);
    const dnnl_memory_desc_t *mds[] = {
        dnnl_primitive_desc_query_md(pd, dnnl_query_src_md, 0),
        dnnl_primitive_desc_query_md(pd, dnnl_query_weights_md, 0),
        dnnl_primitive_desc_query_md(pd, dnnl_query_dst_md, 0),
        dnnl_primitive_desc_query_md(pd, dnnl_query_scratchpad_md, 0),
        o->bias ? dnnl_primitive_desc_query_md(pd, dnnl_query_weights_md, 1) : NULL,
    };
    dnnl_memory_t *mems[] = {&o->x, &o->w, &o->y, &o->scratch, &o->b};
    for (size_t i = 0; i < ARRAY_LEN(mems) && s == dnnl_success; i++)
        if (mds[i])
            s = dnnl_memory_create(mems[i], mds[i], d->engine, NULL);
    size_t scratch = mds[3] ? dnnl_memory_desc_get_size(mds[3]) : 0;
    dnnl_primitive_desc_destroy(pd);
    if (s != dnnl_success)
        return dnn_fail(err, (int)s, "making a product");
    return grow(&d->scratch, &d->scratch_bytes, scratch, err);
}

static int op_find(struct dnn *d, const struct op *want, const struct dnn_matrix *w, struct op **ret, struct err *err)
{
    size_t h =
        (size_t)(want->m * 31 + want->k * 131 + want->n * 17 + (int)want->post * 5 + want->y_bf16 * 3 + want->bias);
    for (size_t i = 0; i < TABLE_SIZE; i++) {
        struct op *o = &d->ops[(h + i) % TABLE_SIZE];
        if (o->used && o->m == want->m && o->k == want->k && o->n == want->n && o->precision == want->precision &&
            o->post == want->post && o->y_bf16 == want->y_bf16 && o->bias == want->bias) {
            *ret = o;
            return 0;
        }
        if (o->used)
            continue;
        *o = *want;
        o->used = true;
        int rc = op_make(d, o, w, err);
        if (rc < 0) {
            op_clear(o);
            return rc;
        }
        d->n_ops++;
        *ret = o;
        return 0;
    }
    return err_set(err, ERR_INTERNAL, "more than %d product shapes", (int)TABLE_SIZE);
}

static int execute(struct dnn *d, struct op *o, const void *x, const struct dnn_matrix *w, const float *bias, void *y,
                   struct err *err)
{
    dnnl_memory_set_data_handle(o->x, dnn_unconst(x));
    dnnl_memory_set_data_handle(o->w, dnn_unconst(w->packed));
    dnnl_memory_set_data_handle(o->y, y);
    dnnl_memory_set_data_handle(o->scratch, d->scratch);
    dnnl_exec_arg_t args[5] = {
        {DNNL_ARG_SRC, o->x}, {DNNL_ARG_WEIGHTS, o->w}, {DNNL_ARG_DST, o->y}, {DNNL_ARG_SCRATCHPAD, o->scratch}};
    int n = 4;
    if (o->bias) {
        dnnl_memory_set_data_handle(o->b, dnn_unconst(bias));
        args[n++] = (dnnl_exec_arg_t){DNNL_ARG_BIAS, o->b};
    }
    dnnl_status_t s = dnnl_primitive_execute(o->prim, d->stream, n, args);
    return s == dnnl_success ? 0 : dnn_fail(err, (int)s, "a product");
}

static int linear_int8(struct dnn *d, int64_t m, const float *x, const struct dnn_matrix *w, const float *bias,
                       enum dnn_post post, float *y, struct err *err)
{
    const struct kern *kern = kern_best();
    int64_t k = w->layout.k, n = w->layout.n;
    struct op want = {.m = m, .k = k, .n = n, .precision = WHISPER_INT8}, *o = NULL;
    int rc = op_find(d, &want, w, &o, err);
    if (rc == 0)
        rc = grow(&d->quantised, &d->quantised_cap, (size_t)(m * k), err);
    if (rc == 0)
        rc = grow(&d->row_scales, &d->row_scales_cap, (size_t)m * sizeof(float), err);
    if (rc == 0)
        rc = grow(&d->sums, &d->sums_cap, (size_t)(m * n) * sizeof(int32_t), err);
    if (rc < 0)
        return rc;
#pragma omp parallel for if (m > 8)
    for (int64_t i = 0; i < m; i++)
        d->row_scales[i] = kern->quantise_row(x + i * k, k, d->quantised + i * k);
    rc = execute(d, o, d->quantised, w, NULL, d->sums, err);
    if (rc < 0)
        return rc;
    int64_t piece = m > 8 ? n : (n + 3) / 4; /* few rows: split the columns instead */
#pragma omp parallel for collapse(2)
    for (int64_t i = 0; i < m; i++)
        for (int64_t at = 0; at < n; at += piece)
            kern->dequantise(d->sums + i * n + at, MIN(piece, n - at), d->row_scales[i], w->scales + at,
                             bias ? bias + at : NULL, post == DNN_GELU, post == DNN_ADD, y + i * n + at);
    return 0;
}

int dnn_linear(struct dnn *d, int64_t m, const void *x, const struct dnn_matrix *w, const float *bias,
               enum dnn_post post, bool y_bf16, void *y, struct err *err)
{
    if (w->layout.precision == WHISPER_INT8)
        return linear_int8(d, m, x, w, bias, post, y, err);
    struct op want = {.m = m,
                      .k = w->layout.k,
                      .n = w->layout.n,
                      .precision = w->layout.precision,
                      .post = post,
                      .y_bf16 = y_bf16,
                      .bias = bias != NULL},
              *o = NULL;
    int rc = op_find(d, &want, w, &o, err);
    return rc < 0 ? rc : execute(d, o, x, w, bias, y, err);
}

void dnn_version(char ret[DNN_VERSION_SIZE])
{
    const dnnl_version_t *v = dnnl_version();
    snprintf(ret, DNN_VERSION_SIZE, "%d.%d.%d", v->major, v->minor, v->patch);
}

const char *dnn_cpu(void)
{
    static const struct {
        dnnl_cpu_isa_t isa;
        const char *name;
    } names[] = {
        {dnnl_cpu_isa_sse41, "sse41"},
        {dnnl_cpu_isa_avx, "avx"},
        {dnnl_cpu_isa_avx2, "avx2"},
        {dnnl_cpu_isa_avx2_vnni, "avx2_vnni"},
        {dnnl_cpu_isa_avx512_core, "avx512_core"},
        {dnnl_cpu_isa_avx512_core_vnni, "avx512_core_vnni"},
        {dnnl_cpu_isa_avx512_core_bf16, "avx512_core_bf16"},
        {dnnl_cpu_isa_avx512_core_amx, "avx512_core_amx"},
    };
    dnnl_cpu_isa_t isa = dnnl_get_effective_cpu_isa();
    for (size_t i = 0; i < ARRAY_LEN(names); i++)
        if (names[i].isa == isa)
            return names[i].name;
    return "other";
}

bool dnn_fast(enum whisper_precision p)
{
    /* An instruction set's value holds the bits of all it includes. */
    int isa = (int)dnnl_get_effective_cpu_isa();
    switch (p) {
    case WHISPER_AUTO:
    case WHISPER_F32:
        return true;
    case WHISPER_BF16:
        return (isa & (int)dnnl_cpu_isa_avx512_core_bf16) == (int)dnnl_cpu_isa_avx512_core_bf16;
    case WHISPER_INT8:
        return (isa & (int)dnnl_cpu_isa_avx512_core_vnni) == (int)dnnl_cpu_isa_avx512_core_vnni ||
               (isa & (int)dnnl_cpu_isa_avx2_vnni) == (int)dnnl_cpu_isa_avx2_vnni;
    }
    return false;
}
