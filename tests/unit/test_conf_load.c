/* SPDX-License-Identifier: MIT */
/* Loading: where values come from and which one wins, what aliases mean, where the data folder is, what is refused. */
#include "conf/conf.h"

#include "base/io.h"
#include "base/mem.h"
#include "base/str.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

/* A folder with the data folder "d" in it, and the sources of one load. */
struct place {
    char dir[64];
    struct arena mem;
    const char *env[16];
    size_t n_env;
    struct conf_load_opts o;
    struct conf *c;
    struct err err;
};

static int setup(void **state)
{
    struct place *p = xcalloc(1, sizeof *p);
    const char *tmp = getenv("TMPDIR");
    snprintf(p->dir, sizeof p->dir, "%.40s/steno-conf-XXXXXX", tmp ? tmp : "/tmp");
    p->mem = (struct arena)ARENA_INIT;
    *state = p;
    if (!mkdtemp(p->dir))
        return -1;
    p->env[p->n_env++] = arena_printf(&p->mem, "STENO_DATA=%s/d", p->dir);
    p->o = (struct conf_load_opts){.dotenv = "", .environ = p->env};
    return io_mkdir_p(arena_printf(&p->mem, "%s/d", p->dir), &p->err);
}

static int teardown(void **state)
{
    struct place *p = *state;
    int rc = io_remove_tree(p->dir, &p->err);
    conf_free(p->c);
    arena_clear(&p->mem);
    free(p);
    return rc;
}

/* Writes a file into the folder; its path. */
static const char *put(struct place *p, const char *name, const char *text)
{
    const char *path = arena_printf(&p->mem, "%s/%s", p->dir, name);
    FILE *f = fopen(path, "w");
    assert_non_null(f);
    assert_true(fputs(text, f) >= 0);
    assert_int_equal(fclose(f), 0);
    return path;
}

static void env(struct place *p, const char *entry)
{
    assert_true(p->n_env < ARRAY_LEN(p->env) - 1);
    p->env[p->n_env++] = entry;
}

static const struct conf *load(struct place *p)
{
    conf_free(TAKE(p->c));
    if (conf_load(&p->o, &p->c, &p->err) != 0)
        fail_msg("%s", p->err.msg);
    return p->c;
}

/* The sentence of the error with the folder's path written "<dir>". */
static const char *refused(struct place *p, int class)
{
    struct conf *untouched = (struct conf *)p;
    assert_int_equal(conf_load(&p->o, &untouched, &p->err), class);
    assert_ptr_equal(untouched, p);
    CLEANUP(buf_clear) struct buf b = BUF_INIT(2000);
    const char *s = p->err.msg;
    for (const char *at; (at = strstr(s, p->dir)); s = at + strlen(p->dir)) {
        buf_add(&b, s, (size_t)(at - s));
        buf_adds(&b, "<dir>");
    }
    buf_adds(&b, s);
    return arena_strdup(&p->mem, buf_str(&b));
}

/* Is there exactly one note with this text in it? */
static bool noted(const struct conf *c, const char *text)
{
    int n = 0;
    const char *s;
    for (size_t i = 0; (s = conf_note(c, i)); i++)
        n += strstr(s, text) != NULL;
    return n == 1;
}

static void test_defaults(void **state)
{
    struct place *p = *state;
    const struct conf *c = load(p);
    assert_string_equal(c->listen, "127.0.0.1:8000");
    assert_string_equal(c->engine, "auto");
    assert_string_equal(c->queue_order, "fifo");
    assert_string_equal(c->server, "");
    assert_string_equal(c->model, "");
    assert_string_equal(c->ffmpeg, "ffmpeg");
    assert_string_equal(c->s3_secret_key, "");
    assert_int_equal(c->max_upload_size, (int64_t)2 << 30);
    assert_int_equal(c->max_queue_size, 0);
    assert_int_equal(c->worker_concurrency, 4);
    assert_int_equal(c->engine_slots, 0);
    assert_int_equal(c->lease, 30000);
    assert_int_equal(c->poll_interval, 2000);
    assert_int_equal(c->sweep_interval, 30000);
    assert_int_equal(c->drain_timeout, 30000);
    assert_int_equal(c->job_time_limit, 3600000);
    assert_int_equal(c->max_attempts, 5);
    assert_int_equal(c->retry_base, 5000);
    assert_int_equal(c->retry_cap, 600000);
    assert_int_equal(c->max_deaths, 3);
    assert_int_equal(c->upload_time_limit, 3600000);
    assert_int_equal(c->keep_audio, 7 * CONF_DAY);
    assert_int_equal(c->decode_memory, 1536 * CONF_MIB);
    assert_int_equal(c->decode_time_limit, 1800000);
    assert_int_equal(c->http_threads, 2);
    assert_int_equal(c->work_threads, 16);
    assert_string_equal(conf_where(c, "lease"), "default");
    assert_string_equal(conf_where(c, "no such"), "nowhere");
    assert_null(conf_note(c, 0));
    assert_null(conf_file(c));
}

