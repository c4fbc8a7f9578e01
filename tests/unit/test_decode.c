/* SPDX-License-Identifier: MIT */
/*
 * Decoding: real recordings made by flite, sox and ffmpeg (all three must be installed), damaged and hostile ones made
 * from them, and a stand-in for ffmpeg that misbehaves on order (fake_ffmpeg.c, beside this program).
 */
#include "audio/decode.h"
#include "audio/decode_internal.h"
#include "base/clock.h"
#include "base/io.h"
#include "base/mem.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

enum { S = AUDIO_RATE };

static char folder[] = "/tmp/steno-decode-XXXXXX";
static char fake[4096]; /* path of the stand-in */

/* How one decode ended. */
struct run {
    int code;
    int64_t samples;
    bool damaged;
    struct err err;
    char said[MAX_STDERR + 1];
    int16_t first[16];
};

static struct run decode_file(const char *name, const struct decode_opts *opts)
{
    char path[256];
    snprintf(path, sizeof path, "%s/%s", folder, name);
    struct run r = {0};
    struct decode *d = NULL;
    r.code = decode_open(path, opts, &d, &r.err);
    if (r.code < 0)
        return r;
    int16_t pcm[3001];
    ssize_t n;
    while ((n = decode_read(d, pcm, ARRAY_LEN(pcm), &r.err)) > 0) {
        for (ssize_t i = 0; i < n && r.samples + i < (int64_t)ARRAY_LEN(r.first); i++)
            r.first[r.samples + i] = pcm[i];
        r.samples += n;
    }
    r.code = (int)n;
    struct err again = ERR_INIT;
    assert_int_equal(decode_read(d, pcm, 1, &again), n); /* the end is the end */
    assert_string_equal(again.msg, r.err.msg);
    r.damaged = decode_damaged(d);
    snprintf(r.said, sizeof r.said, "%s", decode_stderr(d));
    decode_close(d);
    return r;
}

static void make(const char *name, const void *p, size_t n)
{
    char path[256];
    snprintf(path, sizeof path, "%s/%s", folder, name);
    int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC, 0600);
    assert_true(fd >= 0);
    struct err e = ERR_INIT;
    assert_int_equal(io_write_all(fd, p, n, &e), 0);
    close(fd);
}

static const struct decode_opts strict = {.sandbox = SANDBOX_REQUIRE, .time_ms = 120000};

static struct run trick(const char *word)
{
    struct decode_opts o = strict;
    o.ffmpeg = fake;
    make("trick", word, strlen(word));
    return decode_file("trick", &o);
}

/* Runs a shell command in the folder; `ff` there is a quiet ffmpeg. */
static void shell(const char *fmt, ...) PRINTF_LIKE(1, 2);
static void shell(const char *fmt, ...)
{
    static char cmd[8192];
    int n = snprintf(cmd, sizeof cmd, "set -e; cd %s; ff() { ffmpeg -nostdin -loglevel error -y \"$@\"; }; ", folder);
    va_list ap;
    va_start(ap, fmt);
    vsnprintf(cmd + n, sizeof cmd - (size_t)n, fmt, ap);
    va_end(ap);
    if (system(cmd) != 0)
        fail_msg("this failed: %s", cmd);
}

