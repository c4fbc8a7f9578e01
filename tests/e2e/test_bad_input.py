# SPDX-License-Identifier: MIT
"""What bad input gets: for each bad request the exact status and code, for each bad file the exact end of its job; and
each time that nothing is left behind and the server still serves."""

import concurrent.futures
import http.client
import json
import socket
import struct
import subprocess
import threading
import time

import pytest

from steno_server import Server, multipart, read_answers, wait_for

MAX_UPLOAD = 1 << 20
IDLE_S = 2
HOST = b"Host: x\r\n"
CRLF = b"\r\n"


def request(line, *headers, body=b""):
    return b"\r\n".join([line.encode(), b"Host: x", b"Connection: close", *(h.encode() for h in headers)]) + b"\r\n\r\n" + body


def post(body, content_type="multipart/form-data; boundary=B", *headers):
    return request("POST /v1/jobs HTTP/1.1", f"Content-Type: {content_type}", f"Content-Length: {len(body)}", *headers,
                   body=body)


def form(*parts, end=True):
    return multipart(parts, boundary="B", end=end)[0]


def chunked(*pieces, end=b"0\r\n\r\n", content_type="multipart/form-data; boundary=B"):
    body = b"".join(b"%x\r\n%s\r\n" % (len(p), p) for p in pieces) + end
    return request("POST /v1/jobs HTTP/1.1", f"Content-Type: {content_type}", "Transfer-Encoding: chunked", body=body)


def part(header_lines, data=b"RIFF"):
    return b"--B\r\n" + header_lines + b"\r\n\r\n" + data + b"\r\n--B--\r\n"


def field(name, value):
    return post(form(("file", "a.wav", SOUND), (name, value)))


def file(data, name="a.mp3"):
    return post(form(("file", name, data)))


SOUND = b"RIFF\x24\0\0\0WAVE" + bytes(100)
CD_FILE = b'Content-Disposition: form-data; name="file"; filename="a.wav"'
BIG = 2 << 30
JOB = "/v1/jobs/01a20200-06f7-759f-84ff-46d2b7b4ac6b"

