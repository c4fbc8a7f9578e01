# SPDX-License-Identifier: MIT
"""native: live updates: what followers of a job are told, over WebSocket and as server-sent events, whatever happens meanwhile."""

import asyncio
import concurrent.futures
import json
import os
import re
import shutil
import signal
import socket
import tempfile
import threading
import time
from pathlib import Path

import pytest
from backends import Backends
from live_client import BINARY, CLOSE, PING, PONG, TEXT, RawSocket, Socket, Stream, execute, frame
from steno_server import FIXTURE, QUICK, STENO, Server, alive, role_pid, wait_for

SOUND = b"RIFF\x24\0\0\0WAVE" + bytes(100)
UNKNOWN = "01a20200-06f7-759f-84ff-46d2b7b4ac6b"
LONG = FIXTURE / "wav" / "10_long.wav"
WHISPER = [*QUICK, "--engine=whisper", "--model=fixture.en", "--precision=f32", "--threads=2", "--engine-slots=2",
           "--worker-concurrency=1"]


@pytest.fixture(scope="module")
def model():
    folder = Path(tempfile.mkdtemp(prefix="steno-e2e-live-"))
    (folder / "ggml-fixture.en.bin").symlink_to(FIXTURE / "fixture.bin")
    yield f"--model-path={folder}"
    shutil.rmtree(folder)


@pytest.fixture(scope="module")
def server(model):
    s = Server(*WHISPER, model)
    yield s
    s.close()


@pytest.fixture
def api():
    """An api without a worker: jobs stay pending, and what becomes of their rows is the test's."""
    s = Server(role="api")
    yield s
    s.close()


def submit(server, data=SOUND, name="a.wav", **fields):
    answer = server.submit(data, name, fields)
    assert answer.status == 202, answer
    return answer.json["id"]


def live(server):
    """How many connections the api counts."""
    return int(re.search(r"^steno_live_connections (\d+)$", server.ask("GET", "/metrics").body.decode(), re.M).group(1))


def transcript(server, job_id):
    return server.ask("GET", f"/v1/jobs/{job_id}/transcript?format=json").json["text"]


def check_story(f, server, job_id, first_chunk=0):
    """What holds of every follower that saw a job complete."""
    assert f.types[0] == "snapshot" and f.types[-1] == "end" and f.types.count("end") == 1, f.types
    seqs = [m["seq"] for m in f.messages if m["type"] != "ping"]
    assert seqs == sorted(seqs), seqs
    chunks = f.of("chunk")
    assert [c["index"] for c in chunks] == list(range(first_chunk, first_chunk + len(chunks)))
    assert len({c["seq"] for c in chunks}) == len(chunks)
    assert f.messages[-1]["job"] == server.job(job_id)


# ---- the story of a job ----


def test_the_whole_story(server):
    """A WebSocket and an event stream see the same job from the queue to the end: chunks in order, whose joined text is
    the transcript's, then the end with the summary of the result, then a clean close."""
    blocker = submit(server, LONG.read_bytes(), "first.wav")
    job_id = submit(server, LONG.read_bytes(), "long.wav")
    ws, sse = Socket(server, job_id), Stream(server, job_id)
    for f in (ws.wait_over(), sse.wait_over()):
        check_story(f, server, job_id)
        assert f.messages[0]["job"]["id"] == job_id
        assert f.messages[-1]["status"] == "completed" and f.messages[-1]["job"]["result"]["model"]
        total = f.messages[-1]["job"]["progress"]["chunks_total"]
        assert total >= 3, "the recording is too short for this test"
        assert f.messages[0]["status"] == "pending" and "state" in f.types
        assert len(f.of("chunk")) == total
        assert f.text == transcript(server, job_id)
        for c in f.of("chunk"):
            assert c["text"] == " ".join(s["text"] for s in c["segments"])
            assert all(c["start"] <= s["start"] <= s["end"] <= c["end"] for s in c["segments"])
        done = [p["progress"]["chunks_done"] for p in f.of("progress")]
        assert done == sorted(done)
    assert ws.closed == 1000 and sse.closed is None
    assert sse.head[0] == "HTTP/1.1 200 OK" and "Content-Type: text/event-stream" in sse.head
    assert "Cache-Control: no-store" in sse.head and sse.retry == 2000
    assert sse.ids == [m["seq"] for m in sse.messages]
    server.wait_job(blocker)


