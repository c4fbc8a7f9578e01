# SPDX-License-Identifier: MIT
"""steno model: list, info, pull and verify against an HTTP server that cuts connections, lies and forgets."""

import hashlib
import http.server
import json
import os
import re
import shutil
import signal
import subprocess
import threading
import time

import pytest
from steno_server import FIXTURE, STENO


@pytest.fixture(scope="module")
def model():
    return (FIXTURE / "fixture.bin").read_bytes()


class Server(http.server.ThreadingHTTPServer):
    """Serves one body at /ggml-small.bin, with the faults that a test sets."""

    daemon_threads = True

    def __init__(self, body):
        self.body, self.etag, self.linked = body, '"v1"', None
        self.cut_after = []  # for each coming answer: bytes after which the connection is cut, None for never
        self.ranges = True
        self.wrong_range = False
        self.status = None
        self.stall_at = None
        self.stalled, self.go_on = threading.Event(), threading.Event()
        self.log = []  # (path, Range, If-Range, bytes sent)
        super().__init__(("127.0.0.1", 0), Handler)
        threading.Thread(target=self.serve_forever, daemon=True).start()

    @property
    def url(self):
        return f"http://127.0.0.1:{self.server_port}/models"


class Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def log_message(self, *_):
        pass

    def refuse(self, status):
        self.send_response(status)
        self.send_header("Content-Length", "4")
        self.end_headers()
        self.wfile.write(b"sad\n")

    def do_GET(self):
        s = self.server
        wanted, if_range = self.headers.get("Range"), self.headers.get("If-Range")
        entry = [self.path, wanted, if_range, 0]
        s.log.append(entry)
        if self.path == "/models/ggml-moved.bin":
            self.send_response(302)
            self.send_header("Location", "/models/ggml-small.bin")
            self.send_header("Content-Length", "0")
            if s.linked:
                self.send_header("X-Linked-ETag", s.linked)
            self.end_headers()
            return
        if s.status or self.path != "/models/ggml-small.bin":
            self.refuse(s.status or 404)
            return
        start = 0
        if wanted and s.ranges and (not if_range or if_range == s.etag):
            start = int(re.fullmatch(r"bytes=(\d+)-", wanted).group(1))
            if start >= len(s.body):
                self.refuse(416)
                return
        body = s.body[start:]
        self.send_response(206 if start else 200)
        if start:
            first = start - 1 if s.wrong_range else start
            self.send_header("Content-Range", f"bytes {first}-{len(s.body) - 1}/{len(s.body)}")
        if s.etag:
            self.send_header("ETag", s.etag)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        cut = s.cut_after.pop(0) if s.cut_after else None
        if s.stall_at is not None:
            self.wfile.write(body[: s.stall_at])
            self.wfile.flush()
            s.stalled.set()
            s.go_on.wait(60)
            self.close_connection = True
            return
        piece = body if cut is None else body[:cut]
        self.wfile.write(piece)
        entry[3] = len(piece)
        if cut is not None:
            self.close_connection = True


@pytest.fixture
def server(model):
    s = Server(model)
    yield s
    s.go_on.set()
    s.shutdown()
    s.server_close()


@pytest.fixture
def run(tmp_path, server):
    env = {k: v for k, v in os.environ.items() if not k.startswith("STENO_")}
    env |= {"STENO_DATA": str(tmp_path / "data"), "STENO_MODEL_URL": server.url}

    def call(*args, check=None, start=False, **more):
        argv = [STENO, "model", *map(str, args)]
        if start:
            return subprocess.Popen(argv, env=env | more, cwd=tmp_path, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
                                    text=True)
        p = subprocess.run(argv, env=env | more, cwd=tmp_path, capture_output=True, text=True, timeout=120, check=False)
        assert check is None or p.returncode == check, p.stdout + p.stderr
        return p

    call.folder = tmp_path / "data" / "models"
    return call


def leftovers(folder):
    return sorted(p.name for p in folder.iterdir() if "part" in p.name)


def test_pull_list_info_verify(run, server, model):
    assert "steno model pull" in run("list", check=0).stdout
    sha = hashlib.sha256(model).hexdigest()
    server.etag = f'"{sha}"'
    p = run("pull", "small", check=0)
    assert sha in p.stdout and "ggml f16" in p.stdout and "names none" not in p.stdout
    path = run.folder / "ggml-small.bin"
    assert path.read_bytes() == model
    assert (run.folder / "ggml-small.bin.sha256").read_text() == f"{sha}  ggml-small.bin\n"
    assert leftovers(run.folder) == []
    assert len(server.log) == 1
    # Again: nothing is asked for.
    assert "there already" in run("pull", "small", check=0).stdout
    assert len(server.log) == 1
    run("pull", "small", "--force", check=0)
    assert len(server.log) == 2

    assert re.search(r"^small +18\.3 MB +ggml f16 .*English$", run("list", check=0).stdout, re.MULTILINE)
    listed = json.loads(run("list", "--json", check=0).stdout)
    assert [m["name"] for m in listed] == ["small"] and listed[0]["path"] == str(path)
    assert listed[0]["dimensions"]["vocabulary"] == 51864 and listed[0]["bytes"] == len(model)
    text = run("info", "small", check=0).stdout
    assert "4 layers of 128, 2 heads, 80 mel bands" in text and "no translation" in text
    assert json.loads(run("info", str(path), "--json", check=0).stdout) == listed[0]
    assert "as noted" in run("verify", "small", check=0).stdout


