# SPDX-License-Identifier: MIT
"""What cannot be decoded, sent as clients of the other services send it: taken by its name, it fails in the worker and is among the errors."""

import pytest
import requests

from dialects import poll, whisper_models
from steno_server import Server

NAME, CONTENT = "corrupt.mp3", b"invalid\n"


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    s = Server(*whisper_models(tmp_path_factory.mktemp("models")))
    yield s
    s.close()


def form(path, id_name):
    def submit(server, slash):
        answer = requests.post(server.url + path + slash, files={"file": (NAME, CONTENT)}, timeout=60)
        assert answer.status_code in (200, 202), answer.text
        return answer.json()[id_name]

    return submit


def by_url(server, slash):
    announced = {"filename": NAME, "content_type": "audio/mpeg", "file_size": len(CONTENT)}
    url = requests.post(server.url + "/api/v1/audio/presigned-url" + slash, json=announced, timeout=60).json()["url"]
    assert requests.put(url, data=CONTENT, headers={"Content-Type": "audio/mpeg"}, timeout=60).status_code == 200
    answer = requests.post(server.url + "/api/v1/job/transcribe" + slash, json={"filename": NAME, "mode": "small", "url": url},
                           timeout=60)
    assert answer.status_code == 200, answer.text
    return answer.json()["id"]


@pytest.mark.parametrize("slash", ["", "/"])
@pytest.mark.parametrize("submit, path, failed, message", [
    (form("/api/v1/transcribe", "job_id"), "/api/v1/transcribe/", "FAILED", "error_message"),
    (form("/transcribe", "job_id"), "/transcribe/", "failed", "error_message"),
    (form("/api/stt/upload", "job_id"), "/api/stt/status/", "FAILED", "error_message"),
    (form("/transcribe", "task_id"), "/task/", "failed", "error"),
    (by_url, "/api/v1/job/status/", "failed", "error_message"),
], ids=["tool", "pool", "stt", "queue", "audio_text"])
def test_it_fails_in_the_worker(server, submit, path, failed, message, slash):
    job_id = submit(server, slash)
    shown = poll(lambda: requests.get(server.url + path + job_id + slash, timeout=60).json(), failed)
    errors = requests.get(server.url + "/admin/errors" + slash, timeout=60).json()["errors"]
    (error,) = [e for e in errors if e["job_id"] == job_id]
    assert (error["filename"], error["error_type"], error["resolved"]) == (NAME, "corrupt", False)
    assert error["error_message"] and shown[message] == error["error_message"]
