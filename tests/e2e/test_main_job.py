# SPDX-License-Identifier: MIT
"""The main job: a recording goes in, over HTTP and over the command line, and its text comes out."""

import json
import re
import subprocess

import pytest
import requests
from steno_server import QUICK, ROOT, Server, wait_for
from wer import wer

SENTENCES = (ROOT / "tools" / "demo-sentences.txt").read_text().splitlines()[:6]
SPOKEN = " ".join(SENTENCES)
FORMATS = {
    "txt": ("text/plain", r"\w"),
    "json": ("application/json", r"^\{"),
    "verbose_json": ("application/json", r'"segments"'),
    "srt": ("application/x-subrip", r"^1\n\d\d:\d\d:\d\d,\d{3} --> \d\d:\d\d:\d\d,\d{3}\n\w"),
    "vtt": ("text/vtt", r"^WEBVTT\n\n\d\d:\d\d"),
    "tsv": ("text/tab-separated-values", r"^start\tend\ttext\n\d+\t\d+\t\w"),
}


@pytest.fixture(scope="module")
def server():
    s = Server(*QUICK)
    yield s
    s.close()


@pytest.fixture(scope="module")
def job(server, speech):
    """A finished job, and every state and progress that was seen on the way."""
    with open(speech(*SENTENCES), "rb") as f:
        answer = requests.post(f"{server.url}/v1/jobs", files={"file": ("talk.wav", f)}, timeout=60)
    assert answer.status_code == 202, answer.text
    job_id = answer.json()["id"]
    assert answer.headers["Location"].endswith(f"/v1/jobs/{job_id}")
    seen = []

    def ended():
        now = requests.get(f"{server.url}/v1/jobs/{job_id}", timeout=60).json()
        seen.append((now["status"], now["progress"]["done_ms"], now["progress"]["total_ms"]))
        return now if now["status"] in ("completed", "failed", "cancelled") else None

    return wait_for("the end of the job", ended, 300), seen


def transcript(server, job_id, **params):
    answer = requests.get(f"{server.url}/v1/jobs/{job_id}/transcript", params=params, timeout=60)
    assert answer.status_code == 200, answer.text
    return answer


def test_text_is_what_was_spoken(server, job):
    assert job[0]["status"] == "completed", job[0]
    heard = transcript(server, job[0]["id"], format="txt").text
    assert wer(SPOKEN, heard) <= 0.10, heard


def test_progress_is_seen_and_grows(job):
    seen = job[1]
    done = [d for _, d, _ in seen]
    total = seen[-1][2]
    assert done == sorted(done)
    assert done[-1] == total > 15000
    assert "processing" in [state for state, _, _ in seen]


@pytest.mark.parametrize("name", FORMATS)
def test_format(server, job, name):
    media_type, shape = FORMATS[name]
    answer = transcript(server, job[0]["id"], format=name)
    assert answer.headers["Content-Type"].startswith(media_type)
    assert re.search(shape, answer.text), answer.text


def test_times_are_ordered_and_inside(server, job):
    result = transcript(server, job[0]["id"], format="verbose_json").json()
    times = [t for s in result["segments"] for t in (s["start"], s["end"])]
    assert times == sorted(times)
    assert 0 <= times[0] and times[-1] <= result["duration"]
    words = [w for s in result["segments"] for w in s.get("words", [])]
    assert len(words) >= 0.9 * len(SPOKEN.split())
    assert all(w["start"] <= w["end"] for w in words)


def test_result_says_what_made_it(server, job):
    result = transcript(server, job[0]["id"], format="verbose_json").json()
    assert result["engine"] == "pocketsphinx"
    assert result["quality"] == "draft"
    assert result["model"]


def test_every_sentence_is_near_its_place(server, job):
    """Sentences are spoken one after the other with pauses: their text must come in that order."""
    text = transcript(server, job[0]["id"], format="txt").text
    at = [text.find(s.split()[-1]) for s in SENTENCES]
    assert -1 not in at
    assert at == sorted(at)


def test_submit_and_wait_on_the_command_line(server, speech, steno):
    text = steno.ok("submit", "--wait", "--server", server.url, speech(*SENTENCES))
    assert wer(SPOKEN, text) <= 0.10, text


def test_submit_shows_live_progress(server, speech, steno):
    done, _ = steno.on_terminal("submit", "--wait", "--format=srt", "--server", server.url, speech(*SENTENCES))
    assert done.status == 0, done
    assert re.search(FORMATS["srt"][1], done.out)
    assert "waiting" in done.err or "transcribing" in done.err
    assert re.search(r"\[#*\.*\] +\d+%  .* of ", done.err), done.err
    assert done.err.rstrip("\r\n").endswith("\r\x1b[K"), "the bar stays on the terminal"


def test_submit_then_status_wait_result(server, speech, steno, tmp_path):
    client = ["--server", server.url]
    job_id = steno.ok("submit", *client, speech(SENTENCES[0])).strip()
    assert re.fullmatch(r"[0-9a-f-]{36}", job_id)
    assert json.loads(steno.ok("status", "--json", *client, job_id))["id"] == job_id
    assert steno.ok("wait", *client, job_id) == f"{job_id} completed\n"
    assert "status    completed" in steno.ok("status", *client, job_id)
    steno.ok("result", *client, "-f", "json", "-o", tmp_path / "out.json", job_id)
    assert wer(SENTENCES[0], json.loads((tmp_path / "out.json").read_text())["text"]) <= 0.2
    assert job_id in steno.ok("jobs", *client, "--status=completed")


def test_transcribe_without_a_server(speech, steno):
    text = steno.ok("transcribe", speech(*SENTENCES))
    assert wer(SPOKEN, text) <= 0.10, text


def test_silence_gives_an_empty_transcript(server, steno, tmp_path):
    subprocess.run(["sox", "-n", "-r", "16000", "-c", "1", tmp_path / "silence.wav", "trim", "0", "5"], check=True)
    assert steno.ok("submit", "--wait", "--server", server.url, tmp_path / "silence.wav").strip() == ""
