# SPDX-License-Identifier: MIT
"""Figures for Prometheus, read by Prometheus's own parsers: those of the api and those of a worker."""

import os
import random
import re
import shutil
import socket
import subprocess
import uuid

import pytest
import requests
from prometheus_client.parser import text_string_to_metric_families
from dialects import recording, whisper_models
from steno_server import QUICK, ROOT, STENO, Server, clean_env, role_pid, wait_for

SOUND = b"RIFF\x24\0\0\0WAVE" + bytes(100)
FLAGS = [*QUICK, "--engine=null", "--metrics-listen=127.0.0.1:0"]


class Page:
    """A page, parsed strictly."""

    def __init__(self, text):
        self.text = text
        self.families = list(text_string_to_metric_families(text))
        self.samples = {}
        for family in self.families:
            assert family.documentation and family.type in ("counter", "gauge", "histogram"), family
            for s in family.samples:
                key = (s.name, *sorted(s.labels.items()))
                assert key not in self.samples, f"{key} stands there twice"
                self.samples[key] = s.value

    def __call__(self, name, **labels):
        return self.samples[(name, *sorted(labels.items()))]

    def names(self):
        """As on the page: the parser takes `_total` off the names of counters."""
        return {f.name + ("_total" if f.type == "counter" else "") for f in self.families}


def page_of(url):
    answer = requests.get(url + "/metrics", timeout=60)
    assert answer.status_code == 200 and answer.headers["Content-Type"] == "text/plain; version=0.0.4; charset=utf-8"
    return Page(answer.text)


def own_url(server, role):
    """Where a role says that its figures are; None: not yet."""
    found = re.findall(rf"{role}: metrics at (\S+)", server.log())
    return f"http://{found[-1]}" if found else None


def worker_url(server):
    return own_url(server, "worker")


def serve(*flags, **kw):
    s = Server(*FLAGS, *flags, **kw)
    wait_for("the worker listens", lambda: worker_url(s) and re.search(r"jobs at a time", s.log()))
    return s


@pytest.fixture
def whole():
    s = serve()
    yield s
    s.close()


def check_page(page):
    assert len(page.names()) == len(page.families), "a family stands there twice"
    for f in page.families:
        assert re.match(r"(steno|process)_[a-z_]+$", f.name), f.name
        assert not re.search(r"_(ms|milliseconds|mb|kb|minutes)(_|$)", f.name), f"{f.name}: base units"
        for s in f.samples:
            if f.type == "counter":
                assert s.name.endswith("_total") and s.value >= 0
        if f.type != "histogram":
            continue
        assert re.search(r"_(seconds|factor)$", f.name), f.name
        series = {}
        for s in f.samples:
            labels = tuple(sorted((k, v) for k, v in s.labels.items() if k != "le"))
            series.setdefault(labels, []).append(s)
        for samples in series.values():
            buckets = [(float(s.labels["le"]), s.value) for s in samples if s.name.endswith("_bucket")]
            count = next(s.value for s in samples if s.name.endswith("_count"))
            assert buckets == sorted(buckets) and buckets[-1] == (float("inf"), count)
            assert next(s.value for s in samples if s.name.endswith("_sum")) >= 0


def test_both_pages_are_what_prometheus_reads(whole):
    job_id = whole.submit(SOUND).json["id"]
    whole.wait_job(job_id)
    for url in (whole.url, worker_url(whole)):
        page = wait_for("the job is counted", lambda: page_of(url))
        check_page(page)
        told = subprocess.run(["promtool", "check", "metrics"], input=page.text, text=True, capture_output=True, timeout=60)
        assert (told.returncode, told.stdout, told.stderr) == (0, "", ""), told


def test_the_documentation_lists_them_all(whole):
    """docs/metrics.md has each metric once; those that only some installations have are named here, and have tests of
    their own: test_models_in_memory, and those of brokers with tokens."""
    only_sometimes = re.compile(r"steno_model_pool_|steno_broker_depth$")
    whole.wait_job(whole.submit(SOUND).json["id"])
    there = page_of(whole.url).names() | page_of(worker_url(whole)).names()
    rows = re.findall(r"^\| `((?:steno|process)_\w+)", (ROOT / "docs" / "metrics.md").read_text(), re.M)
    assert len(rows) == len(set(rows)), "one stands there twice"
    assert there - set(rows) == set(), "not documented"
    assert [r for r in rows if r not in there and not only_sometimes.match(r)] == [], "documented, but not there"


