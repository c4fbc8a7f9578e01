# SPDX-License-Identifier: MIT
"""The OpenAPI document: sound by itself, the same everywhere, and what answers are held against."""

import json
import re
import shutil
import subprocess
from pathlib import Path

import jsonschema
import pytest

import fetched
import openapi_check
from steno_server import Server, wait_for


@pytest.fixture(scope="module")
def server():
    s = Server("--engine=null")
    yield s
    s.close()


@pytest.fixture(scope="module")
def doc():
    return openapi_check.document().json


@pytest.fixture(scope="module", params=["main", "direct"])
def each_doc(request):
    """Also that of the direct service."""
    return openapi_check.document(direct=request.param == "direct").json


def test_the_document_is_openapi_3_1(doc):
    schema = jsonschema.Draft202012Validator(fetched.openapi_schema())
    for each in (doc, openapi_check.document(direct=True).json):
        schema.validate(each)
    # The schema is of use only when it refuses something.
    for edit in (lambda d: d.pop("info"), lambda d: d["paths"]["/"]["get"].update(responses=[]),
                 lambda d: d["paths"]["/v1/jobs/{id}"]["get"]["parameters"][0].pop("in")):
        broken = json.loads(json.dumps(doc))
        edit(broken)
        with pytest.raises(jsonschema.ValidationError):
            schema.validate(broken)


def every(value, path=()):
    yield path, value
    items = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, inner in items:
        yield from every(inner, path + (key,))


def references(doc):
    return [v["$ref"] for _, v in every(doc) if isinstance(v, dict) and isinstance(v.get("$ref"), str)]


def test_every_reference_leads_somewhere(each_doc):
    refs = references(each_doc)
    assert len(refs) > 50
    resolver = jsonschema.RefResolver("", each_doc)
    for ref in set(refs):
        resolver.resolve(ref)


def test_every_schema_is_json_schema(doc):
    for schema in doc["components"]["schemas"].values():
        jsonschema.Draft202012Validator.check_schema(schema)
    both = references(doc) + references(openapi_check.document(direct=True).json)
    used = {ref.rpartition("/")[2] for ref in both}
    assert set(doc["components"]["schemas"]) <= used, "schemas that nothing names"


def test_operations_are_whole(each_doc):
    operations = [(path, method, o) for path, item in each_doc["paths"].items() for method, o in item.items()]
    ids = [o["operationId"] for _, _, o in operations]
    assert len(set(ids)) == len(ids)
    for path, method, o in operations:
        assert o["summary"] and any(s < "4" for s in o["responses"]), (path, method)
        names = [p["name"] for p in o["parameters"] if p["in"] == "path"]
        assert names == [part.strip("{}") for part in path.split("/") if part.startswith("{")]
        assert all(p.get("description") for p in o["parameters"]), (path, method)


def test_the_document_has_every_route(server, doc):
    routes = {(r["path"], r["method"].lower()) for r in server.ask("GET", "/").json["routes"]}
    assert routes == {(path, method) for path, item in doc["paths"].items() for method in item}


def test_the_server_gives_out_the_document(server, doc):
    answer = server.ask("GET", "/openapi.json")
    assert (answer.status, answer.headers["content-type"]) == (200, "application/json")
    assert answer.json == doc

    def unique(pairs):
        assert len({name for name, _ in pairs}) == len(pairs), "Swagger UI shows no document that names a member twice"

    json.loads(answer.body, object_pairs_hook=unique)


def test_form_fields_and_options_are_there(doc):
    form = doc["paths"]["/v1/jobs"]["post"]["requestBody"]["content"]["multipart/form-data"]["schema"]
    assert {"file", "language", "queue", "prompt", "beam_size", "temperature", "word_timestamps"} <= set(form["properties"])
    assert form["properties"]["beam_size"]["maximum"] == 16
    assert form["required"] == ["file"]
    query = {p["name"] for p in doc["paths"]["/v1/jobs"]["post"]["parameters"] if p["in"] == "query"}
    assert query == set(form["properties"]) - {"file"} | {"filename"}


def test_every_api_has_a_file_of_tests_that_names_it(doc):
    tags = {tag.split()[0] for d in (doc, openapi_check.document(direct=True).json) for item in d["paths"].values()
            for o in item.values() for tag in o["tags"]}
    heads = [path.read_text().split('"""')[1] for path in Path(__file__).parent.glob("test_*.py")]
    named = {head.partition(":")[0].replace(" ", "_") for head in heads}
    assert tags <= named


