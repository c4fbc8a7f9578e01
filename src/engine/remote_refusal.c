/* SPDX-License-Identifier: MIT */
/*
 * A missing member or one of a wrong type is passed over: a refusal is a refusal, whatever it looks like.
 *
 *   {"error": {"code": 429, "message": "...", "status": "RESOURCE_EXHAUSTED", "details": [
 *       {"@type": ".../google.rpc.QuotaFailure", "violations": [{"quotaId": "GenerateRequestsPerDay..."}]},
 *       {"@type": ".../google.rpc.RetryInfo", "retryDelay": "37s"}]}}
 *   {"error": {"message": "...", "type": "...", "param": null, "code": "insufficient_quota"}}
 */
#include "engine/remote_refusal.h"

#include "base/buf.h"
#include "base/str.h"

#include <jansson.h>
#include <string.h>

enum { KEY_MIN = 4, BODY_LOOK = 4096, WAIT_MAX_S = 7 * 24 * 3600 };

void remote_quote(const char *text, size_t n, const char *key, char *ret, size_t size)
{
    /* Masked before it is cut: no half of a key may stay at the end. */
    size_t k = key ? strlen(key) : 0;
    CLEANUP(buf_clear)
    struct buf masked = BUF_INIT(4 * n + 16), clean = BUF_INIT(16 * n + 64), line = BUF_INIT(64 * n + 256);
    for (size_t i = 0; i < n;) {
        if (k >= KEY_MIN && n - i >= k && memcmp(text + i, key, k) == 0) {
            buf_adds(&masked, "***");
            i += k;
        } else {
            char c = text[i++];
            buf_addc(&masked, c == '\n' || c == '\r' || c == '\t' ? ' ' : c);
        }
    }
    utf8_add_clean(&clean, buf_str(&masked), masked.len);
    str_add_printable(&line, buf_str(&clean));
    size_t len = utf8_floor(buf_str(&line), MIN(line.len, size - 1));
    memcpy(ret, buf_str(&line), len);
    ret[len] = '\0';
}

static int class_of_status(int status)
{
    switch (status) {
    case 408:
        return ERR_TIMEOUT;
    case 413:
        return ERR_TOO_LARGE;
    case 429:
        return ERR_BUSY;
    case 409:
    case 425:
        return ERR_UNAVAILABLE;
    case 501:
        return ERR_UNSUPPORTED;
    default:
        return status >= 500 || status < 300 ? ERR_UNAVAILABLE : ERR_INVALID;
    }
}

/* "37s", "0.25s": protobuf's way to write a duration. */
static int64_t duration_ms(const char *text)
{
    char number[32];
    double s = 0;
    size_t n = text ? strlen(text) : 0;
    if (n < 2 || n > sizeof number || text[n - 1] != 's')
        return 0;
    memcpy(number, text, n - 1);
    number[n - 1] = '\0';
    if (!str_to_f64(number, &s) || s <= 0)
        return 0;
    return (int64_t)(MIN(s, (double)WAIT_MAX_S) * 1000);
}

static bool contains(const json_t *string, const char *part)
{
    return json_is_string(string) && strstr(json_string_value(string), part);
}

static void read_details(const json_t *details, struct remote_refusal *ret)
{
    size_t i, k;
    const json_t *d, *v;
    json_array_foreach (details, i, d) {
        const json_t *type = json_object_get(d, "@type");
        if (contains(type, "RetryInfo"))
            ret->wait_ms = duration_ms(json_string_value(json_object_get(d, "retryDelay")));
        if (contains(json_object_get(d, "reason"), "API_KEY"))
            ret->bad_key = true;
        json_array_foreach (json_object_get(d, "violations"), k, v) {
            ret->used_up = ret->used_up || contains(json_object_get(v, "quotaId"), "PerDay");
        }
    }
}

/* Where the sentence is; NULL: nowhere. */
static const json_t *read_error(const json_t *root, struct remote_refusal *ret)
{
    const json_t *e = json_object_get(root, "error");
    if (json_is_string(e))
        return e;
    if (json_is_object(e)) {
        read_details(json_object_get(e, "details"), ret);
        ret->used_up = ret->used_up || contains(json_object_get(e, "code"), "insufficient_quota");
        return json_object_get(e, "message");
    }
    static const char *const names[] = {"detail", "message", "title"};
    for (size_t i = 0; i < ARRAY_LEN(names); i++)
        if (json_is_string(json_object_get(root, names[i])))
            return json_object_get(root, names[i]);
    return NULL;
}

void remote_refusal_read(int status, const char *body, size_t n, const char *key, struct remote_refusal *ret)
{
    *ret = (struct remote_refusal){.bad_key = status == 401 || status == 403};
    json_error_t ignored;
    json_t *root = json_loadb(body, n, 0, &ignored);
    const json_t *text = read_error(json_is_array(root) ? json_array_get(root, 0) : root, ret);
    if (json_is_string(text))
        remote_quote(json_string_value(text), json_string_length(text), key, ret->message, sizeof ret->message);
    else
        remote_quote(body, MIN(n, (size_t)BODY_LOOK), key, ret->message, sizeof ret->message);
    json_decref(root);
    ret->code = ret->bad_key ? ERR_INVALID : class_of_status(status);
}
