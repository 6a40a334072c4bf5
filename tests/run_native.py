#!/usr/bin/env python3
"""Builds and runs the C or the C++ tests: `run_native.py c|cpp --library DIR [--only NAME,...]
[--under COMMAND] [--patience TIMES]`.

What it does with each language:
  * the header alone, included twice, in every dialect it promises, with -pedantic -Wall -Wextra -Werror;
  * every `tests/c/*.c` or `tests/cpp/*.cpp`: one program each, built against the shared library with
    -Wall -Wextra -Werror and run; exit status 0 is a pass. A program whose last line of output is
    "N passed, N failed" is counted by that line, any other as one test. It is killed after 120 s,
    or after the seconds of a line `lc-test-timeout: SECONDS` in its source. A line `lc-test-flags: FLAGS`
    adds flags for the compiler; several of them make several programs. A line `lc-test-with: FILES` names
    further sources, beside it, to link with;
  * every `examples/*.c` or `examples/*.cpp`: built alike and run twice, without a server and with
    REDIS_URL set.

What a test finds in its environment. A server is started, once for all tests, if some source names it:
  LC_TEST_URL_SINGLE     redis://..., no password            LC_TEST_URL_VALKEY    the same on Valkey
  LC_TEST_URL_PASSWORD   ..._WITHOUT_PASSWORD, ..._WRONG_PASSWORD
  LC_TEST_URL_ACL        ..._READONLY, ..._WRONG_PASSWORD, ..._NO_LOGIN (the users may only use prefix `app`)
  LC_TEST_URL_UNIX       redis+unix://...
  LC_TEST_URL_TLS        ..._WRONG_HOST, ..._EXPIRED, ..._UNTRUSTED, ..._MUTUAL, ..._BY_ADDRESS
      LC_TEST_TLS_CA, LC_TEST_TLS_OTHERCA, LC_TEST_TLS_CLIENT, LC_TEST_TLS_CLIENT_KEY: files
  LC_TEST_URL_CLUSTER    ..._LIST, ..._ONE_SEED              LC_TEST_URL_SENTINEL  ..._ONE_SENTINEL
  LC_TEST_URL_REFUSED    redis://..., where nobody listens
  LC_TEST_SERVERS        the shell command `... tests/servers.py run`, for tests that want servers of
                         their own, to kill or to stop: popen or fork it, add a topology, read one line
  LC_TEST_LIBRARY        the shared library's file           LC_TEST_DIR           an empty folder
No URL has a query: a test adds `?prefix=` with a name of its own, since the servers are shared.
"""

import argparse
import concurrent.futures
import contextlib
import os
import re
import shlex
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import servers
from server_harness.nodes import free_ports

ROOT = Path(__file__).resolve().parents[1]
STRICT = ["-Wall", "-Wextra", "-Werror"]
SECONDS = 120

C_HEADER = (
    "lighter_cache.h",
    [("cc", std) for std in ("c99", "c11", "c17")] + [("c++", f"c++{n}") for n in (11, 14, 17, 20)],
)
CPP_HEADER = ("lighter_cache.hpp", [("c++", "c++17"), ("c++", "c++20"), ("c++", "c++17 -fno-exceptions")])
LANGUAGES = {
    "c": {"compiler": "cc", "suffix": ".c", "std": "-std=c11", "header": C_HEADER},
    "cpp": {"compiler": "c++", "suffix": ".cpp", "std": "-std=c++17", "header": CPP_HEADER},
}
COMPILERS = {"cc": shlex.split(os.environ.get("CC", "cc")), "c++": shlex.split(os.environ.get("CXX", "c++"))}
INCLUDES = ["-I", str(ROOT / "include"), "-I", str(ROOT / "bindings/cpp/include")]


