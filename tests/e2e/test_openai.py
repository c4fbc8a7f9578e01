# SPDX-License-Identifier: MIT
"""openai: OpenAI's routes, byte by byte; test_openai_client.py has OpenAI's own client do the same."""

import json
import math
import re
import shutil
import signal
import subprocess
import tempfile
import threading
import time
from pathlib import Path

import openapi_check
import pytest
from live_client import execute
from steno_server import FIXTURE, QUICK, ROOT, Server, multipart, read_answers, wait_for

REFERENCE = json.loads((ROOT / "tests" / "fixture" / "reference.json").read_text())
EXACT = ["--engine=whisper", "--precision=f32", "--threads=2"]
TRANSCRIPTIONS, TRANSLATIONS = "/v1/audio/transcriptions", "/v1/audio/translations"
CLOCK = r"\d\d:[0-5]\d:[0-5]\d"


def wav(name):
    return (FIXTURE / "wav" / f"{name}.wav").read_bytes()


@pytest.fixture(scope="module")
def models():
    """The real model, which knows English only, and a random one that knows all languages and translates."""
    folder = Path(tempfile.mkdtemp(prefix="steno-e2e-models-"))
    (folder / "ggml-base.en.bin").symlink_to(FIXTURE / "fixture.bin")
    subprocess.run([FIXTURE / "make_model", "random", "nano-multi", folder / "ggml-large-v3.bin"], check=True)
    yield folder
    shutil.rmtree(folder)


@pytest.fixture(scope="module")
def server(models):
    s = Server(*QUICK, *EXACT, f"--model-path={models}", "--model=base.en", "--model-aliases=mine=base.en")
    yield s
    s.close()


@pytest.fixture(scope="module")
def null():
    s = Server(*QUICK, "--engine=null")
    yield s
    s.close()


def post(server, path=TRANSCRIPTIONS, data=None, filename="a.wav", model="whisper-1", headers=(), **fields):
    """`fields`: those whose names end with two underscores get brackets; lists are sent several times."""
    parts = [("file", filename, wav("03_commands") if data is None else data)]
    if model is not None:
        parts.append(("model", model))
    for name, values in fields.items():
        for value in values if isinstance(values, list) else [values]:
            parts.append((re.sub("__$", "[]", name), value))
    body, own = multipart(parts)
    return server.ask("POST", path, body, own | dict(headers))


def ok(*args, **kw):
    answer = post(*args, **kw)
    assert answer.status == 200, answer
    assert re.fullmatch(r"[0-9a-f-]{36}", answer.headers["x-job-id"]) and answer.headers["x-request-id"]
    return answer


def failed(answer, status, param=None, code=None):
    """The sentence of an error in OpenAI's shape."""
    assert answer.status == status, answer
    assert answer.headers["content-type"] == "application/json"
    assert list(answer.json) == ["error"] and set(answer.json["error"]) == {"message", "type", "param", "code"}
    error = answer.json["error"]
    assert error["type"] == ("server_error" if status >= 500 else "invalid_request_error")
    assert error["param"] == param, answer
    assert code is None or error["code"] == code, answer
    return error["message"]


SPOKEN = REFERENCE["03_commands"]["text"]


def plain(text):
    return re.findall(r"[a-z]+", text.lower())


# ---- every format ----


def test_json(server):
    for fields in ({}, {"response_format": "json"}, {"response_format": ""}):
        answer = ok(server, **fields)
        assert answer.headers["content-type"] == "application/json"
        got = answer.json
        assert plain(got["text"]) == plain(SPOKEN)
        assert got == {"text": got["text"], "languages": [{"code": "en"}],
                       "usage": {"type": "duration", "seconds": got["usage"]["seconds"]},
                       "engine": "whisper", "model": "base.en"}
        assert 8 < got["usage"]["seconds"] < 9


def test_text(server):
    answer = ok(server, response_format="text")
    assert answer.headers["content-type"] == "text/plain; charset=utf-8"
    text = answer.body.decode()
    assert text.endswith("\n") and text.count("\n") == 1 and plain(text) == plain(SPOKEN)
    assert text.strip() == ok(server).json["text"]


