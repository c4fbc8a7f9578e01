/* SPDX-License-Identifier: MIT */
/*
 * Where S3 keys come from: environment, files, and the two services, which a small server here plays as Amazon
 * documents them (IMDSv2: a session token by PUT, without it 401; containers: the Authorization word).
 */
#include "web_server.h"

#include "base/clock.h"
#include "base/io.h"
#include "base/mem.h"
#include "base/str.h"
#include "base/thread.h"
#include "storage/s3_creds.h"
#include "storage/storage.h"

#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "checks.h"

static const char *const variables[] = {
    "AWS_ACCESS_KEY_ID",
    "AWS_SECRET_ACCESS_KEY",
    "AWS_SESSION_TOKEN",
    "AWS_PROFILE",
    "AWS_SHARED_CREDENTIALS_FILE",
    "AWS_CONFIG_FILE",
    "AWS_REGION",
    "AWS_DEFAULT_REGION",
    "AWS_CONTAINER_CREDENTIALS_RELATIVE_URI",
    "AWS_CONTAINER_CREDENTIALS_FULL_URI",
    "AWS_CONTAINER_AUTHORIZATION_TOKEN",
    "AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE",
    "AWS_EC2_METADATA_SERVICE_ENDPOINT",
    "AWS_EC2_METADATA_DISABLED",
    "AWS_ENDPOINT_URL",
    "AWS_ENDPOINT_URL_S3",
};

struct place {
    char folder[64];
    struct web_server *server;
    /* What the services do. */
    bool no_role, no_service, broken;
    int64_t lasts_ms;    /* of the keys, from now */
    const char *word;    /* that the container's service wants to see */
    atomic_uint fetched; /* how often keys were handed out */
};

static bool answer_keys(struct place *p, const struct web_request *q)
{
    char until[TIME_ISO_SIZE];
    time_iso(clock_wall_ms() + p->lasts_ms, until);
    unsigned n = atomic_fetch_add(&p->fetched, 1) + 1;
    CLEANUP(free_p)
    char *body =
        xasprintf("{\"Code\": \"Success\", \"Type\": \"AWS-HMAC\", \"AccessKeyId\": \"ROLE%u\", \"SecretAccessKey\": "
                  "\"geheim%u\", \"Token\": \"token%u\", \"Expiration\": \"%.19sZ\"}",
                  n, n, n, until);
    return web_answer(q, 200, "", body, strlen(body));
}

static bool on_request(const struct web_request *q, void *arg)
{
    struct place *p = arg;
    if (p->no_service)
        return web_answer(q, 404, "", "", 0);
    if (p->broken)
        return web_answer(q, 500, "", "", 0);
    if (strcmp(q->target, "/latest/api/token") == 0)
        return strcmp(q->method, "PUT") == 0 && web_has(q, "X-aws-ec2-metadata-token-ttl-seconds", NULL)
                   ? web_answer(q, 200, "", "session-1", 9)
                   : web_answer(q, 400, "", "", 0);
    if (str_starts(q->target, "/latest/meta-data/iam/security-credentials/")) {
        if (strcmp(q->method, "GET") != 0 || !web_has(q, "X-aws-ec2-metadata-token", "session-1"))
            return web_answer(q, 401, "", "", 0);
        if (p->no_role)
            return web_answer(q, 404, "", "", 0);
        return str_ends(q->target, "/my-role") ? answer_keys(p, q) : web_answer(q, 200, "", "my-role\n", 8);
    }
    if (strcmp(q->target, "/container/keys?x=1") == 0) {
        if (p->word && !web_has(q, "Authorization", p->word))
            return web_answer(q, 403, "", "", 0);
        return answer_keys(p, q);
    }
    return web_answer(q, 404, "", "", 0);
}

