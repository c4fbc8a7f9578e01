# SPDX-License-Identifier: MIT
"""native: how requests are sent: raw bodies, repeated submissions, waiting, conditions, other origins, ids."""

import concurrent.futures
import json
import re
import signal
import socket
import sqlite3
import subprocess
import time

import pytest
import requests

from backends import POSTGRES
from steno_server import QUICK, Server, multipart, read_answers, wait_for

SOUND = b"RIFF\x24\0\0\0WAVE" + bytes(100)


@pytest.fixture(scope="module")
def server():
    s = Server("--engine=null", "--max-upload-size=1M")
    yield s
    s.close()


def raw(server, query="", body=SOUND, type="audio/wav", **headers):
    return server.ask("POST", "/v1/jobs" + query, body, {"Content-Type": type} | headers)


# Raw bodies.


@pytest.mark.parametrize("type", ["audio/wav", "AUDIO/x-anything", "video/mp4", "application/octet-stream",
                                  "application/octet-stream; charset=binary"])
def test_the_body_may_be_the_recording(server, type):
    answer = raw(server, type=type)
    assert answer.status == 202
    job = answer.json
    assert (job["content_type"], job["size"], job["filename"]) == (type, len(SOUND), "audio")
    (audio,) = [o for o in server.objects() if o.startswith(f"uploads/{job['id']}/")]
    assert server.read_object(audio) == SOUND
    assert server.wait_job(job["id"])["status"] == "completed"


def test_fields_of_a_raw_body_stand_in_the_query(server):
    job = raw(server, "?language=EN&queue=high&prompt=Names%3A+Ada&seed=7&filename=t%C3%A4lk.wav").json
    assert (job["language"], job["queue"], job["prompt"], job["filename"]) == ("en", "high", "Names: Ada", "tälk.wav")
    assert job["options"] == {"seed": 7}


@pytest.mark.parametrize("line, name", [
    ('attachment; filename="a b.wav"', "a b.wav"),
    ("attachment; filename=plain.wav; filename*=UTF-8''%e2%82%ac.wav", "\u20ac.wav"),
    ("inline", "audio"),
])
def test_a_raw_body_is_named_by_its_disposition(server, line, name):
    assert raw(server, **{"Content-Disposition": line}).json["filename"] == name


def test_the_query_names_a_raw_body_first(server):
    assert raw(server, "?filename=q.wav", **{"Content-Disposition": "attachment; filename=d.wav"}).json["filename"] == "q.wav"


@pytest.mark.parametrize("query, headers, status, code, field", [
    ("?colour=red", {}, 400, "unknown_field", "colour"),
    ("?language=a+language", {}, 400, "bad_field", "language"),
    ("?language=en&language=de", {}, 400, "bad_query", None),
    ("", {"Content-Disposition": "attachment; filename"}, 400, "bad_request", None),
    ("", {"Content-Disposition": "attachment; filename*=UTF-8''%zz"}, 400, "bad_request", None),
])
def test_what_is_wrong_with_a_raw_body(server, query, headers, status, code, field):
    answer = raw(server, query, **headers)
    assert (answer.status, answer.code, answer.json.get("field")) == (status, code, field)


def test_a_raw_body_that_is_no_recording(server):
    assert raw(server, body=b"").code == "missing_file"
    assert raw(server, body=b"PK\x03\x04" + bytes(600)).code == "not_audio"
    assert raw(server, body=bytes(2 << 20)).code == "file_too_large"
    answer = server.ask("POST", "/v1/jobs", SOUND, {"Content-Type": "text/plain"})
    assert (answer.status, answer.code) == (400, "not_multipart") and "audio/wav" in answer.json["detail"]
    with server.connect() as s:
        s.sendall(b"POST /v1/jobs HTTP/1.1\r\nHost: x\r\nConnection: close\r\nTransfer-Encoding: chunked\r\n"
                  b"Content-Type: audio/wav\r\n\r\n0\r\n\r\n")
        (answer,) = read_answers(s)
    assert answer.code == "empty_file"


