# SPDX-License-Identifier: MIT
"""The remote engines against servers that speak the real protocols (remote_server.py), well and badly."""

import json
import subprocess
import threading
import time
from pathlib import Path

import pytest
from remote_server import TEXT, RemoteServer
from steno_server import QUICK, STENO, Server, clean_env, wait_for

KEY = "a-key-that-nobody-may-see"
PART = KEY[:8]  # nor that much of it
FOX = "the quick brown fox jumps over the lazy dog"
MORE = ["we need to send the report to the manager by friday", "he opened the window and looked out at the garden",
        "can you tell me where the nearest train station is", "turn left at the next corner and walk two blocks"]
OFF = {"no_proxy": "127.0.0.1"}


@pytest.fixture
def remote():
    r = RemoteServer(KEY)
    yield r
    r.close()


@pytest.fixture
def gemini(remote):
    """A whole service whose engine is Gemini."""
    s = Server(*QUICK, "--engine=gemini", f"--gemini-url={remote.url}", "--log-level=debug", env={"GEMINI_API_KEY": KEY} | OFF)
    yield s
    no_key_anywhere(s)
    s.close()


@pytest.fixture
def openai(remote):
    s = Server(*QUICK, "--engine=openai", f"--openai-url={remote.url}/v1", "--log-level=debug", env={"OPENAI_API_KEY": KEY} | OFF)
    yield s
    no_key_anywhere(s)
    s.close()


SHOWN = ["/metrics", "/health", "/admin/health", "/v1/workers", "/v1/queues", "/v1/jobs", "/v1/errors?all=true", "/v1/models", "/"]
TOLD = ["active", "reserved", "registered", "conf", "active_queues", "stats", "workers", "queues"]


def no_key_anywhere(server):
    """Not in the log, in no file, in no answer."""
    for path in SHOWN:
        answer = server.ask("GET", path)
        assert answer.status == 200 and PART not in answer.body.decode() and PART not in str(answer.headers), path
    assert PART not in server.log()
    for path in server.data.rglob("*"):
        if path.is_file():
            assert PART.encode() not in path.read_bytes(), path


def no_key_printed(server):
    """By no command; other settings are there to be found."""
    for command in (["config", "print"], ["config", "check"], *(["inspect", what] for what in TOLD)):
        argv = [STENO, *command, "--data", str(server.data), *server.backends.flags, *server.flags]
        shown = subprocess.run(argv, env=clean_env() | server.env, capture_output=True, text=True, timeout=60)
        assert shown.returncode == 0 and PART not in shown.stdout + shown.stderr, (command, shown)
        assert command[1] not in ("print", "conf") or "remote_timeout" in shown.stdout, shown


def done(server, sound, expect="completed", **fields):
    answer = server.submit(Path(sound).read_bytes(), fields=fields)
    assert answer.status in (200, 201, 202), answer
    job = server.wait_job(answer.json["id"])
    assert job["status"] == expect, job
    assert KEY not in json.dumps(job)
    return job


def transcript(server, job):
    answer = server.ask("GET", f"/v1/jobs/{job['id']}/transcript?format=verbose_json")
    assert answer.status == 200, answer
    return answer.json


def errors(server, job):
    answer = server.ask("GET", f"/v1/errors?all=true&job_id={job['id']}")
    assert answer.status == 200 and KEY not in answer.body.decode(), answer
    return answer.json["errors"]


def check_times(t, words=False):
    """Ascending, inside the recording, nothing over another."""
    floor = 0
    for s in t["segments"]:
        assert floor <= s["start"] <= s["end"] <= t["duration"] + 0.001, t
        floor = s["end"]
        at = s["start"]
        for w in s.get("words") or []:
            assert at <= w["start"] <= w["end"] <= s["end"], t
            at = w["end"]
        assert not words or s["words"], t


# ---- Gemini ----


