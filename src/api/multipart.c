/* SPDX-License-Identifier: MIT */
/*
 * A delimiter is CR LF "--" boundary. The first one may stand at the very start of the body: the parser begins as if
 * a CR LF had been seen. Since a boundary holds no CR, a partial match that fails can only start again at the
 * byte that broke it; so one counter is all the state that a split delimiter needs.
 *
 * Stricter than RFC 2046 where nobody needs the freedom: no preamble, no epilogue, no folded header lines, no
 * transfer encodings.
 */
#include "api/multipart.h"

#include "api/header_value.h"
#include "base/str.h"

#include <string.h>

int multipart_boundary(const char *content_type, char ret[MULTIPART_BOUNDARY_MAX + 1], struct err *err)
{
    static const char type[] = "multipart/form-data";
    size_t n = strlen(type);
    if (!content_type || strncasecmp(content_type, type, n) != 0 ||
        (content_type[n] && !strchr("; \t", content_type[n])))
        return err_set(err, ERR_UNSUPPORTED,
                       "the request must be multipart/form-data with the recording in the field 'file'");
    struct arena a = ARENA_INIT;
    const char *p = content_type + n;
    char *name = NULL, *value = NULL, *boundary = NULL;
    int more;
    while ((more = header_take_param(&p, &a, &name, &value)) > 0)
        if (strcmp(name, "boundary") == 0) {
            more = boundary ? -1 : 1;
            boundary = value;
            if (more < 0)
                break;
        }
    int rc = 0;
    if (more < 0)
        rc = err_set(err, ERR_INVALID, "the parameters of the Content-Type header are malformed");
    else if (!boundary)
        rc = err_set(err, ERR_INVALID, "the Content-Type header names no boundary");
    else if (!*boundary || strlen(boundary) > MULTIPART_BOUNDARY_MAX ||
             boundary[strspn(boundary,
                             "0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ'()+_,-./:=? ")] ||
             str_ends(boundary, " "))
        rc = err_set(err, ERR_INVALID, "the boundary in the Content-Type header is not 1 to 70 allowed characters");
    else
        memcpy(ret, boundary, strlen(boundary) + 1);
    arena_clear(&a);
    return rc;
}

/* ---- the parser ---- */

static int malformed(struct multipart *m, struct err *err, const char *what)
{
    m->state = MULTIPART_FAILED;
    return err_set(err, ERR_INVALID, "the multipart body is malformed: %s", what);
}

static int read_disposition(struct multipart *m, const char *value, struct err *err)
{
    struct disposition d;
    if (m->has_disposition)
        return malformed(m, err, "a part has two Content-Disposition lines");
    m->has_disposition = true;
    const char *wrong = header_disposition(value, &m->part_arena, &d);
    if (!wrong && (!str_eq(d.kind, "form-data") || !d.name || !*d.name))
        wrong = "a Content-Disposition line is not 'form-data; name=\"...\"'";
    if (wrong)
        return malformed(m, err, wrong);
    m->part.name = d.name;
    m->part.filename = d.filename;
    return 0;
}

static int read_header_line(struct multipart *m, struct err *err)
{
    const char *line = buf_str(&m->header), *p = line;
    if (strlen(line) != m->header.len || strpbrk(line, "\r\n"))
        return malformed(m, err, "a header line holds a NUL or a bare line break");
    if (*line == ' ' || *line == '\t')
        return malformed(m, err, "a header line is folded");
    char *name = header_take_token(&p, &m->part_arena, true);
    if (!name || *p != ':')
        return malformed(m, err, "a header line is not 'Name: value'");
    p = header_skip_blanks(p + 1);
    if (strcmp(name, "content-disposition") == 0)
        return read_disposition(m, p, err);
    if (strcmp(name, "content-type") == 0)
        m->part.content_type = arena_strdup(&m->part_arena, p);
    /* RFC 7578 retired it; taking the encoded text for audio would be worse than refusing. */
    if (strcmp(name, "content-transfer-encoding") == 0 && !str_ieq(p, "binary") && !str_ieq(p, "8bit") &&
        !str_ieq(p, "7bit"))
        return malformed(m, err, "a part has a transfer encoding; send it as it is");
    return 0;
}

static int begin_part(struct multipart *m, struct err *err)
{
    if (!m->has_disposition)
        return malformed(m, err, "a part has no Content-Disposition line");
    m->state = MULTIPART_DATA;
    m->matched = 0;
    return m->ops->part_begin(m->arg, &m->part, err);
}

/* One byte of the header lines; lines end with CR LF, an empty one ends the headers. */
static int header_byte(struct multipart *m, char c, struct err *err)
{
    if (++m->header_bytes > MULTIPART_HEADER_MAX)
        return malformed(m, err, "the header lines of a part are too long");
    buf_addc(&m->header, c);
    size_t n = m->header.len;
    if (c != '\n' || n < 2 || m->header.data[n - 2] != '\r') {
        if (!buf_ok(&m->header))
            return err_set(err, ERR_NOMEM, "out of memory");
        return 0;
    }
    m->header.data[n - 2] = '\0';
    m->header.len = n - 2;
    if (!m->header.len)
        return begin_part(m, err);
    int rc = read_header_line(m, err);
    buf_reset(&m->header);
    return rc;
}

