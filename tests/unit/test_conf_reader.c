/* SPDX-License-Identifier: MIT */
/* Both file formats: what a text reads as, written "line section key=value;" ("!" for a value in quotes), or the error.
 */
#include "base/buf.h"
#include "base/macros.h"
#include "base/mem.h"
#include "conf/reader.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

struct row {
    const char *text;
    const char *want;
    size_t n; /* 0: strlen */
};

static int note(const struct conf_line *l, void *arg, struct err *err)
{
    struct buf *b = arg;
    assert_string_equal(l->file, "f");
    buf_addf(b, "%d %s%s%s%s=%s;", l->line, l->section, *l->section ? " " : "", l->key, l->bare ? "" : "!", l->value);
    if (strcmp(l->key, "refused") == 0)
        return err_set(err, ERR_CONFLICT, "the caller's own");
    return 5; /* positive: goes on */
}

typedef int (*read_fn)(const char *, char *, size_t, conf_line_fn, void *, struct err *);

static void check(read_fn read, const struct row *rows, size_t n_rows)
{
    for (size_t i = 0; i < n_rows; i++) {
        size_t n = rows[i].n ? rows[i].n : strlen(rows[i].text);
        /* An exact copy, so that a sanitizer sees any look past the end. */
        char *text = malloc(n + 1);
        assert_non_null(text);
        memcpy(text, rows[i].text, n);
        text[n] = '\0';
        CLEANUP(buf_clear) struct buf b = BUF_INIT(4000);
        struct err e = ERR_INIT;
        int rc = read("f", text, n, note, &b, &e);
        if (rc < 0)
            buf_addf(&b, "%s", e.msg);
        else
            assert_int_equal(rc, 0);
        free(text);
        if (strcmp(buf_str(&b), rows[i].want) != 0)
            fail_msg("'%s' gave '%s'", rows[i].text, buf_str(&b));
    }
}

static void test_ini(void **state)
{
    (void)state;
    static const struct row rows[] = {
        {"", "", 0},
        {"\n\n  \n", "", 0},
        {"a=1", "1 a=1;", 0},
        {"a = 1\n", "1 a=1;", 0},
        {"  a\t=\t1  \r\nb=2\r\n", "1 a=1;2 b=2;", 0},
        {"\xEF\xBB\xBF"
         "a=1\n",
         "1 a=1;", 0},
        {"# c\n; c\n  # c\na=1", "4 a=1;", 0},
        {"a=", "1 a=;", 0},
        {"a=  \n", "1 a=;", 0},
        {"a==b", "1 a==b;", 0},
        {"a = b = c", "1 a=b = c;", 0},
        {"a-b.c_9 = x", "1 a-b.c_9=x;", 0},
        /* comments behind values need a blank before them */
        {"a = 1   # comment", "1 a=1;", 0},
        {"a = 1\t; comment", "1 a=1;", 0},
        {"a = 1#2;3", "1 a=1#2;3;", 0},
        {"a = # nothing", "1 a=;", 0},
        {"a=#x", "1 a=;", 0},
        {"a = x # y # z", "1 a=x;", 0},
        {"a = celery.worker.autoscale:Autoscaler", "1 a=celery.worker.autoscale:Autoscaler;", 0},
        /* quotes */
        {"a = \" x # y \"", "1 a!= x # y ;", 0},
        {"a = \"x\"   # comment", "1 a!=x;", 0},
        {"a = \"\"", "1 a!=;", 0},
        {"a = \"q\\\"b\\\\n\\n\"", "1 a!=q\"b\\n\\n;", 0},
        {"a = it's \"so\"", "1 a=it's \"so\";", 0},
        {"a = \"x", "f:1: the value of 'a' has no closing quote, or more behind it", 0},
        {"a = \"x\\\"", "f:1: the value of 'a' has no closing quote, or more behind it", 0},
        {"a = \"x\" y", "f:1: the value of 'a' has no closing quote, or more behind it", 0},
        {"a = \"x\nb=\"", "f:1: the value of 'a' has no closing quote, or more behind it", 0},
        /* sections */
        {"a=0\n[s]\na=1\n[ t u ] # c\nb=2\n[]\nc=3", "1 a=0;3 s a=1;5 t u b=2;7 c=3;", 0},
        {"[s\na=1", "f:1: a section is written [name], alone on its line", 0},
        {"[s] x\na=1", "f:1: a section is written [name], alone on its line", 0},
        /* what is none of it */
        {"a=1\nword\n", "1 a=1;f:2: expected 'name = value', '[section]' or '# comment'", 0},
        {"two words = 1", "f:1: expected 'name = value', '[section]' or '# comment'", 0},
        {"= 1", "f:1: expected 'name = value', '[section]' or '# comment'", 0},
        {"a: 1", "f:1: expected 'name = value', '[section]' or '# comment'", 0},
        {"\xC3\xBC = 1", "f:1: expected 'name = value', '[section]' or '# comment'", 0},
        {"a=\xC3\xBC", "1 a=\xC3\xBC;", 0},
        {"a=1\n# \xFC\n", "f:2: the line is not UTF-8", 0},
        {"a=1\nb=\xC3", "f:2: the line is not UTF-8", 0},
        {"a=1\n\nb=\0x", "f:3: there is a NUL byte: this is not a text file", 8},
        {"refused=1\nb=2", "1 refused=1;the caller's own", 0},
    };
    check(conf_read_ini, rows, ARRAY_LEN(rows));
}