def test_late_followers_and_those_who_come_back(server):
    job_id = submit(server, LONG.read_bytes(), "long.wav")
    server.wait_job(job_id)
    seq = server.sql("SELECT seq FROM jobs WHERE id = ?", job_id)[0][0]
    late = Socket(server, job_id).wait_over()
    assert late.types == ["snapshot", "end"] and late.closed == 1000
    assert [m["seq"] for m in late.messages] == [seq, seq]
    whole = Socket(server, job_id, "?since=0").wait_over()
    check_story(whole, server, job_id)
    assert whole.text == transcript(server, job_id)
    assert len(whole.of("chunk")) >= 3
    # From every message on: nothing twice, nothing missing.
    for i, m in enumerate(whole.messages):
        rest = [c["index"] for c in whole.messages[i + 1 :] if c["type"] == "chunk"]
        for f in (Socket(server, job_id, f"?since={m['seq']}"), Stream(server, job_id, f"?since={m['seq']}")):
            f.wait_over()
            assert [c["index"] for c in f.of("chunk")] == rest, (m, f.messages)
            assert f.types[0] == "snapshot" and f.types[-1] == "end"
    # A number from nowhere is no harm.
    assert Socket(server, job_id, f"?since={2**62}").wait_over().types == ["snapshot", "end"]


def test_event_streams_come_back_as_browsers_do(server):
    job_id = submit(server, LONG.read_bytes(), "long.wav")
    f = Stream(server, job_id, "?since=0").wait_over()
    third = f.of("chunk")[1]
    # A browser comes back to the address it was given, `since` and all: what it has seen meanwhile counts.
    for last in ("", "?since=0"):
        again = Stream(server, job_id, last, headers={"Last-Event-ID": third["seq"]}).wait_over()
        assert [c["index"] for c in again.of("chunk")] == [c["index"] for c in f.of("chunk")][2:], last
    # Told that there is nothing more, a browser stops coming back.
    answer = server.ask("GET", f"/v1/jobs/{job_id}/events", headers={"Last-Event-ID": f.ids[-1]})
    assert answer.status == 204 and answer.body == b""
    # What is no number of ours counts as none.
    assert Stream(server, job_id, headers={"Last-Event-ID": "abc"}).wait_over().types == ["snapshot", "end"]


def test_chunks_that_are_done_out_of_order_are_told_in_order(api):
    """The third chunk is saved before the first. Whoever breaks off anywhere and comes back misses none."""
    job_id = submit(api)


    def chunk(idx, seq):
        args = (job_id, idx, idx * 16000, idx * 16000 + 16000, 1, segments(idx), 0, 0, seq)
        return [("INSERT INTO chunks (job_id, idx, start_sample, end_sample, fence, result, engine_ms, finished_at, seq) "
                 "VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)", *args),
                ("UPDATE jobs SET seq = ?, chunks_done = chunks_done + 1 WHERE id = ?", seq, job_id)]

    def segments(idx):
        return json.dumps({"segments": [{"start": idx, "end": idx + 1, "text": f"text {idx}"}]})


    execute(api, ("UPDATE jobs SET state = 'processing', seq = 3, chunks_total = 4, duration_ms = 4000 WHERE id = ?", job_id),
            *chunk(2, 4))
    first = Socket(api, job_id)
    assert first.wait_message("snapshot")["seq"] == 3  # not 4: the chunk with that number was not told
    execute(api, *chunk(0, 5))
    wait_for("the first chunk", lambda: len(first.of("chunk")) == 1)
    second = Socket(api, job_id, f"?since={first.messages[-1]['seq']}")
    execute(api, *chunk(1, 6), *chunk(3, 7))
    execute(api, ("UPDATE jobs SET state = 'failed', seq = 8, error_class = 'corrupt', error_message = 'test' WHERE id = ?", job_id))
    for f, want in ((first, [0, 1, 2, 3]), (second, [1, 2, 3])):
        f.wait_over()
        assert [c["index"] for c in f.of("chunk")] == want, f.messages
        assert f.messages[-1]["seq"] == 8
    for m in first.messages:
        had = [c["index"] for c in first.of("chunk") if c["seq"] <= m["seq"]]
        rest = [c["index"] for c in Socket(api, job_id, f"?since={m['seq']}").wait_over().of("chunk")]
        assert had + rest == [0, 1, 2, 3], (m, rest)


