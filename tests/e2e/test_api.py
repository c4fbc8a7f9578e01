# SPDX-License-Identifier: MIT
"""native: every route of steno's own API, as a client meets it."""

import concurrent.futures
import http.client
import json
import re
import socket
import sqlite3
import time

import pytest

from backends import POSTGRES, S3
from steno_server import Server, multipart, parse_answers, read_answers, wait_for

SOUND = b"RIFF\x24\0\0\0WAVE" + bytes(100)
UNKNOWN = "01a20200-06f7-759f-84ff-46d2b7b4ac6b"
ISO_TIME = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z$")


@pytest.fixture(scope="module")
def server():
    s = Server("--engine=null")
    yield s
    s.close()


@pytest.fixture(scope="module")
def api():
    """An api without a worker: jobs stay pending."""
    s = Server(role="api")
    yield s
    s.close()


def purge_all(server):
    for (job_id,) in server.sql("SELECT id FROM jobs"):
        assert server.ask("DELETE", f"/v1/jobs/{job_id}?purge=true").status in (204, 404)
    wait_for("storage is empty", lambda: server.objects() == [])
    assert set(server.rows().values()) == {0}


def test_root_lists_the_routes(server):
    answer = server.ask("GET", "/")
    assert answer.status == 200
    assert answer.headers["content-type"] == "application/json; charset=utf-8"
    assert answer.headers["cache-control"] == "no-store"
    routes = {(r["method"], r["path"]) for r in answer.json["routes"]}
    assert {("POST", "/v1/jobs"), ("GET", "/v1/jobs/{id}/transcript"), ("GET", "/health")} <= routes
    assert all(r["help"] for r in answer.json["routes"])


def test_submit_and_fetch(server):
    answer = server.submit(
        SOUND, "talk.wav",
        fields={"engine": "null", "language": "EN", "task": "transcribe", "queue": "high", "model": "base.en",
                "prompt": "Names: Ada", "description": "a note"},
    )
    assert answer.status == 202
    job = answer.json
    assert answer.headers["location"] == f"/v1/jobs/{job['id']}" == job["links"]["self"]
    assert int(answer.headers["retry-after"]) >= 1
    assert job["status"] in ("pending", "processing", "completed")
    job = server.wait_job(job["id"])
    assert job["status"] == "completed" and job["error"] is None
    want = {"queue": "high", "filename": "talk.wav", "content_type": "application/octet-stream", "size": len(SOUND),
            "engine": "null", "model": "base.en", "language": "en", "task": "transcribe", "prompt": "Names: Ada",
            "description": "a note", "attempt": 1}
    assert {k: job[k] for k in want} == want
    assert len(job["sha256"]) == 64
    assert all(ISO_TIME.match(job[k]) for k in ("created_at", "updated_at", "started_at", "finished_at"))
    assert job["progress"]["percent"] == 100
    assert job["links"]["transcript"] == f"/v1/jobs/{job['id']}/transcript"
    (audio,) = [o for o in server.objects() if o.startswith(f"uploads/{job['id']}/")]
    assert server.read_object(audio) == SOUND


def test_fields_may_stand_before_and_behind_the_file(server):
    body, headers = multipart([("language", "de"), ("file", "a.wav", SOUND), ("priority", "high"), ("engine", "auto"), ("task", "")])
    job = server.ask("POST", "/v1/jobs", body, headers).json
    assert (job["language"], job["queue"], job["engine"], job["task"]) == ("de", "high", None, "transcribe")


def test_extended_file_name(server):
    body = (b"--B\r\nContent-Disposition: form-data; name=file; filename=\"plain\"; filename*=UTF-8''%e2%82%ac%20rates.wav"
            b"\r\nContent-Type: audio/wav\r\n\r\n" + SOUND + b"\r\n--B--")
    job = server.ask("POST", "/v1/jobs", body, {"Content-Type": "multipart/form-data; boundary=B"}).json
    assert (job["filename"], job["content_type"]) == ("\u20ac rates.wav", "audio/wav")


def test_chunked_upload_in_small_pieces(server):
    body, headers = multipart([("file", "a.wav", SOUND + bytes(range(256)) * 4)])
    with server.connect() as s:
        s.sendall(f"POST /v1/jobs HTTP/1.1\r\nHost: x\r\nConnection: close\r\nTransfer-Encoding: chunked\r\n"
                  f"Content-Type: {headers['Content-Type']}\r\n\r\n".encode())
        for at in range(0, len(body), 7):
            piece = body[at : at + 7]
            s.sendall(b"%x\r\n%s\r\n" % (len(piece), piece))
        s.sendall(b"0\r\n\r\n")
        (answer,) = read_answers(s)
    assert answer.status == 202
    assert answer.json["size"] == len(SOUND) + 1024


