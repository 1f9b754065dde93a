"""What this machine must have before anything can be set up, checked in an instant.

Run as a file by the Python of the system (`python3 -I toolkit/preflight.py …`), before
any package is installed: standard library only, and it must still parse where
Python is too old, to say so. It must not import anything of the project.
"""

from __future__ import annotations

import argparse
import importlib.util
import os
import platform
import shutil
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
OLDEST = (3, 11)
TESTED = ("python3.13", "python3.12", "python3.11")
SPACE_BYTES = 4 * 10**9  # packages, the build of llama.cpp, the embedded model
BROWSERS = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")


class Missing:
    """One thing that is not there: what, and the package that brings it (or a next step)."""

    def __init__(self, what: str, package: str = "", step: str = "") -> None:
        self.what = what
        self.package = package
        self.step = step


def find_browser() -> str | None:
    """The Chromium that the browser tests use: $CHROMIUM, or one that is installed."""
    given = os.environ.get("CHROMIUM")
    if given:
        return shutil.which(given)
    return next(filter(None, map(shutil.which, BROWSERS)), None)


def check_version() -> list[Missing]:
    """Python itself."""
    if sys.version_info[:2] >= OLDEST:
        return []
    found = f"Python 3.11 or newer: this is {platform.python_version()}"
    newer = next(filter(shutil.which, TESTED), None)
    step = f"say `make start PYTHON={newer}`" if newer else "install Python 3.11 or newer"
    return [Missing(found, step=step)]


def check_venv() -> list[Missing]:
    """venv and ensurepip, which Debian packs apart."""
    if all(importlib.util.find_spec(name) for name in ("venv", "ensurepip")):
        return []
    own = Path(sys.executable).resolve() == Path("/usr/bin/python3").resolve()
    version = "{}.{}".format(*sys.version_info[:2])
    package = "python3-venv" if own else f"python{version}-venv"
    return [Missing("Python's venv module", package)]


def check_compilers() -> list[Missing]:
    """A C and a C++ compiler and make: llama.cpp has no ready-made build."""
    wanted = {
        "a C compiler": (os.environ.get("CC"), "cc", "gcc", "clang"),
        "a C++ compiler": (os.environ.get("CXX"), "c++", "g++", "clang++"),
        "make": ("make",),
    }
    return [
        Missing(what, "build-essential")
        for what, names in wanted.items()
        if not any(shutil.which(name.split()[0]) for name in names if name)
    ]


def check_space() -> list[Missing]:
    """Room for the environment, which lies in the clone."""
    free = shutil.disk_usage(ROOT).free
    if free >= SPACE_BYTES:
        return []
    gigabytes = f"{SPACE_BYTES / 1e9:.0f} GB are needed, {free / 1e9:.1f} GB are free"
    return [Missing(f"disk space in {ROOT}: {gigabytes}", step="free some space")]


def check_browser() -> list[Missing]:
    """Chromium, for the tests only."""
    return [] if find_browser() else [Missing("Chromium", "chromium")]


def check_node() -> list[Missing]:
    """Node and npm, for the tests only: for a client and for the checker of the panels."""
    wanted = {"Node.js": ("node", "nodejs"), "npm": ("npm", "npm")}
    return [
        Missing(what, package) for what, (name, package) in wanted.items() if not shutil.which(name)
    ]


def report(missing: list[Missing]) -> str:
    """Everything that is missing, then the one line that installs it."""
    lines = ["This machine lacks:"]
    lines += [f"  {one.what}" for one in missing]
    lines += [f"  -> {one.step}" for one in missing if one.step]
    packages = sorted({one.package for one in missing if one.package})
    if packages and shutil.which("apt-get"):
        sudo = "" if os.geteuid() == 0 else "sudo "
        lines.append(f"Install it with:\n  {sudo}apt-get install -y {' '.join(packages)}")
    elif packages:
        lines.append(f"Install what your system has for Debian's {' '.join(packages)}")
    return "\n".join(lines)


CHECKS = {
    "version": check_version,
    "venv": check_venv,
    "compilers": check_compilers,
    "space": check_space,
    "browser": check_browser,
    "node": check_node,
}


def main() -> int:
    """Make the checks that are named; 0 if all is there, else 1 with one message on stderr."""
    parser = argparse.ArgumentParser(description="Check what the set-up needs.")
    parser.add_argument("checks", nargs="+", choices=CHECKS, metavar="|".join(CHECKS))
    missing = [one for name in parser.parse_args().checks for one in CHECKS[name]()]
    if missing:
        print(report(missing), file=sys.stderr)
    return 1 if missing else 0


if __name__ == "__main__":
    sys.exit(main())
