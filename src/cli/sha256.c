/* SPDX-License-Identifier: MIT */
#include "cli/sha256.h"

#include "base/io.h"
#include "base/mem.h"
#include "base/stop.h"
#include "base/str.h"

#include <errno.h>
#include <fcntl.h>
#include <openssl/evp.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <unistd.h>

enum { CHUNK = 32768, NOTE_MAX = 4096 };

static void free_digest(EVP_MD_CTX **c)
{
    EVP_MD_CTX_free(*c);
}

int sha256_file(const char *path, char ret[SHA256_HEX], struct err *err)
{
    CLEANUP(close_fd) int fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0)
        return err_sys(err, errno, "cannot read '%s'", path);
    CLEANUP(free_digest) EVP_MD_CTX *c = EVP_MD_CTX_new();
    unsigned char chunk[CHUNK];
    if (!c || EVP_DigestInit_ex(c, EVP_sha256(), NULL) != 1)
        return err_set(err, ERR_NOMEM, "no memory to hash '%s'", path);
    for (;;) {
        if (stop_requested())
            return err_set(err, ERR_CANCELLED, "stopped");
        ssize_t n = io_read_full(fd, chunk, CHUNK, err);
        if (n < 0)
            return err_wrap(err, "cannot read '%s'", path);
        if (n == 0)
            break;
        if (EVP_DigestUpdate(c, chunk, (size_t)n) != 1)
            return err_set(err, ERR_INTERNAL, "OpenSSL cannot hash");
    }
    unsigned char digest[EVP_MAX_MD_SIZE];
    unsigned n = 0;
    if (EVP_DigestFinal_ex(c, digest, &n) != 1 || 2 * n + 1 != SHA256_HEX)
        return err_set(err, ERR_INTERNAL, "OpenSSL cannot hash");
    str_hex(digest, n, ret);
    return 0;
}

bool sha256_valid(const char *s)
{
    return strlen(s) == SHA256_HEX - 1 && strspn(s, "0123456789abcdefABCDEF") == SHA256_HEX - 1;
}

int sha256_read_note(const char *path, char ret[SHA256_HEX], struct err *err)
{
    CLEANUP(free_p) char *note = xasprintf("%s.sha256", path), *text = NULL;
    size_t n;
    if (access(note, F_OK) < 0 && errno == ENOENT)
        return 0;
    int rc = io_read_file(note, NOTE_MAX, &text, &n, err);
    if (rc < 0)
        return rc;
    text[strcspn(text, " \t\r\n")] = '\0';
    if (!sha256_valid(text))
        return err_set(err, ERR_CORRUPT, "'%s' holds no SHA-256: remove it, or write the right sum into it", note);
    for (size_t i = 0; i < SHA256_HEX; i++)
        ret[i] = (char)(text[i] >= 'A' && text[i] <= 'F' ? text[i] - 'A' + 'a' : text[i]);
    return 1;
}

int sha256_write_note(const char *path, const char *sum, struct err *err)
{
    const char *slash = strrchr(path, '/');
    CLEANUP(free_p) char *note = xasprintf("%s.sha256", path);
    CLEANUP(free_p) char *text = xasprintf("%s  %s\n", sum, slash ? slash + 1 : path);
    CLEANUP(close_fd) int fd = open(note, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0644);
    if (fd < 0)
        return err_sys(err, errno, "cannot write '%s'", note);
    return io_write_all(fd, text, strlen(text), err);
}