/* The five sources, each one stronger than the one before. */
static void test_later_sources_win(void **state)
{
    struct place *p = *state;
    p->o.file = put(p, "my.ini", "# c\nlease = 11s\nmodel = file\n[steno]\nwork_threads = 3\n");
    const struct conf *c = load(p);
    assert_int_equal(c->lease, 11000);
    assert_int_equal(c->work_threads, 3);
    assert_string_equal(conf_file(c), p->o.file);
    assert_string_equal(conf_where(c, "lease"), arena_printf(&p->mem, "%s:2", p->o.file));

    p->o.dotenv = put(p, "my.env", "STENO_LEASE=12s\n");
    c = load(p);
    assert_int_equal(c->lease, 12000);
    assert_string_equal(conf_where(c, "lease"), arena_printf(&p->mem, "%s:1", p->o.dotenv));

    env(p, "STENO_LEASE=13s");
    c = load(p);
    assert_int_equal(c->lease, 13000);
    assert_string_equal(conf_where(c, "lease"), "environment STENO_LEASE");

    p->o.flags = (const char *const[]){"lease=14s", "max-upload-size=1M", "max_queue_size=7", NULL};
    c = load(p);
    assert_int_equal(c->lease, 14000);
    assert_int_equal(c->max_upload_size, CONF_MIB);
    assert_int_equal(c->max_queue_size, 7);
    assert_string_equal(conf_where(c, "lease"), "flag --lease");
    assert_string_equal(conf_where(c, "max_upload_size"), "flag --max-upload-size");
    assert_string_equal(c->model, "file");
    assert_null(conf_note(c, 0));
}

static void test_empty_values(void **state)
{
    struct place *p = *state;
    p->o.file = put(p, "my.ini", "model = file\nlanguage = en\n");
    p->o.dotenv = put(p, "my.env", "STENO_MODEL=\nREDIS_URL=\n");
    env(p, "STENO_LEASE="); /* as docker-compose writes what is not set */
    env(p, "DATABASE_URL=");
    env(p, "STENO_CONFIG=");
    p->o.flags = (const char *const[]){"language=", NULL};
    const struct conf *c = load(p);
    assert_string_equal(c->model, "file");
    assert_int_equal(c->lease, 30000);
    assert_string_equal(c->language, ""); /* on the command line it was meant */
    assert_true(str_starts(c->database, "sqlite:"));
    p->o.flags = (const char *const[]){"lease=", NULL};
    assert_string_equal(refused(p, ERR_INVALID),
                        "flag --lease: lease = '' is wrong: allowed is 1s to 1h; a bare number counts seconds");
}

static void test_the_file_is_found(void **state)
{
    struct place *p = *state;
    put(p, "d/steno.ini", "lease = 21s\n");
    const struct conf *c = load(p);
    assert_int_equal(c->lease, 21000);
    assert_string_equal(conf_file(c), arena_printf(&p->mem, "%s/d/steno.ini", p->dir));

    /* A named one instead, by .env, by the environment, by the command line. */
    put(p, "a.ini", "lease = 22s\n");
    put(p, "b.ini", "lease = 23s\n");
    put(p, "c.ini", "lease = 24s\n");
    p->o.dotenv = put(p, "my.env", arena_printf(&p->mem, "STENO_CONFIG=%s/a.ini\n", p->dir));
    assert_int_equal(load(p)->lease, 22000);
    env(p, arena_printf(&p->mem, "STENO_CONFIG=%s/b.ini", p->dir));
    assert_int_equal(load(p)->lease, 23000);
    p->o.file = arena_printf(&p->mem, "%s/c.ini", p->dir);
    assert_int_equal(load(p)->lease, 24000);

    /* A named one must be there. */
    p->o.file = arena_printf(&p->mem, "%s/none.ini", p->dir);
    assert_string_equal(refused(p, ERR_NOT_FOUND), "cannot open '<dir>/none.ini': No such file or directory");
    p->o.file = NULL;
    p->o.dotenv = arena_printf(&p->mem, "%s/none.env", p->dir);
    assert_string_equal(refused(p, ERR_NOT_FOUND), "cannot open '<dir>/none.env': No such file or directory");
}

