# SPDX-License-Identifier: MIT
"""Accepted means kept: what becomes of jobs when processes are killed, stopped and drained.

Needs a program built with -Dfaults=true (as `make test` does): STENO_FAULT then kills or stops it at named points.
With STENO_TEST_SHORT the storm of kills is short and has fewer jobs: for the combinations of back ends.
"""

import os
import random
import re
import shutil
import signal
import subprocess
import tempfile
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import promises
import pytest
from promises import must
from steno_server import STENO, TERMINAL, Server, clean_env, role_pid, wait_for

# Everything that is a matter of patience in real life, made short. The pause after a second death of a worker on one
# job is longer than the storm of kills lasts: that is what it is for.
SHORT_RUN = bool(os.environ.get("STENO_TEST_SHORT"))
STORM_S = 10 if SHORT_RUN else 25
FLAGS = [
    "--lease=1s", "--poll-interval=100ms", "--sweep-interval=200ms", "--retry-base=100ms", "--retry-cap=1s",
    "--alone-patience=2s", f"--death-pause={STORM_S + 10}s", "--upload-time-limit=10s", "--engine=pocketsphinx",
    "--engine-slots=2", "--worker-concurrency=4", "--drain-timeout=60s", "--log-level=debug",
]
PATIENCE_S = 600  # for a broken program; a slow machine needs a tenth of it
SHORT = ["the quick brown fox jumps over the lazy dog"]
LONG = SHORT + [
    "every session of the parliament began with a long speech about the weather and the harvest of the year",
    "the engineers measured the temperature of the water in the river at seven places on the same day",
    "nobody in the small village could remember a winter with so much snow on the roofs and the roads",
    "after the concert the musicians went to a restaurant near the station and talked until the morning",
]


def speak(folder, name, sentences):
    """A spoken recording with pauses, as bytes."""
    parts = []
    pause = folder / "pause.wav"
    subprocess.run(["sox", "-n", "-r", "16000", "-b", "16", "-c", "1", pause, "trim", "0", "1"], check=True)
    for i, text in enumerate(sentences):
        part = folder / f"{name}{i}.wav"
        subprocess.run(["flite", "-voice", "rms", "-t", text, "-o", part], check=True)
        parts += [pause, part]
    path = folder / f"{name}.wav"
    subprocess.run(["sox", *parts, pause, path], check=True)
    return path.read_bytes()


@pytest.fixture(scope="module")
def clips():
    folder = Path(tempfile.mkdtemp(prefix="steno-e2e-clips-"))
    yield {
        "short": speak(folder, "short", SHORT),
        "long": speak(folder, "long", LONG),
        "longest": speak(folder, "longest", LONG + LONG),
        "broken": os.urandom(20000),
    }
    shutil.rmtree(folder)


@pytest.fixture
def server():
    s = Server(*FLAGS)
    yield s
    s.close()


def submit(server, data, fields=(), tries=600):
    """As a careful client does it: again until there is an answer. Returns the id."""
    for _ in range(tries):
        try:
            answer = server.submit(data, "clip.wav", fields)
        except (OSError, AssertionError):  # nobody listens, or the answer was cut off
            time.sleep(0.1)
            continue
        assert answer.status == 202, answer
        return answer.json["id"]
    raise AssertionError("the api does not come back")


def states(server):
    return dict(server.sql("SELECT id, state FROM jobs"))


def wait_all_ended(server):
    def ended():
        found = states(server)
        return found if all(s in TERMINAL for s in found.values()) else None

    try:
        return wait_for("the end of all jobs", ended, PATIENCE_S)
    except AssertionError:
        print(server.sql("SELECT * FROM jobs WHERE state NOT IN ('completed','failed','cancelled')"))
        print(server.log()[-5000:])
        raise


def said(server, job_id):
    answer = server.ask("GET", f"/v1/jobs/{job_id}/transcript?format=verbose_json")
    assert answer.status == 200, answer
    return answer.json


def assert_whole(server, job_id, sentences):
    """`sentences`: what is spoken; None: for the null engine."""
    must(promises.whole(server, {job_id: promises.Says(" ".join(sentences)) if sentences else promises.NULL}))


def assert_nothing_twice(server):
    calls, broken = promises.engine_calls(server, [server.log()])
    must(broken, promises.once(server))
    assert calls


