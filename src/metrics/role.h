/* SPDX-License-Identifier: MIT */
/* What every role tells: its build, its process, its connections to the database, its trouble with storage. */
#ifndef METRICS_ROLE_H
#define METRICS_ROLE_H

#include "base/buf.h"

#include <stddef.h>
#include <stdint.h>

/* name, type, help. Those of the process are called as every Prometheus client library calls them. */
#define ROLE_METRICS(X)                                                                                               \
    X(steno_build_info, "gauge", "Always 1; the labels name the version and the role of the process")                 \
    X(steno_database_connections_max, "gauge", "Most connections to the database there may be")                       \
    X(steno_database_connections_open, "gauge", "Those that are open")                                                \
    X(steno_database_connections_busy, "gauge", "Those that are in use")                                              \
    X(steno_database_connections_waiting, "gauge", "Statements that wait for a connection")                           \
    X(steno_storage_errors_total, "counter", "Operations of the storage that failed by its fault, by what they were") \
    X(process_cpu_seconds_total, "counter", "Processor time this process used")                                       \
    X(steno_children_cpu_seconds_total, "counter", "Processor time of its children that ended, such as decoders")     \
    X(process_resident_memory_bytes, "gauge", "Memory this process has in RAM")                                       \
    X(process_virtual_memory_bytes, "gauge", "Addresses this process has mapped")                                     \
    X(process_open_fds, "gauge", "File descriptors that are open")                                                    \
    X(process_max_fds, "gauge", "Most file descriptors there may be")                                                 \
    X(process_start_time_seconds, "gauge", "When this process started, in seconds since 1970")

struct role_count {
    const char *name;
    int64_t n;
};

struct role_figures {
    const char *role, *version;
    int64_t started_at; /* wall clock */
    int64_t database_max, database_open, database_busy, database_waiting;
    const struct role_count *storage_errors; /* by operation */
    size_t n_storage_errors;
};

void role_metrics_write(struct buf *b, const struct role_figures *f);

#endif