static void test_the_working_folder(void **state)
{
    struct place *p = *state;
    put(p, ".env", "STENO_LEASE=31s\n");
    CLEANUP(free_p) char *here = getcwd(NULL, 0);
    assert_non_null(here);
    p->env[0] = "STENO_DATA=rel/ative/";
    p->o.dotenv = NULL;
    assert_int_equal(chdir(p->dir), 0);
    CLEANUP(free_p) char *there = getcwd(NULL, 0);
    int rc = conf_load(&p->o, &p->c, &p->err);
    assert_int_equal(unlink(".env"), 0);
    struct conf *without = NULL;
    int rc2 = conf_load(&p->o, &without, &p->err);
    assert_int_equal(chdir(here), 0);
    assert_int_equal(rc, 0);
    assert_int_equal(rc2, 0);
    assert_int_equal(p->c->lease, 31000);
    assert_string_equal(conf_where(p->c, "lease"), ".env:1");
    assert_int_equal(without->lease, 30000);
    conf_free(without);
    assert_string_equal(p->c->data, arena_printf(&p->mem, "%s/rel/ative", there));
}

static void test_the_data_folder(void **state)
{
    struct place *p = *state;
    static const struct {
        const char *env[4], *data;
    } rows[] = {
        {{"STENO_DATA=/x/y", "XDG_STATE_HOME=/s", "HOME=/h"}, "/x/y"},
        {{"STENO_DATA=/x/y//"}, "/x/y"},
        {{"STENO_DATA=/"}, "/"},
        {{"XDG_STATE_HOME=/s", "HOME=/h"}, "/s/steno"},
        {{"XDG_STATE_HOME=relative", "HOME=/h"}, "/h/.local/state/steno"},
        {{"XDG_STATE_HOME=", "HOME=/h/"}, "/h/.local/state/steno"},
        {{"HOME=/"}, "/.local/state/steno"},
        {{"HOME="}, "/var/lib/steno"},
        {{"HOMES=/h"}, "/var/lib/steno"},
        {{NULL}, "/var/lib/steno"},
    };
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        p->o.environ = rows[i].env;
        assert_string_equal(load(p)->data, rows[i].data);
    }
    p->o.environ = NULL;
    p->o.flags = (const char *const[]){"data=/f", NULL};
    assert_string_equal(load(p)->data, "/f");
    p->o.flags = NULL;
    /* A named file may say it; the one that is found by it may not. */
    p->o.file = put(p, "my.ini", "data = /from/file\n");
    assert_string_equal(load(p)->data, "/from/file");
    p->o.file = NULL;
    p->o.environ = p->env;
    put(p, "d/steno.ini", "\ndata = /elsewhere\n");
    assert_string_equal(refused(p, ERR_INVALID), "<dir>/d/steno.ini:2: 'data' cannot be set in the file that was found "
                                                 "in the data folder itself");
}

static void test_paths_are_in_the_data_folder(void **state)
{
    struct place *p = *state;
    static const struct {
        const char *flags[5], *database, *storage, *broker, *temp;
    } rows[] = {
        {{"data=/d"}, "sqlite:/d/steno.db", "file:/d/objects", "local:/d/run", "/d/tmp"},
        {{"data=/"}, "sqlite:/steno.db", "file:/objects", "local:/run", "/tmp"},
        {{"database=sqlite:x/y.db", "storage=file:a", "broker=local:b", "temp=t"},
         "sqlite:/d/x/y.db",
         "file:/d/a",
         "local:/d/b",
         "/d/t"},
        {{"database=sqlite:/x/y.db", "storage=file:/a/", "broker=local:/b", "temp=/t"},
         "sqlite:/x/y.db",
         "file:/a",
         "local:/b",
         "/t"},
        {{"database=postgresql://h/d", "storage=s3://b", "broker=redis://h"},
         "postgresql://h/d",
         "s3://b",
         "redis://h",
         "/d/tmp"},
        {{"database=postgresql://h/d"}, "postgresql://h/d", "file:/d/objects", "postgresql://h/d", "/d/tmp"},
        {{"database=postgres://h/d", "broker=postgresql"},
         "postgres://h/d",
         "file:/d/objects",
         "postgres://h/d",
         "/d/tmp"},
        {{"database=postgres://h/d", "broker=local"}, "postgres://h/d", "file:/d/objects", "local:/d/run", "/d/tmp"},
        {{"broker=postgresql://h/d"}, "sqlite:/d/steno.db", "file:/d/objects", "postgresql://h/d", "/d/tmp"},
        {{"broker=auto"}, "sqlite:/d/steno.db", "file:/d/objects", "local:/d/run", "/d/tmp"},
        {{"broker=local:"}, "sqlite:/d/steno.db", "file:/d/objects", "local:/d/run", "/d/tmp"},
    };
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        p->env[0] = "STENO_DATA=/d";
        p->o.flags = rows[i].flags;
        const struct conf *c = load(p);
        assert_string_equal(c->database, rows[i].database);
        assert_string_equal(c->storage, rows[i].storage);
        assert_string_equal(c->broker, rows[i].broker);
        assert_string_equal(c->temp, rows[i].temp);
    }
    assert_string_equal(conf_path(p->c, &p->mem, "sub/x"), "/d/sub/x");
    assert_string_equal(conf_path(p->c, &p->mem, "/abs"), "/abs");
    struct arena full = {.max = 0};
    assert_null(conf_path(p->c, &full, "x"));
    p->o.flags = (const char *const[]){"database=sqlite:", NULL};
    assert_string_equal(refused(p, ERR_INVALID), "flag --database: database names no path behind 'sqlite:'");
    p->o.flags = (const char *const[]){"storage=file", NULL};
    assert_string_equal(refused(p, ERR_INVALID), "flag --storage: storage names no path behind 'file:'");
}