def test_subtitles(server):
    segments = ok(server, response_format="verbose_json").json["segments"]
    for name, kind, head, point in (("srt", "text/plain", "", ","), ("vtt", "text/vtt", "WEBVTT\n\n", ".")):
        answer = ok(server, response_format=name)
        assert answer.headers["content-type"] == f"{kind}; charset=utf-8"
        text = answer.body.decode()
        assert text.startswith(head)
        cues = text[len(head):].rstrip("\n").split("\n\n")
        assert len(cues) == len(segments) > 1
        for i, (cue, segment) in enumerate(zip(cues, segments)):
            lines = cue.split("\n")
            if name == "srt":
                assert lines.pop(0) == str(i + 1)
            assert re.fullmatch(rf"{CLOCK}\{point}\d{{3}} --> {CLOCK}\{point}\d{{3}}", lines[0])
            assert lines[1:] == [segment["text"].strip()]


def test_verbose_json(server):
    answer = ok(server, response_format="verbose_json")
    got = answer.json
    assert answer.headers["content-type"] == "application/json"
    assert set(got) == {"task", "language", "duration", "text", "segments", "usage", "engine", "model"}
    assert (got["task"], got["language"], got["model"]) == ("transcribe", "english", "base.en")
    assert got["usage"] == {"type": "duration", "seconds": got["duration"]}
    # Clients put texts together with nothing between.
    assert "".join(s["text"] for s in got["segments"]).strip() == got["text"] and plain(got["text"]) == plain(SPOKEN)
    end = 0
    for i, s in enumerate(got["segments"]):
        assert set(s) == {"id", "seek", "start", "end", "text", "tokens", "temperature", "avg_logprob",
                          "compression_ratio", "no_speech_prob"}
        assert s["id"] == i and isinstance(s["seek"], int) and s["tokens"] == []
        assert end <= s["start"] < s["end"] <= got["duration"]
        assert s["avg_logprob"] < 0 < s["compression_ratio"] and 0 <= s["no_speech_prob"] <= 1 and s["temperature"] == 0
        end = s["end"]


@pytest.mark.parametrize("name", ["timestamp_granularities", "timestamp_granularities__"])
def test_granularities(server, name):
    spoken = [w for s in REFERENCE["03_commands"]["segments"] for w in s["words"]]
    for wanted in (["word"], ["segment"], ["word", "segment"], ["segment", "word"]):
        got = ok(server, response_format="verbose_json", **{name: wanted}).json
        assert ("words" in got, "segments" in got) == ("word" in wanted, "segment" in wanted)
        if "words" not in got:
            continue
        words = got["words"]
        assert [set(w) for w in words] == [{"word", "start", "end"}] * len(spoken)
        assert " ".join(w["word"] for w in words) == got["text"]
        assert all(a["start"] <= a["end"] <= b["start"] for a, b in zip(words, words[1:]))
        near = sum(abs(ours["start"] - s["start"]) < 0.5 for ours, s in zip(words, spoken))
        assert near > 0.8 * len(spoken)


def test_granularities_by_number(server):
    body, headers = multipart([("file", "a.wav", wav("02_one_word")), ("model", "whisper-1"),
                               ("response_format", "verbose_json"), ("timestamp_granularities[0]", "segment"),
                               ("timestamp_granularities[1]", "word")])
    got = server.ask("POST", TRANSCRIPTIONS, body, headers).json
    assert got["words"] and got["segments"]


def test_logprobs(server):
    for name in ("include", "include__"):
        got = ok(server, **{name: "logprobs"}).json
        assert "".join(p["token"] for p in got["logprobs"]) == got["text"]
        for p in got["logprobs"]:
            assert -14 < p["logprob"] <= 0 and bytes(p["bytes"]).decode() == p["token"]
    # They are those of the words in the stored transcript.
    job_id = ok(server, include="logprobs").headers["x-job-id"]
    stored = server.ask("GET", f"/v1/jobs/{job_id}/transcript?format=verbose_json").json
    assert [math.exp(p["logprob"]) for p in got["logprobs"]] == pytest.approx(
        [w["probability"] for w in stored["words"]], abs=1e-5)


