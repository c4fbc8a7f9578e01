/* SPDX-License-Identifier: MIT */
/*
 * Each row of the table enters the sandbox in a child of its own and tries one thing. Without the sandbox every
 * forbidden thing must succeed (or fail in another way), else the row would prove nothing: that is tested first.
 */
#include "audio/sandbox.h"
#include "audio/sandbox_internal.h"
#include "base/io.h"

#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <pthread.h>
#include <sched.h>
#include <seccomp.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/ptrace.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

static char folder[64], inside[96], outside[96], input[96], made[96];

/* Attempts: 0 it worked, else errno. */

static int try_open(const char *path, int flags)
{
    int fd = open(path, flags, 0600);
    if (fd < 0)
        return errno;
    close(fd);
    return 0;
}

static int read_passwd(void)
{
    return try_open("/etc/passwd", O_RDONLY);
}

static int read_other_file(void)
{
    return try_open(outside, O_RDONLY);
}

static int read_allowed_file(void)
{
    return try_open(inside, O_RDONLY);
}

static int read_input_again(void)
{
    return try_open("/proc/self/fd/3", O_RDONLY);
}

static int read_a_library(void)
{
    return try_open("/usr/lib/os-release", O_RDONLY);
}

static int read_own_memory(void)
{
    return try_open("/proc/self/mem", O_RDONLY);
}

static int list_the_root(void)
{
    return try_open("/", O_RDONLY | O_DIRECTORY);
}

static int write_allowed_file(void)
{
    return try_open(inside, O_WRONLY);
}

static int make_a_file(void)
{
    return try_open(made, O_WRONLY | O_CREAT);
}

static int remove_a_file(void)
{
    return unlink(inside) < 0 ? errno : 0;
}

static int change_a_mode(void)
{
    return chmod(inside, 0777) < 0 ? errno : 0;
}

static int rename_a_file(void)
{
    return rename(inside, made) < 0 ? errno : 0;
}

static int make_a_socket(void)
{
    return socket(AF_INET, SOCK_STREAM, 0) < 0 ? errno : 0;
}

static int make_a_socket_pair(void)
{
    int fds[2];
    return socketpair(AF_UNIX, SOCK_STREAM, 0, fds) < 0 ? errno : 0;
}

