/* SPDX-License-Identifier: MIT */
#include "metrics/page.h"

/* A label value with backslash, quote and newline escaped. */
static void add_value(struct buf *b, const char *value)
{
    for (; *value; value++) {
        if (*value == '\\' || *value == '"')
            buf_addc(b, '\\');
        if (*value == '\n')
            buf_adds(b, "\\n");
        else
            buf_addc(b, *value);
    }
}

static void add_label(struct buf *b, const char *separator, const char *name, const char *value)
{
    buf_addf(b, "%s%s=\"", separator, name);
    add_value(b, value);
    buf_addc(b, '"');
}

void metric_head(struct buf *b, const struct metric *m)
{
    buf_addf(b, "# HELP %s %s\n# TYPE %s %s\n", m->name, m->help, m->name, m->type);
}

void metric_begin(struct buf *b, const struct metric *m, const char *suffix, const struct metric_label *labels,
                  const char *le)
{
    const char *separator = "{";
    buf_addf(b, "%s%s", m->name, suffix);
    for (; labels && labels->name; labels++, separator = ",")
        add_label(b, separator, labels->name, labels->value);
    if (le) {
        add_label(b, separator, "le", le);
        separator = ",";
    }
    buf_adds(b, *separator == ',' ? "} " : " ");
}

void metric_add_milli(struct buf *b, int64_t v)
{
    if (v < 0)
        buf_addc(b, '-');
    uint64_t n = v < 0 ? -(uint64_t)v : (uint64_t)v;
    unsigned part = (unsigned)(n % 1000);
    buf_addi(b, (int64_t)(n / 1000));
    if (!part)
        return;
    int digits = 3;
    for (; part % 10 == 0; part /= 10)
        digits--;
    buf_addf(b, ".%0*u", digits, part);
}

void metric_int(struct buf *b, const struct metric *m, const struct metric_label *labels, int64_t v)
{
    metric_begin(b, m, "", labels, NULL);
    buf_addi(b, v);
    buf_addc(b, '\n');
}

void metric_milli(struct buf *b, const struct metric *m, const struct metric_label *labels, int64_t v)
{
    metric_begin(b, m, "", labels, NULL);
    metric_add_milli(b, v);
    buf_addc(b, '\n');
}

void metric_only(struct buf *b, const struct metric *m, int64_t v)
{
    metric_head(b, m);
    metric_int(b, m, NULL, v);
}

void metric_only_milli(struct buf *b, const struct metric *m, int64_t v)
{
    metric_head(b, m);
    metric_milli(b, m, NULL, v);
}
