/* SPDX-License-Identifier: MIT */
/*
 * "Nearest" is by the number of parameters: models of known names have the figure of their size, others their own. Of
 * those that can do what is asked: a recording in an unknown language needs a multilingual model, unless the model that
 * was asked for is one for English; a translation needs one that translates. When none can, all are looked at, and the
 * engine has the sentence for what cannot be done.
 */
#include "job/model_names.h"

#include "base/str.h"

#include <ctype.h>
#include <math.h>
#include <string.h>

enum { ALIAS_HOPS_MAX = 4, NAMES_SHOWN = 12 };

/* Names of hosted models, and sizes that stand for the newest of their kind. */
static const struct model_alias built_in[] = {
    {"whisper-1", MODEL_AUTO},
    {"gpt-4o-transcribe", MODEL_AUTO},
    {"gpt-4o-mini-transcribe", MODEL_AUTO},
    {"gpt-4o-transcribe-diarize", MODEL_AUTO},
    {"gpt-transcribe", MODEL_AUTO},
    {"large", "large-v3"},
    {"turbo", "large-v3-turbo"},
};

/* How large a model of this name is, in millions of parameters. Names go on behind these: "base.en", "small-q5_1". */
static const struct size {
    const char *name;
    double millions;
} sizes[] = {
    {"tiny", 39},          {"base", 74},          {"small", 244},
    {"medium", 769},       {"turbo", 809},        {"large-v3-turbo", 809},
    {"large", 1550},       {"distil-small", 166}, {"distil-medium", 394},
    {"distil-large", 756},
};

/* What people put around a name, and what stands for it; removed one after another. */
static const struct {
    const char *text, *becomes;
} prefixes[] = {
    {"ggml-", ""},           {"faster-distil-whisper-", "distil-"},
    {"faster-whisper-", ""}, {"distil-whisper-", "distil-"},
    {"openai-whisper-", ""}, {"whisper-", ""},
};
static const char *const suffixes[] = {".bin", "-ct2", "-mlx", "-ggml"};

/* ---- names ---- */

static const char *behind_slash(const char *name)
{
    const char *slash = strrchr(name, '/');
    return slash ? slash + 1 : name;
}

/* Is it "-2025-03-20", as behind the names of hosted models? */
static bool is_date(const char *s)
{
    static const char form[] = "-0000-00-00";
    size_t i = 0;
    for (; form[i] && s[i]; i++)
        if (form[i] == '-' ? s[i] != '-' : !isdigit((unsigned char)s[i]))
            return false;
    return !form[i] && !s[i];
}

/* The name without what stands around it, in lower case: "Systran/faster-whisper-base.en" gives "base.en". */
static void bare_name(const char *name, char ret[MODEL_NAME_MAX])
{
    char low[MODEL_NAME_MAX] = "";
    const char *p = behind_slash(name);
    for (size_t i = 0; i < sizeof low - 1 && p[i]; i++)
        low[i] = (char)tolower((unsigned char)p[i]);
    size_t n = strlen(low);
    if (n > 11 && is_date(low + n - 11))
        low[n - 11] = '\0';
    for (size_t i = 0; i < ARRAY_LEN(suffixes); i++)
        if (str_ends(low, suffixes[i]))
            low[strlen(low) - strlen(suffixes[i])] = '\0';
    for (size_t i = 0; i < ARRAY_LEN(prefixes); i++) {
        size_t cut = strlen(prefixes[i].text), put = strlen(prefixes[i].becomes);
        if (!str_starts(low, prefixes[i].text) || !low[cut])
            continue;
        memmove(low + put, low + cut, strlen(low + cut) + 1);
        memcpy(low, prefixes[i].becomes, put);
    }
    memcpy(ret, low, sizeof low);
}