def test_gemini_transcribes(gemini, remote, speech):
    sound = speech(FOX)
    job = done(gemini, sound, language="en", prompt="Foxes and dogs", hotwords="Reynard")
    t = transcript(gemini, job)
    assert t["text"] == TEXT and t["engine"] == "gemini" and t["model"] == "gemini-flash-latest" and t["language"] == "en"
    assert [s["text"] for s in t["segments"]] == ["The quick brown fox jumps over the lazy dog.", "It was never seen again."]
    check_times(t)
    assert t["coverage"]["speech"] == t["coverage"]["covered"] > 1
    (request,) = remote.requests
    assert request.path == "/v1beta/models/gemini-flash-latest:generateContent"
    assert request.headers["x-goog-api-key"] == KEY
    assert "english" in request.prompt and "Foxes and dogs" in request.prompt and "Reynard" in request.prompt
    assert 1 < request.seconds <= t["duration"] + 0.1
    assert "temperature" not in request.json["generationConfig"]
    done(gemini, sound, temperature="0.3", task="translate", model="models/gemini-3.5-flash")
    request = remote.requests[-1]
    assert request.path == "/v1beta/models/gemini-3.5-flash:generateContent"
    assert request.json["generationConfig"]["temperature"] == 0.3 and "to English" in request.prompt
    no_key_printed(gemini)


def test_chunks_are_put_together_by_our_own_clock(gemini, remote, speech):
    """Answers come in any order, and the model says nothing of times."""
    remote.text = lambda request: time.sleep(0.5 if len(remote.requests) == 1 else 0) or f"{request.seconds:.2f} seconds of speech."
    t = transcript(gemini, done(gemini, speech(*MORE * 4, pause=4)))
    assert len(t["segments"]) == len(remote.requests) >= 3
    check_times(t)
    for s in t["segments"]:
        assert s["end"] - s["start"] <= float(s["text"].split()[0]) + 0.01


def test_silence_is_empty_and_speech_without_text_is_a_gap(gemini, remote, speech):
    remote.text = "  "
    t = transcript(gemini, done(gemini, speech(FOX)))
    assert t["text"] == "" and t["segments"] == []
    assert t["coverage"]["covered"] == 0 and t["coverage"]["gaps"][0]["why"] == "no words were recognised"


TRANSIENT = ["429", "429-bare", "429-header", "500", "503", "502-html", "nonsense", "half", "empty", "no-json-inside", "MAX_TOKENS",
             "RECITATION", "OTHER", "OTHER-long", "no-reason", "no-candidate", "cut", "reset", "huge"]


def test_trouble_that_passes_is_tried_again_within_the_chunk(gemini, remote, speech):
    for fault in TRANSIENT:
        remote.requests.clear()
        remote.faults = [fault]
        job = done(gemini, speech(FOX))
        assert job["attempt"] == 1 and len(remote.requests) == 2 and not remote.faults, fault
        assert transcript(gemini, job)["text"] == TEXT


@pytest.mark.parametrize("fault, why, word", [
    ("SAFETY", "unsupported", "finishReason SAFETY"),
    ("PROHIBITED_CONTENT", "unsupported", "PROHIBITED_CONTENT, the words are on a list"),
    ("blocked", "unsupported", "blockReason PROHIBITED_CONTENT"),
    ("401", "invalid", "refuses the key in gemini_api_key: 401, Incorrect API key provided: ***."),
    ("403", "invalid", "403, Your API key *** was reported as leaked"),
    ("413", "too_large", "Maximum content size"),
    ("redirect", "invalid", "a redirection"),
    ("validation", "invalid", "422, Model 'x' is not installed locally."),
])
def test_what_never_works_fails_at_once(gemini, remote, speech, fault, why, word):
    remote.faults = [fault] * 9
    job = done(gemini, speech(FOX), "failed")
    assert len(remote.requests) == 1 and job["attempt"] == 1
    (row,) = errors(gemini, job)
    assert row["code"] == why and "gemini: " in row["message"] and word in row["message"] and row["stage"] == "engine", row


