/* SPDX-License-Identifier: MIT */
/*
 * The parent's side: one child, two pipes, one poll loop that also looks at the clock and at `cancel`.
 *
 * Standard error is read whenever it comes, so that a chatty decoder cannot block; it goes line by line into the
 * verdict. Any error kills the child at once.
 */
#include "audio/decode.h"

#include "audio/decode_internal.h"
#include "base/clock.h"
#include "base/mem.h"
#include "base/proc.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

enum { LOOK_MS = 200 };
#define DEFAULT_MEMORY ((int64_t)1536 << 20)

struct decode {
    struct proc *proc;
    int in_fd, out_fd, err_fd; /* -1 once closed */
    const struct cancel *cancel;
    int64_t deadline_ms; /* monotonic; INT64_MAX: none */
    int64_t stall_ms, max_samples;
    int64_t stalled_ms; /* monotonic: without a sign of life until then the child is killed */
    int64_t samples;
    char odd; /* half a sample from the last read */
    bool has_odd, done, damaged;
    struct err failed; /* the first error, given again to whoever asks again */
    struct verdict verdict;
    char text[MAX_STDERR + 1];
};

static int spawn(struct decode *d, int out_w, int err_w, const struct decode_opts *opts, struct err *err)
{
    char parent[24], mode[12], memory[24];
    snprintf(parent, sizeof parent, "%d", (int)getpid());
    snprintf(mode, sizeof mode, "%d", (int)opts->sandbox);
    snprintf(memory, sizeof memory, "%" PRId64, opts->memory_bytes ? opts->memory_bytes : DEFAULT_MEMORY);
    const char *argv[ARG_COUNT + 1] = {
        [0] = "steno",
        [1] = "__decode",
        [ARG_PARENT] = parent,
        [ARG_SANDBOX] = mode,
        [ARG_MEMORY] = memory,
        [ARG_REPAIR] = opts->repair ? "1" : "0",
        [ARG_FFMPEG] = opts->ffmpeg ? opts->ffmpeg : "ffmpeg",
    };
    const struct proc_fd fds[] = {{STDOUT_FILENO, out_w}, {STDERR_FILENO, err_w}, {INPUT_FD, d->in_fd}};
    struct proc_opts po = {.argv = argv, .fds = fds, .n_fds = ARRAY_LEN(fds), .own_group = true};
    return proc_spawn(&po, &d->proc, err);
}

static int open_input(const char *path, int *ret, struct err *err)
{
    /* Non-blocking: a FIFO would wait here for a writer. */
    int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY);
    struct stat st;
    if (fd < 0)
        return err_sys(err, errno, "cannot open '%s'", path);
    int rc = 0;
    if (fstat(fd, &st) < 0)
        rc = err_sys(err, errno, "cannot look at '%s'", path);
    else if (!S_ISREG(st.st_mode))
        rc = err_set(err, ERR_INVALID, "'%s' is not a regular file", path);
    else if (st.st_size == 0)
        rc = err_set(err, ERR_CORRUPT, "the file is empty");
    if (rc < 0)
        close(fd);
    else
        *ret = fd;
    return rc;
}

/* Reads what standard error has now. */
static void drain_stderr(struct decode *d)
{
    char piece[1024];
    while (d->err_fd >= 0) {
        ssize_t n = read(d->err_fd, piece, sizeof piece);
        if (n > 0) {
            verdict_feed(&d->verdict, piece, (size_t)n);
        } else if (n == 0 || (errno != EAGAIN && errno != EINTR)) {
            close(d->err_fd);
            d->err_fd = -1;
        } else if (errno == EAGAIN) {
            return;
        }
    }
}

static uint32_t le32(const unsigned char *p)
{
    return p[0] | (uint32_t)p[1] << 8 | (uint32_t)p[2] << 16 | (uint32_t)p[3] << 24;
}

/*
 * Does a wav's header promise sound of which no byte is there? ffmpeg tells such a file, cut off behind its header,
 * and one that is truly empty alike: no samples, status 0, nothing said.
 */
static bool is_hollow_wav(int fd)
{
    unsigned char h[12];
    struct stat st;
    if (fstat(fd, &st) < 0 || pread(fd, h, 12, 0) != 12 || memcmp(h, "RIFF", 4) != 0 || memcmp(h + 8, "WAVE", 4) != 0)
        return false;
    off_t at = 12;
    for (int chunks = 0; chunks < 64 && pread(fd, h, 8, at) == 8; chunks++) {
        uint32_t size = le32(h + 4);
        if (memcmp(h, "data", 4) == 0)
            return size > 0 && at + 8 >= st.st_size;
        at += 8 + (off_t)size + (size & 1);
    }
    return true; /* the list of chunks is cut off before the sound */
}

static int check_limits(const struct decode *d, struct err *err)
{
    if (cancel_is_set(d->cancel))
        return err_set(err, ERR_CANCELLED, "cancelled while decoding");
    if (clock_mono_ms() >= d->deadline_ms)
        return err_set(err, ERR_TIMEOUT, "decoding took longer than it may (decode_time_limit)");
    if (clock_mono_ms() >= d->stalled_ms)
        return err_set(err, ERR_TIMEOUT, "the decoder gave no sound for %.0f s (decode_stall_limit)",
                       (double)d->stall_ms / 1000);
    return 0;
}

