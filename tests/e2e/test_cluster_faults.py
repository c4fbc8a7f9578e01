# SPDX-License-Identifier: MIT
"""A cluster (an api, two workers, PostgreSQL, Redis or RabbitMQ, S3) whose parts die, hang and are restarted.

The short form injects every kind of fault into every part, in an order drawn from a seed, and lets two parts hang; with
STENO_TEST_LONG=SECONDS (`make faults`) each of them hangs too, and then random ones follow for so long.
STENO_TEST_SEED repeats an order. All servers are this file's own.
"""

import os
import random
import shutil
import subprocess
import tempfile
import threading
import time
from pathlib import Path

import pytest
import promises
from cluster import Cluster
from real_server import installed
from steno_server import ROOT, TERMINAL, wait_for

LONG_S = float(os.environ.get("STENO_TEST_LONG", 0))
HANG_S = 20
PATIENCE_S = 900  # for a broken program
CLIP = (ROOT / "tests" / "fixture" / "audio" / "02_one_word.flac").read_bytes()
SENTENCES = [
    "the quick brown fox jumps over the lazy dog",
    "the engineers measured the temperature of the water in the river at seven places on the same day",
]
SPOKEN = promises.Says(" ".join(SENTENCES))
# A job that two workers died on rests until the storm is over: a third would be its end.
DEATH_PAUSE_S = 120 + LONG_S
FLAGS = [
    "--engine=null", "--lease=5s", "--poll-interval=300ms", "--sweep-interval=500ms", "--retry-base=100ms",
    "--retry-cap=1s", "--alone-patience=2s", f"--death-pause={DEATH_PAUSE_S:.0f}s", "--worker-concurrency=4", "--engine-slots=2",
    "--drain-timeout=5s", "--s3-timeout=4s", "--upload-time-limit=40s",
]


@pytest.fixture(scope="module")
def speech_wav():
    """Spoken sentences with pauses: a job of several chunks for a real engine."""
    folder = Path(tempfile.mkdtemp(prefix="steno-e2e-clips-"))
    text, wav = folder / "text", folder / "speech.wav"
    text.write_text("\n".join(SENTENCES) + "\n")
    subprocess.run([ROOT / "tools" / "speak.sh", text, wav, "1.0"], check=True, timeout=120)
    yield wav.read_bytes()
    shutil.rmtree(folder)


@pytest.fixture(scope="module", params=["redis", "rabbitmq"])
def cluster(request):
    if not installed("postgres", request.param, "s3"):
        pytest.skip(f"no PostgreSQL, {request.param} or S3 server is installed")
    c = Cluster(request.param, FLAGS)
    yield c
    c.close()


class Client(threading.Thread):
    """Submits jobs until told to stop, and remembers what was answered."""

    def __init__(self, api, speech_wav, seed):
        super().__init__()
        self.api, self.speech_wav, self.random = api, speech_wav, random.Random(seed)
        self.ending = threading.Event()
        self.accepted, self.refused, self.cut, self.wrong, self.slowest = {}, 0, 0, [], 0.0

    def run(self):
        n = 0
        while not self.ending.wait(self.random.uniform(0.05, 0.3)):
            n += 1
            spoken = n % 60 == 5
            began = time.monotonic()
            try:
                if spoken:
                    answer = self.api.submit(self.speech_wav, "speech.wav", {"engine": "pocketsphinx"})
                else:
                    answer = self.api.submit(CLIP, "clip.flac")
            except (OSError, AssertionError):
                self.cut += 1  # nobody listens, or the answer was cut off: it may have been accepted or not
                continue
            self.slowest = max(self.slowest, time.monotonic() - began)
            if answer.status == 202:
                self.accepted[answer.json["id"]] = spoken
            elif answer.status == 503 and int(answer.headers.get("retry-after", 0)) > 0:
                self.refused += 1
            else:
                self.wrong.append(answer)


def crash(part, rng):
    part.signal("KILL")
    time.sleep(rng.uniform(0.5, 4))
    part.up()


