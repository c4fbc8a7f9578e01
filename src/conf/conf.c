/* SPDX-License-Identifier: MIT */
/*
 * Loading goes in three steps. Gather: every source is read into slots, one an option and one an alias, each
 * holding the value of the strongest source that names it; a wrong own value is an error even where a stronger
 * source hides it. Choose: aliases become values of options and stand behind an own name of the same source. Resolve:
 * relative paths get the data folder.
 *
 * The file is read last, because the data folder, where it is looked for, may come from the other sources.
 */
#include "conf/conf.h"

#include "base/io.h"
#include "base/str.h"
#include "conf/alias.h"
#include "conf/option.h"
#include "conf/reader.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { LIST_MAX = 1500 };

/* Names of the environment that start with STENO_ and are no options; read elsewhere. */
static const char *const other_names[] = {"STENO_CONFIG",    "STENO_SUPERVISED", "STENO_READY_FD", "STENO_FAULT",
                                          "STENO_FAULT_DIR", "STENO_OPENMP",     "STENO_REPLACED"};

struct slot {
    bool set;
    enum conf_source source;
    const char *where;
    union conf_value value;
};

struct loader {
    struct conf *c;
    struct arena *mem; /* of c */
    struct slot own[CONF_COUNT], chosen[CONF_COUNT];
    struct alias_value alias[ALIAS_MAX];
    const char *in_file[CONF_COUNT]; /* where the file sets an option */
    bool file_is_named;              /* else it was found in the data folder */
    struct alias_result results[ALIAS_MAX];
    size_t n_results;
    struct buf ignored[CONF_FROM_FLAG]; /* by source: names that were accepted without effect */
    const char *dotenv;                 /* or NULL */
    const char *steno_config;
    enum conf_source steno_config_source;
};

static int no_memory(struct err *err)
{
    return err_set(err, ERR_NOMEM, "no memory for the settings");
}

static void add_note(struct conf_origin *o, const char *note)
{
    if (note && o->n_notes < ARRAY_LEN(o->notes))
        o->notes[o->n_notes++] = note;
}

/* The list has an end: a strange .env may hold thousands of names. */
static void add_ignored(struct loader *l, enum conf_source source, const char *section, const char *key)
{
    struct buf *b = &l->ignored[source];
    size_t need = strlen(key) + (section ? strlen(section) : 0) + 16;
    if (b->len + need <= LIST_MAX)
        buf_addf(b, section && *section ? "%s%s of [%s]" : "%s%s", b->len ? ", " : "", key, section);
    else if (!str_ends(buf_str(b), "..."))
        buf_adds(b, ", ...");
}

static int set_own(struct loader *l, const struct conf_option *o, const char *text, enum conf_source source,
                   const char *where, struct err *err)
{
    struct slot *s = &l->own[conf_option_index(o)];
    union conf_value v;
    if (!where)
        return no_memory(err);
    int rc = conf_value_parse(o, text, l->mem, &v, err);
    if (rc < 0)
        return err_wrap(err, "%s", where);
    if (!s->set || source >= s->source)
        *s = (struct slot){.set = true, .source = source, .where = where, .value = v};
    return 0;
}

static int set_alias(struct loader *l, const struct conf_alias *a, const char *text, enum conf_source source,
                     const char *where, struct err *err)
{
    size_t n;
    struct alias_value *v = &l->alias[a - conf_aliases(&n)];
    const char *copy = arena_strdup(l->mem, text);
    if (!where || !copy)
        return no_memory(err);
    if (!v->text || source >= v->source)
        *v = (struct alias_value){.text = copy, .where = where, .source = source};
    return 0;
}

static int unknown_name(const char *place, const char *name, const char *prefix, const char *near, struct err *err)
{
    CLEANUP(buf_clear) struct buf shown = BUF_INIT(400);
    str_add_printable(&shown, name);
    if (!near)
        return err_set(err, ERR_INVALID, "%s: there is no setting '%.100s'; `steno config sample` lists them all",
                       place, buf_str(&shown));
    CLEANUP(buf_clear) struct buf meant = BUF_INIT(200);
    buf_addf(&meant, "%s%s", prefix, near);
    for (char *p = meant.data; p && *prefix && *p; p++)
        if (*p >= 'a' && *p <= 'z')
            *p = (char)(*p - 32);
    return err_set(err, ERR_INVALID, "%s: there is no setting '%.100s'; did you mean '%s'?", place, buf_str(&shown),
                   buf_str(&meant));
}

