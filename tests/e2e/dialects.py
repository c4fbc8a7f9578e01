# SPDX-License-Identifier: MIT
"""What the tests of the dialects share."""

import asyncio
import subprocess
import time

import openapi_check
import websockets

from steno_server import FIXTURE

SOUND = b"RIFF\x24\0\0\0WAVE" + bytes(100)
UNKNOWN = "01a20200-06f7-759f-84ff-46d2b7b4ac6b"
ENDED = ("completed", "failed", "cancelled")


def poll(look, word, key="status", timeout=120):
    """What look() gives once its state is that word; another end is a failure."""
    end = time.monotonic() + timeout
    while True:
        shown = look()
        if shown[key] == word:
            return shown
        assert shown[key].lower() not in ENDED and time.monotonic() < end, shown
        time.sleep(0.05)


def whisper_models(folder):
    """Flags of a server with real engines: `medium` and `base` know many languages (and write nonsense), `small` is
    English and means what it writes."""
    for size in ("medium", "base"):
        subprocess.run([FIXTURE / "make_model", "random", "nano-multi", folder / f"ggml-{size}.bin"], check=True)
    (folder / "ggml-small.bin").symlink_to(FIXTURE / "fixture.bin")
    return ["--engine=whisper", "--threads=2", f"--model-path={folder}", "--retry-base=50ms", "--retry-cap=50ms"]


def recording(name):
    return (FIXTURE / "wav" / f"{name}.wav").read_bytes()


def follow(server, path, on_message=None):
    """Every message of a WebSocket to its end, and the code it closed with. on_message(message) may act in between."""
    async def run():
        seen = []
        async with websockets.connect(f"ws://{server.host}:{server.port}{path}", open_timeout=60) as ws:
            try:
                while True:
                    seen.append(openapi_check.check_message(path, await asyncio.wait_for(ws.recv(), 120)))
                    if on_message:
                        await asyncio.get_running_loop().run_in_executor(None, on_message, seen[-1])
            except websockets.ConnectionClosed as e:
                return seen, e.code

    return asyncio.run(run())