class Tally:
    """Counts, and prints one line per test and the output of those that failed."""

    def __init__(self):
        self.passed = self.failed = 0

    def report(self, name, ok, seconds, output="", why=""):
        counts = re.findall(r"^(\d+) passed, (\d+) failed$", output, re.M)
        passed, failed = map(int, counts[-1]) if counts else (int(ok), int(not ok))
        if not ok and not failed:
            failed = 1
        ok = not failed
        self.passed += passed
        self.failed += failed
        print(f"{'ok    ' if ok else 'FAILED'} {name:<44} {seconds:6.2f} s {why}".rstrip(), flush=True)
        if not ok:
            print("".join(f"    {line}\n" for line in output.splitlines()[-60:]), end="", flush=True)


def run(command, **options):
    """Runs a command; returns whether it succeeded, its output and the reason where it did not."""
    seconds = options.pop("timeout", 300)
    process = subprocess.Popen(
        command,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        start_new_session=True,
        **options,
    )
    why = ""
    try:
        output, _ = process.communicate(timeout=seconds)
    except subprocess.TimeoutExpired:
        why = f"killed after {seconds} s"
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        output, _ = process.communicate()
    if process.returncode < 0 and not why:
        why = f"died of {signal.Signals(-process.returncode).name}"
    elif process.returncode and not why:
        why = f"exit status {process.returncode}"
    return process.returncode == 0, output.decode(errors="replace"), why


def library_folder(built, work):
    """A folder where the library has the name that programs look for at run time."""
    shared = built.resolve() / "liblighter_cache.so"
    if not shared.exists():
        sys.exit(f"{shared} is not there: run `make library` first")
    dynamic = subprocess.run(["readelf", "-d", shared], capture_output=True, text=True, check=True).stdout
    soname = re.search(r"soname: \[(.*)\]", dynamic).group(1)
    folder = work / "lib"
    folder.mkdir(parents=True, exist_ok=True)
    for name in ("liblighter_cache.so", soname):
        link = folder / name
        link.unlink(missing_ok=True)
        link.symlink_to(shared)
    return folder


def header_jobs(language):
    """(name, command, stdin) of the header's checks."""
    header, dialects = language["header"]
    source = f"#include <{header}>\n#include <{header}>\nint only_the_header(void);\n"
    for compiler, std in dialects:
        kind = "c" if compiler == "cc" else "c++"
        flags = [f"-std={std.split()[0]}", *std.split()[1:], "-pedantic", *STRICT, "-fsyntax-only", "-x", kind, "-"]
        yield f"{header} as {std}", [*COMPILERS[compiler], *INCLUDES, *flags], source


def sources(language, name, only):
    """The test programs and examples of a language: (title, file)."""
    for title, folder in ((f"tests/{name}", ROOT / "tests" / name), ("examples", ROOT / "examples")):
        for file in sorted(folder.glob(f"*{language['suffix']}")):
            if not only or any(part in file.stem for part in only.split(",")):
                yield f"{title}/{file.name}", file


def variants(found):
    """(title, file, flags) of each program that is to be built of the sources."""
    for title, file in found:
        several = re.findall(r"lc-test-flags: (.*)", file.read_text()) or [""]
        for flags in several:
            yield f"{title} {flags}" if len(several) > 1 else title, file, flags.split()


def build(language, file, more_flags, work, libraries):
    program = work / "_".join([file.parent.name, file.stem, *more_flags])
    flags = [language["std"], "-O1", "-g", *STRICT, *INCLUDES, "-I", str(ROOT / "tests"), *more_flags]
    also = re.search(r"lc-test-with: (.*)", file.read_text())
    files = [file, *(file.parent / name for name in also[1].split())] if also else [file]
    link = [
        "-L",
        str(libraries),
        "-Wl,--as-needed",
        "-llighter_cache",
        f"-Wl,-rpath,{libraries}",
        "-lpthread",
        "-ldl",
        "-lm",
    ]
    done = run([*COMPILERS[language["compiler"]], *flags, *map(str, files), "-o", str(program), *link])
    return program, *done