/* "STENO_MAX_QUEUE_SIZE" to the option max_queue_size; upper case only, as the shell sees other names as others. */
static const struct conf_option *find_env_option(const char *name)
{
    char lower[64];
    size_t n = strlen("STENO_");
    if (strlen(name) - n >= sizeof lower)
        return NULL;
    for (size_t i = 0;; i++) {
        char c = name[n + i];
        if ((c >= 'a' && c <= 'z') || c == '-')
            return NULL;
        lower[i] = c >= 'A' && c <= 'Z' ? (char)(c + 32) : c;
        if (!c)
            return conf_option_find(lower);
    }
}

/* One name of the environment or of .env. Foreign names nobody knows: *ret_ours is false. */
static int set_env(struct loader *l, const char *name, const char *value, enum conf_source source, const char *place,
                   const char *where, bool *ret_ours, struct err *err)
{
    *ret_ours = true;
    if (str_starts(name, "STENO_")) {
        const struct conf_option *o = find_env_option(name);
        if (o)
            return *value ? set_own(l, o, value, source, where, err) : 0;
        if (strcmp(name, "STENO_CONFIG") == 0) {
            if (*value && source >= l->steno_config_source) {
                l->steno_config = arena_strdup(l->mem, value);
                l->steno_config_source = source;
            }
            return 0;
        }
        for (size_t i = 0; source == CONF_FROM_ENV && i < ARRAY_LEN(other_names); i++)
            if (strcmp(name, other_names[i]) == 0)
                return 0;
        return unknown_name(place, name, "STENO_", conf_option_near(name + strlen("STENO_")), err);
    }
    const struct conf_alias *a = conf_alias_find(NULL, name);
    *ret_ours = a != NULL;
    return a && *value ? set_alias(l, a, value, source, where, err) : 0;
}

static int read_environ(struct loader *l, const char *const *env, struct err *err)
{
    int rc = 0;
    for (size_t i = 0; rc >= 0 && env && env[i]; i++) {
        const char *eq = strchr(env[i], '=');
        if (!eq)
            continue;
        /* No name of ours is longer; one that only starts like ours is still unknown when cut. */
        char name[128] = "";
        memcpy(name, env[i], MIN((size_t)(eq - env[i]), sizeof name - 1));
        const char *where = "environment";
        if (str_starts(name, "STENO_"))
            where = arena_printf(l->mem, "environment %s", name);
        bool ours;
        rc = set_env(l, name, eq + 1, CONF_FROM_ENV, "environment", where, &ours, err);
    }
    return rc;
}

static int read_flags(struct loader *l, const char *const *flags, struct err *err)
{
    int rc = 0;
    for (size_t i = 0; rc >= 0 && flags && flags[i]; i++) {
        size_t n = strcspn(flags[i], "=");
        CLEANUP(free_p) char *name = xasprintf("%.*s", (int)MIN(n, (size_t)100), flags[i]);
        const struct conf_option *o = conf_option_find(name);
        if (!o || flags[i][n] != '=')
            return unknown_name("command line", name, "", conf_option_near(name), err);
        CLEANUP(buf_clear) struct buf dashed = BUF_INIT(200);
        buf_addf(&dashed, "flag --%s", o->name);
        for (char *p = dashed.data; p && *p; p++)
            if (*p == '_')
                *p = '-';
        rc = set_own(l, o, flags[i] + n + 1, CONF_FROM_FLAG, arena_strdup(l->mem, buf_str(&dashed)), err);
    }
    return rc;
}

