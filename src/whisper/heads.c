/* SPDX-License-Identifier: MIT */
/* The published lists, one row a model. A ggml file does not say which model it is: its dimensions do. */
#include "whisper/heads.h"

#include <string.h>

enum { PUBLISHED_MAX = 24 };

struct row {
    const char *name;
    int n_vocab, state, layers; /* layers and state of the decoder */
    size_t n;
    struct head heads[PUBLISHED_MAX];
};

#define HEADS(...)                                   \
    ARRAY_LEN(((const struct head[]){__VA_ARGS__})), \
    {                                                \
        __VA_ARGS__                                  \
    }

/* Large was published three times, v1 and v2 in the same shape; "large" alone meant v2 in the end. */
/* clang-format off */
static const struct row rows[] = {
    {"tiny.en", 51864, 384, 4, HEADS({1, 0}, {2, 0}, {2, 5}, {3, 0}, {3, 1}, {3, 2}, {3, 3}, {3, 4})},
    {"tiny", 51865, 384, 4, HEADS({2, 2}, {3, 0}, {3, 2}, {3, 3}, {3, 4}, {3, 5})},
    {"base.en", 51864, 512, 6, HEADS({3, 3}, {4, 7}, {5, 1}, {5, 5}, {5, 7})},
    {"base", 51865, 512, 6, HEADS({3, 1}, {4, 2}, {4, 3}, {4, 7}, {5, 1}, {5, 2}, {5, 4}, {5, 6})},
    {"small.en", 51864, 768, 12,
     HEADS({6, 6}, {7, 0}, {7, 3}, {7, 8}, {8, 2}, {8, 5}, {8, 7}, {9, 0}, {9, 4}, {9, 8}, {9, 10}, {10, 0}, {10, 1},
           {10, 2}, {10, 3}, {10, 6}, {10, 11}, {11, 2}, {11, 4})},
    {"small", 51865, 768, 12,
     HEADS({5, 3}, {5, 9}, {8, 0}, {8, 4}, {8, 7}, {8, 8}, {9, 0}, {9, 7}, {9, 9}, {10, 5})},
    {"medium.en", 51864, 1024, 24,
     HEADS({11, 4}, {14, 1}, {14, 12}, {14, 14}, {15, 4}, {16, 0}, {16, 4}, {16, 9}, {17, 12}, {17, 14}, {18, 7},
           {18, 10}, {18, 15}, {20, 0}, {20, 3}, {20, 9}, {20, 14}, {21, 12})},
    {"medium", 51865, 1024, 24, HEADS({13, 15}, {15, 4}, {15, 15}, {16, 1}, {20, 0}, {23, 4})},
    {"large-v2", 51865, 1280, 32,
     HEADS({10, 12}, {13, 17}, {16, 11}, {16, 12}, {16, 13}, {17, 15}, {17, 16}, {18, 4}, {18, 11}, {18, 19}, {19, 11},
           {21, 2}, {21, 3}, {22, 3}, {22, 9}, {22, 12}, {23, 5}, {23, 7}, {23, 13}, {25, 5}, {26, 1}, {26, 12},
           {27, 15})},
    {"large-v1", 51865, 1280, 32,
     HEADS({9, 19}, {11, 2}, {11, 4}, {11, 17}, {22, 7}, {22, 11}, {22, 17}, {23, 2}, {23, 15})},
    {"large-v3", 51866, 1280, 32,
     HEADS({7, 0}, {10, 17}, {12, 18}, {13, 12}, {16, 1}, {17, 14}, {19, 11}, {21, 4}, {24, 1}, {25, 6})},
    {"large-v3-turbo", 51866, 1280, 4, HEADS({2, 4}, {2, 11}, {3, 3}, {3, 6}, {3, 11}, {3, 14})},
};
/* clang-format on */

static size_t published(const struct whisper_dims *d, const char *name, struct head ret[HEADS_MAX])
{
    const struct row *found = NULL;
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        const struct row *r = &rows[i];
        bool fits = r->n_vocab == d->n_vocab && r->state == d->text_state && r->layers == d->text_layers;
        if (fits && (!found || strstr(name, r->name)))
            found = r;
    }
    if (!found)
        return 0;
    memcpy(ret, found->heads, found->n * sizeof *ret);
    return found->n;
}

static size_t upper_half(const struct whisper_dims *d, struct head ret[HEADS_MAX])
{
    size_t n = 0;
    for (int l = d->text_layers / 2; l < d->text_layers; l++)
        for (int h = 0; h < d->text_heads && n < HEADS_MAX; h++)
            ret[n++] = (struct head){.layer = l, .head = h};
    return n;
}

size_t heads_choose(const struct whisper_dims *d, const char *name, const struct head *named, size_t n_named,
                    struct head ret[HEADS_MAX])
{
    size_t n = MIN(n_named, (size_t)HEADS_MAX);
    if (n)
        memcpy(ret, named, n * sizeof *ret);
    if (!n)
        n = published(d, name, ret);
    return n ? n : upper_half(d, ret);
}
