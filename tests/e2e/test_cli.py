# SPDX-License-Identifier: MIT
"""The command line: every command, its help, its exit status, what it says when something is wrong."""

import json
import re
import signal
import socket
import sqlite3
import subprocess
import threading
import time

import pytest
from steno_server import QUICK, STENO, Server, clean_env, wait_for

UNKNOWN = "01a20200-06f7-759f-84ff-46d2b7b4ac6b"
OK, FAILED, USAGE, UNAVAILABLE, JOB, INTERRUPTED = 0, 1, 2, 3, 4, 130


def command_names():
    """As `steno --help` lists them."""
    out = subprocess.run([STENO, "--help"], capture_output=True, text=True, env=clean_env(), check=True).stdout
    listed = out.split("Commands:\n")[1].split("\n\n")[0]
    return re.findall(r"^  ([a-z]+(?: [a-z_]+)?)", listed, re.MULTILINE)


COMMANDS = command_names()


@pytest.fixture(scope="module")
def null_server():
    """A service whose engine answers at once."""
    s = Server(*QUICK, "--engine=null")
    yield s
    s.close()


@pytest.fixture
def client(null_server):
    return ["--server", null_server.url]


@pytest.fixture
def wav(tmp_path):
    path = tmp_path / "tone.wav"
    subprocess.run(["sox", "-n", "-r", "16000", "-c", "1", path, "synth", "1", "sine", "440"], check=True)
    return path


# ---- help ----


def test_all_commands_are_there():
    assert COMMANDS == [
        "serve", "direct", "api", "worker", "transcribe", "submit", "status", "wait", "result", "jobs", "cancel", "health",
        "inspect active", "inspect reserved", "inspect registered", "inspect conf", "inspect active_queues",
        "inspect stats", "inspect pool", "inspect models", "inspect workers", "inspect queues", "queue list", "queue pause",
        "queue resume", "errors list",
        "errors show", "errors retry", "errors resolve", "migrate up", "migrate status", "config print", "config check",
        "config sample", "cleanup", "model list", "model info", "model pull", "model verify", "bench", "openapi", "version",
        "help",
    ]


@pytest.mark.parametrize("name", COMMANDS)
def test_help_of_each_command(steno, name):
    text = steno.ok(*name.split(), "--help")
    assert text.startswith(f"Usage: steno {name} ")
    assert "-h, --help" in text
    assert max(map(len, text.splitlines())) <= 100
    assert steno.ok("help", *name.split()) == text
    assert steno.ok(*name.split(), "-h") == text


def test_hidden_commands_are_hidden(steno):
    assert "__" not in steno.ok("--help")
    assert "config docs" not in steno.ok("--help")


def test_help_of_groups_and_settings(steno):
    group = steno.ok("errors", "--help")
    for word in ["errors list", "errors show ID", "errors retry ID...", "errors resolve ID..."]:
        assert word in group
    settings = steno.ok("help", "settings")
    assert "--max-upload-size" in settings
    assert "STENO_LOG_LEVEL" in settings


def test_version(steno):
    assert re.fullmatch(r"steno \d+\.\d+\.\d+\n", steno.ok("version"))
    assert steno.ok("--version") == steno.ok("version")
    verbose = steno.ok("version", "-v")
    for word in ["libcurl", "jansson", "pocketsphinx", "null"]:
        assert word in verbose


