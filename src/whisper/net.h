/* SPDX-License-Identifier: MIT */
/*
 * The network: packed weights of one model in one precision, immutable.
 *
 * Packing turns every matrix into the blocked layout that the products want (dnn.h) and is done once: the result is one
 * file in the cache folder, written to a temporary name and renamed, mapped read-only by every later load, so that
 * processes share its pages. Its name holds all it depends on: model key, precision, oneDNN version, CPU kind.
 */
#ifndef WHISPER_NET_H
#define WHISPER_NET_H

#include "whisper/model_file.h"

struct net;

int net_open(const struct model_file *f, enum whisper_precision precision, const char *cache_folder, struct net **ret,
             struct err *err) MUST_CHECK;
void net_close(struct net *n); /* NULL is fine */
const struct whisper_dims *net_dims(const struct net *n);
enum whisper_precision net_precision(const struct net *n);
int64_t net_bytes(const struct net *n);
bool net_from_cache(const struct net *n);

#endif
