/* SPDX-License-Identifier: MIT */
#include "cli/app.h"

#include "base/clock.h"
#include "base/io.h"
#include "base/stop.h"
#include "base/str.h"
#include "broker/broker.h"
#include "cli/client.h"
#include "cli/flags.h"
#include "cli/reload.h"
#include "cli/role.h"
#include "cli/server_url.h"
#include "db/db.h"
#include "db/migrate.h"
#include "job/store.h"
#include "storage/storage.h"
#include "whisper/openmp.h"
#include "worker/retention.h"
#include "worker/retry.h"

#include <poll.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* A command that runs once needs few connections; roles run many statements at a time. */
enum { FEW_READERS = 1, FEW_CONNECTIONS = 2, ROLE_READERS = 8, DB_BUSY_MS = 10000 };
enum { DB_PATIENCE_MS = 60000, DB_PAUSE_MS = 500 };

struct conf_load_opts app_conf_sources(const struct app *app)
{
    return (struct conf_load_opts){
        .file = app->flags->config,
        .environ = (const char *const *)environ,
        .flags = (const char *const *)app->flags->conf,
    };
}

void app_log_notes(const struct app *app)
{
    const char *note;
    for (size_t i = 0; (note = conf_note(app->conf, i)); i++)
        log_info(&app->log, "%s", note);
}

void app_queues(const struct conf *c, struct job_queues *ret)
{
    struct err fine = ERR_INIT; /* it was looked at when the settings were read (check_lists) */
    if (job_queues_parse(c->worker_queues, ret, &fine) < 0)
        ret->n = 0;
}

int app_retry_policy(const struct conf *c, struct retry_policy *ret, struct err *err)
{
    *ret =
        (struct retry_policy){.max_attempts = (int)c->max_attempts, .base_ms = c->retry_base, .cap_ms = c->retry_cap};
    return retry_policy_parse(c->retry_policy, ret, err);
}

void app_retention(const struct conf *c, struct retention *ret)
{
    *ret = (struct retention){.audio_ms = c->keep_audio, .results_ms = c->keep_results, .jobs_ms = c->keep_jobs};
}

/* Settings that are lists, which the table of options cannot check. */
static int check_lists(const struct conf *c, struct err *err)
{
    struct job_queues queues;
    struct retry_policy policy;
    if (job_queues_parse(c->worker_queues, &queues, err) < 0)
        return err_wrap(err, "%s: worker_queues", conf_where(c, "worker_queues"));
    if (app_retry_policy(c, &policy, err) < 0)
        return err_wrap(err, "%s: retry_policy", conf_where(c, "retry_policy"));
    return 0;
}

static int open_conf(struct app *app, struct err *err)
{
    struct conf_load_opts sources = app_conf_sources(app);
    int rc = conf_load(&sources, &app->conf, err);
    if (rc >= 0)
        rc = check_lists(app->conf, err);
    if (rc < 0)
        return rc;
    reload_log_setup(app->conf);
    /* Under a supervisor that one has said it. */
    if (app->cmd->needs & CMD_ROLE && !role_supervised())
        app_log_notes(app);
    return 0;
}

static int open_db(struct app *app, unsigned needs, struct err *err)
{
    struct db_opts opts = {
        .url = app->conf->database,
        .readers = needs & CMD_ROLE ? ROLE_READERS : FEW_READERS,
        .pool = needs & CMD_ROLE ? (unsigned)app->conf->database_pool : FEW_CONNECTIONS,
        .busy_ms = DB_BUSY_MS,
    };
    int rc = db_open(&opts, &app->db, err);
    if (rc < 0 || !(needs & NEED_STORE))
        return rc;
    int applied = 0;
    rc = migrate_up(app->db, &applied, err);
    if (rc < 0)
        return rc;
    if (applied)
        log_info(&app->log, "database: %d migration%s applied", applied, applied == 1 ? "" : "s");
    struct store_opts store = {
        .small_bytes = app->conf->short_job_size,
        .order = str_eq(app->conf->queue_order, "lifo") ? JOB_LIFO : JOB_FIFO,
        .max_attempts = (int)app->conf->max_attempts,
        .alone_patience_ms = app->conf->alone_patience,
        .death_pause_ms = app->conf->death_pause,
        .max_deaths = (int)app->conf->max_deaths,
    };
    app_queues(app->conf, &store.queues);
    return store_new(app->db, &store, &app->store, err);
}

