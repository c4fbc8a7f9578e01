# SPDX-License-Identifier: MIT
"""The tool that puts the pages of the API into the program."""

import importlib.util
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent.parent
TOOL = ROOT / "tools" / "embed_api_docs.py"
spec = importlib.util.spec_from_file_location("embed_api_docs", TOOL)
tool = importlib.util.module_from_spec(spec)
spec.loader.exec_module(tool)

MAIN = r"""
#include <stdio.h>
int main(void)
{
    for (const struct docs_file *f = docs_files; f->name; f++) {
        printf("%s %s %zu\n", f->name, f->media_type, f->size);
        fwrite(f->data, 1, f->size, stdout);
    }
    return 0;
}
"""


def run(folder, *args):
    subprocess.run([sys.executable, TOOL, folder / "out.c", *args], check=True)
    source = folder / "main.c"
    source.write_text((folder / "out.c").read_text() + MAIN)
    subprocess.run(["cc", "-I", ROOT / "src", "-o", folder / "main", source], check=True)
    return subprocess.run([folder / "main"], check=True, stdout=subprocess.PIPE).stdout


def test_files_come_out_as_they_went_in(tmp_path):
    files = tmp_path / "a folder"
    files.mkdir()
    want = b""
    for i, (name, kind) in enumerate(tool.FILES.items()):
        data = bytes(range(256)) * i + b"\n"
        (files / name).write_bytes(data)
        want += f"{name} {kind} {len(data)}\n".encode() + data
    assert run(tmp_path, files) == want


def test_without_a_folder_there_is_nothing(tmp_path):
    assert run(tmp_path) == b""


def test_a_folder_without_a_file_is_refused(tmp_path):
    done = subprocess.run([sys.executable, TOOL, tmp_path / "out.c", tmp_path], stderr=subprocess.PIPE, text=True)
    assert done.returncode != 0 and "fetch_api_docs.sh" in done.stderr