def test_multipart_takes_no_fields_in_the_query(server):
    body = b'--B\r\nContent-Disposition: form-data; name="file"; filename="a.wav"\r\n\r\n' + SOUND + b"\r\n--B--\r\n"
    answer = server.ask("POST", "/v1/jobs?language=en", body, {"Content-Type": "multipart/form-data; boundary=B"})
    assert (answer.status, answer.code) == (400, "bad_query")


def test_curl_sends_a_raw_body(server, tmp_path):
    path = tmp_path / "a.wav"
    path.write_bytes(SOUND * 1000)
    done = subprocess.run(["curl", "-sS", "-H", "Content-Type: audio/wav", "--data-binary", f"@{path}",
                           f"{server.url}/v1/jobs?filename=a.wav"], capture_output=True, check=True)
    assert f'"size":{len(SOUND) * 1000}' in done.stdout.decode()


# Conditions.


def test_a_job_that_did_not_change(server):
    job = server.wait_job(raw(server).json["id"])
    path = f"/v1/jobs/{job['id']}"
    first = server.ask("GET", path)
    tag = first.headers["etag"]
    assert first.headers["cache-control"] == "private, no-cache"
    for known in (tag, f"W/{tag}", f'"x", {tag}', "*"):
        again = server.ask("GET", path, headers={"If-None-Match": known})
        assert (again.status, again.body, again.headers["etag"]) == (304, b"", tag), known
    for other in ('"0"', tag.strip('"'), f'"{tag.strip(chr(34))}0"', f'"x{tag.strip(chr(34))}"'):
        assert server.ask("GET", path, headers={"If-None-Match": other}).status == 200, other
    (answer,) = server.raw(f'GET {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\nIf-None-Match: {tag}\r\n'
                           f'If-None-Match: "0"\r\n\r\n'.encode())
    assert answer.status == 304  # a list may be split over lines


def test_a_transcript_that_did_not_change(server):
    job = server.wait_job(raw(server).json["id"])
    path = f"/v1/jobs/{job['id']}/transcript"
    tags = {f: server.ask("GET", f"{path}?format={f}").headers["etag"] for f in ("json", "srt", "vtt", "txt")}
    assert len(set(tags.values())) == 4
    for form, tag in tags.items():
        answer = server.ask("GET", f"{path}?format={form}", headers={"If-None-Match": tag})
        assert (answer.status, answer.body, answer.headers["vary"]) == (304, b"", "Accept")
        other = tags["txt" if form != "txt" else "srt"]
        assert server.ask("GET", f"{path}?format={form}", headers={"If-None-Match": other}).status == 200
    # What the client has is right, so storage need not be asked.
    (key,) = [o for o in server.objects() if o.startswith(f"results/{job['id']}/")]
    server.delete_object(key)
    assert server.ask("GET", f"{path}?format=srt", headers={"If-None-Match": tags["srt"]}).status == 304
    assert server.ask("GET", f"{path}?format=srt").code == "result_lost"


# Submissions that are sent again.


@pytest.fixture
def api():
    """An api without a worker: jobs stay pending."""
    s = Server(role="api")
    yield s
    s.close()


def count(server):
    return server.rows()["jobs"]


def change(server, statement, args=()):
    """Behind the server's back."""
    if POSTGRES:
        server.sql(statement, *args)
        return
    with sqlite3.connect(server.data / "steno.db", timeout=30) as db:
        db.execute(statement, args)


