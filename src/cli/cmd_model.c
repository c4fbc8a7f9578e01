/* SPDX-License-Identifier: MIT */
/* steno model list, info, pull, verify: Whisper's models in the model folder. */
#include "base/io.h"
#include "base/stop.h"
#include "base/str.h"
#include "cli/app.h"
#include "cli/download.h"
#include "cli/media.h"
#include "cli/sha256.h"
#include "whisper/whisper.h"

#include <errno.h>
#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/stat.h>
#include <unistd.h>

enum { MAX_TEXT = 4 << 20 };

static const char *languages_of(const struct whisper_info *i)
{
    return !i->multilingual ? "English" : i->dims.n_vocab > 51865 ? "100 languages" : "99 languages";
}

static void add_megabytes(struct buf *b, int64_t bytes)
{
    buf_addf(b, "%.1f MB", (double)bytes / 1e6);
}

static json_t *to_json(const char *path, const struct whisper_info *i)
{
    const struct whisper_dims *d = &i->dims;
    return json_pack("{s:s, s:s, s:s, s:I, s:I, s:b, s:b, s:{s:i, s:i, s:i, s:i, s:i, s:i}}", "name", i->name, "path",
                     path, "type", i->file_type, "bytes", (json_int_t)i->file_bytes, "parameters",
                     (json_int_t)i->parameters, "multilingual", i->multilingual, "can_translate", i->can_translate,
                     "dimensions", "vocabulary", d->n_vocab, "mels", d->n_mels, "state", d->audio_state, "heads",
                     d->audio_heads, "encoder_layers", d->audio_layers, "decoder_layers", d->text_layers);
}

static int add_json(struct buf *b, json_t *json, struct err *err)
{
    CLEANUP(free_p) char *text = json ? json_dumps(json, JSON_INDENT(2)) : NULL;
    json_decref(json);
    if (!text)
        return err_set(err, ERR_INTERNAL, "a model's name or path is not well-formed UTF-8");
    buf_addf(b, "%s\n", text);
    return 0;
}

/* ---- list ---- */

struct listing {
    struct buf b;
    json_t *json; /* NULL: as text */
};

static int list_one(const char *path, void *arg, struct err *err)
{
    struct listing *l = arg;
    CLEANUP(arena_clear) struct arena a = ARENA_INIT;
    struct whisper_info info;
    struct err why = ERR_INIT;
    if (stop_requested())
        return err_set(err, ERR_CANCELLED, "stopped");
    int rc = whisper_inspect(path, &a, &info, &why);
    if (l->json) {
        json_array_append_new(l->json,
                              rc < 0 ? json_pack("{s:s, s:s}", "path", path, "error", why.msg) : to_json(path, &info));
        return 0;
    }
    if (rc < 0) {
        str_add_printable(&l->b, why.msg);
        buf_addc(&l->b, '\n');
        return 0;
    }
    CLEANUP(buf_clear) struct buf size = BUF_INIT(64), name = BUF_INIT(4096);
    add_megabytes(&size, info.file_bytes);
    str_add_printable(&name, info.name);
    buf_addf(&l->b, "%-20s  %10s  %-16s  %6.0f M parameters  %s\n", buf_str(&name), buf_str(&size), info.file_type,
             (double)info.parameters / 1e6, languages_of(&info));
    return 0;
}

int cmd_model_list(struct app *app, int argc, char **argv, struct err *err)
{
    (void)argc;
    (void)argv;
    CLEANUP(free_p) char *folder = media_model_folder(app->conf);
    struct listing l = {.b = BUF_INIT(MAX_TEXT), .json = app_has(app, "json") ? json_array() : NULL};
    int rc = whisper_list_models(folder, list_one, &l, err);
    if (rc == 0 && l.json)
        rc = add_json(&l.b, TAKE(l.json), err);
    else if (rc == 0 && !l.b.len)
        buf_addf(&l.b, "There are no models in '%s'. Get one: steno model pull base.en\n", folder);
    json_decref(l.json);
    if (rc == 0)
        rc = app_print(&l.b, err);
    buf_clear(&l.b);
    return rc;
}