def test_a_recording_that_fails(server):
    job_id = submit(server, b"RIFF\x24\0\0\0WAVE" + os.urandom(3000), "noise.wav")
    f = Socket(server, job_id).wait_over()
    assert f.messages[-1]["status"] == "failed" and f.messages[-1]["job"]["error"]["code"], f.messages
    assert f.closed == 1000


def test_cancelled_and_purged(api):
    job_id = submit(api)
    ws, sse = Socket(api, job_id), Stream(api, job_id)
    ws.wait_message("snapshot")
    sse.wait_message("snapshot")
    assert api.ask("DELETE", f"/v1/jobs/{job_id}").status == 200
    for f in (ws.wait_over(), sse.wait_over()):
        assert f.messages[-1]["type"] == "end" and f.messages[-1]["status"] == "cancelled"
    other = submit(api)
    ws, sse = Socket(api, other), Stream(api, other)
    ws.wait_message("snapshot")
    sse.wait_message("snapshot")
    assert api.ask("DELETE", f"/v1/jobs/{other}?purge=true").status == 204
    assert ws.wait_over().closed in (1000, 4404)  # the cancel may have been told before the rows were gone
    sse.wait_over()


def test_the_place_in_the_queue(api):
    jobs = [submit(api) for _ in range(4)]
    f = Socket(api, jobs[3])
    assert f.wait_message("snapshot")["job"]["position"] == 3
    for i, left in ((1, 2), (0, 1)):
        assert api.ask("DELETE", f"/v1/jobs/{jobs[i]}").status == 200
        wait_for("the new position", lambda: f.messages[-1].get("position") == left)
    urgent = submit(api, queue="high")
    wait_for("overtaken", lambda: f.messages[-1].get("position") == 2)
    assert api.ask("DELETE", f"/v1/jobs/{urgent}").status == 200
    wait_for("before it again", lambda: f.messages[-1].get("position") == 1)
    assert f.types == ["snapshot"] + ["position"] * 4
    assert {m["seq"] for m in f.messages} == {1}


def test_many_followers_of_one_job(server):
    job_id = submit(server, LONG.read_bytes(), "long.wav")
    followers = [(Socket if i % 2 else Stream)(server, job_id, "?since=0") for i in range(60)]
    text = None
    for f in followers:
        check_story(f.wait_over(), server, job_id)
        text = text or transcript(server, job_id)
        assert f.text == text


# ---- who asks wrongly ----


def test_a_job_that_is_not_there(server):
    for job_id in (UNKNOWN, "nonsense"):
        f = Socket(server, job_id).wait_over()
        assert (f.messages, f.closed, f.reason) == ([], 4404, f"there is no job '{job_id}'")
        answer = server.ask("GET", f"/v1/jobs/{job_id}/events")
        assert (answer.status, answer.code) == (404, "job_not_found")


HANDSHAKES = {
    "no handshake": ({}, 426),
    "no connection": ({"Upgrade": "websocket", "Sec-WebSocket-Version": "13", "Sec-WebSocket-Key": "dGhlIHNhbXBsZSBub25jZQ=="}, 426),
    "another protocol": ({"Connection": "Upgrade", "Upgrade": "h2c", "Sec-WebSocket-Version": "13",
                          "Sec-WebSocket-Key": "dGhlIHNhbXBsZSBub25jZQ=="}, 426),
    "another version": ({"Connection": "Upgrade", "Upgrade": "websocket", "Sec-WebSocket-Version": "8",
                         "Sec-WebSocket-Key": "dGhlIHNhbXBsZSBub25jZQ=="}, 426),
    "no key": ({"Connection": "Upgrade", "Upgrade": "websocket", "Sec-WebSocket-Version": "13"}, 400),
    "a bad key": ({"Connection": "Upgrade", "Upgrade": "websocket", "Sec-WebSocket-Version": "13", "Sec-WebSocket-Key": "x"}, 400),
}