def test_a_repeated_submission_makes_no_second_job(server):
    before = count(server)
    first = raw(server, "?language=en", **{"Idempotency-Key": "order-1"})
    assert first.status == 202 and "idempotency-replayed" not in first.headers
    server.wait_job(first.json["id"])
    again = raw(server, "?language=en", **{"Idempotency-Key": "order-1"})
    assert (again.status, again.body) == (202, first.body)  # as it was answered, whatever became of the job
    assert again.headers["idempotency-replayed"] == "true"
    for name in ("location", "retry-after", "content-type"):
        assert again.headers[name] == first.headers[name]
    assert again.headers["x-request-id"] != first.headers["x-request-id"]
    assert count(server) == before + 1
    uploads = [o for o in server.objects() if o.startswith("uploads/")]
    assert len(uploads) == len({o.split("/")[1] for o in uploads}) == count(server)


def test_a_key_names_what_was_sent_not_how(server):
    """Multipart or raw, in whatever order, quoted or not: the same recording with the same options is the same."""
    first = raw(server, "?language=en&seed=7&filename=a.wav", **{"Idempotency-Key": '"order-2"'})
    body, headers = multipart([("seed", "7"), ("file", "b.wav", SOUND), ("language", "EN")])
    again = server.ask("POST", "/v1/jobs", body, headers | {"Idempotency-Key": "order-2"})
    assert (again.status, again.json["id"]) == (202, first.json["id"])
    before = server.objects()
    for query, sound in (("?language=de&seed=7", SOUND), ("?language=en&seed=8", SOUND), ("?language=en", SOUND),
                         ("?language=en&seed=7", SOUND + b"1"), ("?language=en&seed=7&prompt=x", SOUND)):
        other = raw(server, query, sound, **{"Idempotency-Key": "order-2"})
        assert (other.status, other.code, other.headers["x-should-retry"]) == (422, "key_reused", "false"), query
    assert server.objects() == before
    assert raw(server, "?language=de&seed=7").status == 202  # without a key it is its own submission


@pytest.mark.parametrize("key", ["", '""', "a b", "x" * 256, "gr\u00fc\u00df"])
def test_bad_keys(server, key):
    answer = raw(server, **{"Idempotency-Key": key})
    assert (answer.status, answer.code) == (400, "bad_idempotency_key")


def half_a_request(server, key):
    """A connection with a submission that goes on."""
    s = server.connect()
    s.sendall(f"POST /v1/jobs HTTP/1.1\r\nHost: x\r\nConnection: close\r\nContent-Type: audio/wav\r\n"
              f"Idempotency-Key: {key}\r\nContent-Length: {len(SOUND) + 1000}\r\n\r\n".encode() + SOUND)
    wait_for("the key is claimed", lambda: server.sql("SELECT 1 FROM submission_keys WHERE name = ?", key))
    return s


def test_while_the_first_is_under_way(server):
    with half_a_request(server, "order-3") as s:
        second = raw(server, body=SOUND + bytes(1000), **{"Idempotency-Key": "order-3"})
        assert (second.status, second.code, second.headers["x-should-retry"]) == (409, "key_in_flight", "false")
        assert int(second.headers["retry-after"]) >= 1
        s.sendall(bytes(1000))
        (first,) = read_answers(s)
    assert first.status == 202
    third = raw(server, body=SOUND + bytes(1000), **{"Idempotency-Key": "order-3"})
    assert (third.status, third.body) == (202, first.body)


def test_a_client_that_leaves_frees_its_key(server):
    half_a_request(server, "order-4").close()
    wait_for("the key is free", lambda: not server.sql("SELECT 1 FROM submission_keys WHERE name = ?", "order-4"))
    assert raw(server, **{"Idempotency-Key": "order-4"}).status == 202


def test_a_refused_submission_frees_its_key(server):
    bad = raw(server, body=b"PK\x03\x04" + bytes(600), **{"Idempotency-Key": "order-5"})
    assert bad.code == "not_audio"
    assert raw(server, **{"Idempotency-Key": "order-5"}).status == 202


