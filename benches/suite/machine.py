"""What the report says of the machine and of the versions: nothing that names it."""

import os
import platform
import re
import subprocess
from pathlib import Path

from .build import ROOT


def machine() -> str:
    """Processor, memory, system; no names of hosts or users."""
    info = Path("/proc/cpuinfo").read_text() if Path("/proc/cpuinfo").exists() else ""
    model = re.search(r"model name\s*:\s*(.*)", info)
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / (1 << 30)
    virtual = ", virtual" if re.search(r"^flags.*\bhypervisor\b", info, re.M) else ""
    libc = " ".join(platform.libc_ver())
    return (
        f"{len(os.sched_getaffinity(0))} processors ({model.group(1) if model else platform.machine()}{virtual}), "
        f"{memory:.0f} GiB, Linux {platform.release().split('-')[0]}, {libc}"
    )


def output(*command: str) -> str:
    """The first line that a command prints, or nothing."""
    try:
        return subprocess.run(command, capture_output=True, text=True).stdout.partition("\n")[0].strip()
    except FileNotFoundError:
        return ""


def locked(manifest: str, *names: str) -> dict[str, str]:
    """Versions of crates, from a Cargo.lock."""
    text = (ROOT / manifest).read_text()
    found = {}
    for name in names:
        version = re.search(rf'name = "{name}"\nversion = "([^"]+)"', text)
        if version:
            found[name] = version.group(1)
    return found


def packages(*names: str) -> dict[str, str]:
    """Versions that pkg-config knows."""
    return {name: version for name in names if (version := output("pkg-config", "--modversion", name))}


def compilers() -> dict[str, str]:
    """What compiled the two sides."""
    rust, c = output("rustc", "--version"), output(os.environ.get("CC", "cc"), "--version")
    return {"rustc": rust.removeprefix("rustc ").partition(" ")[0], "C compiler": c}
