/* SPDX-License-Identifier: MIT */
#include "broker_kind.h"

#include "base/macros.h"

#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const struct broker_kind kinds[] = {
    {"local", NULL, false},
    {"redis", "STENO_TEST_REDIS_URL", true},
    {"postgres", "STENO_TEST_POSTGRES_URL", false},
    {"amqp", "STENO_TEST_AMQP_URL", true},
};

bool broker_kind_skip(int argc, char **argv, const struct broker_kind **ret)
{
    const char *name = argc > 1 ? argv[1] : "local";
    *ret = NULL;
    for (size_t i = 0; i < ARRAY_LEN(kinds); i++)
        if (strcmp(kinds[i].name, name) == 0)
            *ret = &kinds[i];
    if (!*ret) {
        fprintf(stderr, "there is no broker '%s'\n", name);
        exit(2);
    }
    if (!(*ret)->env || getenv((*ret)->env))
        return false;
    printf("1..1\nok 1 # SKIP %s names no server\n", (*ret)->env);
    return true;
}

bool broker_kind_set_up(const struct broker_kind *kind, char folder[64], char url[256])
{
    signal(SIGPIPE, SIG_IGN);
    snprintf(folder, 64, "/tmp/steno-test-XXXXXX");
    if (!mkdtemp(folder))
        return false;
    if (kind->env)
        snprintf(url, 256, "%s", getenv(kind->env));
    else
        snprintf(url, 256, "local:%s/broker", folder);
    return true;
}
