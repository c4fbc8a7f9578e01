/* SPDX-License-Identifier: MIT */
#include "api/form.h"

#include "api/dialect.h"
#include "base/str.h"
#include "base/words.h"
#include "job/job.h"

#include <ctype.h>
#include <string.h>

/* 0 with *value as it is to be kept (NULL: as if not given), or INVALID. */
typedef int (*check_fn)(const struct form *f, char **value, struct err *err);

struct field {
    const char *name;
    size_t max;
    check_fn check;
};

static int check_model(const struct form *f, char **value, struct err *err)
{
    (void)f;
    for (const char *p = *value; *p; p++)
        if (!isalnum((unsigned char)*p) && (p == *value || !strchr("._:/+-", *p)))
            return err_set(err, ERR_INVALID, "field 'model' must be a name such as 'base.en', not a free text");
    return 0;
}

/* The form of RFC 5646: "en", "pt-BR". Whether the engine knows it is the engine's word. */
static int check_language(const struct form *f, char **value, struct err *err)
{
    (void)f;
    if (str_ieq(*value, "auto")) {
        *value = NULL;
        return 0;
    }
    size_t letters = 0;
    for (char *p = *value; isalpha((unsigned char)*p); p++, letters++)
        *p = (char)tolower((unsigned char)*p);
    bool ok = letters == 2 || letters == 3;
    for (const char *p = *value + letters; ok && *p;) {
        size_t n = *p == '-' ? strspn(p + 1, "0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ") : 0;
        ok = n >= 1 && n <= 8;
        p += n + 1;
    }
    return ok ? 0 : err_set(err, ERR_INVALID, "field 'language' must be a code such as 'en' or 'pt-BR'");
}

static int check_task(const struct form *f, char **value, struct err *err)
{
    (void)f;
    if (strcmp(*value, "transcribe") == 0 || strcmp(*value, "translate") == 0)
        return 0;
    return err_set(err, ERR_INVALID, "field 'task' must be 'transcribe' or 'translate'");
}

static int check_queue(const struct form *f, char **value, struct err *err)
{
    (void)f;
    enum job_queue q;
    /* The third queue is for second tries; nobody submits to it. */
    if (job_queue_parse(*value, &q) && q != QUEUE_RETRY)
        return 0;
    return err_set(err, ERR_INVALID, "fields 'queue' and 'priority' must be 'high' or 'normal'");
}

static int check_engine(const struct form *f, char **value, struct err *err)
{
    if (strcmp(*value, "auto") == 0) {
        *value = NULL;
        return 0;
    }
    if (words_have(f->engine_names, ",", *value))
        return 0;
    return err_set(err, ERR_INVALID, "field 'engine' must be one of: auto,%s", f->engine_names);
}

static int check_text(const struct form *f, char **value, struct err *err)
{
    (void)f;
    (void)value;
    (void)err;
    return 0;
}

static const struct field fields[] = {
#define X(name, max, check, help) {#name, max, check},
    FORM_FIELDS(X)
#undef X
};

static const char *field_name(enum form_field f)
{
    return f < FORM_OWN_COUNT ? fields[f].name : job_option_name((enum job_option)(f - FORM_OWN_COUNT));
}

/* How much of a client's name is NAME in NAME, NAME[] and NAME[0]. */
static size_t without_brackets(const char *name)
{
    size_t n = strcspn(name, "[");
    if (!name[n])
        return n;
    const char *end = name + n + 1 + strspn(name + n + 1, "0123456789");
    return strcmp(end, "]") == 0 ? n : strlen(name);
}

static bool find_in_dialect(const struct form *f, const char *name, struct form_slot *ret)
{
    const struct dialect_field *rows = f->dialect->fields;
    size_t n = strlen(name), listed = without_brackets(name);
    for (size_t i = 0; rows && rows[i].name; i++) {
        const struct dialect_field *d = &rows[i];
        if (strlen(d->name) != (d->list ? listed : n) || memcmp(d->name, name, strlen(d->name)) != 0)
            continue;
        *ret = (struct form_slot){d->name, d->field, i, d->list};
        return true;
    }
    return false;
}

