# SPDX-License-Identifier: MIT
"""native: uploads past the API: a URL, the recording put there, and a job that names it."""

import concurrent.futures
import hashlib
import re

import pytest
import requests

from backends import S3
from dialects import SOUND, UNKNOWN, recording, whisper_models
from steno_server import Server, read_answers, wait_for


@pytest.fixture(scope="module")
def server():
    s = Server("--engine=null", "--max-upload-size=100k")
    yield s
    s.close()


def ask(server, **body):
    body = {"filename": "talk.mp3", "content_type": "audio/mpeg"} | body
    return requests.post(server.url + "/v1/uploads", json=body, timeout=60)


def put(upload, content=SOUND):
    return requests.put(upload["url"], data=content, headers=upload["headers"], timeout=60)


def submit(server, **body):
    return requests.post(server.url + "/v1/jobs", json=body, timeout=60)


def ready(server, content=SOUND, **body):
    upload = ask(server, **body).json()
    assert put(upload, content).status_code == 200
    return upload


@pytest.mark.parametrize("slash", ["", "/"])
def test_the_whole_way(server, slash):
    answer = requests.post(server.url + "/v1/uploads" + slash, timeout=60,
                           json={"filename": "my talk.mp3", "content_type": "audio/mpeg", "size": len(SOUND)})
    assert answer.status_code == 201, answer.text
    upload = answer.json()
    assert upload["method"] == "PUT" and upload["headers"] == {"Content-Type": "audio/mpeg"}
    assert upload["key"] == f"uploads/{upload['id']}/my talk.mp3"
    assert put(upload).status_code == 200
    answer = submit(server, upload_id=upload["id"], language="en", queue="high", seed=7, word_timestamps=True)
    assert answer.status_code == 202, answer.text
    job = server.wait_job(answer.json()["id"])
    assert job["status"] == "completed" and job["id"] == upload["id"]
    want = {"filename": "my talk.mp3", "content_type": "audio/mpeg", "size": len(SOUND), "language": "en",
            "queue": "high", "options": {"word_timestamps": True, "seed": 7}}
    assert {k: job[k] for k in want} == want
    assert (job["sha256"] is None) == S3
    assert server.read_object(upload["key"]) == SOUND
    # Like any other recording it goes with its job.
    assert requests.delete(f"{server.url}/v1/jobs/{job['id']}?purge=true", timeout=60).status_code == 204
    wait_for("the object is gone", lambda: upload["key"] not in server.objects())
    assert server.sql("SELECT count(*) FROM uploads WHERE id = ?", job["id"]) == [(0,)]


@pytest.mark.parametrize("name", ["key", "url", "upload_id"])
def test_what_names_an_upload(server, name):
    upload = ready(server)
    answer = submit(server, **{name: upload["id"] if name == "upload_id" else upload[name]}, filename="other.mp3")
    assert answer.status_code == 202 and answer.json()["filename"] == "other.mp3"


def test_refused_requests(server):
    def refused(answer, status, code):
        assert (answer.status_code, answer.json()["code"]) == (status, code), answer.text
        return answer.json()

    assert refused(ask(server, filename=None), 400, "missing_field")["field"] == "filename"
    assert refused(ask(server, filename=3), 400, "bad_field")["field"] == "filename"
    assert refused(ask(server, size=-1), 400, "bad_field")["field"] == "size"
    assert refused(ask(server, size="many"), 400, "bad_field")["field"] == "size"
    refused(ask(server, size=0), 400, "empty_file")
    refused(ask(server, size=200 << 10), 413, "file_too_large")
    refused(ask(server, content_type="text/html"), 415, "not_audio")
    for body in (b"", b"{", b"[]", b"1", b'{"filename":"a","filename":"b"}', b"\xff", b'{"filename":"a"} x'):
        refused(requests.post(server.url + "/v1/uploads", data=body, timeout=60), 400, "malformed_json")
    refused(requests.post(server.url + "/v1/uploads", data=b" " * (300 << 10), timeout=60), 413, "body_too_large")
    assert ask(server, filename="../../etc/passwd").json()["key"].endswith("/passwd")


