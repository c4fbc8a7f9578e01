/* SPDX-License-Identifier: MIT */
/*
 * The S3 back end against a server that misbehaves as told: what it asks for again and what not, how reads go on after
 * a cut, what a lost answer comes to, what it says. Behaviour of a good server is in tests/conformance.
 */
#include "web_server.h"

#include "base/clock.h"
#include "base/io.h"
#include "base/mem.h"
#include "base/str.h"
#include "storage/s3_sign.h"
#include "storage/s3_xml.h"
#include "storage/storage.h"

#include <poll.h>
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

/* The sentence must hold `why`. */
#define refuses(class, why, expr)                                         \
    do {                                                                  \
        struct err e_ = ERR_INIT, *e = &e_;                               \
        int rc_ = (expr);                                                 \
        if (rc_ != ERR_##class || e->code != rc_ || !strstr(e->msg, why)) \
            fail_msg("%s: %s (\"%s\")", #expr, err_name(rc_), e->msg);    \
        if (strstr(e->msg, "geheim"))                                     \
            fail_msg("%s: \"%s\" holds a secret", #expr, e->msg);         \
    } while (0)

/* What to do with the i-th request for an object (the look at the bucket when the store is opened is answered well). */
enum deed { WELL, STATUS, CUT, DROP, HANG, DO_AND_DROP, STALE };

struct step {
    enum deed deed;
    int status;
    const char *code;
};

/* A server with at most one object. */
struct fake {
    struct web_server *server;
    struct storage *store;
    char folder[64];
    struct step steps[16];
    unsigned n_steps, at;
    const char *deaf_to; /* a method, "" any: after the steps such requests get no answer */
    /* the object */
    char *data;
    size_t size;
    char etag[40], sha256[80], write_id[80];
    bool exists;
    unsigned version;
    /* uploads in parts */
    char *parts;
    size_t parts_size;
    unsigned n_parts, aborted;
    /* what was asked, one line each: "GET bytes=3-" */
    struct buf log;
};

static void note(struct fake *f, const struct web_request *q)
{
    char range[80];
    web_header(q, "Range", range, sizeof range);
    const char *query = strchr(q->target, '?');
    buf_addf(&f->log, "%s%s%s%s%s\n", q->method, query ? " " : "", query ? query : "", *range ? " " : "", range);
}

static void store(struct fake *f, const struct web_request *q, const void *data, size_t n)
{
    free(f->data);
    f->data = malloc(n + 1);
    if (!f->data)
        abort();
    memcpy(f->data, data, n);
    f->size = n;
    f->exists = true;
    snprintf(f->etag, sizeof f->etag, "\"%u\"", ++f->version);
    if (q) {
        web_header(q, "x-amz-meta-sha256", f->sha256, sizeof f->sha256);
        if (!strstr(q->target, "uploadId"))
            web_header(q, "x-amz-meta-write-id", f->write_id, sizeof f->write_id);
    }
}

static bool answer_error(const struct web_request *q, int status, const char *code)
{
    char body[400] = "";
    if (code)
        snprintf(body, sizeof body,
                 "<?xml version=\"1.0\"?><Error><Code>%s</Code><Message></Message><Region>eu-west-3</Region></Error>",
                 code);
    return web_answer(q, status, "Content-Type: application/xml\r\n", body, strlen(body));
}

static bool answer_object(struct fake *f, const struct web_request *q, bool cut)
{
    char range[80], match[80], fields[500];
    web_header(q, "Range", range, sizeof range);
    web_header(q, "If-Match", match, sizeof match);
    if (!f->exists)
        return answer_error(q, 404, "NoSuchKey");
    if (*match && strcmp(match, f->etag) != 0)
        return answer_error(q, 412, "PreconditionFailed");
    size_t first = *range ? strtoul(range + strlen("bytes="), NULL, 10) : 0;
    if (*range && first >= f->size)
        return answer_error(q, 416, "InvalidRange");
    snprintf(fields, sizeof fields,
             "ETag: %s\r\nLast-Modified: Wed, 01 Jan 2025 00:00:00 GMT\r\nx-amz-meta-write-id: %s\r\n", f->etag,
             f->write_id);
    size_t n = strlen(fields);
    if (*f->sha256)
        n += (size_t)snprintf(fields + n, sizeof fields - n, "x-amz-meta-sha256: %s\r\n", f->sha256);
    if (*range)
        snprintf(fields + n, sizeof fields - n, "Content-Range: bytes %zu-%zu/%zu\r\n", first, f->size - 1, f->size);
    size_t left = f->size - first;
    return web_answer_cut(q, *range ? 206 : 200, fields, f->data + first, left, cut ? left / 2 : left);
}

static bool do_part(struct fake *f, const struct web_request *q)
{
    if (strcmp(q->method, "POST") == 0 && strstr(q->target, "?uploads=")) {
        web_header(q, "x-amz-meta-write-id", f->write_id, sizeof f->write_id);
        static const char id[] =
            "<InitiateMultipartUploadResult><UploadId>up/1</UploadId></InitiateMultipartUploadResult>";
        return web_answer(q, 200, "", id, strlen(id));
    }
    if (strcmp(q->method, "DELETE") == 0) {
        f->aborted++;
        f->n_parts = 0;
        return web_answer(q, 204, "", "", 0);
    }
    if (strcmp(q->method, "PUT") == 0) {
        char *more = realloc(f->parts, f->parts_size + q->body_len);
        if (!more)
            abort();
        f->parts = more;
        memcpy(f->parts + f->parts_size, q->body, q->body_len);
        f->parts_size += q->body_len;
        f->n_parts++;
        return web_answer(q, 200, "ETag: \"part\"\r\n", "", 0);
    }
    if (!f->n_parts)
        return answer_error(q, 404, "NoSuchUpload");
    store(f, q, f->parts, f->parts_size);
    f->n_parts = 0;
    f->parts_size = 0;
    static const char done[] = "<CompleteMultipartUploadResult><ETag></ETag></CompleteMultipartUploadResult>";
    return web_answer(q, 200, "", done, strlen(done));
}

static bool do_well(struct fake *f, const struct web_request *q)
{
    char sum[S3_SHA256_SIZE], said[80];
    struct err err = ERR_INIT;
    web_header(q, "x-amz-content-sha256", said, sizeof said);
    if (s3_sha256(q->body, q->body_len, sum, &err) < 0 || strcmp(sum, said) != 0)
        return answer_error(q, 400, "XAmzContentSHA256Mismatch");
    if (strstr(q->target, "upload"))
        return do_part(f, q);
    if (strcmp(q->method, "PUT") == 0) {
        store(f, q, q->body, q->body_len);
        return web_answer(q, 200, "ETag: \"x\"\r\n", "", 0);
    }
    if (strcmp(q->method, "DELETE") == 0) {
        f->exists = false;
        return web_answer(q, 204, "", "", 0);
    }
    return answer_object(f, q, false);
}

static bool on_request(const struct web_request *q, void *arg)
{
    struct fake *f = arg;
    if (strstr(q->target, "list-type=2")) {
        static const char none[] = "<ListBucketResult><IsTruncated>false</IsTruncated></ListBucketResult>";
        return web_answer(q, 200, "", none, strlen(none));
    }
    note(f, q);
    struct step s = f->at < f->n_steps
                        ? f->steps[f->at++]
                        : (struct step){f->deaf_to && str_starts(q->method, f->deaf_to) ? DROP : WELL, 0, NULL};
    struct web_request quiet = *q;
    struct pollfd gone = {.fd = q->fd, .events = POLLRDHUP};
    int nowhere[2];
    switch (s.deed) {
    case WELL:
        return do_well(f, q);
    case STATUS:
        return answer_error(q, s.status, s.code);
    case CUT:
        return answer_object(f, q, true);
    case DROP:
        return false;
    case HANG:
        poll(&gone, 1, 20000);
        return false;
    case STALE: /* the object becomes another, then the connection breaks */
        if (!answer_object(f, q, true))
            store(f, NULL, "another one altogether", 22);
        return false;
    case DO_AND_DROP:
        if (pipe(nowhere) < 0)
            abort();
        quiet.fd = nowhere[1];
        do_well(f, &quiet);
        close(nowhere[0]);
        close(nowhere[1]);
        return false;
    }
    return false;
}

static void plan(struct fake *f, size_t n, const struct step *steps)
{
    web_server_hold(f->server);
    memcpy(f->steps, steps, n * sizeof *steps);
    f->n_steps = (unsigned)n;
    f->at = 0;
    buf_reset(&f->log);
    web_server_release(f->server);
}

static void go_deaf(struct fake *f, const char *method)
{
    web_server_hold(f->server);
    f->deaf_to = method;
    web_server_release(f->server);
}

static void damage(struct fake *f, char c, bool forget_sum)
{
    web_server_hold(f->server);
    f->data[3] = c;
    if (forget_sum)
        f->sha256[0] = '\0';
    web_server_release(f->server);
}
#define PLAN(f, ...) plan(f, ARRAY_LEN(((struct step[]){__VA_ARGS__})), (struct step[]){__VA_ARGS__})

static struct storage *open_store(const struct fake *f)
{
    char endpoint[64];
    snprintf(endpoint, sizeof endpoint, "http://127.0.0.1:%d", web_server_port(f->server));
    const struct storage_s3_opts s3 = {
        .endpoint = endpoint,
        .access_key = "key",
        .secret_key = "geheim",
        .session_token = "geheim-token",
        .temp = f->folder,
        .part_size = (int64_t)5 << 20,
        .timeout_ms = 400,
    };
    const struct storage_opts o = {.url = "s3://bucket/in", .s3 = &s3};
    struct storage *s = NULL;
    ok(storage_open_with(&o, &s, e));
    return s;
}

static int setup(void **state)
{
    struct fake *f = calloc(1, sizeof *f);
    struct err err = ERR_INIT;
    if (!f)
        return -1;
    buf_init(&f->log, 100000);
    snprintf(f->folder, sizeof f->folder, "/tmp/steno-test-XXXXXX");
    if (!mkdtemp(f->folder) || web_server_start(on_request, f, &f->server, &err) < 0)
        return -1;
    f->store = open_store(f);
    *state = f;
    return 0;
}

static int teardown(void **state)
{
    struct fake *f = *state;
    struct err err = ERR_INIT;
    storage_close(f->store);
    web_server_stop(f->server);
    buf_clear(&f->log);
    free(f->data);
    free(f->parts);
    int rc = io_remove_tree(f->folder, &err);
    free(f);
    return rc;
}

static int put(struct fake *f, const char *text, struct err *err)
{
    return storage_put_bytes(f->store, "a/b", text, strlen(text), err);
}

static void assert_reads(struct fake *f, const char *text)
{
    char *got = NULL;
    ok(storage_get_bytes(f->store, "a/b", 1 << 20, &got, NULL, e));
    assert_string_equal(got, text);
    free(got);
}

static void test_tries_again_what_may_pass(void **state)
{
    struct fake *f = *state;
    static const struct step passing[] = {
        {STATUS, 500, "InternalError"},
        {STATUS, 503, "SlowDown"},
        {STATUS, 503, NULL},
        {STATUS, 429, NULL},
        {STATUS, 404, NULL}, /* "404 page not found": of a proxy */
        {STATUS, 400, "RequestTimeout"},
        {DROP, 0, NULL},
        {HANG, 0, NULL},
        {STATUS, 409, "OperationAborted"},
    };
    for (size_t i = 0; i < ARRAY_LEN(passing); i++) {
        plan(f, 1, &passing[i]);
        ok(put(f, "text", e));
        assert_string_equal(buf_str(&f->log), "PUT\nPUT\n");
        assert_reads(f, "text");
        if (passing[i].deed == HANG)
            continue;
        plan(f, 1, &passing[i]);
        assert_reads(f, "text");
        assert_string_equal(buf_str(&f->log), "GET\nGET\n");
    }
}

static void test_only_the_server_says_that_an_object_is_missing(void **state)
{
    struct fake *f = *state;
    static const struct step proxy[] = {{STATUS, 404, NULL}, {STATUS, 404, NULL}, {STATUS, 404, NULL},
                                        {STATUS, 404, NULL}, {STATUS, 404, NULL}, {STATUS, 404, NULL}};
    char *got = NULL;
    plan(f, ARRAY_LEN(proxy), proxy);
    refuses(UNAVAILABLE, "no S3 server's", storage_get_bytes(f->store, "a/b", 100, &got, NULL, e));
    PLAN(f, {STATUS, 404, "NoSuchKey"});
    refuses(NOT_FOUND, "no such object", storage_get_bytes(f->store, "a/b", 100, &got, NULL, e));
    /* An answer to HEAD has no body: the status is all that a server can say. */
    struct object_info st;
    PLAN(f, {STATUS, 404, NULL});
    refuses(NOT_FOUND, "no such object", storage_stat(f->store, "a/b", &st, e));
}

static void test_says_what_is_wrong_and_asks_once(void **state)
{
    struct fake *f = *state;
    static const struct {
        struct step step;
        int class;
        const char *why;
    } rows[] = {
        {{STATUS, 403, "SignatureDoesNotMatch"}, ERR_UNAVAILABLE, "check s3_secret_key"},
        {{STATUS, 403, "InvalidAccessKeyId"}, ERR_UNAVAILABLE, "check s3_access_key"},
        {{STATUS, 403, "RequestTimeTooSkewed"}, ERR_UNAVAILABLE, "clock"},
        {{STATUS, 403, "AccessDenied"}, ERR_UNAVAILABLE, "s3:PutObject"},
        {{STATUS, 403, "ExpiredToken"}, ERR_UNAVAILABLE, "expired"},
        {{STATUS, 403, NULL}, ERR_UNAVAILABLE, "access denied"},
        {{STATUS, 301, "PermanentRedirect"}, ERR_UNAVAILABLE, "region eu-west-3, not us-east-1; set s3_region"},
        {{STATUS, 307, NULL}, ERR_UNAVAILABLE, "s3_endpoint"},
        {{STATUS, 400, "EntityTooLarge"}, ERR_TOO_LARGE, "larger than"},
        {{STATUS, 400, "SomethingNew"}, ERR_UNAVAILABLE, "HTTP 400, SomethingNew"},
        {{STATUS, 501, NULL}, ERR_UNSUPPORTED, "cannot do that"},
    };
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        struct err e = ERR_INIT;
        plan(f, 1, &rows[i].step);
        int rc = put(f, "text", &e);
        if (rc != rows[i].class || !strstr(e.msg, rows[i].why) || strstr(e.msg, "geheim"))
            fail_msg("%d %s: %s \"%s\"", rows[i].step.status, rows[i].step.code, err_name(rc), e.msg);
        assert_string_equal(buf_str(&f->log), "PUT\n");
    }
}

static void test_makes_the_bucket_when_it_is_gone(void **state)
{
    struct fake *f = *state;
    PLAN(f, {STATUS, 404, "NoSuchBucket"}, {WELL, 0, NULL});
    ok(put(f, "text", e));
    assert_string_equal(buf_str(&f->log), "PUT\nPUT\nPUT\n");
    /* For a reader it is no missing object: the job would fail for good. */
    PLAN(f, {STATUS, 404, "NoSuchBucket"});
    char *got = NULL;
    refuses(UNAVAILABLE, "the bucket does not exist", storage_get_bytes(f->store, "a/b", 100, &got, NULL, e));
    assert_string_equal(buf_str(&f->log), "GET\n");
}

static void test_a_server_that_stays_away(void **state)
{
    struct fake *f = *state;
    static const struct step down[8] = {{STATUS, 503, NULL}, {STATUS, 503, NULL}, {STATUS, 503, NULL},
                                        {STATUS, 503, NULL}, {STATUS, 503, NULL}, {STATUS, 503, NULL},
                                        {STATUS, 503, NULL}, {STATUS, 503, NULL}};
    plan(f, ARRAY_LEN(down), down);
    refuses(UNAVAILABLE, "in trouble", put(f, "text", e));
    assert_int_equal(f->at, 6);
    assert_false(f->exists);
}

static void test_lost_answer_to_a_put(void **state)
{
    struct fake *f = *state;
    /* It was stored, and a look shows it. */
    go_deaf(f, "PUT");
    PLAN(f, {DO_AND_DROP, 0, NULL});
    ok(put(f, "first", e));
    assert_true(str_ends(buf_str(&f->log), "PUT\nHEAD\n"));
    /* It was not, as far as one can see. */
    PLAN(f, {DROP, 0, NULL});
    refuses(UNCERTAIN, "not seen stored", put(f, "second", e));
    assert_reads(f, "first");
    /* Nobody answers the look either. */
    go_deaf(f, "");
    refuses(UNCERTAIN, "nobody knows", put(f, "third", e));
}

static int put_large(struct fake *f, size_t mb, struct err *err)
{
    static char block[1 << 20];
    struct storage_put *p = NULL;
    int rc = storage_put_begin(f->store, "a/b", &p, err);
    for (size_t i = 0; i < mb && rc >= 0; i++) {
        memset(block, 'a' + (int)i, sizeof block);
        rc = storage_put_write(p, block, sizeof block, err);
    }
    if (rc >= 0)
        return storage_put_commit(p, NULL, err);
    storage_put_abort(p);
    return rc;
}

static void test_parts(void **state)
{
    struct fake *f = *state;
    PLAN(f, {WELL, 0, NULL});
    ok(put_large(f, 11, e));
    assert_string_equal(buf_str(&f->log),
                        "POST ?uploads=\nPUT ?partNumber=1&uploadId=up%2F1\nPUT ?partNumber=2&uploadId=up%2F1\n"
                        "PUT ?partNumber=3&uploadId=up%2F1\nPOST ?uploadId=up%2F1\n");
    assert_int_equal(f->size, 11 << 20);
    for (size_t i = 0; i < 11; i++)
        assert_int_equal(f->data[i << 20], 'a' + (int)i);
    /* Exactly a part is one request. */
    buf_reset(&f->log);
    ok(put_large(f, 5, e));
    assert_string_equal(buf_str(&f->log), "PUT\n");
}

static void test_parts_that_fail_are_given_up(void **state)
{
    struct fake *f = *state;
    PLAN(f, {WELL, 0, NULL}, {STATUS, 403, "AccessDenied"});
    refuses(UNAVAILABLE, "access denied", put_large(f, 6, e));
    assert_true(str_ends(buf_str(&f->log), "DELETE ?uploadId=up%2F1\n"));
    assert_int_equal(f->aborted, 1);
    /* The last request is refused. */
    PLAN(f, {WELL, 0, NULL}, {WELL, 0, NULL}, {WELL, 0, NULL}, {STATUS, 400, "InvalidPart"});
    refuses(UNAVAILABLE, "InvalidPart", put_large(f, 6, e));
    assert_int_equal(f->aborted, 2);
    assert_false(f->exists);
}

static void test_lost_answer_to_the_last_part(void **state)
{
    struct fake *f = *state;
    /* Asked again, the server no longer knows the upload: it was done. */
    PLAN(f, {WELL, 0, NULL}, {WELL, 0, NULL}, {WELL, 0, NULL}, {DO_AND_DROP, 0, NULL});
    ok(put_large(f, 6, e));
    assert_true(str_ends(buf_str(&f->log), "POST ?uploadId=up%2F1\nPOST ?uploadId=up%2F1\nHEAD\n"));
    assert_int_equal(f->size, 6 << 20);
    assert_int_equal(f->aborted, 0);
    /* A 200 whose body is an error is none. */
    PLAN(f, {WELL, 0, NULL}, {WELL, 0, NULL}, {WELL, 0, NULL}, {STATUS, 200, "InternalError"});
    ok(put_large(f, 6, e));
    assert_true(str_ends(buf_str(&f->log), "POST ?uploadId=up%2F1\nPOST ?uploadId=up%2F1\n"));
}

static void test_reading_goes_on_after_a_cut(void **state)
{
    struct fake *f = *state;
    PLAN(f, {WELL, 0, NULL});
    ok(put(f, "0123456789abcdef", e));
    PLAN(f, {CUT, 0, NULL}, {CUT, 0, NULL}, {DROP, 0, NULL}, {STATUS, 503, NULL});
    assert_reads(f, "0123456789abcdef");
    assert_string_equal(buf_str(&f->log), "GET\nGET bytes=8-\nGET bytes=12-\nGET bytes=12-\nGET bytes=12-\n");
    /* Into a file as well. */
    char path[100], *text = NULL;
    snprintf(path, sizeof path, "%s/fetched", f->folder);
    PLAN(f, {CUT, 0, NULL}, {CUT, 0, NULL});
    ok(storage_fetch_checked(f->store, "a/b", f->sha256, path, e));
    ok(io_read_file(path, 100, &text, NULL, e));
    assert_string_equal(text, "0123456789abcdef");
    free(text);
}

static void test_no_mixture_of_two_objects(void **state)
{
    struct fake *f = *state;
    char *got = NULL;
    PLAN(f, {WELL, 0, NULL});
    ok(put(f, "0123456789abcdef", e));
    PLAN(f, {STALE, 0, NULL});
    refuses(UNAVAILABLE, "replaced or deleted", storage_get_bytes(f->store, "a/b", 100, &got, NULL, e));
    assert_null(got);
}

static void test_damage_is_seen(void **state)
{
    struct fake *f = *state;
    char *got = NULL, path[100];
    snprintf(path, sizeof path, "%s/fetched", f->folder);
    PLAN(f, {WELL, 0, NULL});
    ok(put(f, "0123456789abcdef", e));
    damage(f, 'x', false);
    refuses(CORRUPT, "SHA-256", storage_get_bytes(f->store, "a/b", 100, &got, NULL, e));
    buf_reset(&f->log);
    refuses(CORRUPT, "SHA-256", storage_fetch(f->store, "a/b", path, e));
    assert_string_equal(buf_str(&f->log), "GET\nGET\n"); /* damage on the way would have passed */
    assert_int_equal(access(path, F_OK), -1);
    /* Nothing noted with the object, but the caller knows. */
    char right[80];
    snprintf(right, sizeof right, "%s", f->sha256);
    damage(f, 'x', true);
    refuses(CORRUPT, right, storage_fetch_checked(f->store, "a/b", right, path, e));
    damage(f, '3', true);
    ok(storage_fetch_checked(f->store, "a/b", right, path, e));
}

static void test_a_slow_reader_is_no_silent_server(void **state)
{
    struct fake *f = *state;
    enum { SIZE = 8 << 20 };
    char *big = malloc(SIZE), *back = malloc(SIZE);
    assert_non_null(big);
    assert_non_null(back);
    for (size_t i = 0; i < SIZE; i++)
        big[i] = (char)(i * 7 + (i >> 12));
    store(f, NULL, big, SIZE);
    PLAN(f, {WELL, 0, NULL});
    struct storage_get *g = NULL;
    struct object_info info;
    struct err err = ERR_INIT;
    ok(storage_get_begin(f->store, "a/b", 0, &g, &info, e));
    assert_int_equal(info.size, SIZE);
    assert_int_equal(info.modified_ms, 1735689600000);
    size_t have = 0;
    for (ssize_t k; (k = storage_get_read(g, back + have, MIN((size_t)100000, SIZE - have), &err)) > 0;
         have += (size_t)k)
        if (have < 100000)
            clock_sleep_ms(900); /* more than twice the time-out */
    storage_get_end(g);
    assert_int_equal(have, SIZE);
    assert_memory_equal(big, back, SIZE);
    assert_string_equal(buf_str(&f->log), "GET\n");
    free(big);
    free(back);
}

static void test_what_goes_over_the_line(void **state)
{
    struct fake *f = *state;
    char *url = NULL;
    int64_t until = 0, before = clock_wall_ms();
    ok(storage_presign(f->store, STORAGE_PRESIGN_PUT, "a/grün b.mp3", NULL, 600, &url, &until, e));
    assert_non_null(strstr(url, "/bucket/in/a/gr%C3%BCn%20b.mp3?X-Amz-Algorithm="));
    assert_non_null(strstr(url, "&X-Amz-Expires=600&"));
    assert_null(strstr(url, "=geheim&"));
    assert_true(until >= before + 600000 && until <= clock_wall_ms() + 600000);
    free(url);
    url = NULL;
    ok(storage_presign(f->store, STORAGE_PRESIGN_GET, "a", "audio/ogg; codecs=opus", 600, &url, NULL, e));
    assert_non_null(strstr(url, "&response-content-type=audio%2Fogg%3B%20codecs%3Dopus&X-Amz-Signature="));
    free(url);
    url = NULL;
    refuses(INVALID, "at least a second", storage_presign(f->store, STORAGE_PRESIGN_GET, "a", NULL, 0, &url, NULL, e));
    refuses(INVALID, "at most 7 days",
            storage_presign(f->store, STORAGE_PRESIGN_GET, "a", NULL, 604801, &url, NULL, e));
    refuses(INVALID, "dot", storage_presign(f->store, STORAGE_PRESIGN_GET, "../a", NULL, 10, &url, NULL, e));
    assert_null(url);
}

/* ---- opening ---- */

struct opening {
    const char *body;
    int status;
    char host[100], target[200];
};

static bool on_opening(const struct web_request *q, void *arg)
{
    struct opening *o = arg;
    web_header(q, "Host", o->host, sizeof o->host);
    snprintf(o->target, sizeof o->target, "%s", q->target);
    return web_answer(q, o->status, "", o->body, strlen(o->body));
}

static void test_opening(void **state)
{
    (void)state;
    static const struct {
        int status;
        const char *body;
        int class; /* 0: opens */
        const char *why;
    } rows[] = {
        {200, "<ListBucketResult/>", 0, NULL},
        {500, "", 0, NULL}, /* away for a while: the service starts all the same */
        {503, "<Error><Code>SlowDown</Code></Error>", 0, NULL},
        {403, "<Error><Code>InvalidAccessKeyId</Code></Error>", ERR_INVALID, "s3_access_key"},
        {403, "<Error><Code>SignatureDoesNotMatch</Code></Error>", ERR_INVALID, "s3_secret_key"},
        {400, "<Error><Code>InvalidBucketName</Code></Error>", ERR_INVALID, "no name for a bucket"},
        {403, "<!DOCTYPE html><html>a proxy</html>", ERR_INVALID, "access denied"},
    };
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        struct opening asked = {.body = rows[i].body, .status = rows[i].status};
        struct web_server *server = NULL;
        ok(web_server_start(on_opening, &asked, &server, e));
        char endpoint[64];
        snprintf(endpoint, sizeof endpoint, "http://127.0.0.1:%d/", web_server_port(server));
        const struct storage_s3_opts s3 = {.endpoint = endpoint, .access_key = "key", .secret_key = "geheim"};
        const struct storage_opts o = {.url = "s3://bucket/a/b/", .s3 = &s3};
        struct storage *s = NULL;
        struct err err = ERR_INIT;
        int rc = storage_open_with(&o, &s, &err);
        storage_close(s);
        web_server_stop(server);
        if (rc != rows[i].class || (rc < 0 && !strstr(err.msg, rows[i].why)))
            fail_msg("HTTP %d: %s \"%s\"", rows[i].status, err_name(rc), err.msg);
        assert_string_equal(asked.target, "/bucket?list-type=2&max-keys=1&prefix=a%2Fb%2F");
    }
}

static void test_wrong_settings(void **state)
{
    (void)state;
    static const struct {
        struct storage_s3_opts s3;
        const char *why;
    } rows[] = {
        {{.endpoint = "minio:9000"}, "http://"},
        {{.endpoint = "http://user:geheim@minio"}, "nothing more"},
        {{.endpoint = "http://minio/path"}, "nothing more"},
        {{.endpoint = "http://h", .public_url = "ftp://h"}, "s3_public_url"},
        {{.endpoint = "http://h", .access_key = "a"}, "one of them is missing"},
        {{.endpoint = "http://h", .secret_key = "geheim"}, "one of them is missing"},
        {{.endpoint = "http://h", .region = "eu west"}, "s3_region"},
        {{.endpoint = "http://h", .part_size = 1000}, "s3_part_size"},
        {{.endpoint = "http://h", .access_key = "a", .secret_key = "b", .ca_file = "/nonexistent"}, "/nonexistent"},
    };
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        const struct storage_opts o = {.url = "s3://bucket", .s3 = &rows[i].s3};
        struct storage *s = NULL;
        refuses(INVALID, rows[i].why, storage_open_with(&o, &s, e));
        assert_null(s);
    }
}

