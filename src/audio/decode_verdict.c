/* SPDX-License-Identifier: MIT */
/*
 * How a decode ended, from exit status, sample count and standard error together. ffmpeg ends with 0 after inputs it
 * could not read, and with an error after ones it read almost whole.
 *
 * The order of judgement (verdict_judge):
 *   1  the child never became ffmpeg                          UNAVAILABLE
 *   2  a signal: SIGSYS CORRUPT, SIGKILL from outside NOMEM, others by what was printed: NOMEM or CRASHED
 *   3  a non-zero status and a line from the table below      as the table says; NOMEM also after samples came
 *   4  status 127: the loader could not start ffmpeg          UNAVAILABLE
 *   5  no samples, and a non-zero status or an error line     CORRUPT
 *   6  no samples from a wav that promised some               CORRUPT
 *   7  no samples, nothing to complain of                     an empty recording
 *   8  samples                                                usable; damaged if status, errors or warnings say so
 *
 * Lines look like "[mp3 @ 0x55d2c8] [error] text" (-loglevel level+warning).
 */
#include "audio/decode_internal.h"

#include "base/str.h"

#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/wait.h>

struct verdict_rule {
    const char *needle;
    int code;
    const char *sentence;
};

/* Lines that tell the reason by themselves. The first that matches any line wins. */
static const struct verdict_rule rules[] = {
    {"matches no streams", ERR_UNSUPPORTED, "the file has no audio stream: there is nothing to transcribe"},
    {"does not contain any stream", ERR_UNSUPPORTED, "the file has no audio stream: there is nothing to transcribe"},
    {"not on whitelist", ERR_UNSUPPORTED,
     "this format is not accepted (playlists and lists of files are not): send one audio or video file"},
    {"Unsafe file name", ERR_UNSUPPORTED,
     "this format is not accepted (playlists and lists of files are not): send one audio or video file"},
    {"Decoder not found", ERR_UNSUPPORTED,
     "the installed ffmpeg cannot decode this audio codec: send mp3, wav or flac"},
    {"could not find codec parameters", ERR_UNSUPPORTED,
     "the installed ffmpeg cannot decode this audio codec: send mp3, wav or flac"},
    {"Cannot allocate memory", ERR_NOMEM, "decoding this file needs more memory than is allowed"},
    {"Out of memory", ERR_NOMEM, "decoding this file needs more memory than is allowed"},
    {"std::bad_alloc", ERR_NOMEM, "decoding this file needs more memory than is allowed"},
    {"failed to map segment", ERR_NOMEM, "ffmpeg does not fit into the memory it is allowed"},
    {"cannot allocate symbol data", ERR_NOMEM, "ffmpeg does not fit into the memory it is allowed"},
};

/* Warnings that mean sound is missing. Others are about taste ("Estimating duration from bitrate"). */
static const char *const damage_warnings[] = {
    "filesize and duration do not match",
    "Packet corrupt",
    "corrupt input packet",
    "ended prematurely",
    "partial file",
    "Truncat",
};

/* The text behind "[decoder @ 0x...] " and "[level] "; *ret_level is the level's word or NULL. */
static const char *skip_tags(const char *line, const char **ret_level)
{
    static const char *const levels[] = {"warning", "error", "fatal", "panic"};
    *ret_level = NULL;
    while (*line == '[') {
        const char *end = strchr(line, ']');
        if (!end)
            break;
        size_t n = (size_t)(end - line - 1);
        for (size_t i = 0; i < ARRAY_LEN(levels); i++)
            if (n == strlen(levels[i]) && memcmp(line + 1, levels[i], n) == 0)
                *ret_level = levels[i];
        line = end + 1 + strspn(end + 1, " ");
    }
    return line;
}

/* Untrusted bytes as one printable line of UTF-8. */
static void clean_into(const char *s, size_t n, char *ret, size_t size)
{
    CLEANUP(buf_clear) struct buf utf8 = BUF_INIT((size_t)4 * MAX_STDERR), text = BUF_INIT((size_t)16 * MAX_STDERR);
    utf8_add_clean(&utf8, s, n);
    str_add_printable(&text, buf_str(&utf8));
    size_t keep = utf8_floor(buf_str(&text), MIN(text.len, size - 1));
    memcpy(ret, buf_str(&text), keep);
    ret[keep] = '\0';
}

