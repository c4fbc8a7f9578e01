# SPDX-License-Identifier: MIT
"""Everything that goes wrong during chaos. A fault is a function of a rig and a random generator; it begins, lasts a few
seconds and ends. FAULTS says how often each is drawn, and where it cannot be done, why not."""

import errno
import os
import resource
import signal
import sqlite3
import time
from pathlib import Path

from steno_server import alive, role_pid

SECONDS = 1000


class FaultFile:
    """What STENO_FAULT=@FILE of one program reads: `always`, and what goes on at the moment (src/base/fault.h)."""

    def __init__(self, path, always):
        self.path, self.always, self.now = path, always, {}
        self.write()

    def set(self, key, spec):
        self.now[key] = spec
        self.write()

    def clear(self, key=None):
        self.now = {} if key is None else {k: v for k, v in self.now.items() if k != key}
        self.write()

    def write(self):
        new = self.path.with_suffix(".new")
        new.write_text(",".join([*self.always, *self.now.values()]))
        new.rename(self.path)


def descendants(pid):
    """{pid: command line}, itself not. One walk over all processes: it is done all the time."""
    of = {}
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                state, parent = (entry / "stat").read_text().rpartition(")")[2].split()[:2]
            except OSError:
                continue
            if state != "Z":
                of.setdefault(int(parent), []).append(int(entry.name))
    found, left = {}, of.get(pid, [])[:]
    while left:
        one = left.pop()
        left += of.get(one, [])
        try:
            found[one] = Path(f"/proc/{one}/cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace").strip()
        except OSError:
            pass
    return found


def send(pid, sig):
    try:
        os.kill(pid, sig)
        return True
    except ProcessLookupError:
        return False


def pick(rig, rng, role):
    """(program, pid) of a process with this role that runs; None."""
    programs = [s for s in rig.programs.values() if s.process.poll() is None and s.role in ("serve", role)]
    rng.shuffle(programs)
    for server in programs:
        pid = role_pid(server, role) if server.role == "serve" else server.process.pid
        if pid:
            return server, pid
    return None


# ---- processes ----


def kill_role(role):
    def fault(rig, rng):
        found = pick(rig, rng, role)
        if not found:
            return False
        server, pid = found
        if server.role == "serve":
            return send(pid, signal.SIGKILL)  # the supervisor starts it again
        part = next(p for p in rig.parts.values() if getattr(p, "server", None) is server)
        rig.hold(part.name)
        part.signal("KILL")
        time.sleep(rng.uniform(0.1, 3))
        rig.up(part)
        rig.let_go(part.name)
        return True

    return fault


def stop_role(role):
    def fault(rig, rng):
        found = pick(rig, rng, role)
        if not found or not send(found[1], signal.SIGSTOP):
            return False
        time.sleep(rng.uniform(0.5, 2.5 * rig.lease_s))
        send(found[1], signal.SIGCONT)
        return True

    return fault


def kill_supervisor(rig, rng):
    part = rig.parts["serve"]
    family = descendants(part.server.process.pid)
    rig.hold(part.name)
    part.signal("KILL")
    # What it started notices and ends by itself; then an init system starts it again.
    end = time.monotonic() + 60
    while any(alive(p) for p in family):
        if time.monotonic() > end:
            rig.broken.append(f"outlived their supervisor by a minute: {[c for p, c in family.items() if alive(p)]}")
            break
        time.sleep(0.05)
    rig.up(part)
    rig.let_go(part.name)
    return True


def child(word, sig):
    """A short-lived child, as soon as there is one."""

    def fault(rig, rng):
        end = time.monotonic() + 3
        while time.monotonic() < end:
            found = [p for s in rig.programs.values() for p, c in descendants(s.process.pid).items() if word in c]
            if found and send(victim := rng.choice(found), sig):
                if sig == signal.SIGSTOP:
                    time.sleep(rng.uniform(0.5, 2))
                    send(victim, signal.SIGCONT)
                return True
            time.sleep(0.005)
        return False

    return fault


def out_of_memory(rig, rng):
    """Whatever a worker still wants to allocate fails; then there is memory again. (The kernel's way is a SIGKILL.)"""
    found = pick(rig, rng, "worker")
    if not found:
        return False
    rig.starve(found[1])
    try:
        status = Path(f"/proc/{found[1]}/status").read_text()
        now = int(status.partition("VmSize:")[2].split()[0]) * 1024
        soft, hard = resource.prlimit(found[1], resource.RLIMIT_AS)
        resource.prlimit(found[1], resource.RLIMIT_AS, (now + rng.choice([0, 1, 4]) * 1024 * 1024, hard))
        time.sleep(rng.uniform(1, 3))
        resource.prlimit(found[1], resource.RLIMIT_AS, (soft, hard))
    except (ProcessLookupError, FileNotFoundError, ValueError, IndexError):
        return "VmSize" in locals().get("status", "")  # it died of it
    finally:
        rig.feed(found[1])
    return True


# ---- disk, clock, back ends by fault points ----