/* What is wrong, where, and what to do. */
static void test_refused(void **state)
{
    struct place *p = *state;
    static const struct {
        const char *file, *dotenv, *env, *flag, *msg;
    } rows[] = {
        {.file = "lease = 2h",
         .msg = "<dir>/my.ini:1: lease = '2h' is wrong: allowed is 1s to 1h; a bare number counts "
                "seconds"},
        {.file = "\nlaese = 2s", .msg = "<dir>/my.ini:2: there is no setting 'laese'; did you mean 'lease'?"},
        {.file = "max-queue-size = 2",
         .msg = "<dir>/my.ini:1: there is no setting 'max-queue-size'; did you mean 'max_queue_size'?"},
        {.file = "quux = 2", .msg = "<dir>/my.ini:1: there is no setting 'quux'; `steno config sample` lists them all"},
        {.file = "lease = 2s\n[steno]\nlease = 3s",
         .msg = "<dir>/my.ini:3: 'lease' is set twice, first at <dir>/my.ini:1"},
        {.file = "lease = 2s\nlease = 2s",
         .env = "STENO_LEASE=3s",
         .msg = "<dir>/my.ini:2: 'lease' is set twice, first at <dir>/my.ini:1"},
        {.file = "[stneo]\nlease = 2s",
         .msg = "<dir>/my.ini:2: there is no section [stneo]; settings stand before any "
                "section or in [steno]"},
        {.file = "lease", .msg = "<dir>/my.ini:1: expected 'name = value', '[section]' or '# comment'"},
        {.file = "engine = gemma",
         .msg = "<dir>/my.ini:1: engine = 'gemma' is wrong: allowed is auto, whisper, pocketsphinx, gemini, openai or "
                "null"},
        {.file = "database = mysql://root:geheim@h/d",
         .msg = "<dir>/my.ini:1: database has a wrong value: allowed is sqlite:, postgresql: or postgres:"},
        {.file = "broker = postgresql",
         .msg = "<dir>/my.ini:1: broker = postgresql without an address is the database, and that is not PostgreSQL"},
        {.file = "retry_base = 2h\nretry_cap = 1h",
         .msg = "<dir>/my.ini:1: retry_base is longer than retry_cap (<dir>/my.ini:2)"},
        {.file = "keep_jobs = 30d\nkeep_results = 31d",
         .msg = "<dir>/my.ini:2: keep_results is longer than keep_jobs (<dir>/my.ini:1), with which everything goes"},
        {.file = "keep_jobs = 30d\nkeep_audio = forever",
         .msg = "<dir>/my.ini:2: keep_audio is longer than keep_jobs (<dir>/my.ini:1), with which everything goes"},
        {.file = "decode_memory = 700M",
         .msg = "<dir>/my.ini:1: decode_memory = '700M' is wrong: allowed is 800M to 1024G; a bare number counts "
                "megabytes"},
        /* Wrong where a stronger source hides it. */
        {.file = "lease = x",
         .env = "STENO_LEASE=3s",
         .msg = "<dir>/my.ini:1: lease = 'x' is wrong: allowed is 1s to 1h; a bare number counts seconds"},
        {.dotenv = "A=1\nSTENO_LEASE=soon",
         .msg = "<dir>/my.env:2: lease = 'soon' is wrong: allowed is 1s to 1h; a bare number counts seconds"},
        {.dotenv = "STENO_LAESE=1",
         .msg = "<dir>/my.env:1: there is no setting 'STENO_LAESE'; did you mean 'STENO_LEASE'?"},
        {.dotenv = "STENO_FAULT=job_claimed=kill", /* is read from the real environment only */
         .msg = "<dir>/my.env:1: there is no setting 'STENO_FAULT'; `steno config sample` lists them all"},
        {.dotenv = "STENO_MODEL=${OTHER}",
         .msg = "<dir>/my.env:1: STENO_MODEL: variables are not replaced here: write the value out"},
        {.dotenv = "DATABASE_URL=\"postgresql://${PW}@h/d\"\nREDIS_URL=redis://${H}",
         .msg = "<dir>/my.env:2: REDIS_URL: variables are not replaced here: write the value out"},
        {.env = "STENO_LEASE=0",
         .msg = "environment STENO_LEASE: lease = '0' is wrong: allowed is 1s to 1h; a bare number counts seconds"},
        {.env = "STENO_MAX_QEUE_SIZE=3",
         .msg = "environment: there is no setting 'STENO_MAX_QEUE_SIZE'; did you mean 'STENO_MAX_QUEUE_SIZE'?"},
        {.env = "STENO_lease=3s", .msg = "environment: there is no setting 'STENO_lease'; did you mean 'STENO_LEASE'?"},
        {.env = "STENO_=1", .msg = "environment: there is no setting 'STENO_'; `steno config sample` lists them all"},
        {.flag = "laese=3", .msg = "command line: there is no setting 'laese'; did you mean 'lease'?"},
        {.flag = "lease", .msg = "command line: there is no setting 'lease'; did you mean 'lease'?"},
        {.flag = "log-level=loud",
         .msg = "flag --log-level: log_level = 'loud' is wrong: allowed is error, warn, info or debug"},
        /* Aliases that count, by their own names. */
        {.env = "CELERY_CONCURRENCY=many",
         .msg = "environment: CELERY_CONCURRENCY: worker_concurrency = 'many' is wrong: allowed is 1 to 256"},
        {.env = "MAX_UPLOAD_SIZE_MB=0.5",
         .msg = "environment: MAX_UPLOAD_SIZE_MB: max_upload_size = '0.5' is wrong: "
                "allowed is 1B to 16384G; a bare number counts megabytes"},
        {.env = "DATABASE_URL=mysql+pymysql://root:geheim@h/d",
         .msg = "environment: DATABASE_URL: database has a wrong value: allowed is sqlite:, postgresql: or postgres:"},
        {.env = "RABBITMQ_PORT=70000", .msg = "environment: RABBITMQ_PORT is not a port (1 to 65535)"},
        {.env = "RABBITMQ_HOST=a@b/c", .msg = "environment: RABBITMQ_HOST is not a host name"},
        {.file = "[celery]\ntask_max_retries = often",
         .msg = "<dir>/my.ini:2: task_max_retries is not a number of retries"},
        {.file = "[celery]\ntask_soft_time_limit = 0",
         .msg =
             "<dir>/my.ini:2: task_soft_time_limit of [celery]: job_time_limit = '0s' is wrong: allowed is 1s to 30d, "
             "or unlimited (0); a bare number counts seconds"},
    };
    size_t n_env = p->n_env;
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        p->o.file = rows[i].file ? put(p, "my.ini", rows[i].file) : NULL;
        p->o.dotenv = rows[i].dotenv ? put(p, "my.env", rows[i].dotenv) : "";
        p->n_env = n_env;
        p->env[n_env] = rows[i].env;
        const char *const flags[] = {rows[i].flag, NULL};
        p->o.flags = flags;
        assert_string_equal(refused(p, ERR_INVALID), rows[i].msg);
        p->o.flags = NULL;
    }
}