def test_a_job_that_is_done(whole):
    whole.wait_job(whole.submit(SOUND).json["id"])
    w = wait_for("it is counted", lambda: (p := page_of(worker_url(whole)))("steno_worker_jobs_completed_total") == 1 and p)
    assert w("steno_worker_chunks_total") == 1
    assert w("steno_worker_queue_wait_seconds_count") == 1 and w("steno_worker_run_seconds_count") == 1
    assert 0 < w("steno_worker_run_seconds_sum") < 60
    assert w("steno_worker_jobs_running") == 0 and w("steno_worker_slots_busy") == 0
    assert w("steno_worker_concurrency") == 4 and w("steno_worker_database_up") == 1 and w("steno_worker_draining") == 0
    assert w("steno_build_info", version=version(), role="worker") == 1
    a = page_of(whole.url)
    assert a("steno_jobs", state="completed") == 1 and a("steno_workers", state="running") == 1
    assert a("steno_http_requests_total", method="POST", route="/v1/jobs", status="202") == 1
    assert a("steno_http_request_duration_seconds_count", method="POST", route="/v1/jobs") == 1
    assert a("steno_upload_bytes_total") > len(SOUND) and a("steno_up") == 1 and a("steno_broker_up") == 1
    assert a("steno_build_info", version=version(), role="api") == 1


def version():
    return subprocess.run([STENO, "version"], capture_output=True, text=True, check=True).stdout.split()[1]


def test_the_process(whole):
    pid = role_pid(whole, "worker")
    w = page_of(worker_url(whole))
    status = open(f"/proc/{pid}/status").read()
    rss = int(re.search(r"VmRSS:\s+(\d+) kB", status).group(1)) * 1024
    assert 0.5 < w("process_resident_memory_bytes") / rss < 2
    assert abs(w("process_open_fds") - len(os.listdir(f"/proc/{pid}/fd"))) <= 3
    assert w("process_max_fds") >= w("process_open_fds") and w("process_cpu_seconds_total") > 0
    started = os.stat(f"/proc/{pid}").st_mtime  # within moments of its start
    assert abs(w("process_start_time_seconds") - started) < 60


def test_an_api_has_its_own_address(whole):
    """The same page as on `listen`, and nothing else."""
    api = Server(*QUICK, "--api-metrics-listen=127.0.0.1:0", role="api")
    try:
        url = wait_for("the api listens", lambda: own_url(api, "api"))
        own, public = page_of(url), page_of(api.url)
        check_page(own)
        assert own("steno_build_info", version=version(), role="api") == 1 and own("steno_up") == 1
        # The request that has just asked for it counts on the public one alone.
        assert public.names() - own.names() <= {"steno_http_requests_total", "steno_http_request_duration_seconds"}
        assert own.names() <= public.names() and own("steno_http_requests_in_flight") == 0
        again = page_of(url)
        assert again("steno_http_requests_total", method="GET", route="/metrics", status="200") == 1, "that on `listen`"
        assert [requests.get(url + path, timeout=60).status_code for path in ("/", "/v1/jobs", "/health")] == [404] * 3
    finally:
        api.close()
    assert own_url(whole, "api") is None, "not unless it is asked for"


def test_the_direct_service_has_figures(tmp_path, monkeypatch):
    """`steno direct` has no other address that answers /metrics."""
    # The OpenAPI document is about the other routes.
    monkeypatch.setattr(requests.Session, "request", getattr(requests.Session.request, "__wrapped__", requests.Session.request))
    direct = subprocess.Popen([STENO, "direct", "--data", tmp_path / "data", *FLAGS, "--direct-listen=127.0.0.1:0",
                               "--api-metrics-listen=127.0.0.1:0"], env=clean_env(), cwd=tmp_path,
                              stdout=subprocess.PIPE, stderr=open(tmp_path / "log", "wb"), text=True)
    try:
        service = direct.stdout.readline().split()[-1].rstrip("/")
        log = (tmp_path / "log").read_text
        found = wait_for("both listen", lambda: (f := dict(re.findall(r"(api|worker): metrics at (\S+)", log()))).keys() == {"api", "worker"} and f)
        assert service.startswith("http://") and requests.get(service + "/metrics", timeout=60).status_code == 404
        answer = requests.post(service + "/transcribe", files={"file": ("a.wav", SOUND)}, timeout=120)
        assert answer.status_code == 200, answer.text
        api, worker = (page_of("http://" + found[role]) for role in ("api", "worker"))
        check_page(api)
        assert api("steno_http_requests_total", method="POST", route="direct:/transcribe", status="200") == 1
        assert api("steno_jobs", state="completed") == 1 and api("steno_upload_bytes_total") > len(SOUND)
        assert worker("steno_build_info", version=version(), role="worker") == 1
    finally:
        direct.terminate()
        assert direct.wait(60) == 0, (tmp_path / "log").read_text()
        direct.stdout.close()