def test_refused_jobs(server):
    def refused(status, code, **body):
        answer = submit(server, **body)
        assert (answer.status_code, answer.json()["code"]) == (status, code), answer.text
        return answer.json()

    before = server.rows()["jobs"]
    assert refused(400, "missing_field", language="en")["field"] == "upload_id"
    refused(404, "upload_not_found", upload_id=UNKNOWN)
    refused(404, "upload_not_found", key="uploads/other/a.mp3")
    refused(404, "upload_not_found", url="http://example.org/a.mp3")
    upload = ask(server).json()
    refused(409, "upload_missing", upload_id=upload["id"])
    put(upload)
    assert refused(400, "unknown_field", upload_id=upload["id"], colour="red")["field"] == "colour"
    assert refused(400, "bad_field", upload_id=upload["id"], language="not one")["field"] == "language"
    assert refused(400, "bad_field", upload_id=upload["id"], language=["en"])["field"] == "language"
    assert server.rows()["jobs"] == before
    assert submit(server, upload_id=upload["id"]).status_code == 202
    refused(409, "upload_used", upload_id=upload["id"])
    refused(409, "upload_used", key=upload["key"])


def test_another_size_than_was_announced(server):
    """A store takes any size, and the job is refused; a local folder does not take it, and waits for the right one."""
    upload = ask(server, size=len(SOUND) + 1).json()
    answer = put(upload)
    assert answer.status_code == 200 if S3 else (answer.status_code, answer.json()["code"]) == (409, "upload_missing")
    answer = submit(server, upload_id=upload["id"])
    assert (answer.status_code, answer.json()["code"]) == (409, "upload_missing")
    assert put(upload, SOUND + b"x").status_code == 200
    assert submit(server, upload_id=upload["id"]).status_code == 202


@pytest.mark.parametrize("type", ["text/html", "text/plain; charset=utf-8", "image/png", "application/json", "application/pdf", "audiox/mpeg"])
def test_types_that_no_recording_has(server, type):
    """A store takes any, and the job is refused; a local folder does not take it, and waits for another."""
    assert ask(server, content_type=type).json()["code"] == "not_audio"
    upload = ask(server).json()
    answer = requests.put(upload["url"], data=SOUND, headers={"Content-Type": type}, timeout=60)
    if not S3:
        assert (answer.status_code, answer.json()["code"]) == (415, "not_audio")
        assert submit(server, upload_id=upload["id"]).json()["code"] == "upload_missing"
    else:
        assert answer.status_code == 200
        answer = submit(server, upload_id=upload["id"])
        assert (answer.status_code, answer.json()["code"]) == (415, "not_audio")
    assert put(upload).status_code == 200
    assert submit(server, upload_id=upload["id"]).status_code == 202


@pytest.mark.parametrize("type", [None, "audio/x-wav", "Video/MP4", "application/octet-stream", "binary/octet-stream", "application/ogg",
                                  "application/x-www-form-urlencoded"])
def test_types_that_a_recording_may_have(server, type):
    upload = ask(server, content_type=type).json()
    headers = {"Content-Type": type} if type else {}
    assert requests.put(upload["url"], data=SOUND, headers=headers, timeout=60).status_code == 200
    assert submit(server, upload_id=upload["id"]).status_code == 202


@pytest.mark.parametrize("content", [b"<!DOCTYPE html><title>x</title>", b"%PDF-1.7" + bytes(2000), b"only words"], ids=["page", "pdf", "words"])
def test_what_is_certainly_no_recording(server, content):
    """As in a form, whatever its type says."""
    upload, before = ready(server, content), server.rows()["jobs"]
    answer = submit(server, upload_id=upload["id"], filename="page.mp3")
    assert (answer.status_code, answer.json()["code"]) == (415, "not_audio"), answer.text
    assert server.rows()["jobs"] == before


