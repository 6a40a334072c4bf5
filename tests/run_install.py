#!/usr/bin/env python3
"""The install test: `make install` into an empty folder, programs built against it by pkg-config (shared and
static) and by CMake, then `make uninstall`, which must leave nothing.

pkg-config and cmake are those in PATH, else those of `.venv/`.
"""

import os
import shlex
import shutil
import subprocess
import sys
import tempfile
import tomllib
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
USES = ROOT / "tests/install"
PREFIX = "/usr/local"
CC = shlex.split(os.environ.get("CC", "cc"))
CXX = shlex.split(os.environ.get("CXX", "c++"))
STRICT = ["-Wall", "-Wextra", "-Werror"]


def tool(*names):
    """The first of `names` that is in PATH or in the tree's virtual environment."""
    path = os.pathsep.join([os.environ["PATH"], str(ROOT / ".venv/bin")])
    for name in names:
        if found := shutil.which(name, path=path):
            return found
    sys.exit(f"{names[0]} is not here: make .venv/.tools")


def run(*command, **env):
    """Runs a command that must succeed; returns what it printed."""
    done = subprocess.run(list(map(str, command)), env=os.environ | env, capture_output=True, text=True, timeout=600)
    if done.returncode != 0:
        raise AssertionError(f"{shlex.join(map(str, command))}\n{done.stdout}{done.stderr}")
    return done.stdout


def make(target, stage):
    for name in ("MAKEFLAGS", "MAKELEVEL", "MFLAGS"):
        os.environ.pop(name, None)
    return run("make", "-C", ROOT, "--no-print-directory", target, f"DESTDIR={stage}", f"PREFIX={PREFIX}")


def files_below(folder):
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_symlink() or path.is_file())


class InstallTest:
    """The steps share one staged installation; each method is one test."""

    def __init__(self, work):
        self.work = work
        self.stage = work / "stage"
        self.library = self.stage / PREFIX.lstrip("/") / "lib"
        self.version = tomllib.loads((ROOT / "Cargo.toml").read_text())["workspace"]["package"]["version"]

    def install(self):
        """install puts the library with its two links, both headers, .pc and CMake files there"""
        make("install", self.stage)
        wanted = [
            "include/lighter_cache.h", "include/lighter_cache.hpp", "lib/liblighter_cache.a", "lib/liblighter_cache.so",
            "lib/liblighter_cache.so.0", f"lib/liblighter_cache.so.{self.version}", "lib/pkgconfig/lighter_cache.pc",
            "lib/cmake/lighter_cache/lighter_cache-config.cmake",
            "lib/cmake/lighter_cache/lighter_cache-config-version.cmake",
        ]  # fmt: skip
        assert files_below(self.stage / PREFIX.lstrip("/")) == sorted(wanted), files_below(self.stage)
        dynamic = run("readelf", "-d", self.library / "liblighter_cache.so")
        assert "soname: [liblighter_cache.so.0]" in dynamic and "NODELETE" in dynamic, dynamic

    def _pkg_config(self, *flags):
        text = run(
            tool("pkg-config", "pkgconf"), *flags, "lighter_cache",
            PKG_CONFIG_PATH=str(self.library / "pkgconfig"), PKG_CONFIG_SYSROOT_DIR=str(self.stage),
        )  # fmt: skip
        return shlex.split(text)

    def pkg_config_shared(self):
        """a C program builds by pkg-config and runs on the shared library"""
        assert self._pkg_config("--modversion") == [self.version]
        program = self.work / "use_shared"
        run(*CC, "-std=c99", *STRICT, USES / "use_c.c", "-o", program, *self._pkg_config("--cflags", "--libs"))
        assert self.version in run(program, LD_LIBRARY_PATH=str(self.library))
        assert "[liblighter_cache.so.0]" in run("readelf", "-d", program)

    def pkg_config_cpp(self):
        """a C++ program builds by pkg-config and runs"""
        program = self.work / "use_cpp"
        run(*CXX, "-std=c++17", *STRICT, USES / "use_cpp.cpp", "-o", program, *self._pkg_config("--cflags", "--libs"))
        assert self.version in run(program, LD_LIBRARY_PATH=str(self.library))

    def pkg_config_static(self):
        """a C program builds by pkg-config --static and runs without the shared library"""
        program = self.work / "use_static"
        flags = self._pkg_config("--static", "--cflags", "--libs")
        flags = ["-l:liblighter_cache.a" if flag == "-llighter_cache" else flag for flag in flags]
        run(*CC, "-std=c99", *STRICT, USES / "use_c.c", "-o", program, *flags)
        assert self.version in run(program)
        assert "liblighter_cache" not in run("readelf", "-d", program)

    def cmake(self):
        """find_package gives the targets shared, static and cpp; programs build and run"""
        built = self.work / "cmake"
        cmake = tool("cmake")
        prefix = self.stage / PREFIX.lstrip("/")
        run(cmake, "-S", USES, "-B", built, f"-DCMAKE_PREFIX_PATH={prefix}", "-DCMAKE_BUILD_TYPE=Release")
        run(cmake, "--build", built)
        for name in ("use_shared", "use_static", "use_cpp"):
            assert self.version in run(built / name), name

    def moved(self):
        """an installation that was moved still serves CMake"""
        moved = self.work / "moved"
        shutil.copytree(self.stage / PREFIX.lstrip("/"), moved, symlinks=True)
        built = self.work / "cmake-moved"
        run(tool("cmake"), "-S", USES, "-B", built, f"-DCMAKE_PREFIX_PATH={moved}")
        run(tool("cmake"), "--build", built, "--target", "use_shared")
        assert str(moved) in run("readelf", "-d", built / "use_shared")

    def uninstall(self):
        """uninstall leaves no file behind"""
        make("uninstall", self.stage)
        assert files_below(self.stage) == [], files_below(self.stage)


def main():
    passed = failed = 0
    with tempfile.TemporaryDirectory(prefix="lc-install-") as folder:
        test = InstallTest(Path(folder))
        for step in (
            "install",
            "pkg_config_shared",
            "pkg_config_cpp",
            "pkg_config_static",
            "cmake",
            "moved",
            "uninstall",
        ):
            method = getattr(test, step)
            try:
                method()
                passed += 1
                print(f"ok     install/{step}: {method.__doc__}", flush=True)
            except AssertionError as error:
                failed += 1
                print(f"FAILED install/{step}: {method.__doc__}\n{error}", flush=True)
    print(f"{passed} passed, {failed} failed")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
