#!/usr/bin/python3
# SPDX-License-Identifier: MIT
"""Chaos: jobs of all kinds flow while whatever can go wrong does, at random; then the promises are checked.

usage: tests/chaos/chaos.py [--seconds N] [--seed N] [--on embedded,redis,rabbitmq] [--only 'kill worker,disk full']

STENO_BIN names the program: a release build with -Dtests=true -Dfaults=true. The storms on each set of back ends share
--seconds; with start, end and checks it is over within 10 minutes whatever happens. The seed, which is printed, repeats
the order of submissions and faults (not their timing). Exit status 1 when a promise is broken; logs are kept then.
"""

import argparse
import ctypes
import faulthandler
import os
import random
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "e2e"))

import faults  # noqa: E402
import load  # noqa: E402
import promises  # noqa: E402
from cluster import Cluster, Role  # noqa: E402
from real_server import installed  # noqa: E402
from steno_server import FIXTURE, STENO, TERMINAL, alive, wait_for  # noqa: E402

LIMIT_S = 600
LONG_S = 80  # of storms on one set of back ends: from there on every kind of fault must have happened
# A shorter run begins with these, and they must have happened.
FIRST = ("kill worker", "out of memory", "disk full", "clock jump", "slow storage", "failing broker",
         "pipes of the broker gone", "poison that kills")
RIGS = ("embedded", "redis", "rabbitmq")
CHECKS_S = 60  # of a set of back ends' share: what comes after the end of all jobs
SETTLE_S = 60  # before that, for the end of all jobs, at the least
DISK_MB = 192
LEASE_S = 3
# Patience made short. Many attempts and deaths are allowed: here they are bad luck, but for the poison.
FLAGS = [
    f"--lease={LEASE_S}s", "--poll-interval=200ms", "--sweep-interval=300ms", "--retry-base=100ms", "--retry-cap=1s",
    "--max-attempts=100", "--max-deaths=6", "--death-pause=1s", "--alone-patience=2s", "--upload-time-limit=30s",
    "--worker-concurrency=4", "--engine-slots=4", "--drain-timeout=5s", "--s3-timeout=4s", "--s3-part-size=5M",
    "--max-upload-size=16M", "--max-queue-size=30", "--min-free-disk=0", "--engine=null", "--precision=f32", "--threads=1", "--log-level=debug",
]
KILLERS = 1
MEMORY_GRACE_S = 10  # from the end of a lack of memory until the death by it was noticed
# Ours when an allocation fails; oneDNN's, which does not look; an error that is told, such as a thread that cannot start.
NO_MEMORY = (-signal.SIGABRT, -signal.SIGSEGV, 1, 3)
# What the supervisor says of a child that ended (src/cli/supervisor.c, proc_describe in src/base/proc.c).
ENDED = re.compile(r"(api|worker) \(pid (?P<pid>\d+)\) ended: (killed by signal (?P<signal>\d+)|exit status (?P<status>\d+)|.*)")
SPHINX = Path("/usr/share/pocketsphinx/model/en-us")


class Mounts:
    """Small disks for data folders, in a mount namespace of our own: they go with us."""

    def __init__(self):
        self.why_not, self.made = None, []
        libc = ctypes.CDLL(None, use_errno=True)
        clone_newns = 0x20000
        if os.geteuid() != 0:
            self.why_not = "a small disk is mounted by root only"
        elif libc.unshare(clone_newns) or subprocess.run(["mount", "--make-rprivate", "/"], check=False).returncode:
            self.why_not = f"no mount namespace: {os.strerror(ctypes.get_errno())}"

    def make(self, folder):
        """The folder is a disk of its own afterwards. False: it is not."""
        folder.mkdir()
        if self.why_not:
            return False
        done = subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={DISK_MB}m,mode=0755", "steno-chaos", folder],
                              capture_output=True, text=True, check=False)
        if done.returncode:
            self.why_not = "mounting a small disk: " + done.stderr.strip()
        else:
            self.made.append(folder)
        return not done.returncode

    def drop(self):
        for folder in self.made:
            subprocess.run(["umount", "--lazy", folder], check=False)
        self.made = []


