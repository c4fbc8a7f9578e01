/* SPDX-License-Identifier: MIT */
/*
 * From this program to a caged ffmpeg: find it, tie its life to the parent's, close the sandbox, exec.
 *
 * Standard output is the PCM pipe, standard error the parent's ear, descriptor 3 the recording. ffmpeg opens it again
 * as /proc/self/fd/3: a pipe would do for most formats, but an m4a with its index at the end needs to seek, and gives
 * nothing (and exit status 0) when it cannot.
 */
#include "audio/decode.h"

#include "audio/decode_internal.h"
#include "audio/sandbox.h"
#include "base/mem.h"
#include "base/str.h"

#include <elf.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <unistd.h>

#if __BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__
#define PCM_CODEC  "pcm_s16le"
#define PCM_FORMAT "s16le"
#else
#define PCM_CODEC  "pcm_s16be"
#define PCM_FORMAT "s16be"
#endif

/* Where shared libraries live. Not /usr or /etc as a whole: there may be secrets below. */
static const char *const library_paths[] = {
    "/usr/lib",  "/usr/lib64",   "/usr/lib32",        "/usr/libx32",       "/usr/local/lib",
    "/lib",      "/lib64",       "/etc/ld.so.cache",  "/etc/alternatives", "/sys/devices/system",
    "/dev/null", "/dev/urandom", "/proc/filesystems",
};

/*
 * Containers with sound in them. Never the formats that name other files or hosts (hls, dash, concat, sdp, rtsp,
 * image sequences), draw text or pictures, or read raw data of unknown shape.
 */
static const char formats[] = "wav,w64,mp3,flac,ogg,mov,mp4,m4a,3gp,3g2,matroska,webm,aac,loas,aiff,au,caf,asf,amr,"
                              "amrnb,amrwb,ac3,eac3,avi,mpeg,mpegts,flv,wv,ape,tta,tak,dts,voc,nistsphere";

/* clang-format off */
static const char *const args_before[] = {
    "ffmpeg", "-nostdin", "-hide_banner", "-loglevel", "level+warning", "-filter_threads", "1",
    "-threads", "1", "-protocol_whitelist", "file", "-format_whitelist", formats, NULL,
};
static const char *const args_repair[] = {
    "-err_detect", "ignore_err", "-fflags", "+genpts+discardcorrupt+igndts", "-max_error_rate", "1",
    "-probesize", "50M", "-analyzeduration", "50M", NULL,
};
static const char *const args_after[] = {
    "-i", "file:/proc/self/fd/3", "-map", "0:a:0", "-vn", "-sn", "-dn", "-threads", "1", "-ac", "1", "-ar", "16000",
    "-c:a", PCM_CODEC, "-f", PCM_FORMAT, "pipe:1", NULL,
};
/* clang-format on */

/* Allocates nothing: memory is limited by now. */
static int fail(int status, const char *sentence)
{
    char line[256];
    int n = snprintf(line, sizeof line, "%s\n", sentence);
    ssize_t wrote = write(STDERR_FILENO, line, (size_t)MIN(n, (int)sizeof line - 1));
    (void)wrote; /* nobody listens: the status alone must do */
    return status;
}

/* The absolute path of a program, through PATH unless it has a slash. */
static bool find_program(const char *name, char ret[PATH_MAX])
{
    if (strchr(name, '/'))
        return realpath(name, ret) && access(ret, X_OK) == 0;
    const char *path = getenv("PATH");
    for (const char *p = path ? path : "/usr/local/bin:/usr/bin:/bin"; *p;) {
        size_t n = strcspn(p, ":");
        CLEANUP(free_p) char *full = xasprintf("%.*s/%s", (int)n, p, name);
        if (n > 0 && access(full, X_OK) == 0 && realpath(full, ret))
            return true;
        p += n + (p[n] == ':');
    }
    return false;
}