def test_expect_continue(server):
    body, headers = multipart([("file", "a.wav", SOUND)])
    with server.connect() as s:
        s.sendall(f"POST /v1/jobs HTTP/1.1\r\nHost: x\r\nConnection: close\r\nExpect: 100-continue\r\n"
                  f"Content-Length: {len(body)}\r\nContent-Type: {headers['Content-Type']}\r\n\r\n".encode())
        assert s.recv(1000) == b"HTTP/1.1 100 Continue\r\n\r\n"
        s.sendall(body)
        (answer,) = read_answers(s)
    assert answer.status == 202


def test_a_large_upload_arrives_whole(server):
    data = SOUND + bytes(range(256)) * 40000 + b"\r\n--xYzBoundar" * 1000
    job = server.submit(data, "large.wav").json
    (audio,) = [o for o in server.objects() if o.startswith(f"uploads/{job['id']}/")]
    assert job["size"] == len(data)
    assert server.read_object(audio) == data


def test_many_submissions_at_once(server):
    with concurrent.futures.ThreadPoolExecutor(32) as pool:
        answers = list(pool.map(lambda i: server.submit(SOUND + bytes([i]), f"{i}.wav"), range(200)))
    assert {a.status for a in answers} == {202}
    ids = {a.json["id"] for a in answers}
    assert len(ids) == 200
    for job_id in ids:
        assert server.wait_job(job_id)["status"] == "completed"


def test_one_connection_serves_many_requests(server):
    c = http.client.HTTPConnection(server.host, server.port, timeout=30)
    c.request("GET", "/health")
    c.getresponse().read()
    kept = c.sock
    body, headers = multipart([("file", "a.wav", SOUND)])
    for method, path, data, head, status in [
        ("POST", "/v1/jobs", body, headers, 202),
        ("GET", "/nothing", None, {}, 404),
        ("PUT", "/v1/jobs", None, {}, 405),
        ("GET", "/v1/jobs?limit=0", None, {}, 400),
        ("GET", "/v1/jobs?limit=1", None, {}, 200),
    ]:
        c.request(method, path, data, head)
        answer = c.getresponse()
        assert answer.status == status, answer.read()
        answer.read()
        assert c.sock is kept, "the connection stays open"
    c.close()


def test_request_ids(server):
    assert server.ask("GET", "/", headers={"X-Request-Id": "abc-1.2_3"}).headers["x-request-id"] == "abc-1.2_3"
    for bad in ("a b", "x" * 65, "<x>", "a\u00fc"):
        given = server.raw(f"GET / HTTP/1.1\r\nHost: x\r\nConnection: close\r\nX-Request-Id: {bad}\r\n\r\n".encode())[0]
        assert len(given.headers["x-request-id"]) == 36
    assert server.ask("GET", "/no", headers={"X-Request-Id": "mine"}).json["request_id"] == "mine"


def test_head_and_options(server):
    get, head = server.ask("GET", "/health"), server.raw(b"HEAD /health HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n", head=True)
    assert (head[0].status, head[0].headers["content-type"]) == (200, get.headers["content-type"])
    assert int(head[0].headers["content-length"]) > 0 and head[0].body == b""
    assert server.raw(b"HEAD /no HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n", head=True)[0].status == 404
    options = server.ask("OPTIONS", "/v1/jobs")
    assert (options.status, options.headers["allow"], options.body) == (204, "POST, GET, HEAD, OPTIONS", b"")
    assert server.ask("OPTIONS", f"/v1/jobs/{UNKNOWN}").headers["allow"] == "GET, HEAD, DELETE, OPTIONS"
    assert server.ask("OPTIONS", "/no").status == 404


def test_old_http(server):
    (answer,) = server.raw(b"GET /health HTTP/1.0\r\n\r\n")
    assert (answer.status, answer.json["status"]) == (200, "ok")


# ---- jobs ----


