/* SPDX-License-Identifier: MIT */
/* The table as text: values in use, a sample file, the documentation. All of it follows from the rows. */
#include "base/str.h"
#include "conf/alias.h"
#include "conf/option.h"

#include <string.h>

enum { LINE = 100, WHERE_COLUMN = 48 };

/* A path may hold an '@' only in a user's part, which is what hides: up to the last one, so that no slash in a password
 * shows half of it. */
void conf_add_masked_url(struct buf *b, const char *url)
{
    const char *start = strstr(url, "://");
    const char *at = start ? strrchr(start, '@') : NULL;
    const char *colon = at ? strchr(start + 3, ':') : NULL;
    const char *rest = url;
    if (colon && colon < at) {
        buf_add(b, url, (size_t)(colon + 1 - url));
        buf_adds(b, "***");
        rest = at;
    }
    /* libpq also takes the password as a parameter. */
    const char *param = strstr(rest, "password=");
    if (param) {
        param += strlen("password=");
        buf_add(b, rest, (size_t)(param - rest));
        buf_adds(b, "***");
        rest = param + strcspn(param, "&");
    }
    buf_adds(b, rest);
}

void conf_add_shown(const struct conf_option *o, union conf_value v, struct buf *b)
{
    if (o->flags & CONF_SECRET)
        buf_adds(b, *v.s ? "***" : "");
    else if (o->type == CONF_URL)
        conf_add_masked_url(b, v.s);
    else
        conf_value_add(o, v, b);
}

/* As the INI reader takes it back: in quotes where bare text would be read otherwise. */
static void add_ini_value(struct buf *b, const char *s)
{
    size_t n = strlen(s);
    bool plain = !n || (!strchr(" \t\"#;", s[0]) && !strchr(" \t", s[n - 1]));
    for (size_t i = 1; i < n && plain; i++)
        plain = !strchr("#;", s[i]) || (s[i - 1] != ' ' && s[i - 1] != '\t');
    if (plain) {
        buf_adds(b, s);
        return;
    }
    buf_addc(b, '"');
    for (; *s; s++) {
        if (*s == '"' || *s == '\\')
            buf_addc(b, '\\');
        buf_addc(b, *s);
    }
    buf_addc(b, '"');
}

static void pad(struct buf *b, size_t from, size_t column)
{
    do
        buf_addc(b, ' ');
    while (b->len - from < column && buf_ok(b));
}

/* Is row i the first of its group? */
static bool opens_group(const struct conf_option *all, size_t i)
{
    return i == 0 || strcmp(all[i].group, all[i - 1].group) != 0;
}

void conf_print(const struct conf *c, struct buf *b)
{
    size_t n;
    const struct conf_option *all = conf_options(&n);
    for (size_t i = 0; i < n; i++) {
        if (opens_group(all, i))
            buf_addf(b, "%s# %s\n", i ? "\n" : "", all[i].group);
        size_t from = b->len;
        CLEANUP(buf_clear) struct buf value = BUF_INIT(4 * CONF_PATHS);
        conf_add_shown(&all[i], conf_fetch(c, &all[i]), &value);
        buf_addf(b, "%s = ", all[i].name);
        add_ini_value(b, buf_str(&value));
        pad(b, from, WHERE_COLUMN);
        buf_addf(b, "# %s\n", c->origin->where[i]);
    }
}

void conf_tell(const struct conf *c, struct buf *b)
{
    size_t n;
    const char *comma = "";
    const struct conf_option *all = conf_options(&n);
    buf_addc(b, '{');
    for (size_t i = 0; i < n; i++) {
        enum conf_type t = all[i].type;
        if (t == CONF_STRING || t == CONF_LIST || t == CONF_URL || all[i].flags & CONF_SECRET)
            continue;
        CLEANUP(buf_clear) struct buf value = BUF_INIT(4 * CONF_PATHS);
        conf_add_shown(&all[i], conf_fetch(c, &all[i]), &value);
        buf_addf(b, "%s\"%s\":", comma, all[i].name);
        str_add_json(b, buf_str(&value));
        comma = ",";
    }
    buf_addc(b, '}');
}

/* Words of `text` in lines of at most LINE bytes, each after "# "; Markdown's backquotes are left out. */
static void add_comment(struct buf *b, const char *text)
{
    size_t column = 0;
    for (const char *p = text; *p;) {
        size_t word = strcspn(p, " ");
        if (column && column + 1 + word > LINE) {
            buf_addc(b, '\n');
            column = 0;
        }
        buf_adds(b, column ? " " : "# ");
        column += column ? 1 : 2;
        for (size_t i = 0; i < word; i++)
            if (p[i] != '`')
                buf_addc(b, p[i]);
        column += word;
        p += word + (p[word] == ' ');
    }
    buf_addc(b, '\n');
}

