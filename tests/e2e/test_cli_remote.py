# SPDX-License-Identifier: MIT
"""
The commands that wait for jobs of a server (`submit --wait`, `wait`, `transcribe --server`): they are told by live events,
bear whatever is wrong with those, and print each line once.
"""

import http.client
import http.server
import json
import re
import shutil
import signal
import socket
import subprocess
import tempfile
import threading
from pathlib import Path

import pytest
from live_client import execute, save_chunk
from steno_server import FIXTURE, QUICK, Server, wait_for

OK, FAILED, USAGE, UNAVAILABLE, JOB, INTERRUPTED = 0, 1, 2, 3, 4, 130
LONG, COMMANDS = FIXTURE / "wav" / "10_long.wav", FIXTURE / "wav" / "03_commands.wav"
NULL_TEXT = "null engine: no transcription was made\n"


@pytest.fixture(scope="module")
def model():
    folder = Path(tempfile.mkdtemp(prefix="steno-e2e-remote-"))
    (folder / "ggml-fixture.en.bin").symlink_to(FIXTURE / "fixture.bin")
    yield [*QUICK, "--engine=whisper", "--model=fixture.en", "--precision=f32", "--threads=2", "--engine-slots=2",
           "--worker-concurrency=1", f"--model-path={folder}"]
    shutil.rmtree(folder)


@pytest.fixture(scope="module")
def whisper(model):
    s = Server(*model)
    yield s
    s.close()


def free_port():
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return s.getsockname()[1]


@pytest.fixture
def api():
    """An api without a worker, at an address that stays over restarts: what becomes of jobs is the test's."""
    s = Server(role="api", listen=f"127.0.0.1:{free_port()}")
    yield s
    s.close()


def answered(server, method, route):
    """How many requests of a route were answered so far."""
    page = server.ask("GET", "/metrics").body.decode()
    counts = re.findall(rf'^steno_http_requests_total{{method="{method}",route="{re.escape(route)}",status="\d+"}} (\d+)$', page, re.M)
    return sum(map(int, counts))


class Looks:
    """What was asked about jobs since it was made."""

    def __init__(self, server):
        self.server, self.before = server, (0, 0)
        self.before = self.now()

    def now(self):
        counts = [answered(self.server, "GET", r) for r in ("/v1/jobs/{id}", "/v1/jobs/{id}/events")]
        return tuple(n - b for n, b in zip(counts, self.before))


class Reader:
    """Reads what a command prints while it runs."""

    def __init__(self, process):
        self.process, self.text = process, ""
        self.thread = threading.Thread(target=self.run, daemon=True)
        self.thread.start()

    def run(self):
        for line in self.process.stdout:
            self.text += line.decode()

    def wait_text(self, text):
        wait_for(f"{text!r} is printed", lambda: self.text == text or self.process.poll() is not None)
        assert self.text == text

    def end(self, timeout=60):
        status = self.process.wait(timeout)
        self.thread.join(timeout)
        err = self.process.stderr.read().decode()
        self.process.stdout.close()
        self.process.stderr.close()
        return status, err


def start(steno, *args):
    return Reader(steno.start(*args, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE))


def the_job(server, n=1):
    """The ids of the jobs, once there are so many."""
    return wait_for("the upload", lambda: len(r := server.sql("SELECT id FROM jobs ORDER BY created_at, id")) == n and [i for i, in r])


def fail(server, job_id, seq):
    execute(server, ("UPDATE jobs SET state = 'failed', error_class = 'corrupt', error_message = 'no sound', seq = ?, "
                     "finished_at = 1 WHERE id = ?", seq, job_id))


# ---- by events ----


def test_nothing_is_asked_while_events_flow(steno, whisper):
    """One stream for each job, from the queue to the end, and no look at the job."""
    server, looks = ["--server", whisper.url], Looks(whisper)
    texts = steno.ok("submit", "--wait", *server, LONG, COMMANDS)
    assert looks.now() == (0, 2)
    first, second = [re.split(r"==> .* <==\n", texts)[i] for i in (1, 2)]
    assert first.count("\n") >= 3 and second
    ids = [i for i, in whisper.sql("SELECT id FROM jobs ORDER BY created_at, id")][-2:]
    looks = Looks(whisper)
    assert steno.ok("wait", *server, *ids) == "".join(f"{i} completed\n" for i in ids)
    assert steno.ok("transcribe", *server, LONG, COMMANDS) == texts
    assert looks.now() == (0, 4)
    assert steno.ok("result", *server, ids[0]) == first
    # The job as `wait --json` shows it is the job as the server shows it.
    assert json.loads(steno.ok("wait", "--json", *server, ids[0])) == whisper.job(ids[0])