static void take_line(struct verdict *v)
{
    v->line[v->line_len] = '\0';
    const char *level, *text = skip_tags(v->line, &level);
    for (size_t i = 0; !v->rule && i < ARRAY_LEN(rules); i++)
        if (strstr(text, rules[i].needle))
            v->rule = &rules[i];
    v->streamed_wav |= strstr(text, "Ignoring maximum wav data size") != NULL;
    for (size_t i = 0; i < ARRAY_LEN(damage_warnings); i++)
        v->warned |= strstr(text, damage_warnings[i]) != NULL;
    /* Untagged lines are not ffmpeg's logger: the loader, a library, a C++ abort. */
    bool error = level ? strcmp(level, "warning") != 0 : *text != '\0';
    v->errors |= error;
    if (!error)
        return;
    /* "file:/proc/self/fd/3: Invalid data found ..." only says that something was said before. */
    static const char input[] = "file:/proc/self/fd/3: ";
    bool general = str_starts(text, input);
    if (general)
        text += sizeof input - 1;
    if (general && v->sentence_is_specific)
        return;
    v->sentence_is_specific = !general;
    clean_into(text, strlen(text), v->sentence, sizeof v->sentence);
}

void verdict_feed(struct verdict *v, const char *p, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        if (p[i] == '\n' || p[i] == '\r') {
            take_line(v);
            v->line_len = 0;
        } else if (v->line_len < sizeof v->line - 1 && p[i] != '\0') {
            v->line[v->line_len++] = p[i];
        }
    }
    if (n > sizeof v->tail) {
        p += n - sizeof v->tail;
        n = sizeof v->tail;
    }
    size_t keep = MIN(v->tail_len, sizeof v->tail - n);
    memmove(v->tail, v->tail + v->tail_len - keep, keep);
    memcpy(v->tail + keep, p, n);
    v->tail_len = keep + n;
}

static int judge_signal(const struct verdict *v, int sig, struct err *err)
{
    if (sig == SIGSYS)
        return err_set(err, ERR_CORRUPT, "the file made the decoder do something forbidden: it is damaged or hostile");
    if (v->rule && v->rule->code == ERR_NOMEM)
        return err_set(err, ERR_NOMEM, "%s", v->rule->sentence);
    if (sig == SIGKILL)
        return err_set(err, ERR_NOMEM, "the decoder was killed from outside, most likely for want of memory");
    return err_set(err, ERR_CRASHED, "the decoder crashed on this file (signal %d, %s)", sig, sigdescr_np(sig));
}

static int judge_start(const struct verdict *v, int status, struct err *err)
{
    switch (status) {
    case CHILD_NO_SANDBOX:
        return err_set(err, ERR_UNAVAILABLE, "cannot close the sandbox for decoding: %s", v->sentence);
    case CHILD_NO_FFMPEG:
        return err_set(err, ERR_UNAVAILABLE,
                       "ffmpeg is not there: install it (apt-get install ffmpeg) or set ffmpeg=PATH");
    case CHILD_CANNOT_RUN:
        return err_set(err, ERR_UNAVAILABLE, "cannot run ffmpeg (it must be a program, not a script): %s", v->sentence);
    default:
        return 0;
    }
}

int verdict_judge(struct verdict *v, const struct decode_end *end, bool *ret_damaged, struct err *err)
{
    if (v->line_len > 0)
        take_line(v);
    v->line_len = 0;
    if (WIFSIGNALED(end->status))
        return judge_signal(v, WTERMSIG(end->status), err);
    int status = WEXITSTATUS(end->status), rc = judge_start(v, status, err);
    if (rc < 0)
        return rc;
    if (status != 0 && v->rule && (end->samples == 0 || v->rule->code == ERR_NOMEM))
        return err_set(err, v->rule->code, "%s", v->rule->sentence);
    if (status == 127)
        return err_set(err, ERR_UNAVAILABLE, "ffmpeg cannot start: %s", v->sentence);
    if (end->samples == 0 && (status != 0 || v->errors))
        return err_set(err, ERR_CORRUPT, "not a recording that ffmpeg can read: %s",
                       v->sentence[0] ? v->sentence : "no reason given");
    if (end->wav_hollow)
        return err_set(err, ERR_CORRUPT, "the header promises sound, but none follows: the file was cut off");
    *ret_damaged = end->samples > 0 && (status != 0 || v->errors || (v->warned && !v->streamed_wav));
    return 0;
}

void verdict_tail(const struct verdict *v, char *ret, size_t size)
{
    CLEANUP(buf_clear) struct buf utf8 = BUF_INIT((size_t)4 * MAX_STDERR);
    utf8_add_clean(&utf8, v->tail, v->tail_len);
    size_t n = 0;
    for (const char *p = buf_str(&utf8); *p && n + 1 < size; p++)
        ret[n++] = ((unsigned char)*p < 0x20 && *p != '\n') || *p == 0x7F ? '?' : *p;
    ret[utf8_floor(ret, n)] = '\0';
}