static void test_use_ssl_must_be_yes_or_no(void **state)
{
    struct place *p = *state;
    env(p, "MINIO_ENDPOINT=localhost:9000");
    env(p, "MINIO_USE_SSL=perhaps");
    assert_string_equal(refused(p, ERR_INVALID),
                        "environment: MINIO_USE_SSL = 'perhaps' is wrong: allowed is yes or no");
}

static void test_a_huge_file_is_refused(void **state)
{
    struct place *p = *state;
    enum { HUGE = 300000 };
    char *text = xcalloc(1, HUGE + 1);
    memset(text, '#', HUGE);
    p->o.file = put(p, "my.ini", text);
    free(text);
    assert_string_equal(refused(p, ERR_TOO_LARGE), "<dir>/my.ini is over 262144 bytes");
    p->o.dotenv = TAKE(p->o.file);
    assert_string_equal(refused(p, ERR_TOO_LARGE), "<dir>/my.ini is over 262144 bytes");
}

/* Names others read, and foreign names nobody asked for. */
static void test_other_names(void **state)
{
    struct place *p = *state;
    env(p, "STENO_FAULT=x=kill");
    env(p, "STENO_FAULT_DIR=/x");
    env(p, "STENO_SUPERVISED=1");
    env(p, "STENO_SERVER=http://h:1");
    env(p, "PATH=/bin");
    env(p, "STENOGRAPH=1");
    env(p, "no equals sign");
    env(p, "MINIO_SECRET_KEY_OF_SOMETHING_ELSE=1");
    const struct conf *c = load(p);
    assert_string_equal(c->server, "http://h:1");
    assert_null(conf_note(c, 0));
}