static void use_machine(const struct place *p)
{
    char url[64];
    snprintf(url, sizeof url, "http://127.0.0.1:%d/", web_server_port(p->server));
    setenv("AWS_EC2_METADATA_SERVICE_ENDPOINT", url, 1);
    unsetenv("AWS_EC2_METADATA_DISABLED");
}

static void use_container(const struct place *p)
{
    char url[64];
    snprintf(url, sizeof url, "http://127.0.0.1:%d/container/keys?x=1", web_server_port(p->server));
    setenv("AWS_CONTAINER_CREDENTIALS_FULL_URI", url, 1);
}

static void put_file(const struct place *p, const char *name, const char *variable, const char *text)
{
    CLEANUP(free_p) char *path = xasprintf("%s/%s", p->folder, name);
    CLEANUP(close_fd) int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
    assert_true(fd >= 0);
    ok(io_write_all(fd, text, strlen(text), e));
    if (variable)
        setenv(variable, path, 1);
}

static int setup(void **state)
{
    struct place *p = calloc(1, sizeof *p);
    struct err err = ERR_INIT;
    if (!p)
        return -1;
    for (size_t i = 0; i < ARRAY_LEN(variables); i++)
        unsetenv(variables[i]);
    snprintf(p->folder, sizeof p->folder, "/tmp/steno-test-XXXXXX");
    p->lasts_ms = 3600000;
    if (!mkdtemp(p->folder) || web_server_start(on_request, p, &p->server, &err) < 0)
        return -1;
    setenv("HOME", p->folder, 1);
    setenv("AWS_EC2_METADATA_DISABLED", "true", 1);
    *state = p;
    return 0;
}

static int teardown(void **state)
{
    struct place *p = *state;
    struct err err = ERR_INIT;
    web_server_stop(p->server);
    int rc = io_remove_tree(p->folder, &err);
    free(p);
    return rc;
}

static void assert_keys(struct s3_creds *c, const char *access, const char *secret, const char *token)
{
    struct s3_keyset k = {0};
    ok(s3_creds_get(c, &k, e));
    assert_string_equal(k.access, access);
    assert_string_equal(k.secret, secret);
    assert_true(str_eq(k.token, token));
    s3_keyset_clear(&k);
}

/* What a fresh start finds. */
static void assert_finds(const char *access, const char *secret, const char *token)
{
    struct s3_creds *c = NULL;
    ok(s3_creds_new(NULL, "", NULL, &c, e));
    assert_keys(c, access, secret, token);
    s3_creds_free(c);
}

static void assert_finds_none(int class, const char *why)
{
    struct s3_creds *c = NULL;
    struct s3_keyset k = {0};
    struct err err = ERR_INIT;
    ok(s3_creds_new(NULL, NULL, NULL, &c, e));
    int rc = s3_creds_get(c, &k, &err);
    if (rc != class || !strstr(err.msg, why) || strstr(err.msg, "geheim"))
        fail_msg("%s \"%s\"", err_name(rc), err.msg);
    s3_creds_free(c);
}

static void test_nothing_anywhere(void **state)
{
    (void)state;
    assert_finds_none(ERR_INVALID, "set s3_access_key and s3_secret_key");
}

static void test_settings_win(void **state)
{
    (void)state;
    setenv("AWS_ACCESS_KEY_ID", "ENV", 1);
    setenv("AWS_SECRET_ACCESS_KEY", "geheim-env", 1);
    struct s3_creds *c = NULL;
    ok(s3_creds_new("SET", "geheim-set", "", &c, e));
    assert_keys(c, "SET", "geheim-set", NULL);
    struct s3_keyset k = {0};
    ok(s3_creds_get(c, &k, e));
    assert_false(s3_creds_expired(c, &k)); /* they are what they are */
    s3_keyset_clear(&k);
    assert_keys(c, "SET", "geheim-set", NULL);
    s3_creds_free(c);
}

