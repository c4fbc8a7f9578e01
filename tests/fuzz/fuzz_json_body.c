/* SPDX-License-Identifier: MIT */
/* Any JSON body: its members are read as texts, numbers and names of uploads, or refused with a sentence. */
#include "api/json_body.h"
#include "api/signed_upload.h"
#include "base/id.h"

#include <stdint.h>
#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n);

static void look(struct request *rq, const char *name)
{
    struct err err = ERR_INIT;
    enum problem p = PROBLEM_COUNT;
    const char *text = NULL;
    int64_t number = 0;
    char id[ID_SIZE];
    if (json_body_text(rq, name, true, 4096, &text, &p, &err) < 0 && (p == PROBLEM_COUNT || !*err.msg))
        abort();
    if (text && (strlen(text) > 4096 || (upload_id_find(text, id) && !id_valid(id))))
        abort();
    if (json_body_int(rq, name, true, &number, &p, &err) >= 0 && number < 0)
        abort();
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n)
{
    static const char *const names[] = {"filename", "url", "key", "size", "a", ""};
    struct request rq = {.arena = ARENA_INIT, .body = BUF_INIT(BODY_JSON_MAX)};
    struct err err = ERR_INIT;
    enum problem p = PROBLEM_COUNT;
    buf_add(&rq.body, data, n);
    if (json_body_read(&rq, &p, &err) < 0) {
        if (p == PROBLEM_COUNT || !*err.msg)
            abort();
    } else {
        for (size_t i = 0; i < sizeof names / sizeof names[0]; i++)
            look(&rq, names[i]);
    }
    json_body_clear(&rq);
    return 0;
}