class Rig:
    """One set of back ends with its programs, all their parts by name, and what a harness needs to hurt them."""

    lease_s = LEASE_S

    def __init__(self, name, mounts, folder, kinds, deadline):
        self.name, self.embedded, self.kinds, self.deadline = name, name == "embedded", kinds, deadline
        self.folder = folder / name
        self.folder.mkdir()
        self.lease_s, self.broken, self.seen, self.ledger = LEASE_S, [], {}, load.Ledger()
        self.killers_sent = 0
        models = self.folder / "models"
        models.mkdir()
        (models / "ggml-fixture.en.bin").symlink_to(FIXTURE / "fixture.bin")
        for part in SPHINX.iterdir():
            (models / part.name).symlink_to(part)
        programs = ["serve"] if self.embedded else ["api", "worker1", "worker2"]
        disks = {p: self.folder / p for p in programs}
        self.mounted = all([mounts.make(d) for d in disks.values()])
        self.why_not_mounted = mounts.why_not
        self.data = [d / "data" for d in disks.values()]
        self.fault_files = {p: faults.FaultFile(self.folder / f"{p}.faults", [f"storage_fetch({load.KILLER})=kill"])
                            for p in programs}
        flags = [*FLAGS, f"--model-path={models}"]
        env = {p: {"STENO_FAULT": f"@{f.path}"} for p, f in self.fault_files.items()}
        if self.embedded:
            role = Role("serve", flags, data=self.data[0], env=env["serve"])
            self.parts, self.server, self.closing = {"serve": role}, role.server, [role.close]
            self.programs = {"serve": role.server}
        else:
            cluster = Cluster(name, flags, env, {p: d / "data" for p, d in disks.items()})
            self.parts, self.server, self.closing = cluster.parts, cluster, [cluster.close]
            self.programs = cluster.roles
        self.api = next(iter(self.programs.values()))
        self.starved = {}  # workers without memory: until when that excuses their deaths, by pid
        self.log_at = 0  # how far the supervisor's log has been looked at
        self.clock_off_until = 0  # S3 refuses whoever starts with a wrong clock
        self.held, self.holding = set(), threading.Lock()
        self.watching = threading.Event()
        self.watcher = threading.Thread(target=self.watch, daemon=True)
        self.watcher.start()

    def part(self, name):
        return self.name if name == "broker" else name

    def up(self, part):
        """As an init system: again until it starts."""
        def started():
            try:
                part.up()
            except AssertionError:
                time.sleep(0.5)
                return False
            return True

        wait_for(f"{part.name} starts", started, 60)

    def watch(self):
        """Remembers every process that belonged to this rig, so that none can be left behind unseen; restarts programs."""
        while not self.watching.wait(0.2):
            with self.holding:
                self.restart_dead()
            self.look_for_crashes()
            for server in list(self.programs.values()):
                if server.process.poll() is None:
                    self.seen |= {(p, started(p)): c for p, c in faults.descendants(server.process.pid).items()}

    def restart_dead(self):
        """As an init system. What a fault holds down is its own to start again."""
        for name, server in self.programs.items():
            status = server.process.poll()
            if status is None or name in self.held:
                continue
            if not self.excused(server.process.pid, status) and not (status == 2 and time.monotonic() < self.clock_off_until):
                self.broken.append(f"{name} ended by itself, with status {status}")
            try:
                self.parts[name].up()
            except AssertionError:
                pass  # again the next time

    def excused(self, pid, status):
        """May a program end so? `status` as Popen has it. Killing is the harness's, or the kernel's for want of memory."""
        return status == -signal.SIGKILL or (status in NO_MEMORY and time.monotonic() < self.starved.get(pid, 0))

    def starve(self, pid):
        self.starved[pid] = float("inf")

    def feed(self, pid):
        self.starved[pid] = time.monotonic() + MEMORY_GRACE_S

    def look_for_crashes(self):
        """Under `steno serve` the supervisor starts api and worker again, whatever they ended with; its log tells."""
        if not self.embedded:
            return
        with open(self.server.log_path, "rb") as log:
            log.seek(self.log_at)
            text = log.read().rpartition(b"\n")
        self.log_at += len(text[0]) + len(text[1])
        for line in ENDED.finditer(text[0].decode(errors="replace")):
            status = -int(line["signal"]) if line["signal"] else int(line["status"] or -1)
            if not self.excused(int(line["pid"]), status):
                self.broken.append(f"a process ended by itself: {line[0]}")

    def hold(self, name):
        with self.holding:
            self.held.add(name)

    def let_go(self, name):
        with self.holding:
            self.held.discard(name)

    def strays(self):
        """Processes of ours that belong to nobody."""
        ours = {p for s in self.programs.values() for p in faults.descendants(s.process.pid)}
        return [f"process {p} is left: {c}" for (p, at), c in self.seen.items() if p not in ours and alive(p) and started(p) == at]

    def send_killer(self, rng):
        if self.killers_sent >= KILLERS:
            return False
        client = load.Client(self.api, self.ledger, self.kinds, rng, 0)
        patience = threading.Timer(20, client.ending.set)
        patience.start()
        sent = client.submit(self.kinds[load.KILLER], f"killer-{self.killers_sent}")
        patience.cancel()
        self.killers_sent += bool(sent)
        return bool(sent)

    def log_text(self):
        return [s.log() for s in self.programs.values()]


