/* SPDX-License-Identifier: MIT */
/* The migration runner: src/db/migrate.h. */
#include "fixture.h"

#include "base/clock.h"
#include "base/thread.h"

#include <stdatomic.h>

static const char *const one_sql[] = {"CREATE TABLE t (id BIGINT PRIMARY KEY)", "INSERT INTO t (id) VALUES (1)", NULL};
static const char *const two_sql[] = {"ALTER TABLE t ADD COLUMN n BIGINT", "UPDATE t SET n = 5", NULL};
static const char *const bad_sql[] = {"UPDATE t SET n = 6", "CREATE NONSENSE", NULL};

static const struct migration first[] = {{1, "one", "aa", one_sql}, {0}};
static const struct migration second[] = {{1, "one", "aa", one_sql}, {2, "two", "bb", two_sql}, {0}};
static const struct migration broken[] = {
    {1, "one", "aa", one_sql}, {2, "two", "bb", two_sql}, {3, "three", "cc", bad_sql}, {0}};

struct listing {
    int n, applied;
    int64_t last_at;
};

static void on_state(const struct migration_state *s, void *arg)
{
    struct listing *l = arg;
    l->n++;
    assert_int_equal(s->version, l->n);
    assert_non_null(s->name);
    assert_int_equal(s->applied, s->applied_at != 0);
    l->applied += s->applied;
    l->last_at = s->applied_at;
}

static int known(void)
{
    int n = 0;
    while (migrations[n].version)
        n++;
    return n;
}

static void test_a_fresh_database_gets_all(void **state)
{
    struct fixture *f = *state;
    struct err e = ERR_INIT;
    struct listing l = {0};
    OK(migrate_status(f->db, on_state, &l, &e));
    assert_int_equal(l.n, known());
    assert_int_equal(l.applied, 0);
    FAILS(ERR_INTERNAL, "schema_migrations",
          fixture_exec(f->db, "DELETE FROM schema_migrations", &e)); /* made nothing */

    int applied = -1;
    fixture_set_clock(777000);
    OK(migrate_up(f->db, &applied, &e));
    assert_int_equal(applied, known());
    OK(migrate_up(f->db, &applied, &e));
    assert_int_equal(applied, 0);
    l = (struct listing){0};
    OK(migrate_status(f->db, on_state, &l, &e));
    assert_int_equal(l.applied, known());
    assert_int_equal(l.last_at, 777000);
    assert_int_equal(fixture_int(f->db, "SELECT count(*) FROM jobs"), 0);
}

static void test_embedded_migrations_are_well_formed(void **state)
{
    (void)state;
    for (int i = 0; migrations[i].version; i++) {
        assert_int_equal(migrations[i].version, i + 1);
        assert_int_equal(strlen(migrations[i].checksum), 64);
        assert_non_null(migrations[i].statements[0]);
        for (const char *const *s = migrations[i].statements; *s; s++)
            assert_null(strstr(*s, "--"));
    }
}

static void test_missing_ones_follow_in_order(void **state)
{
    struct fixture *f = *state;
    struct err e = ERR_INIT;
    int applied = -1;
    OK(migrate_list_up(f->db, first, &applied, &e));
    assert_int_equal(applied, 1);
    struct listing l = {0};
    OK(migrate_list_status(f->db, second, on_state, &l, &e));
    assert_int_equal(l.n, 2);
    assert_int_equal(l.applied, 1);
    OK(migrate_list_up(f->db, second, &applied, &e));
    assert_int_equal(applied, 1);
    assert_int_equal(fixture_int(f->db, "SELECT n FROM t"), 5);
    assert_int_equal(fixture_int(f->db, "SELECT count(*) FROM t"), 1); /* the first did not run again */
}

static void test_a_failing_migration_leaves_nothing_of_itself(void **state)
{
    struct fixture *f = *state;
    struct err e = ERR_INIT;
    int applied = -1;
    FAILS(ERR_INTERNAL, "migration 0003_three", migrate_list_up(f->db, broken, &applied, &e));
    assert_int_equal(fixture_int(f->db, "SELECT max(version) FROM schema_migrations"), 2);
    assert_int_equal(fixture_int(f->db, "SELECT n FROM t"), 5);
}

static void test_a_newer_schema_is_refused(void **state)
{
    struct fixture *f = *state;
    struct err e = ERR_INIT;
    int applied = -1;
    struct listing l = {0};
    OK(migrate_list_up(f->db, second, &applied, &e));
    FAILS(ERR_CONFLICT, "schema version 2, this program knows 1", migrate_list_up(f->db, first, &applied, &e));
    FAILS(ERR_CONFLICT, "newer program", migrate_list_status(f->db, first, on_state, &l, &e));
    assert_int_equal(l.n, 1); /* listed before it failed */
}

