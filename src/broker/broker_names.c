/* SPDX-License-Identifier: MIT */
/* What queues and the channel are called at a remote broker. */
#include "broker/broker_ops.h"

#include "base/mem.h"
#include "base/str.h"

#include <stdlib.h>
#include <string.h>

enum { NAME_MAX_BYTES = 200 }; /* AMQP ends at 255 */

static const struct {
    const char *word, *usual;
} names[BROKER_NAMES] = {
    [BROKER_HIGH] = {"high", "transcription.high"},    [BROKER_NORMAL] = {"normal", "transcription.normal"},
    [BROKER_RETRY] = {"retry", "transcription.retry"}, [BROKER_DEAD] = {NULL, "transcription.dlq"},
    [BROKER_EVENTS] = {NULL, "job_updates"},
};

static bool good(const char *s)
{
    size_t n = strlen(s);
    for (size_t i = 0; i < n; i++)
        if ((unsigned char)s[i] < 0x20 || s[i] == 0x7F)
            return false;
    return n > 0 && n <= NAME_MAX_BYTES && utf8_valid(s, n);
}

int broker_names_init(struct broker_names *n, const struct broker_opts *o, struct err *err)
{
    const char *const given[BROKER_NAMES] = {
        [BROKER_HIGH] = o->queue_high, [BROKER_NORMAL] = o->queue_normal, [BROKER_RETRY] = o->queue_retry,
        [BROKER_DEAD] = o->queue_dead, [BROKER_EVENTS] = o->channel,
    };
    const char *use[BROKER_NAMES];
    for (size_t i = 0; i < BROKER_NAMES; i++) {
        use[i] = given[i] ? given[i] : names[i].usual;
        if (!good(use[i]))
            return err_set(err, ERR_INVALID, "a queue or channel name is 1 to %d bytes without control characters",
                           NAME_MAX_BYTES);
        for (size_t k = 0; k < i; k++)
            if (strcmp(use[i], use[k]) == 0)
                return err_set(err, ERR_INVALID, "two queues or channels of the broker have the same name, '%s'",
                               use[i]);
    }
    for (size_t i = 0; i < BROKER_NAMES; i++)
        n->name[i] = xstrdup(use[i]);
    return 0;
}

void broker_names_clear(struct broker_names *n)
{
    for (size_t i = 0; i < BROKER_NAMES; i++)
        free(n->name[i]);
}

int broker_queue_parse(const char *queue, enum broker_name *ret, struct err *err)
{
    for (size_t i = 0; i < BROKER_NAMES; i++)
        if (str_eq(names[i].word, queue)) {
            *ret = (enum broker_name)i;
            return 0;
        }
    return err_set(err, ERR_INVALID, "there is no queue '%.40s'", queue);
}

int broker_take_parse(const struct broker_opts *opts, enum broker_name ret[BROKER_QUEUES], struct err *err)
{
    int n = 0, rc = 0;
    for (; rc == 0 && n < BROKER_QUEUES && opts->take && opts->take[n]; n++)
        rc = broker_queue_parse(opts->take[n], &ret[n], err);
    for (int q = 0; n == 0 && q < BROKER_QUEUES; q++)
        ret[q] = (enum broker_name)q;
    return rc < 0 ? rc : n ? n : BROKER_QUEUES;
}