def test_trouble_that_stays_uses_up_the_attempts(remote, speech):
    with_two = Server(*QUICK, "--engine=gemini", f"--gemini-url={remote.url}", f"--gemini-api-key={KEY}", "--max-attempts=2", env=OFF)
    remote.faults = ["503"] * 99
    job = done(with_two, speech(FOX), "failed")
    assert len(remote.requests) == 2 * 4 and job["attempt"] == 2
    assert "503, The model is overloaded." in errors(with_two, job)[0]["message"]
    with_two.close()


def test_a_wrong_key_is_named_and_not_shown(remote, speech):
    wrong = "another-key-that-is-wrong"
    s = Server(*QUICK, "--engine=gemini", f"--gemini-url={remote.url}", "--log-level=debug", env={"GOOGLE_API_KEY": wrong} | OFF)
    job = done(s, speech(FOX), "failed")
    assert "refuses the key in gemini_api_key: 400, API key not valid." in errors(s, job)[0]["message"]
    assert wrong not in s.log() and wrong.encode() not in b"".join(p.read_bytes() for p in s.data.rglob("*") if p.is_file())
    s.close()


def test_429_waits_as_long_as_it_says(gemini, remote, speech):
    remote.faults = ["429-slow"]
    assert done(gemini, speech(FOX))["attempt"] == 1
    first, second = remote.requests
    assert second.at - first.at >= 2


@pytest.mark.parametrize("fault", ["429-day", "insufficient"])
def test_a_quota_of_the_day_is_not_waited_for(remote, speech, fault):
    s = Server(*QUICK, "--engine=gemini", f"--gemini-url={remote.url}", f"--gemini-api-key={KEY}", "--max-attempts=1", env=OFF)
    remote.faults = [fault] * 9
    job = done(s, speech(FOX), "failed")
    assert len(remote.requests) == 1 and errors(s, job)[0]["code"] == "busy"
    s.close()


@pytest.mark.parametrize("fault", ["429-long", "silent", "slow"])
def test_cancel_ends_the_waiting(remote, speech, fault):
    s = Server(*QUICK, "--engine=gemini", f"--gemini-url={remote.url}", f"--gemini-api-key={KEY}", "--engine-slots=1",
               "--worker-concurrency=1", env=OFF)
    remote.faults = [fault] * 9
    job = s.submit(speech(FOX).read_bytes()).json["id"]
    wait_for("the request", lambda: remote.requests)
    assert s.ask("DELETE", f"/v1/jobs/{job}").status == 200
    cancelled = time.monotonic()
    if fault == "silent":  # the connection is closed
        wait_for("the end of the request", lambda: remote.gone, 30)
        assert remote.gone[0] - cancelled < 5
    # This one needs the only slot and the only thread.
    done(s, speech(FOX), engine="null")
    assert s.job(job)["status"] == "cancelled" and len(remote.requests) == 1
    s.close()


@pytest.mark.parametrize("engine", ["gemini", "openai"])
def test_slow_answers_are_given_up(remote, speech, engine):
    s = Server(*QUICK, f"--engine={engine}", f"--gemini-url={remote.url}", f"--gemini-api-key={KEY}",
               f"--openai-url={remote.url}/v1", f"--openai-api-key={KEY}", "--remote-timeout=500ms", "--max-attempts=1", env=OFF)
    remote.faults = ["slow", "silent"]
    assert done(s, speech(FOX))["attempt"] == 1 and len(remote.requests) == 3
    remote.faults = ["slow"] * 99
    assert errors(s, done(s, speech(FOX), "failed"))[0]["code"] == "timeout" and len(remote.requests) == 3 + 4
    s.close()


