# SPDX-License-Identifier: MIT
"""The service with RabbitMQ: tokens make jobs flow, depth is visible, and nothing is lost when the server dies."""

import re

import pytest
from real_server import RealServer, installed
from steno_server import QUICK, Server, wait_for

SOUND = b"RIFF\x24\0\0\0WAVE" + bytes(100)
# Only a token can wake a worker in the time of a test.
NO_POLL = ["--engine=null", "--poll-interval=10m", "--sweep-interval=10m"]


class RabbitMQ(RealServer):
    def __init__(self):
        super().__init__("rabbitmq")

    @property
    def url(self):
        return self.vars["AMQP_URL"]

    def depth(self, queue):
        """Messages in a queue that nobody has taken."""
        lines = self.script("ctl", "-q", "list_queues", "name", "messages_ready").splitlines()
        return {name: int(n) for name, n in (line.split("\t") for line in lines[1:])}.get(f"transcription.{queue}")


@pytest.fixture(scope="module")
def rabbit():
    if not installed("rabbitmq"):
        pytest.skip("RabbitMQ is not installed")
    server = RabbitMQ()
    yield server
    server.close()


@pytest.fixture
def start(rabbit):
    """start(flag, ..., role=, data=): servers that use it, stopped well at the end."""
    started = []

    def begin(*flags, **kw):
        started.append(Server(f"--broker={rabbit.url}", *flags, **kw))
        return started[-1]

    yield begin
    for s in reversed(started):
        s.close()


def submit(server, n=1, **kw):
    answers = [server.submit(SOUND, **kw) for _ in range(n)]
    assert [a.status for a in answers] == [202] * n
    return [a.json["id"] for a in answers]


def complete(server, ids):
    assert [server.wait_job(i)["status"] for i in ids] == ["completed"] * len(ids)


def broker_is_well(server):
    return server.ask("GET", "/health").json["parts"]["broker"]["ok"]


def test_jobs_flow_by_tokens_alone(rabbit, start):
    s = start(*NO_POLL)
    assert broker_is_well(s)
    complete(s, submit(s, 10))
    complete(s, submit(s, 2, fields={"queue": "high"}))
    # A token for each job, and each used up.
    for queue in ("high", "normal", "retry"):
        wait_for(f"no token in {queue}", lambda q=queue: rabbit.depth(q) == 0)


def test_depth_while_no_worker_runs(rabbit, start):
    api = start("--engine=null", role="api")
    ids = submit(api, 5) + submit(api, 2, fields={"queue": "high"})
    assert (rabbit.depth("high"), rabbit.depth("normal"), rabbit.depth("retry")) == (2, 5, 0)
    start(*NO_POLL, role="worker", data=api.data)
    complete(api, ids)
    wait_for("all tokens are used up", lambda: rabbit.depth("high") == rabbit.depth("normal") == 0)


def test_a_dead_letter(rabbit, start):
    before = rabbit.depth("dlq") or 0
    s = start(*QUICK)  # an engine that has to decode
    (job,) = submit(s)
    assert s.wait_job(job)["status"] == "failed"
    wait_for("the dead letter", lambda: rabbit.depth("dlq") == before + 1)


def test_killed_and_started_again(rabbit, start):
    """Without it jobs are accepted and found by looking; with it back, tokens flow again."""
    api = start("--engine=null", role="api")
    worker = start("--engine=null", "--poll-interval=500ms", role="worker", data=api.data)
    ids = submit(api, 5)
    rabbit.signal("KILL")
    ids += submit(api, 5)
    wait_for("health sees it", lambda: not broker_is_well(api))
    health = api.ask("GET", "/health")
    assert health.status == 200 and health.json["status"] == "degraded" and health.json["parts"]["broker"]["error"]
    ids += submit(api, 5)
    complete(api, ids)
    assert len(re.findall("broker is away", api.log())) == 1
    # A worker that starts meanwhile does so without it.
    assert worker.stop() == 0
    waiting = submit(api, 3)
    late = start("--engine=null", "--poll-interval=500ms", role="worker", data=api.data)
    complete(api, waiting)
    rabbit.up()
    wait_for("health sees that it is back", lambda: broker_is_well(api))
    wait_for("the worker is back", lambda: "is back after" in late.log())
    assert late.stop() == 0
    before = rabbit.depth("normal")
    ids = submit(api, 4)
    assert rabbit.depth("normal") == before + 4
    start(*NO_POLL, role="worker", data=api.data)
    complete(api, ids)
    wait_for("all tokens are used up", lambda: rabbit.depth("normal") == 0)
