#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""Writes the tables of src/api/openapi.h from src/api/openapi/*.json.

usage: embed_openapi.py OUTPUT.c FILE.json...

Each file is an object of objects: "schemas", "parameters", "fields". A name that stands in two files and a $ref to a
schema that stands in none are refused; the schemas that openapi.c makes from tables are known by name.
"""
import json
import pathlib
import re
import sys

KINDS = ("schemas", "parameters", "fields")
MADE = {"ProblemCode", "JobState", "JobQueue", "FormatName", "JobOptions"}
WIDTH = 100


def unique(pairs):
    seen = dict(pairs)
    if len(seen) != len(pairs):
        names = [name for name, _ in pairs]
        sys.exit(f"named twice: {sorted({n for n in names if names.count(n) > 1})}")
    return seen


def c_string(text):
    pieces = [text[i : i + WIDTH] for i in range(0, len(text), WIDTH)]
    return "\n".join('     "' + p.replace("\\", "\\\\").replace('"', '\\"') + '"' for p in pieces)


def references(value):
    return re.findall(r'"\$ref":\s*"#/components/schemas/([^"]*)"', json.dumps(value))


def main(output, files):
    parts = {kind: {} for kind in KINDS}
    for path in map(pathlib.Path, files):
        content = json.loads(path.read_text(encoding="utf-8"), object_pairs_hook=unique)
        for kind, members in content.items():
            if kind not in parts:
                sys.exit(f"{path}: {kind!r} is none of {', '.join(KINDS)}")
            for name, value in members.items():
                if name in parts[kind] or (kind == "schemas" and name in MADE):
                    sys.exit(f"{path}: {name!r} stands elsewhere too")
                for ref in references(value):
                    if ref not in MADE and not any(
                            ref in json.loads(pathlib.Path(p).read_text(encoding="utf-8")).get("schemas", {}) for p in files):
                        sys.exit(f"{path}: {name!r} names the schema {ref!r}, which is nowhere")
                parts[kind][name] = json.dumps(value, separators=(",", ":"))
    out = ['#include "api/openapi.h"', "", "#include <stddef.h>", ""]
    for kind in KINDS:
        out.append(f"const struct openapi_part openapi_{kind}[] = {{")
        out += [f'    {{"{name}",\n{c_string(text)}}},' for name, text in parts[kind].items()]
        out += ["    {NULL, NULL},", "};", ""]
    pathlib.Path(output).write_text("\n".join(out), encoding="utf-8")


if __name__ == "__main__":
    if len(sys.argv) < 3:
        sys.exit(__doc__)
    main(sys.argv[1], sys.argv[2:])
