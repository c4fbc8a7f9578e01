/* SPDX-License-Identifier: MIT */
/*
 * The signer against numbers that are not ours: the examples of Amazon's S3 reference ("Authenticating Requests: Using
 * the Authorization Header", "... Query Parameters") and of its signature test suite (service "service").
 */
#include "storage/s3_sign.h"

#include "base/str.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#define EMPTY "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"

enum { S3_DAY = 1369353600 /* 2013-05-24 */, SUITE_TIME = 1440938160 /* 2015-08-30 12:36:00 */ };

static const struct s3_keys s3_keys = {"AKIAIOSFODNN7EXAMPLE", "wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY", NULL};
static const struct s3_keys suite_keys = {"AKIDEXAMPLE", "wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY", NULL};

static const struct vector {
    const char *name;
    bool suite; /* the test suite's keys, time and service; else those of the S3 reference */
    struct s3_signable q;
    struct s3_field fields[S3_FIELDS_MAX];
    const char *signed_names, *signature;
} vectors[] = {
    {"S3: get object",
     false,
     {"GET", "/test.txt", "", NULL, 4, EMPTY},
     {{"host", "examplebucket.s3.amazonaws.com"},
      {"range", "bytes=0-9"},
      {"x-amz-content-sha256", EMPTY},
      {"x-amz-date", "20130524T000000Z"}},
     "host;range;x-amz-content-sha256;x-amz-date",
     "f0e8bdb87c964420e857bd35b5d6ed310bd44f0170aba48dd91039c6036bdb41"},
    {"S3: put object",
     false,
     {"PUT", "/test%24file.text", "", NULL, 5, "44ce7dd67c959e0d3524ffac1771dfbba87d2b6b4b4e99e42034a8b803f8b072"},
     {{"x-amz-storage-class", "REDUCED_REDUNDANCY"},
      {"x-amz-date", "20130524T000000Z"},
      {"x-amz-content-sha256", "44ce7dd67c959e0d3524ffac1771dfbba87d2b6b4b4e99e42034a8b803f8b072"},
      {"host", "examplebucket.s3.amazonaws.com"},
      {"date", "Fri, 24 May 2013 00:00:00 GMT"}},
     "date;host;x-amz-content-sha256;x-amz-date;x-amz-storage-class",
     "98ad721746da40c64f1a55b78f14c238d841ea1380cd77a1b5971af0ece108bd"},
    {"S3: get bucket lifecycle",
     false,
     {"GET", "/", "lifecycle=", NULL, 3, EMPTY},
     {{"host", "examplebucket.s3.amazonaws.com"}, {"x-amz-date", "20130524T000000Z"}, {"x-amz-content-sha256", EMPTY}},
     "host;x-amz-content-sha256;x-amz-date",
     "fea454ca298b7da1c68078a5d1bdbfbbe0d65c699e0f91ac7a200a0136783543"},
    {"S3: list objects",
     false,
     {"GET", "/", "max-keys=2&prefix=J", NULL, 3, EMPTY},
     {{"host", "examplebucket.s3.amazonaws.com"}, {"x-amz-date", "20130524T000000Z"}, {"x-amz-content-sha256", EMPTY}},
     "host;x-amz-content-sha256;x-amz-date",
     "34b48302e7b5fa45bde8084f4b7868a86f0a534bc59db6670ed5711ef69dc6f7"},
    {"suite: get-vanilla",
     true,
     {"GET", "/", "", NULL, 2, EMPTY},
     {{"host", "example.amazonaws.com"}, {"x-amz-date", "20150830T123600Z"}},
     "host;x-amz-date",
     "5fa00fa31553b73ebf1942676e86291e8372ff2a2260956d9b8aae1d763fbf31"},
    {"suite: get-vanilla-query-order-key-case",
     true,
     {"GET", "/", "Param1=value1&Param2=value2", NULL, 2, EMPTY},
     {{"x-amz-date", "20150830T123600Z"}, {"host", "example.amazonaws.com"}},
     "host;x-amz-date",
     "b97d918cfa904a5beff61c982a1b6f458b799221646efd99d3219ec94cdf2500"},
    {"suite: get-header-value-trim",
     true,
     {"GET", "/", "", NULL, 4, EMPTY},
     {{"host", "example.amazonaws.com"},
      {"my-header1", " value1"},
      {"my-header2", " \"a   b   c\""},
      {"x-amz-date", "20150830T123600Z"}},
     "host;my-header1;my-header2;x-amz-date",
     "acc3ed3afb60bb290fc8d2dd0098b9911fcaa05412b367055dee359757a9c736"},
    {"suite: post-vanilla",
     true,
     {"POST", "/", "", NULL, 2, EMPTY},
     {{"host", "example.amazonaws.com"}, {"x-amz-date", "20150830T123600Z"}},
     "host;x-amz-date",
     "5da7c1a2acd57cee7505fc6676e4e544621c30862966e37dddb68e92efbe5d6b"},
};

