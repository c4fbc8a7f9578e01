/* SPDX-License-Identifier: MIT */
#include "cli/help.h"

#include "base/mem.h"

#include <string.h>

enum { LEFT = 30, WIDTH = 100 };

void help_row(struct buf *b, const char *left, const char *text)
{
    size_t col = strlen(left) + 2;
    buf_addf(b, "  %s", left);
    if (col + 2 > LEFT) {
        buf_adds(b, "\n");
        col = 0;
    }
    buf_addf(b, "%*s", (int)(LEFT - col), "");
    col = LEFT;
    while (*text) {
        size_t n = strcspn(text, " ");
        if (col > LEFT && col + 1 + n > WIDTH) {
            buf_addf(b, "\n%*s", LEFT, "");
            col = LEFT;
        }
        if (col > LEFT) {
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

void help_command(struct buf *b, const struct cmd *c)
{
    buf_addf(b, "Usage: steno %s [FLAG...]%s%s\n\n%s.\n", c->name, *c->args ? " " : "", c->args, c->help);
    if (c->more)
        buf_addf(b, "\n%s\n", c->more);
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
}
