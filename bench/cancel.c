/* SPDX-License-Identifier: MIT */
/*
 * How long a cancelled transcription goes on. usage: cancel MODEL [PRECISION [THREADS [ROUNDS]]]
 *
 * Cancels a run over noise at moments spread over its first encode, and at moments of its decoding; prints the mean and
 * the longest time until the call is back, in milliseconds. Set OMP_NUM_THREADS and OMP_PROC_BIND as the program does.
 */
#include "base/clock.h"
#include "base/mem.h"
#include "base/thread.h"
#include "whisper/whisper.h"

#include <stdio.h>
#include <stdlib.h>
#include <time.h>

enum { SECONDS = 300, DECODING_STEP_MS = 97 };

static int64_t now_us(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (int64_t)t.tv_sec * 1000000 + t.tv_nsec / 1000;
}

struct round {
    struct whisper_batcher *batcher;
    const float *pcm;
    struct cancel cancel;
    int64_t back_us;
    int rc;
};

static void *run(void *arg)
{
    struct round *r = arg;
    struct whisper_params p;
    whisper_params_default(&p);
    p.language = "en";
    p.no_speech_threshold = p.logprob_threshold = p.compression_ratio_threshold = __builtin_nanf("");
    struct whisper_input in = {.pcm = r->pcm, .n = (size_t)SECONDS * WHISPER_RATE};
    struct arena a = ARENA_INIT;
    struct whisper_result result;
    struct err err = ERR_INIT;
    r->rc = whisper_run(r->batcher, &p, &in, &r->cancel, &a, &result, &err);
    r->back_us = now_us();
    arena_clear(&a);
    return NULL;
}

/* Microseconds from the cancel, made after `wait_us`, to the return; negative: it was over before. */
static int64_t measure(struct whisper_batcher *b, const float *pcm, int64_t wait_us)
{
    struct round r = {.batcher = b, .pcm = pcm};
    struct err err = ERR_INIT;
    pthread_t t;
    if (thread_start(&t, "run", run, &r, &err) < 0)
        return -1;
    clock_sleep_ms(wait_us / 1000);
    int64_t at = now_us();
    cancel_set(&r.cancel);
    pthread_join(t, NULL);
    return r.rc == ERR_CANCELLED ? r.back_us - at : -1;
}

static void report(const char *what, struct whisper_batcher *b, const float *pcm, int64_t from_us, int64_t step_us,
                   int rounds)
{
    int64_t sum = 0, most = 0, n = 0;
    for (int i = 0; i < rounds; i++) {
        int64_t us = measure(b, pcm, from_us + i * step_us);
        if (us < 0)
            continue;
        sum += us;
        most = MAX(most, us);
        n++;
    }
    printf("  %s: mean %.1f ms, most %.1f ms (%lld times)\n", what, n ? (double)sum / (double)n / 1e3 : 0,
           (double)most / 1e3, (long long)n);
}

int main(int argc, char **argv)
{
    struct whisper_model_opts mo = {.precision = WHISPER_AUTO};
    int rounds = argc > 4 ? (int)strtol(argv[4], NULL, 10) : 12;
    if (argc < 2 || argc > 5 || rounds < 1 || (argc > 2 && !whisper_precision_parse(argv[2], &mo.precision))) {
        fprintf(stderr, "usage: cancel MODEL [PRECISION [THREADS [ROUNDS]]]\n");
        return 2;
    }
    struct whisper_model *m = NULL;
    struct whisper_batcher *b = NULL;
    struct whisper_batcher_opts bo = {
        .threads = argc > 3 ? (unsigned)strtoul(argv[3], NULL, 10) : 0, .max_windows = 2, .max_rows = 16};
    struct err err = ERR_INIT;
    if (whisper_model_open(argv[1], &mo, &m, &err) < 0 || whisper_batcher_new(m, &bo, &b, &err) < 0) {
        fprintf(stderr, "%s\n", err.msg);
        whisper_model_unref(m);
        return 1;
    }
    float *pcm = xcalloc((size_t)SECONDS * WHISPER_RATE, sizeof *pcm);
    uint32_t seed = 1;
    for (int64_t i = 0; i < (int64_t)SECONDS * WHISPER_RATE; i++) {
        seed = seed * 1664525u + 1013904223u;
        pcm[i] = (float)(seed >> 8) / (float)(1 << 24) - 0.5f;
    }
    /* The first window alone, twice: what is made once is made then. */
    const char *code;
    float probability;
    int64_t start = 0, encode_us = 0;
    for (int i = 0; i < 2; i++) {
        start = now_us();
        if (whisper_detect_language(b, pcm, WHISPER_WINDOW, NULL, &code, &probability, &err) < 0) {
            fprintf(stderr, "%s\n", err.msg);
            return 1;
        }
        encode_us = now_us() - start;
    }
    const struct whisper_info *info = whisper_model_info(m);
    printf("%s %s, encode %.0f ms\n", info->name, whisper_precision_name(info->precision), (double)encode_us / 1e3);
    report("cancelled while encoding", b, pcm, 0, encode_us / rounds, rounds);
    report("cancelled while decoding", b, pcm, encode_us * 5 / 4 + 20000, (int64_t)DECODING_STEP_MS * 1000, rounds);
    free(pcm);
    whisper_batcher_free(b);
    whisper_model_unref(m);
    return 0;
}
