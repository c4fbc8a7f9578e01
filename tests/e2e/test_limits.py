# SPDX-License-Identifier: MIT
"""
Limits of time, size and room, and workers that replace themselves, with real processes.

Needs a program built with -Dfaults=true: a job hangs at a fault point that sleeps for an hour, whatever it is told.
"""

import os
import shutil
import signal
import sqlite3
import subprocess
import time
from datetime import datetime
from pathlib import Path

import pytest
from backends import NAMES, POSTGRES, S3
from steno_server import QUICK, STENO, Server, alive, children, role_pid, wait_for

SOUND = b"RIFF\x24\0\0\0WAVE" + bytes(100)
HANG = "sleep:3600000"
# That may be open at one look and not at another; an exec that left descriptors open would leave more of them.
CONNECTIONS = 8 if NAMES else 2


def workers(server):
    return server.ask("GET", "/admin/health").json["parts"]["workers"]["workers"]


def info(server):
    """What the one worker says of itself, once it has said anything."""
    return wait_for("a heartbeat", lambda: (w := workers(server)) and w[0]["info"])


def hanging(folder, *points):
    """Environment: each point hangs once, also over restarts."""
    folder.mkdir(exist_ok=True)
    return {"STENO_FAULT": ",".join(f"{p}={HANG}" for p in points), "STENO_FAULT_DIR": str(folder)}


def decoder(server):
    """The pid of the worker's decoder; None while there is none."""
    found = children(role_pid(server, "worker") or 0)
    return next((pid for pid, c in found.items() if c.startswith("ffmpeg") or " __decode " in c), None)


def open_files(pid):
    return len(os.listdir(f"/proc/{pid}/fd"))


def zombies(pid):
    found = 0
    for stat in Path("/proc").glob("[0-9]*/stat"):
        try:
            fields = stat.read_text().rpartition(")")[2].split()
        except OSError:
            continue
        found += fields[0] == "Z" and int(fields[1]) == pid
    return found


def replaced(server, times):
    return wait_for(f"{times} replacements", lambda: (w := workers(server)) and w[0]["info"]["replaced"] == times, 120)


@pytest.fixture
def tone(tmp_path):
    path = tmp_path / "tone.wav"
    subprocess.run(["sox", "-n", "-r", "16000", "-c", "1", path, "synth", "5", "sine", "440"], check=True)
    return path.read_bytes()


@pytest.fixture
def long_silence(tmp_path):
    """Decoding it takes a while, also where this is fast."""
    path = tmp_path / "silence.flac"
    subprocess.run(["sox", "-D", "-n", "-r", "16000", "-c", "1", path, "trim", "0", "3600"], check=True)
    return path.read_bytes()


# ---- time ----


def test_the_time_limit_stops_an_attempt_and_another_follows(speech):
    """Stopped cleanly: nothing hangs, so nothing is replaced."""
    s = Server(*QUICK, "--engine=pocketsphinx", "--job-time-limit=8s", "--max-attempts=20",
               env={"STENO_FAULT": "plan_saved=sleep:10000@1"})
    try:
        pid = wait_for("the worker", lambda: role_pid(s, "worker"))
        job = s.wait_job(s.submit(speech("the weather was good").read_bytes(), "talk.wav").json["id"], 300)
        assert job["status"] == "completed" and job["attempt"] >= 2
        first = s.sql("SELECT error_class, dead, attempt, message FROM error_logs ORDER BY attempt")[0]
        assert first[:3] == ("timeout", 0, 1)
        assert "not done within 8 s" in first[3] and "hanging" not in first[3]
        assert info(s)["replaced"] == 0 and role_pid(s, "worker") == pid
    finally:
        s.close()


def test_the_time_limit_of_another_service_may_fail_a_job(tmp_path, speech):
    """In the middle of the engine's work; nothing of that goes on."""
    text = "every session of the parliament began with a long speech about the weather and the harvest of the year"
    once, talk = speech(text), tmp_path / "talk.wav"
    subprocess.run(["sox", once, talk, "repeat", "200"], check=True)
    s = Server(*QUICK, "--engine=pocketsphinx", "--job-time-policy=fail", env={"WORKER_TIMEOUT": "5"})
    try:
        began = time.monotonic()
        job = s.wait_job(s.submit(talk.read_bytes(), "talk.wav").json["id"])
        assert (job["status"], job["attempt"], job["error"]["code"]) == ("failed", 1, "timeout")
        assert "not done within 5 s" in job["error"]["message"]
        assert time.monotonic() - began >= 5
        assert s.sql("SELECT dead FROM error_logs") == [(1,)]
        wait_for("its place is free", lambda: workers(s)[0]["running"] == 0)
        assert info(s)["replaced"] == 0
        assert "WORKER_TIMEOUT means job_time_limit = 5s" in s.log()
    finally:
        s.close()