def test_the_bar_moves_by_events(steno, api):
    """A terminal sees place, chunks done and time, without a look at the job in all that time."""
    first, job_id = (api.submit(filename=f"{n}.wav").json["id"] for n in "ab")
    looks = Looks(api)
    done, _ = steno.on_terminal("wait", "--server", api.url, job_id, timeout=60, steps=[
        ("b.wav  waiting: 1 before it", lambda: execute(api, ("UPDATE jobs SET state = 'cancelled', seq = 2 WHERE id = ?", first))),
        ("b.wav  waiting \\.\\.\\.", lambda: save_chunk(api, job_id, 0, "one", 3)),
        (r"b.wav  \[######\.+\] +25%  1\.0 s of 4\.0 s", lambda: save_chunk(api, job_id, 1, "two", 4)),
        (r"b.wav  \[############\.+\] +50%  2\.0 s of 4\.0 s", lambda: fail(api, job_id, 5)),
    ])
    assert done.status == JOB, done
    assert "50%" in done.err
    assert done.err.endswith("\r\x1b[K"), "the bar is removed"
    assert looks.now() == (0, 1)


def api_live(server):
    return int(re.search(r"^steno_live_connections (\d+)$", server.ask("GET", "/metrics").body.decode(), re.M).group(1))


def test_no_bar_where_nobody_sees_it(steno, whisper):
    done = steno("transcribe", "--server", whisper.url, COMMANDS)
    assert (done.status, done.err) == (OK, "")


# ---- transcribe --server ----


def test_text_is_printed_as_it_is_finished(steno, api):
    looks = Looks(api)
    reader = start(steno, "transcribe", "--server", api.url, COMMANDS)
    (job_id,) = the_job(api)
    save_chunk(api, job_id, 0, "the first words", 3)
    reader.wait_text("the first words\n")
    assert api.sql("SELECT state FROM jobs")[0][0] == "processing"
    save_chunk(api, job_id, 1, "and more", 4)
    reader.wait_text("the first words\nand more\n")
    fail(api, job_id, 5)
    status, err = reader.end()
    assert status == FAILED
    assert err == f"steno transcribe: '{COMMANDS}': job {job_id} failed: no sound\n"
    assert looks.now() == (0, 1)


def test_the_same_as_right_here(steno, model, whisper, tmp_path):
    """Every form of the transcript, to standard output and to files, from files, a pipe and standard input."""
    here, there = ["transcribe", *[f for f in model if "slots" not in f]], ["transcribe", "--server", whisper.url]
    text = steno.ok(*here, COMMANDS)
    assert text.strip()
    assert steno.ok(*there, COMMANDS) == text
    assert steno.ok(*there, "-", input=COMMANDS.read_bytes()) == text
    assert whisper.sql("SELECT filename FROM jobs ORDER BY created_at DESC, id DESC LIMIT 1")[0][0] == "stdin"
    for form in ("srt", "vtt", "tsv"):
        assert steno.ok(*there, "--format", form, COMMANDS) == steno.ok(*here, "--format", form, COMMANDS)
    srt = ["--format=srt", "--max-line-width=20"]
    assert steno.ok(*there, *srt, COMMANDS) == steno.ok(*here, *srt, COMMANDS)
    out = tmp_path / "out"
    steno.ok(*there, "--output", out, "--format=srt", COMMANDS, LONG)
    assert sorted(p.name for p in out.iterdir()) == ["03_commands.srt", "10_long.srt"]
    assert (out / "03_commands.srt").read_text() == steno.ok(*here, "--format=srt", COMMANDS)
    # Nothing is written over.
    copy = tmp_path / "03_commands.txt"
    shutil.copy(COMMANDS, copy)
    done = steno(*there, "--output", copy, copy)
    assert done.status == FAILED and "overwrite the recording" in done.err and copy.read_bytes() == COMMANDS.read_bytes()
    done = steno(*there, "--output", out, COMMANDS, copy)
    assert done.status == FAILED and "written for another recording" in done.err


def test_what_is_asked_for_goes_with_the_job(steno, api):
    reader = start(steno, "transcribe", "--server", api.url, "--language=de", "--model=base", "--prompt=Grüße", "--task=translate",
                   "--beam-size=3", "--word-timestamps", "--seed=7", "--engine=whisper", COMMANDS)
    (job_id,) = the_job(api)
    job = api.job(job_id)
    assert (job["language"], job["model"], job["task"], job["prompt"], job["engine"]) == ("de", "base", "translate", "Grüße", "whisper")
    assert job["options"] == {"word_timestamps": True, "beam_size": 3, "seed": 7}
    fail(api, job_id, 9)
    assert reader.end()[0] == FAILED
    for flag in ("--threads=2", "--sandbox=off"):
        done = steno("transcribe", "--server", api.url, flag, COMMANDS)
        assert done.status == USAGE and "has no effect with --server" in done.err, flag
    assert len(api.sql("SELECT id FROM jobs")) == 1


