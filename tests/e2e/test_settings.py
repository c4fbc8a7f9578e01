# SPDX-License-Identifier: MIT
"""Settings of other systems, as their users have them, on a running service."""

import subprocess

from steno_server import Server


def test_a_model_size_of_another_system(tmp_path):
    """WHISPER_MODEL_SIZE=base with only PocketSphinx there: said once, then its own model is used and named."""
    clip = tmp_path / "clip.wav"
    subprocess.run(["flite", "--setf", "duration_stretch=1.2", "-voice", "rms", "-t",
                    "the river runs through the middle of the old town", "-o", clip], check=True)
    server = Server(env={"WHISPER_MODEL_SIZE": "base", "MAX_UPLOAD_SIZE_MB": "1"})
    try:
        job = server.submit(clip.read_bytes(), "clip.wav").json
        assert server.wait_job(job["id"])["status"] == "completed", server.log()
        result = server.ask("GET", f"/v1/jobs/{job['id']}/transcript?format=verbose_json").json
        assert (result["engine"], result["model"], result["quality"]) == ("pocketsphinx", "en-us", "draft")
        assert "river runs" in result["text"]
        assert "WHISPER_MODEL_SIZE means model = base" in server.log()
        assert server.log().count("in the settings: model 'base' is not installed: 'en-us' was used") == 1
        assert result["warning"] is None
        assert server.submit(bytes(2 << 20), "big.wav").code == "file_too_large"
        # A job that asks for a model by itself is told in its result.
        other = server.submit(clip.read_bytes(), "clip.wav", fields={"model": "base"}).json
        ended = server.wait_job(other["id"])
        assert (ended["model"], ended["result"]["model"]) == ("base", "en-us")
        assert ended["result"]["warning"] == "model 'base' is not installed: 'en-us' was used, the nearest in size"
    finally:
        server.close()