/* Nobody listens there: opening does not mind, and links need no server. */
static void test_addresses(void **state)
{
    (void)state;
    static const struct {
        const char *endpoint, *public_url, *bucket;
        enum storage_s3_style style;
        const char *want;
    } rows[] = {
        {"http://127.0.0.1:9", NULL, "s3://bucket", STORAGE_S3_AUTO, "http://127.0.0.1:9/bucket/k?"},
        {"http://127.0.0.1:9", NULL, "s3://bucket/x", STORAGE_S3_PATH, "http://127.0.0.1:9/bucket/x/k?"},
        {"http://localhost:9", NULL, "s3://bucket", STORAGE_S3_VIRTUAL, "http://bucket.localhost:9/k?"},
        {"http://127.0.0.1:9", "https://files.example:443", "s3://bucket", STORAGE_S3_AUTO,
         "https://files.example/bucket/k?"},
        {"http://127.0.0.1:9", "http://files.example:80/", "s3://bucket", STORAGE_S3_VIRTUAL,
         "http://bucket.files.example/k?"},
        {"http://[::1]:9", NULL, "s3://bucket", STORAGE_S3_AUTO, "http://[::1]:9/bucket/k?"},
    };
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        const struct storage_s3_opts s3 = {.endpoint = rows[i].endpoint,
                                           .public_url = rows[i].public_url,
                                           .style = rows[i].style,
                                           .access_key = "a",
                                           .secret_key = "b",
                                           .timeout_ms = 500};
        const struct storage_opts o = {.url = rows[i].bucket, .s3 = &s3};
        struct storage *s = NULL;
        char *url = NULL;
        ok(storage_open_with(&o, &s, e));
        ok(storage_presign(s, STORAGE_PRESIGN_GET, "k", NULL, 10, &url, NULL, e));
        storage_close(s);
        if (!str_starts(url, rows[i].want))
            fail_msg("%s", url);
        free(url);
    }
}

