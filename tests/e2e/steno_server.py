# SPDX-License-Identifier: MIT
"""
What end-to-end tests run and look at: a server (started on a free port with a data folder of its own, looked into,
stopped), single commands, processes. STENO_BIN names the program under test.
"""

import contextlib
import json
import os
import pty
import re
import select
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from pathlib import Path

import openapi_check
from backends import Backends

ROOT = Path(__file__).resolve().parent.parent.parent
STENO = os.environ.get("STENO_BIN") or str(ROOT / "build-dev" / "steno")
FIXTURE = Path(os.environ.get("STENO_FIXTURE") or Path(STENO).parent / "tests" / "fixture")  # the small Whisper model
TERMINAL = ("completed", "failed", "cancelled")
# Settings that make waiting short; correctness must not depend on them.
QUICK = ["--poll-interval=200ms", "--sweep-interval=1s", "--lease=3s", "--retry-base=100ms", "--retry-cap=500ms"]


def wait_for(what, condition, timeout=60.0, pause=0.02):
    """Waits until condition() is true and returns what it gave. Time-outs are for broken programs, not for slow machines."""
    end = time.monotonic() + timeout
    while True:
        value = condition()
        if value:
            return value
        if time.monotonic() > end:
            raise AssertionError(f"{what}: not within {timeout} s")
        time.sleep(pause)


def clean_env():
    """Ours without settings of steno, which must not reach into a test."""
    return {k: v for k, v in os.environ.items() if not k.startswith("STENO_")}


class Server:
    """`steno serve`, or one role of it."""

    def __init__(self, *flags, role="serve", listen="127.0.0.1:0", env=None, data=None, files=None,
                 backends=None):
        self.folder = Path(tempfile.mkdtemp(prefix="steno-e2e-"))
        self.data = Path(data) if data else self.folder / "data"
        self.log_path = self.folder / "log"
        self.flags, self.role, self.listen, self.env = flags, role, listen, env or {}
        self.files = files  # most descriptors it may have open
        self.backends = backends or Backends(self.data)
        self.owns_backends = data is None and backends is None
        self.process = None
        self.address = None
        self.start()

    def start(self):
        argv = [STENO, self.role, "--data", str(self.data), *self.backends.flags, *self.flags]
        if self.files:
            argv = ["prlimit", f"--nofile={self.files}", *argv]
        if self.role != "worker":
            argv += ["--listen", self.listen]
        with open(self.log_path, "ab") as log:
            at = log.tell()
            self.process = subprocess.Popen(
                argv, stdin=subprocess.DEVNULL, stdout=log, stderr=log, env=clean_env() | self.env, cwd=self.folder
            )
        if self.role == "worker":
            wait_for("the worker can be told to stop", lambda: self.process.poll() is not None or self.catches(signal.SIGTERM))
            return

        def listening():
            assert self.process.poll() is None, self.log()
            found = re.search(r"listening on (?:http://)?([^\s\"]+)", self.log()[at:])
            return found and found.group(1)

        self.address = wait_for("the server listens", listening)
        if self.address.startswith("unix:"):
            return
        host, _, port = self.address.rstrip("/").rpartition(":")
        self.host, self.port = host.strip("[]"), int(port)

    def catches(self, sig):
        """Whether it has its handler yet: one that has just been started dies of any signal."""
        try:
            status = Path(f"/proc/{self.process.pid}/status").read_text()
        except OSError:
            return False
        return bool(int(status.partition("SigCgt:")[2].split()[0], 16) >> (sig - 1) & 1)

    @property
    def url(self):
        return f"http://{self.host}:{self.port}"

    def log(self):
        return self.log_path.read_text(errors="replace")

    def stop(self, sig=signal.SIGTERM, timeout=60):
        if self.process.poll() is None:
            self.process.send_signal(sig)
        status = self.process.wait(timeout)
        return status

    def close(self):
        """Stops it and removes its folder; a server that does not end well is a failure."""
        try:
            status = self.stop()
            assert status == 0, f"exit status {status}\n{self.log()}"
        finally:
            if self.process.poll() is None:
                self.process.kill()
                self.process.wait()
            shutil.rmtree(self.folder, ignore_errors=True)
            if self.owns_backends:
                self.backends.remove()

    # What it keeps.

    def sql(self, query, *args):
        return self.backends.database.sql(query, args)

    def rows(self):
        """Rows per table."""
        return {t: self.sql(f"SELECT count(*) FROM {t}")[0][0] for t in ("jobs", "chunks", "results", "error_logs")}

    def objects(self):
        """Every object in storage, unfinished ones too."""
        return self.backends.storage.objects()

    def read_object(self, key):
        return self.backends.storage.read(key)

    def write_object(self, key, content):
        self.backends.storage.write(key, content)

    def delete_object(self, key):
        self.backends.storage.delete(key)

    # Talking to it.

    def connect(self, timeout=120):
        return socket.create_connection((self.host, self.port), timeout=timeout)

    def raw(self, data, *, half_close=False, head=False, timeout=120):
        """Sends bytes, reads until the server closes. Returns the answers. `head`: answers have no body."""
        with self.connect(timeout) as s:
            try:
                s.sendall(data)
                if half_close:
                    s.shutdown(socket.SHUT_WR)
            except (BrokenPipeError, ConnectionResetError):
                pass
            answers = read_answers(s, head)
        openapi_check.check_raw(data, answers, head)
        return answers

    def ask(self, method, path, body=None, headers=()):
        """One request over a connection of its own."""
        head = f"{method} {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n"
        if body is not None:
            head += f"Content-Length: {len(body)}\r\n"
        for name, value in dict(headers).items():
            head += f"{name}: {value}\r\n"
        answers = self.raw(head.encode() + b"\r\n" + (body or b""))
        assert len(answers) == 1, answers
        return answers[0]

    def submit(self, data=b"RIFF", filename="a.wav", fields=(), **kw):
        body, headers = multipart([("file", filename, data)] + list(dict(fields).items()), **kw)
        return self.ask("POST", "/v1/jobs", body, headers)

    def job(self, job_id):
        answer = self.ask("GET", f"/v1/jobs/{job_id}")
        assert answer.status == 200, answer
        return answer.json

    def wait_job(self, job_id, timeout=120):
        def ended():
            job = self.job(job_id)
            return job if job["status"] in TERMINAL else None

        return wait_for(f"the end of job {job_id}", ended, timeout)


