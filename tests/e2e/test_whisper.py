# SPDX-License-Identifier: MIT
"""Whisper as the engine of the service and of `transcribe`: on the small real model, and on random ones of other kinds."""

import json
import re
import shutil
import signal
import subprocess
import tempfile
import threading
from pathlib import Path

import pytest
from steno_server import FIXTURE, QUICK, ROOT, STENO, Server, clean_env, wait_for
from wer import distance, words

REFERENCE = json.loads((ROOT / "tests" / "fixture" / "reference.json").read_text())
OTHERS = ROOT / "tests" / "fixture" / "whisper.cpp"
# Exact sums, so that texts can be compared; two threads, because tests run beside each other.
EXACT = ["--engine=whisper", "--model=fixture.en", "--precision=f32", "--threads=2"]
LONG = "10_long"


def wav(name):
    return FIXTURE / "wav" / f"{name}.wav"


@pytest.fixture(scope="module")
def models():
    """A model folder: the real model, and random ones that know many languages."""
    folder = Path(tempfile.mkdtemp(prefix="steno-e2e-models-"))
    (folder / "ggml-fixture.en.bin").symlink_to(FIXTURE / "fixture.bin")
    for shape in ("nano-multi", "nano-turbo"):
        subprocess.run([FIXTURE / "make_model", "random", shape, folder / f"ggml-{shape}.bin"], check=True)
    yield folder
    shutil.rmtree(folder)


@pytest.fixture(scope="module")
def server(models):
    s = Server(*QUICK, *EXACT, f"--model-path={models}", "--log-level=debug")
    yield s
    s.close()


def transcribe(models, *args):
    argv = [STENO, "transcribe", *EXACT, f"--model-path={models}", f"--data={models / 'data'}", *map(str, args)]
    done = subprocess.run(argv, capture_output=True, text=True, timeout=600, env=clean_env() | {"HOME": str(models)},
                          cwd=models)
    return done.returncode, done.stdout, done.stderr


def submit(server, name, **fields):
    """The id of a job with this recording."""
    answer = server.submit(wav(name).read_bytes(), f"{name}.wav", fields=fields)
    assert answer.status == 202, answer
    return answer.json["id"]


def refused(server, **fields):
    """The sentence with which a job is refused; nothing of it stays."""
    before = server.rows()["jobs"], server.objects()
    answer = server.submit(wav("02_one_word").read_bytes(), "a.wav", fields=fields)
    assert (answer.status, answer.code) == (422, "impossible_request"), answer
    assert (server.rows()["jobs"], server.objects()) == before
    return answer.json["detail"]


def result(server, job_id):
    ended = server.wait_job(job_id, 300)
    assert ended["status"] == "completed", (ended, server.log())
    return server.ask("GET", f"/v1/jobs/{job_id}/transcript?format=verbose_json").json


def check(verbose):
    """What holds for every result; returns it."""
    end, length = 0, verbose["duration"]
    for s in verbose["segments"]:
        assert end <= s["start"] <= s["end"] <= length
        assert s["text"] == s["text"].strip() != ""
        end, at = s["end"], s["start"]
        for w in s["words"]:
            assert at <= w["start"] <= w["end"] <= s["end"]
            at = w["end"]
        if s["words"]:
            assert " ".join(w["word"] for w in s["words"]) == s["text"]
            assert all(0 <= w["probability"] <= 1 for w in s["words"])
    assert verbose["text"] == " ".join(s["text"] for s in verbose["segments"])
    assert verbose["words"] == [w for s in verbose["segments"] for w in s["words"]]
    assert 0 <= verbose["coverage"]["covered"] <= verbose["coverage"]["speech"] <= length
    return verbose


def errors(name, text):
    return distance(words(REFERENCE[name]["text"]), words(text))


# ---- transcribe ----


