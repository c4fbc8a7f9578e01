# SPDX-License-Identifier: MIT
"""What stands around the program: installing it, its demo's parts, its benchmarks."""

import os
import re
import subprocess
from pathlib import Path

from steno_server import ROOT, STENO, clean_env
from wer import wer


def test_install(tmp_path):
    subprocess.run(["meson", "install", "-C", Path(STENO).parent, "--no-rebuild", "--destdir", tmp_path], check=True,
                   capture_output=True, env=clean_env())
    found = {str(p.relative_to(tmp_path)): p for p in tmp_path.rglob("*") if p.is_file()}
    program = next(p for name, p in found.items() if name.endswith("bin/steno"))
    assert os.access(program, os.X_OK)
    page = next(p for name, p in found.items() if name.endswith("man/man1/steno.1"))
    assert ".TH STENO 1" in page.read_text()
    completion = next(p for name, p in found.items() if name.endswith("share/bash-completion/completions/steno"))
    assert "_steno" in completion.read_text()
    assert len(found) == 3


def test_make_install_needs_a_build(tmp_path):
    (tmp_path / "Makefile").write_text((ROOT / "Makefile").read_text())
    done = subprocess.run(["make", "install"], cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode != 0
    assert "run 'make' first" in done.stderr


def test_deps_leaves_apt_alone_when_nothing_is_missing(tmp_path):
    (tmp_path / "apt-get").write_text("#!/bin/sh\necho called >&2\nexit 1\n")
    (tmp_path / "apt-get").chmod(0o755)
    (tmp_path / "list").write_text("libc6 # a comment\n# another\n\ncoreutils\n")
    env = clean_env() | {"PATH": f"{tmp_path}:{os.environ['PATH']}"}
    done = subprocess.run([ROOT / "tools" / "deps.sh", tmp_path / "list"], env=env, capture_output=True, text=True)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


def test_deps_installs_only_what_is_missing(tmp_path):
    for name in ("apt-get", "sudo"):
        (tmp_path / name).write_text(f'#!/bin/sh\n[ {name} = sudo ] && exec "$@"\necho "$@" >>{tmp_path}/calls\n')
        (tmp_path / name).chmod(0o755)
    (tmp_path / "list").write_text("coreutils\nsteno-no-such-package\n")
    env = clean_env() | {"PATH": f"{tmp_path}:{os.environ['PATH']}"}
    subprocess.run([ROOT / "tools" / "deps.sh", tmp_path / "list"], env=env, check=True, capture_output=True)
    calls = (tmp_path / "calls").read_text().splitlines()
    assert calls == ["-q update", "-q install -y --no-install-recommends steno-no-such-package"]


def test_demo_prints_text_subtitles_and_error_rate():
    done = subprocess.run([ROOT / "tools" / "demo.sh", STENO], capture_output=True, text=True, timeout=600, env=clean_env())
    assert done.returncode == 0, done.stdout + done.stderr
    assert re.search(r"^steno: listening on http://127\.0\.0\.1:\d+$", done.stdout, re.MULTILINE)
    assert re.search(r"^1\n\d\d:\d\d:\d\d,\d{3} --> ", done.stdout, re.MULTILINE)
    text = done.stdout.split("$ steno submit --wait talk.wav\n")[1].split("\n\n")[0]
    assert wer((ROOT / "tools" / "demo-sentences.txt").read_text(), text) <= 0.10
    rate = float(re.search(r"^Word error rate against what was spoken: ([\d.]+) %$", done.stdout, re.MULTILINE).group(1))
    assert rate <= 10.0


def test_demo_leaves_nothing_behind(tmp_path):
    """Also when it is interrupted in the middle."""
    env = clean_env() | {"TMPDIR": str(tmp_path)}
    process = subprocess.Popen([ROOT / "tools" / "demo.sh", STENO], stdout=subprocess.PIPE, text=True, env=env)
    data = None
    for line in process.stdout:
        if line.startswith("steno: data in "):
            data = line.split()[-1]
            process.terminate()
    process.wait(timeout=120)
    process.stdout.close()
    assert data and data.startswith(str(tmp_path))
    assert list(tmp_path.iterdir()) == []
    servers = [p for p in Path("/proc").glob("[0-9]*/cmdline") if data.encode() in read(p)]
    assert servers == []


def read(path):
    try:
        return path.read_bytes()
    except OSError:
        return b""


def test_benchmarks_run():
    done = subprocess.run([ROOT / "bench" / "run", Path(STENO).parent, "--quick"], capture_output=True, text=True,
                          timeout=900, env=clean_env())
    assert done.returncode == 0, done.stdout + done.stderr
    rows = {name: float(value)
            for name, value, _ in re.findall(r"^(\S.*?) {2,}([\d.]+) (\S+)$", done.stdout, re.MULTILINE)}
    for what in ("submit over HTTP", "jobs from submit to completed", "status, 8 clients", "resident memory", "upload of",
                 "transcribe, PocketSphinx", "load, packed", "f32, AVX", "tiny .*encoder, 30 s",
                 "tiny .*16 windows at once", "a real model"):
        found = [value for name, value in rows.items() if re.search(what, name)]
        # A ratio of two times on a busy machine may round to 0.
        assert found and all(value > 0 or "at once" in what for value in found), f"{what}: {done.stdout}"


def test_benchmarks_refuse_unknown_parts():
    done = subprocess.run([ROOT / "bench" / "run", Path(STENO).parent, "--only", "nonsense"], capture_output=True,
                          text=True, env=clean_env())
    assert done.returncode == 2
    assert "--only takes some of service" in done.stderr
