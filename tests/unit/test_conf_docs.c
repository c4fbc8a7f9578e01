/* SPDX-License-Identifier: MIT */
/*
 * What is made from the table: docs/configuration.md must be what the table says now, the sample file and the output of
 * `config print` must load again. `test_conf_docs --write FILE` writes the page anew.
 */
#include "base/io.h"
#include "base/mem.h"
#include "base/str.h"
#include "conf/alias.h"
#include "conf/conf.h"
#include "conf/option.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

enum { PAGE_MAX = 200000 };

static void test_the_page_is_up_to_date(void **state)
{
    (void)state;
    struct err e = ERR_INIT;
    const char *data = getenv("STENO_TEST_DATA");
    assert_non_null(data);
    CLEANUP(free_p) char *path = xasprintf("%s/../../../docs/configuration.md", data), *text = NULL;
    if (io_read_file(path, PAGE_MAX, &text, NULL, &e) != 0)
        fail_msg("%s", e.msg);
    CLEANUP(buf_clear) struct buf b = BUF_INIT(PAGE_MAX);
    conf_docs(&b);
    assert_true(buf_ok(&b));
    if (strcmp(text, buf_str(&b)) != 0)
        fail_msg("docs/configuration.md differs from the table: run test_conf_docs --write docs/configuration.md");
}

static void test_the_page_has_everything(void **state)
{
    (void)state;
    CLEANUP(buf_clear) struct buf b = BUF_INIT(PAGE_MAX);
    conf_docs(&b);
    size_t n;
    const struct conf_option *all = conf_options(&n);
    const char *others = strstr(buf_str(&b), "\n## Settings of other systems");
    assert_non_null(others);
    for (size_t i = 0; i < n; i++) {
        CLEANUP(free_p) char *row = xasprintf("\n| `%s` | ", all[i].name), *line = NULL;
        const char *at = strstr(buf_str(&b), row);
        assert_true(at && at < others);
        const char *twice = strstr(at + 1, row);
        assert_true(!twice || twice > others); /* a section of another system may have a key of the same name */
        line = strndup(at + 1, strcspn(at + 1, "\n"));
        assert_non_null(line);
        assert_non_null(strstr(line, all[i].help));
        assert_non_null(strstr(line, all[i].def));
        /* Four cells. */
        size_t bars = 0;
        for (const char *p = line; *p; p++)
            bars += *p == '|' && p[-(p > line)] != '\\';
        assert_int_equal(bars, 5);
    }
    const struct conf_alias *a = conf_aliases(&n);
    for (size_t i = 0; i < n; i++) {
        CLEANUP(free_p) char *row = xasprintf("\n| `%s` | ", a[i].key);
        assert_non_null(strstr(others, row));
    }
}

/* Rows of the alias table that could not work. */
static void test_the_alias_table(void **state)
{
    (void)state;
    size_t n;
    const struct conf_alias *a = conf_aliases(&n);
    for (size_t i = 0; i < n; i++) {
        assert_ptr_equal(conf_alias_find(a[i].section, a[i].key), &a[i]); /* no name twice */
        assert_int_equal(a[i].option == NULL, a[i].how == ALIAS_NOTHING);
        if (a[i].option)
            assert_non_null(conf_option_find(a[i].option));
        else
            assert_non_null(a[i].help); /* says why it has no effect */
        if (a[i].help)
            assert_null(strpbrk(a[i].help, "|\n"));
        assert_true(conf_alias_section(a[i].section));
        /* A section is a block, else its heading would come twice. */
        for (size_t k = i + 1; k < n && i; k++)
            if (!str_eq(a[i - 1].section, a[i].section))
                assert_false(str_eq(a[k].section, a[i - 1].section));
    }
    assert_false(conf_alias_section("steno"));
    assert_null(conf_alias_find(NULL, "host"));
    assert_null(conf_alias_find("redis", "REDIS_URL"));
}

struct folder {
    char dir[64];
    char *ini;
};

static int setup(void **state)
{
    struct folder *f = xcalloc(1, sizeof *f);
    const char *tmp = getenv("TMPDIR");
    snprintf(f->dir, sizeof f->dir, "%.40s/steno-docs-XXXXXX", tmp ? tmp : "/tmp");
    *state = f;
    if (!mkdtemp(f->dir))
        return -1;
    f->ini = xasprintf("%s/steno.ini", f->dir);
    return 0;
}

static int teardown(void **state)
{
    struct folder *f = *state;
    struct err e = ERR_INIT;
    int rc = io_remove_tree(f->dir, &e);
    free(f->ini);
    free(f);
    return rc;
}

static struct conf *load(const struct folder *f, const char *text, const char *const *flags)
{
    struct err e = ERR_INIT;
    const char *const env[] = {"STENO_DATA=/d", NULL};
    FILE *file = fopen(f->ini, "w");
    assert_non_null(file);
    assert_true(fputs(text, file) >= 0);
    assert_int_equal(fclose(file), 0);
    struct conf *c = NULL;
    if (conf_load(&(struct conf_load_opts){.file = f->ini, .dotenv = "", .environ = env, .flags = flags}, &c, &e) != 0)
        fail_msg("%s", e.msg);
    return c;
}