static void test_every_format(void **state)
{
    (void)state;
    static const struct {
        const char *name, *how;
    } formats[] = {
        {"s16.wav", "cp speech.wav s16.wav"},
        {"s24.wav", "ff -i speech.wav -c:a pcm_s24le s24.wav"},
        {"f32.wav", "ff -i speech.wav -c:a pcm_f32le f32.wav"},
        {"mulaw.wav", "ff -i speech.wav -c:a pcm_mulaw mulaw.wav"},
        {"8k.wav", "sox speech.wav -r 8000 8k.wav"},
        {"96k.wav", "sox speech.wav -r 96000 96k.wav"},
        {"stereo.wav", "sox speech.wav -c 2 stereo.wav"},
        {"5.1.wav", "ff -i speech.wav -af 'pan=5.1|c0=c0|c1=c0|c2=c0|c3=c0|c4=c0|c5=c0' 5.1.wav"},
        {"a.mp3", "ff -i speech.wav a.mp3"},
        {"a.flac", "ff -i speech.wav a.flac"},
        {"a.ogg", "ff -i speech.wav -c:a libvorbis a.ogg"},
        {"a.opus", "ff -i speech.wav -c:a libopus a.opus"},
        {"a.m4a", "ff -i speech.wav -c:a aac a.m4a"},
        {"a.aac", "ff -i speech.wav -c:a aac a.aac"},
        {"a.mp4", "ff -f lavfi -i testsrc=d=6:s=160x120 -i speech.wav -map 0:v -map 1:a -c:a aac a.mp4"},
        {"a.webm", "ff -i speech.wav -c:a libopus a.webm"},
        {"v.webm", "ff -f lavfi -i testsrc=d=6:s=160x120 -i speech.wav -c:v libvpx -c:a libvorbis v.webm"},
        {"a.mkv", "ff -i speech.wav -c:a flac a.mkv"},
        {"a.aiff", "ff -i speech.wav a.aiff"},
        {"a.au", "ff -i speech.wav a.au"},
        {"a.caf", "ff -i speech.wav a.caf"},
        {"a.wma", "ff -i speech.wav a.wma"},
        {"a.ac3", "ff -i speech.wav a.ac3"},
        {"a.avi", "ff -i speech.wav a.avi"},
        {"a.ts", "ff -i speech.wav a.ts"},
        {"a.mpg", "ff -i speech.wav a.mpg"},
        {"a.w64", "ff -i speech.wav a.w64"},
        {"streamed.wav", "ff -i speech.wav -f wav - | cat > streamed.wav"},
        {"misnamed.txt", "cp a.mp3 misnamed.txt"},
        {"-i http:x.mp3", "cp a.mp3 './-i http:x.mp3'"},
    };
    struct run whole = decode_file("speech.wav", &strict);
    assert_int_equal(whole.code, 0);
    assert_true(whole.samples > 2 * S);
    for (size_t i = 0; i < ARRAY_LEN(formats); i++) {
        shell("%s", formats[i].how);
        struct run r = decode_file(formats[i].name, &strict);
        if (r.code < 0 || r.damaged)
            fail_msg("%s: %s%s\n%s", formats[i].name, r.err.msg, r.damaged ? "damaged" : "", r.said);
        /* Lossy formats pad to whole frames: at most 0.2 s. */
        if (r.samples < whole.samples - S / 20 || r.samples > whole.samples + S / 5)
            fail_msg("%s: %lld samples, not about %lld", formats[i].name, (long long)r.samples,
                     (long long)whole.samples);
    }
}

static void test_samples_come_out_as_they_are(void **state)
{
    (void)state;
    static const unsigned char wav[] = {'R', 'I', 'F', 'F',  44, 0,    0,    0,    'W',  'A',  'V',  'E',  'f',
                                        'm', 't', ' ', 16,   0,  0,    0,    1,    0,    1,    0,    0x80, 0x3E,
                                        0,   0,   0,   0x7D, 0,  0,    2,    0,    16,   0,    'd',  'a',  't',
                                        'a', 8,   0,   0,    0,  0x01, 0x00, 0xFF, 0xFF, 0x34, 0x12, 0x00, 0x80};
    make("four.wav", wav, sizeof wav);
    struct run r = decode_file("four.wav", &strict);
    assert_int_equal(r.code, 0);
    assert_int_equal(r.samples, 4);
    static const int16_t want[] = {1, -1, 0x1234, -32768};
    assert_memory_equal(r.first, want, sizeof want);
    assert_false(r.damaged);
}

