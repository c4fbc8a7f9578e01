# SPDX-License-Identifier: MIT
"""Names of models: aliases, the nearest one installed, and models that are missing."""

import json
import shutil
import subprocess
import tempfile
from pathlib import Path

import pytest
from steno_server import FIXTURE, QUICK, STENO, Server, clean_env, wait_for

EXACT = ["--engine=whisper", "--precision=f32", "--threads=2"]
WORD = FIXTURE / "wav" / "02_one_word.wav"


@pytest.fixture(scope="module")
def models():
    """Models by the names of sizes: the real one knows English only, the random one all languages."""
    folder = Path(tempfile.mkdtemp(prefix="steno-e2e-models-"))
    (folder / "ggml-base.en.bin").symlink_to(FIXTURE / "fixture.bin")
    subprocess.run([FIXTURE / "make_model", "random", "nano-multi", folder / "ggml-large-v3.bin"], check=True)
    (folder / "ggml-broken.bin").write_bytes(b"no model at all")
    yield folder
    shutil.rmtree(folder)


@pytest.fixture(scope="module")
def server(models):
    s = Server(*QUICK, *EXACT, f"--model-path={models}", "--model=base.en", "--model-aliases=mine=base.en, theirs=auto")
    yield s
    s.close()


def run(server, **fields):
    """(what was asked for, what was used, the warning) of a job with these fields."""
    answer = server.submit(WORD.read_bytes(), "a.wav", fields=fields)
    assert answer.status == 202, answer
    ended = server.wait_job(answer.json["id"])
    assert ended["status"] == "completed", ended
    stored = server.ask("GET", f"/v1/jobs/{ended['id']}/transcript?format=verbose_json").json
    assert (stored["model"], stored["warning"]) == (ended["result"]["model"], ended["result"]["warning"])
    return ended["model"], ended["result"]["model"], ended["result"]["warning"]


def test_names_of_what_is_there(server):
    assert run(server) == (None, "base.en", None)
    for name, used in {"base.en": "base.en", "mine": "base.en", "theirs": "base.en", "whisper-1": "base.en",
                       "gpt-4o-transcribe": "base.en", "large": "large-v3", "Systran/faster-whisper-large-v3": "large-v3",
                       "openai/whisper-base.en": "base.en"}.items():
        assert run(server, model=name) == (name, used, None)


def test_the_nearest(server):
    def nearest(name, used):
        return name, used, f"model '{name}' is not installed: '{used}' was used, the nearest in size"

    assert run(server, model="tiny.en") == nearest("tiny.en", "base.en")
    assert run(server, model="medium") == nearest("medium", "large-v3")
    assert run(server, model="turbo") == nearest("turbo", "large-v3")
    # "base" knows many languages: what stands for it must too, unless English is asked for.
    assert run(server, model="base") == nearest("base", "large-v3")
    assert run(server, model="base", language="en") == nearest("base", "base.en")
    assert run(server, model="nova-2") == ("nova-2", "base.en",
                                           "model 'nova-2' is not installed: the default model was used")


def test_no_path_is_a_model(server, models):
    """What looks like one is a name with an owner before it."""
    (models / "sub").mkdir()
    (models / "sub" / "own.bin").symlink_to(FIXTURE / "fixture.bin")
    assert run(server, model="sub/own.bin")[1:] == ("base.en", "model 'sub/own.bin' is not installed: the default model "
                                                    "was used")


def test_a_model_is_found_when_it_comes(server, models):
    assert run(server, model="tiny.en")[1] == "base.en"
    (models / "tiny.en.bin").symlink_to(FIXTURE / "fixture.bin")
    assert run(server, model="tiny.en") == ("tiny.en", "tiny.en", None)
    (models / "tiny.en.bin").unlink()
    assert run(server, model="tiny.en")[1] == "base.en"


def test_missing_is_an_error(models):
    server = Server(*QUICK, *EXACT, f"--model-path={models}", "--model=base.en", "--model-missing=error")
    try:
        answer = server.submit(WORD.read_bytes(), "a.wav", fields={"model": "medium"})
        assert (answer.status, answer.code) == (422, "model_not_found")
        assert answer.json["detail"] == "there is no model 'medium' here: use base.en, large-v3"
        assert (server.rows()["jobs"], server.objects()) == (0, [])
        assert run(server, model="large")[1] == "large-v3"
        assert run(server, model="whisper-1")[1] == "base.en"
    finally:
        server.close()