def test_position_in_the_queue(api):
    try:
        ids = [api.submit(SOUND).json["id"] for _ in range(3)]
        urgent = api.submit(SOUND, fields={"queue": "high"}).json["id"]
        assert api.job(urgent)["position"] == 0
        assert [api.job(i)["position"] for i in ids] == [1, 2, 3]
        assert api.ask("GET", f"/v1/jobs/{ids[0]}").headers["retry-after"] == "2"
        api.ask("DELETE", f"/v1/jobs/{ids[0]}")
        assert "position" not in api.job(ids[0])
        assert api.job(ids[2])["position"] == 2
    finally:
        purge_all(api)


def test_the_wake_up_is_noted(api, tmp_path):
    """What is noted as announced is not announced again by a sweeper; what is not noted, is."""
    try:
        job_id = api.submit(SOUND).json["id"]
        ((announced,),) = api.sql("SELECT announced_at FROM jobs WHERE id = ?", job_id)
        assert announced > 0
    finally:
        purge_all(api)
    s = Server(role="api", env={"STENO_FAULT": "job_announced=fail", "STENO_FAULT_DIR": str(tmp_path)})
    try:
        job_id = s.submit(SOUND).json["id"]
        assert s.sql("SELECT announced_at FROM jobs WHERE id = ?", job_id) == [(None,)]
    finally:
        s.close()


def test_etag(server):
    job = server.wait_job(server.submit(SOUND).json["id"])
    path = f"/v1/jobs/{job['id']}"
    tag = server.ask("GET", path).headers["etag"]
    again = server.ask("GET", path, headers={"If-None-Match": tag})
    assert (again.status, again.body, again.headers["etag"]) == (304, b"", tag)
    assert server.ask("GET", path, headers={"If-None-Match": '"0"'}).status == 200


def test_list_pages_and_filters(api):
    try:
        ids = [api.submit(SOUND, f"{i}.wav").json["id"] for i in range(7)]
        api.ask("DELETE", f"/v1/jobs/{ids[2]}")
        seen, cursor, pages = [], "", 0
        while cursor is not None:
            page = api.ask("GET", "/v1/jobs?limit=3" + (f"&cursor={cursor}" if cursor else "")).json
            seen += [j["id"] for j in page["jobs"]]
            cursor = page["next_cursor"]
            pages += 1
            if pages == 1:
                api.submit(SOUND, "in between")
        assert seen == ids[::-1] and pages == 3
        assert [j["id"] for j in api.ask("GET", "/v1/jobs?status=cancelled").json["jobs"]] == [ids[2]]
        assert len(api.ask("GET", "/v1/jobs?status=pending&limit=100").json["jobs"]) == 7
        assert api.ask("GET", "/v1/jobs?status=failed").json == {"jobs": [], "next_cursor": None}
    finally:
        purge_all(api)


def test_cancel_is_idempotent(api):
    try:
        job_id = api.submit(SOUND).json["id"]
        first = api.ask("DELETE", f"/v1/jobs/{job_id}")
        assert (first.status, first.json["status"]) == (200, "cancelled")
        again = api.ask("DELETE", f"/v1/jobs/{job_id}")
        assert (again.status, again.json) == (200, first.json)
        gone = api.ask("GET", f"/v1/jobs/{job_id}/transcript")
        assert (gone.status, gone.code) == (409, "job_cancelled")
    finally:
        purge_all(api)


def test_cancel_of_an_ended_job_changes_nothing(server):
    job = server.wait_job(server.submit(SOUND).json["id"])
    answer = server.ask("DELETE", f"/v1/jobs/{job['id']}")
    assert (answer.status, answer.json) == (200, job)
    assert server.ask("GET", f"/v1/jobs/{job['id']}/transcript").status == 200


def test_purge_removes_everything(server):
    job_id = server.wait_job(server.submit(SOUND).json["id"])["id"]
    assert any(job_id in o for o in server.objects())
    answer = server.ask("DELETE", f"/v1/jobs/{job_id}?purge=true")
    assert (answer.status, answer.body) == (204, b"")
    assert not any(job_id in o for o in server.objects())
    for table, column in [("jobs", "id"), ("chunks", "job_id"), ("results", "job_id"), ("error_logs", "job_id")]:
        assert server.sql(f"SELECT count(*) FROM {table} WHERE {column} = ?", job_id) == [(0,)]
    assert server.ask("GET", f"/v1/jobs/{job_id}").status == 404
    assert server.ask("DELETE", f"/v1/jobs/{job_id}?purge=true").code == "job_not_found"
    assert server.ask("DELETE", f"/v1/jobs/{job_id}").code == "job_not_found"