def wait_swept(server):
    """Storage and temp folder hold what rows point to, and nothing else."""
    must(promises.wait_none("the sweep", lambda: promises.objects_left(server) + promises.temp_left([server.data])),
         promises.leases_left(server))


class Storm(threading.Thread):
    """Kills the api and the worker at random moments; the supervisor starts them again."""

    def __init__(self, server, seed):
        super().__init__()
        self.server, self.random, self.kills = server, random.Random(seed), {"api": 0, "worker": 0}
        self.end = time.monotonic() + STORM_S

    def run(self):
        while time.monotonic() < self.end:
            time.sleep(self.random.uniform(0.2, 1.5))
            role = self.random.choice(["api", "worker"])
            pid = role_pid(self.server, role)
            if pid:
                os.kill(pid, signal.SIGKILL)
                self.kills[role] += 1


def answers(server):
    try:
        return server.ask("GET", "/health").status
    except OSError:  # it has a process already, which does not listen yet
        return None


def test_random_kills(server, clips):
    """200 jobs (60 in the short run) on both engines, a few of them cancelled, while api and worker are killed again and again."""
    seed = int(os.environ.get("STENO_TEST_SEED", random.randrange(1 << 30)))
    print("seed", seed)
    rng = random.Random(seed)
    kinds = ["null"] * 55 + ["short"] * 4 + ["long"] if SHORT_RUN else ["null"] * 177 + ["short"] * 20 + ["long"] * 3
    rng.shuffle(kinds)
    accepted, cancelled = {}, set()
    storm = Storm(server, seed)
    storm.start()

    def send(kind):
        time.sleep(rng.uniform(0, 0.4))
        fields = {"engine": "null"} if kind == "null" else {}
        accepted[submit(server, clips["short" if kind == "null" else kind], fields)] = kind

    with ThreadPoolExecutor(4) as pool:
        list(pool.map(send, kinds))
    for job_id in rng.sample(sorted(accepted), 10):
        try:
            if server.ask("DELETE", f"/v1/jobs/{job_id}").status < 300:
                cancelled.add(job_id)
        except (OSError, AssertionError):
            cancelled.add(job_id)  # who knows
    storm.join()
    print(storm.kills)
    assert min(storm.kills.values()) >= 2, storm.kills

    ended = wait_all_ended(server)
    wait_for("the api is back", lambda: answers(server))
    assert len(accepted) == len(kinds) and set(accepted) <= set(ended)
    for job_id, state in ended.items():
        # Nobody asked for more than completion, but for a few.
        assert state == "completed" or (state == "cancelled" and job_id in cancelled), (job_id, state)
    assert server.sql("SELECT * FROM error_logs WHERE dead = 1") == []
    assert server.sql("SELECT count(*) FROM results")[0][0] == list(ended.values()).count("completed")
    for job_id, kind in accepted.items():
        if ended[job_id] == "completed":
            assert_whole(server, job_id, {"null": None, "short": SHORT, "long": LONG}[kind])
    assert_nothing_twice(server)
    wait_swept(server)


def fault_points():
    found = subprocess.run([STENO, "__faults"], capture_output=True, text=True, env=clean_env())
    assert found.returncode == 0, found.stderr
    return found.stdout.split()


def kill_at(point, clips):
    """One server that is killed at this point, and a job that has to get over it."""
    fired = Path(tempfile.mkdtemp(prefix="steno-e2e-fault-"))
    server = Server(*FLAGS, env={"STENO_FAULT": f"{point}=kill", "STENO_FAULT_DIR": str(fired)})
    try:
        fails = point in ("job_failing", "job_failed")
        job_id = submit(server, clips["broken" if fails else "short"])
        wait_for(f"the kill at {point}", (fired / point).exists)
        ended = wait_all_ended(server)
        assert ended[job_id] == ("failed" if fails else "completed"), point
        if fails:
            assert server.sql("SELECT error_class FROM error_logs WHERE dead = 1") == [("corrupt",)], point
        else:
            wait_for("the api is back", lambda: role_pid(server, "api"))
            assert server.sql("SELECT * FROM error_logs WHERE dead = 1") == [], point
            assert_whole(server, job_id, SHORT)
            assert_nothing_twice(server)
        # The client never heard of the first upload in these two; one row may stand for it, and ends like any other.
        assert len(ended) == (2 if point in ("job_inserted", "job_announced") else 1), (point, ended)
        assert set(ended.values()) <= {"completed", "failed"}
        wait_swept(server)
    finally:
        server.close()
        shutil.rmtree(fired)