class Answer:
    def __init__(self, status, headers, body):
        self.status, self.headers, self.body = status, headers, body

    @property
    def json(self):
        return json.loads(self.body)

    @property
    def code(self):
        """The error code; None when this is no problem of ours."""
        if not self.headers.get("content-type", "").startswith("application/problem+json"):
            return None
        return self.json["code"]

    def __repr__(self):
        return f"<{self.status} {self.body[:300]!r}>"


def parse_answers(data, no_body=False):
    """Splits bytes into HTTP answers; `100 Continue` is dropped."""
    answers = []
    while data:
        head, blank, rest = data.partition(b"\r\n\r\n")
        assert blank, f"no whole answer: {data[:200]!r}"
        # libmicrohttpd 0.9.75 sends the head of some answers to malformed requests twice.
        while rest.startswith(head + blank):
            rest = rest[len(head + blank) :]
        lines = head.decode("latin-1").split("\r\n")
        match = re.match(r"HTTP/1\.[01] (\d{3}) ", lines[0])
        assert match, f"no status line: {lines[0]!r}"
        headers = {k.strip().lower(): v.strip() for k, _, v in (line.partition(":") for line in lines[1:])}
        status = int(match.group(1))
        length = 0 if no_body else int(headers.get("content-length", 0))
        assert len(rest) >= length, f"body of {len(rest)} bytes, not {length}"
        if status != 100:
            answers.append(Answer(status, headers, rest[:length]))
        data = rest[length:]
    return answers


def read_answers(s, no_body=False):
    """Reads until the server closes. A reset after an answer loses nothing that counts."""
    data = b""
    while True:
        try:
            piece = s.recv(65536)
        except ConnectionResetError:
            break
        if not piece:
            break
        data += piece
    return parse_answers(data, no_body)


