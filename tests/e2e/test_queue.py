# SPDX-License-Identifier: MIT
"""The dialect of the queue service: tasks, queue status, and the page that watches a task."""

import pytest
import requests

from dialects import SOUND, UNKNOWN, poll
from steno_server import Server


@pytest.fixture(scope="module")
def server():
    s = Server("--engine=null")
    yield s
    s.close()


@pytest.fixture
def api():
    """Without a worker: tasks stay queued."""
    s = Server("--queue-order=lifo", "--max-queue-size=3", role="api")
    yield s
    s.close()


def submit(server, name="talk.mp3"):
    return requests.post(server.url + "/transcribe/", files={"file": (name, SOUND)}, timeout=60)


def task(server, task_id, slash=""):
    answer = requests.get(f"{server.url}/task/{task_id}{slash}", timeout=60)
    assert answer.status_code == 200, answer.text
    return answer.json()


@pytest.mark.parametrize("slash", ["", "/"])
def test_submit_and_poll(server, slash):
    task_id = submit(server).json()["task_id"]
    ended = poll(lambda: task(server, task_id, slash), "completed")
    assert ended["task_id"] == task_id and ended["progress"] == 100 and ended["message"]
    assert "null engine" in ended["result"]["text"] and ended["error"] is None
    assert ended["queue_position"] is None and ended["estimated_time"] is None


def test_the_newest_is_next(api):
    ids = [submit(api, f"{i}.mp3").json()["task_id"] for i in range(3)]
    shown = [task(api, i) for i in ids]
    assert [s["queue_position"] for s in shown] == [3, 2, 1]
    assert all(s["status"] == "queued" and s["progress"] == 0 for s in shown)
    assert shown[0]["message"] == "Waiting in queue, position 3"
    assert shown[0]["estimated_time"] is None  # nothing was ever done here
    full = submit(api)
    assert full.status_code == 503 and int(full.headers["retry-after"]) >= 1 and isinstance(full.json()["detail"], str)

    answer = requests.delete(f"{api.url}/task/{ids[2]}", timeout=60)
    assert answer.status_code == 200
    assert answer.json() == {"task_id": ids[2], "status": "cancelled", "message": "Task cancelled"}
    assert requests.delete(f"{api.url}/task/{ids[2]}/", timeout=60).status_code == 200
    assert task(api, ids[2])["status"] == "cancelled"
    assert [task(api, i)["queue_position"] for i in ids[:2]] == [2, 1]

    for path in ("/queue/status", "/queue/status/"):
        status = requests.get(api.url + path, timeout=60).json()
        assert (status["queue_size"], status["max_queue_size"]) == (2, 3)
        assert (status["queued"], status["processing"], status["cancelled"]) == (2, 0, 1)
        assert status["oldest_wait"] >= 0 and status["average_processing_time"] is None


def test_estimated_time(server):
    """Once something was done here, what waits is told how long."""
    task_id = submit(server).json()["task_id"]
    poll(lambda: task(server, task_id), "completed")
    api = Server("--queue-order=lifo", role="api", data=server.data)
    try:
        requests.post(server.url + "/v1/jobs", timeout=60)
        status = requests.get(api.url + "/queue/status", timeout=60).json()
        assert status["completed"] >= 1 and status["average_processing_time"] is not None
    finally:
        api.close()


@pytest.mark.parametrize("method", ["GET", "DELETE"])
def test_unknown_tasks(server, method):
    for task_id in (UNKNOWN, "1"):
        answer = requests.request(method, f"{server.url}/task/{task_id}", timeout=60)
        assert answer.status_code == 404 and answer.json() == {"detail": "Task not found"}


def test_cancel_after_the_end(server):
    task_id = submit(server).json()["task_id"]
    poll(lambda: task(server, task_id), "completed")
    assert requests.delete(f"{server.url}/task/{task_id}", timeout=60).status_code == 409