@pytest.mark.parametrize(
    "args, said",
    [
        ([], "Commands:"),
        (["sbumit"], "did you mean 'submit'?"),
        (["frobnicate"], "no command 'frobnicate'"),
        (["bell\x07"], r"bell\x07"),
        (["errors"], "Subcommands:"),
        (["errors", "lst"], "'errors' has no subcommand 'lst'"),
        (["help", "nothing"], "no command 'nothing'"),
        (["version", "--bogus"], "unknown flag '--bogus': see 'steno version --help'"),
        (["version", "-x"], "unknown flag '-x'"),
        (["version", "--verbose=3"], "--verbose takes no value"),
        (["version", "more"], "unexpected argument 'more'"),
        (["status"], "too few arguments: steno status ID..."),
        (["result", "a", "b"], "unexpected argument 'b'"),
        (["submit", "--queue"], "--queue needs a value"),
        (["serve", "--lisen=x"], "did you mean --listen?"),
        (["serve", "--max-attempts=0"], "flag --max-attempts"),
        (["serve", "--log-level=loud"], "error, warn, info or debug"),
        (["serve", "--worker-queues=high,low"], "flag --worker-queues: worker_queues: there is no queue 'low'"),
        (["config", "check", "--retry-policy=timeouts: 3"], "retry_policy: 'timeouts' is no class of errors; rules are"),
        (["serve", "--keep-jobs=1d", "--keep-results=2d"], "keep_results is longer than keep_jobs"),
        (["serve", "--config=/nowhere/steno.ini"], "/nowhere/steno.ini"),
        (["submit", "x.wav", "--format=srt"], "need --wait"),
        (["submit", "x.wav", "--wait", "--format=doc"], "--format is txt"),
        (["result", UNKNOWN, "--format=doc"], "--format is txt"),
        (["jobs", "--status=done"], "--status is pending"),
        (["jobs", "--limit=0"], "--limit takes a number from 1 to 1000"),
        (["jobs", "--limit=x"], "--limit takes a number"),
        (["wait", UNKNOWN, "--timeout=soon"], "--timeout takes a time"),
        (["cleanup", "--older-than=old"], "--older-than takes a time"),
        (["__completion", "fish"], "bash only"),
    ],
)
def test_wrong_command_line(steno, args, said):
    done = steno(*args)
    assert done.status == USAGE, done
    assert said in done.err
    assert done.out == ""


# ---- configuration ----


def test_config_print_shows_where_values_come_from(steno, tmp_path):
    (tmp_path / "steno.ini").write_text("lease = 20s\n")
    text = steno.ok("config", "print", "--config=steno.ini", "--max-attempts", "7", env={"STENO_RETRY_CAP": "3m"})
    assert re.search(r"lease = 20s.*\n?.*steno\.ini:1|steno\.ini:1[^\n]*\n*lease = 20s", text), text
    assert "max_attempts = 7" in text
    assert "retry_cap = 3m" in text


def test_config_print_masks_secrets(steno):
    text = steno.ok("config", "print", env={"STENO_S3_SECRET_KEY": "hunter2", "STENO_BROKER": "redis://u:hunter2@h/0"})
    assert "hunter2" not in text
    assert "***" in text


def test_config_sample_is_a_valid_file(steno, tmp_path):
    sample = steno.ok("config", "sample")
    (tmp_path / "sample.ini").write_text(sample)
    assert "fine ('sample.ini')" in steno.ok("config", "check", "--config", "sample.ini")
    assert all(not line or line[0] in "#;[" for line in sample.splitlines()), "a sample sets nothing"


def test_config_check_explains_aliases(steno):
    text = steno.ok("config", "check", env={"MAX_UPLOAD_SIZE_MB": "12"})
    assert "note:" in text
    assert "MAX_UPLOAD_SIZE_MB" in text


def test_config_check_names_file_and_line(steno, tmp_path):
    (tmp_path / "bad.ini").write_text("lease = 20s\nlaese = 30s\n")
    done = steno("config", "check", "--config=bad.ini")
    assert done.status == USAGE
    assert "bad.ini:2" in done.err
    assert "lease" in done.err


# ---- without a server ----


@pytest.mark.parametrize("command", [["status", UNKNOWN], ["jobs"], ["cancel", UNKNOWN], ["result", UNKNOWN]])
def test_no_server(steno, command, tmp_path):
    done = steno(*command, "--data", tmp_path / "none", "--listen=127.0.0.1:1")
    assert done.status == UNAVAILABLE, done
    assert "cannot reach a server at http://127.0.0.1:1: is 'steno serve' running?" in done.err


def test_no_server_on_a_free_port(steno, tmp_path):
    done = steno("jobs", "--data", tmp_path / "none", "--listen=127.0.0.1:0")
    assert done.status == UNAVAILABLE
    assert "--server" in done.err


