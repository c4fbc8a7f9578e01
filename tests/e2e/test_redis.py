# SPDX-License-Identifier: MIT
"""The service with Redis as its broker, and what becomes of jobs while Redis is away. Each test has a server of its own."""

import re
import signal
import subprocess
import time

import pytest
from real_server import RealServer, installed
from steno_server import ROOT, Server, wait_for

SOUND = (ROOT / "tests" / "fixture" / "audio" / "02_one_word.flac").read_bytes()
FLAGS = ["--engine=null", "--lease=3s", "--sweep-interval=500ms"]
# So long that a job which ends soon was told of.
RARE = "--poll-interval=30s"

pytestmark = pytest.mark.skipif(not installed("redis"), reason="no Redis server is installed")


class Redis(RealServer):
    def __init__(self):
        super().__init__("redis")

    @property
    def url(self):
        return self.vars["REDIS_URL"]

    def cli(self, *args):
        return subprocess.run(["redis-cli", "--no-auth-warning", "-u", self.url, *args], capture_output=True, text=True,
                              check=True, timeout=60).stdout.strip()

    def depth(self, queue="transcription.normal"):
        return int(self.cli("LLEN", queue))


@pytest.fixture
def redis():
    r = Redis()
    yield r
    r.close()


def submit(server, n=1, fields=()):
    answers = [server.submit(SOUND, "a.flac", fields) for _ in range(n)]
    assert all(a.status == 202 for a in answers), answers
    return [a.json["id"] for a in answers]


def completed(server, jobs):
    rows = dict(server.sql("SELECT id, state FROM jobs"))
    return all(rows[j] == "completed" for j in jobs)


def broker_of(server):
    return server.ask("GET", "/health").json["parts"]["broker"]


def jobs_are_told_of(server):
    """One after the other, with a rest in between: nobody finds them by chance, and rare looks would take minutes."""
    start = time.monotonic()
    for _ in range(5):
        time.sleep(0.3)
        (job,) = submit(server)
        wait_for("the job", lambda job=job: completed(server, [job]))
    assert time.monotonic() - start < 90


def test_depth_while_no_worker_runs(redis):
    api = Server(*FLAGS, RARE, "--broker", redis.url, role="api")
    try:
        jobs = submit(api, 7) + submit(api, 2, {"priority": "high"})
        assert redis.depth() == 7 and redis.depth("transcription.high") == 2
        assert f'"job_id":"{jobs[0]}"' in redis.cli("LINDEX", "transcription.normal", "0")
        assert '"minio_path":"uploads/' in redis.cli("LINDEX", "transcription.high", "0")
        broker = broker_of(api)
        assert broker["ok"] and broker["depth"] == {"high": 2, "normal": 7, "retry": 0}
        page = api.ask("GET", "/metrics").body.decode()
        assert "\nsteno_broker_up 1\n" in page and '\nsteno_broker_depth{queue="normal"} 7\n' in page

        worker = Server(*FLAGS, RARE, "--broker", redis.url, "--worker-concurrency=2", role="worker", data=api.data)
        try:
            wait_for("all jobs", lambda: completed(api, jobs))
            wait_for("empty queues", lambda: redis.depth() == 0 and redis.depth("transcription.high") == 0)
            jobs_are_told_of(api)
        finally:
            worker.close()
    finally:
        api.close()


def test_names_of_another_system(redis):
    s = Server(*FLAGS, RARE, role="api", env={"REDIS_URL": redis.url, "STENO_QUEUE_NORMAL": "audio_processing"})
    try:
        submit(s, 3)
        assert redis.depth("audio_processing") == 3 and redis.depth() == 0
    finally:
        s.close()


def test_the_sweeper_keeps_the_depth_true(redis, tmp_path):
    """Stale tokens go, lost ones come again, while a worker that is busy lets the jobs wait. (Needs -Dfaults=true.)"""
    api = Server(*FLAGS, RARE, "--broker", redis.url, role="api")
    busy = {"STENO_FAULT": "job_claimed=sleep:20000", "STENO_FAULT_DIR": str(tmp_path)}
    try:
        jobs = submit(api, 7)
        worker = Server(*FLAGS, RARE, "--broker", redis.url, role="worker", data=api.data, env=busy)
        try:
            wait_for("a claim", lambda: redis.depth() == 6)
            waiting = [r[0] for r in api.sql("SELECT id FROM jobs WHERE state = 'pending'")]
            for job in waiting[:4]:
                assert api.ask("DELETE", f"/v1/jobs/{job}").status == 200
            wait_for("stale tokens go", lambda: redis.depth() == 2)
            redis.cli("FLUSHALL")
            wait_for("lost tokens come again", lambda: redis.depth() == 2)
            assert api.sql("SELECT count(*) FROM jobs WHERE state = 'pending'") == [(2,)]
            wait_for("the others", lambda: completed(api, set(jobs) - set(waiting[:4])))
            assert redis.depth() == 0
        finally:
            worker.close()
    finally:
        api.close()


