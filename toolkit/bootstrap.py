"""Makes `.venv` from the lock, only when something changed since the last time.

Run as a file by the Python of the system (`python3 -I toolkit/bootstrap.py EXTRA…`),
so standard library only. What was installed stands in `.venv/set-up.json`, written when
all went well: a run that was interrupted is done again. Two runs at once wait for each
other. pip is used as it is configured here.
"""

import contextlib
import fcntl
import hashlib
import json
import os
import queue
import subprocess
import sys
import threading
import time
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import TextIO

ROOT = Path(__file__).resolve().parent.parent
VENV = ROOT / ".venv"
PYTHON = VENV / "bin" / "python"
STAMP = VENV / "set-up.json"
LOG = VENV / "set-up.log"
LOCK = ROOT / "requirements.lock"
PREFLIGHT = ROOT / "toolkit" / "preflight.py"
HEARTBEAT_S = 30
PHASES = (  # how lines of pip begin, and what that means to the person who waits
    ("Collecting", "fetching packages"),
    ("Building wheel for llama-cpp-python", "compiling llama.cpp"),
    ("Installing collected packages", "installing packages"),
)
TAIL_LINES = 25


def wanted() -> str:
    """A digest of all that decides which packages are installed, and where."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    lock = LOCK.read_text(encoding="utf-8")
    parts = [project["project"], project["build-system"], lock, str(ROOT)]
    return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()


def installed() -> tuple[str, set[str]]:
    """The digest and the extras of the last set-up that went well."""
    try:
        stamp = json.loads(STAMP.read_text(encoding="utf-8"))
        return str(stamp["digest"]), {str(extra) for extra in stamp["extras"]}
    except (OSError, ValueError, KeyError, TypeError):
        return "", set()


@contextlib.contextmanager
def alone() -> Iterator[None]:
    """Hold the lock of this clone; say so if another set-up has it."""
    handle = os.open(ROOT, os.O_RDONLY)
    try:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            say("waiting for another set-up of this clone")
            fcntl.flock(handle, fcntl.LOCK_EX)
        yield
    finally:
        os.close(handle)


def say(text: str) -> None:
    """A line for the person who waits."""
    print(text, flush=True)


class Ticker:
    """What pip does now and for how long: one line that changes, or lines in a pipe."""

    def __init__(self, out: TextIO) -> None:
        self._out = out
        self._live = out.isatty()
        self._start = time.monotonic()
        self._spoke = self._start
        self._doing = "starting pip"

    def note(self, line: str) -> None:
        """A line of pip's output."""
        doing = next((ours for theirs, ours in PHASES if line.strip().startswith(theirs)), "")
        is_new = bool(doing) and doing != self._doing
        self._doing = doing or self._doing
        if is_new and not self._live:
            self._print()

    def tick(self) -> None:
        """Called every second."""
        if self._live:
            self._out.write(f"\r\x1b[K{self._text()}")
            self._out.flush()
        elif time.monotonic() - self._spoke >= HEARTBEAT_S:
            self._print()

    def end(self) -> None:
        """Leave the line that changes."""
        if self._live:
            self._out.write("\r\x1b[K")
            self._out.flush()

    def _print(self) -> None:
        self._spoke = time.monotonic()
        self._out.write(f"{self._text()}\n")
        self._out.flush()

    def _text(self) -> str:
        minutes, seconds = divmod(int(time.monotonic() - self._start), 60)
        return f"  [{minutes}:{seconds:02}] {self._doing}"


def run(command: list[str]) -> int:
    """Run a command with its output in the log and its progress on the screen."""
    ticker = Ticker(sys.stdout)
    process = subprocess.Popen(
        command,
        cwd=ROOT,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        errors="replace",
    )
    with process, LOG.open("w", encoding="utf-8") as log:
        for line in _lines(process, ticker):
            log.write(line)
            ticker.note(line)
    ticker.end()
    return process.returncode


def _lines(process: subprocess.Popen[str], ticker: Ticker) -> Iterator[str]:
    """The output as it comes; the ticker ticks while there is none."""
    lines: queue.SimpleQueue[str] = queue.SimpleQueue()

    def pump() -> None:
        for line in process.stdout or ():
            lines.put(line)
        lines.put("")  # no line is empty: each ends with its newline

    threading.Thread(target=pump, daemon=True).start()
    while True:
        try:
            line = lines.get(timeout=1)
        except queue.Empty:
            ticker.tick()
            continue
        if not line:
            return
        yield line


def is_usable() -> bool:
    """Whether `.venv` runs and was made here: one that was moved still points elsewhere."""
    try:
        made = (VENV / "pyvenv.cfg").read_text(encoding="utf-8")
    except OSError:
        return False
    commands = [line for line in made.splitlines() if line.startswith("command =")]
    if not all(line.endswith(str(VENV)) for line in commands):
        return False
    check = "import sys, pip; sys.exit(sys.version_info < (3, 11))"
    try:
        done = subprocess.run([str(PYTHON), "-c", check], capture_output=True, check=False)
    except OSError:
        return False
    return done.returncode == 0


def make_venv() -> int:
    """An environment that runs; made anew if there is none or it is broken."""
    if is_usable():
        return 0
    say(f"making {VENV.name} with Python {sys.version.split()[0]}")
    clear = ["--clear"] if VENV.exists() else []
    command = [sys.executable, "-m", "venv", *clear, str(VENV)]
    return subprocess.run(command, check=False).returncode


def install(extras: set[str]) -> int:
    """The project with these extras, in the versions of the lock."""
    say("installing the packages, see .venv/set-up.log")
    if not list(VENV.glob("lib/python*/site-packages/llama_cpp_python-*")):
        say("llama.cpp is compiled for this machine: that takes minutes")
    options = ["--disable-pip-version-check", "--no-input", "--progress-bar", "off"]
    target = f"{ROOT}[{','.join(sorted(extras))}]"
    pip = [str(PYTHON), "-m", "pip", "install", *options]
    return run([*pip, "--constraint", str(LOCK), "--editable", target])


def set_up(extras: set[str]) -> int:
    """Bring `.venv` up to date with these extras, keeping those that it has."""
    digest = wanted()
    last, has = installed()
    if last == digest and extras <= has and PYTHON.exists():
        return 0
    preflight = [sys.executable, "-I", str(PREFLIGHT), "venv", "compilers", "space"]
    code = subprocess.run(preflight, check=False).returncode or make_venv()
    if code:
        return code
    STAMP.unlink(missing_ok=True)
    code = install(extras | has)
    if code:
        tail = LOG.read_text(encoding="utf-8").splitlines()[-TAIL_LINES:]
        print("\n".join([*tail, f"error: pip failed; all it said is in {LOG}"]), file=sys.stderr)
        return code
    stamp = {"digest": digest, "extras": sorted(extras | has)}
    STAMP.write_text(json.dumps(stamp), encoding="utf-8")
    return 0


def main() -> int:
    """`bootstrap.py EXTRA…`"""
    with alone():
        return set_up(set(sys.argv[1:]))


if __name__ == "__main__":
    try:
        sys.exit(main())
    except KeyboardInterrupt:
        sys.exit(130)