def test_kill_at_every_point(clips):
    points = fault_points()
    assert len(points) >= 16
    with ThreadPoolExecutor(3) as pool:
        for point, outcome in [(p, pool.submit(kill_at, p, clips)) for p in points]:
            try:
                outcome.result()
            except BaseException as e:
                raise AssertionError(f"killed at {point}") from e


def state_of(pid):
    return Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0]


def test_a_stopped_worker_comes_too_late(clips):
    """A worker sleeps past its lease right before its result is written; the result is another's."""
    fired = Path(tempfile.mkdtemp(prefix="steno-e2e-fault-"))
    api = Server(*FLAGS, role="api")
    fault = {"STENO_FAULT": "result_stored=stop", "STENO_FAULT_DIR": str(fired)}
    first = Server(*FLAGS, role="worker", data=api.data, env=fault)
    second = None
    try:
        job_id = submit(api, clips["short"])
        wait_for("the stop", lambda: (fired / "result_stored").exists() and state_of(first.process.pid) == "T", 60)
        assert api.job(job_id)["status"] == "processing"
        second = Server(*FLAGS, role="worker", data=api.data)
        assert api.wait_job(job_id)["status"] == "completed"
        result = api.sql("SELECT fence, result_key, created_at FROM results")
        assert result[0][0] == 2
        text = said(api, job_id)
        assert f"results/{job_id}/1/transcription.json" in api.objects()

        first.process.send_signal(signal.SIGCONT)
        wait_for("the first worker drops it", lambda: re.search(r"dropped at store: .*" + job_id, first.log()))
        assert api.sql("SELECT fence, result_key, created_at FROM results") == result
        assert api.sql("SELECT state, fence FROM jobs") == [("completed", 2)]
        assert said(api, job_id) == text
        assert api.sql("SELECT * FROM error_logs WHERE dead = 1") == []
        # What it wrote is in nobody's way, and goes.
        wait_swept(api)
    finally:
        if first.process.poll() is None:
            first.process.send_signal(signal.SIGCONT)
        for s in (first, second):
            if s:
                s.close()
        api.close()
        shutil.rmtree(fired)


def test_a_poison_job_ends_in_a_dead_letter(clips):
    """A job that kills every worker that takes it is given up after three, and takes no other with it."""
    server = Server(*FLAGS, "--death-pause=1s", env={"STENO_FAULT": "audio_decoded=kill"})  # at every decode
    try:
        poison = submit(server, clips["short"])
        healthy = [submit(server, clips["short"], {"engine": "null"}) for _ in range(30)]
        ended = wait_all_ended(server)
        wait_for("the api is back", lambda: role_pid(server, "api"))
        assert ended[poison] == "failed" and all(ended[job] == "completed" for job in healthy)
        assert server.sql("SELECT job_id, error_class FROM error_logs WHERE dead = 1") == [(poison, "crashed")]
        assert server.sql("SELECT deaths, fence FROM jobs WHERE id = ?", poison) == [(3, 3)]
        for job in healthy:
            assert_whole(server, job, None)
        wait_swept(server)
    finally:
        server.close()


def test_sigterm_drains(clips):
    """Running chunks finish, the rest is handed back with nothing used up, and the next server goes on from there."""
    server = Server(*FLAGS, "--engine-slots=1")
    try:
        job_id = submit(server, clips["longest"])
        wait_for("a finished chunk", lambda: server.sql("SELECT chunks_done FROM jobs")[0][0] >= 1)
        began = time.monotonic()
        assert server.stop() == 0, server.log()[-3000:]
        assert time.monotonic() - began < 60
        state, attempt, done, total = server.sql("SELECT state, attempt, chunks_done, chunks_total FROM jobs")[0]
        assert (state, attempt) == ("pending", 0) and 1 <= done < total
        assert server.sql("SELECT * FROM error_logs") == [] and server.sql("SELECT * FROM workers") == []
        assert list((server.data / "tmp").glob(".steno-*")) == []
        server.start()
        assert server.wait_job(job_id)["status"] == "completed"
        assert_whole(server, job_id, LONG + LONG)
        assert_nothing_twice(server)
        assert server.sql("SELECT count(*) FROM chunks WHERE fence = 1")[0][0] == done
    finally:
        server.close()
