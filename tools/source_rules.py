# SPDX-License-Identifier: MIT
"""Rules about C sources that no compiler knows: who may include whom, which functions are banned, licence lines.

The tables are the rules; docs/architecture.md explains them. tests/tools/test_source_rules.py feeds bad files.
"""

import re
from pathlib import PurePosixPath

# folder: the folders of src/ it may include (itself always).
MAY_INCLUDE = {
    "base": [],
    "conf": ["base"],
    "http": ["base"],
    "pg": ["base"],
    "db": ["base", "pg"],
    "job": ["base", "db"],
    "transcript": ["base"],
    "storage": ["base", "http"],
    "broker": ["base", "pg"],
    "audio": ["base"],
    "metrics": ["base"],
    "whisper": ["base"],
    "engine": ["base", "http", "audio", "transcript", "whisper"],
    "worker": ["base", "conf", "job", "transcript", "storage", "broker", "audio", "metrics", "engine"],
    "api": ["base", "conf", "job", "transcript", "storage", "broker", "metrics"],
    "cli": ["base", "conf", "db", "job", "transcript", "storage", "broker", "audio", "metrics", "whisper", "engine", "worker", "api"],
}

# Headers of libraries, and the folders that may see them. What stands neither here nor in LIBC is refused.
THIRD_PARTY = {
    "sqlite3.h": ["db"],
    "libpq-fe.h": ["pg"],
    "hiredis/": ["broker"],
    "amqp": ["broker"],
    "microhttpd.h": ["api", "metrics"],
    "wslay/": ["api"],
    "pocketsphinx": ["engine"],
    "sphinxbase/": ["engine"],
    "oneapi/dnnl/": ["whisper"],
    "omp.h": ["whisper"],
    "pcre2.h": ["whisper"],
    "zlib.h": ["whisper"],
    "seccomp.h": ["audio"],
    "linux/landlock.h": ["audio"],
    "linux/seccomp.h": ["audio"],
    "curl/": ["http", "storage", "engine", "cli"],
    "openssl/": ["storage", "broker", "whisper", "api", "cli"],
    "expat.h": ["storage"],
    "unigbrk.h": ["transcript"],
    "unilbrk.h": ["transcript"],
    "uniwidth.h": ["transcript"],
    "jansson.h": ["job", "transcript", "storage", "broker", "whisper", "engine", "worker", "api", "cli"],
}

# The C library and the kernel.
LIBC = set(
    """assert.h ctype.h dirent.h endian.h errno.h fcntl.h fenv.h float.h fnmatch.h getopt.h glob.h inttypes.h limits.h
    locale.h malloc.h math.h netdb.h poll.h pthread.h pwd.h regex.h sched.h search.h setjmp.h signal.h spawn.h stdarg.h
    stdatomic.h stdalign.h stdbool.h stddef.h stdint.h stdio.h stdlib.h string.h strings.h syslog.h termios.h time.h
    ucontext.h unistd.h wchar.h elf.h execinfo.h sanitizer/lsan_interface.h""".split()
)
LIBC_FOLDERS = ("sys/", "netinet/", "arpa/", "linux/", "net/")

# function: what to use instead.
BANNED = {
    "sprintf": "snprintf or buf_addf",
    "vsprintf": "vsnprintf or buf_addv",
    "strcpy": "snprintf, memcpy or struct buf",
    "stpcpy": "struct buf",
    "strcat": "struct buf",
    "strncpy": "snprintf or memcpy",
    "strncat": "struct buf",
    "gets": "io_read_full",
    "scanf": "str_to_i64 and friends",
    "sscanf": "str_to_i64 and friends",
    "atoi": "str_to_i64",
    "atol": "str_to_i64",
    "atoll": "str_to_i64",
    "atof": "str_to_f64",
    "rand": "random_below",
    "srand": "random_below",
    "random": "random_below",
    "drand48": "random_below",
    "strtok": "strtok_r or strcspn",
    "alloca": "an arena or a fixed array",
    "system": "proc_spawn",
    "popen": "proc_spawn",
    "fork": "proc_spawn: this program has threads",
    "vfork": "proc_spawn",
    "tmpnam": "mkstemp or O_TMPFILE",
    "tempnam": "mkstemp or O_TMPFILE",
    "mktemp": "mkstemp or O_TMPFILE",
    "signal": "sigaction (ignoring and resetting excepted)",
    "setjmp": "return codes",
    "longjmp": "return codes",
    "strerror": "strerror_r, or err_sys",
    "ctime": "time_iso",
    "asctime": "time_iso",
    "gmtime": "gmtime_r",
    "localtime": "localtime_r",
    "gethostbyname": "getaddrinfo",
    "inet_ntoa": "inet_ntop",
    "setenv": "the setenv list of proc_spawn: environ is shared by all threads",
    "putenv": "the setenv list of proc_spawn: environ is shared by all threads",
}

