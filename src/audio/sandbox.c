/* SPDX-License-Identifier: MIT */
/*
 * The order matters: capabilities go first (dropping them later would need a call the filter forbids), then files,
 * then system calls, and memory last, since building the filter allocates.
 */
#include "audio/sandbox.h"

#include "audio/sandbox_internal.h"

#include <errno.h>
#include <linux/capability.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <unistd.h>

enum { MAX_FILES = 64 };

static int limit(__rlimit_resource_t what, rlim_t value, const char *name, struct err *err)
{
    struct rlimit now;
    if (getrlimit(what, &now) < 0)
        return err_sys(err, errno, "cannot ask for the limit of %s", name);
    /* Never above what we were given: an ordinary user could not, and root should not. */
    value = MIN(value, now.rlim_max);
    if (setrlimit(what, &(struct rlimit){value, value}) < 0)
        return err_sys(err, errno, "cannot limit %s", name);
    return 0;
}

/*
 * Root's powers go even though it stays root: all that is left is reading files by permission, which Landlock
 * then narrows to the input. With no_new_privs set, exec cannot bring them back.
 */
static int drop_capabilities(struct err *err)
{
    struct __user_cap_header_struct head = {.version = _LINUX_CAPABILITY_VERSION_3};
    struct __user_cap_data_struct data[_LINUX_CAPABILITY_U32S_3];
    if (syscall(SYS_capget, &head, data) < 0)
        return err_sys(err, errno, "cannot read the capabilities");
    for (unsigned i = 0; i < _LINUX_CAPABILITY_U32S_3; i++) {
        unsigned keep = i == 0 ? 1U << CAP_DAC_READ_SEARCH : 0;
        data[i].permitted &= keep;
        data[i].effective &= keep;
        data[i].inheritable = 0;
    }
    if (syscall(SYS_capset, &head, data) < 0)
        return err_sys(err, errno, "cannot drop capabilities");
    return 0;
}

void sandbox_probe(struct sandbox_support *ret)
{
    *ret = (struct sandbox_support){
        .landlock_abi = sandbox_files_abi(),
        .seccomp = sandbox_calls_supported(),
    };
}

const char *sandbox_missing(const struct sandbox_support *s)
{
    if (!s->landlock_abi && !s->seccomp)
        return "this kernel has neither Landlock nor seccomp: a hostile recording that takes over ffmpeg can do all "
               "that "
               "this user can";
    if (!s->landlock_abi)
        return "this kernel has no Landlock: a hostile recording that takes over ffmpeg can read this user's files";
    if (!s->seccomp)
        return "this kernel has no seccomp: a hostile recording that takes over ffmpeg can use the network";
    return NULL;
}

int sandbox_limit(const struct sandbox *s, struct err *err)
{
    if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) < 0)
        return err_sys(err, errno, "cannot give up new privileges");
    int rc = limit(RLIMIT_CORE, 0, "core dumps", err);
    if (rc == 0)
        rc = limit(RLIMIT_FSIZE, 0, "file size", err); /* pipes are not files */
    if (rc == 0)
        rc = limit(RLIMIT_NOFILE, MAX_FILES, "open files", err);
    if (rc == 0 && s->cpu_seconds > 0)
        rc = limit(RLIMIT_CPU, (rlim_t)s->cpu_seconds, "processor time", err);
    if (rc == 0 && s->memory_bytes > 0)
        rc = limit(RLIMIT_AS, (rlim_t)s->memory_bytes, "memory", err);
    return rc;
}

int sandbox_enter(const struct sandbox *s, bool require, struct err *err)
{
    struct sandbox_support have;
    sandbox_probe(&have);
    if (require && have.landlock_abi == 0)
        return err_set(err, ERR_UNAVAILABLE, "this kernel has no Landlock, which sandbox=require asks for");
    if (require && !have.seccomp)
        return err_set(err, ERR_UNAVAILABLE, "this kernel has no seccomp filters, which sandbox=require asks for");

    if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) < 0)
        return err_sys(err, errno, "cannot give up new privileges");
    int rc = drop_capabilities(err);
    if (rc == 0 && have.landlock_abi > 0)
        rc = sandbox_files_enter(s, have.landlock_abi, err);
    if (rc == 0 && have.seccomp)
        rc = sandbox_calls_enter(err);
    if (rc == 0)
        rc = sandbox_limit(s, err);
    return rc;
}