static int use_an_inherited_socket(void)
{
    struct sockaddr_in a = {.sin_family = AF_INET, .sin_port = htons(9), .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    /* Descriptor 4 was a socket before the sandbox closed. Refused by the other side is as good as connected. */
    return connect(4, (struct sockaddr *)&a, sizeof a) < 0 && errno != ECONNREFUSED ? errno : 0;
}

static int trace(void)
{
    return ptrace(PTRACE_TRACEME, 0, NULL, NULL) < 0 ? errno : 0;
}

static int new_namespace(void)
{
    /* EPERM is what an ordinary user gets: the call was looked at. */
    return unshare(CLONE_NEWUTS) < 0 && errno != EPERM ? errno : 0;
}

static int mount_something(void)
{
    return mount("none", "/nowhere", "tmpfs", 0, NULL) < 0 && errno != ENOENT && errno != EPERM ? errno : 0;
}

static int fork_a_process(void)
{
    pid_t pid = (pid_t)syscall(SYS_clone, SIGCHLD, NULL, NULL, NULL, NULL);
    if (pid == 0)
        _exit(0);
    return pid < 0 ? errno : 0;
}

static int signal_the_parent(void)
{
    return kill(getppid(), 0) < 0 ? errno : 0;
}

static int abort_itself(void)
{
    abort();
}

static int outlive_the_parent(void)
{
    return prctl(PR_SET_PDEATHSIG, 0) < 0 ? errno : 0;
}

static int exec_another(void)
{
    const char *argv[] = {"true", NULL};
    syscall(SYS_execve, "/bin/true", argv, NULL);
    return errno; /* a success never comes here: its exit status is 0 */
}

static int allocate_much(void)
{
    return mmap(NULL, (size_t)2 << 30, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0) == MAP_FAILED ? errno : 0;
}

static int raise_a_limit(void)
{
    return setrlimit(RLIMIT_FSIZE, &(struct rlimit){1 << 20, 1 << 20}) < 0 ? errno : 0;
}

static int lower_a_limit(void)
{
    return setrlimit(RLIMIT_NOFILE, &(struct rlimit){20, 20}) < 0 ? errno : 0;
}

static int write_to_a_pipe(void)
{
    int fds[2];
    return pipe(fds) < 0 || write(fds[1], "x", 1) != 1 ? errno : 0;
}

static int write_to_a_file_it_was_given(void)
{
    return write(5, "x", 1) != 1 ? errno : 0;
}

static int open_many_files(void)
{
    for (int i = 0; i < 200; i++)
        if (dup(3) < 0)
            return errno;
    return 0;
}

enum { KILLED = 1000 };

enum layer { NONE, FILES, CALLS, BOTH };

/* `free` is the answer without a sandbox, the others with one layer alone and with both. */
static const struct attempt {
    const char *what;
    int (*fn)(void);
    int free, files, calls, both;
} attempts[] = {
    {"read /etc/passwd", read_passwd, 0, EACCES, 0, EACCES},
    {"read another file", read_other_file, 0, EACCES, 0, EACCES},
    {"read the allowed file", read_allowed_file, 0, 0, 0, 0},
    {"open the input again", read_input_again, 0, 0, 0, 0},
    {"read below an allowed folder", read_a_library, 0, 0, 0, 0},
    {"read its own memory by file", read_own_memory, 0, EACCES, 0, EACCES},
    {"list the root folder", list_the_root, 0, EACCES, 0, EACCES},
    {"write the allowed file", write_allowed_file, 0, EACCES, ENOSYS, ENOSYS},
    {"make a file", make_a_file, 0, EACCES, ENOSYS, ENOSYS},
    {"remove a file", remove_a_file, 0, EACCES, ENOSYS, ENOSYS},
    {"rename a file", rename_a_file, 0, EACCES, ENOSYS, ENOSYS},
    {"change a mode", change_a_mode, 0, 0, ENOSYS, ENOSYS},
    {"make a socket", make_a_socket, 0, 0, EPERM, EPERM},
    {"make a socket pair", make_a_socket_pair, 0, 0, EPERM, EPERM},
    {"connect a socket it was given", use_an_inherited_socket, 0, -1, KILLED + SIGSYS, KILLED + SIGSYS},
    {"trace", trace, 0, 0, KILLED + SIGSYS, KILLED + SIGSYS},
    {"make a namespace", new_namespace, 0, 0, KILLED + SIGSYS, KILLED + SIGSYS},
    {"mount", mount_something, 0, 0, KILLED + SIGSYS, KILLED + SIGSYS},
    {"fork", fork_a_process, 0, 0, ENOSYS, ENOSYS},
    {"signal the parent", signal_the_parent, 0, -1, EPERM, EPERM},
    {"abort itself", abort_itself, KILLED + SIGABRT, KILLED + SIGABRT, KILLED + SIGABRT, KILLED + SIGABRT},
    {"outlive the parent", outlive_the_parent, 0, 0, ENOSYS, ENOSYS},
    {"exec another program", exec_another, 0, EACCES, 0, EACCES},
    {"allocate 2 GB", allocate_much, 0, 0, 0, ENOMEM},
    {"raise a limit", raise_a_limit, 0, 0, 0, EPERM},
    {"lower a limit", lower_a_limit, 0, 0, 0, 0},
    {"write to a file it was given", write_to_a_file_it_was_given, 0, 0, 0, KILLED + SIGXFSZ},
    {"open many files", open_many_files, 0, 0, 0, EMFILE},
    {"write to a pipe", write_to_a_pipe, 0, 0, 0, 0},
};

static const char *const read_paths[] = {"/usr/lib", inside, "/not/there", NULL};

static int enter(enum layer layer, struct err *err)
{
    /* Sanitizers have mapped terabytes already: the limit only stops what comes after. */
    struct sandbox s = {.read_paths = read_paths, .read_fd = 3, .memory_bytes = 1 << 30, .cpu_seconds = 60};
    switch (layer) {
    case NONE:
        return 0;
    case FILES:
        prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0);
        return sandbox_files_enter(&s, sandbox_files_abi(), err);
    case CALLS:
        prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0);
        return sandbox_calls_enter(err);
    case BOTH:
        return sandbox_enter(&s, true, err);
    }
    return -1;
}

enum { ENTERING_FAILED = 250 };

