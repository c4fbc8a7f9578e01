/* SPDX-License-Identifier: MIT */
#include "cli/client.h"

#include "base/clock.h"
#include "base/macros.h"
#include "base/mem.h"
#include "base/stop.h"
#include "base/str.h"

#include <curl/curl.h>
#include <errno.h>
#include <limits.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/stat.h>

enum {
    MAX_ANSWER = 64 << 20, /* the longest JSON we keep in memory */
    MAX_PROBLEM = 65536,   /* of an error answer */
    CONNECT_S = 10,
    /* A server that sends and takes nothing for this long is gone. An upload's answer comes after fsyncs. */
    STALL_S = 120,
    /* An event stream begins at once; what is held back by something on the way is of no use. */
    FIRST_EVENT_MS = 15000,
};

struct client {
    char *base;   /* for people */
    char *prefix; /* for curl: "http://localhost" over a socket */
    char *socket; /* path or NULL */
    CURL *curl;
    int stops; /* as many stops end nothing any more */
};

int client_open(const char *base, struct client **ret, struct err *err)
{
    if (curl_global_init(CURL_GLOBAL_DEFAULT) != CURLE_OK)
        return err_set(err, ERR_INTERNAL, "libcurl does not start");
    struct client *c = xcalloc(1, sizeof *c);
    c->base = xstrdup(base);
    if (str_starts(base, "unix:")) {
        c->socket = xstrdup(base + strlen("unix:"));
        c->prefix = xstrdup("http://localhost");
    } else {
        c->prefix = xstrdup(base);
    }
    c->curl = curl_easy_init();
    if (!c->curl) {
        client_close(c);
        return err_set(err, ERR_NOMEM, "no memory for an HTTP client");
    }
    *ret = c;
    return 0;
}

void client_close(struct client *c)
{
    if (!c)
        return;
    curl_easy_cleanup(c->curl);
    curl_global_cleanup();
    free(c->base);
    free(c->prefix);
    free(c->socket);
    free(c);
}

const char *client_base(const struct client *c)
{
    return c->base;
}

/* One request under way. */
struct call {
    struct client *c;
    struct buf body;  /* of a problem, or of any answer without a sink */
    client_sink sink; /* for the body of a good answer */
    void *sink_arg;
    void (*progress)(int64_t sent, int64_t total, void *arg);
    void *progress_arg;
    const char *want; /* the media type that a good answer must have; NULL: any */
    int64_t first_ms; /* when, by the monotonic clock, something of the body must be here; 0: whenever */
    struct err err;   /* from the sink, or why we ended it */
    int rc;
};

static long status_of(const struct call *call)
{
    long status = 0;
    curl_easy_getinfo(call->c->curl, CURLINFO_RESPONSE_CODE, &status);
    return status;
}

static int check_type(struct call *call)
{
    const char *type = NULL;
    size_t n = call->want ? strlen(call->want) : 0;
    curl_easy_getinfo(call->c->curl, CURLINFO_CONTENT_TYPE, &type);
    if (!n || (type && strncasecmp(type, call->want, n) == 0 && (!type[n] || strchr("; \t", type[n]))))
        return 0;
    return err_set(&call->err, ERR_UNSUPPORTED, "%s answers with '%s', not '%s'", call->c->base, type ? type : "",
                   call->want);
}

static size_t on_body(char *data, size_t size, size_t n, void *arg)
{
    struct call *call = arg;
    long status = status_of(call);
    n *= size;
    if (call->sink && status >= 200 && status < 300) {
        call->first_ms = 0;
        call->rc = check_type(call);
        if (call->rc >= 0)
            call->rc = call->sink(data, n, call->sink_arg, &call->err);
        return call->rc < 0 ? 0 : n;
    }
    buf_add(&call->body, data, n);
    return buf_ok(&call->body) ? n : 0;
}

static int on_progress(void *arg, curl_off_t down_total, curl_off_t down, curl_off_t up_total, curl_off_t up)
{
    (void)down_total;
    (void)down;
    struct call *call = arg;
    if (call->progress && up_total > 0)
        call->progress(up, up_total, call->progress_arg);
    if (call->first_ms && clock_mono_ms() > call->first_ms)
        call->rc = err_set(&call->err, ERR_TIMEOUT, "%s does not answer", call->c->base);
    return call->rc < 0 || stop_requested() > call->c->stops;
}

static int class_of_status(long status)
{
    static const struct {
        long status;
        int class;
    } table[] = {
        {404, ERR_NOT_FOUND},   {405, ERR_UNSUPPORTED}, {408, ERR_TIMEOUT}, {409, ERR_CONFLICT},
        {410, ERR_NOT_FOUND},   {413, ERR_TOO_LARGE},   {429, ERR_BUSY},    {415, ERR_UNSUPPORTED},
        {502, ERR_UNAVAILABLE}, {503, ERR_UNAVAILABLE}, {504, ERR_TIMEOUT}, {507, ERR_UNAVAILABLE},
    };
    for (size_t i = 0; i < ARRAY_LEN(table); i++)
        if (table[i].status == status)
            return table[i].class;
    return status >= 400 && status < 500 ? ERR_INVALID : ERR_INTERNAL;
}