/* ---- info ---- */

int cmd_model_info(struct app *app, int argc, char **argv, struct err *err)
{
    (void)argc;
    CLEANUP(free_p) char *folder = media_model_folder(app->conf), *path = NULL;
    CLEANUP(arena_clear) struct arena a = ARENA_INIT;
    CLEANUP(buf_clear) struct buf b = BUF_INIT(MAX_TEXT);
    struct whisper_info i = {.name = ""};
    int rc = whisper_find_model(folder, argv[0], &path, err);
    if (rc == 0)
        rc = whisper_inspect(path, &a, &i, err);
    if (rc < 0)
        return rc;
    if (app_has(app, "json")) {
        rc = add_json(&b, to_json(path, &i), err);
        return rc < 0 ? rc : app_print(&b, err);
    }
    const struct whisper_dims *d = &i.dims;
    buf_adds(&b, "name        ");
    str_add_printable(&b, i.name);
    buf_adds(&b, "\npath        ");
    str_add_printable(&b, path);
    buf_addf(&b, "\ntype        %s\nsize        ", i.file_type);
    add_megabytes(&b, i.file_bytes);
    buf_addf(&b, "\nparameters  %.1f million\n", (double)i.parameters / 1e6);
    buf_addf(&b, "languages   %s, %s\n", languages_of(&i),
             i.can_translate ? "can translate to English" : "no translation");
    buf_addf(&b, "encoder     %d layers of %d, %d heads, %d mel bands\n", d->audio_layers, d->audio_state,
             d->audio_heads, d->n_mels);
    buf_addf(&b, "decoder     %d layers, vocabulary of %d\n", d->text_layers, d->n_vocab);
    return app_print(&b, err);
}

/* ---- verify ---- */

static void add_packed(struct buf *b, const struct whisper_verified *v)
{
    if (v->good)
        buf_addf(b, "; %u packed in the cache", v->good);
    if (v->stale)
        buf_addf(b, "; %u packed from an earlier file (removed)", v->stale);
    if (v->damaged)
        buf_addf(b, "; %u packed but damaged (removed: the next load packs anew)", v->damaged);
}

static int verify_one(struct app *app, const char *name, struct err *err)
{
    CLEANUP(free_p) char *folder = media_model_folder(app->conf), *path = NULL;
    CLEANUP(buf_clear) struct buf b = BUF_INIT(MAX_TEXT);
    char sum[SHA256_HEX] = "", noted[SHA256_HEX] = "";
    struct stat st = {.st_mode = 0};
    int rc = whisper_find_model(folder, name, &path, err);
    if (rc == 0 && stat(path, &st) < 0)
        rc = err_sys(err, errno, "cannot read '%s'", path);
    if (rc < 0)
        return rc;
    int note = 0;
    if (S_ISREG(st.st_mode)) {
        rc = sha256_file(path, sum, err);
        note = rc < 0 ? rc : sha256_read_note(path, noted, err);
        if (note < 0)
            return note;
        if (note > 0 && strcmp(sum, noted) != 0)
            return err_set(err, ERR_CORRUPT, "'%s' has SHA-256 %s, but %s was noted: it has changed, get it again",
                           path, sum, noted);
    }
    CLEANUP(free_p) char *cache = xasprintf("%s/cache", app->conf->data);
    struct whisper_verified v;
    rc = whisper_verify(path, cache, NULL, &v, err);
    if (rc < 0)
        return rc;
    str_add_printable(&b, path);
    buf_addf(&b, ": fine%s%s%s", sum[0] ? ", SHA-256 " : "", sum,
             note > 0 ? " as noted"
             : sum[0] ? " (none was noted to compare with)"
                      : "");
    add_packed(&b, &v);
    buf_addc(&b, '\n');
    return app_print(&b, err);
}

