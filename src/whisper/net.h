/* SPDX-License-Identifier: MIT */
/*
 * The network: packed weights of one model in one precision, immutable.
 *
 * Packing turns every matrix into the blocked layout that the products want (dnn.h) and is done once: the result is
 * kept in the cache (cache.h) and mapped read-only by every later load, so that processes share its pages.
 */
#ifndef WHISPER_NET_H
#define WHISPER_NET_H

#include "whisper/model_file.h"

struct net;

/* CORRUPT also when a weight is a NaN or an infinity. */
int net_open(const struct model_file *f, enum whisper_precision precision, const char *cache_folder, struct net **ret,
             struct err *err) MUST_CHECK;
void net_close(struct net *n); /* NULL is fine */
const struct whisper_dims *net_dims(const struct net *n);
enum whisper_precision net_precision(const struct net *n);
int64_t net_bytes(const struct net *n);
bool net_from_cache(const struct net *n);

#endif
