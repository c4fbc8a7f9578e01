# SPDX-License-Identifier: MIT
"""A backup of a service at work, by the very commands of docs/operations.md, restored elsewhere: no accepted job is missing."""

import re
import shutil
import subprocess
import threading

import pytest
from backends import Backends, EmbeddedBroker, Folder, Postgres, S3Folder, Sqlite
from real_server import RealServer, installed
from steno_server import QUICK, ROOT, Server, children, clean_env, kill, wait_for

SOUND = b"RIFF\x24\0\0\0WAVE" + bytes(100)
LONG = (ROOT / "tests" / "e2e" / "data" / "three_sentences.ogg").read_bytes()
FLAGS = [*QUICK, "--engine=pocketsphinx", "--log-level=debug"]


def blocks(heading):
    """The commands below a heading, a list for each indented block."""
    text = (ROOT / "docs" / "operations.md").read_text()
    section = re.search(rf"^### {heading}\n(.*?)(?=^##)", text, re.M | re.S)[1]
    return [[line.strip() for line in block.splitlines()] for block in re.findall(r"(?:^    .*\n)+", section, re.M)]


def run(commands, words):
    """As a shell would, with this test's names for those of the document; what init systems do is done by the test."""
    script = "\n".join(c for c in commands if not c.startswith("systemctl "))
    for old, new in words.items():
        assert old in script, (old, script)
        script = script.replace(old, str(new))
    done = subprocess.run(["sh", "-eu"], input=script, capture_output=True, text=True, timeout=300,
                          env={k: v for k, v in clean_env().items() if not k.startswith(("AWS_", "RCLONE_"))})
    assert done.returncode == 0, (script, done.stdout, done.stderr)
    return done.stdout


class Embedded:
    """SQLite and a folder; elsewhere is another data folder."""

    def __init__(self, folder):
        self.folder, self.backup_commands, self.restore_commands = folder, *blocks("SQLite and a folder")

    def backends(self, data):
        return Backends(data, Sqlite(data, ""), EmbeddedBroker(""), Folder(data, ""))

    def backup(self, source):
        run(self.backup_commands, {"/var/lib/steno": source, "/srv/backup": self.folder / "backup"})

    def restore(self, target):
        assert self.restore_commands[0] == "systemctl stop steno" and self.restore_commands[-1] == "systemctl start steno"
        out = run(self.restore_commands, {"/var/lib/steno": target, "/srv/backup": self.folder / "backup"})
        assert out.splitlines() == ["ok"]

    def close(self):
        """It goes with the folder."""


class Servers:
    """PostgreSQL and S3; elsewhere is another database, and another folder in the bucket."""

    def __init__(self, folder):
        self.folder = folder
        self.environment, dump, restore = (b for b in self.joined(blocks("PostgreSQL and S3")))
        self.backup_commands, self.restore_commands = dump, restore
        self.servers = [RealServer("postgres")]
        self.servers.append(RealServer("s3"))
        self.vars = {k: v for s in self.servers for k, v in s.vars.items()}

    @staticmethod
    def joined(found):
        assert len(found) == 3 and all(c.startswith("export ") for c in found[0])
        return found

    def backends(self, data):
        return Backends(data, Postgres(data, data.name, self.vars["POSTGRES_URL"]), EmbeddedBroker(""), S3Folder(data, data.name, self.vars))

    def run(self, commands, data):
        b = self.backends(data)
        keys = ("http://minio.example.org:9000", self.vars["S3_ENDPOINT"]), ("ACCESS_KEY_ID=…", "ACCESS_KEY_ID=" + self.vars["S3_ACCESS_KEY"]), \
            ("SECRET_ACCESS_KEY=…", "SECRET_ACCESS_KEY=" + self.vars["S3_SECRET_KEY"])
        run(self.environment + commands, dict(keys) | {"/srv/backup": self.folder / "backup", "store:steno": f"store:{b.storage.bucket}/{data.name}",
            "postgresql://steno:password@db.example.org/steno": f"'{b.database.url}'"})

    def backup(self, source):
        self.run(self.backup_commands, source)

    def restore(self, target):
        self.run(self.restore_commands, target)

    def close(self):
        for s in self.servers:
            s.close()


@pytest.fixture(params=[Embedded, Servers])
def place(request, tmp_path):
    if request.param is Servers and not installed("postgres", "s3"):
        pytest.skip("no PostgreSQL or S3 server is installed")
    p = request.param(tmp_path)
    yield p
    p.close()


class Client(threading.Thread):
    """Submits one job after the other until told to stop; `accepted` are their ids."""

    def __init__(self, server):
        super().__init__()
        self.server, self.accepted, self.wrong, self.ending = server, [], [], threading.Event()

    def run(self):
        while not self.ending.is_set():
            answer = self.server.submit(SOUND, fields={"engine": "null"})
            if answer.status == 202:
                self.accepted.append(answer.json["id"])
            else:
                self.wrong.append(answer)


def test_a_backup_of_a_service_at_work(place, tmp_path):
    source, target, marks = tmp_path / "source", tmp_path / "target", tmp_path / "marks"
    marks.mkdir()
    # The first job that has all its chunks stays in work until the machine is lost.
    s = Server(*FLAGS, data=source, backends=place.backends(source),
               env={"STENO_FAULT": "job_merged=sleep:300000", "STENO_FAULT_DIR": str(marks)})
    client = Client(s)
    try:
        in_work = s.submit(LONG).json["id"]
        wait_for("its chunks are done", (marks / "job_merged").exists)
        client.start()
        wait_for("jobs come and go", lambda: len(client.accepted) >= 20 and s.job(client.accepted[0])["status"] == "completed")
        before = list(client.accepted)
        place.backup(source)
        count = len(client.accepted)
        wait_for("work goes on", lambda: len(client.accepted) > count)
        assert s.job(in_work)["status"] == "processing"
        after = s.submit(SOUND, fields={"engine": "null"}).json["id"]
        client.ending.set()
        client.join()
        assert client.wrong == [], "nobody was refused meanwhile"
        submitted = {*client.accepted, in_work, after}
    finally:
        client.ending.set()
        for pid in [s.process.pid, *children(s.process.pid)]:
            kill(pid)
        s.process.wait()
        shutil.rmtree(s.folder)

    place.restore(target)
    restored = Server(*FLAGS, data=target, backends=place.backends(target))
    try:
        there = {r[0] for r in restored.sql("SELECT id FROM jobs")}
        assert {*before, in_work} <= there <= submitted - {after}
        for job_id in there:
            job = restored.wait_job(job_id)
            assert job["status"] == "completed", job
            text = restored.ask("GET", f"/v1/jobs/{job_id}/transcript?format=txt")
            assert text.status == 200 and (b"no transcription was made" in text.body) == (job_id != in_work), text
        assert b"good morning" in restored.ask("GET", f"/v1/jobs/{in_work}/transcript?format=txt").body
        assert not re.search(rf"checkpoint \d saved.* job_id={in_work}", restored.log()), "its chunks were done twice"
        assert restored.sql("SELECT count(*) FROM results")[0][0] == len(there)
        assert restored.ask("GET", f"/v1/jobs/{after}").status == 404
        fresh = restored.submit(SOUND, fields={"engine": "null"}).json["id"]
        assert restored.wait_job(fresh)["status"] == "completed"
    finally:
        restored.close()
