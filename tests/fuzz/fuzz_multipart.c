/* SPDX-License-Identifier: MIT */
/*
 * Any bytes, in pieces of any size: the parser neither crashes nor says different things of the same body. The first
 * byte of the input is the size of the pieces.
 */
#include "api/multipart.h"

#include "base/buf.h"

#include <stdint.h>
#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n);

static int on_begin(void *arg, const struct multipart_part *p, struct err *err)
{
    (void)err;
    buf_addf(arg, "[%s|%s|%s]", p->name, p->filename ? p->filename : "-", p->content_type ? p->content_type : "-");
    return 0;
}

static int on_data(void *arg, const void *p, size_t n, struct err *err)
{
    (void)err;
    buf_add(arg, p, n);
    return 0;
}

static int on_end(void *arg, struct err *err)
{
    (void)err;
    buf_addc(arg, '.');
    return 0;
}

static const struct multipart_ops ops = {.part_begin = on_begin, .part_data = on_data, .part_end = on_end};

static int parse(const uint8_t *data, size_t n, size_t step, struct buf *out)
{
    struct multipart m;
    struct err err = ERR_INIT;
    int rc = 0;
    multipart_init(&m, "B", &ops, out);
    for (size_t i = 0; i < n && rc >= 0; i += step) {
        size_t len = MIN(step, n - i);
        uint8_t *piece = malloc(len);
        memcpy(piece, data + i, len);
        rc = multipart_feed(&m, piece, len, &err);
        free(piece);
    }
    if (rc >= 0)
        rc = multipart_finish(&m, &err);
    multipart_clear(&m);
    return rc;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n)
{
    if (n < 2)
        return 0;
    struct buf whole = BUF_INIT(1 << 20), pieces = BUF_INIT(1 << 20);
    int a = parse(data + 1, n - 1, n, &whole), b = parse(data + 1, n - 1, (size_t)data[0] + 1, &pieces);
    if (a != b || (a >= 0 && (whole.len != pieces.len || memcmp(buf_str(&whole), buf_str(&pieces), whole.len) != 0)))
        abort();
    buf_clear(&whole);
    buf_clear(&pieces);

    /* The same bytes as a Content-Type. */
    char *text = malloc(n + 1), boundary[MULTIPART_BOUNDARY_MAX + 1];
    struct err err = ERR_INIT;
    memcpy(text, data, n);
    text[n] = '\0';
    if (multipart_boundary(text, boundary, &err) >= 0 && (!*boundary || strlen(boundary) > MULTIPART_BOUNDARY_MAX))
        abort();
    free(text);
    return 0;
}
