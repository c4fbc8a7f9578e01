# SPDX-License-Identifier: MIT
"""
The pool of models in a worker, as an operator sees it: loaded before the first job, put out for another and after a
while without use, a smaller one when memory is short, and the figures of all that.
"""

import json
import re
import shutil
import subprocess
import tempfile
import urllib.request
from pathlib import Path

import pytest
from steno_server import FIXTURE, QUICK, STENO, Server, clean_env, role_pid, wait_for

# From small to large: the memory they need with one chunk at a time, in f32, is some 40, 40, 100 and 360 MB.
NANO, NANO_MULTI, FIXTURE_EN, TINY = "nano", "nano-multi", "fixture.en", "tiny"
ENOUGH_FOR_NANO = "--model-memory=80M"
EXACT = [*QUICK, "--engine=whisper", "--precision=f32", "--threads=2", "--sandbox=off", "--metrics-listen=127.0.0.1:0"]
# What the worker's page for Prometheus calls each figure of /admin/health, and what it is multiplied with there.
ON_PAGE = {
    "hits": ("hits_total", 1), "misses": ("misses_total", 1), "evictions": ("evictions_total", 1),
    "unloads": ("unloads_total", 1), "oom_fallbacks": ("oom_fallbacks_total", 1), "timeouts": ("timeouts_total", 1),
    "load_ms_total": ("load_seconds_total", 1e-3), "waiting": ("waiting", 1), "pool_size": ("models", 1),
    "max_size": ("models_max", 1), "memory_mb": ("memory_bytes", 1 << 20),
}
SHORT = {"temperature": "0", "beam_size": "1"}  # a random model finds no end of a text; this is soon over


@pytest.fixture(scope="module")
def models():
    folder = Path(tempfile.mkdtemp(prefix="steno-e2e-models-"))
    (folder / f"ggml-{FIXTURE_EN}.bin").symlink_to(FIXTURE / "fixture.bin")
    for shape in (NANO, NANO_MULTI, TINY):
        subprocess.run([FIXTURE / "make_model", "random", shape, folder / f"ggml-{shape}.bin"], check=True)
    yield folder
    shutil.rmtree(folder)


@pytest.fixture
def start(models):
    """Starts servers that are closed at the end."""
    started = []

    def begin(*flags, **kw):
        s = Server(*EXACT, f"--model-path={models}", *flags, **kw)
        started.append(s)
        return s

    yield begin
    for s in reversed(started):
        if s.process.poll() not in (None, 0):  # killed by a fault
            shutil.rmtree(s.folder)
        else:
            s.close()


def submit(server, name="12_silence", **fields):
    answer = server.submit((FIXTURE / "wav" / f"{name}.wav").read_bytes(), f"{name}.wav", fields=fields)
    assert answer.status == 202, answer
    return answer.json["id"]


def completed(server, job_id):
    job = server.wait_job(job_id, 300)
    assert job["status"] == "completed", (job, server.log())
    return job


def pool(server):
    return server.ask("GET", "/admin/health").json["model_pool"]


def pool_when(server, what, condition):
    """The figures as soon as they are so: they come with the next heartbeat."""
    return wait_for(what, lambda: (p := pool(server)) and condition(p) and p)


def page(server):
    """What Prometheus is told of the pool, by the names without `steno_model_pool_`."""
    (address,) = re.findall(r"worker: metrics at (\S+)", server.log())
    with urllib.request.urlopen(f"http://{address}/metrics", timeout=60) as answer:
        found = re.findall(r"^steno_model_pool_(\w+) (\S+)$", answer.read().decode(), re.MULTILINE)
    figures = {name: float(value) for name, value in found}
    assert len(found) == len(figures), found
    return figures


def on_page(server, *risen):
    """The page has every figure and no other, with the values of /admin/health, which follow it; those in `risen` are not 0."""
    def same():
        seen, shown = page(server), pool(server)
        assert set(seen) == {name for name, _ in ON_PAGE.values()}
        return all(abs(seen[name] - shown[member] * factor) < 1e-9 for member, (name, factor) in ON_PAGE.items()) \
            and all(seen[name] > 0 for name in risen)

    try:
        wait_for("the page is as the health", same)
    except AssertionError as e:
        raise AssertionError((page(server), pool(server))) from e


def worker_lines(server, phrase):
    return [line for line in server.log().split("\n") if phrase in line]