static int on_dotenv_line(const struct conf_line *line, void *arg, struct err *err)
{
    struct loader *l = arg;
    bool ours;
    char *where = arena_printf(l->mem, "%s:%d", line->file, line->line);
    int rc = where ? set_env(l, line->key, line->value, CONF_FROM_DOTENV, where, where, &ours, err) : no_memory(err);
    if (rc < 0)
        return rc;
    if (!ours)
        add_ignored(l, CONF_FROM_DOTENV, NULL, line->key);
    else if (line->bare && strstr(line->value, "${"))
        return err_set(err, ERR_INVALID, "%s: %s: variables are not replaced here: write the value out", where,
                       line->key);
    return 0;
}

static int on_file_line(const struct conf_line *line, void *arg, struct err *err)
{
    struct loader *l = arg;
    char *where = arena_printf(l->mem, "%s:%d", line->file, line->line);
    if (!where)
        return no_memory(err);
    if (!*line->section || strcmp(line->section, "steno") == 0) {
        const struct conf_option *o = conf_option_find(line->key);
        /* Files spell a name one way only. */
        if (!o || strcmp(o->name, line->key) != 0)
            return unknown_name(where, line->key, "", o ? o->name : conf_option_near(line->key), err);
        if (!l->file_is_named && conf_option_index(o) == CONF_I_data)
            return err_set(err, ERR_INVALID,
                           "%s: 'data' cannot be set in the file that was found in the data folder itself", where);
        const char **first = &l->in_file[conf_option_index(o)];
        if (*first)
            return err_set(err, ERR_INVALID, "%s: '%s' is set twice, first at %s", where, o->name, *first);
        *first = where;
        return set_own(l, o, line->value, CONF_FROM_FILE, where, err);
    }
    if (!conf_alias_section(line->section))
        return err_set(err, ERR_INVALID,
                       "%s: there is no section [%.60s]; settings stand before any section or in [steno]", where,
                       line->section);
    const struct conf_alias *a = conf_alias_find(line->section, line->key);
    if (a)
        return *line->value ? set_alias(l, a, line->value, CONF_FROM_FILE, where, err) : 0;
    add_ignored(l, CONF_FROM_FILE, line->section, line->key);
    return 0;
}

/* A missing file is an error only when somebody named it. */
static int read_text(const char *path, bool must, char **ret, size_t *ret_len, struct err *err)
{
    int rc = io_read_file(path, READER_MAX, ret, ret_len, err);
    return rc == ERR_NOT_FOUND && !must ? 0 : rc < 0 ? rc : 1;
}

static int read_dotenv(struct loader *l, const char *path, struct err *err)
{
    if (path && !*path)
        return 0;
    l->dotenv = path ? path : ".env";
    CLEANUP(free_p) char *text = NULL;
    size_t n;
    int rc = read_text(l->dotenv, path != NULL, &text, &n, err);
    return rc <= 0 ? rc : conf_read_dotenv(l->dotenv, text, n, on_dotenv_line, l, err);
}

static const char *env_value(const char *const *env, const char *name)
{
    size_t n = strlen(name);
    for (size_t i = 0; env && env[i]; i++)
        if (strncmp(env[i], name, n) == 0 && env[i][n] == '=')
            return env[i] + n + 1;
    return NULL;
}

static size_t without_slashes(const char *path)
{
    size_t n = strlen(path);
    while (n && path[n - 1] == '/')
        n--;
    return n;
}

/* `path` as it is when absolute, else below the absolute `base`; without slashes at the end. */
static char *join(struct arena *a, const char *base, const char *path)
{
    size_t n = without_slashes(path);
    if (path[0] == '/')
        return n ? arena_dup(a, path, n) : arena_strdup(a, "/");
    return arena_printf(a, "%.*s/%.*s", (int)without_slashes(base), base, (int)n, path);
}

