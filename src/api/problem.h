/* SPDX-License-Identifier: MIT */
/*
 * Everything the API can refuse a request with: one row each. Answers carry the code as `code`; it never changes its
 * meaning, while sentences may.
 */
#ifndef API_PROBLEM_H
#define API_PROBLEM_H

/* name and code, HTTP status, title, what the client should do */
#define PROBLEMS(X)                                                                                    \
    X(bad_request, 400, "Malformed request", "repair the request")                                     \
    X(bad_query, 400, "Bad query", "repair the part of the URL behind '?'")                            \
    X(not_multipart, 400, "Not a multipart request", "send multipart/form-data")                       \
    X(bad_boundary, 400, "Bad boundary", "name the boundary in the Content-Type header")               \
    X(malformed_multipart, 400, "Malformed multipart body", "repair the body")                         \
    X(truncated_multipart, 400, "Multipart body cut off", "send the whole body")                       \
    X(missing_file, 400, "No recording", "send the recording in the field 'file'")                     \
    X(empty_file, 400, "Empty recording", "send a recording that is not empty")                        \
    X(unknown_field, 400, "Unknown field", "leave the field out or correct its name")                  \
    X(duplicate_field, 400, "Field given twice", "send the field once")                                \
    X(bad_field, 400, "Bad value of a field", "correct the value")                                     \
    X(bad_idempotency_key, 400, "Bad Idempotency-Key", "send 1 to 255 printable characters")           \
    X(missing_field, 400, "Field missing", "send the field")                                           \
    X(malformed_json, 400, "Malformed JSON body", "send a JSON object")                                \
    X(bad_upload_url, 403, "Bad upload URL", "ask for a new one")                                      \
    X(foreign_origin, 403, "Page of another origin", "name its origin in `cors_origins`")              \
    X(upload_not_found, 404, "No such upload", "ask for an upload URL first; it may have expired")     \
    X(no_such_route, 404, "No such page", "see GET / for what there is")                               \
    X(job_not_found, 404, "No such job", "check the id; purged jobs are gone")                         \
    X(error_not_found, 404, "No such failure", "see GET /v1/errors for those there are")               \
    X(queue_not_found, 404, "No such queue", "see GET /v1/queues for those there are")                 \
    X(method_not_allowed, 405, "Method not allowed", "use a method of the Allow header")               \
    X(not_acceptable, 406, "No such format", "ask for a format there is")                              \
    X(upload_timeout, 408, "Upload took too long", "send again over a faster connection")              \
    X(job_not_finished, 409, "Job not finished", "wait and ask again")                                 \
    X(job_failed, 409, "Job failed", "see `error` of the job")                                         \
    X(job_cancelled, 409, "Job cancelled", "submit the recording again")                               \
    X(key_in_flight, 409, "Key in use", "wait for the answer to the first request")                    \
    X(upload_missing, 409, "Nothing uploaded", "put the recording there first")                        \
    X(upload_used, 409, "Upload used", "ask for an upload URL for each job")                           \
    X(conflict, 409, "Conflict", "look at the job and try again")                                      \
    X(result_removed, 410, "Transcript removed", "submit the recording again; see keep_results")       \
    X(recording_removed, 410, "Recording removed", "see keep_audio")                                   \
    X(file_too_large, 413, "Recording too large", "send a smaller recording")                          \
    X(body_too_large, 413, "Request body too large", "send less, or no body at all")                   \
    X(not_audio, 415, "Not a recording", "send audio or video")                                        \
    X(bad_range, 416, "No such part", "ask for bytes that there are")                                  \
    X(model_not_found, 422, "No such model", "see GET /v1/models for those there are")                 \
    X(impossible_request, 422, "Request impossible", "choose another model, engine, language or task") \
    X(key_reused, 422, "Key used before", "use a new Idempotency-Key for another submission")          \
    X(bad_recording, 422, "Recording cannot be transcribed", "send another recording")                 \
    X(upgrade_required, 426, "Upgrade required", "send a WebSocket handshake")                         \
    X(internal, 500, "Internal error", "report it with the request id")                                \
    X(transcription_failed, 500, "Transcription failed", "look at the job")                            \
    X(result_lost, 500, "Transcript missing", "submit the recording again, and look into the storage") \
    X(recording_lost, 500, "Recording missing", "look into the storage")                               \
    X(bad_transfer_encoding, 501, "Unknown transfer encoding", "send the body plain or chunked")       \
    X(queue_full, 503, "Queue full", "try again later")                                                \
    X(overloaded, 503, "Server busy", "try again later")                                               \
    X(storage_unavailable, 503, "Storage unavailable", "try again later")                              \
    X(unavailable, 503, "Service unavailable", "try again later")                                      \
    X(disk_full, 503, "No room on the disk", "try again later")                                        \
    X(shutting_down, 503, "Server stops", "try again later")                                           \
    X(takes_too_long, 504, "Transcription took too long", "submit it as a job")                        \
    X(job_late, 504, "Job not finished in time", "ask for the job later")

enum problem {
#define X(code, status, title, advice) PROBLEM_##code,
    PROBLEMS(X)
#undef X
        PROBLEM_COUNT
};

struct problem_info {
    const char *code, *title, *advice;
    unsigned status;
};
const struct problem_info *problem_info(enum problem p);

/* What an ERR_ class comes to when a handler says nothing more exact. */
enum problem problem_of_error(int err_code);

#endif