def test_silence(server):
    got = ok(server, data=wav("12_silence"), response_format="verbose_json", timestamp_granularities=["word", "segment"]).json
    assert (got["text"], got["segments"], got["words"]) == ("", [], [])
    assert got["language"] == "unknown" and got["duration"] > 1
    assert ok(server, data=wav("12_silence"), language="en", response_format="verbose_json").json["language"] == "english"
    assert ok(server, data=wav("12_silence")).json["languages"] == []
    assert ok(server, data=wav("12_silence"), response_format="text").body == b"\n"
    assert ok(server, data=wav("12_silence"), response_format="srt").body == b""
    assert ok(server, data=wav("12_silence"), include="logprobs").json["logprobs"] == []


def test_the_null_engine(null):
    got = ok(null, data=b"RIFF", response_format="verbose_json", timestamp_granularities=["word", "segment"]).json
    assert got["text"].startswith("null engine") and got["words"] == [] and got["model"] == "null"
    assert got["segments"][0]["avg_logprob"] == 0


# ---- what a field does ----


def test_an_answer_that_is_replayed_names_its_job(null):
    first, again = (ok(null, data=b"RIFF", headers={"Idempotency-Key": "k"}) for _ in range(2))
    assert "idempotency-replayed" not in first.headers and again.headers["idempotency-replayed"] == "true"
    assert again.headers["x-job-id"] == first.headers["x-job-id"] and again.body == first.body


def job_of(server, answer):
    return server.job(answer.headers["x-job-id"])


def test_every_field_reaches_the_job(server):
    answer = ok(server, model="base.en", language="en", prompt="Rooms of a house", temperature="0.4",
                keywords__=["lamp", "curtain"], chunking_strategy="auto", stream="false", beam_size="2", description="mine")
    job = job_of(server, answer)
    assert (job["queue"], job["model"], job["language"], job["prompt"]) == ("high", "base.en", "en", "Rooms of a house")
    assert job["options"] == {"hotwords": "lamp,curtain", "temperature": 0.4, "beam_size": 2}
    assert (job["status"], job["description"]) == ("completed", "mine")
    other = job_of(server, ok(server, queue="normal", temperature="0", languages__="en",
                              response_format="verbose_json", timestamp_granularities="word"))
    assert (other["queue"], other["language"], other["options"]) == ("normal", "en", {"word_timestamps": True})


def test_unknown_fields_are_ignored(server):
    assert plain(ok(server, user="me", vad_filter="true", nothing__="x").json["text"]) == plain(SPOKEN)


def test_what_cannot_be_had_is_refused(server):
    before = server.rows()["jobs"], server.objects()
    for fields, param, why in (
        ({"model": None}, "model", "name a model"),
        ({"language": "xx"}, "language", "ISO 639-1"),
        ({"languages__": ["de", "en"]}, "languages", "one language"),
        ({"response_format": "diarized_json"}, "response_format", "speakers"),
        ({"response_format": "xml"}, "response_format", "json, text, srt, verbose_json or vtt"),
        ({"temperature": "2"}, "temperature", "0 to 1"),
        ({"timestamp_granularities__": "word"}, "timestamp_granularities", "verbose_json"),
        ({"timestamp_granularities__": "char", "response_format": "verbose_json"}, "timestamp_granularities", "word"),
        ({"include__": "logprobs", "response_format": "verbose_json"}, "include", "json"),
        ({"chunking_strategy": '{"type":"server_vad","threshold":0.7}'}, "chunking_strategy", "threshold"),
        ({"stream": "true", "response_format": "srt"}, "stream", "subtitles"),
        ({"known_speaker_names__": ["a"]}, "known_speaker_names", "speakers"),
        ({"known_speaker_references__": ["data:audio/wav;base64," + "A" * 60000]}, "known_speaker_references", "speakers"),
        ({"prompt": "x" * 5000}, "prompt", "4096"),
    ):
        message = failed(post(server, **fields), 400, param)
        assert why in message, (fields, message)
    assert (server.rows()["jobs"], server.objects()) == before


