# SPDX-License-Identifier: MIT
"""Logs: one line, one record; the id of a job and of the request that submitted it in every line of its life."""

import json
import re

from steno_server import QUICK, Server, multipart, wait_for

SOUND = b"RIFF\x24\0\0\0WAVE" + bytes(100)
NOT_A_LOG = re.compile(r"steno: (listening on|data in) ")  # said once on standard output, for people
STAMP = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z$")


def records(server):
    """Every line, read strictly."""
    found = []
    for line in server.log_path.read_bytes().split(b"\n"):
        if not line or NOT_A_LOG.match(line.decode()):
            continue
        r = json.loads(line.decode("utf-8"))  # raises at whatever is no JSON or no UTF-8
        assert STAMP.match(r["time"]) and r["level"] in ("error", "warn", "info", "debug"), r
        assert r["component"] and r["message"] and set(r) <= {"time", "level", "component", "message", "job_id", "request_id"}, r
        found.append(r)
    return found


def told(server, part):
    """All records, once one of them has these words."""
    return wait_for(f"'{part}' in the log", lambda: any(part in r["message"] for r in records(server)) and records(server))


def check_life(lines, job_id, request_id):
    """What api, worker, decoder, engine and back ends said about a job: both ids in each line from its acceptance on."""
    about = [r for r in lines if job_id in json.dumps(r)]
    assert all(r.get("job_id") == job_id for r in about if r["component"] != "storage"), about
    assert all("request_id" in r for r in about), [r for r in about if "request_id" not in r]
    submitted = [r for r in lines if r.get("request_id") == request_id]
    assert {"api", "worker", "storage", "broker", "engine"} <= {r["component"] for r in submitted}
    messages = " ".join(r["message"] for r in submitted)
    for part in ("accepted, ", "claimed: attempt 1", "saved with the result", "completed: ", "fetched 'uploads/"):
        assert part in messages, part
    return about


def test_one_job_through_every_process(speech):
    s = Server(*QUICK, "--engine=pocketsphinx", "--log-format=json", "--log-level=debug")
    try:
        body, headers = multipart([("file", "a.wav", speech("good morning").read_bytes())])
        job_id = s.ask("POST", "/v1/jobs", body, headers | {"X-Request-Id": "order-4711.a_b"}).json["id"]
        assert s.wait_job(job_id)["status"] == "completed"
        lines = told(s, "completed: ")
        check_life(lines, job_id, "order-4711.a_b")
        # There was one job: what engine and decoder did, they did for it.
        worked = [r for r in lines if r["component"] == "engine" and "took" in r["message"]]
        assert worked and all((r["job_id"], r["request_id"]) == (job_id, "order-4711.a_b") for r in worked), worked
        # Those who look at it are named by their own requests.
        looks = [r for r in lines if r["message"].startswith(f"GET /v1/jobs/{job_id} ")]
        assert looks and all(r["request_id"] != "order-4711.a_b" and r["job_id"] == job_id for r in looks)
    finally:
        s.close()