def test_a_full_queue_frees_the_key():
    s = Server("--max-queue-size=1", role="api")
    try:
        assert raw(s, **{"Idempotency-Key": "first"}).status == 202
        assert raw(s, **{"Idempotency-Key": "second"}).code == "queue_full"
        assert s.sql("SELECT name FROM submission_keys") == [("first",)]
        assert raw(s, **{"Idempotency-Key": "first"}).status == 202  # that one has its place
    finally:
        s.close()


def test_two_at_once_make_one_job(api):
    with concurrent.futures.ThreadPoolExecutor(8) as pool:
        answers = list(pool.map(lambda _: raw(api, **{"Idempotency-Key": "race"}), range(8)))
    assert {a.status for a in answers} <= {202, 409}
    assert len({a.json["id"] for a in answers if a.status == 202}) == 1
    assert count(api) == 1 and len(api.objects()) == 1


def test_a_purged_job_frees_its_key(api):
    first = raw(api, **{"Idempotency-Key": "k"}).json["id"]
    assert api.ask("DELETE", f"/v1/jobs/{first}?purge=true").status == 204
    assert raw(api, **{"Idempotency-Key": "k"}).json["id"] != first


def test_a_kill_in_flight_does_not_block_the_key():
    s = Server("--lease=1s", role="api")
    try:
        with half_a_request(s, "k"):
            s.stop(signal.SIGKILL)
        s.start()
        assert raw(s, body=SOUND, **{"Idempotency-Key": "k"}).status in (202, 409)
        answer = wait_for("the key is free", lambda: (a := raw(s, body=SOUND, **{"Idempotency-Key": "k"})).status == 202 and a)
        assert count(s) == 1
        assert raw(s, body=SOUND, **{"Idempotency-Key": "k"}).json["id"] == answer.json["id"]
    finally:
        s.close()


@pytest.mark.parametrize("point, jobs", [("upload_stored", 0), ("job_inserted", 1), ("job_announced", 1)])
def test_a_kill_between_key_and_answer(point, jobs):
    """Key and job come into being together: a client that repeats gets the job there is, or makes one."""
    s = Server("--lease=1s", role="api", env={"STENO_FAULT": f"{point}=kill"})
    try:
        with pytest.raises((AssertionError, OSError)):
            raw(s, **{"Idempotency-Key": "k"})
        s.process.wait(30)
        assert count(s) == jobs
        assert s.sql("SELECT count(*) FROM submission_keys WHERE job_id IS NOT NULL") == [(jobs,)]
        s.env = {}
        s.start()
        answer = wait_for("an answer", lambda: (a := raw(s, **{"Idempotency-Key": "k"})).status == 202 and a)
        assert count(s) == 1
        assert answer.headers.get("idempotency-replayed") == ("true" if jobs else None)
        assert answer.json["id"] == s.sql("SELECT id FROM jobs")[0][0]
    finally:
        s.close()


def test_keys_are_swept():
    s = Server("--engine=null", *QUICK)
    try:
        assert raw(s, **{"Idempotency-Key": "k"}).status == 202
        change(s, "UPDATE submission_keys SET expires_at = 1")
        wait_for("the key is forgotten", lambda: not s.sql("SELECT 1 FROM submission_keys"))
        assert count(s) == 1
    finally:
        s.close()


def test_a_recording_that_was_uploaded_before(api):
    """A JSON body that names it is a submission, too."""
    upload = requests.post(f"{api.url}/v1/uploads", json={"filename": "a.wav", "content_type": "audio/wav"}, timeout=60).json()
    assert requests.put(upload["url"], SOUND, headers=upload["headers"], timeout=60).status_code == 200

    def submit(key, **fields):
        return api.ask("POST", "/v1/jobs", json.dumps({"upload_id": upload["id"]} | fields).encode(),
                       {"Content-Type": "application/json"} | ({"Idempotency-Key": key} if key else {}))

    first = submit("k", language="en")
    assert first.status == 202
    again = submit("k", language="en")
    assert (again.status, again.body, again.headers["idempotency-replayed"]) == (202, first.body, "true")
    assert submit("k", language="de").code == "key_reused"
    assert submit(None, language="en").code == submit("other", language="en").code == "upload_used"
    assert count(api) == 1 and api.sql("SELECT name FROM submission_keys") == [("k",)]