static void test_dotenv_of_another_program(void **state)
{
    struct place *p = *state;
    p->o.dotenv = put(p, "my.env", "FOO=1\nexport BAR=\"two\nlines\"\nSTENO_LEASE=3s\nBAZ=${FOO}\n");
    const struct conf *c = load(p);
    assert_int_equal(c->lease, 3000);
    assert_string_equal(conf_note(c, 0), arena_printf(&p->mem, "%s: without effect here: FOO, BAR, BAZ", p->o.dotenv));
    assert_null(conf_note(c, 1));
    /* Thousands of them stay one line of bounded length. */
    CLEANUP(buf_clear) struct buf b = BUF_INIT(200000);
    for (int i = 0; i < 5000; i++)
        buf_addf(&b, "SOME_OTHER_NAME_%d=1\n", i);
    p->o.dotenv = put(p, "my.env", buf_str(&b));
    c = load(p);
    assert_true(strlen(conf_note(c, 0)) < 2000);
    assert_true(str_ends(conf_note(c, 0), ", ..."));
    assert_null(conf_note(c, 1));
}

static void test_own_names_win_over_aliases(void **state)
{
    struct place *p = *state;
    /* In one source the own name, in two the stronger source, however they are ordered. */
    env(p, "REDIS_URL=redis://r");
    env(p, "STENO_BROKER=local");
    env(p, "STENO_MODEL=mine");
    env(p, "WHISPER_MODEL_SIZE=theirs");
    env(p, "CELERY_CONCURRENCY=9");
    p->o.dotenv = put(p, "my.env", "STENO_WORKER_CONCURRENCY=2\nMAX_QUEUE_SIZE=5\n");
    p->o.flags = (const char *const[]){"max-queue-size=6", NULL};
    const struct conf *c = load(p);
    assert_true(str_starts(c->broker, "local:"));
    assert_string_equal(c->model, "mine");
    assert_int_equal(c->worker_concurrency, 9);
    assert_int_equal(c->max_queue_size, 6);
    assert_true(noted(c, "environment: REDIS_URL is not used, because broker comes from environment STENO_BROKER"));
    assert_true(noted(c, "environment: WHISPER_MODEL_SIZE is not used, because model comes from environment "
                         "STENO_MODEL"));
    assert_true(noted(c, "environment: CELERY_CONCURRENCY means worker_concurrency = 9"));
    assert_true(noted(c, "my.env:2: MAX_QUEUE_SIZE is not used, because max_queue_size comes from flag "
                         "--max-queue-size"));
    assert_null(conf_note(c, 4));
    assert_string_equal(conf_where(c, "worker_concurrency"), "environment CELERY_CONCURRENCY");
}

static void test_aliases_among_themselves(void **state)
{
    struct place *p = *state;
    /* RabbitMQ before Redis in one source ... */
    env(p, "REDIS_URL=redis://r");
    env(p, "RABBITMQ_URL=amqp://q");
    assert_string_equal(load(p)->broker, "amqp://q");
    assert_true(noted(p->c, "environment: RABBITMQ_URL means broker = amqp://q"));
    assert_true(noted(p->c, "REDIS_URL is not used, because broker comes from environment RABBITMQ_URL"));
    /* ... but a stronger source before both; and an alias no longer in use is never said to count. */
    p->env[2] = NULL;
    p->o.dotenv = put(p, "my.env", "RABBITMQ_URL=amqp://q\n");
    assert_string_equal(load(p)->broker, "redis://r");
    assert_true(noted(p->c, "environment: REDIS_URL means broker = redis://r"));
    assert_true(noted(p->c, "my.env:1: RABBITMQ_URL is not used, because broker comes from environment REDIS_URL"));
    assert_null(conf_note(p->c, 2));
}