/* Counted from when the caller asks: the time it takes to use what it got is not the child's. */
static void begin_stall_clock(struct decode *d)
{
    d->stalled_ms = d->stall_ms > 0 ? clock_mono_ms() + d->stall_ms : INT64_MAX;
}

/* Sound is over: waits for the child's end, then judges. */
static int finish(struct decode *d, struct err *err)
{
    int status = 0, rc;
    do {
        rc = check_limits(d, err);
        drain_stderr(d);
        if (rc == 0)
            rc = proc_wait(d->proc, MIN(LOOK_MS, MAX(1, d->deadline_ms - clock_mono_ms())), &status, err);
    } while (rc == 0);
    if (rc < 0)
        return rc;
    drain_stderr(d);
    struct decode_end end = {.status = status, .samples = d->samples};
    end.wav_hollow = d->samples == 0 && is_hollow_wav(d->in_fd);
    return verdict_judge(&d->verdict, &end, &d->damaged, err);
}

/* Waits for either pipe. 1: something may be read from the sound, 0: look again. */
static int wait_for_sound(struct decode *d, struct err *err)
{
    int rc = check_limits(d, err);
    if (rc < 0)
        return rc;
    struct pollfd fds[2] = {{.fd = d->out_fd, .events = POLLIN}, {.fd = d->err_fd, .events = POLLIN}};
    if (poll(fds, 2, (int)MIN(LOOK_MS, MAX(1, d->deadline_ms - clock_mono_ms()))) < 0 && errno != EINTR)
        return err_sys(err, errno, "waiting for the decoder");
    if (fds[1].revents)
        drain_stderr(d);
    return fds[0].revents != 0;
}

static ssize_t read_sound(struct decode *d, int16_t *pcm, size_t n, struct err *err)
{
    for (;;) {
        int rc = wait_for_sound(d, err);
        if (rc < 0)
            return rc;
        if (rc == 0)
            continue;
        char *bytes = (char *)pcm;
        size_t have = d->has_odd;
        if (d->has_odd)
            bytes[0] = d->odd;
        ssize_t got = read(d->out_fd, bytes + have, 2 * n - have);
        if (got < 0 && (errno == EAGAIN || errno == EINTR))
            continue;
        if (got < 0)
            return err_sys(err, errno, "reading from the decoder");
        if (got == 0) {
            close(d->out_fd);
            d->out_fd = -1;
            begin_stall_clock(d);
            return finish(d, err);
        }
        have += (size_t)got;
        d->has_odd = have & 1;
        if (d->has_odd)
            d->odd = bytes[have - 1];
        if (have / 2 > 0) {
            d->samples += (int64_t)(have / 2);
            if (d->max_samples && d->samples > d->max_samples)
                return err_set(err, ERR_TOO_LARGE,
                               "the recording is longer than %.0f s (max_audio_length): send it in parts",
                               samples_to_s(d->max_samples));
            return (ssize_t)(have / 2);
        }
    }
}

int decode_open(const char *path, const struct decode_opts *opts, struct decode **ret, struct err *err)
{
    struct decode *d = xcalloc(1, sizeof *d);
    CLEANUP(close_fd) int out_w = -1;
    CLEANUP(close_fd) int err_w = -1;
    d->in_fd = d->out_fd = d->err_fd = -1;
    d->cancel = opts->cancel;
    d->stall_ms = opts->stall_ms;
    d->max_samples = opts->max_samples;
    d->deadline_ms = opts->time_ms > 0 ? clock_mono_ms() + opts->time_ms : INT64_MAX;
    int rc = open_input(path, &d->in_fd, err);
    if (rc == 0)
        rc = proc_pipe(&d->out_fd, &out_w, err);
    if (rc == 0)
        rc = proc_pipe(&d->err_fd, &err_w, err);
    if (rc == 0 && (fcntl(d->out_fd, F_SETFL, O_NONBLOCK) < 0 || fcntl(d->err_fd, F_SETFL, O_NONBLOCK) < 0))
        rc = err_sys(err, errno, "cannot set up the decoder's pipes");
    if (rc == 0)
        rc = spawn(d, out_w, err_w, opts, err);
    if (rc < 0)
        decode_close(d);
    else
        *ret = d;
    return rc;
}

ssize_t decode_read(struct decode *d, int16_t *pcm, size_t n, struct err *err)
{
    if (d->done || n == 0)
        return 0;
    if (d->failed.code < 0) {
        *err = d->failed;
        return err->code;
    }
    begin_stall_clock(d);
    ssize_t rc = read_sound(d, pcm, n, err);
    d->done = rc == 0;
    if (rc <= 0)
        verdict_tail(&d->verdict, d->text, sizeof d->text);
    if (rc < 0) {
        proc_kill(d->proc, SIGKILL);
        d->failed = *err;
    }
    return rc;
}

bool decode_damaged(const struct decode *d)
{
    return d->damaged;
}

const char *decode_stderr(const struct decode *d)
{
    return d->text;
}

void decode_close(struct decode *d)
{
    if (!d)
        return;
    proc_free(d->proc);
    close_fd(&d->in_fd);
    close_fd(&d->out_fd);
    close_fd(&d->err_fd);
    free(d);
}
