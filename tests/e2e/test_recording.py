# SPDX-License-Identifier: MIT
"""native: the recording of a job, given back: whole and in parts, by us or by the store itself."""

import contextlib
import os
import re

import pytest
import requests

from backends import S3
from dialects import UNKNOWN
from steno_server import Server, parse_answers, wait_for

SOUND = b"RIFF\x24\0\0\0WAVE" + bytes(range(256)) * 40
N = len(SOUND)
ours = pytest.mark.skipif(S3, reason="the store gives it out, in its own way")


@pytest.fixture(scope="module")
def server():
    s = Server("--engine=null", role="api")
    yield s
    s.close()


def submit(server, content=SOUND, filename="talk.mp3", type="audio/mpeg"):
    answer = requests.post(server.url + "/v1/jobs", files={"file": (filename, content, type)}, timeout=60)
    assert answer.status_code == 202, answer.text
    return answer.json()


@pytest.fixture(scope="module")
def job(server):
    return submit(server)


def url_of(server, job):
    return server.url + job["links"]["audio"]


def get(server, job, method="GET", **headers):
    return requests.request(method, url_of(server, job), headers={k.replace("_", "-"): v for k, v in headers.items()},
                            allow_redirects=True, timeout=60)


def open_files(pid):
    found = []
    for fd in os.scandir(f"/proc/{pid}/fd"):
        with contextlib.suppress(OSError):  # closed meanwhile
            found.append(os.readlink(fd.path))
    return found


def test_the_whole_recording(server, job):
    assert job["links"]["audio"] == f"/v1/jobs/{job['id']}/audio"
    answer = get(server, job)
    assert (answer.status_code, answer.content) == (200, SOUND)
    assert answer.headers["Content-Type"] == "audio/mpeg" and answer.headers["Accept-Ranges"] == "bytes"
    assert bool(answer.history) == S3
    if not S3:
        assert answer.headers["X-Content-Type-Options"] == "nosniff"


def test_head(server, job):
    answer = get(server, job, "HEAD", Range="bytes=0-1") if not S3 else get(server, job, "HEAD")
    assert (answer.status_code, answer.content) == (200, b"")
    assert answer.headers["Content-Length"] == str(N) and answer.headers["Content-Type"] == "audio/mpeg"


@pytest.mark.parametrize("asked, first, last", [
    ("bytes=0-", 0, N - 1), ("bytes=0-0", 0, 0), ("bytes=100-299", 100, 299), (f"bytes={N - 1}-", N - 1, N - 1),
    ("bytes=-10", N - 10, N - 1), (f"bytes=5-{N + 100}", 5, N - 1),
])
def test_parts(server, job, asked, first, last):
    answer = get(server, job, Range=asked)
    assert (answer.status_code, answer.content) == (206, SOUND[first:last + 1])
    assert answer.headers["Content-Range"] == f"bytes {first}-{last}/{N}"
    assert answer.headers["Content-Type"] == "audio/mpeg" and answer.headers["Content-Length"] == str(last - first + 1)


def test_a_part_that_is_not_there(server, job):
    answer = get(server, job, Range=f"bytes={N}-")
    assert answer.status_code == 416
    if not S3:
        assert answer.headers["Content-Range"] == f"bytes */{N}" and answer.json()["code"] == "bad_range"
        assert str(N) in answer.json()["detail"]
        assert not [f for f in open_files(server.process.pid) if job["id"] in f]


@ours
@pytest.mark.parametrize("asked", ["bytes=0-1,5-6", "bytes=5-3", "items=0-1", "bytes", ""])
def test_ranges_that_do_not_count(server, job, asked):
    answer = get(server, job, Range=asked)
    assert (answer.status_code, answer.content) == (200, SOUND) and "Content-Range" not in answer.headers


@ours
def test_what_the_client_has(server, job):
    tag = get(server, job).headers["ETag"]
    assert re.fullmatch(r'"[^"]+"', tag)
    part = get(server, job, Range="bytes=1-2", If_Range=tag)
    assert (part.status_code, part.content, part.headers["ETag"]) == (206, SOUND[1:3], tag)
    for other in ('"other"', f"W/{tag}", "Mon, 23 Nov 2026 03:50:04 GMT"):
        answer = get(server, job, Range="bytes=1-2", If_Range=other)
        assert (answer.status_code, answer.content) == (200, SOUND), other
    for headers in ({}, {"Range": "bytes=1-2"}):
        answer = get(server, job, If_None_Match=tag, **headers)
        assert (answer.status_code, answer.content, answer.headers["ETag"]) == (304, b"", tag)
    assert get(server, submit(server)).headers["ETag"] != tag