/* The dynamic loader named in an ELF program of this machine's kind: the kernel executes it too. */
static bool find_loader(const char *program, char ret[PATH_MAX])
{
    CLEANUP(close_fd) int fd = open(program, O_RDONLY | O_CLOEXEC);
    Elf64_Ehdr head;
    if (fd < 0 || pread(fd, &head, sizeof head, 0) != sizeof head || memcmp(head.e_ident, ELFMAG, SELFMAG) != 0 ||
        head.e_ident[EI_CLASS] != ELFCLASS64 || head.e_phentsize != sizeof(Elf64_Phdr))
        return false;
    for (unsigned i = 0; i < head.e_phnum; i++) {
        Elf64_Phdr ph;
        if (pread(fd, &ph, sizeof ph, (off_t)(head.e_phoff + i * sizeof ph)) != sizeof ph)
            return false;
        if (ph.p_type != PT_INTERP)
            continue;
        if (ph.p_filesz < 2 || ph.p_filesz >= PATH_MAX ||
            pread(fd, ret, ph.p_filesz, (off_t)ph.p_offset) != (ssize_t)ph.p_filesz)
            return false;
        ret[ph.p_filesz] = '\0';
        return true;
    }
    return false;
}

/* For a program outside the system's folders: PREFIX/lib beside PREFIX/bin. NULL when there is no such pair. */
static char *find_own_libraries(const char *program)
{
    size_t n = (size_t)(strrchr(program, '/') - program);
    if (n < 4 || memcmp(program + n - 4, "/bin", 4) != 0)
        return NULL;
    return xasprintf("%.*s/lib", (int)(n - 4), program);
}

static int enter(enum sandbox_mode mode, const char *program, int64_t memory, struct err *err)
{
    char loader[PATH_MAX];
    CLEANUP(free_p) char *own = find_own_libraries(program);
    const char *reads[ARRAY_LEN(library_paths) + 2] = {0};
    const char *execs[3] = {program, find_loader(program, loader) ? loader : NULL, NULL};
    memcpy(reads, library_paths, sizeof library_paths);
    reads[ARRAY_LEN(library_paths)] = own;
    struct sandbox s = {.read_paths = reads, .exec_paths = execs, .read_fd = INPUT_FD, .memory_bytes = memory};
    switch (mode) {
    case SANDBOX_AUTO:
        return sandbox_enter(&s, false, err);
    case SANDBOX_REQUIRE:
        return sandbox_enter(&s, true, err);
    case SANDBOX_OFF:
        return sandbox_limit(&s, err);
    }
    return err_set(err, ERR_INTERNAL, "no such sandbox mode: %d", (int)mode);
}

static size_t add_args(const char **argv, size_t n, const char *const *more)
{
    while (*more)
        argv[n++] = *more++;
    return n;
}

/* Returns only when it failed, with errno. */
static void become(const char *program, bool repair)
{
    const char *argv[ARRAY_LEN(args_before) + ARRAY_LEN(args_repair) + ARRAY_LEN(args_after)] = {0};
    size_t n = add_args(argv, 0, args_before);
    if (repair)
        n = add_args(argv, n, args_repair);
    add_args(argv, n, args_after);
    static const char *const envp[] = {"PATH=/usr/bin:/bin", NULL};
    /* The call itself: coverage builds wrap execve to write files, which would fail loudly here. */
    syscall(SYS_execve, program, argv, envp);
}

int decode_child_main(int argc, char **argv)
{
    int64_t parent, mode, memory, repair;
    if (argc != ARG_COUNT || !str_to_i64(argv[ARG_PARENT], &parent) || !str_to_i64(argv[ARG_SANDBOX], &mode) ||
        !str_to_i64(argv[ARG_MEMORY], &memory) || !str_to_i64(argv[ARG_REPAIR], &repair))
        return fail(CHILD_NO_SANDBOX, "__decode is started by this program only");
    /* Dies with the thread that started us; which may have ended before this line. */
    if (prctl(PR_SET_PDEATHSIG, SIGKILL, 0, 0, 0) < 0 || getppid() != parent)
        return fail(CHILD_NO_SANDBOX, "the parent is gone");
    char program[PATH_MAX];
    if (!find_program(argv[ARG_FFMPEG], program))
        return fail(CHILD_NO_FFMPEG, "");

    struct err err = ERR_INIT;
    int rc = enter((enum sandbox_mode)mode, program, memory, &err);
    if (rc == 0)
        become(program, repair != 0);
    /* Not through exit: handlers of sanitizers and the like want calls the sandbox forbids. */
    _exit(rc < 0 ? fail(CHILD_NO_SANDBOX, err.msg) : fail(CHILD_CANNOT_RUN, strerrordesc_np(errno)));
}
