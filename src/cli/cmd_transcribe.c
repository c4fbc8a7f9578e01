/* SPDX-License-Identifier: MIT */
/*
 * steno transcribe: the worker's pipeline without a server (with --server: transcribe_remote.c). Files are done one
 * after another, each with all engine slots; a thread turns Ctrl-C into the cancel flag that decoder and engine look
 * at.
 */
#include "base/io.h"
#include "base/mem.h"
#include "base/stop.h"
#include "base/str.h"
#include "cli/app.h"
#include "cli/bar.h"
#include "cli/input.h"
#include "cli/media.h"
#include "cli/output.h"
#include "cli/transcribe_remote.h"
#include "cli/transcript_get.h"
#include "cli/watcher.h"
#include "worker/ask.h"
#include "worker/choose.h"
#include "worker/pipeline.h"
#include "worker/slots.h"
#include "worker/temp.h"

#include <stdlib.h>
#include <string.h>
#include <unistd.h>

struct session {
    struct app *app;
    struct transcript_form form;
    const char *to; /* --output */
    bool several, folder;
    struct engine_opts engine_opts;
    struct engine *engine;
    const char *warning; /* about the model; NULL: none */
    bool smaller_ok;     /* when there is no memory for it */
    struct slots *slots;
    struct temp *temp;
    struct cancel cancel;
    struct arena arena; /* of the options' texts */
    struct job_options options, settings;
    struct outputs written;
};

/* One file in work. */
struct piece {
    struct session *s;
    const char *file;
    struct transcript transcript;
    struct output out;
    struct bar bar;
    size_t printed; /* segments */
};

/* ---- output ---- */

/* Plain text is printed as it is finished; the other forms need the whole. */
static int on_text(void *arg, const struct done_chunk *c, struct err *err)
{
    (void)c;
    struct piece *p = arg;
    if (p->s->form.format != FORMAT_TXT)
        return 0;
    CLEANUP(buf_clear) struct buf b = BUF_INIT(ARENA_DEFAULT_MAX);
    for (; p->printed < p->transcript.n_segments; p->printed++)
        buf_addf(&b, "%s\n", p->transcript.segments[p->printed].text);
    int rc = buf_check(&b, "the text", err);
    if (rc < 0 || !b.len)
        return rc;
    bar_clear(&p->bar);
    return output_write(b.data, b.len, &p->out, err);
}

static void on_progress(void *arg, const struct progress *pr)
{
    struct piece *p = arg;
    bar_update(&p->bar, pr->done_ms, pr->total_ms, pr->stage == STAGE_DECODE ? "reading the recording ..." : NULL);
}

/* ---- one file ---- */

static int run(struct piece *p, const char *path, struct err *err)
{
    struct session *s = p->s;
    const char *task = app_flag(s->app, "task");
    struct pipeline_opts o = {.engine = s->engine,
                              .slots = s->slots,
                              .request = {.language = media_language(s->app->conf),
                                          .task = task ? task : "transcribe",
                                          .prompt = app_flag(s->app, "prompt")},
                              .warning = s->warning,
                              .smaller_ok = s->smaller_ok,
                              .audio_path = path,
                              .input_sha256 = "",
                              .temp_folder = temp_path(s->temp),
                              .decode = media_decode(s->app->conf),
                              .cancel = &s->cancel,
                              .hooks = {.arg = p, .text = on_text, .progress = on_progress}};
    struct pipeline_report report;
    int rc = ask_options(&o, &s->options, &s->settings, &s->arena, err);
    if (rc == 0)
        rc = pipeline_run(&o, &p->transcript, &report, err);
    bar_clear(&p->bar);
    if (rc == 0 && s->form.format != FORMAT_TXT)
        rc = format_write_laid_out(&p->transcript, s->form.format, &s->form.subtitles, output_write, &p->out, err);
    return rc < 0 ? rc : output_commit(&p->out, err);
}

static int transcribe_piece(struct piece *p, struct err *err)
{
    struct session *s = p->s;
    CLEANUP(free_p) char *path = NULL;
    bool ours = false;
    int rc = input_find(p->file, temp_path(s->temp), &s->cancel, &path, &ours, err);
    if (rc == 0 && s->several && !s->to)
        rc = app_print_headline(p->file, err);
    if (rc == 0)
        rc = run(p, path, err);
    if (ours)
        unlink(path);
    return rc;
}

static void warn(const struct piece *p)
{
    struct err e = ERR_INIT;
    err_set(&e, ERR_CORRUPT, "'%s': %s", p->file, p->transcript.warning);
    app_complain(p->s->app->cmd, &e);
}

