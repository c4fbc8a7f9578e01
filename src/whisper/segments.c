/* SPDX-License-Identifier: MIT */
#include "whisper/segments.h"

struct stamped {
    const int *tokens;
    size_t n;
    int first_timestamp;
};

static bool is_stamp(const struct stamped *s, size_t i)
{
    return s->tokens[i] >= s->first_timestamp;
}

/* When token i was said, `otherwise` when it is no stamp. */
static int64_t time_of(const struct stamped *s, size_t i, int64_t otherwise)
{
    return is_stamp(s, i) ? (int64_t)(s->tokens[i] - s->first_timestamp) * TIMESTAMP_STEP : otherwise;
}

static void add(struct cuts *c, size_t first, size_t n, int64_t start, int64_t end, int64_t length)
{
    if (start >= length && c->n)
        return;
    start = start >= length ? 0 : start;
    end = CLAMP(end, start, length);
    c->v[c->n++] = (struct cut){.first = first, .n = n, .start = start, .end = end};
}

/* Without a pair: from the first stamp, if the text begins with one, to the last one that is another. */
static void cut_whole(const struct stamped *s, int64_t length, struct cuts *ret)
{
    int64_t start = s->n ? time_of(s, 0, 0) : 0, end = length;
    for (size_t i = s->n; i > 1; i--)
        if (is_stamp(s, i - 1) && s->tokens[i - 1] != s->first_timestamp) {
            end = time_of(s, i - 1, length);
            break;
        }
    add(ret, 0, s->n, start, end, length);
}

void segments_cut(const int *tokens, size_t n, int first_timestamp, int64_t length, struct cuts *ret)
{
    const struct stamped s = {.tokens = tokens, .n = n, .first_timestamp = first_timestamp};
    bool single = n >= 2 && is_stamp(&s, n - 1) && !is_stamp(&s, n - 2), pairs = false;
    size_t from = 0;
    ret->n = 0;
    ret->carried = length;
    for (size_t i = 1; i <= n; i++) {
        bool pair = i < n && is_stamp(&s, i - 1) && is_stamp(&s, i);
        pairs = pairs || pair;
        if (!pair && !(i == n && pairs && single))
            continue;
        int64_t end = time_of(&s, i - 1, length);
        add(ret, from, i - from, time_of(&s, from, 0), end, length);
        if (!single)
            ret->carried = MIN(end, length);
        from = i;
    }
    if (n && !pairs)
        cut_whole(&s, length, ret);
    ret->open = pairs && !single;
    ret->resumes = ret->open ? CLAMP(time_of(&s, from, 0), ret->carried, length) : ret->carried;
}
