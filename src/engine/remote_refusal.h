/* SPDX-License-Identifier: MIT */
/* What a server says when it does not do what it was asked for: read from its status and whatever body it has. */
#ifndef ENGINE_REMOTE_REFUSAL_H
#define ENGINE_REMOTE_REFUSAL_H

#include "base/err.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct remote_refusal {
    int code;          /* the class */
    bool bad_key;      /* it is about the key */
    bool used_up;      /* a quota that waiting for minutes does not bring back */
    int64_t wait_ms;   /* how long to wait, as the body has it; 0: it does not say */
    char message[304]; /* of the server, one line, cut, without the key; "" */
};

/*
 * Understands the error objects of Gemini (with RetryInfo and QuotaFailure), of OpenAI, FastAPI's `detail`, RFC 9457,
 * and plain text. `key` may be NULL.
 */
void remote_refusal_read(int status, const char *body, size_t n, const char *key, struct remote_refusal *ret);

/* Copies text as one printable line of less than `size` bytes, with every occurrence of the key as "***". */
void remote_quote(const char *text, size_t n, const char *key, char *ret, size_t size);

#endif