@pytest.mark.parametrize("purge", [False, True])
@pytest.mark.parametrize("point", ["chunk_transcribed", "result_stored"])
def test_a_job_in_work_is_stopped(point, purge, tmp_path):
    """The worker stands in the middle of the job; what it writes afterwards changes nothing and leaves nothing."""
    fault = {"STENO_FAULT": f"{point}=sleep:1500", "STENO_FAULT_DIR": str(tmp_path)}
    s = Server("--engine=null", env=fault)
    try:
        job_id = s.submit(SOUND).json["id"]
        wait_for("the worker is at the point", lambda: (tmp_path / point).exists())
        assert s.ask("GET", f"/v1/jobs/{job_id}").headers["retry-after"] == "1"
        assert s.ask("GET", f"/v1/jobs/{job_id}/transcript").code == "job_not_finished"
        answer = s.ask("DELETE", f"/v1/jobs/{job_id}" + ("?purge=true" if purge else ""))
        assert answer.status == (204 if purge else 200)
        # The worker is free again once it has served the next job.
        following = s.wait_job(s.submit(SOUND).json["id"])
        assert following["status"] == "completed"
        wait_for("the worker let go", lambda: s.sql("SELECT running FROM workers") == [(0,)])
        if purge:
            assert s.ask("GET", f"/v1/jobs/{job_id}").status == 404
        else:
            assert s.job(job_id)["status"] == "cancelled"
        kept = 0 if purge else 1  # the recording
        wait_for("no more is left", lambda: sum(job_id in o for o in s.objects()) == kept)
        assert s.sql("SELECT count(*) FROM results WHERE job_id = ?", job_id) == [(0,)]
    finally:
        s.close()


# ---- transcripts ----


def test_transcript_formats(server):
    job = server.wait_job(server.submit(SOUND).json["id"])
    path = f"/v1/jobs/{job['id']}/transcript"
    get = lambda **kw: server.ask("GET", path, **kw)
    plain = server.ask("GET", path + "?format=txt")
    assert plain.headers["content-type"] == "text/plain; charset=utf-8"
    text = plain.body.decode().strip()
    assert text
    for name, media_type, found in [
        ("json", "application/json", lambda b: json.loads(b)["text"] == text),
        ("verbose_json", "application/json", lambda b: json.loads(b)["segments"][0]["text"] == text),
        ("srt", "application/x-subrip", lambda b: b.startswith("1\n00:00:00,000 --> ") and text in b),
        ("vtt", "text/vtt; charset=utf-8", lambda b: b.startswith("WEBVTT\n") and text in b),
        ("tsv", "text/tab-separated-values; charset=utf-8", lambda b: text in b),
    ]:
        answer = server.ask("GET", f"{path}?format={name}")
        assert (answer.status, answer.headers["content-type"]) == (200, media_type)
        assert found(answer.body.decode()), answer
        assert server.ask("GET", path, headers={"Accept": media_type}).headers["content-type"] == media_type
    assert get(headers={"Accept": "image/png, text/vtt;q=0.5, */*;q=0.1"}).headers["content-type"].startswith("text/vtt")
    assert get().headers["content-type"] == "application/json"
    assert get(headers={"Accept": "image/png"}).code == "not_acceptable"
    # format= goes before Accept.
    assert server.ask("GET", path + "?format=txt", headers={"Accept": "text/vtt"}).body == plain.body


def test_a_long_transcript_is_streamed_from_a_file(server):
    """More than fits into the memory that an answer may take."""
    job = server.wait_job(server.submit(SOUND).json["id"])
    (key,) = server.sql("SELECT result_key FROM results WHERE job_id = ?", job["id"])[0]
    transcript = json.loads(server.read_object(key))
    segment = transcript["segments"][0]
    transcript["segments"] = [dict(segment, id=i, text=f"line {i}") for i in range(60000)]
    server.write_object(key, json.dumps(transcript).encode())
    answer = server.ask("GET", f"/v1/jobs/{job['id']}/transcript?format=txt")
    assert answer.status == 200
    assert answer.body.decode() == "".join(f"line {i}\n" for i in range(60000))
    whole = server.ask("GET", f"/v1/jobs/{job['id']}/transcript?format=verbose_json")
    assert whole.body == server.read_object(key)
    server.write_object(key, b"{")
    broken = server.ask("GET", f"/v1/jobs/{job['id']}/transcript?format=txt")
    assert (broken.status, broken.code) == (500, "internal")
    server.delete_object(key)
    lost = server.ask("GET", f"/v1/jobs/{job['id']}/transcript?format=txt")
    assert (lost.status, lost.code) == (500, "result_lost")


