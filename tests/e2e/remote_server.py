# SPDX-License-Identifier: MIT
"""
Servers for the remote engines: they speak Gemini's generateContent and OpenAI's audio API over real HTTP, look closely at
what they are sent, and answer in the shapes that the public API documents show. `faults` is a list of names; each request
takes the first one and meets that trouble instead of an answer.
"""

import base64
import email.parser
import email.policy
import io
import json
import socket
import ssl
import sys
import threading
import time
import wave
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

TEXT = "The quick brown fox jumps over the lazy dog. It was never seen again."


def gemini_answer(parts, reason="STOP", **more):
    candidate = {"content": {"parts": parts, "role": "model"}, "index": 0, "avgLogprobs": -0.12}
    if reason:
        candidate["finishReason"] = reason
    return {
        "candidates": [candidate | more],
        "usageMetadata": {
            "promptTokenCount": 1120, "candidatesTokenCount": 31, "totalTokenCount": 1151,
            "promptTokensDetails": [{"modality": "AUDIO", "tokenCount": 832}, {"modality": "TEXT", "tokenCount": 288}],
        },
        "modelVersion": "gemini-3.5-flash",
        "responseId": "mXoXaeOqM5GVkdUP2oTQ8Qc",
    }


def gemini_error(code, status, message, details=()):
    return {"error": {"code": code, "message": message, "status": status, "details": list(details)}}


def openai_error(message, kind="invalid_request_error", param=None, code=None):
    return {"error": {"message": message, "type": kind, "param": param, "code": code}}


def quota(period, delay):
    return gemini_error(429, "RESOURCE_EXHAUSTED", "You exceeded your current quota, please check your plan and billing details.", [
        {"@type": "type.googleapis.com/google.rpc.QuotaFailure", "violations": [{
            "quotaMetric": "generativelanguage.googleapis.com/generate_content_free_tier_requests",
            "quotaId": f"GenerateRequestsPer{period}PerProjectPerModel-FreeTier",
            "quotaDimensions": {"location": "global", "model": "gemini-3.5-flash"}, "quotaValue": "15"}]},
        {"@type": "type.googleapis.com/google.rpc.Help", "links": [{"url": "https://ai.google.dev/gemini-api/docs/rate-limits"}]},
        {"@type": "type.googleapis.com/google.rpc.RetryInfo", "retryDelay": delay},
    ])


# name: (status, body) of what is answered in place of the truth.
ANSWERS = {
    "429": (429, quota("Minute", "0.4s")),
    "429-slow": (429, quota("Minute", "2s")),
    "429-long": (429, quota("Minute", "300s")),
    "429-day": (429, quota("Day", "41s")),
    "429-bare": (429, gemini_error(429, "RESOURCE_EXHAUSTED", "Resource has been exhausted (e.g. check quota).")),
    "500": (500, gemini_error(500, "INTERNAL", "An internal error has occurred.")),
    "503": (503, gemini_error(503, "UNAVAILABLE", "The model is overloaded. Please try again later.")),
    "502-html": (502, "<html><head><title>502 Bad Gateway</title></head><body>nginx</body></html>"),
    "nonsense": (200, "<!doctype html><p>Welcome to the captive portal</p>"),
    "half": (200, '{"candidates": [{"content": {"parts": [{"te'),
    "empty": (200, ""),
    "no-json-inside": (200, gemini_answer([{"text": "Sure! Here is the transcript you asked for: the quick brown fox"}])),
    "SAFETY": (200, gemini_answer([], "SAFETY")),
    "PROHIBITED_CONTENT": (200, gemini_answer([], "PROHIBITED_CONTENT", finishMessage="the words are on a list")),
    "MAX_TOKENS": (200, gemini_answer([{"text": '{"language":"en","text":"the the the the'}], "MAX_TOKENS")),
    "RECITATION": (200, gemini_answer([], "RECITATION")),
    "OTHER": (200, gemini_answer([], "OTHER", finishMessage="the request of KEY failed")),
    "OTHER-long": (200, gemini_answer([], "OTHER", finishMessage="x" * 190 + "KEY")),
    "no-reason": (200, gemini_answer([{"text": '{"language":"en","text":"the quick"}'}], None)),
    "no-candidate": (200, {"usageMetadata": {"promptTokenCount": 12}, "modelVersion": "gemini-3.5-flash"}),
    "blocked": (200, {"promptFeedback": {"blockReason": "PROHIBITED_CONTENT"}, "usageMetadata": {"promptTokenCount": 12}}),
    "401": (401, openai_error("Incorrect API key provided: KEY. You can find your API key at https://platform.openai.com.",
                              code="invalid_api_key")),
    "403": (403, gemini_error(403, "PERMISSION_DENIED", "Your API key KEY was reported as leaked. Please use another API key.")),
    "413": (413, openai_error("Maximum content size limit (26214400) exceeded")),
    "insufficient": (429, openai_error("You exceeded your current quota.", "insufficient_quota", code="insufficient_quota")),
    "json-only": (400, openai_error("response_format 'verbose_json' is not compatible with model 'gpt-4o-transcribe'. "
                                    "Use 'json' or 'text' instead.", param="response_format", code="unsupported_value")),
    "validation": (422, {"detail": "Model 'x' is not installed locally."}),
}


