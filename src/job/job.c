/* SPDX-License-Identifier: MIT */
/* Words and legal steps of the states; see job.h for the drawing. */
#include "job/job.h"

#include "base/macros.h"

#include <string.h>

static const struct job_state_row {
    bool terminal;
    bool to[JOB_STATE_COUNT];
} job_state_table[JOB_STATE_COUNT] = {
    [JOB_PENDING] = {.to = {[JOB_PROCESSING] = true, [JOB_CANCELLED] = true}},
    [JOB_PROCESSING] =
        {.to = {[JOB_PENDING] = true, [JOB_COMPLETED] = true, [JOB_FAILED] = true, [JOB_CANCELLED] = true}},
    [JOB_COMPLETED] = {.terminal = true},
    [JOB_FAILED] = {.terminal = true, .to = {[JOB_PENDING] = true}}, /* by an explicit retry only */
    [JOB_CANCELLED] = {.terminal = true},
};

static const char *const state_names[JOB_STATE_COUNT] = {
#define X(name, word) [JOB_##name] = (word),
    JOB_STATES(X)
#undef X
};

static const char *const queue_names[QUEUE_COUNT] = {
#define X(name, word) [QUEUE_##name] = (word),
    JOB_QUEUES(X)
#undef X
};

const char *job_state_name(enum job_state s)
{
    return state_names[s];
}

bool job_state_parse(const char *word, enum job_state *ret)
{
    for (int i = 0; word && i < JOB_STATE_COUNT; i++) {
        if (strcmp(word, state_names[i]) == 0) {
            *ret = (enum job_state)i;
            return true;
        }
    }
    return false;
}

bool job_state_terminal(enum job_state s)
{
    return job_state_table[s].terminal;
}

bool job_step_ok(enum job_state from, enum job_state to)
{
    return job_state_table[from].to[to];
}

const char *job_queue_name(enum job_queue q)
{
    return queue_names[q];
}

bool job_queue_parse(const char *word, enum job_queue *ret)
{
    for (int i = 0; word && i < QUEUE_COUNT; i++) {
        if (strcmp(word, queue_names[i]) == 0) {
            *ret = (enum job_queue)i;
            return true;
        }
    }
    return false;
}

int job_queues_parse(const char *list, struct job_queues *ret, struct err *err)
{
    struct job_queues found = {.n = 0};
    unsigned seen = 0;
    for (const char *p = list; *p;) {
        size_t n = strcspn(p, ",");
        const char *from = p + strspn(p, " "), *end = p + n;
        while (end > from && end[-1] == ' ')
            end--;
        char word[16] = "";
        enum job_queue q;
        if (end < from)
            end = from;
        memcpy(word, from, MIN((size_t)(end - from), sizeof word - 1));
        if (!job_queue_parse(word, &q))
            return err_set(err, ERR_INVALID, "there is no queue '%.*s', only high, normal and retry", (int)(end - from),
                           from);
        if (seen & 1U << q)
            return err_set(err, ERR_INVALID, "the queue '%s' stands twice", word);
        seen |= 1U << q;
        found.v[found.n++] = q;
        p += n;
        p += *p == ',';
    }
    if (!found.n)
        return err_set(err, ERR_INVALID, "no queue is named: give some of high, normal and retry");
    *ret = found;
    return 0;
}