def test_only_the_flag_sends_recordings_away(steno, tmp_path):
    """A setting that tells other commands where the server is does not."""
    away = {"STENO_SERVER": "http://127.0.0.1:9"}
    assert steno.ok("transcribe", "--engine=null", COMMANDS, env=away) == NULL_TEXT
    ini = tmp_path / "steno.ini"
    ini.write_text("server = http://127.0.0.1:9\n")
    assert steno.ok("transcribe", "--config", ini, "--engine=null", COMMANDS) == NULL_TEXT
    assert steno("transcribe", "--server=http://127.0.0.1:9", COMMANDS).status == UNAVAILABLE


def test_one_failure_does_not_keep_the_others(steno, whisper, tmp_path):
    broken = tmp_path / "broken.mp3"
    broken.write_bytes(b"\xff\xfb\x90\x00" + bytes(range(256)) * 40)
    done = steno("transcribe", "--server", whisper.url, tmp_path / "nowhere.wav", broken, COMMANDS)
    assert done.status == FAILED
    assert re.findall("==> (.*) <==", done.out) == [str(broken), str(COMMANDS)]
    assert done.out.endswith(steno.ok("transcribe", "--server", whisper.url, COMMANDS))
    first, second = done.err.splitlines()
    assert "nowhere.wav': cannot read it" in first and "broken.mp3': job " in second and " failed: " in second


def test_ctrl_c_cancels_what_nobody_waits_for(steno, api):
    """Of `transcribe`: the jobs were made for this command only. They stay, so that one can see what became of them."""
    process = steno.start("transcribe", "--server", api.url, COMMANDS, LONG, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                          stderr=subprocess.PIPE)
    ids = the_job(api, 2)
    wait_for("the stream", lambda: api_live(api) == 1)
    process.send_signal(signal.SIGINT)
    status, err = Reader(process).end()
    assert (status, err) == (INTERRUPTED, "")
    assert [api.job(i)["status"] for i in ids] == ["cancelled"] * 2
    # Of `submit --wait`: the jobs go on.
    process = steno.start("submit", "--wait", "--server", api.url, COMMANDS, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                          stderr=subprocess.PIPE)
    job_id = the_job(api, 3)[-1]
    wait_for("the stream", lambda: api_live(api) == 1)
    process.send_signal(signal.SIGINT)
    status, err = Reader(process).end()
    assert status == INTERRUPTED and f"job {job_id} goes on" in err
    assert api.job(job_id)["status"] == "pending"


# ---- whatever happens ----


def test_a_restart_in_the_middle(steno, api):
    """Nothing is printed twice, nothing is missing: also not what was finished while nobody could tell it."""
    reader = start(steno, "transcribe", "--server", api.url, COMMANDS)
    (job_id,) = the_job(api)
    save_chunk(api, job_id, 0, "before", 3)
    reader.wait_text("before\n")
    assert api.stop() == 0
    save_chunk(api, job_id, 1, "while it was away", 4)
    api.start()
    reader.wait_text("before\nwhile it was away\n")
    save_chunk(api, job_id, 2, "after", 5)
    reader.wait_text("before\nwhile it was away\nafter\n")
    api.process.kill()
    api.process.wait()
    save_chunk(api, job_id, 3, "at last", 6)
    api.start()
    reader.wait_text("before\nwhile it was away\nafter\nat last\n")
    fail(api, job_id, 7)
    assert reader.end()[0] == FAILED


def test_a_whole_service_that_restarts(steno, model):
    s = Server(*model, listen=f"127.0.0.1:{free_port()}", files=None)
    try:
        reader = start(steno, "transcribe", "--server", s.url, LONG)
        wait_for("the first line", lambda: reader.text or reader.process.poll() is not None)
        assert s.stop() == 0
        s.start()
        status, err = reader.end(180)
        assert (status, err) == (OK, "")
        (job_id,) = the_job(s)
        assert reader.text == steno.ok("result", "--server", s.url, job_id)
    finally:
        s.close()


def test_a_job_that_begins_anew(steno, api):
    """A worker that finds another plan drops what an earlier one did. The text that was printed is void then."""
    reader = start(steno, "transcribe", "--server", api.url, COMMANDS)
    (job_id,) = the_job(api)
    save_chunk(api, job_id, 0, "soon void", 3)
    reader.wait_text("soon void\n")
    execute(api, ("UPDATE jobs SET state = 'pending' WHERE id = ?", job_id))
    worker = Server(*QUICK, "--engine=null", role="worker", data=api.data, backends=api.backends)
    try:
        status, err = reader.end()
    finally:
        worker.close()
    assert status == OK
    assert "begun anew" in err
    assert reader.text == "soon void\n" + NULL_TEXT