def test_the_engine_refuses(server):
    """Wrong only for the model at hand."""
    assert "knows English only" in failed(post(server, model="base.en", language="de"), 400, code="impossible_request")
    assert "cannot translate" in failed(post(server, TRANSLATIONS, model="base.en"), 400, code="impossible_request")


# ---- errors ----


def test_bad_files(server):
    body, headers = multipart([("model", "whisper-1")])
    assert "'file'" in failed(server.ask("POST", TRANSCRIPTIONS, body, headers), 400, "file", "missing_file")
    failed(post(server, data=b""), 400, "file", "empty_file")
    failed(post(server, data=b"%PDF-1.4 is no sound", filename="a.mp3"), 400, "file", "not_audio")
    undecodable = post(server, data=b"RIFF\0\0\0\0WAVE and then nothing of the kind")
    message = failed(undecodable, 400, "file", "bad_recording")
    assert undecodable.headers["x-job-id"] in message and undecodable.headers["x-should-retry"] == "false"
    failed(server.ask("POST", TRANSCRIPTIONS, b"{}", {"Content-Type": "application/json"}), 400)
    failed(server.ask("POST", TRANSCRIPTIONS, body[:40], headers), 400)


def test_a_file_that_is_too_large():
    server = Server(*QUICK, "--engine=null", "--max-upload-size=10k")
    try:
        failed(post(server, data=bytes(100000)), 413, "file", "file_too_large")
    finally:
        server.close()


def test_models_that_are_missing(models):
    server = Server(*QUICK, *EXACT, f"--model-path={models}", "--model=base.en", "--model-missing=error")
    try:
        assert "use base.en, large-v3" in failed(post(server, model="medium"), 404, "model", "model_not_found")
        assert server.rows()["jobs"] == 0
        assert ok(server, model="whisper-1").json["model"] == "base.en"
    finally:
        server.close()


def test_a_model_near_by(server):
    got = ok(server, model="small.en", response_format="verbose_json").json
    assert got["model"] == "base.en"
    assert got["warning"] == "model 'small.en' is not installed: 'base.en' was used, the nearest in size"
    assert ok(server, model="small.en").json["warning"] == got["warning"]


def test_the_engine_is_away():
    server = Server(*QUICK, "--engine=pocketsphinx", "--model-path=/nowhere", "--max-attempts=1")
    try:
        answer = post(server)
        failed(answer, 503, code="unavailable")
        assert answer.headers["retry-after"] and "x-should-retry" not in answer.headers
    finally:
        server.close()


def test_other_methods(server):
    for method, path, allow in (("GET", TRANSCRIPTIONS, "POST, OPTIONS"), ("PUT", "/v1/audio/translations/", "POST, OPTIONS"),
                                ("DELETE", "/v1/models/base.en", "GET, HEAD, OPTIONS")):
        answer = server.ask(method, path)
        assert failed(answer, 405, code="method_not_allowed") and answer.headers["allow"] == allow


def test_a_connection_goes_on(null):
    """Several on one connection, errors among them."""
    body, headers = multipart([("file", "a.wav", b"RIFF"), ("model", "whisper-1")])
    bad, _ = multipart([("file", "a.wav", b"RIFF")])
    requests = b""
    for b, end in ((body, ""), (bad, ""), (body, "Connection: close\r\n")):
        requests += (f"POST {TRANSCRIPTIONS} HTTP/1.1\r\nHost: x\r\nContent-Type: {headers['Content-Type']}\r\n"
                     f"Content-Length: {len(b)}\r\n{end}\r\n").encode() + b
    assert [a.status for a in null.raw(requests)] == [200, 400, 200]