@pytest.mark.parametrize("name", HANDSHAKES)
def test_handshakes_that_are_none(server, name):
    headers, status = HANDSHAKES[name]
    lines = "".join(f"{k}: {v}\r\n" for k, v in headers.items())
    with server.connect() as s:
        s.sendall(f"GET /v1/jobs/{UNKNOWN}/ws HTTP/1.1\r\nHost: x\r\n{lines}\r\n".encode())
        head = s.recv(65536).decode()
    assert head.startswith(f"HTTP/1.1 {status} "), head
    if status == 426:
        assert "\r\nupgrade: websocket\r\n" in head.lower() and "\r\nsec-websocket-version: 13\r\n" in head.lower()


def test_bad_queries(server):
    for what in ("events", "ws"):
        for query in ("since=-1", "since=x", "since=", "after=1"):
            answer = server.ask("GET", f"/v1/jobs/{UNKNOWN}/{what}?{query}")
            assert (answer.status, answer.code) == (400, "bad_query"), query
    job_id = submit(server)
    (answer,) = server.raw(f"HEAD /v1/jobs/{job_id}/events HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n".encode(), head=True)
    assert answer.status == 200 and answer.headers["content-type"] == "text/event-stream"


# What a client may not send, and the code that it is closed with (RFC 6455, section 7.4.1).
ABUSE = {
    "a frame that is not masked": (frame(TEXT, b"hello", mask=False), 1002),
    "a reserved bit": (frame(TEXT, b"hello", rsv=4), 1002),
    "another reserved bit": (frame(TEXT, b"hello", rsv=1), 1002),
    "a reserved opcode": (frame(3, b"hello"), 1002),
    "a reserved control opcode": (frame(11, b"hello"), 1002),
    "a ping in fragments": (frame(PING, b"hello", fin=False), 1002),
    "a ping that is too long": (frame(PING, bytes(126)), 1002),
    "a close frame that is too long": (frame(CLOSE, b"\x03\xe8" + bytes(124)), 1002),
    "a fragment without a beginning": (frame(0, b"hello"), 1002),
    "a message within a message": (frame(TEXT, b"a", fin=False) + frame(TEXT, b"b"), 1002),
    "text that is not UTF-8": (frame(TEXT, b"\xff\xfe"), 1007),
    "UTF-8 broken across fragments": (frame(TEXT, b"\xe2\x82", fin=False) + frame(0, b"x"), 1007),
    "text that ends within a character": (frame(TEXT, b"\xe2\x82"), 1007),
    "a message that is too long": (frame(TEXT, b"x" * 70000), 1009),
    "fragments that are too long": (frame(TEXT, b"x" * 40000, fin=False) + frame(0, b"x" * 40000), 1009),
    "a length beyond all": (b"\x81\xff\x7f" + b"\xff" * 7 + b"abcdx", 1009),
    "a close code of one byte": (frame(CLOSE, b"\x03"), 1002),
    "a close code that may not be sent": (frame(CLOSE, b"\x03\xee"), 1002),
    "a close reason that is not UTF-8": (frame(CLOSE, b"\x03\xe8\xff"), 1007),
}


@pytest.mark.parametrize("name", ABUSE)
def test_abuse(api, name):
    data, code = ABUSE[name]
    ws = RawSocket(api, f"/v1/jobs/{submit(api)}/ws")
    ws.read()
    try:
        ws.send(data)
    except OSError:
        pass
    assert ws.read_until(CLOSE)[:2] == code.to_bytes(2, "big")
    assert ws.at_end()
    ws.close()
    wait_for("nobody is connected", lambda: live(api) == 0)


