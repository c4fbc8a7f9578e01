#!/usr/bin/python3
# SPDX-License-Identifier: MIT
"""Soak: many short jobs through one worker, which must not grow with them.

usage: tests/chaos/soak.py [--jobs N] [--csv FILE]

Four of five are words for the null engine, which decodes nothing. The others go all the way: to Whisper and to
PocketSphinx, about half of them as MP3 by way of the decoder's process; some of them are broken.
The memory of worker and api in the last quarter of the jobs may be 5 % more than in the second, not more; descriptors
are as many as after the first twentieth (but for a pool's), no temporary file, object or lease is left, and each job ended once.
STENO_BIN names the program, a release build with -Dtests=true. Exit status 1 when something of this does not hold.
"""

import argparse
import http.client
import json
import shutil
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "e2e"))

import promises  # noqa: E402
from steno_server import FIXTURE, STENO, Server, multipart, role_pid  # noqa: E402

GROWTH = 1.05
POOLED = 8  # connections to the database that are opened when many ask at once
CLIENTS = 8
SPHINX = Path("/usr/share/pocketsphinx/model/en-us")
ROLES = ("worker", "api")


def recordings(folder):
    """(how many of a thousand, body and headers, how it must end)"""
    word = (FIXTURE / "wav" / "02_one_word.wav").read_bytes()
    subprocess.run(["ffmpeg", "-loglevel", "error", "-i", FIXTURE / "wav" / "02_one_word.wav", folder / "word.mp3"],
                   check=True, stdin=subprocess.DEVNULL)
    mp3 = (folder / "word.mp3").read_bytes()
    whisper = [("engine", "whisper"), ("model", "fixture.en"), ("temperature", "0"), ("beam_size", "1")]
    return [(10, [("file", "broken.wav", word[:36] + bytes(40)), *whisper], "failed"),
            (60, [("file", "word.mp3", mp3), *whisper], "completed"),
            (100, [("file", "word.wav", word), *whisper], "completed"),
            (30, [("file", "word.mp3", mp3), ("engine", "pocketsphinx")], "completed"),
            (800, [("file", "word.wav", word)], "completed")]


class Load:
    """Jobs by number, from several connections; each waits for the end of its job before the next."""

    def __init__(self, server, kinds):
        self.server, self.lock, self.next, self.done, self.wrong = server, threading.Lock(), 0, 0, []
        self.ended = Counter()
        self.by_number = [(multipart(parts), end) for n, parts, end in kinds for _ in range(n)]

    def run(self, jobs):
        threads = [threading.Thread(target=self.client, args=(jobs,)) for _ in range(CLIENTS)]
        for t in threads:
            t.start()
        for t in threads:
            t.join()

    def client(self, jobs):
        link = http.client.HTTPConnection(self.server.host, self.server.port, timeout=120)
        while True:
            with self.lock:
                if self.next >= jobs or self.wrong:
                    return
                number = self.next
                self.next += 1
            (body, headers), end = self.by_number[number * 617 % 1000]  # mixed well, each time the same
            began = time.monotonic()
            link.request("POST", "/v1/jobs", body, headers | {"Prefer": "wait=60"})
            answer = link.getresponse()
            text = answer.read()
            status = json.loads(text).get("status")
            with self.lock:
                self.done += 1
                self.ended[status] += 1
                if status != end:
                    self.wrong.append(f"job {number} should be {end}: after {time.monotonic() - began:.1f} s {answer.status} {text[:500]!r}")


def memory_kb(pid):
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith("VmRSS:"):
            return int(line.split()[1])
    return 0


def descriptors(pid):
    return sorted(str(p.readlink()) for p in Path(f"/proc/{pid}/fd").iterdir())


def settled_descriptors(pid):
    """Those of a process at rest: the least of some looks, as connections are closed a little later."""
    looks = []
    for _ in range(20):
        looks.append(len(descriptors(pid)))
        time.sleep(0.1)
    return min(looks)


