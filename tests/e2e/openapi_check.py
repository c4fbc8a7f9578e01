# SPDX-License-Identifier: MIT
"""
Holds answers of the API against its OpenAPI document: status, media type, headers and body. Whatever the document does not
describe is an AssertionError. So are messages of WebSockets and event streams (check_message). `check` is called for every answer that the helpers of steno_server.py and the modules
`requests` and `httpx` get in these tests; what goes past them (curl, our own command) is not looked at.
"""

import functools
import json
import re
import subprocess
import threading

import jsonschema

# Media types whose bodies are JSON.
JSON = re.compile(r"application/(.+\+)?json$")
STREAM = "text/event-stream"


class Document:
    def __init__(self, text):
        self.json = json.loads(text)
        self.local = threading.local()  # a resolver is for one thread
        self.paths = []
        for template, item in self.json["paths"].items():
            pattern = re.sub(r"\\\{[^}]*\\\}", "[^/]+", re.escape(template))
            self.paths.append((re.compile(pattern + "/?$" if template != "/" else "/$"), template, item))
        # What stands there as it is comes before what has a parameter in its place.
        self.paths.sort(key=lambda p: p[1].count("{"))

    def operation(self, method, path):
        """(known path, operation or None)"""
        known = False
        for pattern, _, item in self.paths:
            if pattern.match(path):
                known = True
                if method in item:
                    return True, item[method]
        return known, None

    def refusal(self, path):
        """{media type: schema} of what is refused at a path, whatever the method; None: nobody has that path."""
        for pattern, _, item in self.paths:
            if pattern.match(path):
                return next(op["responses"]["500"]["content"] for op in item.values() if "responses" in op)
        return None

    def validate(self, value, schema):
        if not hasattr(self.local, "resolver"):
            self.local.resolver = jsonschema.RefResolver("", self.json)
        jsonschema.Draft202012Validator(schema, resolver=self.local.resolver).validate(value)


# Where direct services listen, as host:port: their answers are looked at by their own document.
direct_listeners = set()


@functools.lru_cache
def document(direct=False):
    from steno_server import STENO

    command = [STENO, "openapi", *(["--direct"] if direct else [])]
    return Document(subprocess.run(command, stdout=subprocess.PIPE, check=True).stdout)


def check_problem(doc, status, headers, body):
    assert headers.get("content-type") == "application/problem+json; charset=utf-8", headers
    problem = json.loads(body)
    doc.validate(problem, {"$ref": "#/components/schemas/Problem"})
    assert problem["status"] == status


def check_value(doc, value, schema, where):
    try:
        doc.validate(value, schema)
    except jsonschema.ValidationError as e:
        raise AssertionError(f"{where}: not as the document says: {e.message} at {list(e.absolute_path)}") from e


def check_message(path, text, method="GET"):
    """A message of the WebSocket at `path`, or the data of an event of the stream there; gives what it holds."""
    doc, path = document(), path.partition("?")[0]
    _, operation = doc.operation(method.lower(), path)
    assert operation, f"{method} {path} is not in the document"
    responses = operation["responses"]
    message = responses["101"]["x-message"] if "101" in responses else responses["200"]["content"][STREAM]
    if text == "[DONE]" and "101" not in responses:
        return text
    value = json.loads(text)
    check_value(doc, value, message["schema"], f"a message of {path}")
    return value


def check(method, path, status, headers, body, direct=False):
    """`headers`: names in lower case. `body` None: it was not read."""
    doc, path = document(direct), path.partition("?")[0]
    where = f"{method} {path} -> {status}"
    assert "x-request-id" in headers, where
    known, operation = doc.operation("get" if method == "HEAD" else method.lower(), path)
    if direct and not known:
        # A path that is nowhere: whoever words it, there is a sentence.
        assert status in (404, 400, 501, 503) and (method == "HEAD" or isinstance(json.loads(body)["detail"], str)), where
        return
    if operation is None:
        if method == "OPTIONS" and known:
            assert status == 204 and not body, where
            return
        # No such page, no such method, or a request so malformed that its path does not matter.
        assert status in (405, 400, 413, 501, 503) if known else status in (404, 400, 501, 503), where
        refusal = doc.refusal(path) or {"application/problem+json": {}}
        if method == "HEAD":
            return
        if "application/problem+json" in refusal:
            check_problem(doc, status, headers, body)
            return
        (kind,) = refusal
        assert headers.get("content-type") == kind, where
        doc.validate(json.loads(body), refusal[kind]["schema"])
        return
    response = operation["responses"].get(str(status))
    assert response, f"{where} is not in the document: {body[:300]!r}"
    for name in headers:
        described = {h.lower() for h in response.get("headers", ())}
        if name in ("location", "retry-after", "etag", "preference-applied", "idempotency-replayed", "x-should-retry", "accept-ranges",
                    "content-range"):
            assert name in described, f"{where}: header {name} is not in the document"
    content = response.get("content", {})
    if method == "HEAD" or (body is None and content):
        return
    if not content:
        assert not body, f"{where} should have no body: {body[:300]!r}"
        return
    kind = headers.get("content-type", "").partition(";")[0].strip()
    kind = kind if kind in content else kind.partition("/")[0] + "/*"
    assert kind in content, f"{where}: {kind!r} is not in the document, only {list(content)}"
    if JSON.match(kind) and "schema" in content[kind]:
        check_value(doc, json.loads(body), content[kind]["schema"], where)
    elif kind == STREAM:
        for line in body.decode().splitlines():
            if line.startswith("data: "):
                check_message(path, line[len("data: "):], method)


REQUEST = re.compile(rb"([A-Z]+) (/[!-~]*) HTTP/1\.1\r\n")


def check_raw(request, answers, head=False):
    """The answers to bytes that were sent: looked at when they are to one well-formed request line."""
    match = REQUEST.match(request)
    if not match or len(answers) != 1:
        return
    if "x-request-id" not in answers[0].headers:
        # libmicrohttpd speaks itself where it cannot read a request.
        assert answers[0].status in (400, 413, 414, 431, 500), answers
        return
    method, path = match[1].decode(), match[2].decode()
    check("HEAD" if head else method, path, answers[0].status, answers[0].headers, answers[0].body)


def check_client(answer, method, url, body):
    """An answer to a client library, when it comes from one of steno's own servers."""
    listener, _, path = url.partition("://")[2].partition("/")
    headers = {k.lower(): v for k, v in answer.headers.items()}
    if "x-request-id" in headers:
        check(method.upper(), "/" + path, answer.status_code, headers, body, listener in direct_listeners)


def watch_requests():
    """From here on also answers to the module `requests` are looked at."""
    import requests

    plain = requests.Session.request

    @functools.wraps(plain)
    def request(self, method, url, **kw):
        answer = plain(self, method, url, **kw)
        check_client(answer, method, url, None if kw.get("stream") else answer.content)
        return answer

    requests.Session.request = request


def watch_httpx():
    """And those to the module `httpx`."""
    import httpx

    plain, plain_async = httpx.Client.send, httpx.AsyncClient.send

    def seen(request, answer, stream):
        check_client(answer, request.method, str(request.url), None if stream else answer.content)
        return answer

    @functools.wraps(plain)
    def send(self, request, *, stream=False, **kw):
        return seen(request, plain(self, request, stream=stream, **kw), stream)

    @functools.wraps(plain_async)
    async def send_async(self, request, *, stream=False, **kw):
        return seen(request, await plain_async(self, request, stream=stream, **kw), stream)

    httpx.Client.send, httpx.AsyncClient.send = send, send_async