def test_no_transcript_yet(api):
    try:
        job_id = api.submit(SOUND).json["id"]
        answer = api.ask("GET", f"/v1/jobs/{job_id}/transcript")
        assert (answer.status, answer.code, answer.headers["retry-after"]) == (409, "job_not_finished", "1")
        assert "pending" in answer.json["detail"]
    finally:
        purge_all(api)


# ---- errors, health, metrics ----


def test_errors_are_listed(server):
    ids = [server.submit(bytes(5000), f"{i}.mp3", fields={"engine": "pocketsphinx"}).json["id"] for i in range(3)]
    for job_id in ids:
        assert server.wait_job(job_id)["status"] == "failed"
    page = server.ask("GET", "/v1/errors?limit=2").json
    rest = server.ask("GET", f"/v1/errors?limit=2&cursor={page['next_cursor']}").json
    errors = page["errors"] + rest["errors"]
    assert {e["job_id"] for e in errors} == set(ids) and rest["next_cursor"] is None
    error = next(e for e in errors if e["job_id"] == ids[0])
    assert (error["code"], error["filename"], error["dead"], error["resolved"]) == ("corrupt", "0.mp3", True, False)
    assert error["message"] and error["stage"] and ISO_TIME.match(error["created_at"])
    only = server.ask("GET", f"/v1/errors?job_id={ids[1]}&all=true").json["errors"]
    assert [e["job_id"] for e in only] == [ids[1]]
    answer = server.ask("GET", f"/v1/jobs/{ids[0]}/transcript")
    assert answer.code == "job_failed" and "corrupt" in answer.json["detail"]
    for job_id in ids:
        server.ask("DELETE", f"/v1/jobs/{job_id}?purge=true")
    assert server.ask("GET", "/v1/errors").json["errors"] == []


def test_health(server):
    answer = server.ask("GET", "/health")
    assert answer.status == 200
    assert answer.json["status"] == "ok" and answer.json["version"]
    parts = answer.json["parts"]
    assert set(parts) == {"database", "storage", "broker", "queue", "disk"}
    assert all(p["ok"] and p["latency_ms"] >= 0 for p in parts.values())
    assert S3 or parts["storage"]["free_bytes"] > 0


@pytest.mark.skipif(S3, reason="takes a folder away from the embedded storage")
def test_health_says_what_is_wrong():
    s = Server(role="api")
    try:
        assert s.submit(SOUND).status == 202
        (s.data / "objects" / ".tmp").rmdir()
        sick = wait_for("health sees it", lambda: (h := s.ask("GET", "/health")).json["status"] == "degraded" and h)
        assert sick.status == 200
        assert not sick.json["parts"]["storage"]["ok"] and sick.json["parts"]["storage"]["error"]
        assert sick.json["parts"]["database"]["ok"] and sick.json["parts"]["broker"]["ok"]
        refused = s.submit(SOUND)
        assert (refused.status, refused.code) == (503, "storage_unavailable")
        assert int(refused.headers["retry-after"]) >= 1
        assert s.stop() == 0
        s.start()
        assert s.ask("GET", "/health").json["status"] == "ok"
        assert s.submit(SOUND).status == 202
        assert s.rows()["jobs"] == 2 and len(s.objects()) == 2
    finally:
        s.close()


@pytest.mark.skipif(POSTGRES, reason="locks the embedded database")
def test_health_answers_while_every_handler_waits_for_the_database():
    s = Server("--work-threads=4", role="api")
    lock = sqlite3.connect(s.data / "steno.db", isolation_level=None)
    try:
        lock.execute("BEGIN IMMEDIATE")
        with concurrent.futures.ThreadPoolExecutor(20) as pool:
            waiting = [pool.submit(s.submit, SOUND) for _ in range(20)]
            # Stored, and not to be inserted before the lock is gone: all four threads stand there.
            wait_for("handlers wait", lambda: len(s.objects()) >= 4)
            assert s.ask("GET", "/health").status == 200
            assert not any(w.done() for w in waiting)
            lock.execute("ROLLBACK")
            assert {w.result().status for w in waiting} == {202}
        assert s.rows()["jobs"] == len(s.objects()) == 20
    finally:
        lock.close()
        s.close()