def test_every_recording(models):
    """No more word errors over all of them than whisper.cpp makes with the same model, and no text where nobody speaks."""
    ours = others = 0
    for name, spoken in sorted(REFERENCE.items()):
        status, out, err = transcribe(models, "-f", "verbose_json", wav(name))
        assert (status, err) == (0, "")
        got = check(json.loads(out))
        assert got["language"] == ("en" if spoken["text"] else None) and got["model"] == "fixture.en"
        assert got["quality"] == "standard" and got["words"] == []
        if not spoken["text"]:
            assert (got["text"], got["segments"]) == ("", [])
            continue
        assert got["coverage"]["speech"] > 0.5 and got["coverage"]["covered"] > 0.9 * got["coverage"]["speech"]
        ours += errors(name, got["text"])
        theirs = json.loads((OTHERS / f"{name}.json").read_text())
        others += errors(name, " ".join(s["text"] for s in theirs["transcription"]))
    assert ours <= others, (ours, others)


def test_every_format(models):
    text = transcribe(models, wav("03_commands"))[1]
    assert errors("03_commands", text) == 0
    first = text.split("\n")[0]
    for name, expect in {
        "json": lambda out: words(json.loads(out)["text"]) == words(text),
        "srt": lambda out: re.match(r"1\n00:00:0\d,\d{3} --> 00:00:0\d,\d{3}\n" + re.escape(first), out),
        "vtt": lambda out: out.startswith("WEBVTT\n") and first in out,
        "tsv": lambda out: re.search(r"^\d+\t\d+\t" + re.escape(first), out, re.MULTILINE),
    }.items():
        status, out, err = transcribe(models, "-f", name, wav("03_commands"))
        assert (status, err) == (0, "") and expect(out), (name, out)


def test_words(models):
    args = ["-f", "verbose_json", wav("03_commands")]
    without, with_words = (check(json.loads(transcribe(models, *more, *args)[1])) for more in ([], ["--word-timestamps"]))
    assert without["words"] == [] and with_words["text"] == without["text"]
    spoken = [w for s in REFERENCE["03_commands"]["segments"] for w in s["words"]]
    assert len(with_words["words"]) == len(spoken) == len(words(without["text"]))
    near = sum(abs(ours["start"] - s["start"]) < 0.5 for ours, s in zip(with_words["words"], spoken))
    assert near > 0.8 * len(spoken), "words are where they were spoken"


def test_a_prompt_that_is_too_long(models):
    long_prompt = "a small bird in the garden and " * 100
    status, out, err = transcribe(models, "-f", "json", "--prompt", long_prompt, wav("01_digits"))
    assert status == 0
    assert re.search(r"the prompt is too long for the model: \d+ of its tokens were left out", err)
    assert json.loads(out)["warning"] in err
    assert json.loads(transcribe(models, "-f", "json", "--prompt", "digits", wav("01_digits"))[1])["warning"] is None


def test_requests_that_cannot_be_done(models):
    for args, why in {
        ("--task=translate",): "cannot translate: it was trained for English only",
        ("--task=translate", "--model=nano-turbo"): "cannot translate: it was trained for transcription only",
        ("--language=de",): "knows English only, not 'de'",
        ("--language=tlh", "--model=nano-multi"): "does not know the language 'tlh'",
        ("--language=yue", "--model=nano-multi"): "does not know the language 'yue'",
        ("--engine=pocketsphinx", "--model=", "--model-path=", "--task=translate"): "translate",
        ("--temperature=1.5",): "'temperature' must be a number from 0 to 1",
        ("--seed=x",): "'seed' must be a whole number",
        ("--model=none", "--model-missing=error"): "there is no model 'none' here: use fixture.en, nano-multi, nano-turbo",
        ("--model-memory=1M",): "model 'fixture.en' needs",
    }.items():
        status, out, err = transcribe(models, *args, wav("02_one_word"))
        assert status in (1, 2) and out == "" and why in err, (args, status, err)


