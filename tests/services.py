# SPDX-License-Identifier: MIT
"""The real servers of a test run: each is started once, by tests/services.sh, in a folder of this run.

A test finds a server by its URL in the environment (SERVICES); one that stands there already is used as it is, and
none is started. A server that is not installed or does not start leaves its variable unset: the tests that need it
say so and are skipped.
"""

import os
import shutil
import signal
import subprocess
import tempfile
from pathlib import Path

SCRIPT = Path(__file__).resolve().parent / "services.sh"
# Name: the variable that aims the tests at a server. The slowest to start comes first.
SERVICES = {
    "rabbitmq": "STENO_TEST_AMQP_URL",
    "s3": "STENO_TEST_S3_URL",
    "postgres": "STENO_TEST_POSTGRES_URL",
    "redis": "STENO_TEST_REDIS_URL",
}
# Those with a port for TLS beside the plain one. libpq would take TLS for everything, so PostgreSQL has its own test.
TLS = {"s3"}
S3_ENDPOINT, S3_BUCKET = "STENO_TEST_S3_ENDPOINT", "STENO_TEST_S3_BUCKET"
START_SECONDS = 240  # RabbitMQ has needed 90 s on a busy machine


def given():
    """The variables of servers that stand there already. S3 may be named by its endpoint and keys alone."""
    found = {v: os.environ[v] for v in SERVICES.values() if os.environ.get(v)}
    if os.environ.get(S3_ENDPOINT):
        found.setdefault(SERVICES["s3"], "s3://" + (os.environ.get(S3_BUCKET) or "steno-test"))
    return found


class Services:
    """start() begins, env() waits for them; stop() ends them, also while they start."""

    def __init__(self, names=SERVICES):
        self.names = [n for n in names if n in SERVICES]
        self.folder = None
        self.starting = {}

    def start(self):
        for name in self.names:
            if SERVICES[name] in given():
                continue
            if subprocess.run([SCRIPT, "installed", name], check=False).returncode:
                print(f"{name} is not installed: the tests that need it are skipped", flush=True)
                continue
            if not self.folder:
                self.folder = Path(tempfile.mkdtemp(prefix="steno-services-"))
            with open(self.folder / f"{name}.out", "wb") as out, open(self.folder / f"{name}.err", "wb") as err:
                # A group of its own: a Ctrl-C at the terminal is ours to pass on.
                self.starting[name] = subprocess.Popen(
                    [SCRIPT, "up", name, self.folder / name], stdin=subprocess.DEVNULL, stdout=out, stderr=err,
                    start_new_session=True, env=os.environ | ({"SERVICES_TLS": "1"} if name in TLS else {}),
                )

    def env(self):
        """The variables of what was given or has started: KEY of tests/services.sh as STENO_TEST_KEY."""
        found = {v: url for v, url in given().items() if v in [SERVICES[n] for n in self.names]}
        for name, process in self.starting.items():
            try:
                status = process.wait(START_SECONDS)
            except subprocess.TimeoutExpired:
                os.killpg(process.pid, signal.SIGKILL)
                status = process.wait()
            if status:
                why = (self.folder / f"{name}.err").read_text(errors="replace").strip()
                print(f"{name} does not start, the tests that need it are skipped: {why[-500:]}", flush=True)
                continue
            for line in (self.folder / f"{name}.out").read_text().splitlines():
                key, _, value = line.partition("=")
                found["STENO_TEST_" + key] = value.strip("'")
        return found

    def stop(self):
        """At once: nothing of it is needed again."""
        for name, process in self.starting.items():
            if process.poll() is None:
                os.killpg(process.pid, signal.SIGKILL)
            subprocess.run([SCRIPT, "kill", name, self.folder / name], stdin=subprocess.DEVNULL, check=False)
        self.starting = {}
        if self.folder:
            shutil.rmtree(self.folder, ignore_errors=True)
            self.folder = None
