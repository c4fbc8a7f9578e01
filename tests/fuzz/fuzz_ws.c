/* SPDX-License-Identifier: MIT */
/*
 * Any bytes from a client, in one go and in pieces: neither crashes, both are answered the same, and nothing is kept of
 * a connection on which nothing is incomplete. The first byte of the input is the size of the pieces.
 */
#include "api/ws.h"

#include <stdint.h>
#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n);

/* *ret_whole: nothing was left incomplete. */
static enum ws_state feed(const uint8_t *data, size_t n, size_t step, struct buf *reply, bool *ret_whole)
{
    struct ws_in *w = NULL;
    enum ws_state s = WS_OPEN;
    for (size_t at = 0; at < n && s == WS_OPEN; at += step)
        s = ws_feed(&w, (const char *)data + at, MIN(step, n - at), reply);
    *ret_whole = !w;
    ws_in_free(w);
    return s;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n)
{
    if (n < 2)
        return 0;
    struct buf whole = BUF_INIT(1 << 20), pieces = BUF_INIT(1 << 20);
    size_t step = data[0] ? data[0] : 1;
    bool a_whole, b_whole;
    enum ws_state a = feed(data + 1, n - 1, n - 1, &whole, &a_whole);
    enum ws_state b = feed(data + 1, n - 1, step, &pieces, &b_whole);
    if (a == WS_FAILED || b == WS_FAILED)
        abort();
    /* What is wrong within a frame may be seen when a part of it is there, or only with the rest. */
    if (a_whole && b_whole && a != b)
        abort();
    /* Pongs that stand before a breach may be dropped with it. */
    if (a == WS_OPEN && b == WS_OPEN &&
        (whole.len != pieces.len || (whole.len && memcmp(whole.data, pieces.data, whole.len) != 0)))
        abort();
    buf_clear(&whole);
    buf_clear(&pieces);
    return 0;
}