def test_real_time_factor(speech):
    s = Server(*QUICK, "--engine=pocketsphinx", "--metrics-listen=127.0.0.1:0")
    try:
        sound = speech("good morning").read_bytes()
        assert s.wait_job(s.submit(sound).json["id"])["status"] == "completed"
        w = wait_for("it is counted", lambda: (p := page_of(worker_url(s)))("steno_worker_jobs_completed_total") == 1 and p)
        audio, ran = w("steno_worker_audio_seconds_total"), w("steno_worker_run_seconds_sum")
        assert audio > 0.5 and w("steno_worker_real_time_factor_count") == 1
        assert abs(w("steno_worker_real_time_factor_sum") - ran / audio) < 0.01
        assert w("steno_children_cpu_seconds_total") > 0, "the decoder's"
    finally:
        s.close()


def test_failures_and_retries_by_class(tmp_path):
    s = serve("--max-attempts=2", env={"STENO_FAULT": "chunk_transcribed=fail"})
    try:
        assert s.wait_job(s.submit(SOUND).json["id"])["status"] == "failed"
        w = wait_for("it is counted", lambda: (p := page_of(worker_url(s)))("steno_worker_jobs_failed_total", **{"class": "unavailable"}) == 1 and p)
        assert w("steno_worker_jobs_retried_total", **{"class": "unavailable"}) == 1
        others = [v for k, v in w.samples.items() if k[0] in ("steno_worker_jobs_failed_total", "steno_worker_jobs_retried_total")
                  and ("class", "unavailable") not in k]
        assert others and set(others) == {0}, "every class is there, so that its first failure is seen as a rise"
    finally:
        s.close()


def test_lost_and_expired_leases(tmp_path):
    fault = {"STENO_FAULT": "chunk_transcribed=sleep:30000", "STENO_FAULT_DIR": str(tmp_path)}
    s = serve(env=fault)
    try:
        cancelled = s.submit(SOUND).json["id"]
        wait_for("it runs", lambda: page_of(worker_url(s))("steno_worker_jobs_running") == 1)
        assert page_of(worker_url(s))("steno_worker_slots_busy") <= 1
        s.ask("DELETE", f"/v1/jobs/{cancelled}")
        wait_for("the worker dropped it", lambda: page_of(worker_url(s))("steno_worker_leases_lost_total") == 1, 90)
        # The next one's worker dies in the middle of it.
        os.unlink(tmp_path / "chunk_transcribed")
        job_id = s.submit(SOUND).json["id"]
        wait_for("it runs", lambda: page_of(worker_url(s))("steno_worker_jobs_running") == 1)
        first = worker_url(s)
        os.kill(role_pid(s, "worker"), 9)
        assert s.wait_job(job_id)["status"] == "completed"
        wait_for("another worker listens", lambda: worker_url(s) != first)
        assert page_of(worker_url(s))("steno_worker_leases_expired_total") == 1
        assert page_of(s.url)("steno_workers", state="silent") in (0, 1), "the dead one's row may still stand"
    finally:
        s.close()


def test_models_in_memory(tmp_path):
    """The documentation lists the pool's figures, all of them. What they say is looked at in test_model_pool.py."""
    listed = set(re.findall(r"^\| `(steno_model_pool_\w+)", (ROOT / "docs" / "metrics.md").read_text(), re.M))
    s = Server(*QUICK, *whisper_models(tmp_path), "--model=small", "--metrics-listen=127.0.0.1:0")
    try:
        for model in ("small", "small", "base"):
            assert s.wait_job(s.submit(recording("02_one_word"), fields={"model": model}).json["id"])["status"] == "completed"
        w = wait_for("all is told", lambda: (p := page_of(worker_url(s)))("steno_worker_jobs_completed_total") == 3
                     and p("steno_model_pool_misses_total") >= 2 and p)
        check_page(w)
        assert {n for n in w.names() if n.startswith("steno_model_pool_")} == listed and len(listed) == 11
        assert w("steno_model_pool_hits_total") >= 1 and w("steno_model_pool_models") == 2 <= w("steno_model_pool_models_max")
    finally:
        s.close()