static void test_environment(void **state)
{
    struct place *p = *state;
    put_file(p, "credentials", "AWS_SHARED_CREDENTIALS_FILE",
             "[default]\naws_access_key_id=FILE\naws_secret_access_key=geheim-file\n");
    setenv("AWS_ACCESS_KEY_ID", "ENV", 1);
    assert_finds_none(ERR_INVALID, "without AWS_SECRET_ACCESS_KEY");
    setenv("AWS_SECRET_ACCESS_KEY", "geheim-env", 1);
    assert_finds("ENV", "geheim-env", NULL);
    setenv("AWS_SESSION_TOKEN", "geheim-token", 1);
    assert_finds("ENV", "geheim-env", "geheim-token");
    setenv("AWS_ACCESS_KEY_ID", "", 1);
    setenv("AWS_SECRET_ACCESS_KEY", "", 1);
    assert_finds("FILE", "geheim-file", NULL);
}

static void test_files(void **state)
{
    struct place *p = *state;
    CLEANUP(free_p) char *aws = xasprintf("%s/.aws", p->folder);
    ok(io_mkdir_p(aws, e));
    put_file(p, ".aws/credentials", NULL,
             "# mine\n[other]\naws_access_key_id = OTHER\naws_secret_access_key = geheim=2/+\naws_session_token = t==\n"
             "\n[ default ]\r\n  aws_access_key_id = NESTED\naws_access_key_id = "
             "FIRST\r\naws_secret_access_key\t=\tgeheim1\r\n"
             "[half]\naws_access_key_id = HALF\n");
    put_file(
        p, ".aws/config", NULL,
        "[default]\nregion = eu-west-3\n[profile other]\nregion=eu-central-1\n[profile third]\naws_access_key_id = "
        "THIRD\naws_secret_access_key = geheim3\ns3 =\n  aws_access_key_id = NO\n");
    assert_finds("FIRST", "geheim1", NULL);
    char region[S3_REGION_SIZE] = "";
    ok(s3_creds_region(region, e));
    assert_string_equal(region, "eu-west-3");
    setenv("AWS_PROFILE", "other", 1);
    assert_finds("OTHER", "geheim=2/+", "t==");
    ok(s3_creds_region(region, e));
    assert_string_equal(region, "eu-central-1");
    setenv("AWS_DEFAULT_REGION", "us-west-1", 1);
    ok(s3_creds_region(region, e));
    assert_string_equal(region, "us-west-1");
    setenv("AWS_REGION", "us-west-2", 1);
    ok(s3_creds_region(region, e));
    assert_string_equal(region, "us-west-2");
    setenv("AWS_PROFILE", "third", 1);
    assert_finds("THIRD", "geheim3", NULL);
    setenv("AWS_PROFILE", "half", 1);
    assert_finds_none(ERR_INVALID, "only one of");
    setenv("AWS_PROFILE", "typo", 1);
    assert_finds_none(ERR_INVALID, "profile 'typo'");
}

static void test_container(void **state)
{
    struct place *p = *state;
    use_container(p);
    assert_finds("ROLE1", "geheim1", "token1");
    p->word = "Bearer xyz";
    assert_finds_none(ERR_UNAVAILABLE, "HTTP 403");
    setenv("AWS_CONTAINER_AUTHORIZATION_TOKEN", "Bearer xyz", 1);
    assert_finds("ROLE2", "geheim2", "token2");
    p->word = "Bearer from-file";
    put_file(p, "word", "AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE", "Bearer from-file\n");
    assert_finds("ROLE3", "geheim3", "token3");
    /* Keys are not fetched over a line that others may read. */
    setenv("AWS_CONTAINER_CREDENTIALS_FULL_URI", "http://example.com/keys", 1);
    assert_finds_none(ERR_INVALID, "neither https nor");
    setenv("AWS_CONTAINER_CREDENTIALS_FULL_URI", "http://127.example.com/keys", 1);
    assert_finds_none(ERR_INVALID, "neither https nor");
    setenv("AWS_CONTAINER_CREDENTIALS_FULL_URI", "http://localhost.example.com/keys", 1);
    assert_finds_none(ERR_INVALID, "neither https nor");
    setenv("AWS_CONTAINER_CREDENTIALS_FULL_URI", "http://127.0.0.1@example.com/keys", 1);
    assert_finds_none(ERR_INVALID, "neither https nor");
}