/* The data folder, absolute. XDG: a relative value is invalid and ignored. */
static int find_data(struct loader *l, const char *const *env, const char **ret, struct err *err)
{
    const struct slot *s = &l->own[CONF_I_data];
    const char *state = env_value(env, "XDG_STATE_HOME"), *home = env_value(env, "HOME"), *found;
    if (s->set && s->value.s[0] == '/') {
        found = join(l->mem, "/", s->value.s);
    } else if (s->set && *s->value.s) {
        CLEANUP(free_p) char *here = getcwd(NULL, 0);
        if (!here)
            return err_sys(err, errno, "data = '%s': cannot tell the working folder", s->value.s);
        found = join(l->mem, here, s->value.s);
    } else if (state && state[0] == '/') {
        found = join(l->mem, state, "steno");
    } else if (home && home[0] == '/') {
        found = join(l->mem, home, ".local/state/steno");
    } else {
        found = "/var/lib/steno";
    }
    if (!found)
        return no_memory(err);
    *ret = found;
    return 0;
}

static int read_config_file(struct loader *l, const struct conf_load_opts *o, struct err *err)
{
    const char *data = NULL;
    int rc = find_data(l, o->environ, &data, err);
    if (rc < 0)
        return rc;
    const char *named = o->file ? o->file : l->steno_config;
    const char *path = named ? arena_strdup(l->mem, named) : arena_printf(l->mem, "%s/steno.ini", data);
    if (!path)
        return no_memory(err);
    CLEANUP(free_p) char *text = NULL;
    size_t n;
    rc = read_text(path, named != NULL, &text, &n, err);
    if (rc <= 0)
        return rc;
    l->c->origin->file = path;
    l->file_is_named = named != NULL;
    return conf_read_ini(path, text, n, on_file_line, l, err);
}

static int on_alias(const struct alias_result *r, void *arg, struct err *err)
{
    struct loader *l = arg;
    (void)err;
    if (!r->text)
        add_ignored(l, r->source, NULL, r->names);
    else if (l->n_results < ARRAY_LEN(l->results))
        l->results[l->n_results++] = *r;
    return 0;
}

/* The strongest meaning for an option, of equal ones the first; NULL: no alias sets it. */
static const struct alias_result *best_alias(const struct loader *l, const struct conf_option *o)
{
    const struct alias_result *best = NULL;
    for (size_t i = 0; i < l->n_results; i++)
        if (strcmp(l->results[i].option, o->name) == 0 && (!best || l->results[i].source > best->source))
            best = &l->results[i];
    return best;
}

/* Says for each alias of an option whether it counts. */
static void note_aliases(struct loader *l, const struct conf_option *o, const struct alias_result *used)
{
    const struct slot *s = &l->chosen[conf_option_index(o)];
    CLEANUP(buf_clear) struct buf shown = BUF_INIT(LIST_MAX);
    conf_add_shown(o, s->value, &shown);
    for (size_t i = 0; i < l->n_results; i++) {
        const struct alias_result *r = &l->results[i];
        if (r == used)
            add_note(l->c->origin,
                     arena_printf(l->mem, "%s: %s means %s = %s", r->where, r->names, o->name, buf_str(&shown)));
        else if (strcmp(r->option, o->name) == 0)
            add_note(l->c->origin, arena_printf(l->mem, "%s: %s is not used, because %s comes from %s", r->where,
                                                r->names, o->name, s->where));
    }
}

static int choose_one(struct loader *l, const struct conf_option *o, struct err *err)
{
    enum conf_index i = conf_option_index(o);
    struct slot *s = &l->chosen[i];
    const struct alias_result *r = best_alias(l, o);
    *s = l->own[i];
    if (s->set && r && s->source >= r->source)
        r = NULL;
    if (r) {
        *s = (struct slot){.set = true, .source = r->source};
        int rc = conf_value_parse(o, r->text, l->mem, &s->value, err);
        if (rc < 0)
            return err_wrap(err, "%s: %s", r->where, r->names);
        s->where = arena_printf(l->mem, "%s %s", r->where, r->names);
    } else if (!s->set) {
        s->where = "default";
        int rc = conf_value_parse(o, o->def, l->mem, &s->value, err);
        if (rc < 0)
            return err_wrap(err, "the default");
    }
    if (!s->where)
        return no_memory(err);
    conf_store(l->c, o, s->value);
    l->c->origin->where[i] = s->where;
    note_aliases(l, o, r);
    return 0;
}

