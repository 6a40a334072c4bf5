"""Builds the harness, the contenders and their dependencies, each once and only where a section asks for it."""

import functools
import os
import shutil
import subprocess
from pathlib import Path

from .section import Skip

ROOT = Path(__file__).resolve().parent.parent.parent
TARGET = Path(os.environ.get("CARGO_TARGET_DIR") or ROOT / "target").resolve()
OUT = TARGET / "bench"
# Whether all is only tried out: small and short, for its own sake.
TRIAL = "BENCH_TRIAL" in os.environ
C = [os.environ.get("CC", "cc"), "-std=c11", "-O2", "-Wall", "-Wextra", "-Iinclude", "-Ibenches/local"]
CXX = [os.environ.get("CXX", "c++"), "-std=c++17", "-O2", "-Wall", "-Wextra", "-Ibenches/local"]
HERE = "-Wl,-rpath,$ORIGIN"
PARTS = ["main", "workload", "rounds", "ours", "latency", "memory", "pauses"]


def run(command, **environment):
    """Runs a command in the tree, and shows its output only where it fails."""
    done = subprocess.run(
        command, cwd=ROOT, env=os.environ | environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    )
    if done.returncode:
        raise SystemExit(f"{' '.join(map(str, command))}\n{done.stdout}")
    return done.stdout


def copy(file: Path):
    """A fresh file, so that a running program keeps the old one."""
    (OUT / file.name).unlink(missing_ok=True)
    shutil.copy(file, OUT / file.name)


@functools.cache
def harness() -> Path:
    """The program that measures, with the library as a user links it."""
    OUT.mkdir(parents=True, exist_ok=True)
    run([os.environ.get("CARGO", "cargo"), "build", "--release", "--lib", "--locked", "--quiet"])
    library = TARGET / "release" / "liblighter_cache.so"
    copy(library)
    for line in run(["readelf", "-d", library]).splitlines():
        if "(SONAME)" in line:
            soname = OUT / line.partition("[")[2].partition("]")[0]
            if soname.name != library.name:
                soname.unlink(missing_ok=True)
                soname.symlink_to(library.name)
    sources = [f"benches/local/{part}.c" for part in PARTS]
    libraries = ["-llighter_cache", "-lpthread", "-lm", "-ldl"]
    run([*C, *sources, "-o", OUT / "local", f"-L{OUT}", *libraries, HERE])
    return OUT / "local"


def crate(name: str):
    """Builds the crate benches/NAME, a workspace of its own, and copies its library."""
    manifest = f"benches/{name}/Cargo.toml"
    cargo = [os.environ.get("CARGO", "cargo"), "build", "--release", "--locked", "--quiet", "--manifest-path", manifest]
    run(cargo, CARGO_TARGET_DIR=str(TARGET / name))
    copy(TARGET / name / "release" / f"lib{name}.so")
    return OUT / f"lib{name}.so"


@functools.cache
def bare() -> Path:
    """The contender "bare"."""
    harness()
    crate("bare")
    return plugin("bare", "-lbare")


@functools.cache
def peers() -> Path:
    """quick_cache, moka and foyer."""
    harness()
    return crate("peers")


@functools.cache
def native() -> Path:
    """oneTBB and GLib."""
    harness()
    packages({"tbb": "libtbb-dev", "glib-2.0": "libglib2.0-dev"})
    flags = run(["pkg-config", "--cflags", "--libs", "tbb", "glib-2.0"]).split()
    run([*CXX, "-shared", "-fPIC", "benches/local/peer_native.cpp", "-o", OUT / "libpeer_native.so", *flags])
    return OUT / "libpeer_native.so"


@functools.cache
def memcached() -> Path:
    """libmemcached; the server is the section's affair."""
    harness()
    packages({"libmemcached": "libmemcached-dev"})
    if not shutil.which("memcached"):
        install(["memcached"])
    return plugin("memcached", *run(["pkg-config", "--cflags", "--libs", "libmemcached"]).split())


@functools.cache
def hiredis() -> Path:
    """The programs of benches/redis and benches/hybrid, with redis-rs and the system's hiredis or the distribution's in
    the tree; the library."""
    harness()
    probe = subprocess.run([C[0], "-E", "-"], input="#include <hiredis/hiredis.h>", capture_output=True, text=True)
    flags, library = [], "-lhiredis"
    if probe.returncode:
        folder = Path(os.environ.get("LC_DEPS_DIR") or ROOT / ".deps") / "hiredis"
        if not (folder / "usr").exists():
            if not shutil.which("apt-get"):
                raise Skip("hiredis is not here; install its development files")
            print(f"unpacking libhiredis-dev of the distribution in {folder} (nothing is installed)", flush=True)
            folder.mkdir(parents=True, exist_ok=True)
            fetch = "apt-get download -qq libhiredis-dev && dpkg-deb -x libhiredis-dev_*.deb . && rm -- *.deb"
            run(["sh", "-c", f"cd '{folder}' && {fetch}"])
        flags, library = [f"-I{folder}/usr/include"], str(next(folder.rglob("libhiredis.a")))
    crate("redis_rs")
    for program in ("redis/callers", "redis/clear", "redis/resident", "hybrid/hybrid"):
        linked = [f"-L{OUT}", "-llighter_cache", "-lredis_rs", library, "-lpthread", HERE]
        run([*C, *flags, f"benches/{program}.c", "-o", OUT / Path(program).name, *linked])
    return OUT / "liblighter_cache.so"


@functools.cache
def other() -> Path:
    """A second build of the library, see benches/local/ours.c."""
    harness()
    run([*C, "-shared", "-fPIC", "-DBENCH_OTHER", "benches/local/ours.c", "-o", OUT / "libpeer_other.so", "-ldl"])
    return OUT / "libpeer_other.so"


def plugin(name: str, *libraries: str) -> Path:
    """The contender of benches/local/peer_NAME.c."""
    library = OUT / f"libpeer_{name}.so"
    run([*C, "-shared", "-fPIC", f"benches/local/peer_{name}.c", "-o", library, f"-L{OUT}", *libraries, HERE])
    return library


def packages(wanted: dict[str, str]):
    """Sees that pkg-config knows these; the values are the names of Debian's packages."""
    known = shutil.which("pkg-config") is not None
    absent = {"pkg-config"} if not known else set()
    for name, package in wanted.items():
        if not known or subprocess.run(["pkg-config", "--exists", name]).returncode:
            absent.add(package)
    if absent:
        install(sorted(absent))


def install(absent: list[str]):
    """Installs packages of the system where that is allowed, else says how."""
    command = ["apt-get", "install", "-y", "--no-install-recommends", *absent]
    if os.geteuid() != 0 or not shutil.which("apt-get"):
        raise Skip(f"not installed; on Debian: {' '.join(command)}")
    print(f"installing for the benchmarks: {' '.join(absent)}", flush=True)
    for step in (["apt-get", "update"], command):
        done = subprocess.run(
            step, capture_output=True, text=True, env=os.environ | {"DEBIAN_FRONTEND": "noninteractive"}
        )
        if done.returncode:
            raise Skip(f"`{' '.join(step)}` failed: {done.stderr.strip().splitlines()[-1:]}")
