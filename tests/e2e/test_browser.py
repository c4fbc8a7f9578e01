# SPDX-License-Identifier: MIT
"""A browser's own EventSource and WebSocket follow jobs: native events, and the queue service's messages. Its player plays them."""

import collections
import http.server
import io
import json
import os
import re
import shutil
import signal
import subprocess
import threading
import wave

import pytest
import requests
from backends import S3
from dialects import SOUND
from live_client import execute, save_chunk
from steno_server import ROOT, Server, wait_for

CHROMIUM = shutil.which("chromium")
pytestmark = pytest.mark.skipif(not CHROMIUM, reason="there is no Chromium")

# What is logged comes back as posts, one after another. Relative addresses are the server's, as on a page of its own.
PAGE = """<!doctype html><title>follower</title><base href="SERVER/">
<script>
let sent = Promise.resolve();
console.log = (...words) => {
  sent = sent.then(() => fetch(location.origin + '/said', { method: 'POST', body: JSON.stringify(words) }));
};
window.onerror = (what) => console.log('error', what);
SCRIPT
</script>
"""

# As the queue service's own documents have it.
QUEUE_SNIPPET = """
// Connect to task updates
const ws = new WebSocket(`ws://localhost:8000/ws/${taskId}`)

ws.onmessage = (event) => {
  const update = JSON.parse(event.data)
  console.log('Progress:', update.data.progress)
  console.log('Status:', update.data.status)
  console.log('Message:', update.data.message)
}
"""
WEBSOCKET = """
const ws = new WebSocket(url);
ws.onmessage = (event) => {
  const message = JSON.parse(event.data);
  console.log(message.type, message.status || message.text);
};
ws.onclose = (event) => console.log('closed', event.code);
"""
PLAYER = """
const player = document.querySelector('audio');
player.onloadedmetadata = () => { console.log('duration', player.duration); player.currentTime = 250; };
player.onseeked = () => console.log('seeked', player.currentTime);
player.onerror = () => console.log('error', player.error.message);
"""
WATCH_STATE = "\nevents.onerror = () => console.log('readyState', events.readyState);\n"


def documented_snippet():
    """The script for browsers in docs/live.md."""
    text = (ROOT / "docs" / "live.md").read_text()
    return re.search(r"^In a browser:\n\n((?: {4}.*\n)+)", text, re.M).group(1)


class Site(http.server.ThreadingHTTPServer):
    """Gives out one page, and keeps what it says."""

    daemon_threads = True

    def __init__(self):
        super().__init__(("127.0.0.1", 0), Handler)
        self.page, self.said = b"", []
        self.origin = f"http://127.0.0.1:{self.server_port}"
        threading.Thread(target=self.serve_forever, daemon=True).start()

    def close(self):
        self.shutdown()
        self.server_close()

    def wait_said(self, *words):
        return wait_for(f"the page says {words}", lambda: list(words) in self.said, 120)


class Handler(http.server.BaseHTTPRequestHandler):
    def answer(self, status, body=b""):
        self.send_response(status)
        self.send_header("Content-Type", "text/html; charset=utf-8")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def do_GET(self):
        self.answer(*(200, self.server.page) if self.path == "/" else (404,))

    def do_POST(self):
        self.server.said.append(json.loads(self.rfile.read(int(self.headers["Content-Length"]))))
        self.answer(204)

    def log_message(self, *args):
        pass


@pytest.fixture
def site():
    s = Site()
    yield s
    s.close()


@pytest.fixture
def api(site):
    """An api without a worker, whose answers the site's pages may read."""
    s = Server(f"--cors-origins={site.origin}", "--engine=null", role="api")
    yield s
    s.close()


@pytest.fixture
def browse(tmp_path):
    """browse(site, server, script): the page runs it, until the end of the test. For it localhost:8000 is the server."""
    started = []

    def browse(site, server, script):
        site.page = PAGE.replace("SERVER", server.url).replace("SCRIPT", script).encode()
        started.append(subprocess.Popen(
            [CHROMIUM, "--headless=new", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--remote-debugging-port=0",
             f"--user-data-dir={tmp_path}/browser{len(started)}",
             f"--host-resolver-rules=MAP localhost:8000 {server.host}:{server.port}, MAP * ~NOTFOUND, EXCLUDE 127.0.0.1",
             site.origin + "/"], stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
            start_new_session=True))

    yield browse
    for process in started:
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()


@pytest.fixture
def start_worker(api):
    """Starts a worker for the api, which is stopped before the api is."""
    started = []
    yield lambda: started.append(Server("--engine=null", role="worker", data=api.data))
    for worker in started:
        worker.close()


def submit(api):
    return requests.post(api.url + "/v1/jobs", files={"file": ("talk.wav", SOUND)}, timeout=60).json()["id"]


def restart(server):
    """At the same address."""
    assert server.stop() == 0
    server.listen = f"{server.host}:{server.port}"
    server.start()


