# SPDX-License-Identifier: MIT
"""queue: the routes of a queue service: tasks, queue status, and the page that watches a task."""

import time

import live_client
import pytest
import requests

from dialects import SOUND, UNKNOWN, follow, poll, recording, whisper_models
from live_client import Socket, save_chunk
from steno_server import Server, wait_for


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


@pytest.fixture
def paced():
    """An api without a worker, where the task that was done took 8 seconds."""
    whole = Server("--engine=null")
    task_id = submit(whole).json()["task_id"]
    poll(lambda: task(whole, task_id), "completed")
    live_client.execute(whole, ("UPDATE results SET processing_ms = 8000",))
    assert whole.stop() == 0
    api = Server(role="api", data=whole.data)
    yield api
    api.close()
    whole.close()


def test_estimated_time_of_what_waits(paced):
    """That of one task for each that is before it, and for itself."""
    assert requests.get(paced.url + "/queue/status", timeout=60).json()["average_processing_time"] == 8
    waiting = [task(paced, submit(paced).json()["task_id"]) for _ in range(3)]
    assert [w["estimated_time"] for w in waiting] == [8, 16, 24]


@pytest.mark.parametrize("done, of, estimate", [
    (1, 4, lambda spent: 3 * spent),
    (3, 4, lambda spent: spent / 3),
    (0, 4, lambda spent: 8 - spent),  # what is known is how long others took
    (0, 0, lambda spent: 8 - spent),
], ids=["a quarter", "three quarters", "none yet", "no plan yet"])
def test_estimated_time_of_a_running_task(paced, done, of, estimate):
    task_id = submit(paced).json()["task_id"]
    started = time.time() - 3
    live_client.execute(paced, ("UPDATE jobs SET state = 'processing', started_at = ?, chunks_done = ?, chunks_total = ? "
                                "WHERE id = ?", int(started * 1000), done, of, task_id))
    before, shown, after = time.time(), task(paced, task_id), time.time()
    least, most = sorted(estimate(t - started) for t in (before, after))
    assert shown["status"] == "processing" and least - 0.01 <= shown["estimated_time"] <= most + 0.01


@pytest.mark.parametrize("method", ["GET", "DELETE"])
def test_unknown_tasks(server, method):
    for task_id in (UNKNOWN, "1"):
        answer = requests.request(method, f"{server.url}/task/{task_id}", timeout=60)
        assert answer.status_code == 404 and answer.json() == {"detail": "Task not found"}


def test_cancel_after_the_end(server):
    task_id = submit(server).json()["task_id"]
    poll(lambda: task(server, task_id), "completed")
    assert requests.delete(f"{server.url}/task/{task_id}", timeout=60).status_code == 409


def check_updates(messages, words):
    """What the page reads of each: `update.data.progress`, `.status`, `.message`."""
    assert all({"progress", "status", "message"} <= set(m["data"]) for m in messages)
    assert all(m["data"]["message"] and 0 <= m["data"]["progress"] <= 100 for m in messages)
    seen = [m["data"]["status"] for m in messages]
    assert [w for i, w in enumerate(seen) if not i or seen[i - 1] != w] == words
    progress = [m["data"]["progress"] for m in messages]
    assert progress == sorted(progress)


def test_watch_a_task(tmp_path):
    api = Server(role="api")
    worker = None
    try:
        task_id = requests.post(api.url + "/transcribe/", files={"file": ("long.wav", recording("10_long"))},
                                data={"model_size": "small", "language": "en"}, timeout=60).json()["task_id"]

        def start_worker(message):
            nonlocal worker
            if worker is None:
                worker = Server(*whisper_models(tmp_path), role="worker", data=api.data)

        messages, code = follow(api, f"/ws/{task_id}", start_worker)
        assert code == 1000
        check_updates(messages, ["queued", "processing", "completed"])
        assert messages[0]["data"]["queue_position"] == 1
        assert messages[-1]["data"]["progress"] == 100
        assert messages[-1]["data"]["result"]["text"] == task(api, task_id)["result"]["text"]
        # Who comes late is told the end at once.
        messages, code = follow(api, f"/ws/{task_id}/")
        assert code == 1000 and messages[-1]["data"]["status"] == "completed"
    finally:
        if worker:
            worker.close()
        api.close()


def test_progress_is_one_number(api):
    """Of the chunks, whatever their length, chunk by chunk: those who watch and those who ask see the same at any time."""
    task_id = submit(api).json()["task_id"]
    watched = {path: Socket(api, task_id, path=path) for path in ("/ws/{}", "/api/v1/job/ws/{}")}

    def told():
        """Each number once."""
        return [list(dict.fromkeys(m.get("data", m)["progress"] for m in f.messages if m["type"] != "ping"))
                for f in watched.values()]

    wait_for("where it begins", lambda: told() == [[0], [0]])
    for idx, want in ((2, [0, 25]), (0, [0, 25, 50]), (1, [0, 25, 50, 75]), (3, [0, 25, 50, 75, 99])):
        save_chunk(api, task_id, idx, "text", seq=len(want) + 1)
        wait_for("the next chunk", lambda: [len(t) for t in told()] == [len(want)] * 2)
        assert told() == [want, want]
        for path in ("/task/{}", "/api/stt/status/{}"):
            assert requests.get(api.url + path.format(task_id), timeout=60).json()["progress"] == want[-1]
    assert all(f.messages[-1].get("data", f.messages[-1])["status"] == "processing" for f in watched.values())
    for f in watched.values():
        f.close()


def test_watch_a_task_that_is_cancelled(api):
    task_id = submit(api).json()["task_id"]
    messages, code = follow(api, f"/ws/{task_id}",
                            lambda _: requests.delete(f"{api.url}/task/{task_id}", timeout=60))
    check_updates(messages, ["queued", "cancelled"])
    assert code == 1000


def test_health_tells_of_the_queue(api):
    submit(api)
    queue = wait_for("the figures are fresh",
                     lambda: (q := requests.get(api.url + "/health", timeout=60).json()["parts"]["queue"])["pending"] and q)
    assert queue["ok"] and queue["pending"] == 1 and queue["processing"] == 0


@pytest.mark.parametrize("task_id", [UNKNOWN, "1"])
def test_watch_an_unknown_task(api, task_id):
    assert follow(api, f"/ws/{task_id}") == ([], 4404)


def test_the_route_of_the_watchers_is_no_page(api):
    assert requests.get(f"{api.url}/ws/{UNKNOWN}", timeout=60).status_code == 426
