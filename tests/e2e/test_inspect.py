# SPDX-License-Identifier: MIT
"""`steno inspect`: what workers do, have and can, as tables for people and as JSON."""

import json
import re

import pytest
from backends import S3
from steno_server import QUICK, Server, role_pid, wait_for

SOUND = b"RIFF\x24\0\0\0WAVE" + bytes(100)
VIEWS = ("active", "reserved", "registered", "conf", "active_queues", "stats", "pool", "models", "workers", "queues")


@pytest.fixture
def inspect(steno):
    def run(server, view, *flags):
        return steno.ok("inspect", view, "--server", server.url, *flags)

    return run


@pytest.fixture
def look(inspect):
    """The one worker, as JSON."""

    def run(server, view):
        workers = json.loads(inspect(server, view, "--json"))["workers"]
        return workers[0] if workers else {}

    return run


def serve(*flags, **kw):
    s = Server(*QUICK, "--engine=null", "--worker-concurrency=2", "--engine-slots=3", *flags, **kw)
    wait_for("a worker's heartbeat", lambda: s.ask("GET", "/v1/workers").json["workers"])
    return s


def test_jobs_in_work(tmp_path, inspect, look):
    # Each of the first two jobs stays in its chunk; the third has no place.
    s = serve("--short-job-size=off", env={"STENO_FAULT": "chunk_transcribed=sleep:15000"})
    try:
        ids = [s.submit(SOUND).json["id"] for _ in range(3)]
        worker = wait_for("both are told", lambda: len((w := look(s, "active"))["active"]) == 2 and w)
        assert {j["job_id"] for j in worker["active"]} == set(ids[:2])
        assert all(j["stage"] == "engine" and j["attempt"] == 1 for j in worker["active"])
        assert all(re.fullmatch(r"20\d\d-.*Z", j["claimed_at"]) and j["done_ms"] == 0 for j in worker["active"])
        assert worker["pid"] == role_pid(s, "worker") and worker["running"] == 2
        assert "stats" not in worker and "settings" not in worker, "each view shows its own"

        lines = inspect(s, "active").splitlines()
        assert lines[0].split() == ["WORKER", "JOB", "STAGE", "ATTEMPT", "SINCE", "DONE"]
        assert {line.split()[1] for line in lines[1:]} == set(ids[:2])
        assert all(line.split()[0] == f"{worker['host']}:{worker['pid']}" for line in lines[1:])

        assert look(s, "reserved")["reserved"] == []
        assert "No job is reserved" in inspect(s, "reserved")
        queues = {q["name"]: q for q in json.loads(inspect(s, "queues", "--json"))["queues"]}
        assert queues["normal"]["ready"] == 1
        assert re.search(r"^normal +open +1 +0 +\d", inspect(s, "queues"), re.M)
        for job_id in ids:
            s.ask("DELETE", f"/v1/jobs/{job_id}")
        wait_for("they are gone", lambda: look(s, "active")["active"] == [])
        assert inspect(s, "active") == "No job is in work.\n"
    finally:
        s.close()


def test_a_job_that_is_claimed_and_not_begun_is_reserved(look):
    s = serve(env={"STENO_FAULT": "job_claimed=sleep:4000"})  # between the claim and its thread
    try:
        job_id = s.submit(SOUND).json["id"]
        worker = wait_for("it is told", lambda: (w := look(s, "reserved"))["reserved"] and w)
        assert [(j["job_id"], j["stage"]) for j in worker["reserved"]] == [(job_id, "claimed")]
        s.wait_job(job_id)
    finally:
        s.close()


def test_what_workers_can(look, inspect):
    s = serve()
    try:
        worker = look(s, "registered")
        assert worker["engines"] == {"null": "null"} and worker["default_engine"] == "null"
        assert re.search(r"^\S+ +null +null +transcribe, translate +default loaded$", inspect(s, "registered"), re.M)
        assert look(s, "active_queues")["queues"] == ["high", "normal", "retry"]
        assert re.search(r"^\S+ +high, normal, retry$", inspect(s, "active_queues"), re.M)
        line = inspect(s, "workers").splitlines()[1]
        assert line.split()[0] == look(s, "workers")["id"] and " running  0 of 2  3  " in line
    finally:
        s.close()


def test_settings_in_force(look, inspect, tmp_path):
    secret, address = "s3cr3t-key-nobody-may-see", "http://10.20.30.40:9000"
    unused = () if S3 else (f"--s3-secret-key={secret}", f"--s3-endpoint={address}")
    s = serve("--lease=7s", "--max-attempts=9", f"--model-path={tmp_path}", *unused)
    if S3:
        secret, address = (s.backends.storage.server[name] for name in ("S3_SECRET_KEY", "S3_ENDPOINT"))
    try:
        told = look(s, "conf")["settings"]
        assert (told["lease"], told["max_attempts"], told["worker_concurrency"]) == ("7s", "9", "2")
        # No text, no path, no address: whoever reaches the api may ask.
        page = s.ask("GET", "/v1/workers").body.decode()
        for kept in (secret, address, str(tmp_path), str(s.data), "sqlite:", "postgresql:", "s3_secret_key", "model_path"):
            assert kept not in page
        out = inspect(s, "conf")
        assert re.search(r"^\S+ +lease +7s$", out, re.M) and "steno config print" in out and secret not in out
    finally:
        s.close()


def test_counts_since_the_start(look, inspect):
    s = serve()
    try:
        for _ in range(3):
            s.wait_job(s.submit(SOUND).json["id"])
        worker = wait_for("they are counted", lambda: (w := look(s, "stats"))["completed"] == 3 and w)
        assert (worker["failed"], worker["failed_by"], worker["chunks"]) == (0, {}, 3)
        assert worker["queue_wait"]["count"] == 3 and 0 <= worker["queue_wait"]["sum"] < 60
        assert worker["run_time"]["count"] == 3 and worker["run_time"]["sum"] > 0
        heads, row = inspect(s, "stats").splitlines()[:2]
        assert heads.split()[:2] == ["WORKER", "COMPLETED"] and row.split()[1:3] == ["3", "0"]
    finally:
        s.close()


def test_nobody_there(steno, inspect):
    api = Server(*QUICK, role="api")
    try:
        for view in VIEWS:
            out = inspect(api, view)
            assert "No " in out or view == "queues", (view, out)
            assert json.loads(inspect(api, view, "--json")).get("workers", []) == []
    finally:
        api.close()
    done = steno("inspect", "active", "--server", api.url)
    assert done.status == 3 and "is 'steno serve' running?" in done.err
    done = steno("inspect", "nonsense")
    assert done.status == 2 and all(f"inspect {v} " in done.err for v in VIEWS)

