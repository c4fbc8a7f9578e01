/* SPDX-License-Identifier: MIT */
/*
 * The seccomp filter: a list of calls that a program which reads, computes and writes to open descriptors needs.
 *
 * Everything else answers ENOSYS, as an older kernel would, so that libraries fall back (glibc from clone3 to
 * clone) or go without. What no decoder ever tries on its own kills the process: then somebody else is at the wheel,
 * and the parent hears of it. Where a call is harmless only with some arguments, the table says which.
 */
#include "audio/sandbox_internal.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/seccomp.h>
#include <sched.h>
#include <seccomp.h>
#include <stddef.h>
#include <sys/ioctl.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <unistd.h>

/* clang-format off */
static const int allowed[] = {
    /* memory */
    SCMP_SYS(brk), SCMP_SYS(mmap), SCMP_SYS(mprotect), SCMP_SYS(munmap), SCMP_SYS(mremap), SCMP_SYS(madvise),
    SCMP_SYS(mlock), SCMP_SYS(munlock), SCMP_SYS(mbind), SCMP_SYS(get_mempolicy), SCMP_SYS(set_mempolicy),
    /* reading, and writing to what is open */
    SCMP_SYS(read), SCMP_SYS(readv), SCMP_SYS(pread64), SCMP_SYS(preadv), SCMP_SYS(write), SCMP_SYS(writev),
    SCMP_SYS(lseek), SCMP_SYS(close), SCMP_SYS(fstat), SCMP_SYS(newfstatat), SCMP_SYS(stat), SCMP_SYS(lstat),
    SCMP_SYS(statx), SCMP_SYS(access), SCMP_SYS(faccessat), SCMP_SYS(faccessat2), SCMP_SYS(readlink),
    SCMP_SYS(readlinkat), SCMP_SYS(getcwd), SCMP_SYS(getdents64), SCMP_SYS(statfs), SCMP_SYS(fstatfs),
    SCMP_SYS(fcntl), SCMP_SYS(dup), SCMP_SYS(dup2), SCMP_SYS(dup3), SCMP_SYS(pipe), SCMP_SYS(pipe2),
    SCMP_SYS(poll), SCMP_SYS(ppoll), SCMP_SYS(select), SCMP_SYS(pselect6), SCMP_SYS(fadvise64),
    /* the process and its threads; what exec may start is Landlock's matter */
    SCMP_SYS(execve), SCMP_SYS(exit), SCMP_SYS(exit_group), SCMP_SYS(getpid), SCMP_SYS(getppid), SCMP_SYS(gettid),
    SCMP_SYS(getuid), SCMP_SYS(geteuid), SCMP_SYS(getgid), SCMP_SYS(getegid), SCMP_SYS(arch_prctl),
    SCMP_SYS(set_tid_address), SCMP_SYS(set_robust_list), SCMP_SYS(rseq), SCMP_SYS(futex), SCMP_SYS(futex_waitv),
    SCMP_SYS(membarrier), SCMP_SYS(sched_getaffinity), SCMP_SYS(sched_setaffinity), SCMP_SYS(sched_yield),
    SCMP_SYS(sched_getparam), SCMP_SYS(sched_getscheduler), SCMP_SYS(getpriority), SCMP_SYS(getcpu),
    SCMP_SYS(getrlimit), SCMP_SYS(getrusage), SCMP_SYS(sysinfo), SCMP_SYS(uname), SCMP_SYS(getrandom),
    SCMP_SYS(rt_sigaction), SCMP_SYS(rt_sigprocmask), SCMP_SYS(rt_sigreturn), SCMP_SYS(rt_sigpending),
    SCMP_SYS(sigaltstack), SCMP_SYS(restart_syscall),
    /* time */
    SCMP_SYS(clock_gettime), SCMP_SYS(clock_getres), SCMP_SYS(clock_nanosleep), SCMP_SYS(nanosleep),
    SCMP_SYS(gettimeofday), SCMP_SYS(time), SCMP_SYS(times),
};

static const int deadly[] = {
    SCMP_SYS(ptrace), SCMP_SYS(process_vm_readv), SCMP_SYS(process_vm_writev), SCMP_SYS(mount), SCMP_SYS(umount2),
    SCMP_SYS(pivot_root), SCMP_SYS(chroot), SCMP_SYS(unshare), SCMP_SYS(setns), SCMP_SYS(bpf), SCMP_SYS(keyctl),
    SCMP_SYS(add_key), SCMP_SYS(request_key), SCMP_SYS(kexec_load), SCMP_SYS(init_module), SCMP_SYS(finit_module),
    SCMP_SYS(delete_module), SCMP_SYS(reboot), SCMP_SYS(swapon), SCMP_SYS(userfaultfd), SCMP_SYS(io_uring_setup),
    SCMP_SYS(open_by_handle_at), SCMP_SYS(setuid), SCMP_SYS(setreuid), SCMP_SYS(setresuid), SCMP_SYS(bind),
    SCMP_SYS(connect), SCMP_SYS(listen), SCMP_SYS(accept), SCMP_SYS(accept4),
};

