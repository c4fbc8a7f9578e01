# SPDX-License-Identifier: MIT
"""
Clients of live updates (a WebSocket and an event stream, each read by a thread of its own, and raw frames), and what
they are told of.
"""

import base64
import json
import os
import socket
import sqlite3
import struct
import sys
import threading

sys.path.append("/usr/lib/python3/dist-packages")
import openapi_check  # noqa: E402
import websocket  # noqa: E402

from backends import POSTGRES  # noqa: E402
from steno_server import wait_for  # noqa: E402

TEXT, BINARY, CLOSE, PING, PONG = 1, 2, 8, 9, 10


class Follower:
    """What came: `messages`, and when it is over `closed`: the close code, None for an event stream, or an error. A
    message that the OpenAPI document does not describe ends it, and fails whoever waits."""

    def __init__(self, path):
        self.path = path
        self.messages, self.closed, self.over, self.wrong = [], None, threading.Event(), None
        self.thread = threading.Thread(target=self.run, daemon=True)

    def run(self):
        try:
            self.read()
        except (OSError, websocket.WebSocketException) as e:
            self.closed = e
        except AssertionError as e:
            self.wrong = e
        finally:
            self.over.set()

    def look(self):
        if self.wrong:
            raise self.wrong
        return self.messages

    def wait_over(self, timeout=120):
        assert self.over.wait(timeout), f"not over within {timeout} s: {self.messages}"
        self.look()
        return self

    def wait_message(self, kind, timeout=60):
        return wait_for(f"a message '{kind}'", lambda: next((m for m in self.look() if m["type"] == kind), None), timeout)

    def of(self, kind):
        return [m for m in self.messages if m["type"] == kind]

    @property
    def types(self):
        return [m["type"] for m in self.messages]

    @property
    def text(self):
        """All that was said, as the chunks tell it."""
        return " ".join(m["text"] for m in self.of("chunk") if m["text"])


class Socket(Follower):
    """A WebSocket. It answers pings as long as it reads."""

    def __init__(self, server, job_id, query="", path="/v1/jobs/{}/ws"):
        super().__init__(path.format(job_id))
        self.reason = None
        self.ws = websocket.create_connection(f"ws://{server.host}:{server.port}{self.path}{query}", timeout=120)
        self.thread.start()

    def read(self):
        while True:
            opcode, data = self.ws.recv_data(control_frame=True)
            if opcode == CLOSE:
                self.closed = int.from_bytes(data[:2], "big") if data else 1005
                self.reason = data[2:].decode()
                self.ws.close()
                return
            if opcode == PING:
                self.messages.append({"type": "ping"})
            if opcode == TEXT:
                self.messages.append(openapi_check.check_message(self.path, data.decode()))

    def close(self):
        self.ws.close()


class Stream(Follower):
    """Server-sent events; `ids` are those of the messages, `head` the answer's."""

    def __init__(self, server, job_id, query="", headers=(), path="/v1/jobs/{}/events"):
        super().__init__(path.format(job_id))
        self.ids, self.comments, self.head, self.retry = [], 0, None, None
        self.socket = server.connect(timeout=120)
        lines = "".join(f"{k}: {v}\r\n" for k, v in dict(headers).items())
        self.socket.sendall(f"GET {self.path}{query} HTTP/1.1\r\nHost: x\r\n{lines}\r\n".encode())
        self.thread.start()

    def read(self):
        lines = self.socket.makefile("rb")
        self.head = [line.decode() for line in iter(lambda: lines.readline().rstrip(b"\r\n"), b"")]
        event = {}
        for line in lines:
            name, _, value = line.decode().rstrip("\n").partition(": ")
            if line.startswith(b":"):
                self.comments += 1
            elif name == "retry":
                self.retry = int(value)
            elif name in ("id", "data"):
                event[name] = value
            elif line == b"\n" and "data" in event:
                self.ids.append(int(event["id"]))
                self.messages.append(openapi_check.check_message(self.path, event["data"]))
                event = {}

    def close(self):
        self.socket.shutdown(socket.SHUT_RDWR)
        self.socket.close()


