/* SPDX-License-Identifier: MIT */
#include "cli/download.h"

#include "base/clock.h"
#include "base/io.h"
#include "base/mem.h"
#include "base/stop.h"
#include "base/str.h"
#include "cli/sha256.h"

#include <curl/curl.h>
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

enum { CONNECT_S = 20, STALL_S = 60, TRIES = 5, PAUSE_MS = 500, ETAG_SIZE = 256 };

struct fetch {
    CURL *curl;
    struct bar *bar;
    int fd;
    int64_t have;           /* bytes in the part */
    bool begun;             /* the answer's status was looked at */
    char etag[ETAG_SIZE];   /* of the answer under way, as sent */
    char linked[ETAG_SIZE]; /* X-Linked-ETag of any answer on the way */
    char range[ETAG_SIZE];  /* Content-Range, likewise */
    char known[ETAG_SIZE];  /* what the bytes in the part belong to; "": unknown */
    const char *part;
    struct err err; /* from a callback */
    int rc;
};

static char *note_of(const char *part)
{
    return xasprintf("%s.etag", part);
}

static void read_note(struct fetch *f)
{
    CLEANUP(free_p) char *path = note_of(f->part), *text = NULL;
    size_t n;
    struct err ignored = ERR_INIT; /* without it everything is fetched again */
    if (io_read_file(path, ETAG_SIZE - 1, &text, &n, &ignored) == 0)
        memcpy(f->known, text, strlen(text) + 1);
}

static int write_note(struct fetch *f)
{
    CLEANUP(free_p) char *path = note_of(f->part);
    memcpy(f->known, f->etag, sizeof f->known);
    CLEANUP(close_fd) int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
    if (fd < 0)
        return err_sys(&f->err, errno, "cannot write '%s'", path);
    return io_write_all(fd, f->known, strlen(f->known), &f->err);
}

void download_forget(const char *part)
{
    CLEANUP(free_p) char *note = note_of(part);
    unlink(note);
    unlink(part);
}

/* "Name: value\r\n" into ret when it is that header. */
static void take_header(const char *line, size_t n, const char *name, char ret[ETAG_SIZE])
{
    size_t len = strlen(name);
    if (n <= len + 1 || strncasecmp(line, name, len) != 0 || line[len] != ':')
        return;
    for (line += len + 1, n -= len + 1; n && (*line == ' ' || *line == '\t');)
        line++, n--;
    while (n && (line[n - 1] == '\r' || line[n - 1] == '\n' || line[n - 1] == ' '))
        n--;
    n = n < ETAG_SIZE ? n : 0;
    memcpy(ret, line, n);
    ret[n] = '\0';
}

static size_t on_header(char *line, size_t size, size_t n, void *arg)
{
    struct fetch *f = arg;
    n *= size;
    if (n > 5 && memcmp(line, "HTTP/", 5) == 0)
        f->etag[0] = f->range[0] = '\0'; /* the next answer of a redirected request */
    take_header(line, n, "ETag", f->etag);
    take_header(line, n, "X-Linked-ETag", f->linked);
    take_header(line, n, "Content-Range", f->range);
    return n;
}

/* At the first byte: does the answer go on where the part ends, or begin anew? */
static int begin(struct fetch *f)
{
    long status = 0;
    curl_easy_getinfo(f->curl, CURLINFO_RESPONSE_CODE, &status);
    f->begun = true;
    CLEANUP(free_p) char *wanted = xasprintf("bytes %lld-", (long long)f->have);
    if (status == 206)
        return str_starts(f->range, wanted)
                   ? 0
                   : err_set(&f->err, ERR_UNAVAILABLE, "the server sends '%s' where it was asked for '%s'", f->range,
                             wanted);
    if (ftruncate(f->fd, 0) < 0 || lseek(f->fd, 0, SEEK_SET) < 0)
        return err_sys(&f->err, errno, "cannot empty '%s'", f->part);
    f->have = 0;
    return write_note(f);
}