# Tests run one thing in one thread on input of their own.
TESTS_MAY = {"setenv", "putenv", "fork", "signal", "system", "popen", "sscanf", "strncat"}

SPDX = "SPDX-License-Identifier: MIT"

_TOKEN = re.compile(
    r"""//[^\n]*|/\*.*?\*/|"(?:\\.|[^"\\\n])*"|'(?:\\.|[^'\\\n])*'""",
    re.DOTALL,
)
_INCLUDE = re.compile(r'^[ \t]*#[ \t]*include[ \t]+(?:"([^"\n]*)"|<([^>\n]*)>)', re.MULTILINE)
_CALL = re.compile(r"(?<![\w.>])(" + "|".join(sorted(BANNED)) + r")\s*\((?!\w+, SIG_(?:IGN|DFL)\))")


def without_comments(text, strings=True):
    """The code alone, each comment (and string, unless kept) blanked, so that line numbers stay."""

    def blank(match):
        token = match.group()
        if token[0] in "\"'" and not strings:
            return token
        return re.sub(r"[^\n]", " ", token)

    return _TOKEN.sub(blank, text)


def _line(text, at):
    return text.count("\n", 0, at) + 1


def check_includes(path, text):
    """Yields (line, message) for every include that the tables do not allow. `path` is relative to the repository."""
    parts = PurePosixPath(path).parts
    if parts[0] != "src" or len(parts) < 3:
        return
    folder = parts[1]
    allowed = MAY_INCLUDE.get(folder)
    if allowed is None:
        yield 1, f"folder src/{folder} has no row in MAY_INCLUDE (tools/source_rules.py)"
        return
    code = without_comments(text, strings=False)
    for match in _INCLUDE.finditer(code):
        line, own, system = _line(code, match.start()), match.group(1), match.group(2)
        if own is not None:
            target = own.split("/")[0]
            if "/" not in own:
                yield line, f'"{own}": write the folder too: "{folder}/{own}"'
            elif target != folder and target not in allowed:
                yield line, f'src/{folder} may not include "{own}": only {", ".join([folder] + allowed)}'
            continue
        owner = next((h for h in THIRD_PARTY if system.startswith(h)), None)
        if owner and folder not in THIRD_PARTY[owner]:
            yield line, f"src/{folder} may not see <{system}>: only {', '.join(THIRD_PARTY[owner])}"
        elif not owner and system not in LIBC and not system.startswith(LIBC_FOLDERS):
            yield line, f"<{system}> is in neither table of tools/source_rules.py"


def check_own_header_first(path, text):
    """A .c file with a header of the same name includes it before anything else, so that it stands on its own."""
    path = PurePosixPath(path)
    if path.parts[0] != "src" or path.suffix != ".c":
        return
    includes = [m.group(1) or m.group(2) for m in _INCLUDE.finditer(without_comments(text, strings=False))]
    own = str(PurePosixPath(*path.parts[1:]).with_suffix(".h"))
    if own in includes and includes[0] != own:
        yield 1, f'"{own}" must be the first include'


def check_banned(path, text):
    """Yields (line, message) for every call of a banned function."""
    code = without_comments(text)
    for match in _CALL.finditer(code):
        name = match.group(1)
        if path.startswith("tests/") and name in TESTS_MAY:
            continue
        yield _line(code, match.start()), f"{name}() is banned: use {BANNED[name]}"


def check_guard(path, text):
    """Include guards are FOLDER_FILE_H, so that no two headers share one."""
    path = PurePosixPath(path)
    if path.suffix != ".h" or path.parts[0] != "src":
        return
    want = re.sub(r"\W", "_", "/".join(path.parts[1:])).upper()
    if f"#ifndef {want}\n#define {want}\n" not in text:
        yield 1, f"include guard must be {want}"


def check_spdx(path, text):
    """The licence stands on the first line (the second one of a script)."""
    if not any(SPDX in line for line in text.split("\n")[:2]):
        yield 1, f"no '{SPDX}' on top"


C_RULES = [check_includes, check_own_header_first, check_banned, check_guard, check_spdx]


def check_source(path, text):
    """All rules for one file; a sorted list of (line, message)."""
    rules = C_RULES if path.endswith((".c", ".h")) else [check_spdx]
    return sorted(finding for rule in rules for finding in rule(path, text))