def disk_full(rig, rng):
    fillers = [data.parent / "filler" for data in rig.data]
    for filler in fillers:
        fd, size = os.open(filler, os.O_WRONLY | os.O_CREAT, 0o600), 1 << 24
        while size >= 512:
            try:
                os.write(fd, bytes(size))
            except OSError as e:
                if e.errno != errno.ENOSPC:
                    raise
                size //= 4
        os.close(fd)
    time.sleep(rng.uniform(1, 4))
    for filler in fillers:
        filler.unlink()
    return True


def clock_jump(rig, rng):
    ms = rng.choice([1, -1]) * rng.choice([20, 600, 7200]) * SECONDS
    for program in rig.fault_files:
        rig.clock_off_until = float("inf")
        # One machine has one clock; PostgreSQL's is what all processes of a cluster read.
        rig.fault_files[program].set("clock", f"clock=jump:{ms}" + ("" if rig.embedded else f",db_clock=jump:{ms}"))
    time.sleep(rng.uniform(2, 6))
    for file in rig.fault_files.values():
        file.clear("clock")
    rig.clock_off_until = time.monotonic() + 5
    return True


def points(name, *specs):
    """Fault points that strike for some seconds in every process."""

    def fault(rig, rng):
        spec = rng.choice(specs)
        for file in rig.fault_files.values():
            file.set(name, spec)
        time.sleep(rng.uniform(1, 5))
        for file in rig.fault_files.values():
            file.clear(name)
        return True

    return fault


# ---- servers ----


def crash(name):
    def fault(rig, rng):
        part = rig.parts[rig.part(name)]
        part.signal("KILL")
        time.sleep(rng.uniform(0.1, 3))
        rig.up(part)
        return True

    return fault


def restart(name):
    def fault(rig, rng):
        part = rig.parts[rig.part(name)]
        part.down()
        time.sleep(rng.uniform(0, 1))
        rig.up(part)
        return True

    return fault


def hang(name):
    def fault(rig, rng):
        part = rig.parts[rig.part(name)]
        part.signal("STOP")
        time.sleep(rng.uniform(1, 6))
        part.signal("CONT")
        return True

    return fault


def sqlite_locked(rig, rng):
    """Somebody else writes to the database, and takes long."""
    db = sqlite3.connect(rig.data[0] / "steno.db", isolation_level=None, timeout=20)
    try:
        db.execute("BEGIN IMMEDIATE")
        time.sleep(rng.uniform(0.5, 4))
        db.execute("ROLLBACK")
    except sqlite3.OperationalError:
        return False  # it was busy all the time
    finally:
        db.close()
    return True


def pipes_gone(rig, rng):
    """All that processes on the local broker listen at."""
    pipes = list((rig.data[0] / "run").glob("*.fifo"))
    for pipe in pipes:
        pipe.unlink(missing_ok=True)
    return bool(pipes)


# ---- poison ----


def poison(rig, rng):
    """A recording of which workers die, again and again (its fault stands in every fault file)."""
    return rig.send_killer(rng)


def cluster_only(rig):
    return None if not rig.embedded else "embedded back ends only"


def embedded_only(rig):
    return "no such part in a cluster" if not rig.embedded else None


def small_disk(rig):
    return None if rig.mounted else rig.why_not_mounted


def always(rig):
    return None


# name: (how often it is drawn, why it cannot be done on a rig or None, what it does)
FAULTS = {
    "kill api": (3, always, kill_role("api")),
    "kill worker": (4, always, kill_role("worker")),
    "kill supervisor": (1, embedded_only, kill_supervisor),
    "kill decoder": (2, always, child("ffmpeg", signal.SIGKILL)),
    "kill engine child": (2, always, child("__engine", signal.SIGKILL)),
    "stop api": (1, always, stop_role("api")),
    "stop worker": (3, always, stop_role("worker")),
    "stop decoder": (1, always, child("ffmpeg", signal.SIGSTOP)),
    "stop engine child": (1, always, child("__engine", signal.SIGSTOP)),
    "out of memory": (3, always, out_of_memory),
    "disk full": (3, small_disk, disk_full),
    "clock jump": (3, always, clock_jump),
    "slow storage": (2, always, points("storage", "storage=sleep:300", "storage=sleep:1500/5", "storage_fetch=sleep:4000")),
    "failing storage": (2, always, points("storage", "storage=fail/3", "storage=lost/4", "storage_write=cut/2", "storage=fail")),
    "failing broker": (1, always, points("broker", "broker=fail", "broker=fail/2")),
    "failing database": (2, always, points("db", "db=fail/5", "db_write=fail/3", "db_read=fail/3", "db=sleep:200/3")),
    "pipes of the broker gone": (1, embedded_only, pipes_gone),
    "database locked": (2, embedded_only, sqlite_locked),
    "kill database": (2, cluster_only, crash("postgres")),
    "restart database": (1, cluster_only, restart("postgres")),
    "stop database": (1, cluster_only, hang("postgres")),
    "kill broker": (2, cluster_only, crash("broker")),
    "restart broker": (1, cluster_only, restart("broker")),
    "stop broker": (1, cluster_only, hang("broker")),
    "kill storage server": (1, cluster_only, crash("s3")),
    "stop storage server": (2, cluster_only, hang("s3")),
    "poison that kills": (1, always, poison),
}
