# SPDX-License-Identifier: MIT
"""audio text: the routes of a back end whose clients put recordings into storage themselves and then start a job on them."""

import subprocess

import pytest
import requests

from backends import S3
from dialects import SOUND, UNKNOWN, follow, poll, recording, whisper_models
from steno_server import Server

OBJECT = {"id", "filename", "status", "creation_date", "update_date", "result_text", "processing_time_seconds",
          "error_message", "language", "whisper_model"}


@pytest.fixture(scope="module")
def server():
    s = Server("--engine=null", "--max-upload-size=100k")
    yield s
    s.close()


def presigned(server, filename="talk.mp3", content_type="audio/mpeg", file_size=len(SOUND)):
    body = {"filename": filename, "content_type": content_type, "file_size": file_size}
    return requests.post(server.url + "/api/v1/audio/presigned-url", json=body, timeout=60)


def put(url, content=SOUND):
    return requests.put(url, data=content, headers={"Content-Type": "audio/mpeg"}, timeout=60)


def start(server, url, filename="talk.mp3", mode="base", **more):
    return requests.post(server.url + "/api/v1/job/transcribe",
                         json={"filename": filename, "mode": mode, "url": url, **more}, timeout=60)


def status(server, job_id, slash=""):
    answer = requests.get(f"{server.url}/api/v1/job/status/{job_id}{slash}", timeout=60)
    assert answer.status_code == 200, answer.text
    return answer.json()


def test_the_whole_way(server):
    answer = presigned(server)
    assert answer.status_code == 200
    url = answer.json()["url"]
    assert put(url).status_code == 200
    answer = start(server, url)
    assert answer.status_code == 200, answer.text
    job = answer.json()
    assert OBJECT <= set(job) and job["status"] == "pending" and job["whisper_model"] == "base"
    ended = poll(lambda: status(server, job["id"]), "completed")
    assert OBJECT <= set(ended) and "null engine" in ended["result_text"] and ended["error_message"] is None
    assert isinstance(ended["processing_time_seconds"], int) and ended["filename"] == "talk.mp3"
    assert ended["update_date"] >= ended["creation_date"]
    native = server.job(job["id"])
    assert native["size"] == len(SOUND) and (native["sha256"] is None) == S3
    (key,) = [o for o in server.objects() if o.startswith(f"uploads/{job['id']}/")]
    assert server.read_object(key) == SOUND


def test_by_query_and_by_key(server):
    """As the front end of the public code asks for it."""
    answer = requests.get(server.url + "/api/v1/audio/get_presigned_url", timeout=60,
                          params={"filename": "my talk.mp3", "content_type": "audio/mpeg", "file_size": len(SOUND)})
    assert answer.status_code == 200
    assert put(answer.json()["url"]).status_code == 200
    key = answer.json()["key"]
    assert key.startswith("uploads/") and key.endswith("my talk.mp3")
    job = start(server, key, "my talk.mp3").json()
    assert poll(lambda: status(server, job["id"], "/"), "completed")["filename"] == "my talk.mp3"


def test_with_curl(server, tmp_path):
    (tmp_path / "a.mp3").write_bytes(SOUND)

    def curl(*args):
        return subprocess.run(["curl", "-sS", "-f", *args], cwd=tmp_path, capture_output=True, text=True, check=True).stdout

    url = requests.post(server.url + "/api/v1/audio/presigned-url/", json={"filename": "a.mp3"}, timeout=60).json()["url"]
    curl("-T", "a.mp3", url)
    job = start(server, url, "a.mp3").json()
    poll(lambda: status(server, job["id"]), "completed")
    assert job["id"] in curl(f"{server.url}/api/v1/job/status/{job['id']}")
    assert job["id"] in curl(f"{server.url}/api/v1/job/read")
    assert '"status":"ok"' in curl(f"{server.url}/api/v1")