static void test_damaged_and_hostile_files(void **state)
{
    (void)state;
    shell("cut() { head -c $(($(stat -c %%s $1) * 6 / 10)) $1 > $2; };"
          "for f in mp3 flac m4a aac ogg; do ff -i speech.wav whole.$f; cut whole.$f cut.$f; done;"
          "cut speech.wav cut.wav; head -c 44 speech.wav > header.wav; head -c 30 speech.wav > half.wav;"
          "ff -i speech.wav -movflags +faststart fast.m4a; cut fast.m4a cutfast.m4a;"
          "ff -f lavfi -i testsrc=d=1:s=160x120 mute.mp4; ff -f lavfi -i testsrc=d=1:s=160x120 -c:v libvpx mute.webm;"
          "sox -n -r 16000 -c 1 -b 16 zero.wav trim 0 0; ff -i speech.wav -af atrim=end_sample=1 one.wav;"
          "yes 'this is plain text' | head -3000 > text.mp3; : > empty.mp3;"
          "head -c 50000 speech.wav | tail -c 40000 > raw.mp3;"
          "printf '#EXTM3U\\n#EXT-X-TARGETDURATION:9\\n#EXTINF:9,\\n%s/whole.mp3\\n' > hls.mp3;"
          "printf '#EXTM3U\\n#EXT-X-TARGETDURATION:9\\n#EXTINF:9,\\nhttp://127.0.0.1:9/a.ts\\n' > http.mp3;"
          "printf \"ffconcat version 1.0\\nfile '%s/whole.mp3'\\n\" > concat.mp3;"
          "printf 'v=0\\no=- 0 0 IN IP4 127.0.0.1\\nc=IN IP4 127.0.0.1\\nm=audio 9 RTP/AVP 0\\n' > sdp.mp3;"
          "printf 'P6 4 4 255 ' > picture.mp3; head -c 48 speech.wav >> picture.mp3;"
          "ff -f lavfi -i color=d=0.04:s=64x64 picture.png; ff -i speech.wav -f mulaw raw.ul",
          folder, folder);
    /* min: at least so many samples. */
    static const struct {
        const char *name;
        int code;
        int64_t min;
        bool damaged;
        const char *sentence;
    } cases[] = {
        {"cut.mp3", 0, S, true, ""},
        {"cut.flac", 0, S, true, ""},
        {"cut.aac", 0, S, true, ""},
        {"cut.wav", 0, S, true, ""},
        {"cutfast.m4a", 0, S, true, ""},
        {"cut.ogg", 0, S, false, ""}, /* pages end cleanly: nothing shows that some are missing */
        {"cut.m4a", ERR_CORRUPT, 0, false, "moov atom not found"},
        {"header.wav", ERR_CORRUPT, 0, false, "header promises sound"},
        {"half.wav", ERR_CORRUPT, 0, false, "not a recording"},
        {"text.mp3", ERR_CORRUPT, 0, false, "not a recording"},
        {"empty.mp3", ERR_CORRUPT, 0, false, "the file is empty"},
        {"raw.ul", ERR_CORRUPT, 0, false, "not a recording"},
        {"mute.mp4", ERR_UNSUPPORTED, 0, false, "no audio stream"},
        {"mute.webm", ERR_UNSUPPORTED, 0, false, "no audio stream"},
        {"hls.mp3", ERR_UNSUPPORTED, 0, false, "not accepted"},
        {"http.mp3", ERR_UNSUPPORTED, 0, false, "not accepted"},
        {"concat.mp3", ERR_UNSUPPORTED, 0, false, "not accepted"},
        {"sdp.mp3", ERR_UNSUPPORTED, 0, false, "not accepted"},
        {"picture.png", ERR_UNSUPPORTED, 0, false, "not accepted"},
        {"zero.wav", 0, 0, false, ""},
        {"one.wav", 0, 1, false, ""},
    };
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        struct run r = decode_file(cases[i].name, &strict);
        if (r.code != cases[i].code || r.damaged != cases[i].damaged || r.samples < cases[i].min ||
            (cases[i].min <= 1 && r.samples != cases[i].min) || !strstr(r.err.msg, cases[i].sentence))
            fail_msg("%s: %s '%s', %lld samples, %s\n%s", cases[i].name, err_name(r.code), r.err.msg,
                     (long long)r.samples, r.damaged ? "damaged" : "not damaged", r.said);
        assert_null(strstr(r.err.msg, "0x")); /* no addresses: the same file gives the same sentence */
        assert_null(strstr(r.err.msg, "/proc/"));
    }
}