def test_names_and_places(run, tmp_path):
    folder = tmp_path / "mine"
    (folder / "as-folder").mkdir(parents=True)
    shutil.copy(FIXTURE / "fixture.bin", folder / "ggml-a.en.bin")
    shutil.copy(FIXTURE / "fixture.bin", folder / "b.bin")
    for file in (FIXTURE / "hf").iterdir():
        (folder / "as-folder" / file.name).symlink_to(file)
    (folder / "notes.txt").write_text("no model")
    (folder / "broken.bin").write_text("no model")
    env = {"STENO_MODEL_PATH": str(folder)}
    for name, file in [("a.en", "ggml-a.en.bin"), ("b", "b.bin"), ("b.bin", "b.bin"), ("as-folder", "as-folder"),
                       ("ggml-a.en.bin", "ggml-a.en.bin")]:
        assert json.loads(run("info", name, "--json", check=0, **env).stdout)["path"] == str(folder / file)
    assert "safetensors f16" in run("info", f"{folder}/as-folder/", check=0, **env).stdout
    text = run("list", check=0, **env).stdout
    assert [line.split()[0] for line in text.splitlines()] == ["as-folder", "b", "model", "a.en"]  # by path
    assert "broken.bin' cannot be used" in text
    assert "fine" in run("verify", "as-folder", "b", check=0, **env).stdout
    p = run("info", "c", check=2, **env)
    assert "no model 'c'" in p.stderr and "steno model pull" in p.stderr
    assert "no name of a model" in run("info", "..", check=2, **env).stderr
    assert "No such file" in run("info", "./none.bin", check=2, **env).stderr


def test_a_cut_connection_is_taken_up_again(run, server, model):
    server.cut_after = [1_000_000, 7_000_000]
    run("pull", "small", check=0)
    assert (run.folder / "ggml-small.bin").read_bytes() == model
    asked = [(r, i) for _, r, i, _ in server.log]
    assert asked == [(None, None), ("bytes=1000000-", '"v1"'), ("bytes=8000000-", '"v1"')]
    assert sum(n for *_, n in server.log) == len(model)


def test_ctrl_c_keeps_the_part_and_the_next_pull_goes_on(run, server, model):
    server.stall_at = 5_000_000
    p = run("pull", "small", start=True)
    part = run.folder / "ggml-small.bin.part"
    assert server.stalled.wait(60)
    end = time.monotonic() + 60
    while (not part.exists() or part.stat().st_size < 5_000_000) and time.monotonic() < end:
        time.sleep(0.05)
    other = run("pull", "small", check=3)
    assert "another process" in other.stderr
    p.send_signal(signal.SIGINT)
    _, stderr = p.communicate(timeout=60)
    assert p.returncode == 130 and "to go on" in stderr
    assert part.stat().st_size == 5_000_000 and not (run.folder / "ggml-small.bin").exists()
    server.stall_at = None
    run("pull", "small", check=0)
    assert server.log[-1][1:] == ["bytes=5000000-", '"v1"', len(model) - 5_000_000]
    assert (run.folder / "ggml-small.bin").read_bytes() == model
    assert leftovers(run.folder) == []


def test_a_changed_file_is_fetched_anew(run, server, model):
    run.folder.mkdir(parents=True)
    (run.folder / "ggml-small.bin.part").write_bytes(b"x" * 1000)
    (run.folder / "ggml-small.bin.part.etag").write_text('"v0"')
    run("pull", "small", check=0)
    assert server.log[0][1:] == ["bytes=1000-", '"v0"', len(model)]
    assert (run.folder / "ggml-small.bin").read_bytes() == model


@pytest.mark.parametrize("etag, ranges", [('"v1"', False), (None, True), ('W/"v1"', True)])
def test_servers_without_resume(run, server, model, etag, ranges):
    server.etag, server.ranges, server.cut_after = etag, ranges, [1_000_000]
    run("pull", "small", check=0)
    assert [n for *_, n in server.log] == [1_000_000, len(model)]
    assert (run.folder / "ggml-small.bin").read_bytes() == model


def test_a_whole_part_and_one_too_long(run, server, model):
    run.folder.mkdir(parents=True)
    for extra in (b"", b"more"):
        (run.folder / "ggml-small.bin.part").write_bytes(model + extra)
        (run.folder / "ggml-small.bin.part.etag").write_text('"v1"')
        run("pull", "small", "--force", check=0)
        assert (run.folder / "ggml-small.bin").read_bytes() == model


def test_a_range_that_lies(run, server):
    server.cut_after, server.wrong_range = [1_000_000], True
    p = run("pull", "small", check=3)
    assert "where it was asked for" in p.stderr
    assert not (run.folder / "ggml-small.bin").exists()


