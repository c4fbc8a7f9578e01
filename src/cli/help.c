/* SPDX-License-Identifier: MIT */
#include "cli/help.h"

#include "base/mem.h"
#include "cli/flags.h"
#include "conf/conf.h"

#include <string.h>

enum { LEFT = 30, WIDTH = 100 };

void help_wrap(struct buf *b, size_t indent, const char *text)
{
    size_t col = indent;
    while (*text) {
        size_t n = strcspn(text, " ");
        if (col > indent && col + 1 + n > WIDTH) {
            buf_addf(b, "\n%*s", (int)indent, "");
            col = indent;
        }
        if (col > indent) {
            buf_addc(b, ' ');
            col++;
        }
        buf_add(b, text, n);
        col += n;
        text += n;
        text += strspn(text, " ");
    }
    buf_addc(b, '\n');
}

void help_row(struct buf *b, const char *left, const char *text)
{
    size_t col = strlen(left) + 2;
    buf_addf(b, "  %s", left);
    if (col + 2 > LEFT) {
        buf_adds(b, "\n");
        col = 0;
    }
    buf_addf(b, "%*s", (int)(LEFT - col), "");
    help_wrap(b, LEFT, text);
}

void help_sentence(struct buf *b, const char *help)
{
    char first = help[0];
    buf_addc(b, first >= 'a' && first <= 'z' ? (char)(first - 'a' + 'A') : first);
    buf_adds(b, help + 1);
    buf_addc(b, '.');
}

static void add_usage_row(struct buf *b, const struct cmd *c)
{
    CLEANUP(free_p) char *left = xasprintf("%s%s%s", c->name, *c->args ? " " : "", c->args);
    help_row(b, left, c->help);
}

void help_overview(struct buf *b)
{
    buf_adds(b, "steno: speech to text as a service, on your own machine\n\n"
                "Usage: steno COMMAND [FLAG...] [ARGUMENT...]\n\nCommands:\n");
    for (const struct cmd *c = commands; c->name; c++)
        if (!(c->needs & CMD_HIDDEN))
            add_usage_row(b, c);
    buf_adds(b, "\nExit status:\n");
#define X(name, value, text) help_row(b, #value, text);
    EXIT_STATUSES(X)
#undef X
    buf_adds(b, "\n'steno COMMAND --help' explains one command.\n");
}

void help_group(struct buf *b, const char *word)
{
    size_t n = strlen(word);
    buf_addf(b, "Usage: steno %s SUBCOMMAND [FLAG...]\n\nSubcommands:\n", word);
    for (const struct cmd *c = commands; c->name; c++)
        if (!(c->needs & CMD_HIDDEN) && strncmp(c->name, word, n) == 0 && c->name[n] == ' ')
            add_usage_row(b, c);
}

/* The flag an option is: "--log-level". */
static void add_option_flag(struct buf *b, const struct conf_option *o)
{
    buf_adds(b, "--");
    for (const char *p = o->name; *p; p++)
        buf_addc(b, *p == '_' ? '-' : *p);
}

/* Without the marks of Markdown. */
static void add_plain(struct buf *b, const char *text, size_t n)
{
    for (size_t i = 0; i < n; i++)
        if (text[i] != '`')
            buf_addc(b, text[i]);
}

void help_settings(struct buf *b)
{
    size_t n;
    const struct conf_option *options = conf_options(&n);
    const char *group = "";
    buf_adds(b, "Settings: each is a flag, an environment variable (--log-level is STENO_LOG_LEVEL) and a key of the\n"
                "configuration file (log_level), which --" CONFIG_FLAG " FILE or STENO_CONFIG names.\n");
    for (size_t i = 0; i < n; i++) {
        const struct conf_option *o = &options[i];
        if (strcmp(group, o->group) != 0)
            buf_addf(b, "\n%s:\n", group = o->group);
        CLEANUP(buf_clear) struct buf left = BUF_INIT(256), text = BUF_INIT(4096);
        add_option_flag(&left, o);
        add_plain(&text, o->help, strlen(o->help));
        buf_addf(&text, " %s", o->type == CONF_STRING || o->type == CONF_LIST ? "" : "(");
        if (o->type != CONF_STRING && o->type != CONF_LIST) {
            conf_option_add_values(o, &text);
            buf_adds(&text, ")");
        }
        if (*o->def)
            buf_addf(&text, " [%s]", o->def);
        help_row(b, buf_str(&left), buf_str(&text));
    }
}

void help_command(struct buf *b, const struct cmd *c)
{
    buf_addf(b, "Usage: steno %s [FLAG...]%s%s\n\n", c->name, *c->args ? " " : "", c->args);
    help_sentence(b, c->help);
    buf_addc(b, '\n');
    if (c->more) {
        buf_addc(b, '\n');
        help_wrap(b, 0, c->more);
    }
    buf_adds(b, "\nFlags:\n");
    for (const struct cmd_flag *f = c->flags; f && f->name; f++) {
        char letter[8] = "";
        if (f->letter) {
            letter[0] = '-';
            letter[1] = f->letter;
            memcpy(letter + 2, ", ", 3);
        }
        CLEANUP(free_p)
        char *left = xasprintf("%s--%s%s%s", letter, f->name, f->arg ? " " : "", f->arg ? f->arg : "");
        help_row(b, left, f->help);
    }
    help_row(b, "-h, --help", "this text");
    if (!(c->needs & NEED_CONF))
        return;
    help_row(b, "--" CONFIG_FLAG " FILE", "configuration file");
    static const char *const often[] = {"data", "server", "listen", "log_level"};
    for (size_t i = 0; i < ARRAY_LEN(often); i++) {
        const struct conf_option *o = conf_option_find(often[i]);
        if (!o || (strcmp(o->name, "server") == 0) != ((c->needs & NEED_SERVER) != 0))
            continue;
        CLEANUP(buf_clear) struct buf left = BUF_INIT(256), text = BUF_INIT(4096);
        add_option_flag(&left, o);
        /* The first sentence; the rest stands under `steno help settings`. */
        const char *end = strstr(o->help, ". ");
        add_plain(&text, o->help, end ? (size_t)(end - o->help) : strcspn(o->help, "."));
        help_row(b, buf_str(&left), buf_str(&text));
    }
    buf_adds(b, "\nEvery setting is a flag too: 'steno help settings' lists them.\n");
}
