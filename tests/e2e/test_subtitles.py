# SPDX-License-Identifier: MIT
"""Subtitles as players get them: laid out as asked for, over HTTP and from the command line, and read by ffmpeg."""

import json
import re
import subprocess

import pytest

from steno_server import QUICK, Server

SENTENCES = ("go forward ten meters and then turn around", "the quick brown fox jumps over the lazy dog")
CUE = re.compile(r"(?:\d+\n)?(\d\d:\d\d:\d\d[.,]\d{3}) --> (\d\d:\d\d:\d\d[.,]\d{3})\n(.*)", re.DOTALL)


@pytest.fixture(scope="module")
def server():
    s = Server(*QUICK)
    yield s
    s.close()


@pytest.fixture(scope="module")
def job(server, speech):
    path = speech(*SENTENCES)
    answer = server.ask("POST", "/v1/jobs?filename=talk.wav", path.read_bytes(),
                        {"Content-Type": "audio/wav", "Prefer": "wait=60"})
    assert answer.status == 200 and answer.json["status"] == "completed", answer
    return answer.json["id"]


def cues(text):
    """[(start, end, lines)]; times as they stand."""
    found = []
    for block in text.removeprefix("WEBVTT\n\n").strip("\n").split("\n\n"):
        match = CUE.fullmatch(block)
        assert match, block
        found.append((match[1], match[2], match[3].split("\n")))
    return found


def fetch(server, job, query):
    answer = server.ask("GET", f"/v1/jobs/{job}/transcript?{query}")
    assert answer.status == 200, answer
    return answer.body.decode()


def packets(tmp_path, text, form):
    """What ffmpeg reads: (start, end) in seconds of every cue."""
    path = tmp_path / f"a.{form}"
    path.write_text(text)
    probe = subprocess.run(["ffprobe", "-v", "error", "-show_packets", "-of", "json", path], check=True, capture_output=True)
    assert not probe.stderr
    return [(float(p["pts_time"]), float(p["pts_time"]) + float(p["duration_time"]))
            for p in json.loads(probe.stdout)["packets"]]


def seconds(clock):
    h, m, s = clock.replace(",", ".").split(":")
    return int(h) * 3600 + int(m) * 60 + float(s)


@pytest.mark.parametrize("form", ["srt", "vtt"])
@pytest.mark.parametrize("query", ["", "&max_line_width=16", "&max_line_width=16&max_line_count=2",
                                   "&max_words_per_line=3&max_line_count=1", "&highlight_words=true",
                                   "&max_line_width=20&max_line_count=1&highlight_words=1"])
def test_ffmpeg_reads_every_cue(server, job, tmp_path, form, query):
    text = fetch(server, job, f"format={form}{query}")
    ours = [(seconds(a), seconds(b)) for a, b, _ in cues(text)]
    read = packets(tmp_path, text, form)
    assert len(read) == len(ours) >= 1
    for (a, b), (c, d) in zip(read, ours):
        assert abs(a - c) < 0.002 and abs(b - d) < 0.002
    assert ours == sorted(ours) and all(e <= s for (_, e), (s, _) in zip(ours, ours[1:]))


def test_layout(server, job):
    plain = fetch(server, job, "format=txt").split()
    for query, width, lines, words in (("max_line_width=16", 16, 99, 99), ("max_line_width=16&max_line_count=2", 16, 2, 99),
                                       ("max_words_per_line=3&max_line_count=1", 999, 1, 3)):
        found = cues(fetch(server, job, f"format=srt&{query}"))
        assert all(len(l) <= width and len(l.split()) <= words for _, _, ls in found for l in ls)
        assert all(len(ls) <= lines for _, _, ls in found)
        assert [w for _, _, ls in found for l in ls for w in l.split()] == plain  # nothing is lost


def test_highlighted_words_are_the_words_in_their_times(server, job):
    words = json.loads(fetch(server, job, "format=verbose_json"))["words"]
    assert words, "this engine tells the times of words"
    marked = [(seconds(a), re.findall("<u>(.*?)</u>", "\n".join(ls)))
              for a, _, ls in cues(fetch(server, job, "format=vtt&highlight_words=true"))]
    marked = [(start, w) for start, found in marked for w in found]
    assert [w for _, w in marked] == [w["word"] for w in words if w["end"] > w["start"]]
    for (start, _), word in zip(marked, (w for w in words if w["end"] > w["start"])):
        assert abs(start - word["start"]) < 0.002


@pytest.mark.parametrize("query, says", [
    ("format=txt&max_line_width=20", "srt and vtt"),
    ("format=json&highlight_words=true", "srt and vtt"),
    ("format=srt&max_line_width=3", "from 4 to 1000"),
    ("format=srt&max_line_count=none", "whole number"),
    ("format=vtt&highlight_words=maybe", "true or false"),
])
def test_layouts_that_cannot_be(server, job, query, says):
    answer = server.ask("GET", f"/v1/jobs/{job}/transcript?{query}")
    assert (answer.status, answer.code) == (400, "bad_query") and says in answer.json["detail"]


def test_every_layout_has_its_own_tag(server, job):
    tags = {server.ask("GET", f"/v1/jobs/{job}/transcript?format=srt{q}").headers["etag"]
            for q in ("", "&max_line_width=20", "&max_line_count=20", "&max_words_per_line=20", "&highlight_words=1")}
    assert len(tags) == 5


def test_the_command_line_gives_the_same(server, job, steno, speech):
    flags = ("--format=srt", "--max-line-width=16", "--max-line-count=2")
    fetched = steno.ok("result", job, f"--server={server.url}", *flags)
    assert fetched == fetch(server, job, "format=srt&max_line_width=16&max_line_count=2")
    path = speech(*SENTENCES)
    assert steno.ok("transcribe", path, "--data=data", *flags) == fetched
    assert steno.ok("submit", path, "--wait", f"--server={server.url}", *flags) == fetched
    marked = steno.ok("result", job, f"--server={server.url}", "--format=vtt", "--highlight-words")
    assert marked == fetch(server, job, "format=vtt&highlight_words=true") and "<u>" in marked
    refused = steno("result", job, f"--server={server.url}", "--max-line-width=16")
    assert refused.status == 2 and "--format=srt" in refused.err
