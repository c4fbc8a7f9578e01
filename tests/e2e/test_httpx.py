# SPDX-License-Identifier: MIT
"""The client library httpx against native and OpenAI routes: submissions, events to the end, errors."""

import asyncio
import json

import httpx
import openapi_check
import pytest
from dialects import recording, whisper_models
from steno_server import QUICK, Server

NAME = "10_long"

openapi_check.watch_httpx()


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    s = Server(*QUICK, *whisper_models(tmp_path_factory.mktemp("models")), "--model=small")
    yield s
    s.close()


@pytest.fixture
def client(server):
    with httpx.Client(base_url=server.url, timeout=120) as c:
        yield c


def data_of(lines):
    """Each event's data."""
    return [line.removeprefix("data: ").rstrip("\n") for line in lines if line.startswith("data: ")]


def check_followed(events, transcript):
    assert events[0]["type"] == "snapshot" and events[-1]["type"] == "end" and events[-1]["status"] == "completed"
    chunks = [e for e in events if e["type"] == "chunk"]
    assert len(chunks) >= 3 and [c["index"] for c in chunks] == list(range(len(chunks)))
    assert " ".join(c["text"] for c in chunks if c["text"]) == transcript["text"]


def test_submit_and_follow(client):
    submitted = client.post("/v1/jobs", files={"file": ("long.wav", recording(NAME), "audio/wav")})
    assert submitted.status_code == 202
    job = submitted.headers["location"]
    with client.stream("GET", f"{job}/events", params={"since": 0}) as answer:
        assert answer.status_code == 200 and answer.headers["content-type"] == "text/event-stream"
        events = [json.loads(d) for d in data_of(answer.iter_lines())]
    check_followed(events, client.get(f"{job}/transcript", params={"format": "json"}).json())
    assert client.get(f"{job}/transcript", params={"format": "srt"}).text.startswith("1\n00:00:0")


def test_asynchronously(server):
    """The body is made on the way, so that it has no length before."""
    async def body():
        content = recording(NAME)
        for at in range(0, len(content), 65536):
            yield content[at:at + 65536]

    async def run():
        async with httpx.AsyncClient(base_url=server.url, timeout=120) as client:
            submitted = await client.post("/v1/jobs", content=body(), headers={"Content-Type": "audio/wav"})
            assert submitted.request.headers["transfer-encoding"] == "chunked" and submitted.status_code == 202
            job = submitted.headers["location"]
            async with client.stream("GET", f"{job}/events?since=0") as answer:
                events = [json.loads(d) for d in data_of([line async for line in answer.aiter_lines()])]
            return events, (await client.get(f"{job}/transcript?format=json")).json()

    check_followed(*asyncio.run(run()))


def test_a_live_transcript(client):
    """The text comes while the work goes on, and its parts are the whole."""
    with client.stream("POST", "/v1/audio/transcriptions", files={"file": ("long.wav", recording(NAME))},
                       data={"model": "small", "stream": "true"}) as answer:
        assert answer.status_code == 200 and answer.headers["content-type"] == "text/event-stream"
        *events, last = data_of(answer.iter_lines())
    assert last == "[DONE]"
    *deltas, done = [json.loads(e) for e in events]
    assert len(deltas) >= 3 and done["type"] == "transcript.text.done"
    assert "".join(d["delta"] for d in deltas) == done["text"] != ""


def test_errors(client):
    missing = client.get("/v1/jobs/nothing")
    with pytest.raises(httpx.HTTPStatusError) as e:
        missing.raise_for_status()
    assert e.value.response.status_code == 404 and e.value.response.json()["code"] == "job_not_found"
    assert client.post("/v1/jobs", files={"file": ("a.wav", b"")}).json()["code"] == "empty_file"
    with client.stream("GET", "/v1/jobs/nothing/events") as answer:
        assert answer.status_code == 404 and json.loads(answer.read())["code"] == "job_not_found"


def test_answers_are_held_against_the_document(server, client, monkeypatch):
    seen = []
    monkeypatch.setattr(openapi_check, "check", lambda method, path, status, headers, body, direct: seen.append((method, path, status)))
    client.get("/health")

    async def ask():
        async with httpx.AsyncClient(base_url=server.url) as c:
            await c.get("/v1/nothing")

    asyncio.run(ask())
    assert seen == [("GET", "/health", 200), ("GET", "/v1/nothing", 404)]