class OldServer(http.server.BaseHTTPRequestHandler):
    """In front of a server: its event streams are not there, or are not what they should be."""

    protocol_version = "HTTP/1.1"
    target, how = None, None

    def pass_on(self):
        self.close_connection = True
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        if self.path.partition("?")[0].endswith("/events"):
            self.streams.append(self.path)
            self.last_ids.append(self.headers.get("Last-Event-ID"))
            if self.how == "missing":
                return self.answer(404, "application/problem+json", b'{"code":"no_such_route","detail":"no such route"}')
            if self.how == "page":
                return self.answer(200, "text/html", b"<html>id: 1\ndata: {}\n\n</html>")
            if self.how == "empty":
                return self.answer(200, "text/event-stream", b"retry: 100\n\n")
            if self.how == "rubbish":
                return self.answer(200, "text/event-stream", b"id: 1\ndata: not json\n\n")
            if self.how == "silent":
                self.send_response(200)
                self.send_header("Content-Type", "text/event-stream")
                self.end_headers()
                self.over.wait(120)
                return None
        server = http.client.HTTPConnection(self.target.host, self.target.port)
        server.request(self.command, self.path, body or None, {k: v for k, v in self.headers.items() if k != "Host"})
        answer = server.getresponse()
        if self.how == "cut" and self.path.partition("?")[0].endswith("/events"):
            # Never more than one chunk.
            events, line = b"", b"-"
            while line and b'"type":"chunk"' not in line:
                line = answer.readline()
                events += line
            server.close()
            return self.answer(answer.status, answer.getheader("Content-Type"), events + b"\nid: 99\ndata: {")
        return self.answer(answer.status, answer.getheader("Content-Type") or "", answer.read())

    do_GET = do_POST = pass_on

    def answer(self, status, kind, body):
        self.send_response(status)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(body)))
        self.send_header("Connection", "close")
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *args):
        pass


@pytest.fixture
def old(whisper):
    made = []

    def make(how, target=whisper):
        handler = type("Old", (OldServer,), {"target": target, "how": how, "streams": [], "last_ids": [], "over": threading.Event()})
        s = http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler)
        s.daemon_threads = True
        threading.Thread(target=s.serve_forever, daemon=True).start()
        made.append((s, handler))
        return f"http://127.0.0.1:{s.server_port}", handler

    yield make
    for s, handler in made:
        handler.over.set()
        s.shutdown()
        s.server_close()


@pytest.mark.parametrize("how, streams", [("missing", 1), ("page", 1), ("rubbish", None), ("silent", 1), ("empty", None)])
def test_servers_without_events_are_asked(steno, whisper, old, how, streams):
    """An older server, a page in between, events that nobody understands or that something on the way holds back."""
    url, handler = old(how)
    looks = Looks(whisper)
    text = steno.ok("transcribe", "--server", url, LONG)
    assert text.count("\n") >= 3
    job_id = whisper.sql("SELECT id FROM jobs ORDER BY created_at DESC, id DESC LIMIT 1")[0][0]
    assert text == steno.ok("result", "--server", whisper.url, job_id)
    assert looks.now()[0] >= 1 and looks.now()[1] == 0
    assert len(handler.streams) == streams if streams else handler.streams
    assert steno.ok("wait", "--server", url, job_id) == f"{job_id} completed\n"


def test_streams_that_break_off_go_on_where_they_were(steno, api, old):
    """Each stream has one chunk and breaks off in the middle of the next event: that one is asked for again."""
    url, handler = old("cut", api)
    reader, text = start(steno, "transcribe", "--server", url, COMMANDS), ""
    (job_id,) = the_job(api)
    for i in range(4):
        save_chunk(api, job_id, i, f"part {i}", 3 + i)
        text += f"part {i}\n"
        reader.wait_text(text)
    fail(api, job_id, 7)
    assert reader.end()[0] == FAILED
    assert handler.streams[0].endswith("?since=0") and not any("since" in path for path in handler.streams[1:])
    assert handler.last_ids == [None, "3", "4", "5", "6"]


def test_a_server_that_has_no_room_for_streams(steno):
    s = Server(*QUICK, "--engine=null", "--live-connections=0")
    try:
        assert steno.ok("transcribe", "--server", s.url, COMMANDS) == NULL_TEXT
        assert steno.ok("submit", "--wait", "--server", s.url, COMMANDS) == NULL_TEXT
    finally:
        s.close()
