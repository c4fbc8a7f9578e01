/* SPDX-License-Identifier: MIT */
/* Text: strict number parsing, UTF-8, quoting for JSON and logs. Nothing here depends on the locale. */
#ifndef BASE_STR_H
#define BASE_STR_H

#include "base/buf.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* The whole string is a decimal integer (sign allowed) that fits; else false and *ret untouched. */
bool str_to_i64(const char *s, int64_t *ret) MUST_CHECK;
/* The whole string is a finite decimal number. */
bool str_to_f64(const char *s, double *ret) MUST_CHECK;
/* "250ms" "30s" "20m" "12h" "7d" or a bare number of `bare_unit_ms` units; result in milliseconds, >= 0. */
bool str_to_duration_ms(const char *s, int64_t bare_unit_ms, int64_t *ret) MUST_CHECK;
/* "512" "64k" "10M" "2G" (powers of 1024, optional trailing "B" or "iB") or a bare number of `bare_unit` bytes. */
bool str_to_bytes(const char *s, int64_t bare_unit, int64_t *ret) MUST_CHECK;
/* A length of time for people: "3.2 s", "1:02", "1:02:03". What is no number or negative counts as 0. */
void str_add_duration(struct buf *b, double seconds);

bool str_starts(const char *s, const char *prefix);
bool str_ends(const char *s, const char *suffix);
/* Case-insensitive for ASCII only. */
bool str_ieq(const char *a, const char *b);
/* NULL-safe equality: NULL equals NULL only. */
bool str_eq(const char *a, const char *b);

/* Well-formed UTF-8 without overlong forms and surrogates. */
bool utf8_valid(const char *s, size_t n);
/* How many bytes of s[0..n) end on a whole character: cut there to split no character. */
size_t utf8_floor(const char *s, size_t n);
/* Appends s with every malformed byte replaced by U+FFFD. */
void utf8_add_clean(struct buf *b, const char *s, size_t n);

/* Appends a quoted JSON string (input is cleaned as above). */
void str_add_json(struct buf *b, const char *s);
/*
 * Appends s with control characters (\n, \x1b, also U+0080 to U+009F) and malformed bytes escaped, so that no input can
 * forge a log line or a terminal code.
 */
void str_add_printable(struct buf *b, const char *s);
/* Lower-case hex of n bytes; ret has 2n+1 bytes. */
void str_hex(const unsigned char *p, size_t n, char *ret);

#endif
