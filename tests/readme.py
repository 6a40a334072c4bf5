#!/usr/bin/env python3
"""The documents' programs run as printed, and what the documents name exists.

    python3 tests/readme.py [--library DIR] [c] [cpp] [python] [rust] [links] [targets] [urls]

Each ```c, ```cpp, ```python and ```rust block of README.md, docs/c.md, docs/cpp.md and the Python package's
README is a whole program: it is built against the tree's headers and the library in DIR (default:
target/release), run, and its output is compared with the `prints:` comments beside the lines that print.
Then: relative links and their anchors in all documents, `make` targets, and cache URLs, which the library
itself judges.

With LC_TEST_URL_SINGLE set to a server's URL the programs run a second time with that server, as a
Hybrid, in the place of `local:`; those that open `local:?...` show what is Local's alone, and don't.

Also for pytest: `python -m pytest tests/readme.py`. The Python program needs the built module: run this
with an interpreter that has it, or have it in .venv/. Exit code 0 if all went well.
"""

import argparse
import ctypes
import os
import re
import shutil
import subprocess
import sys
import time
import uuid
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
PACKAGE = ROOT / "bindings/python/README.md"
WITH_PROGRAMS = [ROOT / "README.md", ROOT / "docs/c.md", ROOT / "docs/cpp.md", PACKAGE]
DOCUMENTS = [*sorted(ROOT.glob("*.md")), *sorted((ROOT / "docs").glob("*.md")), PACKAGE]
TARGET = ROOT / os.environ.get("CARGO_TARGET_DIR", "target")
WORK = TARGET / "readme"
SECONDS = 30  # of one program

FENCE = re.compile(r"^```(\w*)\n(.*?)^```$", re.M | re.S)
PRINTS = re.compile(r"(?://|#|/\*) prints: (.*?)(?: \*/)?$", re.M)
LINK = re.compile(r"!?\[[^\]]*\]\(([^)\s]+)\)")
MAKE = re.compile(r"\bmake ((?:[a-z][a-z-]*(?: (?=[a-z]))?)+)")
URL = re.compile(r"`((?:local:|(?:hybrid\+)?(?:redis|valkey)[a-z+]*://)[^`\s]*)`")

# Set by --library; tests that pytest collects use the default.
library = TARGET / "release"


def programs(language):
    """The documents' programs in `language`."""
    texts = [document.read_text() for document in WITH_PROGRAMS]
    found = [body for text in texts for name, body in FENCE.findall(text) if name == language]
    assert found, f"the documents have no {language} program"
    return found


def run(command, **kwargs):
    """Runs `command`, which has to succeed; returns what it printed."""
    shown = " ".join(map(str, command))
    kwargs.setdefault("timeout", 900)
    done = subprocess.run(command, capture_output=True, text=True, cwd=ROOT, **kwargs)
    assert done.returncode == 0, f"{shown}\nended with {done.returncode}\n{done.stdout}{done.stderr}"
    return done.stdout


def check_output(source, command, **kwargs):
    expected = PRINTS.findall(source)
    printed = run(command, timeout=SECONDS, **kwargs).splitlines()
    assert printed == expected, f"printed {printed}, the document says {expected}"


def editions(source):
    """`source` as printed; and, where there is a server, over that."""
    yield "printed", source
    url = os.environ.get("LC_TEST_URL_SINGLE")
    if url:
        hybrid = url if url.startswith("hybrid+") else f"hybrid+{url}"
        joint = "&" if "?" in url else "?"
        served = source.replace('"local:"', f'"{hybrid}{joint}prefix=readme-{uuid.uuid4().hex}"')
        assert served != source or '"local:?' in source, 'the program does not open "local:"'
        if served != source:
            yield "server", served


def native(language, compiler, flags):
    """Compiles and runs the programs of C or C++ with the shared library."""
    shared = library / "liblighter_cache.so"
    assert shared.exists(), f"{shared} is missing; `make` builds it"
    WORK.mkdir(parents=True, exist_ok=True)
    # The loader looks for the soname, under which `make install` puts the library.
    dynamic = run(["readelf", "-d", str(shared)])
    soname = re.search(r"SONAME.*\[(.+)\]", dynamic)
    for name in {shared.name, soname[1] if soname else shared.name}:
        link = WORK / name
        link.unlink(missing_ok=True)
        link.symlink_to(shared.resolve())
    for number, printed in enumerate(programs(language)):
        for edition, source in editions(printed):
            stem = WORK / f"{language}-{number}-{edition}"
            file = stem.with_suffix(f".{language}")
            file.write_text(source)
            run([
                *compiler, *flags, "-Wall", "-Wextra", "-pedantic", "-Werror",
                f"-I{ROOT / 'include'}", f"-I{ROOT / 'bindings/cpp/include'}",
                str(file), "-o", str(stem),
                f"-L{WORK}", f"-Wl,-rpath,{WORK}", "-llighter_cache",
            ])  # fmt: skip
            check_output(printed, [str(stem)])


def test_c():
    native("c", [os.environ.get("CC", "cc")], ["-std=c99"])


def test_cpp():
    native("cpp", [os.environ.get("CXX", "c++")], ["-std=c++17"])


