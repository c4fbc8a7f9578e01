/* SPDX-License-Identifier: MIT */
#include "api/ws.h"

#include "base/str.h"
#include "base/words.h"

#include <arpa/inet.h>
#include <openssl/evp.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <wslay/wslay.h>

/* ---- handshake ---- */

static const char guid[] = "258EAFA5-E914-47DA-95CA-C5AB0DC85B11";
/* Between the words of a header. */
#define SEPARATORS " \t,"
enum { KEY_CHARS = 24, KEY_BYTES = 16, SHA1_BYTES = 20 };

/* Base64 of 16 bytes. */
static bool key_valid(const char *key)
{
    unsigned char bytes[KEY_CHARS / 4 * 3 + 1];
    if (strlen(key) != KEY_CHARS || strcmp(key + KEY_CHARS - 2, "==") != 0 || key[KEY_CHARS - 3] == '=')
        return false;
    return EVP_DecodeBlock(bytes, (const unsigned char *)key, KEY_CHARS) == KEY_CHARS / 4 * 3;
}

enum ws_verdict ws_accept(const struct ws_handshake *h, char ret_accept[WS_ACCEPT_SIZE])
{
    if (!words_have_ieq(h->upgrade, SEPARATORS, "websocket") || !words_have_ieq(h->connection, SEPARATORS, "upgrade"))
        return WS_NO_UPGRADE;
    if (!h->version || strcmp(h->version, "13") != 0)
        return WS_BAD_VERSION;
    if (!h->key || !key_valid(h->key))
        return WS_BAD_KEY;
    char text[KEY_CHARS + sizeof guid];
    unsigned char sum[EVP_MAX_MD_SIZE];
    memcpy(text, h->key, KEY_CHARS);
    memcpy(text + KEY_CHARS, guid, sizeof guid);
    if (EVP_Digest(text, sizeof text - 1, sum, NULL, EVP_sha1(), NULL) != 1)
        return WS_BAD_KEY;
    EVP_EncodeBlock((unsigned char *)ret_accept, sum, SHA1_BYTES);
    return WS_FINE;
}

/* ---- frames out: never masked, never in fragments ---- */

enum { FIN = 0x80, LENGTH_16 = 126, LENGTH_64 = 127 };

static void add_head(struct buf *b, int opcode, size_t n)
{
    buf_addc(b, (char)(FIN | opcode));
    if (n < LENGTH_16) {
        buf_addc(b, (char)n);
        return;
    }
    int bytes = n <= UINT16_MAX ? 2 : 8;
    buf_addc(b, bytes == 2 ? LENGTH_16 : LENGTH_64);
    while (bytes-- > 0)
        buf_addc(b, (char)((uint64_t)n >> (8 * bytes)));
}

void ws_add_text(struct buf *b, const char *text, size_t n)
{
    add_head(b, WSLAY_TEXT_FRAME, n);
    buf_add(b, text, n);
}

void ws_add_ping(struct buf *b)
{
    add_head(b, WSLAY_PING, 0);
}

void ws_add_close(struct buf *b, enum ws_close code, const char *reason)
{
    size_t n = reason ? strlen(reason) : 0;
    if (n > WS_REASON_MAX)
        n = utf8_floor(reason, WS_REASON_MAX);
    add_head(b, WSLAY_CONNECTION_CLOSE, 2 + n);
    buf_addc(b, (char)((unsigned)code >> 8));
    buf_addc(b, (char)code);
    buf_add(b, reason ? reason : "", n);
}

/* ---- frames in ---- */

struct ws_in {
    wslay_event_context_ptr ctx;
    size_t owed;          /* bytes given to wslay that belong to no complete frame */
    size_t frame;         /* of the frame that is being read: its size; 0: its head is incomplete */
    size_t message;       /* of the message that is being read: its size so far */
    bool unfinished;      /* it lacks fragments */
    enum ws_close breach; /* a close frame came that wslay would answer in kind: what to answer; 0: none */
    /* During ws_feed: */
    const char *p;
    size_t n;
    struct buf *reply;
};

static ssize_t on_recv(wslay_event_context_ptr ctx, uint8_t *into, size_t len, int flags, void *arg)
{
    struct ws_in *w = arg;
    (void)flags;
    size_t n = MIN(len, w->n);
    if (!n || w->message > WS_MESSAGE_MAX) {
        wslay_event_set_error(ctx, WSLAY_ERR_WOULDBLOCK);
        return -1;
    }
    memcpy(into, w->p, n);
    w->p += n;
    w->n -= n;
    w->owed += n;
    return (ssize_t)n;
}

