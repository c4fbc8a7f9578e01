/* SPDX-License-Identifier: MIT */
/*
 * Text that is printed live comes from the events of finished chunks. The transcript is fetched all the same: what is
 * printed must be its beginning, and what the events did not tell is printed after it. So no break in a stream can
 * lose or double a line.
 */
#include "cli/remote.h"

#include "base/str.h"
#include "cli/bar.h"
#include "cli/follow.h"
#include "cli/output.h"

#include <string.h>
#include <unistd.h>

enum { SHOWN_MAX = 64 << 20 };

/* ---- there ---- */

static void draw(int64_t sent, int64_t total, void *arg)
{
    bar_update(arg, sent, total, NULL);
}

int remote_submit(struct client *c, const struct remote_file *f, json_t **ret, struct job_view *view, struct err *err)
{
    const char *slash = strrchr(f->file, '/');
    struct bar bar;
    bar_init(&bar, f->name ? f->name : slash ? slash + 1 : f->file, BAR_BYTES);
    const struct client_upload u = {.path = "/v1/jobs",
                                    .file = f->file,
                                    .name = f->name,
                                    .fields = f->fields,
                                    .n_fields = f->n_fields,
                                    .progress = draw,
                                    .arg = &bar};
    json_t *json = NULL;
    int rc = client_upload(c, &u, &json, err);
    bar_clear(&bar);
    if (rc >= 0)
        rc = job_view_read(json, view, err);
    if (rc < 0) {
        json_decref(json);
        return rc;
    }
    *ret = json;
    return 0;
}

/* ---- and back ---- */

/* The text on standard output. */
struct live_text {
    struct buf shown;
    bool over;   /* the rest comes from the transcript */
    size_t same; /* bytes of the transcript that were seen on the screen before */
    bool other;  /* the transcript does not begin with what is shown */
};

static int show(struct live_text *t, const char *text, size_t n, struct err *err)
{
    struct output out = {.fd = STDOUT_FILENO};
    buf_add(&t->shown, text, n);
    return output_write(text, n, &out, err);
}

static int on_chunk(void *arg, const json_t *m, struct err *err)
{
    struct live_text *t = arg;
    const json_t *segments = json_object_get(m, "segments");
    CLEANUP(buf_clear) struct buf b = BUF_INIT(SHOWN_MAX);
    /* A job that was begun anew tells its first chunk again. */
    if (t->shown.len && json_integer_value(json_object_get(m, "index")) == 0)
        t->over = true;
    if (t->over)
        return 0;
    for (size_t i = 0; i < json_array_size(segments); i++) {
        const char *text = json_string_value(json_object_get(json_array_get(segments, i), "text"));
        buf_addf(&b, "%s\n", text ? text : "");
    }
    int rc = buf_check(&b, "the text", err);
    return rc < 0 || !b.len ? rc : show(t, b.data, b.len, err);
}

static int on_transcript(const void *p, size_t n, void *arg, struct err *err)
{
    struct live_text *t = arg;
    size_t k = MIN(n, t->shown.len - t->same);
    t->other = k && memcmp(t->shown.data + t->same, p, k) != 0;
    t->same += k;
    if (t->other)
        return err_set(err, ERR_CONFLICT, "the text has changed");
    struct output out = {.fd = STDOUT_FILENO};
    return n > k ? output_write((const char *)p + k, n - k, &out, err) : 0;
}

/* Prints what is not there yet. */
static int show_rest(struct app *app, const struct remote_result *r, struct live_text *t, struct err *err)
{
    int rc = buf_check(&t->shown, "the text", err);
    if (rc >= 0)
        rc = transcript_stream(app->client, r->id, r->form, on_transcript, t, err);
    if (!t->other && (rc < 0 || t->same == t->shown.len))
        return rc;
    struct err e = ERR_INIT;
    err_set(&e, ERR_CONFLICT, "'%s': the job was begun anew meanwhile: its whole text follows", r->file);
    app_complain(app->cmd, &e);
    return transcript_get(app->client, r->id, r->form, NULL, false, r->file, err);
}

static int complain(struct app *app, const struct remote_result *r, const struct job_view *v)
{
    struct err e = ERR_INIT;
    if (!v->completed)
        err_set(&e, ERR_INTERNAL, "'%s': job %s %s%s%s", r->file, r->id, v->status, v->error_message ? ": " : "",
                v->error_message ? v->error_message : "");
    else if (v->warning)
        err_set(&e, ERR_CORRUPT, "'%s': %s", r->file, v->warning);
    if (e.code)
        app_complain(app->cmd, &e);
    return v->completed ? STATUS_OK : STATUS_JOB;
}

int remote_finish(struct app *app, const struct remote_result *r, struct err *err)
{
    struct live_text text = {.shown = BUF_INIT(SHOWN_MAX)};
    const struct follow_opts follow = {.chunk = r->live ? on_chunk : NULL, .arg = &text};
    json_t *json = NULL;
    struct job_view v;
    int rc = r->live && r->headline ? app_print_headline(r->file, err) : 0;
    if (rc >= 0)
        rc = follow_job(app->client, r->id, &follow, &json, &v, err);
    int status = rc >= 0 ? complain(app, r, &v) : STATUS_OK;
    json_decref(json);
    if (rc >= 0 && status == STATUS_OK && r->headline && !r->live)
        rc = app_print_headline(r->file, err);
    if (rc >= 0 && status == STATUS_OK)
        rc = r->live ? show_rest(app, r, &text, err)
                     : transcript_get(app->client, r->id, r->form, r->to, r->folder, r->file, err);
    buf_clear(&text.shown);
    return rc < 0 ? rc : status;
}
