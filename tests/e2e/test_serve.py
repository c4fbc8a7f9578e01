# SPDX-License-Identifier: MIT
"""The supervisor: one server per data folder, restarts, clean stops, nothing left running."""

import os
import re
import resource
import signal
import socket
import stat
import subprocess
import time
from pathlib import Path

import pytest
import requests
from backends import POSTGRES, S3
from steno_server import QUICK, STENO, Server, alive, children, clean_env, kill, role_pid, wait_for


@pytest.fixture
def server():
    s = Server(*QUICK, "--engine=null")
    yield s
    s.close()


def pids(server):
    return {role: wait_for(role, lambda r=role: role_pid(server, r)) for role in ("api", "worker")}


def submit(server):
    """A job that the null engine does; its end state."""
    return server.wait_job(server.submit().json["id"])["status"]


def gone(*some):
    wait_for("the processes are gone", lambda: not any(map(alive, some)))


def test_says_where_it_listens(server):
    log = server.log()
    assert re.search(r"^steno: listening on http://127\.0\.0\.1:\d+$", log, re.MULTILINE)
    assert f"steno: data in {server.data}" in log


def test_data_folder_is_private(server):
    ours = {"objects": not S3, "steno.db": not POSTGRES}
    for name in (".", "lock", *(n for n, embedded in ours.items() if embedded)):
        assert stat.S_IMODE((server.data / name).stat().st_mode) & 0o077 == 0, name


def test_second_server_is_refused(server, steno):
    done = steno("serve", "--data", server.data, "--listen=127.0.0.1:0")
    assert done.status == 1
    assert f"in use by another 'steno serve' (pid {server.process.pid})" in done.err
    assert submit(server) == "completed", "the first one is not disturbed"


def test_clients_find_it_by_its_data_folder(server, steno):
    assert server.url == (server.data / "run" / "api.address").read_text().strip()
    assert steno.ok("jobs", "--data", server.data) == "No jobs.\n"


def test_a_server_whose_address_cannot_be_written_down_serves(steno):
    """A full disk, say: here the file's place is taken."""
    s = Server(*QUICK, "--engine=null")
    try:
        assert s.stop() == 0
        (s.data / "run" / "api.address").mkdir()
        s.start()
        assert submit(s) == "completed"
        assert "commands on this machine will not find this server" in s.log()
    finally:
        s.close()


def test_ps_and_top_show_its_name(server):
    for pid in (server.process.pid, *pids(server).values()):
        wait_for("it has its name", lambda p=pid: Path(f"/proc/{p}/comm").read_text() == "steno\n")


@pytest.mark.parametrize("role", ["api", "worker"])
def test_killed_child_is_restarted(server, role):
    before = pids(server)
    for _ in range(2):
        old = role_pid(server, role)
        kill(old)
        wait_for("it is back", lambda: role_pid(server, role) not in (None, old))
    wait_for("it answers", lambda: answers(server))  # on the same port, though that was chosen freely
    assert submit(server) == "completed"
    other = "worker" if role == "api" else "api"
    assert role_pid(server, other) == before[other], "the other one went on"
    assert f"{role} (pid {before[role]}) ended: killed by signal 9" in server.log()


def test_a_restart_that_fails_is_tried_again(server):
    """The supervisor has no descriptors left; the worker goes on, and the api comes back when there are some again."""
    before, supervisor = pids(server), server.process.pid
    used = {int(fd) for fd in os.listdir(f"/proc/{supervisor}/fd")}
    few = next(n for n in range(len(used) + 1) if n not in used)  # the api's end frees one, and a pipe takes two
    limits = resource.prlimit(supervisor, resource.RLIMIT_NOFILE)
    resource.prlimit(supervisor, resource.RLIMIT_NOFILE, (few, limits[1]))
    kill(before["api"])
    wait_for("two tries", lambda: server.log().count("api cannot be started: ") >= 2)
    assert alive(before["worker"]) and server.process.poll() is None
    resource.prlimit(supervisor, resource.RLIMIT_NOFILE, limits)
    wait_for("the api is back", lambda: role_pid(server, "api") and answers(server))
    assert submit(server) == "completed" and role_pid(server, "worker") == before["worker"]


def answers(server):
    try:
        return requests.get(f"{server.url}/health", timeout=5).status_code == 200
    except requests.ConnectionError:
        return False


def test_killed_supervisor_takes_its_children_with_it(server):
    running = pids(server)
    kill(server.process.pid)
    server.process.wait()
    gone(*running.values())
    server.start()  # the lock is free again
    assert submit(server) == "completed"


@pytest.mark.parametrize("sig", [signal.SIGTERM, signal.SIGINT])
def test_stop_is_clean(server, sig):
    running = pids(server)
    assert submit(server) == "completed"
    assert server.stop(sig) == 0
    assert not any(map(alive, running.values()))
    assert not (server.data / "run" / "api.address").exists()
    assert "warn" not in server.log() and "error" not in server.log()


def test_api_answers_while_the_worker_drains(speech):
    s = Server(*QUICK, "--engine=pocketsphinx", "--engine-slots=1", "--drain-timeout=60s")
    try:
        running = pids(s)
        wav = speech("the engineers measured the temperature of the water in the river at seven places on the same day")
        job = s.submit(wav.read_bytes(), "talk.wav").json["id"]
        wait_for("it is in work", lambda: s.job(job)["status"] == "processing")
        # The worker cannot end while it is stopped; the api must go on all that time.
        os.kill(running["worker"], signal.SIGSTOP)
        s.process.send_signal(signal.SIGTERM)
        for _ in range(10):
            assert s.job(job)["status"] == "processing"
        os.kill(running["worker"], signal.SIGCONT)
        assert s.process.wait(timeout=120) == 0
        gone(*running.values())
    finally:
        s.close()


