/* SPDX-License-Identifier: MIT */
/*
 * A stand-in for ffmpeg that misbehaves as its input says: the first word of descriptor 3. Built without sanitizers, so
 * that it runs in the sandbox as a real program would.
 */
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ptrace.h>
#include <sys/socket.h>
#include <unistd.h>

extern char **environ;

static const char samples[] = "0123456789";

static void put(int fd, const void *p, size_t n)
{
    const char *at = p;
    while (n > 0) {
        ssize_t k = write(fd, at, n);
        if (k <= 0)
            _exit(3);
        at += k;
        n -= (size_t)k;
    }
}

static void say(const char *text)
{
    put(STDERR_FILENO, text, strlen(text));
}

static void hang(void)
{
    for (;;)
        sleep(1000); /* pause() is not among the calls the sandbox allows */
}

static void pid_then_hang(void)
{
    int pid = getpid();
    put(STDOUT_FILENO, &pid, sizeof pid);
    hang();
}

static void close_then_hang(void)
{
    put(STDOUT_FILENO, samples, 4);
    close(STDOUT_FILENO);
    hang();
}

/* More on standard error than a pipe holds, before and between the samples. */
static void chatter(void)
{
    char line[2000];
    memset(line, 'x', sizeof line);
    memcpy(line, "[warning] ", 10);
    line[sizeof line - 1] = '\n';
    for (int i = 0; i < 500; i++) {
        put(STDERR_FILENO, line, sizeof line);
        put(STDOUT_FILENO, samples, 10);
    }
    say("[warning] the last of it\n");
}

static void odd(void)
{
    for (int i = 0; i < 9; i++) {
        put(STDOUT_FILENO, samples + i, 1);
        usleep(2000);
    }
}

static void crash(void)
{
    raise(SIGSEGV);
}

static void bad_alloc(void)
{
    say("terminate called after throwing an instance of 'std::bad_alloc'\n");
    abort();
}

static void killed(void)
{
    raise(SIGKILL);
}

static void trace(void)
{
    ptrace(PTRACE_TRACEME, 0, NULL, NULL);
}

static void loader(void)
{
    say("ffmpeg: error while loading shared libraries: libx.so.1: cannot open shared object file\n");
    exit(127);
}

static void tight(void)
{
    say("ffmpeg: error while loading shared libraries: libx.so.1: failed to map segment from shared object\n");
    exit(127);
}

static void mute_failure(void)
{
    exit(1);
}

static void torn(void)
{
    put(STDOUT_FILENO, samples, 10);
    say("[mp3 @ 0x1] [error] Header missing\n[warning] and so on");
    exit(1);
}

/* Damaged, and long at it. */
static void slow(void)
{
    static const char second[32000];
    put(STDOUT_FILENO, second, sizeof second);
    sleep(2);
    put(STDOUT_FILENO, second, sizeof second);
    say("[mp3 @ 0x1] [error] Header missing\n");
}

static void no_memory(void)
{
    put(STDOUT_FILENO, samples, 10);
    say("[fatal] Cannot allocate memory\n");
    exit(1);
}

static void terminal_codes(void)
{
    say("[error] \033[31mred\007 \xff\xfe text\n");
    exit(1);
}

static void environment(void)
{
    say("[error] ");
    for (char **e = environ; *e; e++) {
        say(*e);
        say(" ");
    }
    say("end\n");
    exit(1);
}

/* What an attacker who runs code in the decoder would try; tells how each ended. */
static void break_out(void)
{
    char text[200];
    char *argv[] = {NULL}, *envp[] = {NULL};
    int file = open("/etc/passwd", O_RDONLY) < 0 ? errno : 0;
    int wrote = open("/tmp/steno-escaped", O_WRONLY | O_CREAT, 0600) < 0 ? errno : 0;
    int sock = socket(AF_INET, SOCK_STREAM, 0) < 0 ? errno : 0;
    int forked = fork() < 0 ? errno : 0;
    int ran = execve("/bin/true", argv, envp) < 0 ? errno : 0;
    int fds = 0;
    for (int fd = 0; fd < 100; fd++)
        fds += fcntl(fd, F_GETFD) >= 0;
    snprintf(text, sizeof text, "[error] file %d write %d socket %d fork %d exec %d descriptors %d\n", file, wrote,
             sock, forked, ran, fds);
    say(text);
    exit(1);
}

static const struct {
    const char *word;
    void (*fn)(void);
} tricks[] = {
    {"hang", hang},
    {"pid", pid_then_hang},
    {"close", close_then_hang},
    {"chatter", chatter},
    {"odd", odd},
    {"crash", crash},
    {"bad_alloc", bad_alloc},
    {"killed", killed},
    {"trace", trace},
    {"loader", loader},
    {"tight", tight},
    {"mute", mute_failure},
    {"torn", torn},
    {"slow", slow},
    {"no_memory", no_memory},
    {"codes", terminal_codes},
    {"environment", environment},
    {"break_out", break_out},
};

int main(int argc, char **argv)
{
    char word[32] = "";
    int fd = open("/proc/self/fd/3", O_RDONLY);
    ssize_t n = fd < 0 ? -1 : read(fd, word, sizeof word - 1);
    close(fd);
    if (n < 0) {
        say("[error] the input cannot be opened\n");
        return 4;
    }
    if (strcmp(word, "arguments") == 0) {
        say("[error]");
        for (int i = 1; i < argc; i++) {
            say(" ");
            say(strlen(argv[i]) < 30 ? argv[i] : "...");
        }
        return 1;
    }
    for (size_t i = 0; i < sizeof tricks / sizeof *tricks; i++)
        if (strcmp(word, tricks[i].word) == 0) {
            tricks[i].fn();
            return 0;
        }
    return 5;
}
