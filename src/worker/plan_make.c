/* SPDX-License-Identifier: MIT */
/*
 * The detector reads the spool, not the decoder's stream: after a repair only the better of two decodes is looked
 * at, and a job that goes on with a saved plan skips it.
 */
#include "worker/plan_make.h"

#include "audio/plan.h"
#include "audio/vad.h"

#include <stdlib.h>

enum { BLOCK_SAMPLES = 8192, MIN_GAP_SAMPLES = AUDIO_RATE * 3 / 10 };

static int detect(const struct pcm *pcm, struct vad *v, const struct cancel *cancel, struct err *err)
{
    int16_t block[BLOCK_SAMPLES];
    int64_t total = pcm_length(pcm);
    for (int64_t at = 0; at < total; at += BLOCK_SAMPLES) {
        if (cancel_is_set(cancel))
            return err_set(err, ERR_CANCELLED, "stopped while detecting speech");
        struct span s = {at, MIN(at + BLOCK_SAMPLES, total)};
        int rc = pcm_read(pcm, s, block, err);
        if (rc < 0)
            return rc;
        vad_feed(v, block, (size_t)(s.end - s.start));
    }
    return 0;
}

/*
 * Speech in each chunk: both lists ascend, so one walk does. A span may reach over several chunks, so `room` has a
 * place for each span and each chunk.
 */
static void share_speech(struct plan_chunk *chunks, size_t n_chunks, const struct span *speech, size_t n_speech,
                         struct span *room)
{
    size_t k = 0;
    for (size_t i = 0; i < n_chunks; i++) {
        struct plan_chunk *c = &chunks[i];
        while (k < n_speech && speech[k].end <= c->span.start)
            k++;
        c->speech = room;
        for (size_t j = k; j < n_speech && speech[j].start < c->span.end; j++, c->n_speech++)
            *room++ = (struct span){MAX(speech[j].start, c->span.start), MIN(speech[j].end, c->span.end)};
    }
}

static int cut(const struct span *speech, size_t n_speech, const struct pcm *pcm, const struct engine_info *info,
               struct arena *a, struct plan *p, struct err *err)
{
    struct plan_opts opts = {info->target_samples, info->max_samples, MIN_GAP_SAMPLES};
    CLEANUP(free_p) struct span *spans = NULL;
    size_t n = 0;
    int rc = plan_chunks(speech, n_speech, &opts, pcm, &spans, &n, err);
    if (rc < 0)
        return rc;
    struct plan_chunk *chunks = arena_alloc(a, (n + 1) * sizeof *chunks);
    struct span *room = arena_alloc(a, (n + n_speech + 1) * sizeof *room);
    if (!chunks || !room)
        return err_set(err, ERR_NOMEM, "out of memory for a plan of %zu chunks", n);
    for (size_t i = 0; i < n; i++)
        chunks[i].span = spans[i];
    share_speech(chunks, n, speech, n_speech, room);
    p->chunks = chunks;
    p->n_chunks = n;
    return 0;
}

int plan_make(const struct pcm *pcm, const struct engine_info *info, const struct cancel *cancel, struct arena *a,
              struct plan *p, struct err *err)
{
    struct vad *v = NULL;
    int rc = vad_new(&v, err);
    if (rc < 0)
        return rc;
    const struct span *speech = NULL;
    size_t n = 0;
    rc = detect(pcm, v, cancel, err);
    if (rc == 0)
        rc = vad_finish(v, &speech, &n, err);
    if (rc == 0)
        rc = cut(speech, n, pcm, info, a, p, err);
    vad_free(v);
    return rc;
}