static void test_vectors(void **state)
{
    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(vectors); i++) {
        const struct vector *v = &vectors[i];
        const struct s3_scope scope = {
            .region = "us-east-1",
            .service = v->suite ? "service" : "s3",
            .now_ms = (v->suite ? SUITE_TIME : S3_DAY) * (int64_t)1000,
        };
        const struct s3_keys *keys = v->suite ? &suite_keys : &s3_keys;
        struct s3_signable q = v->q;
        q.fields = v->fields;
        CLEANUP(buf_clear) struct buf got = BUF_INIT(4096), want = BUF_INIT(4096);
        struct err err = ERR_INIT;
        if (s3_sign(&q, &scope, keys, &got, &err) < 0)
            fail_msg("%s: %s", v->name, err.msg);
        buf_addf(&want, "AWS4-HMAC-SHA256 Credential=%s/%s/us-east-1/%s/aws4_request,SignedHeaders=%s,Signature=%s",
                 keys->access, v->suite ? "20150830" : "20130524", scope.service, v->signed_names, v->signature);
        if (strcmp(buf_str(&got), buf_str(&want)) != 0)
            fail_msg("%s:\n%s, not\n%s", v->name, buf_str(&got), buf_str(&want));
    }
}

static void test_presigned_url(void **state)
{
    (void)state;
    const struct s3_scope scope = {"us-east-1", "s3", S3_DAY * (int64_t)1000};
    CLEANUP(buf_clear) struct buf b = BUF_INIT(4096);
    struct err err = ERR_INIT;
    int rc = s3_presign("GET", "https://examplebucket.s3.amazonaws.com", "examplebucket.s3.amazonaws.com", "/test.txt",
                        NULL, 0, 86400, &scope, &s3_keys, &b, &err);
    assert_int_equal(rc, 0);
    assert_string_equal(
        buf_str(&b),
        "https://examplebucket.s3.amazonaws.com/test.txt?X-Amz-Algorithm=AWS4-HMAC-SHA256&X-Amz-Credential="
        "AKIAIOSFODNN7EXAMPLE%2F20130524%2Fus-east-1%2Fs3%2Faws4_request&X-Amz-Date=20130524T000000Z&X-Amz-Expires="
        "86400&X-Amz-SignedHeaders=host&X-Amz-Signature="
        "aeeed9bbccd4d02ee5c0109b86d86835f995330da4c265957d157751f604d404");
}