/* NULL: the name tells no size. The longest row that the bare name begins with. */
static const struct size *size_of(const char *bare)
{
    const struct size *best = NULL;
    for (size_t i = 0; i < ARRAY_LEN(sizes); i++) {
        size_t n = strlen(sizes[i].name);
        if (str_starts(bare, sizes[i].name) && strchr(".-_", bare[n]) && (!best || n > strlen(best->name)))
            best = &sizes[i];
    }
    return best;
}

/* "base.en", "small.en-q5_1" */
static bool is_for_english(const char *bare)
{
    const char *en = strstr(bare, ".en");
    return en && (!en[3] || en[3] == '-');
}

/* A code or name of a language that every model knows. */
static bool is_english(const char *language)
{
    return str_ieq(language, "english") ||
           ((language[0] == 'e' || language[0] == 'E') && (language[1] == 'n' || language[1] == 'N') &&
            (!language[2] || language[2] == '-' || language[2] == '_'));
}

/* ---- the setting ---- */

static bool name_ok(const char *s, size_t n)
{
    if (!n || n >= MODEL_NAME_MAX)
        return false;
    for (size_t i = 0; i < n; i++)
        if (!isalnum((unsigned char)s[i]) && (!i || !strchr("._:/+-", s[i])))
            return false;
    return true;
}

/* One "name=model" of n bytes, blanks around its parts allowed. */
static int read_alias(const char *s, size_t n, struct arena *a, struct model_alias *ret, struct err *err)
{
    const char *equals = memchr(s, '=', n), *parts[2] = {s, equals ? equals + 1 : NULL};
    size_t lens[2] = {equals ? (size_t)(equals - s) : n, equals ? n - (size_t)(equals + 1 - s) : 0};
    const char *copies[2] = {NULL, NULL};
    for (int i = 0; i < 2; i++) {
        while (lens[i] && *parts[i] == ' ') {
            parts[i]++;
            lens[i]--;
        }
        while (lens[i] && parts[i][lens[i] - 1] == ' ')
            lens[i]--;
        if (!parts[i] || !name_ok(parts[i], lens[i]))
            return err_set(err, ERR_INVALID,
                           "model_aliases: '%.*s' is not like 'whisper-1=base': a name, '=', and the model it stands "
                           "for, or 'auto'",
                           (int)MIN(n, (size_t)80), s);
        copies[i] = arena_dup(a, parts[i], lens[i]);
        if (!copies[i])
            return err_set(err, ERR_NOMEM, "no memory for model_aliases");
    }
    *ret = (struct model_alias){copies[0], copies[1]};
    return 0;
}

int model_names_read(const char *aliases, const char *missing, struct arena *a, struct model_names *ret,
                     struct err *err)
{
    size_t room = 1, n = 0;
    for (const char *p = aliases; *p; p++)
        room += *p == ',';
    struct model_alias *v = arena_alloc(a, room * sizeof *v);
    if (!v)
        return err_set(err, ERR_NOMEM, "no memory for model_aliases");
    for (const char *p = aliases; *p;) {
        size_t len = strcspn(p, ",");
        if (strspn(p, " ") < len) {
            int rc = read_alias(p, len, a, &v[n], err);
            if (rc < 0)
                return rc;
            n++;
        }
        p += len + (p[len] == ',');
    }
    *ret = (struct model_names){.aliases = v, .n_aliases = n, .missing_is_error = str_eq(missing, "error")};
    return 0;
}

bool model_names_alias(const struct model_names *n, size_t i, struct model_alias *ret)
{
    size_t own = n ? n->n_aliases : 0;
    if (i >= own + ARRAY_LEN(built_in))
        return false;
    *ret = i < own ? n->aliases[i] : built_in[i - own];
    return true;
}

/* ---- looking up ---- */

struct search {
    const struct model_names *names;
    const struct model_here *here;
    size_t n_here;
    const char *name; /* as written, or what an alias made of it */
    char bare[MODEL_NAME_MAX];
};

static void search_for(struct search *s, const char *name)
{
    s->name = name;
    bare_name(name, s->bare);
}

