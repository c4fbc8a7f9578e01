# SPDX-License-Identifier: MIT
"""What a server under test keeps its jobs in, and looking into it.

STENO_E2E_BACKENDS names what replaces the embedded defaults, separated by commas: postgres, redis or rabbitmq, s3. The
servers are those that the variables of tests/services.py name. Each data folder has a database, queues and a folder
in the bucket of its own, so that tests do not meet; servers that share a data folder share them.
"""

import hashlib
import os
import re
import sqlite3

NAMES = [n for n in os.environ.get("STENO_E2E_BACKENDS", "").split(",") if n]
assert set(NAMES) <= {"postgres", "redis", "rabbitmq", "s3"}, NAMES
POSTGRES, REDIS, RABBITMQ, S3 = (n in NAMES for n in ("postgres", "redis", "rabbitmq", "s3"))


class Sqlite:
    """The embedded database."""

    flags = ()

    def __init__(self, data, name):
        self.data = data

    def sql(self, query, args):
        db = sqlite3.connect(f"file:{self.data}/steno.db?mode=ro", uri=True, timeout=30)
        try:
            return db.execute(query, args).fetchall()
        finally:
            db.close()

    def remove(self):
        """It goes with the data folder."""


class Postgres:
    """A database of its own on STENO_TEST_POSTGRES_URL. It is the broker too, unless there is another."""

    def __init__(self, data, name, server=None):
        self.server = server or os.environ["STENO_TEST_POSTGRES_URL"]
        self.name = name.replace("-", "_")
        self.url = self.server + ("&" if "?" in self.server else "?") + "dbname=" + self.name
        self.flags = ("--database", self.url)
        if not self.run(self.server, "SELECT 1 FROM pg_database WHERE datname = ?", (self.name,)):
            self.run(self.server, f"CREATE DATABASE {self.name}")

    @staticmethod
    def run(url, query, args=()):
        import psycopg2

        db = psycopg2.connect(url, options="-c search_path=steno", connect_timeout=30)
        try:
            db.autocommit = True
            with db.cursor() as cursor:
                cursor.execute(re.sub(r"\?", "%s", query.replace("%", "%%")), args)
                return cursor.fetchall() if cursor.description else []
        finally:
            db.close()

    def sql(self, query, args):
        return self.run(self.url, query, args)

    def remove(self):
        self.run(self.server, f"DROP DATABASE IF EXISTS {self.name} WITH (FORCE)")


class EmbeddedBroker:
    """Named pipes in the data folder, or PostgreSQL."""

    flags = ()

    def __init__(self, name):
        pass

    def remove(self):
        """Nothing stays."""


class QueueBroker:
    """Queues of its own at a Redis or RabbitMQ server."""

    def __init__(self, name, url):
        self.url, self.name = url, name
        self.queues = {q: f"{name}.{q}" for q in ("high", "normal", "retry", "dlq")}
        settings = {"queue-dead-letters" if q == "dlq" else "queue-" + q: v for q, v in self.queues.items()}
        self.flags = ("--broker", url, *(f"--{k}={v}" for k, v in settings.items()), f"--events-channel={name}.events")


class Redis(QueueBroker):
    def __init__(self, name, url=None):
        super().__init__(name, url or os.environ["STENO_TEST_REDIS_URL"])

    def client(self):
        import redis

        return redis.Redis.from_url(self.url)

    def depth(self, queue):
        return self.client().llen(self.queues[queue])

    def remove(self):
        self.client().delete(*self.queues.values())


class RabbitMQ(QueueBroker):
    def __init__(self, name, url=None):
        super().__init__(name, url or os.environ["STENO_TEST_AMQP_URL"])

    def channel(self):
        import pika

        return pika.BlockingConnection(pika.URLParameters(self.url)).channel()

    def depth(self, queue):
        channel = self.channel()
        try:
            return channel.queue_declare(self.queues[queue], passive=True).method.message_count
        finally:
            channel.connection.close()

    def remove(self):
        channel = self.channel()
        for queue in self.queues.values():
            channel.queue_delete(queue)
        channel.exchange_delete(f"{self.name}.events")
        channel.connection.close()