/* The bucket stands in the host's name: every "*.localhost" is this machine. */
static void test_virtual_host(void **state)
{
    (void)state;
    struct opening asked = {.body = "<ListBucketResult/>", .status = 200};
    struct web_server *server = NULL;
    ok(web_server_start(on_opening, &asked, &server, e));
    char endpoint[64], host[64];
    snprintf(endpoint, sizeof endpoint, "http://localhost:%d", web_server_port(server));
    snprintf(host, sizeof host, "bucket.localhost:%d", web_server_port(server));
    const struct storage_s3_opts s3 = {
        .endpoint = endpoint, .access_key = "a", .secret_key = "b", .style = STORAGE_S3_VIRTUAL};
    const struct storage_opts o = {.url = "s3://bucket", .s3 = &s3};
    struct storage *s = NULL;
    ok(storage_open_with(&o, &s, e));
    assert_string_equal(asked.host, host);
    assert_string_equal(asked.target, "/?list-type=2&max-keys=1&prefix=");
    ok(storage_put_bytes(s, "a b/c", "x", 1, e));
    assert_string_equal(asked.target, "/a%20b/c");
    storage_close(s);
    web_server_stop(server);
}

/* ---- lists of several pages ---- */

struct pages {
    char asked[8][300];
    unsigned n, dropped;
};