/*
 * A role is often started with the machine, or again while its database is away: it waits a while rather than make its
 * supervisor count failures. An embedded database that does not open needs a person.
 */
static int open_db_patiently(struct app *app, unsigned needs, struct err *err)
{
    bool may_wait = needs & CMD_ROLE && strncmp(app->conf->database, "postgres", strlen("postgres")) == 0;
    int64_t began = clock_mono_ms();
    bool said = false;
    for (;;) {
        struct err e = ERR_INIT;
        int rc = open_db(app, needs, &e);
        if (rc >= 0) {
            if (said)
                log_info(&app->log, "the database is there, after %.1f s", (double)(clock_mono_ms() - began) / 1000);
            return rc;
        }
        store_free(app->store);
        db_close(app->db);
        app->store = NULL;
        app->db = NULL;
        if (!may_wait || (rc != ERR_UNAVAILABLE && rc != ERR_TIMEOUT) || clock_mono_ms() - began > DB_PATIENCE_MS) {
            *err = e;
            return rc;
        }
        if (!said)
            log_warn(&app->log, "%s; tried again for %d s", e.msg, DB_PATIENCE_MS / 1000);
        said = true;
        (void)poll(&(struct pollfd){.fd = stop_fd(), .events = POLLIN}, 1, DB_PAUSE_MS);
        if (stop_requested())
            return err_set(err, ERR_CANCELLED, "stopped while it waited for the database");
    }
}

static int open_storage(struct app *app, struct err *err)
{
    const struct conf *c = app->conf;
    const struct storage_s3_opts s3 = {
        .endpoint = c->s3_endpoint,
        .region = c->s3_region,
        .access_key = c->s3_access_key,
        .secret_key = c->s3_secret_key,
        .session_token = c->s3_session_token,
        .public_url = c->s3_public_url,
        .ca_file = c->s3_ca_file,
        .temp = c->temp,
        .style = str_eq(c->s3_style, "path")      ? STORAGE_S3_PATH
                 : str_eq(c->s3_style, "virtual") ? STORAGE_S3_VIRTUAL
                                                  : STORAGE_S3_AUTO,
        .part_size = c->s3_part_size,
        .timeout_ms = c->s3_timeout,
    };
    const struct storage_opts opts = {.url = c->storage, .s3 = &s3, .no_sync = !c->storage_sync};
    return storage_open_with(&opts, &app->storage, err);
}

static int open_broker(struct app *app, unsigned needs, struct err *err)
{
    struct job_queues queues;
    app_queues(app->conf, &queues);
    const char *take[QUEUE_COUNT + 1] = {NULL};
    for (size_t i = 0; i < queues.n; i++)
        take[i] = job_queue_name(queues.v[i]);
    struct broker_opts opts = {
        .url = app->conf->broker,
        .tokens = needs & NEED_TOKENS,
        .events = needs & NEED_EVENTS,
        .take = take,
        .queue_high = app->conf->queue_high,
        .queue_normal = app->conf->queue_normal,
        .queue_retry = app->conf->queue_retry,
        .queue_dead = app->conf->queue_dead_letters,
        .channel = app->conf->events_channel,
        .exchange = app->conf->queue_exchange,
    };
    return broker_open(&opts, &app->broker, err);
}

int app_open_client(struct app *app, struct err *err)
{
    CLEANUP(free_p) char *url = NULL;
    int rc = server_url(app->conf, &url, err);
    return rc < 0 ? rc : client_open(url, &app->client, err);
}

/* Roles read SIGHUP (cli/reload.h); anything else ends by it. */
static void allow_hangup(void)
{
    sigset_t hup;
    sigemptyset(&hup);
    sigaddset(&hup, SIGHUP);
    pthread_sigmask(SIG_UNBLOCK, &hup, NULL);
}