# Waiting.


def test_waiting_for_the_end_of_a_submission(server):
    answer = raw(server, **{"Prefer": "wait=30"})
    assert answer.status == 200
    job = answer.json
    assert job["status"] == "completed" and job["result"]["engine"] == "null"
    assert answer.headers["preference-applied"] == "wait=30"
    assert answer.headers["location"] == f"/v1/jobs/{job['id']}" and "retry-after" not in answer.headers


@pytest.mark.parametrize("prefer, applied", [
    ("respond-async", "respond-async"),
    ("respond-async, wait=0", "respond-async, wait=0"),
    ("wait=0", "wait=0"),
    ("handling=lenient", None),
    ("wait", None),
    ("wait=-1", None),
    ("wait=soon", None),
])
def test_preferences_that_do_not_wait(api, prefer, applied):
    answer = raw(api, **{"Prefer": prefer})
    assert (answer.status, answer.headers.get("preference-applied")) == (202, applied)


def test_a_wait_ends_in_time():
    s = Server("--wait-limit=1s", role="api")
    try:
        for prefer in ("wait=1", "WAIT = 3600", 'x="a, b"; y=1, wait=600, wait=0'):
            began = time.monotonic()
            answer = raw(s, **{"Prefer": prefer})
            assert (answer.status, answer.json["status"], answer.headers["preference-applied"]) == (202, "pending", "wait=1")
            assert time.monotonic() - began >= 1
    finally:
        s.close()


def test_the_place_in_the_queue_ends_no_wait():
    """It may be known before the job is, when reading is slow."""
    s = Server(role="api", env={"STENO_FAULT": "db_read=sleep:150"})
    until = time.monotonic() + 6  # the queue is looked at every 2 s

    def client(_):
        waits = []
        while time.monotonic() < until:
            began = time.monotonic()
            answer = raw(s, **{"Prefer": "wait=1"})
            waits.append((answer.status, answer.json["status"], time.monotonic() - began >= 1))
        return waits

    try:
        with concurrent.futures.ThreadPoolExecutor(16) as pool:
            waits = [w for some in pool.map(client, range(16)) for w in some]
        assert set(waits) == {(202, "pending", True)}
    finally:
        s.close()


def test_waiting_can_be_turned_off():
    s = Server("--wait-limit=0", role="api")
    try:
        answer = raw(s, **{"Prefer": "wait=600"})
        assert answer.status == 202 and "preference-applied" not in answer.headers
    finally:
        s.close()


def test_waiting_on_a_job_that_runs(api):
    job_id = raw(api).json["id"]
    with concurrent.futures.ThreadPoolExecutor() as pool:
        waiting = pool.submit(api.ask, "GET", f"/v1/jobs/{job_id}", None, {"Prefer": "wait=30"})
        wait_for("it waits", lambda: not waiting.done() and "1" in api.ask("GET", "/metrics").body.decode())
        assert api.ask("DELETE", f"/v1/jobs/{job_id}").status == 200
        answer = waiting.result(30)
    assert (answer.status, answer.json["status"]) == (200, "cancelled")
    assert answer.headers["preference-applied"] == "wait=30"
    assert api.ask("GET", f"/v1/jobs/{'0' * 8}-0000-7000-8000-{'0' * 12}", headers={"Prefer": "wait=30"}).status == 404


def test_a_client_that_leaves_while_waiting_keeps_its_job(api):
    with api.connect() as s:
        s.sendall(f"POST /v1/jobs HTTP/1.1\r\nHost: x\r\nContent-Type: audio/wav\r\nPrefer: wait=50\r\n"
                  f"Content-Length: {len(SOUND)}\r\n\r\n".encode() + SOUND)
        wait_for("the job is there", lambda: count(api) == 1)
    assert api.sql("SELECT state FROM jobs") == [("pending",)]