static void test_an_edited_migration_is_refused(void **state)
{
    struct fixture *f = *state;
    struct err e = ERR_INIT;
    int applied = -1;
    struct listing l = {0};
    OK(migrate_list_up(f->db, first, &applied, &e));
    const struct migration edited[] = {{1, "one", "ab", one_sql}, {2, "two", "bb", two_sql}, {0}};
    const struct migration renamed[] = {{1, "uno", "aa", one_sql}, {0}};
    FAILS(ERR_CONFLICT, "0001_one was edited", migrate_list_up(f->db, edited, &applied, &e));
    FAILS(ERR_CONFLICT, "0001_uno was edited", migrate_list_up(f->db, renamed, &applied, &e));
    FAILS(ERR_CONFLICT, "edited", migrate_list_status(f->db, edited, on_state, &l, &e));
    assert_int_equal(l.n, 2);
    assert_int_equal(fixture_int(f->db, "SELECT max(version) FROM schema_migrations"), 1);
}

enum { STARTERS = 8 };

/* Reports in its exit status only; what it applied goes into the database. */
static int migrate_in_process(struct fixture *f, int i)
{
    struct err e = ERR_INIT;
    struct db *db = NULL;
    int applied = 0;
    (void)i;
    CHILD_OK(fixture_open_db(f, 1, 5000, &db, &e));
    CHILD_OK(migrate_list_up(db, second, &applied, &e));
    CHILD_OK(migrate_list_up(db, second, &applied, &e));
    db_close(db);
    return applied != 0;
}

static void test_several_processes_may_start_at_once(void **state)
{
    struct fixture *f = *state;
    for (int round = 0; round < 5; round++) {
        struct err e = ERR_INIT;
        if (fixture_postgres()) { /* they also make the schema */
            OK(fixture_exec(f->db, "DROP SCHEMA steno CASCADE", &e));
        } else {
            OK(fixture_exec(f->db, "DROP TABLE IF EXISTS t", &e));
            OK(fixture_exec(f->db, "DROP TABLE IF EXISTS schema_migrations", &e));
        }
        fixture_fork(f, STARTERS, migrate_in_process);
        assert_int_equal(fixture_int(f->db, "SELECT count(*) FROM schema_migrations"), 2);
        assert_int_equal(fixture_int(f->db, "SELECT count(*) FROM t"), 1);
        assert_int_equal(fixture_int(f->db, "SELECT n FROM t"), 5);
    }
}

/* Holds the database for longer than the other connection is willing to wait. */
static int hold_fn(struct db_tx *tx, void *arg, struct err *err)
{
    int rc = db_lock_schema(tx, err);
    atomic_store((atomic_bool *)arg, true);
    clock_sleep_ms(200);
    return rc;
}

struct holder {
    struct db *db;
    atomic_bool inside;
};

static void *hold(void *arg)
{
    struct holder *h = arg;
    struct err e = ERR_INIT;
    return db_write(h->db, DB_RELAXED, hold_fn, &h->inside, &e) < 0 ? h : NULL;
}

static void test_a_long_migration_elsewhere_is_waited_for(void **state)
{
    struct fixture *f = *state;
    struct err e = ERR_INIT;
    struct db *impatient = NULL;
    int applied = -1;
    OK(fixture_open_db(f, 1, 5, &impatient, &e));
    struct holder h = {.db = f->db};
    pthread_t t;
    OK(thread_start(&t, "holder", hold, &h, &e));
    while (!atomic_load(&h.inside))
        clock_sleep_ms(1);
    OK(migrate_list_up(impatient, second, &applied, &e));
    assert_int_equal(applied, 2);
    void *failed = NULL;
    pthread_join(t, &failed);
    assert_null(failed);
    db_close(impatient);
}

#define T(name) cmocka_unit_test_setup_teardown(name, fixture_setup, fixture_teardown)

int main(void)
{
    if (fixture_skip())
        return 0;
    const struct CMUnitTest tests[] = {
        T(test_a_fresh_database_gets_all),           T(test_embedded_migrations_are_well_formed),
        T(test_missing_ones_follow_in_order),        T(test_a_failing_migration_leaves_nothing_of_itself),
        T(test_a_newer_schema_is_refused),           T(test_an_edited_migration_is_refused),
        T(test_several_processes_may_start_at_once), T(test_a_long_migration_elsewhere_is_waited_for),
    };
    return cmocka_run_group_tests(tests, fixture_setup_group, fixture_teardown_group);
}