def test_python():
    def has_module(python):
        probe = [str(python), "-c", "import lighter_cache"]
        return shutil.which(probe[0]) and subprocess.run(probe, capture_output=True).returncode == 0

    candidates = [sys.executable, ROOT / ".venv/bin/python"]
    python = next((str(found) for found in candidates if has_module(found)), None)
    assert python, "no interpreter here has the module lighter_cache; `make test-python` builds it"
    for printed in programs("python"):
        for _, source in editions(printed):
            check_output(printed, [python, "-W", "error", "-c", source])


def test_rust():
    """A package beside the tree's own, with the same lock file and target folder, so that nothing is
    fetched and little is built twice."""
    package = WORK / "rust"
    (package / "src/bin").mkdir(parents=True, exist_ok=True)
    for stale in (package / "src/bin").iterdir():
        stale.unlink()
    (package / "Cargo.toml").write_text(
        '[package]\nname = "readme"\nversion = "0.0.0"\nedition = "2024"\npublish = false\n'
        "[workspace]\n"
        '[dependencies]\nlighter_cache = { path = "../../..", default-features = false }\n'
        'tokio = { version = "1", features = ["full"] }\n'
        '[profile.dev]\ndebug = "line-tables-only"\n'.replace("../../..", str(ROOT))
    )
    shutil.copy(ROOT / "Cargo.lock", package / "Cargo.lock")
    built = []
    for number, printed in enumerate(programs("rust")):
        for edition, source in editions(printed):
            name = f"readme-{number}-{edition}"
            (package / f"src/bin/{name}.rs").write_text(source)
            built.append((printed, TARGET / "debug" / name))
    cargo = os.environ.get("CARGO", "cargo")
    run(
        [cargo, "build", "--quiet", "--manifest-path", str(package / "Cargo.toml")],
        env={**os.environ, "CARGO_TARGET_DIR": str(TARGET)},
    )
    for printed, program in built:
        check_output(printed, [str(program)])


def anchors(document):
    """The anchors of the headings, as GitHub makes them."""
    text = FENCE.sub("", document.read_text())
    titles = re.findall(r"^#+ (.+)$", text, re.M)
    plain = [re.sub(r"[^\w\- ]", "", title.lower()) for title in titles]
    return {title.replace(" ", "-") for title in plain}


def test_links():
    broken = []
    for document in DOCUMENTS:
        for link in LINK.findall(FENCE.sub("", document.read_text())):
            if re.match(r"[a-z]+:", link):
                continue
            path, _, anchor = link.partition("#")
            target = (document.parent / path).resolve() if path else document
            if not target.exists() or (anchor and anchor not in anchors(target)):
                broken.append(f"{document.relative_to(ROOT)}: {link}")
    assert not broken, "links that lead nowhere:\n" + "\n".join(broken)


def test_targets():
    rules = set(re.findall(r"^([a-z][\w-]*):", (ROOT / "Makefile").read_text(), re.M))
    named = {}
    for document in DOCUMENTS:
        text = document.read_text()
        # Only what is set as code: prose has its own "make".
        code = [body for _, body in FENCE.findall(text)]
        code += re.findall(r"`([^`\n]+)`", FENCE.sub("", text))
        for targets in MAKE.findall("\n".join(code)):
            named.update(dict.fromkeys(targets.split(), document.name))
    missing = {target: where for target, where in named.items() if target not in rules}
    assert named and not missing, f"no such targets in the Makefile: {missing}"


def test_urls():
    """Every URL that is set as code is one that lc_check takes. Placeholders in capitals are filled in;
    grammar in brackets and what ends in an ellipsis is passed over."""
    loaded = ctypes.CDLL(str(library / "liblighter_cache.so"))
    message = ctypes.create_string_buffer(512)
    wrong, seen = [], 0
    for document in DOCUMENTS:
        for url in URL.findall(document.read_text()):
            if any(open_end in url for open_end in "…[") or url.endswith("://"):
                continue
            seen += 1
            filled = re.sub(r"\b[A-Z]{3,}\b", "x", url.replace(":PORT", ":1"))
            if loaded.lc_check(filled.encode(), message, ctypes.c_size_t(512)) != 0:
                wrong.append(f"{document.name}: {url}: {message.value.decode()}")
    assert seen and not wrong, "URLs that no cache takes:\n" + "\n".join(wrong)


TESTS = {name.removeprefix("test_"): test for name, test in list(globals().items()) if name.startswith("test_")}


def main():
    global library
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--library", type=Path, default=library, metavar="DIR")
    parser.add_argument("names", nargs="*", metavar="NAME", help=", ".join(TESTS))
    options = parser.parse_args()
    unknown = set(options.names) - set(TESTS)
    if unknown:
        parser.error(f"no such test: {', '.join(sorted(unknown))}; there are {', '.join(TESTS)}")
    library = options.library.resolve()
    failed = 0
    for name in options.names or TESTS:
        started = time.monotonic()
        try:
            TESTS[name]()
            outcome = "ok"
        except (AssertionError, OSError, subprocess.TimeoutExpired) as error:
            failed += 1
            outcome = f"FAILED\n{error}"
        print(f"readme {name:8} {outcome} ({time.monotonic() - started:.1f} s)", flush=True)
    sys.exit(1 if failed else 0)


if __name__ == "__main__":
    main()
