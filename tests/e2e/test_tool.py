# SPDX-License-Identifier: MIT
"""tool: the routes of a transcription tool, /api/v1/transcribe."""

import subprocess

import pytest
import requests

from dialects import SOUND, UNKNOWN, poll, recording, whisper_models
from steno_server import Server


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


def submit(server, name="talk.mp3", content=SOUND, slash="", **fields):
    return requests.post(server.url + "/api/v1/transcribe" + slash, files={"file": (name, content)}, data=fields,
                         timeout=60)


def look(server, job_id, slash=""):
    answer = requests.get(f"{server.url}/api/v1/transcribe/{job_id}{slash}", timeout=60)
    assert answer.status_code == 200, answer.text
    return answer.json()


def test_with_curl(server, tmp_path):
    (tmp_path / "audio.mp3").write_bytes(SOUND)
    done = subprocess.run(["curl", "-sS", "-w", " %{http_code}", "-F", "file=@audio.mp3",
                           server.url + "/api/v1/transcribe"], cwd=tmp_path, capture_output=True, text=True, check=True)
    assert '"job_id":"' in done.stdout and done.stdout.endswith(" 200")


@pytest.mark.parametrize("slash", ["", "/"])
def test_submit_and_poll(server, slash):
    answer = submit(server, slash=slash, language="en")
    assert answer.status_code == 200
    body = answer.json()
    assert body["status"] == "PENDING" and body["filename"] == "talk.mp3"
    ended = poll(lambda: look(server, body["job_id"], slash), "COMPLETED")
    assert "null engine" in ended["text"] and ended["progress"] == 100 and ended["error_message"] is None
    assert ended["language"] == "en" and ended["filename"] == "talk.mp3"
    assert ended["chunks_completed"] == ended["chunks_total"]
    assert ended["result_path"] in server.objects()
    assert all(ended[k].startswith("20") for k in ("created_at", "started_at", "updated_at", "completed_at"))


@pytest.mark.parametrize("slash", ["", "/"])
def test_cancel(api, slash):
    job_id = submit(api).json()["job_id"]
    assert look(api, job_id)["status"] == "PENDING"
    url = f"{api.url}/api/v1/transcribe/{job_id}{slash}"
    for _ in range(2):
        answer = requests.delete(url, timeout=60)
        assert answer.status_code == 200
        assert answer.json() == {"job_id": job_id, "status": "CANCELLED", "message": "Job cancelled"}
    assert look(api, job_id)["status"] == "CANCELLED"


def test_cancel_after_the_end(server):
    job_id = submit(server).json()["job_id"]
    poll(lambda: look(server, job_id), "COMPLETED")
    answer = requests.delete(f"{server.url}/api/v1/transcribe/{job_id}", timeout=60)
    assert answer.status_code == 409 and "completed" in answer.json()["detail"]


@pytest.mark.parametrize("method", ["GET", "DELETE"])
@pytest.mark.parametrize("job_id", [UNKNOWN, "1"])
def test_unknown_jobs(api, method, job_id):
    answer = requests.request(method, f"{api.url}/api/v1/transcribe/{job_id}", timeout=60)
    assert answer.status_code == 404 and answer.json() == {"detail": "Job not found"}


def test_refusals(api):
    answer = submit(api, "notes.txt")
    assert answer.status_code == 400 and answer.json() == {"detail": "Unsupported file format"}
    answer = requests.post(api.url + "/api/v1/transcribe", timeout=60)
    assert answer.status_code == 422 and answer.json()["detail"][0]["loc"] == ["body", "file"]
    answer = submit(api, content=b"")
    assert answer.status_code == 400 and isinstance(answer.json()["detail"], str)
    assert api.rows()["jobs"] == api.sql("SELECT count(*) FROM jobs WHERE state != 'failed'")[0][0]


def test_too_large():
    server = Server("--max-upload-size=1000B", role="api")
    try:
        answer = submit(server, content=SOUND * 20)
        assert answer.status_code == 413 and "1000" in answer.json()["detail"]
    finally:
        server.close()


def test_a_real_recording(tmp_path):
    server = Server(*whisper_models(tmp_path))
    try:
        job_id = submit(server, "digits.wav", recording("01_digits"), language="en", model="small").json()["job_id"]
        ended = poll(lambda: look(server, job_id), "COMPLETED")
        assert "seven" in ended["text"].lower() and ended["model"] == "small"
        corrupt = submit(server, "corrupt.mp3", b"invalid\n", model="small").json()["job_id"]
        assert poll(lambda: look(server, corrupt), "FAILED")["error_message"]
    finally:
        server.close()
