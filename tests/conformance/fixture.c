/* SPDX-License-Identifier: MIT */
#include "fixture.h"

#include "base/clock.h"
#include "base/id.h"
#include "base/io.h"
#include "base/thread.h"
#include "pg/pg.h"

#include <stdatomic.h>
#include <sys/wait.h>
#include <unistd.h>

/* In an order in which foreign keys allow dropping. */
static const char *const tables[] = {
    "request_rates", "submission_keys",   "paused_queues", "chunks", "results", "error_logs", "uploads", "workers",
    "jobs",          "schema_migrations", "t_child",       "t_many", "t", /* of the tests */
};

static _Atomic int64_t test_clock;
static char folder[64];
static char url[1024];
static char database[64]; /* made on the server for this program; "" for a file */

static int64_t clock_fn(void *arg)
{
    (void)arg;
    int64_t t = atomic_load(&test_clock);
    return t > 0 ? t : clock_wall_ms();
}

void fixture_set_clock(int64_t ms)
{
    atomic_store(&test_clock, ms);
}

int64_t fixture_clock(void)
{
    return clock_fn(NULL);
}

int64_t fixture_ok(int64_t rc, const char *what, const struct err *e, const char *file, int line)
{
    if (rc < 0) {
        print_error("%s: %s (%s)\n", what, e->msg, err_name((int)rc));
        _fail(file, line);
    }
    return rc;
}

void fixture_fails(int64_t rc, int code, const char *words, const char *what, const struct err *e, const char *file,
                   int line)
{
    if (rc == code && e->code == code && strstr(e->msg, words))
        return;
    print_error("%s: expected %s with '%s', got %lld %s: %s\n", what, err_name(code), words, (long long)rc,
                err_name(rc < 0 ? (int)rc : 0), rc < 0 ? e->msg : "success");
    _fail(file, line);
}

bool fixture_postgres(void)
{
    const char *backend = getenv("STENO_TEST_BACKEND");
    return backend && strcmp(backend, "postgres") == 0;
}

bool fixture_skip(void)
{
    if (!fixture_postgres() || getenv("STENO_TEST_POSTGRES_URL"))
        return false;
    printf("1..0 # SKIP no PostgreSQL server (STENO_TEST_POSTGRES_URL)\n");
    return true;
}

/* Runs one statement that must stand outside of transactions. */
static int on_server(const char *sql)
{
    struct err e = ERR_INIT;
    struct pg_link *l = NULL;
    int rc = pg_open(
        &(struct pg_opts){.url = getenv("STENO_TEST_POSTGRES_URL"), .name = "steno tests", .answer_ms = 60000}, &l, &e);
    if (rc >= 0)
        rc = pg_do(l, sql, &e);
    if (rc < 0)
        print_error("%s: %s\n", sql, e.msg);
    pg_close(l);
    return rc;
}

static int make_database(void)
{
    const char *given = getenv("STENO_TEST_POSTGRES_URL");
    char sql[128];
    snprintf(database, sizeof database, "steno_test_%d_%lld", (int)getpid(), (long long)random_below(1000000));
    snprintf(sql, sizeof sql, "CREATE DATABASE %s", database);
    snprintf(url, sizeof url, "%s%cdbname=%s", given, strchr(given, '?') ? '&' : '?', database);
    return on_server(sql);
}

int fixture_setup_group(void **state)
{
    (void)state;
    const char *base = getenv("TMPDIR");
    snprintf(folder, sizeof folder, "%.40s/steno-db-XXXXXX", base ? base : "/tmp");
    if (!mkdtemp(folder))
        return -1;
    if (fixture_postgres())
        return make_database();
    snprintf(url, sizeof url, "sqlite:%s/test.db", folder);
    return 0;
}

int fixture_teardown_group(void **state)
{
    (void)state;
    struct err e = ERR_INIT;
    if (database[0]) {
        char sql[128];
        snprintf(sql, sizeof sql, "DROP DATABASE %s WITH (FORCE)", database);
        if (on_server(sql) < 0)
            return -1;
    }
    return io_remove_tree(folder, &e);
}

int fixture_open_db(struct fixture *f, unsigned readers, int64_t busy_ms, struct db **ret, struct err *err)
{
    return db_open(
        &(struct db_opts){.url = f->url, .readers = readers, .pool = readers, .busy_ms = busy_ms, .clock = clock_fn},
        ret, err);
}