def test_sent_again_when_the_recording_is_gone():
    """The answer to a key needs the recording no more than the job does that has ended."""
    server = Server("--engine=null", "--keep-audio=0s", "--sweep-interval=100ms")
    try:
        upload, key = ready(server), {"Idempotency-Key": "k"}
        send = lambda: requests.post(server.url + "/v1/jobs", json={"upload_id": upload["id"]}, headers=key, timeout=60)  # noqa: E731
        first = send()
        assert first.status_code == 202
        server.wait_job(upload["id"])
        wait_for("the recording is gone", lambda: upload["key"] not in server.objects())
        again = send()
        assert (again.status_code, again.text, again.headers["Idempotency-Replayed"]) == (202, first.text, "true")
    finally:
        server.close()


def test_too_large_and_empty(server):
    upload = ask(server).json()
    if S3:
        # Nobody but us knows the limit there: it counts when the job is submitted, and the object goes.
        assert put(upload, bytes(200 << 10)).status_code == 200
        assert submit(server, upload_id=upload["id"]).json()["code"] == "file_too_large"
        assert upload["key"] not in server.objects()
    else:
        answer = put(upload, bytes(200 << 10))
        assert (answer.status_code, answer.json()["code"]) == (413, "file_too_large")
        answer = put(upload, bytes(3 << 20))
        assert (answer.status_code, answer.json()["code"]) == (413, "file_too_large")
    put(upload, b"")
    assert submit(server, upload_id=upload["id"]).json()["code"] in ("empty_file", "upload_missing")


@pytest.mark.skipif(S3, reason="who puts there is the store's to decide; see the test below")
def test_the_first_one_stays(server):
    """Whatever comes later by the same URL, be it at the same time: what is there is never replaced."""
    upload = ask(server).json()
    bodies = [SOUND + bytes([i]) * 1000 for i in range(8)]
    with concurrent.futures.ThreadPoolExecutor(8) as pool:
        answers = list(pool.map(lambda body: put(upload, body), bodies))
    (first,) = [body for body, answer in zip(bodies, answers) if answer.status_code == 200]
    assert {a.json()["code"] for a in answers if a.status_code == 409} == {"upload_used"}
    assert sorted(a.status_code for a in answers) == [200] + [409] * 7
    assert server.read_object(upload["key"]) == first
    # Of one who sends again because the answer was lost.
    assert put(upload, first).status_code == 200
    assert put(upload, SOUND).json()["code"] == "upload_used"
    job = server.wait_job(submit(server, upload_id=upload["id"]).json()["id"])
    assert job["sha256"] == hashlib.sha256(first).hexdigest() and server.read_object(upload["key"]) == first
    assert put(upload, first).json()["code"] == "upload_used"


@pytest.mark.skipif(not S3, reason="a local folder keeps what came first; see the test above")
def test_put_again_before_it_is_submitted(server):
    upload = ready(server)
    assert put(upload, SOUND + b"more").status_code == 200
    job = server.wait_job(submit(server, upload_id=upload["id"]).json()["id"])
    assert job["size"] == len(SOUND) + 4 and server.read_object(upload["key"]) == SOUND + b"more"


@pytest.mark.skipif(S3, reason="the store's own URLs are the store's to check")
def test_urls_that_are_not_as_they_were_handed_out(server):
    upload = ask(server).json()
    path = re.search("(/v1/uploads/.*)", upload["url"]).group(1)
    expires = int(re.search(r"expires=(\d+)", path).group(1))
    other = ask(server).json()
    for wrong in (path.replace(str(expires), str(expires + 1000)), path[:-1] + ("0" if path[-1] != "0" else "1"),
                  path.replace("signature", "sign"), path.split("?")[0], path.replace(upload["id"], other["id"]),
                  path.replace(upload["id"], "x"), path[:-1]):
        answer = requests.put(server.url + wrong, data=SOUND, timeout=60)
        assert answer.status_code in (400, 403), (wrong, answer.text)
    assert server.sql("SELECT etag FROM uploads WHERE id = ?", upload["id"]) == [(None,)]
    assert requests.put(server.url + path, data=SOUND, timeout=60).status_code == 200
    assert submit(server, upload_id=upload["id"]).status_code == 202
    answer = requests.put(server.url + path, data=SOUND, timeout=60)
    assert (answer.status_code, answer.json()["code"]) == (409, "upload_used")


