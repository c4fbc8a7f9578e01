# SPDX-License-Identifier: MIT
"""Queues as an operator meets them: paused and resumed, chosen by workers, full.

Needs a program built with -Dfaults=true, as `make test` does.
"""

import json
import shutil
import signal
import time
from concurrent.futures import ThreadPoolExecutor

import pytest
from backends import POSTGRES, Backends
from live_client import Socket
from steno_server import QUICK, Server, children, kill, wait_for

SOUND = b"RIFF" + bytes(2000)
CLIENTS = 20


@pytest.fixture
def server():
    s = Server(*QUICK, "--engine=null", "--worker-concurrency=2")
    yield s
    s.close()


def submit(server, queue="normal", data=SOUND):
    answer = server.submit(data, fields={"queue": queue})
    assert answer.status == 202, answer
    return answer.json["id"]


def queue(server, name):
    return next(q for q in server.ask("GET", "/v1/queues").json["queues"] if q["name"] == name)


def set_paused(server, name, verb):
    answer = server.ask("POST", f"/v1/queues/{name}/{verb}")
    assert answer.status == 200, answer
    return answer.json


def test_a_paused_queue_accepts_jobs_and_begins_none(server):
    paused = set_paused(server, "normal", "pause")
    assert paused["name"] == "normal" and paused["paused"] and paused["paused_at"]
    assert set_paused(server, "normal", "pause")["paused_at"] == paused["paused_at"], "once is enough"
    ids = [submit(server) for _ in range(5)]
    assert server.wait_job(submit(server, "high"))["status"] == "completed", "other queues are served"
    time.sleep(1)  # several looks of the worker
    shown = [server.job(i) for i in ids]
    assert {j["status"] for j in shown} == {"pending"}
    assert [j["position"] for j in shown] == list(range(5)) and all(j["queue_paused"] for j in shown)
    assert queue(server, "normal") | {"paused_at": 0, "oldest": 0, "broker_depth": 0} == {
        "name": "normal", "ready": 5, "delayed": 0, "oldest": 0, "paused": True, "paused_at": 0, "broker_depth": 0}
    assert not queue(server, "high")["paused"]
    health = server.ask("GET", "/admin/health").json
    assert health["status"] == "ok", "somebody wants it so"
    assert health["parts"]["queue"]["paused_queues"] == ["normal"]
    assert server.ask("GET", "/queue/status").json["paused_queues"] == ["normal"]
    task = server.ask("GET", f"/task/{ids[0]}").json
    assert task["message"] == "The queue is paused" and task["estimated_time"] is None

    # It is a row: a restart changes nothing.
    assert server.stop() == 0
    server.start()
    time.sleep(1)
    assert {server.job(i)["status"] for i in ids} == {"pending"}

    resumed = set_paused(server, "normal", "resume")
    assert not resumed["paused"] and resumed["paused_at"] is None
    assert [server.wait_job(i)["status"] for i in ids] == ["completed"] * 5
    assert "queue_paused" not in server.job(ids[0])
    assert not set_paused(server, "normal", "resume")["paused"]


def test_followers_are_told_of_a_pause():
    """In every dialect; also who comes while it lasts. Places are those that questions are answered with."""
    s = Server(role="api")
    try:
        first, second = submit(s), submit(s)
        paths = {"native": "/v1/jobs/{}/ws", "queue": "/ws/{}", "audio_text": "/api/v1/job/ws/{}"}
        old = {name: Socket(s, second, path=path) for name, path in paths.items()}

        def told(followers, paused, position):
            message = "The queue is paused" if paused else f"Waiting in queue, position {position + 1}"
            native, task, job = (f.messages[-1] if f.messages else {} for f in followers.values())
            native = native.get("job", native)
            return (native.get("position"), native.get("queue_paused", False)) == (position, paused) and \
                task.get("data", {}).get("message") == job.get("message") == message and \
                task["data"]["queue_position"] == position + 1

        wait_for("their places", lambda: told(old, False, 1))
        set_paused(s, "normal", "pause")
        wait_for("the pause", lambda: told(old, True, 1))
        assert [len(f.messages) for f in old.values()] == [2, 2, 2] and old["native"].types == ["snapshot", "position"]
        late = {name: Socket(s, second, path=path) for name, path in paths.items()}
        wait_for("the pause is told at once", lambda: all(f.messages for f in late.values()))
        assert told(late, True, 1)
        # Nothing tells of places while a queue is paused; who comes is told the one that is.
        assert s.ask("DELETE", f"/v1/jobs/{first}").status == 200
        assert s.ask("GET", f"/task/{second}").json["queue_position"] == 1
        later = {name: Socket(s, second, path=path) for name, path in paths.items()}
        wait_for("their places", lambda: told(later, True, 0))
        set_paused(s, "normal", "resume")
        for followers in (old, late, later):
            wait_for("the end of the pause", lambda: told(followers, False, 0))
    finally:
        s.close()


def test_resuming_wakes_the_worker():
    """It does not have to look by itself."""
    s = Server("--engine=null", "--poll-interval=10m", "--sweep-interval=1d")
    try:
        assert s.wait_job(submit(s))["status"] == "completed"
        set_paused(s, "normal", "pause")
        job = submit(s)
        time.sleep(1)  # its wake-up is used up
        assert s.job(job)["status"] == "pending"
        set_paused(s, "normal", "resume")
        assert s.wait_job(job, timeout=60)["status"] == "completed"
    finally:
        s.close()