@pytest.mark.parametrize("factor", [0, 100])
def test_a_long_recording_may_have_more_time(speech, factor):
    """A hundred times its length is enough for an attempt that sleeps; as long as any other is not."""
    s = Server(*QUICK, "--engine=pocketsphinx", "--job-time-limit=6s", f"--job-time-factor={factor}", "--job-time-policy=fail",
               env={"STENO_FAULT": "plan_saved=sleep:8000"})
    try:
        job = s.wait_job(s.submit(speech("the weather was good").read_bytes(), "talk.wav").json["id"])
        assert (job["status"], job["attempt"]) == ("completed" if factor else "failed", 1)
    finally:
        s.close()


def test_a_job_that_hangs_costs_one_attempt_and_a_new_process(tmp_path):
    s = Server(*QUICK, "--engine=null", "--job-time-limit=5s", "--job-hard-time-limit=6s",
               env=hanging(tmp_path / "faults", "job_merged"))
    try:
        pid = wait_for("the worker", lambda: role_pid(s, "worker"))
        stuck = s.submit(SOUND).json["id"]
        wait_for("it hangs", lambda: (tmp_path / "faults" / "job_merged").exists())
        files = open_files(pid)
        assert s.wait_job(s.submit(SOUND).json["id"])["status"] == "completed", "it holds up nobody"
        assert s.job(stuck)["status"] == "processing"
        job = s.wait_job(stuck)
        assert (job["status"], job["attempt"]) == ("completed", 2)
        replaced(s, 1)
        assert role_pid(s, "worker") == pid and f"worker (pid {pid})" not in s.log(), "the supervisor has not noticed"
        (row,) = s.sql("SELECT error_class, stage, dead, message FROM error_logs")
        assert row[:3] == ("timeout", "merge", 0) and "job_hard_time_limit" in row[3]
        assert len(workers(s)) == 1, "no row of the old one is left"
        assert open_files(pid) <= files + CONNECTIONS
        wait_for("its temporary folder is swept", lambda: len(list((s.data / "tmp").glob(".steno-*"))) == 1)
        # Signals come through as before.
        s.process.send_signal(signal.SIGHUP)
        wait_for("SIGHUP", lambda: "worker: SIGHUP: settings were read again" in s.log())
    finally:
        s.close()


def test_its_neighbour_goes_on_after_its_checkpoints(tmp_path, speech):
    """A job that hangs when it is cancelled is in the way as well."""
    s = Server(*QUICK, "--engine=pocketsphinx", "--engine-slots=1", "--job-time-limit=3600s", "--job-hard-time-limit=3601s",
               "--drain-timeout=1h", env=hanging(tmp_path / "faults", "result_stored"))
    try:
        pid = wait_for("the worker", lambda: role_pid(s, "worker"))
        stuck = s.submit(SOUND, fields={"engine": "null"}).json["id"]
        wait_for("it hangs", lambda: (tmp_path / "faults" / "result_stored").exists())
        text = "every session of the parliament began with a long speech about the weather and the harvest of the year"
        other = s.submit(speech(*[text] * 12, pause=1).read_bytes(), "talk.wav").json["id"]
        wait_for("it has done something", lambda: s.job(other)["progress"]["chunks_done"] >= 1)
        assert s.ask("DELETE", f"/v1/jobs/{stuck}").status < 300
        job = s.wait_job(other, 300)
        assert (job["status"], job["attempt"]) == ("completed", 1), "no attempt was used up"
        fences = [f for (f,) in s.sql("SELECT DISTINCT fence FROM chunks WHERE job_id = ? ORDER BY 1", other)]
        assert fences in ([1, 2], [1]), "what was done was not done again"
        replaced(s, 1)
        assert role_pid(s, "worker") == pid and zombies(pid) == 0
        assert s.sql("SELECT state FROM jobs WHERE id = ?", stuck) == [("cancelled",)]
        assert s.sql("SELECT count(*) FROM error_logs") == [(0,)]
    finally:
        s.close()


