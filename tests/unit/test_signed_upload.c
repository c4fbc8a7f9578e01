/* SPDX-License-Identifier: MIT */
/* JSON bodies, the ids in keys and URLs of uploads, and signatures. */
#include "api/json_body.h"
#include "api/signed_upload.h"
#include "base/id.h"
#include "base/io.h"
#include "base/str.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include <cmocka.h>

#define A "019a8f3e-7c1d-7b42-9d2a-5e0c6f1a2b3c"
#define B "019a8f3e-7c1d-7b42-9d2a-5e0c6f1a2b3d"

static void test_ids_in_keys_and_urls(void **state)
{
    (void)state;
    static const struct {
        const char *text, *id; /* NULL: none */
    } cases[] = {
        {A, A},
        {"uploads/" A "/a.mp3", A},
        {"/uploads/" A "/a.mp3", A},
        {"http://host/bucket/uploads/" A "/a%20b.mp3?X-Amz-Signature=1", A},
        {"http://host:8000/v1/uploads/" A "/content?expires=1&signature=2", A},
        {"http://host/uploads/" B "/folder/uploads/" A "/a.mp3", A},
        {"uploads/" A, NULL},
        {"myuploads/" A "/a.mp3", NULL},
        {"http://host/a?key=uploads/" A "/a.mp3", NULL},
        {"http://host/a#/uploads/" A "/a.mp3", NULL},
        {"uploads/019A8F3E-7C1D-7B42-9D2A-5E0C6F1A2B3C/a.mp3", NULL},
        {"uploads/x/a.mp3", NULL},
        {"results/" A "/a.mp3", NULL},
        {"uploads/", NULL},
        {"", NULL},
    };
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        char id[ID_SIZE] = "untouched";
        bool found = upload_id_find(cases[i].text, id);
        if (found != (cases[i].id != NULL) || (found && strcmp(id, cases[i].id) != 0))
            fail_msg("'%s' gives %s", cases[i].text, found ? id : "none");
    }
}

static void test_signatures(void **state)
{
    (void)state;
    unsigned char key[SIGN_KEY_SIZE], other[SIGN_KEY_SIZE];
    char a[SIGNATURE_SIZE], b[SIGNATURE_SIZE];
    struct err err = ERR_INIT;
    for (size_t i = 0; i < sizeof key; i++)
        key[i] = other[i] = (unsigned char)i;
    other[31] ^= 1;
    assert_int_equal(sign_upload(key, A, 1700000000000, a, &err), 0);
    /* printf 'PUT\nID\n1700000000000' | openssl dgst -sha256 -mac HMAC -macopt hexkey:000102...1f */
    assert_string_equal(a, "6f54134fc92d026d6c5eebd4f67374e9e721c7bc42f6d3ae7b1836bc06bce764");
    assert_int_equal(sign_upload(key, A, 1700000000001, b, &err), 0);
    assert_string_not_equal(a, b);
    assert_int_equal(sign_upload(key, B, 1700000000000, b, &err), 0);
    assert_string_not_equal(a, b);
    assert_int_equal(sign_upload(other, A, 1700000000000, b, &err), 0);
    assert_string_not_equal(a, b);
}

static void test_the_key_is_made_once(void **state)
{
    (void)state;
    char folder[] = "/tmp/steno-sign-XXXXXX", path[64];
    unsigned char first[SIGN_KEY_SIZE], again[SIGN_KEY_SIZE];
    struct err err = ERR_INIT;
    struct stat st;
    assert_non_null(mkdtemp(folder));
    assert_int_equal(sign_key_open(folder, first, &err), 0);
    assert_int_equal(sign_key_open(folder, again, &err), 0);
    assert_memory_equal(first, again, sizeof first);
    snprintf(path, sizeof path, "%s/upload.key", folder);
    assert_int_equal(stat(path, &st), 0);
    assert_int_equal(st.st_mode & 0777, 0600);
    assert_int_equal(st.st_size, SIGN_KEY_SIZE);

    FILE *f = fopen(path, "w");
    assert_non_null(f);
    assert_int_equal(fputs("short", f) < 0, 0);
    assert_int_equal(fclose(f), 0);
    assert_int_equal(sign_key_open(folder, again, &err), ERR_CORRUPT);
    assert_non_null(strstr(err.msg, "delete it"));
    assert_int_equal(sign_key_open("/nowhere/at/all", again, &err), ERR_NOT_FOUND);
    assert_int_equal(io_remove_tree(folder, &err), 0);
}

/* A request with this body, read. */
static int read_body(struct request *rq, const char *body, size_t n, enum problem *p)
{
    struct err err = ERR_INIT;
    *rq = (struct request){.arena = ARENA_INIT, .body = BUF_INIT(BODY_JSON_MAX)};
    buf_add(&rq->body, body, n);
    return json_body_read(rq, p, &err);
}