def inspected(server, view):
    """The rows of the table, and what --json shows of the one worker."""
    run = [STENO, "inspect", view, "--server", server.url]

    def told(*flags):
        return subprocess.run([*run, *flags], capture_output=True, text=True, check=True, timeout=60, env=clean_env()).stdout

    (worker,) = json.loads(told("--json"))["workers"]
    return [re.split("  +", line.strip()) for line in told().splitlines()], worker["model_pool"]


def memory_kb(pid):
    """What the process has of its own and its share of mapped files."""
    return int(re.search(r"^Pss:\s+(\d+) kB", Path(f"/proc/{pid}/smaps_rollup").read_text(), re.MULTILINE).group(1))


# ---- when models come and go ----


def test_the_default_model_is_loaded_before_the_first_job(start):
    server = start(f"--model={FIXTURE_EN}")
    shown = pool_when(server, "the default model", lambda p: p["loaded_models"] == [FIXTURE_EN])
    assert (shown["hits"], shown["misses"], shown["pool_size"], shown["hit_rate"]) == (0, 1, 1, 0)
    (model,) = shown["models"]
    assert model["name"] == FIXTURE_EN and model["use_count"] == 1 and model["in_use"] == 0 and model["windows"] == 8
    assert 100 < model["memory_mb"] == shown["memory_mb"] < 300 and shown["memory_budget_mb"] is None
    assert 0 < model["load_ms"] == shown["load_ms_total"] == shown["load_ms_mean"]
    (line,) = worker_lines(server, "Model acquired in")
    assert re.search(r"info +worker: Model acquired in \d+\.\d\ds: 'fixture.en' was loaded, before the first job", line)
    # The job finds it there: a hit before it, and one for each chunk.
    completed(server, submit(server, "02_one_word"))
    shown = pool_when(server, "the job's figures", lambda p: p["hits"] >= 2)
    assert shown["misses"] == 1 and shown["acquisitions"] == shown["hits"] + 1
    assert shown["hit_rate"] == round(shown["hits"] / shown["acquisitions"], 2)
    on_page(server, "hits_total", "misses_total", "load_seconds_total", "models", "models_max", "memory_bytes")
    assert len(worker_lines(server, "Model acquired in")) == 1, "reuse is for the log of another level"


def test_models_to_load_first_are_a_setting(start):
    both = start(f"--model={FIXTURE_EN}", f"--model-warm-up=auto, {NANO},none-of-these")
    shown = pool_when(both, "both models", lambda p: p["misses"] == 2)
    assert sorted(shown["loaded_models"]) == [FIXTURE_EN, NANO]
    wait_for("the warning", lambda: worker_lines(both, "model_warm_up: model 'none-of-these' is not installed"))
    none = start(f"--model={FIXTURE_EN}", "--model-warm-up=none")
    job_id = submit(none, "02_one_word")
    completed(none, job_id)
    shown = pool_when(none, "the figures", lambda p: p["misses"])
    assert shown["loaded_models"] == [FIXTURE_EN]
    (line,) = worker_lines(none, "Model acquired in")
    assert f"'fixture.en' was loaded job_id={job_id}" in line


def test_one_more_than_there_is_room_for(start):
    """The least recently used one goes."""
    server = start("--model-warm-up=none", "--model-pool-size=2", "--model-pool-max-size=2", "--worker-concurrency=1")
    for name in (NANO, FIXTURE_EN, NANO, NANO_MULTI):
        completed(server, submit(server, model=name))
    shown = pool_when(server, "the last one", lambda p: p["misses"] == 3)
    assert sorted(shown["loaded_models"]) == [NANO, NANO_MULTI]
    assert (shown["hits"], shown["evictions"], shown["unloads"], shown["max_size"]) == (1, 1, 0, 2)
    on_page(server, "hits_total", "evictions_total")
    assert (page(server)["models"], page(server)["models_max"]) == (2, 2)
    (heads, row, *_), told = inspected(server, "pool")
    memory = f"{shown['memory_mb']} MB"
    assert heads[1:-1] == ["MODELS", "MEMORY", "HITS", "MISSES", "EVICTED", "UNLOADED", "SMALLER", "TIMEOUTS", "WAITING"]
    assert row[1:-1] == ["2 of 2", memory, "1", "3", "1", "0", "0", "0", "0"] and re.search(r"\d", row[-1])
    assert (told["hit_rate"], told["load_ms_total"], told["evictions"]) == (0.25, shown["load_ms_total"], 1)
    (heads, *rows), _ = inspected(server, "models")
    assert heads[1:] == ["MODEL", "MEMORY", "USES", "IN USE", "LOADED AT", "LAST USED", "LOADED IN"]
    assert sorted((r[1], r[3], r[4]) for r in rows) == [(NANO, "2", "0"), (NANO_MULTI, "1", "0")]
    assert all(re.match(r"20\d\d-.*Z$", r[5]) and r[5] <= r[6] for r in rows), rows


