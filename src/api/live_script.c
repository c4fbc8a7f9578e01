/* SPDX-License-Identifier: MIT */
/*
 * The order in which things are told: the snapshot or a new state, a new position, chunks, progress, the end. All are
 * numbered so that whoever has a number has all that came up to it: what comes before a chunk has at most that chunk's
 * number less one, although the row may be further (store_follow).
 */
#include "api/live_script.h"

#include "api/ws.h"
#include "transcript/format.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { RETRY_HINT_MS = 2000, MESSAGE_MAX = 32 << 20, SAMPLES_PER_MS = 16 };

struct maker {
    const struct script_ask *a;
    struct arena arena;
    struct follow f;
    struct place place; /* so far */
    struct live_view view;
    struct buf out, text;
    bool last, more;
};

bool place_same(const struct place *a, const struct place *b)
{
    return a->started == b->started && a->from_now == b->from_now && a->seq == b->seq && a->row_seq == b->row_seq &&
           a->position == b->position && a->memo == b->memo && a->state == b->state && a->paused == b->paused &&
           a->attempt == b->attempt && a->chunks_done == b->chunks_done && strcmp(a->stage, b->stage) == 0;
}

/* ---- messages ---- */

static void add_event(struct buf *out, const char *text)
{
    const char *p = text;
    for (size_t n; *p; p += n + (p[n] != '\0')) {
        n = strcspn(p, "\n");
        if (n) {
            buf_adds(out, "data: ");
            buf_add(out, p, n);
        }
        buf_addc(out, '\n');
    }
    buf_addc(out, '\n');
}

static int say(struct maker *m, live_fn fn, int64_t seq, struct err *err)
{
    m->place.seq = seq;
    if (!fn)
        return 0;
    m->view.seq = seq;
    buf_reset(&m->text);
    fn(&m->view, &m->text);
    int rc = buf_check(&m->text, "a message about a job", err);
    if (rc < 0 || !m->text.len)
        return rc;
    switch (m->a->transport) {
    case LIVE_WEBSOCKET:
        ws_add_text(&m->out, m->text.data, m->text.len);
        break;
    case LIVE_SSE:
        if (!m->a->format->plain)
            buf_addf(&m->out, "id: %lld\n", (long long)seq);
        add_event(&m->out, buf_str(&m->text));
        break;
    }
    return buf_check(&m->out, "messages about a job", err);
}

/* As the whole transcript will have it. */
static int say_chunk(struct maker *m, size_t i, struct err *err)
{
    const struct job_chunk *k = &m->f.chunks[i];
    struct live_chunk c = {
        .idx = k->idx, .start_ms = k->start_sample / SAMPLES_PER_MS, .end_ms = k->end_sample / SAMPLES_PER_MS};
    struct segments segments = {0};
    struct transcript t;
    transcript_init(&t);
    t.duration_ms = MAX(m->f.job.duration_ms, c.end_ms);
    int rc = segments_from_json(k->result, strlen(k->result), &m->arena, &segments, err);
    if (rc >= 0)
        rc = transcript_add(&t, c.start_ms, c.end_ms, &segments, err);
    if (rc >= 0 && !(c.text = transcript_text(&t)))
        rc = err_set(err, ERR_NOMEM, "no memory for the text of a chunk");
    if (rc >= 0) {
        c.segments = t.segments;
        c.n_segments = t.n_segments;
        m->view.chunk = &c;
        rc = say(m, m->a->format->chunk, m->f.numbers[i], err);
        m->view.chunk = NULL;
    }
    transcript_clear(&t);
    return rc;
}

static int say_chunks(struct maker *m, struct err *err)
{
    size_t i = 0;
    int rc = 0;
    for (; i < m->f.n_chunks && rc >= 0 && (!i || m->out.len < SCRIPT_CHUNKS_BYTES); i++)
        rc = say_chunk(m, i, err);
    m->more = m->f.more || i < m->f.n_chunks;
    return rc;
}

/* ---- the order ---- */

/* What stands before the chunks. */
static int say_state(struct maker *m, struct err *err)
{
    const struct live_format *f = m->a->format;
    const struct job *j = &m->f.job;
    bool terminal = job_state_terminal(j->state);
    struct place *p = &m->place;
    int rc = 0;
    if (!p->started)
        rc = say(m, f->snapshot, m->f.number, err);
    else if ((p->state != j->state || p->attempt != j->attempt) && !terminal)
        rc = say(m, f->state, m->f.number, err);
    else if (j->state == JOB_PENDING &&
             ((m->view.position >= 0 && p->position != m->view.position) || p->paused != m->view.paused))
        rc = say(m, f->position, m->f.number, err);
    p->position = m->view.position;
    p->paused = m->view.paused;
    if (!p->started) {
        p->chunks_done = j->chunks_done;
        snprintf(p->stage, sizeof p->stage, "%s", m->view.stage ? m->view.stage : "");
    }
    p->started = true;
    p->state = j->state;
    p->attempt = j->attempt;
    return rc;
}

