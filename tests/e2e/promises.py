# SPDX-License-Identifier: MIT
"""The one way to check what steno promises of the jobs it accepted. Each check returns a list of sentences: what is broken.

`server` is whatever has sql(), ask() and objects(): a Server, or a Cluster.
"""

import json
import re
from collections import Counter
from dataclasses import dataclass
from difflib import SequenceMatcher

from steno_server import TERMINAL, alive, wait_for

NULL_TEXT = "null engine: no transcription was made"
LIVE_STATES = ("pending", "processing")


@dataclass(frozen=True)
class Says:
    """What is in a recording, and what must be in its transcript."""

    text: str  # with NULL_TEXT: once for each chunk
    likeness: float = 0.75  # of the words; engines mishear

    def broken(self, transcript, chunks):
        if self.text == NULL_TEXT:
            right = transcript["engine"] == "null" and transcript["text"] == " ".join([NULL_TEXT] * chunks)
        else:
            right = alike(transcript["text"], self.text) >= self.likeness
        return [] if right else [f"says {transcript['text']!r}, not {self.text!r}"]


NULL = Says(NULL_TEXT)


def alike(heard, said):
    heard, said = (re.sub(r"[^\w\s]", " ", t.lower()).split() for t in (heard, said))
    return SequenceMatcher(None, heard, said).ratio() if heard or said else 1.0


def must(*broken):
    """For tests: nothing may be broken."""
    found = [sentence for part in broken for sentence in part]
    assert not found, "\n".join(found[:50])


# ---- jobs and their transcripts ----


def ended(server, accepted):
    """Every accepted job is there, in one terminal state; so is every other."""
    states = dict(server.sql("SELECT id, state FROM jobs"))
    return ([f"{j}: accepted, and lost" for j in accepted if j not in states]
            + [f"{j}: still {s}" for j, s in states.items() if s not in TERMINAL])


def whole(server, says):
    """says: {id of a completed job: Says}. Each has one result, of its last claim, with every chunk of its plan once, and
    a transcript that says what was spoken, in order, all of it."""
    rows = {r[0]: r[1:] for r in server.sql("SELECT id, state, chunks_done, chunks_total, fence, plan, duration_ms FROM jobs")}
    spans, results = {}, dict(server.sql("SELECT job_id, fence FROM results"))
    for job_id, start, end in server.sql("SELECT job_id, start_sample, end_sample FROM chunks ORDER BY job_id, idx"):
        spans.setdefault(job_id, []).append([start, end])
    broken = []
    for job_id, said in says.items():
        if job_id not in rows:
            continue  # ended() tells
        state, done, total, fence, plan, duration_ms = rows[job_id]
        found = []
        if state != "completed":
            found.append(f"is {state}")
        elif not done == total == len(spans.get(job_id, ())) > 0:
            found.append(f"{done} of {total} chunks are done, {len(spans.get(job_id, ()))} saved")
        elif [c[:2] for c in json.loads(plan)["chunks"]] != spans[job_id]:
            found.append("its chunks are not those of its plan")
        elif results.get(job_id) != fence:
            found.append(f"its result is of claim {results.get(job_id)}, its last claim is {fence}")
        else:
            found += transcript_broken(server, job_id, said, total, duration_ms / 1000)
        broken += [f"{job_id}: {f}" for f in found]
    return broken


def transcript_broken(server, job_id, said, chunks, duration):
    answer = server.ask("GET", f"/v1/jobs/{job_id}/transcript?format=verbose_json")
    if answer.status != 200:
        return [f"no transcript: {answer}"]
    transcript, at, found = answer.json, 0, said.broken(answer.json, chunks)
    if transcript["coverage"]["covered"] != transcript["coverage"]["speech"]:
        found.append(f"speech is missing: {transcript['coverage']}")
    for s in transcript["segments"]:
        if not at <= s["start"] <= s["end"] <= duration + 0.001:
            found.append(f"a segment is from {s['start']} to {s['end']}, after one to {at}, in {duration} s")
        at = s["end"]
    return found


def once(server):
    """No job has two transcripts, or one without being completed."""
    states, broken = dict(server.sql("SELECT id, state FROM jobs")), []
    for job_id, n in Counter(j for (j,) in server.sql("SELECT job_id FROM results")).items():
        if n > 1:
            broken.append(f"{job_id}: {n} transcripts")
        if states.get(job_id) != "completed":
            broken.append(f"{job_id}: a transcript, and {states.get(job_id)}")
    return broken


ENGINE_LINE = re.compile(r" worker: (checkpoint|engine call for chunk) (\d+)(?: saved)?, fence (\d+) job_id=(\S+)")


