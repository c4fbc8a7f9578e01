# SPDX-License-Identifier: MIT
"""Failures: what is known of each, when it is tried again, and what an operator can do about it.

Needs a program built with -Dfaults=true, as `make test` does.
"""

import json
import re
import shutil
from datetime import datetime
from pathlib import Path

import pytest
from steno_server import QUICK, Server, wait_for

SOUND = b"RIFF" + bytes(2000)
UNKNOWN = "01920000-0000-7000-8000-000000000000"
FAILS = {"STENO_FAULT": "chunk_transcribed=fail"}  # every time: as an engine that cannot be reached
FAILS_ONCE = {"STENO_FAULT": "chunk_transcribed=fail@1"}


def failed_job(server, data=SOUND, filename="a.wav", **fields):
    answer = server.submit(data, filename, fields=fields)
    assert answer.status == 202, answer
    job = server.wait_job(answer.json["id"])
    assert job["status"] == "failed", job
    return job


def errors_of(server, job):
    """All of them, the oldest first."""
    return server.ask("GET", f"/v1/errors?all=true&job_id={job['id']}").json["errors"][::-1]


def seen_everywhere(server, steno, error):
    """A failure as GET /v1/errors, /v1/errors/{id}, /admin/errors and the command show it."""
    assert server.ask("GET", f"/v1/errors/{error['id']}").json == error
    admin = server.ask("GET", "/admin/errors?all=true").json["errors"]
    (same,) = [e for e in admin if e["id"] == error["id"]]
    assert (same["error_type"], same["error_message"], same["stage"], same["stack_trace"], same["worker"]) == (
        error["code"], error["message"], error["stage"], error["detail"], error["worker"])
    assert same["retry_count"] == error["attempt"] - 1
    data = ["--data", server.data, *server.backends.flags]
    shown = json.loads(steno.ok("errors", "show", "--json", *data, error["id"]))
    assert {k: shown[k] for k in ("message", "stage", "detail", "worker", "attempt")} == {
        k: error[k] for k in ("message", "stage", "detail", "worker", "attempt")}
    assert shown["error_class"] == error["code"]
    text = steno.ok("errors", "show", *data, error["id"])
    for line in (error["detail"] or "").splitlines():
        assert line.strip()[:40] in text
    for name in ("class", "stage", "attempt", "worker", "message"):
        assert re.search(rf"^{name} +\S", text, re.M), text


# ---- when ----


def test_each_class_is_tried_again_by_its_rule(steno):
    """As often, and after waits as long, as its rule says."""
    rule = "--retry-policy=timeout: 9, unavailable: 5 x 200ms..500ms none"
    s = Server(*QUICK, "--engine=null", rule, env=FAILS)
    try:
        errors = errors_of(s, failed_job(s))
        assert [(e["code"], e["attempt"], e["dead"]) for e in errors] == [
            ("unavailable", attempt, attempt == 5) for attempt in range(1, 6)]
        told = [line.partition("retry: ")[2] for line in s.log().splitlines() if "retry: " in line]
        assert [t.partition(":")[0] for t in told] == [
            f"attempt {attempt} of 5 failed at engine (unavailable), next in {wait} s"
            for attempt, wait in [(1, 0.2), (2, 0.4), (3, 0.5), (4, 0.5)]]
        at = [datetime.fromisoformat(e["created_at"]) for e in errors]
        gaps = [(b - a).total_seconds() for a, b in zip(at, at[1:])]
        assert all(gap >= wait for gap, wait in zip(gaps, [0.2, 0.4, 0.5, 0.5])), gaps
        assert rule[2:].replace("retry-policy=", "retry_policy = ") in steno.ok("config", "print", rule)
    finally:
        s.close()