def test_a_job_that_hangs_may_fail_at_once(tmp_path):
    """A worker alone, without any supervisor, goes on under its own pid."""
    api = Server(*QUICK, role="api")
    worker = Server(*QUICK, "--engine=null", "--job-time-limit=3s", "--job-hard-time-limit=4s", "--job-time-policy=fail",
                    role="worker", data=api.data, env=hanging(tmp_path / "faults", "job_merged"))
    try:
        job = api.wait_job(api.submit(SOUND).json["id"])
        assert (job["status"], job["attempt"], job["error"]["code"]) == ("failed", 1, "timeout")
        assert "job_hard_time_limit" in job["error"]["message"]
        assert api.wait_job(api.submit(SOUND).json["id"])["status"] == "completed"
        replaced(api, 1)
        assert workers(api)[0]["pid"] == worker.process.pid
    finally:
        worker.close()
        api.close()


def test_a_stop_while_a_job_hangs(tmp_path):
    """The job is handed back, and the next start does it."""
    s = Server(*QUICK, "--engine=null", "--drain-timeout=1s", env=hanging(tmp_path / "faults", "job_merged"))
    try:
        stuck = s.submit(SOUND).json["id"]
        wait_for("it hangs", lambda: (tmp_path / "faults" / "job_merged").exists())
        assert s.stop() == 0
        assert s.sql("SELECT state, attempt FROM jobs") == [("pending", 0)]
        assert "killing it" not in s.log()
        s.start()
        job = s.wait_job(stuck)
        assert (job["status"], job["attempt"]) == ("completed", 1)
    finally:
        s.close()


@pytest.mark.skipif(POSTGRES, reason="hurts SQLite's file")
def test_a_stop_while_a_job_hangs_that_cannot_be_handed_back(tmp_path):
    api = Server(*QUICK, role="api")
    worker = Server(*QUICK, "--engine=null", "--drain-timeout=1s", role="worker", data=api.data,
                    env=hanging(tmp_path / "faults", "job_merged"))
    try:
        api.submit(SOUND)
        wait_for("it hangs", lambda: (tmp_path / "faults" / "job_merged").exists())
        with sqlite3.connect(api.data / "steno.db") as db:
            db.execute("CREATE TRIGGER away BEFORE UPDATE OF state ON jobs BEGIN SELECT RAISE(ABORT, 'not now'); END")
        assert worker.stop() == 3
        assert "1 jobs could not be handed back" in worker.log()
    finally:
        shutil.rmtree(worker.folder)  # close() would ask for an end that is well
        api.close()


def test_a_stopped_decoder_is_killed_by_a_cancel(long_silence):
    s = Server(*QUICK, "--engine=pocketsphinx")
    try:
        wait_for("the worker", lambda: workers(s))
        job = s.submit(long_silence, "silence.flac").json["id"]
        pid = wait_for("a decoder", lambda: decoder(s))
        os.kill(pid, signal.SIGSTOP)
        assert s.ask("DELETE", f"/v1/jobs/{job}").status < 300
        wait_for("it is gone", lambda: not alive(pid))
        wait_for("the place is free", lambda: workers(s)[0]["running"] == 0)
    finally:
        s.close()


def test_a_stopped_decoder_is_killed_by_the_clock(long_silence):
    s = Server(*QUICK, "--engine=pocketsphinx", "--decode-stall-limit=3s")
    try:
        wait_for("the worker", lambda: workers(s))
        job = s.submit(long_silence, "silence.flac").json["id"]
        pid = wait_for("a decoder", lambda: decoder(s))
        os.kill(pid, signal.SIGSTOP)
        done = s.wait_job(job, 300)
        assert (done["status"], done["attempt"]) == ("completed", 2)
        assert not alive(pid)
        (row,) = s.sql("SELECT error_class, stage, message FROM error_logs")
        assert row[:2] == ("timeout", "decode") and "decode_stall_limit" in row[2]
    finally:
        s.close()


# ---- length ----


def test_a_recording_that_is_too_long(tone):
    s = Server(*QUICK, "--engine=pocketsphinx", "--max-audio-length=3s")
    try:
        job = s.wait_job(s.submit(tone, "tone.wav").json["id"])
        assert (job["status"], job["attempt"], job["error"]["code"]) == ("failed", 1, "too_large")
        assert "longer than 3 s (max_audio_length)" in job["error"]["message"]
    finally:
        s.close()


# ---- room ----