def test_redis_dies_and_comes_back(redis):
    s = Server(*FLAGS, "--poll-interval=1s", "--broker", redis.url)
    try:
        jobs = submit(s, 5)
        redis.signal("KILL")
        jobs += submit(s, 5)
        sick = wait_for("health sees it", lambda: None if (h := broker_of(s))["ok"] else h)
        assert "cannot be reached" in sick["error"] and "secret" not in sick["error"] and "depth" not in sick
        assert "\nsteno_broker_up 0\n" in s.ask("GET", "/metrics").body.decode()
        wait_for("jobs without a broker", lambda: completed(s, jobs))
        redis.up()
        wait_for("health", lambda: broker_of(s)["ok"])
        jobs += submit(s, 5)
        wait_for("jobs with it", lambda: completed(s, jobs))
        # One outage, one line for each process, however many messages could not be sent.
        assert len(re.findall(r"the broker is away", s.log())) == 2
        assert "secret" not in s.log()
    finally:
        s.close()


def test_tokens_flow_again(redis):
    """Consuming goes on after each way to lose the server; nobody looks by himself for long."""
    s = Server(*FLAGS, RARE, "--broker", redis.url)
    try:
        jobs_are_told_of(s)
        redis.signal("KILL")
        redis.up()
        wait_for("health", lambda: broker_of(s)["ok"])
        time.sleep(4)  # longer than the worker's pause between two tries
        jobs_are_told_of(s)
        redis.cli("CLIENT", "KILL", "TYPE", "normal")
        wait_for("health", lambda: broker_of(s)["ok"])
        time.sleep(4)
        jobs_are_told_of(s)
    finally:
        s.close()


def test_a_hung_redis_holds_up_nobody(redis):
    s = Server(*FLAGS, "--poll-interval=1s", "--broker", redis.url)
    try:
        redis.signal("STOP")
        start = time.monotonic()
        jobs = submit(s, 10)
        assert time.monotonic() - start < 20  # one of them may wait a second, not each
        assert not wait_for("health", lambda: broker_of(s))["ok"]
        wait_for("jobs without a broker", lambda: completed(s, jobs))
        redis.signal("CONT")
        wait_for("health", lambda: broker_of(s)["ok"])
        (job,) = submit(s)
        wait_for("a job", lambda: completed(s, [job]))
        assert s.stop(signal.SIGTERM) == 0
    finally:
        redis.signal("CONT")
        s.close()


def test_starts_without_redis(redis):
    redis.signal("KILL")
    s = Server(*FLAGS, "--poll-interval=1s", "--broker", redis.url)
    try:
        jobs = submit(s, 2)
        wait_for("jobs without a broker", lambda: completed(s, jobs))
        assert s.ask("GET", "/health").json["status"] == "degraded"
        redis.up()
        wait_for("health", lambda: s.ask("GET", "/health").json["status"] == "ok")
        (job,) = submit(s)
        wait_for("a job", lambda: completed(s, [job]))
    finally:
        s.close()


def test_tls_is_refused_with_a_way_out(steno):
    done = steno("worker", "--data", "data", "--broker=rediss://:secret@localhost")
    assert done.status != 0 and "stunnel" in done.err and "secret" not in done.err


def test_followers_while_redis_is_away(redis):
    """Live updates need no broker: without one the rows are looked at every two seconds."""
    import live_client

    s = Server(*FLAGS, "--poll-interval=200ms", "--broker", redis.url)

    def follow():
        (job,) = submit(s)
        ws, stream = live_client.Socket(s, job, "?since=0"), live_client.Stream(s, job, "?since=0")
        for f in (ws.wait_over(), stream.wait_over()):
            assert f.types[0] == "snapshot" and f.types[-1] == "end" and len(f.of("chunk")) == 1, f.messages
            assert f.messages[-1]["status"] == "completed"
        assert ws.closed == 1000

    try:
        follow()
        redis.signal("KILL")
        follow()
        redis.up()
        follow()
        redis.signal("STOP")
        follow()
        redis.signal("CONT")
        follow()
    finally:
        s.close()