def test_what_a_client_may_send(api):
    """Messages are ignored, pings are answered, closing is answered; byte by byte, too."""
    ws = RawSocket(api, f"/v1/jobs/{submit(api)}/ws")
    assert json.loads(ws.read()[1])["type"] == "snapshot"
    for data in (frame(TEXT, b"hello"), frame(BINARY, bytes(60000)), frame(PONG, b"x"), frame(TEXT, "ä".encode()[:1], fin=False),
                 frame(PING, b"one"), frame(0, "ä".encode()[1:])):
        ws.send(data)
    assert ws.read() == (PONG, b"one")
    for byte in frame(PING, b"slow"):
        ws.send(bytes([byte]))
        time.sleep(0.01)
    assert ws.read() == (PONG, b"slow")
    ws.send(frame(PING) * 500)
    assert [ws.read() for _ in range(500)] == [(PONG, b"")] * 500
    ws.send(frame(CLOSE, b"\x03\xe8bye"))
    assert ws.read() == (CLOSE, b"\x03\xe8bye") and ws.at_end()
    ws.close()


def test_a_flood_of_pings_that_nobody_reads_the_answers_of(api):
    before = resident(api)
    ws = RawSocket(api, f"/v1/jobs/{submit(api)}/ws")
    ws.socket.settimeout(2)
    sent, data = 0, frame(PING, bytes(125)) * 500
    try:
        while sent < 200 << 20:
            sent += ws.socket.send(data)
    except OSError:  # its answers are in the way: it is not read from any more
        pass
    assert sent < 100 << 20, "the server keeps reading, and the answers somewhere"
    assert resident(api) - before < 60 << 20
    ws.close()
    wait_for("nobody is connected", lambda: live(api) == 0)


def resident(server):
    """Bytes of the api process."""
    pid = role_pid(server, "api") or server.process.pid
    return int(re.search(r"VmRSS:\s+(\d+) kB", Path(f"/proc/{pid}/status").read_text()).group(1)) << 10


# ---- clients that nobody here wrote ----


def test_with_the_websockets_library(server):
    import websockets

    job_id = submit(server, LONG.read_bytes(), "long.wav")

    async def follow():
        async with websockets.connect(f"ws://{server.host}:{server.port}/v1/jobs/{job_id}/ws?since=0") as ws:
            await ws.send("messages of clients are ignored")
            await (await ws.ping())
            return [json.loads(m) async for m in ws], ws.close_code

    messages, code = asyncio.run(asyncio.wait_for(follow(), 120))
    assert code == 1000 and messages[0]["type"] == "snapshot" and messages[-1]["type"] == "end"
    assert " ".join(m["text"] for m in messages if m["type"] == "chunk" and m["text"]) == transcript(server, job_id)


def test_with_requests(server):
    import requests

    job_id = submit(server, LONG.read_bytes(), "long.wav")
    with requests.get(f"{server.url}/v1/jobs/{job_id}/events?since=0", stream=True, timeout=120) as answer:
        assert answer.status_code == 200 and answer.headers["content-type"] == "text/event-stream"
        data = [json.loads(line[6:]) for line in answer.iter_lines() if line.startswith(b"data: ")]
    assert data[0]["type"] == "snapshot" and data[-1]["type"] == "end"


# ---- connections ----


def test_clients_that_leave(api):
    job_id = submit(api)
    followers = [(Socket if i % 2 else Stream)(api, job_id) for i in range(20)]
    for f in followers:
        f.wait_message("snapshot")
    assert live(api) == 20
    for f in followers[::2]:
        f.close()
    reset = RawSocket(api, f"/v1/jobs/{job_id}/ws")
    reset.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
    reset.close()
    followers[3].close()
    wait_for("they are forgotten", lambda: live(api) == 9)
    assert api.ask("DELETE", f"/v1/jobs/{job_id}").status == 200
    assert followers[5].wait_over().types[-1] == "end"
    wait_for("nobody is connected", lambda: live(api) == 0)