/* What a table has under this name, as written or bare; NULL: nothing. */
static const char *alias_in(const struct model_alias *v, size_t n, const struct search *s)
{
    for (size_t i = 0; i < n; i++)
        if (str_ieq(v[i].name, s->name))
            return v[i].target;
    /* A hosted model's name may have an owner before it and a date behind it. */
    char bare[MODEL_NAME_MAX];
    for (size_t i = 0; i < n; i++) {
        bare_name(v[i].name, bare);
        if (strcmp(bare, s->bare) == 0)
            return v[i].target;
    }
    return NULL;
}

static const struct model_here *installed(const struct search *s)
{
    for (size_t i = 0; i < s->n_here; i++)
        if (strcmp(s->here[i].name, s->name) == 0)
            return &s->here[i];
    for (size_t i = 0; i < s->n_here; i++)
        if (str_ieq(s->here[i].name, behind_slash(s->name)))
            return &s->here[i];
    char bare[MODEL_NAME_MAX];
    for (size_t i = 0; i < s->n_here; i++) {
        bare_name(s->here[i].name, bare);
        if (strcmp(bare, s->bare) == 0)
            return &s->here[i];
    }
    return NULL;
}

/* 1: *ret, NULL for the default; 0: nothing of this name. Leaves in `s` what aliases made of it. */
static int look_up(struct search *s, const char **ret)
{
    for (int hops = 0; hops < ALIAS_HOPS_MAX; hops++) {
        const char *to = s->names ? alias_in(s->names->aliases, s->names->n_aliases, s) : NULL;
        if (to && str_ieq(to, s->name)) /* "base=base" */
            to = NULL;
        const struct model_here *m = to ? NULL : installed(s);
        if (m) {
            *ret = m->name;
            return 1;
        }
        if (!to)
            to = alias_in(built_in, ARRAY_LEN(built_in), s);
        if (!to)
            return 0;
        if (str_ieq(to, MODEL_AUTO)) {
            *ret = NULL;
            return 1;
        }
        search_for(s, to);
    }
    return 0;
}

/* ---- stand-ins ---- */

static double millions_of(const struct model_here *m)
{
    char bare[MODEL_NAME_MAX];
    bare_name(m->name, bare);
    const struct size *size = size_of(bare);
    return size ? size->millions : (double)m->parameters / 1e6;
}

/* What was asked for in so many words. */
static bool meets(const struct model_here *m, const struct model_wish *w)
{
    if (str_eq(w->task, "translate") && !m->can_translate)
        return false;
    return m->multilingual || !w->language || is_english(w->language);
}

/* The same, and what the name of the model promises. */
static bool can_do(const struct model_here *m, const struct search *s, const struct model_wish *w)
{
    return meets(m, w) && (m->multilingual || w->language || is_for_english(s->bare));
}

/* Whose size is nearest to so many millions of parameters; of two that are as near, the larger. NULL: none is left. */
static const struct model_here *nearest(const struct search *s, double millions, const bool *left)
{
    const struct model_here *best = NULL;
    double best_far = 0, best_millions = 0;
    for (size_t i = 0; i < s->n_here; i++) {
        double has = millions_of(&s->here[i]), far = has > 0 && millions > 0 ? fabs(log(has / millions)) : HUGE_VAL;
        if (!left[i] || (best && far >= best_far && !(far <= best_far && has > best_millions)))
            continue;
        best = &s->here[i];
        best_far = far;
        best_millions = has;
    }
    return best;
}

/* In place of one that is not installed; NULL: its name tells no size. */
static const struct model_here *instead_of_missing(const struct search *s, const struct model_wish *w, bool *left)
{
    const struct size *asked = size_of(s->bare);
    bool any = false;
    for (size_t i = 0; i < s->n_here; i++) {
        left[i] = can_do(&s->here[i], s, w);
        any = any || left[i];
    }
    for (size_t i = 0; i < s->n_here && !any; i++)
        left[i] = true;
    return asked ? nearest(s, asked->millions, left) : NULL;
}

