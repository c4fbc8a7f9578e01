# SPDX-License-Identifier: MIT
"""How the service is, for people and for monitors: `steno health` and GET /admin/health."""

import json
import os
import shutil
import socket

from steno_server import QUICK, Server, role_pid, wait_for

PARTS = {"database", "storage", "broker", "queue", "disk", "workers"}
SOUND = b"RIFF\x24\0\0\0WAVE" + bytes(100)


def health(server):
    answer = server.ask("GET", "/admin/health")
    assert answer.status == 200, answer
    return answer.json


def one_worker(server):
    return wait_for("a worker's heartbeat", lambda: health(server)["parts"]["workers"].get("live") == 1)


def test_all_is_well(steno):
    s = Server(*QUICK, "--engine=null", "--worker-concurrency=3", "--engine-slots=2")
    try:
        one_worker(s)
        s.wait_job(s.submit(SOUND).json["id"])
        told = wait_for("the job in the figures", lambda: (
            h := health(s))["parts"]["workers"]["workers"][0]["info"]["completed"] == 1 and h)
        assert told["status"] == "ok" and told["version"] and set(told["parts"]) == PARTS
        assert all(p["ok"] and p["latency_ms"] >= 0 and "error" not in p for p in told["parts"].values())
        assert told["parts"]["disk"]["data"]["free_bytes"] > 0
        (worker,) = told["parts"]["workers"]["workers"]
        assert worker["host"] == socket.gethostname() and worker["pid"] == role_pid(s, "worker")
        assert (worker["state"], worker["running"]) == ("running", 0)
        assert worker["info"]["engines"] == {"null": "null"}
        assert (worker["info"]["concurrency"], worker["info"]["slots"]) == (3, 2)

        out = steno.ok("health", "--server", s.url)
        assert out.startswith(f"ok  {s.url}") and "DOWN" not in out
        assert all(f"\n  {p} " in out for p in PARTS) and "0 of 3 jobs, 2 slots, null null" in out
        assert json.loads(steno.ok("health", "--json", "--server", s.url))["parts"].keys() == PARTS
        # What a load balancer asks knows nothing of workers.
        assert set(s.ask("GET", "/health").json["parts"]) == PARTS - {"workers"}
    finally:
        s.close()


def test_no_worker_runs(steno):
    api = Server(*QUICK, role="api")
    try:
        told = health(api)
        assert told["status"] == "degraded"
        assert not told["parts"]["workers"]["ok"] and "no worker runs" in told["parts"]["workers"]["error"]
        assert all(told["parts"][p]["ok"] for p in PARTS - {"workers"})
        assert api.ask("GET", "/health").json["status"] == "ok"
        done = steno("health", "--server", api.url)
        assert done.status == 1 and done.out.startswith("degraded") and "no worker runs" in done.out

        worker = Server(*QUICK, "--engine=null", role="worker", data=api.data)
        try:
            one_worker(api)
            assert health(api)["status"] == "ok"
        finally:
            worker.close()
        # One that ended well is gone at once, not only silent.
        wait_for("it is gone", lambda: health(api)["parts"]["workers"]["workers"] == [])
    finally:
        api.close()


def test_a_full_disk(tmp_path):
    """The largest recording that is allowed finds no room."""
    room = shutil.disk_usage(tmp_path).free
    s = Server(*QUICK, "--engine=null", f"--max-upload-size={min(16 << 40, 4 * room)}B")
    try:
        one_worker(s)
        disk = health(s)["parts"]["disk"]
        assert not disk["ok"] and "max_upload_size" in disk["error"]
        assert s.submit(SOUND).status == 202, "small ones are taken all the same"
    finally:
        s.close()


def test_nobody_there(steno):
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
    done = steno("health", "--server", f"http://127.0.0.1:{port}")
    assert done.status == 1 and done.out.startswith("down") and "is 'steno serve' running?" in done.out
    told = json.loads(steno("health", "--json", "--server", f"http://127.0.0.1:{port}").out)
    assert told["status"] == "down" and not told["parts"]["api"]["ok"]
    assert steno("health", "--server", "nonsense://x").status == 2


def test_a_worker_that_hangs_counts_as_gone(steno):
    """Its row is swept by nobody: no other worker runs. (Needs no patience but that of health itself.)"""
    api = Server(*QUICK, role="api")
    worker = Server(*QUICK, "--engine=null", role="worker", data=api.data)
    try:
        one_worker(api)
        os.kill(worker.process.pid, 19)
        told = wait_for("health sees it", lambda: not (h := health(api))["parts"]["workers"]["ok"] and h, 120)
        (row,) = told["parts"]["workers"]["workers"]
        assert row["state"] == "silent" and told["parts"]["workers"]["live"] == 0
        os.kill(worker.process.pid, 18)
        one_worker(api)
    finally:
        os.kill(worker.process.pid, 18)
        worker.close()
        api.close()