static void test_machine(void **state)
{
    struct place *p = *state;
    use_machine(p);
    assert_finds("ROLE1", "geheim1", "token1");
    p->no_role = true;
    assert_finds_none(ERR_INVALID, "no keys for S3");
    p->no_role = false;
    p->no_service = true;
    assert_finds_none(ERR_INVALID, "no keys for S3");
    p->no_service = false;
    setenv("AWS_EC2_METADATA_DISABLED", "true", 1);
    assert_finds_none(ERR_INVALID, "no keys for S3");
    assert_int_equal(atomic_load(&p->fetched), 1);
}

static void test_keys_are_fetched_once_and_again_before_their_end(void **state)
{
    struct place *p = *state;
    struct s3_creds *c = NULL;
    use_machine(p);
    ok(s3_creds_new(NULL, NULL, NULL, &c, e));
    for (int i = 0; i < 5; i++)
        assert_keys(c, "ROLE1", "geheim1", "token1");
    assert_int_equal(atomic_load(&p->fetched), 1);
    s3_creds_free(c);

    /* These end before the margin: they do, and are asked for again, though not each time. */
    p->lasts_ms = 120000;
    ok(s3_creds_new(NULL, NULL, NULL, &c, e));
    assert_keys(c, "ROLE2", "geheim2", "token2");
    for (int i = 0; i < 5; i++)
        assert_keys(c, "ROLE2", "geheim2", "token2");
    assert_int_equal(atomic_load(&p->fetched), 2);
    s3_creds_free(c);

    /* These have ended: no request is signed with them. */
    p->lasts_ms = -1000;
    ok(s3_creds_new(NULL, NULL, NULL, &c, e));
    struct s3_keyset k = {0};
    struct err err = ERR_INIT;
    assert_int_equal(s3_creds_get(c, &k, &err), ERR_UNAVAILABLE);
    assert_non_null(strstr(err.msg, "expired"));
    p->lasts_ms = 3600000;
    assert_keys(c, "ROLE4", "geheim4", "token4");
    s3_creds_free(c);
}

static void test_keys_that_the_server_refuses_are_fetched_anew(void **state)
{
    struct place *p = *state;
    struct s3_creds *c = NULL;
    struct s3_keyset old = {0};
    use_container(p);
    ok(s3_creds_new(NULL, NULL, NULL, &c, e));
    ok(s3_creds_get(c, &old, e));
    assert_true(s3_creds_expired(c, &old));
    assert_keys(c, "ROLE2", "geheim2", "token2");
    assert_true(s3_creds_expired(c, &old)); /* somebody else's late answer about the old ones */
    assert_keys(c, "ROLE2", "geheim2", "token2");
    s3_keyset_clear(&old);
    /* The same source or none: another one would make us somebody else. */
    ok(s3_creds_get(c, &old, e));
    assert_true(s3_creds_expired(c, &old));
    use_machine(p);
    unsetenv("AWS_CONTAINER_CREDENTIALS_FULL_URI");
    struct err err = ERR_INIT;
    struct s3_keyset k = {0};
    assert_int_equal(s3_creds_get(c, &k, &err), ERR_INVALID);
    s3_keyset_clear(&old);
    s3_creds_free(c);
}

