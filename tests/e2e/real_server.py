# SPDX-License-Identifier: MIT
"""A real server of a test's own (tests/services.sh), to be killed, stopped and started again."""

import os
import shutil
import subprocess
import tempfile
from pathlib import Path

from steno_server import ROOT

SCRIPT = ROOT / "tests" / "services.sh"


def installed(*names):
    return all(subprocess.run([SCRIPT, "installed", n], check=False).returncode == 0 for n in names)


class RealServer:
    """`vars`: what services.sh says of it, such as POSTGRES_URL; the ports stay the same over restarts. `durable`: it
    waits for the disk, as in production. `tls`: it has a certificate, of an authority in its folder."""

    def __init__(self, name, durable=False, tls=False):
        self.name, self.durable, self.tls = name, durable, tls
        # Not one of pytest's folders: those are closed to the server's own user.
        self.folder = Path(tempfile.mkdtemp(prefix=f"steno-e2e-{name}-"))
        self.vars = {}
        self.up()

    def script(self, command, *args):
        options = ["--durable"] if self.durable else []
        done = subprocess.run([SCRIPT, *options, command, self.name, self.folder / "server", *args], capture_output=True, text=True,
                              stdin=subprocess.DEVNULL, timeout=400,
                              env=os.environ | ({"SERVICES_TLS": "1"} if self.tls else {}))
        assert done.returncode == 0, (self.name, command, done.stdout + done.stderr)
        return done.stdout

    def up(self):
        lines = self.script("up").splitlines()
        self.vars = {k: v.strip("'") for k, _, v in (line.partition("=") for line in lines)}

    def down(self):
        self.script("down")

    def signal(self, name):
        self.script("signal", name)

    def close(self):
        self.script("kill")
        shutil.rmtree(self.folder, ignore_errors=True)
