/* SPDX-License-Identifier: MIT */
/*
 * Packed weights on disk. A file of the cache is a header page and the block, byte for byte as it lies in memory:
 *
 *   what must fit   the model's key (size, time, digest of its headers), version of this layout, precision, version of
 *                   oneDNN, kind of processor, size of the block
 *   path            of the model, to tell whose it was
 *   sums            SHA-256 of the model's files and of the block, for `steno model verify`; a quick sum over samples
 * of the block, looked at by every load
 *
 * It is written to a temporary name and renamed: a reader sees all of it or none. The cache is never in the way: what
 * cannot be read or written costs time, nothing else. Any process, any thread.
 */
#ifndef WHISPER_CACHE_H
#define WHISPER_CACHE_H

#include "whisper/model_file.h"

enum { CACHE_HEADER_BYTES = 4096 };

/* Where the packed form of a model in one precision lies, or would lie. */
struct cache_entry {
    char header[CACHE_HEADER_BYTES];
    char *folder, *path; /* NULL: no cache */
    size_t block_bytes;
};

/* `folder` may be NULL; it is made when it is missing. */
void cache_init(struct cache_entry *c, const struct model_file *f, enum whisper_precision p, size_t block_bytes,
                const char *folder);
void cache_clear(struct cache_entry *c);

/* The block, mapped read-only and shared; NULL: there is none that fits. */
unsigned char *cache_map(const struct cache_entry *c);
void cache_unmap(unsigned char *block, size_t block_bytes);

/* Keeps the block, made from f, and throws out what helps nobody any more. Best effort. */
void cache_write(const struct cache_entry *c, const unsigned char *block, const struct model_file *f);

/*
 * Looks at every packed form of this model and counts it; stale and damaged ones are removed, so that the next load
 * makes them anew. CORRUPT: one was made from other bytes, although the model's size, time and header are the same now.
 */
int cache_verify(const char *folder, const struct model_file *f, const char *sha256, const struct cancel *cancel,
                 struct whisper_verified *ret, struct err *err) MUST_CHECK;

#endif