def test_sums(run, server, model):
    sha, wrong = hashlib.sha256(model).hexdigest(), "0" * 64
    assert "64 hexadecimal" in run("pull", "small", "--sha256", "12", check=2).stderr
    p = run("pull", "small", "--sha256", wrong, check=1)
    assert sha in p.stderr and "removed" in p.stderr
    assert list(run.folder.iterdir()) == []
    server.etag = f'"{wrong}"'
    run("pull", "small", check=1)
    assert list(run.folder.iterdir()) == []
    # What the user says counts more than what the server says.
    run("pull", "small", "--sha256", sha.upper(), check=0)
    # A sum that only the first answer of a redirect has, as a hub's front gives it.
    server.etag, server.linked = '"v1"', f'"{wrong}"'
    assert wrong in run("pull", "moved", check=1).stderr
    server.linked = f'"{sha}"'
    p = run("pull", "moved", check=0)
    assert "names none" not in p.stdout and (run.folder / "ggml-moved.bin").read_bytes() == model


def test_what_is_no_model_gets_no_name(run, server):
    for body, words in [(b"<html>sign in</html>", "does not begin with 'lmgg'"), (server.body[:9_000_000], "cut short"),
                        (b"", "no file with something in it")]:
        server.body = body
        p = run("pull", "small", check=1)
        assert words in p.stderr and "removed" in p.stderr, p.stderr
        assert list(run.folder.iterdir()) == []


@pytest.mark.parametrize("status, code, words", [(404, 2, "there is nothing at"), (403, 2, "does not hand out"),
                                                 (503, 3, "HTTP status 503")])
def test_refusals(run, server, status, code, words):
    server.status = status
    p = run("pull", "small", check=code)
    assert words in p.stderr and server.url in p.stderr
    assert list(run.folder.iterdir()) == []


def test_no_server(run):
    p = run("pull", "small", check=3, STENO_MODEL_URL="http://127.0.0.1:1/models/")
    assert "127.0.0.1:1/models/ggml-small.bin" in p.stderr


@pytest.mark.parametrize("name", ["../x", "a/b", "", ".hidden", "a b", "a?b"])
def test_names_that_are_none(run, server, name):
    assert "no name of a model" in run("pull", name, check=2).stderr
    assert server.log == []


def test_verify_finds_damage(run, model):
    run.folder.mkdir(parents=True)
    path = run.folder / "ggml-x.bin"
    path.write_bytes(model)
    assert "none was noted" in run("verify", "x", check=0).stdout
    # One weight that is no number.
    at = model.index(b"decoder.ln.bias") + len(b"decoder.ln.bias")
    path.write_bytes(model[:at] + b"\x00\x00\xc0\x7f" + model[at + 4 :])
    assert "'decoder.ln.bias' holds a value that is no number" in run("verify", "x", check=1).stderr
    run("info", "x", check=0)
    # The sum finds any change.
    note = run.folder / "ggml-x.bin.sha256"
    note.write_text(hashlib.sha256(model).hexdigest() + "  ggml-x.bin\n")
    assert "it has changed" in run("verify", "x", check=1).stderr
    path.write_bytes(model)
    assert "as noted" in run("verify", "x", check=0).stdout
    note.write_text("what?\n")
    assert "holds no SHA-256" in run("verify", "x", check=1).stderr


def test_verify_looks_into_the_cache(run, model, tmp_path):
    run.folder.mkdir(parents=True)
    path = run.folder / "ggml-x.bin"
    path.write_bytes(model)
    env = {k: v for k, v in os.environ.items() if not k.startswith("STENO_")} | {"STENO_DATA": str(tmp_path / "data")}

    def load():
        subprocess.run([STENO, "transcribe", "--engine", "whisper", "--model", "x", FIXTURE / "wav" / "02_one_word.wav"],
                       env=env, cwd=tmp_path, capture_output=True, timeout=300, check=True)
        (packed,) = (tmp_path / "data" / "cache").glob("*.packed")
        return packed

    packed = load()
    assert "1 packed in the cache" in run("verify", "x", check=0).stdout
    whole = packed.read_bytes()
    packed.write_bytes(whole[:9000] + bytes([whole[9000] ^ 1]) + whole[9001:])
    assert "1 packed but damaged (removed" in run("verify", "x", check=0).stdout
    assert not packed.exists()
    load()
    os.utime(path, (1000, 1000))
    assert "1 packed from an earlier file (removed)" in run("verify", "x", check=0).stdout
    load()
    # Damaged where neither size nor time tells: the sum taken when it was packed does.
    path.write_bytes(model[:-100] + bytes([model[-100] ^ 1]) + model[-99:])
    os.utime(path, (1000, 1000))
    assert "when it was packed" in run("verify", "x", check=1).stderr


def test_version_names_the_precision(run):
    p = subprocess.run([STENO, "version", "-v"], capture_output=True, text=True, check=True)
    assert re.search(r"^processor  \S+: precision auto is (f32|bf16|int8)$", p.stdout, re.MULTILINE)
