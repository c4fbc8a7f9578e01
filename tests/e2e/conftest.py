# SPDX-License-Identifier: MIT
"""The fixtures of the end-to-end tests; what they are made of is in steno_server.py."""

import subprocess
import sys

import openapi_check
import pytest
from steno_server import QUICK, ROOT, Server, Steno

sys.path.insert(0, str(ROOT / "tools"))

openapi_check.watch_requests()


@pytest.fixture
def steno(tmp_path):
    return Steno(tmp_path)


@pytest.fixture(scope="session")
def speech(tmp_path_factory):
    """speech(sentence, ...) -> path of a recording of them, made once."""
    folder, made = tmp_path_factory.mktemp("speech"), {}

    def make(*sentences, pause=0.8):
        key = (*sentences, pause)
        if key not in made:
            text, wav = folder / f"{len(made)}.txt", folder / f"{len(made)}.wav"
            text.write_text("\n".join(sentences) + "\n")
            subprocess.run([ROOT / "tools" / "speak.sh", text, wav, str(pause)], check=True, timeout=120)
            made[key] = wav
        return made[key]

    return make


@pytest.fixture
def server():
    """A whole service, stopped well at the end."""
    s = Server(*QUICK)
    yield s
    s.close()
