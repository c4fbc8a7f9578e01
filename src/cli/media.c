/* SPDX-License-Identifier: MIT */
#include "cli/media.h"

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
                                .memory_bytes = conf->model_memory,
                                .models_kept = (unsigned)conf->model_pool_size,
                                .models_max = (unsigned)conf->model_pool_max_size,
                                .model_wait_ms = conf->model_acquire_timeout,
                                .model_idle_ms = conf->model_idle_time,
                                .slots = (unsigned)conf->engine_slots,
                                .gemini = {.url = conf->gemini_url,
                                           .key = conf->gemini_api_key,
                                           .model = conf->gemini_model,
                                           .per_minute = conf->gemini_rate},
                                .openai = {.url = conf->openai_url,
                                           .key = conf->openai_api_key,
                                           .model = conf->openai_model,
                                           .per_minute = conf->openai_rate},
                                .ca_file = conf->remote_ca_file,
                                .request_ms = conf->remote_timeout,
                                .chunk_time_ms = CHUNK_TIME_MS};
}

struct decode_opts media_decode(const struct conf *conf)
{
    return (struct decode_opts){.ffmpeg = conf->ffmpeg,
                                .sandbox = str_eq(conf->sandbox, "require") ? SANDBOX_REQUIRE
                                           : str_eq(conf->sandbox, "off")   ? SANDBOX_OFF
                                                                            : SANDBOX_AUTO,
                                .memory_bytes = conf->decode_memory,
                                .time_ms = conf->decode_time_limit,
                                .stall_ms = conf->decode_stall_limit,
                                .max_samples = conf->max_audio_length * (AUDIO_RATE / 1000)};
}

/* The text of a setting, by the kind of its option. */
static const char *text_of_BOOL(bool value, struct arena *a)
{
    return arena_strdup(a, value ? "true" : "false");
}

static const char *text_of_INT(int64_t value, struct arena *a)
{
    return arena_printf(a, "%lld", (long long)value);
}

static const char *text_of_CHOICE(const char *value, struct arena *a)
{
    return arena_strdup(a, value);
}

int media_options(const struct conf *conf, struct arena *a, struct job_options *ret, struct err *err)
{
    const struct {
        enum job_option option;
        const char *value;
    } rows[] = {
#define X(kind, name, flag, arg, min, max, choices, help) {JOB_OPTION_##name, text_of_##kind(conf->name, a)},
        JOB_OPTIONS_WITH_SETTING(X)
#undef X
    };
    *ret = (struct job_options){{NULL}};
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        int rc = rows[i].value ? job_options_set(ret, rows[i].option, rows[i].value, a, err)
                               : err_set(err, ERR_NOMEM, "out of memory for the settings");
        if (rc < 0)
            return rc;
    }
    return 0;
}

int media_model_names(const struct conf *conf, struct arena *a, struct model_names *ret, struct err *err)
{
    return model_names_read(conf->model_aliases, conf->model_missing, a, ret, err);
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
