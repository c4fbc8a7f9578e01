/* SPDX-License-Identifier: MIT */
#include "api/signed_upload.h"

#include "api/body.h"
#include "api/idempotency.h"
#include "api/json_body.h"
#include "api/jsonw.h"
#include "api/room.h"
#include "api/server.h"
#include "api/sniff.h"
#include "api/submit.h"
#include "base/clock.h"
#include "base/id.h"
#include "base/io.h"
#include "base/str.h"

#include <errno.h>
#include <fcntl.h>
#include <jansson.h>
#include <openssl/crypto.h>
#include <openssl/evp.h>
#include <openssl/hmac.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { REF_MAX = 8192, CONTENT_TYPE_MAX = 255 };

/* ---- the key and the signature ---- */

static int read_key(const char *path, unsigned char ret[SIGN_KEY_SIZE], struct err *err)
{
    CLEANUP(free_p) char *text = NULL;
    size_t n = 0;
    int rc = io_read_file(path, SIGN_KEY_SIZE, &text, &n, err);
    if (rc >= 0 && n != SIGN_KEY_SIZE)
        rc = err_set(err, ERR_CORRUPT, "'%s' is damaged: delete it, and URLs handed out so far are void", path);
    if (rc >= 0)
        memcpy(ret, text, SIGN_KEY_SIZE);
    return rc;
}

/* Appears whole or not at all, and the first of several processes wins: written beside, then linked. */
static int make_key(const char *path, struct err *err)
{
    unsigned char key[SIGN_KEY_SIZE];
    CLEANUP(free_p) char *beside = xasprintf("%s.%lld", path, (long long)getpid());
    CLEANUP(close_fd) int fd = open(beside, O_WRONLY | O_CREAT | O_TRUNC | O_NOFOLLOW | O_CLOEXEC, 0600);
    if (fd < 0)
        return err_sys(err, errno, "cannot make '%s'", beside);
    random_bytes(key, sizeof key);
    int rc = io_write_all(fd, key, sizeof key, err);
    if (rc >= 0 && fsync(fd) < 0)
        rc = err_sys(err, errno, "cannot write '%s'", beside);
    if (rc >= 0 && link(beside, path) < 0 && errno != EEXIST)
        rc = err_sys(err, errno, "cannot make '%s'", path);
    unlink(beside);
    return rc;
}

int sign_key_open(const char *data_folder, unsigned char ret[SIGN_KEY_SIZE], struct err *err)
{
    CLEANUP(free_p) char *path = xasprintf("%s/upload.key", data_folder);
    int rc = access(path, F_OK) == 0 ? 0 : make_key(path, err);
    return rc < 0 ? rc : read_key(path, ret, err);
}

int sign_upload(const unsigned char key[SIGN_KEY_SIZE], const char *id, int64_t expires_ms, char ret[SIGNATURE_SIZE],
                struct err *err)
{
    char text[96];
    unsigned char digest[EVP_MAX_MD_SIZE];
    unsigned n = 0;
    snprintf(text, sizeof text, "PUT\n%s\n%lld", id, (long long)expires_ms);
    if (!HMAC(EVP_sha256(), key, SIGN_KEY_SIZE, (const unsigned char *)text, strlen(text), digest, &n) ||
        2 * n + 1 != SIGNATURE_SIZE)
        return err_set(err, ERR_INTERNAL, "cannot sign a URL");
    str_hex(digest, n, ret);
    return 0;
}

bool upload_id_find(const char *text, char ret[37])
{
    static const char folder[] = "uploads/";
    size_t n = strcspn(text, "?#");
    if (id_valid(text)) {
        memcpy(ret, text, 37);
        return true;
    }
    bool found = false;
    /* The last one counts: a bucket or folder before may be called so too. */
    for (const char *p = text; (p = strstr(p, folder)) && (size_t)(p - text) < n; p++) {
        const char *id = p + strlen(folder);
        char one[ID_SIZE];
        if ((p != text && p[-1] != '/') || strlen(id) < ID_SIZE || id[ID_SIZE - 1] != '/')
            continue;
        memcpy(one, id, ID_SIZE - 1);
        one[ID_SIZE - 1] = '\0';
        if (!id_valid(one))
            continue;
        memcpy(ret, one, sizeof one);
        found = true;
    }
    return found;
}

