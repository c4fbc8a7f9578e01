#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""Writes the table of src/db/migrate.h from migrations/NNNN_name.sql.

usage: embed_migrations.py OUTPUT.c FILE.sql...

A statement ends with ';' at the end of a line; comments run from '--' to the end of the line. The checksum is the
SHA-256 of the file as it stands: whatever is edited in an applied migration, also a comment, shows.
"""
import hashlib
import pathlib
import re
import sys


def statements(path, text):
    lines = []
    for line in text.splitlines():
        code = line.split("--", 1)[0].rstrip()
        if "'" in line and "--" in line and line.index("'") < line.index("--"):
            sys.exit(f"{path}: a quoted text and a comment on one line: {line.strip()}")
        if code:
            lines.append(code)
    found = [s.strip() for s in re.split(r";\n", "\n".join(lines) + "\n")]
    if found[-1]:
        sys.exit(f"{path}: the last statement does not end with ';'")
    return found[:-1]


def c_string(text):
    parts = []
    for line in text.split("\n"):
        quoted = line.replace("\\", "\\\\").replace('"', '\\"')
        parts.append(f'        "{quoted}\\n"')
    return "\n".join(parts)


def main(output, files):
    out = ['#include "db/migrate.h"', ""]
    rows = []
    for number, path in enumerate(sorted(map(pathlib.Path, files)), 1):
        match = re.fullmatch(r"(\d{4})_([a-z0-9_]+)\.sql", path.name)
        if not match or int(match[1]) != number:
            sys.exit(f"{path}: expected {number:04}_name.sql: the numbers have no gaps")
        data = path.read_bytes()
        out.append(f"static const char *const statements_{number}[] = {{")
        for statement in statements(path, data.decode("utf-8")):
            out.append(c_string(statement) + ",")
        out += ["    NULL,", "};", ""]
        rows.append(f'    {{{number}, "{match[2]}", "{hashlib.sha256(data).hexdigest()}", statements_{number}}},')
    out += ["const struct migration migrations[] = {", *rows, "    {0, NULL, NULL, NULL},", "};", ""]
    pathlib.Path(output).write_text("\n".join(out), encoding="utf-8")


if __name__ == "__main__":
    if len(sys.argv) < 3:
        sys.exit(__doc__)
    main(sys.argv[1], sys.argv[2:])