# ---- translations ----


def test_translations(server):
    """The random model says nothing sensible; that it was asked to translate is what counts."""
    answer = ok(server, TRANSLATIONS, model="large-v3", response_format="verbose_json")
    got = answer.json
    assert (got["task"], got["language"], got["model"]) == ("translate", "english", "large-v3")
    job = job_of(server, answer)
    assert (job["task"], job["queue"]) == ("translate", "high")
    # Of those installed, the one that can.
    near = ok(server, TRANSLATIONS, model="small").json
    assert near["model"] == "large-v3" and "'small' is not installed" in near["warning"]
    # The default model knows English only; OpenAI's name does not insist on it.
    other = ok(server, TRANSLATIONS, model="whisper-1").json
    assert other["model"] == "large-v3"
    assert other["warning"] == "the default model cannot do this: 'large-v3' was used, the nearest in size"
    assert ok(server, language="de").json["model"] == "large-v3"
    failed(post(server, TRANSLATIONS, model="large-v3", task="transcribe"), 400, "task")
    for name in ("json", "text", "srt", "vtt"):
        ok(server, TRANSLATIONS, model="large-v3", response_format=name)


# ---- streams ----


def stream(server, data=None, **fields):
    """The events of a stream: {...} each, and '[DONE]' at last."""
    parts = [("file", "a.wav", wav("03_commands") if data is None else data), ("model", "whisper-1"), ("stream", "true")]
    body, headers = multipart(parts + list(fields.items()))
    with server.connect(timeout=300) as s:
        s.sendall((f"POST {TRANSCRIPTIONS} HTTP/1.1\r\nHost: x\r\nContent-Type: {headers['Content-Type']}\r\n"
                   f"Content-Length: {len(body)}\r\n\r\n").encode() + body)
        got = b"".join(iter(lambda: s.recv(65536), b""))
    head, _, rest = got.decode().partition("\r\n\r\n")
    assert head.startswith("HTTP/1.1 200 "), got
    assert "\r\nContent-Type: text/event-stream" in head and "\r\nX-Job-Id: " in head
    events = [e for e in rest.split("\n\n") if e and not e.startswith(":")]
    assert all(e.startswith("data: ") and "\n" not in e for e in events), rest
    return [openapi_check.check_message(TRANSCRIPTIONS, e[len("data: "):], "POST") for e in events]


def check_stream(events):
    """The text of a stream that is as it should be."""
    assert events[-1] == "[DONE]" and events[-2]["type"] == "transcript.text.done"
    deltas = [e["delta"] for e in events[:-2] if e["type"] == "transcript.text.delta"]
    assert all(deltas) and "".join(deltas) == events[-2]["text"]
    return events[-2]["text"]


def test_a_stream(server):
    events = stream(server)
    text = check_stream(events)
    assert plain(text) == plain(SPOKEN)
    whole = ok(server).json
    assert events[-2] == {"type": "transcript.text.done", "text": whole["text"], "usage": whole["usage"], "model": "base.en"}
    assert {e["type"] for e in events[:-2]} == {"transcript.text.delta"}
    assert check_stream(stream(server, response_format="text")) == text
    assert stream(server, data=wav("12_silence"))[0]["text"] == ""


def test_a_long_stream(server):
    """Many chunks, which are done in any order: the deltas are in theirs."""
    events = stream(server, data=wav("10_long"))
    assert check_stream(events) == ok(server, data=wav("10_long")).json["text"]
    assert len(events) > 5


def test_a_stream_with_segments(server):
    verbose = ok(server, response_format="verbose_json", timestamp_granularities=["word", "segment"]).json
    body = {"response_format": "verbose_json", "timestamp_granularities[]": "word"}
    events = stream(server, **body)
    check_stream(events)
    segments = [e for e in events[:-2] if e["type"] == "transcript.text.segment"]
    assert [(s["start"], s["end"], " " + s["text"]) for s in segments] == [
        (s["start"], s["end"], s["text"]) for s in verbose["segments"]]
    assert len({s["id"] for s in segments}) == len(segments)
    assert [w for s in segments for w in s["words"]] == verbose["words"]
    assert "words" not in stream(server, response_format="verbose_json")[1]