static int outcome(const struct attempt *a, enum layer layer)
{
    fflush(NULL);
    pid_t pid = fork();
    if (pid == 0) {
        signal(SIGABRT, SIG_DFL);
        setrlimit(RLIMIT_CORE, &(struct rlimit){0, 0});
        struct err err = ERR_INIT;
        int in = open(input, O_RDONLY), sock = socket(AF_INET, SOCK_STREAM, 0);
        int out = open(outside, O_WRONLY);
        dup2(sock, 61);
        dup2(in, 62);
        dup2(out, 63);
        dup2(62, 3);
        dup2(61, 4);
        dup2(63, 5);
        _exit(enter(layer, &err) < 0 ? ENTERING_FAILED : a->fn());
    }
    int status;
    assert_int_equal(waitpid(pid, &status, 0), pid);
    return WIFSIGNALED(status) ? KILLED + WTERMSIG(status) : WEXITSTATUS(status);
}

static void make_files(void)
{
    unlink(made);
    close(open(inside, O_WRONLY | O_CREAT, 0600));
    close(open(outside, O_WRONLY | O_CREAT, 0600));
    close(open(input, O_WRONLY | O_CREAT, 0600));
}

static void run_layer(enum layer layer, size_t answer)
{
    for (size_t i = 0; i < ARRAY_LEN(attempts); i++) {
        const struct attempt *a = &attempts[i];
        int want = *(const int *)((const char *)a + answer);
        make_files();
        int got = outcome(a, layer);
        if (want >= 0 && got != want)
            fail_msg("%s: %d, expected %d", a->what, got, want);
    }
}

static void test_without_a_sandbox_all_of_it_works(void **state)
{
    (void)state;
    run_layer(NONE, offsetof(struct attempt, free));
}

static void test_landlock_alone_closes_files(void **state)
{
    (void)state;
    run_layer(FILES, offsetof(struct attempt, files));
}

static void test_seccomp_alone_closes_calls(void **state)
{
    (void)state;
    run_layer(CALLS, offsetof(struct attempt, calls));
}

static void test_the_sandbox(void **state)
{
    (void)state;
    run_layer(BOTH, offsetof(struct attempt, both));
}

static void test_one_program_may_be_allowed(void **state)
{
    (void)state;
    pid_t pid = fork();
    if (pid == 0) {
        static const char *const execs[] = {"/usr/bin/true", "/lib64/ld-linux-x86-64.so.2",
                                            "/lib/ld-linux-aarch64.so.1", NULL};
        static const char *const reads[] = {"/usr/lib", "/lib", "/lib64", "/etc/ld.so.cache", NULL};
        struct sandbox s = {.read_paths = reads, .exec_paths = execs, .read_fd = -1};
        struct err err = ERR_INIT;
        if (sandbox_enter(&s, true, &err) < 0)
            _exit(ENTERING_FAILED);
        const char *argv[] = {"x", NULL};
        syscall(SYS_execve, "/usr/bin/false", argv, NULL);
        if (errno != EACCES)
            _exit(99);
        syscall(SYS_execve, "/usr/bin/true", argv, NULL);
        _exit(98);
    }
    int status;
    waitpid(pid, &status, 0);
    assert_true(WIFEXITED(status));
    assert_int_equal(WEXITSTATUS(status), 0);
}

static void *enter_and_look(void *arg)
{
    /* Without the limits, which are the whole process's. */
    struct err err = ERR_INIT;
    bool caged =
        enter(FILES, &err) == 0 && enter(CALLS, &err) == 0 && read_passwd() == EACCES && make_a_socket() == EPERM;
    *(int *)arg = caged && read_allowed_file() == 0 ? 0 : 1;
    return NULL;
}

/* Why it must be called in a process with one thread only: the others stay free. */
static void test_only_the_calling_thread_is_caged(void **state)
{
    (void)state;
    make_files();
    fflush(NULL);
    pid_t pid = fork();
    if (pid == 0) {
        int rc = 99;
        pthread_t t;
        if (pthread_create(&t, NULL, enter_and_look, &rc) == 0)
            pthread_join(t, NULL);
        if (rc == 0 && (read_passwd() != 0 || make_a_socket() != 0))
            rc = 98;
        exit(rc);
    }
    int status;
    waitpid(pid, &status, 0);
    assert_true(WIFEXITED(status));
    assert_int_equal(WEXITSTATUS(status), 0);
}