/* One value in, one option out. */
static void test_simple_aliases(void **state)
{
    struct place *p = *state;
    static const struct {
        const char *env, *option, *value;
    } rows[] = {
        {"DATABASE_URL=postgresql://u:p@h:1/d", "database", "postgresql://u:p@h:1/d"},
        {"DATABASE_URL=postgresql+psycopg2://u:p@h:1/d", "database", "postgresql://u:p@h:1/d"},
        {"DATABASE_URL=postgresql+asyncpg://h/d", "database", "postgresql://h/d"},
        {"DATABASE_URL=postgres://h/d", "database", "postgres://h/d"},
        {"DATABASE_URL=sqlite:///./stt.db", "database", "sqlite:/d/stt.db"},
        {"DATABASE_URL=sqlite:///x/stt.db", "database", "sqlite:/d/x/stt.db"},
        {"DATABASE_URL=sqlite:////x/stt.db", "database", "sqlite:/x/stt.db"},
        {"DATABASE_URL=sqlite+aiosqlite:////x/stt.db", "database", "sqlite:/x/stt.db"},
        {"DATABASE_URL=sqlite:mine.db", "database", "sqlite:/d/mine.db"},
        {"REDIS_URL=rediss://:p@h/2", "broker", "rediss://:p@h/2"},
        {"RABBITMQ_URL=amqps://u:p@h/v", "broker", "amqps://u:p@h/v"},
        {"WHISPER_MODEL_SIZE=large", "model", "large"},
        {"CELERY_CONCURRENCY=8", "worker_concurrency", "8"},
        {"MAX_UPLOAD_SIZE_MB=1000", "max_upload_size", "1000M"},
        {"MAX_UPLOAD_SIZE_MB=2G", "max_upload_size", "2G"},
        {"MAX_QUEUE_SIZE=50", "max_queue_size", "50"},
        {"MAX_QUEUE_SIZE=0", "max_queue_size", "unlimited"},
        {"WORKER_TIMEOUT=1200", "job_time_limit", "20m"},
        {"WORKER_TIMEOUT=20m", "job_time_limit", "20m"},
        {"MINIO_ACCESS_KEY=ak", "s3_access_key", "ak"},
        {"MINIO_ROOT_USER=root", "s3_access_key", "root"},
        {"MINIO_ENDPOINT=minio:9000", "s3_endpoint", "http://minio:9000"},
        {"MINIO_ENDPOINT=https://minio", "s3_endpoint", "https://minio"},
        {"RABBITMQ_HOST=mq", "broker", "amqp://mq"},
        {"RABBITMQ_HOST=::1", "broker", "amqp://[::1]"},
        {"RABBITMQ_HOST=[::1]", "broker", "amqp://[::1]"},
        {"RABBITMQ_USER=u", "broker", "amqp://u@localhost"},
        {"RABBITMQ_QUEUE=stt_jobs", "queue_normal", "stt_jobs"},
        {"RABBITMQ_QUEUE_NAME=stt_jobs", "queue_normal", "stt_jobs"},
        {"RABBITMQ_EXCHANGE=stt", "queue_exchange", "stt"},
    };
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        p->env[0] = "STENO_DATA=/d";
        p->env[1] = rows[i].env;
        const struct conf *c = load(p);
        CLEANUP(buf_clear) struct buf b = BUF_INIT(20000);
        conf_print(c, &b);
        const char *line = strstr(buf_str(&b), arena_printf(&p->mem, "\n%s = ", rows[i].option));
        assert_non_null(line);
        /* Passwords are masked in print; the field holds them. */
        if (strcmp(rows[i].option, "database") == 0)
            assert_string_equal(c->database, rows[i].value);
        else if (strcmp(rows[i].option, "broker") == 0)
            assert_string_equal(c->broker, rows[i].value);
        else
            assert_true(str_starts(line + strlen(rows[i].option) + 4, arena_printf(&p->mem, "%s ", rows[i].value)));
        assert_true(noted(c, " means "));
        assert_null(conf_note(c, 1));
    }
}

static void test_parts_come_from_several_sources(void **state)
{
    struct place *p = *state;
    p->o.dotenv = put(p, "my.env",
                      "RABBITMQ_HOST=mq\nRABBITMQ_PORT=5672\nRABBITMQ_USER=us er\nRABBITMQ_PASSWORD=from-dotenv\n"
                      "RABBITMQ_DEFAULT_PASS=weaker\nRABBITMQ_VHOST=/\n");
    env(p, "RABBITMQ_PASSWORD=p@:/ss");
    const struct conf *c = load(p);
    assert_string_equal(c->broker, "amqp://us%20er:p%40%3A%2Fss@mq:5672/%2F");
    assert_true(noted(c,
                      "RABBITMQ_HOST, RABBITMQ_PORT, RABBITMQ_USER, RABBITMQ_PASSWORD, RABBITMQ_VHOST means broker = "
                      "amqp://us%20er:***@mq:5672/%2F"));
    assert_true(str_starts(conf_where(c, "broker"), "environment RABBITMQ_HOST")); /* as strong as its strongest part */
    for (size_t i = 0; conf_note(c, i); i++) {
        assert_null(strstr(conf_note(c, i), "p%40"));
        assert_null(strstr(conf_note(c, i), "from-dotenv"));
    }
}