def test_a_stream_with_logprobs(server):
    events = stream(server, **{"include[]": "logprobs"})
    check_stream(events)
    for e in events[:-2]:
        assert "".join(p["token"] for p in e["logprobs"]) == e["delta"]
    whole = ok(server, include__="logprobs").json["logprobs"]
    assert [p for e in events[:-2] for p in e["logprobs"]] == whole


def test_a_stream_of_a_bad_recording(server):
    (event,) = stream(server, data=b"RIFF\0\0\0\0WAVE and then nothing of the kind")
    assert event["error"]["type"] == "invalid_request_error" and event["error"]["code"] == "bad_recording"


def test_a_stream_begins_before_the_end(models):
    """Its first text comes while the job is still in work; who leaves then cancels it."""
    server = Server(*QUICK, *EXACT, f"--model-path={models}", "--model=base.en")
    try:
        body, headers = multipart([("file", "a.wav", wav("10_long")), ("model", "whisper-1"), ("stream", "true"),
                                   ("decode_mode", "sequential")])
        with server.connect() as s:
            s.sendall((f"POST {TRANSCRIPTIONS} HTTP/1.1\r\nHost: x\r\nContent-Type: {headers['Content-Type']}\r\n"
                       f"Content-Length: {len(body)}\r\n\r\n").encode() + body)
            s.settimeout(120)
            got = b""
            while b"transcript.text.delta" not in got:
                piece = s.recv(65536)
                assert piece, got
                got += piece
            assert b"[DONE]" not in got
            job_id = re.search(rb"X-Job-Id: (\S+)", got).group(1).decode()
            assert server.job(job_id)["status"] == "processing"
        assert server.wait_job(job_id)["status"] == "cancelled"
    finally:
        server.close()


# ---- models ----


def test_list_of_models(server):
    listed = wait_for("models in the list", lambda: server.ask("GET", "/v1/models").json["data"])
    answer = server.ask("GET", "/v1/models")
    assert answer.headers["content-type"] == "application/json" and answer.json["object"] == "list"
    by_id = {m["id"]: m for m in listed}
    assert len(by_id) == len(listed)
    for m in listed:
        assert m["object"] == "model" and m["created"] > 0 and m["owned_by"] == "steno" and m["engine"] == "whisper"
    base, large = by_id["base.en"], by_id["large-v3"]
    assert "alias_of" not in base and base["size"] == (FIXTURE / "fixture.bin").stat().st_size
    assert (base["multilingual"], base["can_translate"], base["default"]) == (False, False, True)
    assert (large["multilingual"], large["can_translate"], large["default"]) == (True, True, False)
    aliases = {m["id"]: m["alias_of"] for m in listed if "alias_of" in m}
    assert aliases["whisper-1"] == aliases["gpt-4o-transcribe"] == aliases["mine"] == "base.en"
    assert aliases["large"] == "large-v3" and "turbo" not in aliases


def test_one_model(server):
    wait_for("models in the list", lambda: server.ask("GET", "/v1/models").json["data"])
    for name, of in (("base.en", None), ("whisper-1", "base.en"), ("openai/whisper-large-v3", "large-v3"),
                     ("Systran%2Ffaster-whisper-base.en", "base.en"), ("mine", "base.en")):
        answer = server.ask("GET", f"/v1/models/{name}")
        assert answer.status == 200 and answer.json["id"] == name.replace("%2F", "/")
        assert answer.json.get("alias_of") == of
    for name in ("medium", "nothing", "a/b"):
        assert "/v1/models" in failed(server.ask("GET", f"/v1/models/{name}"), 404, "model", "model_not_found")


def test_a_model_is_loaded_once_used(server):
    ok(server, model="large-v3")
    wait_for("it shows", lambda: server.ask("GET", "/v1/models/large-v3").json["loaded"])