def test_fewer_windows_when_memory_is_short(models):
    """The same text, and a line that says why it is slow."""
    usual = transcribe(models, wav(LONG))[1]
    need = int(re.search(r"needs (\d+) MB", transcribe(models, "--model-memory=1M", wav("02_one_word"))[2]).group(1))
    status, out, err = transcribe(models, f"--model-memory={need + 2}M", wav(LONG))
    assert (status, out) == (0, usual)
    assert re.search(r"memory is short, 'fixture.en' runs \d chunks at a time instead of 8", err)


# ---- the service ----


def test_a_job(server):
    """Progress on the way, every format at the end, and the summary that the job shows."""
    job_id = submit(server, LONG, word_timestamps="true")
    seen = []

    def ended():
        job = server.job(job_id)
        seen.append(job["progress"]["done_ms"])
        return job if job["status"] == "completed" else None

    job = wait_for("the end", ended, 300)
    assert seen == sorted(seen) and job["options"] == {"word_timestamps": True}
    got = check(result(server, job_id))
    assert errors(LONG, got["text"]) <= 6 and got["words"]
    assert job["result"] == {
        "engine": "whisper", "model": "fixture.en", "language": "en", "language_probability": 1.0,
        "duration": got["duration"], "words": len(got["words"]), "confidence": job["result"]["confidence"],
        "coverage": {k: got["coverage"][k] for k in ("speech", "covered")}, "warning": None,
        "removed_at": None,
    }
    assert 0.5 < job["result"]["confidence"] <= 1
    for name, start in {"txt": "start the music", "srt": "1\n00:00:0", "vtt": "WEBVTT", "json": "{", "tsv": "start\t"}.items():
        answer = server.ask("GET", f"/v1/jobs/{job_id}/transcript?format={name}")
        assert answer.status == 200 and answer.body.decode().startswith(start), name
    # Words are in the result only when they were asked for.
    assert check(result(server, submit(server, "01_digits")))["words"] == []


@pytest.mark.parametrize("mode", ["batched", "sequential"])
def test_a_killed_worker_changes_nothing(server, models, mode):
    """SIGKILL right after a checkpoint: another worker goes on, with the text of an unbroken run."""
    fields = {"decode_mode": mode, "word_timestamps": "true", "prompt": "a dog and a cat"}
    unbroken = result(server, submit(server, LONG, **fields))
    fired = Path(tempfile.mkdtemp(prefix="steno-e2e-fault-"))
    broken = Server(*QUICK, *EXACT, f"--model-path={models}", "--log-level=debug",
                    env={"STENO_FAULT": "chunk_saved=kill", "STENO_FAULT_DIR": str(fired)})
    try:
        job_id = submit(broken, LONG, **fields)
        got = result(broken, job_id)
        assert (fired / "chunk_saved").exists()
        assert "ended: killed by signal 9" in broken.log()
        resumed = re.search(r"completed: .* (\d+) chunks from checkpoints", broken.log())
        assert int(resumed.group(1)) >= 1
        assert got == unbroken
        states = [row[0] for row in broken.sql("SELECT engine_state FROM chunks ORDER BY idx")]
        if mode == "batched":
            assert states == [None] * len(states)
        else:
            assert all(re.fullmatch(r"(\d+( \d+)*)?", s) for s in states) and len(max(states, key=len)) > 10
    finally:
        broken.close()
        shutil.rmtree(fired)


def test_sequential_follows_the_text_before(server):
    """The state of a chunk ends with its own tokens: the next one is told of them."""
    job_id = submit(server, LONG, decode_mode="sequential")
    result(server, job_id)
    states = [row[0].split() for row in server.sql("SELECT engine_state FROM chunks WHERE job_id = ? ORDER BY idx", job_id)]
    grown = [b for a, b in zip(states, states[1:]) if a and b[: len(a)] == a and len(b) > len(a)]
    assert grown, states


def test_jobs_share_batches(models):
    """Two sequential jobs have one window each: two in one step are of both."""
    server = Server(*QUICK, *EXACT, f"--model-path={models}", "--log-level=debug")
    try:
        ids = [submit(server, LONG, decode_mode="sequential") for _ in range(2)]
        assert len({json.dumps(result(server, i)) for i in ids}) == 1
        assert server.stop(signal.SIGTERM) == 0
        assert re.search(r"'fixture.en' unloaded; at most 2 windows were in one step", server.log())
    finally:
        server.close()