def test_an_idle_model_goes_and_its_memory_comes_back(start):
    # The sanitizer keeps what is freed for a while, to find late uses of it.
    calm = {"ASAN_OPTIONS": "quarantine_size_mb=0:thread_local_quarantine_size_kb=0"}
    server = start(f"--model={TINY}", "--model-warm-up=none", "--model-idle-time=1s", env=calm)
    pid = wait_for("the worker", lambda: role_pid(server, "worker"))
    wait_for("its first heartbeat", lambda: pool(server)["max_size"])
    completed(server, submit(server, "02_one_word", model=NANO, **SHORT))  # what a first job brings with it for good
    pool_when(server, "the first unload", lambda p: p["unloads"] == 1)
    before, most = memory_kb(pid), 0
    for round_ in (2, 3):
        submit(server, "02_one_word", **SHORT)

        def gone():
            nonlocal most
            most = max(most, memory_kb(pid))
            return pool(server)["unloads"] == round_

        wait_for("the unload", gone)
        after = memory_kb(pid)
        assert pool(server)["loaded_models"] == [] and pool(server)["memory_mb"] == 0
        print(f"{before >> 10} MB before, {most >> 10} MB with the model, {after >> 10} MB after")
        on_page(server, "unloads_total")
        assert page(server)["memory_bytes"] == page(server)["models"] == 0 and page(server)["unloads_total"] == round_
        assert most - before > 300 << 10, "it was in memory"
        assert after - before < (most - before) / 20, (before, most, after)


def test_a_model_without_end(start):
    server = start(f"--model={NANO}", "--model-idle-time=never")
    pool_when(server, "the model", lambda p: p["loaded_models"] == [NANO])


# ---- when there is no room ----


def test_a_smaller_model_when_memory_is_short(start):
    server = start(f"--model={FIXTURE_EN}", "--model-warm-up=none", ENOUGH_FOR_NANO)
    job_id = submit(server, "02_one_word", **SHORT)
    job = completed(server, job_id)
    assert job["attempt"] == 1 and job["result"]["model"] == NANO
    sentence = "there was no memory for model 'fixture.en': 'nano' was used, the next smaller one"
    assert job["result"]["warning"] == sentence
    verbose = server.ask("GET", f"/v1/jobs/{job_id}/transcript?format=verbose_json").json
    assert (verbose["model"], verbose["warning"]) == (NANO, sentence)
    shown = pool_when(server, "the figures", lambda p: p["oom_fallbacks"])
    assert (shown["oom_fallbacks"], shown["memory_budget_mb"], shown["loaded_models"]) == (1, 80, [NANO])
    (line,) = worker_lines(server, "OOM loading")
    assert job_id in line
    assert re.search(r"OOM loading 'fixture.en', trying 'nano' instead: model 'fixture.en' needs \d+ MB of memory, and 80 "
                     r"MB are left: use a smaller model or raise model_memory", line)
    assert server.rows()["error_logs"] == 0
    (heads, row, *_), _ = inspected(server, "pool")
    assert dict(zip(heads, row))["SMALLER"] == "1"
    on_page(server, "oom_fallbacks_total")
    # What a smaller one cannot do it is not taken for: the recording's language, a translation.
    for fields in ({"language": "de"}, {"task": "translate"}):
        job = completed(server, submit(server, "02_one_word", model=TINY, **fields, **SHORT))
        assert job["result"]["model"] == NANO_MULTI


def test_no_smaller_model_where_names_are_strict(start):
    server = start(f"--model={FIXTURE_EN}", ENOUGH_FOR_NANO, "--model-missing=error", "--max-attempts=2")
    job = server.wait_job(submit(server, "02_one_word"))
    assert (job["status"], job["attempt"], job["error"]["code"]) == ("failed", 2, "out_of_memory")
    assert "model 'fixture.en' needs" in job["error"]["message"]
    assert len(worker_lines(server, "OOM loading 'fixture.en' before the first job: ")) == 1
    assert pool(server)["oom_fallbacks"] == 0


