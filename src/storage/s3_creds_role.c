/* SPDX-License-Identifier: MIT */
/*
 * Keys of a role, from the two services that hand them out over HTTP inside a container or machine. Both answer with
 * the same JSON. They are a step away, so they get little time: without this limit, a start outside of Amazon's clouds
 * would wait for an address that nobody has.
 */
#include "base/clock.h"
#include "base/io.h"
#include "base/mem.h"
#include "base/str.h"
#include "storage/s3_creds.h"
#include "storage/s3_http.h"

#include <jansson.h>
#include <openssl/crypto.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#define MACHINE_SERVICE   "http://169.254.169.254"
#define CONTAINER_SERVICE "http://169.254.170.2"

enum { CONNECT_MS = 1000, SILENCE_MS = 5000, TRIES = 3, ANSWER_MAX = 64 << 10, TOKEN_MAX = 16 << 10 };

static void no_field(const char *name, const char *value, void *arg)
{
    (void)name;
    (void)value;
    (void)arg;
}

static int once(struct s3_http *http, const struct s3_http_request *q, struct buf *ret, int *ret_status,
                struct err *err)
{
    struct s3_http_call *call = NULL;
    bool lost;
    char piece[4096];
    ssize_t k;
    int rc = s3_http_begin(http, q, no_field, NULL, ret_status, &lost, &call, err);
    if (rc < 0)
        return rc;
    buf_reset(ret);
    while ((k = s3_http_read(call, piece, sizeof piece, err)) > 0)
        buf_add(ret, piece, (size_t)k);
    s3_http_end(call);
    return k < 0 ? (int)k : buf_check(ret, "an answer with keys", err);
}

/* The answer's text and status, after a few tries. */
static int get(struct s3_http *http, const char *method, const char *url, const struct s3_field *fields, size_t n,
               struct buf *ret, int *ret_status, struct err *err)
{
    const struct s3_http_request q = {.method = method, .url = url, .fields = fields, .n_fields = n};
    int rc = 0;
    for (int i = 1; i <= TRIES; i++) {
        rc = once(http, &q, ret, ret_status, err);
        if (rc >= 0 && *ret_status < 500 && *ret_status != 429)
            return 0;
        if (i < TRIES)
            clock_sleep_ms(100 * i);
    }
    return rc < 0 ? rc : err_set(err, ERR_UNAVAILABLE, "HTTP %d", *ret_status);
}

/* "2026-11-22T05:31:00Z" as wall clock; 0 when there is none. */
static int64_t parse_time(const char *text)
{
    struct tm tm = {0};
    return text && strptime(text, "%Y-%m-%dT%H:%M:%S", &tm) ? (int64_t)timegm(&tm) * 1000 : 0;
}

static int parse(const char *text, struct s3_keyset *ret, struct err *err)
{
    json_t *root = json_loads(text, 0, NULL);
    const char *access = json_string_value(json_object_get(root, "AccessKeyId"));
    const char *secret = json_string_value(json_object_get(root, "SecretAccessKey"));
    const char *token = json_string_value(json_object_get(root, "Token"));
    int rc = 1;
    if (access && *access && secret && *secret) {
        ret->access = xstrdup(access);
        ret->secret = xstrdup(secret);
        ret->token = token && *token ? xstrdup(token) : NULL;
        ret->until_ms = parse_time(json_string_value(json_object_get(root, "Expiration")));
    } else {
        rc = err_set(err, ERR_UNAVAILABLE, "the answer holds no keys");
    }
    json_decref(root);
    return rc;
}

static int open_http(struct s3_http **ret, struct err *err)
{
    const struct s3_http_opts o = {.connect_ms = CONNECT_MS, .silence_ms = SILENCE_MS, .direct = true};
    return s3_http_new(&o, ret, err);
}

/* ---- containers ---- */

/* Keys go over plain HTTP only to this machine and to the addresses on its own link that such services have. */
static bool may_be_asked(const char *url)
{
    static const char *const hosts[] = {"localhost",     "127.0.0.1",      "[::1]",
                                        "169.254.170.2", "169.254.170.23", "[fd00:ec2::23]"};
    if (str_starts(url, "https://"))
        return true;
    if (!str_starts(url, "http://"))
        return false;
    url += strlen("http://");
    for (size_t i = 0; i < ARRAY_LEN(hosts); i++) {
        size_t n = strlen(hosts[i]);
        if (strncmp(url, hosts[i], n) != 0 || strchr(url, '@'))
            continue;
        if (url[n] == '/' || url[n] == '\0' || (url[n] == ':' && url[n + 1 + strspn(url + n + 1, "0123456789")] == '/'))
            return true;
    }
    return false;
}

