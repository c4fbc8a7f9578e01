/* SPDX-License-Identifier: MIT */
#include "cli/flags.h"

#include "base/macros.h"
#include "base/mem.h"
#include "base/str.h"
#include "conf/conf.h"

#include <stdlib.h>
#include <string.h>

static size_t count_flags(const struct cmd *cmd)
{
    size_t n = 0;
    while (cmd->flags && cmd->flags[n].name)
        n++;
    return n;
}

static const struct cmd_flag *find_flag(const struct cmd *cmd, const char *name, size_t len, char letter)
{
    for (const struct cmd_flag *f = cmd->flags; f && f->name; f++)
        if (letter ? f->letter == letter : strlen(f->name) == len && strncmp(f->name, name, len) == 0)
            return f;
    return NULL;
}

static const struct cmd_flag config_flag = {CONFIG_FLAG, 0, "FILE", NULL};

/* The option of the configuration that --name stands for. */
static const struct conf_option *find_option(const struct cmd *cmd, const char *name, size_t len)
{
    char copy[64];
    if (!(cmd->needs & NEED_CONF) || len >= sizeof copy)
        return NULL;
    memcpy(copy, name, len);
    copy[len] = '\0';
    return conf_option_find(copy);
}

static int unknown(const struct cmd *cmd, const char *arg, struct err *err)
{
    const char *near = NULL;
    if (cmd->needs & NEED_CONF && str_starts(arg, "--")) {
        CLEANUP(free_p) char *name = xstrdup(arg + 2);
        name[strcspn(name, "=")] = '\0';
        near = conf_option_near(name);
    }
    if (!near)
        return err_set(err, ERR_INVALID, "unknown flag '%s': see 'steno %s --help'", arg, cmd->name);
    CLEANUP(free_p) char *flag = xstrdup(near);
    for (char *p = flag; *p; p++)
        if (*p == '_')
            *p = '-';
    return err_set(err, ERR_INVALID, "unknown flag '%s': did you mean --%s?", arg, flag);
}

/* One argument that starts with '-'; `next` is what stands behind it (or NULL). Returns how many were used. */
static int take_flag(struct flags *f, const char *arg, const char *next, struct err *err)
{
    const struct cmd *cmd = f->cmd;
    bool is_long = arg[1] == '-';
    const char *name = arg + (is_long ? 2 : 1), *value = NULL;
    size_t len = is_long ? strcspn(name, "=") : 1;
    if (is_long && name[len])
        value = name + len + 1;
    else if (!is_long && name[1])
        value = name + 1;

    if (strcmp(arg, "--help") == 0 || strcmp(arg, "-h") == 0) {
        f->help = true;
        return 1;
    }
    const struct cmd_flag *flag = find_flag(cmd, name, len, is_long ? 0 : *name);
    const struct conf_option *option = flag || !is_long ? NULL : find_option(cmd, name, len);
    if (!flag && !option && cmd->needs & NEED_CONF && is_long && len == strlen(CONFIG_FLAG) &&
        strncmp(name, CONFIG_FLAG, len) == 0)
        flag = &config_flag;
    if (!flag && !option)
        return unknown(cmd, arg, err);

    bool is_switch = flag ? !flag->arg : option->type == CONF_BOOL;
    if (is_switch && flag && value)
        return err_set(err, ERR_INVALID, "--%s takes no value", flag->name);
    if (!is_switch && !value && !next)
        return flag ? err_set(err, ERR_INVALID, "--%s needs a value: %s", flag->name, flag->arg)
                    : err_set(err, ERR_INVALID, "--%.*s needs a value", (int)len, name);
    int used = is_switch || value ? 1 : 2;
    if (!value)
        value = !is_switch ? next : option ? "yes" : "";
    if (option)
        f->conf[f->n_conf++] = xasprintf("%s=%s", option->name, value);
    else if (flag == &config_flag)
        f->config = value;
    else
        f->values[flag - cmd->flags] = value;
    return used;
}

static int check_count(const struct flags *f, struct err *err)
{
    int min, max;
    cmd_arg_range(f->cmd->args, &min, &max);
    if (f->argc < min)
        return err_set(err, ERR_INVALID, "too few arguments: steno %s %s", f->cmd->name, f->cmd->args);
    if (max >= 0 && f->argc > max)
        return err_set(err, ERR_INVALID, "unexpected argument '%s': steno %s%s%s", f->argv[max], f->cmd->name,
                       *f->cmd->args ? " " : "", f->cmd->args);
    return 0;
}

int flags_parse(const struct cmd *cmd, int argc, char **argv, struct flags **ret, struct err *err)
{
    struct flags *f = xcalloc(1, sizeof *f);
    *ret = f;
    f->cmd = cmd;
    f->values = xcalloc(count_flags(cmd) + 1, sizeof *f->values);
    f->conf = xcalloc((size_t)argc + 1, sizeof *f->conf);
    f->argv = xcalloc((size_t)argc + 1, sizeof *f->argv);
    bool flags_over = false;
    for (int i = 0; i < argc;) {
        char *arg = argv[i];
        /* A lone "-" is standard input. */
        if (flags_over || arg[0] != '-' || !arg[1]) {
            f->argv[f->argc++] = arg;
            i++;
        } else if (strcmp(arg, "--") == 0) {
            flags_over = true;
            i++;
        } else {
            int used = take_flag(f, arg, i + 1 < argc ? argv[i + 1] : NULL, err);
            if (used < 0)
                return used;
            i += used;
        }
    }
    return f->help ? 0 : check_count(f, err);
}

void flags_free(struct flags *f)
{
    if (!f)
        return;
    for (size_t i = 0; f->conf[i]; i++)
        free(f->conf[i]);
    free(f->conf);
    free(f->values);
    free(f->argv);
    free(f);
}

const char *flags_get(const struct flags *f, const char *name)
{
    const struct cmd_flag *flag = find_flag(f->cmd, name, strlen(name), 0);
    if (!flag)
        abort(); /* the command asks for a flag that its row does not have */
    return f->values[flag - f->cmd->flags];
}