/* What stands behind all chunks that are there. */
static int say_rest(struct maker *m, struct err *err)
{
    const struct live_format *f = m->a->format;
    const struct job *j = &m->f.job;
    struct place *p = &m->place;
    const char *stage = m->view.stage ? m->view.stage : "";
    int rc = 0;
    if (j->state == JOB_PROCESSING && (p->chunks_done != j->chunks_done || strcmp(p->stage, stage) != 0))
        rc = say(m, f->progress, m->f.last_number, err);
    p->chunks_done = j->chunks_done;
    snprintf(p->stage, sizeof p->stage, "%s", stage);
    p->seq = m->f.last_number;
    p->row_seq = j->seq;
    if (rc < 0 || !job_state_terminal(j->state))
        return rc;
    m->last = true;
    rc = say(m, f->end, j->seq, err);
    if (m->a->transport == LIVE_WEBSOCKET)
        ws_add_close(&m->out, WS_CLOSE_NORMAL, NULL);
    return rc;
}

static int say_all(struct maker *m, struct err *err)
{
    const struct script_ask *a = m->a;
    const struct job *j = &m->f.job;
    m->view = (struct live_view){
        .job = j,
        .position = j->state == JOB_PENDING ? a->position : -1,
        .paused = j->state == JOB_PENDING && a->paused,
        .stage = j->state == JOB_PROCESSING && *a->stage ? a->stage : NULL,
        .result = m->f.has_result ? &m->f.result : NULL,
        .memo = &m->place.memo,
    };
    if (!a->place.started && a->transport == LIVE_SSE && !a->format->plain)
        buf_addf(&m->out, "retry: %d\n\n", RETRY_HINT_MS);
    int rc = say_state(m, err);
    if (rc >= 0)
        rc = say_chunks(m, err);
    if (rc >= 0 && !m->more)
        rc = say_rest(m, err);
    return rc;
}

static void close_early(enum live_early_end why, const char *job_id, struct buf *out)
{
    char reason[WS_REASON_MAX + 1];
    switch (why) {
    case LIVE_JOB_REMOVED:
        snprintf(reason, sizeof reason, "there is no job '%.64s'", job_id);
        ws_add_close(out, WS_CLOSE_NO_JOB, reason);
        break;
    case LIVE_SERVER_STOPS:
        ws_add_close(out, WS_CLOSE_GOING_AWAY, "the server stops");
        break;
    }
}

static void add_early_end(const struct script_ask *a, enum live_early_end why, struct buf *out)
{
    CLEANUP(buf_clear) struct buf text = BUF_INIT(MESSAGE_MAX);
    switch (a->transport) {
    case LIVE_WEBSOCKET:
        close_early(why, a->job_id, out);
        break;
    case LIVE_SSE:
        if (a->format->early_end)
            a->format->early_end(why, a->job_id, &text);
        if (text.len && buf_ok(&text))
            add_event(out, buf_str(&text));
        break;
    }
}

/* ---- */

static int look(struct store *s, struct script_ask *a, struct maker *m, struct err *err)
{
    const struct follow_opts o = {
        .after = a->place.seq,
        .from_now = !a->place.started && a->place.from_now,
        .max_chunks = a->format->chunk ? FOLLOW_CHUNKS_MAX : 0,
    };
    int rc = store_follow(s, a->job_id, &o, &m->arena, &m->f, err);
    bool another = !a->place.started || a->place.paused != a->paused;
    if (rc < 0 || !another || a->position >= 0 || m->f.job.state != JOB_PENDING)
        return rc;
    struct job ignored;
    struct store_place place = {.position = -1};
    rc = store_look(s, a->job_id, LIVE_POSITION_MAX, &m->arena, &ignored, &place, err);
    a->position = place.position;
    if (!a->known)
        a->paused = place.paused;
    return rc;
}

static int to_script(struct maker *m, struct script **ret, struct err *err)
{
    int rc = buf_check(&m->out, "messages about a job", err);
    if (rc < 0)
        return rc;
    struct script *s = script_of_bytes(buf_str(&m->out), m->out.len, &m->place);
    if (!s)
        return err_set(err, ERR_NOMEM, "no memory for messages about a job");
    s->more = m->more;
    s->last = m->last;
    *ret = s;
    return 0;
}

int script_make(struct store *s, const struct script_ask *ask, struct script **ret, struct err *err)
{
    struct script_ask a = *ask;
    struct maker m = {
        .a = &a, .arena = ARENA_INIT, .place = ask->place, .out = BUF_INIT(SCRIPT_MAX), .text = BUF_INIT(MESSAGE_MAX)};
    int rc = look(s, &a, &m, err);
    if (rc == ERR_NOT_FOUND) {
        rc = 0;
        m.last = true;
        add_early_end(&a, LIVE_JOB_REMOVED, &m.out);
    } else if (rc >= 0) {
        rc = say_all(&m, err);
    }
    if (rc >= 0)
        rc = to_script(&m, ret, err);
    buf_clear(&m.out);
    buf_clear(&m.text);
    arena_clear(&m.arena);
    return rc;
}

struct script *script_of_bytes(const void *p, size_t n, const struct place *place)
{
    struct script *s = malloc(sizeof *s + n);
    if (!s)
        return NULL;
    *s = (struct script){.refs = 1, .place = *place, .len = n};
    memcpy(s->bytes, p, n);
    return s;
}

struct script *script_early_end(const struct script_ask *a, enum live_early_end why)
{
    CLEANUP(buf_clear) struct buf out = BUF_INIT(SCRIPT_MAX);
    add_early_end(a, why, &out);
    struct script *s = script_of_bytes(buf_str(&out), out.len, &a->place);
    if (s)
        s->last = true;
    return s;
}

struct script *script_ref(struct script *s)
{
    s->refs++;
    return s;
}

void script_unref(struct script *s)
{
    if (s && --s->refs == 0)
        free(s);
}