def restart(part, rng):
    part.down()
    part.up()


def hang(*parts):
    for part in parts:
        part.signal("STOP")
    time.sleep(HANG_S)
    for part in parts:
        part.signal("CONT")


FAULTS = {"KILL": crash, "restart": restart, "STOP": lambda part, rng: hang(part)}


def inject(cluster, name, kind, rng):
    print(f"{kind:8} {name}", flush=True)
    FAULTS[kind](cluster.parts[name], rng)
    time.sleep(rng.uniform(0.5, 2))


def inject_hangs(cluster, names, rng):
    """All parts, two at a time because each takes long."""
    names = rng.sample(names, len(names))
    for pair in zip(names[::2], names[1::2], strict=True):
        print(f"STOP     {' and '.join(pair)}", flush=True)
        hang(*(cluster.parts[n] for n in pair))
        time.sleep(rng.uniform(0.5, 2))


def storm(cluster, rng):
    """How many faults were injected."""
    names = sorted(cluster.parts)
    faults = [(n, k) for n in names for k in ("KILL", "restart")]
    rng.shuffle(faults)
    for name, kind in faults:
        inject(cluster, name, kind, rng)
    inject_hangs(cluster, names, rng)
    end, count = time.monotonic() + LONG_S, len(faults) + len(names)
    while time.monotonic() < end:
        inject(cluster, rng.choice(names), rng.choice(sorted(FAULTS)), rng)
        count += 1
    return count


def wait_all_ended(cluster):
    def ended():
        states = dict(cluster.sql("SELECT id, state FROM jobs"))
        return states if all(s in TERMINAL for s in states.values()) else None

    try:
        return wait_for("the end of all jobs", ended, PATIENCE_S)
    except AssertionError:
        print(cluster.sql("SELECT * FROM jobs WHERE state NOT IN ('completed','failed','cancelled')"))
        for name, server in cluster.roles.items():
            print(name, server.log()[-4000:])
        raise


def assert_whole(cluster, ids):
    spoken = {j for (j,) in cluster.sql("SELECT id FROM jobs WHERE filename = 'speech.wav'")}
    promises.must(promises.whole(cluster, {j: SPOKEN if j in spoken else promises.NULL for j in ids}), promises.once(cluster))


def test_every_accepted_job_survives(cluster, speech_wav):
    seed = int(os.environ.get("STENO_TEST_SEED", random.randrange(1 << 30)))
    print("seed", seed)
    rng = random.Random(seed)
    clients = [Client(cluster.api, speech_wav, seed + i) for i in range(2)]
    for c in clients:
        c.start()
    try:
        faults = storm(cluster, rng)
    finally:
        for c in clients:
            c.ending.set()
        for c in clients:
            c.join()
    ended = wait_all_ended(cluster)
    wait_for("all is well again", lambda: cluster.health()["status"] == "ok", 120)

    assert_counted(cluster, clients, ended, faults)


def assert_counted(cluster, clients, ended, faults):
    accepted = {k: v for c in clients for k, v in c.accepted.items()}
    lost = sorted(set(accepted) - set(ended)) + [j for j, s in ended.items() if s != "completed"]
    ((retries, claims),) = cluster.sql("SELECT sum(attempt - 1), sum(fence - 1) FROM jobs")
    print(f"jobs {len(ended)} ({len(accepted)} accepted, {sum(accepted.values())} spoken), faults injected {faults}, "
          f"retries {retries}, further claims {claims}, refused {sum(c.refused for c in clients)}, "
          f"answers cut {sum(c.cut for c in clients)}, slowest answer {max(c.slowest for c in clients):.1f} s, "
          f"losses {len(lost)}", flush=True)
    print(cluster.sql("SELECT error_class, stage, message, count(*) FROM error_logs GROUP BY 1, 2, 3 ORDER BY 4 DESC"))
    assert not lost, lost
    assert [w for c in clients for w in c.wrong] == []
    assert len(accepted) > 50 and sum(accepted.values()) >= 2
    assert cluster.sql("SELECT count(*) FROM results") == [(len(ended),)]
    assert cluster.sql("SELECT * FROM error_logs WHERE dead = 1") == []
    assert_whole(cluster, ended)
    wanted = {k for (k,) in cluster.sql("SELECT audio_key FROM jobs UNION SELECT result_key FROM results")}
    assert wanted <= set(cluster.backends.storage.objects())
    wait_for("empty queues", lambda: all(cluster.backends.broker.depth(q) == 0 for q in ("high", "normal", "retry")), 60)