def started(pid):
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[19]
    except OSError:
        return None


class Hand(threading.Thread):
    """Injects one fault after the other until the storm is over, and what must happen has happened."""

    def __init__(self, rig, names, must, rng, until, counts):
        super().__init__(daemon=True)
        self.rig, self.names, self.random, self.until, self.counts, self.failed = rig, names, rng, until, counts, None
        self.must = [n for n in names if n in must]
        # When the end of all jobs must be waited for.
        self.latest = max(until, rig.deadline - CHECKS_S - SETTLE_S)

    def goes_on(self):
        now = time.monotonic()
        return self.names and (now < self.until or (now < self.latest and not all(self.counts[n] for n in self.must)))

    def run(self):
        try:
            # Each kind once, in any order, but what must happen first; then as often as its weight says.
            todo, happened = self.names[:], True
            self.random.shuffle(todo)
            todo.sort(key=lambda n: n in self.must)
            while self.goes_on():
                from_todo = todo and (happened or time.monotonic() > self.until)
                name = todo.pop() if from_todo else self.random.choices(self.names, [faults.FAULTS[n][0] for n in self.names])[0]
                happened = faults.FAULTS[name][2](self.rig, self.random)
                if happened:
                    self.counts[name] += 1
                elif from_todo:
                    todo.insert(0, name)  # its turn comes again, after another's
                time.sleep(self.random.uniform(0, 0.7))
        except BaseException as e:
            self.failed = e
            raise


# Faults that end and start the same parts must not meet: they are one hand's. The other hand's may come on top of any.
PROCESS_FAULTS = ("kill", "stop", "restart")


def storm(rig, seed, seconds, only):
    """(faults injected by kind, {fault: why it was skipped})."""
    counts, skipped, names = Counter(), {}, []
    for name, (_, why_not, _) in faults.FAULTS.items():
        why = why_not(rig)
        if only and name not in only:
            continue
        if why is None:
            names.append(name)
            counts[name] = 0
        else:
            skipped[name] = why
    until = time.monotonic() + seconds
    groups = [n for n in names if n.startswith(PROCESS_FAULTS)], [n for n in names if not n.startswith(PROCESS_FAULTS)]
    must = names if only or seconds >= LONG_S else FIRST
    hands = [Hand(rig, group, must, random.Random(seed + i), until, counts) for i, group in enumerate(groups)]
    clients = [load.Client(rig.api, rig.ledger, rig.kinds, random.Random(seed + 10 + i), 0.2) for i in range(3)]
    for t in clients + hands:
        t.start()
    for t in hands:
        t.join()
    for c in clients:
        c.ending.set()
    for c in clients:
        c.join(60)
    for t in hands + clients:
        if t.failed or t.is_alive():
            rig.broken.append(f"the suite itself: {t.failed or 'a client hangs'!r}")
    rig.broken += [f"the suite itself: {n!r} never happened" for n in names if n in must and not counts[n]]
    return counts, skipped