def test_chunks_of_one_job_run_together(models):
    status, _, err = transcribe(models, "--log-level=debug", wav(LONG))
    assert status == 0
    assert re.search(r"unloaded; at most 8 windows were in one step", err)


def test_more_models_than_there_is_room_for(models):
    """Seven jobs at once, each with another model: some wait, none fails or loses an attempt."""
    folder = Path(tempfile.mkdtemp(prefix="steno-e2e-models-"))
    names = [f"m{i}" for i in range(7)]
    for name in names:
        (folder / f"ggml-{name}.bin").symlink_to(FIXTURE / "fixture.bin")
    server = Server(*QUICK, "--precision=f32", "--threads=2", "--worker-concurrency=7", f"--model-path={folder}")
    try:
        ids = [submit(server, LONG, model=name) for name in names]
        texts = {result(server, i)["text"] for i in ids}
        assert len(texts) == 1
        assert [server.job(i)["attempt"] for i in ids] == [1] * 7
        assert [server.job(i)["result"]["model"] for i in ids] == names
        assert server.rows()["error_logs"] == 0
    finally:
        server.close()
        shutil.rmtree(folder)


def test_a_model_without_room_fails_with_a_reason(models):
    server = Server(*QUICK, *EXACT, f"--model-path={models}", "--model-memory=1M", "--max-attempts=2")
    try:
        ended = server.wait_job(submit(server, "02_one_word"))
        assert ended["status"] == "failed" and ended["attempt"] == 2
        assert "needs" in ended["error"]["message"] and "raise model_memory" in ended["error"]["message"]
    finally:
        server.close()


def test_auto_takes_whisper_when_a_model_is_there(models):
    server = Server(*QUICK, f"--model-path={models}", "--model=fixture.en")
    try:
        ended = server.wait_job(submit(server, "02_one_word"))
        assert (ended["result"]["engine"], ended["result"]["model"]) == ("whisper", "fixture.en")
    finally:
        server.close()
    empty = Server(*QUICK)
    try:
        assert empty.wait_job(submit(empty, "02_one_word"))["result"]["engine"] == "pocketsphinx"
        assert "has no sequential mode" in refused(empty, decode_mode="sequential")
    finally:
        empty.close()


def test_refusals_at_submit(server):
    assert "knows English only, not 'de'" in refused(server, language="de")
    assert "cannot translate: it was trained for English only" in refused(server, task="translate")
    assert "trained for transcription only" in refused(server, task="translate", model="nano-turbo")
    assert "does not know the language 'xx'" in refused(server, language="xx", model="nano-multi")
    # Regions and names of languages are understood.
    for fields in ({"language": "en-US"}, {"language": "pt-BR", "model": "nano-multi"}):
        server.wait_job(submit(server, "12_silence", **fields))
    for field, value in {"beam_size": "0", "temperature": "hot", "word_timestamps": "maybe", "decode_mode": "fast",
                         "seed": "-1", "language_per_chunk": "2"}.items():
        answer = server.submit(b"RIFF", fields={field: value})
        assert (answer.status, answer.code) == (400, "bad_field") and f"'{field}'" in answer.json["detail"], answer


def test_an_api_without_its_worker_leaves_it_to_the_worker(models):
    api = Server(*QUICK, *EXACT, f"--model-path={models}", role="api")
    worker = Server(*QUICK, *EXACT, f"--model-path={models}", role="worker", data=api.data)
    try:
        ended = api.wait_job(submit(api, "02_one_word", language="de"))
        assert ended["status"] == "failed" and "knows English only, not 'de'" in ended["error"]["message"]
    finally:
        worker.close()
        api.close()