def engine_calls(server, logs):
    """How many there were, and what is broken: no chunk went to the engine again once its checkpoint was saved, and
    never twice under one claim. `logs`: of workers, at level debug."""
    called = Counter()
    for log in logs:
        for kind, idx, fence, job in ENGINE_LINE.findall(log):
            if kind != "checkpoint":
                called[job, int(idx), int(fence)] += 1
    # A line may be lost with its process right after the commit; the row is not.
    rows = {(job, idx): fence for job, idx, fence in server.sql("SELECT job_id, idx, fence FROM chunks")}
    broken = [f"chunk {idx} of {job} was run {n} times under claim {fence}" for (job, idx, fence), n in called.items() if n > 1]
    broken += [f"chunk {idx} of {job} was saved under claim {rows[job, idx]}, and run under {fence}"
               for job, idx, fence in called if fence > rows.get((job, idx), fence)]
    return sum(called.values()), broken


def dead_letters(server, poison):
    """poison: {job id: classes it may fail with}. These are dead letters of such a class, each once, and no other job is."""
    dead, broken = {}, []
    for job_id, error_class, message in server.sql("SELECT job_id, error_class, message FROM error_logs WHERE dead = 1"):
        dead.setdefault(job_id, []).append((error_class, message))
    states = dict(server.sql("SELECT id, state FROM jobs"))
    for job_id, letters in dead.items():
        if job_id not in poison:
            broken.append(f"{job_id}: a dead letter, with nothing wrong about it: {letters}")
    for job_id, classes in poison.items():
        letters = dead.get(job_id, [])
        if states.get(job_id) == "failed" and [c for c, _ in letters if c in classes and _] == [c for c, _ in letters] and len(letters) == 1:
            continue
        if states.get(job_id) != "cancelled" or letters:
            broken.append(f"{job_id}: poison ({'/'.join(classes)}) is {states.get(job_id)} with {letters}")
    return broken


def keys(server, made):
    """made: {idempotency key: ids that were answered}. One job each, and that is the one the key is known for."""
    known = dict(server.sql("SELECT name, job_id FROM submission_keys"))
    broken = [f"key {k}: {len(ids)} jobs: {sorted(ids)}" for k, ids in made.items() if len(ids) > 1]
    return broken + [f"key {k} made {sorted(ids)[0]}, and is known for {known.get(k)}"
                     for k, ids in made.items() if len(ids) == 1 and known.get(k) not in ids]


# ---- what must not stay ----


def objects_left(server):
    wanted = {k for (k,) in server.sql("SELECT audio_key FROM jobs WHERE audio_gone_at IS NULL UNION SELECT result_key FROM results")}
    there = set(server.objects())
    return [f"object {k} belongs to no job" for k in sorted(there - wanted)] + [f"object {k} is missing" for k in sorted(wanted - there)]


def temp_left(folders):
    """Of each data folder: no file of a job."""
    left = [p for data in folders for p in (data / "tmp").glob(".steno-*/work/*")]
    return [f"temporary file {p}" for p in left]


def leases_left(server):
    return [f"{j}: {s}, and leased to {h}" for j, s, h in
            server.sql("SELECT id, state, lease_holder FROM jobs WHERE lease_until IS NOT NULL AND state <> 'processing'")]


def pipes_left(data):
    """Of the local broker: pipes of processes that are gone."""
    left = [p for p in (data / "run").glob("*.fifo") if not ((m := re.search(r"-(\d+)-", p.name)) and alive(int(m.group(1))))]
    return [f"pipe {p.name} of a process that is gone" for p in left]


def wait_none(what, look, timeout=60):
    """What is still broken after that time: for things that a sweep removes."""
    try:
        wait_for(what, lambda: not look(), timeout, 0.3)
    except AssertionError:
        return look()
    return []


# ---- followers ----


@dataclass
class Followed:
    """All that one follower was told of a job, over any number of connections."""

    messages: list

    def broken(self, state, text):
        """state, text: how the job ended, and its transcript's text when it is known."""
        numbers = [m["seq"] for m in self.messages if m["type"] != "snapshot"]
        chunks = [m for m in self.messages if m["type"] == "chunk"]
        ends = [m["status"] for m in self.messages if m["type"] == "end"]
        found = []
        if ends != [state]:
            found.append(f"ends told: {ends}, the job is {state}")
        if numbers != sorted(numbers) or len({m["seq"] for m in chunks}) < len(chunks):
            found.append(f"the numbers of its events do not rise: {numbers}")
        if [m["index"] for m in chunks] != list(range(len(chunks))):
            found.append(f"chunks told: {[m['index'] for m in chunks]}")
        if text is not None and " ".join(m["text"] for m in chunks if m["text"]) != text:
            found.append("its chunks do not make the transcript's text")
        return found
