/* SPDX-License-Identifier: MIT */
/*
 * Inside src/engine: an engine in a child process, both ends of the wire.
 *
 * The wire is a Unix stream socket between two copies of this very program, so structs travel as they are. The child
 * says hello (an empty reply) when its model is loaded, or why it could not; then each ask is answered by one reply:
 *
 *   parent -> child   struct child_ask, n_samples of PCM
 *   child -> parent   struct child_reply, `size` bytes: JSON segments, or with a negative status a sentence
 *
 * The parent never blocks on the socket: it writes and reads as poll says, looks at cancel and deadline at least ten
 * times a second, and on any trouble kills the child. The child ends when the socket closes, also in the middle of its
 * work: a thread of it watches for that, so that a parent killed by force leaves no child computing. (PR_SET_PDEATHSIG
 * would fire when the *thread* that started the child ends, which outlives nothing.)
 */
#ifndef ENGINE_CHILD_H
#define ENGINE_CHILD_H

#include "base/buf.h"
#include "base/err.h"
#include "base/stop.h"

#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum {
    CHILD_FD = 3,                      /* the child's end of the socket */
    CHILD_VERSION = 1,                 /* of the structs below */
    CHILD_MAX_SAMPLES = 60 * 16000,    /* of one ask */
    CHILD_MAX_REPLY = 4 * 1024 * 1024, /* bytes */
};

#define CHILD_MAGIC UINT32_C(0x53544e45)

struct child_ask {
    uint32_t magic, version;
    int64_t start; /* where the chunk lies in the recording, in samples */
    uint64_t n_samples;
};

struct child_reply {
    uint32_t magic;
    int32_t status; /* 0 or ERR_ */
    uint64_t size;
};

/* ---- the parent's end; one owner thread at a time ---- */

struct child;

/* How long to wait for a child, and where to put what it says of a failure. */
struct child_limits {
    const struct cancel *cancel; /* may be NULL */
    int64_t until_ms;            /* monotonic; INT64_MAX: no limit */
    struct buf *said;            /* after a failure: what the child wrote to stderr last is appended. May be NULL */
};

/*
 * Starts `steno __engine argv...` (argv without the program's name) and waits for its hello. On failure *ret_status is
 * how a child that died ended (as from waitpid), else -1.
 */
int child_start(const char *const *argv, const struct child_limits *limits, struct child **ret, int *ret_status,
                struct err *err) MUST_CHECK;
/*
 * Asks and waits for the answer, which is appended to `ret`. CANCELLED, TIMEOUT, CRASHED, NOMEM, or what the child
 * reports. After a failure ask child_usable.
 */
int child_call(struct child *c, int64_t start, const int16_t *pcm, size_t n, const struct child_limits *limits,
               struct buf *ret, struct err *err) MUST_CHECK;
/* Can it be asked again? False after cancel, time-out and death. */
bool child_usable(struct child *c);
/* Asks an idle child to end; to be followed by child_free. */
void child_stop(struct child *c);
/* Waits a moment for one that was asked to end, kills otherwise. NULL is fine. */
void child_free(struct child *c);

/* ---- the child's end; one thread ---- */

struct child_side {
    pthread_t watcher;
    atomic_bool busy, gone;
    int16_t *pcm;
};

/* Starts the watcher. The child is busy (ends at once when its parent goes) from here, and from each ask, to the reply.
 */
int child_side_open(struct child_side *s, struct err *err) MUST_CHECK;
/* The next ask, its PCM in s->pcm until the next call. 1: got one; 0: the parent is gone. */
int child_side_next(struct child_side *s, struct child_ask *ret, struct err *err) MUST_CHECK;
/* A failure means that the parent is gone: the next child_side_next says so. */
void child_side_reply(struct child_side *s, int status, const void *data, size_t n);
void child_side_close(struct child_side *s);

#endif