def test_no_worker_no_models():
    server = Server(role="api")
    try:
        assert server.ask("GET", "/v1/models").json == {"object": "list", "data": []}
        failed(server.ask("GET", "/v1/models/whisper-1"), 404, "model", "model_not_found")
    finally:
        server.close()


# ---- waiting ----


def send_only(server, *head, **fields):
    """A socket on which a whole request was sent; `head`: further header lines."""
    body, headers = multipart([("file", "a.wav", b"RIFF"), ("model", "whisper-1"), *fields.items()])
    s = server.connect()
    lines = [f"POST {TRANSCRIPTIONS} HTTP/1.1", "Host: x", f"Content-Type: {headers['Content-Type']}",
             f"Content-Length: {len(body)}", "Connection: close", *head, "", ""]
    s.sendall("\r\n".join(lines).encode() + body)
    return s


def send(server, *head, **fields):
    """... and the job it became."""
    known = {row[0] for row in server.sql("SELECT id FROM jobs")}
    s = send_only(server, *head, **fields)
    return s, wait_for("the job", lambda: {row[0] for row in server.sql("SELECT id FROM jobs")} - known).pop()


def read_all(s):
    with s, s.makefile("rb") as f:
        return f.read()


def test_a_client_that_leaves_cancels_its_job():
    server = Server(role="api")
    try:
        s, job_id = send(server)
        stays, other_id = send(server)
        assert server.job(job_id)["status"] == "pending"
        s.close()
        assert server.wait_job(job_id)["status"] == "cancelled"
        assert server.job(other_id)["status"] == "pending"
        stays.close()
    finally:
        server.close()


@pytest.mark.parametrize("stream", ["false", "true"])
def test_a_client_with_a_key_may_leave_and_come_back(stream):
    """Another request waits for the same job, and one that comes later gets its text, too."""
    server = Server(role="api")
    worker = None
    try:
        s, job_id = send(server, "Idempotency-Key: k", stream=stream)
        stays = send_only(server, "Idempotency-Key: k", stream=stream)
        s.close()
        time.sleep(1)
        assert server.job(job_id)["status"] == "pending"
        worker = Server(*QUICK, "--engine=null", role="worker", data=server.data)
        for answer in (read_all(stays), read_all(send_only(server, "Idempotency-Key: k", stream=stream))):
            assert answer.startswith(b"HTTP/1.1 200 ") and job_id.encode() in answer
            assert (b"data: [DONE]" if stream == "true" else b'"text"') in answer
        assert server.sql("SELECT id, state FROM jobs") == [(job_id, "completed")]
    finally:
        if worker:
            worker.close()
        server.close()


def test_a_client_that_leaves_stops_the_work(models):
    """The worker is in the middle of it."""
    server = Server(*QUICK, *EXACT, f"--model-path={models}", "--model=base.en", "--log-level=debug")
    try:
        long = wav("10_long")
        body, headers = multipart([("file", "a.wav", long), ("model", "whisper-1"), ("decode_mode", "sequential")])
        with server.connect() as s:
            s.sendall((f"POST {TRANSCRIPTIONS} HTTP/1.1\r\nHost: x\r\nContent-Type: {headers['Content-Type']}\r\n"
                       f"Content-Length: {len(body)}\r\n\r\n").encode() + body)

            def begun():
                rows = server.sql("SELECT id FROM jobs WHERE chunks_done > 0 AND state = 'processing'")
                return rows and rows[0][0]

            job_id = wait_for("its first chunk", begun)
        assert server.wait_job(job_id)["status"] == "cancelled"
        wait_for("the worker stops", lambda: re.search(r"dropped at \w+: ", server.log()))
    finally:
        server.close()


