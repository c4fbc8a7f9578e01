/* SPDX-License-Identifier: MIT */
#include "storage/s3_error.h"

#include "base/str.h"
#include "storage/s3_xml.h"

#include <stdio.h>
#include <string.h>

/* code, class, may pass in a moment?, what to do */
static const struct known {
    const char *code;
    int class;
    bool again;
    const char *what;
} known[] = {
    {"NoSuchKey", ERR_NOT_FOUND, false, "no such object"},
    {"NoSuchVersion", ERR_NOT_FOUND, false, "no such object"},
    {"NoSuchUpload", ERR_NOT_FOUND, false, "no such upload"},
    {"InvalidRange", ERR_INVALID, false, "it has fewer bytes than that"},
    {"PreconditionFailed", ERR_CONFLICT, false, "it was replaced meanwhile"},
    {"EntityTooLarge", ERR_TOO_LARGE, false, "the object is larger than the S3 server takes"},
    /* Of configuration: an operator can mend it while jobs wait, so it is no verdict on them. */
    {"NoSuchBucket", ERR_UNAVAILABLE, false, "the bucket does not exist; make it, or set 'storage' to one that does"},
    {"AccessDenied", ERR_UNAVAILABLE, false,
     "access denied; the keys need the rights s3:GetObject, s3:PutObject, s3:DeleteObject, s3:AbortMultipartUpload on "
     "its objects and s3:ListBucket, s3:ListBucketMultipartUploads on the bucket"},
    {"SignatureDoesNotMatch", ERR_UNAVAILABLE, false,
     "the signature does not match; check s3_secret_key and s3_region, and that no proxy changes the requests"},
    {"InvalidAccessKeyId", ERR_UNAVAILABLE, false, "the server does not know this access key; check s3_access_key"},
    {"RequestTimeTooSkewed", ERR_UNAVAILABLE, false,
     "the clocks of this machine and the server are too far apart; set this machine's clock (NTP)"},
    {"ExpiredToken", ERR_UNAVAILABLE, false, "the temporary keys have expired; give new ones"},
    {"TokenRefreshRequired", ERR_UNAVAILABLE, false, "the temporary keys have expired; give new ones"},
    {"InvalidToken", ERR_UNAVAILABLE, false, "the session token is not valid; check s3_session_token"},
    {"AccountProblem", ERR_UNAVAILABLE, false, "there is a problem with the account at the S3 provider"},
    {"InvalidBucketName", ERR_INVALID, false, "that is no name for a bucket; change 'storage'"},
    {"BucketAlreadyExists", ERR_INVALID, false, "the bucket belongs to somebody else; choose another name"},
    {"QuotaExceeded", ERR_UNAVAILABLE, false, "the quota is used up; free some space or raise it"},
    {"XMinioStorageFull", ERR_UNAVAILABLE, false, "the S3 server's disks are full; free some space there"},
    {"BadDigest", ERR_UNAVAILABLE, true, "the data was damaged on its way"},
    {"XAmzContentSHA256Mismatch", ERR_UNAVAILABLE, true, "the data was damaged on its way"},
    {"RequestTimeout", ERR_TIMEOUT, true, "the server got no data for too long"},
    {"OperationAborted", ERR_UNAVAILABLE, true, "another request for the same is under way"},
    {"ConditionalRequestConflict", ERR_UNAVAILABLE, true, "another request for the same is under way"},
    {"SlowDown", ERR_UNAVAILABLE, true, "the server asks to slow down"},
    {"NotImplemented", ERR_UNSUPPORTED, false, "the S3 server cannot do that"},
};

static const struct known *find(const char *code)
{
    for (size_t i = 0; i < ARRAY_LEN(known); i++)
        if (strcmp(known[i].code, code) == 0)
            return &known[i];
    return NULL;
}

/*
 * Answers to HEAD, and a proxy's, have no code. Only with HEAD does 404 speak of the object: to others the S3 server
 * names what is missing, so "404 page not found" is that of a proxy whose server is away, and no verdict on a job.
 */
static const char *code_of(int status, bool head)
{
    switch (status) {
    case 404:
        return head ? "NoSuchKey" : "";
    case 408:
        return "RequestTimeout";
    case 412:
        return "PreconditionFailed";
    case 413:
        return "EntityTooLarge";
    case 416:
        return "InvalidRange";
    case 429:
        return "SlowDown";
    case 501:
        return "NotImplemented";
    default:
        return "";
    }
}

/* What is known of no code. */
static struct known by_status(int status)
{
    if (status == 403)
        return (struct known){NULL, ERR_UNAVAILABLE, false, "access denied; check s3_access_key and s3_secret_key"};
    if (status == 404)
        return (struct known){NULL, ERR_UNAVAILABLE, true,
                              "the answer is no S3 server's; check s3_endpoint and proxies"};
    if (status >= 500)
        return (struct known){NULL, ERR_UNAVAILABLE, true, "the server is in trouble"};
    if (status >= 300 && status < 400)
        return (struct known){NULL, ERR_UNAVAILABLE, false,
                              "the server sends elsewhere; check s3_endpoint, s3_region and s3_style"};
    return (struct known){NULL, ERR_UNAVAILABLE, false, "the server refuses the request"};
}

static bool wrong_region(const struct s3_answer *a)
{
    return strcmp(a->code, "PermanentRedirect") == 0 || strcmp(a->code, "AuthorizationHeaderMalformed") == 0 ||
           strcmp(a->code, "IllegalLocationConstraintException") == 0 || a->status == 301;
}

int s3_error(const struct s3 *s, const char *method, const struct s3_answer *a, bool *ret_again, struct err *err)
{
    bool head = strcmp(method, "HEAD") == 0;
    *ret_again = false;
    if (wrong_region(a) && *a->region && strcmp(a->region, s->region) != 0)
        return err_set(err, ERR_UNAVAILABLE, "bucket '%s' is in region %s, not %s; set s3_region", s->bucket, a->region,
                       s->region);
    const struct known *k = find(*a->code ? a->code : code_of(a->status, head)), other = by_status(a->status);
    if (!k)
        k = &other;
    *ret_again = k->again;
    if (k->class == ERR_NOT_FOUND || k->class == ERR_CONFLICT)
        return err_set(err, k->class, "%s", k->what);
    return err_set(err, k->class, "S3 bucket '%s': %s (HTTP %d%s%s)", s->bucket, k->what, a->status,
                   *a->code ? ", " : "", a->code);
}

static int take(const char *path, const char *text, void *arg, struct err *err)
{
    struct s3_answer *a = arg;
    /* A code is a word, whatever the server makes of it: it is logged and shown. */
    if (strcmp(path, "Error/Code") == 0 && strlen(text) < sizeof a->code &&
        !text[strspn(text, "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789.")])
        snprintf(a->code, sizeof a->code, "%s", text);
    else if (strcmp(path, "Error/Region") == 0 && strlen(text) < sizeof a->region)
        snprintf(a->region, sizeof a->region, "%s", text);
    (void)err;
    return 0;
}

bool s3_error_read(struct s3_answer *a)
{
    struct err ignored = ERR_INIT; /* a proxy's page: the status has to do */
    if (!a->body.len || s3_xml_read(a->body.data, a->body.len, take, a, &ignored) < 0)
        return false;
    return *a->code;
}
