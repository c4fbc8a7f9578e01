/* SPDX-License-Identifier: MIT */
#include "whisper_fixture.h"

#include "base/io.h"
#include "base/mem.h"

#include <ctype.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

enum { FILE_MAX = 64 << 20, WAV_HEADER = 44, MAX_WORDS = 400, WORD_MAX = 24 };

char *fixture_path(const char *name)
{
    const char *folder = getenv("STENO_FIXTURE");
    if (!folder)
        fail_msg("STENO_FIXTURE does not name the unpacked fixture");
    char *path = xasprintf("%s/%s", folder, name);
    const char *source = getenv("STENO_FIXTURE_SOURCE");
    if (access(path, R_OK) == 0 || !source)
        return path;
    free(path);
    return xasprintf("%s/%s", source, name); /* what needs no unpacking */
}

static char *read_all(const char *name, size_t *ret_n)
{
    struct err err = ERR_INIT;
    char *path = fixture_path(name), *text = NULL;
    if (io_read_file(path, FILE_MAX, &text, ret_n, &err) < 0)
        fail_msg("%s", err.msg);
    free(path);
    return text;
}

float *fixture_wav(const char *name, size_t *ret_n)
{
    char file[64];
    snprintf(file, sizeof file, "wav/%s.wav", name);
    size_t bytes;
    char *data = read_all(file, &bytes);
    size_t n = (bytes - WAV_HEADER) / 2;
    float *pcm = xcalloc(n, sizeof *pcm);
    for (size_t i = 0; i < n; i++) {
        int16_t v;
        memcpy(&v, data + WAV_HEADER + 2 * i, 2);
        pcm[i] = (float)v / 32768.0f;
    }
    free(data);
    *ret_n = n;
    return pcm;
}

void *fixture_values(const char *name, size_t *ret_n)
{
    char *data = read_all(name, ret_n);
    *ret_n /= 4;
    return data;
}

json_t *fixture_json(const char *name)
{
    size_t n;
    char *text = read_all(name, &n);
    json_error_t where;
    json_t *j = json_loadb(text, n, 0, &where);
    if (!j)
        fail_msg("%s: %s", name, where.text);
    free(text);
    return j;
}

struct whisper_model *fixture_model(enum whisper_precision p)
{
    struct err err = ERR_INIT;
    struct whisper_model_opts o = {.precision = p};
    struct whisper_model *m;
    char *path = fixture_path("fixture.bin");
    if (whisper_model_open(path, &o, &m, &err) < 0)
        fail_msg("%s", err.msg);
    free(path);
    return m;
}

static size_t words_of(const char *text, char words[MAX_WORDS][WORD_MAX])
{
    size_t n = 0, len = 0;
    for (; n < MAX_WORDS; text++) {
        if (isalnum((unsigned char)*text)) {
            if (len < WORD_MAX - 1)
                words[n][len++] = (char)tolower((unsigned char)*text);
        } else if (len) {
            words[n++][len] = '\0';
            len = 0;
        }
        if (!*text)
            break;
    }
    return n;
}

size_t word_errors(const char *want, const char *got)
{
    static char a[MAX_WORDS][WORD_MAX], b[MAX_WORDS][WORD_MAX];
    size_t n = words_of(want, a), m = words_of(got, b), row[MAX_WORDS + 1];
    for (size_t j = 0; j <= m; j++)
        row[j] = j;
    for (size_t i = 1; i <= n; i++) {
        size_t diagonal = row[0];
        row[0] = i;
        for (size_t j = 1; j <= m; j++) {
            size_t replace = diagonal + (strcmp(a[i - 1], b[j - 1]) != 0);
            diagonal = row[j];
            row[j] = MIN(replace, MIN(row[j], row[j - 1]) + 1);
        }
    }
    return row[m];
}
