# SPDX-License-Identifier: MIT
"""pool: the routes of a service with a pool of models, /transcribe/, /jobs/ and /admin/, as its documents' commands and a client
with requests use them."""

import json
import subprocess
import time

import pytest
import requests

from backends import RABBITMQ, REDIS
from dialects import SOUND, UNKNOWN, poll, recording, whisper_models
from real_server import RealServer, installed
from steno_server import Server, wait_for


@pytest.fixture(scope="module")
def server():
    s = Server("--engine=null")
    yield s
    s.close()


@pytest.fixture(scope="module")
def api():
    """Without a worker: jobs stay pending."""
    s = Server(role="api")
    yield s
    s.close()


@pytest.fixture(scope="module")
def whisper(tmp_path_factory):
    s = Server(*whisper_models(tmp_path_factory.mktemp("models")))
    yield s
    s.close()


def submit(server, name="talk.mp3", content=SOUND, path="/transcribe/", **fields):
    return requests.post(server.url + path, files={"file": (name, content)}, data=fields, timeout=60)


def look(server, job_id, path="/transcribe/{}"):
    answer = requests.get(server.url + path.format(job_id), timeout=60)
    assert answer.status_code == 200, answer.text
    return answer.json()


def shell(command, cwd):
    return subprocess.run(["bash", "-c", command], cwd=cwd, capture_output=True, text=True, check=True, timeout=120).stdout


@pytest.mark.parametrize("slash", ["", "/"])
def test_submit_and_poll(server, slash):
    answer = submit(server, path="/transcribe" + slash, model_size="base", language="en")
    assert answer.status_code == 202
    body = answer.json()
    assert body["status"] == "pending" and body["job_id"] == body["task_id"]
    assert (body["model_size"], body["language"], body["filename"]) == ("base", "en", "talk.mp3")
    ended = poll(lambda: look(server, body["job_id"], "/transcribe/{}" + slash), "completed")
    assert ended["progress"] == 100 and "null engine" in ended["text"]
    assert ended["result"]["transcription_text"] == ended["text"]
    assert ended["result"]["word_count"] > 0 and ended["result"]["confidence"] is None
    assert {"language", "duration", "model_size"} <= set(ended["result"])
    assert ended["error_message"] is None and ended["completed_at"] >= ended["created_at"]


@pytest.mark.parametrize("slash", ["", "/"])
def test_metadata(api, slash):
    job_id = submit(api, model_size="tiny").json()["job_id"]
    shown = look(api, job_id, "/transcribe/{}/metadata" + slash)
    assert shown == {"job_id": job_id, "filename": "talk.mp3", "status": "pending", "model_size": "tiny",
                     "created_at": shown["created_at"]}


@pytest.mark.parametrize("slash", ["", "/"])
def test_cancel(api, slash):
    job_id = submit(api).json()["job_id"]
    for _ in range(2):
        answer = requests.delete(f"{api.url}/transcribe/{job_id}{slash}", timeout=60)
        assert answer.status_code == 200
        assert (answer.json()["job_id"], answer.json()["status"]) == (job_id, "cancelled")
    shown = look(api, job_id)
    assert shown["status"] == "cancelled" and shown["text"] is None and shown["result"] is None


def test_cancel_after_the_end(server):
    job_id = submit(server).json()["job_id"]
    poll(lambda: look(server, job_id), "completed")
    answer = requests.delete(f"{server.url}/transcribe/{job_id}", timeout=60)
    assert answer.status_code == 409 and answer.json() == {"detail": "Job cannot be cancelled: it is completed"}


@pytest.mark.parametrize("method,path", [("GET", "/transcribe/{}"), ("DELETE", "/transcribe/{}"),
                                         ("GET", "/transcribe/{}/metadata")])
def test_unknown_jobs(api, method, path):
    for job_id in (UNKNOWN, "none"):
        answer = requests.request(method, api.url + path.format(job_id), timeout=60)
        assert answer.status_code == 404 and answer.json() == {"detail": "Job not found"}


def test_priority(api):
    queues = {"high": "high", "HIGH": "high", "normal": "normal", "low": "normal", "": "normal"}
    for priority, queue in queues.items():
        assert api.job(submit(api, priority=priority).json()["job_id"])["queue"] == queue
    answer = submit(api, priority="at once")
    assert answer.status_code == 422 and answer.json()["detail"][0]["loc"] == ["body", "priority"]


def test_refusals(api):
    answer = submit(api, "notes.txt")
    assert answer.status_code == 400 and answer.json() == {"detail": "Unsupported file format"}
    answer = requests.post(api.url + "/transcribe/", data={"model_size": "base"}, timeout=60)
    assert answer.status_code == 422
    assert answer.json() == {"detail": [{"loc": ["body", "file"], "msg": "Field required", "type": "missing"}]}
    answer = submit(api, model_size="no such/../model name")
    assert answer.status_code == 422 and answer.json()["detail"][0]["loc"] == ["body", "model_size"]
    assert submit(api, diarize="yes").status_code == 202  # a field nobody knows