/* The answer has an error status: what the server says about it. */
static int problem(const struct call *call, long status, struct err *err)
{
    json_t *json = json_loadb(buf_str(&call->body), call->body.len, 0, NULL);
    const char *code = json_string_value(json_object_get(json, "code"));
    const char *detail = json_string_value(json_object_get(json, "detail"));
    if (!detail)
        detail = json_string_value(json_object_get(json, "title"));
    /* Our own server's codes are finer than the classes or the same; another server has none. */
    int class = code ? err_from_name(code) : ERR_INTERNAL;
    if (class == ERR_INTERNAL)
        class = class_of_status(status);
    if (detail)
        err_set(err, class, "%s", detail);
    else
        err_set(err, class, "%s answers with HTTP status %ld: is that a steno server?", call->c->base, status);
    json_decref(json);
    return class;
}

static int transport_error(const struct call *call, CURLcode rc, struct err *err)
{
    if (rc == CURLE_ABORTED_BY_CALLBACK)
        return err_set(err, ERR_CANCELLED, "interrupted");
    if (rc == CURLE_WRITE_ERROR && !buf_ok(&call->body))
        return err_set(err, ERR_TOO_LARGE, "the answer of %s is too long", call->c->base);
    if (rc == CURLE_COULDNT_CONNECT || rc == CURLE_COULDNT_RESOLVE_HOST)
        return err_set(err, ERR_UNAVAILABLE, "cannot reach a server at %s: is 'steno serve' running?", call->c->base);
    if (rc == CURLE_OPERATION_TIMEDOUT)
        return err_set(err, ERR_TIMEOUT, "%s does not answer", call->c->base);
    if (rc == CURLE_URL_MALFORMAT || rc == CURLE_UNSUPPORTED_PROTOCOL)
        return err_set(err, ERR_INVALID, "'%s' is no server address: write http://host:port or unix:/path",
                       call->c->base);
    if (rc == CURLE_READ_ERROR)
        return err_set(err, ERR_UNAVAILABLE, "cannot read the file");
    return err_set(err, ERR_UNAVAILABLE, "the connection to %s broke: %s", call->c->base, curl_easy_strerror(rc));
}

/* Sets what every request shares. */
static int prepare(struct call *call, const char *method, const char *path, struct err *err)
{
    CURL *curl = call->c->curl;
    curl_easy_reset(curl);
    CLEANUP(free_p) char *url = xasprintf("%s%s", call->c->prefix, path);
    CURLcode rc = curl_easy_setopt(curl, CURLOPT_URL, url); /* copied */
    if (rc != CURLE_OK)
        return err_set(err, ERR_NOMEM, "no memory for a request");
    curl_easy_setopt(curl, CURLOPT_PROTOCOLS_STR, "http,https");
    if (call->c->socket)
        curl_easy_setopt(curl, CURLOPT_UNIX_SOCKET_PATH, call->c->socket);
    else if (str_starts(call->c->prefix, "http://127.") || str_starts(call->c->prefix, "http://localhost") ||
             str_starts(call->c->prefix, "http://[::1]"))
        curl_easy_setopt(curl, CURLOPT_NOPROXY, "*"); /* this machine is not behind a proxy */
    if (method)
        curl_easy_setopt(curl, CURLOPT_CUSTOMREQUEST, method);
    curl_easy_setopt(curl, CURLOPT_USERAGENT, "steno/" STENO_VERSION);
    curl_easy_setopt(curl, CURLOPT_NOSIGNAL, 1L);
    curl_easy_setopt(curl, CURLOPT_CONNECTTIMEOUT, (long)CONNECT_S);
    curl_easy_setopt(curl, CURLOPT_LOW_SPEED_LIMIT, 1L);
    curl_easy_setopt(curl, CURLOPT_LOW_SPEED_TIME, (long)STALL_S);
    curl_easy_setopt(curl, CURLOPT_WRITEFUNCTION, on_body);
    curl_easy_setopt(curl, CURLOPT_WRITEDATA, call);
    curl_easy_setopt(curl, CURLOPT_NOPROGRESS, 0L);
    curl_easy_setopt(curl, CURLOPT_XFERINFOFUNCTION, on_progress);
    curl_easy_setopt(curl, CURLOPT_XFERINFODATA, call);
    return 0;
}

static int perform(struct call *call, struct err *err)
{
    CURLcode rc = curl_easy_perform(call->c->curl);
    if (call->rc < 0) {
        *err = call->err;
        return call->rc;
    }
    long status = status_of(call);
    /* A server that refuses an upload may close before it has read all: its answer counts. */
    if (rc != CURLE_OK && !(status >= 400 && (rc == CURLE_SEND_ERROR || rc == CURLE_RECV_ERROR)))
        return transport_error(call, rc, err);
    return status >= 200 && status < 300 ? 0 : problem(call, status, err);
}

static int parse(const struct call *call, json_t **ret, struct err *err)
{
    if (!ret)
        return 0;
    json_t *json = call->body.len ? json_loadb(call->body.data, call->body.len, 0, NULL) : json_object();
    if (!json)
        return err_set(err, ERR_UNAVAILABLE, "the answer of %s is not JSON: is that a steno server?", call->c->base);
    *ret = json;
    return 0;
}

