/* SPDX-License-Identifier: MIT */
/* Handshakes, and what a client may and may not send: each row is one thing from RFC 6455. */
#include "api/ws.h"

#include "base/str.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

static void test_handshake(void **state)
{
    (void)state;
    static const struct {
        struct ws_handshake h;
        enum ws_verdict want;
    } rows[] = {
        {{"websocket", "Upgrade", "13", "dGhlIHNhbXBsZSBub25jZQ=="}, WS_FINE}, /* the RFC's example */
        {{"WebSocket", "keep-alive, Upgrade", "13", "dGhlIHNhbXBsZSBub25jZQ=="}, WS_FINE},
        {{"h2c, websocket", "upgrade", "13", "dGhlIHNhbXBsZSBub25jZQ=="}, WS_FINE},
        {{NULL, NULL, NULL, NULL}, WS_NO_UPGRADE},
        {{"websocket", NULL, "13", "dGhlIHNhbXBsZSBub25jZQ=="}, WS_NO_UPGRADE},
        {{"websocket", "keep-alive", "13", "dGhlIHNhbXBsZSBub25jZQ=="}, WS_NO_UPGRADE},
        {{"websockets", "Upgrade", "13", "dGhlIHNhbXBsZSBub25jZQ=="}, WS_NO_UPGRADE},
        {{"websocket", "Upgrade", NULL, "dGhlIHNhbXBsZSBub25jZQ=="}, WS_BAD_VERSION},
        {{"websocket", "Upgrade", "8", "dGhlIHNhbXBsZSBub25jZQ=="}, WS_BAD_VERSION},
        {{"websocket", "Upgrade", "13", NULL}, WS_BAD_KEY},
        {{"websocket", "Upgrade", "13", ""}, WS_BAD_KEY},
        {{"websocket", "Upgrade", "13", "dGhlIHNhbXBsZSBub25jZQ="}, WS_BAD_KEY},
        {{"websocket", "Upgrade", "13", "dGhlIHNhbXBsZSBub25jZQAA"}, WS_BAD_KEY},
        {{"websocket", "Upgrade", "13", "dGhlIHNhbXBsZSBub25jZ==="}, WS_BAD_KEY},
        {{"websocket", "Upgrade", "13", "d\xffhlIHNhbXBsZSBub25jZQ=="}, WS_BAD_KEY},
    };
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        char accept[WS_ACCEPT_SIZE] = "";
        if (ws_accept(&rows[i].h, accept) != rows[i].want)
            fail_msg("row %zu", i);
        if (rows[i].want == WS_FINE)
            assert_string_equal(accept, "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=");
    }
}

static void test_frames_out(void **state)
{
    (void)state;
    static const struct {
        size_t n, head;
        const char *bytes;
    } rows[] = {
        {0, 2, "\x81\x00"},
        {125, 2, "\x81\x7d"},
        {126, 4, "\x81\x7e\x00\x7e"},
        {65535, 4, "\x81\x7e\xff\xff"},
        {65536, 10, "\x81\x7f\0\0\0\0\0\1\0\0"},
    };
    static char text[65536];
    memset(text, 'x', sizeof text);
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        CLEANUP(buf_clear) struct buf b = BUF_INIT(1 << 20);
        ws_add_text(&b, text, rows[i].n);
        assert_int_equal(b.len, rows[i].head + rows[i].n);
        assert_memory_equal(b.data, rows[i].bytes, rows[i].head);
    }
    CLEANUP(buf_clear) struct buf b = BUF_INIT(1 << 20);
    ws_add_ping(&b);
    ws_add_close(&b, WS_CLOSE_NORMAL, NULL);
    ws_add_close(&b, WS_CLOSE_NO_JOB, "gone");
    assert_int_equal(b.len, 2 + 4 + 8);
    assert_memory_equal(b.data, "\x89\x00\x88\x02\x03\xe8\x88\x06\x11\x34gone", b.len);
    /* A reason is cut between characters. */
    buf_reset(&b);
    memset(text, 'x', 122);
    memcpy(text + 122, "\xc3\xa4", 3);
    ws_add_close(&b, WS_CLOSE_NORMAL, text);
    assert_int_equal(b.len, 2 + 2 + 122);
}

/* A client's frame: masked, unless `mask` is false. */
static void frame(struct buf *b, int first, const char *payload, size_t n, bool mask)
{
    static const unsigned char key[] = {0x37, 0xfa, 0x21, 0x3d};
    int m = mask ? 0x80 : 0;
    buf_addc(b, (char)first);
    if (n < 126) {
        buf_addc(b, (char)(m | (int)n));
    } else if (n < 65536) {
        buf_addc(b, (char)(m | 126));
        buf_addc(b, (char)(n >> 8));
        buf_addc(b, (char)n);
    } else {
        buf_addc(b, (char)(m | 127));
        for (int i = 7; i >= 0; i--)
            buf_addc(b, (char)((uint64_t)n >> (8 * i)));
    }
    if (mask)
        buf_add(b, key, sizeof key);
    for (size_t i = 0; i < n; i++)
        buf_addc(b, (char)(payload[i] ^ (mask ? key[i % 4] : 0)));
}