static void test_repair_reads_what_it_can(void **state)
{
    (void)state;
    /* Noise over a part in the middle. */
    shell("ff -i speech.wav broken.mp3; n=$(stat -c %%s broken.mp3);"
          "head -c 3000 /dev/urandom | dd of=broken.mp3 bs=1 seek=$((n / 2)) conv=notrunc 2>/dev/null");
    struct run r = decode_file("broken.mp3", &strict);
    assert_int_equal(r.code, 0);
    assert_true(r.damaged);
    struct decode_opts o = strict;
    o.repair = true;
    struct run again = decode_file("broken.mp3", &o);
    assert_int_equal(again.code, 0);
    assert_true(again.samples > S);
    o.ffmpeg = fake;
    make("trick", "arguments", 9);
    assert_non_null(strstr(decode_file("trick", &o).said, " -err_detect ignore_err "));
    assert_null(strstr(trick("arguments").said, "ignore_err"));
    o.ffmpeg = NULL;
    struct run good = decode_file("speech.wav", &o);
    assert_int_equal(good.code, 0);
    assert_int_equal(good.samples, decode_file("speech.wav", &strict).samples);
}

static void test_only_regular_files(void **state)
{
    (void)state;
    shell("mkfifo fifo; mkdir dir");
    static const struct {
        const char *name;
        int code;
    } cases[] = {
        {"fifo", ERR_INVALID}, {"dir", ERR_INVALID}, {"nothing", ERR_NOT_FOUND}, {"../../dev/zero", ERR_INVALID}};
    for (size_t i = 0; i < ARRAY_LEN(cases); i++)
        assert_int_equal(decode_file(cases[i].name, &strict).code, cases[i].code);
}

static void test_a_missing_ffmpeg_says_what_to_do(void **state)
{
    (void)state;
    static const struct {
        const char *ffmpeg, *sentence;
    } cases[] = {
        {"no-such-ffmpeg", "apt-get install ffmpeg"},
        {"/no/such/ffmpeg", "ffmpeg=PATH"},
        {"/etc/passwd", "ffmpeg=PATH"}, /* not executable */
    };
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        struct decode_opts o = strict;
        o.ffmpeg = cases[i].ffmpeg;
        struct run r = decode_file("speech.wav", &o);
        assert_int_equal(r.code, ERR_UNAVAILABLE);
        assert_non_null(strstr(r.err.msg, cases[i].sentence));
    }
    shell("printf '#!/bin/sh\\nexit 0\\n' > script; chmod +x script");
    char script[64];
    snprintf(script, sizeof script, "%s/script", folder);
    struct decode_opts o = strict;
    o.ffmpeg = script;
    struct run r = decode_file("speech.wav", &o);
    assert_int_equal(r.code, ERR_UNAVAILABLE);
    assert_non_null(strstr(r.err.msg, "not a script"));
}

static void test_without_a_sandbox_it_decodes_too(void **state)
{
    (void)state;
    for (enum sandbox_mode m = SANDBOX_AUTO; m <= SANDBOX_OFF; m++) {
        struct run r = decode_file("speech.wav", &(struct decode_opts){.sandbox = m, .ffmpeg = "/usr/bin/ffmpeg"});
        assert_int_equal(r.code, 0);
        assert_true(r.samples > 2 * S);
    }
}