def multipart(parts, boundary="xYzBoundary", end=True, kind="multipart/form-data"):
    """Body and headers. A part is (name, value) or (name, filename, data)."""
    body = b""
    for name, *rest in parts:
        head = f'--{boundary}\r\nContent-Disposition: form-data; name="{name}"'.encode()
        if len(rest) == 2:
            filename = rest[0] if isinstance(rest[0], bytes) else rest[0].encode()
            head += b'; filename="' + filename + b'"\r\nContent-Type: application/octet-stream'
        value = rest[-1] if isinstance(rest[-1], bytes) else rest[-1].encode()
        body += head + b"\r\n\r\n" + value + b"\r\n"
    if end:
        body += f"--{boundary}--\r\n".encode()
    return body, {"Content-Type": f"{kind}; boundary={boundary}"}


class Done:
    """How a command ended."""

    def __init__(self, status, out, err):
        self.status, self.out, self.err = status, out, err

    def __repr__(self):
        return f"<exit status {self.status}\n{self.out}\n--\n{self.err}>"


class Steno:
    """Runs commands of the program in a folder of their own."""

    def __init__(self, folder):
        self.folder = folder

    def __call__(self, *args, env=None, stdin=subprocess.DEVNULL, input=None, timeout=300):
        feed = {"input": input} if input is not None else {"stdin": stdin}
        done = subprocess.run([STENO, *map(str, args)], stdout=subprocess.PIPE, stderr=subprocess.PIPE, timeout=timeout,
                              cwd=self.folder, env=self.env(env), **feed)
        return Done(done.returncode, done.stdout.decode(), done.stderr.decode(errors="replace"))

    def ok(self, *args, **kw):
        done = self(*args, **kw)
        assert done.status == 0, (args, done)
        return done.out

    def start(self, *args, env=None, **kw):
        return subprocess.Popen([STENO, *map(str, args)], cwd=self.folder, env=self.env(env), **kw)

    def on_terminal(self, *args, until=None, sig=None, steps=(), timeout=300):
        """Runs with a terminal as standard error. `sig` is sent once `until` was seen there. (Done, seconds after it).
        `steps`: (pattern, what to do when it was seen), one after another."""
        master, slave = pty.openpty()
        process = self.start(*args, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=slave)
        os.close(slave)
        seen, sent, end = b"", None, time.monotonic() + timeout
        while time.monotonic() < end:
            ready, _, _ = select.select([master], [], [], 0.05)
            try:
                piece = os.read(master, 65536) if ready else None
            except OSError:
                break  # the other side is closed
            if piece == b"":
                break
            seen += piece or b""
            while steps and re.search(steps[0][0], seen.decode(errors="replace")):
                steps[0][1]()
                steps = steps[1:]
            if sig and sent is None and until.encode() in seen:
                process.send_signal(sig)
                sent = time.monotonic()
        else:
            process.kill()
        out = process.stdout.read().decode()
        process.stdout.close()
        status = process.wait(timeout=10)
        os.close(master)
        took = time.monotonic() - sent if sent else None
        return Done(status, out, seen.decode(errors="replace")), took

    def env(self, more):
        # No configuration of the machine may reach in.
        return clean_env() | {"HOME": str(self.folder), "XDG_STATE_HOME": str(self.folder / "state")} | (more or {})


def children(pid):
    """{pid: command line} of the live child processes."""
    found = {}
    for entry in Path("/proc").iterdir():
        if not entry.name.isdigit():
            continue
        with contextlib.suppress(OSError):  # it has just ended
            command = command_line(entry, pid)
            if command:
                found[int(entry.name)] = command
    return found


def command_line(entry, parent):
    """Of a process below /proc; "" when it is dead or not that parent's child."""
    while True:
        stat = (entry / "stat").read_text().rpartition(")")[2].split()
        if int(stat[1]) != parent or stat[0] == "Z":
            return ""
        command = (entry / "cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace").strip()
        if command:  # for a moment of exec() a process has none, and a worker does that when it has started
            return command


def role_pid(server, role):
    """The pid of the supervisor's child that runs this role; None while there is none."""
    return next((pid for pid, command in children(server.process.pid).items() if f"steno {role} " in command + " "), None)


def alive(pid):
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


def kill(pid, sig=signal.SIGKILL):
    os.kill(pid, sig)
