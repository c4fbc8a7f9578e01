/* SPDX-License-Identifier: MIT */
/*
 * Uploads past the API: a client asks for a URL, puts its recording there, and submits a job that names it.
 *
 * With S3 the URL is the store's own (presigned). A local folder has none: then it is one of ours, PUT
 * /v1/uploads/{id}/content, signed with a key in the data folder, so that it too is good without anything else for one
 * object and some time. The key of the object has the id of the upload in it, which becomes the id of the job: so an
 * object is used once, and belongs to its job like any other recording.
 */
#ifndef API_SIGNED_UPLOAD_H
#define API_SIGNED_UPLOAD_H

#include "api/form.h"
#include "api/request.h"
#include "job/store.h"
#include "storage/storage.h"

enum { SIGN_KEY_SIZE = 32, SIGNATURE_SIZE = 65 };

/* Reads the key that signs our URLs, from the data folder; makes it when there is none. */
int sign_key_open(const char *data_folder, unsigned char ret[SIGN_KEY_SIZE], struct err *err) MUST_CHECK;
/* Of an upload whose URL is good until then, as hex. */
int sign_upload(const unsigned char key[SIGN_KEY_SIZE], const char *id, int64_t expires_ms, char ret[SIGNATURE_SIZE],
                struct err *err) MUST_CHECK;
/* The id in a key of ours, or in a URL that was handed out for one: false when there is none. */
bool upload_id_find(const char *text, char ret[37]);

/* What was handed out; texts live in the request's arena. */
struct upload_url {
    const char *id, *key, *url;
    int64_t expires_at;
};
/*
 * Notes an upload and makes its URL. `size` -1: not said. INVALID (no such size; no Host header to make a URL of),
 * TOO_LARGE, UNSUPPORTED (a type that no recording has); *ret_problem says more.
 */
int upload_url_new(struct request *rq, const char *filename, const char *content_type, int64_t size,
                   struct upload_url *ret, enum problem *ret_problem, struct err *err) MUST_CHECK;

/* ---- BODY_OBJECT: a recording that comes by our own URL ---- */

/* Is the Content-Type (NULL: none) one that a recording may have? UNSUPPORTED. */
int upload_url_type(const char *type, enum problem *ret_problem, struct err *err) MUST_CHECK;
/* Is the URL good? Then rq->signed_upload is its row. */
int upload_url_admit(struct request *rq, enum problem *ret_problem, struct err *err) MUST_CHECK;
/* All of it was written: commits, and notes what came. */
int upload_url_store(struct request *rq, struct storage_put *put, enum problem *ret_problem, struct err *err)
    MUST_CHECK;

/* ---- submitting ---- */

/*
 * Makes a job of an upload that `ref` names (an id, a key or a URL): rq->job. `filename` NULL: as it was announced.
 * NOT_FOUND, CONFLICT and UNSUPPORTED (what was put there has a type that no recording has, or, where the dialect looks
 * into recordings, begins as none does) come with *ret_problem.
 */
int upload_submit(struct request *rq, const char *ref, const char *filename, const struct form *form,
                  enum problem *ret_problem, struct err *err) MUST_CHECK;
/* The same from a JSON body: "upload_id", "key" or "url", beside the fields of a form. */
int upload_submit_json(struct request *rq, enum problem *ret_problem, struct err *err) MUST_CHECK;

#endif