static void test_dotenv(void **state)
{
    (void)state;
    static const struct row rows[] = {
        {"", "", 0},
        {"\n \n#c\n", "", 0},
        {"A=1", "1 A=1;", 0},
        {"A=1\nB=2\n", "1 A=1;2 B=2;", 0},
        {"A=1\r\nB=2\r\n", "1 A=1;2 B=2;", 0},
        {"\xEF\xBB\xBF"
         "A=1",
         "1 A=1;", 0},
        {"  A = 1  ", "1 A=1;", 0},
        {"export A=1\nexport\tB=2", "1 A=1;2 B=2;", 0},
        {"exported=1", "1 exported=1;", 0},
        {"A=", "1 A=;", 0},
        {"A=\nB=2", "1 A=;2 B=2;", 0},
        {"A=  \nB=2", "1 A=;2 B=2;", 0},
        {"A=two words # c", "1 A=two words;", 0},
        {"A=x#y", "1 A=x#y;", 0},
        {"A=# c\nB=2", "1 A=;2 B=2;", 0},
        {"A=x;y ; z", "1 A=x;y ; z;", 0},
        {"A=it's", "1 A=it's;", 0},
        {"A=a=b==", "1 A=a=b==;", 0},
        {"A='a # \\n $x'", "1 A!=a # \\n $x;", 0},
        {"A=\"a # \\n\\t\\r\\\"\\\\\\$\\x\" # c", "1 A!=a # \n\t\r\"\\$\\x;", 0},
        {"A=\"\"\nB=''", "1 A!=;2 B!=;", 0},
        {"A=\"one\ntwo\"\nB=2", "1 A!=one\ntwo;3 B=2;", 0},
        {"A='one\n\ntwo'  \nB=2", "1 A!=one\n\ntwo;4 B=2;", 0},
        {"A=\"x", "f:1: the value of A has no closing quote", 0},
        {"B=1\nA='x\ny", "1 B=1;f:2: the value of A has no closing quote", 0},
        {"A=\"x\\\"", "f:1: the value of A has no closing quote", 0},
        {"A=\"x\" y", "f:1: there is more behind the closing quote of A", 0},
        {"A=\"x\ny\"z", "f:2: there is more behind the closing quote of A", 0},
        {"A", "f:1: expected 'NAME=value' or '# comment'", 0},
        {"A=1\nB 2", "1 A=1;f:2: expected 'NAME=value' or '# comment'", 0},
        {"=1", "f:1: expected 'NAME=value' or '# comment'", 0},
        {"export", "f:1: expected 'NAME=value' or '# comment'", 0},
        {"[s]", "f:1: expected 'NAME=value' or '# comment'", 0},
        {"A=\xFF", "f:1: the line is not UTF-8", 0},
        {"A=\0", "f:1: there is a NUL byte: this is not a text file", 3},
        {"refused=1\nB=2", "1 refused=1;the caller's own", 0},
    };
    check(conf_read_dotenv, rows, ARRAY_LEN(rows));
}

/* Every cut and every changed byte of a text with all forms in it: no crash, no look past the end. */
static void test_damaged_texts(void **state)
{
    (void)state;
    static const char good[] = "\xEF\xBB\xBF# c\nexport A = \"a\\n\\\"b\" # c\n[s]\nB='x\ny'\nC = \xC3\xBC # c\n\"D=\\";
    static const char odd[] = {'\0', '"', '\'', '\n', '=', '[', '\\', '#', (char)0x80};
    CLEANUP(buf_clear) struct buf b = BUF_INIT(1 << 16);
    for (size_t cut = 0; cut < sizeof good; cut++) {
        for (size_t at = 0; at < cut; at++) {
            for (size_t k = 0; k < 2 * ARRAY_LEN(odd); k++) {
                char *text = malloc(cut + 1);
                assert_non_null(text);
                memcpy(text, good, cut);
                text[cut] = '\0';
                text[at] = odd[k / 2];
                struct err e = ERR_INIT;
                buf_reset(&b);
                int rc = k % 2 ? conf_read_ini("f", text, cut, note, &b, &e)
                               : conf_read_dotenv("f", text, cut, note, &b, &e);
                assert_true(rc == 0 || rc == ERR_INVALID);
                free(text);
            }
        }
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_ini),
        cmocka_unit_test(test_dotenv),
        cmocka_unit_test(test_damaged_texts),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