def test_a_waiting_submission_can_be_repeated(server):
    first = raw(server, **{"Prefer": "wait=30", "Idempotency-Key": "w"})
    again = raw(server, **{"Prefer": "wait=30", "Idempotency-Key": "w"})
    assert (first.status, again.status, again.body) == (200, 200, first.body)
    assert again.headers["preference-applied"] == "wait=30" and again.headers["idempotency-replayed"] == "true"


# Other origins.


def cors(answer):
    return {k.removeprefix("access-control-"): v for k, v in answer.headers.items() if k.startswith("access-control-")}


def test_no_other_origin_by_default(server):
    for method in ("GET", "OPTIONS"):
        answer = server.ask(method, "/v1/jobs", headers={"Origin": "https://a.example", "Access-Control-Request-Method": "GET"})
        assert cors(answer) == {} and "vary" not in answer.headers


@pytest.fixture(scope="module")
def open_server():
    s = Server("--engine=null", "--cors-origins=*")
    yield s
    s.close()


@pytest.fixture(scope="module")
def listed_server():
    s = Server("--engine=null", "--cors-origins=https://a.example,http://localhost:3000")
    yield s
    s.close()


@pytest.mark.parametrize("method, path", [
    ("DELETE", "/api/v1/transcribe"), ("PUT", "/transcribe/"), ("POST", "/jobs"), ("PUT", "/api/stt/upload"),
    ("POST", "/task/1"), ("DELETE", "/queue/status/"), ("GET", "/api/v1/job/transcribe"), ("PATCH", "/api/v1")])
def test_wrong_methods_speak_as_the_path_does(open_server, method, path):
    answer = open_server.ask(method, path)
    assert (answer.status, answer.headers["content-type"], answer.json) == (405, "application/json", {"detail": "Method Not Allowed"})
    assert method not in answer.headers["allow"] and "OPTIONS" in answer.headers["allow"]
    assert open_server.ask(method, path + "/x/y").headers["content-type"].startswith("application/problem+json")


EXPOSED = {"location", "retry-after", "x-request-id", "etag", "preference-applied", "idempotency-replayed", "x-job-id",
           "accept-ranges", "content-range"}
PREFLIGHT = {"Origin": "https://a.example", "Access-Control-Request-Method": "POST",
             "Access-Control-Request-Headers": "content-type,idempotency-key"}


def test_every_origin(open_server):
    answer = open_server.ask("GET", "/v1/jobs", headers={"Origin": "https://a.example"})
    assert cors(answer)["allow-origin"] == "*" and "allow-credentials" not in cors(answer)
    assert EXPOSED <= set(cors(answer)["expose-headers"].lower().split(", "))
    assert cors(open_server.ask("GET", "/v1/jobs")) == {}


def test_refusals_can_be_read_too(open_server):
    for method, path, status in (("GET", "/nowhere", 404), ("PUT", "/v1/jobs", 405), ("GET", "/v1/jobs?x=1", 400)):
        answer = open_server.ask(method, path, headers={"Origin": "https://a.example"})
        assert (answer.status, cors(answer)["allow-origin"]) == (status, "*")
    early = raw(open_server, body=b"PK\x03\x04" + bytes(600), Origin="https://a.example")
    assert (early.code, cors(early)["allow-origin"]) == ("not_audio", "*")


@pytest.mark.parametrize("path, methods", [
    ("/v1/jobs", {"GET", "HEAD", "POST", "OPTIONS"}),
    ("/v1/jobs/x", {"GET", "HEAD", "DELETE", "OPTIONS"}),
])
def test_preflights(open_server, path, methods):
    answer = open_server.ask("OPTIONS", path, headers=PREFLIGHT)
    assert (answer.status, answer.body) == (204, b"")
    said = cors(answer)
    assert said["allow-origin"] == "*" and set(said["allow-methods"].split(", ")) == methods
    assert {"content-type", "idempotency-key", "prefer", "authorization"} <= set(said["allow-headers"].lower().split(", "))
    assert int(said["max-age"]) > 0