@pytest.mark.parametrize("jitter, attempts", [("equal", 12), ("full", 25)])
def test_the_jitter_of_a_class(jitter, attempts):
    """Waits are drawn: at least half of the longest one, or anything. (With `none`, each is the longest: above.)"""
    s = Server(*QUICK, "--engine=null", f"--retry-policy=unavailable: {attempts} x 400ms..400ms {jitter}", env=FAILS)
    try:
        assert len(errors_of(s, failed_job(s))) == attempts
        waits = [float(w) for w in re.findall(r"next in (\d\.\d+) s", s.log())]
        assert len(waits) == attempts - 1 and max(waits) <= 0.4
        assert min(waits) >= 0.2 if jitter == "equal" else min(waits) < 0.2
        assert min(waits) < 0.4
    finally:
        s.close()


def test_a_failed_attempt_waits_in_the_retry_queue():
    s = Server(*QUICK, "--engine=null", "--retry-policy=unavailable: 2 x 1h..1h none", env=FAILS)
    try:
        job = s.submit(SOUND).json["id"]
        wait_for("it failed once", lambda: s.job(job)["queue"] == "retry")
        shown = s.job(job)
        assert (shown["status"], shown["attempt"], shown["error"]["code"]) == ("pending", 1, "unavailable")
        queues = {q["name"]: q for q in s.ask("GET", "/v1/queues").json["queues"]}
        assert [(n, q["ready"], q["delayed"]) for n, q in queues.items()] == [
            ("high", 0, 0), ("normal", 0, 0), ("retry", 0, 1)]
        (error,) = errors_of(s, shown)
        assert not error["dead"] and s.ask("GET", "/v1/errors").json["errors"] == [], "no dead letter yet"
    finally:
        s.close()


def test_a_class_without_a_rule_is_tried_max_attempts_times():
    s = Server(*QUICK, "--engine=null", "--retry-policy=timeout: 9", "--max-attempts=2", env=FAILS)
    try:
        assert [e["attempt"] for e in errors_of(s, failed_job(s))] == [1, 2]
    finally:
        s.close()


# ---- what ----


def test_what_is_known_of_a_failed_decoder(server, steno):
    job = failed_job(server, b"\xff\xfb\x90\x00" + bytes(range(256)) * 40, "broken.mp3", engine="pocketsphinx")
    (error,) = errors_of(server, job)
    assert (error["code"], error["stage"], error["attempt"], error["dead"]) == ("corrupt", "decode", 1, True)
    assert error["filename"] == "broken.mp3" and error["message"] == job["error"]["message"]
    assert "mp3" in error["detail"].lower() or "invalid" in error["detail"].lower(), "what ffmpeg printed"
    (worker,) = server.ask("GET", "/v1/workers").json["workers"]
    assert error["worker"] == worker["id"]
    seen_everywhere(server, steno, error)


def test_what_is_known_of_a_failed_engine(steno, speech, tmp_path):
    """A damaged model: PocketSphinx says on its standard error what it does not like."""
    model = tmp_path / "model"
    home = next(p for p in Path("/usr/share/pocketsphinx/model").iterdir() if (p / "en-us.lm.bin").exists())
    shutil.copytree(home, model)
    # Not a part of one, which PocketSphinx maps and reads beyond its end: what happens then is chance.
    (model / "en-us" / "mdef").write_text("this is no model definition\n")
    s = Server(*QUICK, "--engine=pocketsphinx", f"--model-path={model}")
    try:
        job = failed_job(s, speech("the quick brown fox").read_bytes())
        error = errors_of(s, job)[-1]
        assert error["stage"] == "engine" and error["dead"] and error["worker"]
        first, _, said = error["detail"].partition("\n")
        assert re.fullmatch(r"chunk 1 of 1, from \d+\.\d s to \d+\.\d s", first)
        assert "ERROR" in said or "FATAL" in said, error
        seen_everywhere(s, steno, error)
    finally:
        s.close()


def test_which_chunk_failed(steno):
    s = Server(*QUICK, "--engine=null", "--max-attempts=1", env=FAILS)
    try:
        (error,) = errors_of(s, failed_job(s))
        assert error["detail"] == "chunk 1 of 1, from 0.0 s to 0.0 s"
        assert "injected fault at chunk_transcribed" in error["message"]
        seen_everywhere(s, steno, error)
    finally:
        s.close()