static ssize_t on_send(wslay_event_context_ptr ctx, const uint8_t *p, size_t len, int flags, void *arg)
{
    struct ws_in *w = arg;
    (void)ctx;
    (void)flags;
    buf_add(w->reply, p, len);
    return (ssize_t)len;
}

/* Lengths have one encoding only (wslay refuses others), so the size of a frame follows from its payload's. */
static void on_frame_start(wslay_event_context_ptr ctx, const struct wslay_event_on_frame_recv_start_arg *f, void *arg)
{
    struct ws_in *w = arg;
    (void)ctx;
    const size_t head = 2, mask = 4;
    w->frame = head + mask +
               (f->payload_length < LENGTH_16     ? 0
                : f->payload_length <= UINT16_MAX ? 2
                                                  : 8) +
               f->payload_length;
    if (f->opcode == WSLAY_CONNECTION_CLOSE && f->payload_length == 1)
        w->breach = WS_CLOSE_PROTOCOL;
    if (wslay_is_ctrl_frame(f->opcode))
        return;
    w->unfinished = !f->fin;
    w->message = (f->opcode == WSLAY_CONTINUATION_FRAME ? w->message : 0) + f->payload_length;
}

static void on_frame_end(wslay_event_context_ptr ctx, void *arg)
{
    struct ws_in *w = arg;
    (void)ctx;
    w->owed -= w->frame;
    w->frame = 0;
}

static void on_message(wslay_event_context_ptr ctx, const struct wslay_event_on_msg_recv_arg *m, void *arg)
{
    struct ws_in *w = arg;
    (void)ctx;
    if (m->opcode == WSLAY_CONNECTION_CLOSE && m->msg_length > 2 &&
        !utf8_valid((const char *)m->msg + 2, m->msg_length - 2))
        w->breach = WS_CLOSE_NOT_UTF8;
}

static struct ws_in *ws_in_new(void)
{
    static const struct wslay_event_callbacks callbacks = {
        .recv_callback = on_recv,
        .send_callback = on_send,
        .on_frame_recv_start_callback = on_frame_start,
        .on_frame_recv_end_callback = on_frame_end,
        .on_msg_recv_callback = on_message,
    };
    struct ws_in *w = calloc(1, sizeof *w);
    if (!w)
        return NULL;
    if (wslay_event_context_server_init(&w->ctx, &callbacks, w) != 0) {
        free(w);
        return NULL;
    }
    wslay_event_config_set_no_buffering(w->ctx, 1);
    wslay_event_config_set_max_recv_msg_length(w->ctx, WS_MESSAGE_MAX); /* of a frame: the sum is for us to watch */
    return w;
}

void ws_in_free(struct ws_in *w)
{
    if (!w)
        return;
    wslay_event_context_free(w->ctx);
    free(w);
}

enum ws_state ws_feed(struct ws_in **ws, const char *p, size_t n, struct buf *reply)
{
    if (!*ws && !(*ws = ws_in_new()))
        return WS_FAILED;
    struct ws_in *w = *ws;
    w->p = p;
    w->n = n;
    w->reply = reply;
    int rc = wslay_event_recv(w->ctx);
    bool closed = true, fine = rc != WSLAY_ERR_NOMEM;
    if (rc != 0 || w->breach) {
        /* Without a breach of those: one in a frame's head, for which wslay's close frame would have no code. */
        ws_add_close(reply, w->breach ? w->breach : WS_CLOSE_PROTOCOL, NULL);
    } else {
        if (w->message > WS_MESSAGE_MAX) {
            wslay_event_shutdown_read(w->ctx);
            (void)wslay_event_queue_close(w->ctx, WSLAY_CODE_MESSAGE_TOO_BIG, NULL, 0);
        }
        closed = !wslay_event_get_read_enabled(w->ctx) || wslay_event_get_close_received(w->ctx);
        fine = wslay_event_send(w->ctx) == 0 && (!closed || wslay_event_get_close_sent(w->ctx));
    }
    fine = fine && buf_ok(reply);
    if (!w->owed && !w->unfinished) {
        ws_in_free(w);
        *ws = NULL;
    }
    return !fine ? WS_FAILED : closed ? WS_CLOSED : WS_OPEN;
}