def test_the_limit_of_requests_is_shared(remote, speech):
    """
    Two workers, one database: 60 a minute are 6 at once, then one every 60/54 seconds. Two limits of their own would let all
    ten through at once. Four requests at a time need both workers.
    """
    both = threading.Barrier(4)
    remote.text = lambda request: TEXT if len(remote.requests) > 4 or both.wait(60) >= 0 else ""
    flags = [*QUICK, "--engine=gemini", f"--gemini-url={remote.url}", f"--gemini-api-key={KEY}", "--gemini-rate=60",
             "--worker-concurrency=2", "--lease=30s"]
    s = Server(*flags, env=OFF)
    other = Server(*flags, role="worker", data=s.data, env=OFF)
    sound = speech(FOX).read_bytes()
    for job in [s.submit(sound).json["id"] for _ in range(10)]:
        assert s.wait_job(job)["status"] == "completed"
    at = sorted(r.at for r in remote.requests)
    assert len(at) == 10 and at[9] - at[0] > 2.5  # 4.4 by the clock of the limit
    other.close()
    s.close()


def test_models_of_gemini(remote, speech):
    """A name that is none of its models means the default one, unless that is an error; aliases come first."""
    flags = [*QUICK, "--engine=null", f"--gemini-url={remote.url}", f"--gemini-api-key={KEY}", "--gemini-model=gemini-3.5-flash",
             "--model-aliases=best=gemini-flash-latest"]
    s = Server(*flags, env=OFF)
    for model, used, warned in [("", "gemini-3.5-flash", False), ("whisper-1", "gemini-3.5-flash", False),
                                ("base", "gemini-3.5-flash", True), ("something", "gemini-3.5-flash", True),
                                ("best", "gemini-flash-latest", False), ("gemini-flash-latest", "gemini-flash-latest", False)]:
        t = transcript(s, done(s, speech(FOX), engine="gemini", **({"model": model} if model else {})))
        assert (t["engine"], t["model"], bool(t["warning"])) == ("gemini", used, warned), (model, t)
    job = done(s, speech(FOX), "failed", engine="gemini", model="gemini-0.1-nano")
    assert "models/gemini-0.1-nano is not found" in errors(s, job)[0]["message"]
    s.close()
    s = Server(*flags, "--model-missing=error", env=OFF)
    answer = s.submit(speech(FOX).read_bytes(), fields={"engine": "gemini", "model": "base"})
    assert answer.status >= 400 and "gemini-3.5-flash" in answer.json["detail"]
    s.close()


def test_settings_of_other_engines_do_not_stop_it(remote, speech):
    s = Server(*QUICK, "--engine=gemini", f"--gemini-url={remote.url}", env=OFF | {"WHISPER_MODEL_SIZE": "base", "GEMINI_API_KEY": KEY})
    t = transcript(s, done(s, speech(FOX)))
    assert t["model"] == "gemini-flash-latest"
    s.close()


def test_auto_sends_nothing_away(remote, speech):
    s = Server(*QUICK, f"--gemini-url={remote.url}", f"--openai-url={remote.url}/v1",
               env={"GEMINI_API_KEY": KEY, "OPENAI_API_KEY": KEY} | OFF)
    assert transcript(s, done(s, speech(FOX)))["engine"] == "pocketsphinx"
    assert not remote.requests
    s.close()


def test_without_a_key(speech):
    s = Server(*QUICK, env={k: "" for k in ("GEMINI_API_KEY", "GOOGLE_API_KEY", "OPENAI_API_KEY")})
    for engine, word in [("gemini", "set gemini_api_key"), ("openai", "set openai_api_key or openai_url")]:
        answer = s.submit(speech(FOX).read_bytes(), fields={"engine": engine})
        assert answer.status >= 400 and word in answer.json["detail"]
    s.close()


def test_stopping_does_not_wait_for_a_pause(remote, speech):
    """The job is handed back when the drain's time is over, and its attempt does not count."""
    flags = [*QUICK, "--engine=gemini", f"--gemini-url={remote.url}", f"--gemini-api-key={KEY}", "--drain-timeout=200ms"]
    s = Server(*flags, env=OFF)
    remote.faults = ["429-long"]
    job = s.submit(speech(FOX).read_bytes()).json["id"]
    wait_for("the request", lambda: remote.requests)
    assert s.stop(timeout=30) == 0
    s.start()
    job = s.wait_job(job)
    assert (job["status"], job["attempt"]) == ("completed", 1) and len(remote.requests) == 2
    s.close()