static uint64_t capabilities(void)
{
    FILE *f = fopen("/proc/self/status", "r");
    char line[256];
    unsigned long long caps = UINT64_MAX;
    while (f && fgets(line, sizeof line, f))
        if (sscanf(line, "CapEff: %llx", &caps) == 1)
            break;
    if (f)
        fclose(f);
    return caps;
}

static void test_root_loses_its_powers(void **state)
{
    (void)state;
    pid_t pid = fork();
    if (pid == 0) {
        static const char *const reads[] = {"/proc", NULL};
        struct sandbox s = {.read_paths = reads, .read_fd = -1};
        struct err err = ERR_INIT;
        if (sandbox_enter(&s, true, &err) < 0)
            _exit(ENTERING_FAILED);
        _exit((capabilities() & ~(UINT64_C(1) << 2)) == 0 ? 0 : 1); /* 2: CAP_DAC_READ_SEARCH */
    }
    int status;
    waitpid(pid, &status, 0);
    assert_true(WIFEXITED(status));
    assert_int_equal(WEXITSTATUS(status), 0);
}

/* Makes this kernel look like one without Landlock. */
static void hide_landlock(void)
{
    prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0);
    scmp_filter_ctx c = seccomp_init(SCMP_ACT_ALLOW);
    if (!c || seccomp_rule_add(c, SCMP_ACT_ERRNO(ENOSYS), SYS_landlock_create_ruleset, 0) < 0 || seccomp_load(c) < 0)
        _exit(97);
    seccomp_release(c);
}

static void test_an_older_kernel_is_refused_only_when_required(void **state)
{
    (void)state;
    for (int require = 0; require <= 1; require++) {
        pid_t pid = fork();
        if (pid == 0) {
            hide_landlock();
            struct sandbox_support have;
            sandbox_probe(&have);
            if (have.landlock_abi != 0 || !have.seccomp)
                _exit(96);
            struct sandbox s = {.read_paths = read_paths, .read_fd = -1};
            struct err err = ERR_INIT;
            int rc = sandbox_enter(&s, require, &err);
            if (require)
                _exit(rc == ERR_UNAVAILABLE && strstr(err.msg, "Landlock") ? 0 : 95);
            _exit(rc == 0 && make_a_socket() == EPERM && read_passwd() == 0 && make_a_file() == ENOSYS ? 0 : 94);
        }
        int status;
        waitpid(pid, &status, 0);
        assert_true(WIFEXITED(status));
        assert_int_equal(WEXITSTATUS(status), 0);
    }
}

static int setup(void **state)
{
    (void)state;
    char name[] = "/tmp/steno-sandbox-XXXXXX";
    if (!mkdtemp(name))
        return -1;
    snprintf(folder, sizeof folder, "%s", name);
    snprintf(inside, sizeof inside, "%s/inside", folder);
    snprintf(outside, sizeof outside, "%s/outside", folder);
    snprintf(input, sizeof input, "%s/input", folder);
    snprintf(made, sizeof made, "%s/made", folder);
    return 0;
}

static int teardown(void **state)
{
    (void)state;
    struct err e = ERR_INIT;
    return io_remove_tree(folder, &e);
}

static void test_what_is_missing_is_said(void **state)
{
    (void)state;
    assert_null(sandbox_missing(&(struct sandbox_support){.landlock_abi = 1, .seccomp = true}));
    assert_non_null(strstr(sandbox_missing(&(struct sandbox_support){.seccomp = true}), "no Landlock"));
    assert_non_null(strstr(sandbox_missing(&(struct sandbox_support){.landlock_abi = 1}), "no seccomp"));
    assert_non_null(strstr(sandbox_missing(&(struct sandbox_support){0}), "neither"));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_what_is_missing_is_said),
        cmocka_unit_test(test_without_a_sandbox_all_of_it_works),
        cmocka_unit_test(test_landlock_alone_closes_files),
        cmocka_unit_test(test_seccomp_alone_closes_calls),
        cmocka_unit_test(test_the_sandbox),
        cmocka_unit_test(test_one_program_may_be_allowed),
        cmocka_unit_test(test_only_the_calling_thread_is_caged),
        cmocka_unit_test(test_root_loses_its_powers),
        cmocka_unit_test(test_an_older_kernel_is_refused_only_when_required),
    };
    return cmocka_run_group_tests(tests, setup, teardown);
}
