# SPDX-License-Identifier: MIT
"""A cluster of a test's own: an api, two workers, PostgreSQL, Redis or RabbitMQ, S3; each part can be killed, stopped and
started again."""

import signal
import threading

from backends import Backends, Postgres, RabbitMQ, Redis, S3Folder
from real_server import RealServer
from steno_server import Server


class Role:
    """An api or a worker as a part of the cluster: the same verbs as RealServer."""

    def __init__(self, name, flags, **kw):
        self.name, self.server = name, Server(*flags, **kw)
        if self.server.role != "worker":
            self.server.listen = f"{self.server.host}:{self.server.port}"  # after a restart too

    def up(self):
        self.server.start()

    def down(self):
        assert self.server.stop(timeout=120) == 0, self.server.log()[-3000:]

    def signal(self, name):
        self.server.process.send_signal(getattr(signal, "SIG" + name))
        if name == "KILL":
            self.server.process.wait()

    def close(self):
        if self.server.process.poll() is None:
            self.server.process.send_signal(signal.SIGCONT)
        self.server.close()


class Cluster:
    def __init__(self, broker, flags, env=None, data=None):
        """`env`, `data`: by the name of a role, what its program gets and where it keeps its files."""
        names = ("postgres", broker, "s3")
        self.parts = {}
        starting = [threading.Thread(target=self.start_server, args=(n,)) for n in names]
        for t in starting:
            t.start()
        for t in starting:
            t.join()
        try:
            assert set(self.parts) == set(names), "not all servers start"
            said = {k: v for p in self.parts.values() for k, v in p.vars.items()}
            queue = Redis("cluster", said["REDIS_URL"]) if broker == "redis" else RabbitMQ("cluster", said["AMQP_URL"])
            self.backends = Backends(None, Postgres(None, "cluster", said["POSTGRES_URL"]), queue,
                                     S3Folder(None, "cluster", said))
            for name in ("api", "worker1", "worker2"):
                self.parts[name] = Role(name, flags, role=name.rstrip("12"), backends=self.backends,
                                        env=(env or {}).get(name), data=(data or {}).get(name))
            self.api = self.parts["api"].server
        except BaseException:
            self.close()
            raise

    def start_server(self, name):
        self.parts[name] = RealServer(name)

    @property
    def roles(self):
        """The programs under test."""
        return {n: p.server for n, p in self.parts.items() if isinstance(p, Role)}

    def ask(self, *args, **kw):
        return self.api.ask(*args, **kw)

    def objects(self):
        return self.backends.storage.objects()

    def sql(self, query, *args):
        return self.backends.database.sql(query, args)

    def health(self):
        return self.api.ask("GET", "/admin/health").json

    def close(self):
        errors = []
        for name in sorted(self.parts, key=lambda n: n in ("postgres", "redis", "rabbitmq", "s3")):
            try:
                self.parts[name].close()
            except BaseException as e:
                errors.append(e)
        if errors:
            raise errors[0]