def test_pings_and_the_dead():
    """A client is asked whether it is there: one that answers stays, one that does not goes."""
    s = Server("--live-ping=300ms", role="api")
    try:
        job_id = submit(s)
        good, stream, dead = Socket(s, job_id), Stream(s, job_id), RawSocket(s, f"/v1/jobs/{job_id}/ws")
        wait_for("pings", lambda: good.types.count("ping") >= 3)
        wait_for("comments", lambda: stream.comments >= 3)
        assert dead.read()[0] == TEXT and dead.read() == (PING, b"")
        assert dead.at_end()
        wait_for("two are left", lambda: live(s) == 2)
        assert not good.over.is_set() and not stream.over.is_set()
        good.close()
        stream.close()
    finally:
        s.close()


def test_no_more_than_are_allowed():
    s = Server("--live-connections=2", role="api")
    try:
        job_id = submit(s)
        first, second = Socket(s, job_id), Stream(s, job_id)
        first.wait_message("snapshot")
        second.wait_message("snapshot")
        answer = s.ask("GET", f"/v1/jobs/{job_id}/events")
        assert (answer.status, answer.code) == (503, "overloaded") and int(answer.headers["retry-after"]) >= 1
        with pytest.raises(Exception, match="503"):
            Socket(s, job_id)
        first.close()
        wait_for("there is room", lambda: live(s) == 1)
        Socket(s, job_id).wait_message("snapshot")
        second.close()
    finally:
        s.close()


def test_the_limit_of_open_files():
    """Said at the start, and kept: beyond it connections are refused, and the server goes on."""
    s = Server(role="api", files=400)
    try:
        match = re.search(r"info .*the limit of open files allows (\d+) live connections, not 16384", s.log())
        assert match, s.log()
        allowed = int(match.group(1))
        assert 40 <= allowed <= 200
        job_id = submit(s)
        followers = [Socket(s, job_id) for _ in range(allowed)]
        for f in followers:
            f.wait_message("snapshot")
        assert s.ask("GET", f"/v1/jobs/{job_id}/events").status == 503
        assert s.ask("GET", "/health").status == 200 and submit(s)
        assert s.ask("DELETE", f"/v1/jobs/{job_id}").status == 200
        for f in followers:
            assert f.wait_over().types[-1] == "end"
    finally:
        s.close()


def test_a_server_that_stops():
    """Followers get what is to be told, then 1001; the server does not wait for those that do not answer."""
    s = Server(role="api")
    job_id = submit(s)
    ws, sse, mute = Socket(s, job_id), Stream(s, job_id), RawSocket(s, f"/v1/jobs/{job_id}/ws")
    ws.wait_message("snapshot")
    sse.wait_message("snapshot")
    s.process.send_signal(signal.SIGTERM)
    assert (ws.wait_over().closed, ws.reason) == (1001, "the server stops")
    sse.wait_over()
    assert mute.read_until(CLOSE)[:2] == (1001).to_bytes(2, "big")
    s.close()


def test_a_slow_reader():
    """10 MB of text for clients that read nothing for a while: nothing is kept for them, and nothing is lost."""
    # What is freed shall be free: the address sanitizer keeps it for a while.
    options = os.environ.get("ASAN_OPTIONS", "") + ":quarantine_size_mb=4:thread_local_quarantine_size_kb=64"
    api = Server(role="api", env={"ASAN_OPTIONS": options.lstrip(":")})
    try:
        check_slow_readers(api)
    finally:
        api.close()


def submit_long(api, n, words):
    """A job in work with n chunks, each with that text."""
    job_id = submit(api)
    text = json.dumps({"segments": [{"start": 0, "end": 1, "text": words}]})
    execute(api, *(("INSERT INTO chunks (job_id, idx, start_sample, end_sample, fence, result, engine_ms, finished_at, seq) "
                    "VALUES (?, ?, ?, ?, 1, ?, 0, 0, ?)", job_id, i, i * 16000, i * 16000 + 16000, text, i + 4)
                   for i in range(n)),
            ("UPDATE jobs SET state = 'processing', chunks_done = ?, chunks_total = ?, duration_ms = ?, seq = ? WHERE id = ?",
             n, n, n * 1000, n + 4, job_id))
    return job_id


