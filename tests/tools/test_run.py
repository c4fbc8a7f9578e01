# SPDX-License-Identifier: MIT
"""The runner counts what happened, and takes nothing that went wrong for a pass."""

import os
import stat
import subprocess
import sys
import time
from pathlib import Path

import pytest

# Makes the runner `m` in a process of its own.
LOAD = """
import importlib.machinery, importlib.util, sys
loader = importlib.machinery.SourceFileLoader("runner", "tests/run")
m = importlib.util.module_from_spec(importlib.util.spec_from_loader("runner", loader))
sys.modules["runner"] = m
loader.exec_module(m)
"""


@pytest.mark.parametrize(
    "text, status, passed, failed, skipped",
    [
        ("1..2\nok 1 - a\nok 2 - b\n", 0, 2, 0, 0),
        ("1..2\nok 1 - a\nnot ok 2 - b\n# why\n", 1, 1, 1, 0),
        ("1..2\nok 1 - a\nnot ok 2 # SKIP test_tls\n", 0, 1, 0, 1),
        ("1..3\nok 1 - a\nok 2 # SKIP no server\nok 3 - skip is in the name\n", 0, 2, 0, 1),
        ("1..3\nok 1 - a\n", -11, 1, 2, 0),  # crashed in the second
        ("1..1\nok 1 - a\n", 99, 1, 1, 0),  # a sanitizer ended it
        ("ok 1 - a\n", 0, 1, 1, 0),  # no plan
        ("", 0, 0, 1, 0),
        ("1..0 # SKIP no such server\n", 0, 0, 0, 1),
        ("1..0 # SKIP no such server\n", 1, 0, 1, 1),
        ("1..1\nok 1 - a\n1..2\nok 1 - b\nok 2 - c\n", 0, 3, 0, 0),  # two groups in one program
    ],
)
def test_tap(runner, text, status, passed, failed, skipped):
    outcome = runner.parse_tap(text, status)
    assert (outcome.passed, outcome.failed, outcome.skipped) == (passed, failed, skipped)


def test_junit_counts(runner, tmp_path):
    path = tmp_path / "x.xml"
    path.write_text('<testsuites><testsuite tests="7" failures="1" errors="1" skipped="2"/></testsuites>')
    outcome = runner.parse_junit(path, 1)
    assert (outcome.passed, outcome.failed, outcome.skipped) == (3, 2, 2)


def test_junit_missing_is_a_failure(runner, tmp_path):
    assert runner.parse_junit(tmp_path / "none.xml", 0).failed == 1


def test_junit_bad_status_is_a_failure(runner, tmp_path):
    path = tmp_path / "x.xml"
    path.write_text('<testsuites><testsuite tests="1" failures="0" errors="0" skipped="0"/></testsuites>')
    assert runner.parse_junit(path, 3).failed == 1


def test_what_a_storm_came_to_is_shown_of_a_passed_run(runner, tmp_path, monkeypatch):
    monkeypatch.setattr(runner, "BUILD", tmp_path)
    (tmp_path / "test_x.py").write_text("def test_x():\n    print('seed 1')\n    print('jobs 9, losses 0')\n")
    outcome = runner.run_pytest([str(tmp_path / "test_x.py")], os.environ, 60)
    assert (outcome.passed, outcome.failed, outcome.notes) == (1, 0, ["    test_x: jobs 9, losses 0"])


def test_the_table_of_the_chaos_suite_is_shown(runner, monkeypatch):
    said = "chaos with steno, seed 7\nchaos    embedded\nfaults         12\nlosses          0\nseed 7\n1..1\nok 1 - whole\n"
    monkeypatch.setattr(runner, "run", lambda *a, **kw: (0, said))
    outcome = runner.run_chaos({})
    assert (outcome.passed, outcome.failed) == (1, 0)
    assert outcome.notes == ["    chaos    embedded\n    faults         12\n    losses          0\n    seed 7"]


def test_sanitizer_report_is_a_failure(runner, tmp_path, capsys):
    suites = runner.Suites(tmp_path)

    def work():
        (tmp_path / "report.123").write_text("ERROR: LeakSanitizer")
        return runner.Outcome(passed=5)

    suites.run("first", [work], 1)
    assert (suites.total.passed, suites.total.failed) == (5, 1)
    assert "LeakSanitizer" in capsys.readouterr().out
    # It counts once, for the suite it happened in.
    suites.run("second", [lambda: runner.Outcome(passed=1)], 1)
    assert (suites.total.passed, suites.total.failed) == (6, 1)


def test_empty_suite_is_a_failure(runner, tmp_path):
    suites = runner.Suites(tmp_path)
    suites.run("empty", [], 1)
    assert suites.total.failed == 1


def test_timeout_kills_the_whole_group(runner):
    status, output = runner.run(
        [sys.executable, "-c", "import subprocess; subprocess.run(['sleep', '1000'])"], timeout=1
    )
    assert status == -9
    assert "killed" in output