static void test_parts_that_make_nothing(void **state)
{
    struct place *p = *state;
    /* Of the containers beside us, and a bucket nobody knows the place of. */
    env(p, "RABBITMQ_DEFAULT_USER=guest");
    env(p, "MINIO_USE_SSL=true");
    env(p, "MINIO_BUCKET=b");
    const struct conf *c = load(p);
    assert_true(str_starts(c->broker, "local:"));
    assert_true(str_starts(c->storage, "file:"));
    assert_string_equal(c->s3_endpoint, "");
    assert_string_equal(conf_note(c, 0),
                        "environment: without effect here: RABBITMQ_DEFAULT_USER, MINIO_USE_SSL, MINIO_BUCKET");
    env(p, "MINIO_ENDPOINT=h:1");
    c = load(p);
    assert_string_equal(c->storage, "s3://b");
    assert_string_equal(c->s3_endpoint, "https://h:1");
}

static void test_retry_cap_follows_another_systems_delay(void **state)
{
    struct place *p = *state;
    p->o.file = put(p, "my.ini", "[celery]\ntask_default_retry_delay = 3600\n");
    const struct conf *c = load(p);
    assert_int_equal(c->retry_base, CONF_HOUR);
    assert_int_equal(c->retry_cap, CONF_HOUR);
    assert_true(noted(c, "retry_cap is raised to retry_base"));
}

static void test_nothing_is_kept_longer_than_its_job(void **state)
{
    struct place *p = *state;
    const struct conf *c = load(p);
    assert_int_equal(c->keep_results, -1);
    assert_int_equal(c->keep_jobs, -1);
    assert_int_equal(c->keep_audio, 7 * CONF_DAY);
    p->o.file = put(p, "my.ini", "keep_jobs = 1d\n");
    c = load(p);
    assert_int_equal(c->keep_results, CONF_DAY);
    assert_int_equal(c->keep_audio, CONF_DAY);
    assert_true(noted(c, "keep_results is lowered to keep_jobs"));
    assert_true(noted(c, "keep_audio is lowered to keep_jobs"));
    p->o.file = put(p, "my.ini", "keep_jobs = 30d\nkeep_results = 30d\n");
    c = load(p);
    assert_int_equal(c->keep_results, 30 * CONF_DAY);
    assert_int_equal(c->keep_audio, 7 * CONF_DAY);
    assert_null(conf_note(c, 0));
}

static void test_reload(void **state)
{
    struct place *p = *state;
    p->o.file = put(p, "my.ini", "log_level = warn\nlease = 10s\nmodel = one\ns3_secret_key = geheim1\n");
    load(p);
    put(p, "my.ini", "log_level = debug\nlease = 20s\nmodel = two\ns3_secret_key = geheim2\nfoo = 1\n");
    struct conf *c = NULL;
    assert_int_equal(conf_reload(p->c, &p->o, &c, &p->err), ERR_INVALID); /* a broken file changes nothing */
    assert_null(c);
    put(p, "my.ini", "log_level = debug\nmodel = two\n\nlease = 20s\ns3_secret_key = geheim2\n");
    assert_int_equal(conf_reload(p->c, &p->o, &c, &p->err), 0);
    assert_string_equal(c->log_level, "debug");
    assert_int_equal(c->lease, 10000);
    assert_string_equal(c->model, "one");
    assert_string_equal(c->s3_secret_key, "geheim1");
    assert_string_equal(p->c->log_level, "warn");
    assert_true(noted(c, "my.ini:4: a new value for lease takes effect at the next start"));
    assert_true(noted(c, "my.ini:2: a new value for model takes effect at the next start"));
    assert_true(noted(c, "my.ini:5: a new value for s3_secret_key takes effect at the next start"));
    assert_null(conf_note(c, 3));
    assert_true(str_ends(conf_where(c, "lease"), "my.ini:2")); /* where the value in use came from */
    /* It stands on its own. */
    conf_free(TAKE(p->c));
    p->c = c;
    assert_string_equal(p->c->model, "one");
    struct conf *again = NULL;
    assert_int_equal(conf_reload(p->c, &p->o, &again, &p->err), 0);
    conf_free(again);
}

int main(void)
{
#define TEST(f) cmocka_unit_test_setup_teardown(f, setup, teardown)
    const struct CMUnitTest tests[] = {
        TEST(test_defaults),
        TEST(test_later_sources_win),
        TEST(test_empty_values),
        TEST(test_the_file_is_found),
        TEST(test_the_working_folder),
        TEST(test_the_data_folder),
        TEST(test_paths_are_in_the_data_folder),
        TEST(test_refused),
        TEST(test_use_ssl_must_be_yes_or_no),
        TEST(test_a_huge_file_is_refused),
        TEST(test_other_names),
        TEST(test_dotenv_of_another_program),
        TEST(test_own_names_win_over_aliases),
        TEST(test_aliases_among_themselves),
        TEST(test_simple_aliases),
        TEST(test_parts_come_from_several_sources),
        TEST(test_parts_that_make_nothing),
        TEST(test_retry_cap_follows_another_systems_delay),
        TEST(test_nothing_is_kept_longer_than_its_job),
        TEST(test_reload),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
