/* SPDX-License-Identifier: MIT */
#include "base/fault.h"

#ifdef STENO_FAULTS
#include "base/clock.h"
#include "base/io.h"
#include "base/mem.h"
#include "base/str.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#endif

const char *fault_name(enum fault_point p)
{
    static const char *const names[] = {
#define X(name) #name,
        FAULT_POINTS(X) FAULT_OPERATIONS(X) FAULT_CLOCKS(X)
#undef X
    };
    return p < FAULT_COUNT ? names[p] : "?";
}

#ifdef STENO_FAULTS

/* A mistake in a test must not look like a fault that did not fire. */
static _Noreturn void bad_spec(const char *what, const char *item)
{
    fprintf(stderr, "steno: STENO_FAULT: %s in '%s'\n", what, item);
    abort();
}

/* True once per test run: the file is the memory that outlives a killed process. */
static bool first_time(const char *point)
{
    const char *dir = getenv("STENO_FAULT_DIR");
    if (!dir)
        return true;
    CLEANUP(free_p) char *path = xasprintf("%s/%s", dir, point);
    CLEANUP(close_fd) int fd = open(path, O_CREAT | O_EXCL | O_WRONLY | O_CLOEXEC, 0600);
    if (fd < 0 && errno != EEXIST)
        bad_spec("cannot write to STENO_FAULT_DIR", path);
    return fd >= 0;
}

/* Points that can be named together by how they begin. */
static const char *const groups[] = {"storage", "broker", "db"};
enum { GROUPS = 3, SPEC_MAX = 65536 };

static atomic_llong passes[FAULT_COUNT + GROUPS];
static atomic_bool struck;

/* One "point(about)=action" of the specification, taken apart in place. */
struct item {
    const char *point, *about; /* about: NULL, or part of what it is about */
    const char *action;
    int64_t ms;  /* of sleep and jump */
    int64_t nth; /* 0: every pass */
    bool each;   /* each nth pass, not only that */
};

static bool in_group(const char *group, const char *name)
{
    size_t n = strlen(group);
    return strncmp(group, name, n) == 0 && name[n] == '_' && strcmp(name, "db_clock") != 0;
}

static bool known(const char *name)
{
    for (int g = 0; g < GROUPS; g++)
        if (strcmp(groups[g], name) == 0)
            return true;
    for (int p = 0; p < FAULT_COUNT; p++)
        if (strcmp(fault_name((enum fault_point)p), name) == 0)
            return true;
    return false;
}

/* Cuts "@N" or "/N" off the action. */
static void take_pass(char *action, struct item *ret)
{
    char *at = strpbrk(action, "@/");
    if (!at)
        return;
    if (!str_to_i64(at + 1, &ret->nth) || ret->nth < 1)
        bad_spec("no number behind '@' or '/'", action);
    ret->each = *at == '/';
    *at = '\0';
}

static void take_action(char *action, struct item *ret)
{
    static const char *const plain[] = {"kill", "stop", "fail", "lost", "cut"}, *const timed[] = {"sleep", "jump"};
    take_pass(action, ret);
    ret->action = action;
    char *colon = strchr(action, ':');
    if (colon && !str_to_i64(colon + 1, &ret->ms))
        bad_spec("no number behind ':'", action);
    if (colon)
        *colon = '\0';
    for (size_t i = 0; !colon && i < ARRAY_LEN(plain); i++)
        if (strcmp(action, plain[i]) == 0)
            return;
    for (size_t i = 0; colon && i < ARRAY_LEN(timed); i++)
        if (strcmp(action, timed[i]) == 0)
            return;
    bad_spec("unknown action", action);
}

static struct item parse_item(char *text)
{
    struct item it = {.point = text};
    char *eq = strchr(text, '='), *open = strchr(text, '(');
    if (!eq)
        bad_spec("no '='", text);
    *eq = '\0';
    if (open && open < eq) {
        if (eq[-1] != ')')
            bad_spec("no ')'", text);
        eq[-1] = *open = '\0';
        it.about = open + 1;
    }
    if (!known(it.point))
        bad_spec("unknown point", it.point);
    take_action(eq + 1, &it);
    return it;
}