def test_listed_origins(listed_server):
    for origin, yes in (("https://a.example", True), ("http://localhost:3000", True), ("http://localhost", False),
                        ("https://a.example.evil.test", False), ("https://b.a.example", False), ("null", False)):
        for method in ("GET", "OPTIONS"):
            answer = listed_server.ask(method, "/v1/jobs", headers=PREFLIGHT | {"Origin": origin})
            assert cors(answer).get("allow-origin") == (origin if yes else None), origin
            assert ("allow-methods" in cors(answer)) == (yes and method == "OPTIONS")
            assert answer.headers["vary"] == "Origin"
    assert listed_server.ask("GET", "/v1/jobs").headers["vary"] == "Origin"


def handshake(server, path, **headers):
    """The answer to a WebSocket's beginning, as a browser sends it; its socket is closed at once."""
    key = {"Upgrade": "websocket", "Connection": "Upgrade", "Sec-WebSocket-Version": "13", "Sec-WebSocket-Key": "dGhlIHNhbXBsZSBub25jZQ=="}
    with socket.create_connection((server.host, server.port), timeout=30) as s:
        lines = [f"GET {path} HTTP/1.1", *[f"{k}: {v}" for k, v in ({"Host": f"{server.host}:{server.port}"} | key | headers).items()]]
        s.sendall("\r\n".join([*lines, "", ""]).encode())
        return int(s.makefile("rb").readline().split()[1])


@pytest.mark.parametrize("path", ["/v1/jobs/x/ws", "/ws/x", "/api/v1/job/ws/x"])
def test_websockets_of_other_origins(server, open_server, listed_server, path):
    """A browser lets every page open one, and read it: it is the server that has to refuse."""
    for s in (server, open_server, listed_server):
        own = f"{s.host}:{s.port}"
        assert handshake(s, path) == 101
        for origin in (f"http://{own}", f"https://{own}", f"HTTP://{own}".upper()):
            assert handshake(s, path, Origin=origin) == 101, origin
        for origin in ("https://a.example", "http://localhost:3000"):
            assert handshake(s, path, Origin=origin) == (403 if s is server else 101), origin
        for origin in ("null", "", f"http://{own}0", f"http://{s.host}", f"http://x@{own}", f"http://{own}/", own, "https://a.example.evil.test"):
            assert handshake(s, path, Origin=origin) == (101 if s is open_server else 403), origin
    # What a proxy in front is called counts, when it says so.
    assert handshake(server, path, Host="steno.example", Origin="https://steno.example") == 101
    assert handshake(server, path, Host="steno.example", Origin="https://other.example") == 403


@pytest.mark.parametrize("origins", ["https://a.example/", "https://a.example/path", "a.example", "*, https://a.example",
                                     "https://A.example", "ftp://a.example", "https://"])
def test_bad_origins_are_refused_at_start(steno, origins):
    done = steno("api", "--data=data", "--listen=127.0.0.1:0", f"--cors-origins={origins}")
    assert done.status == 2 and "cors_origins" in done.err


# Names of requests.


def test_the_name_of_a_request_is_in_its_answer_and_its_log_lines(server):
    name = "my-request_1.2"
    answer = raw(server, **{"X-Request-Id": name})
    assert answer.headers["x-request-id"] == name
    (line,) = [l for l in server.log().splitlines() if "accepted" in l and name in l]
    assert answer.json["id"] in line
    cancelled = server.ask("DELETE", f"/v1/jobs/{answer.json['id']}?purge=true", headers={"X-Request-Id": "purge-1"})
    assert cancelled.status == 204 and any("purge-1" in l and "purged" in l for l in server.log().splitlines())


