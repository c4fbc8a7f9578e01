# SPDX-License-Identifier: MIT
"""Upgrading: what an older version left (tests/e2e/data) is opened by today's program, and its jobs go on."""

import re
import sqlite3
import subprocess
import time

import pytest
from real_server import RealServer, installed
from steno_server import QUICK, ROOT, Server, multipart, wait_for

DATA = ROOT / "tests" / "e2e" / "data"
SOUND = b"RIFF\x24\0\0\0WAVE" + bytes(100)
FLAGS = [*QUICK, "--engine=pocketsphinx", "--log-level=debug"]


def moved_to_now(sql):
    """Its times as if it had been left a minute ago: else retention would take what is old, and what lies ahead waits."""
    times = {int(t) for t in re.findall(r"\b1[78]\d{11}\b", sql)}
    newest = max(int(t) for t in re.findall(r"'running', ?(?:\d+), ?(\d{13})", sql))
    assert newest in times
    shift = int(time.time() * 1000) - 60_000 - newest
    return re.sub(r"\b1[78]\d{11}\b", lambda m: str(int(m[0]) + shift), sql)


class Left:
    """A data folder, or a database beside it, that an older version left."""

    def __init__(self, version, database, folder):
        self.version, self.data, self.flags = version, folder / "data", []
        self.data.mkdir()
        sql = moved_to_now((DATA / f"schema-{version}-{database}.sql").read_text())
        self.server = None
        if database == "sqlite":
            with sqlite3.connect(self.data / "steno.db") as db:
                db.executescript(sql)
            db.close()
        else:
            self.server = RealServer("postgres")
            self.flags = ["--database", self.server.vars["POSTGRES_URL"]]
            subprocess.run(["psql", "-q", "-v", "ON_ERROR_STOP=1", "-d", self.flags[1]], input=sql, text=True, check=True, timeout=60)
        insert = r"INSERT INTO (?:steno\.)?%s VALUES ?\('([^']+)', ?(.*)"
        self.jobs = {rest.split("'")[1]: job_id for job_id, rest in re.findall(insert % "jobs", sql)}
        assert set(self.jobs) == {"completed", "cancelled", "failed", "processing", "pending"}
        for key in re.findall(r"uploads/[^']+", sql):
            content = (DATA / "three_sentences.ogg").read_bytes() if key.endswith(".ogg") else SOUND
            self.write(key, content)
        (key,) = set(re.findall(r"results/[^']+", sql))
        self.transcript = (DATA / f"transcription-{version}.json").read_bytes()
        self.write(key, self.transcript)

    def write(self, key, content):
        path = self.data / "objects" / key
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)

    def close(self):
        if self.server:
            self.server.close()


@pytest.fixture(params=["0001-sqlite", "0004-sqlite", "0004-postgres"])
def left(request, tmp_path):
    version, database = request.param.split("-")
    if database == "postgres" and not installed("postgres"):
        pytest.skip("no PostgreSQL server is installed")
    it = Left(version, database, tmp_path)
    yield it
    it.close()


def test_an_older_version_s_jobs_go_on(left, steno):
    status = steno("migrate", "status", "--data", left.data, *left.flags)
    assert status.status == 1 and len(re.findall("pending$", status.out, re.M)) >= 1, status
    s = Server(*FLAGS, *left.flags, data=left.data)
    try:
        wait_for("all of them are applied", lambda: steno("migrate", "status", "--data", left.data, *left.flags).status == 0)
        # What had ended is as it was.
        done = s.job(left.jobs["completed"])
        assert (done["status"], done["description"], done["attempt"]) == ("completed", "über", 1)
        text = s.ask("GET", f"/v1/jobs/{left.jobs['completed']}/transcript?format=txt")
        assert text.status == 200 and b"no transcription was made" in text.body
        assert s.job(left.jobs["cancelled"])["status"] == "cancelled"
        failed = s.job(left.jobs["failed"])
        assert failed["status"] == "failed" and failed["error"]["code"] == "corrupt"
        listed = steno.ok("errors", "list", "--data", left.data, *left.flags)
        assert left.jobs["failed"] in listed
        # What was in work goes on behind its checkpoint; what waited, runs.
        job = s.wait_job(left.jobs["processing"])
        assert job["status"] == "completed" and job["progress"]["chunks_done"] == 3, job
        mine = [line for line in s.log().splitlines() if f"job_id={left.jobs['processing']}" in line]
        if left.version == "0001":  # its plans lack what is planned today
            assert any("making a new plan: " in line for line in mine)
        else:
            assert not any("checkpoint 0 saved" in line for line in mine), "it began anew"
        assert any("checkpoint 2 saved" in line for line in mine)
        text = s.ask("GET", f"/v1/jobs/{left.jobs['processing']}/transcript?format=txt").body.decode()
        assert len(text.splitlines()) == 3 and "good morning" in text, text
        assert s.wait_job(left.jobs["pending"])["error"]["code"] == "corrupt", "it is no recording, and was tried"
        # Nothing came twice, and new work is taken.
        fresh = s.submit((DATA / "three_sentences.ogg").read_bytes()).json["id"]
        assert s.wait_job(fresh)["status"] == "completed"
        assert len(s.ask("GET", "/v1/jobs").json["jobs"]) == 6
    finally:
        s.close()


@pytest.mark.parametrize("left", ["0004-sqlite"], indirect=True)
def test_a_submission_repeated_over_the_upgrade(left):
    s = Server(*FLAGS, data=left.data, role="api")
    try:
        body, headers = multipart([("file", "completed.wav", SOUND), ("description", "über")])
        again = s.ask("POST", "/v1/jobs", body, headers | {"Idempotency-Key": "once"})
        assert again.status in (200, 202) and again.json["id"] == left.jobs["completed"], again
    finally:
        s.close()


@pytest.mark.parametrize("left", ["0004-sqlite"], indirect=True)
def test_an_older_program_does_not_open_what_a_newer_one_has_migrated(left, steno):
    steno.ok("migrate", "up", "--data", left.data)
    with sqlite3.connect(left.data / "steno.db") as db:
        db.execute("INSERT INTO schema_migrations SELECT version + 1, 'of_tomorrow', checksum, applied_at"
                   " FROM schema_migrations ORDER BY version DESC LIMIT 1")
    db.close()
    done = steno("api", "--data", left.data, "--listen", "127.0.0.1:0")
    assert done.status == 1 and "use the newer program" in done.err, done