def calm(rig):
    """Nothing fails any more; everything that was stopped goes on."""
    for file in rig.fault_files.values():
        file.clear()


def settle(rig):
    """The end of all jobs, or what is in its way."""
    def left():
        try:
            return [s for (s,) in rig.server.sql("SELECT state FROM jobs") if s not in TERMINAL]
        except Exception:  # the database of another kind may just be starting
            return ["?"]

    try:
        wait_for("the end of all jobs", lambda: not left(), max(SETTLE_S, rig.deadline - CHECKS_S - time.monotonic()), 0.3)
    except AssertionError:
        rows = rig.server.sql("SELECT id, state, filename, attempt, deaths, fence, run_after, lease_until, lease_holder, error_message "
                              "FROM jobs WHERE state NOT IN ('completed', 'failed', 'cancelled')")
        rig.broken += [f"not ended: {r}" for r in rows[:20]]


def one_more(rig):
    """All is well again: a job goes through."""
    client = load.Client(rig.api, rig.ledger, rig.kinds, random.Random(0), 0)
    job_id = client.submit(rig.kinds["null.wav"], "one-more")
    try:
        rig.api.wait_job(job_id, 30)
    except AssertionError as e:
        rig.broken.append(f"after all: {e}")


def check(rig):
    """Every promise. Returns figures for the table."""
    server, ledger = rig.server, rig.ledger
    jobs = {j: (s, f) for j, s, f in server.sql("SELECT id, state, filename FROM jobs")}
    kind = {j: rig.kinds[f] for j, (_, f) in jobs.items()}
    state = {j: s for j, (s, _) in jobs.items()}
    poison = {j: k.fails for j, k in kind.items() if k.fails}
    # Nobody asked for another end than completion, but for those that were cancelled.
    says = {j: k.says for j, k in kind.items() if k.says and not (state[j] == "cancelled" and j in ledger.cancelled)}
    losses = promises.ended(server, ledger.accepted) + promises.whole(server, says)
    calls, again = promises.engine_calls(server, rig.log_text())
    duplicates = promises.once(server) + promises.keys(server, ledger.keys) + again
    broken = rig.broken + ledger.wrong + promises.dead_letters(server, poison) + followers(rig, state)
    broken += promises.leases_left(server)
    broken += promises.wait_none("the sweep", lambda: promises.objects_left(server) + promises.temp_left(rig.data), 75)
    if rig.embedded:  # whoever sends something removes those of the dead: so did the last job
        broken += promises.wait_none("the broker's pipes", lambda: promises.pipes_left(rig.data[0]), 20)
    broken += promises.wait_none("processes", rig.strays, 20)
    broken += promises.wait_none("health", lambda: [] if (h := rig.api.ask("GET", "/admin/health").json)["status"] == "ok" else [f"health: {h}"], 30)
    if not calls or len(ledger.accepted) < 10:
        broken.append(f"no load: {len(ledger.accepted)} jobs, {calls} engine calls")
    ((attempts, claims),) = server.sql("SELECT COALESCE(sum(attempt), 0), COALESCE(sum(fence), 0) FROM jobs")
    kinds = Counter(k.name for k in kind.values())
    return {
        "jobs": len(jobs), "kinds": kinds, "states": Counter(state.values()), "accepted": len(ledger.accepted),
        "claims": int(claims), "attempts": int(attempts), "failures": Counter(dict(server.sql(
            "SELECT error_class, count(*) FROM error_logs WHERE dead = 0 GROUP BY error_class"))),
        "losses": losses, "duplicates": duplicates, "broken": broken,
    }


def followers(rig, state):
    broken, at_end = [], time.monotonic() + 30
    for f in rig.ledger.followers:
        f.ended.wait(max(0, at_end - time.monotonic()))
        f.gave_up.set()
    for f in rig.ledger.followers:
        f.join(10)
        text = None
        if state.get(f.job_id) == "completed":
            text = rig.api.ask("GET", f"/v1/jobs/{f.job_id}/transcript?format=json").json["text"]
        broken += f.broken(state.get(f.job_id), text)
    return broken