static void test_how_a_child_may_end(void **state)
{
    (void)state;
    static const struct {
        const char *word;
        int code;
        int64_t samples;
        bool damaged;
        const char *sentence;
    } cases[] = {
        {"crash", ERR_CRASHED, 0, false, "crashed on this file (signal 11"},
        {"bad_alloc", ERR_NOMEM, 0, false, "more memory"},
        {"killed", ERR_NOMEM, 0, false, "killed from outside"},
        {"trace", ERR_CORRUPT, 0, false, "forbidden"},
        {"loader", ERR_UNAVAILABLE, 0, false, "ffmpeg cannot start: ffmpeg: error while loading"},
        {"tight", ERR_NOMEM, 0, false, "does not fit"},
        {"mute", ERR_CORRUPT, 0, false, "no reason given"},
        {"torn", 0, 5, true, ""},
        {"no_memory", ERR_NOMEM, 5, false, "more memory"},
        {"codes", ERR_CORRUPT, 0, false, "\\x1b[31mred\\x07 \xEF\xBF\xBD\xEF\xBF\xBD text"},
        {"environment", ERR_CORRUPT, 0, false, ": PATH=/usr/bin:/bin end"},
        {"odd", 0, 4, false, ""},
        {"chatter", 0, 2500, false, ""},
        {"unknown", ERR_CORRUPT, 0, false, ""},
    };
    setenv("STENO_SECRET", "hidden", 1);
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        struct run r = trick(cases[i].word);
        if (r.code != cases[i].code || r.samples != cases[i].samples || r.damaged != cases[i].damaged ||
            !strstr(r.err.msg, cases[i].sentence))
            fail_msg("%s: %s '%s', %lld samples, %s", cases[i].word, err_name(r.code), r.err.msg, (long long)r.samples,
                     r.damaged ? "damaged" : "not damaged");
        if (r.samples > 0)
            assert_memory_equal(r.first, "01234567", 8);
    }
    struct run r = trick("chatter");
    assert_true(strlen(r.said) <= MAX_STDERR);
    assert_non_null(strstr(r.said, "the last of it"));
    assert_null(strchr(trick("codes").said, '\033'));
}

static void test_the_child_is_caged(void **state)
{
    (void)state;
    char want[128];
    snprintf(want, sizeof want, "file %d write %d socket %d fork %d exec %d descriptors 4", EACCES, ENOSYS, EPERM,
             ENOSYS, EACCES);
    int secret = open("/etc/passwd", O_RDONLY); /* not close-on-exec, and yet the child must not have it */
    struct run r = trick("break_out");
    close(secret);
    assert_int_equal(r.code, ERR_CORRUPT);
    if (!strstr(r.err.msg, want))
        fail_msg("'%s', expected '%s'", r.err.msg, want);
}

static void test_the_clock_runs_out(void **state)
{
    (void)state;
    static const char *const words[] = {"hang", "close"};
    for (size_t i = 0; i < ARRAY_LEN(words); i++) {
        make("trick", words[i], strlen(words[i]));
        struct decode_opts o = {.sandbox = SANDBOX_REQUIRE, .ffmpeg = fake, .time_ms = 300};
        int64_t before = clock_mono_ms();
        struct run r = decode_file("trick", &o);
        assert_int_equal(r.code, ERR_TIMEOUT);
        assert_true(clock_mono_ms() - before >= 300);
    }
}

static void *cancel_soon(void *arg)
{
    clock_sleep_ms(100);
    cancel_set(arg);
    return NULL;
}

static void test_cancel_is_seen_while_waiting(void **state)
{
    (void)state;
    static const char *const words[] = {"hang", "close"};
    for (size_t i = 0; i < ARRAY_LEN(words); i++) {
        struct cancel outer = {0}, inner = {.also = &outer};
        struct decode_opts o = {.sandbox = SANDBOX_REQUIRE, .ffmpeg = fake, .cancel = &inner};
        make("trick", words[i], strlen(words[i]));
        pthread_t t;
        assert_int_equal(pthread_create(&t, NULL, cancel_soon, &outer), 0);
        int64_t before = clock_mono_ms();
        struct run r = decode_file("trick", &o); /* would wait for ever */
        pthread_join(t, NULL);
        assert_int_equal(r.code, ERR_CANCELLED);
        /* Within a second of the request; the rest is room for a busy machine. */
        assert_true(clock_mono_ms() - before < 10000);
    }
}