static int transcribe(struct session *s, const char *file, struct err *err)
{
    struct piece p = {.s = s, .file = file};
    const char *slash = strrchr(file, '/');
    bar_init(&p.bar, slash ? slash + 1 : file, BAR_AUDIO_MS);
    transcript_init(&p.transcript);
    int rc = output_open(&p.out, s->to, s->folder, file, format_info(s->form.format)->ending, err);
    if (rc == 0)
        rc = outputs_claim(&s->written, p.out.path, file, err);
    if (rc == 0)
        rc = transcribe_piece(&p, err);
    output_clear(&p.out);
    bar_clear(&p.bar);
    if (rc == 0 && p.transcript.warning)
        warn(&p);
    transcript_clear(&p.transcript);
    return rc < 0 ? err_wrap(err, "'%s'", file) : 0;
}

/* ---- all of them ---- */

/* What the flags ask for, and the settings behind them. */
static int take_options(struct session *s, struct err *err)
{
    static const struct {
        enum job_option option;
        const char *flag;
    } rows[] = {
#define X(kind, name, flag, arg, min, max, choices, help) {JOB_OPTION_##name, flag},
        JOB_OPTIONS_OF_ONE_JOB(X)
#undef X
    };
    int rc = media_options(s->app->conf, &s->arena, &s->settings, err);
    for (size_t i = 0; i < ARRAY_LEN(rows) && rc == 0; i++) {
        const char *value = app_flag(s->app, rows[i].flag);
        rc = value ? job_options_set(&s->options, rows[i].option, value, &s->arena, err) : 0;
    }
    return rc;
}

static int session_open(struct session *s, struct err *err)
{
    const struct conf *conf = s->app->conf;
    const char *parent = media_scratch(conf);
    const struct model_wish wish = {
        .name = s->engine_opts.model, .language = media_language(conf), .task = app_flag(s->app, "task")};
    struct model_names names;
    int removed = 0, rc = take_options(s, err);
    if (rc == 0)
        rc = media_model_names(conf, &s->arena, &names, err);
    if (rc == 0)
        s->smaller_ok = !names.missing_is_error;
    if (rc == 0)
        rc = choose_open(&s->engine_opts, &names, &wish, &s->arena, &s->engine, &s->warning, err);
    if (rc == 0)
        rc = slots_new(engine_slots(s->engine), &s->slots, err);
    if (rc == 0)
        rc = temp_sweep(parent, &removed, err);
    return rc < 0 ? rc : temp_open(parent, &s->temp, err);
}

static void session_close(struct session *s)
{
    outputs_clear(&s->written);
    arena_clear(&s->arena);
    temp_close(s->temp);
    slots_free(s->slots);
    engine_close(s->engine);
}

/* Nobody shall take a draft for more. */
static void name_quality(const struct session *s)
{
    static const struct engine_request any = {.task = "transcribe"};
    const struct engine_info *info = engine_info(s->engine);
    CLEANUP(buf_clear) struct buf b = BUF_INIT(1024);
    struct err ignored = ERR_INIT;
    if (!isatty(STDERR_FILENO) || str_eq(info->quality, "standard"))
        return;
    buf_addf(&b, "engine %s, model %s: %s quality\n", info->name, engine_model(s->engine, &any), info->quality);
    if (buf_ok(&b) && io_write_all(STDERR_FILENO, b.data, b.len, &ignored) < 0) {
        /* Nobody left to tell. */
    }
}

int cmd_transcribe(struct app *app, int argc, char **argv, struct err *err)
{
    struct session s = {.app = app,
                        .to = app_flag(app, "output"),
                        .several = argc > 1,
                        .engine_opts = media_engine(app->conf),
                        .arena = ARENA_INIT};
    if (transcribe_remote_asked(app))
        return transcribe_remote(app, argc, argv, err);
    s.folder = output_is_folder(s.to, s.several);
    outputs_init(&s.written, (size_t)argc);
    struct watcher watcher = WATCHER_INIT;
    int rc = transcript_form(app, &s.form, err), status = STATUS_OK;
    if (rc == 0)
        rc = session_open(&s, err);
    if (rc == 0)
        rc = watcher_start(&watcher, &s.cancel, err);
    if (rc == 0)
        name_quality(&s);
    for (int i = 0; rc == 0 && i < argc; i++) {
        struct err e = ERR_INIT;
        int failed = transcribe(&s, argv[i], &e);
        if (failed < 0 && stop_requested()) {
            status = STATUS_INTERRUPTED;
            break;
        }
        if (failed < 0) {
            app_complain(app->cmd, &e);
            status = STATUS_FAILED;
        }
    }
    watcher_stop(&watcher);
    session_close(&s);
    return rc < 0 ? rc : status;
}
