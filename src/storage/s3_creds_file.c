/* SPDX-License-Identifier: MIT */
/*
 * The files of Amazon's tools: ~/.aws/credentials with sections [name], ~/.aws/config with [default] and [profile
 * name]. Lines "key = value"; what is indented belongs to a setting with parts and is none of ours.
 */
#include "base/io.h"
#include "base/mem.h"
#include "base/str.h"
#include "storage/s3_creds.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { FILE_MAX = 1 << 20 };

static const char *profile(void)
{
    const char *name = s3_env("AWS_PROFILE");
    return name ? name : "default";
}

/* Cuts blanks at both ends, in place. */
static char *trim(char *s)
{
    s += strspn(s, " \t\r");
    for (size_t n = strlen(s); n && strchr(" \t\r", s[n - 1]);)
        s[--n] = '\0';
    return s;
}

/* "[name]" or "[profile name]". */
static bool is_section(char *line, const char *name, bool with_word)
{
    char *end = strchr(line, ']');
    if (!end)
        return false;
    *end = '\0';
    char *found = trim(line + 1);
    if (with_word && strncmp(found, "profile", 7) == 0 && (found[7] == ' ' || found[7] == '\t'))
        found = trim(found + 7);
    return strcmp(found, name) == 0;
}

/* The value of `key` in a section of a file's text, which is destroyed; NULL: there is none. */
static char *find(char *text, const char *section, bool with_word, const char *key)
{
    bool inside = false;
    char *found = NULL;
    for (char *line = text, *next; line; line = next) {
        next = strchr(line, '\n');
        if (next)
            *next++ = '\0';
        if (line[0] == '[') {
            inside = is_section(line, section, with_word);
            continue;
        }
        char *equals = strchr(line, '=');
        if (!inside || !equals || strchr(" \t#;", line[0]))
            continue;
        *equals = '\0';
        if (strcmp(trim(line), key) == 0)
            found = trim(equals + 1);
    }
    return found;
}

/* One value from one of the two files; *ret NULL: not there. */
static int look(const char *variable, const char *name, bool with_word, const char *key, char **ret, struct err *err)
{
    CLEANUP(free_p) char *path = NULL, *text = NULL;
    const char *set = s3_env(variable), *home = s3_env("HOME");
    *ret = NULL;
    if (!set && !home)
        return 0;
    path = set ? xstrdup(set) : xasprintf("%s/.aws/%s", home, name);
    int rc = io_read_file(path, FILE_MAX, &text, NULL, err);
    if (rc == ERR_NOT_FOUND)
        return 0;
    if (rc < 0)
        return rc == ERR_NOMEM ? rc : (err->code = ERR_INVALID);
    const char *value = find(text, profile(), with_word, key);
    *ret = xstrdup(value);
    /* The rest of the file may be secret as well. */
    memset(text, 0, strlen(text));
    return 0;
}

static int from_either(const char *key, char **ret, struct err *err)
{
    int rc = look("AWS_SHARED_CREDENTIALS_FILE", "credentials", false, key, ret, err);
    if (rc == 0 && !*ret)
        rc = look("AWS_CONFIG_FILE", "config", true, key, ret, err);
    return rc;
}

int s3_profile_value(const char *key, char **ret, struct err *err)
{
    int rc = from_either(key, ret, err);
    if (rc == 0 && !*ret)
        *ret = xstrdup("");
    return rc;
}

int s3_creds_from_files(struct s3_keyset *ret, struct err *err)
{
    int rc = from_either("aws_access_key_id", &ret->access, err);
    if (rc == 0)
        rc = from_either("aws_secret_access_key", &ret->secret, err);
    if (rc == 0)
        rc = from_either("aws_session_token", &ret->token, err);
    if (rc == 0 && ret->access && ret->secret)
        return 1;
    bool half = ret->access || ret->secret;
    s3_keyset_clear(ret);
    if (rc == 0 && half)
        return err_set(err, ERR_INVALID, "profile '%.64s' has only one of aws_access_key_id and aws_secret_access_key",
                       profile());
    /* A profile that was asked for by name is not silently passed over. */
    if (rc == 0 && s3_env("AWS_PROFILE"))
        return err_set(err, ERR_INVALID, "profile '%.64s' (AWS_PROFILE) has no aws_access_key_id", profile());
    return rc;
}