def running(cluster, job_id):
    return cluster.sql("SELECT state, chunks_done FROM jobs WHERE id = ?", job_id)[0]


@pytest.mark.parametrize("cluster", ["redis"], indirect=True)
@pytest.mark.parametrize("away", ["postgres", "s3"])
def test_away(cluster, speech_wav, away):
    """Database or storage away: new work is refused, clearly; running work waits and goes on."""
    part = {"postgres": "database", "s3": "storage"}[away]
    jobs = [cluster.api.submit(speech_wav, "speech.wav", {"engine": "pocketsphinx"}).json["id"] for _ in range(4)]
    wait_for("they run", lambda: sum(running(cluster, j)[0] == "processing" for j in jobs) >= 2)
    cluster.parts[away].signal("KILL")
    # PostgreSQL's connections are processes of their own, which may live to the end of a statement.
    wait_for("work is refused", lambda: cluster.api.submit(CLIP, "clip.flac").status != 202)
    for _ in range(3):
        answer = cluster.api.submit(CLIP, "clip.flac")
        assert answer.status == 503 and int(answer.headers["retry-after"]) >= 1, answer
        assert len(answer.json["detail"]) > 10 and "secret" not in answer.json["detail"], answer.json
    sick = wait_for("health sees it", lambda: not (h := cluster.health())["parts"][part]["ok"] and h)
    assert sick["status"] == "degraded" and sick["parts"][part]["error"] and "secret" not in str(sick)
    # A lease of the jobs in work ends meanwhile.
    time.sleep(7)
    cluster.parts[away].up()
    wait_for("work is taken again", lambda: cluster.api.submit(CLIP, "clip.flac").status == 202)
    wait_all_ended(cluster)
    for job_id in jobs:
        assert cluster.sql("SELECT state, attempt FROM jobs WHERE id = ?", job_id) == [("completed", 1)]
    assert_whole(cluster, jobs)
    assert wait_for("well again", lambda: cluster.health()["status"] == "ok", 60)


def test_broker_away(cluster):
    """Jobs are taken and done all the same; health says why it is slower; then tokens flow again."""
    (name,) = {"redis", "rabbitmq"} & set(cluster.parts)
    cluster.parts[name].signal("KILL")
    jobs = [cluster.api.submit(CLIP, "clip.flac") for _ in range(10)]
    assert [j.status for j in jobs] == [202] * 10
    sick = wait_for("health sees it", lambda: not (h := cluster.health())["parts"]["broker"]["ok"] and h)
    assert sick["status"] == "degraded" and sick["parts"]["broker"]["error"]
    assert set(wait_all_ended(cluster).values()) == {"completed"}
    cluster.parts[name].up()
    wait_for("well again", lambda: cluster.health()["status"] == "ok", 60)
    for worker in ("worker1", "worker2"):
        cluster.parts[worker].signal("STOP")
    try:
        told = [cluster.api.submit(CLIP, "clip.flac").json["id"] for _ in range(5)]
        # A worker that waits may have taken one already, or two.
        wait_for("tokens", lambda: cluster.backends.broker.depth("normal") >= 3)
    finally:
        for worker in ("worker1", "worker2"):
            cluster.parts[worker].signal("CONT")
    ended = wait_all_ended(cluster)
    assert all(ended[j] == "completed" for j in told)
    wait_for("an empty queue", lambda: cluster.backends.broker.depth("normal") == 0, 60)
