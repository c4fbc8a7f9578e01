/* SPDX-License-Identifier: MIT */
/*
 * The chain of sources and the keys in use. The source that had keys first is remembered: a renewal asks only it, so
 * that a metadata service that is away for a moment does not make us somebody else. No request runs under the lock.
 */
#include "storage/s3_creds.h"

#include "base/clock.h"
#include "base/log.h"
#include "base/mem.h"
#include "base/str.h"
#include "base/thread.h"

#include <openssl/crypto.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* Renewed this long before their end: uploads that begin now have to be through by then. */
enum { EARLY_MS = 5 * 60 * 1000, AGAIN_MS = 10 * 1000 };

static const struct log_ctx lc = {.component = "storage"};

typedef int (*source_fn)(struct s3_keyset *ret, struct err *err);

static int from_environment(struct s3_keyset *ret, struct err *err)
{
    const char *access = s3_env("AWS_ACCESS_KEY_ID"), *secret = s3_env("AWS_SECRET_ACCESS_KEY");
    if (!access && !secret)
        return 0;
    if (!access || !secret)
        return err_set(err, ERR_INVALID, "%s is set without %s", access ? "AWS_ACCESS_KEY_ID" : "AWS_SECRET_ACCESS_KEY",
                       access ? "AWS_SECRET_ACCESS_KEY" : "AWS_ACCESS_KEY_ID");
    ret->access = xstrdup(access);
    ret->secret = xstrdup(secret);
    ret->token = xstrdup(s3_env("AWS_SESSION_TOKEN"));
    return 1;
}

static const struct {
    const char *name;
    source_fn fn;
    bool renews;
} sources[] = {
    {"the environment", from_environment, false},
    {"the AWS files", s3_creds_from_files, true},
    {"the container's role", s3_creds_from_container, true},
    {"the machine's role", s3_creds_from_machine, true},
};

struct s3_creds {
    bool given; /* by the settings: never asked for */
    pthread_mutex_t mu;
    pthread_cond_t changed;
    /* guarded by mu: */
    struct s3_keyset keys; /* access NULL: none yet */
    int source;            /* index of the one that had keys; -1: not known */
    bool renewing;
    int64_t not_before_ms; /* monotonic: no renewal before, while the keys still do */
    bool ended;            /* the server refused them */
};

const char *s3_env(const char *name)
{
    const char *v = getenv(name);
    return v && *v ? v : NULL;
}

static void wipe(char **s)
{
    if (*s)
        OPENSSL_cleanse(*s, strlen(*s));
    free(*s);
    *s = NULL;
}

void s3_keyset_clear(struct s3_keyset *k)
{
    wipe(&k->access);
    wipe(&k->secret);
    wipe(&k->token);
    k->until_ms = 0;
}

int s3_creds_new(const char *access, const char *secret, const char *token, struct s3_creds **ret, struct err *err)
{
    bool has_access = access && *access, has_secret = secret && *secret;
    if (has_access != has_secret)
        return err_set(err, ERR_INVALID, "s3_access_key and s3_secret_key go together: one of them is missing");
    struct s3_creds *c = xcalloc(1, sizeof *c);
    c->source = -1;
    c->given = has_access;
    if (has_access) {
        c->keys.access = xstrdup(access);
        c->keys.secret = xstrdup(secret);
        c->keys.token = token && *token ? xstrdup(token) : NULL;
    }
    pthread_mutex_init(&c->mu, NULL);
    cond_init(&c->changed);
    *ret = c;
    return 0;
}

void s3_creds_free(struct s3_creds *c)
{
    if (!c)
        return;
    s3_keyset_clear(&c->keys);
    pthread_cond_destroy(&c->changed);
    pthread_mutex_destroy(&c->mu);
    free(c);
}