static bool on_page(const struct web_request *q, void *arg)
{
    struct pages *p = arg;
    static const char first[] =
        "<ListBucketResult><IsTruncated>true</IsTruncated><NextContinuationToken>a+b/=</NextContinuationToken>"
        "<Contents><Key>in/a%20b%2Bc.mp3</Key><LastModified>2025-01-01T00:00:00.250Z</LastModified><Size>7</Size>"
        "</Contents><Contents><Key>elsewhere/x</Key><LastModified>2025-01-01T00:00:00Z</LastModified><Size>1</Size>"
        "</Contents></ListBucketResult>";
    static const char second[] =
        "<ListBucketResult><IsTruncated>false</IsTruncated><Contents><Key>in/../x</Key><LastModified>"
        "2025-01-01T00:00:00Z</LastModified><Size>1</Size></Contents><Contents><Key>in/z+1</Key><LastModified>"
        "2025-01-01T00:00:01Z</LastModified><Size>9</Size></Contents></ListBucketResult>";
    static const char uploads[] =
        "<ListMultipartUploadsResult><IsTruncated>true</IsTruncated><NextKeyMarker>in/k%2F1</NextKeyMarker>"
        "<NextUploadIdMarker>u/1</NextUploadIdMarker><Upload><Key>in/old</Key><UploadId>1</UploadId><Initiated>"
        "2025-01-01T00:00:00.000Z</Initiated></Upload><Upload><Key>in/young</Key><UploadId>2</UploadId><Initiated>"
        "2025-01-03T00:00:00.000Z</Initiated></Upload></ListMultipartUploadsResult>";
    static const char last[] =
        "<ListMultipartUploadsResult><IsTruncated>false</IsTruncated><Upload><Key>in/old2</Key><UploadId>3</UploadId>"
        "<Initiated>2025-01-01T12:00:00.000Z</Initiated></Upload></ListMultipartUploadsResult>";
    if (strstr(q->target, "max-keys=1"))
        return web_answer(q, 200, "", "<ListBucketResult/>", 19);
    snprintf(p->asked[p->n++ % ARRAY_LEN(p->asked)], sizeof *p->asked, "%s %s", q->method, q->target);
    if (strcmp(q->method, "DELETE") == 0) {
        p->dropped++;
        return web_answer(q, 204, "", "", 0);
    }
    const char *body = strstr(q->target, "uploads=")       ? strstr(q->target, "key-marker=") ? last : uploads
                       : strstr(q->target, "continuation") ? second
                                                           : first;
    return web_answer(q, 200, "", body, strlen(body));
}

