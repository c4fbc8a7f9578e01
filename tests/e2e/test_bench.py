# SPDX-License-Identifier: MIT
"""steno bench, and how many threads a process that computes has."""

import json
import os
import signal
import subprocess
import time
from pathlib import Path

import pytest

BIN = os.environ.get("STENO_BIN", str(Path(__file__).resolve().parents[2] / "build" / "steno"))
FIXTURE = Path(os.environ.get("STENO_FIXTURE", Path(BIN).parent / "tests" / "fixture"))
MODEL = FIXTURE / "fixture.bin"


def environment(**settings):
    ours = {k: v for k, v in os.environ.items() if not k.startswith(("STENO_", "OMP_", "GOMP_"))}
    return ours | {"ASAN_OPTIONS": os.environ.get("ASAN_OPTIONS", "")} | settings


def bench(folder, *args, prefix=(), **settings):
    return subprocess.run(
        [*prefix, BIN, "bench", "--data", folder, "--repeat", "1", *args], env=environment(**settings),
        capture_output=True, text=True, timeout=300, check=False)


def figures(run):
    assert run.returncode == 0, run.stderr
    found = json.loads(run.stdout)
    assert len(found) == 1
    return found[0]


def test_every_part_has_a_figure(tmp_path):
    m = figures(bench(tmp_path, "--json", "--file", FIXTURE / "wav" / "01_digits.wav", MODEL))
    assert m["model"] == "fixture" and m["type"] == "ggml f16"
    for key in ("mel_ms", "encode_ms", "encode_gflops", "step_1_ms", "step_2_ms", "step_4_ms", "step_8_ms",
                "step_16_ms", "beam_5_ms", "prompt_224_ms", "file_s", "file_speed", "peak_memory_mb"):
        assert m[key] > 0, key
    assert abs(m["file_length_s"] - 8) < 8
    assert m["file_speed"] == pytest.approx(m["file_length_s"] / m["file_s"], rel=1e-3)


def test_the_table_says_the_same(tmp_path):
    run = bench(tmp_path, "--precision", "f32", MODEL)
    assert run.returncode == 0, run.stderr
    assert run.stdout.startswith("fixture: ggml f16, f32 on ")
    for label in ("encoder, 30 s", "GFLOP/s", "decoder step, 16 windows", "times one window's", "most memory held"):
        assert label in run.stdout
    assert "real time" not in run.stdout  # no recording was given


def test_all_models_of_the_folder(tmp_path):
    models = tmp_path / "models"
    models.mkdir()
    for name in ("ggml-one.bin", "ggml-two.bin"):
        (models / name).symlink_to(MODEL)
    run = bench(tmp_path, "--json", "--model-path", models)
    assert run.returncode == 0, run.stderr
    assert [m["model"] for m in json.loads(run.stdout)] == ["one", "two"]


def test_nothing_to_measure(tmp_path):
    run = bench(tmp_path)
    assert run.returncode == 2 and "steno model pull" in run.stderr
    run = bench(tmp_path, "no-such-model")
    assert run.returncode == 2 and "no-such-model" in run.stderr


def test_ctrl_c_ends_it(tmp_path):
    process = subprocess.Popen([BIN, "bench", "--data", tmp_path, "--repeat", "1000", MODEL], env=environment(),
                               stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    cache = tmp_path / "cache"
    for _ in range(600):
        if cache.exists() and any(cache.iterdir()):
            break
        time.sleep(0.1)
    process.send_signal(signal.SIGINT)
    out, err = process.communicate(timeout=60)
    assert process.returncode == 130, err
    assert out == ""


# ---- threads ----


def threads(tmp_path, *args, **how):
    return figures(bench(tmp_path, "--json", *args, MODEL, **how))["threads"]


def test_one_thread_for_each_core_of_the_mask(tmp_path):
    first = min(os.sched_getaffinity(0))
    assert threads(tmp_path, prefix=("taskset", "-c", str(first))) == 1


def test_what_the_user_sets_stays(tmp_path):
    assert threads(tmp_path, OMP_NUM_THREADS="3") == 3


def test_the_setting_comes_before_the_environment(tmp_path):
    assert threads(tmp_path, "--threads", "2", OMP_NUM_THREADS="3") == 2


@pytest.mark.skipif(len(os.sched_getaffinity(0)) < 2, reason="needs two processors")
def test_binding_does_not_shrink_the_team(tmp_path):
    """OpenMP binds the first thread when the program is loaded; the process must still see all its processors."""
    assert threads(tmp_path, OMP_PROC_BIND="true") == threads(tmp_path)
