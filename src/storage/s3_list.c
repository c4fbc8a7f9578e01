/* SPDX-License-Identifier: MIT */
/*
 * What is in the bucket, page by page: objects, and uploads in parts that were never finished. A page is read whole
 * before anything is done with it, so whoever is told of an object may take all the time it likes, and delete.
 */
#include "base/mem.h"
#include "base/str.h"
#include "storage/s3.h"
#include "storage/s3_xml.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

enum { PAGE = 1000, LIST_LIMIT_MS = 120000 };

struct item {
    char *key; /* ours, without the prefix */
    char *upload_id;
    int64_t size, time_ms;
    struct item *next;
};

struct page {
    const struct s3 *s;
    const char *root, *element; /* "ListBucketResult", "Contents" */
    struct arena mem;
    struct item *first, **end;
    struct item now; /* the element under way */
    bool more;
    char *next_token, *next_key, *next_upload;
};

static int hex_digit(char c)
{
    if (c >= '0' && c <= '9')
        return c - '0';
    c |= 0x20;
    return c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

/* "%2F" and "+" back to what they stand for. In place. */
static void decode(char *s)
{
    char *to = s;
    for (; *s; s++) {
        int high = *s == '%' ? hex_digit(s[1]) : -1, low = high < 0 ? -1 : hex_digit(s[2]);
        if (low >= 0) {
            *to++ = (char)(high << 4 | low);
            s += 2;
        } else {
            *to++ = (char)(*s == '+' ? ' ' : *s);
        }
    }
    *to = '\0';
}

/* "2026-11-22T05:31:00.123Z", -1 when it is none. */
static int64_t parse_time(const char *text)
{
    struct tm tm = {0};
    const char *rest = strptime(text, "%Y-%m-%dT%H:%M:%S", &tm);
    if (!rest)
        return -1;
    int64_t ms = (int64_t)timegm(&tm) * 1000, scale = 100;
    for (rest += *rest == '.'; *rest >= '0' && *rest <= '9'; rest++, scale /= 10)
        ms += (*rest - '0') * scale;
    return ms;
}

static char *keep(struct page *p, const char *text, bool encoded)
{
    char *copy = arena_strdup(&p->mem, text);
    if (copy && encoded)
        decode(copy);
    return copy;
}

static int no_memory(struct err *err)
{
    return err_set(err, ERR_NOMEM, "no memory for a list of objects");
}

/* One element of the list is complete. Only keys of ours are handed on. */
static int item_done(struct page *p, struct err *err)
{
    struct item *i = arena_alloc(&p->mem, sizeof *i);
    size_t n = strlen(p->s->prefix);
    struct err not_a_key = ERR_INIT;
    if (!i)
        return no_memory(err);
    *i = p->now;
    p->now = (struct item){.time_ms = -1, .size = -1};
    if (!i->key || strncmp(i->key, p->s->prefix, n) != 0 || storage_key_check(i->key + n, &not_a_key) < 0)
        return 0;
    i->key += n;
    *p->end = i;
    p->end = &i->next;
    return 0;
}

static int on_element(const char *path, const char *text, void *arg, struct err *err)
{
    struct page *p = arg;
    size_t root = strlen(p->root), element = strlen(p->element);
    if (strncmp(path, p->root, root) != 0 || path[root] != '/')
        return 0;
    path += root + 1;
    char **text_to = NULL;
    bool encoded = true;
    if (strcmp(path, p->element) == 0)
        return item_done(p, err);
    if (strcmp(path, "IsTruncated") == 0) {
        p->more = strcmp(text, "true") == 0;
    } else if (strcmp(path, "NextContinuationToken") == 0) {
        text_to = &p->next_token;
        encoded = false;
    } else if (strcmp(path, "NextKeyMarker") == 0) {
        text_to = &p->next_key;
    } else if (strcmp(path, "NextUploadIdMarker") == 0) {
        text_to = &p->next_upload;
        encoded = false;
    } else if (strncmp(path, p->element, element) == 0 && path[element] == '/') {
        path += element + 1;
        if (strcmp(path, "Key") == 0) {
            text_to = &p->now.key;
        } else if (strcmp(path, "UploadId") == 0) {
            text_to = &p->now.upload_id;
            encoded = false;
        } else if (strcmp(path, "Size") == 0) {
            if (!str_to_i64(text, &p->now.size))
                p->now.size = -1;
        } else if (strcmp(path, "LastModified") == 0 || strcmp(path, "Initiated") == 0) {
            p->now.time_ms = parse_time(text);
        }
    }
    if (text_to && !(*text_to = keep(p, text, encoded)))
        return no_memory(err);
    return 0;
}

/* Reads the answer to q into an empty page. */
static int read_page(struct s3 *s, const struct s3_ask *q, struct page *p, struct err *err)
{
    CLEANUP(s3_answer_clear) struct s3_answer a = S3_ANSWER_INIT;
    int rc = s3_send(s, q, &a, NULL, err);
    if (rc < 0)
        return rc == ERR_NOT_FOUND ? (err->code = ERR_UNAVAILABLE) : rc;
    p->s = s;
    p->mem = (struct arena)ARENA_INIT;
    p->first = NULL;
    p->end = &p->first;
    p->now = (struct item){.time_ms = -1, .size = -1};
    rc = s3_xml_read(buf_str(&a.body), a.body.len, on_element, p, err);
    if (rc < 0)
        arena_clear(&p->mem);
    return rc == ERR_CORRUPT ? (err->code = ERR_UNAVAILABLE) : rc;
}

int s3_list(struct storage *base, const char *prefix, storage_list_fn fn, void *arg, struct err *err)
{
    struct s3 *s = s3_of(base);
    CLEANUP(free_p) char *whole = xasprintf("%s%s", s->prefix, prefix), *token = NULL;
    int rc = 0;
    bool more = true;
    while (rc == 0 && more) {
        struct s3_ask q = {
            .method = "GET",
            .query = {{"list-type", "2"}, {"encoding-type", "url"}, {"prefix", whole}},
            .n_query = 3,
            .limit_ms = LIST_LIMIT_MS,
        };
        if (token)
            q.query[q.n_query++] = (struct s3_field){"continuation-token", token};
        struct page p = {.root = "ListBucketResult", .element = "Contents"};
        rc = read_page(s, &q, &p, err);
        if (rc < 0)
            return rc;
        for (struct item *i = p.first; i && rc == 0; i = i->next) {
            const struct object_info info = {.size = i->size, .modified_ms = i->time_ms};
            if (i->size >= 0 && i->time_ms >= 0)
                rc = fn(i->key, &info, arg, err);
        }
        more = p.more && p.next_token;
        free(token);
        token = more ? xstrdup(p.next_token) : NULL;
        arena_clear(&p.mem);
    }
    return rc;
}

static int drop_old(struct s3 *s, const struct page *p, int64_t before_ms, int *removed, struct err *err)
{
    for (const struct item *i = p->first; i; i = i->next) {
        if (!i->upload_id || i->time_ms < 0 || i->time_ms >= before_ms)
            continue;
        int rc = s3_drop_upload(s, i->key, i->upload_id, err);
        if (rc < 0)
            return rc;
        ++*removed;
    }
    return 0;
}

int s3_sweep(struct storage *base, int64_t before_ms, int *ret_removed, struct err *err)
{
    struct s3 *s = s3_of(base);
    CLEANUP(free_p) char *key = NULL, *upload = NULL;
    bool more = true;
    while (more) {
        struct s3_ask q = {
            .method = "GET",
            .query = {{"uploads", ""}, {"encoding-type", "url"}, {"prefix", s->prefix}},
            .n_query = 3,
            .limit_ms = LIST_LIMIT_MS,
        };
        if (key) {
            q.query[q.n_query++] = (struct s3_field){"key-marker", key};
            q.query[q.n_query++] = (struct s3_field){"upload-id-marker", upload};
        }
        struct page p = {.root = "ListMultipartUploadsResult", .element = "Upload"};
        int rc = read_page(s, &q, &p, err);
        if (rc < 0)
            return rc;
        rc = drop_old(s, &p, before_ms, ret_removed, err);
        more = rc == 0 && p.more && p.next_key && p.next_upload;
        free(key);
        free(upload);
        key = more ? xstrdup(p.next_key) : NULL;
        upload = more ? xstrdup(p.next_upload) : NULL;
        arena_clear(&p.mem);
        if (rc < 0)
            return rc;
    }
    return 0;
}