@pytest.mark.parametrize("bad", ["a b", "x" * 65, "a\tb", "<script>", "gr\u00fc\u00df", ""])
def test_names_that_could_harm_the_log_are_replaced(server, bad):
    answer = server.ask("GET", "/health", headers={"X-Request-Id": bad})
    assert len(answer.headers["x-request-id"]) == 36 and answer.headers["x-request-id"] != bad


def test_every_line_about_a_request_names_it():
    """Those of the api, at the level debug, where each request has a line of its own; the broker's fault adds a warning."""
    s = Server("--log-level=debug", role="api", env={"STENO_FAULT": "broker_token=fail@1"})
    try:
        job_id = raw(s, **{"X-Request-Id": "r1"}).json["id"]
        s.ask("GET", "/nowhere", headers={"X-Request-Id": "r2"})
        s.ask("DELETE", f"/v1/jobs/{job_id}", headers={"X-Request-Id": "r3"})
        wait_for("the log", lambda: "DELETE" in s.log())
        about = [l for l in s.log().splitlines() if " api: " in l and (job_id in l or "/nowhere" in l or "/v1/jobs" in l)]
        assert {"accepted", "cancelled", "POST", "DELETE"} <= {w for l in about for w in l.replace(",", " ").split()}
        assert any("is accepted but not announced" in l for l in about)
        assert all(re.search(r"\br[123]\b", l) for l in about), about
    finally:
        s.close()


# What waits, and who works.


def test_queues(api):
    assert [q["name"] for q in api.ask("GET", "/v1/queues").json["queues"]] == ["high", "normal", "retry"]
    for queue in ("high", "normal", "normal"):
        assert raw(api, f"?queue={queue}").status == 202
    late = raw(api).json["id"]
    change(api, "UPDATE jobs SET run_after = run_after + 1000000 WHERE id = ?", (late,))
    queues = {q["name"]: q for q in api.ask("GET", "/v1/queues").json["queues"]}
    assert [(queues[n]["ready"], queues[n]["delayed"]) for n in ("high", "normal", "retry")] == [(1, 0), (2, 1), (0, 0)]
    assert queues["retry"]["oldest"] == 0 and queues["high"]["broker_depth"] in (None, 0, 1)
    wait_for("time passes", lambda: api.ask("GET", "/v1/queues").json["queues"][0]["oldest"] > 0.05)


def test_workers_by_page(api):
    rows = [(f"01a20200-0000-7000-8000-00000000000{i}", i) for i in range(5)]
    for row in reversed(rows):
        change(api, "INSERT INTO workers VALUES (?, 'h', ?, '1', 'running', 1, 1, 0, '{\"slots\": 1}')", row)
    whole = api.ask("GET", "/v1/workers").json
    assert [w["pid"] for w in whole["workers"]] == [0, 1, 2, 3, 4] and whole["next_cursor"] is None
    assert {w["state"] for w in whole["workers"]} == {"silent"} and whole["workers"][0]["info"] == {"slots": 1}
    seen, cursor = [], ""
    while cursor is not None:
        page = api.ask("GET", "/v1/workers?limit=2" + (f"&cursor={cursor}" if cursor else "")).json
        seen += [w["pid"] for w in page["workers"]]
        cursor = page["next_cursor"]
        if len(seen) == 2:  # one that was seen goes, so that places move
            change(api, "DELETE FROM workers WHERE pid = 0")
    assert seen == [0, 1, 2, 3, 4]
    for query in ("limit=0", "limit=1001", "cursor=1"):
        assert api.ask("GET", f"/v1/workers?{query}").code == "bad_query"


def test_a_running_worker_is_listed(server):
    (worker,) = wait_for("its heartbeat", lambda: server.ask("GET", "/v1/workers").json["workers"])
    assert worker["state"] == "running" and worker["info"]["default_engine"] == "null"