def test_without_room_no_recording_is_accepted(tmp_path):
    s = Server(*QUICK, "--engine=null", "--min-free-disk=16384G")
    try:
        refused = s.submit(SOUND)
        assert (refused.status, refused.code) == (503, "disk_full")
        assert int(refused.headers["retry-after"]) >= 1
        assert "min_free_disk" in refused.json["detail"]
        # Said before the body is read.
        head = b"POST /v1/jobs HTTP/1.1\r\nHost: x\r\nContent-Type: multipart/form-data; boundary=B\r\n"
        (early,) = s.raw(head + b"Content-Length: 1000000\r\nExpect: 100-continue\r\n\r\n")
        assert early.code == "disk_full"
        body = b'--B\r\nContent-Disposition: form-data; name="file"; filename="a.wav"\r\n\r\n' + SOUND + b"\r\n--B--\r\n"
        as_openai = s.ask("POST", "/v1/audio/transcriptions", body, {"Content-Type": "multipart/form-data; boundary=B"})
        assert as_openai.status == 503 and "min_free_disk" in as_openai.json["error"]["message"]
        assert s.objects() == [] and s.rows()["jobs"] == 0
        told = s.ask("GET", "/health").json
        assert told["status"] == "degraded" and "min_free_disk" in told["parts"]["disk"]["error"]
        assert S3 or "min_free_disk" in told["parts"]["storage"]["error"]
        wait_for("the worker says so, too",
                 lambda: "no room" in s.ask("GET", "/admin/health").json["parts"]["workers"].get("error", ""))
        assert s.log().count("finding room for recordings failed") == 1, "not every second"
    finally:
        s.close()


def test_an_upload_larger_than_the_room_that_is_left(tmp_path):
    """There is room for small ones."""
    left = shutil.disk_usage(tmp_path).free
    s = Server(*QUICK, role="api", *[f"--max-upload-size={4 * left}B", f"--min-free-disk={left // 2}B"])
    try:
        assert s.submit(SOUND).status == 202
        head = "POST /v1/jobs HTTP/1.1\r\nHost: x\r\nContent-Type: multipart/form-data; boundary=B\r\n"
        (early,) = s.raw(f"{head}Content-Length: {2 * left}\r\nExpect: 100-continue\r\n\r\n".encode())
        assert early.code == "disk_full"
        assert s.submit(SOUND).status == 202
    finally:
        s.close()


def test_a_worker_without_room_leaves_jobs_to_others(tmp_path):
    api = Server(*QUICK, role="api")
    full = Server(*QUICK, "--engine=null", "--min-free-disk=16384G", role="worker", data=api.data)
    other = None
    try:
        wait_for("it says so", lambda: info(api)["out_of_room"])
        job = api.submit(SOUND).json["id"]
        wait_for("it has looked again", lambda: info(api)["claimed"] == 0)
        other = Server(*QUICK, "--engine=null", role="worker", data=api.data)
        assert api.wait_job(job)["attempt"] == 1
        both = wait_for("both", lambda: len(w := workers(api)) == 2 and all(x["info"] for x in w) and w)
        told = {w["pid"]: w["info"] for w in both}
        assert told[full.process.pid]["claimed"] == 0 and told[full.process.pid]["out_of_room"]
        assert not told[other.process.pid]["out_of_room"]
    finally:
        if other:
            other.close()
        full.close()
        api.close()


# ---- jobs in work ----


def in_work(server, jobs):
    return [j for j in jobs if server.job(j)["status"] == "processing"]


def started(server, job):
    return datetime.fromisoformat(server.job(job)["started_at"].replace("Z", "+00:00"))


# Without the place that is kept for short jobs, which these are; with it, it comes on top.
@pytest.mark.parametrize("short, wanted", [("off", 2), ("1M", 3)])
def test_a_worker_has_so_many_jobs_in_work_and_none_ahead(short, wanted):
    s = Server(*QUICK, "--engine=null", "--worker-concurrency=2", f"--short-job-size={short}",
               env={"STENO_FAULT": "job_merged=sleep:3000"})
    try:
        jobs = [s.submit(SOUND).json["id"] for _ in range(6)]
        most = 0
        while s.job(jobs[-1])["status"] != "completed":
            most = max(most, s.sql("SELECT count(*) FROM jobs WHERE state = 'processing'")[0][0])
        assert most == wanted
    finally:
        s.close()