def test_a_worker_elsewhere_fails_the_job(models):
    """The api knows no models then."""
    worker_flags = [*QUICK, *EXACT, f"--model-path={models}", "--model=base.en", "--model-missing=error"]
    server = Server(role="api")
    worker = None
    try:
        job = server.submit(WORD.read_bytes(), "a.wav", fields={"model": "medium"}).json
        worker = Server(*worker_flags, role="worker", data=server.data)
        ended = server.wait_job(job["id"])
        assert (ended["status"], ended["error"]["code"], ended["attempt"]) == ("failed", "invalid", 1)
        assert "there is no model 'medium' here" in ended["error"]["message"]
    finally:
        if worker:
            worker.close()
        server.close()


def test_an_api_elsewhere_asks_the_workers(models):
    """With the same setting it refuses what none of them has; what it cannot know it leaves to them."""
    server = Server("--model-missing=error", "--model-aliases=mine=base.en", role="api")
    worker = None
    try:
        early = server.submit(WORD.read_bytes(), "a.wav", fields={"model": "medium"})
        assert early.status == 202
        worker = Server(*QUICK, *EXACT, f"--model-path={models}", "--model=base.en", "--model-missing=error", role="worker",
                        data=server.data)
        assert server.wait_job(early.json["id"])["status"] == "failed"
        wait_for("models", lambda: server.ask("GET", "/v1/models").json["data"])
        answer = server.submit(WORD.read_bytes(), "a.wav", fields={"model": "medium"})
        assert (answer.status, answer.code) == (422, "model_not_found") and "use base.en, large-v3" in answer.json["detail"]
        for fields in ({"model": "whisper-1"}, {"model": "large"}, {"model": "mine"}, {"model": "medium", "engine": "null"}):
            assert server.submit(WORD.read_bytes(), "a.wav", fields=fields).status == 202, fields
    finally:
        if worker:
            worker.close()
        server.close()


def test_the_default_of_the_settings(models):
    for setting, used, warned in (("turbo", "large-v3", True), ("large", "large-v3", False), ("small.en", "base.en", True)):
        server = Server(*QUICK, *EXACT, f"--model-path={models}", f"--model={setting}")
        try:
            assert run(server) == (None, used, None)
            assert run(server, model="whisper-1") == ("whisper-1", used, None)
            line = f"in the settings: model '{setting}' is not installed: '{used}' was used, the nearest in size"
            assert server.log().count(line) == warned
        finally:
            server.close()


def test_a_default_that_is_missing_and_must_not(models):
    server = Server(*QUICK, *EXACT, f"--model-path={models}", "--model=medium", "--model-missing=error")
    try:
        answer = server.submit(WORD.read_bytes(), "a.wav")
        assert (answer.status, answer.code) == (422, "impossible_request")
        assert "there is no model 'medium' here: use base.en, large-v3" in answer.json["detail"]
    finally:
        server.close()


def test_the_first_model_is_the_default(tmp_path):
    """Not the first file: PocketSphinx's models end in .bin too."""
    (tmp_path / "another-lm.bin").write_bytes(b"not for Whisper")
    (tmp_path / "ggml-base.en.bin").symlink_to(FIXTURE / "fixture.bin")
    server = Server(*QUICK, *EXACT, f"--model-path={tmp_path}")
    try:
        assert run(server) == (None, "base.en", None)
    finally:
        server.close()


def test_aliases_that_are_none():
    for role in ("api", "worker"):
        done = subprocess.run([STENO, role, "--model-aliases=whisper-1", "--listen=127.0.0.1:0", "--data=data"],
                              capture_output=True, text=True, timeout=60, env=clean_env(), cwd=tempfile.mkdtemp())
        assert done.returncode != 0 and "model_aliases: 'whisper-1' is not like 'whisper-1=base'" in done.stderr


def test_commands(server, steno, models):
    out = steno.ok("submit", "--server", server.url, "--wait", "--model=mine", WORD)
    assert out.strip()
    flags = [*EXACT, f"--model-path={models}", f"--data={models / 'data'}"]
    exact = steno("transcribe", *flags, "-f", "json", "--model=base.en", WORD)
    assert (exact.status, exact.err) == (0, "")
    for more, used, warning in (
        (["--model=small.en"], "base.en", "model 'small.en' is not installed: 'base.en' was used, the nearest in size"),
        (["--model=Systran/faster-whisper-base.en"], "base.en", None),
        (["--model=mine", "--model-aliases=mine=base.en"], "base.en", None),
        (["--model=large"], "large-v3", None),
        ([f"--model={models / 'ggml-base.en.bin'}"], str(models / "ggml-base.en.bin"), None),
    ):
        done = steno("transcribe", *flags, "-f", "json", *more, WORD)
        got = json.loads(done.out)
        assert (done.status, got["model"], got["warning"]) == (0, used, warning), more
        assert (warning or "") in done.err
    done = steno("transcribe", *flags, "--model=small.en", "--model-missing=error", WORD)
    assert done.status != 0 and done.out == "" and "there is no model 'small.en' here: use base.en, large-v3" in done.err
