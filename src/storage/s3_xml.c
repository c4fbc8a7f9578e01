/* SPDX-License-Identifier: MIT */
#include "storage/s3_xml.h"

#include "base/buf.h"

#include <expat.h>
#include <string.h>

struct reader {
    XML_Parser parser;
    s3_xml_fn fn;
    void *arg;
    struct err *err;
    int rc;
    size_t depth;
    size_t ends[S3_XML_DEPTH]; /* length of the path without the element at that depth */
    struct buf path, text;
};

static void stop(struct reader *r, int rc)
{
    r->rc = rc;
    XML_StopParser(r->parser, XML_FALSE);
}

static void on_start(void *arg, const XML_Char *name, const XML_Char **attributes)
{
    struct reader *r = arg;
    (void)attributes;
    if (r->depth == S3_XML_DEPTH) {
        stop(r, err_set(r->err, ERR_CORRUPT, "the answer's XML is nested too deep"));
        return;
    }
    r->ends[r->depth++] = r->path.len;
    if (r->path.len)
        buf_addc(&r->path, '/');
    buf_adds(&r->path, name);
    buf_reset(&r->text);
    if (!buf_ok(&r->path))
        stop(r, err_set(r->err, ERR_CORRUPT, "the answer's XML has too long a name"));
}

static void on_text(void *arg, const XML_Char *text, int n)
{
    struct reader *r = arg;
    buf_add(&r->text, text, (size_t)n);
    if (!buf_ok(&r->text))
        stop(r, err_set(r->err, ERR_CORRUPT, "the answer's XML has too long a text"));
}

static void on_end(void *arg, const XML_Char *name)
{
    struct reader *r = arg;
    (void)name;
    if (r->rc < 0)
        return;
    int rc = r->fn(buf_str(&r->path), buf_str(&r->text), r->arg, r->err);
    if (rc < 0) {
        stop(r, rc);
        return;
    }
    r->path.len = r->ends[--r->depth];
    if (r->path.data)
        r->path.data[r->path.len] = '\0';
    buf_reset(&r->text);
}

/* Entities are what makes XML dangerous, and no S3 server declares any. */
static void on_doctype(void *arg, const XML_Char *name, const XML_Char *system, const XML_Char *public, int internal)
{
    struct reader *r = arg;
    (void)name;
    (void)system;
    (void)public;
    (void)internal;
    stop(r, err_set(r->err, ERR_CORRUPT, "the answer's XML declares a document type"));
}

int s3_xml_read(const char *data, size_t n, s3_xml_fn fn, void *arg, struct err *err)
{
    struct reader r = {.fn = fn, .arg = arg, .err = err};
    buf_init(&r.path, S3_XML_PATH_MAX);
    buf_init(&r.text, S3_XML_TEXT_MAX);
    r.parser = XML_ParserCreate(NULL);
    if (!r.parser)
        return err_set(err, ERR_NOMEM, "no memory to read an answer");
    XML_SetUserData(r.parser, &r);
    XML_SetElementHandler(r.parser, on_start, on_end);
    XML_SetCharacterDataHandler(r.parser, on_text);
    XML_SetStartDoctypeDeclHandler(r.parser, on_doctype);
    if (XML_Parse(r.parser, data, (int)n, 1) != XML_STATUS_OK && r.rc == 0)
        r.rc = err_set(err, ERR_CORRUPT, "the answer is no whole XML: %s", XML_ErrorString(XML_GetErrorCode(r.parser)));
    XML_ParserFree(r.parser);
    buf_clear(&r.path);
    buf_clear(&r.text);
    return r.rc;
}