static int choose(struct loader *l, struct err *err)
{
    size_t n;
    const struct conf_option *all = conf_options(&n);
    int rc = conf_alias_resolve(l->alias, l->mem, on_alias, l, err);
    for (size_t i = 0; rc >= 0 && i < n; i++)
        rc = choose_one(l, &all[i], err);
    const char *const sources[] = {
        [CONF_FROM_DEFAULT] = "",
        [CONF_FROM_FILE] = l->c->origin->file,
        [CONF_FROM_DOTENV] = l->dotenv,
        [CONF_FROM_ENV] = "environment",
    };
    for (size_t i = 0; rc >= 0 && i < ARRAY_LEN(l->ignored); i++)
        if (l->ignored[i].len)
            add_note(l->c->origin,
                     arena_printf(l->mem, "%s: without effect here: %s", sources[i], buf_str(&l->ignored[i])));
    return rc;
}

/* "scheme:relative" to "scheme:/data/relative"; "scheme" alone to "scheme:/data/alone". Others stay. */
static int resolve_url(struct loader *l, const char *name, const char *scheme, const char *alone, const char **url,
                       struct err *err)
{
    size_t n = strlen(scheme);
    if (strncmp(*url, scheme, n) != 0 || ((*url)[n] != ':' && (*url)[n]))
        return 0;
    const char *path = (*url)[n] ? *url + n + 1 : "";
    if (!*path && !alone)
        return err_set(err, ERR_INVALID, "%s: %s names no path behind '%s:'", conf_where(l->c, name), name, scheme);
    char *full = conf_path(l->c, l->mem, *path ? path : alone);
    *url = full ? arena_printf(l->mem, "%s:%s", scheme, full) : NULL;
    return *url ? 0 : no_memory(err);
}

static bool is_postgres(const char *url)
{
    return str_starts(url, "postgresql:") || str_starts(url, "postgres:");
}

/* "auto", and "postgresql" without an address, look at the database. */
static int resolve_broker(struct loader *l, struct err *err)
{
    struct conf *c = l->c;
    bool automatic = str_eq(c->broker, "auto");
    bool named = str_eq(c->broker, "postgresql") || str_eq(c->broker, "postgres");
    if (named && !is_postgres(c->database))
        return err_set(err, ERR_INVALID,
                       "%s: broker = %s without an address is the database, and that is not PostgreSQL",
                       conf_where(c, "broker"), c->broker);
    if (named || (automatic && is_postgres(c->database)))
        c->broker = c->database;
    else if (automatic)
        c->broker = "local";
    return resolve_url(l, "broker", "local", "run", &c->broker, err);
}

/* What belongs to a job goes with it: to keep it longer is not possible. */
static int check_keeping(struct loader *l, struct err *err)
{
    struct conf *c = l->c;
    const struct {
        enum conf_index i;
        const char *name;
        int64_t *ms;
    } parts[] = {{CONF_I_keep_audio, "keep_audio", &c->keep_audio},
                 {CONF_I_keep_results, "keep_results", &c->keep_results}};
    for (size_t i = 0; c->keep_jobs >= 0 && i < ARRAY_LEN(parts); i++) {
        if (*parts[i].ms >= 0 && *parts[i].ms <= c->keep_jobs)
            continue;
        if (l->chosen[parts[i].i].set)
            return err_set(err, ERR_INVALID, "%s: %s is longer than keep_jobs (%s), with which everything goes",
                           c->origin->where[parts[i].i], parts[i].name, c->origin->where[CONF_I_keep_jobs]);
        *parts[i].ms = c->keep_jobs;
        add_note(c->origin, arena_printf(l->mem, "%s is lowered to keep_jobs", parts[i].name));
    }
    return 0;
}