class Request:
    """One request as it arrived."""

    def __init__(self, handler, body):
        self.at = time.monotonic()
        self.path = handler.path
        self.headers = dict(handler.headers.items())
        self.json = None
        self.fields, self.file = [], None
        kind = handler.headers.get("Content-Type", "")
        if kind.startswith("application/json"):
            self.json = json.loads(body)
            parts = self.json["contents"][0]["parts"]
            self.prompt = "".join(p["text"] for p in parts if "text" in p)
            sound = [p["inlineData"] for p in parts if "inlineData" in p]
            assert len(sound) == 1 and sound[0]["mimeType"] == "audio/wav"
            self.file = base64.b64decode(sound[0]["data"], validate=True)
        elif kind.startswith("multipart/form-data"):
            message = email.parser.BytesParser(policy=email.policy.HTTP).parsebytes(
                b"Content-Type: " + kind.encode() + b"\r\n\r\n" + body)
            for part in message.iter_parts():
                name = part.get_param("name", header="Content-Disposition")
                if name == "file":
                    assert part.get_filename() == "chunk.wav" and part.get_content_type() == "audio/wav"
                    self.file = part.get_payload(decode=True)
                else:
                    self.fields.append((name, part.get_payload(decode=True).decode()))
        with wave.open(io.BytesIO(self.file)) as w:
            assert (w.getframerate(), w.getnchannels(), w.getsampwidth()) == (16000, 1, 2)
            self.seconds = w.getnframes() / 16000
            assert len(w.readframes(w.getnframes())) == 2 * w.getnframes()

    def field(self, name):
        values = [v for n, v in self.fields if n == name]
        assert len(values) <= 1, (name, values)
        return values[0] if values else None


