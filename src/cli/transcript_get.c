/* SPDX-License-Identifier: MIT */
#include "cli/transcript_get.h"

#include "base/mem.h"
#include "cli/output.h"

#include <stdio.h>

static const struct {
    const char *name, *flag;
    bool is_switch;
} layout[] = {
#define X(kind, name, flag, arg, min, max, help) {#name, flag, !(arg)},
    SUBTITLE_OPTIONS(X)
#undef X
};

/* Its value; NULL: not given. */
static const char *layout_value(const struct app *app, size_t i)
{
    const char *value = app_flag(app, layout[i].flag);
    return value && layout[i].is_switch ? "true" : value;
}

int transcript_form(const struct app *app, struct transcript_form *ret, struct err *err)
{
    const char *name = app_flag(app, "format");
    struct transcript_form f = {.format = FORMAT_TXT};
    if (name && !format_parse(name, &f.format))
        return err_set(err, ERR_INVALID, "--format is txt, json, verbose_json, srt, vtt or tsv, not '%s'", name);
    for (size_t i = 0; i < ARRAY_LEN(layout); i++) {
        const char *value = layout_value(app, i);
        if (!value)
            continue;
        if (!format_is_subtitles(f.format))
            return err_set(err, ERR_INVALID, "--%s needs --format=srt or --format=vtt", layout[i].flag);
        int rc = subtitle_set(&f.subtitles, layout[i].name, value, err);
        if (rc < 0)
            return rc;
    }
    *ret = f;
    return 0;
}

static void add_layout(struct buf *path, const struct subtitle_opts *o)
{
    const int values[] = {
#define X(kind, name, flag, arg, min, max, help) o->name,
        SUBTITLE_OPTIONS(X)
#undef X
    };
    char text[16];
    for (size_t i = 0; i < ARRAY_LEN(values); i++) {
        if (!values[i])
            continue;
        snprintf(text, sizeof text, "%d", values[i]);
        client_add_query(path, layout[i].name, text);
    }
}

int transcript_stream(struct client *c, const char *id, const struct transcript_form *form, client_sink sink, void *arg,
                      struct err *err)
{
    CLEANUP(buf_clear) struct buf path = BUF_INIT(4096);
    buf_adds(&path, "/v1/jobs/");
    client_add_escaped(&path, id);
    buf_adds(&path, "/transcript");
    client_add_query(&path, "format", format_info(form->format)->name);
    add_layout(&path, &form->subtitles);
    int rc = buf_check(&path, "the id", err);
    return rc < 0 ? rc : client_stream(c, buf_str(&path), sink, arg, err);
}

int transcript_get(struct client *c, const char *id, const struct transcript_form *form, const char *to, bool folder,
                   const char *input, struct err *err)
{
    struct output out;
    int rc = output_open(&out, to, folder, input, format_info(form->format)->ending, err);
    if (rc >= 0)
        rc = transcript_stream(c, id, form, output_write, &out, err);
    if (rc >= 0)
        rc = output_commit(&out, err);
    output_clear(&out);
    return rc;
}
