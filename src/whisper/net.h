/* SPDX-License-Identifier: MIT */
/*
 * The network: packed weights of one model in one precision, immutable.
 *
 * Packing turns every matrix into the blocked layout that the products want (dnn.h) and is done once: the result is
 * kept in the cache (cache.h) and mapped read-only by every later load, so that processes share its pages.
 */
#ifndef WHISPER_NET_H
#define WHISPER_NET_H

#include "base/stop.h"
#include "whisper/model_file.h"

struct net;

/* Lays it out: its size is known then (net_bytes), and nothing is allocated for the weights. */
int net_plan(const struct model_file *f, enum whisper_precision precision, struct net **ret, struct err *err)
    MUST_CHECK;
/*
 * Brings the weights in: from the cache, else packed from the file. CORRUPT also when one is a NaN or an infinity.
 * Looks at cancel while it packs. After a failure only net_close is left.
 */
int net_load(struct net *n, const struct model_file *f, const char *cache_folder, const struct cancel *cancel,
             struct err *err) MUST_CHECK;
/* Both. */
int net_open(const struct model_file *f, enum whisper_precision precision, const char *cache_folder, struct net **ret,
             struct err *err) MUST_CHECK;
void net_close(struct net *n); /* NULL is fine */
const struct whisper_dims *net_dims(const struct net *n);
enum whisper_precision net_precision(const struct net *n);
int64_t net_bytes(const struct net *n);
bool net_from_cache(const struct net *n);

#endif