def test_not_a_steno_server(steno):
    """Something else answers there."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        def answer():
            for _ in range(2):
                connection, _ = listener.accept()
                connection.recv(65536)
                connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\nConnection: close\r\n\r\nhello")
                connection.close()

        thread = threading.Thread(target=answer)
        thread.start()
        url = f"http://127.0.0.1:{listener.getsockname()[1]}"
        for command in (["jobs"], ["status", UNKNOWN]):
            done = steno(*command, "--server", url)
            assert done.status == UNAVAILABLE
            assert "is that a steno server?" in done.err
        thread.join()


def test_server_that_never_answers_can_be_interrupted(steno):
    with socket.create_server(("127.0.0.1", 0)) as listener:
        process = steno.start("jobs", "--server", f"http://127.0.0.1:{listener.getsockname()[1]}", stderr=subprocess.PIPE)
        connection, _ = listener.accept()
        started = time.monotonic()
        process.send_signal(signal.SIGINT)
        assert process.wait(timeout=30) == INTERRUPTED
        assert time.monotonic() - started < 5
        assert b"interrupted" in process.stderr.read()
        process.stderr.close()
        connection.close()


# ---- jobs ----


def test_life_of_a_job(steno, client, wav):
    job = steno.ok("submit", *client, wav, "--description=a note", "--queue=high").strip()
    assert steno.ok("wait", *client, job) == f"{job} completed\n"
    shown = json.loads(steno.ok("status", *client, "--json", job))
    assert (shown["filename"], shown["queue"], shown["description"]) == ("tone.wav", "high", "a note")
    assert steno.ok("result", *client, job).strip()
    listed = json.loads(steno.ok("jobs", *client, "--json", "--limit=1"))
    assert len(listed["jobs"]) == 1
    assert steno.ok("cancel", *client, job) == f"{job} completed\n"
    assert steno.ok("cancel", *client, "--purge", job) == f"{job} removed\n"
    gone = steno("status", *client, job)
    assert gone.status == USAGE
    assert job in gone.err


def test_wait_prints_nothing_when_quiet(steno, client, wav):
    job = steno.ok("submit", *client, wav).strip()
    assert steno.ok("wait", *client, "--quiet", job) == ""
    assert json.loads(steno.ok("wait", *client, "--json", job))["status"] == "completed"


def test_pages_of_jobs(steno, client, wav):
    ids = steno.ok("submit", *client, wav, wav, wav).split()
    steno.ok("wait", *client, *ids)
    seen, cursor = [], []
    for _ in range(100):
        page = steno.ok("jobs", *client, "--limit=2", *cursor)
        seen += re.findall(r"^([0-9a-f]{8}-[0-9a-f-]{27})", page, re.MULTILINE)
        more = re.search(r"More: --cursor (\S+)", page)
        if not more:
            break
        cursor = ["--cursor", more.group(1)]
    assert len(seen) == len(set(seen))
    assert seen.index(ids[2]) < seen.index(ids[1]) < seen.index(ids[0]), "newest first"


def test_several_files_one_bad(steno, client, wav, tmp_path):
    (tmp_path / "note.txt").write_text("this is no recording " * 50)
    done = steno("submit", *client, wav, tmp_path / "note.txt", tmp_path / "missing.wav", wav)
    assert done.status == USAGE
    assert len(done.out.split()) == 2
    assert "note.txt" in done.err
    assert "missing.wav" in done.err


def test_several_results_into_a_folder(steno, client, wav, tmp_path):
    other = tmp_path / "other.tone.wav"
    other.write_bytes(wav.read_bytes())
    steno.ok("submit", "--wait", *client, "-f", "srt", "-o", tmp_path / "out", wav, other)
    assert sorted(p.name for p in (tmp_path / "out").iterdir()) == ["other.tone.srt", "tone.srt"]
    text = steno.ok("submit", "--wait", *client, wav, other)
    assert f"==> {wav} <==" in text and f"==> {other} <==" in text


def test_refused_by_the_server(steno, client, wav):
    done = steno("submit", *client, wav, "--queue=lightning")
    assert done.status == USAGE
    assert "queue" in done.err


def test_output_that_cannot_be_written(steno, client, wav):
    job = steno.ok("submit", *client, wav).strip()
    steno.ok("wait", *client, job)
    done = steno("result", *client, "-o", "/nowhere/out.txt", job)
    assert done.status == USAGE
    assert "/nowhere/out.txt" in done.err
    with open("/dev/full", "w") as full:
        process = steno.start("result", *client, job, stdout=full, stderr=subprocess.PIPE)
        assert b"No space left" in process.communicate(timeout=60)[1]
        assert process.returncode == UNAVAILABLE


def test_ctrl_c_while_waiting_leaves_the_job(steno, tmp_path, wav):
    api = Server(role="api")  # nobody works
    try:
        job = steno.ok("submit", "--server", api.url, wav).strip()
        done, took = steno.on_terminal("wait", "--server", api.url, job, until="waiting", sig=signal.SIGINT)
        assert done.status == INTERRUPTED
        assert took < 3
        assert f"job {job} goes on" in done.err
        assert api.job(job)["status"] == "pending"
        late = steno("wait", "--server", api.url, "--timeout=300ms", job)
        assert late.status == UNAVAILABLE
        assert "has not ended yet" in late.err
        assert steno.ok("cancel", "--server", api.url, job) == f"{job} cancelled\n"
        assert steno("wait", "--server", api.url, job).status == JOB
    finally:
        api.close()


def test_upload_bar_on_a_terminal(steno, client, tmp_path):
    big = tmp_path / "big.wav"
    subprocess.run(["sox", "-n", "-r", "16000", "-c", "1", "-b", "16", big, "synth", "600", "sine", "440"], check=True)
    done, _ = steno.on_terminal("submit", *client, big)
    assert done.status == 0
    assert re.search(r"big\.wav  \[#*\.*\] +\d+%  [\d.]+ MB of 19\.2 MB", done.err), done.err
    quiet = steno("submit", *client, big)
    assert (quiet.status, quiet.err) == (0, ""), "no bar where nobody sees it"


# ---- the database's commands ----


def test_errors_list_show_retry_resolve(steno, server, wav, tmp_path):
    data = ["--data", server.data, *server.backends.flags]
    broken = tmp_path / "broken.mp3"
    broken.write_bytes(b"\xff\xfb\x90\x00" + bytes(range(256)) * 40)
    job = steno.ok("submit", "--server", server.url, broken).strip()
    waited = steno("wait", "--server", server.url, job)
    assert waited.status == JOB
    assert f"{job} failed: " in waited.out
    failed = steno("submit", "--wait", "--server", server.url, broken)
    assert failed.status == JOB
    assert "broken.mp3" in failed.err

    listed = json.loads(steno.ok("errors", "list", "--json", *data, "--job", job))
    (error,) = listed["errors"]
    assert error["job_id"] == job and error["dead"] and not error["resolved"]
    assert error["id"] in steno.ok("errors", "list", *data)
    shown = steno.ok("errors", "show", *data, error["id"])
    for word in [job, "broken.mp3", "state     dead", error["message"].split(":")[0]]:
        assert word in shown
    assert json.loads(steno.ok("errors", "show", "--json", *data, error["id"]))["id"] == error["id"]

    assert steno.ok("errors", "retry", *data, error["id"]) == f"{job} is pending again\n"
    assert steno("wait", "--server", server.url, job).status == JOB, "tried again, failed again"
    (again,) = json.loads(steno.ok("errors", "list", "--json", *data, "--job", job))["errors"]
    assert again["id"] != error["id"]
    assert steno.ok("errors", "retry", *data, job) == f"{job} is pending again\n", "by the job's id too"
    steno("wait", "--server", server.url, job)
    (again,) = json.loads(steno.ok("errors", "list", "--json", *data, "--job", job))["errors"]

    assert steno.ok("errors", "resolve", *data, again["id"]) == f"{again['id']} is resolved\n"
    assert json.loads(steno.ok("errors", "list", "--json", *data, "--job", job))["errors"] == []
    assert len(json.loads(steno.ok("errors", "list", "--json", "--all", *data, "--job", job))["errors"]) == 3

    for command in ("show", "retry", "resolve"):
        done = steno("errors", command, *data, UNKNOWN)
        assert done.status == USAGE, command
        assert UNKNOWN in done.err
    completed = steno.ok("submit", "--server", server.url, wav).strip()
    steno.ok("wait", "--server", server.url, completed)
    assert steno("errors", "retry", *data, completed).status == FAILED


def test_errors_of_nothing(steno, tmp_path):
    assert steno.ok("errors", "list", "--data", tmp_path / "fresh") == "No errors.\n"


def test_migrate(steno, tmp_path):
    data = ["--data", tmp_path / "fresh"]
    before = steno("migrate", "status", *data)
    assert before.status == FAILED
    assert "pending" in before.out
    assert re.fullmatch(r"\d+ migrations? applied\.\n", steno.ok("migrate", "up", *data))
    assert steno.ok("migrate", "up", *data) == "The database is up to date.\n"
    after = steno.ok("migrate", "status", *data)
    assert "0001  initial" in after and "pending" not in after


def test_newer_schema_is_refused(steno, tmp_path):
    data = tmp_path / "newer"
    steno.ok("migrate", "up", "--data", data)
    with sqlite3.connect(data / "steno.db") as db:
        columns = [row[1] for row in db.execute("PRAGMA table_info(schema_migrations)")]
        row = dict(zip(columns, db.execute("SELECT * FROM schema_migrations").fetchone()))
        row |= {"version": 9999, "name": "future"}
        marks = ",".join("?" * len(row))
        db.execute(f"INSERT INTO schema_migrations ({','.join(row)}) VALUES ({marks})", list(row.values()))
    db.close()
    for command in (["migrate", "status"], ["migrate", "up"], ["serve", "--listen=127.0.0.1:0"], ["errors", "list"]):
        done = steno(*command, "--data", data)
        assert done.status == FAILED, (command, done)
        assert "newer" in done.err or "9999" in done.err


def test_cleanup(steno, tmp_path, wav):
    s = Server(*QUICK, "--engine=null", "--upload-time-limit=1s", "--sweep-interval=1h")
    data = ["--data", s.data, *s.backends.flags]
    try:
        ids = [steno.ok("submit", "--server", s.url, wav).strip() for _ in range(3)]
        steno.ok("wait", "--server", s.url, *ids)
        s.backends.storage.write(f"uploads/{UNKNOWN}/lost.wav", b"x" * 1000)
        written = time.time()
        young = steno.ok("cleanup", "--older-than=1h", *data)
        assert re.search(r"jobs 0, .* objects without a job 0 ", young), "too young to be an orphan"
        wait_for("the orphan is old enough", lambda: time.time() - written > 2.2)  # S3 tells whole seconds
        data.append("--upload-time-limit=1s")
        before = (s.rows(), s.objects())
        dry = steno.ok("cleanup", "--older-than=0s", "--dry-run", *data)
        assert "would remove: jobs 3, of others transcripts 0 and recordings 0, objects without a job 1 " in dry
        assert (s.rows(), s.objects()) == before
        done = steno.ok("cleanup", "--older-than=0s", *data)
        assert "removed: jobs 3, of others transcripts 0 and recordings 0, objects without a job 1 " in done
        assert s.rows()["jobs"] == s.rows()["results"] == 0
        assert s.objects() == []
    finally:
        s.close()


# ---- transcribe ----


def test_ctrl_c_stops_transcribe_within_a_second(steno, speech, tmp_path):
    # Long enough that it cannot be done before the signal comes.
    one = speech("the engineers measured the temperature of the water in the river at seven places on the same day")
    long = tmp_path / "long.wav"
    subprocess.run(["sox", *[one] * 60, long], check=True)
    done, took = steno.on_terminal("transcribe", long, until="%", sig=signal.SIGINT)
    assert done.status == INTERRUPTED, done
    assert took < 1.0 + 2.0 * slow(), took


def slow():
    """How much slower than its usual self the program under test is: sanitizers, and a machine with other work."""
    started = time.monotonic()
    subprocess.run([STENO, "version"], env=clean_env(), check=True, stdout=subprocess.DEVNULL)
    return (time.monotonic() - started) / 0.05


def test_hidden_outputs(steno):
    assert ".TH STENO 1" in steno.ok("__man")
    assert "complete -o filenames -F _steno steno" in steno.ok("__completion", "bash")
    assert steno.ok("__docs").startswith("# Commands\n")
    assert "upload_stored\n" in steno.ok("__faults")


@pytest.mark.parametrize(
    "line, expected",
    [
        ("steno su", ["submit"]),
        ("steno errors ", ["list", "show", "retry", "resolve"]),
        ("steno errors list --al", ["--all", "--alone-patience"]),
        ("steno submit --format ver", ["verbose_json"]),
        ("steno jobs --status comp", ["completed"]),
        ("steno serve --queue-order ", ["fifo", "lifo"]),
        ("steno version --v", ["--verbose"]),
        ("steno config ", ["print", "check", "sample"]),
    ],
)
def test_bash_completion(steno, tmp_path, line, expected):
    (tmp_path / "completion").write_text(steno.ok("__completion", "bash"))
    script = f"""
        source ./completion
        line={line!r}
        read -ra COMP_WORDS <<< "$line"
        [[ $line == *' ' ]] && COMP_WORDS+=("")
        COMP_CWORD=$(( ${{#COMP_WORDS[@]}} - 1 ))
        _steno
        printf '%s\\n' "${{COMPREPLY[@]}}"
    """
    out = subprocess.run(["bash", "-c", script], cwd=tmp_path, capture_output=True, text=True, check=True).stdout
    assert out.split() == expected