/* A child that is stopped, as by a machine that has no time for it, or that waits for ever. */
static void test_a_silent_child_is_killed(void **state)
{
    (void)state;
    struct cancel cancel = {0};
    const struct {
        struct decode_opts opts;
        int code;
        const char *sentence;
    } ways[] = {
        {{.stall_ms = 300, .time_ms = 600000}, ERR_TIMEOUT, "decode_stall_limit"},
        {{.stall_ms = 600000, .time_ms = 300}, ERR_TIMEOUT, "decode_time_limit"},
        {{.stall_ms = 600000, .time_ms = 600000, .cancel = &cancel}, ERR_CANCELLED, "cancelled"},
    };
    for (size_t i = 0; i < ARRAY_LEN(ways); i++) {
        struct decode_opts o = ways[i].opts;
        struct decode *d = NULL;
        struct err e = ERR_INIT;
        int32_t pid = 0;
        char path[64];
        o.sandbox = SANDBOX_REQUIRE;
        o.ffmpeg = fake;
        make("trick", "pid", 3);
        snprintf(path, sizeof path, "%s/trick", folder);
        assert_int_equal(decode_open(path, &o, &d, &e), 0);
        assert_int_equal(decode_read(d, (int16_t *)&pid, 2, &e), 2);
        assert_int_equal(kill(pid, SIGSTOP), 0);
        if (o.cancel)
            cancel_set(&cancel);
        int16_t sound[4];
        assert_int_equal(decode_read(d, sound, ARRAY_LEN(sound), &e), ways[i].code);
        assert_non_null(strstr(e.msg, ways[i].sentence));
        decode_close(d);
        assert_int_equal(kill(pid, 0), -1);
        assert_int_equal(errno, ESRCH);
    }
    /* One that holds its end open and never ends is no better. */
    make("trick", "close", 5);
    struct run r = decode_file("trick", &(struct decode_opts){.ffmpeg = fake, .stall_ms = 300, .time_ms = 600000});
    assert_int_equal(r.code, ERR_TIMEOUT);
    assert_non_null(strstr(r.err.msg, "decode_stall_limit"));
}

/* The time that passes between two reads is the reader's. */
static void test_a_slow_reader_is_no_stall(void **state)
{
    (void)state;
    struct decode_opts o = {.ffmpeg = fake, .stall_ms = 2000, .time_ms = 600000};
    struct decode *d = NULL;
    struct err e = ERR_INIT;
    char path[64];
    int16_t sound[1];
    make("trick", "odd", 3);
    snprintf(path, sizeof path, "%s/trick", folder);
    assert_int_equal(decode_open(path, &o, &d, &e), 0);
    assert_int_equal(decode_read(d, sound, 1, &e), 1);
    clock_sleep_ms(o.stall_ms + 100);
    for (int i = 1; i < 4; i++)
        assert_int_equal(decode_read(d, sound, 1, &e), 1);
    assert_int_equal(decode_read(d, sound, 1, &e), 0);
    decode_close(d);
}

/* What counts is the sound that comes, whatever the header says. */
static void test_the_longest_recording(void **state)
{
    (void)state;
    struct run whole = decode_file("speech.wav", &strict);
    assert_true(whole.samples > 2 * S);
    struct decode_opts o = strict;
    o.max_samples = whole.samples;
    struct run r = decode_file("speech.wav", &o);
    assert_int_equal(r.code, 0);
    assert_int_equal(r.samples, whole.samples);
    o.max_samples = whole.samples - 1;
    r = decode_file("speech.wav", &o);
    assert_int_equal(r.code, ERR_TOO_LARGE);
    assert_non_null(strstr(r.err.msg, "max_audio_length"));
    /* Also where the header does not say how long it is, or says nonsense. */
    shell("sox -n -r 16000 -c 1 -b 16 lies.wav synth 100 sine 300; ff -i lies.wav lies.flac;"
          "ff -i lies.wav -f mp3 -write_xing 0 lies.mp3; ff -i lies.wav -f wav - | cat > streamed.wav");
    o.max_samples = 10 * S;
    static const char *const files[] = {"lies.wav", "lies.flac", "lies.mp3", "streamed.wav"};
    for (size_t i = 0; i < ARRAY_LEN(files); i++) {
        r = decode_file(files[i], &o);
        assert_int_equal(r.code, ERR_TOO_LARGE);
        assert_true(r.samples <= o.max_samples);
    }
}