/* A copy to take apart, or NULL. A file that is not there (yet) says nothing. */
static char *read_spec(void)
{
    const char *spec = getenv("STENO_FAULT");
    char *text = NULL;
    size_t n = 0;
    struct err ignored = ERR_INIT;
    if (!spec || !*spec)
        return NULL;
    if (*spec != '@')
        return xstrdup(spec);
    if (io_read_file(spec + 1, SPEC_MAX, &text, &n, &ignored) < 0)
        return NULL;
    text[strcspn(text, "\n")] = '\0';
    return text;
}

/* The next item of the specification; NULL: none. */
static char *next_item(char **rest)
{
    char *item = *rest;
    size_t n = strcspn(item, ",");
    *rest = item + n + (item[n] == ',');
    item[n] = '\0';
    return *item ? item : NULL;
}

/* Whether this is the pass that the item is for. */
static bool is_its_turn(const struct item *it, enum fault_point p, const int64_t pass[1 + GROUPS])
{
    const char *name = fault_name(p);
    int64_t n = 0;
    if (strcmp(it->point, name) == 0)
        n = pass[0];
    for (int g = 0; !n && g < GROUPS; g++)
        if (strcmp(it->point, groups[g]) == 0 && in_group(groups[g], name))
            n = pass[1 + g];
    return n && (!it->nth || (it->each ? n % it->nth == 0 : n == it->nth));
}

static enum fault_effect act(const struct item *it)
{
    if (strcmp(it->action, "kill") == 0)
        raise(SIGKILL);
    else if (strcmp(it->action, "stop") == 0)
        raise(SIGSTOP);
    else if (strcmp(it->action, "sleep") == 0)
        clock_sleep_ms(it->ms);
    else if (strcmp(it->action, "fail") == 0)
        return FAULT_FAIL;
    else if (strcmp(it->action, "lost") == 0)
        return FAULT_LOST;
    else if (strcmp(it->action, "cut") == 0)
        return FAULT_CUT;
    return FAULT_NONE;
}

enum fault_effect fault_look(enum fault_point p, const char *about)
{
    const char *name = fault_name(p);
    int64_t pass[1 + GROUPS] = {atomic_fetch_add(&passes[p], 1) + 1};
    for (int g = 0; g < GROUPS; g++)
        if (in_group(groups[g], name))
            pass[1 + g] = atomic_fetch_add(&passes[FAULT_COUNT + g], 1) + 1;
    CLEANUP(free_p) char *spec = read_spec();
    enum fault_effect effect = FAULT_NONE;
    char *rest = spec, *text;
    while (spec && effect == FAULT_NONE && (text = next_item(&rest))) {
        struct item it = parse_item(text);
        if (!is_its_turn(&it, p, pass) || (it.about && !(about && strstr(about, it.about))) || !first_time(name))
            continue;
        atomic_store(&struck, true);
        effect = act(&it);
    }
    return effect;
}

int fault_strike(enum fault_point p, struct err *err)
{
    return err_set(err, ERR_UNAVAILABLE, "injected fault at %s", fault_name(p));
}

int fault_hit(enum fault_point p, const char *about, struct err *err)
{
    return fault_look(p, about) == FAULT_NONE ? 0 : fault_strike(p, err);
}

int64_t fault_jump_ms(enum fault_point p)
{
    CLEANUP(free_p) char *spec = read_spec();
    char *rest = spec, *text;
    int64_t ms = 0;
    while (spec && (text = next_item(&rest))) {
        struct item it = parse_item(text);
        if (strcmp(it.point, fault_name(p)) == 0)
            ms += it.ms;
    }
    return ms;
}

bool fault_reset(void)
{
    for (size_t i = 0; i < ARRAY_LEN(passes); i++)
        atomic_store(&passes[i], 0);
    return atomic_exchange(&struck, false);
}

#endif
