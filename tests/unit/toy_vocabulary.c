/* SPDX-License-Identifier: MIT */
#include "toy_vocabulary.h"

#include "whisper/model_file_internal.h"

#include "base/mem.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

static bool prints(int b)
{
    return (b >= '!' && b <= '~') || (b >= 0xA1 && b <= 0xAC) || b >= 0xAE;
}

int toy_byte(unsigned char b)
{
    int id = 0;
    for (int i = 0; i < 256; i++)
        id += prints(i) && (i < b || !prints(b));
    for (int i = 0; i < b && !prints(b); i++)
        id += !prints(i);
    return id;
}

struct tokenizer *toy_tokenizer(int n_vocab, const struct toy_token *tokens, size_t n)
{
    enum { PLACE = 16 };
    const size_t count = n_vocab == 51864 ? 50256 : 50257;
    struct model_file f = {.dims = {.n_vocab = n_vocab}, .n_tokens = count, .arena = ARENA_INIT};
    char *places = xcalloc(count, PLACE);
    f.tokens = xcalloc(count, sizeof *f.tokens);
    f.token_lens = xcalloc(count, sizeof *f.token_lens);
    for (size_t i = 256; i < count; i++) {
        f.token_lens[i] = (uint32_t)snprintf(places + i * PLACE, PLACE, "<u%zu>", i);
        f.tokens[i] = places + i * PLACE;
    }
    for (int b = 0; b < 256; b++) {
        int id = toy_byte((unsigned char)b);
        places[id * PLACE] = (char)b;
        f.tokens[id] = places + id * PLACE;
        f.token_lens[id] = 1;
    }
    for (size_t i = 0; i < n; i++) {
        f.tokens[tokens[i].id] = tokens[i].text;
        f.token_lens[tokens[i].id] = (uint32_t)strlen(tokens[i].text);
    }
    struct tokenizer *t = NULL;
    struct err err = ERR_INIT;
    if (tokenizer_new(&f, &t, &err) < 0)
        fail_msg("%s", err.msg);
    free(f.tokens);
    free(f.token_lens);
    free(places);
    return t;
}