static int write_down(const char *key, const struct object_info *info, void *arg, struct err *err)
{
    (void)err;
    buf_addf(arg, "%s %lld %lld\n", key, (long long)info->size, (long long)info->modified_ms);
    return 0;
}

static void test_pages(void **state)
{
    (void)state;
    struct pages p = {.n = 0};
    struct web_server *server = NULL;
    ok(web_server_start(on_page, &p, &server, e));
    char endpoint[64];
    snprintf(endpoint, sizeof endpoint, "http://127.0.0.1:%d", web_server_port(server));
    const struct storage_s3_opts s3 = {.endpoint = endpoint, .access_key = "a", .secret_key = "b"};
    const struct storage_opts o = {.url = "s3://bucket/in", .s3 = &s3};
    struct storage *s = NULL;
    ok(storage_open_with(&o, &s, e));
    CLEANUP(buf_clear) struct buf seen = BUF_INIT(1000);
    ok(storage_list(s, "a/", write_down, &seen, e));
    /* What is not ours, and what is no key here, is passed over. */
    assert_string_equal(buf_str(&seen), "a b+c.mp3 7 1735689600250\nz 1 9 1735689601000\n");
    assert_string_equal(p.asked[0], "GET /bucket?encoding-type=url&list-type=2&prefix=in%2Fa%2F");
    assert_string_equal(p.asked[1],
                        "GET /bucket?continuation-token=a%2Bb%2F%3D&encoding-type=url&list-type=2&prefix=in%2Fa%2F");
    p.n = 0;
    int removed = 0;
    ok(storage_sweep(s, 1735776000000 /* 2025-01-02 */, &removed, e));
    assert_int_equal(removed, 2);
    assert_int_equal(p.dropped, 2);
    assert_string_equal(p.asked[0], "GET /bucket?encoding-type=url&prefix=in%2F&uploads=");
    assert_string_equal(p.asked[1], "DELETE /bucket/in/old?uploadId=1");
    assert_string_equal(
        p.asked[2], "GET /bucket?encoding-type=url&key-marker=in%2Fk%2F1&prefix=in%2F&upload-id-marker=u%2F1&uploads=");
    assert_string_equal(p.asked[3], "DELETE /bucket/in/old2?uploadId=3");
    storage_close(s);
    web_server_stop(server);
}

