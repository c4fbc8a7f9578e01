/* SPDX-License-Identifier: MIT */
#include "cli/table.h"

#include "base/str.h"

#include <stdarg.h>
#include <string.h>

enum { CELLS_MAX = 16 << 20, CELL_MAX = 4096, GAP = 2 };

void table_init(struct table *t, const char *const *heads)
{
    *t = (struct table){.cells = BUF_INIT(CELLS_MAX)};
    while (heads[t->columns] && t->columns < TABLE_COLUMNS_MAX)
        t->columns++;
    for (size_t i = 0; i < t->columns; i++)
        table_add(t, heads[i]);
}

void table_clear(struct table *t)
{
    buf_clear(&t->cells);
}

void table_add(struct table *t, const char *text)
{
    str_add_printable(&t->cells, text);
    buf_addc(&t->cells, '\0');
    t->n++;
}

void table_addf(struct table *t, const char *fmt, ...)
{
    CLEANUP(buf_clear) struct buf b = BUF_INIT(CELL_MAX);
    va_list ap;
    va_start(ap, fmt);
    buf_addv(&b, fmt, ap);
    va_end(ap);
    table_add(t, buf_str(&b));
}

size_t table_rows(const struct table *t)
{
    return t->n / t->columns - 1;
}

/* Characters, as far as that is their number of columns. */
static size_t width(const char *s)
{
    size_t n = 0;
    for (; *s; s++)
        n += ((unsigned char)*s & 0xc0) != 0x80;
    return n;
}

void table_print(const struct table *t, struct buf *b)
{
    size_t widths[TABLE_COLUMNS_MAX] = {0};
    if (!buf_ok(&t->cells)) {
        b->failed = true;
        return;
    }
    const char *cell = t->cells.data;
    for (size_t i = 0; i < t->n; i++, cell += strlen(cell) + 1)
        widths[i % t->columns] = MAX(widths[i % t->columns], width(cell));
    cell = t->cells.data;
    for (size_t i = 0; i < t->n; i++, cell += strlen(cell) + 1) {
        bool last = i % t->columns == t->columns - 1;
        buf_adds(b, cell);
        for (size_t pad = last ? 0 : widths[i % t->columns] + GAP - width(cell); pad > 0; pad--)
            buf_addc(b, ' ');
        if (last)
            buf_addc(b, '\n');
    }
}
