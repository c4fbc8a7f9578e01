# SPDX-License-Identifier: MIT
"""How requests are sent: raw bodies, repeated submissions, waiting, conditions, other origins, ids."""

import subprocess

import pytest

from steno_server import Server, read_answers

SOUND = b"RIFF\x24\0\0\0WAVE" + bytes(100)


@pytest.fixture(scope="module")
def server():
    s = Server("--engine=null", "--max-upload-size=1M")
    yield s
    s.close()


def raw(server, query="", body=SOUND, type="audio/wav", **headers):
    return server.ask("POST", "/v1/jobs" + query, body, {"Content-Type": type} | headers)


# Raw bodies.


@pytest.mark.parametrize("type", ["audio/wav", "AUDIO/x-anything", "video/mp4", "application/octet-stream",
                                  "application/octet-stream; charset=binary"])
def test_the_body_may_be_the_recording(server, type):
    answer = raw(server, type=type)
    assert answer.status == 202
    job = answer.json
    assert (job["content_type"], job["size"], job["filename"]) == (type, len(SOUND), "audio")
    (audio,) = [o for o in server.objects() if o.startswith(f"uploads/{job['id']}/")]
    assert server.read_object(audio) == SOUND
    assert server.wait_job(job["id"])["status"] == "completed"


def test_fields_of_a_raw_body_stand_in_the_query(server):
    job = raw(server, "?language=EN&queue=high&prompt=Names%3A+Ada&seed=7&filename=t%C3%A4lk.wav").json
    assert (job["language"], job["queue"], job["prompt"], job["filename"]) == ("en", "high", "Names: Ada", "tälk.wav")
    assert job["options"] == {"seed": 7}


@pytest.mark.parametrize("line, name", [
    ('attachment; filename="a b.wav"', "a b.wav"),
    ("attachment; filename=plain.wav; filename*=UTF-8''%e2%82%ac.wav", "\u20ac.wav"),
    ("inline", "audio"),
])
def test_a_raw_body_is_named_by_its_disposition(server, line, name):
    assert raw(server, **{"Content-Disposition": line}).json["filename"] == name


def test_the_query_names_a_raw_body_first(server):
    assert raw(server, "?filename=q.wav", **{"Content-Disposition": "attachment; filename=d.wav"}).json["filename"] == "q.wav"


@pytest.mark.parametrize("query, headers, status, code, field", [
    ("?colour=red", {}, 400, "unknown_field", "colour"),
    ("?language=a+language", {}, 400, "bad_field", "language"),
    ("?language=en&language=de", {}, 400, "bad_query", None),
    ("", {"Content-Disposition": "attachment; filename"}, 400, "bad_request", None),
    ("", {"Content-Disposition": "attachment; filename*=UTF-8''%zz"}, 400, "bad_request", None),
])
def test_what_is_wrong_with_a_raw_body(server, query, headers, status, code, field):
    answer = raw(server, query, **headers)
    assert (answer.status, answer.code, answer.json.get("field")) == (status, code, field)


def test_a_raw_body_that_is_no_recording(server):
    assert raw(server, body=b"").code == "missing_file"
    assert raw(server, body=b"PK\x03\x04" + bytes(600)).code == "not_audio"
    assert raw(server, body=bytes(2 << 20)).code == "file_too_large"
    answer = server.ask("POST", "/v1/jobs", SOUND, {"Content-Type": "text/plain"})
    assert (answer.status, answer.code) == (400, "not_multipart") and "audio/wav" in answer.json["detail"]
    with server.connect() as s:
        s.sendall(b"POST /v1/jobs HTTP/1.1\r\nHost: x\r\nConnection: close\r\nTransfer-Encoding: chunked\r\n"
                  b"Content-Type: audio/wav\r\n\r\n0\r\n\r\n")
        (answer,) = read_answers(s)
    assert answer.code == "empty_file"


def test_multipart_takes_no_fields_in_the_query(server):
    body = b'--B\r\nContent-Disposition: form-data; name="file"; filename="a.wav"\r\n\r\n' + SOUND + b"\r\n--B--\r\n"
    answer = server.ask("POST", "/v1/jobs?language=en", body, {"Content-Type": "multipart/form-data; boundary=B"})
    assert (answer.status, answer.code) == (400, "bad_query")


def test_curl_sends_a_raw_body(server, tmp_path):
    path = tmp_path / "a.wav"
    path.write_bytes(SOUND * 1000)
    done = subprocess.run(["curl", "-sS", "-H", "Content-Type: audio/wav", "--data-binary", f"@{path}",
                           f"{server.url}/v1/jobs?filename=a.wav"], capture_output=True, check=True)
    assert f'"size":{len(SOUND) * 1000}' in done.stdout.decode()


# Conditions.


def test_a_job_that_did_not_change(server):
    job = server.wait_job(raw(server).json["id"])
    path = f"/v1/jobs/{job['id']}"
    first = server.ask("GET", path)
    tag = first.headers["etag"]
    assert first.headers["cache-control"] == "private, no-cache"
    for known in (tag, f"W/{tag}", f'"x", {tag}', "*"):
        again = server.ask("GET", path, headers={"If-None-Match": known})
        assert (again.status, again.body, again.headers["etag"]) == (304, b"", tag), known
    for other in ('"0"', tag.strip('"'), f'"{tag.strip(chr(34))}0"', f'"x{tag.strip(chr(34))}"'):
        assert server.ask("GET", path, headers={"If-None-Match": other}).status == 200, other
    (answer,) = server.raw(f'GET {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\nIf-None-Match: {tag}\r\n'
                           f'If-None-Match: "0"\r\n\r\n'.encode())
    assert answer.status == 304  # a list may be split over lines


def test_a_transcript_that_did_not_change(server):
    job = server.wait_job(raw(server).json["id"])
    path = f"/v1/jobs/{job['id']}/transcript"
    tags = {f: server.ask("GET", f"{path}?format={f}").headers["etag"] for f in ("json", "srt", "vtt", "txt")}
    assert len(set(tags.values())) == 4
    for form, tag in tags.items():
        answer = server.ask("GET", f"{path}?format={form}", headers={"If-None-Match": tag})
        assert (answer.status, answer.body, answer.headers["vary"]) == (304, b"", "Accept")
        other = tags["txt" if form != "txt" else "srt"]
        assert server.ask("GET", f"{path}?format={form}", headers={"If-None-Match": other}).status == 200
    # What the client has is right, so storage need not be asked.
    (key,) = [o for o in server.objects() if o.startswith(f"results/{job['id']}/")]
    server.delete_object(key)
    assert server.ask("GET", f"{path}?format=srt", headers={"If-None-Match": tags["srt"]}).status == 304
    assert server.ask("GET", f"{path}?format=srt").code == "result_lost"
