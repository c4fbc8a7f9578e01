/* SPDX-License-Identifier: MIT */
#include "cli/docs.h"

#include "api/form.h"
#include "base/mem.h"
#include "base/str.h"
#include "cli/commands.h"
#include "cli/flags.h"
#include "cli/help.h"
#include "conf/conf.h"
#include "job/job.h"
#include "transcript/format.h"

#include <string.h>

/* Text for troff: dashes that can be copied, no line that starts as a request. */
static void add_roff(struct buf *b, const char *text)
{
    bool line_start = true;
    for (const char *p = text; *p; p++) {
        if (line_start && (*p == '.' || *p == '\''))
            buf_adds(b, "\\&");
        line_start = *p == '\n';
        if (*p == '-')
            buf_adds(b, "\\-");
        else if (*p == '\\')
            buf_adds(b, "\\e");
        else if (*p == '`')
            continue; /* Markdown's marks in help texts */
        else
            buf_addc(b, *p);
    }
}

static void add_roff_flag(struct buf *b, const struct cmd_flag *f)
{
    buf_adds(b, ".TP\n");
    if (f->letter)
        buf_addf(b, "\\fB\\-%c\\fR, ", f->letter);
    buf_adds(b, "\\fB\\-\\-");
    add_roff(b, f->name);
    buf_adds(b, "\\fR");
    if (f->arg) {
        buf_adds(b, " \\fI");
        add_roff(b, f->arg);
        buf_adds(b, "\\fR");
    }
    buf_addc(b, '\n');
    add_roff(b, f->help);
    buf_addc(b, '\n');
}

static void add_roff_command(struct buf *b, const struct cmd *c)
{
    buf_adds(b, ".SS steno ");
    add_roff(b, c->name);
    if (*c->args) {
        buf_addc(b, ' ');
        add_roff(b, c->args);
    }
    buf_addc(b, '\n');
    CLEANUP(buf_clear) struct buf sentence = BUF_INIT(4096);
    help_sentence(&sentence, c->help);
    add_roff(b, buf_str(&sentence));
    buf_addc(b, '\n');
    if (c->more) {
        buf_adds(b, ".PP\n");
        add_roff(b, c->more);
        buf_addc(b, '\n');
    }
    for (const struct cmd_flag *f = c->flags; f && f->name; f++)
        add_roff_flag(b, f);
}