static size_t on_body(char *data, size_t size, size_t n, void *arg)
{
    struct fetch *f = arg;
    long status = 0;
    n *= size;
    curl_easy_getinfo(f->curl, CURLINFO_RESPONSE_CODE, &status);
    if (status != 200 && status != 206)
        return n; /* the text of an error page */
    f->rc = f->begun ? 0 : begin(f);
    if (f->rc == 0)
        f->rc = io_write_all(f->fd, data, n, &f->err);
    if (f->rc < 0)
        return 0;
    f->have += (int64_t)n;
    return n;
}

static int on_progress(void *arg, curl_off_t total, curl_off_t now, curl_off_t up_total, curl_off_t up)
{
    (void)up_total;
    (void)up;
    struct fetch *f = arg;
    if (total > 0)
        bar_update(f->bar, f->have, f->have - now + total, NULL);
    return stop_requested() > 0;
}

static int status_error(long status, const char *url, struct err *err)
{
    if (status == 404 || status == 410)
        return err_set(err, ERR_NOT_FOUND, "there is nothing at %s", url);
    if (status == 401 || status == 403)
        return err_set(err, ERR_INVALID, "the server does not hand out %s (HTTP %ld)", url, status);
    return err_set(err, status >= 500 || status == 429 ? ERR_UNAVAILABLE : ERR_INVALID, "%s: HTTP status %ld", url,
                   status);
}

static void set_options(struct fetch *f, const char *url)
{
    CURL *c = f->curl;
    curl_easy_reset(c);
    curl_easy_setopt(c, CURLOPT_URL, url);
    curl_easy_setopt(c, CURLOPT_PROTOCOLS_STR, "http,https");
    /* From https never down to http. */
    curl_easy_setopt(c, CURLOPT_REDIR_PROTOCOLS_STR, str_starts(url, "https:") ? "https" : "http,https");
    curl_easy_setopt(c, CURLOPT_FOLLOWLOCATION, 1L);
    curl_easy_setopt(c, CURLOPT_MAXREDIRS, 10L);
    curl_easy_setopt(c, CURLOPT_USERAGENT, "steno/" STENO_VERSION);
    curl_easy_setopt(c, CURLOPT_CONNECTTIMEOUT, (long)CONNECT_S);
    curl_easy_setopt(c, CURLOPT_LOW_SPEED_LIMIT, 1L);
    curl_easy_setopt(c, CURLOPT_LOW_SPEED_TIME, (long)STALL_S);
    curl_easy_setopt(c, CURLOPT_NOSIGNAL, 1L);
    curl_easy_setopt(c, CURLOPT_HEADERFUNCTION, on_header);
    curl_easy_setopt(c, CURLOPT_HEADERDATA, f);
    curl_easy_setopt(c, CURLOPT_WRITEFUNCTION, on_body);
    curl_easy_setopt(c, CURLOPT_WRITEDATA, f);
    curl_easy_setopt(c, CURLOPT_XFERINFOFUNCTION, on_progress);
    curl_easy_setopt(c, CURLOPT_XFERINFODATA, f);
    curl_easy_setopt(c, CURLOPT_NOPROGRESS, 0L);
}

/* One request. 1: all there, 0: broken off, worth another try; < 0: error. */
static int fetch_once(struct fetch *f, const char *url, struct err *err)
{
    set_options(f, url);
    struct curl_slist *headers = NULL;
    CLEANUP(free_p) char *range = NULL;
    /* A weak ETag may stand for different bytes. */
    if (f->have > 0 && f->known[0] && !str_starts(f->known, "W/")) {
        CLEANUP(free_p) char *if_range = xasprintf("If-Range: %s", f->known);
        range = xasprintf("%lld-", (long long)f->have);
        headers = curl_slist_append(NULL, if_range);
        curl_easy_setopt(f->curl, CURLOPT_HTTPHEADER, headers);
        curl_easy_setopt(f->curl, CURLOPT_RANGE, range);
    }
    f->begun = false;
    f->rc = 0;
    CURLcode code = curl_easy_perform(f->curl);
    curl_slist_free_all(headers);
    long status = 0;
    curl_easy_getinfo(f->curl, CURLINFO_RESPONSE_CODE, &status);
    if (code == CURLE_OK && status == 200 && !f->begun)
        f->rc = begin(f); /* an empty file */
    if (f->rc < 0) {
        *err = f->err;
        return f->rc;
    }
    if (code == CURLE_ABORTED_BY_CALLBACK)
        return err_set(err, ERR_CANCELLED, "stopped: give the same command again to go on");
    if (code == CURLE_OK && status == 416) {
        /* The part is as long as the file, or longer: the sum cannot tell, so begin anew. */
        f->known[0] = '\0';
        return 0;
    }
    if (code == CURLE_OK)
        return status == 200 || status == 206 ? 1 : status_error(status, url, err);
    err_set(err, ERR_UNAVAILABLE, "%s: %s; give the same command again to go on", url, curl_easy_strerror(code));
    bool broken = code == CURLE_PARTIAL_FILE || code == CURLE_RECV_ERROR || code == CURLE_GOT_NOTHING ||
                  code == CURLE_OPERATION_TIMEDOUT || code == CURLE_HTTP2_STREAM || code == CURLE_RANGE_ERROR;
    return broken ? 0 : ERR_UNAVAILABLE;
}

