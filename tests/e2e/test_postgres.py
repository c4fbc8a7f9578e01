# SPDX-License-Identifier: MIT
"""The service on PostgreSQL alone: database and broker in one server, which is cut off, stopped and killed meanwhile.
Each test has a server of its own."""

import random
import re
import socket
import subprocess
import threading
import time
from concurrent.futures import ThreadPoolExecutor

import pytest
from real_server import RealServer, installed
from steno_server import ROOT, STENO, TERMINAL, Server, clean_env, multipart, wait_for

SOUND = (ROOT / "tests" / "fixture" / "audio" / "02_one_word.flac").read_bytes()
FLAGS = ["--engine=null", "--lease=3s", "--sweep-interval=500ms", "--retry-base=100ms", "--retry-cap=500ms"]

pytestmark = pytest.mark.skipif(not installed("postgres"), reason="no PostgreSQL server is installed")


class Database(RealServer):
    def __init__(self):
        super().__init__("postgres")

    @property
    def url(self):
        return self.vars["POSTGRES_URL"]

    def sql(self, query):
        import psycopg2

        db = psycopg2.connect(self.url, options="-c search_path=steno")
        try:
            db.autocommit = True
            with db.cursor() as cursor:
                cursor.execute(query)
                return cursor.fetchall() if cursor.description else []
        finally:
            db.close()

    def states(self):
        return dict(self.sql("SELECT id, state FROM jobs"))


@pytest.fixture
def database():
    d = Database()
    yield d
    d.close()


class Relay:
    """Passes bytes between steno and the server, and now and then cuts a connection: before what the client sent goes on,
    or when the server has answered it and the answer is lost. `doom`: so does, once, the answer to what holds these bytes."""

    def __init__(self, database, chance=0, seed=0):
        self.port = int(re.search(r":(\d+)/", database.url).group(1))
        self.chance, self.random, self.doom = chance, random.Random(seed), None
        self.cuts, self.open, self.pairs = 0, True, []
        self.lock = threading.Lock()
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.url = database.url.replace(f":{self.port}/", f":{self.listener.getsockname()[1]}/") + "?sslmode=disable&gssencmode=disable"
        threading.Thread(target=self.accept, daemon=True).start()

    def accept(self):
        while self.open:
            try:
                client, _ = self.listener.accept()
                server = socket.create_connection(("127.0.0.1", self.port), timeout=30)
            except OSError:
                continue
            pair = {"client": client, "server": server, "doomed": False}
            self.pairs.append(pair)
            for way in ("client", "server"):
                threading.Thread(target=self.pump, args=(pair, way), daemon=True).start()

    def dice(self, data):
        with self.lock:
            if self.doom and self.doom in data:
                self.doom = None
                self.cuts += 1
                return "after"
            hit = self.chance and self.random.random() < self.chance
            self.cuts += bool(hit)
            return self.random.choice(("before", "after")) if hit else None

    def pump(self, pair, way):
        other = pair["server" if way == "client" else "client"]
        try:
            while data := pair[way].recv(65536):
                if way == "client":
                    hit = self.dice(data)
                    if hit == "before":
                        break
                    pair["doomed"] = pair["doomed"] or hit == "after"
                elif pair["doomed"]:
                    if data[-6:-1] == b"Z\0\0\0\5":  # the answer is complete
                        break
                    continue
                other.sendall(data)
        except OSError:
            pass
        self.cut(pair)

    @staticmethod
    def cut(pair):
        for s in (pair["client"], pair["server"]):
            try:
                s.shutdown(socket.SHUT_RDWR)
            except OSError:
                pass

    def cut_all(self):
        for pair in list(self.pairs):
            self.cut(pair)

    def close(self):
        self.open = False
        self.listener.close()


def submit_until_accepted(server):
    """A client that tries again when it is told to. The ids of accepted jobs; each is a promise."""
    for _ in range(100):
        answer = server.submit(SOUND, "a.flac")
        if answer.status == 202:
            return answer.json["id"]
        assert answer.status == 503, answer
        assert "retry-after" in {name.lower() for name in answer.headers}
        time.sleep(0.1)
    raise AssertionError("never accepted")


