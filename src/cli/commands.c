/* SPDX-License-Identifier: MIT */
/* The table, and looking things up in it. */
#include "cli/commands.h"

#include "base/macros.h"
#include "base/str.h"

#include <limits.h>
#include <string.h>

static const struct cmd_flag version_flags[] = {
    {"verbose", 'v', NULL, "also the libraries it was built with"},
    {0},
};

const struct cmd commands[] = {
    {"version", "", "print the version", 0, version_flags, cmd_version, NULL},
    {"help", "[COMMAND] [SUBCOMMAND]", "explain a command", 0, NULL, cmd_help, NULL},
    {0},
};

enum exit_status cmd_status(int err_code)
{
    switch (err_code) {
    case ERR_INVALID:
    case ERR_NOT_FOUND:
    case ERR_UNSUPPORTED:
        return STATUS_USAGE;
    case ERR_UNAVAILABLE:
    case ERR_BUSY:
    case ERR_TIMEOUT:
        return STATUS_UNAVAILABLE;
    case ERR_CANCELLED:
        return STATUS_INTERRUPTED;
    default:
        return STATUS_FAILED;
    }
}

/* Length of the first word of a two-word name, 0 when it has one. */
static size_t group_len(const char *name)
{
    const char *blank = strchr(name, ' ');
    return blank ? (size_t)(blank - name) : 0;
}

const struct cmd *cmd_find(int argc, char **argv, int *ret_words)
{
    if (argc < 1)
        return NULL;
    for (const struct cmd *c = commands; c->name; c++) {
        size_t group = group_len(c->name);
        if (!group && strcmp(c->name, argv[0]) == 0) {
            *ret_words = 1;
            return c;
        }
        if (group && argc > 1 && strncmp(c->name, argv[0], group) == 0 && !argv[0][group] &&
            strcmp(c->name + group + 1, argv[1]) == 0) {
            *ret_words = 2;
            return c;
        }
    }
    return NULL;
}

int cmd_is_group(const char *word)
{
    size_t n = strlen(word);
    for (const struct cmd *c = commands; c->name; c++)
        if (n && group_len(c->name) == n && strncmp(c->name, word, n) == 0)
            return 1;
    return 0;
}

/* Edit distance of two short words; long ones count as far apart. */
static int distance(const char *a, const char *b)
{
    enum { MOST = 32 };
    size_t n = strlen(a), m = strlen(b);
    if (n >= MOST || m >= MOST)
        return INT_MAX;
    int row[MOST];
    for (size_t j = 0; j <= m; j++)
        row[j] = (int)j;
    for (size_t i = 1; i <= n; i++) {
        int diagonal = row[0];
        row[0] = (int)i;
        for (size_t j = 1; j <= m; j++) {
            int replace = diagonal + (a[i - 1] != b[j - 1]);
            diagonal = row[j];
            row[j] = MIN(replace, MIN(row[j], row[j - 1]) + 1);
        }
    }
    return row[m];
}

const char *cmd_nearest(const char *word)
{
    const char *best = NULL;
    int best_distance = 3; /* further away is not a typing error */
    for (const struct cmd *c = commands; c->name; c++) {
        if (c->needs & CMD_HIDDEN)
            continue;
        int d = distance(word, c->name);
        if (d < best_distance && d < (int)strlen(word)) {
            best = c->name;
            best_distance = d;
        }
    }
    return best;
}

void cmd_arg_range(const char *args, int *ret_min, int *ret_max)
{
    int min = 0, max = 0;
    for (const char *p = args; *p;) {
        size_t n = strcspn(p, " ");
        if (*p != '[')
            min++;
        if (max >= 0)
            max++;
        for (size_t i = 0; i + 3 <= n; i++)
            if (strncmp(p + i, "...", 3) == 0)
                max = -1;
        p += n;
        p += strspn(p, " ");
    }
    *ret_min = min;
    *ret_max = max;
}
