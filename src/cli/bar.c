/* SPDX-License-Identifier: MIT */
#include "cli/bar.h"

#include "base/buf.h"
#include "base/clock.h"
#include "base/err.h"
#include "base/io.h"
#include "base/str.h"

#include <string.h>
#include <sys/ioctl.h>
#include <unistd.h>

enum { REDRAW_MS = 100, CELLS = 24, LABEL_MAX = 28, DEFAULT_COLUMNS = 80 };

void bar_init(struct bar *b, const char *label, enum bar_unit unit)
{
    *b = (struct bar){.label = label, .unit = unit, .on = isatty(STDERR_FILENO)};
}

static void send(struct buf *line)
{
    struct err err = ERR_INIT;
    /* A terminal that went away: nobody is watching. */
    if (buf_ok(line) && io_write_all(STDERR_FILENO, line->data, line->len, &err) < 0)
        buf_reset(line);
}

static void add_amount(struct buf *b, enum bar_unit unit, int64_t n)
{
    if (unit == BAR_AUDIO_MS)
        str_add_duration(b, (double)n / 1000);
    else
        buf_addf(b, "%.1f MB", (double)n / 1e6);
}

/* "  12.1x  2.5 s left", once it can be told. */
static void add_speed(struct buf *b, const struct bar *bar, int64_t now, int64_t done, int64_t total)
{
    int64_t took = now - bar->first_ms, did = done - bar->first_done;
    if (took < 500 || did <= 0)
        return;
    double per_ms = (double)did / (double)took;
    if (bar->unit == BAR_AUDIO_MS)
        buf_addf(b, "  %.1fx", per_ms);
    else
        buf_addf(b, "  %.1f MB/s", per_ms / 1000);
    buf_adds(b, "  ");
    str_add_duration(b, (double)(total - done) / per_ms / 1000);
    buf_adds(b, " left");
}

static size_t columns(void)
{
    struct winsize size = {0};
    if (ioctl(STDERR_FILENO, TIOCGWINSZ, &size) < 0 || size.ws_col < 20)
        return DEFAULT_COLUMNS;
    return size.ws_col;
}

void bar_update(struct bar *b, int64_t done, int64_t total, const char *state)
{
    if (!b->on)
        return;
    int64_t now = clock_mono_ms();
    if (total > 0 && !b->measuring) {
        b->measuring = true;
        b->first_ms = now;
        b->first_done = done;
    }
    if (b->drawn && !b->eager && now - b->last_ms < REDRAW_MS)
        return;
    b->last_ms = now;
    CLEANUP(buf_clear) struct buf text = BUF_INIT(4096), line = BUF_INIT(8192);
    CLEANUP(buf_clear) struct buf label = BUF_INIT(4096);
    str_add_printable(&label, b->label);
    size_t cut = label.len > LABEL_MAX ? utf8_floor(buf_str(&label), LABEL_MAX) : label.len;
    buf_add(&text, buf_str(&label), cut);
    buf_adds(&text, "  ");
    if (total > 0) {
        done = CLAMP(done, 0, total);
        int full = (int)(done * CELLS / total);
        buf_adds(&text, "[");
        for (int i = 0; i < CELLS; i++)
            buf_addc(&text, i < full ? '#' : '.');
        buf_addf(&text, "] %3d%%  ", (int)(done * 100 / total));
        add_amount(&text, b->unit, done);
        buf_adds(&text, " of ");
        add_amount(&text, b->unit, total);
        add_speed(&text, b, now, done, total);
    } else {
        buf_adds(&text, state ? state : "...");
    }
    /* Never wider than the terminal: a wrapped line could not be redrawn. */
    size_t width = columns() - 1;
    buf_adds(&line, "\r\033[K");
    buf_add(&line, buf_str(&text), text.len > width ? utf8_floor(buf_str(&text), width) : text.len);
    send(&line);
    b->drawn = true;
}

void bar_clear(struct bar *b)
{
    if (!b->drawn)
        return;
    CLEANUP(buf_clear) struct buf line = BUF_INIT(64);
    buf_adds(&line, "\r\033[K");
    send(&line);
    b->drawn = false;
}