def metrics(server):
    answer = server.ask("GET", "/metrics")
    assert answer.status == 200
    assert answer.headers["content-type"] == "text/plain; version=0.0.4; charset=utf-8"
    found = {}
    for line in answer.body.decode().splitlines():
        if line.startswith("#"):
            assert re.match(r"# (HELP (steno|process)_\w+ \S.*|TYPE (steno|process)_\w+ (counter|gauge|histogram))$", line), line
            continue
        match = re.match(r"((?:steno|process)_\w+(?:\{(?:\w+=\"(?:[^\"\\]|\\.)*\",?)+\})?) (-?[0-9.e+-]+)$", line)
        assert match, line
        assert match.group(1) not in found, line
        found[match.group(1)] = float(match.group(2))
    return found


def test_metrics(server):
    before = metrics(server)
    server.wait_job(server.submit(SOUND).json["id"])
    server.ask("GET", "/no/such/page")
    after = metrics(server)
    grew = lambda name: after[name] - before.get(name, 0)
    assert grew('steno_http_requests_total{method="POST",route="/v1/jobs",status="202"}') == 1
    assert grew('steno_http_requests_total{method="",route="none",status="404"}') == 1
    assert grew('steno_jobs{state="completed"}') == 1
    assert grew("steno_upload_bytes_total") > len(SOUND)
    assert after["steno_up"] == 1
    assert after["steno_http_requests_in_flight"] == 1, "this very one"
    assert any(name.startswith("steno_build_info{version=") for name in after)


# ---- limits, faults, stopping ----


def test_full_queue():
    s = Server("--max-queue-size=2", role="api")
    try:
        assert [s.submit(SOUND).status for _ in range(2)] == [202, 202]
        full = s.submit(SOUND)
        assert (full.status, full.code) == (503, "queue_full")
        assert int(full.headers["retry-after"]) >= 1
        # Said before the body is read.
        head = b"POST /v1/jobs HTTP/1.1\r\nHost: x\r\nContent-Type: multipart/form-data; boundary=B\r\nContent-Length: 1000000\r\n"
        (early,) = s.raw(head + b"\r\n")
        assert early.code == "queue_full"
        (early,) = s.raw(head + b"Expect: 100-continue\r\n\r\n")
        assert early.code == "queue_full"
        assert len(s.objects()) == 2
        s.ask("DELETE", f"/v1/jobs/{s.ask('GET', '/v1/jobs').json['jobs'][0]['id']}")
        assert s.submit(SOUND).status == 202
    finally:
        s.close()


@pytest.mark.parametrize("point, status, code", [("upload_stored", 503, "unavailable"), ("job_inserted", 202, None), ("job_announced", 202, None)])
def test_trouble_on_the_way_to_acceptance(point, status, code, tmp_path):
    """Before the row: refused and nothing left. After it: accepted, whatever happens to the wake-up."""
    s = Server("--engine=null", "--sweep-interval=100ms",
               env={"STENO_FAULT": f"{point}=fail", "STENO_FAULT_DIR": str(tmp_path)})
    try:
        answer = s.submit(SOUND)
        assert (answer.status, answer.code) == (status, code)
        assert (tmp_path / point).exists()
        if code:
            assert s.objects() == [] and s.rows()["jobs"] == 0
            answer = s.submit(SOUND)
        assert s.wait_job(answer.json["id"])["status"] == "completed"
    finally:
        s.close()


def test_answers_of_the_database_that_get_lost(tmp_path):
    """What was committed is found by looking: the job is there once, and ends once."""
    faults = tmp_path / "faults"
    s = Server("--engine=null", "--poll-interval=100ms", env={"STENO_FAULT": f"@{faults}"})
    try:
        faults.write_text("db_write=lost\n")
        answer = s.submit(SOUND)
        assert answer.status == 202, answer
        assert s.rows()["jobs"] == 1 and len(s.objects()) >= 1
        faults.unlink()
        assert s.wait_job(answer.json["id"])["status"] == "completed"
        rows = s.rows()
        assert (rows["jobs"], rows["results"], rows["error_logs"]) == (1, 1, 0)
    finally:
        s.close()