def test_the_snippet_of_the_queue_service(site, api, browse, start_worker):
    task_id = requests.post(api.url + "/transcribe/", files={"file": ("talk.mp3", SOUND)}, timeout=60).json()["task_id"]
    browse(site, api, f"const taskId = {task_id!r};\n" + QUEUE_SNIPPET)
    site.wait_said("Message:", "Waiting in queue, position 1")
    start_worker()
    site.wait_said("Message:", "Transcription completed")
    said = collections.defaultdict(list)
    for word, value in site.said:
        said[word].append(value)
    assert set(said) == {"Progress:", "Status:", "Message:"}
    assert len({len(values) for values in said.values()}) == 1  # each message has all three
    assert said["Status:"][0] == "queued" and said["Status:"][-1] == "completed"
    assert said["Progress:"][0] == 0 and said["Progress:"][-1] == 100
    assert said["Progress:"] == sorted(said["Progress:"])


def test_an_event_source_comes_back(site, api, browse):
    """The documented script; after a restart of the server the browser goes on by itself behind the last event it saw,
    although the address still says since=0."""
    job = submit(api)
    save_chunk(api, job, 0, "one", 2)
    save_chunk(api, job, 1, "two", 3)
    browse(site, api, f"const job = {job!r};\n" + documented_snippet() + WATCH_STATE)
    site.wait_said("two")
    restart(api)
    site.wait_said("readyState", 0)  # CONNECTING
    save_chunk(api, job, 2, "three", 4)
    save_chunk(api, job, 3, "four", 5)
    site.wait_said("four")
    assert [s[0] for s in site.said if len(s) == 1] == ["one", "two", "three", "four"]
    assert ["readyState", 2] not in site.said
    requests.delete(f"{api.url}/v1/jobs/{job}", timeout=60)
    wait_for("the page closes it at the end", lambda: connections(api) == 0)
    assert [s[0] for s in site.said if len(s) == 1] == ["one", "two", "three", "four"]


def test_an_event_source_that_nobody_closes_ends(site, api, browse):
    """It comes back after the end, is answered 204, and gives up."""
    job = submit(api)
    requests.delete(f"{api.url}/v1/jobs/{job}", timeout=60)
    script = "events.onmessage = (event) => console.log(JSON.parse(event.data).type);" + WATCH_STATE
    browse(site, api, f"const events = new EventSource('/v1/jobs/{job}/events');\n" + script)
    site.wait_said("readyState", 2)  # CLOSED
    assert site.said == [["snapshot"], ["end"], ["readyState", 0], ["readyState", 2]]


def connections(server):
    return int(re.search(r"^steno_live_connections (\d+)$", requests.get(server.url + "/metrics", timeout=60).text, re.M).group(1))


def test_a_websocket(site, api, browse, start_worker):
    job = submit(api)
    browse(site, api, f"const url = 'ws://{api.host}:{api.port}/v1/jobs/{job}/ws?since=0';\n" + WEBSOCKET)
    site.wait_said("snapshot", "pending")
    start_worker()
    site.wait_said("closed", 1000)
    text = requests.get(f"{api.url}/v1/jobs/{job}/transcript?format=json", timeout=60).json()["text"]
    said = [s for s in site.said if s[0] != "progress"]
    assert said[0] == ["snapshot", "pending"] and said[-2:] == [["end", "completed"], ["closed", 1000]]
    assert " ".join(words for kind, words in said if kind == "chunk") == text != ""


def test_the_player_jumps(site, api, browse):
    """The documented element. It asks for parts, and is given them."""
    content = io.BytesIO()
    with wave.open(content, "wb") as w:
        w.setparams((2, 2, 48000, 0, "NONE", ""))
        w.writeframes(bytes(48000 * 4 * 300))  # 58 MB
    files = {"file": ("talk.wav", content.getvalue(), "application/octet-stream")}
    job = requests.post(api.url + "/v1/jobs", files=files, timeout=60).json()["id"]
    (element,) = re.findall(r"^    (<audio .*)$", (ROOT / "docs" / "api-guide.md").read_text(), re.M)
    element = re.sub("/v1/jobs/[^/]*", f"/v1/jobs/{job}", element)
    browse(site, api, f"document.write({element!r});" + PLAYER)
    site.wait_said("seeked", 250)
    assert ["duration", 300] in site.said and not [s for s in site.said if s[0] == "error"]
    # It drops what it asked for at first, once it has jumped.

    def statuses():
        figures = requests.get(api.url + "/metrics", timeout=60).text
        return set(re.findall(r'route="/v1/jobs/{id}/audio",status="(\d+)"', figures))

    assert wait_for("an answer is over", lambda: statuses() - {"304"}, 120) == {"307" if S3 else "206"}


def test_an_unknown_job(site, api, browse):
    browse(site, api, f"const url = 'ws://{api.host}:{api.port}/v1/jobs/nothing/ws';\n" + WEBSOCKET)
    site.wait_said("closed", 4404)
    assert len(site.said) == 1


def test_a_page_of_another_origin_is_kept_out(api, browse):
    """One that cors_origins does not name: it gets nothing, by neither way."""
    job = submit(api)
    stranger = Site()
    try:
        browse(stranger, api, f"const url = 'ws://{api.host}:{api.port}/v1/jobs/{job}/ws';\n" + WEBSOCKET +
               f"const events = new EventSource('/v1/jobs/{job}/events');\n"
               "events.onmessage = () => console.log('message');" + WATCH_STATE)
        stranger.wait_said("closed", 1006)
        stranger.wait_said("readyState", 2)
        assert len(stranger.said) == 2
    finally:
        stranger.close()