def test_no_such_queue(server):
    for verb in ("pause", "resume"):
        answer = server.ask("POST", f"/v1/queues/low/{verb}")
        assert (answer.status, answer.code) == (404, "queue_not_found")
    answer = server.ask("GET", "/v1/queues/high/pause")
    assert (answer.status, answer.code) == (405, "method_not_allowed")


def test_commands(server, steno):
    at = ["--server", server.url]
    out = steno.ok("queue", "pause", "normal", "retry", *at)
    assert [line.split()[:2] for line in out.splitlines()] == [["normal", "paused"], ["retry", "paused"]]
    job = submit(server)
    lines = steno.ok("queue", "list", *at).splitlines()
    assert [line.split()[:2] for line in lines] == [["high", "served"], ["normal", "paused"], ["retry", "paused"]]
    assert "ready 1, delayed 0" in lines[1] and "paused since 20" in lines[1]
    assert "paused: normal, retry" in steno.ok("health", *at)
    listed = json.loads(steno.ok("queue", "list", "--json", *at))
    assert [q["paused"] for q in listed["queues"]] == [False, True, True]
    assert steno.ok("queue", "resume", "normal", *at).split()[:2] == ["normal", "served"]
    assert server.wait_job(job)["status"] == "completed"
    wrong = steno("queue", "pause", "low", *at)
    assert wrong.status == 2 and "there is no queue 'low', only high, normal and retry" in wrong.err


# ---- queues of a worker ----


def test_a_worker_takes_its_queues_in_its_order(tmp_path):
    data = tmp_path / "data"
    backends = Backends(data)
    flags = [*QUICK, "--engine=null", "--worker-concurrency=1", "--short-job-size=off"]
    api = Server(*QUICK, role="api", data=data, backends=backends)
    workers = []
    try:
        high, normal = submit(api, "high"), submit(api, "normal")
        workers.append(Server(*flags, "--worker-queues=high", role="worker", data=data, backends=backends))
        assert api.wait_job(high)["status"] == "completed"
        time.sleep(1)
        assert api.job(normal)["status"] == "pending", "nobody takes it"
        assert api.ask("GET", "/v1/workers").json["workers"][0]["info"]["queues"] == ["high"]
        workers.pop().close()

        high = submit(api, "high")
        workers.append(Server(*flags, "--worker-queues= normal,high", role="worker", data=data, backends=backends))
        first, second = api.wait_job(normal), api.wait_job(high)
        assert {first["status"], second["status"]} == {"completed"}
        assert first["finished_at"] <= second["started_at"], "the normal queue comes first here"
        assert api.ask("GET", "/v1/workers").json["workers"][0]["info"]["queues"] == ["normal", "high"]
    finally:
        for s in [*workers, api]:
            s.close()
        backends.remove()


def test_a_worker_holds_no_job_that_it_does_not_work_on(tmp_path):
    """A busy worker has taken what it works on and nothing more: all else is there for others."""
    data = tmp_path / "data"
    backends = Backends(data)
    flags = [*QUICK, "--engine=null", "--short-job-size=off"]
    api = Server(*QUICK, role="api", data=data, backends=backends)
    stuck = Server(*flags, "--worker-concurrency=2", role="worker", data=data, backends=backends,
                   env={"STENO_FAULT": "chunk_transcribed=sleep:600000"})
    free = None
    try:
        held = [submit(api) for _ in range(2)]
        wait_for("it is busy", lambda: {api.job(i)["status"] for i in held} == {"processing"})
        waiting = [submit(api, q) for q in ("normal", "high", "normal", "high", "normal")]
        time.sleep(1)  # several looks of the worker
        assert {api.job(i)["status"] for i in waiting} == {"pending"}
        free = Server(*flags, "--worker-concurrency=1", role="worker", data=data, backends=backends)
        assert [api.wait_job(i)["status"] for i in waiting] == ["completed"] * 5
        assert {api.job(i)["status"] for i in held} == {"processing"}
    finally:
        for pid in [*children(stuck.process.pid), stuck.process.pid]:
            kill(pid)
        assert stuck.process.wait() == -signal.SIGKILL
        shutil.rmtree(stuck.folder)
        for s in [free, api]:
            if s:
                s.close()
        backends.remove()


# ---- a full queue ----


def test_a_full_queue_is_full_for_many_at_once(server):
    """However many come at the same time, no more get in than may wait: on PostgreSQL a few, which did not see each other."""
    s = Server(*QUICK, "--engine=null", "--max-queue-size=7")
    try:
        set_paused(s, "normal", "pause")
        with ThreadPoolExecutor(CLIENTS) as pool:
            answers = list(pool.map(lambda _: s.submit(SOUND), range(3 * CLIENTS)))
        accepted = [a.json["id"] for a in answers if a.status == 202]
        refused = [a for a in answers if a.status != 202]
        assert len(accepted) == s.rows()["jobs"] and 7 <= len(accepted) <= (7 + CLIENTS if POSTGRES else 7)
        assert {(a.status, a.code) for a in refused} == {(503, "queue_full")}
        assert all(int(a.headers["retry-after"]) >= 1 for a in refused)
        assert len(s.objects()) == len(accepted), "what was refused left nothing behind"
        set_paused(s, "normal", "resume")
        assert {s.wait_job(i)["status"] for i in accepted} == {"completed"}
        assert s.submit(SOUND).status == 202
    finally:
        s.close()