int app_open(struct app *app, struct err *err)
{
    unsigned needs = app->cmd->needs;
    int rc = 0;
    app->log.component = app->cmd->name;
    if (needs & CMD_ROLE)
        rc = role_start(err);
    if (rc >= 0 && needs & NEED_CONF)
        rc = open_conf(app, err);
    if (rc >= 0 && needs & CMD_ENGINE)
        rc = openmp_start((unsigned)app->conf->threads, app->argv, err);
    if (needs & CMD_ENGINE && !(needs & CMD_ROLE))
        allow_hangup();
    if (rc >= 0 && needs & CMD_ROLE)
        rc = reload_start(app, &app->reload, err);
    /* 0700 for new folders: recordings are private. */
    if (rc >= 0 && needs & (NEED_DATA | NEED_DB | NEED_STORE | NEED_STORAGE | NEED_BROKER | NEED_TOKENS | NEED_EVENTS))
        rc = io_mkdir_p(app->conf->data, err);
    if (rc >= 0 && needs & (NEED_DB | NEED_STORE))
        rc = open_db_patiently(app, needs, err);
    if (rc >= 0 && needs & NEED_STORAGE)
        rc = open_storage(app, err);
    if (rc >= 0 && needs & (NEED_BROKER | NEED_TOKENS | NEED_EVENTS))
        rc = open_broker(app, needs, err);
    if (rc >= 0 && needs & NEED_SERVER)
        rc = app_open_client(app, err);
    return rc;
}

void app_close(struct app *app)
{
    client_close(app->client);
    broker_close(app->broker);
    storage_close(app->storage);
    store_free(app->store);
    db_close(app->db);
    reload_stop(app->reload);
    conf_free(app->conf);
}

const char *app_flag(const struct app *app, const char *name)
{
    return flags_get(app->flags, name);
}

const char *app_setting_given(const struct app *app, const char *name)
{
    size_t n = strlen(name);
    for (size_t i = app->flags->n_conf; i-- > 0;)
        if (strncmp(app->flags->conf[i], name, n) == 0 && app->flags->conf[i][n] == '=')
            return app->flags->conf[i] + n + 1;
    return NULL;
}

int app_flag_int(const struct app *app, const char *name, int64_t min, int64_t max, int64_t def, int64_t *ret,
                 struct err *err)
{
    const char *text = app_flag(app, name);
    int64_t v = def;
    if (text && (!str_to_i64(text, &v) || v < min || v > max))
        return err_set(err, ERR_INVALID, "--%s takes a number from %lld to %lld, not '%s'", name, (long long)min,
                       (long long)max, text);
    *ret = v;
    return 0;
}

int app_print(struct buf *text, struct err *err)
{
    int rc = buf_check(text, "the output", err);
    return rc < 0 ? rc : io_write_all(STDOUT_FILENO, buf_str(text), text->len, err);
}

int app_print_headline(const char *file, struct err *err)
{
    CLEANUP(buf_clear) struct buf b = BUF_INIT(8192);
    buf_adds(&b, "==> ");
    str_add_printable(&b, file);
    buf_adds(&b, " <==\n");
    return app_print(&b, err);
}

void app_complain(const struct cmd *cmd, const struct err *err)
{
    CLEANUP(buf_clear) struct buf b = BUF_INIT(4096);
    struct err ignored = ERR_INIT;
    buf_addf(&b, "steno %s: ", cmd->name);
    str_add_printable(&b, err->msg);
    buf_addc(&b, '\n');
    if (buf_ok(&b) && io_write_all(STDERR_FILENO, b.data, b.len, &ignored) < 0) {
        /* Nobody left to tell. */
    }
}

int app_each(struct app *app, int argc, char **argv, app_each_fn fn, struct err *err)
{
    if (argc == 1)
        return fn(app, argv[0], err);
    int first = STATUS_OK;
    for (int i = 0; i < argc; i++) {
        struct err e = ERR_INIT;
        int rc = fn(app, argv[i], &e);
        if (rc < 0) {
            app_complain(app->cmd, &e);
            rc = (int)exit_status_of(rc);
        }
        if (!first)
            first = rc;
        if (rc == STATUS_INTERRUPTED)
            break;
    }
    return first;
}
