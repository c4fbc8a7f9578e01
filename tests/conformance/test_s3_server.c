/* SPDX-License-Identifier: MIT */
/*
 * What only a real S3 server can say: are our signatures and links right, are wrong keys refused, is a missing bucket
 * made, are many unfinished uploads swept, does TLS work? store_open.h says which server. With
 * STENO_TEST_S3_TLS_ENDPOINT and STENO_TEST_S3_CA also over https.
 */
#include "store_open.h"

#include "base/clock.h"
#include "base/id.h"
#include "base/mem.h"
#include "base/str.h"
#include "storage/s3.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "checks.h"

static struct storage *store;

static void ignore(const char *name, const char *value, void *arg)
{
    (void)name;
    (void)value;
    (void)arg;
}

/* One request as any client would make it; the status, and the answer in `ret`. */
static int ask(const char *method, const char *url, const char *body, struct buf *ret)
{
    const struct s3_http_opts o = {.connect_ms = 5000, .silence_ms = 20000};
    const struct s3_http_request q = {
        .method = method, .url = url, .body = {.data = body, .size = (int64_t)strlen(body)}};
    struct s3_http *http = NULL;
    struct s3_http_call *call = NULL;
    struct err err = ERR_INIT;
    int status = 0;
    bool lost;
    char piece[1000];
    ok(s3_http_new(&o, &http, e));
    ok(s3_http_begin(http, &q, ignore, NULL, &status, &lost, &call, e));
    buf_reset(ret);
    for (ssize_t k; (k = s3_http_read(call, piece, sizeof piece, &err)) > 0;)
        buf_add(ret, piece, (size_t)k);
    s3_http_end(call);
    s3_http_free(http);
    return status;
}

static void test_links(void **state)
{
    (void)state;
    static const char *const keys[] = {"plain.mp3", "a b/grün+(1) 100%.mp3", "q?x=1&y=#2", "~!*'\"<>"};
    CLEANUP(buf_clear) struct buf got = BUF_INIT(10000);
    for (size_t i = 0; i < ARRAY_LEN(keys); i++) {
        CLEANUP(free_p) char *put = NULL, *get = NULL, *text = NULL;
        int64_t until = 0;
        ok(storage_presign(store, STORAGE_PRESIGN_PUT, keys[i], NULL, 60, &put, &until, e));
        ok(storage_presign(store, STORAGE_PRESIGN_GET, keys[i], NULL, 60, &get, NULL, e));
        assert_int_equal(ask("GET", get, "", &got), 404);
        assert_int_equal(ask("PUT", put, "by link", &got), 200);
        assert_int_equal(ask("GET", get, "", &got), 200);
        assert_string_equal(buf_str(&got), "by link");
        ok(storage_get_bytes(store, keys[i], 100, &text, NULL, e));
        assert_string_equal(text, "by link");
        /* A link is for one method and one object, and none without its signature. */
        assert_int_equal(ask("PUT", get, "x", &got), 403);
        assert_int_equal(ask("DELETE", put, "", &got), 403);
        *strstr(get, "X-Amz-Signature=") = '\0';
        assert_int_equal(ask("GET", get, "", &got), 403);
    }
}

/* What was there when somebody looked, or nothing. */
static void test_only_the_object_with_an_etag(void **state)
{
    (void)state;
    struct object_info before, after;
    char folder[] = "/tmp/steno-etag-XXXXXX", text[64];
    CLEANUP(free_p) char *sum = NULL;
    assert_non_null(mkdtemp(folder));
    CLEANUP(free_p) char *path = xasprintf("%s/object", folder);
    ok(storage_put_bytes(store, "pinned", "first", 5, e));
    ok(storage_stat(store, "pinned", &before, e));
    assert_true(strlen(before.etag) > 2 && before.etag[0] == '"');
    sum = xasprintf(STORAGE_ETAG_PREFIX "%s", before.etag);
    ok(storage_fetch_checked(store, "pinned", sum, path, e));
    FILE *f = fopen(path, "r");
    assert_non_null(f);
    assert_non_null(fgets(text, sizeof text, f));
    assert_int_equal(fclose(f), 0);
    assert_string_equal(text, "first");
    assert_int_equal(unlink(path), 0);

    ok(storage_put_bytes(store, "pinned", "other", 5, e));
    ok(storage_stat(store, "pinned", &after, e));
    assert_string_not_equal(before.etag, after.etag);
    struct err err = ERR_INIT;
    assert_int_equal(storage_fetch_checked(store, "pinned", sum, path, &err), ERR_CORRUPT);
    assert_non_null(strstr(err.msg, "replaced"));
    assert_int_equal(access(path, F_OK), -1);
    assert_int_equal(rmdir(folder), 0);
}

static void test_links_end(void **state)
{
    (void)state;
    CLEANUP(buf_clear) struct buf got = BUF_INIT(10000);
    CLEANUP(free_p) char *get = NULL;
    ok(storage_put_bytes(store, "ends", "x", 1, e));
    ok(storage_presign(store, STORAGE_PRESIGN_GET, "ends", NULL, 1, &get, NULL, e));
    int status = 200;
    for (int i = 0; i < 100 && status == 200; i++) {
        clock_sleep_ms(100);
        status = ask("GET", get, "", &got);
    }
    assert_int_equal(status, 403);
}