/* ---- XML ---- */

static int gather(const char *path, const char *text, void *arg, struct err *err)
{
    (void)err;
    buf_addf(arg, "%s=%s\n", path, text);
    return 0;
}

static void test_xml(void **state)
{
    (void)state;
    static const struct {
        const char *xml, *want; /* NULL: CORRUPT */
    } rows[] = {
        {"<a><b>x</b><b> &lt;y&gt; </b></a>", "a/b=x\na/b= <y> \na=\n"},
        {"<?xml version='1.0'?>\n<a xmlns=\"http://x/\"><b/></a>", "a/b=\na=\n"},
        {"<a><b>x</a></b>", NULL},
        {"<a>", NULL},
        {"", NULL},
        {"not xml", NULL},
        {"<!DOCTYPE a [<!ENTITY e \"xxxxxxxxxx\">]><a>&e;</a>", NULL},
        {"<a><a><a><a><a><a><a><a><a/></a></a></a></a></a></a></a></a>", NULL},
    };
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        CLEANUP(buf_clear) struct buf b = BUF_INIT(1000);
        struct err err = ERR_INIT;
        int rc = s3_xml_read(rows[i].xml, strlen(rows[i].xml), gather, &b, &err);
        if (rc != (rows[i].want ? 0 : ERR_CORRUPT) || (rows[i].want && strcmp(buf_str(&b), rows[i].want) != 0))
            fail_msg("%s: %s\n%s", rows[i].xml, err.msg, buf_str(&b));
    }
    CLEANUP(buf_clear) struct buf longer = BUF_INIT(100000);
    buf_adds(&longer, "<a>");
    for (int i = 0; i < S3_XML_TEXT_MAX + 1; i++)
        buf_addc(&longer, 'x');
    buf_adds(&longer, "</a>");
    struct err err = ERR_INIT;
    assert_int_equal(s3_xml_read(longer.data, longer.len, gather, &longer, &err), ERR_CORRUPT);
}