int cmd_model_verify(struct app *app, int argc, char **argv, struct err *err)
{
    return app_each(app, argc, argv, verify_one, err);
}

/* ---- pull ---- */

static int check_name(const char *name, struct err *err)
{
    static const char good[] = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789._-";
    if (!name[0] || name[0] == '.' || strspn(name, good) != strlen(name))
        return err_set(err, ERR_INVALID, "'%.60s' is no name of a model: it is one like base.en or large-v3-turbo",
                       name);
    return 0;
}

/* The part has all its bytes: is it what it should be, and a model? Then it gets its name. */
static int accept_part(const char *part, const char *path, const char *wanted, struct err *err)
{
    CLEANUP(arena_clear) struct arena a = ARENA_INIT;
    struct whisper_info info;
    char sum[SHA256_HEX];
    int rc = sha256_file(part, sum, err);
    if (rc < 0)
        return rc;
    if (wanted[0] && strcasecmp(sum, wanted) != 0) {
        download_forget(part);
        return err_set(err, ERR_CORRUPT, "what came has SHA-256 %s, not %s: it was removed", sum, wanted);
    }
    rc = whisper_inspect(part, &a, &info, err);
    if (rc < 0) {
        download_forget(part);
        return err_wrap(err, "what came was removed");
    }
    /* The sum first: a model without one is less than a sum without a model. */
    rc = sha256_write_note(path, sum, err);
    if (rc == 0 && rename(part, path) < 0)
        rc = err_sys(err, errno, "cannot name '%s'", path);
    if (rc < 0)
        return rc;
    download_forget(part);
    CLEANUP(buf_clear) struct buf b = BUF_INIT(MAX_TEXT);
    str_add_printable(&b, path);
    buf_addf(&b, ": %s, ", info.file_type);
    add_megabytes(&b, info.file_bytes);
    buf_addf(&b, ", SHA-256 %s%s\n", sum, wanted[0] ? "" : " (the server names none to compare with)");
    return app_print(&b, err);
}

static int pull(struct app *app, const char *name, const char *folder, const char *path, struct err *err)
{
    CLEANUP(free_p) char *part = xasprintf("%s.part", path);
    const char *base = app->conf->model_url, *wanted = app_flag(app, "sha256");
    CLEANUP(free_p) char *url = xasprintf("%s%sggml-%s.bin", base, str_ends(base, "/") ? "" : "/", name);
    char served[DOWNLOAD_SUM_SIZE];
    CLEANUP(close_fd) int fd = -1;
    int rc = io_mkdir_p(folder, err);
    if (rc == 0)
        rc = download_begin(part, &fd, err);
    if (rc < 0)
        return rc;
    struct bar bar;
    bar_init(&bar, name, BAR_BYTES);
    rc = download(url, part, fd, &bar, served, err);
    if (rc == 0) {
        bar_clear(&bar);
        rc = accept_part(part, path, wanted ? wanted : served, err);
    }
    bar_clear(&bar);
    return rc < 0 ? rc : io_sync_dir(folder, err);
}

int cmd_model_pull(struct app *app, int argc, char **argv, struct err *err)
{
    (void)argc;
    CLEANUP(free_p) char *folder = media_model_folder(app->conf);
    const char *wanted = app_flag(app, "sha256");
    int rc = check_name(argv[0], err);
    if (rc < 0)
        return rc;
    if (wanted && !sha256_valid(wanted))
        return err_set(err, ERR_INVALID, "--sha256 takes 64 hexadecimal digits");
    CLEANUP(free_p) char *path = xasprintf("%s/ggml-%s.bin", folder, argv[0]);
    if (access(path, F_OK) < 0 || app_has(app, "force"))
        return pull(app, argv[0], folder, path, err);
    CLEANUP(buf_clear) struct buf b = BUF_INIT(MAX_TEXT);
    str_add_printable(&b, path);
    buf_adds(&b, " is there already; --force gets it again\n");
    return app_print(&b, err);
}