@pytest.mark.parametrize("slash", ["", "/"])
def test_list(slash):
    server = Server(role="api")
    try:
        ids = [submit(server, f"{i}.mp3").json()["job_id"] for i in range(5)][::-1]
        requests.delete(f"{server.url}/transcribe/{ids[1]}", timeout=60)

        def listed(**params):
            answer = requests.get(server.url + "/jobs" + slash, params=params, timeout=60)
            assert answer.status_code == 200, answer.text
            assert answer.json()["count"] == len(answer.json()["jobs"])
            return [j["job_id"] for j in answer.json()["jobs"]]

        assert listed() == ids
        assert listed(limit=2) == ids[:2]
        assert listed(limit=2, offset=2) == ids[2:4]
        assert listed(skip=4) == ids[4:] and listed(offset=5) == []
        assert listed(status="cancelled") == [ids[1]]
        assert listed(status="pending", limit=2, offset=1) == [ids[2], ids[3]]
        assert listed(status="completed") == []
        assert listed(colour="red") == ids  # a parameter nobody knows
        first = requests.get(server.url + "/jobs/", params={"limit": 3}, timeout=60).json()
        assert listed(cursor=first["next_cursor"]) == ids[3:]
        shown = first["jobs"][0]
        assert {"job_id", "status", "progress", "model_size", "language", "filename", "created_at", "error_message"} <= set(shown)
        for params in ({"status": "lost"}, {"limit": "0"}, {"limit": "1001"}, {"offset": "-1"}, {"limit": "x"}):
            answer = requests.get(server.url + "/jobs/", params=params, timeout=60)
            assert answer.status_code == 422
            assert answer.json()["detail"][0]["loc"] == ["query", next(iter(params))]
    finally:
        server.close()


def test_the_list_is_as_fast_as_the_native_one():
    """It is the same statement; a look at every job to count them would be seen here."""
    server = Server(role="api")
    try:
        for i in range(60):
            submit(server, f"{i}.mp3")
        session = requests.Session()

        def best(path):
            times = []
            for _ in range(30):
                began = time.monotonic()
                assert session.get(server.url + path, timeout=60).status_code == 200
                times.append(time.monotonic() - began)
            return min(times)

        wait_for("both to take about the same", lambda: best("/jobs/?limit=50") < 3 * best("/v1/jobs?limit=50"), 60)
    finally:
        server.close()


def test_the_documented_commands_for_the_pool_of_models(whisper, tmp_path):
    for i in range(1, 6):
        (tmp_path / f"test{i}.mp3").write_bytes(recording("02_one_word"))
    out = shell('for i in {1..5}; do curl -sS -X POST "%s/transcribe/" -F "file=@test$i.mp3" -F model_size=small '
                '-F language=en & echo >/dev/null; done; wait' % whisper.url, tmp_path)
    ids = [json.loads(line)["job_id"] for line in out.strip().split("\n")]
    assert len(ids) == 5
    for job_id in ids:
        poll(lambda: look(whisper, job_id), "completed")

    def pool():
        return json.loads(shell(f"curl -s {whisper.url}/admin/health | jq '.model_pool'", tmp_path))

    shown = wait_for("the worker tells of them", lambda: (p := pool())["acquisitions"] >= 5 and p)
    assert shown["misses"] >= 1 and shown["hits"] >= 4
    assert shown["hit_rate"] == round(shown["hits"] / shown["acquisitions"], 2) >= 0.5
    assert shown["evictions"] == 0 and shown["oom_fallbacks"] == 0
    assert "small" in shown["loaded_models"]


def test_model_pool_before_anything_ran(api):
    pool = requests.get(api.url + "/admin/health", timeout=60).json()["model_pool"]
    assert pool["hits"] == pool["misses"] == pool["acquisitions"] == 0 and pool["hit_rate"] is None


def test_the_documented_commands_for_errors(whisper, tmp_path):
    job = json.loads(shell('echo "invalid" > corrupt.mp3 && curl -sS -X POST "%s/transcribe/" -F "file=@corrupt.mp3" '
                           '-F model_size=small' % whisper.url, tmp_path))
    poll(lambda: look(whisper, job["job_id"]), "failed")
    errors = json.loads(shell(f'curl -s "{whisper.url}/admin/errors" | jq', tmp_path))["errors"]
    (error,) = [e for e in errors if e["job_id"] == job["job_id"]]
    assert error["filename"] == "corrupt.mp3" and error["error_type"] == "corrupt" and error["error_message"]
    assert error["resolved"] is False and error["retry_count"] == 0 and "stack_trace" in error
    assert look(whisper, job["job_id"])["error_message"] == error["error_message"]
    for path in ("/admin/errors/?limit=1", "/admin/errors?all=true"):
        assert requests.get(whisper.url + path, timeout=60).json()["errors"]
    answer = requests.get(whisper.url + "/admin/errors?limit=many", timeout=60)
    assert answer.status_code == 422 and answer.json()["detail"][0]["loc"] == ["query", "limit"]


def test_health(server):
    for path in ("/health", "/health/", "/admin/health"):
        answer = requests.get(server.url + path, timeout=60)
        assert answer.status_code == 200 and answer.json()["status"] == "ok", answer.text


@pytest.mark.skipif(REDIS or RABBITMQ or not installed("redis"), reason="needs the embedded broker beside an installed Redis")
def test_the_documented_command_for_the_depth_of_a_queue(tmp_path):
    """With the setting as that service has it, and the queue called as there."""
    redis = RealServer("redis")
    try:
        server = Server(role="api", env={"REDIS_URL": redis.vars["REDIS_URL"]})
        try:
            for priority in ("normal", "low", "high"):
                assert submit(server, priority=priority).status_code == 202
            cli = f"redis-cli --no-auth-warning -u {redis.vars['REDIS_URL']}"
            assert shell(f"{cli} llen transcription.normal", tmp_path).strip() == "2"
            assert shell(f"{cli} llen transcription.high", tmp_path).strip() == "1"
        finally:
            server.close()
    finally:
        redis.close()