def check_ended(database, accepted):
    """Each accepted job has ended once, and each completed one is whole."""
    states = wait_for("every job has ended", lambda: (s := database.states()) and
                      all(v in TERMINAL for v in s.values()) and s, timeout=180)
    assert set(accepted) <= set(states)
    assert set(states.values()) == {"completed"}, database.sql("SELECT job_id, error_class, stage, message, dead FROM error_logs")
    assert database.sql("SELECT count(*) FROM results") == [(len(states),)]
    assert database.sql("SELECT id FROM jobs WHERE chunks_done <> chunks_total") == []
    assert database.sql("SELECT id FROM jobs j WHERE chunks_total <> (SELECT count(*) FROM chunks WHERE job_id = j.id)") == []
    assert database.sql("SELECT * FROM error_logs WHERE dead = 1") == []


def test_one_url_is_all_it_takes(database):
    s = Server(*FLAGS, "--poll-interval=30s", "--database", database.url)
    try:
        job = submit_until_accepted(s)
        wait_for("the job", lambda: database.states()[job] == "completed", timeout=20)  # so it was told of
        health = s.ask("GET", "/health").json
        assert health["status"] == "ok"
        pool = health["parts"]["database"]["connections"]
        assert pool["max"] == 16 and 1 <= pool["open"] <= 16 and pool["waiting"] == 0
        assert not (s.data / "steno.db").exists()
        assert ":secret@" not in s.log()
    finally:
        s.close()


def test_many_processes_start_at_once(database):
    first = Server(*FLAGS, "--database", database.url, role="api")
    others = [Server(*FLAGS, "--database", database.url, role=r) for r in ("api", "worker") * 4]
    try:
        accepted = [submit_until_accepted(s) for s in [first, *others[::2]] for _ in range(4)]
        check_storage_is_shared = {s.data for s in others}
        assert len(check_storage_is_shared) == len(others)
    finally:
        for s in others:
            s.close()
        first.close()
    assert len(database.states()) == len(accepted)
    assert database.sql("SELECT count(*) FROM schema_migrations")[0][0] >= 1


@pytest.mark.parametrize("seed", [1, 2])
def test_connections_that_break_at_any_moment(database, seed):
    relay = Relay(database, seed=seed)
    s = Server(*FLAGS, "--poll-interval=200ms", "--database", relay.url)
    try:
        relay.chance = 0.02
        accepted = [submit_until_accepted(s) for _ in range(60)]
        wait_for("most have ended", lambda: sum(v == "completed" for v in database.states().values()) >= 50, timeout=180)
        relay.chance = 0
        check_ended(database, accepted)
        assert relay.cuts >= 5
    finally:
        s.close()
        relay.close()


def test_a_commit_whose_answer_is_lost_is_looked_up(database):
    relay = Relay(database)
    s = Server(*FLAGS, "--poll-interval=200ms", "--database", relay.url)
    try:
        relay.doom = b"INSERT INTO jobs"  # its first use on a connection, where it is prepared: one message with its commit
        answer = s.submit(SOUND, "a.flac")
        assert relay.cuts == 1
        assert answer.status == 202, answer
        check_ended(database, [answer.json["id"]])
    finally:
        s.close()
        relay.close()