@pytest.mark.parametrize("method, path, status, kind, body", [
    ("GET", "/v1/jobs", 418, "application/json", b"{}"),
    ("GET", "/v1/jobs", 200, "text/plain", b"{}"),
    ("GET", "/v1/jobs", 200, "application/json", b'{"jobs":[]}'),
    ("GET", "/v1/jobs", 200, "application/json", b'{"jobs":[],"next_cursor":null,"more":1}'),
    ("GET", "/nowhere", 200, "application/json", b"{}"),
    ("GET", "/nowhere", 404, "application/json", b"{}"),
    ("DELETE", "/v1/jobs/x", 204, "", b"body"),
])
def test_what_the_document_does_not_describe_fails(method, path, status, kind, body):
    with pytest.raises(AssertionError):
        openapi_check.check(method, path, status, {"x-request-id": "1", "content-type": kind}, body)


JOBS, ID = "/v1/jobs/x", "01a20200-06f7-759f-84ff-46d2b7b4ac6b"
POSITION = {"type": "position", "seq": 1, "position": 2}
DELTA = {"type": "transcript.text.delta", "delta": "x"}
QUEUE_DATA = {"status": "queued", "progress": 0, "message": "x", "queue_position": 1, "error": None}
QUEUE = {"type": "task_update", "task_id": ID, "seq": 1, "data": QUEUE_DATA}
AUDIO_TEXT = {"job_id": ID, "type": "job_update", "seq": 1, "status": "pending", "progress": 0, "message": "x"}


@pytest.mark.parametrize("method, path, message, wrong", [
    ("GET", f"{JOBS}/ws", POSITION, POSITION | {"position": "2"}),
    ("GET", f"{JOBS}/events", POSITION, POSITION | {"more": 1}),
    ("GET", "/ws/x", QUEUE, QUEUE | {"data": QUEUE_DATA | {"status": "pending"}}),
    ("GET", "/api/v1/job/ws/x", AUDIO_TEXT, AUDIO_TEXT | {"status": "queued"}),
    ("POST", "/v1/audio/transcriptions", DELTA, DELTA | {"type": "delta"}),
])
def test_messages_that_the_document_does_not_describe_fail(method, path, message, wrong):
    assert openapi_check.check_message(path, json.dumps(message), method) == message
    with pytest.raises(AssertionError):
        openapi_check.check_message(path, json.dumps(wrong), method)


# The pages that show it: part of the program or not, as it was built.


@pytest.fixture(scope="module")
def built_in(server):
    return server.ask("GET", "/docs").status == 200


@pytest.mark.parametrize("path", ["/docs", "/redoc"])
def test_pages(server, built_in, path):
    answer = server.ask("GET", path)
    if not built_in:
        assert (answer.status, answer.code) == (404, "no_such_route")
        assert "/openapi.json" in answer.json["detail"] and "api_docs" in answer.json["detail"]
        return
    assert answer.status == 200
    html = answer.body.decode()
    used = re.findall(r'(?:src|href)="([^"]*)"', html)
    assert len(used) >= 2 and all(u.startswith("/docs/") for u in used)  # nothing from elsewhere
    assert "'none'" in answer.headers["content-security-policy"] and "<script>" not in html
    for url in used:
        part = server.ask("GET", url)
        assert part.status == 200 and part.body
        kind = part.headers["content-type"]
        assert kind.startswith("text/css" if url.endswith(".css") else "text/javascript"), url
        again = server.ask("GET", url, headers={"If-None-Match": part.headers["etag"]})
        assert (again.status, again.body) == (304, b"")


def test_files_of_the_pages(server, built_in):
    assert server.ask("GET", "/docs/nothing.js").status == 404
    for name in ("swagger-ui-licence.txt", "redoc-licence.txt"):
        answer = server.ask("GET", f"/docs/{name}")
        assert (answer.status == 200 and b"Copyright" in answer.body) if built_in else answer.status == 404


def test_a_browser_shows_the_document(server, built_in, tmp_path):
    """Without anything from elsewhere: no name but the server's own can be resolved."""
    chromium = shutil.which("chromium")
    if not built_in or not chromium:
        pytest.skip("needs Chromium, and a program with the pages (make api-docs)")

    def drawn(path):
        done = subprocess.run(
            [chromium, "--headless=new", "--no-sandbox", "--disable-gpu", f"--user-data-dir={tmp_path}",
             "--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE 127.0.0.1", "--virtual-time-budget=20000", "--dump-dom",
             server.url + path], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, timeout=120)
        page = done.stdout.decode()
        return "submit a recording" in page and "/v1/jobs" in page

    for path in ("/docs", "/redoc"):
        wait_for(f"{path} is drawn", lambda p=path: drawn(p), 120)  # a busy machine dumps it before its scripts ran
