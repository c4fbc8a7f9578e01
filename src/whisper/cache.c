/* SPDX-License-Identifier: MIT */
/*
 * The header page is text with zeros behind it, in fixed places. Everything that must fit stands in its first part and
 * is compared as a whole: a file that differs in one letter is another one's.
 */
#include "whisper/cache.h"

#include "base/id.h"
#include "base/io.h"
#include "base/str.h"
#include "whisper/dnn.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

enum {
    VERSION = 3,
    PATH_AT = 512, /* before it: what must fit */
    MODEL_SUM_AT = CACHE_HEADER_BYTES - 256,
    BLOCK_SUM_AT = CACHE_HEADER_BYTES - 128,
    SAMPLE_SUM_AT = CACHE_HEADER_BYTES - 8,
    SAMPLES = 64,
    SAMPLE_BYTES = 4096,
    LEFTOVER_S = 3600,
};

#define ENDING ".packed"
#define TITLE  "steno packed weights\nmodel "

void cache_init(struct cache_entry *c, const struct model_file *f, enum whisper_precision p, size_t block_bytes,
                const char *folder)
{
    char version[DNN_VERSION_SIZE];
    *c = (struct cache_entry){.block_bytes = block_bytes};
    dnn_version(version);
    snprintf(c->header, PATH_AT, TITLE "%s\nversion %d\nprecision %s\nonednn %s\ncpu %s\nbytes %zu\n",
             model_file_key(f), VERSION, whisper_precision_name(p), version, dnn_cpu(), block_bytes);
    if (strlen(model_file_path(f)) < MODEL_SUM_AT - PATH_AT)
        snprintf(c->header + PATH_AT, MODEL_SUM_AT - PATH_AT, "%s", model_file_path(f));
    struct err ignored = ERR_INIT;
    if (!folder || io_mkdir_p(folder, &ignored) < 0)
        return;
    c->folder = xstrdup(folder);
    c->path = xasprintf("%s/%s-%s-%s" ENDING, folder, model_file_key(f), whisper_precision_name(p), dnn_cpu());
}

void cache_clear(struct cache_entry *c)
{
    free(c->folder);
    free(c->path);
    *c = (struct cache_entry){.path = NULL};
}

/*
 * A sum over a few pages spread over the block: it notices a file that lost or swapped parts, in microseconds. A
 * sum over all of it would cost more than the cache saves.
 */
static uint64_t sample_sum(const unsigned char *block, size_t bytes)
{
    uint64_t h = 0xCBF29CE484222325u;
    size_t step = bytes / SAMPLES;
    for (size_t i = 0; i < SAMPLES; i++) {
        size_t from = i + 1 < SAMPLES ? i * step : bytes - MIN(bytes, (size_t)SAMPLE_BYTES); /* the end, too */
        for (size_t k = 0; k + 8 <= MIN(bytes - from, (size_t)SAMPLE_BYTES); k += 8) {
            uint64_t v;
            memcpy(&v, block + from + k, 8);
            h = (h ^ v) * 0x100000001B3u;
        }
    }
    return h;
}

static bool sample_fits(const unsigned char *file, size_t block_bytes)
{
    uint64_t noted;
    memcpy(&noted, file + SAMPLE_SUM_AT, sizeof noted);
    return noted == sample_sum(file + CACHE_HEADER_BYTES, block_bytes);
}

/* The whole file, mapped read-only; NULL when there is none of that size (0: any that can be one). A link is not
 * followed. */
static unsigned char *map_file(const char *path, size_t size, size_t *ret_size)
{
    CLEANUP(close_fd) int fd = open(path, O_RDONLY | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK);
    struct stat st;
    if (fd < 0 || fstat(fd, &st) < 0 || !S_ISREG(st.st_mode) || st.st_size <= CACHE_HEADER_BYTES ||
        (size && (size_t)st.st_size != size))
        return NULL;
    void *p = mmap(NULL, (size_t)st.st_size, PROT_READ, MAP_SHARED, fd, 0);
    *ret_size = (size_t)st.st_size;
    return p == MAP_FAILED ? NULL : p;
}

unsigned char *cache_map(const struct cache_entry *c)
{
    size_t size;
    unsigned char *p = c->path ? map_file(c->path, CACHE_HEADER_BYTES + c->block_bytes, &size) : NULL;
    if (!p)
        return NULL;
    if (memcmp(p, c->header, PATH_AT) != 0 || !sample_fits(p, c->block_bytes)) {
        munmap(p, size);
        return NULL;
    }
    return p + CACHE_HEADER_BYTES;
}

void cache_unmap(unsigned char *block, size_t block_bytes)
{
    munmap(block - CACHE_HEADER_BYTES, block_bytes + CACHE_HEADER_BYTES);
}

/* Length of the key that stands in a header. */
static size_t key_len(const char *header)
{
    return strcspn(header + strlen(TITLE), "\n");
}

static bool same_key(const char *a, const char *b)
{
    return key_len(a) == key_len(b) && strncmp(a, b, strlen(TITLE) + key_len(a)) == 0;
}

static bool same_version(const char *header)
{
    char line[40];
    snprintf(line, sizeof line, "\nversion %d\n", VERSION);
    return strstr(header, line) != NULL;
}

/* A packed file whose model is gone, or is another one now, helps nobody any more. */
static bool is_stale(const char *path, const char *header)
{
    char theirs[CACHE_HEADER_BYTES];
    struct err ignored = ERR_INIT;
    CLEANUP(close_fd) int fd = open(path, O_RDONLY | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK);
    if (fd < 0 || io_read_full(fd, theirs, sizeof theirs, &ignored) != CACHE_HEADER_BYTES || !str_starts(theirs, TITLE))
        return false;
    theirs[MODEL_SUM_AT] = '\0';
    const char *model = theirs + PATH_AT;
    struct stat st;
    if (!model[0])
        return false;
    if (strcmp(model, header + PATH_AT) == 0)
        return !same_key(theirs, header);
    return stat(model, &st) < 0 && (errno == ENOENT || errno == ENOTDIR);
}

