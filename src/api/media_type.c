/* SPDX-License-Identifier: MIT */
#include "api/media_type.h"

#include "base/str.h"

#include <string.h>
#include <strings.h>

/* Audio or video, with nothing in it that a header could not hold. */
static bool is_media(const char *type)
{
    static const char token[] = "!#$%&'*+-.^_`|~0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ";
    if (!type || (strncasecmp(type, "audio/", 6) != 0 && strncasecmp(type, "video/", 6) != 0))
        return false;
    size_t n = strspn(type + 6, token);
    const char *rest = type + 6 + n + strspn(type + 6 + n, " ");
    if (!n || (*rest && *rest != ';'))
        return false;
    for (const char *p = type; *p; p++)
        if (*p < 0x20 || *p > 0x7E)
            return false;
    return true;
}

const char *media_type(const char *type, const char *filename)
{
    static const struct {
        const char *ending, *type;
    } known[] = {
        {"3gp", "video/3gpp"},  {"aac", "audio/aac"},        {"aif", "audio/aiff"},       {"aiff", "audio/aiff"},
        {"amr", "audio/amr"},   {"avi", "video/x-msvideo"},  {"flac", "audio/flac"},      {"m4a", "audio/mp4"},
        {"m4b", "audio/mp4"},   {"mka", "audio/x-matroska"}, {"mkv", "video/x-matroska"}, {"mov", "video/quicktime"},
        {"mp3", "audio/mpeg"},  {"mp4", "video/mp4"},        {"oga", "audio/ogg"},        {"ogg", "audio/ogg"},
        {"ogv", "video/ogg"},   {"opus", "audio/ogg"},       {"wav", "audio/wav"},        {"weba", "audio/webm"},
        {"webm", "video/webm"}, {"wma", "audio/x-ms-wma"},
    };
    if (is_media(type))
        return type;
    const char *dot = filename ? strrchr(filename, '.') : NULL;
    for (size_t i = 0; i < ARRAY_LEN(known) && dot; i++)
        if (str_ieq(dot + 1, known[i].ending))
            return known[i].type;
    return "application/octet-stream";
}