static int resolve(struct loader *l, const char *const *env, struct err *err)
{
    struct conf *c = l->c;
    int rc = find_data(l, env, &c->data, err);
    if (rc >= 0)
        rc = resolve_url(l, "database", "sqlite", NULL, &c->database, err);
    if (rc >= 0)
        rc = resolve_url(l, "storage", "file", NULL, &c->storage, err);
    if (rc >= 0)
        rc = resolve_broker(l, err);
    if (rc < 0)
        return rc;
    c->temp = conf_path(c, l->mem, *c->temp ? c->temp : "tmp");
    if (!c->temp)
        return no_memory(err);
    rc = check_keeping(l, err);
    if (rc < 0)
        return rc;
    if (c->retry_cap < c->retry_base) {
        /* A long first wait from another system's settings is no mistake; two contradicting ones of ours are. */
        if (l->chosen[CONF_I_retry_cap].set)
            return err_set(err, ERR_INVALID, "%s: retry_base is longer than retry_cap (%s)",
                           c->origin->where[CONF_I_retry_base], c->origin->where[CONF_I_retry_cap]);
        c->retry_cap = c->retry_base;
        add_note(c->origin, "retry_cap is raised to retry_base");
    }
    return 0;
}

int conf_load(const struct conf_load_opts *o, struct conf **ret, struct err *err)
{
    struct loader *l = xcalloc(1, sizeof *l);
    l->c = xcalloc(1, sizeof *l->c);
    l->c->origin = xcalloc(1, sizeof *l->c->origin);
    l->mem = &l->c->origin->mem;
    *l->mem = (struct arena)ARENA_INIT;
    for (size_t i = 0; i < ARRAY_LEN(l->ignored); i++)
        buf_init(&l->ignored[i], 2 * LIST_MAX);

    int rc = read_flags(l, o->flags, err);
    if (rc >= 0)
        rc = read_environ(l, o->environ, err);
    if (rc >= 0)
        rc = read_dotenv(l, o->dotenv, err);
    if (rc >= 0)
        rc = read_config_file(l, o, err);
    if (rc >= 0)
        rc = choose(l, err);
    if (rc >= 0)
        rc = resolve(l, o->environ, err);
    if (rc >= 0)
        *ret = TAKE(l->c);
    conf_free(l->c);
    for (size_t i = 0; i < ARRAY_LEN(l->ignored); i++)
        buf_clear(&l->ignored[i]);
    free(l);
    return rc < 0 ? rc : 0;
}

void conf_free(struct conf *c)
{
    if (!c)
        return;
    arena_clear(&c->origin->mem);
    free(c->origin);
    free(c);
}

int conf_reload(const struct conf *old, const struct conf_load_opts *o, struct conf **ret, struct err *err)
{
    struct conf *c;
    int rc = conf_load(o, &c, err);
    if (rc < 0)
        return rc;
    size_t n;
    const struct conf_option *all = conf_options(&n);
    for (size_t i = 0; i < n; i++) {
        union conf_value was = conf_fetch(old, &all[i]), now = conf_fetch(c, &all[i]), keep = was;
        if (all[i].flags & CONF_RELOAD || conf_value_eq(&all[i], was, now))
            continue;
        add_note(c->origin, arena_printf(&c->origin->mem, "%s: a new value for %s takes effect at the next start",
                                         c->origin->where[i], all[i].name));
        c->origin->where[i] = arena_strdup(&c->origin->mem, old->origin->where[i]);
        if (conf_type_is_text(all[i].type))
            keep.s = arena_strdup(&c->origin->mem, was.s);
        if (!c->origin->where[i] || (conf_type_is_text(all[i].type) && !keep.s)) {
            conf_free(c);
            return no_memory(err);
        }
        conf_store(c, &all[i], keep);
    }
    *ret = c;
    return 0;
}

const char *conf_note(const struct conf *c, size_t i)
{
    return i < c->origin->n_notes ? c->origin->notes[i] : NULL;
}

const char *conf_file(const struct conf *c)
{
    return c->origin->file;
}

const char *conf_where(const struct conf *c, const char *name)
{
    const struct conf_option *o = conf_option_find(name);
    return o ? c->origin->where[conf_option_index(o)] : "nowhere";
}

char *conf_path(const struct conf *c, struct arena *a, const char *path)
{
    return join(a, c->data, path);
}
