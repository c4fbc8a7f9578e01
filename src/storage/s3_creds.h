/* SPDX-License-Identifier: MIT */
/*
 * Whose keys sign the requests. The first source that has some counts, in the order of Amazon's own tools:
 *
 *   1. the settings                       s3_access_key, s3_secret_key, s3_session_token
 *   2. the environment                    AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY, AWS_SESSION_TOKEN
 *   3. files, profile AWS_PROFILE         AWS_SHARED_CREDENTIALS_FILE, AWS_CONFIG_FILE; else
 * ~/.aws/{credentials,config}
 *   4. the container's role               AWS_CONTAINER_CREDENTIALS_FULL_URI or _RELATIVE_URI (ECS, EKS pod identity)
 *   5. the machine's role (IMDSv2)        AWS_EC2_METADATA_SERVICE_ENDPOINT, else http://169.254.169.254
 *
 * Keys of roles end; they are fetched anew before that, by one thread while others go on with the old ones. Any thread.
 * Errors: INVALID (no keys anywhere, a broken file or answer), UNAVAILABLE, TIMEOUT.
 */
#ifndef STORAGE_S3_CREDS_H
#define STORAGE_S3_CREDS_H

#include "storage/s3_sign.h"

/* Keys with their memory. */
struct s3_keyset {
    char *access, *secret, *token; /* token may be NULL */
    int64_t until_ms;              /* wall clock; 0: no end */
};
void s3_keyset_clear(struct s3_keyset *k);

struct s3_creds;

/* Texts are copied; NULL or "" is "not set". Looks at nothing yet. */
int s3_creds_new(const char *access, const char *secret, const char *token, struct s3_creds **ret, struct err *err)
    MUST_CHECK;
void s3_creds_free(struct s3_creds *c); /* NULL is fine */
/* A copy of the keys to use now; clear it. */
int s3_creds_get(struct s3_creds *c, struct s3_keyset *ret, struct err *err) MUST_CHECK;
/* The server says that these have ended: the next get fetches new ones if its source has such. False: it has not. */
bool s3_creds_expired(struct s3_creds *c, const struct s3_keyset *used);

/* The region that environment or profile name; "" when none does. `ret` has S3_REGION_SIZE bytes. */
enum { S3_REGION_SIZE = 65 };
int s3_creds_region(char ret[S3_REGION_SIZE], struct err *err) MUST_CHECK;

/* The sources, each 1: has keys, 0: has none, negative: broken. Private to s3_creds*.c. */
int s3_creds_from_files(struct s3_keyset *ret, struct err *err) MUST_CHECK;
int s3_creds_from_container(struct s3_keyset *ret, struct err *err) MUST_CHECK;
int s3_creds_from_machine(struct s3_keyset *ret, struct err *err) MUST_CHECK;
/* The value of `key` in the profile in use, "" when there is none. Caller frees. */
int s3_profile_value(const char *key, char **ret, struct err *err) MUST_CHECK;
/* The environment; "" counts as not set: NULL. */
const char *s3_env(const char *name);

#endif