/* Asks the sources, or the one that had keys before. */
static int ask(int *source, struct s3_keyset *ret, struct err *err)
{
    for (int i = *source < 0 ? 0 : *source; i < (int)ARRAY_LEN(sources); i++) {
        int rc = sources[i].fn(ret, err);
        if (rc < 0)
            return err_wrap(err, "S3 keys from %s", sources[i].name);
        if (rc > 0) {
            log_debug(&lc, "S3 keys come from %s", sources[i].name);
            *source = i;
            return 0;
        }
        if (*source >= 0)
            break;
    }
    return err_set(err, ERR_INVALID,
                   "no keys for S3: set s3_access_key and s3_secret_key, or give them in one of the usual ways of AWS "
                   "(environment, ~/.aws/credentials, role of the container or machine)");
}

static bool over(const struct s3_creds *c, int64_t margin_ms)
{
    return !c->keys.access || c->ended || (c->keys.until_ms && clock_wall_ms() >= c->keys.until_ms - margin_ms);
}

static void copy_locked(const struct s3_creds *c, struct s3_keyset *ret)
{
    ret->access = xstrdup(c->keys.access);
    ret->secret = xstrdup(c->keys.secret);
    ret->token = xstrdup(c->keys.token);
    ret->until_ms = c->keys.until_ms;
}

/* Fetches keys anew; called and returns with the lock held, which is free meanwhile. */
static int renew_locked(struct s3_creds *c, struct err *err)
{
    struct s3_keyset fresh = {0};
    int source = c->source;
    c->renewing = true;
    pthread_mutex_unlock(&c->mu);
    int rc = ask(&source, &fresh, err);
    pthread_mutex_lock(&c->mu);
    c->renewing = false;
    if (rc >= 0) {
        s3_keyset_clear(&c->keys);
        c->keys = fresh;
        c->source = source;
        c->ended = false;
    } else {
        s3_keyset_clear(&fresh);
    }
    /* A source that is away, or that hands out the same keys until shortly before their end. */
    c->not_before_ms = clock_mono_ms() + AGAIN_MS;
    pthread_cond_broadcast(&c->changed);
    return rc;
}

int s3_creds_get(struct s3_creds *c, struct s3_keyset *ret, struct err *err)
{
    int rc = 0;
    pthread_mutex_lock(&c->mu);
    while (!c->given && over(c, EARLY_MS)) {
        bool usable = !over(c, 0);
        if (usable && (c->renewing || clock_mono_ms() < c->not_before_ms))
            break;
        if (c->renewing) {
            cond_wait_ms(&c->changed, &c->mu, -1);
            continue;
        }
        rc = renew_locked(c, err);
        if (rc < 0 && usable && !over(c, 0)) {
            log_debug(&lc, "keys not renewed yet: %s", err->msg);
            rc = 0;
        }
        break; /* keys that end within the margin are all their source has: they do */
    }
    if (rc == 0 && over(c, 0) && !c->given)
        rc = err_set(err, ERR_UNAVAILABLE, "the keys for S3 have expired, and their source has no newer ones");
    if (rc == 0)
        copy_locked(c, ret);
    pthread_mutex_unlock(&c->mu);
    return rc;
}

bool s3_creds_expired(struct s3_creds *c, const struct s3_keyset *used)
{
    pthread_mutex_lock(&c->mu);
    bool renews = !c->given && c->source >= 0 && sources[c->source].renews;
    if (renews && c->keys.access && strcmp(c->keys.access, used->access) == 0 && str_eq(c->keys.token, used->token))
        c->ended = true;
    pthread_mutex_unlock(&c->mu);
    return renews;
}

int s3_creds_region(char ret[S3_REGION_SIZE], struct err *err)
{
    const char *v = s3_env("AWS_REGION");
    CLEANUP(free_p) char *profile = NULL;
    if (!v)
        v = s3_env("AWS_DEFAULT_REGION");
    if (!v) {
        int rc = s3_profile_value("region", &profile, err);
        if (rc < 0)
            return rc;
        v = profile;
    }
    if (strlen(v) >= S3_REGION_SIZE)
        return err_set(err, ERR_INVALID, "the S3 region has more than %d characters", S3_REGION_SIZE - 1);
    memcpy(ret, v, strlen(v) + 1);
    return 0;
}