def check_slow_readers(api):
    n = 200
    job_id = submit_long(api, n, "word " * 10000)
    before = resident(api)
    slow = []
    for _ in range(6):
        s = socket.socket()
        s.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 65536)
        s.connect((api.host, api.port))
        s.sendall(f"GET /v1/jobs/{job_id}/events?since=0 HTTP/1.1\r\nHost: x\r\n\r\n".encode())
        slow.append(s)
    fast = Socket(api, job_id, "?since=0")
    wait_for("the fast one has all", lambda: len(fast.of("chunk")) == n)
    assert resident(api) - before < 40 << 20
    execute(api, ("UPDATE jobs SET state = 'failed', seq = seq + 1, error_class = 'corrupt', error_message = 'no' WHERE id = ?", job_id))
    assert fast.wait_over().types[-1] == "end"
    # All at once: whoever takes nothing for a minute is given up.
    with concurrent.futures.ThreadPoolExecutor(len(slow)) as pool:
        for messages in pool.map(read_stream, slow):
            assert [m["index"] for m in messages if m["type"] == "chunk"] == list(range(n))
            assert messages[-1]["type"] == "end" and messages[-1]["status"] == "failed"


def test_a_slow_reader_that_pings():
    """Its pongs get stuck halfway while what it is told next is being read: frames never mix."""
    api = Server(role="api", env={"STENO_FAULT": "db_read=sleep:100"})
    try:
        n = 40
        job_id = submit_long(api, n, "word " * 3000)
        execute(api, ("UPDATE jobs SET state = 'failed', seq = seq + 1, error_class = 'corrupt', error_message = 'no' WHERE id = ?",
                      job_id))
        ws = RawSocket(api, f"/v1/jobs/{job_id}/ws?since=0", receive_buffer=16384)
        payload = bytes(range(125))
        pings = threading.Thread(target=send_on, args=(ws, frame(PING, payload) * 50), daemon=True)
        pings.start()
        pongs, messages = 0, []
        while (got := ws.read())[0] != CLOSE:
            assert got[0] == TEXT or got == (PONG, payload), got
            if got[0] == TEXT:
                messages.append(json.loads(got[1]))
                time.sleep(0.1)  # so that nothing goes out for a while
            else:
                pongs += 1
        assert got[1] == (1000).to_bytes(2, "big") and ws.at_end()
        assert [m["index"] for m in messages if m["type"] == "chunk"] == list(range(n))
        assert messages[-1]["type"] == "end" and pongs > 100
        ws.close()
        pings.join()
    finally:
        api.close()


def send_on(ws, data):
    """The same again and again, until it is over."""
    try:
        while True:
            ws.send(data)
    except OSError:
        pass


def read_stream(s):
    with s:
        s.settimeout(120)
        return [json.loads(line[6:]) for line in s.makefile("rb") if line.startswith(b"data: ")]


# ---- events between processes, and those that are lost ----


def test_events_cross_processes(model):
    """Two apis and a worker on one database: what is submitted at one is followed at the other. The stage of the work is in
    no row: it came as an event."""
    folder = Path(tempfile.mkdtemp(prefix="steno-e2e-live-"))
    data = folder / "data"
    backends = Backends(data)
    servers = []
    try:
        servers.append(Server(role="api", data=data, backends=backends))
        servers.append(Server(role="api", data=data, backends=backends))
        job_id = submit(servers[0], LONG.read_bytes(), "long.wav")
        followers = [Socket(servers[1], job_id), Stream(servers[1], job_id), Socket(servers[0], job_id)]
        for f in followers:
            f.wait_message("snapshot")
        servers.append(Server(*WHISPER, model, role="worker", data=data, backends=backends))
        for f in followers:
            check_story(f.wait_over(), servers[0], job_id)
            assert {"state", "chunk", "progress"} <= set(f.types)
            assert any(p["stage"] == "engine" for p in f.of("progress")), f.of("progress")
            assert f.text == transcript(servers[0], job_id)
        # A cancel at one is told at the other.
        servers.pop().close()
        job_id = submit(servers[0])
        f = Socket(servers[1], job_id)
        f.wait_message("snapshot")
        assert servers[0].ask("DELETE", f"/v1/jobs/{job_id}").status == 200
        assert f.wait_over().messages[-1]["status"] == "cancelled"
    finally:
        for s in reversed(servers):
            s.close()
        backends.remove()
        shutil.rmtree(folder)