def frame(opcode, payload=b"", fin=True, rsv=0, mask=True):
    """A client's frame, with all that can be wrong about it."""
    head = bytes([(0x80 if fin else 0) | rsv << 4 | opcode])
    bit, n = 0x80 if mask else 0, len(payload)
    head += bytes([bit | n]) if n < 126 else struct.pack("!BH", bit | 126, n) if n < 65536 else struct.pack("!BQ", bit | 127, n)
    if not mask:
        return head + payload
    key = os.urandom(4)
    return head + key + bytes(b ^ key[i % 4] for i, b in enumerate(payload))


class RawSocket:
    """A WebSocket made by hand, for clients that do not keep to the rules."""

    def __init__(self, server, path, headers=(), receive_buffer=None):
        self.socket = socket.socket()
        if receive_buffer:
            self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_buffer)
        self.socket.settimeout(30)
        self.socket.connect((server.host, server.port))
        key = base64.b64encode(os.urandom(16)).decode()
        lines = {"Host": "x", "Upgrade": "websocket", "Connection": "Upgrade", "Sec-WebSocket-Version": "13",
                 "Sec-WebSocket-Key": key} | dict(headers)
        self.socket.sendall((f"GET {path} HTTP/1.1\r\n" + "".join(f"{k}: {v}\r\n" for k, v in lines.items()) + "\r\n").encode())
        self.data = b""
        while b"\r\n\r\n" not in self.data:
            piece = self.socket.recv(65536)
            assert piece, self.data
            self.data += piece
        self.head, _, self.data = self.data.partition(b"\r\n\r\n")
        assert self.head.startswith(b"HTTP/1.1 101 "), self.head

    def send(self, data):
        self.socket.sendall(data)

    def take(self, n):
        while len(self.data) < n:
            piece = self.socket.recv(65536)
            if not piece:
                raise EOFError(self.data)
            self.data += piece
        taken, self.data = self.data[:n], self.data[n:]
        return taken

    def read(self):
        """(opcode, payload) of the next frame."""
        first, length = self.take(2)
        assert first & 0x70 == 0 and first & 0x80 and not length & 0x80, (first, length)
        if length >= 126:
            length = int.from_bytes(self.take(2 if length == 126 else 8), "big")
        return first & 15, self.take(length)

    def read_until(self, opcode):
        while True:
            got, payload = self.read()
            if got == opcode:
                return payload

    def at_end(self):
        """Nothing comes any more."""
        try:
            return not self.data and self.socket.recv(1) == b""
        except ConnectionResetError:
            return True

    def close(self):
        self.socket.close()


def execute(server, *statements):
    """Changes rows behind the server's back, in one transaction, and sends no event."""
    if POSTGRES:
        import psycopg2

        db = psycopg2.connect(server.backends.database.url, options="-c search_path=steno")
        mark = "%s"
    else:
        db = sqlite3.connect(f"{server.data}/steno.db", timeout=60)
        mark = "?"
    cursor = db.cursor()
    for query, *args in statements:
        cursor.execute(query.replace("?", mark), args)
    db.commit()
    db.close()


def save_chunk(server, job_id, idx, text, seq, of=4):
    """What a worker leaves that has finished a chunk of one second, the job's `seq`-th event."""
    segments = json.dumps({"segments": [{"start": idx, "end": idx + 1, "text": text}]})
    execute(
        server,
        ("INSERT INTO chunks (job_id, idx, start_sample, end_sample, fence, result, engine_ms, finished_at, seq) "
         "VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)", job_id, idx, idx * 16000, idx * 16000 + 16000, 1, segments, 0, 0, seq),
        ("UPDATE jobs SET state = 'processing', seq = ?, chunks_done = chunks_done + 1, chunks_total = ?, duration_ms = ?, "
         "progress_ms = ? WHERE id = ?", seq, of, of * 1000, idx * 1000 + 1000, job_id),
    )