/* Keeps the cache as large as the models that are in use: looked at whenever something is added. */
static void clean(const struct cache_entry *c)
{
    DIR *dir = opendir(c->folder);
    struct stat st;
    for (const struct dirent *e; dir && (e = readdir(dir));) {
        CLEANUP(free_p) char *path = xasprintf("%s/%s", c->folder, e->d_name);
        const char *ending = strstr(e->d_name, ENDING);
        if (!ending)
            continue;
        /* A temporary name (with an id behind the ending) that has been lying here was left by a process that died. */
        bool temp = ending[strlen(ENDING)] == '.';
        if (temp ? stat(path, &st) == 0 && time(NULL) - st.st_mtime > LEFTOVER_S : is_stale(path, c->header))
            unlink(path);
    }
    if (dir)
        closedir(dir);
}

/* The header with the sums in it; false: they cannot be made. */
static bool finish_header(char header[CACHE_HEADER_BYTES], const unsigned char *block, size_t bytes,
                          const struct model_file *f)
{
    struct err ignored = ERR_INIT;
    const uint64_t sum = sample_sum(block, bytes);
    memcpy(header + SAMPLE_SUM_AT, &sum, sizeof sum);
    return model_file_sha256(f, NULL, header + MODEL_SUM_AT, &ignored) == 0 &&
           sha256_text(block, bytes, NULL, header + BLOCK_SUM_AT, &ignored) == 0;
}

void cache_write(const struct cache_entry *c, const unsigned char *block, const struct model_file *f)
{
    struct err ignored = ERR_INIT;
    char id[ID_SIZE], header[CACHE_HEADER_BYTES];
    clean(c);
    memcpy(header, c->header, sizeof header);
    id_new(id);
    CLEANUP(free_p) char *temp = xasprintf("%s.%s", c->path, id);
    CLEANUP(close_fd) int fd = open(temp, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
    if (fd < 0)
        return;
    bool ok = finish_header(header, block, c->block_bytes, f) &&
              io_write_all(fd, header, sizeof header, &ignored) == 0 &&
              io_write_all(fd, block, c->block_bytes, &ignored) == 0;
    /* Pages must be on disk before the name is: after a power cut the name would promise what is not there. */
    if (!ok || fsync(fd) < 0 || rename(temp, c->path) < 0)
        unlink(temp);
}

/* ---- verify ---- */

/* Is the block what was written? Its length stands in the header, too. */
static int check_block(const unsigned char *file, size_t size, const struct cancel *cancel, bool *ret, struct err *err)
{
    char sum[SHA256_TEXT], length[40];
    size_t bytes = size - CACHE_HEADER_BYTES;
    snprintf(length, sizeof length, "\nbytes %zu\n", bytes);
    *ret = false;
    if (!memmem(file, PATH_AT, length, strlen(length)) || !sample_fits(file, bytes))
        return 0;
    int rc = sha256_text(file + CACHE_HEADER_BYTES, bytes, cancel, sum, err);
    *ret = rc == 0 && memcmp(file + BLOCK_SUM_AT, sum, sizeof sum) == 0;
    return rc;
}

static int verify_file(const char *path, const char *header, const char *sha256, const struct cancel *cancel,
                       struct whisper_verified *v, struct err *err)
{
    size_t size;
    unsigned char *p = map_file(path, 0, &size);
    char head[CACHE_HEADER_BYTES];
    if (!p)
        return 0;
    memcpy(head, p, sizeof head);
    head[PATH_AT - 1] = head[MODEL_SUM_AT - 1] = head[BLOCK_SUM_AT - 1] = '\0';
    int rc = 0;
    bool good = false;
    if (str_starts(head, TITLE) && header[PATH_AT] && strcmp(head + PATH_AT, header + PATH_AT) == 0) {
        bool stale = !same_key(head, header) || !same_version(head);
        if (!stale)
            rc = check_block(p, size, cancel, &good, err);
        if (rc == 0 && good && strcmp(head + MODEL_SUM_AT, sha256) != 0)
            rc = err_set(
                err, ERR_CORRUPT,
                "it has SHA-256 %s, but had %.64s when it was packed, with the same size and time: it was damaged "
                "or changed in place. Get it again; if it is right as it is, remove '%s'",
                sha256, head + MODEL_SUM_AT, path);
        if (rc == 0) {
            v->stale += stale;
            v->good += good;
            v->damaged += !stale && !good;
            if (!good)
                unlink(path);
        }
    }
    munmap(p, size);
    return rc;
}

int cache_verify(const char *folder, const struct model_file *f, const char *sha256, const struct cancel *cancel,
                 struct whisper_verified *ret, struct err *err)
{
    int rc = 0;
    CLEANUP(cache_clear) struct cache_entry c;
    cache_init(&c, f, WHISPER_F32, 0, NULL); /* for key and path: the precision is any */
    DIR *dir = opendir(folder);
    if (!dir)
        return 0;
    for (const struct dirent *e; rc == 0 && (e = readdir(dir));) {
        CLEANUP(free_p) char *path = xasprintf("%s/%s", folder, e->d_name);
        if (str_ends(e->d_name, ENDING))
            rc = verify_file(path, c.header, sha256, cancel, ret, err);
    }
    closedir(dir);
    return rc;
}
