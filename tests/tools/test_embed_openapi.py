# SPDX-License-Identifier: MIT
"""The tool that puts the parts of the OpenAPI document into the program."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

TOOL = Path(__file__).resolve().parent.parent.parent / "tools" / "embed_openapi.py"


def embed(folder, *files):
    paths = []
    for i, content in enumerate(files):
        paths.append(folder / f"{i}.json")
        paths[-1].write_text(content if isinstance(content, str) else json.dumps(content))
    done = subprocess.run([sys.executable, TOOL, folder / "out.c", *paths], stderr=subprocess.PIPE, text=True)
    return done.stderr if done.returncode else (folder / "out.c").read_text()


def test_parts_of_several_files_are_put_together(tmp_path):
    text = 'a "quoted" \\ text' * 20
    out = embed(tmp_path, {"schemas": {"A": {"$ref": "#/components/schemas/B"}}},
                {"schemas": {"B": {"description": text}}, "parameters": {"limit": {}}})
    source = tmp_path / "main.c"
    source.write_text('#include <stdio.h>\nstruct openapi_part { const char *name, *json; };\n'
                      + out.replace('#include "api/openapi.h"', "")
                      + "int main(void) { puts(openapi_schemas[1].json); return openapi_schemas[2].name || openapi_fields[0].name; }")
    subprocess.run(["cc", "-Wall", "-o", tmp_path / "main", source], check=True)
    said = subprocess.run([tmp_path / "main"], check=True, stdout=subprocess.PIPE, text=True).stdout
    assert json.loads(said) == {"description": text}


@pytest.mark.parametrize("files, says", [
    ([{"schemas": {"A": {}}}, {"schemas": {"A": {}}}], "elsewhere too"),
    ([{"schemas": {"JobState": {}}}], "elsewhere too"),
    (['{"schemas": {"A": {}, "A": {}}}'], "named twice"),
    ([{"schemas": {"A": {"$ref": "#/components/schemas/B"}}}], "which is nowhere"),
    ([{"colours": {}}], "is none of"),
])
def test_mistakes_are_refused(tmp_path, files, says):
    assert says in embed(tmp_path, *files)