class Samples(threading.Thread):
    def __init__(self, load, pids):
        super().__init__(daemon=True)
        self.load, self.pids, self.rows, self.over = load, pids, [], threading.Event()

    def run(self):
        while not self.over.wait(0.2):
            self.rows.append((self.load.done, *(memory_kb(self.pids[r]) for r in ROLES)))

    def quarter(self, n, role, jobs):
        column = 1 + ROLES.index(role)
        found = [r[column] for r in self.rows if (n - 1) * jobs / 4 <= r[0] < n * jobs / 4]
        return statistics.mean(found) if found else 0


def soak(server, jobs, kinds, csv):
    pids = {r: role_pid(server, r) for r in ROLES}
    load = Load(server, kinds)
    load.run(max(CLIENTS, jobs // 20))  # models are loaded, pools are filled
    before = {r: settled_descriptors(p) for r, p in pids.items()}
    samples = Samples(load, pids)
    samples.start()
    began = time.monotonic()
    first = load.done
    load.run(jobs)
    seconds = time.monotonic() - began
    samples.over.set()
    samples.join()
    if csv:
        Path(csv).write_text("jobs,worker_kb,api_kb\n" + "".join(f"{a},{b},{c}\n" for a, b, c in samples.rows))
    print(f"{jobs} jobs in {seconds:.0f} s ({(jobs - first) / seconds:.0f}/s): "
          + ", ".join(f"{n} {s}" for s, n in load.ended.items()))
    broken = load.wrong[:]
    for role, pid in pids.items():
        if role_pid(server, role) != pid:
            broken.append(f"the {role} is another process than at the beginning")
            continue
        second, last = samples.quarter(2, role, jobs), samples.quarter(4, role, jobs)
        now = settled_descriptors(pid)
        print(f"{role}: {second / 1024:.1f} MB in the second quarter, {last / 1024:.1f} MB in the last "
              f"({100 * last / second - 100:+.1f} %), {before[role]} descriptors before, {now} after")
        if last > second * GROWTH:
            broken.append(f"the {role} grew from {second / 1024:.1f} MB to {last / 1024:.1f} MB")
        if now > before[role] + POOLED:
            broken.append(f"the {role} had {before[role]} descriptors, and has {now}: {Counter(descriptors(pid))}")
    broken += promises.wait_none("the sweep", lambda: promises.objects_left(server) + promises.temp_left([server.data]))
    broken += promises.ended(server, {}) + promises.once(server) + promises.leases_left(server)
    rows = server.rows()
    if rows["jobs"] != jobs or rows["results"] != load.ended["completed"]:
        broken.append(f"{jobs} jobs, {load.ended['completed']} of them completed, are {rows}")
    return broken


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--jobs", type=int, default=20000)
    parser.add_argument("--csv", default="", help="a file for the memory over time")
    args = parser.parse_args()
    folder = Path(tempfile.mkdtemp(prefix="steno-soak-"))
    (folder / "tmp").mkdir()
    print(f"soak with {STENO}", flush=True)
    (folder / "models").mkdir()
    for model in (FIXTURE / "fixture.bin", *SPHINX.iterdir()):
        (folder / "models" / model.name.replace("fixture.bin", "ggml-fixture.en.bin")).symlink_to(model)
    server = Server("--engine=null", f"--model-path={folder / 'models'}", "--precision=f32", "--threads=1", "--log-level=warn",
                    env={"TMPDIR": str(folder / "tmp")})
    try:
        broken = soak(server, args.jobs, recordings(folder), args.csv)
    finally:
        shutil.copy(server.log_path, folder / "log")
        server.close()
    broken += [f"temporary file {p}" for p in (folder / "tmp").rglob("*")]
    for sentence in broken:
        print(f"broken: {sentence}")
    if broken:
        print(f"log: {folder / 'log'}")
    else:
        shutil.rmtree(folder)
    return 1 if broken else 0


if __name__ == "__main__":
    sys.exit(main())