static void test_a_service_that_is_away(void **state)
{
    struct place *p = *state;
    use_container(p);
    p->broken = true;
    assert_finds_none(ERR_UNAVAILABLE, "HTTP 500");
    /* Keys that still last go on being used. */
    p->broken = false;
    p->lasts_ms = 120000;
    struct s3_creds *c = NULL;
    ok(s3_creds_new(NULL, NULL, NULL, &c, e));
    assert_keys(c, "ROLE1", "geheim1", "token1");
    p->broken = true;
    assert_keys(c, "ROLE1", "geheim1", "token1");
    s3_creds_free(c);
}

static void *get_some(void *arg)
{
    for (int i = 0; i < 50; i++) {
        struct s3_keyset k = {0};
        struct err err = ERR_INIT;
        if (s3_creds_get(arg, &k, &err) < 0)
            abort();
        s3_keyset_clear(&k);
    }
    return NULL;
}

static void test_threads_share_one_fetch(void **state)
{
    struct place *p = *state;
    struct s3_creds *c = NULL;
    pthread_t t[16];
    use_machine(p);
    ok(s3_creds_new(NULL, NULL, NULL, &c, e));
    for (size_t i = 0; i < ARRAY_LEN(t); i++)
        ok(thread_start(&t[i], "creds", get_some, c, e));
    for (size_t i = 0; i < ARRAY_LEN(t); i++)
        pthread_join(t[i], NULL);
    assert_int_equal(atomic_load(&p->fetched), 1);
    s3_creds_free(c);
}

/* ---- a store with keys of a role ---- */

struct bucket {
    bool ended; /* the first keys are refused */
    unsigned asked;
    char seen[4][2048]; /* the token of each request */
};

static bool on_bucket(const struct web_request *q, void *arg)
{
    struct bucket *b = arg;
    web_header(q, "x-amz-security-token", b->seen[b->asked % 4], sizeof *b->seen);
    b->asked++;
    static const char refused[] = "<Error><Code>ExpiredToken</Code></Error>";
    if (b->ended && web_has(q, "x-amz-security-token", "token1"))
        return web_answer(q, 400, "", refused, strlen(refused));
    return web_answer(q, 200, "", "<ListBucketResult/>", 19);
}

static void test_a_store_renews_its_keys(void **state)
{
    struct place *p = *state;
    struct bucket b = {.ended = false};
    struct web_server *server = NULL;
    ok(web_server_start(on_bucket, &b, &server, e));
    use_machine(p);
    char endpoint[64];
    snprintf(endpoint, sizeof endpoint, "http://127.0.0.1:%d", web_server_port(server));
    setenv("AWS_ENDPOINT_URL_S3", endpoint, 1);
    struct storage *s = NULL;
    ok(storage_open("s3://bucket", &s, e));
    b.ended = true;
    int64_t ms, bytes;
    ok(storage_ping(s, &ms, &bytes, e));
    assert_int_equal(b.asked, 3);
    assert_string_equal(b.seen[0], "token1");
    assert_string_equal(b.seen[1], "token1");
    assert_string_equal(b.seen[2], "token2");
    /* A link ends with its keys. */
    char *url = NULL;
    int64_t until = 0;
    ok(storage_presign(s, STORAGE_PRESIGN_GET, "k", NULL, 7200, &url, &until, e));
    assert_true(until <= clock_wall_ms() + p->lasts_ms);
    assert_non_null(strstr(url, "X-Amz-Security-Token=token2"));
    free(url);
    storage_close(s);
    web_server_stop(server);
}

int main(void)
{
#define with_place(f) cmocka_unit_test_setup_teardown(f, setup, teardown)
    const struct CMUnitTest tests[] = {
        with_place(test_nothing_anywhere),
        with_place(test_settings_win),
        with_place(test_environment),
        with_place(test_files),
        with_place(test_container),
        with_place(test_machine),
        with_place(test_keys_are_fetched_once_and_again_before_their_end),
        with_place(test_keys_that_the_server_refuses_are_fetched_anew),
        with_place(test_a_service_that_is_away),
        with_place(test_threads_share_one_fetch),
        with_place(test_a_store_renews_its_keys),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