def pending_signals(pid):
    lines = dict(line.split(":\t") for line in open(f"/proc/{pid}/status") if ":\t" in line)
    return int(lines["ShdPnd"], 16) | int(lines["SigPnd"], 16)


def test_second_stop_kills(speech):
    s = Server(*QUICK, "--engine=pocketsphinx", "--drain-timeout=1h")
    running = pids(s)
    os.kill(running["worker"], signal.SIGSTOP)  # it will never drain
    s.process.send_signal(signal.SIGTERM)
    wait_for("the signal is seen", lambda: not pending_signals(s.process.pid))  # two that wait would become one
    wait_for("the api goes on", lambda: answers(s))
    s.process.send_signal(signal.SIGTERM)
    assert s.process.wait(timeout=60) == 1
    gone(*running.values())
    assert "asked to stop again" in s.log()


def test_hangup_is_passed_on(server, tmp_path):
    running = pids(server)
    server.process.send_signal(signal.SIGHUP)
    for component in ("serve", "api", "worker"):
        wait_for(component, lambda c=component: f"{c}: SIGHUP: settings were read again" in server.log())
    assert pids(server) == running, "nothing was restarted"
    assert submit(server) == "completed"


def test_hangup_changes_the_log_level(tmp_path):
    ini = tmp_path / "steno.ini"
    ini.write_text("log_level = info\n")
    s = Server(*QUICK, "--engine=null", f"--config={ini}")
    try:
        assert submit(s) == "completed", "both run"
        ini.write_text("log_level = debug\nmax_attempts = 9\n")
        s.process.send_signal(signal.SIGHUP)
        wait_for("both have read it", lambda: s.log().count("SIGHUP: settings were read again") == 3)
        assert s.log().count("max_attempts takes effect at the next start") == 1
        assert submit(s) == "completed"
        wait_for("debug lines", lambda: " debug " in s.log())
        ini.write_text("log_level = nonsense\n")
        s.process.send_signal(signal.SIGHUP)
        wait_for("all refuse it", lambda: s.log().count("settings stay as they were") == 3)
        assert submit(s) == "completed"
    finally:
        s.close()


def test_unix_socket(tmp_path, steno):
    path = tmp_path / "steno.sock"
    s = Server(*QUICK, "--engine=null", listen=f"unix:{path},127.0.0.1:0")
    try:
        assert f"listening on unix:{path}" in s.log()
        wait_for("the second address", lambda: re.search(r"listening on http://127\.0\.0\.1:\d+", s.log()))
        wav = tmp_path / "tone.wav"
        subprocess.run(["sox", "-n", "-r", "16000", "-c", "1", wav, "synth", "1", "sine", "440"], check=True)
        assert steno.ok("submit", "--wait", "--server", f"unix:{path}", wav).strip()
        assert "tone.wav" in steno.ok("jobs", "--data", s.data), "the first address is the one clients take"
    finally:
        s.close()
    assert not path.exists()


def test_address_in_use(steno, tmp_path):
    with socket.create_server(("127.0.0.1", 0)) as taken:
        address = f"127.0.0.1:{taken.getsockname()[1]}"
        done = steno("serve", "--data", tmp_path / "data", "--listen", address)
    assert done.status == 3
    assert address in done.err
    assert "giving up: api did not start" in done.err
    assert "Traceback" not in done.err


def test_bad_configuration_is_said_once(steno, tmp_path):
    done = steno("serve", "--data", tmp_path / "data", "--listen=nonsense")
    assert done.status == 2
    assert "nonsense" in done.err


def test_database_that_cannot_be_opened(steno, tmp_path):
    (tmp_path / "file").write_text("in the way")
    done = steno("serve", "--data", tmp_path / "data", f"--database=sqlite:{tmp_path}/file/steno.db")
    assert done.status != 0
    assert done.err.count("\n") == 1, "one process tried, one line came"


def test_unusable_data_folder(steno, tmp_path):
    (tmp_path / "file").write_text("in the way")
    done = steno("serve", "--data", tmp_path / "file" / "data")
    assert done.status == 2
    assert str(tmp_path / "file") in done.err


@pytest.mark.parametrize("role", ["api", "worker"])
def test_role_alone(role):
    s = Server(*QUICK, role=role)
    try:
        if role == "api":
            assert answers(s)
        else:
            wait_for("it has started", lambda: "worker: worker" in s.log())
        assert children(s.process.pid) == {} or role == "worker"
        assert s.stop() == 0
    finally:
        s.close()


def catches_term(process):
    """Has the process a handler for SIGTERM by now?"""
    caught = re.search(r"SigCgt:\s+(\w+)", Path(f"/proc/{process.pid}/status").read_text())
    return int(caught.group(1), 16) >> (signal.SIGTERM - 1) & 1


@pytest.mark.parametrize("pause_ms", [0, 1, 2, 5, 10, 30, 100])
def test_a_stop_during_the_start(tmp_path, pause_ms):
    """The worker starts itself again with other settings: a signal before that must not be forgotten."""
    worker = subprocess.Popen([STENO, "worker", "--data", tmp_path / "data", "--engine=null", "--log-level=warn"],
                              env=clean_env(), stderr=subprocess.DEVNULL)
    while not catches_term(worker):
        assert worker.poll() is None
    time.sleep(pause_ms / 1000)
    worker.terminate()
    try:
        assert worker.wait(timeout=60) == 0
    finally:
        worker.kill()
