/* SPDX-License-Identifier: MIT */
/*
 * What may stand in a key, and how a client's file name becomes a part of one. One rule for characters serves both:
 * nothing that steers a terminal, reverses the reading direction (a name "…gpj.exe" that displays as "…exe.jpg") or
 * separates path parts on any system.
 */
#include "storage/storage.h"

#include "base/buf.h"
#include "base/str.h"

#include <stdio.h>
#include <string.h>

enum { NAME_MAX_BYTES = 200, ENDING_MAX_BYTES = 16 };

/* The code point at *s, which is well-formed UTF-8 and not at its end; *s moves behind it. */
static unsigned next_char(const char **s)
{
    const unsigned char *p = (const unsigned char *)*s;
    int more = p[0] < 0x80 ? 0 : p[0] < 0xE0 ? 1 : p[0] < 0xF0 ? 2 : 3;
    unsigned v = more ? p[0] & (0x3Fu >> more) : p[0];
    for (int i = 1; i <= more; i++)
        v = v << 6 | (p[i] & 0x3Fu);
    *s += 1 + more;
    return v;
}

static bool is_control(unsigned c)
{
    return c < 0x20 || (c >= 0x7F && c < 0xA0);
}

/* Marks without a shape of their own that change how the text around them is shown or split into lines. */
static bool is_deceptive(unsigned c)
{
    return c == 0x061C || c == 0x200E || c == 0x200F || (c >= 0x2028 && c <= 0x202E) || (c >= 0x2066 && c <= 0x2069) ||
           c == 0xFEFF;
}

int storage_key_check(const char *key, struct err *err)
{
    size_t n = strlen(key), parts = 0;
    if (n == 0 || n > STORAGE_KEY_MAX)
        return err_set(err, ERR_INVALID, "a storage key has 1 to %d bytes, this one has %zu", STORAGE_KEY_MAX, n);
    if (!utf8_valid(key, n))
        return err_set(err, ERR_INVALID, "a storage key must be valid UTF-8");
    for (const char *p = key; *p;) {
        unsigned c = next_char(&p);
        if (is_control(c) || c == '\\')
            return err_set(err, ERR_INVALID, "a storage key must not contain control characters or backslashes");
    }
    for (const char *part = key; part; parts++) {
        size_t len = strcspn(part, "/");
        if (len == 0)
            return err_set(err, ERR_INVALID, "storage key '%s' has an empty part", key);
        if (part[0] == '.')
            return err_set(err, ERR_INVALID, "storage key '%s' has a part that starts with a dot", key);
        if (len > STORAGE_PART_MAX)
            return err_set(err, ERR_INVALID, "a storage key has a part of %zu bytes, at most %d are allowed", len,
                           STORAGE_PART_MAX);
        part = part[len] ? part + len + 1 : NULL;
    }
    if (parts > STORAGE_KEY_PARTS)
        return err_set(err, ERR_INVALID, "storage key '%s' has %zu parts, at most %d are allowed", key, parts,
                       STORAGE_KEY_PARTS);
    return 0;
}

/* Appends the last path part of `filename`, cleaned; empty when nothing is left. */
static void add_clean_name(struct buf *b, const char *filename)
{
    const char *last = filename;
    for (const char *p = filename; *p; p++)
        if (*p == '/' || *p == '\\')
            last = p + 1;
    CLEANUP(buf_clear) struct buf utf8 = BUF_INIT(b->max);
    utf8_add_clean(&utf8, last, strlen(last));
    bool leading = true;
    for (const char *p = buf_str(&utf8); *p;) {
        const char *at = p;
        unsigned c = next_char(&p);
        leading = leading && (c == '.' || c == ' ');
        if (leading)
            continue;
        if (is_control(c) || is_deceptive(c))
            buf_addc(b, '_');
        else
            buf_add(b, at, (size_t)(p - at));
    }
    b->failed = b->failed || utf8.failed;
}

void storage_safe_name(const char *filename, char *ret, size_t size)
{
    size_t limit = MIN((size_t)NAME_MAX_BYTES, size - 1);
    /* Cleaning can triple the length: U+FFFD for each malformed byte. */
    CLEANUP(buf_clear) struct buf b = BUF_INIT(3 * strlen(filename) + 16);
    add_clean_name(&b, filename);
    if (!buf_ok(&b) || b.len == 0) {
        snprintf(ret, size, "audio");
        return;
    }
    size_t stem = b.len, ending = 0;
    if (b.len > limit) {
        const char *dot = strrchr(b.data, '.');
        ending = dot ? strlen(dot) : 0;
        /* An ending that is none, or that leaves no room for the name, is cut like the rest. */
        if (ending > ENDING_MAX_BYTES || ending + 4 > limit)
            ending = 0;
        stem = utf8_floor(b.data, limit - ending);
    }
    memcpy(ret, b.data, stem);
    memcpy(ret + stem, b.data + b.len - ending, ending);
    ret[stem + ending] = '\0';
}
