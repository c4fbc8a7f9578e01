# SPDX-License-Identifier: MIT
"""The service on each kind of storage, and on storage in trouble.

S3: the server that STENO_TEST_S3_ENDPOINT, _ACCESS_KEY, _SECRET_KEY, _REGION and _BUCKET name, in a folder of its own in
that bucket. The faults need a program built with -Dfaults=true (as `make test` does).
"""

import os
import socket
import struct
import subprocess
import time
import uuid
from concurrent.futures import ThreadPoolExecutor

import pytest
from steno_server import QUICK, STENO, Server, clean_env, wait_for

SECRET = os.environ.get("STENO_TEST_S3_SECRET_KEY", "")


def s3_env(**more):
    """The environment of a service on S3; skips where there is no server."""
    get = os.environ.get
    if not get("STENO_TEST_S3_ENDPOINT"):
        pytest.skip("no S3 server: STENO_TEST_S3_ENDPOINT is not set")
    return {
        "STENO_STORAGE": f"s3://{get('STENO_TEST_S3_BUCKET', 'steno-test')}/e2e-{uuid.uuid4()}",
        "STENO_S3_ENDPOINT": get("STENO_TEST_S3_ENDPOINT"),
        "STENO_S3_ACCESS_KEY": get("STENO_TEST_S3_ACCESS_KEY", ""),
        "STENO_S3_SECRET_KEY": SECRET,
        "STENO_S3_REGION": get("STENO_TEST_S3_REGION", ""),
        "STENO_S3_PART_SIZE": "5M",
    } | more


@pytest.fixture(params=["file", "s3"])
def store(request):
    """The environment that chooses a store."""
    return s3_env() if request.param == "s3" else {}


def wav(seconds):
    n = 32000 * seconds
    return b"RIFF" + struct.pack("<I", 36 + n) + b"WAVEfmt " + struct.pack("<IHHIIHH", 16, 1, 1, 16000, 32000, 2, 16) + (
        b"data" + struct.pack("<I", n) + bytes(n))


def transcript(server, job_id):
    answer = server.ask("GET", f"/v1/jobs/{job_id}/transcript")
    assert answer.status == 200, answer
    return answer.body


def test_the_life_of_a_recording(store):
    server = Server(*QUICK, "--engine=null", env=store)
    try:
        # 12 MB: on S3 several parts.
        for name, seconds in (("short.wav", 1), ("grün +1 (ü).wav", 400)):
            answer = server.submit(wav(seconds), filename=name)
            assert answer.status == 202, answer
            job = server.wait_job(answer.json["id"])
            assert job["status"] == "completed", job
            assert b"null engine" in transcript(server, job["id"])
            assert server.ask("DELETE", f"/v1/jobs/{job['id']}?purge=true").status in (200, 204)
            assert server.ask("GET", f"/v1/jobs/{job['id']}/transcript").status == 404
        health = server.ask("GET", "/health").json
        assert health["parts"]["storage"]["ok"], health
        assert not SECRET or SECRET not in server.log()
    finally:
        server.close()


@pytest.mark.parametrize("plan", ["storage=fail/7", "storage=lost@4", "storage_write=cut@3"])
def test_every_accepted_job_ends_well_on_storage_in_trouble(store, plan):
    server = Server(*QUICK, "--engine=null", "--upload-time-limit=2s", env=store | {"STENO_FAULT": plan})
    try:
        accepted, refused = [], 0
        for _ in range(25):
            answer = server.submit(wav(1))
            while answer.status == 503:
                assert int(answer.headers["retry-after"]) > 0
                refused += 1
                answer = server.submit(wav(1))
            assert answer.status == 202, answer
            accepted.append(answer.json["id"])
        assert refused >= (3 if plan == "storage=fail/7" else 1)
        for job_id in accepted:
            assert server.wait_job(job_id)["status"] == "completed"
        assert server.sql("SELECT count(*) FROM error_logs WHERE dead = 1") == [(0,)]
        assert server.rows()["results"] == len(accepted) == server.rows()["jobs"]
        for job_id in accepted:
            body = wait_for("the transcript", lambda: server.ask("GET", f"/v1/jobs/{job_id}/transcript"))
            for _ in range(3):  # reading fails now and then, too
                if body.status == 503:
                    body = server.ask("GET", f"/v1/jobs/{job_id}/transcript")
            assert body.status == 200 and b"null engine" in body.body, body
    finally:
        server.close()


def run(env, *args):
    done = subprocess.run([STENO, *args], env=clean_env() | env, capture_output=True, text=True, timeout=60, check=False)
    return done.returncode, done.stdout + done.stderr


def test_wrong_keys_stop_the_start(tmp_path):
    env = s3_env(STENO_S3_SECRET_KEY="not-the-right-one", STENO_DATA=str(tmp_path))
    status, text = run(env, "api", "--listen=127.0.0.1:0")
    assert status != 0
    assert "check s3_secret_key" in text
    assert "not-the-right-one" not in text


def test_secrets_are_not_printed(tmp_path):
    env = {
        "STENO_DATA": str(tmp_path), "STENO_STORAGE": "s3://bucket", "STENO_S3_ACCESS_KEY": "key",
        "STENO_S3_SECRET_KEY": "geheim-1", "STENO_S3_SESSION_TOKEN": "geheim-2",
    }
    for command in ("print", "check"):
        status, text = run(env, "config", command)
        assert status == 0, text
        assert "geheim" not in text
    assert "s3_secret_key = ***" in run(env, "config", "print")[1]


def test_a_server_that_is_not_there(tmp_path):
    """The service starts, says that it is degraded, refuses uploads with a time to come again, and stops in time."""
    env = {
        "STENO_STORAGE": "s3://bucket", "STENO_S3_ENDPOINT": "http://127.0.0.1:9", "STENO_S3_ACCESS_KEY": "key",
        "STENO_S3_SECRET_KEY": "geheim", "STENO_S3_TIMEOUT": "1s",
    }
    server = Server(*QUICK, "--engine=null", env=env)
    try:
        health = server.ask("GET", "/health").json
        assert not health["parts"]["storage"]["ok"] and health["status"] != "ok", health
        answer = server.submit(wav(1))
        assert answer.status == 503 and int(answer.headers["retry-after"]) > 0, answer
        assert "geheim" not in server.log()
    finally:
        started = time.monotonic()
        server.close()
        assert time.monotonic() - started < 45


@pytest.fixture
def silent_server():
    """A server that takes connections and never says a word."""
    listener = socket.create_server(("127.0.0.1", 0), backlog=128)
    yield f"http://127.0.0.1:{listener.getsockname()[1]}"
    listener.close()


def test_storage_that_hangs_holds_up_nothing_else(silent_server):
    env = {
        "STENO_STORAGE": "s3://bucket", "STENO_S3_ENDPOINT": silent_server, "STENO_S3_ACCESS_KEY": "key",
        "STENO_S3_SECRET_KEY": "geheim", "STENO_S3_TIMEOUT": "2s",
    }
    server = Server("--engine=null", "--work-threads=2", env=env)
    try:
        with ThreadPoolExecutor(8) as pool:
            uploads = [pool.submit(server.submit, wav(1)) for _ in range(8)]
            wait_for("the uploads are at storage", lambda: b"steno_uploads_in_flight 8" in server.ask("GET", "/metrics").body)
            for path in ("/v1/jobs", "/metrics", "/health"):
                assert server.ask("GET", path).status == 200
            assert not any(u.done() for u in uploads)
            # Whoever waits for storage hears in the end that it is away.
            server.stop()
            for u in uploads:
                u.exception()
    finally:
        server.close()