static void test_bodies(void **state)
{
    (void)state;
    static const struct {
        const char *body;
        bool good;
    } cases[] = {
        {"{}", true},          {" {\"a\": [1, {\"b\": null}]}\n", true},
        {"", false},           {"[]", false},
        {"\"a\"", false},      {"1", false},
        {"null", false},       {"{", false},
        {"{}{}", false},       {"{\"a\":1,\"a\":2}", false},
        {"{a:1}", false},      {"{\"a\":\"\xff\"}", false},
        {"{'a':1}", false},    {"{\"a\":\"\\u0000\"}", false},
        {"{\"a\":1,}", false},
    };
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        struct request rq;
        enum problem p;
        int rc = read_body(&rq, cases[i].body, strlen(cases[i].body), &p);
        if ((rc == 0) != cases[i].good)
            fail_msg("%s", cases[i].body);
        assert_int_equal(p, cases[i].good ? PROBLEM_COUNT : PROBLEM_malformed_json);
        json_body_clear(&rq);
    }
}

static void test_deep_and_long_bodies(void **state)
{
    (void)state;
    struct request rq;
    enum problem p;
    CLEANUP(buf_clear) struct buf b = BUF_INIT(1 << 20);
    buf_adds(&b, "{\"a\":");
    for (int i = 0; i < 100000; i++)
        buf_addc(&b, '[');
    assert_int_equal(read_body(&rq, b.data, b.len, &p), ERR_INVALID);
    json_body_clear(&rq);
    /* More than the buffer may hold is not read at all. */
    for (int i = 0; i < 300000; i++)
        buf_addc(&b, ' ');
    assert_int_equal(read_body(&rq, b.data, b.len, &p), ERR_NOMEM);
    json_body_clear(&rq);
}

static void test_members(void **state)
{
    (void)state;
    static const char body[] = "{\"text\":\"abc\",\"n\":12,\"digits\":\"34\",\"minus\":-1,"
                               "\"real\":1.5,\"yes\":true,\"none\":null,\"list\":[]}";
    struct request rq;
    enum problem p;
    struct err err = ERR_INIT;
    const char *text;
    int64_t n;
    assert_int_equal(read_body(&rq, body, sizeof body - 1, &p), 0);
    assert_int_equal(json_body_text(&rq, "text", true, 3, &text, &p, &err), 0);
    assert_string_equal(text, "abc");
    assert_int_equal(json_body_text(&rq, "none", false, 3, &text, &p, &err), 0);
    assert_null(text);
    assert_int_equal(json_body_text(&rq, "nowhere", false, 3, &text, &p, &err), 0);
    assert_null(text);
    assert_int_equal(json_body_int(&rq, "n", true, &n, &p, &err), 0);
    assert_int_equal(n, 12);
    assert_int_equal(json_body_int(&rq, "digits", true, &n, &p, &err), 0);
    assert_int_equal(n, 34);
    assert_int_equal(json_body_int(&rq, "none", false, &n, &p, &err), 0);
    assert_int_equal(n, -1);

    static const char *const no_texts[] = {"text", "digits", "n", "yes", "list"}, *const no_ints[] = {"text", "minus",
                                                                                                      "real", "yes",
                                                                                                      "list"};
    for (size_t i = 0; i < ARRAY_LEN(no_texts); i++) {
        assert_int_equal(json_body_text(&rq, no_texts[i], false, 1, &text, &p, &err), ERR_INVALID);
        assert_string_equal(rq.wrong_field, no_texts[i]);
        assert_int_equal(p, PROBLEM_bad_field);
        assert_int_equal(json_body_int(&rq, no_ints[i], false, &n, &p, &err), ERR_INVALID);
        assert_string_equal(rq.wrong_field, no_ints[i]);
    }
    static const char *const missing[] = {"none", "nowhere"};
    for (size_t i = 0; i < ARRAY_LEN(missing); i++) {
        assert_int_equal(json_body_text(&rq, missing[i], true, 9, &text, &p, &err), ERR_INVALID);
        assert_int_equal(p, PROBLEM_missing_field);
        assert_int_equal(json_body_int(&rq, missing[i], true, &n, &p, &err), ERR_INVALID);
        assert_int_equal(p, PROBLEM_missing_field);
    }
    json_body_clear(&rq);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_ids_in_keys_and_urls), cmocka_unit_test(test_signatures),
        cmocka_unit_test(test_the_key_is_made_once), cmocka_unit_test(test_bodies),
        cmocka_unit_test(test_deep_and_long_bodies), cmocka_unit_test(test_members),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