void conf_sample(struct buf *b)
{
    size_t n;
    const struct conf_option *all = conf_options(&n);
    add_comment(b, "Settings of steno, all at their defaults. Remove the # before a setting to change it.");
    add_comment(b, "Read from steno.ini in the data folder, or from the file named by --config or STENO_CONFIG.");
    for (size_t i = 0; i < n; i++) {
        if (opens_group(all, i))
            buf_addf(b, "\n#\n# %s\n#\n", all[i].group);
        CLEANUP(buf_clear) struct buf values = BUF_INIT(CONF_TEXT);
        buf_adds(&values, "Values: ");
        conf_option_add_values(&all[i], &values);
        buf_addc(&values, '.');
        buf_addc(b, '\n');
        add_comment(b, all[i].help);
        add_comment(b, buf_str(&values));
        buf_addf(b, "#%s =%s", all[i].name, *all[i].def ? " " : "");
        add_ini_value(b, all[i].def);
        buf_addc(b, '\n');
    }
}

static const char intro[] =
    "# Configuration\n"
    "\n"
    "steno needs no configuration. This page lists every setting; it is made from the table that reads them\n"
    "(`src/conf/options.h`), and a test fails when the two differ.\n"
    "\n"
    "A setting can be given in five places. Later ones win:\n"
    "\n"
    "1. the default;\n"
    "2. the configuration file: `--config FILE`, else `STENO_CONFIG`, else `steno.ini` in the data folder if there is "
    "one;\n"
    "3. a file `.env` in the working folder, if there is one: `STENO_LEASE=45s`;\n"
    "4. the environment: `STENO_` and the name in upper case, as in `STENO_MAX_UPLOAD_SIZE=500M`;\n"
    "5. the command line: `--` and the name with dashes, as in `--max-upload-size 500M`.\n"
    "\n"
    "An empty value in `.env` or the environment counts as not set.\n"
    "\n"
    "    steno config print     # every value in use, and where it came from; secrets are shown as ***\n"
    "    steno config check     # reads everything and says what is wrong\n"
    "    steno config sample    # a configuration file with every setting and its default, commented out\n"
    "\n"
    "The configuration file has lines `name = value`. A `#` or `;` at the start of a line, or after a blank, begins a\n"
    "comment. A value in double quotes is taken as it is, with `\\\"` and `\\\\` for those two characters:\n"
    "\n"
    "```ini\n"
    "listen = 127.0.0.1:8000, unix:/run/steno/steno.sock\n"
    "max_upload_size = 500M        # a bare number counts megabytes\n"
    "s3_secret_key = \"with # and blanks\"\n"
    "```\n"
    "\n"
    "Times are written `250ms`, `30s`, `20m`, `12h` or `7d`; sizes `512K`, `500M`, `2G` or `1T`, in powers of 1024.\n"
    "Unknown names and values that are not allowed are errors that name the file and the line.\n";

static const char alias_intro[] =
    "\n"
    "## Settings of other systems\n"
    "\n"
    "steno understands settings of services that it can replace, so that their `.env` or `config.ini` can stay as they "
    "are.\n"
    "`steno config check` and the log at start say what each one came to mean. A setting of steno's own in the same "
    "place\n"
    "wins over them. Other names in `.env` and other keys in the sections below are let pass and listed in one line.\n";

/* One cell: '|' would end it. */
static void add_cell(struct buf *b, const char *s)
{
    for (; *s; s++) {
        if (*s == '|')
            buf_addc(b, '\\');
        buf_addc(b, *s);
    }
}

static void add_option_row(struct buf *b, const struct conf_option *o)
{
    CLEANUP(buf_clear) struct buf values = BUF_INIT(CONF_TEXT);
    conf_option_add_values(o, &values);
    buf_addf(b, "| `%s` | ", o->name);
    if (*o->def)
        buf_addf(b, "`%s`", o->def);
    buf_adds(b, " | ");
    add_cell(b, buf_str(&values));
    buf_adds(b, " | ");
    add_cell(b, o->help);
    if (o->flags & CONF_SECRET)
        buf_adds(b, " Never printed.");
    if (o->flags & CONF_RELOAD)
        buf_adds(b, " A new value is taken at SIGHUP.");
    buf_adds(b, " |\n");
}

void conf_docs(struct buf *b)
{
    size_t n;
    const struct conf_option *all = conf_options(&n);
    buf_adds(b, intro);
    for (size_t i = 0; i < n; i++) {
        if (opens_group(all, i))
            buf_addf(b, "\n## %s\n\n| Setting | Default | Values | Meaning |\n|---|---|---|---|\n", all[i].group);
        add_option_row(b, &all[i]);
    }
    buf_adds(b, alias_intro);
    const struct conf_alias *a = conf_aliases(&n);
    for (size_t i = 0; i < n; i++) {
        if (i == 0 || !str_eq(a[i].section, a[i - 1].section)) {
            if (a[i].section)
                buf_addf(b, "\n### Configuration file, section `[%s]`\n", a[i].section);
            else
                buf_adds(b, "\n### Environment and `.env`\n");
            buf_adds(b, "\n| Setting | Sets | Remarks |\n|---|---|---|\n");
        }
        buf_addf(b, "| `%s` | ", a[i].key);
        if (a[i].option)
            buf_addf(b, "`%s`", a[i].option);
        else
            buf_adds(b, "no effect");
        buf_adds(b, " | ");
        add_cell(b, a[i].help ? a[i].help : "");
        buf_adds(b, " |\n");
    }
}