@pytest.mark.parametrize("slash", ["", "/"])
def test_list(server, slash):
    ids = []
    for i in range(3):
        url = presigned(server).json()["url"]
        put(url)
        ids.insert(0, start(server, url, f"{i}.mp3").json()["id"])
    for job_id in ids:
        poll(lambda: status(server, job_id), "completed")
    jobs = requests.get(server.url + "/api/v1/job/read" + slash, timeout=60).json()
    assert [j["id"] for j in jobs[:3]] == ids
    assert all(OBJECT <= set(j) and "null engine" in j["result_text"] for j in jobs[:3])
    jobs = requests.get(server.url + "/api/v1/job/read", params={"limit": 1, "offset": 1}, timeout=60).json()
    assert [j["id"] for j in jobs] == [ids[1]]
    answer = requests.get(server.url + "/api/v1/job/read?limit=x", timeout=60)
    assert answer.status_code == 422 and answer.json()["detail"][0]["loc"] == ["query", "limit"]


def test_list_with_jobs_that_have_no_text(server):
    url = presigned(server, "notes.mp3").json()["url"]
    put(url)
    job_id = start(server, url).json()["id"]
    requests.delete(f"{server.url}/v1/jobs/{job_id}", timeout=60)
    jobs = requests.get(server.url + "/api/v1/job/read", timeout=60).json()
    for job in jobs:
        assert (job["result_text"] is not None) == (job["status"] == "completed")


def test_refused_urls(server):
    answer = presigned(server, "notes.txt")
    assert answer.status_code == 400 and answer.json() == {"detail": "Unsupported file format"}
    answer = presigned(server, content_type="text/html")
    assert answer.status_code == 400 and "'text/html'" in answer.json()["detail"]
    answer = requests.get(server.url + "/api/v1/audio/get_presigned_url?filename=a.mp3&content_type=image/png", timeout=60)
    assert answer.status_code == 400 and "'image/png'" in answer.json()["detail"]
    for type in (None, "", "video/mp4", "application/octet-stream"):
        assert presigned(server, content_type=type).status_code == 200
    answer = presigned(server, file_size=200 << 10)
    assert answer.status_code == 413 and isinstance(answer.json()["detail"], str)
    answer = requests.post(server.url + "/api/v1/audio/presigned-url", json={}, timeout=60)
    assert answer.status_code == 422
    assert answer.json() == {"detail": [{"loc": ["body", "filename"], "msg": "Field required", "type": "missing"}]}
    answer = presigned(server, file_size="big")
    assert answer.status_code == 422 and answer.json()["detail"][0]["loc"] == ["body", "file_size"]
    for body in ("{", "[]", '"text"', ""):
        answer = requests.post(server.url + "/api/v1/audio/presigned-url", data=body, timeout=60)
        assert answer.status_code == 422 and answer.json()["detail"][0]["type"] == "json_invalid"
    answer = requests.get(server.url + "/api/v1/audio/get_presigned_url", timeout=60)
    assert answer.status_code == 422 and answer.json()["detail"][0]["loc"] == ["query", "filename"]
    answer = requests.get(server.url + "/api/v1/audio/get_presigned_url?filename=a.mp3&file_size=-1", timeout=60)
    assert answer.status_code == 422 and answer.json()["detail"][0]["loc"] == ["query", "file_size"]


def test_refused_jobs(server):
    for url in ("https://example.org/a.mp3", f"uploads/{UNKNOWN}/a.mp3", "", "../../etc/passwd"):
        answer = start(server, url)
        assert answer.status_code == 404 and isinstance(answer.json()["detail"], str), answer.text
    url = presigned(server).json()["url"]
    answer = start(server, url)
    assert answer.status_code == 409 and "upload" in answer.json()["detail"]
    html = requests.put(url, data=SOUND, headers={"Content-Type": "text/html"}, timeout=60)
    assert (html.status_code, start(server, url).status_code) == ((200, 400) if S3 else (415, 409))
    put(url)
    assert start(server, url, "notes.txt").status_code == 400
    assert start(server, url, mode=3).json()["detail"][0]["loc"] == ["body", "mode"]
    assert start(server, url).status_code == 200
    assert start(server, url).status_code == 409  # used
    answer = requests.post(server.url + "/api/v1/job/transcribe", json={"filename": "a.mp3"}, timeout=60)
    assert answer.status_code == 422 and answer.json()["detail"][0]["loc"] == ["body", "url"]