def test_stopping_the_runner_ends_what_it_started():
    code = LOAD + "m.stop_on_signals()\nm.Suites(None).run('x', [lambda: m.run(['sleep', '1000'])], 1)\n"
    with subprocess.Popen([sys.executable, "-B", "-c", code], stdout=subprocess.PIPE, text=True) as process:
        end, child = time.monotonic() + 60, None
        while child is None and time.monotonic() < end:
            stats = Path("/proc").glob("[0-9]*/stat")
            child = next((int(s.parent.name) for s in stats if parent_of(s) == process.pid), None)
        assert child, "it has started"
        process.terminate()
        assert process.wait(timeout=60) == 130
        while Path(f"/proc/{child}").exists() and time.monotonic() < end:
            time.sleep(0.01)
        assert not Path(f"/proc/{child}").exists()


def parent_of(stat):
    try:
        return int(stat.read_text().rpartition(")")[2].split()[1])
    except OSError:
        return None


def test_standard_error_does_not_disturb_tap(runner):
    code = "import os; os.write(1, b'1..1\\n'); os.write(2, b'no newline'); os.write(1, b'ok 1 - a\\n')"
    test = {"name": "x", "cmd": [sys.executable, "-c", code], "env": {}, "timeout": 60, "workdir": None}
    outcome = runner.run_c_test(test, {})
    assert (outcome.passed, outcome.failed) == (1, 0)


@pytest.mark.parametrize("failed, status", [(0, 0), (2, 1)])
def test_last_line_and_status(runner, capsys, failed, status):
    with pytest.raises(SystemExit) as e:
        runner.finish(runner.Outcome(passed=3, failed=failed, skipped=1))
    assert e.value.code == status
    assert capsys.readouterr().out.splitlines()[-1] == f"3 passed, {failed} failed, 1 skipped"


def test_last_line_is_alone_when_the_build_fails():
    code = LOAD + "m.must(['false'], 'build')\n"
    done = subprocess.run([sys.executable, "-B", "-c", code], capture_output=True, text=True)
    assert done.returncode == 1
    assert done.stdout.splitlines()[-1] == "0 passed, 1 failed, 0 skipped"


SERVICE = """#!/bin/sh
case $1 in
installed) [ "$2" != s3 ] ;;
up) case $2 in
    redis) exit 1 ;;
    postgres) mkdir "$3"; setsid sleep 1000 & echo $! >"$3/x.pid"; echo "POSTGRES_URL='postgresql://x?a=b'" ;;
    esac ;;
kill) [ ! -e "$3/x.pid" ] || kill -KILL "$(cat "$3/x.pid")" ;;
esac
"""


@pytest.fixture
def services(runner, tmp_path, monkeypatch):
    """A class Services whose script knows one server that starts (postgres), one that does not, one not installed."""
    script = tmp_path / "services.sh"
    script.write_text(SERVICE)
    script.chmod(script.stat().st_mode | stat.S_IXUSR)
    module = sys.modules[runner.Services.__module__]
    monkeypatch.setattr(module, "SCRIPT", script)
    for variable in (*module.SERVICES.values(), module.S3_ENDPOINT, module.S3_BUCKET):
        monkeypatch.delenv(variable, raising=False)
    return module.Services


def test_servers_that_run_are_named_and_stopped(services, capsys):
    s = services(["postgres", "redis", "s3"])
    s.start()
    folder = s.folder
    assert s.env() == {"STENO_TEST_POSTGRES_URL": "postgresql://x?a=b"}
    said = capsys.readouterr().out
    assert "s3 is not installed" in said and "redis does not start" in said
    pid = int((folder / "postgres" / "x.pid").read_text())
    os.kill(pid, 0)
    s.stop()
    assert not folder.exists()
    end = time.monotonic() + 60
    while Path(f"/proc/{pid}").exists() and " Z " not in Path(f"/proc/{pid}/stat").read_text():
        assert time.monotonic() < end
        time.sleep(0.01)


def test_a_server_given_by_the_environment_is_not_started(services, monkeypatch):
    monkeypatch.setenv("STENO_TEST_POSTGRES_URL", "postgresql://elsewhere")
    s = services(["postgres"])
    s.start()
    assert not s.starting and s.env() == {"STENO_TEST_POSTGRES_URL": "postgresql://elsewhere"}


@pytest.mark.parametrize("bucket, url", [("mine", "s3://mine"), (None, "s3://steno-test")])
def test_an_s3_server_may_be_given_by_its_endpoint_alone(services, monkeypatch, capsys, bucket, url):
    monkeypatch.setenv("STENO_TEST_S3_ENDPOINT", "http://elsewhere:9000")
    if bucket:
        monkeypatch.setenv("STENO_TEST_S3_BUCKET", bucket)
    s = services(["s3"])
    s.start()
    assert "not installed" not in capsys.readouterr().out
    assert not s.starting and s.env() == {"STENO_TEST_S3_URL": url}