/* In place of the default one, where that cannot do it; NULL: it can, or none can. */
static const struct model_here *instead_of_default(const struct search *s, const struct model_wish *w, bool *left)
{
    const struct model_here *standard = NULL;
    for (size_t i = 0; i < s->n_here; i++) {
        left[i] = meets(&s->here[i], w);
        if (s->here[i].standard)
            standard = &s->here[i];
    }
    return standard && !meets(standard, w) ? nearest(s, millions_of(standard), left) : NULL;
}

static int not_found(const struct search *s, const char *name, struct err *err)
{
    CLEANUP(buf_clear) struct buf b = BUF_INIT(4096);
    for (size_t i = 0; i < s->n_here && i < NAMES_SHOWN; i++)
        buf_addf(&b, "%s%s", i ? ", " : "", s->here[i].name);
    if (s->n_here > NAMES_SHOWN)
        buf_adds(&b, " and more");
    return err_set(err, ERR_NOT_FOUND, "there is no model '%.60s' here: use %.300s", name,
                   s->n_here ? buf_str(&b) : "another engine");
}

/* *ret_warning NULL: none. `left`: room for as many as are here. */
static int choose(struct search *s, const struct model_wish *w, bool *left, struct arena *a, const char **ret,
                  const char **ret_warning, struct err *err)
{
    bool found = look_up(s, ret), error = s->names && s->names->missing_is_error;
    if (!found && error)
        return not_found(s, w->name, err);
    const struct model_here *m = NULL;
    if (found && !*ret && !error)
        m = instead_of_default(s, w, left);
    else if (!found)
        m = instead_of_missing(s, w, left);
    if (found && !m)
        return 0;
    *ret = m ? m->name : NULL;
    if (found)
        *ret_warning = arena_printf(a, "the default model cannot do this: '%.60s' was used, the nearest in size", *ret);
    else if (m)
        *ret_warning =
            arena_printf(a, "model '%.60s' is not installed: '%.60s' was used, the nearest in size", w->name, *ret);
    else
        *ret_warning = arena_printf(a, "model '%.60s' is not installed: the default model was used", w->name);
    return *ret_warning ? 0 : err_set(err, ERR_NOMEM, "no memory for the name of a model");
}

int model_names_choose(const struct model_names *n, const struct model_wish *w, const struct model_here *here,
                       size_t n_here, struct arena *a, const char **ret, const char **ret_warning, struct err *err)
{
    struct search s = {.names = n, .here = here, .n_here = n_here};
    const char *found = NULL, *warning = NULL;
    bool *left = arena_alloc(a, n_here + 1);
    int rc = left ? 0 : err_set(err, ERR_NOMEM, "no memory for the name of a model");
    if (rc == 0 && w->name && *w->name && !str_ieq(w->name, MODEL_AUTO)) {
        search_for(&s, w->name);
        rc = choose(&s, w, left, a, &found, &warning, err);
    }
    if (rc < 0)
        return rc;
    *ret = found;
    *ret_warning = warning;
    return 0;
}

/* Of two that are about as large, the one of the same kind. */
static int64_t rank_beside(const struct model_here *m, const struct model_here *large)
{
    return m->parameters + (m->multilingual == large->multilingual ? m->parameters / 50 : 0);
}

const char *model_names_smaller(const char *name, const struct model_wish *w, const struct model_here *here,
                                size_t n_here)
{
    const struct model_here *large = NULL, *best = NULL;
    for (size_t i = 0; i < n_here; i++)
        if (str_eq(here[i].name, name))
            large = &here[i];
    for (size_t i = 0; large && i < n_here; i++) {
        const struct model_here *m = &here[i];
        bool may_speak = w->language || m->multilingual || !large->multilingual;
        if (m->parameters > 0 && m->parameters < large->parameters && meets(m, w) && may_speak &&
            (!best || rank_beside(m, large) > rank_beside(best, large)))
            best = m;
    }
    return best ? best->name : NULL;
}