def test_a_commit_that_takes_longer_than_its_answer_keeps_the_recording(database):
    """The row of a commit that waits for its standby is not to be seen, and comes when the standby does."""
    relay = Relay(database)
    s = Server(*FLAGS, "--poll-interval=200ms", "--database", relay.url)
    body, headers = multipart([("file", "a.flac", SOUND)])
    headers["Idempotency-Key"] = "k1"

    def held():
        return database.sql("SELECT count(*) FROM pg_stat_activity WHERE wait_event = 'SyncRep'")[0][0]

    seen = threading.Event()

    def change_until_seen():
        while not seen.is_set():
            database.sql("COMMENT ON SCHEMA steno IS 'a change'")

    try:
        database.sql("ALTER SYSTEM SET synchronous_standby_names = 'away'")
        database.sql("SELECT pg_reload_conf()")
        threading.Thread(target=change_until_seen, daemon=True).start()
        wait_for("commits wait", held)
        seen.set()
        with ThreadPoolExecutor() as pool:
            asked = pool.submit(s.ask, "POST", "/v1/jobs", body, headers)
            wait_for("the submission's commit waits", lambda: held() == 2)
            relay.cut_all()
            answer = asked.result()
        assert answer.status == 503, answer
        assert database.states() == {} and held() == 2
        assert len(s.objects()) == 1
        database.sql("ALTER SYSTEM RESET synchronous_standby_names")
        database.sql("SELECT pg_reload_conf()")
        job, = wait_for("the row", database.states)
        answer = s.ask("POST", "/v1/jobs", body, headers)
        assert answer.status == 202 and answer.json["id"] == job, answer
        check_ended(database, [job])
    finally:
        s.close()
        relay.close()


def test_a_server_that_dies_hangs_and_comes_back(database):
    s = Server(*FLAGS, "--poll-interval=200ms", "--database", database.url)
    try:
        accepted = [submit_until_accepted(s) for _ in range(5)]
        for trouble in ("KILL", "STOP"):
            accepted += [submit_until_accepted(s) for _ in range(5)]
            database.script("signal", trouble)
            if trouble == "KILL":
                # Connections outlive their server by a moment.
                refused = wait_for("a refusal", lambda: (a := s.submit(SOUND, "a.flac")).status != 202 and a)
                assert refused.status == 503 and "retry-after" in {name.lower() for name in refused.headers}
                health = s.ask("GET", "/health").json
                assert health["status"] == "degraded" and not health["parts"]["database"]["ok"]
                database.up()
            else:
                time.sleep(5)
                assert not s.ask("GET", "/health").json["parts"]["database"]["ok"]
                database.script("signal", "CONT")
            accepted += [submit_until_accepted(s) for _ in range(5)]
            wait_for("health", lambda: s.ask("GET", "/health").json["status"] == "ok", timeout=60)
        check_ended(database, accepted)
    finally:
        s.close()


def test_the_password_is_shown_nowhere(database, steno):
    shown = steno.ok("config", "print", f"--data={database.folder}", f"--database={database.url}")
    assert ":secret@" not in shown and shown.count("postgresql://app:***@") == 2  # also as the broker
    assert ":secret@" not in steno.ok("config", "print", f"--data={database.folder}", f"--broker={database.url}")
    wrong = database.url.replace("secret", "falsch")
    done = steno("jobs", f"--data={database.folder}", f"--database={wrong}")
    assert done.status != 0 and "falsch" not in done.out + done.err


def test_roles_wait_for_a_database_that_is_away(database):
    database.script("signal", "KILL")
    flags = [*FLAGS, "--database", database.url]
    stopped, worker = Server(*flags, role="worker"), Server(*flags, role="worker")
    try:
        for w in (stopped, worker):
            wait_for("it says so", lambda w=w: "tried again for 60 s" in w.log())
        assert "secret" not in worker.log()
        assert stopped.stop() == 0, "told to stop while it waits"
        database.up()
        wait_for("it works", lambda: re.search(r"the database is there.*engine null", worker.log(), re.DOTALL))
    finally:
        stopped.close()
        worker.close()


def test_tls(tmp_path):
    """libpq's own options stand in the URL: the server is checked against its authority, or not taken at all."""
    server = RealServer("postgres", tls=True)
    try:
        good = server.vars["POSTGRES_TLS_URL"]
        assert "sslmode=verify-full" in good
        wrong = good.replace("/tls/ca.crt", "/tls/server.crt")

        def migrate(url):
            return subprocess.run([STENO, "migrate", "up", "--data", tmp_path / "data", "--database", url],
                                  capture_output=True, text=True, timeout=120, env=clean_env(), check=False)

        run = migrate(wrong)
        assert run.returncode != 0 and "certificate" in run.stderr, run.stderr
        assert "secret" not in run.stderr
        run = migrate(good)
        assert run.returncode == 0, run.stderr
    finally:
        server.close()
