# SPDX-License-Identifier: MIT
"""Queues as an operator meets them: paused and resumed, chosen by workers, full, and with a place for short jobs."""

import json
import subprocess
import time
from concurrent.futures import ThreadPoolExecutor

import pytest
from backends import Backends
from steno_server import FIXTURE, QUICK, TERMINAL, Server, wait_for

SOUND = b"RIFF" + bytes(2000)


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
    assert queue(server, "normal") | {"paused_at": 0, "oldest": 0} == {
        "name": "normal", "ready": 5, "delayed": 0, "oldest": 0, "paused": True, "paused_at": 0, "broker_depth": None}
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


# ---- a full queue ----


def test_a_full_queue_is_full_for_many_at_once(server):
    """However many come at the same time, no more get in than may wait."""
    s = Server(*QUICK, "--engine=null", "--max-queue-size=7")
    try:
        set_paused(s, "normal", "pause")
        with ThreadPoolExecutor(20) as pool:
            answers = list(pool.map(lambda _: s.submit(SOUND), range(60)))
        accepted = [a.json["id"] for a in answers if a.status == 202]
        refused = [a for a in answers if a.status != 202]
        assert len(accepted) == 7 and s.rows()["jobs"] == 7
        assert {(a.status, a.code) for a in refused} == {(503, "queue_full")}
        assert all(int(a.headers["retry-after"]) >= 1 for a in refused)
        assert len(s.objects()) == 7, "what was refused left nothing behind"
        set_paused(s, "normal", "resume")
        assert {s.wait_job(i)["status"] for i in accepted} == {"completed"}
        assert s.submit(SOUND).status == 202
    finally:
        s.close()


# ---- short jobs ----


@pytest.fixture(scope="module")
def long_recording(tmp_path_factory):
    """Three hours of speech: a minute of it, as MP3, 180 times in a row."""
    folder = tmp_path_factory.mktemp("long")
    spoken = [FIXTURE / "wav" / f"{name}.wav" for name in ("01_digits", "03_commands", "04_lists", "05_voices")]
    subprocess.run(["sox", *spoken, folder / "speech.wav"], check=True)
    subprocess.run(["ffmpeg", "-v", "error", "-stream_loop", "-1", "-i", folder / "speech.wav", "-t", "60", "-ac", "1",
                    "-ar", "16000", "-b:a", "24k", folder / "minute.mp3"], check=True, stdin=subprocess.DEVNULL)
    (folder / "models").mkdir()
    (folder / "models" / "ggml-fixture.en.bin").symlink_to(FIXTURE / "fixture.bin")
    return folder / "models", (folder / "minute.mp3").read_bytes() * 180


def clip_seconds(server, clip):
    began = time.monotonic()
    job = server.wait_job(submit(server, data=clip), timeout=100)
    assert job["status"] == "completed" and job["progress"]["total_ms"] < 10000
    return time.monotonic() - began


def test_a_clip_does_not_wait_for_long_recordings(long_recording):
    """Four recordings of three hours have all the places, and are in work; a clip behind them is done in five seconds."""
    models, data = long_recording
    clip = (FIXTURE / "wav" / "01_digits.wav").read_bytes()
    s = Server("--engine=whisper", "--model=fixture.en", f"--model-path={models}", "--worker-concurrency=4",
               "--language=en")
    try:
        warm = s.wait_job(submit(s, data=clip))
        assert warm["status"] == "completed", warm
        ids = [submit(s, data=data) for _ in range(5)]
        wait_for("four of them are in work", lambda: sum(s.job(i)["status"] == "processing" for i in ids) == 4)
        # Of three clips, as a machine may have a bad moment: while they are decoded, and while they are transcribed.
        decoding = min(clip_seconds(s, clip) for _ in range(3))
        wait_for("one is being transcribed", lambda: any(s.job(i)["progress"]["chunks_done"] for i in ids), 900)
        transcribing = min(clip_seconds(s, clip) for _ in range(3))
        states = sorted(s.job(i)["status"] for i in ids)
        assert states == ["pending"] + ["processing"] * 4, "they are still at it, and the place is for short jobs only"
        assert decoding < 5 and transcribing < 5, (decoding, transcribing)
        for i in ids:
            assert s.ask("DELETE", f"/v1/jobs/{i}").status == 200
        wait_for("the worker is free", lambda: s.ask("GET", "/v1/workers").json["workers"][0]["running"] == 0)
    finally:
        s.close()


def test_without_the_place_a_clip_waits(long_recording):
    models, data = long_recording
    clip = (FIXTURE / "wav" / "01_digits.wav").read_bytes()
    s = Server(*QUICK, "--engine=whisper", "--model=fixture.en", f"--model-path={models}", "--worker-concurrency=1",
               "--short-job-size=off", "--language=en")
    try:
        long = submit(s, data=data)
        wait_for("it is in work", lambda: s.job(long)["status"] == "processing")
        short = submit(s, data=clip)
        time.sleep(2)
        assert s.job(short)["status"] == "pending"
        assert s.ask("DELETE", f"/v1/jobs/{long}").status == 200
        assert s.wait_job(short)["status"] == "completed"
        assert s.job(long)["status"] in TERMINAL
    finally:
        s.close()
