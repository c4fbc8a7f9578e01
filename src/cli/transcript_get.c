/* SPDX-License-Identifier: MIT */
#include "cli/transcript_get.h"

#include "base/mem.h"
#include "cli/output.h"

int transcript_format(const struct app *app, enum format *ret, struct err *err)
{
    const char *name = app_flag(app, "format");
    enum format format = FORMAT_TXT;
    if (name && !format_parse(name, &format))
        return err_set(err, ERR_INVALID, "--format is txt, json, verbose_json, srt, vtt or tsv, not '%s'", name);
    *ret = format;
    return 0;
}

int transcript_get(struct client *c, const char *id, enum format format, const char *to, bool folder, const char *input,
                   struct err *err)
{
    CLEANUP(buf_clear) struct buf path = BUF_INIT(4096);
    buf_adds(&path, "/v1/jobs/");
    client_add_escaped(&path, id);
    buf_adds(&path, "/transcript");
    client_add_query(&path, "format", format_info(format)->name);
    int rc = buf_check(&path, "the id", err);
    if (rc < 0)
        return rc;
    struct output out;
    rc = output_open(&out, to, folder, input, format_info(format)->ending, err);
    if (rc >= 0)
        rc = client_stream(c, buf_str(&path), output_write, &out, err);
    if (rc >= 0)
        rc = output_commit(&out, err);
    output_clear(&out);
    return rc;
}