bool form_find(const struct form *f, const char *name, struct form_slot *ret)
{
    if (find_in_dialect(f, name, ret))
        return true;
    enum form_field i = 0;
    while (i < FORM_COUNT && strcmp(field_name(i), name) != 0)
        i++;
    *ret = (struct form_slot){.name = i < FORM_COUNT ? field_name(i) : NULL, .field = i};
    return i < FORM_COUNT;
}

const char *form_extra(const struct form *f, const char *name)
{
    const struct dialect_field *rows = f->dialect->fields;
    for (size_t i = 0; rows && rows[i].name; i++)
        if (rows[i].field == FORM_COUNT && strcmp(rows[i].name, name) == 0)
            return f->extras[i];
    return NULL;
}

size_t form_field_max(enum form_field f)
{
    if (f == FORM_COUNT)
        return FORM_VALUE_MAX;
    return f < FORM_OWN_COUNT ? fields[f].max : (size_t)JOB_OPTION_TEXT_MAX;
}

/* One value that is not empty. */
static int set_value(struct form *f, const struct form_slot *slot, char *copy, struct arena *a, struct err *err)
{
    enum form_field field = slot->field;
    if (field == FORM_COUNT) {
        f->extras[slot->row] = copy;
        return 0;
    }
    if (field >= FORM_OWN_COUNT)
        return job_options_set(&f->options, (enum job_option)(field - FORM_OWN_COUNT), copy, a, err);
    int rc = fields[field].check(f, &copy, err);
    if (rc < 0)
        return rc;
    f->values[field] = copy;
    const char *queue = f->values[FORM_queue], *priority = f->values[FORM_priority];
    if (queue && priority && strcmp(queue, priority) != 0)
        return err_set(err, ERR_INVALID, "fields 'queue' and 'priority' mean the same and must not differ");
    return 0;
}

/* What a list already holds; "" for other fields. */
static const char *so_far(const struct form *f, const struct form_slot *slot)
{
    const char *v = NULL;
    if (slot->list && slot->field == FORM_COUNT)
        v = f->extras[slot->row];
    else if (slot->list)
        v = slot->field < FORM_OWN_COUNT ? f->values[slot->field] : f->options.values[slot->field - FORM_OWN_COUNT];
    return v ? v : "";
}

static bool given(const struct form *f, const struct form_slot *slot)
{
    return slot->field == FORM_COUNT ? f->extras[slot->row] != NULL : f->seen[slot->field];
}

int form_set(struct form *f, const struct form_slot *slot, const char *value, size_t n, struct arena *a,
             enum problem *ret_problem, struct err *err)
{
    const char *name = slot->name, *before = so_far(f, slot);
    *ret_problem = PROBLEM_bad_field;
    if (given(f, slot) && !slot->list) {
        *ret_problem = PROBLEM_duplicate_field;
        return err_set(err, ERR_INVALID, "field '%s' is given twice", name);
    }
    if (slot->field < FORM_COUNT)
        f->seen[slot->field] = true;
    if (n + strlen(before) + (*before ? 1 : 0) > form_field_max(slot->field))
        return err_set(err, ERR_INVALID, "field '%s' is over %zu bytes", name, form_field_max(slot->field));
    if (!utf8_valid(value, n) || memchr(value, '\0', n))
        return err_set(err, ERR_INVALID, "field '%s' is not UTF-8 text without NUL", name);
    if (!n)
        return 0;
    char *copy = arena_printf(a, "%s%s%.*s", before, *before ? "," : "", (int)n, value);
    if (!copy) {
        *ret_problem = PROBLEM_overloaded;
        return err_set(err, ERR_NOMEM, "no memory for field '%s'", name);
    }
    return set_value(f, slot, copy, a, err);
}

const char *form_filename(const char *raw, struct arena *a)
{
    static const char none[] = "audio";
    CLEANUP(buf_clear) struct buf clean = BUF_INIT(65536);
    if (raw)
        utf8_add_clean(&clean, raw, strlen(raw));
    if (!buf_ok(&clean) || !clean.len)
        return none;
    size_t n = 0;
    for (size_t i = 0; i < clean.len; i++)
        if ((unsigned char)clean.data[i] >= 0x20 && clean.data[i] != 0x7F)
            clean.data[n++] = clean.data[i];
    if (n > FILENAME_MAX_BYTES)
        n = utf8_floor(clean.data, FILENAME_MAX_BYTES);
    const char *copy = n ? arena_dup(a, clean.data, n) : NULL;
    return copy ? copy : none;
}
