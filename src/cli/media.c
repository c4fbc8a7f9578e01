/* SPDX-License-Identifier: MIT */
#include "cli/media.h"

#include "base/cpu.h"
#include "base/str.h"

#include <stdlib.h>
#include <string.h>

/* No engine takes this long for 30 s of speech, unless it hangs. */
enum { CHUNK_TIME_MS = 10 * 60 * 1000 };

static const char *or_null(const char *s)
{
    return s[0] ? s : NULL;
}

struct engine_opts media_engine(const struct conf *conf)
{
    return (struct engine_opts){.name = conf->engine,
                                .model = or_null(conf->model),
                                .model_path = or_null(conf->model_path),
                                .data_folder = conf->data,
                                .precision = conf->precision,
                                .threads = (unsigned)conf->threads,
                                .beam_size = (int)conf->beam_size,
                                .slots = conf->engine_slots ? (unsigned)conf->engine_slots : cpu_cores(),
                                .chunk_time_ms = CHUNK_TIME_MS};
}

struct decode_opts media_decode(const struct conf *conf)
{
    return (struct decode_opts){.ffmpeg = conf->ffmpeg,
                                .sandbox = str_eq(conf->sandbox, "require") ? SANDBOX_REQUIRE
                                           : str_eq(conf->sandbox, "off")   ? SANDBOX_OFF
                                                                            : SANDBOX_AUTO,
                                .memory_bytes = conf->decode_memory,
                                .time_ms = conf->decode_time_limit};
}

const char *media_language(const struct conf *conf)
{
    return or_null(conf->language);
}

char *media_model_folder(const struct conf *conf)
{
    return conf->model_path[0] ? xstrdup(conf->model_path) : xasprintf("%s/models", conf->data);
}

const char *media_scratch(const struct conf *conf)
{
    if (strcmp(conf_where(conf, "temp"), "default") != 0)
        return conf->temp;
    const char *dir = getenv("TMPDIR");
    return dir && dir[0] == '/' ? dir : "/var/tmp";
}