def test_a_request_id_from_the_answer_through_api_and_worker(speech):
    """Two processes that share only what the data folder holds, each with a log of its own. The client named no id: it
    takes the one of the answer."""
    api = Server(*QUICK, "--log-format=json", "--log-level=debug", role="api")
    worker = Server(*QUICK, "--engine=pocketsphinx", "--log-format=json", "--log-level=debug", role="worker", data=api.data)
    try:
        sound = bytearray(speech("good morning").read_bytes())
        answer = api.submit(bytes(sound[: len(sound) // 2]))  # cut off: the decoder has something to say
        job_id, request_id = answer.json["id"], answer.headers["x-request-id"]
        assert re.fullmatch(r"[0-9a-f-]{36}", request_id)
        other = api.submit(bytes(sound)).headers["x-request-id"]
        assert other != request_id
        assert api.wait_job(job_id)["status"] == "completed"
        done = [r for r in told(worker, "completed: ") if r.get("request_id") == request_id]
        accepted = [r for r in records(api) if r.get("request_id") == request_id]
        assert all(r.get("job_id") == job_id for r in done), done
        for lines, parts in ((accepted, ("accepted, ", "token sent", "POST /v1/jobs 202")),
                             (done, ("claimed: attempt 1", "the child said: ", "saved with the result", "completed: "))):
            messages = [r["message"] for r in lines]
            for part in parts:
                assert any(part in m for m in messages), (part, messages)
        (said,) = [r for r in done if r["component"] == "decoder" and r["message"].startswith("decoding, ")]
        assert said["job_id"] == job_id
    finally:
        worker.close()
        api.close()


def test_the_same_as_text():
    s = Server(*QUICK, "--engine=null", "--log-level=debug")
    try:
        body, headers = multipart([("file", "a.wav", SOUND)])
        job_id = s.ask("POST", "/v1/jobs", body, headers | {"X-Request-Id": "r-1"}).json["id"]
        s.wait_job(job_id)
        wait_for("its last line", lambda: "completed: " in s.log())
        lines = [line for line in s.log().splitlines() if not NOT_A_LOG.match(line)]
        assert all(re.match(r"\S+Z (error|warn |info |debug) [\w ]+: ", line) for line in lines), lines
        for part in ("accepted, ", "claimed: attempt 1", "saved with the result", "completed: ", "token sent"):
            (line,) = [x for x in lines if part in x]
            assert line.endswith(f" job_id={job_id} request_id=r-1"), line
    finally:
        s.close()


def test_two_jobs_at_once_are_not_mixed_up():
    s = Server(*QUICK, "--engine=null", "--log-format=json", "--log-level=debug")
    try:
        jobs = {}
        for i in range(8):
            body, headers = multipart([("file", "a.wav", SOUND)])
            jobs[s.ask("POST", "/v1/jobs", body, headers | {"X-Request-Id": f"req-{i}"}).json["id"]] = f"req-{i}"
        for job_id in jobs:
            s.wait_job(job_id)
        wait_for("all ended", lambda: s.log().count('"completed: ') == 8)
        for r in records(s):
            own = jobs.get(r.get("job_id"))
            if own and r["component"] in ("worker", "engine"):
                assert r["request_id"] == own, r
    finally:
        s.close()


def test_a_retry_names_the_first_request(tmp_path):
    """Also another process, later: the id stands in the row."""
    s = Server(*QUICK, "--engine=null", "--log-format=json",
               env={"STENO_FAULT": "chunk_transcribed=kill", "STENO_FAULT_DIR": str(tmp_path)})
    try:
        body, headers = multipart([("file", "a.wav", SOUND)])
        job_id = s.ask("POST", "/v1/jobs", body, headers | {"X-Request-Id": "first"}).json["id"]
        assert s.wait_job(job_id)["status"] == "completed"
        told(s, "completed: ")
        claims = [r for r in records(s) if r["message"].startswith("claimed:")]
        assert len(claims) == 2
        assert all((r["job_id"], r["request_id"]) == (job_id, "first") for r in claims)
        (expired,) = [r for r in records(s) if "the lease of the job ran out" in r["message"]]
        assert expired["job_id"] == job_id
    finally:
        s.close()


def test_hostile_words_make_no_line(speech):
    """Newlines, escape sequences, broken UTF-8 in whatever a client can say: each line stays one JSON record."""
    ugly = b'a"\\\xff\xfe\xc3( \x01\x1b[31m\xe2\x80\xae\xed\xa0\x80.wav'
    s = Server(*QUICK, "--engine=pocketsphinx", "--log-format=json", "--log-level=debug", "--max-attempts=1")
    try:
        body, headers = multipart([("file", ugly.replace(b'"', b"%22"), b"RIFF\x24\0\0\0WAVEfmt " + bytes(range(256)) * 9),
                                   ("description", b"x\ny\r\n{\"level\":\"error\"}"), ("prompt", b"p\n\xff"),
                                   ("model", "m\n{}")])
        s.ask("POST", "/v1/jobs", body, headers)
        body, headers = multipart([("file", ugly.replace(b'"', b"%22"), b"RIFF\x24\0\0\0WAVEfmt " + bytes(range(256)) * 9)])
        answer = s.ask("POST", "/v1/jobs", body, headers | {"X-Request-Id": "evil id\t{"})
        assert answer.status == 202, answer
        assert s.wait_job(answer.json["id"])["status"] == "failed"
        for path in ("/v1/jobs/%0a%ff%1b", "/v1/jobs/%22%7d%0d%0a", "/%00", "/v1/jobs?status=%0a%ff", "/v1/jobs?cursor=%22%0a%80"):
            s.ask("GET", path)
        s.raw(b"GET /\xff\xfe\x01 HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
        lines = told(s, "failed for good")
        assert len(lines) > 10
        assert not any("evil" in r.get("request_id", "") for r in lines), "an id that is none of ours is not taken over"
        failed = next(r for r in lines if "failed for good" in r["message"])
        assert failed["job_id"] == answer.json["id"] and re.fullmatch(r"[0-9a-f-]{36}", failed["request_id"])
    finally:
        s.close()


def test_a_worker_that_cannot_start_says_it_in_json(tmp_path):
    s = Server(*QUICK, "--engine=null", "--log-format=json", "--metrics-listen=127.0.0.1:0")
    try:
        taken = wait_for("the worker listens", lambda: re.search(r"metrics at (127\.0\.0\.1:\d+)", s.log())).group(1)
        other = Server(*QUICK, "--engine=null", "--log-format=json", f"--metrics-listen={taken}", role="worker", data=s.data)
        try:
            assert other.process.wait(60) == 3
            (line,) = [r for r in records(other) if r["level"] == "error"]
            assert "cannot listen" in line["message"] and line["component"] == "worker"
        finally:
            if other.process.poll() is None:
                other.process.kill()
    finally:
        s.close()