static void refuses(struct storage_s3_opts s3, const char *why)
{
    struct storage_opts o;
    struct storage_s3_opts good;
    struct storage *s = NULL;
    struct err err = ERR_INIT;
    store_s3_opts(&o, &good, "server");
    s3.endpoint = s3.endpoint ? s3.endpoint : good.endpoint;
    s3.region = good.region;
    o.s3 = &s3;
    int rc = storage_open_with(&o, &s, &err);
    if (rc != ERR_INVALID || !strstr(err.msg, why))
        fail_msg("%s: %s", err_name(rc), err.msg);
}

static void test_wrong_keys(void **state)
{
    (void)state;
    refuses((struct storage_s3_opts){.access_key = "nobody", .secret_key = "x"}, "check s3_access_key");
    refuses((struct storage_s3_opts){.access_key = store_env("STENO_TEST_S3_ACCESS_KEY"), .secret_key = "wrong"},
            "check s3_secret_key");
}

static void test_a_missing_bucket_is_made(void **state)
{
    (void)state;
    struct storage_opts o;
    struct storage_s3_opts s3;
    char url[100], id[ID_SIZE];
    id_new(id);
    store_s3_opts(&o, &s3, "server");
    snprintf(url, sizeof url, "s3://steno-%s", id);
    o.url = url;
    for (int i = 0; i < 2; i++) {
        struct storage *s = NULL;
        ok(storage_open_with(&o, &s, e));
        ok(storage_put_bytes(s, "x", "y", 1, e));
        ok(storage_delete(s, "x", e));
        const struct s3_ask gone = {.method = "DELETE"};
        struct s3_answer answer = S3_ANSWER_INIT;
        if (i == 1)
            ok(s3_send(s3_of(s), &gone, &answer, NULL, e));
        s3_answer_clear(&answer);
        storage_close(s);
    }
}

static void test_unfinished_uploads_are_swept(void **state)
{
    (void)state;
    enum { UPLOADS = 12 };
    static char mb[1 << 20];
    struct storage_put *puts[UPLOADS];
    for (int i = 0; i < UPLOADS; i++) {
        char key[40];
        snprintf(key, sizeof key, "left/%d/x y.mp3", i);
        ok(storage_put_begin(store, key, &puts[i], e));
        for (int k = 0; k < 6; k++)
            ok(storage_put_write(puts[i], mb, sizeof mb, e));
    }
    int removed = -1;
    ok(storage_sweep(store, clock_wall_ms() - 3600000, &removed, e));
    assert_int_equal(removed, 0);
    ok(storage_sweep(store, clock_wall_ms() + 3600000, &removed, e));
    assert_int_equal(removed, UPLOADS);
    struct err err = ERR_INIT;
    assert_int_equal(storage_put_commit(puts[0], NULL, &err), ERR_UNAVAILABLE);
    assert_non_null(strstr(err.msg, "given up this upload"));
    for (int i = 1; i < UPLOADS; i++)
        storage_put_abort(puts[i]);
}

static void test_tls(void **state)
{
    (void)state;
    const char *endpoint = store_env("STENO_TEST_S3_TLS_ENDPOINT"), *ca = store_env("STENO_TEST_S3_CA");
    if (!endpoint || !ca)
        skip();
    struct storage_opts o;
    struct storage_s3_opts s3;
    struct storage *s = NULL;
    char *text = NULL;
    store_s3_opts(&o, &s3, "tls");
    s3.endpoint = endpoint;
    s3.ca_file = ca;
    ok(storage_open_with(&o, &s, e));
    ok(storage_put_bytes(s, "x", "over TLS", 8, e));
    ok(storage_get_bytes(s, "x", 100, &text, NULL, e));
    assert_string_equal(text, "over TLS");
    ok(storage_delete(s, "x", e));
    free(text);
    storage_close(s);
    s3.ca_file = NULL;
    refuses(s3, "set s3_ca_file");
}

static int open_store(void **state)
{
    (void)state;
    struct storage_opts o;
    struct storage_s3_opts s3;
    struct err err = ERR_INIT;
    store_s3_opts(&o, &s3, "server");
    int rc = storage_open_with(&o, &store, &err);
    if (rc < 0)
        print_error("%s\n", err.msg);
    return rc;
}

static int remove_one(const char *key, const struct object_info *info, void *arg, struct err *err)
{
    (void)info;
    (void)arg;
    return storage_delete(store, key, err);
}

static int close_store(void **state)
{
    (void)state;
    struct err err = ERR_INIT;
    int rc = storage_list(store, "", remove_one, NULL, &err);
    storage_close(store);
    return rc;
}

int main(int argc, char **argv)
{
    if (store_skip(argc, argv, "S3 server"))
        return 0;
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_links),
        cmocka_unit_test(test_only_the_object_with_an_etag),
        cmocka_unit_test(test_links_end),
        cmocka_unit_test(test_wrong_keys),
        cmocka_unit_test(test_a_missing_bucket_is_made),
        cmocka_unit_test(test_unfinished_uploads_are_swept),
        cmocka_unit_test(test_tls),
    };
    return cmocka_run_group_tests(tests, open_store, close_store);
}