static void test_closing_early_kills_the_child(void **state)
{
    (void)state;
    make("trick", "pid", 3);
    char path[64];
    snprintf(path, sizeof path, "%s/trick", folder);
    struct decode_opts o = {.sandbox = SANDBOX_REQUIRE, .ffmpeg = fake};
    struct decode *d = NULL;
    struct err e = ERR_INIT;
    int32_t pid = 0;
    assert_int_equal(decode_open(path, &o, &d, &e), 0);
    assert_int_equal(decode_read(d, (int16_t *)&pid, 2, &e), 2);
    assert_int_equal(kill(pid, 0), 0);
    decode_close(d);
    assert_int_equal(kill(pid, 0), -1);
    assert_int_equal(errno, ESRCH);
}

static void test_the_child_dies_with_its_parent(void **state)
{
    (void)state;
    make("trick", "pid", 3);
    int fds[2];
    assert_int_equal(pipe(fds), 0);
    prctl(PR_SET_CHILD_SUBREAPER, 1);
    pid_t parent = fork();
    if (parent == 0) {
        char path[64];
        snprintf(path, sizeof path, "%s/trick", folder);
        struct decode_opts o = {.sandbox = SANDBOX_REQUIRE, .ffmpeg = fake};
        struct decode *d = NULL;
        struct err e = ERR_INIT;
        int32_t pid = 0;
        if (decode_open(path, &o, &d, &e) < 0 || decode_read(d, (int16_t *)&pid, 2, &e) != 2 ||
            write(fds[1], &pid, sizeof pid) != sizeof pid)
            _exit(1);
        for (;;)
            pause();
    }
    close(fds[1]);
    int32_t pid = 0;
    assert_int_equal(read(fds[0], &pid, sizeof pid), sizeof pid);
    close(fds[0]);
    kill(parent, SIGKILL);
    int status;
    assert_int_equal(waitpid(parent, &status, 0), parent);
    assert_int_equal(waitpid(pid, &status, 0), pid); /* ours now; would wait for ever if it lived on */
    assert_true(WIFSIGNALED(status));
    assert_int_equal(WTERMSIG(status), SIGKILL);
    prctl(PR_SET_CHILD_SUBREAPER, 0);
}

static int child_main_status(int argc, char **argv)
{
    fflush(NULL);
    pid_t pid = fork(); /* it changes what happens when its parent ends */
    if (pid == 0)
        exit(decode_child_main(argc, argv));
    int status;
    assert_int_equal(waitpid(pid, &status, 0), pid);
    assert_true(WIFEXITED(status));
    return WEXITSTATUS(status);
}

static void test_the_child_looks_at_its_arguments(void **state)
{
    (void)state;
    char a0[] = "steno", a1[] = "__decode", me[24], stranger[] = "1", zero[] = "0", word[] = "x",
         none[] = "no-such-ffmpeg";
    snprintf(me, sizeof me, "%d", (int)getpid());
    char *few[] = {a0, a1, NULL};
    char *words[] = {a0, a1, word, word, word, word, none, NULL};
    char *orphan[] = {a0, a1, stranger, zero, zero, zero, none, NULL};
    char *missing[] = {a0, a1, me, zero, zero, zero, none, NULL};
    assert_int_equal(child_main_status(2, few), CHILD_NO_SANDBOX);
    assert_int_equal(child_main_status(ARG_COUNT, words), CHILD_NO_SANDBOX);
    assert_int_equal(child_main_status(ARG_COUNT, orphan), CHILD_NO_SANDBOX);
    assert_int_equal(child_main_status(ARG_COUNT, missing), CHILD_NO_FFMPEG);
}