void docs_man(struct buf *b)
{
    buf_adds(
        b, ".\\\" Made from the command table by 'steno __man'.\n"
           ".TH STENO 1 \"\" \"steno " STENO_VERSION "\" \"User Commands\"\n"
           ".SH NAME\nsteno \\- speech to text as a service\n"
           ".SH SYNOPSIS\n.B steno\n.I COMMAND\n[\\fIFLAG\\fR...] [\\fIARGUMENT\\fR...]\n"
           ".SH DESCRIPTION\n"
           "Turns recordings into text: at once on the command line (\\fBsteno transcribe\\fR), or as a service that\n"
           "takes recordings over HTTP and keeps every one it has accepted (\\fBsteno serve\\fR).\n"
           ".SH COMMANDS\n");
    for (const struct cmd *c = commands; c->name; c++)
        if (!(c->needs & CMD_HIDDEN))
            add_roff_command(b, c);
    buf_adds(b, ".SH SETTINGS\nEach is a flag of every command that reads the configuration (\\fB\\-\\-name\\fR "
                "\\fIvalue\\fR),\n"
                "an environment variable (\\fBSTENO_NAME\\fR) and a key of the configuration file, which\n"
                "\\fB\\-\\-config\\fR \\fIFILE\\fR or \\fBSTENO_CONFIG\\fR names.\n");
    size_t n;
    const struct conf_option *options = conf_options(&n);
    for (size_t i = 0; i < n; i++) {
        buf_adds(b, ".TP\n\\fB");
        add_roff(b, options[i].name);
        buf_adds(b, "\\fR");
        if (*options[i].def) {
            buf_adds(b, " (");
            add_roff(b, options[i].def);
            buf_addc(b, ')');
        }
        buf_addc(b, '\n');
        add_roff(b, options[i].help);
        buf_addc(b, '\n');
    }
    buf_adds(b, ".SH EXIT STATUS\n");
#define X(name, value, text)          \
    buf_adds(b, ".TP\n" #value "\n"); \
    add_roff(b, text);                \
    buf_adds(b, "\n");
    EXIT_STATUSES(X)
#undef X
}

static void add_md_command(struct buf *b, const struct cmd *c)
{
    buf_addf(b, "\n## steno %s\n\n    steno %s [FLAG...]%s%s\n\n", c->name, c->name, *c->args ? " " : "", c->args);
    help_sentence(b, c->help);
    buf_addc(b, '\n');
    if (c->more)
        buf_addf(b, "\n%s\n", c->more);
    if (c->flags && c->flags->name)
        buf_adds(b, "\n| flag | |\n|---|---|\n");
    for (const struct cmd_flag *f = c->flags; f && f->name; f++) {
        buf_adds(b, "| ");
        if (f->letter)
            buf_addf(b, "`-%c`, ", f->letter);
        buf_addf(b, "`--%s%s%s` | %s |\n", f->name, f->arg ? " " : "", f->arg ? f->arg : "", f->help);
    }
    if (c->needs & NEED_CONF)
        buf_adds(b, "\nTakes all [settings](configuration.md) as flags.\n");
}

void docs_markdown(struct buf *b)
{
    buf_adds(
        b,
        "# Commands\n\nMade from the command table (`src/cli/commands.c`) by `make docs`; `steno COMMAND --help` says "
        "the same.\n\n| command | |\n|---|---|\n");
    for (const struct cmd *c = commands; c->name; c++)
        if (!(c->needs & CMD_HIDDEN))
            buf_addf(b, "| `steno %s` | %s |\n", c->name, c->help);
    buf_adds(b, "\n## Exit status\n\n| | |\n|---|---|\n");
#define X(name, value, text) buf_adds(b, "| " #value " | " text " |\n");
    EXIT_STATUSES(X)
#undef X
    for (const struct cmd *c = commands; c->name; c++)
        if (!(c->needs & CMD_HIDDEN))
            add_md_command(b, c);
}

/* The words a flag's value can have, by what its argument is called. */
static void add_values(struct buf *b)
{
    buf_adds(b, "        --format|-f) words=\"");
    for (int f = 0; f < FORMAT_COUNT; f++)
        buf_addf(b, "%s ", format_info((enum format)f)->name);
    buf_adds(b, "\" ;;\n        --status) words=\"");
    for (int s = 0; s < JOB_STATE_COUNT; s++)
        buf_addf(b, "%s ", job_state_name((enum job_state)s));
    buf_adds(b, "\" ;;\n        --queue) words=\"");
    for (int q = 0; q < QUEUE_COUNT; q++)
        buf_addf(b, "%s ", job_queue_name((enum job_queue)q));
    buf_adds(b, "\" ;;\n");
    size_t n;
    const struct conf_option *options = conf_options(&n);
    for (size_t i = 0; i < n; i++) {
        if (options[i].type != CONF_CHOICE)
            continue;
        buf_adds(b, "        --");
        for (const char *p = options[i].name; *p; p++)
            buf_addc(b, *p == '_' ? '-' : *p);
        buf_adds(b, ") words=\"");
        for (const char *p = options[i].choices; *p; p++)
            buf_addc(b, *p == '|' ? ' ' : *p);
        buf_adds(b, "\" ;;\n");
    }
}

void docs_completion(struct buf *b)
{
    size_t n;
    const struct conf_option *options = conf_options(&n);
    buf_adds(b, "# bash completion for steno, made from the command table by 'steno __completion bash'\n\n"
                "_steno()\n{\n"
                "    local cur=${COMP_WORDS[COMP_CWORD]} prev=${COMP_WORDS[COMP_CWORD-1]} words=\"\" settings command\n"
                "    COMPREPLY=()\n"
                "    settings=\"--" CONFIG_FLAG);
    for (size_t i = 0; i < n; i++) {
        buf_adds(b, " --");
        for (const char *p = options[i].name; *p; p++)
            buf_addc(b, *p == '_' ? '-' : *p);
    }
    buf_adds(b, "\"\n    if ((COMP_CWORD == 1)); then\n        words=\"");
    const char *group = "";
    for (const struct cmd *c = commands; c->name; c++) {
        size_t word = strcspn(c->name, " ");
        if (c->needs & CMD_HIDDEN || strncmp(group, c->name, word + 1) == 0)
            continue;
        group = c->name[word] ? c->name : "";
        buf_add(b, c->name, word);
        buf_addc(b, ' ');
    }
    buf_adds(b, "--help --version\"\n        mapfile -t COMPREPLY < <(compgen -W \"$words\" -- \"$cur\")\n        "
                "return\n    fi\n"
                "    case $prev in\n");
    add_values(b);
    buf_adds(b, "    esac\n    if [[ -n $words ]]; then\n"
                "        mapfile -t COMPREPLY < <(compgen -W \"$words\" -- \"$cur\")\n        return\n    fi\n"
                "    command=${COMP_WORDS[1]}\n    case $command in\n");
    /* Groups: their second words come first, then the flags of the pair. */
    for (const struct cmd *c = commands; c->name; c++) {
        size_t word = strcspn(c->name, " ");
        if (c->needs & CMD_HIDDEN || !c->name[word] || (c > commands && strncmp(c[-1].name, c->name, word + 1) == 0))
            continue;
        buf_addf(b, "    %.*s)\n        if ((COMP_CWORD == 2)); then\n            words=\"", (int)word, c->name);
        for (const struct cmd *s = c; s->name && strncmp(s->name, c->name, word + 1) == 0; s++)
            if (!(s->needs & CMD_HIDDEN))
                buf_addf(b, "%s ", s->name + word + 1);
        buf_adds(b, "\"\n            mapfile -t COMPREPLY < <(compgen -W \"$words\" -- \"$cur\")\n            return\n"
                    "        fi\n        command=\"$command ${COMP_WORDS[2]}\"\n        ;;\n");
    }
    buf_adds(b, "    esac\n    case $command in\n");
    for (const struct cmd *c = commands; c->name; c++) {
        if (c->needs & CMD_HIDDEN)
            continue;
        buf_addf(b, "    '%s') words=\"--help", c->name);
        for (const struct cmd_flag *f = c->flags; f && f->name; f++)
            buf_addf(b, " --%s", f->name);
        buf_addf(b, "%s\" ;;\n", c->needs & NEED_CONF ? " $settings" : "");
    }
    buf_adds(b, "    esac\n"
                "    if [[ $cur == -* ]]; then\n"
                "        mapfile -t COMPREPLY < <(compgen -W \"$words\" -- \"$cur\")\n"
                "    else\n"
                "        mapfile -t COMPREPLY < <(compgen -f -- \"$cur\")\n"
                "    fi\n}\n"
                "complete -o filenames -F _steno steno\n");
}
