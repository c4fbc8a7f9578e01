/* SPDX-License-Identifier: MIT */
#include "speech.h"

#include "base/mem.h"
#include "base/proc.h"

#include <stdio.h>
#include <stdlib.h>

enum { MAX_SENTENCES = 60, TIME_MS = 60000 };

static int run(const char *const *argv, struct err *err)
{
    struct proc *p = NULL;
    const struct proc_opts opts = {.path = argv[0], .argv = argv, .keep_stderr = true};
    int status = 0, rc = proc_spawn(&opts, &p, err);
    if (rc == 0)
        rc = proc_wait(p, TIME_MS, &status, err);
    if (rc == 0)
        rc = err_set(err, ERR_TIMEOUT, "%s does not end", argv[0]);
    if (rc > 0)
        rc = status ? err_set(err, ERR_CRASHED, "%s failed", argv[0]) : 0;
    proc_free(p);
    return rc;
}

int speech_silence(const char *path, const char *seconds, struct err *err)
{
    return run(
        (const char *const[]){"sox", "-n", "-r", "16000", "-b", "16", "-c", "1", path, "trim", "0", seconds, NULL},
        err);
}

int speech_make(const char *folder, const char *name, const char *const *sentences, size_t n, struct err *err)
{
    const char *argv[2 * MAX_SENTENCES + 4] = {"sox"};
    char *parts[MAX_SENTENCES] = {NULL};
    size_t k = 1;
    if (n > MAX_SENTENCES)
        return err_set(err, ERR_TOO_LARGE, "too many sentences");
    CLEANUP(free_p) char *pause = xasprintf("%s/pause.wav", folder);
    CLEANUP(free_p) char *out = xasprintf("%s/%s", folder, name);
    int rc = speech_silence(pause, "1", err);
    for (size_t i = 0; i < n && rc == 0; i++) {
        parts[i] = xasprintf("%s/part%zu.wav", folder, i);
        argv[k++] = pause;
        argv[k++] = parts[i];
        rc = run((const char *const[]){"flite", "-voice", "rms", "-t", sentences[i], "-o", parts[i], NULL}, err);
    }
    argv[k++] = pause;
    argv[k++] = out;
    if (rc == 0)
        rc = run(argv, err);
    for (size_t i = 0; i < n; i++)
        free(parts[i]);
    return rc;
}
