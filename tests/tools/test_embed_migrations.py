# SPDX-License-Identifier: MIT
"""tools/embed_migrations.py: what it makes of migrations, and what it refuses."""

import hashlib
import subprocess
import sys
from pathlib import Path

import pytest

SCRIPT = Path(__file__).resolve().parents[2] / "tools" / "embed_migrations.py"


def embed(folder, files):
    paths = []
    for name, text in files.items():
        (folder / name).write_text(text, encoding="utf-8")
        paths.append(str(folder / name))
    out = folder / "migrations.c"
    done = subprocess.run([sys.executable, str(SCRIPT), str(out), *paths], capture_output=True, text=True, check=False)
    return done, out.read_text(encoding="utf-8") if out.exists() else None


def test_statements_and_checksums(tmp_path):
    first = 'CREATE TABLE t ( -- why\n    a TEXT DEFAULT "x"\n);\n-- a comment; with a semicolon;\nDROP TABLE t;\n'
    done, code = embed(tmp_path, {"0002_more_of_it.sql": "SELECT '\\';\n", "0001_initial.sql": first})
    assert done.returncode == 0, done.stderr
    assert f'{{1, "initial", "{hashlib.sha256(first.encode()).hexdigest()}", statements_1}}' in code
    assert code.index('"initial"') < code.index('"more_of_it"')
    assert '"CREATE TABLE t (\\n"' in code
    assert '"    a TEXT DEFAULT \\"x\\"\\n"' in code
    assert '"DROP TABLE t\\n"' in code
    assert '"SELECT \'\\\\\'\\n"' in code
    assert "why" not in code and "semicolon" not in code
    assert "{0, NULL, NULL, NULL}" in code


@pytest.mark.parametrize(
    "files, words",
    [
        ({"0002_second.sql": "SELECT 1;\n"}, "expected 0001"),
        ({"0001_a.sql": "SELECT 1;\n", "0003_c.sql": "SELECT 1;\n"}, "expected 0002"),
        ({"0001_a.sql": "SELECT 1;\n", "0001_b.sql": "SELECT 1;\n"}, "expected 0002"),
        ({"1_a.sql": "SELECT 1;\n"}, "expected 0001"),
        ({"0001_Bad-Name.sql": "SELECT 1;\n"}, "expected 0001"),
        ({"0001_a.sql": "SELECT 1;\nSELECT 2\n"}, "does not end with ';'"),
        ({"0001_a.sql": "SELECT '--';\n"}, "quoted text and a comment"),
    ],
)
def test_refused(tmp_path, files, words):
    done, code = embed(tmp_path, files)
    assert done.returncode != 0
    assert words in done.stderr
    assert code is None
