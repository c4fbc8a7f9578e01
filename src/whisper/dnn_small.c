/* SPDX-License-Identifier: MIT */
/*
 * One primitive shared by all threads (they hold no state), and memory objects and a stream for each thread. Made with
 * one OpenMP thread, so that oneDNN plans it for one; run inside a parallel region, where it stays on the calling
 * thread.
 */
#include "whisper/dnn.h"
#include "whisper/dnn_internal.h"

#include <omp.h>
#include <stdlib.h>
#include <string.h>

struct seat {
    dnnl_stream_t stream;
    dnnl_memory_t x, b, packed, y, scratch;
    void *scratch_data;
};

struct dnn_small {
    dnnl_primitive_t product, pack;
    size_t packed_bytes;
    unsigned threads;
    struct seat seats[];
};

static dnnl_status_t strided(dnnl_memory_desc_t *ret, int64_t rows, int64_t cols, dnnl_data_type_t type, int64_t row,
                             int64_t col)
{
    dnnl_dims_t dims = {rows, cols}, strides = {row, col};
    return dnnl_memory_desc_init_by_strides(ret, 2, dims, type, strides);
}

/* The two primitive descriptors: the product, and the reorder that packs B for it. The caller destroys them. */
static dnnl_status_t describe(struct dnn *d, const struct dnn_small_opts *o, dnnl_primitive_desc_t *ret_product,
                              dnnl_primitive_desc_t *ret_pack)
{
    dnnl_data_type_t type = o->bf16 ? dnnl_bf16 : dnnl_f32;
    dnnl_memory_desc_t x, b, any, y;
    dnnl_dims_t dims = {o->k, o->n};
    dnnl_status_t s = strided(&x, o->m, o->k, type, o->x_stride, 1);
    if (s == dnnl_success)
        s = strided(&b, o->k, o->n, type, o->b_stride_k, o->b_stride_n);
    if (s == dnnl_success)
        s = dnnl_memory_desc_init_by_tag(&any, 2, dims, type, dnnl_format_tag_any);
    if (s == dnnl_success)
        s = strided(&y, o->m, o->n, o->y_bf16 ? dnnl_bf16 : dnnl_f32, o->y_stride, 1);
    dnnl_matmul_desc_t op;
    if (s == dnnl_success)
        s = dnnl_matmul_desc_init(&op, &x, &any, NULL, &y);
    dnnl_primitive_attr_t attr = NULL;
    if (s == dnnl_success)
        s = dnnl_primitive_attr_create(&attr);
    if (s == dnnl_success)
        s = dnnl_primitive_attr_set_scratchpad_mode(attr, dnnl_scratchpad_mode_user);
    if (s == dnnl_success)
        s = dnnl_primitive_desc_create(ret_product, &op, attr, dnn_engine(d), NULL);
    if (s == dnnl_success)
        s = dnnl_reorder_primitive_desc_create(ret_pack, &b, dnn_engine(d),
                                               dnnl_primitive_desc_query_md(*ret_product, dnnl_query_weights_md, 0),
                                               dnn_engine(d), attr);
    if (attr)
        dnnl_primitive_attr_destroy(attr);
    return s;
}

static dnnl_status_t seat_make(struct dnn *d, struct seat *t, dnnl_primitive_desc_t product, dnnl_primitive_desc_t pack)
{
    const dnnl_memory_desc_t *scratch = dnnl_primitive_desc_query_md(product, dnnl_query_scratchpad_md, 0);
    const dnnl_memory_desc_t *pack_scratch = dnnl_primitive_desc_query_md(pack, dnnl_query_scratchpad_md, 0);
    size_t bytes = dnnl_memory_desc_get_size(scratch), more = dnnl_memory_desc_get_size(pack_scratch);
    bytes = MAX(MAX(bytes, more), (size_t)64);
    t->scratch_data = aligned_alloc(64, (bytes + 63) & ~(size_t)63);
    if (!t->scratch_data)
        return dnnl_out_of_memory;
    const struct {
        const dnnl_memory_desc_t *md;
        dnnl_memory_t *ret;
    } all[] = {
        {dnnl_primitive_desc_query_md(product, dnnl_query_src_md, 0), &t->x},
        {dnnl_primitive_desc_query_md(product, dnnl_query_weights_md, 0), &t->packed},
        {dnnl_primitive_desc_query_md(product, dnnl_query_dst_md, 0), &t->y},
        {dnnl_primitive_desc_query_md(pack, dnnl_query_src_md, 0), &t->b},
        {scratch, &t->scratch},
    };
    dnnl_status_t s = dnnl_stream_create(&t->stream, dnn_engine(d), dnnl_stream_default_flags);
    for (size_t i = 0; i < ARRAY_LEN(all) && s == dnnl_success; i++)
        s = dnnl_memory_create(all[i].ret, all[i].md, dnn_engine(d), NULL);
    if (s == dnnl_success)
        s = dnnl_memory_set_data_handle(t->scratch, t->scratch_data);
    return s;
}