@pytest.mark.parametrize("filename, type, shown", [
    ("talk.mp3", "application/octet-stream", "audio/mpeg"),
    ("talk", "audio/ogg; codecs=opus", "audio/ogg; codecs=opus"),
    ("talk.MP4", "text/html", "video/mp4"),
    ("page.html", "text/html", "application/octet-stream"),
    ("picture.svg", "image/svg+xml", "application/octet-stream"),
])
def test_no_recording_is_given_out_as_a_page(server, filename, type, shown):
    assert get(server, submit(server, filename=filename, type=type)).headers["Content-Type"] == shown


@pytest.mark.skipif(not S3, reason="a local folder has no URLs")
def test_where_the_store_sends_it(server, job):
    answer = requests.get(url_of(server, job), allow_redirects=False, timeout=60)
    assert (answer.status_code, answer.content, answer.headers["Cache-Control"]) == (307, b"", "no-store")
    there = answer.headers["Location"]
    assert "X-Amz-Expires=3600&" in there
    assert requests.get(there, timeout=60).content == SOUND
    assert requests.get(re.sub("X-Amz-Signature=[^&]*", "", there), timeout=60).status_code == 403
    assert requests.get(there.replace("mpeg", "html"), timeout=60).status_code == 403
    assert requests.put(there, data=b"x", timeout=60).status_code == 403


def test_as_long_as_there_is_a_job():
    server = Server("--engine=null", "--keep-audio=0s", "--sweep-interval=100ms")
    try:
        job = submit(server)
        server.wait_job(job["id"])
        gone = wait_for("it is removed", lambda: (a := server.ask("GET", job["links"]["audio"])).status == 410 and a)
        assert gone.code == "recording_removed" and "removed at 20" in gone.json["detail"]
        known = server.ask("GET", job["links"]["audio"], headers={"If-None-Match": "*", "Range": "bytes=0-1"})
        assert (known.status, known.code) == (410, "recording_removed")
        assert server.ask("DELETE", f"/v1/jobs/{job['id']}?purge=true").status == 204
        for path in (job["links"]["audio"], f"/v1/jobs/{UNKNOWN}/audio", "/v1/jobs/1/audio"):
            answer = server.ask("GET", path)
            assert (answer.status, answer.code) == (404, "job_not_found")
    finally:
        server.close()


@ours
def test_lost(server):
    job = submit(server)
    (key,) = [k for k in server.objects() if job["id"] in k]
    server.delete_object(key)
    answer = server.ask("GET", job["links"]["audio"])
    assert (answer.status, answer.code) == (500, "recording_lost")


@ours
def test_storage_in_trouble():
    server = Server("--engine=null", role="api", env={"STENO_FAULT": "storage_get=fail@1"})
    try:
        job = submit(server)
        answer = server.ask("GET", job["links"]["audio"])
        assert (answer.status, answer.code) == (503, "storage_unavailable") and int(answer.headers["retry-after"]) > 0
        assert get(server, job).content == SOUND
    finally:
        server.close()


def begin(server, job):
    """Asks for it, and reads no more than the first bytes of it."""
    s = server.connect()
    s.sendall(f"GET {job['links']['audio']} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n".encode())
    return s, s.recv(1000)


def rest(s, data):
    while piece := s.recv(1 << 20):
        data += piece
    s.close()
    return data


@ours
def test_clients_that_do_not_read():
    """A player that pauses: it holds no thread, keeps what it asked for, and holds up no stop."""
    server = Server("--engine=null", "--storage-threads=1", "--drain-timeout=100ms", role="api")
    try:
        content = SOUND + bytes(40 << 20)  # no socket's buffers hold this
        job = submit(server, content)
        slow = [begin(server, job) for _ in range(5)]
        assert get(server, job, Range="bytes=0-9").content == SOUND[:10]
        # Who has begun goes on, also when there is no job any more.
        assert server.ask("DELETE", f"/v1/jobs/{job['id']}?purge=true").status == 204
        assert get(server, job).status_code == 404
        (answer,) = parse_answers(rest(*slow.pop()))
        assert (answer.status, answer.body == content) == (200, True)
        assert server.stop() == 0
        for s, data in slow:
            s.close()
    finally:
        server.close()


@ours
def test_a_client_that_never_reads_is_left():
    server = Server("--engine=null", "--idle-timeout=1s", role="api")
    try:
        job = submit(server, SOUND + bytes(40 << 20))
        s, data = begin(server, job)
        (key,) = [k for k in server.objects() if job["id"] in k]

        def is_open():
            return any(f.endswith(key) for f in open_files(server.process.pid))

        assert is_open()
        wait_for("it is closed", lambda: not is_open())
        assert len(rest(s, data)) < 40 << 20
    finally:
        server.close()