class Folder:
    """The embedded storage."""

    flags = ()

    def __init__(self, data, name):
        self.root = data / "objects"

    def objects(self):
        # Not with rglob, which fails when a folder vanishes meanwhile.
        return sorted(os.path.relpath(os.path.join(at, n), self.root) for at, _, names in os.walk(self.root) for n in names)

    def read(self, key):
        return (self.root / key).read_bytes()

    def write(self, key, content):
        (self.root / key).parent.mkdir(parents=True, exist_ok=True)
        (self.root / key).write_bytes(content)

    def delete(self, key):
        (self.root / key).unlink()

    def remove(self):
        """It goes with the data folder."""


class S3Folder:
    """A folder of its own in the bucket of the S3 server that STENO_TEST_S3_URL, _ENDPOINT and so on name."""

    def __init__(self, data, name, server=None):
        server = server or {k[len("STENO_TEST_") :]: v for k, v in os.environ.items() if k.startswith("STENO_TEST_S3_")}
        self.server = server
        bucket, _, folder = server["S3_URL"].removeprefix("s3://").rstrip("/").partition("/")
        self.bucket, self.prefix = bucket, f"{folder}/{name}/" if folder else f"{name}/"
        settings = {"s3-endpoint": "S3_ENDPOINT", "s3-access-key": "S3_ACCESS_KEY", "s3-secret-key": "S3_SECRET_KEY",
                    "s3-region": "S3_REGION"}
        self.flags = (f"--storage=s3://{bucket}/{self.prefix.rstrip('/')}",
                      *(f"--{flag}={server[key]}" for flag, key in settings.items() if server.get(key)))

    def client(self):
        import boto3

        return boto3.client("s3", endpoint_url=self.server.get("S3_ENDPOINT"),
                            region_name=self.server.get("S3_REGION"), aws_access_key_id=self.server["S3_ACCESS_KEY"],
                            aws_secret_access_key=self.server["S3_SECRET_KEY"])

    def objects(self):
        """Every object; uploads in parts that were not finished, too."""
        s3, found = self.client(), []
        for page in s3.get_paginator("list_objects_v2").paginate(Bucket=self.bucket, Prefix=self.prefix):
            found += [o["Key"].removeprefix(self.prefix) for o in page.get("Contents", ())]
        for page in s3.get_paginator("list_multipart_uploads").paginate(Bucket=self.bucket, Prefix=self.prefix):
            found += [f"part of {o['Key'].removeprefix(self.prefix)}" for o in page.get("Uploads", ())]
        return sorted(found)

    def read(self, key):
        return self.client().get_object(Bucket=self.bucket, Key=self.prefix + key)["Body"].read()

    def write(self, key, content):
        self.client().put_object(Bucket=self.bucket, Key=self.prefix + key, Body=content)

    def delete(self, key):
        self.client().delete_object(Bucket=self.bucket, Key=self.prefix + key)

    def remove(self):
        s3 = self.client()
        for page in s3.get_paginator("list_objects_v2").paginate(Bucket=self.bucket, Prefix=self.prefix):
            keys = [{"Key": o["Key"]} for o in page.get("Contents", ())]
            if keys:
                s3.delete_objects(Bucket=self.bucket, Delete={"Objects": keys})


class Backends:
    """All that the servers on one data folder use; `flags` tells them. Given parts replace those that are chosen."""

    def __init__(self, data, database=None, broker=None, storage=None):
        name = "steno-e2e-" + hashlib.sha256(str(data).encode()).hexdigest()[:20]
        self.database = database or (Postgres if POSTGRES else Sqlite)(data, name)
        self.broker = broker or (Redis if REDIS else RabbitMQ if RABBITMQ else EmbeddedBroker)(name)
        self.storage = storage or (S3Folder if S3 else Folder)(data, name)
        self.flags = (*self.database.flags, *self.broker.flags, *self.storage.flags)

    def remove(self):
        for part in (self.database, self.broker, self.storage):
            part.remove()
