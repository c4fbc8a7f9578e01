# SPDX-License-Identifier: MIT
"""steno transcribe: recordings to text without a server."""

import json
import os
import pty
import re
import shutil
import signal
import subprocess
import tempfile
from difflib import SequenceMatcher
from pathlib import Path

import pytest
from steno_server import STENO, alive, clean_env, wait_for

TEXT = "the quick brown fox jumps over the lazy dog"
MORE = [
    "every session of the parliament began with a long speech about the weather and the harvest of the year",
    "the engineers measured the temperature of the water in the river at seven places on the same day",
    "nobody in the small village could remember a winter with so much snow on the roofs and the roads",
    "after the concert the musicians went to a restaurant near the station and talked until the morning",
]


@pytest.fixture(scope="module")
def media():
    folder = Path(tempfile.mkdtemp(prefix="steno-e2e-media-"))
    subprocess.run(["flite", "-voice", "rms", "-t", TEXT, "-o", folder / "fox.wav"], check=True)
    subprocess.run(["sox", folder / "fox.wav", folder / "fox.flac"], check=True)
    subprocess.run(["sox", "-n", "-r", "16000", "-b", "16", "-c", "1", folder / "silence.wav", "trim", "0", "4"], check=True)
    parts = []
    for i, text in enumerate(MORE * 2):
        subprocess.run(["flite", "-voice", "rms", "-t", text, "-o", folder / f"part{i}.wav"], check=True)
        parts += [folder / f"part{i}.wav", folder / "silence.wav"]
    subprocess.run(["sox", folder / "part0.wav", "-r", "16000", *[p for p in parts], folder / "long.wav"], check=True)
    (folder / "text.mp3").write_text("no recording at all\n")
    whole = (folder / "fox.flac").read_bytes()
    (folder / "cut.flac").write_bytes(whole[: len(whole) * 2 // 3])
    yield folder
    shutil.rmtree(folder)


@pytest.fixture
def place():
    """An empty working folder with a folder for temporary files beside it."""
    folder = Path(tempfile.mkdtemp(prefix="steno-e2e-"))
    (folder / "tmp").mkdir()
    (folder / "work").mkdir()
    yield folder
    shutil.rmtree(folder)


def command(*args):
    return [STENO, "transcribe", *map(str, args)]


def options(place, **kw):
    env = clean_env() | {"TMPDIR": str(place / "tmp"), "HOME": str(place / "home")}
    return {"cwd": place / "work", "env": env} | kw


def run(place, *args, **kw):
    kw = {"stdin": subprocess.DEVNULL} | kw if "input" not in kw else kw
    done = subprocess.run(command(*args), capture_output=True, timeout=300, **options(place, **kw))
    assert list((place / "tmp").iterdir()) == [], "temporary files are left"
    assert not (place / "home").exists(), "nobody asked for a data folder"
    return done.returncode, done.stdout.decode(), done.stderr.decode()


def like(text, expect=TEXT):
    return SequenceMatcher(None, text.split(), expect.split()).ratio() > 0.7


def test_text_goes_to_standard_output(media, place):
    status, out, err = run(place, media / "fox.wav")
    assert (status, err) == (0, "")
    assert like(out) and out.endswith("\n")
    # A pipe is as good as a file, also where it cannot be sought in.
    assert run(place, "-", input=(media / "fox.wav").read_bytes()) == (0, out, "")
    fifo = place / "fifo"
    os.mkfifo(fifo)
    feeder = subprocess.Popen(["cp", media / "fox.wav", fifo])
    assert run(place, fifo) == (0, out, "")
    assert feeder.wait() == 0


def test_every_format(media, place):
    text = run(place, media / "fox.wav")[1].strip()
    for name, check in {
        "txt": lambda out: out.strip() == text,
        "json": lambda out: json.loads(out)["text"] == text,
        "verbose_json": lambda out: json.loads(out)["quality"] == "draft" and json.loads(out)["segments"][0]["words"],
        "srt": lambda out: re.match(r"1\n00:00:00,\d{3} --> 00:00:0\d,\d{3}\n" + text, out),
        "vtt": lambda out: out.startswith("WEBVTT\n") and text in out,
        "tsv": lambda out: text in out and "\t" in out,
    }.items():
        status, out, err = run(place, "--format", name, media / "fox.wav")
        assert (status, err) == (0, "") and check(out), (name, out)
    status, out, err = run(place, "-f", "docx", media / "fox.wav")
    assert status == 2 and out == "" and "srt" in err


def test_silence_is_empty(media, place):
    assert run(place, media / "silence.wav") == (0, "", "")


def test_null_engine_says_so(media, place):
    status, out, err = run(place, "--engine", "null", "-f", "json", media / "fox.wav")
    assert status == 0 and json.loads(out)["engine"] == "null" and json.loads(out)["quality"] == "test"


def test_one_failure_does_not_keep_the_others(media, place):
    files = [media / n for n in ("nowhere.wav", "fox.wav", "text.mp3", "", "fox.flac")]
    status, out, err = run(place, *files)
    assert status == 1
    assert re.findall("==> (.*) <==", out) == [str(media / "fox.wav"), str(media / "text.mp3"), str(media / "fox.flac")]
    assert len([line for line in out.splitlines() if like(line)]) == 2
    lines = err.splitlines()
    assert len(lines) == 3, err
    for line, name, why in zip(lines, ("nowhere.wav", "text.mp3", media.name), ("No such file", "not a recording", "folder")):
        assert line.startswith("steno transcribe: '") and name in line and why in line


def test_wrong_language_is_an_error(media, place):
    status, out, err = run(place, "--language", "de", media / "fox.wav")
    assert status == 1 and out == "" and "English" in err and "'de'" in err


def test_damaged_recording_gives_what_there_is(media, place):
    status, out, err = run(place, media / "cut.flac")
    assert status == 0 and "quick brown" in out and "damaged" in err


def test_output_file_and_folder(media, place):
    work = place / "work"
    assert run(place, "-o", "talk.srt", "-f", "srt", media / "fox.wav") == (0, "", "")
    assert "-->" in (work / "talk.srt").read_text()
    assert run(place, "-o", "out", media / "fox.wav", media / "silence.wav") == (0, "", "")
    assert sorted(p.name for p in (work / "out").iterdir()) == ["fox.txt", "silence.txt"]
    assert like((work / "out" / "fox.txt").read_text()) and (work / "out" / "silence.txt").read_text() == ""
    # A folder that stands already takes a single one too.
    assert run(place, "-o", "out", "-f", "vtt", media / "fox.wav") == (0, "", "")
    assert (work / "out" / "fox.vtt").exists()


def test_output_overwrites_nothing_of_worth(media, place):
    work = place / "work"
    shutil.copy(media / "fox.wav", work / "mine.wav")
    status, _, err = run(place, "-o", "mine.wav", "mine.wav")
    assert status == 1 and "overwrite" in err
    assert (work / "mine.wav").read_bytes() == (media / "fox.wav").read_bytes()
    # Two recordings of one name, one transcript.
    status, _, err = run(place, "-o", "out", media / "fox.wav", media / "fox.flac")
    assert status == 1 and "fox.flac" in err and like((work / "out" / "fox.txt").read_text())
    # A failure leaves an old transcript alone, and no half one.
    (work / "keep.txt").write_text("old")
    assert run(place, "-o", "keep.txt", media / "text.mp3")[0] == 1
    assert (work / "keep.txt").read_text() == "old"
    assert sorted(p.name for p in work.iterdir()) == ["keep.txt", "mine.wav", "out"]


def descendants(pid):
    found = []
    for task in Path(f"/proc/{pid}/task").iterdir():
        for child in (task / "children").read_text().split():
            found += [int(child), *descendants(int(child))]
    return found


@pytest.mark.parametrize("sig", [signal.SIGINT, signal.SIGTERM])
def test_ctrl_c(media, place, sig):
    # One chunk at a time, or the rest may be done by the time that the signal arrives.
    p = subprocess.Popen(command("--engine-slots=1", media / "long.wav", media / "fox.wav", "-o", "out"), stdin=subprocess.DEVNULL,
                         stdout=subprocess.PIPE, stderr=subprocess.PIPE, **options(place))
    # It is in the middle of the first one as soon as text was written.
    wait_for("the first text", lambda: any(f.stat().st_size for f in (place / "work").rglob("long.txt*")), 120)
    children = descendants(p.pid)
    assert children
    p.send_signal(sig)
    out, err = p.communicate(timeout=20)
    assert p.returncode == 130 and out == b"", err
    assert [f for f in (place / "work").rglob("*") if f.is_file()] == []
    assert list((place / "tmp").iterdir()) == []
    wait_for("the end of all children", lambda: not any(alive(c) for c in children), 20)


def test_ctrl_c_while_waiting_for_input(place):
    read_end, write_end = os.pipe()
    p = subprocess.Popen(command("-"), stdin=read_end, stdout=subprocess.PIPE, stderr=subprocess.PIPE, **options(place))
    os.write(write_end, b"RIFF")
    wait_for("the input arrives", lambda: any(f.stat().st_size for f in (place / "tmp").glob(".steno-*/work/input")), 60)
    p.send_signal(signal.SIGINT)
    p.communicate(timeout=20)
    assert p.returncode == 130
    assert list((place / "tmp").iterdir()) == []
    os.close(read_end)
    os.close(write_end)


def test_what_a_killed_one_left_is_removed_by_the_next(media, place):
    p = subprocess.Popen(command(media / "long.wav"), stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, **options(place))
    assert p.stdout.readline()
    children = descendants(p.pid)
    p.kill()
    p.communicate()
    wait_for("the end of all children", lambda: not any(alive(c) for c in children), 20)
    assert len(list((place / "tmp").iterdir())) == 1
    assert run(place, "--engine", "null", media / "fox.wav")[0] == 0  # and looks that nothing is left


def test_progress_on_a_terminal(media, place):
    """A bar with audio done and total, speed and time left; taken away before text is printed and at the end."""
    master, slave = pty.openpty()
    p = subprocess.Popen(command(media / "long.wav"), stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=slave,
                         **options(place))
    os.close(slave)
    seen = b""
    while True:
        try:
            piece = os.read(master, 65536)
        except OSError:
            break
        if not piece:
            break
        seen += piece
    out = p.stdout.read().decode()
    assert p.wait(300) == 0
    seen = seen.decode()
    assert "draft quality" in seen
    assert re.search(r"long\.wav  \[#+\.+\] +\d+%  0:\d\d of \d:\d\d  \d+\.\dx  .* left", seen), seen
    assert seen.endswith("\r\x1b[K")
    assert "\x1b" not in out and out.count("parliament") >= 2