int client_call(struct client *c, const char *method, const char *path, json_t **ret, struct err *err)
{
    struct call call = {.c = c, .body = BUF_INIT(MAX_ANSWER)};
    int rc = prepare(&call, method, path, err);
    if (rc >= 0)
        rc = perform(&call, err);
    if (rc >= 0)
        rc = parse(&call, ret, err);
    buf_clear(&call.body);
    return rc;
}

int client_stream(struct client *c, const char *path, client_sink sink, void *arg, struct err *err)
{
    struct call call = {.c = c, .body = BUF_INIT(MAX_PROBLEM), .sink = sink, .sink_arg = arg};
    int rc = prepare(&call, NULL, path, err);
    if (rc >= 0)
        rc = perform(&call, err);
    buf_clear(&call.body);
    return rc;
}

int client_events(struct client *c, const struct client_events *e, struct err *err)
{
    struct call call = {.c = c,
                        .body = BUF_INIT(MAX_PROBLEM),
                        .sink = e->sink,
                        .sink_arg = e->arg,
                        .want = "text/event-stream",
                        .first_ms = clock_mono_ms() + FIRST_EVENT_MS};
    CLEANUP(free_p) char *last_id = xasprintf("Last-Event-ID: %s", e->last_id);
    int rc = prepare(&call, NULL, e->path, err);
    if (rc < 0)
        return rc;
    struct curl_slist *headers = curl_slist_append(NULL, "Accept: text/event-stream");
    struct curl_slist *more = headers && *e->last_id ? curl_slist_append(headers, last_id) : headers;
    curl_easy_setopt(c->curl, CURLOPT_HTTPHEADER, headers);
    curl_easy_setopt(c->curl, CURLOPT_TIMEOUT_MS, (long)MIN(e->timeout_ms, LONG_MAX));
    rc = headers && more ? perform(&call, err) : err_set(err, ERR_NOMEM, "no memory for a request");
    curl_slist_free_all(headers);
    buf_clear(&call.body);
    return rc;
}

void client_last_words(struct client *c)
{
    c->stops = stop_requested();
}

static int check_file(const char *file, struct err *err)
{
    struct stat st;
    if (stat(file, &st) < 0)
        return err_sys(err, errno, "cannot open '%s'", file);
    if (!S_ISREG(st.st_mode))
        return err_set(err, ERR_INVALID, "'%s' is not a regular file", file);
    return 0;
}

static const char *base_name(const char *path)
{
    const char *slash = strrchr(path, '/');
    return slash ? slash + 1 : path;
}

int client_upload(struct client *c, const struct client_upload *u, json_t **ret, struct err *err)
{
    struct call call = {.c = c, .body = BUF_INIT(MAX_PROBLEM), .progress = u->progress, .progress_arg = u->arg};
    int rc = check_file(u->file, err);
    if (rc >= 0)
        rc = prepare(&call, NULL, u->path, err);
    if (rc < 0)
        return rc;
    curl_mime *mime = curl_mime_init(c->curl);
    CURLcode ok = mime ? CURLE_OK : CURLE_OUT_OF_MEMORY;
    /* The options first: a server can refuse them before the long part comes. */
    for (size_t i = 0; i < u->n_fields && ok == CURLE_OK; i++) {
        if (!u->fields[i].value)
            continue;
        curl_mimepart *part = curl_mime_addpart(mime);
        ok = curl_mime_name(part, u->fields[i].name);
        if (ok == CURLE_OK)
            ok = curl_mime_data(part, u->fields[i].value, CURL_ZERO_TERMINATED);
    }
    if (ok == CURLE_OK) {
        curl_mimepart *part = curl_mime_addpart(mime);
        ok = curl_mime_name(part, "file");
        if (ok == CURLE_OK)
            ok = curl_mime_filedata(part, u->file);
        if (ok == CURLE_OK)
            ok = curl_mime_filename(part, u->name ? u->name : base_name(u->file));
    }
    if (ok == CURLE_OK) {
        curl_easy_setopt(c->curl, CURLOPT_MIMEPOST, mime);
        rc = perform(&call, err);
    } else {
        rc = err_set(err, ok == CURLE_READ_ERROR ? ERR_INVALID : ERR_NOMEM, "cannot send '%s': %s", u->file,
                     curl_easy_strerror(ok));
    }
    curl_mime_free(mime);
    if (rc >= 0)
        rc = parse(&call, ret, err);
    buf_clear(&call.body);
    return rc;
}

void client_add_escaped(struct buf *path, const char *text)
{
    static const char plain[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-._~";
    for (const char *p = text; *p; p++)
        if (strchr(plain, *p))
            buf_addc(path, *p);
        else
            buf_addf(path, "%%%02X", (unsigned char)*p);
}

void client_add_query(struct buf *path, const char *name, const char *value)
{
    if (!value)
        return;
    buf_addf(path, "%c%s=", strchr(buf_str(path), '?') ? '&' : '?', name);
    client_add_escaped(path, value);
}
