# SPDX-License-Identifier: MIT
"""
Packages that tests need and Debian does not have: fetched once into a folder beside the program, in versions that are
pinned here.
"""

import fcntl
import json
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from steno_server import STENO

PYTHON = "openai==3.54.0"
NODE = "openai@4.104.0"  # the newest that runs on Debian's Node.js
OPENAPI = "openapi-spec-validator==0.9.0"
PIP = [sys.executable, "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]


def folder():
    return Path(STENO).resolve().parent / "tests" / "clients"


def fetch(name, command):
    """The folder that `command(folder)` has filled; skips the tests where it cannot, as without a network."""
    to = folder() / name
    to.parent.mkdir(parents=True, exist_ok=True)
    with open(f"{to}.lock", "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if to.exists():
            return to
        part = Path(f"{to}.part")
        shutil.rmtree(part, ignore_errors=True)
        part.mkdir()
        done = subprocess.run(command(part), capture_output=True, text=True, cwd=part)
        if done.returncode != 0:
            pytest.skip(f"{name} cannot be had here: {(done.stderr or done.stdout).strip()[-300:]}", allow_module_level=True)
        part.rename(to)
    return to


def python_client():
    """The module `openai`."""
    where = fetch(PYTHON, lambda to: [*PIP, "--target", str(to), PYTHON])
    sys.path.insert(0, str(where))
    import openai

    return openai


def node_client():
    """The folder whose node_modules has it."""
    if not shutil.which("npm") or not shutil.which("node"):
        pytest.skip("there is no npm", allow_module_level=True)
    return fetch(NODE.replace("@", "-"), lambda to: ["npm", "install", "--no-audit", "--no-fund", "--prefix", str(to), NODE])


def openapi_schema():
    """The JSON Schema of OpenAPI 3.1 documents, as the OpenAPI Initiative published it."""
    where = fetch(OPENAPI, lambda to: [*PIP, "--no-deps", "--target", str(to), OPENAPI])
    return json.loads((where / "openapi_spec_validator" / "resources" / "schemas" / "v3.1" / "schema.json").read_text())