/* A right that is missing rather than a call that is missing: some would retry ENOSYS in another way. */
static const int refused[] = {
    SCMP_SYS(socket), SCMP_SYS(socketpair), SCMP_SYS(fork), SCMP_SYS(vfork), SCMP_SYS(kill),
};
/* clang-format on */

static int add_rows(scmp_filter_ctx c, uint32_t action, const int *calls, size_t n)
{
    int rc = 0;
    for (size_t i = 0; rc == 0 && i < n; i++)
        rc = seccomp_rule_add(c, action, calls[i], 0);
    return rc;
}

/* Calls that pass only when `argument` & mask == value. */
static int add_conditional(scmp_filter_ctx c)
{
    /* Of an int argument the kernel looks at these bits only. */
    const scmp_datum_t whole = UINT32_MAX, writing = O_ACCMODE | O_CREAT | O_TRUNC;
    const struct {
        int call;
        unsigned argument;
        scmp_datum_t mask, value;
    } rows[] = {
        /* Opening for reading only, should Landlock be missing. */
        {SCMP_SYS(open), 1, writing, O_RDONLY},
        {SCMP_SYS(openat), 2, writing, O_RDONLY},
        /* Threads, but no processes. */
        {SCMP_SYS(clone), 0, CLONE_THREAD, CLONE_THREAD},
        /* One's own limits: they can only be lowered, CAP_SYS_RESOURCE is gone. */
        {SCMP_SYS(prlimit64), 0, whole, 0},
        {SCMP_SYS(setrlimit), 0, 0, 0},
        /* Signals to oneself: abort(). The pid stays the same across exec. */
        {SCMP_SYS(tgkill), 0, whole, (scmp_datum_t)getpid()},
        /* isatty and the width of a terminal. */
        {SCMP_SYS(ioctl), 1, whole, TCGETS},
        {SCMP_SYS(ioctl), 1, whole, TIOCGWINSZ},
        /* Not among them: PR_SET_PDEATHSIG, so that the child cannot outlive us, and PR_SET_DUMPABLE. */
        {SCMP_SYS(prctl), 0, whole, PR_SET_NAME},
        {SCMP_SYS(prctl), 0, whole, PR_GET_NAME},
        {SCMP_SYS(prctl), 0, whole, PR_CAPBSET_READ},
        {SCMP_SYS(prctl), 0, whole, PR_SET_NO_NEW_PRIVS},
        {SCMP_SYS(prctl), 0, whole, PR_SET_VMA},
    };
    int rc = 0;
    for (size_t i = 0; rc == 0 && i < ARRAY_LEN(rows); i++) {
        struct scmp_arg_cmp cmp = {rows[i].argument, SCMP_CMP_MASKED_EQ, rows[i].mask, rows[i].value};
        rc = seccomp_rule_add_array(c, SCMP_ACT_ALLOW, rows[i].call, rows[i].mask ? 1 : 0, &cmp);
    }
    return rc;
}

bool sandbox_calls_supported(void)
{
    unsigned action = SECCOMP_RET_KILL_PROCESS;
    return syscall(SYS_seccomp, SECCOMP_GET_ACTION_AVAIL, 0, &action) == 0;
}

int sandbox_calls_enter(struct err *err)
{
    scmp_filter_ctx c = seccomp_init(SCMP_ACT_ERRNO(ENOSYS));
    if (!c)
        return err_set(err, ERR_NOMEM, "no memory for the system call filter");
    int rc = add_rows(c, SCMP_ACT_ALLOW, allowed, ARRAY_LEN(allowed));
    if (rc == 0)
        rc = add_rows(c, SCMP_ACT_KILL_PROCESS, deadly, ARRAY_LEN(deadly));
    if (rc == 0)
        rc = add_rows(c, SCMP_ACT_ERRNO(EPERM), refused, ARRAY_LEN(refused));
    if (rc == 0)
        rc = add_conditional(c);
    if (rc == 0)
        rc = seccomp_load(c);
    seccomp_release(c);
    return rc < 0 ? err_sys(err, -rc, "cannot load the system call filter") : 0;
}
