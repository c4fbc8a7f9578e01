# SPDX-License-Identifier: MIT
"""What all end-to-end tests share. STENO_BIN names the program under test; steno_server.py runs it as a server."""

import os
import pty
import select
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from steno_server import ROOT, STENO, Server, clean_env

sys.path.insert(0, str(ROOT / "tools"))

# Settings that make waiting short; correctness must not depend on them.
QUICK = ["--poll-interval=200ms", "--sweep-interval=1s", "--lease=3s", "--retry-base=100ms", "--retry-cap=500ms"]


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

    def on_terminal(self, *args, until=None, sig=None, timeout=300):
        """Runs with a terminal as standard error. `sig` is sent once `until` was seen there. (Done, seconds after it)."""
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
            if sig and sent is None and until.encode() in seen:
                process.send_signal(sig)
                sent = time.monotonic()
        out = process.stdout.read().decode()
        process.stdout.close()
        status = process.wait(timeout=10)
        os.close(master)
        took = time.monotonic() - sent if sent else None
        return Done(status, out, seen.decode(errors="replace")), took

    def env(self, more):
        # No configuration of the machine may reach in.
        return clean_env() | {"HOME": str(self.folder), "XDG_STATE_HOME": str(self.folder / "state")} | (more or {})


@pytest.fixture
def steno(tmp_path):
    return Steno(tmp_path)


@pytest.fixture(scope="session")
def speech(tmp_path_factory):
    """speech(sentence, ...) -> path of a recording of them, made once."""
    folder, made = tmp_path_factory.mktemp("speech"), {}

    def make(*sentences, pause=0.8):
        key = (*sentences, pause)
        if key not in made:
            text, wav = folder / f"{len(made)}.txt", folder / f"{len(made)}.wav"
            text.write_text("\n".join(sentences) + "\n")
            subprocess.run([ROOT / "tools" / "speak.sh", text, wav, str(pause)], check=True, timeout=120)
            made[key] = wav
        return made[key]

    return make


@pytest.fixture
def server():
    """A whole service, stopped well at the end."""
    s = Server(*QUICK)
    yield s
    s.close()


def children(pid):
    """{pid: command line} of the live child processes."""
    found = {}
    for entry in Path("/proc").iterdir():
        if not entry.name.isdigit():
            continue
        try:
            stat = (entry / "stat").read_text().rpartition(")")[2].split()
            command = (entry / "cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace").strip()
        except OSError:
            continue
        if int(stat[1]) == pid and stat[0] != "Z":
            found[int(entry.name)] = command
    return found


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
