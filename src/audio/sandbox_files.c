/* SPDX-License-Identifier: MIT */
/*
 * Landlock: every right the running kernel knows is taken away, then reading (and executing) is given back for a few
 * paths.
 *
 * The constants stand here because the kernel grows them faster than distributions ship headers. A ruleset may only
 * name what its kernel knows, hence the table by ABI.
 */
#include "audio/sandbox_internal.h"

#include "base/mem.h"

#include <errno.h>
#include <fcntl.h>
#include <stdint.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

/* The layout of the kernel's struct landlock_ruleset_attr as of ABI 6; older kernels take it while the rest is zero. */
struct ruleset {
    uint64_t fs, net, scope;
};

struct __attribute__((packed)) path_rule {
    uint64_t allowed;
    int32_t fd;
};

enum { RULE_PATH_BENEATH = 1, ASK_VERSION = 1 };

#define FS_EXECUTE   (UINT64_C(1) << 0)
#define FS_READ_FILE (UINT64_C(1) << 2)
#define FS_READ_DIR  (UINT64_C(1) << 3)

/* What each ABI added. */
static const struct {
    int abi;
    struct ruleset add;
} known[] = {
    {1, {.fs = (UINT64_C(1) << 13) - 1}}, /* execute, read, write, list, make and remove each kind of file */
    {2, {.fs = UINT64_C(1) << 13}},       /* link or rename between folders */
    {3, {.fs = UINT64_C(1) << 14}},       /* truncate */
    {4, {.net = 3}},                      /* bind and connect TCP */
    {5, {.fs = UINT64_C(1) << 15}},       /* ioctl on devices */
    {6, {.scope = 3}},                    /* abstract Unix sockets and signals to outside */
};

static int add_fd(int ruleset, int fd, uint64_t rights)
{
    struct path_rule rule = {rights, fd};
    return (int)syscall(SYS_landlock_add_rule, ruleset, RULE_PATH_BENEATH, &rule, 0);
}

static int add_paths(int ruleset, const char *const *paths, uint64_t rights, struct err *err)
{
    for (; paths && *paths; paths++) {
        CLEANUP(close_fd) int fd = open(*paths, O_PATH | O_CLOEXEC);
        struct stat st;
        if (fd < 0 || fstat(fd, &st) < 0)
            continue; /* not on this system: nothing to allow */
        uint64_t fit = S_ISDIR(st.st_mode) ? rights : rights & ~FS_READ_DIR;
        if (add_fd(ruleset, fd, fit) < 0)
            return err_sys(err, errno, "cannot allow reading '%s'", *paths);
    }
    return 0;
}

int sandbox_files_abi(void)
{
    long abi = syscall(SYS_landlock_create_ruleset, NULL, (size_t)0, ASK_VERSION);
    return abi > 0 ? (int)abi : 0;
}

int sandbox_files_enter(const struct sandbox *s, int abi, struct err *err)
{
    struct ruleset all = {0};
    for (size_t i = 0; i < ARRAY_LEN(known) && known[i].abi <= abi; i++) {
        all.fs |= known[i].add.fs;
        all.net |= known[i].add.net;
        all.scope |= known[i].add.scope;
    }
    CLEANUP(close_fd) int ruleset = (int)syscall(SYS_landlock_create_ruleset, &all, sizeof all, 0);
    if (ruleset < 0)
        return err_sys(err, errno, "cannot make a Landlock ruleset");
    int rc = add_paths(ruleset, s->read_paths, FS_READ_FILE | FS_READ_DIR, err);
    if (rc == 0)
        rc = add_paths(ruleset, s->exec_paths, FS_READ_FILE | FS_EXECUTE, err);
    if (rc < 0)
        return rc;
    /* EBADFD: a file on no real file system (a memfd); Landlock does not stand in the way of those. */
    if (s->read_fd >= 0 && add_fd(ruleset, s->read_fd, FS_READ_FILE) < 0 && errno != EBADFD)
        return err_sys(err, errno, "cannot allow reading the input");
    if (syscall(SYS_landlock_restrict_self, ruleset, 0) < 0)
        return err_sys(err, errno, "cannot enter the Landlock domain");
    return 0;
}
