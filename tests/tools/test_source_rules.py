# SPDX-License-Identifier: MIT
"""The source rules catch what they are there for, and only that."""

import pytest
from source_rules import MAY_INCLUDE, check_source

HEAD = "/* SPDX-License-Identifier: MIT */\n"


def messages(path, body, head=HEAD):
    return [message for _, message in check_source(path, head + body)]


@pytest.mark.parametrize(
    "path, include, part",
    [
        ("src/base/x.c", '"conf/conf.h"', "src/base may not include"),
        ("src/job/x.c", '"api/api.h"', "src/job may not include"),
        ("src/api/x.c", '"engine/engine.h"', "src/api may not include"),
        ("src/engine/x.c", '"job/job.h"', "src/engine may not include"),
        ("src/worker/x.c", '"db/db.h"', "src/worker may not include"),
        ("src/worker/x.c", '"slots.h"', "write the folder too"),
        ("src/new/x.c", '"base/err.h"', "has no row"),
        ("src/api/x.c", "<sqlite3.h>", "src/api may not see"),
        ("src/job/x.c", "<libpq-fe.h>", "src/job may not see"),
        ("src/worker/x.c", "<hiredis/hiredis.h>", "src/worker may not see"),
        ("src/job/x.c", "<amqp_tcp_socket.h>", "src/job may not see"),
        ("src/cli/x.c", "<microhttpd.h>", "src/cli may not see"),
        ("src/audio/x.c", "<pocketsphinx.h>", "src/audio may not see"),
        ("src/worker/x.c", "<seccomp.h>", "src/worker may not see"),
        ("src/worker/x.c", "<linux/landlock.h>", "src/worker may not see"),
        ("src/api/x.c", "<curl/curl.h>", "src/api may not see"),
        ("src/base/x.c", "<jansson.h>", "src/base may not see"),
        ("src/base/x.c", "<glib.h>", "is in neither table"),
    ],
)
def test_forbidden_include(path, include, part):
    (found,) = messages(path, f"#include {include}\n")
    assert part in found


@pytest.mark.parametrize(
    "path, include",
    [
        ("src/worker/x.c", '"job/store.h"'),
        ("src/worker/x.c", '"worker/y.h"'),
        ("src/cli/x.c", '"api/api.h"'),
        ("src/db/x.c", "<sqlite3.h>"),
        ("src/cli/x.c", "<curl/curl.h>"),
        ("src/base/x.c", "<sys/stat.h>"),
        ("tests/unit/x.c", '"db/sqlite_conn.h"'),
    ],
)
def test_allowed_include(path, include):
    assert messages(path, f"#include {include}\n") == []


def test_include_in_comment_or_string_is_none():
    assert messages("src/base/x.c", '/*\n#include "api/api.h"\n*/\nconst char *s = "#include <glib.h>";\n') == []


def test_api_and_engine_never_meet():
    assert "engine" not in MAY_INCLUDE["api"]
    assert "api" not in MAY_INCLUDE["engine"]
    assert MAY_INCLUDE["base"] == []


@pytest.mark.parametrize(
    "call",
    ["sprintf(b, f)", "strcpy (a, b)", "x = atoi(s)", "rand()", "strtok(s, d)", "system(c)", "popen(c, m)", "alloca(4)",
     "signal(SIGINT, f)", "gets(b)", "strncpy(a, b, 3)", "fork()", "strerror(errno)", "if (!atoll(s))"],
)
def test_banned_call(call):
    (found,) = messages("src/base/x.c", f"int f(void)\n{{\n    {call};\n}}\n")
    assert "is banned" in found


@pytest.mark.parametrize(
    "code",
    ["snprintf(b, n, f);", "strtok_r(s, d, &p);", "/* never sprintf(b, f) */", 'log("use system(x)");', "o->system(x);",
     "o.signal(x);", "my_rand();", "signal(SIGPIPE, SIG_IGN);", "int gets;", "strerror_r(e, b, n);", "char c = '\"'; // atoi(s)"],
)
def test_not_banned(code):
    assert messages("src/base/x.c", code + "\n") == []


def test_line_number_counts_comment_lines():
    assert check_source("src/base/x.c", HEAD + "/* a\n b\n c */\n\nint x = atoi(s);\n")[0][0] == 6


def test_environment_may_be_changed_by_tests_only():
    assert messages("src/base/x.c", 'setenv("A", "b", 1);\n') != []
    assert messages("tests/unit/x.c", 'setenv("A", "b", 1);\n') == []


def test_spdx_is_required():
    assert messages("src/base/x.c", "int x;\n", head="") == ["no 'SPDX-License-Identifier: MIT' on top"]
    assert messages("tools/x.py", "x = 1\n", head="#!/usr/bin/python3\n# SPDX-License-Identifier: MIT\n") == []
    assert messages("tools/x.sh", "true\n", head="#!/bin/sh\n") != []


def test_guard():
    assert messages("src/base/x.h", "#ifndef X_H\n#define X_H\n#endif\n") == ["include guard must be BASE_X_H"]
    assert messages("src/base/x.h", "#ifndef BASE_X_H\n#define BASE_X_H\n#endif\n") == []


def test_own_header_first():
    late = '#include <stdio.h>\n#include "base/x.h"\n'
    assert messages("src/base/x.c", late) == ['"base/x.h" must be the first include']
    assert messages("src/base/x.c", '#include "base/x.h"\n#include <stdio.h>\n') == []