enum {
    TEXT = 0x81,
    TEXT_PART = 0x01,
    PART = 0x00,
    LAST_PART = 0x80,
    BINARY = 0x82,
    CLOSE = 0x88,
    PING = 0x89,
    PONG = 0x8a
};

/* Frames of a client, in one go and byte by byte. */
static const struct row {
    const char *name;
    struct {
        int first;
        const char *payload;
        size_t n;  /* 0: up to the NUL */
        bool bare; /* not masked */
    } frames[6];
    enum ws_state want;
    const char *reply;
    size_t reply_n;
} rows[] = {
    {"a text", {{TEXT, "hello", 0, false}}, WS_OPEN, "", 0},
    {"an empty text", {{TEXT, "", 0, false}}, WS_OPEN, "", 0},
    {"binary", {{BINARY, "\xff\xfe", 0, false}}, WS_OPEN, "", 0},
    {"a pong nobody asked for", {{PONG, "x", 0, false}}, WS_OPEN, "", 0},
    {"ping",
     {{PING, "are you there", 0, false}},
     WS_OPEN,
     "\x8a\x0d"
     "are you there",
     15},
    {"two pings",
     {{PING, "1", 0, false}, {PING, "2", 0, false}},
     WS_OPEN,
     "\x8a\x01"
     "1\x8a\x01"
     "2",
     6},
    {"fragments", {{TEXT_PART, "a", 0, false}, {PART, "b", 0, false}, {LAST_PART, "c", 0, false}}, WS_OPEN, "", 0},
    {"a ping between fragments",
     {{TEXT_PART, "a", 0, false}, {PING, "", 0, false}, {LAST_PART, "c", 0, false}},
     WS_OPEN,
     "\x8a\x00",
     2},
    {"a character across fragments", {{TEXT_PART, "\xc3", 0, false}, {LAST_PART, "\xa4", 0, false}}, WS_OPEN, "", 0},
    {"close",
     {{CLOSE,
       "\x03\xe8"
       "bye",
       0, false}},
     WS_CLOSED,
     "\x88\x05\x03\xe8"
     "bye",
     7},
    {"close without a code", {{CLOSE, "", 0, false}}, WS_CLOSED, "\x88\x00", 2},
    {"a breach: not masked", {{TEXT, "hello", 0, true}}, WS_CLOSED, "\x88\x02\x03\xea", 4},
    {"a breach: not masked, close", {{CLOSE, "\x03\xe8", 0, true}}, WS_CLOSED, "\x88\x02\x03\xea", 4},
    {"a breach: reserved bit", {{0xc1, "hello", 0, false}}, WS_CLOSED, "\x88\x02\x03\xea", 4},
    {"a breach: reserved bit of a control frame", {{0xa9, "hello", 0, false}}, WS_CLOSED, "\x88\x02\x03\xea", 4},
    {"a breach: unknown opcode", {{0x83, "hello", 0, false}}, WS_CLOSED, "\x88\x02\x03\xea", 4},
    {"a breach: unknown control opcode", {{0x8b, "hello", 0, false}}, WS_CLOSED, "\x88\x02\x03\xea", 4},
    {"a breach: ping in fragments", {{0x09, "hello", 0, false}}, WS_CLOSED, "\x88\x02\x03\xea", 4},
    {"a breach: close in fragments", {{0x08, "\x03\xe8", 0, false}}, WS_CLOSED, "\x88\x02\x03\xea", 4},
    {"a breach: fragment of nothing", {{LAST_PART, "hello", 0, false}}, WS_CLOSED, "\x88\x02\x03\xea", 4},
    {"a breach: text amid fragments",
     {{TEXT_PART, "a", 0, false}, {TEXT, "b", 0, false}},
     WS_CLOSED,
     "\x88\x02\x03\xea",
     4},
    {"a breach: close with half a code", {{CLOSE, "\x03", 0, false}}, WS_CLOSED, "\x88\x02\x03\xea", 4},
    {"a breach: close code 999", {{CLOSE, "\x03\xe7", 0, false}}, WS_CLOSED, "\x88\x02\x03\xea", 4},
    {"a breach: close code 1005", {{CLOSE, "\x03\xed", 0, false}}, WS_CLOSED, "\x88\x02\x03\xea", 4},
    {"a breach: close code 1006", {{CLOSE, "\x03\xee", 0, false}}, WS_CLOSED, "\x88\x02\x03\xea", 4},
    {"a breach: close code 2000", {{CLOSE, "\x07\xd0", 0, false}}, WS_CLOSED, "\x88\x02\x03\xea", 4},
    {"a breach: close reason no UTF-8", {{CLOSE, "\x03\xe8\xff", 0, false}}, WS_CLOSED, "\x88\x02\x03\xef", 4},
    {"no UTF-8", {{TEXT, "\xff", 0, false}}, WS_CLOSED, "\x88\x02\x03\xef", 4},
    {"UTF-8 cut off", {{TEXT, "\xc3", 0, false}}, WS_CLOSED, "\x88\x02\x03\xef", 4},
    {"a surrogate", {{TEXT, "\xed\xa0\x80", 0, false}}, WS_CLOSED, "\x88\x02\x03\xef", 4},
    {"no UTF-8 in a fragment", {{TEXT_PART, "a\xf5", 0, false}}, WS_CLOSED, "\x88\x02\x03\xef", 4},
};

