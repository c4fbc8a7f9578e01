/* SPDX-License-Identifier: MIT */
#include "transcript/subtitles.h"

#include "base/macros.h"
#include "base/str.h"

#include <string.h>

static const struct option {
    enum { BOOL, INT } kind;
    const char *name;
    size_t offset;
    int min, max;
} options[] = {
#define X(kind, name, flag, arg, min, max, help) {kind, #name, offsetof(struct subtitle_opts, name), min, max},
    SUBTITLE_OPTIONS(X)
#undef X
};

const char *subtitle_option_name(size_t i)
{
    return i < ARRAY_LEN(options) ? options[i].name : NULL;
}

static int parse(const struct option *o, const char *value, int64_t *ret, struct err *err)
{
    static const char *const yes[] = {"true", "1", "yes", "on"}, *const no[] = {"false", "0", "no", "off"};
    switch (o->kind) {
    case BOOL:
        for (size_t i = 0; i < ARRAY_LEN(yes); i++)
            if (str_eq(value, yes[i]) || str_eq(value, no[i])) {
                *ret = str_eq(value, yes[i]);
                return 0;
            }
        return err_set(err, ERR_INVALID, "'%s' must be true or false", o->name);
    case INT:
        if (str_to_i64(value, ret) && *ret >= o->min && *ret <= o->max)
            return 0;
        return err_set(err, ERR_INVALID, "'%s' must be a whole number from %d to %d", o->name, o->min, o->max);
    }
    return err_set(err, ERR_INTERNAL, "an option of subtitles is of no kind");
}

int subtitle_set(struct subtitle_opts *o, const char *name, const char *value, struct err *err)
{
    for (size_t i = 0; i < ARRAY_LEN(options); i++) {
        int64_t v = 0;
        if (strcmp(options[i].name, name) != 0)
            continue;
        int rc = parse(&options[i], value, &v, err);
        if (rc == 0)
            *(int *)((char *)o + options[i].offset) = (int)v;
        return rc;
    }
    return err_set(err, ERR_NOT_FOUND, "there is no option '%.64s' of subtitles", name);
}

bool subtitle_any(const struct subtitle_opts *o)
{
#define X(kind, name, flag, arg, min, max, help) || o->name
    return false SUBTITLE_OPTIONS(X);
#undef X
}