int fixture_open_store(struct db *db, enum job_order order, struct store **ret, struct err *err)
{
    return store_new(
        db,
        &(struct store_opts){
            .order = order, .max_attempts = 5, .alone_patience_ms = 60000, .death_pause_ms = 10000, .max_deaths = 3},
        ret, err);
}

struct one_call {
    const char *sql;
    int64_t value;
};

static int exec_fn(struct db_tx *tx, void *arg, struct err *err)
{
    struct one_call *c = arg;
    c->value = db_exec(tx, c->sql, DB_NO_ARGS, err);
    return c->value < 0 ? err->code : 0;
}

int64_t fixture_exec(struct db *db, const char *sql, struct err *err)
{
    struct one_call c = {.sql = sql};
    int rc = db_write(db, DB_RELAXED, exec_fn, &c, err);
    return rc < 0 ? rc : c.value;
}

static int on_int(const struct db_row *row, void *arg, struct err *err)
{
    (void)err;
    ((struct one_call *)arg)->value = db_col_int(row, 0);
    return 1;
}

static int int_fn(struct db_tx *tx, void *arg, struct err *err)
{
    struct one_call *c = arg;
    return db_query(tx, c->sql, DB_NO_ARGS, on_int, c, err);
}

int64_t fixture_int(struct db *db, const char *sql)
{
    struct err e = ERR_INIT;
    struct one_call c = {.sql = sql};
    OK(db_read(db, int_fn, &c, &e));
    return c.value;
}

int fixture_setup(void **state)
{
    struct fixture *f = calloc(1, sizeof *f);
    struct err e = ERR_INIT;
    f->arena = (struct arena)ARENA_INIT;
    f->url = url;
    snprintf(f->folder, sizeof f->folder, "%s", folder);
    *state = f;
    fixture_set_clock(0);
    if (fixture_open_db(f, 8, 5000, &f->db, &e) < 0) {
        print_error("%s\n", e.msg);
        free(f);
        return -1;
    }
    for (size_t i = 0; i < ARRAY_LEN(tables); i++) {
        char sql[64];
        snprintf(sql, sizeof sql, "DROP TABLE IF EXISTS %s", tables[i]);
        if (fixture_exec(f->db, sql, &e) < 0) {
            print_error("%s\n", e.msg);
            return -1;
        }
    }
    return 0;
}

int fixture_setup_store(void **state)
{
    if (fixture_setup(state) < 0)
        return -1;
    struct fixture *f = *state;
    struct err e = ERR_INIT;
    int n;
    fixture_set_clock(1000000);
    if (migrate_up(f->db, &n, &e) < 0 || fixture_open_store(f->db, JOB_FIFO, &f->store, &e) < 0) {
        print_error("%s\n", e.msg);
        return -1;
    }
    return 0;
}

int fixture_teardown(void **state)
{
    struct fixture *f = *state;
    store_free(f->store);
    db_close(f->db);
    arena_clear(&f->arena);
    free(f);
    return 0;
}

void fixture_fork(struct fixture *f, int n, int (*fn)(struct fixture *f, int i))
{
    struct err e = ERR_INIT;
    bool had_store = f->store != NULL;
    store_free(f->store);
    f->store = NULL;
    db_close(f->db);
    f->db = NULL;
    fflush(NULL);
    pid_t pids[16];
    int bad = 0;
    assert_in_range(n, 1, 16);
    for (int i = 0; i < n; i++) {
        pids[i] = fork();
        assert_true(pids[i] >= 0);
        if (pids[i] == 0)
            _exit(fn(f, i) ? 1 : 0);
    }
    for (int i = 0; i < n; i++) {
        int status = -1;
        waitpid(pids[i], &status, 0);
        bad += status != 0;
    }
    OK(fixture_open_db(f, 8, 5000, &f->db, &e));
    if (had_store)
        OK(fixture_open_store(f->db, JOB_FIFO, &f->store, &e));
    assert_int_equal(bad, 0);
}

void fixture_threads(int n, void *(*fn)(void *), void *args, size_t size)
{
    struct err e = ERR_INIT;
    pthread_t threads[32];
    assert_in_range(n, 1, 32);
    for (int i = 0; i < n; i++)
        OK(thread_start(&threads[i], "test", fn, (char *)args + (size_t)i * size, &e));
    for (int i = 0; i < n; i++)
        pthread_join(threads[i], NULL);
}
