# SPDX-License-Identifier: MIT
"""openai: OpenAI's own client for Python against the server: what it sends, and what it makes of the answers."""

import concurrent.futures
import shutil
import subprocess
import tempfile
import threading
import time
from pathlib import Path

import fetched
import openapi_check
import pytest
from steno_server import FIXTURE, QUICK, Server, wait_for

openai = fetched.python_client()
openapi_check.watch_httpx()

WAV = FIXTURE / "wav" / "03_commands.wav"
SPOKEN = "open the red box. turn off the light please. where is the small dog?"


@pytest.fixture(scope="module")
def models():
    folder = Path(tempfile.mkdtemp(prefix="steno-e2e-models-"))
    (folder / "ggml-base.en.bin").symlink_to(FIXTURE / "fixture.bin")
    subprocess.run([FIXTURE / "make_model", "random", "nano-multi", folder / "ggml-large-v3.bin"], check=True)
    yield folder
    shutil.rmtree(folder)


@pytest.fixture(scope="module")
def server(models):
    s = Server(*QUICK, "--engine=whisper", "--precision=f32", "--threads=2", f"--model-path={models}", "--model=base.en")
    yield s
    s.close()


def client_of(server, **kw):
    return openai.OpenAI(base_url=f"{server.url}/v1", api_key="none", **kw)


@pytest.fixture(scope="module")
def client(server):
    return client_of(server, max_retries=0)


def transcribe(client, **kw):
    with WAV.open("rb") as f:
        return client.audio.transcriptions.create(**{"file": f, "model": "whisper-1"} | kw)


def test_formats(client):
    assert transcribe(client).text == SPOKEN
    assert transcribe(client, response_format="text") == SPOKEN + "\n"
    assert transcribe(client, response_format="srt").startswith("1\n00:00:00,")
    assert transcribe(client, response_format="vtt").startswith("WEBVTT\n\n00:00:00.")
    got = transcribe(client)
    assert got.usage.type == "duration" and 8 < got.usage.seconds < 9


def test_verbose(client):
    got = transcribe(client, response_format="verbose_json", timestamp_granularities=["word", "segment"])
    assert type(got).__name__ == "TranscriptionVerbose"
    assert (got.text, got.language) == (SPOKEN, "english") and 8 < got.duration < 9
    assert "".join(s.text for s in got.segments).strip() == SPOKEN
    assert " ".join(w.word for w in got.words) == SPOKEN
    assert [s.id for s in got.segments] == list(range(len(got.segments)))
    # Nothing is missing that the client's types promise.
    type(got).model_validate(got.model_dump())
    words = transcribe(client, response_format="verbose_json", timestamp_granularities=["word"])
    assert words.segments is None and words.words == got.words


def test_logprobs(client):
    got = transcribe(client, model="gpt-4o-transcribe", include=["logprobs"])
    assert "".join(p.token for p in got.logprobs) == SPOKEN and all(p.logprob <= 0 for p in got.logprobs)


def test_every_field(client, server):
    raw = client.audio.transcriptions.with_raw_response.create(
        file=("speech.wav", WAV.read_bytes(), "audio/wav"), model="base.en", language="en", prompt="boxes", temperature=0.2,
        response_format="json", chunking_strategy={"type": "server_vad", "threshold": 0.5}, keywords=["lamp", "curtain"],
        languages=["en"], stream=False, extra_body={"queue": "normal"})
    assert raw.parse().text
    job = server.job(raw.headers["x-job-id"])
    assert (job["filename"], job["content_type"], job["queue"]) == ("speech.wav", "audio/wav", "normal")
    assert (job["language"], job["prompt"]) == ("en", "boxes")
    assert job["options"] == {"hotwords": "lamp,curtain", "temperature": 0.2}
    assert transcribe(client, chunking_strategy="auto", temperature=0).text == SPOKEN


def test_stream(client):
    for kw in ({}, {"include": ["logprobs"]}, {"response_format": "verbose_json"}):
        events = list(transcribe(client, stream=True, **kw))
        assert events[-1].type == "transcript.text.done" and events[-1].text == SPOKEN
        assert "".join(e.delta for e in events if e.type == "transcript.text.delta") == SPOKEN


def test_translations(client):
    with WAV.open("rb") as f:
        got = client.audio.translations.create(file=f, model="large-v3", response_format="verbose_json")
    assert got.language == "english" and got.text is not None


def test_models(client):
    listed = wait_for("models", lambda: client.models.list().data)
    assert {"base.en", "large-v3", "whisper-1"} <= {m.id for m in listed}
    assert client.models.retrieve("whisper-1").alias_of == "base.en"
    with pytest.raises(openai.NotFoundError) as e:
        client.models.retrieve("nothing")
    assert (e.value.code, e.value.param) == ("model_not_found", "model")


def test_errors(client):
    with pytest.raises(openai.BadRequestError) as e:
        transcribe(client, response_format="diarized_json")
    assert (e.value.param, e.value.type) == ("response_format", "invalid_request_error")
    assert "speakers" in e.value.body["message"]
    with pytest.raises(openai.BadRequestError) as e:
        transcribe(client, file=("a.wav", b""))
    assert e.value.code == "empty_file"
    with pytest.raises(openai.BadRequestError) as e:
        transcribe(client, file=("a.wav", b"RIFF\0\0\0\0WAVE and then nothing of the kind"))
    assert e.value.code == "bad_recording" and e.value.request_id
    with pytest.raises(openai.APIError, match="not a recording"):
        list(transcribe(client, file=("a.wav", b"RIFF\0\0\0\0WAVE and then nothing of the kind"), stream=True))


def test_it_does_not_repeat_what_is_no_use():
    """A job that takes too long goes on: sent again, it would be done twice."""
    server = Server("--sync-time-limit=1s", role="api")
    try:
        with pytest.raises(openai.InternalServerError) as e:
            transcribe(client_of(server, max_retries=2))
        assert e.value.status_code == 504 and e.value.code == "job_late"
        assert server.rows()["jobs"] == 1
    finally:
        server.close()


def test_it_repeats_what_may_go_well_later():
    server = Server(*QUICK, "--engine=pocketsphinx", "--model-path=/nowhere", "--max-attempts=1")
    try:
        with pytest.raises(openai.InternalServerError) as e:
            transcribe(client_of(server, max_retries=1))
        assert e.value.status_code == 503
        assert server.rows()["jobs"] == 2
    finally:
        server.close()


def test_a_timeout_of_the_client_cancels_the_job():
    server = Server(role="api")
    try:
        with pytest.raises(openai.APITimeoutError):
            transcribe(client_of(server, max_retries=0, timeout=2))
        (job_id,) = server.sql("SELECT id FROM jobs")[0]
        assert server.wait_job(job_id)["status"] == "cancelled"
    finally:
        server.close()


def test_a_stream_that_is_closed_cancels_the_job():
    server = Server(role="api")
    try:
        events = transcribe(client_of(server), stream=True)
        closer = threading.Thread(target=lambda: (time.sleep(0.5), events.close()))
        closer.start()
        closer.join()
        (job_id,) = server.sql("SELECT id FROM jobs")[0]
        assert server.wait_job(job_id)["status"] == "cancelled"
    finally:
        server.close()


def test_many_at_once(client):
    """On a few connections that are used again."""
    with concurrent.futures.ThreadPoolExecutor(6) as pool:
        assert [t.text for t in pool.map(lambda _: transcribe(client), range(18))] == [SPOKEN] * 18
