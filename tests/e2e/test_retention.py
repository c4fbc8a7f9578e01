# SPDX-License-Identifier: MIT
"""What is kept for how long: recordings, transcripts, jobs. Needs a program built with -Dfaults=true."""

import re
import tempfile
import time

import pytest
import requests
from steno_server import QUICK, Server, role_pid, wait_for

SOUND = b"RIFF" + bytes(2000)


def done_job(server, **fields):
    answer = server.submit(SOUND, fields=fields)
    assert answer.status == 202, answer
    job = server.wait_job(answer.json["id"])
    assert job["status"] == "completed"
    return job["id"]


def key_of(server, folder):
    return [k for k in server.objects() if k.startswith(folder)]


def test_by_default_transcripts_and_jobs_are_kept(steno):
    shown = steno.ok("config", "print")
    assert re.search(r"^keep_audio = 7d", shown, re.M)
    assert re.search(r"^keep_results = forever", shown, re.M) and re.search(r"^keep_jobs = forever", shown, re.M)


def test_transcripts_are_removed(steno):
    s = Server(*QUICK, "--engine=null", "--sweep-interval=1h")
    try:
        job = done_job(s)
        before = s.ask("GET", f"/v1/jobs/{job}")
        assert s.ask("GET", f"/v1/jobs/{job}/transcript").status == 200
        keep = ["--keep-results=0s", "--data", s.data, *s.backends.flags]
        assert "would remove: jobs 0, of others transcripts 1 and recordings 0," in steno.ok("cleanup", "--dry-run", *keep)
        assert s.ask("GET", f"/v1/jobs/{job}/transcript").status == 200
        assert "removed: jobs 0, of others transcripts 1 and recordings 0," in steno.ok("cleanup", *keep)

        gone = s.ask("GET", f"/v1/jobs/{job}/transcript")
        assert (gone.status, gone.code) == (410, "result_removed")
        assert "removed at 20" in gone.json["detail"]
        after = s.ask("GET", f"/v1/jobs/{job}", headers={"If-None-Match": before.headers["etag"]})
        assert after.status == 200, "it is not what it was"
        assert before.json["result"]["removed_at"] is None and after.json["result"]["removed_at"]
        assert after.json["status"] == "completed"
        assert {k: v for k, v in after.json["result"].items() if k != "removed_at"} == {
            k: v for k, v in before.json["result"].items() if k != "removed_at"}
        assert key_of(s, "results/") == [] and len(key_of(s, "uploads/")) == 1
        assert s.sql("SELECT text FROM results") == [("",)] and s.rows()["chunks"] == 0

        # Nobody takes it for a recording without words.
        assert requests.get(f"{s.url}/api/v1/transcribe/{job}", timeout=60).json()["text"] is None
        pool = requests.get(f"{s.url}/transcribe/{job}", timeout=60).json()
        assert pool["text"] is None and pool["result"] is None
        assert requests.get(f"{s.url}/task/{job}", timeout=60).json()["result"] is None
        assert requests.get(f"{s.url}/api/v1/job/status/{job}", timeout=60).json()["result_text"] is None
        assert requests.get(f"{s.url}/api/stt/result/{job}", timeout=60).status_code == 410
        assert requests.get(f"{s.url}/api/v1/job/read", timeout=60).json()[0]["result_text"] is None
        refused = steno("result", job, "--server", s.url)
        assert refused.status == 2 and "removed" in refused.err
        assert requests.get(f"{s.url}/v1/jobs/{job}/events", timeout=60).status_code in (200, 204)
    finally:
        s.close()


@pytest.mark.parametrize("kept, gone", [("keep-audio", "uploads/"), ("keep-results", "results/")])
def test_the_sweeper_removes_by_itself(kept, gone):
    """Each setting takes what it names and leaves the rest."""
    s = Server(*QUICK, "--engine=null", "--keep-audio=forever", f"--{kept}=1s")
    try:
        job = done_job(s)
        wait_for("it is removed", lambda: not key_of(s, gone))
        (left,) = s.objects()
        assert left.startswith("results/" if gone == "uploads/" else "uploads/")
        assert s.ask("GET", f"/v1/jobs/{job}/transcript").status == (200 if kept == "keep-audio" else 410)
        assert s.job(job)["status"] == "completed"
    finally:
        s.close()


