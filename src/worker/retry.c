/* SPDX-License-Identifier: MIT */
/* One switch over the error classes, so that the compiler asks about a new one. */
#include "worker/retry.h"

#include "base/id.h"
#include "base/mem.h"
#include "base/str.h"

#include <string.h>

enum { ATTEMPTS_MAX = 100, WAIT_MIN_MS = 10, DAY_MS = 86400000, WAIT_MAX_MS = 7 * DAY_MS };

#define X(name, value, word, retry) _Static_assert(-(value) < RETRY_CLASSES, "a class without room for its rule");
ERR_CLASSES(X)
#undef X

static const char *const jitters[] = {
#define X(name, word) word,
    RETRY_JITTERS(X)
#undef X
};

/* ---- rules from text ---- */

static void add_classes(struct buf *b)
{
    const char *between = "";
#define X(name, value, word, retry)         \
    if (retry) {                            \
        buf_addf(b, "%s%s", between, word); \
        between = ", ";                     \
    }
    ERR_CLASSES(X)
#undef X
}

static int wrong_class(const char *word, struct err *err)
{
    CLEANUP(buf_clear) struct buf b = BUF_INIT(400);
    int code = err_from_name(word);
    bool known = strcmp(err_name(code), word) == 0;
    add_classes(&b);
    return err_set(err, ERR_INVALID, "'%.40s' %s; rules are for %s", word,
                   known ? "is never tried again, because it would fail again" : "is no class of errors", buf_str(&b));
}

static int wrong_part(const char *class, const char *part, struct err *err)
{
    return err_set(err, ERR_INVALID,
                   "%s: '%.40s' is neither a number of attempts (1 to %d), nor waits such as 2s..5m (10ms to 7d, the "
                   "shorter one first), nor full, equal or none",
                   class, part, ATTEMPTS_MAX);
}

/* "2s..5m" */
static bool parse_waits(char *part, struct retry_rule *r)
{
    char *dots = strstr(part, "..");
    int64_t base, cap;
    if (!dots)
        return false;
    *dots = '\0';
    bool ok = str_to_duration_ms(part, 1000, &base) && str_to_duration_ms(dots + 2, 1000, &cap) &&
              base >= WAIT_MIN_MS && base <= cap && cap <= WAIT_MAX_MS;
    *dots = '.';
    if (!ok)
        return false;
    r->base_ms = base;
    r->cap_ms = cap;
    return true;
}

/* "10", "10x" */
static bool parse_attempts(const char *part, struct retry_rule *r)
{
    char number[8];
    size_t n = strlen(part);
    n -= n > 1 && part[n - 1] == 'x';
    int64_t v;
    if (n >= sizeof number)
        return false;
    memcpy(number, part, n);
    number[n] = '\0';
    if (!str_to_i64(number, &v) || v < 1 || v > ATTEMPTS_MAX)
        return false;
    r->max_attempts = (int)v;
    return true;
}

static bool parse_jitter(const char *part, struct retry_rule *r)
{
    for (size_t i = 0; i < ARRAY_LEN(jitters); i++)
        if (strcmp(part, jitters[i]) == 0) {
            r->jitter = (enum retry_jitter)i;
            return true;
        }
    return false;
}

/* "timeout: 3 x 30s..10m", without the comma. */
static int parse_rule(char *text, struct retry_policy *p, struct err *err)
{
    char *class = text + strspn(text, " "), *colon = strchr(text, ':');
    if (!colon)
        return err_set(err, ERR_INVALID, "'%.60s' names no class: write 'timeout: 3 x 30s..10m'", class);
    *colon = '\0';
    class[strcspn(class, " ")] = '\0';
    int code = err_from_name(class);
    if (!err_retryable(code) || strcmp(err_name(code), class) != 0)
        return wrong_class(class, err);
    struct retry_rule *r = &p->rules[-code];
    if (r->cap_ms)
        return err_set(err, ERR_INVALID, "%s stands twice", class);
    struct retry_rule rule = {.base_ms = p->base_ms, .cap_ms = p->cap_ms};
    int parts = 0;
    for (char *part = colon + 1 + strspn(colon + 1, " "), *after; *part; part = after + strspn(after, " "), parts++) {
        after = part + strcspn(part, " ");
        if (*after)
            *after++ = '\0';
        if (strcmp(part, "x") == 0 && parts == 1 && rule.max_attempts)
            continue;
        if (!parse_waits(part, &rule) && !parse_attempts(part, &rule) && !parse_jitter(part, &rule))
            return wrong_part(class, part, err);
    }
    if (!parts)
        return err_set(err, ERR_INVALID, "%s has no rule: write '%s: 3 x 30s..10m'", class, class);
    *r = rule;
    return 0;
}

