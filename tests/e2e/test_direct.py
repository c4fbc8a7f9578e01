# SPDX-License-Identifier: MIT
"""direct: the direct service beside the queue service: a submission is answered with the text."""

import json
import re
import socket
import threading

import openapi_check
import pytest
import requests

from dialects import SOUND, UNKNOWN, recording, whisper_models
from steno_server import QUICK, Server, kill, multipart, role_pid, wait_for


@pytest.fixture(scope="module")
def server():
    s = Server("--direct-listen=127.0.0.1:0", "--direct-max-size=10k", "--engine=null")
    yield s
    s.close()


@pytest.fixture(scope="module")
def whisper(tmp_path_factory):
    s = Server("--direct-listen=127.0.0.1:0", *whisper_models(tmp_path_factory.mktemp("models")))
    yield s
    s.close()


@pytest.fixture
def idle():
    """An api without a worker: whoever asks waits."""
    s = Server(*QUICK, "--direct-listen=127.0.0.1:0", "--direct-concurrency=2", "--direct-time-limit=300s", role="api")
    yield s
    s.close()


def direct_url(server):
    listener = re.search(r"direct service listening on (?:http://)?([^\s/]+)", server.log()).group(1)
    openapi_check.direct_listeners.add(listener)
    return "http://" + listener


def transcribe(server, name="talk.mp3", content=SOUND, slash="/", headers=None, **fields):
    return requests.post(direct_url(server) + "/transcribe" + slash, files={"file": (name, content)}, data=fields,
                         headers=headers, timeout=300)


@pytest.mark.parametrize("slash", ["", "/"])
def test_text_at_once(server, slash):
    answer = transcribe(server, slash=slash)
    assert answer.status_code == 200, answer.text
    body = answer.json()
    assert "null engine" in body["text"] and body["filename"] == "talk.mp3" and body["model"] == "null"
    assert body["segments"][0]["text"] in body["text"] and body["segments"][0]["start"] <= body["segments"][0]["end"]
    job = server.job(body["task_id"])  # kept like any other
    assert job["status"] == "completed" and job["queue"] == "high"
    assert transcribe(server, headers={"Accept": "text/plain"}).text == body["text"] + "\n"


def test_a_real_recording(whisper):
    answer = transcribe(whisper, "digits.wav", recording("01_digits"), model_size="small", language="en")
    assert answer.status_code == 200 and "seven" in answer.json()["text"].lower()
    assert answer.json()["language"] == "en" and answer.json()["duration"] > 2
    answer = transcribe(whisper, "corrupt.mp3", b"invalid\n", model="small")
    assert answer.status_code == 422 and isinstance(answer.json()["detail"], str)
    assert whisper.rows()["error_logs"] == 1


@pytest.mark.parametrize("slash", ["", "/"])
def test_health_and_config(server, slash):
    health = requests.get(direct_url(server) + "/health" + slash, timeout=60)
    assert health.status_code == 200
    assert health.json()["status"] == "ok" and health.json()["max_concurrent_requests"] == 8
    config = requests.get(direct_url(server) + "/config" + slash, timeout=60).json()
    assert config["max_file_size"] == 10 << 10 and config["max_concurrent_requests"] == 8 and config["timeout"] == 1200
    assert "null" in config["engines"]


def test_refusals(server):
    answer = transcribe(server, "notes.txt")
    assert answer.status_code == 400 and answer.json() == {"detail": "Unsupported file format"}
    answer = requests.post(direct_url(server) + "/transcribe/", timeout=60)
    assert answer.status_code == 422 and answer.json()["detail"][0]["loc"] == ["body", "file"]
    # Beyond the overhead of a form the length alone decides; below it what comes in.
    for size in (11 << 10, 3 << 20):
        answer = transcribe(server, content=SOUND + bytes(size))
        assert answer.status_code == 413 and isinstance(answer.json()["detail"], str)
    assert server.submit(SOUND + bytes(11 << 10)).status == 202  # elsewhere the other limit counts


def test_keys_are_those_of_the_service(server):
    """A key is not the one that the other service at the same path knows, and the kind of answer is part of what it names."""
    key = {"Idempotency-Key": "k1"}
    other = requests.post(server.url + "/transcribe/", files={"file": ("talk.mp3", SOUND)}, data={"queue": "high"},
                          headers=key, timeout=60)
    assert other.status_code == 202 and "text" not in other.json()
    first = transcribe(server, headers=key, queue="high")
    assert first.status_code == 200 and "Idempotency-Replayed" not in first.headers, first.text
    assert first.json()["text"] and first.json()["task_id"] != other.json()["job_id"]
    again = transcribe(server, headers=key, queue="high")
    assert (again.status_code, again.headers["Idempotency-Replayed"], again.text) == (200, "true", first.text)
    plain = transcribe(server, headers=key | {"Accept": "text/plain"}, queue="high")
    assert plain.status_code == 422 and "Idempotency-Key" in plain.json()["detail"]
    key = {"Idempotency-Key": "k2", "Accept": "text/plain"}
    texts = [transcribe(server, headers=key).text for _ in range(2)]
    assert texts == [first.json()["text"] + "\n"] * 2