static void assert_same(const struct conf *a, const struct conf *b)
{
    size_t n;
    const struct conf_option *all = conf_options(&n);
    for (size_t i = 0; i < n; i++)
        if (!conf_value_eq(&all[i], conf_fetch(a, &all[i]), conf_fetch(b, &all[i])))
            fail_msg("%s differs", all[i].name);
}

static void test_the_sample_loads(void **state)
{
    const struct folder *f = *state;
    CLEANUP(buf_clear) struct buf b = BUF_INIT(PAGE_MAX), open = BUF_INIT(PAGE_MAX);
    conf_sample(&b);
    assert_true(buf_ok(&b));
    struct conf *none = load(f, "", NULL), *as_is = load(f, buf_str(&b), NULL);
    assert_same(none, as_is);
    for (const char *p = buf_str(&b), *end; *p; p = end) {
        size_t n = strcspn(p, "\n") + 1;
        end = p + n;
        assert_true(n <= 121); /* nobody scrolls sideways */
        /* "#name =": take the mark away, as a user would; not for the data folder, which would then be "". */
        bool setting = p[0] == '#' && p[1] != ' ' && p[1] != '\n' && !str_starts(p, "#data =");
        buf_add(&open, p + setting, n - setting);
    }
    struct conf *opened = load(f, buf_str(&open), NULL);
    assert_same(none, opened);
    size_t n;
    const struct conf_option *all = conf_options(&n);
    for (size_t i = 0; i < n; i++)
        if (strcmp(all[i].name, "data") != 0)
            assert_true(str_starts(conf_where(opened, all[i].name), f->ini));
    conf_free(none);
    conf_free(as_is);
    conf_free(opened);
}

static void test_print_loads_again(void **state)
{
    const struct folder *f = *state;
    const char *const flags[] = {
        "model=a # b ; c",
        "language= x ",
        "model_path=\"q\\\"",
        "ffmpeg=#1",
        "temp=/t\\",
        "lease=1500ms",
        "max_upload_size=1025b",
        "keep_audio=forever",
        "engine_slots=0",
        "s3_secret_key=",
        "listen=a:1, b:2",
        "server=unix:/x;y",
        "retry_cap=90s",
        NULL,
    };
    struct conf *c = load(f, "", flags);
    assert_string_equal(c->model, "a # b ; c");
    assert_string_equal(c->language, " x ");
    CLEANUP(buf_clear) struct buf b = BUF_INIT(PAGE_MAX);
    conf_print(c, &b);
    assert_true(buf_ok(&b));
    assert_non_null(strstr(buf_str(&b), "\nlease = 1500ms"));
    assert_non_null(strstr(buf_str(&b), "# flag --lease\n"));
    assert_non_null(strstr(buf_str(&b), "\nmodel = \"a # b ; c\""));
    struct conf *again = load(f, buf_str(&b), NULL);
    assert_same(c, again);
    conf_free(c);
    conf_free(again);
}

static void test_print_hides_secrets(void **state)
{
    const struct folder *f = *state;
    struct conf *c = load(f,
                          "s3_secret_key = geheim\ndatabase = postgresql://u:geheim@h/d\nbroker = redis://:geheim@h\n"
                          "server = http://u:geheim@h\ns3_endpoint = http://u:geheim@h\n",
                          NULL);
    CLEANUP(buf_clear) struct buf b = BUF_INIT(PAGE_MAX);
    conf_print(c, &b);
    assert_null(strstr(buf_str(&b), "geheim"));
    assert_non_null(strstr(buf_str(&b), "\ns3_secret_key = ***"));
    assert_non_null(strstr(buf_str(&b), "\ndatabase = postgresql://u:***@h/d"));
    conf_free(c);
}

static int write_page(const char *path)
{
    CLEANUP(buf_clear) struct buf b = BUF_INIT(PAGE_MAX);
    conf_docs(&b);
    FILE *f = fopen(path, "w");
    return f && buf_ok(&b) && fputs(buf_str(&b), f) >= 0 && fclose(f) == 0 ? 0 : 1;
}

int main(int argc, char **argv)
{
    if (argc == 3 && strcmp(argv[1], "--write") == 0)
        return write_page(argv[2]);
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_the_page_is_up_to_date),
        cmocka_unit_test(test_the_page_has_everything),
        cmocka_unit_test(test_the_alias_table),
        cmocka_unit_test_setup_teardown(test_the_sample_loads, setup, teardown),
        cmocka_unit_test_setup_teardown(test_print_loads_again, setup, teardown),
        cmocka_unit_test_setup_teardown(test_print_hides_secrets, setup, teardown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
