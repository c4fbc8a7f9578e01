/* SPDX-License-Identifier: MIT */
/*
 * WAV and not FLAC: half a megabyte less for 30 s would be worth another library, and the time to compress, only on
 * very slow lines.
 */
#include "engine/remote_sound.h"

enum { HEADER = 44, BLOCK = 3 * 256 };

/* A multiple of three bytes at a time goes to `add`, the last may be shorter. */
struct sink {
    struct buf *b;
    void (*add)(struct buf *b, const unsigned char *p, size_t n);
    unsigned char block[BLOCK];
    size_t n;
};

static void flush(struct sink *s)
{
    s->add(s->b, s->block, s->n);
    s->n = 0;
}

static void put(struct sink *s, uint32_t v, int bytes)
{
    for (int i = 0; i < bytes; i++) {
        s->block[s->n++] = (unsigned char)(v >> 8 * i);
        if (s->n == BLOCK)
            flush(s);
    }
}

static void puts4(struct sink *s, const char *text)
{
    uint32_t v = 0;
    for (unsigned i = 0; i < 4; i++)
        v |= (uint32_t)(unsigned char)text[i] << 8 * i;
    put(s, v, 4);
}

static void write_wav(struct sink *s, const struct engine_chunk *c)
{
    size_t n = (size_t)(c->span.end - c->span.start);
    puts4(s, "RIFF");
    put(s, (uint32_t)(HEADER - 8 + 2 * n), 4);
    puts4(s, "WAVE");
    puts4(s, "fmt ");
    put(s, 16, 4);
    put(s, 1, 2); /* PCM */
    put(s, 1, 2); /* channels */
    put(s, AUDIO_RATE, 4);
    put(s, AUDIO_RATE * 2, 4);
    put(s, 2, 2);
    put(s, 16, 2);
    puts4(s, "data");
    put(s, (uint32_t)(2 * n), 4);
    for (size_t i = 0; i < n; i++)
        put(s, (uint16_t)c->pcm[i], 2);
    flush(s);
}

static void add_plain(struct buf *b, const unsigned char *p, size_t n)
{
    buf_add(b, p, n);
}

static void add_base64(struct buf *b, const unsigned char *p, size_t n)
{
    static const char digits[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    char out[BLOCK / 3 * 4];
    size_t o = 0;
    for (size_t i = 0; i < n; i += 3) {
        uint32_t v = (uint32_t)p[i] << 16;
        v |= i + 1 < n ? (uint32_t)p[i + 1] << 8 : 0;
        v |= i + 2 < n ? (uint32_t)p[i + 2] : 0;
        out[o++] = digits[v >> 18];
        out[o++] = digits[v >> 12 & 63];
        out[o++] = i + 1 < n ? digits[v >> 6 & 63] : '=';
        out[o++] = i + 2 < n ? digits[v & 63] : '=';
    }
    buf_add(b, out, o);
}

void sound_add_wav(struct buf *b, const struct engine_chunk *c)
{
    struct sink s = {.b = b, .add = add_plain};
    write_wav(&s, c);
}

void sound_add_wav_base64(struct buf *b, const struct engine_chunk *c)
{
    struct sink s = {.b = b, .add = add_base64};
    write_wav(&s, c);
}

size_t sound_wav_size(const struct engine_chunk *c)
{
    return HEADER + 2 * (size_t)(c->span.end - c->span.start);
}