int dnn_small_new(struct dnn *d, const struct dnn_small_opts *o, struct dnn_small **ret, struct err *err)
{
    struct dnn_small *small = calloc(1, sizeof *small + o->threads * sizeof small->seats[0]);
    if (!small)
        return err_set(err, ERR_NOMEM, "no memory for a product");
    small->threads = o->threads;
    int team = omp_get_max_threads();
    omp_set_num_threads(1);
    dnnl_primitive_desc_t product = NULL, pack = NULL;
    dnnl_status_t s = describe(d, o, &product, &pack);
    if (s == dnnl_success)
        s = dnnl_primitive_create(&small->product, product);
    if (s == dnnl_success)
        s = dnnl_primitive_create(&small->pack, pack);
    if (s == dnnl_success)
        small->packed_bytes =
            dnnl_memory_desc_get_size(dnnl_primitive_desc_query_md(product, dnnl_query_weights_md, 0));
    for (unsigned i = 0; i < o->threads && s == dnnl_success; i++)
        s = seat_make(d, &small->seats[i], product, pack);
    omp_set_num_threads(team);
    if (product)
        dnnl_primitive_desc_destroy(product);
    if (pack)
        dnnl_primitive_desc_destroy(pack);
    if (s != dnnl_success) {
        dnn_small_free(small);
        return dnn_fail(err, (int)s, "making a small product");
    }
    *ret = small;
    return 0;
}

void dnn_small_free(struct dnn_small *s)
{
    if (!s)
        return;
    for (unsigned i = 0; i < s->threads; i++) {
        struct seat *t = &s->seats[i];
        dnnl_memory_t all[] = {t->x, t->b, t->packed, t->y, t->scratch};
        for (size_t k = 0; k < ARRAY_LEN(all); k++)
            if (all[k])
                dnnl_memory_destroy(all[k]);
        if (t->stream)
            dnnl_stream_destroy(t->stream);
        free(t->scratch_data);
    }
    if (s->product)
        dnnl_primitive_destroy(s->product);
    if (s->pack)
        dnnl_primitive_destroy(s->pack);
    free(s);
}

size_t dnn_small_packed_bytes(const struct dnn_small *s)
{
    return s->packed_bytes;
}

bool dnn_small_pack(struct dnn_small *s, unsigned thread, const void *b, void *ret_packed)
{
    struct seat *t = &s->seats[thread];
    dnnl_memory_set_data_handle(t->b, dnn_unconst(b));
    dnnl_memory_set_data_handle(t->packed, ret_packed);
    dnnl_exec_arg_t args[] = {{DNNL_ARG_FROM, t->b}, {DNNL_ARG_TO, t->packed}, {DNNL_ARG_SCRATCHPAD, t->scratch}};
    return dnnl_primitive_execute(s->pack, t->stream, (int)ARRAY_LEN(args), args) == dnnl_success;
}

bool dnn_small_run(struct dnn_small *s, unsigned thread, const void *x, const void *packed, void *y)
{
    struct seat *t = &s->seats[thread];
    dnnl_memory_set_data_handle(t->x, dnn_unconst(x));
    dnnl_memory_set_data_handle(t->packed, dnn_unconst(packed));
    dnnl_memory_set_data_handle(t->y, y);
    dnnl_exec_arg_t args[] = {
        {DNNL_ARG_SRC, t->x}, {DNNL_ARG_WEIGHTS, t->packed}, {DNNL_ARG_DST, t->y}, {DNNL_ARG_SCRATCHPAD, t->scratch}};
    return dnnl_primitive_execute(s->product, t->stream, (int)ARRAY_LEN(args), args) == dnnl_success;
}
