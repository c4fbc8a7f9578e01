/* SPDX-License-Identifier: MIT */
/* One option's value: from text, to text, in and out of struct conf. Private to src/conf. */
#ifndef CONF_OPTION_H
#define CONF_OPTION_H

#include "conf/conf.h"

/* CONF_I_data and so on: the places of the rows in the array of conf_options. */
enum conf_index {
#define X(group, name, type, def, min, max, unit, choices, flags, help) CONF_I_##name,
    CONF_OPTIONS(X)
#undef X
        CONF_COUNT
};

union conf_value {
    const char *s;
    int64_t i;
    bool b;
};

/*
 * The value `text` stands for; texts are copied into `a`. INVALID says what is allowed instead and names the option,
 * but not the place: the caller knows it. A secret's text is never part of the sentence.
 */
int conf_value_parse(const struct conf_option *o, const char *text, struct arena *a, union conf_value *ret,
                     struct err *err) MUST_CHECK;
/* The shortest text that parses to this value again ("90s", "1536M"). Nothing is masked. */
void conf_value_add(const struct conf_option *o, union conf_value v, struct buf *b);
/* As conf_value_add, for eyes: a secret is "***", a password in a URL too. */
void conf_add_shown(const struct conf_option *o, union conf_value v, struct buf *b);
bool conf_value_eq(const struct conf_option *o, union conf_value a, union conf_value b);

void conf_store(struct conf *c, const struct conf_option *o, union conf_value v);
union conf_value conf_fetch(const struct conf *c, const struct conf_option *o);

/* An option's place in the array. */
enum conf_index conf_option_index(const struct conf_option *o);
/* Is the value in member s of the union? */
bool conf_type_is_text(enum conf_type t);

/* Where the values came from and what there is to say about it. */
struct conf_origin {
    struct arena mem; /* all texts of the struct conf */
    const char *file; /* or NULL */
    const char *where[CONF_COUNT];
    const char *notes[128];
    size_t n_notes;
};

/* How many insertions, deletions, replacements and swaps of neighbours lead from a to b; at most 64 bytes are compared.
 */
size_t conf_distance(const char *a, const char *b);

#endif