def test_deaths(tmp_path):
    """Two workers die on a job, and the third counts what they could not."""
    s = serve("--max-deaths=2", env={"STENO_FAULT": "chunk_transcribed=kill"})
    try:
        job = s.submit(SOUND).json["id"]
        assert s.wait_job(job)["status"] == "failed"
        told = wait_for("it is counted", lambda: (p := page_of(worker_url(s))) if worker_url(s) else None)
        assert told("steno_worker_jobs_poisoned_total") == 1 and told("steno_worker_leases_expired_total") >= 1
    finally:
        s.close()


def test_the_number_of_series_is_bounded(whole):
    """No label holds what a client makes up."""
    def series(url):
        return {k for k in page_of(url).samples}

    whole.wait_job(whole.submit(SOUND).json["id"])
    whole.ask("GET", "/x"), whole.ask("GET", f"/v1/jobs/{uuid.uuid4()}"), whole.ask("BREW", "/v1/jobs"), page_of(whole.url)
    before = {u: series(u) for u in (whole.url, worker_url(whole))}
    for i in range(100):
        name = "".join(random.choices("abcdefghijkl", k=12))
        whole.ask("GET", f"/{name}")
        whole.ask("GET", f"/v1/jobs/{uuid.uuid4()}")
        whole.ask(name.upper(), "/v1/jobs")
    for _ in range(5):
        fields = {"language": random.choice(["en", "de", "fr"]), "model": "".join(random.choices("abc", k=9))}
        whole.submit(SOUND, filename=f"{uuid.uuid4()}.wav", fields=fields)
    for url, old in before.items():
        new = {k for k in series(url) - old if k[0] != "steno_http_requests_total"
               and not k[0].startswith("steno_http_request_duration")}
        assert new == set(), new
    # Of requests there is at most one for each route and status in the tables.
    assert len(series(whole.url) - before[whole.url]) <= 40


@pytest.mark.parametrize("role, option", [("worker", "metrics_listen"), ("api", "api_metrics_listen")])
def test_a_role_says_when_it_cannot_listen(tmp_path, role, option):
    def run(address):
        return subprocess.run([STENO, role, "--data", tmp_path, "--engine=null", "--listen=127.0.0.1:0",
                               f"--{option.replace('_', '-')}={address}"], timeout=60, capture_output=True, text=True,
                              env=clean_env(), cwd=tmp_path)

    with socket.create_server(("127.0.0.1", 0)) as taken:
        address = "127.0.0.1:%d" % taken.getsockname()[1]
        done = run(address)
    assert done.returncode == 3, done
    assert f" {option}: cannot listen on {address}: Address already in use" in done.stderr
    done = run("9100")
    assert done.returncode == 2 and f" {option}: listen address '9100' is not host:port" in done.stderr, done


def test_no_page_unless_asked_for(server):
    wait_for("the worker runs", lambda: "jobs at a time" in server.log())
    assert "metrics at" not in server.log()


def test_a_unix_socket(tmp_path):
    curl = shutil.which("curl")
    path = tmp_path / "metrics.sock"
    s = Server(*QUICK, "--engine=null", f"--metrics-listen=unix:{path}")
    try:
        wait_for("the worker listens", path.exists)
        told = subprocess.run([curl, "-sf", "--unix-socket", path, "http://x/metrics"], capture_output=True, text=True, timeout=60)
        assert told.returncode == 0 and Page(told.stdout)("steno_worker_jobs_running") == 0
    finally:
        s.close()
    assert not path.exists(), "it is removed at the end"


def test_storage_that_fails_is_counted():
    s = serve(env={"STENO_FAULT": "storage=fail/2"})
    try:
        for _ in range(4):
            s.submit(SOUND)
        a = page_of(s.url)
        assert sum(v for k, v in a.samples.items() if k[0] == "steno_storage_errors_total") > 0
        assert a("steno_storage_errors_total", operation="presign") == 0
    finally:
        s.stop()
        s.close()