class RemoteServer:
    """Both protocols on one port. `text` is what it hears, a string or a function of the request; `certificate`: https."""

    def __init__(self, key="a-key-that-nobody-may-see", text=TEXT, language="en", certificate=None):
        self.key, self.text, self.language = key, text, language
        self.faults, self.requests, self.gone = [], [], []
        self.lock, self.stopping = threading.Lock(), threading.Event()
        server = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_POST(self):
                body = self.rfile.read(int(self.headers["Content-Length"]))
                server.serve(self, body)

            def log_message(self, *args):
                pass

        class Quiet(ThreadingHTTPServer):
            daemon_threads = True
            request_queue_size = 128

            def process_request(self, request, client_address):
                server.connections += 1
                super().process_request(request, client_address)

            def handle_error(self, request, client_address):
                if not isinstance(sys.exc_info()[1], (ConnectionError, ssl.SSLError)):
                    server.faults_of_mine.append(repr(sys.exc_info()[1]))

        self.connections = 0
        self.faults_of_mine = []  # what this server itself stumbled over: requests that are not as they should be
        self.http = Quiet(("127.0.0.1", 0), Handler)
        if certificate:
            context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            context.load_cert_chain(certificate)
            self.http.socket = context.wrap_socket(self.http.socket, server_side=True, do_handshake_on_connect=False)
        self.url = f"{'https' if certificate else 'http'}://127.0.0.1:{self.http.server_address[1]}"
        self.thread = threading.Thread(target=self.http.serve_forever, daemon=True)
        self.thread.start()

    def close(self):
        self.stopping.set()
        self.http.shutdown()
        self.http.server_close()
        self.thread.join()
        assert not self.faults_of_mine, self.faults_of_mine

    # What it does with a request.

    def serve(self, handler, body):
        request = Request(handler, body)
        with self.lock:
            self.requests.append(request)
            fault = self.faults.pop(0) if self.faults else None
        if fault in ANSWERS:
            return self.answer(handler, *ANSWERS[fault])
        if fault == "429-header":
            return self.answer(handler, 429, openai_error("Rate limit reached", "requests"), {"Retry-After": "1"})
        if fault == "redirect":
            return self.answer(handler, 307, "", {"Location": self.url + "/elsewhere"})
        if fault:
            return getattr(self, fault)(handler)
        if ":generateContent" in handler.path:
            return self.answer(handler, *self.gemini(handler, request))
        return self.answer(handler, *self.openai(handler, request))

    def answer(self, handler, status, body, headers=()):
        body = body if isinstance(body, str) else json.dumps(body)
        body = body.replace("KEY", self.key) if status in (200, 401, 403) else body  # careless servers do
        handler.send_response(status)
        for name, value in dict(headers).items():
            handler.send_header(name, value)
        handler.send_header("Content-Type", "application/json; charset=UTF-8")
        handler.send_header("Content-Length", str(len(body.encode())))
        handler.end_headers()
        handler.wfile.write(body.encode())

    def heard(self, request):
        return self.text(request) if callable(self.text) else self.text

    def gemini(self, handler, request):
        path = handler.path.removeprefix("http://gemini.example")  # as a proxy gets it
        assert path.startswith("/v1beta/models/") and path.endswith(":generateContent") and "?" not in path, path
        if handler.headers.get("x-goog-api-key") != self.key:
            return 400, gemini_error(400, "INVALID_ARGUMENT", "API key not valid. Please pass a valid API key.", [
                {"@type": "type.googleapis.com/google.rpc.ErrorInfo", "reason": "API_KEY_INVALID",
                 "domain": "googleapis.com", "metadata": {"service": "generativelanguage.googleapis.com"}}])
        model = path[len("/v1beta/models/"):-len(":generateContent")]
        if model not in ("gemini-flash-latest", "gemini-3.5-flash"):
            return 404, gemini_error(404, "NOT_FOUND", f"models/{model} is not found for API version v1beta, or is not supported "
                                     "for generateContent.")
        schema = request.json["generationConfig"]["responseSchema"]
        assert request.json["generationConfig"]["responseMimeType"] == "application/json"
        assert set(schema["properties"]) == {"language", "text"}
        said = json.dumps({"language": self.language, "text": self.heard(request)})
        half = len(said) // 2
        return 200, gemini_answer([{"text": "The user wants a transcript.", "thought": True}, {"text": said[:half]},
                                   {"text": said[half:]}])

    def openai(self, handler, request):
        if self.key and handler.headers.get("Authorization") != f"Bearer {self.key}":
            return 401, openai_error("You didn't provide an API key.", code="invalid_api_key")
        assert handler.path in ("/v1/audio/transcriptions", "/v1/audio/translations"), handler.path
        text = self.heard(request)
        if request.field("response_format") == "json":
            return 200, {"text": text, "usage": {"type": "duration", "seconds": int(request.seconds)}}
        granularities = [v for n, v in request.fields if n == "timestamp_granularities[]"]
        sentences = [s + "." for s in text.rstrip(".").split(". ")]
        length = request.seconds / len(sentences)
        segments, words = [], []
        for i, s in enumerate(sentences):
            segments.append({"id": i, "seek": 0, "start": round(i * length, 3), "end": round((i + 1) * length, 3), "text": " " + s,
                             "tokens": [50364, 440, 1702], "temperature": 0.0, "avg_logprob": -0.28, "compression_ratio": 1.2,
                             "no_speech_prob": 0.01})
            parts = s.split()
            for k, w in enumerate(parts):
                step = length / len(parts)
                words.append({"word": w.strip("."), "start": round(i * length + k * step, 3),
                              "end": round(i * length + (k + 1) * step, 3)})
        answer = {"task": "transcribe", "language": "english", "duration": request.seconds, "text": text, "segments": segments,
                  "usage": {"type": "duration", "seconds": int(request.seconds) + 1}}
        if "word" in granularities:
            answer["words"] = words
        return 200, answer

    # Trouble that is no answer.

    def cut(self, handler):
        """Half of the answer, then the end of the connection."""
        handler.wfile.write(b"HTTP/1.1 200 OK\r\nContent-Length: 100000\r\n\r\n" + b'{"candidates": [')
        handler.close_connection = True

    def reset(self, handler):
        handler.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
        handler.close_connection = True

    def slow(self, handler):
        """A byte now and then, for ever."""
        handler.wfile.write(b"HTTP/1.1 200 OK\r\nContent-Length: 100000\r\n\r\n")
        while not self.stopping.wait(0.05):
            handler.wfile.write(b" ")

    def silent(self, handler):
        """Says nothing until the client goes away; notes when that was."""
        handler.connection.settimeout(0.05)
        while not self.stopping.is_set():
            try:
                if handler.connection.recv(1) == b"":
                    break
            except TimeoutError:
                continue
            except OSError:
                break
        self.gone.append(time.monotonic())
        handler.close_connection = True

    def huge(self, handler):
        handler.wfile.write(b"HTTP/1.1 200 OK\r\nContent-Length: 8000000\r\n\r\n" + b" " * 8000000)


if __name__ == "__main__":
    # By hand: `python3 tests/e2e/remote_server.py [FAULT...]` stands in for both until it is interrupted.
    stand_in = RemoteServer()
    stand_in.faults = sys.argv[1:]
    print(f"export GEMINI_API_KEY={stand_in.key} STENO_GEMINI_URL={stand_in.url} OPENAI_API_KEY={stand_in.key} "
          f"STENO_OPENAI_URL={stand_in.url}/v1", flush=True)
    stand_in.thread.join()
