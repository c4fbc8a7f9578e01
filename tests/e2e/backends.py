# SPDX-License-Identifier: MIT
"""What a server under test keeps its jobs in. STENO_E2E_BACKENDS names what replaces the embedded defaults, separated by
commas; the servers are those of tests/services.py.

postgres    a database of its own for each data folder, on STENO_TEST_POSTGRES_URL; also the broker
"""

import hashlib
import os
import re
import sqlite3

NAMES = [n for n in os.environ.get("STENO_E2E_BACKENDS", "").split(",") if n]
POSTGRES = "postgres" in NAMES


class Sqlite:
    """The embedded database."""

    flags = ()

    def __init__(self, data):
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
    """A database for one data folder: servers that share the folder share the database."""

    def __init__(self, data):
        self.server = os.environ["STENO_TEST_POSTGRES_URL"]
        self.name = "steno_e2e_" + hashlib.sha256(str(data).encode()).hexdigest()[:20]
        self.url = self.server + ("&" if "?" in self.server else "?") + "dbname=" + self.name
        self.flags = ("--database", self.url)
        if not self.run(self.server, "SELECT 1 FROM pg_database WHERE datname = ?", (self.name,)):
            self.run(self.server, f"CREATE DATABASE {self.name}")

    @staticmethod
    def run(url, query, args=()):
        import psycopg2

        db = psycopg2.connect(url, options="-c search_path=steno")
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


Database = Postgres if POSTGRES else Sqlite