def test_the_other_routes_are_elsewhere(server):
    for path in ("/v1/jobs", f"/task/{UNKNOWN}", "/metrics", "/", "/%ff"):
        answer = requests.get(direct_url(server) + path, timeout=60)
        assert (answer.status_code, answer.json()) == (404, {"detail": "Not Found"})
    answer = requests.get(direct_url(server) + "/transcribe/", timeout=60)
    assert (answer.status_code, answer.headers["allow"]) == (405, "POST, OPTIONS")
    assert answer.json() == {"detail": "Method Not Allowed"}
    assert requests.get(server.url + "/config", timeout=60).status_code == 404


def test_its_own_document(server):
    answer = requests.get(direct_url(server) + "/openapi.json", timeout=60)
    assert (answer.status_code, answer.headers["content-type"]) == (200, "application/json")
    doc = openapi_check.document(direct=True).json
    assert answer.json() == doc
    assert {(path, method) for path, item in doc["paths"].items() for method in item} == {
        ("/transcribe", "post"), ("/health", "get"), ("/config", "get"), ("/openapi.json", "get")}


@pytest.mark.parametrize("path", ["/health", "/config", "/transcribe"])
def test_answers_are_held_against_it(server, path):
    """An answer with a member that it does not describe is refused."""
    method, body = ("POST", {}) if path == "/transcribe" else ("GET", requests.get(direct_url(server) + path, timeout=60).json())
    with pytest.raises(AssertionError, match="not as the document says"):
        openapi_check.check(method, path, 200, {"x-request-id": "1", "content-type": "application/json"},
                            json.dumps(body | {"more": 1}), direct=True)


def open_request(server):
    """A socket that has sent a whole submission and waits."""
    body, headers = multipart([("file", "a.mp3", SOUND)])
    head = f"POST /transcribe/ HTTP/1.1\r\nHost: x\r\nContent-Length: {len(body)}\r\n"
    head += "".join(f"{k}: {v}\r\n" for k, v in headers.items())
    host, _, port = direct_url(server).removeprefix("http://").rpartition(":")
    s = socket.create_connection((host, int(port)), timeout=60)
    s.sendall(head.encode() + b"\r\n" + body)
    return s


def states(server):
    return sorted(r[0] for r in server.sql("SELECT state FROM jobs"))


def test_busy_and_a_client_that_leaves(idle):
    first, second = open_request(idle), open_request(idle)
    wait_for("both are accepted", lambda: states(idle) == ["pending", "pending"])
    answer = transcribe(idle)
    assert answer.status_code == 503 and int(answer.headers["retry-after"]) >= 1 and isinstance(answer.json()["detail"], str)
    assert requests.get(direct_url(idle) + "/health", timeout=60).json()["active_requests"] == 2
    first.close()
    wait_for("its job is cancelled", lambda: states(idle) == ["cancelled", "pending"])
    wait_for("there is room", lambda: requests.get(direct_url(idle) + "/health", timeout=60).json()["active_requests"] == 1)
    third = open_request(idle)
    wait_for("it is accepted", lambda: states(idle) == ["cancelled", "pending", "pending"])
    second.close()
    third.close()
    wait_for("all are cancelled", lambda: states(idle) == ["cancelled"] * 3)


def test_cancelled_by_somebody_else(idle):
    done = []
    thread = threading.Thread(target=lambda: done.append(transcribe(idle)))
    thread.start()
    (job_id,) = wait_for("it is accepted", lambda: [r[0] for r in idle.sql("SELECT id FROM jobs")])
    requests.delete(f"{idle.url}/task/{job_id}", timeout=60)
    thread.join(60)
    assert done[0].status_code == 409 and isinstance(done[0].json()["detail"], str)


def test_time_limit():
    server = Server("--direct-listen=127.0.0.1:0", "--direct-time-limit=1s", role="api")
    try:
        answer = transcribe(server)
        assert answer.status_code == 504 and "1 s" in answer.json()["detail"]
        assert states(server) == ["cancelled"]
    finally:
        server.close()


def test_a_stop_answers_those_who_wait():
    server = Server("--direct-listen=127.0.0.1:0", role="api")
    try:
        done = []
        thread = threading.Thread(target=lambda: done.append(transcribe(server)))
        thread.start()
        wait_for("it is accepted", lambda: states(server) == ["pending"])
        assert server.stop() == 0
        thread.join(60)
        assert done[0].status_code == 503 and int(done[0].headers["retry-after"]) >= 1
        assert states(server) == ["cancelled"]
    finally:
        server.close()


def test_the_command():
    """`steno direct` is the whole service with that listener alone; a killed api comes back at the same port."""
    server = Server(*QUICK, "--direct-listen=127.0.0.1:0", "--engine=null", role="direct")
    try:
        assert "null engine" in transcribe(server).json()["text"]
        assert requests.get(direct_url(server) + "/v1/jobs", timeout=60).status_code == 404
        assert len(re.findall("listening on", server.log())) == 1
        before = role_pid(server, "api")
        kill(before)
        wait_for("another api", lambda: role_pid(server, "api") not in (None, before))

        def again():
            try:
                return transcribe(server).status_code == 200
            except requests.ConnectionError:
                return False

        wait_for("it answers at the same port", again)
    finally:
        server.close()


def test_no_listener_at_all(steno):
    done = steno("api", "--listen=none", "--data=d")
    assert done.status == 2 and "direct_listen" in done.err