def test_a_smaller_model_on_the_command_line(models, tmp_path):
    args = [STENO, "transcribe", "--engine=whisper", "--precision=f32", f"--model-path={models}", f"--data={tmp_path}",
            f"--model={FIXTURE_EN}", ENOUGH_FOR_NANO, "--beam-size=1", "--temperature=0", "-f", "json"]
    done = subprocess.run([*args, FIXTURE / "wav" / "02_one_word.wav"], capture_output=True, text=True, timeout=300,
                          env=clean_env())
    assert done.returncode == 0 and json.loads(done.stdout)["model"] == NANO
    assert "there was no memory for model 'fixture.en'" in done.stderr


@pytest.fixture
def killed(start, models, tmp_path):
    """An api, and a job whose first worker was killed right after a checkpoint: killed(flags of that worker)."""

    def begin(*flags):
        api = start("--max-attempts=2", role="api")
        worker = start(*flags, role="worker", data=api.data,
                       env={"STENO_FAULT": "chunk_saved=kill", "STENO_FAULT_DIR": str(tmp_path)})
        job_id = submit(api, "10_long", **SHORT)
        wait_for("the worker is killed", lambda: worker.process.poll() is not None, 300)
        assert api.rows()["chunks"] >= 1
        return api, job_id

    return begin


FIRST = [f"--model={FIXTURE_EN}", "--death-pause=0"]


def test_chunks_of_a_smaller_model_are_gone_on_with(start, killed):
    """Also when there is room for the larger one by now: a transcript is of one model."""
    api, job_id = killed(*FIRST, ENOUGH_FOR_NANO)
    worker = start(*FIRST, role="worker", data=api.data)
    job = completed(api, job_id)
    assert job["result"]["model"] == NANO and "there was no memory for model 'fixture.en'" in job["result"]["warning"]
    assert int(re.search(r"completed: .* (\d+) chunks from checkpoints", worker.log()).group(1)) >= 1
    assert not worker_lines(worker, "OOM loading")
    # The next job gets what it asks for.
    job = completed(api, submit(api, "02_one_word"))
    assert (job["result"]["model"], job["result"]["warning"]) == (FIXTURE_EN, None)


def test_chunks_of_a_larger_model_wait_for_it(start, killed):
    """The trouble may pass; but rather than fail, the last attempt begins anew with a smaller one."""
    api, job_id = killed(*FIRST)
    worker = start(*FIRST, ENOUGH_FOR_NANO, role="worker", data=api.data)
    job = completed(api, job_id)
    assert job["result"]["model"] == NANO and job["attempt"] == 2
    assert len(worker_lines(worker, "OOM loading 'fixture.en': ")) == 1
    assert len(worker_lines(worker, "OOM loading 'fixture.en', trying 'nano' instead: ")) == 1
    assert " 0 chunks from checkpoints" in worker.log()
    errors = api.ask("GET", f"/v1/errors?all=true&job_id={job_id}").json["errors"]
    assert ("out_of_memory", 1) in [(e["code"], e["attempt"]) for e in errors]


def test_a_job_does_not_wait_for_ever(start):
    """Room for one model, and the other one is at work: the attempt ends, a later one gets its turn."""
    server = start("--model-warm-up=none", "--model-pool-size=1", "--model-pool-max-size=1", "--model-acquire-timeout=2s",
                   "--max-attempts=100")
    long = submit(server, "10_long", model=TINY, language="en")
    pool_when(server, "the first model", lambda p: p["loaded_models"] == [TINY])
    wait_for("its first chunk", lambda: server.job(long)["progress"]["chunks_total"])
    other = submit(server, "02_one_word", model=FIXTURE_EN)
    on_page(server, "waiting")
    wait_for("the time-out", lambda: worker_lines(server, "(model_acquire_timeout)"))
    (line, *_) = worker_lines(server, "(model_acquire_timeout)")
    assert re.search(r"attempt \d+ (of \d+ )?failed at engine \(busy\), next in .* s: model '\S+' found no room for 2\.0 s "
                     r"\(model_acquire_timeout\): 1 others are in use, and no more may be loaded \(model_pool_max_size\)", line)
    assert pool_when(server, "the figures", lambda p: p["timeouts"])["timeouts"] >= 1
    on_page(server, "timeouts_total")
    assert server.ask("DELETE", f"/v1/jobs/{long}").status in (200, 202, 204)
    assert completed(server, other)["result"]["model"] == FIXTURE_EN