def test_the_broker_away(tmp_path):
    """Its folder is gone: jobs are accepted all the same, and health says so if the broker does."""
    s = Server("--engine=null", "--poll-interval=100ms")
    try:
        for folder in s.data.glob("*broker*"):
            folder.rename(s.folder / "aside")
        answer = s.submit(SOUND)
        assert answer.status == 202
        assert s.wait_job(answer.json["id"])["status"] == "completed"
    finally:
        s.close()


def test_several_addresses_and_a_unix_socket(tmp_path):
    path = tmp_path / "steno.sock"
    s = Server(role="api", listen=f"127.0.0.1:0,unix:{path},127.0.0.1:0")
    try:
        assert s.ask("GET", "/health").status == 200
        with socket.socket(socket.AF_UNIX) as u:
            u.connect(str(path))
            u.sendall(b"GET /health HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
            assert read_answers(u)[0].status == 200
        ports = set(re.findall(r"listening on 127\.0\.0\.1:(\d+)", s.log()))
        assert len(ports) == 2
        for port in ports:
            with socket.create_connection(("127.0.0.1", int(port)), timeout=30) as c:
                c.sendall(b"GET / HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
                assert read_answers(c)[0].status == 200
        # What refuses takes nothing with it: a second server on the same socket ends, the first one goes on.
        with pytest.raises(AssertionError, match="cannot listen on unix:"):
            Server(role="api", listen=f"unix:{path}")
        assert path.exists()
    finally:
        s.close()
    assert not path.exists()


def test_a_killed_server_leaves_a_socket_that_is_replaced(tmp_path):
    path = tmp_path / "steno.sock"
    s = Server(role="api", listen=f"unix:{path}")
    s.process.kill()
    s.process.wait()
    assert path.exists()
    s.start()
    try:
        with socket.socket(socket.AF_UNIX) as u:
            u.connect(str(path))
            u.sendall(b"GET /health HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
            assert read_answers(u)[0].status == 200
    finally:
        s.close()


def test_stopping_lets_requests_finish_and_cuts_what_does_not_end(tmp_path):
    fault = {"STENO_FAULT": "job_inserted=sleep:1500", "STENO_FAULT_DIR": str(tmp_path)}
    s = Server("--drain-timeout=4s", role="api", env=fault)
    try:
        body, headers = multipart([("file", "a.wav", SOUND + bytes(300000))])
        head = f"POST /v1/jobs HTTP/1.1\r\nHost: x\r\nContent-Length: {len(body)}\r\nContent-Type: {headers['Content-Type']}\r\n\r\n".encode()
        stuck, running, idle = s.connect(), s.connect(), s.connect()
        idle.sendall(b"GET /health HTTP/1.1\r\nHost: x\r\n\r\n")
        assert idle.recv(12) == b"HTTP/1.1 200"
        stuck.sendall(head + body[:200000])
        running.sendall(head + body)
        wait_for("the job is inserted", lambda: (tmp_path / "job_inserted").exists())
        assert s.stop() == 0
        (answer,) = parse_answers(running.recv(65536))
        assert answer.status == 202 and answer.headers["connection"] == "close"
        assert read_answers(stuck) == []
        for c in (stuck, running, idle):
            c.close()
        assert s.rows()["jobs"] == 1
        assert len(s.objects()) == 1, "the cut upload left nothing"
    finally:
        s.close()


def test_an_upload_that_ends_while_the_server_drains_is_accepted():
    s = Server("--drain-timeout=15s", role="api")
    try:
        body, headers = multipart([("file", "a.wav", SOUND + bytes(100000))])
        with s.connect() as c:
            c.sendall(f"POST /v1/jobs HTTP/1.1\r\nHost: x\r\nContent-Length: {len(body)}\r\n"
                      f"Content-Type: {headers['Content-Type']}\r\n\r\n".encode() + body[:50000])
            wait_for("the upload is under way", lambda: "steno_uploads_in_flight 1" in s.ask("GET", "/metrics").body.decode())
            s.process.terminate()
            # Drained: a new connection is not served any more, this one is.
            time.sleep(0.5)
            assert s.process.poll() is None
            c.sendall(body[50000:])
            (answer,) = read_answers(c)
        assert (answer.status, answer.headers["connection"]) == (202, "close")
        assert s.stop() == 0
        assert s.rows()["jobs"] == len(s.objects()) == 1
    finally:
        s.close()


def test_a_stopped_server_is_gone():
    s = Server(role="api")
    s.close()
    with pytest.raises(ConnectionRefusedError):
        s.connect()