static int64_t resident_kb(void)
{
    FILE *f = fopen("/proc/self/status", "r");
    char line[256];
    long kb = -1;
    while (f && fgets(line, sizeof line, f))
        if (sscanf(line, "VmRSS: %ld", &kb) == 1)
            break;
    if (f)
        fclose(f);
    return kb;
}

static void test_memory_does_not_grow_with_length(void **state)
{
    (void)state;
    shell("ff -f lavfi -i sine=d=1800 -b:a 32k long.mp3");
    decode_file("speech.wav", &strict);
    int64_t before = resident_kb();
    struct run r = decode_file("long.mp3", &strict);
    assert_int_equal(r.code, 0);
    assert_true(r.samples > 1799 * (int64_t)S && r.samples < 1801 * (int64_t)S); /* 58 MB */
    assert_true(before > 0 && resident_kb() - before < 16 * 1024);
}

static void test_a_verdict_does_not_depend_on_how_lines_are_cut(void **state)
{
    (void)state;
    static const char text[] = "[mov @ 0x55] [warning] hm\n[mov @ 0x55] [error] Broken thing\r\n"
                               "[error] file:/proc/self/fd/3: Invalid data\nStream map '0:a:0' matches no streams.";
    for (size_t piece = 1; piece < sizeof text; piece++) {
        struct verdict v = {0};
        for (size_t at = 0; at < sizeof text - 1; at += piece)
            verdict_feed(&v, text + at, MIN(piece, sizeof text - 1 - at));
        struct err e = ERR_INIT;
        bool damaged = false;
        assert_int_equal(verdict_judge(&v, &(struct decode_end){.status = 1 << 8}, &damaged, &e), ERR_UNSUPPORTED);
        assert_string_equal(v.sentence, "Stream map '0:a:0' matches no streams.");
        char tail[MAX_STDERR + 1];
        verdict_tail(&v, tail, sizeof tail);
        assert_int_equal(strlen(tail), sizeof text - 1);
    }
}

static int setup(void **state)
{
    (void)state;
    if (!mkdtemp(folder))
        return -1;
    ssize_t n = readlink("/proc/self/exe", fake, sizeof fake - 32);
    if (n < 0)
        return -1;
    fake[n] = '\0';
    snprintf(strrchr(fake, '/'), 32, "/fake_ffmpeg");
    shell("flite --setf duration_stretch=1.2 -voice rms -t 'Please send the report to the manager before noon.' "
          "-o speech.wav");
    return 0;
}

static int teardown(void **state)
{
    (void)state;
    struct err e = ERR_INIT;
    return io_remove_tree(folder, &e);
}

int main(int argc, char **argv)
{
    if (argc > 1 && strcmp(argv[1], "__decode") == 0)
        return decode_child_main(argc, argv);
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_every_format),
        cmocka_unit_test(test_samples_come_out_as_they_are),
        cmocka_unit_test(test_damaged_and_hostile_files),
        cmocka_unit_test(test_repair_reads_what_it_can),
        cmocka_unit_test(test_only_regular_files),
        cmocka_unit_test(test_a_missing_ffmpeg_says_what_to_do),
        cmocka_unit_test(test_without_a_sandbox_it_decodes_too),
        cmocka_unit_test(test_how_a_child_may_end),
        cmocka_unit_test(test_the_child_is_caged),
        cmocka_unit_test(test_the_clock_runs_out),
        cmocka_unit_test(test_cancel_is_seen_while_waiting),
        cmocka_unit_test(test_a_silent_child_is_killed),
        cmocka_unit_test(test_a_slow_reader_is_no_stall),
        cmocka_unit_test(test_the_longest_recording),
        cmocka_unit_test(test_closing_early_kills_the_child),
        cmocka_unit_test(test_the_child_dies_with_its_parent),
        cmocka_unit_test(test_the_child_looks_at_its_arguments),
        cmocka_unit_test(test_memory_does_not_grow_with_length),
        cmocka_unit_test(test_a_verdict_does_not_depend_on_how_lines_are_cut),
    };
    return cmocka_run_group_tests(tests, setup, teardown);
}
