# SPDX-License-Identifier: MIT
"""stt: the routes under /api/stt/, as their clients write their requests."""

import subprocess

import pytest
import requests

from dialects import SOUND, UNKNOWN, poll, recording, whisper_models
from steno_server import Server, wait_for

MESSAGE = "File uploaded successfully. Processing started."


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


def upload(server, name="test.mp3", content=SOUND, path="/api/stt/upload", **fields):
    return requests.post(server.url + path, files={"file": (name, content, "audio/mpeg")}, data=fields, timeout=60)


def status(server, job_id):
    answer = requests.get(f"{server.url}/api/stt/status/{job_id}", timeout=60)
    assert answer.status_code == 200, answer.text
    return answer.json()


def test_the_documented_command(server, tmp_path):
    (tmp_path / "test.mp3").write_bytes(SOUND)
    done = subprocess.run(["curl", "-sS", "-X", "POST", "-F", "file=@test.mp3", "-F", "language=vi", "-F", "model=medium",
                           server.url + "/api/stt/upload"], cwd=tmp_path, capture_output=True, text=True, check=True)
    assert '"status":"PENDING"' in done.stdout and MESSAGE in done.stdout


@pytest.mark.parametrize("slash", ["", "/"])
def test_upload_poll_result(server, slash):
    answer = upload(server, path="/api/stt/upload" + slash, language="vi", model="medium")
    assert answer.status_code == 200 and answer.headers["content-type"] == "application/json; charset=utf-8"
    body = answer.json()
    job_id = body["job_id"]
    assert body == {"job_id": job_id, "status": "PENDING", "message": MESSAGE}

    ended = poll(lambda: status(server, job_id), "COMPLETED")
    assert set(ended) == {"job_id", "status", "progress", "created_at", "error_message"}
    assert ended["job_id"] == job_id and ended["progress"] == 100.0 and isinstance(ended["progress"], float)
    assert ended["error_message"] is None and ended["created_at"].startswith("20")

    answer = requests.get(f"{server.url}/api/stt/result/{job_id}{slash}", timeout=60)
    result = answer.json()
    assert answer.status_code == 200
    assert {"job_id", "status", "text", "minio_result_path", "completed_at"} <= set(result)
    assert result["status"] == "COMPLETED" and "null engine" in result["text"]
    assert result["minio_result_path"].startswith(f"results/{job_id}/")
    assert result["minio_result_path"] in server.objects()
    assert f"uploads/{job_id}/test.mp3" in server.objects()


def test_defaults(server):
    job = server.job(upload(server).json()["job_id"])
    assert job["language"] == "vi" and job["model"] == "medium"
    job = server.job(upload(server, language="en", model="tiny").json()["job_id"])
    assert job["language"] == "en" and job["model"] == "tiny"
    job = server.job(upload(server, language="auto").json()["job_id"])
    assert job["language"] is None


@pytest.mark.parametrize("name", ["a.mp3", "a.wav", "a.m4a", "a.mp4", "A.MP3", "a.txt.wav"])
def test_names_that_are_taken(api, name):
    assert upload(api, name).status_code == 200


@pytest.mark.parametrize("name", ["a.txt", "a.flac", "a.ogg", "a", "mp3", "a.mp3.txt", "a.mp", "a.mp33", "a."])
def test_names_that_are_refused(api, name):
    answer = upload(api, name)
    assert answer.status_code == 400 and answer.json() == {"detail": "Unsupported file format"}


def test_result_before_the_end(api):
    job_id = upload(api).json()["job_id"]
    shown = status(api, job_id)
    assert shown["status"] == "PENDING" and shown["progress"] == 0
    answer = requests.get(f"{api.url}/api/stt/result/{job_id}", timeout=60)
    assert answer.status_code == 400 and answer.json() == {"detail": "Job not completed. Status: PENDING"}


@pytest.mark.parametrize("route", ["status", "result"])
@pytest.mark.parametrize("job_id", [UNKNOWN, "abc123"])
def test_unknown_jobs(api, route, job_id):
    answer = requests.get(f"{api.url}/api/stt/{route}/{job_id}", timeout=60)
    assert answer.status_code == 404 and answer.json() == {"detail": "Job not found"}


def test_no_file(api):
    missing = [{"loc": ["body", "file"], "msg": "Field required", "type": "missing"}]
    for answer in (requests.post(api.url + "/api/stt/upload", data={"language": "vi"}, timeout=60),
                   requests.post(api.url + "/api/stt/upload", files={"language": (None, "vi")}, timeout=60),
                   requests.post(api.url + "/api/stt/upload", json={}, timeout=60)):
        assert answer.status_code == 422 and answer.json() == {"detail": missing}


def test_fields_nobody_knows_are_ignored(api):
    assert upload(api, colour="red").status_code == 200
    assert upload(api, path="/api/stt/upload?colour=red").status_code == 200


def test_a_wrong_field(api):
    answer = upload(api, language="not a language")
    (why,) = answer.json()["detail"]
    assert answer.status_code == 422 and why["loc"] == ["body", "language"] and why["msg"] and why["type"]


def test_with_an_engine(tmp_path):
    """What is asked for by default is there: Vietnamese, and a model called medium."""
    server = Server(*whisper_models(tmp_path))
    try:
        spoken = upload(server, "test.wav", recording("02_one_word")).json()["job_id"]
        # Its name is good; what is in it shows when a worker opens it.
        corrupt = upload(server, "corrupt.mp3", b"invalid\n").json()["job_id"]
        english = upload(server, "en.wav", recording("02_one_word"), language="en", model="small").json()["job_id"]
        poll(lambda: status(server, spoken), "COMPLETED")
        result = requests.get(f"{server.url}/api/stt/result/{spoken}", timeout=60).json()
        assert (result["language"], result["model"]) == ("vi", "medium")
        poll(lambda: status(server, english), "COMPLETED")
        result = requests.get(f"{server.url}/api/stt/result/{english}", timeout=60).json()
        assert result["text"].strip() and result["model"] == "small"

        ended = poll(lambda: status(server, corrupt), "FAILED")
        assert ended["error_message"] and ended["progress"] == 0
        answer = requests.get(f"{server.url}/api/stt/result/{corrupt}", timeout=60)
        assert answer.status_code == 400 and answer.json() == {"detail": "Job not completed. Status: FAILED"}
    finally:
        server.close()


def test_the_default_model_where_it_is_not_installed(tmp_path):
    """The nearest one is taken, and the result says so."""
    flags = whisper_models(tmp_path)
    (tmp_path / "ggml-medium.bin").unlink()
    server = Server(*flags)
    try:
        job_id = upload(server, "test.wav", recording("02_one_word")).json()["job_id"]
        poll(lambda: status(server, job_id), "COMPLETED")
        result = requests.get(f"{server.url}/api/stt/result/{job_id}", timeout=60).json()
        assert (result["language"], result["model"]) == ("vi", "base")
        assert server.job(job_id)["model"] == "medium"
    finally:
        server.close()


def test_cancelled_elsewhere(api):
    job_id = upload(api).json()["job_id"]
    requests.delete(f"{api.url}/v1/jobs/{job_id}", timeout=60)
    assert status(api, job_id)["status"] == "CANCELLED"
    wait_for("the job to be shown so everywhere", lambda: api.job(job_id)["status"] == "cancelled")
