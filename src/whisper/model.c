/* SPDX-License-Identifier: MIT */
/* The model: file, tokenizer and packed network under one reference count. */
#include "whisper/model.h"

#include "base/clock.h"
#include "base/str.h"

#include <stdlib.h>
#include <string.h>

const char *whisper_precision_name(enum whisper_precision p)
{
    switch (p) {
#define X(name, word, help)                                                                                            \
    case WHISPER_##name:                                                                                               \
        return word;
        WHISPER_PRECISIONS(X)
#undef X
    }
    return "?";
}

bool whisper_precision_parse(const char *word, enum whisper_precision *ret)
{
#define X(name, w, help)                                                                                               \
    if (str_ieq(word, w)) {                                                                                            \
        *ret = WHISPER_##name;                                                                                         \
        return true;                                                                                                   \
    }
    WHISPER_PRECISIONS(X)
#undef X
    return false;
}

enum whisper_precision whisper_precision_best(void)
{
    return dnn_fast(WHISPER_BF16) ? WHISPER_BF16 : dnn_fast(WHISPER_INT8) ? WHISPER_INT8 : WHISPER_F32;
}
