/* SPDX-License-Identifier: MIT */
#include "api/body.h"

#include "api/header_value.h"
#include "base/str.h"

#include <string.h>

/* ---- multipart/form-data ---- */

static int multipart_body_feed(struct body *b, const void *data, size_t n, struct err *err)
{
    return multipart_feed(&b->multipart, data, n, err);
}

static int multipart_body_finish(struct body *b, struct err *err)
{
    return multipart_finish(&b->multipart, err);
}

static const struct body_ops multipart_body = {.feed = multipart_body_feed, .finish = multipart_body_finish};

/* ---- a recording by itself ---- */

static int raw_begin(struct body *b, struct err *err)
{
    if (b->begun)
        return 0;
    b->begun = true;
    return b->parts->part_begin(b->arg, &b->part, err);
}

static int raw_feed(struct body *b, const void *data, size_t n, struct err *err)
{
    int rc = raw_begin(b, err);
    return rc < 0 || !n ? rc : b->parts->part_data(b->arg, data, n, err);
}

static int raw_finish(struct body *b, struct err *err)
{
    int rc = raw_begin(b, err);
    return rc < 0 ? rc : b->parts->part_end(b->arg, err);
}

static const struct body_ops raw_body = {.feed = raw_feed, .finish = raw_finish};

static bool is_type(const char *type, const char *name)
{
    size_t n = strlen(name);
    return strncasecmp(type, name, n) == 0 && (!type[n] || strchr("; \t", type[n]));
}

bool body_is_raw(const char *type)
{
    if (!type)
        return false;
    return strncasecmp(type, "audio/", 6) == 0 || strncasecmp(type, "video/", 6) == 0 ||
           is_type(type, "application/octet-stream");
}

bool body_type_fits(const char *type)
{
    static const char *const names[] = {
        "binary/octet-stream",               /* what S3 servers write down when nobody said anything */
        "application/x-www-form-urlencoded", /* what curl --data-binary says then */
        "application/ogg",
        "application/mp4",
        "application/mxf",
    };
    if (!type || !*type || body_is_raw(type))
        return true;
    for (size_t i = 0; i < ARRAY_LEN(names); i++)
        if (is_type(type, names[i]))
            return true;
    return false;
}

static int init_raw(struct body *b, const struct body_head *head, enum problem *ret_problem, struct err *err)
{
    struct disposition d = {0};
    const char *wrong = head->disposition ? header_disposition(head->disposition, &b->arena, &d) : NULL;
    *ret_problem = PROBLEM_bad_request;
    if (wrong)
        return err_set(err, ERR_INVALID, "%s; or leave it out and name the file in the query: ?filename=talk.wav",
                       wrong);
    b->ops = &raw_body;
    b->part = (struct multipart_part){.name = "file", .filename = d.filename};
    b->part.content_type = arena_strdup(&b->arena, head->type);
    return 0;
}

static int init_multipart(struct body *b, const struct body_head *head, enum problem *ret_problem, struct err *err)
{
    char boundary[MULTIPART_BOUNDARY_MAX + 1];
    int rc = multipart_boundary(head->type, boundary, err);
    *ret_problem = rc == ERR_UNSUPPORTED ? PROBLEM_not_multipart : PROBLEM_bad_boundary;
    if (rc < 0)
        return rc;
    b->ops = &multipart_body;
    b->malformed = PROBLEM_malformed_multipart;
    b->cut_off = PROBLEM_truncated_multipart;
    multipart_init(&b->multipart, boundary, b->parts, b->arg);
    return 0;
}

int body_init(struct body *b, const struct body_head *head, bool raw_too, const struct multipart_ops *parts, void *arg,
              enum problem *ret_problem, struct err *err)
{
    *b = (struct body){.parts = parts, .arg = arg, .malformed = PROBLEM_COUNT, .cut_off = PROBLEM_COUNT};
    b->arena = (struct arena)ARENA_INIT;
    bool raw = raw_too && body_is_raw(head->type);
    int rc = raw ? init_raw(b, head, ret_problem, err) : init_multipart(b, head, ret_problem, err);
    if (rc == ERR_UNSUPPORTED && raw_too)
        err_set(err, rc,
                "send multipart/form-data with the recording in the field 'file', or the recording itself with "
                "a type such as audio/wav");
    if (rc < 0)
        body_clear(b);
    return rc;
}

void body_clear(struct body *b)
{
    if (b->ops == &multipart_body)
        multipart_clear(&b->multipart);
    arena_clear(&b->arena);
    b->ops = NULL;
}

int body_feed(struct body *b, const void *data, size_t n, struct err *err)
{
    return b->ops->feed(b, data, n, err);
}

int body_finish(struct body *b, struct err *err)
{
    return b->ops->finish(b, err);
}
