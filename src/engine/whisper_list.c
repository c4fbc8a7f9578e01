/* SPDX-License-Identifier: MIT */
/*
 * One mutex is held while files are looked into: whoever comes second wants the same list. A file is known again by
 * its place, size and time of change; one that is no model is remembered too.
 */
#include "engine/whisper_list.h"

#include "base/str.h"
#include "whisper/whisper.h"

#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

enum { LISTED_MAX = 256 }; /* nobody keeps more; later ones by name are left out */

struct entry {
    char *path, *name; /* name NULL: no model */
    struct timespec changed;
    off_t size;
    ino_t inode;
    int64_t bytes, parameters;
    bool multilingual, can_translate;
    bool seen; /* in this reading */
};

struct model_list {
    char *folder;
    pthread_mutex_t mu; /* guards all below */
    struct entry entries[LISTED_MAX];
    size_t n;
};

void model_list_new(const char *folder, struct model_list **ret)
{
    struct model_list *l = xcalloc(1, sizeof *l);
    l->folder = xstrdup(folder);
    pthread_mutex_init(&l->mu, NULL);
    *ret = l;
}

static void entry_clear(struct entry *e)
{
    free(e->path);
    free(e->name);
    *e = (struct entry){.path = NULL};
}

void model_list_free(struct model_list *l)
{
    if (!l)
        return;
    for (size_t i = 0; i < l->n; i++)
        entry_clear(&l->entries[i]);
    pthread_mutex_destroy(&l->mu);
    free(l->folder);
    free(l);
}

static bool same_file(const struct entry *e, const struct stat *st)
{
    return e->size == st->st_size && e->inode == st->st_ino && e->changed.tv_sec == st->st_mtim.tv_sec &&
           e->changed.tv_nsec == st->st_mtim.tv_nsec;
}

static struct entry *entry_locked(struct model_list *l, const char *path)
{
    for (size_t i = 0; i < l->n; i++)
        if (strcmp(l->entries[i].path, path) == 0)
            return &l->entries[i];
    if (l->n == LISTED_MAX)
        return NULL;
    l->entries[l->n].path = xstrdup(path);
    return &l->entries[l->n++];
}

static int look_locked(const char *path, void *arg, struct err *err)
{
    struct model_list *l = arg;
    struct stat st;
    (void)err;
    struct entry *e = stat(path, &st) == 0 ? entry_locked(l, path) : NULL;
    if (!e)
        return 0;
    e->seen = true;
    if (same_file(e, &st))
        return 0;
    CLEANUP(arena_clear) struct arena a = ARENA_INIT;
    struct whisper_info info;
    struct err none = ERR_INIT;
    free(e->name);
    e->name = NULL;
    e->changed = st.st_mtim;
    e->size = st.st_size;
    e->inode = st.st_ino;
    if (whisper_inspect(path, &a, &info, &none) < 0)
        return 0;
    e->name = xstrdup(info.name);
    e->bytes = info.file_bytes;
    e->parameters = info.parameters;
    e->multilingual = info.multilingual;
    e->can_translate = info.can_translate;
    return 0;
}

static void forget_unseen_locked(struct model_list *l)
{
    size_t kept = 0;
    for (size_t i = 0; i < l->n; i++) {
        if (!l->entries[i].seen) {
            entry_clear(&l->entries[i]);
            continue;
        }
        l->entries[i].seen = false;
        l->entries[kept++] = l->entries[i];
    }
    for (size_t i = kept; i < l->n; i++)
        l->entries[i] = (struct entry){.path = NULL};
    l->n = kept;
}

static bool listed(const struct engine_model *v, size_t n, const char *name)
{
    for (size_t i = 0; i < n; i++)
        if (strcmp(v[i].name, name) == 0)
            return true;
    return false;
}

static int copy_locked(const struct model_list *l, struct arena *a, struct engine_model **ret, size_t *ret_n,
                       struct err *err)
{
    size_t n = 0;
    struct engine_model *v = arena_alloc(a, (l->n + 1) * sizeof *v);
    for (size_t i = 0; v && i < l->n; i++) {
        const struct entry *e = &l->entries[i];
        /* Two files of one name: whisper_find_model has the last word on which is used. */
        if (!e->name || listed(v, n, e->name))
            continue;
        v[n] = (struct engine_model){.name = arena_strdup(a, e->name),
                                     .bytes = e->bytes,
                                     .parameters = e->parameters,
                                     .changed_s = e->changed.tv_sec,
                                     .multilingual = e->multilingual,
                                     .can_translate = e->can_translate};
        if (!v[n++].name)
            v = NULL;
    }
    if (!v)
        return err_set(err, ERR_NOMEM, "no memory for a list of models");
    *ret = v;
    *ret_n = n;
    return 0;
}

int model_list_read(struct model_list *l, struct arena *a, struct engine_model **ret, size_t *ret_n, struct err *err)
{
    pthread_mutex_lock(&l->mu);
    int rc = l->folder ? whisper_list_models(l->folder, look_locked, l, err) : 0;
    if (rc == 0) {
        forget_unseen_locked(l);
        rc = copy_locked(l, a, ret, ret_n, err);
    }
    pthread_mutex_unlock(&l->mu);
    return rc;
}