/* The word to show the service: from a file that is renewed now and then, or from the environment. */
static int authorization(char **ret, struct err *err)
{
    const char *file = s3_env("AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE");
    if (!file) {
        *ret = xstrdup(s3_env("AWS_CONTAINER_AUTHORIZATION_TOKEN"));
        return 0;
    }
    int rc = io_read_file(file, TOKEN_MAX, ret, NULL, err);
    if (rc < 0)
        return err_wrap(err, "AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE");
    (*ret)[strcspn(*ret, "\r\n")] = '\0';
    return 0;
}

int s3_creds_from_container(struct s3_keyset *ret, struct err *err)
{
    const char *relative = s3_env("AWS_CONTAINER_CREDENTIALS_RELATIVE_URI");
    const char *full = s3_env("AWS_CONTAINER_CREDENTIALS_FULL_URI");
    if (!relative && !full)
        return 0;
    CLEANUP(free_p) char *url = relative ? xasprintf("%s%s", CONTAINER_SERVICE, relative) : xstrdup(full);
    CLEANUP(free_p) char *word = NULL;
    if (!may_be_asked(url))
        return err_set(err, ERR_INVALID,
                       "AWS_CONTAINER_CREDENTIALS_FULL_URI names neither https nor an address of this machine");
    int rc = authorization(&word, err);
    if (rc < 0)
        return rc;
    struct s3_http *http = NULL;
    rc = open_http(&http, err);
    if (rc < 0)
        return rc;
    struct buf answer = BUF_INIT(ANSWER_MAX);
    const struct s3_field field = {"Authorization", word};
    int status = 0;
    rc = get(http, "GET", url, &field, word ? 1 : 0, &answer, &status, err);
    if (rc >= 0)
        rc = status == 200 ? parse(buf_str(&answer), ret, err)
                           : err_set(err, ERR_UNAVAILABLE, "the service answers HTTP %d", status);
    if (answer.data)
        OPENSSL_cleanse(answer.data, answer.len);
    buf_clear(&answer);
    s3_http_free(http);
    return rc;
}

/* ---- machines ---- */

/* A session token first (version 2 of the service), then the role's name, then its keys. */
static int ask_machine(struct s3_http *http, const char *service, struct buf *answer, struct s3_keyset *ret,
                       struct err *err)
{
    const struct s3_field ttl = {"X-aws-ec2-metadata-token-ttl-seconds", "21600"};
    int status = 0;
    CLEANUP(free_p) char *url = xasprintf("%s/latest/api/token", service);
    const struct s3_http_request begin = {.method = "PUT", .url = url, .fields = &ttl, .n_fields = 1};
    /* Asked once: elsewhere than in Amazon's clouds nobody is there, and that is no error. */
    if (once(http, &begin, answer, &status, err) < 0 || status == 403 || status == 404 || status == 405)
        return 0;
    if (status != 200 || !answer->len)
        return err_set(err, ERR_UNAVAILABLE, "the metadata service answers HTTP %d", status);
    CLEANUP(free_p) char *session = buf_take(answer);
    const struct s3_field field = {"X-aws-ec2-metadata-token", session};
    CLEANUP(free_p) char *roles = xasprintf("%s/latest/meta-data/iam/security-credentials/", service);
    int rc = get(http, "GET", roles, &field, 1, answer, &status, err);
    if (rc < 0)
        return rc;
    if (status == 404)
        return 0; /* a machine without a role */
    CLEANUP(free_p) char *role = buf_take(answer);
    if (role)
        role[strcspn(role, "\r\n")] = '\0';
    if (status != 200 || !role || !*role || strpbrk(role, "/?#% "))
        return err_set(err, ERR_UNAVAILABLE, "the metadata service names no role (HTTP %d)", status);
    CLEANUP(free_p) char *keys = xasprintf("%s%s", roles, role);
    rc = get(http, "GET", keys, &field, 1, answer, &status, err);
    if (rc < 0)
        return rc;
    return status == 200 ? parse(buf_str(answer), ret, err)
                         : err_set(err, ERR_UNAVAILABLE, "the metadata service answers HTTP %d", status);
}

int s3_creds_from_machine(struct s3_keyset *ret, struct err *err)
{
    const char *off = s3_env("AWS_EC2_METADATA_DISABLED"), *other = s3_env("AWS_EC2_METADATA_SERVICE_ENDPOINT");
    if (off && str_ieq(off, "true"))
        return 0;
    CLEANUP(free_p) char *service = xstrdup(other ? other : MACHINE_SERVICE);
    size_t n = strlen(service);
    if (n && service[n - 1] == '/')
        service[n - 1] = '\0';
    struct s3_http *http = NULL;
    int rc = open_http(&http, err);
    if (rc < 0)
        return rc;
    struct buf answer = BUF_INIT(ANSWER_MAX);
    rc = ask_machine(http, service, &answer, ret, err);
    if (answer.data)
        OPENSSL_cleanse(answer.data, answer.len);
    buf_clear(&answer);
    s3_http_free(http);
    return rc;
}