def test_jobs_in_work_grow_with_the_queue_and_go_back():
    s = Server(*QUICK, "--engine=null", "--worker-concurrency=3", "--worker-concurrency-min=2",
               "--short-job-size=off", env={"STENO_FAULT": "job_merged=sleep:8000"})

    def places():
        i = info(s)
        return i["concurrency_min"], i["concurrency_now"], i["concurrency"]

    try:
        assert wait_for("it is ready", places) == (2, 2, 3)
        jobs = [s.submit(SOUND).json["id"] for _ in range(4)]
        wait_for("a third one", lambda: len(in_work(s, jobs)) == 3)
        wait_for("it says so", lambda: places() == (2, 3, 3))
        third = sorted(started(s, j) for j in in_work(s, jobs))
        assert (third[2] - third[1]).total_seconds() >= 0.9, "other workers come first"
        assert s.job(jobs[3])["status"] == "pending", "not more than the most"
        for j in jobs:
            assert s.wait_job(j)["status"] == "completed"
        wait_for("with nothing to do it gives one up", lambda: places() == (2, 2, 3), 90)
    finally:
        s.close()


# ---- workers that replace themselves ----


def test_a_fresh_process_after_so_many_jobs():
    s = Server(*QUICK, "--engine=null", "--worker-max-jobs=3", "--worker-concurrency=2")
    try:
        pid = wait_for("the worker", lambda: role_pid(s, "worker"))
        jobs = [s.submit(SOUND).json["id"] for _ in range(10)]
        assert {s.wait_job(j)["status"] for j in jobs} == {"completed"}
        replaced(s, 3)
        assert role_pid(s, "worker") == pid and f"worker (pid {pid})" not in s.log()
        assert s.sql("SELECT max(fence), max(attempt) FROM jobs") == [(1, 1)], "nothing was handed back"
        told = wait_for("the last job in the figures", lambda: (i := info(s))["claimed"] == 1 and i)
        assert told["max_jobs"] == 3 and told["memory_bytes"] > 1 << 20
        assert len(list((s.data / "tmp").glob(".steno-*"))) == 1
    finally:
        s.close()


def test_a_fresh_process_has_nothing_of_the_old_one(tone):
    s = Server(*QUICK, "--engine=pocketsphinx", "--worker-max-jobs=1")
    try:
        pid = wait_for("the worker", lambda: role_pid(s, "worker"))
        files = []
        for i in range(1, 4):
            assert s.wait_job(s.submit(tone, "tone.wav").json["id"])["status"] == "completed"
            replaced(s, i)
            files.append(open_files(pid))
            assert zombies(pid) == 0
        assert max(files) <= min(files) + CONNECTIONS, files
    finally:
        s.close()


def test_the_names_of_another_service(tmp_path):
    config = tmp_path / "config.ini"
    config.write_text("[celery]\nworker_max_tasks_per_child = 2\ntask_soft_time_limit = 70\ntask_time_limit = 80\n")
    s = Server(*QUICK, "--engine=null", "--config", str(config))
    try:
        for _ in range(5):
            assert s.wait_job(s.submit(SOUND).json["id"])["status"] == "completed"
        replaced(s, 2)
        told = info(s)["settings"]
        assert (told["worker_max_jobs"], told["job_time_limit"], told["job_hard_time_limit"]) == ("2", "70s", "80s")
    finally:
        s.close()


@pytest.mark.skipif(b"__asan_init" not in Path(STENO).read_bytes(), reason="no address sanitizer that keeps what was freed")
def test_a_fresh_process_when_it_holds_too_much():
    """Any job makes the process larger. It looks once a minute at most."""
    s = Server(*QUICK, "--engine=null")
    try:
        bare = wait_for("its size", lambda: info(s)["memory_bytes"])
    finally:
        s.close()
    s = Server(*QUICK, "--engine=null", f"--worker-max-memory={bare + bare // 4}B")
    try:
        pid = wait_for("the worker", lambda: role_pid(s, "worker"))

        def one_more():
            s.submit(SOUND)
            time.sleep(0.1)
            return info(s)["replaced"]

        assert wait_for("a fresh process", one_more, 150) == 1
        wait_for("all jobs end", lambda: s.sql("SELECT DISTINCT state FROM jobs") == [("completed",)])
        assert s.sql("SELECT max(fence), max(attempt) FROM jobs") == [(1, 1)], "nothing was handed back"
        assert role_pid(s, "worker") == pid and "this process will be replaced" in s.log()
        assert "before its first job" not in s.log()
    finally:
        s.close()


def test_a_limit_of_memory_that_is_too_small_is_no_loop():
    s = Server(*QUICK, "--engine=null", "--worker-max-memory=1M")
    try:
        for _ in range(3):
            assert s.wait_job(s.submit(SOUND).json["id"])["status"] == "completed"
        wait_for("it says so", lambda: "before its first job" in s.log() or info(s)["completed"] == 3)
        assert info(s)["replaced"] == 0 and info(s)["max_memory_bytes"] == 1 << 20
    finally:
        s.close()