def test_a_job_that_takes_too_long():
    server = Server("--sync-time-limit=1s", role="api")
    worker = None
    try:
        answer = post(server, data=b"RIFF")
        job_id = answer.headers["x-job-id"]
        message = failed(answer, 504, code="job_late")
        assert f"/v1/jobs/{job_id}" in message and answer.headers["x-should-retry"] == "false"
        assert server.job(job_id)["status"] == "pending"
        worker = Server(*QUICK, "--engine=null", role="worker", data=server.data)
        assert server.wait_job(job_id)["status"] == "completed"
    finally:
        if worker:
            worker.close()
        server.close()


def test_a_job_that_is_cancelled_by_another():
    server = Server(role="api")
    try:
        s, job_id = send(server)
        assert server.ask("DELETE", f"/v1/jobs/{job_id}").status == 200
        (answer,) = read_answers(s)
        assert job_id in failed(answer, 409, code="job_cancelled") and answer.headers["x-should-retry"] == "false"
        s, job_id = send(server)
        assert server.ask("DELETE", f"/v1/jobs/{job_id}?purge=true").status == 204
        (answer,) = read_answers(s)
        failed(answer, 409, code="job_cancelled")
    finally:
        server.close()


def stream_error(s):
    """The one event of a stream that began, whose head was read already."""
    (event,) = read_all(s).decode().split("\n\n")[:-1]
    assert event.startswith("data: ")
    return json.loads(event[len("data: "):])["error"]


def begin_stream(server, *head):
    """A socket with the head of the answer read, and the job."""
    s, job_id = send(server, *head, stream="true")
    got = b""
    while not got.endswith(b"\r\n\r\n"):
        piece = s.recv(1)
        assert piece, got
        got += piece
    assert got.startswith(b"HTTP/1.1 200 "), got
    return s, job_id


def test_a_streamed_job_that_is_removed():
    """With its cancel, or without that it was seen: nothing of it is there to be told of."""
    server = Server(role="api")
    try:
        s, job_id = begin_stream(server)
        execute(server, ("DELETE FROM jobs WHERE id = ?", job_id))
        error = stream_error(s)
        assert error["code"] == "job_cancelled" and error["message"] == f"job {job_id} was removed before it ended"
        s, job_id = begin_stream(server)
        assert server.ask("DELETE", f"/v1/jobs/{job_id}?purge=true").status == 204
        assert stream_error(s)["code"] == "job_cancelled"
    finally:
        server.close()


@pytest.mark.parametrize("key", [(), ("Idempotency-Key: k",)])
@pytest.mark.parametrize("streamed", [False, True])
def test_a_server_that_stops(streamed, key):
    """It answers at once, and the job is given up: the client will send it again. One with a key comes back to it."""
    server = Server(role="api")
    try:
        s, job_id = begin_stream(server, *key) if streamed else send(server, *key)
        server.process.send_signal(signal.SIGTERM)
        if streamed:
            error = stream_error(s)
            assert (error["type"], error["code"]) == ("server_error", "shutting_down")
        else:
            (answer,) = read_answers(s)
            failed(answer, 503, code="shutting_down")
            assert answer.headers["retry-after"]
        assert server.process.wait(30) == 0
        assert server.sql("SELECT state FROM jobs WHERE id = ?", job_id) == [("pending" if key else "cancelled",)]
    finally:
        server.close()


def test_many_wait_at_once():
    """More than there are threads of any kind; other requests are answered meanwhile."""
    flags = ["--work-threads=2", "--storage-threads=2", "--http-threads=1"]
    server = Server(*flags, role="api")
    worker = None
    try:
        answers, threads = [], []
        for _ in range(40):
            threads.append(threading.Thread(target=lambda: answers.append(post(server, data=b"RIFF"))))
            threads[-1].start()
        wait_for("all of them are accepted", lambda: server.rows()["jobs"] == 40)
        began = time.monotonic()
        assert server.ask("GET", "/health").status == 200
        assert time.monotonic() - began < 10
        worker = Server(*QUICK, "--engine=null", role="worker", data=server.data)
        for t in threads:
            t.join(120)
        assert [a.status for a in answers] == [200] * 40
    finally:
        if worker:
            worker.close()
        server.close()