@pytest.mark.parametrize("kept", ["keep-audio", "keep-results"])
def test_words_of_a_cancelled_job_are_removed(kept, steno, speech):
    """What was transcribed before the end is text like any other, also without a transcript."""
    talk = speech(*["the weather was good"] * 30, pause=1.5)  # two chunks
    s = Server(*QUICK, "--engine=pocketsphinx", "--sweep-interval=1h", "--engine-slots=1", env={"STENO_FAULT": "chunk_saved=sleep:3000"})
    try:
        job = s.submit(talk.read_bytes(), "talk.wav").json["id"]
        wait_for("it has a checkpoint", lambda: s.rows()["chunks"] == 1)
        assert s.ask("DELETE", f"/v1/jobs/{job}").status == 200
        assert s.job(job)["status"] == "cancelled" and s.rows()["chunks"] == 1
        steno.ok("cleanup", f"--{kept}=0s", "--data", s.data, *s.backends.flags)
        assert s.rows()["chunks"] == 0 and s.sql("SELECT plan FROM jobs") == [(None,)]
        assert s.job(job)["status"] == "cancelled"
    finally:
        s.close()


def test_the_sweeper_forgets_jobs_by_itself():
    s = Server(*QUICK, "--engine=null", "--keep-jobs=2s")
    try:
        answer = s.ask("POST", "/v1/jobs?filename=a.wav", SOUND,
                       {"Content-Type": "audio/wav", "Idempotency-Key": '"once"'})
        jobs = [answer.json["id"], done_job(s)]
        failed = s.submit(bytes(5000), "a.mp3", fields={"engine": "pocketsphinx"}).json["id"]
        assert s.wait_job(failed)["status"] == "failed"
        upload = s.ask("POST", "/v1/uploads", b'{"filename": "u.wav", "size": 2004}', {"Content-Type": "application/json"})
        assert upload.status == 201
        gone = lambda job: s.ask("GET", f"/v1/jobs/{job}").status == 404  # noqa: E731
        wait_for("they are forgotten", lambda: all(gone(j) for j in [*jobs, failed]))
        assert s.ask("GET", f"/v1/jobs/{jobs[0]}").code == "job_not_found"
        assert s.ask("GET", f"/v1/jobs/{jobs[0]}/transcript").code == "job_not_found"
        assert s.rows() == {"jobs": 0, "chunks": 0, "results": 0, "error_logs": 0}
        assert s.sql("SELECT count(*) FROM submission_keys") == [(0,)]
        wait_for("their objects too", lambda: s.objects() == [])
        assert re.search(r"removed what was kept long enough: .* [1-3] whole jobs", s.log())
    finally:
        s.close()


def test_nothing_that_waits_or_runs_is_removed():
    s = Server(*QUICK, "--engine=null", "--keep-jobs=0s", "--keep-results=0s", "--keep-audio=0s")
    try:
        assert s.ask("POST", "/v1/queues/normal/pause").status == 200
        job = s.submit(SOUND).json["id"]
        time.sleep(3)  # several sweeps
        assert s.job(job)["status"] == "pending" and len(s.objects()) == 1
        assert s.ask("POST", "/v1/queues/normal/resume").status == 200
        wait_for("it is done and forgotten", lambda: s.ask("GET", f"/v1/jobs/{job}").status == 404)
        wait_for("so are its objects", lambda: s.objects() == [])
        assert re.search(rf"{job}.*completed", s.log()) or "completed: " in s.log()
    finally:
        s.close()


def test_a_kill_between_rows_and_objects_leaves_nothing_for_ever():
    fired = tempfile.mkdtemp()
    s = Server(*QUICK, "--engine=null", "--keep-jobs=1s", "--upload-time-limit=1s",
               env={"STENO_FAULT": "object_unwanted=kill", "STENO_FAULT_DIR": fired})
    try:
        worker = wait_for("the worker", lambda: role_pid(s, "worker"))
        jobs = [done_job(s) for _ in range(3)]
        wait_for("it was killed", lambda: role_pid(s, "worker") not in (None, worker))
        wait_for("nothing is left", lambda: s.objects() == [] and s.rows()["jobs"] == 0)
        assert [s.ask("GET", f"/v1/jobs/{j}").status for j in jobs] == [404] * 3
        wait_for("it is told", lambda: "objects that belong to no job" in s.log())
    finally:
        s.close()


def test_a_backlog_is_worked_off_in_batches(steno):
    """More than one batch, and a second process that does the same beside it."""
    s = Server(*QUICK, "--engine=null", "--sweep-interval=1h", "--worker-concurrency=16")
    try:
        ids = [s.submit(SOUND).json["id"] for _ in range(450)]
        for job in ids:
            s.wait_job(job)
        keep = ["--keep-jobs=0s", "--data", s.data, *s.backends.flags]
        both = [steno.start("cleanup", *keep, stdout=-1, text=True) for _ in range(2)]
        counts = [int(re.search(r"removed: jobs (\d+)", p.communicate(timeout=300)[0])[1]) for p in both]
        assert sum(counts) == 450, "each is removed once"
        assert s.rows()["jobs"] == 0 and s.objects() == []
    finally:
        s.close()