@pytest.mark.skipif(S3, reason="the store's own URLs are the store's to check")
def test_an_upload_under_way_when_its_job_is_submitted(server):
    """It comes too late: the job keeps what was there."""
    upload = ready(server)
    path = re.search("(/v1/uploads/.*)", upload["url"]).group(1)
    with server.connect() as s:
        s.sendall(f"PUT {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\nContent-Length: 10\r\n\r\nother".encode())
        wait_for("it is on its way", lambda: "steno_uploads_in_flight 1" in requests.get(server.url + "/metrics", timeout=60).text)
        assert submit(server, upload_id=upload["id"]).status_code == 202
        s.sendall(b"bytes")
        (answer,) = read_answers(s)
    assert (answer.status, answer.code) == (409, "upload_used")
    assert server.read_object(upload["key"]) == SOUND


@pytest.mark.skipif(S3, reason="the store's own URLs are the store's to check")
def test_the_key_that_signs_outlives_a_restart():
    server = Server("--engine=null")
    try:
        upload = ask(server).json()
        assert (server.data / "upload.key").stat().st_mode & 0o777 == 0o600
        server.stop()
        server.start()
        url = server.url + re.search("(/v1/uploads/.*)", upload["url"]).group(1)
        assert requests.put(url, data=SOUND, timeout=60).status_code == 200
    finally:
        server.close()


def test_expired_and_swept():
    server = Server("--engine=null", "--upload-url-time=1s", "--upload-time-limit=1s", "--sweep-interval=100ms")
    try:
        unused, used = ready(server), ready(server)
        assert submit(server, upload_id=used["id"]).status_code == 202
        wait_for("the unused one is forgotten", lambda: server.sql("SELECT id FROM uploads") == [(used["id"],)])
        wait_for("its object is gone", lambda: unused["key"] not in server.objects())
        assert used["key"] in server.objects()
        assert put(unused).status_code == 403
        assert submit(server, upload_id=unused["id"]).json()["code"] == "upload_not_found"
    finally:
        server.close()


@pytest.mark.skipif(S3, reason="S3's URLs come from s3_public_url")
def test_public_url():
    server = Server("--public-url=https://stt.example.org/", role="api")
    try:
        assert ask(server).json()["url"].startswith("https://stt.example.org/v1/uploads/")
    finally:
        server.close()


def test_a_real_recording(tmp_path):
    server = Server(*whisper_models(tmp_path))
    try:
        content = recording("01_digits")
        upload = ready(server, content, filename="digits.wav", content_type="audio/wav", size=len(content))
        job = submit(server, upload_id=upload["id"], model="small", language="en").json()
        assert server.wait_job(job["id"])["status"] == "completed"
        text = requests.get(f"{server.url}/v1/jobs/{job['id']}/transcript?format=txt", timeout=60).text
        assert "seven" in text.lower()
    finally:
        server.close()


@pytest.mark.skipif(not S3, reason="with a local folder the URL is void once a job has the object")
def test_replaced_after_it_was_submitted():
    """The URL of an S3 server outlives the submission: what a worker fetches is what was there then, or nothing."""
    server = Server(role="api")
    worker = None
    try:
        upload = ready(server)
        job_id = submit(server, upload_id=upload["id"], engine="pocketsphinx").json()["id"]
        assert put(upload, SOUND + b"something else").status_code == 200
        worker = Server("--engine=pocketsphinx", role="worker", data=server.data)
        job = server.wait_job(job_id)
        assert job["status"] == "failed" and "replaced" in job["error"]["message"]
    finally:
        if worker:
            worker.close()
        server.close()