def test_a_submission_that_is_sent_again(server):
    url, key = presigned(server).json()["url"], {"Idempotency-Key": "order-1"}

    def send(**more):
        body = {"filename": "talk.mp3", "mode": "base", "url": url, **more}
        return requests.post(server.url + "/api/v1/job/transcribe", json=body, headers=key, timeout=60)

    assert send().status_code == 409  # nothing is there yet, which leaves the key free
    put(url)
    assert send(mode=3).status_code == 422
    before = server.rows()["jobs"]
    first = send()
    assert first.status_code == 200 and "Idempotency-Replayed" not in first.headers, first.text
    again = send()
    assert (again.status_code, again.text, again.headers["Idempotency-Replayed"]) == (200, first.text, "true")
    poll(lambda: status(server, first.json()["id"]), "completed")
    assert send().text == first.text and server.rows()["jobs"] == before + 1
    other = send(mode="small")
    assert other.status_code == 422 and "Idempotency-Key" in other.json()["detail"]
    assert start(server, url).status_code == 409  # without a key it is another job, on the same recording


@pytest.mark.parametrize("job_id", [UNKNOWN, "1"])
def test_unknown_jobs(server, job_id):
    answer = requests.get(f"{server.url}/api/v1/job/status/{job_id}", timeout=60)
    assert answer.status_code == 404 and answer.json() == {"detail": "Job not found"}


@pytest.mark.parametrize("path", ["/api/v1", "/api/v1/"])
def test_health(server, path):
    answer = requests.get(server.url + path, timeout=60)
    assert answer.status_code == 200 and answer.json()["status"] == "ok"


def test_a_real_recording(tmp_path):
    server = Server(*whisper_models(tmp_path))
    try:
        ids = {}
        for name, content in (("digits.wav", recording("01_digits")), ("corrupt.mp3", b"invalid\n")):
            url = presigned(server, name, file_size=len(content)).json()["url"]
            assert put(url, content).status_code == 200
            ids[name] = start(server, url, name, "small", language="en").json()["id"]
        ended = poll(lambda: status(server, ids["digits.wav"]), "completed")
        assert "seven" in ended["result_text"].lower()
        assert (ended["whisper_model"], ended["language"]) == ("small", "en")
        assert poll(lambda: status(server, ids["corrupt.mp3"]), "failed")["error_message"]
    finally:
        server.close()


def test_watch_a_job(tmp_path):
    server = Server(*whisper_models(tmp_path))
    try:
        content = recording("10_long")
        url = presigned(server, "long.wav", file_size=len(content)).json()["url"]
        put(url, content)
        job_id = start(server, url, "long.wav", "small", language="en").json()["id"]
        messages, code = follow(server, f"/api/v1/job/ws/{job_id}")
        assert code == 1000
        for m in messages:
            assert {"job_id", "type", "status", "progress", "message"} <= set(m)
            assert (m["job_id"], m["type"]) == (job_id, "job_update") and m["message"]
            assert m["status"] in ("pending", "processing", "completed")
        last = messages[-1]
        assert last["status"] == "completed" and last["progress"] == 100
        shown = status(server, job_id)
        assert last["result"] == shown and last["result_text"] == shown["result_text"]
        messages, code = follow(server, f"/api/v1/job/ws/{job_id}/")
        assert code == 1000 and messages[-1]["result_text"] == shown["result_text"]

        url = presigned(server, "corrupt.mp3", file_size=8).json()["url"]
        put(url, b"invalid\n")
        job_id = start(server, url, "corrupt.mp3", "small").json()["id"]
        messages, code = follow(server, f"/api/v1/job/ws/{job_id}")
        assert code == 1000 and messages[-1]["status"] == "failed" and messages[-1]["error_message"]
        assert messages[-1]["result_text"] is None
    finally:
        server.close()


def test_watch_an_unknown_job(server):
    assert follow(server, f"/api/v1/job/ws/{UNKNOWN}") == ([], 4404)