def close(rig, result, logs):
    """Ends all, keeps logs of what is broken; whatever does not end well, or stays, is broken."""
    for name, server in rig.programs.items():
        rig.hold(name)
        if server.process.poll() is None:
            server.process.send_signal(signal.SIGCONT)
        try:
            status = server.stop()
        except subprocess.TimeoutExpired:
            status = "none yet"
        if status:
            result["broken"].append(f"{name} was stopped, its status is {status}: {server.log()[-1000:]}")
    rig.watching.set()
    rig.watcher.join()
    rig.look_for_crashes()
    result["broken"] += [b for b in rig.broken if b not in result["broken"]]
    if result["losses"] or result["duplicates"] or result["broken"]:
        keep_logs(rig, logs)
    for end in rig.closing:
        try:
            end()
        except AssertionError as e:
            result["broken"].append(f"stopping: {str(e)[:100]}")
    result["broken"] += promises.wait_none("processes", lambda: [f"process {p} is left: {c}" for (p, at), c in rig.seen.items()
                                                                  if alive(p) and started(p) == at], 10)
    for data in rig.data:
        left = list(data.glob("tmp/.steno-*")) + list(data.glob("run/*.fifo"))
        result["broken"] += [f"left after the end: {p}" for p in left]


def keep_logs(rig, to):
    to.mkdir(parents=True, exist_ok=True)
    for name, server in rig.programs.items():
        if server.log_path.exists():
            shutil.copy(server.log_path, to / f"{name}.log")
    for part in rig.parts.values():
        if getattr(part, "folder", None) and (part.folder / "server" / "log").exists():
            shutil.copytree(part.folder / "server" / "log", to / part.name, dirs_exist_ok=True) if (
                part.folder / "server" / "log").is_dir() else shutil.copy(part.folder / "server" / "log", to / f"{part.name}.log")


def one(name, mounts, folder, kinds, seed, seconds, only, deadline):
    began = time.monotonic()
    rig = Rig(name, mounts, folder, kinds, deadline)
    result = {"losses": [], "duplicates": [], "broken": rig.broken}
    try:
        counts, skipped = storm(rig, seed, seconds, only)
        calm(rig)
        settle(rig)
        one_more(rig)
        result = check(rig)
        result |= {"faults": counts, "skipped": skipped, "ledger": rig.ledger}
    except BaseException as e:
        result["broken"].append(f"the suite itself: {e!r}")
        raise
    finally:
        close(rig, result, folder / "logs" / name)
        mounts.drop()
    result["seconds"] = time.monotonic() - began
    return result


def table(results, seed):
    """One column for each set of back ends."""
    names = list(results)

    def row(what, values):
        print(f"{what:<34}" + "".join(f"{v!s:>14}" for v in values))

    row("chaos", names)
    row("seconds", [f"{r['seconds']:.0f}" for r in results.values()])
    row("jobs", [r["jobs"] for r in results.values()])
    for kind in sorted({k for r in results.values() for k in r["kinds"]}):
        row("  " + kind, [r["kinds"][kind] for r in results.values()])
    for state in TERMINAL:
        row(state, [r["states"][state] for r in results.values()])
    ledgers = [r["ledger"] for r in results.values()]
    row("followed live", [len(x.followers) for x in ledgers])
    row("  their connections", [sum(f.connections for f in x.followers) for x in ledgers])
    row("idempotency keys", [len(x.keys) for x in ledgers])
    row("answers cut off", [x.cut for x in ledgers])
    row("refused (503)", [x.refused for x in ledgers])
    row("faults", [sum(r["faults"].values()) for r in results.values()])
    for fault in faults.FAULTS:
        values = [r["faults"].get(fault, "-") if fault not in r["skipped"] else "-" for r in results.values()]
        if any(v != "-" for v in values):
            row("  " + fault, values)
    row("claims beyond the first", [r["claims"] - r["jobs"] for r in results.values()])
    row("retries after failures", [sum(r["failures"].values()) for r in results.values()])
    row("duplicates", [len(r["duplicates"]) for r in results.values()])
    row("losses", [len(r["losses"]) for r in results.values()])
    row("other broken promises", [len(r["broken"]) for r in results.values()])
    for name, r in results.items():
        for fault, why in real_skips(r).items():
            print(f"skipped: {fault} on {name}: {why}")
    print(f"seed {seed}")