# name: bytes, status (None: the connection is closed without an answer), code (None: libmicrohttpd's own answer).
REQUESTS = {
    # The body of a submission.
    "empty body": (post(b""), 400, "missing_file"),
    "no length, no body": (request("POST /v1/jobs HTTP/1.1", "Content-Type: multipart/form-data; boundary=B"), 400, "missing_file"),
    "no content type": (request("POST /v1/jobs HTTP/1.1", "Content-Length: 4", body=b"RIFF"), 400, "not_multipart"),
    "json": (post(b'{"file": 1}', "application/json"), 400, "missing_field"),
    "urlencoded form": (post(b"file=abc", "application/x-www-form-urlencoded"), 400, "not_multipart"),
    "multipart/mixed": (post(form(("file", "a", SOUND)), "multipart/mixed; boundary=B"), 400, "not_multipart"),
    "no boundary": (post(form(("file", "a", SOUND)), "multipart/form-data"), 400, "bad_boundary"),
    "empty boundary": (post(form(("file", "a", SOUND)), 'multipart/form-data; boundary=""'), 400, "bad_boundary"),
    "boundary too long": (post(b"x", "multipart/form-data; boundary=" + "b" * 71), 400, "bad_boundary"),
    "two boundaries": (post(b"x", "multipart/form-data; boundary=B; boundary=C"), 400, "bad_boundary"),
    "wrong boundary": (post(form(("file", "a", SOUND)), "multipart/form-data; boundary=C"), 400, "malformed_multipart"),
    "boundary of another case": (post(form(("file", "a", SOUND)), "multipart/form-data; boundary=b"), 400, "malformed_multipart"),
    "no multipart at all": (post(b"hello"), 400, "malformed_multipart"),
    "preamble": (post(b"hello\r\n" + form(("file", "a", SOUND))), 400, "malformed_multipart"),
    "epilogue": (post(form(("file", "a", SOUND)) + b"more"), 400, "malformed_multipart"),
    "line feeds only": (post(form(("file", "a", SOUND)).replace(CRLF, b"\n")), 400, "malformed_multipart"),
    "truncated in the file": (post(form(("file", "a", SOUND))[:-20]), 400, "truncated_multipart"),
    "truncated before the last boundary": (post(form(("file", "a", SOUND), end=False)), 400, "truncated_multipart"),
    "truncated by one dash": (post(form(("file", "a", SOUND))[:-3]), 400, "truncated_multipart"),
    "truncated in the header of a part": (post(b"--B\r\nContent-Dispo"), 400, "truncated_multipart"),
    "truncated after a part": (post(form(("file", "a", SOUND))[:-4] + b"\r\n"), 400, "truncated_multipart"),
    "truncated, chunked": (chunked(form(("file", "a", SOUND), end=False)), 400, "truncated_multipart"),
    "part without disposition": (post(part(b"Content-Type: audio/wav")), 400, "malformed_multipart"),
    "part without name": (post(part(b"Content-Disposition: form-data")), 400, "malformed_multipart"),
    "part that is an attachment": (post(part(b"Content-Disposition: attachment; name=file")), 400, "malformed_multipart"),
    "NUL in a part header": (post(part(CD_FILE.replace(b"a.wav", b"a\0.wav"))), 400, "malformed_multipart"),
    "NUL in filename*": (post(part(b"Content-Disposition: form-data; name=file; filename*=UTF-8''a%00b")), 400, "malformed_multipart"),
    "folded part header": (post(part(CD_FILE + b"\r\n x")), 400, "malformed_multipart"),
    "part header of 100 kB": (post(part(CD_FILE + b"\r\nX: " + b"a" * 100000)), 400, "malformed_multipart"),
    "200 parts": (post(form(*[("description", "")] * 200)), 400, "duplicate_field"),
    "base64 part": (post(part(CD_FILE + b"\r\nContent-Transfer-Encoding: base64", b"UklGRg==")), 400, "malformed_multipart"),
    # Its fields.
    "no file": (post(form(("model", "base"))), 400, "missing_file"),
    "file in another field": (post(form(("audio", "a.wav", SOUND))), 400, "unknown_field"),
    "two files": (post(form(("file", "a", SOUND), ("file", "b", SOUND))), 400, "duplicate_field"),
    "empty file": (file(b""), 400, "empty_file"),
    "unknown field": (field("bogus", "1"), 400, "unknown_field"),
    "unknown field before the file": (post(form(("bogus", "1"), ("file", "a", SOUND))), 400, "unknown_field"),
    "field given twice": (post(form(("file", "a", SOUND), ("task", "transcribe"), ("task", "transcribe"))), 400, "duplicate_field"),
    "unknown engine": (field("engine", "hal9000"), 400, "bad_field"),
    "unknown task": (field("task", "sing"), 400, "bad_field"),
    "unknown queue": (field("queue", "retry"), 400, "bad_field"),
    "numeric priority": (field("priority", "10"), 400, "bad_field"),
    "queue against priority": (post(form(("file", "a", SOUND), ("queue", "high"), ("priority", "normal"))), 400, "bad_field"),
    "language in words": (field("language", "english"), 400, "bad_field"),
    "model as a path": (field("model", "../../etc/passwd"), 400, "bad_field"),
    "prompt too long": (field("prompt", "a" * 5000), 400, "bad_field"),
    "NUL in a field": (field("prompt", b"a\0b"), 400, "bad_field"),
    "Latin-1 in a field": (field("description", b"Gr\xfc\xdfe"), 400, "bad_field"),
    # Files that are no recordings.
    "text named .mp3": (file(b"This is a letter, not a song.\r\n" * 40), 415, "not_audio"),
    "one letter": (file(b"a"), 415, "not_audio"),
    "UTF-16 text": (file("Hello, world".encode("utf-16")), 415, "not_audio"),
    "HLS playlist named .mp3": (file(b"#EXTM3U\n#EXT-X-TARGETDURATION:5\n#EXTINF:5,\nfile:///etc/passwd\n"), 415, "not_audio"),
    "ffconcat": (file(b"ffconcat version 1.0\nfile /etc/passwd\n"), 415, "not_audio"),
    "HTML": (file(b"<!DOCTYPE html><html>"), 415, "not_audio"),
    "JSON named .wav": (file(b'{"a": [1, 2]}', "a.wav"), 415, "not_audio"),
    "SVG": (file(b'<?xml version="1.0"?><svg/>'), 415, "not_audio"),
    "shell script": (file(b"#!/bin/sh\nrm -rf /\n"), 415, "not_audio"),
    "ZIP": (file(b"PK\x03\x04\x14\0\0\0\x08\0" + bytes(500)), 415, "not_audio"),
    "gzip": (file(b"\x1f\x8b\x08\0\0\0\0\0\0\x03" + bytes(500)), 415, "not_audio"),
    "7z": (file(b"7z\xbc\xaf\x27\x1c\0\x04" + bytes(500)), 415, "not_audio"),
    "PDF": (file(b"%PDF-1.7\n%\xe2\xe3\xcf\xd3\n" + bytes(500)), 415, "not_audio"),
    "ELF": (file(b"\x7fELF\x02\x01\x01" + bytes(500)), 415, "not_audio"),
    "Windows program": (file(b"MZ" + bytes(58) + b"\x80\0\0\0" + bytes(64) + b"PE\0\0" + bytes(500)), 415, "not_audio"),
    "PNG": (file(b"\x89PNG\r\n\x1a\n" + bytes(500)), 415, "not_audio"),
    "JPEG": (file(b"\xff\xd8\xff\xe0\0\x10JFIF" + bytes(500)), 415, "not_audio"),
    "WebP": (file(b"RIFF\x24\0\0\0WEBPVP8 " + bytes(500)), 415, "not_audio"),
    "SQLite": (file(b"SQLite format 3\0" + bytes(500)), 415, "not_audio"),
    "tar": (file(b"x" * 257 + b"ustar\x0000" + bytes(500)), 415, "not_audio"),
    # Too much.
    "file over the limit": (file(b"RIFF" + bytes(MAX_UPLOAD)), 413, "file_too_large"),
    "file over the limit, chunked": (chunked(form(("file", "a", b"RIFF" + bytes(MAX_UPLOAD)))), 413, "file_too_large"),
    "2 GB announced": (request("POST /v1/jobs HTTP/1.1", "Content-Type: multipart/form-data; boundary=B", f"Content-Length: {BIG}"), 413, "file_too_large"),
    "2 GB announced, with Expect": (request("POST /v1/jobs HTTP/1.1", "Content-Type: multipart/form-data; boundary=B", f"Content-Length: {BIG}", "Expect: 100-continue"), 413, "file_too_large"),
    "endless line breaks after the end": (chunked(form(("file", "a", SOUND)) + CRLF * (1 << 20)), 413, "file_too_large"),
    "body for GET": (request("GET /v1/jobs HTTP/1.1", "Content-Length: 100000", body=bytes(100000)), 413, "body_too_large"),
    "chunked body for GET": (request("GET /v1/jobs HTTP/1.1", "Transfer-Encoding: chunked", body=b"10000\r\n" + bytes(65536) + b"\r\n1\r\na\r\n0\r\n\r\n"), 413, "body_too_large"),
    # Paths, methods, queries.
    "no such page": (request("GET /v1/nothing HTTP/1.1"), 404, "no_such_route"),
    "path with dots": (request("GET /v1/../../etc/passwd HTTP/1.1"), 404, "no_such_route"),
    "path with encoded dots": (request("GET /v1/jobs/%2e%2e%2f%2e%2e%2fetc%2fpasswd HTTP/1.1"), 404, "no_such_route"),
    "path with NUL": (request("GET /v1/jobs/%00 HTTP/1.1"), 404, "no_such_route"),
    "path with bad escape": (request("GET /v1/jobs/%zz HTTP/1.1"), 404, "no_such_route"),
    "path that is no UTF-8": (request("GET /v1/jobs/%ff HTTP/1.1"), 404, "no_such_route"),
    "absolute URL": (request("GET http://elsewhere/v1/jobs HTTP/1.1"), 404, "no_such_route"),
    "two slashes at the end": (request("GET /v1/jobs// HTTP/1.1"), 404, "no_such_route"),
    "CONNECT": (request("CONNECT elsewhere:443 HTTP/1.1"), 404, "no_such_route"),
    "id that is none": (request("GET /v1/jobs/1 HTTP/1.1"), 404, "job_not_found"),
    "id in capitals": (request(f"GET {JOB.upper().replace('/V1/JOBS', '/v1/jobs')} HTTP/1.1"), 404, "job_not_found"),
    "id with SQL": (request("GET /v1/jobs/'%20OR%20'1'='1 HTTP/1.1"), 404, "job_not_found"),
    "id of 10 kB": (request(f"GET /v1/jobs/{'a' * 10000} HTTP/1.1"), 404, "job_not_found"),
    "unknown id": (request(f"GET {JOB} HTTP/1.1"), 404, "job_not_found"),
    "unknown id, cancel": (request(f"DELETE {JOB} HTTP/1.1"), 404, "job_not_found"),
    "unknown id, purge": (request(f"DELETE {JOB}?purge=true HTTP/1.1"), 404, "job_not_found"),
    "unknown id, transcript": (request(f"GET {JOB}/transcript HTTP/1.1"), 404, "job_not_found"),
    "unknown id, audio": (request(f"GET {JOB}/audio HTTP/1.1"), 404, "job_not_found"),
    "DELETE of all jobs": (request("DELETE /v1/jobs HTTP/1.1"), 405, "method_not_allowed"),
    "PUT": (request("PUT /v1/jobs HTTP/1.1", "Content-Length: 3", body=b"abc"), 405, "method_not_allowed"),
    "PATCH of a job": (request(f"PATCH {JOB} HTTP/1.1"), 405, "method_not_allowed"),
    "method that is none": (request("BREW / HTTP/1.1"), 405, "method_not_allowed"),
    "method in small letters": (request("get / HTTP/1.1"), 405, "method_not_allowed"),
    "unknown query": (request("GET /v1/jobs?colour=red HTTP/1.1"), 400, "bad_query"),
    "query where none is": (request("POST /v1/jobs?model=base HTTP/1.1", "Content-Length: 0"), 400, "bad_query"),
    "query given twice": (request("GET /v1/jobs?limit=1&limit=2 HTTP/1.1"), 400, "bad_query"),
    "query with bad escape": (request("GET /v1/jobs?status=%g1 HTTP/1.1"), 400, "bad_query"),
    "unknown status": (request("GET /v1/jobs?status=sleeping HTTP/1.1"), 400, "bad_query"),
    "limit 0": (request("GET /v1/jobs?limit=0 HTTP/1.1"), 400, "bad_query"),
    "limit of millions": (request("GET /v1/jobs?limit=1000001 HTTP/1.1"), 400, "bad_query"),
    "limit in words": (request("GET /v1/jobs?limit=ten HTTP/1.1"), 400, "bad_query"),
    "limit beyond all numbers": (request("GET /v1/jobs?limit=99999999999999999999 HTTP/1.1"), 400, "bad_query"),
    "bad cursor": (request("GET /v1/jobs?cursor=bogus HTTP/1.1"), 400, "bad_query"),
    "cursor with SQL": (request("GET /v1/jobs?cursor=1'%20OR%201=1-- HTTP/1.1"), 400, "bad_query"),
    "bad cursor of errors": (request("GET /v1/errors?cursor=%20 HTTP/1.1"), 400, "bad_query"),
    "bad job id of errors": (request("GET /v1/errors?job_id=1 HTTP/1.1"), 400, "bad_query"),
    "purge=maybe": (request(f"DELETE {JOB}?purge=maybe HTTP/1.1"), 400, "bad_query"),
    "unknown format": (request(f"GET {JOB}/transcript?format=docx HTTP/1.1"), 400, "bad_query"),
    "Accept that nothing fits": (request(f"GET {JOB}/transcript HTTP/1.1", "Accept: image/png"), 406, "not_acceptable"),
    # HTTP itself.
    "no Host": (b"GET / HTTP/1.1\r\n\r\n", 400, "bad_request"),
    "two Hosts": (b"GET / HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n", 400, "bad_request"),
    "blank before the colon": (request("GET / HTTP/1.1", "X-Name : 1"), 400, "bad_request"),
    "header without colon": (request("GET / HTTP/1.1", "nothing"), 400, None),
    "two different lengths": (request("POST /v1/jobs HTTP/1.1", "Content-Length: 5", "Content-Length: 6", body=b"abcdef"), 400, "bad_request"),
    "two equal lengths": (request("POST /v1/jobs HTTP/1.1", "Content-Length: 6", "Content-Length: 6", body=b"abcdef"), 400, "bad_request"),
    "length and chunks": (request("POST /v1/jobs HTTP/1.1", "Content-Length: 5", "Transfer-Encoding: chunked", body=b"0\r\n\r\n"), 400, "bad_request"),
    "negative length": (request("POST /v1/jobs HTTP/1.1", "Content-Length: -1"), 400, None),
    "length in hexadecimal": (request("POST /v1/jobs HTTP/1.1", "Content-Length: 0x10"), 400, None),
    "length beyond all numbers": (request("POST /v1/jobs HTTP/1.1", "Content-Length: 99999999999999999999999"), 413, None),
    "length of 2^64-1": (request("POST /v1/jobs HTTP/1.1", "Content-Length: 18446744073709551615"), 400, "bad_request"),
    "gzip transfer encoding": (request("POST /v1/jobs HTTP/1.1", "Transfer-Encoding: gzip, chunked"), 501, "bad_transfer_encoding"),
    "chunked twice": (request("POST /v1/jobs HTTP/1.1", "Transfer-Encoding: chunked", "Transfer-Encoding: chunked"), 501, "bad_transfer_encoding"),
    "chunk size in words": (chunked(end=b"zz\r\nabc"), 400, None),
    "chunk size negative": (chunked(end=b"-1\r\nabc"), 400, None),
    "chunk size beyond all numbers": (chunked(end=b"fffffffffffffffff\r\nabc"), 413, None),
    "chunk longer than its size": (chunked(end=b"3\r\n--Babc\r\n0\r\n\r\n"), 400, None),
    "URL of 100 kB": (request("GET /" + "a" * 100000 + " HTTP/1.1"), 414, None),
    "header of 100 kB": (request("GET / HTTP/1.1", "X: " + "a" * 100000), 431, None),
    "10,000 headers": (request("GET / HTTP/1.1", *[f"X{i}: y" for i in range(10000)]), 431, None),
    "HTTP/0.9": (b"GET /\r\n", 400, None),
    "HTTP/2 preface": (b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", 505, None),
    "HTTP/3.0": (request("GET / HTTP/3.0"), 505, None),
    "version in words": (request("GET / HTTP/one"), 400, None),
}


@pytest.fixture(scope="module")
def server():
    s = Server("--engine=null", f"--max-upload-size={MAX_UPLOAD}B", f"--idle-timeout={IDLE_S}")
    yield s
    s.close()


def check_untouched(server, before):
    """Nothing is left behind, and the server still serves."""
    wait_for("nothing is left in storage", lambda: server.objects() == before[1])
    assert server.rows() == before[0]
    assert server.ask("GET", "/health").json["status"] == "ok"


def state(server):
    return server.rows(), server.objects()


def test_the_table_is_long_enough():
    assert len(REQUESTS) + len(FILES) >= 60


@pytest.mark.parametrize("name", REQUESTS)
def test_request(server, name):
    data, status, code = REQUESTS[name]
    before = state(server)
    answers = server.raw(data)
    assert [(a.status, a.code) for a in answers] == [(status, code)], answers
    if code:
        problem = answers[0].json
        assert problem["status"] == status and problem["title"] and problem["detail"]
        assert problem["request_id"] == answers[0].headers["x-request-id"]
    if status == 405:
        assert "OPTIONS" in answers[0].headers["allow"]
    check_untouched(server, before)


# ---- connections that go wrong ----


def test_garbage_gets_no_answer(server):
    before = state(server)
    for garbage in (b"\0\1\2\3\r\n\r\n", bytes.fromhex("16030100a5010000a10303") + bytes(200), b"\r\n" * 10):
        assert server.raw(garbage) == []
    check_untouched(server, before)


def test_garbage_behind_a_request(server):
    get = b"GET /health HTTP/1.1\r\nHost: x\r\n\r\n"
    before = state(server)
    answers = server.raw(get + get + b"\0\0\0\0\xff\xff garbage\r\n\r\n")
    assert [a.status for a in answers[:2]] == [200, 200]
    assert all(a.status >= 400 for a in answers[2:])
    check_untouched(server, before)


def test_a_request_behind_a_refused_body(server):
    """After an early refusal the connection is over: what still comes is thrown away, not obeyed."""
    before = state(server)
    data = post(form(("file", "a", b"PK\x03\x04" + bytes(5000)))).replace(b"Connection: close\r\n", b"")
    with server.connect() as s:
        s.sendall(data[:-1000])
        (answer,) = read_answers(s)
        assert (answer.status, answer.code, answer.headers["connection"]) == (415, "not_audio", "close")
        s.sendall(data[-1000:] + request(f"DELETE {JOB} HTTP/1.1"))
        assert read_answers(s) == []
    check_untouched(server, before)


@pytest.mark.parametrize("cut", ["in the headers", "in the file", "before the end"])
@pytest.mark.parametrize("how", ["close", "reset", "half-close"])
def test_client_goes_away(server, cut, how):
    before = state(server)
    data = post(form(("file", "a.wav", SOUND + bytes(300000))))
    n = {"in the headers": 60, "in the file": 200000, "before the end": len(data) - 1}[cut]
    s = server.connect()
    s.sendall(data[:n])
    if cut != "in the headers":
        wait_for("the upload is under way", lambda: "steno_uploads_in_flight 1" in server.ask("GET", "/metrics").body.decode())
    if how == "reset":
        s.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    if how == "half-close":
        s.shutdown(socket.SHUT_WR)
        assert read_answers(s) == []
    s.close()
    wait_for("the upload is forgotten", lambda: "steno_uploads_in_flight 0" in server.ask("GET", "/metrics").body.decode())
    check_untouched(server, before)


def test_a_refused_upload_is_answered_while_the_client_waits(server):
    """The refusal does not wait for the rest of a body that may never come."""
    with server.connect(timeout=IDLE_S * 0.9) as s:
        s.sendall(post(form(("file", "a", b"PK\x03\x04" + bytes(5000))))[:-1000])
        assert s.recv(12) == b"HTTP/1.1 415"


def test_a_refused_client_may_send_to_the_end(server):
    """Many clients send all they have before they read, and report a broken connection instead of the answer."""
    before = state(server)
    client = http.client.HTTPConnection(server.host, server.port, timeout=60)
    data = form(("file", "a.zip", b"PK\x03\x04" + bytes(900_000)))
    client.putrequest("POST", "/v1/jobs")
    client.putheader("Content-Type", "multipart/form-data; boundary=B")
    client.putheader("Content-Length", str(len(data)))
    client.endheaders()
    for at in range(0, len(data), 50_000):
        client.send(data[at : at + 50_000])
        time.sleep(0.01)
    answer = client.getresponse()
    assert (answer.status, json.loads(answer.read())["code"]) == (415, "not_audio")
    client.close()
    check_untouched(server, before)


def test_slow_bodies_block_nobody(server):
    before = state(server)
    body = form(("file", "a.wav", SOUND + bytes(3000)))
    data = post(body)
    slow = [server.connect() for _ in range(50)]
    for s in slow:
        s.sendall(data[:1200])
    enough = threading.Event()

    def trickle():
        """A little on each, more often than idle_timeout, however long the requests below take."""
        for at in range(1200, 4000, 5):
            if enough.wait(0.2):
                return
            for s in slow:
                s.sendall(data[at : at + 5])

    with concurrent.futures.ThreadPoolExecutor(1) as pool:
        trickling = pool.submit(trickle)
        for _ in range(3):
            started = time.monotonic()
            assert server.ask("GET", "/health").status == 200
            answer = server.submit(SOUND, fields={"engine": "null"})
            assert answer.status == 202
            server.wait_job(answer.json["id"])
            server.ask("DELETE", f"/v1/jobs/{answer.json['id']}?purge=true")
            assert time.monotonic() - started < 30
        enough.set()
        trickling.result()
    # Silent from here on: closed once idle_timeout is over.
    for s in slow:
        assert read_answers(s) == []
        s.close()
    check_untouched(server, before)


def test_an_upload_may_not_take_for_ever():
    s = Server("--engine=null", "--upload-time-limit=1s", "--idle-timeout=30s")
    try:
        before = state(s)
        data = post(form(("file", "a.wav", SOUND + bytes(100000))))
        with s.connect() as c:
            c.sendall(data[:50000])
            time.sleep(1.2)
            c.sendall(data[50000:60000])
            (answer,) = read_answers(c)
        assert (answer.status, answer.code) == (408, "upload_timeout")
        check_untouched(s, before)
    finally:
        s.close()


def test_more_connections_than_it_can_have():
    """Idle ones are closed after idle_timeout; until then new ones wait, and none is lost."""
    s = Server(f"--idle-timeout={IDLE_S}s", role="api", files=300)
    try:
        idle = [s.connect() for _ in range(200)]
        assert s.ask("GET", "/health").status == 200
        for c in idle:
            c.close()
        assert s.submit(SOUND).status == 202
    finally:
        s.close()


def test_many_bad_requests_at_once(server):
    before = state(server)
    names = [n for n in REQUESTS if REQUESTS[n][2]]
    failed = []

    def run(mine):
        for name in mine:
            data, status, code = REQUESTS[name]
            answers = server.raw(data, timeout=60)
            if [(a.status, a.code) for a in answers] != [(status, code)]:
                failed.append((name, answers))

    threads = [threading.Thread(target=run, args=(names[i::8],)) for i in range(8)]
    for t in threads:
        t.start()
    for t in threads:
        t.join()
    assert failed == []
    check_untouched(server, before)


# ---- file names are data ----

NAMES = {
    "../../../../etc/passwd": "../../../../etc/passwd",
    "/etc/passwd": "/etc/passwd",
    "..\\\\..\\\\windows\\\\system32": "..\\..\\windows\\system32",
    "..": "..",
    ".": ".",
    "a/b/c.wav": "a/b/c.wav",
    "": "audio",
    "~root": "~root",
    "a" * 1000 + ".wav": "a" * 255,
    "; rm -rf ~ $(reboot) `id`.wav": "; rm -rf ~ $(reboot) `id`.wav",
    "a\tb\x1b[31m.wav": "ab[31m.wav",
    "Gr\u00fc\u00dfe \u20ac \U0001f399.wav": "Gr\u00fc\u00dfe \u20ac \U0001f399.wav",
    b"\xff\xfe.wav": "\ufffd\ufffd.wav",
    "CON": "CON",
    "<script>alert(1)</script>.wav": "<script>alert(1)</script>.wav",
    "-rf": "-rf",
    "%2e%2e%2fa.wav": "%2e%2e%2fa.wav",
    "' OR 1=1 --": "' OR 1=1 --",
}


@pytest.mark.parametrize("name", NAMES, ids=lambda n: repr(n)[:30])
def test_file_name(server, name):
    before = state(server)
    answer = server.submit(SOUND, name)
    assert answer.status == 202, answer
    job = answer.json
    assert job["filename"] == NAMES[name]
    uploads = [o for o in server.objects() if o not in before[1]]
    assert any(o.startswith(f"uploads/{job['id']}/") and o.count("/") == 2 for o in uploads), uploads
    assert server.wait_job(job["id"])["status"] == "completed"
    assert server.ask("DELETE", f"/v1/jobs/{job['id']}?purge=true").status == 204
    check_untouched(server, before)
    assert not (server.data.parent / "etc").exists()


# ---- files that only the decoder can judge ----


def wav_header(data_bytes, rate=16000, channels=1):
    fmt = struct.pack("<HHIIHH", 1, channels, rate, rate * channels * 2, channels * 2, 16)
    return b"RIFF" + struct.pack("<I", 36 + data_bytes & 0xFFFFFFFF) + b"WAVEfmt " + struct.pack("<I", 16) + fmt + \
        b"data" + struct.pack("<I", data_bytes & 0xFFFFFFFF)


class Media:
    """Recordings, made once."""

    def __init__(self, folder):
        self.folder = folder
        self.run("flite", "-voice", "rms", "-t", "hello world, this is a test", "speech.wav")
        self.speech = self.read("speech.wav")
        self.mp3 = self.convert("speech.mp3")
        self.m4a = self.convert("speech.m4a", "-c:a", "aac")

    def run(self, *argv):
        subprocess.run(argv, cwd=self.folder, check=True, stdin=subprocess.DEVNULL, capture_output=True)

    def read(self, name):
        return (self.folder / name).read_bytes()

    def convert(self, name, *options):
        self.run("ffmpeg", "-y", "-i", "speech.wav", *options, name)
        return self.read(name)

    def lavfi(self, name, source, *options):
        self.run("ffmpeg", "-y", "-f", "lavfi", "-i", source, *options, name)
        return self.read(name)


# name: (bytes from Media), final status, error code, what must stand in the error or the text.
FILES = {
    "8 kHz mu-law": (lambda m: m.convert("mulaw.wav", "-ar", "8000", "-c:a", "pcm_mulaw"), "completed", None, "hello world"),
    "5.1 channels at 48 kHz": (lambda m: m.convert("six.wav", "-ac", "6", "-ar", "48000"), "completed", None, "hello world"),
    "m4a with its index at the end": (lambda m: m.m4a, "completed", None, "hello world"),
    "24 bits at 96 kHz, FLAC": (lambda m: m.convert("hi.flac", "-ar", "96000", "-sample_fmt", "s32"), "completed", None, "hello world"),
    "silence": (lambda m: m.lavfi("silence.wav", "anullsrc", "-t", "2"), "completed", None, ""),
    "wav without a sample": (lambda m: wav_header(0), "completed", None, ""),
    "truncated mp3": (lambda m: m.mp3[: len(m.mp3) // 2], "completed", None, "hello"),
    "truncated m4a": (lambda m: m.m4a[: len(m.m4a) // 2], "failed", "corrupt", "moov"),
    "video without sound": (lambda m: m.lavfi("mute.mp4", "testsrc=d=1:s=64x64:r=5", "-an"), "failed", "unsupported", "no audio stream"),
    "wav that ends after a lying header": (lambda m: wav_header(1 << 31), "failed", "corrupt", "none follows"),
    "wav at 0 Hz": (lambda m: wav_header(1000, rate=0) + bytes(1000), "failed", "corrupt", "sample rate"),
    "wav without channels": (lambda m: wav_header(1000, channels=0) + bytes(1000), "failed", "corrupt", ""),
    "zeros": (lambda m: bytes(5000), "failed", "corrupt", ""),
    "tag and nothing behind it": (lambda m: b"ID3\x04\0\0\0\0\0\x23" + bytes(3000), "failed", "corrupt", ""),
    "junk named Ogg": (lambda m: b"OggS" + bytes(range(256)) * 12, "failed", "corrupt", ""),
    "Latin-1 text": (lambda m: "Dies ist kein Ton, schöne Grüße. ".encode("latin-1") * 30, "failed", "corrupt", ""),
}


@pytest.fixture(scope="module")
def judged(tmp_path_factory):
    """Every file is submitted at once to one server; jobs run side by side."""
    media = Media(tmp_path_factory.mktemp("media"))
    s = Server("--engine=pocketsphinx")
    ids = {}
    for name, (make, *_) in FILES.items():
        answer = s.submit(make(media), f"{name}.bin")
        assert answer.status == 202, (name, answer)
        ids[name] = answer.json["id"]
    yield s, ids
    s.close()


@pytest.mark.parametrize("name", FILES)
def test_file(judged, name):
    server, ids = judged
    _, status, code, text = FILES[name]
    job = server.wait_job(ids[name], timeout=300)
    assert job["status"] == status, job
    transcript = server.ask("GET", f"/v1/jobs/{job['id']}/transcript?format=txt")
    errors = server.ask("GET", f"/v1/errors?job_id={job['id']}").json["errors"]
    if status == "completed":
        assert job["error"] is None and errors == []
        assert transcript.status == 200
        assert text in transcript.body.decode() if text else transcript.body.strip() == b""
    else:
        assert job["error"]["code"] == code and text in job["error"]["message"]
        assert job["attempt"] == 1, "a file that can never work is not tried again"
        assert (transcript.status, transcript.code) == (409, "job_failed")
        assert [(e["code"], e["dead"]) for e in errors] == [(code, True)]


def test_judged_files_leave_nothing_behind(judged):
    server, ids = judged
    for job_id in ids.values():
        server.wait_job(job_id, timeout=300)
        assert server.ask("DELETE", f"/v1/jobs/{job_id}?purge=true").status == 204
    wait_for("storage is empty", lambda: server.objects() == [])
    assert server.rows() == {"jobs": 0, "chunks": 0, "results": 0, "error_logs": 0}
    assert server.ask("GET", "/health").json["status"] == "ok"