int retry_policy_parse(const char *text, struct retry_policy *p, struct err *err)
{
    CLEANUP(free_p) char *copy = xstrdup(text);
    int rc = 0;
    for (char *next = copy, *rule; rc == 0 && next && *(next + strspn(next, " "));) {
        rule = next;
        next = strchr(next, ',');
        if (next)
            *next++ = '\0';
        rc = parse_rule(rule, p, err);
    }
    return rc;
}

/* ---- */

struct retry_rule retry_rule_of(const struct retry_policy *p, int err_code)
{
    struct retry_rule r = {.base_ms = p->base_ms, .cap_ms = p->cap_ms};
    if (err_code < 0 && -err_code < RETRY_CLASSES && p->rules[-err_code].cap_ms)
        r = p->rules[-err_code];
    if (!r.max_attempts)
        r.max_attempts = p->max_attempts;
    return r;
}

int64_t retry_ceiling_ms(int attempt, const struct retry_rule *r)
{
    int64_t ms = r->base_ms;
    for (int i = 1; i < attempt && ms < r->cap_ms; i++)
        ms = ms > r->cap_ms / 2 ? r->cap_ms : ms * 2;
    return MIN(ms, r->cap_ms);
}

static int64_t draw(int64_t ceiling, enum retry_jitter jitter)
{
    switch (jitter) {
    case RETRY_JITTER_FULL:
        return random_below(ceiling + 1);
    case RETRY_JITTER_EQUAL:
        return ceiling - random_below(ceiling / 2 + 1);
    case RETRY_JITTER_NONE:
        break;
    }
    return ceiling;
}

/* The parts that are ours and not the job's: recording and rows. The engine's and the decoder's are the job's. */
static bool is_outage(enum pipeline_stage stage)
{
    return stage == STAGE_FETCH || stage == STAGE_STORE;
}

enum retry_verdict retry_decide(int err_code, enum pipeline_stage stage, int attempt, const struct retry_policy *p,
                                int64_t *ret_delay_ms)
{
    const struct retry_rule r = retry_rule_of(p, err_code);
    *ret_delay_ms = 0;
    switch ((enum err_code)err_code) {
    case ERR_LOST:
        return RETRY_DROP;
    case ERR_CANCELLED:
        return RETRY_BACK;
    case ERR_NOMEM:
    case ERR_BUSY:
    case ERR_TIMEOUT:
    case ERR_UNAVAILABLE:
    case ERR_UNCERTAIN:
    case ERR_CRASHED:
        if (is_outage(stage)) {
            /* Not at once: the outage would be met again, and again. */
            *ret_delay_ms = draw(r.base_ms, RETRY_JITTER_EQUAL);
            return RETRY_BACK;
        }
        if (attempt >= r.max_attempts)
            return RETRY_FAIL;
        *ret_delay_ms = draw(retry_ceiling_ms(attempt, &r), r.jitter);
        return RETRY_LATER;
    case ERR_OK:
    case ERR_INVALID:
    case ERR_NOT_FOUND:
    case ERR_CONFLICT:
    case ERR_TOO_LARGE:
    case ERR_CORRUPT:
    case ERR_UNSUPPORTED:
    case ERR_INTERNAL:
        break;
    }
    return RETRY_FAIL;
}