def test_options_reach_the_engine(server):
    """Each on its own changes what is computed; the same again gives the same."""
    def figures(name="05_voices", **fields):
        got = check(result(server, submit(server, name, **fields)))
        return [(s["text"], s["temperature"], s["avg_logprob"]) for s in got["segments"]]

    usual = figures()
    assert usual == figures() == figures(beam_size="5")
    assert all(t == 0 for _, t, _ in usual)
    drawn = figures(temperature="0.9", seed="1")
    assert drawn == figures(temperature="0.9", seed="1") and all(t == 0.9 for _, t, _ in drawn)
    assert drawn != figures(temperature="0.9", seed="2")
    assert figures(hotwords="the dog is at the door") != usual
    assert figures(prompt="the dog is at the door") != usual
    # The small model is too sure of itself for its beams to matter; random weights are not.
    random = {"model": "nano-multi", "language": "en", "temperature": "0"}
    assert figures("01_digits", beam_size="1", **random) != figures("01_digits", **random)


def test_one_language_for_a_recording(server):
    """Random weights hear something or other: with one language for all it is the same everywhere, and sure to be kept."""
    fields = {"model": "nano-multi", "temperature": "0", "beam_size": "1"}
    got = check(result(server, submit(server, LONG, **fields)))
    plan = json.loads(server.sql("SELECT plan FROM jobs ORDER BY created_at DESC LIMIT 1")[0][0])
    assert plan["heard"] and got["language"] in (plan["heard"], None)
    assert 0 < plan["probability"] <= 1000000
    assert all("language" not in s for s in got["segments"])
    heard = {json.loads(row[0])["language"] for row in server.sql(
        "SELECT result FROM chunks WHERE job_id = (SELECT id FROM jobs ORDER BY created_at DESC LIMIT 1)")}
    assert heard == {plan["heard"]}
    if got["language"]:
        assert got["language_probability"] == pytest.approx(plan["probability"] / 1e6, abs=1e-5)

    job_id = submit(server, LONG, language_per_chunk="true", **fields)
    check(result(server, job_id))
    assert json.loads(server.sql("SELECT plan FROM jobs WHERE id = ?", job_id)[0][0])["heard"] is None
    chunks = [json.loads(row[0]) for row in server.sql("SELECT result FROM chunks WHERE job_id = ?", job_id)]
    assert all(c["language"] and c["language_probability"] > 0 for c in chunks)

    given = submit(server, LONG, language="de", **fields)
    assert result(server, given)["language_probability"] is None
    chunks = [json.loads(row[0]) for row in server.sql("SELECT result FROM chunks WHERE job_id = ?", given)]
    assert {c["language"] for c in chunks} == {"de"}


def test_submit_passes_options_and_warnings_on(server, steno):
    """The command line's own flags, and what the service has to say about the prompt."""
    args = ["submit", "--server", server.url, "--wait", "-f", "verbose_json", "--word-timestamps", "--beam-size", "2",
            "--prompt", "a small bird in the garden and " * 100, wav("03_commands")]
    done = steno(*args)
    assert done.status == 0 and "the prompt is too long" in done.err, done
    assert check(json.loads(done.out))["words"]
    job = server.ask("GET", "/v1/jobs?limit=1").json["jobs"][0]
    assert job["options"] == {"word_timestamps": True, "beam_size": 2}
    shown = steno.ok("status", "--server", server.url, job["id"])
    assert "the prompt is too long" in shown and re.search(r"^speech +[\d.]+ s, of it transcribed [\d.]+ s$", shown, re.MULTILINE)


def test_a_cancel_ends_within_a_second(server):
    """Also with calls to the engine under way: the slots are free for others at once."""
    ids = [submit(server, LONG) for _ in range(3)]
    wait_for("work", lambda: any(server.job(i)["status"] == "processing" for i in ids))
    done = []
    threads = [threading.Thread(target=lambda i=i: done.append(server.ask("DELETE", f"/v1/jobs/{i}").status)) for i in ids]
    for t in threads:
        t.start()
    for t in threads:
        t.join()
    assert done == [200] * 3
    assert errors("01_digits", result(server, submit(server, "01_digits"))["text"]) <= 1
