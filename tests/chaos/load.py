# SPDX-License-Identifier: MIT
"""The work that goes on during chaos: recordings of several kinds, clients that submit, repeat and cancel, and followers."""

import json
import subprocess
import threading
import time
from dataclasses import dataclass, field

import websocket
from live_client import Socket, Stream
from promises import NULL, Followed, Says
from steno_server import FIXTURE, ROOT, multipart
from test_bad_input import FILES, Media

REFERENCE = json.loads((ROOT / "tests" / "fixture" / "reference.json").read_text())
SENTENCES = [
    "the quick brown fox jumps over the lazy dog",
    "the engineers measured the temperature of the water in the river at seven places on the same day",
]
KILLER = "killer.wav"  # a worker dies of it each time: see faults.py
REFUSED = (429, 503, 507)


@dataclass(frozen=True)
class Kind:
    name: str
    weight: float
    data: bytes = field(repr=False)
    filename: str
    fields: dict
    says: Says = None  # how it must end: with this transcript,
    fails: tuple = ()  # or as a dead letter of one of these classes


def spoken_wav(folder):
    text, wav = folder / "text", folder / "speech.wav"
    text.write_text("\n".join(SENTENCES) + "\n")
    subprocess.run([ROOT / "tools" / "speak.sh", text, wav, "1.0"], check=True, timeout=120)
    return wav.read_bytes()


def kinds(folder):
    """The recordings, by name of the file they are sent as."""
    def fixture(name):
        return (FIXTURE / "wav" / f"{name}.wav").read_bytes()

    whisper = {"engine": "whisper", "model": "fixture.en"}
    made = [Kind("null", 76, fixture("02_one_word"), "null.wav", {"engine": "null"}, NULL)]
    for name, weight in (("03_commands", 5), ("09_two_windows", 3), ("10_long", 1)):
        made.append(Kind("whisper", weight, fixture(name), f"{name}.wav", whisper, Says(REFERENCE[name]["text"])))
    made.append(Kind("pocketsphinx", 5, spoken_wav(folder), "speech.wav", {"engine": "pocketsphinx"}, Says(" ".join(SENTENCES))))
    media = Media(folder)
    bad = {n: (make, (error,)) for n, (make, state, error, _) in FILES.items() if state == "failed"}
    made += [Kind("poison", 6 / len(bad), make(media), f"poison-{i}.bin", whisper, fails=errors)
             for i, (make, errors) in enumerate(bad.values())]
    made.append(Kind("killer", 0, fixture("02_one_word"), KILLER, whisper, fails=("crashed",)))
    return {k.filename: k for k in made}


class Follower(threading.Thread):
    """Follows one job to its end, over as many connections as it takes."""

    def __init__(self, server, job_id, way):
        super().__init__(daemon=True)
        self.server, self.job_id, self.way = server, job_id, way
        self.messages, self.connections, self.gave_up, self.since = [], 0, threading.Event(), 0
        self.ended = threading.Event()

    def run(self):
        while not self.ended.is_set() and not self.gave_up.is_set():
            connection = None
            try:
                connection = self.way(self.server, self.job_id, f"?since={self.since}")
                self.connections += 1
                while not connection.over.wait(0.2) and not self.gave_up.is_set():
                    pass
            except (OSError, websocket.WebSocketException):
                pass
            if connection:
                self.take(connection)
            if not self.ended.is_set():
                time.sleep(0.3)

    def take(self, connection):
        got = [m for m in list(connection.messages) if "seq" in m]
        self.messages += got
        self.since = max([self.since, *(m["seq"] for m in got)])
        if any(m["type"] == "end" for m in got):
            self.ended.set()
        try:
            connection.close()
        except OSError:
            pass

    def broken(self, state, text):
        if not self.ended.is_set():
            return [f"{self.job_id}: its follower was never told the end"]
        return [f"{self.job_id}: follower by {self.way.__name__}: {b}" for b in Followed(self.messages).broken(state, text)]


class Ledger:
    """What clients know: all that the checks at the end are held against. Any thread."""

    def __init__(self):
        self.lock = threading.Lock()
        self.accepted, self.cancelled, self.keys, self.followers = {}, set(), {}, []
        self.cut = self.refused = self.replayed = 0
        self.wrong = []

    def count(self, what, n=1):
        with self.lock:
            setattr(self, what, getattr(self, what) + n)

    def accept(self, job_id, kind, key):
        with self.lock:
            self.accepted[job_id] = kind
            if key:
                self.keys.setdefault(key, set()).add(job_id)


class Client(threading.Thread):
    """Submits jobs until told to stop. Careful, as clients should be: what got no answer is sent again, by its key."""

    def __init__(self, server, ledger, kinds, rng, pause):
        super().__init__(daemon=True)
        self.server, self.ledger, self.kinds, self.random, self.pause = server, ledger, kinds, rng, pause
        self.ending = threading.Event()
        self.failed = None

    def run(self):
        try:
            names, weights = zip(*((k.filename, k.weight) for k in self.kinds.values()))
            while not self.ending.wait(self.random.uniform(0, 2 * self.pause)):
                self.one(self.kinds[self.random.choices(names, weights)[0]])
        except BaseException as e:
            self.failed = e
            raise

    def one(self, kind):
        key = f"chaos-{self.random.getrandbits(64):x}" if self.random.random() < 0.3 else None
        job_id = self.submit(kind, key)
        if not job_id:
            return
        if key and self.random.random() < 0.3 and (again := self.submit(kind, key)):
            self.ledger.count("replayed")
            if again != job_id:
                self.ledger.wrong.append(f"key {key} was answered with {job_id}, then with {again}")
        if self.random.random() < 0.25 and len([f for f in self.ledger.followers if not f.ended.is_set()]) < 24:
            follower = Follower(self.server, job_id, self.random.choice([Socket, Stream]))
            self.ledger.followers.append(follower)
            follower.start()
        if self.random.random() < 0.05:
            time.sleep(self.random.uniform(0, 0.5))
            self.cancel(job_id)

    def submit(self, kind, key):
        """The id; None when it was never accepted. With a key it is sent until there is an answer."""
        headers = {"Idempotency-Key": key} if key else {}
        if self.random.random() < 0.1:
            headers["Prefer"] = "wait=2"
        while not self.ending.is_set():
            try:
                answer = self.send(kind, headers)
            except (OSError, AssertionError):
                self.ledger.count("cut")  # nobody listens, or the answer was cut off: who knows what became of it
                if not key:
                    return None
                time.sleep(0.3)
                continue
            if answer.status in (200, 202):
                self.ledger.accept(answer.json["id"], kind, key)
                return answer.json["id"]
            if answer.status in REFUSED and int(answer.headers.get("retry-after", 0)) > 0:
                self.ledger.count("refused")
            elif not (answer.status == 409 and answer.code == "key_in_flight"):
                self.ledger.wrong.append(f"{kind.filename} was answered {answer}")
                return None
            if not key:
                return None
            time.sleep(0.3)
        return None

    def send(self, kind, headers):
        body, more = multipart([("file", kind.filename, kind.data), *kind.fields.items()])
        return self.server.ask("POST", "/v1/jobs", body, more | headers)

    def cancel(self, job_id):
        self.ledger.cancelled.add(job_id)  # also when the answer is lost: who knows
        try:
            self.server.ask("DELETE", f"/v1/jobs/{job_id}")
        except (OSError, AssertionError):
            self.ledger.count("cut")
