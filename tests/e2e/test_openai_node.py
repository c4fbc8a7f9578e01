# SPDX-License-Identifier: MIT
"""openai: OpenAI's own client for Node.js against the server, where npm is there."""

import json
import shutil
import subprocess
import tempfile
from pathlib import Path

import fetched
import pytest
from steno_server import FIXTURE, QUICK, Server, wait_for

WAV = FIXTURE / "wav" / "03_commands.wav"
SPOKEN = "open the red box. turn off the light please. where is the small dog?"
# Runs `body`, which gives a value or throws, and prints what came of it.
SCRIPT = """
const fs = require('fs');
const { createRequire } = require('module');
const load = createRequire(process.argv[1] + '/');
const [url, wav, maxRetries, fetches] = process.argv.slice(2, 6);
if (fetches) {
  globalThis.File ??= require('buffer').File;
  load('openai/shims/web');
}
const OpenAI = load('openai');
const client = new OpenAI({ baseURL: url + '/v1', apiKey: 'none', maxRetries: Number(maxRetries) });
const recording = () => fetches ? OpenAI.toFile(fs.readFileSync(wav), 'speech.wav') : fs.createReadStream(wav);
const transcribe = async (more) =>
  client.audio.transcriptions.create({ file: await recording(), model: 'whisper-1', ...more });
(async () => { BODY })().then(
  (value) => console.log(JSON.stringify({ value })),
  (e) => console.log(JSON.stringify({ error: e.constructor.name, status: e.status, code: e.code, param: e.param })));
"""


@pytest.fixture(scope="module")
def package():
    return fetched.node_client()


def run_node(package, server, body, retries=0, fetch=False):
    """`fetch`: the client sends with Node's own fetch. What it sends otherwise is a stream, which it cannot send twice."""
    done = subprocess.run(["node", "-e", SCRIPT.replace("BODY", body), package, server.url, WAV, str(retries), "1" if fetch else ""],
                          capture_output=True, text=True, timeout=300)
    assert done.returncode == 0 and done.stdout, done.stderr
    return json.loads(done.stdout.splitlines()[-1])


@pytest.fixture(scope="module")
def node(package):
    folder = Path(tempfile.mkdtemp(prefix="steno-e2e-models-"))
    (folder / "ggml-base.en.bin").symlink_to(FIXTURE / "fixture.bin")
    server = Server(*QUICK, "--engine=whisper", "--precision=f32", "--threads=2", f"--model-path={folder}", "--model=base.en")
    wait_for("models", lambda: server.ask("GET", "/v1/models").json["data"])

    yield lambda body: run_node(package, server, body)
    server.close()
    shutil.rmtree(folder)


def test_formats(node):
    assert node("return (await transcribe()).text") == {"value": SPOKEN}
    assert node("return await transcribe({response_format: 'text'})") == {"value": SPOKEN + "\n"}
    assert node("return await transcribe({response_format: 'srt'})")["value"].startswith("1\n00:00:00,")
    got = node("return await transcribe({response_format: 'verbose_json', timestamp_granularities: ['word', 'segment']})")
    verbose = got["value"]
    assert (verbose["text"], verbose["language"]) == (SPOKEN, "english")
    assert " ".join(w["word"] for w in verbose["words"]) == SPOKEN and len(verbose["segments"]) == 3


def test_a_stream(node):
    events = node("const all = []; for await (const e of await transcribe({stream: true})) all.push(e); return all")["value"]
    assert "".join(e["delta"] for e in events[:-1]) == SPOKEN and events[-1]["text"] == SPOKEN


def test_models(node):
    assert {"base.en", "whisper-1"} <= set(node("const ids = []; for await (const m of client.models.list()) ids.push(m.id); "
                                                "return ids")["value"])
    assert node("return (await client.models.retrieve('whisper-1')).alias_of") == {"value": "base.en"}


def test_errors(node):
    assert node("return await transcribe({response_format: 'diarized_json'})") == {
        "error": "BadRequestError", "status": 400, "code": "bad_field", "param": "response_format"}
    assert node("return await client.models.retrieve('nothing')") == {
        "error": "NotFoundError", "status": 404, "code": "model_not_found", "param": "model"}


def test_it_does_not_repeat_what_is_no_use(package):
    """A job that takes too long goes on: sent again, it would be done twice."""
    server = Server("--sync-time-limit=1s", role="api")
    try:
        assert run_node(package, server, "return await transcribe()", retries=2, fetch=True) == {
            "error": "InternalServerError", "status": 504, "code": "job_late", "param": None}
        assert server.rows()["jobs"] == 1
    finally:
        server.close()


def test_it_repeats_what_may_go_well_later(package):
    server = Server(*QUICK, "--engine=pocketsphinx", "--model-path=/nowhere", "--max-attempts=1")
    try:
        got = run_node(package, server, "return await transcribe()", retries=1, fetch=True)
        assert (got["error"], got["status"]) == ("InternalServerError", 503)
        assert server.rows()["jobs"] == 2
    finally:
        server.close()