# ---- OpenAI-compatible ----


def test_openai_maps_segments_and_words(openai, remote, speech):
    job = done(openai, speech(*MORE * 4, pause=4), language="en", prompt="Trains", hotwords="Corner", temperature="0.2", word_timestamps="true")
    t = transcript(openai, job)
    assert t["engine"] == "openai" and t["model"] == "whisper-1" and t["language"] == "en"
    assert len(remote.requests) >= 3 and t["text"] == " ".join([TEXT] * len(remote.requests))
    check_times(t, words=True)
    assert [w["word"] for w in t["segments"][0]["words"]] == "The quick brown fox jumps over the lazy dog".split()
    # Each chunk's first words are where the chunk is.
    starts = [s["start"] for s in t["segments"][::2]]
    assert starts == sorted(set(starts)) and starts[-1] > 20
    for request in remote.requests:
        assert request.path == "/v1/audio/transcriptions" and request.headers["Authorization"] == f"Bearer {KEY}"
        assert dict(request.fields) | {"timestamp_granularities[]": 0} == {
            "model": "whisper-1", "response_format": "verbose_json", "language": "en", "prompt": "Corner. Trains",
            "temperature": "0.200", "timestamp_granularities[]": 0}
        assert [v for n, v in request.fields if n == "timestamp_granularities[]"] == ["segment", "word"]
    no_key_printed(openai)


def test_openai_translates(openai, remote, speech):
    job = done(openai, speech(FOX), task="translate", language="de")
    assert transcript(openai, job)["text"] == TEXT
    (request,) = remote.requests
    assert request.path == "/v1/audio/translations" and request.field("language") is None


def test_a_server_that_knows_no_times(openai, remote, speech):
    """It says so once for each model; then the text is put where speech was heard."""
    remote.faults = ["json-only"]
    for model, requests in [("gpt-4o-transcribe", 2), ("gpt-4o-transcribe", 3), ("whisper-1", 4)]:
        t = transcript(openai, done(openai, speech(FOX), model=model))
        assert t["text"] == TEXT and t["model"] == model and len(t["segments"]) == 2
        check_times(t)
        assert len(remote.requests) == requests
    assert [r.field("response_format") for r in remote.requests] == ["verbose_json", "json", "json", "verbose_json"]


@pytest.mark.parametrize("fault, attempts", [("429-header", 1), ("500", 1), ("nonsense", 1), ("cut", 1), ("reset", 1)])
def test_openai_trouble_that_passes(openai, remote, speech, fault, attempts):
    remote.faults = [fault]
    job = done(openai, speech(FOX))
    assert job["attempt"] == attempts and len(remote.requests) == 2


def test_openai_refusals(openai, remote, speech):
    for fault, word in [("401", "refuses the key in openai_api_key: 401, Incorrect API key provided: ***."),
                        ("validation", "Model 'x' is not installed locally.")]:
        remote.faults = [fault]
        assert word in errors(openai, done(openai, speech(FOX), "failed"))[0]["message"]


def test_names_of_whisper_models_mean_the_default_at_openai(speech, steno):
    """OpenAI's own server has no "base"; the address is a proxy that refuses, so that nothing gets there."""
    with RemoteServer(KEY).http.socket as s:
        proxy = {"https_proxy": f"http://127.0.0.1:{s.getsockname()[1]}"}
    failed = steno("transcribe", "--engine=openai", "--model=base", "--model-missing=error", speech(FOX),
                   env={"OPENAI_API_KEY": KEY} | proxy)
    assert failed.status == 2 and "'base'" in failed.err and "whisper-1" in failed.err


