/* SPDX-License-Identifier: MIT */
#include "whisper/coverage.h"

int64_t coverage_speech_end(const struct whisper_input *in, int64_t from, int64_t limit)
{
    int64_t end = from;
    for (size_t i = 0; i < in->n_speech && in->speech[i].start < limit; i++)
        if (in->speech[i].end > from)
            end = MIN(in->speech[i].end, limit);
    return end;
}

bool coverage_any(const struct whisper_input *in, int64_t start, int64_t end)
{
    for (size_t i = 0; i < in->n_speech; i++)
        if (in->speech[i].start < end && in->speech[i].end > start)
            return true;
    return !in->n_speech;
}

/* A stretch of speech without text: parts of it have their reasons in `mute`, others count from `least` on. */
static int explain(struct whisper_span s, int64_t least, const struct whisper_gap *mute, size_t n_mute, coverage_fn fn,
                   void *arg, struct err *err)
{
    int rc = 0;
    for (size_t i = 0; s.start < s.end && rc == 0;) {
        while (i < n_mute && mute[i].end <= s.start)
            i++;
        bool known = i < n_mute && mute[i].start <= s.start;
        int64_t end = known ? mute[i].end : i < n_mute ? mute[i].start : s.end;
        struct whisper_gap gap = {s.start, MIN(end, s.end), known ? mute[i].why : "no text"};
        if (gap.end - gap.start > (known ? COVERAGE_END : least))
            rc = fn(arg, &gap, err);
        s.start = gap.end;
    }
    return rc;
}

int coverage_gaps(const struct whisper_input *in, const struct whisper_segment *segments, size_t n,
                  const struct whisper_gap *mute, size_t n_mute, coverage_fn fn, void *arg, struct err *err)
{
    int rc = 0;
    size_t k = 0; /* the first segment that ends behind what is done */
    for (size_t i = 0; i < in->n_speech && rc == 0; i++) {
        struct whisper_span s = {MAX(in->speech[i].start, (int64_t)0), MIN(in->speech[i].end, (int64_t)in->n)};
        while (s.start < s.end && rc == 0) {
            while (k < n && segments[k].end <= s.start)
                k++;
            struct whisper_span piece = {s.start, k < n ? CLAMP(segments[k].start, s.start, s.end) : s.end};
            bool whole = piece.start == in->speech[i].start && piece.end == in->speech[i].end;
            rc = explain(piece, whole ? COVERAGE_END : COVERAGE_HOLE, mute, n_mute, fn, arg, err);
            s.start = k < n && piece.end < s.end ? segments[k].end : s.end;
        }
    }
    return rc;
}