PROMISES = {"losses": "every accepted job ended in one state, each transcript is whole",
            "duplicates": "nothing was done twice",
            "broken": "followers were told all, in order; poison is a dead letter; nothing is left behind"}


def real_skips(result):
    """Without those that make no sense there."""
    senseless = {faults.cluster_only(Part(True)), faults.embedded_only(Part(False))}
    return {fault: why for fault, why in result["skipped"].items() if why not in senseless}


def tap(results, missing):
    lines = []
    for name, r in results.items():
        lines += [("" if not r[what] else "not ", f"{name}: {text}") for what, text in PROMISES.items()]
        lines += [("", f"{name}: {fault} # SKIP {why}") for fault, why in real_skips(r).items()]
    lines += [("", f"{name} # SKIP {why}") for name, why in missing.items()]
    print(f"1..{len(lines)}")
    for i, (bad, text) in enumerate(lines, 1):
        print(f"{bad}ok {i} - {text}")


class Part:
    """What the `why not` of a fault looks at."""

    def __init__(self, embedded):
        self.embedded = embedded


def main(argv=None):
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--seconds", type=float, default=240, help="of storms, shared by all sets of back ends (240)")
    parser.add_argument("--seed", type=int, default=int(os.environ.get("STENO_TEST_SEED", random.randrange(1 << 30))))
    parser.add_argument("--on", default=",".join(RIGS), help=",".join(RIGS))
    parser.add_argument("--only", default="", help="faults, separated by commas: " + ", ".join(faults.FAULTS))
    parser.add_argument("--tap", action="store_true", help="print what holds and what is skipped as TAP, too")
    args = parser.parse_args(argv)
    wanted, only = args.on.split(","), [f for f in args.only.split(",") if f]
    if set(wanted) - set(RIGS) or set(only) - set(faults.FAULTS):
        parser.error("there is no such set of back ends or fault; see --help")
    deadline = time.monotonic() + LIMIT_S
    signal.signal(signal.SIGALRM, too_long)
    signal.alarm(LIMIT_S)
    signal.signal(signal.SIGTERM, ended)
    faulthandler.register(signal.SIGUSR1)
    print(f"chaos with {STENO}, seed {args.seed}", flush=True)
    folder = Path(tempfile.mkdtemp(prefix="steno-chaos-"))
    folder.chmod(0o755)  # servers run as users of their own
    mounts, results, missing = Mounts(), {}, {}
    (folder / "media").mkdir()
    kinds = load.kinds(folder / "media")
    rigs = []
    for name in wanted:
        if name == "embedded" or installed("postgres", name, "s3"):
            rigs.append(name)
        else:
            missing[name] = f"PostgreSQL, {name} or an S3 server is not installed"
    for i, name in enumerate(rigs):
        share = (deadline - time.monotonic()) / (len(rigs) - i)
        results[name] = one(name, mounts, folder, kinds, args.seed + 100 * i, args.seconds / len(rigs), only,
                            time.monotonic() + share)
    table(results, args.seed)
    for name, why in missing.items():
        print(f"skipped: all of {name}: {why}")
    bad = False
    for name, r in results.items():
        for what in ("losses", "duplicates", "broken"):
            for sentence in r[what][:25]:
                print(f"{name}: {what}: {sentence}")
                bad = True
    if args.tap:
        tap(results, missing)
    if bad:
        print(f"logs: {folder / 'logs'}")
    else:
        shutil.rmtree(folder, ignore_errors=True)
    return 1 if bad else 0


def too_long(number, frame):
    raise TimeoutError(f"chaos is not over after {LIMIT_S} s")


def ended(number, frame):
    sys.exit(130)  # by way of every `finally`, so that nothing stays


if __name__ == "__main__":
    sys.exit(main())