def test_one_steno_works_for_another(speech):
    """The engine against the API of the same program: words and times of PocketSphinx come through as they are."""
    inner = Server(*QUICK, "--engine=pocketsphinx")
    outer = Server(*QUICK, "--engine=openai", f"--openai-url={inner.url}/v1", env=OFF)
    sound = speech(*MORE, FOX, pause=2)
    there = transcript(inner, done(inner, sound, word_timestamps="true"))
    here = transcript(outer, done(outer, sound, word_timestamps="true"))
    assert here["engine"] == "openai" and here["text"].split() and here["language"] == "en"
    check_times(here, words=True)
    # Its chunks are cut elsewhere, so not every word has to be the same one.
    a, b = ([(w["word"], w["start"]) for s in t["segments"] for w in s["words"]] for t in (there, here))
    same = [(x, y) for x in a for y in b if x[0] == y[0] and abs(x[1] - y[1]) < 0.3]
    assert len(same) > 0.8 * len(a), (a, b)
    outer.close()
    inner.close()


# ---- without a server ----


def test_transcribe_command(steno, remote, speech):
    env = {"GEMINI_API_KEY": KEY, "OPENAI_API_KEY": KEY} | OFF
    flags = ["--gemini-url", remote.url, "--openai-url", remote.url + "/v1"]
    for engine in ("gemini", "openai"):
        assert steno.ok("transcribe", "--engine", engine, *flags, speech(FOX), env=env).split() == TEXT.split()
    remote.faults = ["500", "429", "403"]
    failed = steno("transcribe", "--engine", "gemini", *flags, speech(FOX), env=env)
    assert failed.status == 1 and failed.out == "" and "gemini: it refuses the key in gemini_api_key: 403" in failed.err
    assert KEY not in failed.err
    failed = steno("transcribe", "--engine", "gemini", *flags, speech(FOX), env={"GEMINI_API_KEY": "", "GOOGLE_API_KEY": ""})
    assert failed.status == 2 and "set gemini_api_key" in failed.err
    shown = steno.ok("config", "print", env=env)
    assert KEY not in shown and "gemini_api_key = ***" in shown and "openai_api_key = ***" in shown


def test_one_connection_serves_many_chunks(steno, remote, speech):
    flags = ["--engine=gemini", "--gemini-url", remote.url, "--gemini-api-key", KEY, "--engine-slots=1"]
    steno.ok("transcribe", *flags, speech(*MORE * 4, pause=4), env=OFF)
    assert len(remote.requests) >= 3 and remote.connections == 1


def test_certificates(steno, speech, tmp_path):
    """Only a certificate that is trusted gets the key."""
    pem = tmp_path / "server.pem"
    subprocess.run(["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", "-keyout", tmp_path / "key", "-out",
                    tmp_path / "cert", "-subj", "/CN=127.0.0.1", "-addext", "subjectAltName=IP:127.0.0.1"], check=True,
                   capture_output=True)
    pem.write_bytes((tmp_path / "key").read_bytes() + (tmp_path / "cert").read_bytes())
    remote = RemoteServer(KEY, certificate=pem)
    flags = ["--engine=gemini", "--gemini-url", remote.url, "--gemini-api-key", KEY]
    failed = steno("transcribe", *flags, speech(FOX), env=OFF)
    assert failed.status == 1 and "set remote_ca_file" in failed.err and not remote.requests
    assert steno.ok("transcribe", *flags, "--remote-ca-file", tmp_path / "cert", speech(FOX), env=OFF).split() == TEXT.split()
    remote.close()


def test_proxies_of_the_environment(steno, remote, speech):
    out = steno.ok("transcribe", "--engine=gemini", "--gemini-url=http://gemini.example", "--gemini-api-key", KEY, speech(FOX),
                   env={"http_proxy": remote.url})
    assert out.split() == TEXT.split() and remote.requests[0].path.startswith("http://gemini.example/v1beta/")


def test_nobody_there(steno, speech):
    with RemoteServer(KEY).http.socket as s:
        free = s.getsockname()[1]
    failed = steno("transcribe", "--engine", "openai", "--openai-url", f"http://127.0.0.1:{free}/v1", speech(FOX), env=OFF)
    assert failed.status == 1 and "openai: " in failed.err and "connect" in failed.err.lower()
