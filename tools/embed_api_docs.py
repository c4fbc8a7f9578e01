#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""Writes the table of src/api/docs_pages.h from a folder made by fetch_api_docs.sh.

usage: embed_api_docs.py OUTPUT.c [FOLDER]

Without a folder the table is empty, and the program has no such pages. The files are put into the program by the
assembler: as C arrays they would take minutes to compile.
"""
import hashlib
import pathlib
import sys

FILES = {
    "swagger-ui-bundle.js": "text/javascript; charset=utf-8",
    "swagger-ui.css": "text/css; charset=utf-8",
    "swagger-ui-licence.txt": "text/plain; charset=utf-8",
    "redoc.standalone.js": "text/javascript; charset=utf-8",
    "redoc-licence.txt": "text/plain; charset=utf-8",
}


def main(output, folder=None):
    out = ['#include "api/docs_pages.h"', "", "#include <stddef.h>", ""]
    rows = []
    for i, (name, kind) in enumerate(FILES.items() if folder else ()):
        path = pathlib.Path(folder, name).resolve()
        if not path.is_file():
            sys.exit(f"{folder} has no {name}: make it with tools/fetch_api_docs.sh")
        if set('"\\\n') & set(str(path)):
            sys.exit(f"{path}: choose a folder without quotes and backslashes in its name")
        data = path.read_bytes()
        out += [
            f'__asm__(".pushsection .rodata\\n.global api_docs_{i}\\napi_docs_{i}:\\n'
            f'.incbin \\"{path}\\"\\n.byte 0\\n.popsection\\n");',
            f"extern const char api_docs_{i}[];",
        ]
        rows.append(f'    {{"{name}", "{kind}", "{hashlib.sha256(data).hexdigest()[:16]}", api_docs_{i}, {len(data)}}},')
    out += ["const struct docs_file docs_files[] = {", *rows, "    {NULL, NULL, NULL, NULL, 0},", "};", ""]
    pathlib.Path(output).write_text("\n".join(out), encoding="utf-8")


if __name__ == "__main__":
    if len(sys.argv) not in (2, 3):
        sys.exit(__doc__)
    main(*sys.argv[1:])