/* Amazon's reference has none with a token: these two are what botocore makes of the same. */
static void test_presigned_url_with_a_token(void **state)
{
    (void)state;
    const struct s3_scope scope = {"eu-west-3", "s3", S3_DAY * (int64_t)1000};
    const struct s3_keys keys = {s3_keys.access, s3_keys.secret, "to/ken+=="};
    static const struct s3_field params[] = {{"response-content-type", "audio/mpeg"}};
    CLEANUP(buf_clear) struct buf b = BUF_INIT(4096);
    struct err err = ERR_INIT;
    int rc = s3_presign("PUT", "http://127.0.0.1:9000", "127.0.0.1:9000", "/bucket/gr%C3%BCn%20%2B.mp3", NULL, 0, 600,
                        &scope, &keys, &b, &err);
    assert_int_equal(rc, 0);
    assert_true(
        str_ends(buf_str(&b), "&X-Amz-Signature=d7c02e4040fccbb57d09a7e6ef7b03ed3b8cac07c386c56698e3175c2700e70e"));
    buf_reset(&b);
    rc = s3_presign("GET", "http://127.0.0.1:9000", "127.0.0.1:9000", "/bucket/gr%C3%BCn%20%2B.mp3", params, 1, 600,
                    &scope, &keys, &b, &err);
    assert_int_equal(rc, 0);
    assert_non_null(strstr(buf_str(&b), "&X-Amz-Security-Token=to%2Fken%2B%3D%3D&"));
    assert_true(str_ends(buf_str(&b), "&response-content-type=audio%2Fmpeg&X-Amz-Signature="
                                      "8fa3e8e7be590dc39c24c81c7e36aedc97f7b6d59aed21b9de3aabaeab89e5d2"));
}

static void test_encoding(void **state)
{
    (void)state;
    static const struct {
        const char *text, *path, *value;
    } rows[] = {
        {"a/b", "a/b", "a%2Fb"},
        {"A-Z_a.z~0", "A-Z_a.z~0", "A-Z_a.z~0"},
        {"a b+c=d&e", "a%20b%2Bc%3Dd%26e", "a%20b%2Bc%3Dd%26e"},
        {"grün", "gr%C3%BCn", "gr%C3%BCn"},
        {"100%", "100%25", "100%25"},
        {"!*'();:@,?#[]", "%21%2A%27%28%29%3B%3A%40%2C%3F%23%5B%5D", "%21%2A%27%28%29%3B%3A%40%2C%3F%23%5B%5D"},
    };
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        CLEANUP(buf_clear) struct buf path = BUF_INIT(200), value = BUF_INIT(200);
        s3_add_encoded(&path, rows[i].text, true);
        s3_add_encoded(&value, rows[i].text, false);
        assert_string_equal(buf_str(&path), rows[i].path);
        assert_string_equal(buf_str(&value), rows[i].value);
    }
    static const struct s3_field params[] = {{"uploadId", "x/y"}, {"partNumber", "2"}, {"X-Amz", "1"}, {"empty", ""}};
    CLEANUP(buf_clear) struct buf b = BUF_INIT(200);
    s3_add_query(&b, params, ARRAY_LEN(params));
    assert_string_equal(buf_str(&b), "X-Amz=1&empty=&partNumber=2&uploadId=x%2Fy");
}

static void test_limits(void **state)
{
    (void)state;
    struct s3_field fields[S3_FIELDS_MAX + 1];
    for (size_t i = 0; i < ARRAY_LEN(fields); i++)
        fields[i] = (struct s3_field){"host", "h"};
    const struct s3_signable q = {"GET", "/", "", fields, ARRAY_LEN(fields), EMPTY};
    const struct s3_scope scope = {"r", "s3", 0};
    CLEANUP(buf_clear) struct buf b = BUF_INIT(4096), small = BUF_INIT(20);
    struct err err = ERR_INIT;
    assert_int_equal(s3_sign(&q, &scope, &s3_keys, &b, &err), ERR_INTERNAL);
    struct s3_signable one = q;
    one.n_fields = 1;
    assert_int_equal(s3_sign(&one, &scope, &s3_keys, &small, &err), ERR_TOO_LARGE);
    assert_int_equal(s3_presign("GET", "http://h", "h", "/", fields, 9, 1, &scope, &s3_keys, &b, &err), ERR_INTERNAL);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_vectors),
        cmocka_unit_test(test_presigned_url),
        cmocka_unit_test(test_presigned_url_with_a_token),
        cmocka_unit_test(test_encoding),
        cmocka_unit_test(test_limits),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