/* ---- handing out URLs ---- */

static bool host_plain(const char *host)
{
    return *host && !host[strspn(host, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-._:[]")];
}

static int own_url(struct request *rq, struct upload_url *u, struct err *err)
{
    const struct api *api = rq->api;
    char signature[SIGNATURE_SIZE];
    const char *base = api->o.public_url;
    int rc = sign_upload(api->sign_key, u->id, u->expires_at, signature, err);
    if (rc < 0)
        return rc;
    if (!*base) {
        if (!rq->host || !host_plain(rq->host))
            return err_set(err, ERR_INVALID, "the Host header is not host:port: no URL can be made with it");
        base = arena_printf(&rq->arena, "http://%s", rq->host);
    }
    size_t n = base ? strlen(base) : 0;
    while (n && base[n - 1] == '/')
        n--;
    u->url = n ? arena_printf(&rq->arena, "%.*s/v1/uploads/%s/content?expires=%lld&signature=%s", (int)n, base, u->id,
                              (long long)u->expires_at, signature)
               : NULL;
    return u->url ? 0 : err_set(err, ERR_NOMEM, "no memory for this request");
}

static int make_url(struct request *rq, struct upload_url *u, struct err *err)
{
    CLEANUP(free_p) char *url = NULL;
    int64_t lifetime_s = rq->api->o.upload_url_ms / 1000, until_ms = 0;
    int rc = storage_presign(rq->api->o.storage, STORAGE_PRESIGN_PUT, u->key, NULL, lifetime_s, &url, &until_ms, err);
    u->expires_at = rc < 0 ? clock_wall_ms() + lifetime_s * 1000 : until_ms;
    if (rc == ERR_UNSUPPORTED)
        return own_url(rq, u, err);
    if (rc < 0)
        return rc;
    u->url = arena_strdup(&rq->arena, url);
    return u->url ? 0 : err_set(err, ERR_NOMEM, "no memory for this request");
}

static int too_large(struct request *rq, enum problem *ret_problem, struct err *err)
{
    *ret_problem = PROBLEM_file_too_large;
    return err_set(err, ERR_TOO_LARGE, "the recording is over %lld bytes", (long long)request_max_upload(rq));
}

static int not_media(const char *type, enum problem *ret_problem, struct err *err)
{
    *ret_problem = PROBLEM_not_audio;
    return err_set(err, ERR_UNSUPPORTED, "'%.100s' is no type of a recording: send audio or video", type);
}

int upload_url_new(struct request *rq, const char *filename, const char *content_type, int64_t size,
                   struct upload_url *ret, enum problem *ret_problem, struct err *err)
{
    char id[ID_SIZE], safe[256];
    if (size > request_max_upload(rq))
        return too_large(rq, ret_problem, err);
    if (size == 0) {
        *ret_problem = PROBLEM_empty_file;
        return err_set(err, ERR_INVALID, "a recording of no bytes: there is nothing to transcribe");
    }
    if (!body_type_fits(content_type)) {
        rq->wrong_field = "content_type";
        return not_media(content_type, ret_problem, err);
    }
    if (content_type && (!*content_type || strlen(content_type) > CONTENT_TYPE_MAX))
        content_type = NULL;
    id_new(id);
    storage_safe_name(filename, safe, sizeof safe);
    *ret = (struct upload_url){.id = arena_strdup(&rq->arena, id),
                               .key = arena_printf(&rq->arena, "uploads/%s/%s", id, safe)};
    if (!ret->id || !ret->key)
        return err_set(err, ERR_NOMEM, "no memory for this request");
    int rc = make_url(rq, ret, err);
    if (rc < 0)
        return rc;
    const struct job_upload row = {.id = ret->id,
                                   .key = ret->key,
                                   .filename = filename,
                                   .content_type = content_type,
                                   .size = size,
                                   .expires_at = ret->expires_at};
    return store_add_upload(rq->api->o.store, &row, err);
}

/* ---- our own URLs ---- */

static int bad_url(enum problem *ret_problem, struct err *err, const char *why)
{
    *ret_problem = PROBLEM_bad_upload_url;
    return err_set(err, ERR_INVALID, "%s", why);
}

static int other_size(const struct job_upload *u, int64_t size, enum problem *ret_problem, struct err *err)
{
    *ret_problem = PROBLEM_upload_missing;
    return err_set(err, ERR_CONFLICT, "%lld bytes were announced, and %lld were put there: upload it again",
                   (long long)u->size, (long long)size);
}

static int used(const char *id, enum problem *ret_problem, struct err *err)
{
    *ret_problem = PROBLEM_upload_used;
    return err_set(err, ERR_CONFLICT, "upload %s has become a job already", id);
}

int upload_url_admit(struct request *rq, enum problem *ret_problem, struct err *err)
{
    struct api *api = rq->api;
    const char *id = rq->params[0], *given = query_get(&rq->query, "signature");
    int64_t expires;
    char signature[SIGNATURE_SIZE];
    if (query_int(&rq->query, "expires", 0, INT64_MAX, 0, &expires, err) < 0 || !given || !id_valid(id))
        return bad_url(ret_problem, err, "the URL is not as it was handed out");
    int rc = sign_upload(api->sign_key, id, expires, signature, err);
    if (rc < 0)
        return rc;
    if (strlen(given) != strlen(signature) || CRYPTO_memcmp(given, signature, strlen(signature)) != 0)
        return bad_url(ret_problem, err, "the URL is not as it was handed out");
    if (clock_wall_ms() > expires)
        return bad_url(ret_problem, err, "the URL has expired: ask for a new one");
    struct job_upload *u = arena_alloc(&rq->arena, sizeof *u);
    if (!u)
        return err_set(err, ERR_NOMEM, "no memory for this request");
    rc = store_get_upload(api->o.store, id, &rq->arena, u, err);
    if (rc == ERR_NOT_FOUND)
        return bad_url(ret_problem, err, "the URL has expired: ask for a new one");
    if (rc < 0)
        return rc;
    if (u->used_at)
        return used(id, ret_problem, err);
    rc = room_find(api, rq->body_bytes, err);
    if (rc < 0) {
        *ret_problem = rc == ERR_BUSY ? PROBLEM_disk_full : PROBLEM_COUNT;
        return rc;
    }
    rq->signed_upload = u;
    return 0;
}

int upload_url_type(const char *type, enum problem *ret_problem, struct err *err)
{
    return body_type_fits(type) ? 0 : not_media(type, ret_problem, err);
}

int upload_url_store(struct request *rq, struct storage_put *put, enum problem *ret_problem, struct err *err)
{
    const struct job_upload *u = rq->signed_upload;
    struct object_info info;
    int rc = storage_put_seal(put, &info, err);
    if (rc >= 0 && u->size >= 0 && u->size != info.size)
        rc = other_size(u, info.size, ret_problem, err);
    if (rc >= 0) {
        /* Noted first: of several that come at the same time one is let through, and only its bytes can ever stand
         * there, whenever a job takes them. */
        rc = store_upload_comes(rq->api->o.store, u->id, info.sha256, err);
        if (rc == ERR_CONFLICT)
            *ret_problem = PROBLEM_upload_used;
    }
    if (rc < 0) {
        storage_put_abort(put);
        return rc;
    }
    rc = storage_put_commit(put, NULL, err);
    if (rc < 0)
        *ret_problem = PROBLEM_storage_unavailable;
    return rc;
}

int route_put_upload(struct request *rq, struct err *err)
{
    (void)err;
    rq->answer.status = 200;
    return 0;
}

/* ---- submitting ---- */

static int not_there(const struct job_upload *u, enum problem *ret_problem, struct err *err)
{
    *ret_problem = PROBLEM_upload_missing;
    return err_set(err, ERR_CONFLICT, "nothing was put under '%s' yet: upload the recording first", u->key);
}

/* What is in storage, and what it must be when a worker fetches it. */
static int pin(struct request *rq, const struct job_upload *u, struct object_info *info, const char **ret_sum,
               enum problem *ret_problem, struct err *err)
{
    struct storage *storage = rq->api->o.storage;
    int rc = storage_stat(storage, u->key, info, err);
    if (rc == ERR_NOT_FOUND)
        return not_there(u, ret_problem, err);
    if (rc < 0) {
        *ret_problem = PROBLEM_storage_unavailable;
        return rc;
    }
    if (!*info->etag && !u->etag)
        return not_there(u, ret_problem, err);
    struct err gone = ERR_INIT;
    if (info->size > request_max_upload(rq)) {
        if (storage_delete(storage, u->key, &gone) < 0)
            log_warn(&rq->log, "'%s' is left for the sweeper: %s", u->key, gone.msg);
        return too_large(rq, ret_problem, err);
    }
    if (info->size == 0) {
        *ret_problem = PROBLEM_empty_file;
        return err_set(err, ERR_INVALID, "'%.100s' is empty: there is nothing to transcribe", u->filename);
    }
    if (u->size >= 0 && u->size != info->size)
        return other_size(u, info->size, ret_problem, err);
    if (!body_type_fits(info->type))
        return not_media(info->type, ret_problem, err);
    *ret_sum = *info->etag ? arena_printf(&rq->arena, STORAGE_ETAG_PREFIX "%s", info->etag) : u->etag;
    return *ret_sum ? 0 : err_set(err, ERR_NOMEM, "no memory for this request");
}

/* The first bytes, as of a form's recording. */
static int look_inside(struct request *rq, const struct job_upload *u, const struct object_info *info,
                       enum problem *ret_problem, struct err *err)
{
    char head[SNIFF_BYTES];
    size_t n = 0;
    ssize_t got = 1;
    struct storage_get *g = NULL;
    int rc = storage_get_begin(rq->api->o.storage, u->key, 0, &g, NULL, err);
    while (rc >= 0 && got > 0 && n < sizeof head) {
        got = storage_get_read(g, head + n, sizeof head - n, err);
        n += got > 0 ? (size_t)got : 0;
    }
    storage_get_end(g);
    if (rc == ERR_NOT_FOUND)
        return not_there(u, ret_problem, err);
    if (rc < 0 || got < 0) {
        *ret_problem = PROBLEM_storage_unavailable;
        return err->code;
    }
    const char *what = sniff_refuse(head, n, (int64_t)n == info->size);
    if (!what)
        return 0;
    *ret_problem = PROBLEM_not_audio;
    return err_set(err, ERR_UNSUPPORTED, "'%.100s' is no recording but %s", u->filename, what);
}

int upload_submit(struct request *rq, const char *ref, const char *filename, const struct form *form,
                  enum problem *ret_problem, struct err *err)
{
    char id[ID_SIZE];
    struct job_upload u;
    struct object_info info = {0};
    const char *sum = NULL;
    *ret_problem = PROBLEM_upload_not_found;
    if (!upload_id_find(ref, id))
        return err_set(err, ERR_NOT_FOUND, "this is neither the id nor the key nor the URL of an upload");
    int rc = store_get_upload(rq->api->o.store, id, &rq->arena, &u, err);
    if (rc < 0) {
        *ret_problem = rc == ERR_NOT_FOUND ? PROBLEM_upload_not_found : PROBLEM_COUNT;
        return rc;
    }
    *ret_problem = PROBLEM_COUNT;
    bool again = rq->idempotency && !rq->idempotency->claimed; /* then submit knows whether it is the same */
    if (u.used_at && !again)
        return used(u.id, ret_problem, err);
    if (u.used_at) {
        /* As it was taken for its job: the object may be gone by now. */
        sum = u.etag;
        info.size = u.size;
    } else {
        rc = pin(rq, &u, &info, &sum, ret_problem, err);
        if (rc >= 0 && !form->dialect->name_decides)
            rc = look_inside(rq, &u, &info, ret_problem, err);
    }
    if (rc < 0)
        return rc;
    rq->form = form;
    const struct submission s = {
        .id = u.id,
        .key = u.key,
        .filename = filename ? filename : u.filename,
        .content_type = u.content_type,
        .form = form,
        .stored = &info,
        .sum = sum,
    };
    return submit(rq, &s, ret_problem, err);
}

/* A member of a JSON body as the text a form would hold. NULL: it is none. */
static const char *as_text(json_t *v, struct arena *a)
{
    if (json_is_string(v))
        return json_string_value(v);
    if (json_is_boolean(v))
        return json_is_true(v) ? "true" : "false";
    if (!json_is_number(v))
        return NULL;
    CLEANUP(free_p) char *text = json_dumps(v, JSON_ENCODE_ANY | JSON_REAL_PRECISION(15));
    return text ? arena_strdup(a, text) : NULL;
}

static int take_member(struct request *rq, struct form *f, const char *name, json_t *v, enum problem *ret_problem,
                       struct err *err)
{
    struct form_slot slot;
    rq->wrong_field = name;
    if (json_is_null(v))
        return 0;
    if (!form_find(f, name, &slot)) {
        *ret_problem = PROBLEM_unknown_field;
        return f->dialect->ignores_unknown ? 0 : err_set(err, ERR_INVALID, "there is no field '%.64s'", name);
    }
    const char *text = as_text(v, &rq->arena);
    if (!text) {
        *ret_problem = PROBLEM_bad_field;
        return err_set(err, ERR_INVALID, "'%.64s' must be a text or a number", name);
    }
    return form_set(f, &slot, text, strlen(text), &rq->arena, ret_problem, err);
}

int upload_submit_json(struct request *rq, enum problem *ret_problem, struct err *err)
{
    static const char *const names[] = {"upload_id", "key", "url"};
    const char *ref = NULL, *filename = NULL, *key;
    const struct dialect *d = rq->route->dialect;
    struct form *f = arena_alloc(&rq->arena, sizeof *f);
    int rc = f ? 0 : err_set(err, ERR_NOMEM, "no memory for this request");
    json_t *v;
    for (size_t i = 0; rc >= 0 && i < ARRAY_LEN(names) && !ref; i++)
        rc = json_body_text(rq, names[i], false, REF_MAX, &ref, ret_problem, err);
    if (rc >= 0)
        rc = json_body_text(rq, "filename", false, FILENAME_MAX_BYTES, &filename, ret_problem, err);
    if (rc < 0)
        return rc;
    if (!ref) {
        rq->wrong_field = names[0];
        *ret_problem = PROBLEM_missing_field;
        return err_set(err, ERR_INVALID, "name the upload: 'upload_id', or 'key'");
    }
    f->dialect = d;
    f->engine_names = rq->api->o.engine_names;
    json_object_foreach (rq->json, key, v) {
        bool taken = strcmp(key, "filename") == 0;
        for (size_t i = 0; i < ARRAY_LEN(names); i++)
            taken = taken || strcmp(key, names[i]) == 0;
        rc = taken ? 0 : take_member(rq, f, key, v, ret_problem, err);
        if (rc < 0)
            return rc;
    }
    rc = d->complete ? d->complete(f, &rq->arena, ret_problem, err) : 0;
    rq->wrong_field = f->wrong;
    if (rc < 0)
        return rc;
    return upload_submit(rq, ref, filename ? form_filename(filename, &rq->arena) : NULL, f, ret_problem, err);
}

int route_new_upload(struct request *rq, struct err *err)
{
    const char *filename = NULL, *type = NULL;
    int64_t size = -1;
    struct upload_url u;
    enum problem p = PROBLEM_COUNT;
    int rc = json_body_text(rq, "filename", true, FILENAME_MAX_BYTES, &filename, &p, err);
    if (rc >= 0)
        rc = json_body_text(rq, "content_type", false, CONTENT_TYPE_MAX, &type, &p, err);
    if (rc >= 0)
        rc = json_body_int(rq, "size", false, &size, &p, err);
    if (rc >= 0)
        rc = upload_url_new(rq, form_filename(filename, &rq->arena), type, size, &u, &p, err);
    if (rc < 0)
        return request_error(rq, p, err);
    CLEANUP(buf_clear) struct buf b = BUF_INIT(64 << 10);
    struct jsonw w = {&b, false};
    jw_open(&w, NULL, '{');
    jw_str(&w, "id", u.id);
    jw_str(&w, "key", u.key);
    jw_str(&w, "method", "PUT");
    jw_str(&w, "url", u.url);
    jw_open(&w, "headers", '{');
    if (type && *type)
        jw_str(&w, "Content-Type", type);
    jw_close(&w, '}');
    jw_time(&w, "expires_at", u.expires_at);
    jw_close(&w, '}');
    return request_json(rq, 201, &b, err);
}