def faulty(fault, *flags, once=True, **kw):
    """A server with a fault and the folder where it is seen that it struck."""
    fired = Path(tempfile.mkdtemp(prefix="steno-e2e-fired-"))
    env = {"STENO_FAULT": fault} | ({"STENO_FAULT_DIR": str(fired)} if once else {})
    return Server(*flags, env=env, **kw), fired


@pytest.mark.parametrize("fault", ["broker_next_event=fail", "broker_event=fail"])
def test_without_any_events(model, fault):
    """None is received, or none is sent: all is told all the same, from the rows."""
    s, fired = faulty(fault, *WHISPER, model, once=False)
    try:
        job_id = submit(s, LONG.read_bytes(), "long.wav")
        ws, sse = Socket(s, job_id, "?since=0"), Stream(s, job_id, "?since=0")
        for f in (ws.wait_over(), sse.wait_over()):
            check_story(f, s, job_id)
            assert f.text == transcript(s, job_id)
    finally:
        s.close()
        shutil.rmtree(fired)


def test_a_read_that_fails():
    """Whichever read of the database it is: the end is told all the same."""
    for n in range(6, 30, 3):
        s, fired = faulty(f"db_read=fail@{n}", role="api")
        try:
            job_id = wait_for("a job", lambda: (a := s.submit(SOUND)).status == 202 and a.json["id"])
            followers = [wait_for("a stream", lambda: try_to_follow(s, job_id)), Socket(s, job_id)]
            for f in followers:
                f.wait_message("snapshot")
            wait_for("cancelled", lambda: s.ask("DELETE", f"/v1/jobs/{job_id}").status == 200)
            for f in followers:
                assert f.wait_over().messages[-1]["status"] == "cancelled", (n, f.messages)
        finally:
            s.close()
            shutil.rmtree(fired)


def try_to_follow(server, job_id):
    """None while the answer is 503."""
    f = Stream(server, job_id)
    wait_for("an answer", lambda: f.head)
    return f if f.head[0] == "HTTP/1.1 200 OK" else None


def test_a_worker_killed_between_its_commit_and_the_event():
    s, fired = faulty("job_completed=kill", *QUICK, "--engine=null")
    try:
        job_id = submit(s)
        f = Socket(s, job_id).wait_over(30)
        wait_for("the worker died", lambda: "ended: killed" in s.log())
        assert (fired / "job_completed").exists()
        assert f.messages[-1]["status"] == "completed" and f.closed == 1000
    finally:
        s.close()
        shutil.rmtree(fired)


def test_an_api_killed_under_its_followers(model):
    """They come back with what they saw last, to the next one, and have the whole text in the end."""
    s = Server(*WHISPER, model)
    try:
        job_id = submit(s, LONG.read_bytes(), "long.wav")
        f = Socket(s, job_id, "?since=0")
        f.wait_message("chunk")
        pid = role_pid(s, "api")
        os.kill(pid, signal.SIGKILL)
        f.wait_over()
        assert f.closed != 1000 or f.types[-1] == "end"
        wait_for("the end of the old api", lambda: not alive(pid))
        seen, since = f.of("chunk"), f.messages[-1]["seq"]

        def again():
            try:
                return Socket(s, job_id, f"?since={since}")
            except OSError:
                return None

        rest = wait_for("the next api", again).wait_over()
        chunks = seen + rest.of("chunk")
        assert [c["index"] for c in chunks] == list(range(len(chunks)))
        assert " ".join(c["text"] for c in chunks if c["text"]) == transcript(s, job_id)
    finally:
        s.close()