static bool bytes_equal(const struct buf *b, const char *p, size_t n)
{
    return b->len == n && (!n || memcmp(b->data, p, n) == 0);
}

static void test_frames_in(void **state)
{
    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(rows); i++)
        for (int whole = 0; whole < 2; whole++) {
            const struct row *r = &rows[i];
            CLEANUP(buf_clear) struct buf in = BUF_INIT(1 << 20), reply = BUF_INIT(8192);
            for (size_t k = 0; k < ARRAY_LEN(r->frames) && r->frames[k].payload; k++)
                frame(&in, r->frames[k].first, r->frames[k].payload,
                      r->frames[k].n ? r->frames[k].n : strlen(r->frames[k].payload), !r->frames[k].bare);
            struct ws_in *w = NULL;
            enum ws_state s = WS_OPEN;
            size_t step = whole ? in.len : 1;
            for (size_t at = 0; at < in.len && s == WS_OPEN; at += step)
                s = ws_feed(&w, in.data + at, step, &reply);
            if (s != r->want || !bytes_equal(&reply, r->reply, r->reply_n)) {
                char hex[256];
                str_hex((const unsigned char *)buf_str(&reply), MIN(reply.len, 120), hex);
                fail_msg("%s (%s): state %d, reply %s", r->name, whole ? "whole" : "in bytes", (int)s, hex);
            }
            if (s == WS_OPEN && w)
                fail_msg("%s: memory is kept although nothing is incomplete", r->name);
            ws_in_free(w);
        }
}

static void test_big(void **state)
{
    (void)state;
    static char text[WS_MESSAGE_MAX + 1];
    memset(text, 'x', sizeof text);
    /* As long as is allowed, then one byte more, in one frame and in two. */
    for (int i = 0; i < 3; i++) {
        CLEANUP(buf_clear) struct buf in = BUF_INIT(1 << 20), reply = BUF_INIT(8192);
        struct ws_in *w = NULL;
        if (i == 2) {
            frame(&in, TEXT_PART, text, WS_MESSAGE_MAX, true);
            frame(&in, LAST_PART, text, 1, true);
        } else {
            frame(&in, TEXT, text, WS_MESSAGE_MAX + (size_t)i, true);
        }
        assert_int_equal(ws_feed(&w, in.data, in.len, &reply), i ? WS_CLOSED : WS_OPEN);
        if (i)
            assert_true(bytes_equal(&reply, "\x88\x02\x03\xf1", 4));
        ws_in_free(w);
    }
    /* A length of more than 63 bits, and lengths in a longer form than needed. */
    static const char *const heads[] = {"\x81\xff\x80\0\0\0\0\0\0\1", "\x81\xff\0\0\0\0\0\0\0\1", "\x81\xfe\0\1"};
    static const size_t lens[] = {10, 10, 4};
    for (size_t i = 0; i < ARRAY_LEN(heads); i++) {
        CLEANUP(buf_clear) struct buf in = BUF_INIT(64), reply = BUF_INIT(8192);
        struct ws_in *w = NULL;
        buf_add(&in, heads[i], lens[i]);
        buf_add(&in, "abcdx", 5);
        assert_int_equal(ws_feed(&w, in.data, in.len, &reply), WS_CLOSED);
        assert_true(bytes_equal(&reply, "\x88\x02\x03\xea", 4));
        ws_in_free(w);
    }
}

/* Whatever follows a close is ignored, and answered by nothing. */
static void test_after_close(void **state)
{
    (void)state;
    CLEANUP(buf_clear) struct buf in = BUF_INIT(64), reply = BUF_INIT(8192);
    struct ws_in *w = NULL;
    frame(&in, CLOSE, "\x03\xe8", 2, true);
    frame(&in, PING, "x", 1, true);
    assert_int_equal(ws_feed(&w, in.data, in.len, &reply), WS_CLOSED);
    assert_true(bytes_equal(&reply, "\x88\x02\x03\xe8", 4));
    ws_in_free(w);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_handshake), cmocka_unit_test(test_frames_out),  cmocka_unit_test(test_frames_in),
        cmocka_unit_test(test_big),       cmocka_unit_test(test_after_close),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