int main(void)
{
    /* Nothing of this machine's own settings counts here. */
    static const char *const names[] = {"AWS_PROFILE",      "AWS_REGION",          "AWS_DEFAULT_REGION",
                                        "AWS_ENDPOINT_URL", "AWS_ENDPOINT_URL_S3", "http_proxy",
                                        "HTTP_PROXY",       "all_proxy",           "ALL_PROXY"};
    for (size_t i = 0; i < ARRAY_LEN(names); i++)
        unsetenv(names[i]);
    setenv("AWS_CONFIG_FILE", "/nonexistent", 1);
    setenv("AWS_SHARED_CREDENTIALS_FILE", "/nonexistent", 1);
#define with_fake(f) cmocka_unit_test_setup_teardown(f, setup, teardown)
    const struct CMUnitTest tests[] = {
        with_fake(test_tries_again_what_may_pass),
        with_fake(test_only_the_server_says_that_an_object_is_missing),
        with_fake(test_says_what_is_wrong_and_asks_once),
        with_fake(test_makes_the_bucket_when_it_is_gone),
        with_fake(test_a_server_that_stays_away),
        with_fake(test_lost_answer_to_a_put),
        with_fake(test_parts),
        with_fake(test_parts_that_fail_are_given_up),
        with_fake(test_lost_answer_to_the_last_part),
        with_fake(test_reading_goes_on_after_a_cut),
        with_fake(test_no_mixture_of_two_objects),
        with_fake(test_damage_is_seen),
        with_fake(test_a_slow_reader_is_no_silent_server),
        with_fake(test_what_goes_over_the_line),
        cmocka_unit_test(test_opening),
        cmocka_unit_test(test_wrong_settings),
        cmocka_unit_test(test_addresses),
        cmocka_unit_test(test_virtual_host),
        cmocka_unit_test(test_pages),
        cmocka_unit_test(test_xml),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