/* An ETag that is a SHA-256, quotes apart. */
static bool sum_in(const char *etag, char ret[DOWNLOAD_SUM_SIZE])
{
    char bare[ETAG_SIZE];
    size_t n = 0;
    for (const char *p = str_starts(etag, "W/") ? etag + 2 : etag; *p; p++)
        if (*p != '"')
            bare[n++] = *p;
    bare[n] = '\0';
    if (!sha256_valid(bare))
        return false;
    memcpy(ret, bare, DOWNLOAD_SUM_SIZE);
    return true;
}

static int fetch_all(struct fetch *f, const char *url, struct err *err)
{
    int rc = 0;
    for (int tries = 0; rc == 0 && tries < TRIES; tries++) {
        int64_t before = f->have;
        rc = fetch_once(f, url, err);
        if (rc == 0 && f->have > before)
            tries = 0;
        /* Until a stop is asked for. */
        if (rc == 0)
            (void)!poll(&(struct pollfd){.fd = stop_fd(), .events = POLLIN}, 1, PAUSE_MS);
    }
    return rc > 0 ? 0 : rc < 0 ? rc : err->code ? err->code : err_set(err, ERR_UNAVAILABLE, "%s does not come", url);
}

int download_begin(const char *part, int *ret_fd, struct err *err)
{
    struct stat ours, named;
    CLEANUP(close_fd) int fd = open(part, O_WRONLY | O_CREAT | O_CLOEXEC, 0644);
    if (fd < 0)
        return err_sys(err, errno, "cannot write '%s'", part);
    /* The one who had it may have given it its final name between our two calls. */
    if (flock(fd, LOCK_EX | LOCK_NB) < 0 || fstat(fd, &ours) < 0 || stat(part, &named) < 0 ||
        ours.st_ino != named.st_ino)
        return err_set(err, ERR_BUSY, "another process is fetching '%s'", part);
    *ret_fd = fd;
    fd = -1;
    return 0;
}

int download(const char *url, const char *part, int fd, struct bar *bar, char ret_sum[DOWNLOAD_SUM_SIZE],
             struct err *err)
{
    struct fetch f = {.bar = bar, .part = part, .fd = fd};
    f.have = (int64_t)lseek(fd, 0, SEEK_END);
    read_note(&f);
    if (curl_global_init(CURL_GLOBAL_DEFAULT) != CURLE_OK)
        return err_set(err, ERR_INTERNAL, "libcurl does not start");
    f.curl = curl_easy_init();
    int rc = f.curl ? fetch_all(&f, url, err) : err_set(err, ERR_NOMEM, "no memory for an HTTP client");
    curl_easy_cleanup(f.curl);
    curl_global_cleanup();
    if (rc == 0 && fsync(fd) < 0)
        rc = err_sys(err, errno, "cannot keep '%s'", part);
    if (rc < 0) {
        if (f.have == 0)
            download_forget(part); /* nothing to go on with */
        return rc;
    }
    if (!sum_in(f.linked, ret_sum) && !sum_in(f.etag, ret_sum))
        ret_sum[0] = '\0';
    return 0;
}