def start_servers(texts, stack):
    """Starts the servers that the sources name; returns the environment that tells of them."""
    env = {}
    names = {name.lower() for name in re.findall(r"LC_TEST_(?:URL_)?([A-Z]+)", texts)}
    if "REDIS_URL" in texts:
        names.add("single")
    for topology in servers.TOPOLOGIES + ("valkey",):
        if topology not in names:
            continue
        plain, server = ("single", "valkey") if topology == "valkey" else (topology, "redis")
        running = stack.enter_context(servers.start(plain, server=server))
        print(f"started {topology}: {running.server} {running.version}", flush=True)
        for purpose, url in running.urls.items():
            env[f"LC_TEST_URL_{topology}" + (f"_{purpose}" if purpose != "main" else "")] = url
        for file in ("ca", "otherca", "client", "client_key") if running.certs else ():
            env[f"LC_TEST_TLS_{file}"] = running.certs[file]
    env["LC_TEST_URL_REFUSED"] = f"redis://127.0.0.1:{free_ports(1)[0]}"
    env["LC_TEST_SERVERS"] = shlex.join([sys.executable, servers.__file__, "run"])
    return {name.upper(): value for name, value in env.items()}


def run_program(tally, title, program, file, env, under, patience):
    """Runs one program in a folder of its own."""
    limit = re.search(r"lc-test-timeout: (\d+)", file.read_text())
    seconds = (int(limit[1]) if limit else SECONDS) * patience
    with tempfile.TemporaryDirectory(prefix="lc-test-") as folder:
        began = time.monotonic()
        ok, output, why = run([*under, program], env=env | {"LC_TEST_DIR": folder}, timeout=seconds)
        tally.report(title, ok, time.monotonic() - began, output, why)


def main():
    parser = argparse.ArgumentParser(description="Builds and runs the C or the C++ tests.")
    parser.add_argument("language", choices=LANGUAGES)
    parser.add_argument("--library", type=Path, default=ROOT / "target/release", help="folder of liblighter_cache.so")
    parser.add_argument("--only", help="only the programs whose name contains one of these")
    parser.add_argument("--under", default="", help="a command that runs the programs, as valgrind")
    parser.add_argument("--patience", type=int, default=1, help="how many times as long a program may take")
    arguments = parser.parse_args()
    language = LANGUAGES[arguments.language]
    under = shlex.split(arguments.under)
    work = ROOT / "target/native" / arguments.language
    work.mkdir(parents=True, exist_ok=True)
    libraries = library_folder(arguments.library, work)
    tally = Tally()

    if not arguments.only:
        for name, command, source in header_jobs(language):
            began = time.monotonic()
            done = subprocess.run(command, input=source, capture_output=True, text=True)
            tally.report(name, done.returncode == 0, time.monotonic() - began, done.stderr)

    found = list(sources(language, arguments.language, arguments.only))
    with contextlib.ExitStack() as stack:
        pool = stack.enter_context(concurrent.futures.ThreadPoolExecutor(2))
        builds = [
            (title, file, pool.submit(build, language, file, flags, work, libraries))
            for title, file, flags in variants(found)
        ]
        texts = "".join(file.read_text() for _, file in found)
        env = dict(os.environ, LC_TEST_LIBRARY=str(libraries / "liblighter_cache.so"))
        env.pop("REDIS_URL", None)
        env.pop("LIGHTER_CACHE_URL", None)
        env |= start_servers(texts, stack)
        for title, file, built in builds:
            program, ok, output, why = built.result()
            if not ok:
                tally.report(f"{title} (build)", False, 0.0, output, why)
                continue
            run_program(tally, title, program, file, env, under, arguments.patience)
            if title.startswith("examples") and "REDIS_URL" in file.read_text():
                with_server = env | {"REDIS_URL": env["LC_TEST_URL_SINGLE"]}
                run_program(tally, f"{title} (REDIS_URL)", program, file, with_server, under, arguments.patience)
    print(f"{tally.passed} passed, {tally.failed} failed")
    return 1 if tally.failed or not tally.passed else 0


if __name__ == "__main__":
    sys.exit(main())