# ---- what to do ----


@pytest.mark.parametrize("by", ["error", "job"])
def test_a_dead_letter_is_tried_again(by):
    s = Server(*QUICK, "--engine=null", "--max-attempts=1", "--poll-interval=10m", env=FAILS_ONCE)
    try:
        job = failed_job(s)
        (error,) = errors_of(s, job)
        path = f"/v1/errors/{error['id']}" if by == "error" else f"/v1/jobs/{job['id']}"
        answer = s.ask("POST", f"{path}/retry")
        assert answer.status == 202 and answer.headers["location"] == f"/v1/jobs/{job['id']}"
        again = answer.json
        assert again["id"] == job["id"] and again["queue"] == "retry" and again["error"] is None
        assert s.wait_job(job["id"])["status"] == "completed"
        (error,) = errors_of(s, job)
        assert error["resolved"] and error["resolved_at"], "a retry sees to it"
        assert s.ask("GET", "/v1/errors").json["errors"] == []
        refused = s.ask("POST", f"{path}/retry")
        assert (refused.status, refused.code) == (409, "conflict") and "only a failed job" in refused.json["detail"]
    finally:
        s.close()


def test_a_dead_letter_is_resolved(server):
    job = failed_job(server, bytes(5000), "a.mp3", engine="pocketsphinx")
    (error,) = server.ask("GET", "/v1/errors").json["errors"]
    assert error["job_id"] == job["id"]
    answer = server.ask("POST", f"/v1/errors/{error['id']}/resolve")
    assert answer.status == 200 and answer.json == error | {"resolved": True, "resolved_at": answer.json["resolved_at"]}
    assert answer.json["resolved_at"]
    assert server.ask("GET", "/v1/errors").json["errors"] == []
    again = server.ask("POST", f"/v1/errors/{error['id']}/resolve")
    assert again.status == 200 and again.json == answer.json, "twice is fine"
    assert server.job(job["id"])["status"] == "failed"


def test_what_is_not_there(server):
    for method, path, code in [
        ("GET", f"/v1/errors/{UNKNOWN}", "error_not_found"), ("GET", "/v1/errors/x", "error_not_found"),
        ("POST", f"/v1/errors/{UNKNOWN}/retry", "error_not_found"),
        ("POST", f"/v1/errors/{UNKNOWN}/resolve", "error_not_found"),
        ("POST", f"/v1/jobs/{UNKNOWN}/retry", "job_not_found"), ("POST", "/v1/jobs/x/retry", "job_not_found"),
    ]:
        answer = server.ask(method, path)
        assert (answer.status, answer.code) == (404, code), path


def test_no_retry_without_the_recording():
    s = Server(*QUICK, "--keep-audio=0s")
    try:
        job = failed_job(s, bytes(5000), "a.mp3", engine="pocketsphinx")
        wait_for("the recording is given up", lambda: s.objects() == [])
        answer = s.ask("POST", f"/v1/jobs/{job['id']}/retry")
        assert (answer.status, answer.code) == (409, "conflict") and "recording" in answer.json["detail"]
        assert s.job(job["id"])["status"] == "failed"
    finally:
        s.close()


def test_commands_reach_the_workers_of_another_process(steno):
    """The commands work on the database, and wake whoever takes jobs from it."""
    s = Server("--engine=null", "--max-attempts=1", "--poll-interval=10m", "--sweep-interval=1d", env=FAILS_ONCE)
    try:
        job = failed_job(s)
        (error,) = errors_of(s, job)
        out = steno.ok("errors", "retry", "--data", s.data, *s.backends.flags, error["id"])
        assert out == f"{job['id']} is pending again\n"
        assert s.wait_job(job["id"])["status"] == "completed"
    finally:
        s.close()