/* One of the two bytes behind a delimiter: CR LF begins a part, "--" ends the body; blanks may stand before CR LF. */
static int after_byte(struct multipart *m, char c, struct err *err)
{
    if (m->n_after == 0 && (c == ' ' || c == '\t'))
        return 0;
    m->after[m->n_after++] = c;
    if (m->n_after < 2)
        return 0;
    if (memcmp(m->after, "--", 2) == 0) {
        m->state = MULTIPART_CLOSED;
        return 0;
    }
    if (memcmp(m->after, "\r\n", 2) != 0)
        return malformed(m, err, "a boundary is followed by something else than a line break");
    if (++m->n_parts > MULTIPART_PARTS_MAX)
        return malformed(m, err, "it has too many parts");
    m->state = MULTIPART_HEADERS;
    m->header_bytes = 0;
    m->has_disposition = false;
    m->part = (struct multipart_part){0};
    buf_reset(&m->header);
    arena_clear(&m->part_arena);
    return 0;
}

static int delimiter_found(struct multipart *m, bool in_part, struct err *err)
{
    m->state = MULTIPART_AFTER_DELIMITER;
    m->n_after = 0;
    return in_part ? m->ops->part_end(m->arg, err) : 0;
}

static int give_data(struct multipart *m, const char *p, size_t n, struct err *err)
{
    return n ? m->ops->part_data(m->arg, p, n, err) : 0;
}

/*
 * Takes data up to the next delimiter or the end of p; returns how many bytes, or an error. What is data goes out in
 * one piece: every line break in a recording may begin a delimiter, and a write for each would cost more than all the
 * rest.
 */
static ptrdiff_t read_data(struct multipart *m, const char *p, size_t n, struct err *err)
{
    size_t carried = m->matched; /* matched in earlier calls, so not in p */
    size_t i = 0;
    int rc = 0;
    while (i < n && m->matched < m->delimiter_len) {
        if (!m->matched) {
            const char *cr = memchr(p + i, '\r', n - i);
            i = cr ? (size_t)(cr - p) : n;
            if (!cr)
                break;
        }
        if (p[i] == m->delimiter[m->matched]) {
            m->matched++;
            i++;
            continue;
        }
        /* No delimiter after all: what matched was data. p[i] is looked at again. */
        m->matched = 0;
        rc = give_data(m, m->delimiter, carried, err);
        if (rc < 0)
            return rc;
        carried = 0;
    }
    rc = give_data(m, p, i - (m->matched - carried), err);
    if (rc >= 0 && m->matched == m->delimiter_len)
        rc = delimiter_found(m, true, err);
    return rc < 0 ? rc : (ptrdiff_t)i;
}

static int start_byte(struct multipart *m, char c, struct err *err)
{
    /* Line breaks may stand before the first delimiter. */
    if (m->matched == 2 && c == '\r') {
        m->matched = 1;
        return 0;
    }
    if (c != m->delimiter[m->matched])
        return malformed(m, err, "it does not begin with the boundary that the Content-Type header names");
    return ++m->matched == m->delimiter_len ? delimiter_found(m, false, err) : 0;
}

void multipart_init(struct multipart *m, const char *boundary, const struct multipart_ops *ops, void *arg)
{
    *m = (struct multipart){.ops = ops, .arg = arg, .state = MULTIPART_START, .matched = 2};
    size_t n = strlen(boundary);
    memcpy(m->delimiter, "\r\n--", 4);
    memcpy(m->delimiter + 4, boundary, n);
    m->delimiter_len = 4 + n;
    buf_init(&m->header, MULTIPART_HEADER_MAX + 1);
    m->part_arena = (struct arena)ARENA_INIT;
}

void multipart_clear(struct multipart *m)
{
    buf_clear(&m->header);
    arena_clear(&m->part_arena);
}

int multipart_feed(struct multipart *m, const void *data, size_t n, struct err *err)
{
    const char *p = data;
    int rc = 0;
    for (size_t i = 0; i < n && rc >= 0;) {
        ptrdiff_t took = 1;
        switch (m->state) {
        case MULTIPART_START:
            rc = start_byte(m, p[i], err);
            break;
        case MULTIPART_AFTER_DELIMITER:
            rc = after_byte(m, p[i], err);
            break;
        case MULTIPART_HEADERS:
            rc = header_byte(m, p[i], err);
            break;
        case MULTIPART_DATA:
            took = read_data(m, p + i, n - i, err);
            rc = took < 0 ? (int)took : 0;
            break;
        case MULTIPART_CLOSED:
            /* Clients end the last line with CR LF or not. */
            if (!strchr("\r\n", p[i]) || !p[i])
                rc = malformed(m, err, "something follows the closing boundary");
            break;
        case MULTIPART_FAILED:
            return err_set(err, ERR_INVALID, "the multipart body is malformed");
        }
        i += (size_t)took;
    }
    if (rc < 0)
        m->state = MULTIPART_FAILED;
    return rc;
}

int multipart_finish(struct multipart *m, struct err *err)
{
    if (m->state == MULTIPART_CLOSED)
        return 0;
    if (m->state == MULTIPART_FAILED)
        return err_set(err, ERR_INVALID, "the multipart body is malformed");
    m->state = MULTIPART_FAILED;
    return err_set(err, ERR_INVALID,
                   "the multipart body is cut off: its closing boundary did not come; send the whole recording again");
}
