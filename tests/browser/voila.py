"""A real Voila on a copy of the notebooks: the same panels as web pages, behind a token."""

import os
import secrets
import shutil
import subprocess
import sys
import time
from collections.abc import Awaitable, Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from tests.browser.lab import START_TIMEOUT_S, Lab, end
from tests.browser.panel import NOTEBOOKS, Opened
from tests.support.ports import free_port
from toolkit import paths


class Voila(Lab):
    """A running Voila: where it is, and the folder that it shows."""

    def notebook(self, name: str) -> str:
        """The address of one notebook as a page."""
        return f"{self.url}/voila/render/{name}?token={self.token}"


class OpenedPage(Opened):
    """A notebook open as a page of Voila, which has run all of it."""

    async def _run(self, name: str, *, has_one_cell: bool = False) -> None:
        await self.page.goto(self._lab.notebook(name))

    async def in_each_theme(self, act: Callable[[str], Awaitable[None]]) -> None:
        """The page has the theme that it has."""
        await act("voila")

    async def shut_down(self) -> None:
        """Voila ends the kernel of a page that is left."""
        await self.page.goto("about:blank")


@contextmanager
def running_voila(folder: Path, *, env: Mapping[str, str] | None = None) -> Iterator[Voila]:
    """Voila over `folder` as `make web` runs it, ended with the block. Its kernels have `env`
    besides."""
    token, port = secrets.token_hex(16), free_port()
    shutil.copy(NOTEBOOKS / "voila.json", folder)
    home = folder.parent / f"{folder.name}-jupyter"
    home.mkdir()
    places = ("CONFIG_DIR", "DATA_DIR", "RUNTIME_DIR")
    environment = os.environ | {f"JUPYTER_{place}": str(home / place.lower()) for place in places}
    environment |= {
        "IPYTHONDIR": str(home / "ipython"),
        "JUPYTER_PATH": str(paths.templates()),
        "PYTHONPATH": str(NOTEBOOKS.parent),
        **(env or {}),
    }
    argv = [sys.executable, "-m", "voila", "--no-browser", f"--port={port}"]
    argv.append(f"--Voila.token={token}")
    log = home / "voila.log"
    with log.open("wb") as out:
        process = subprocess.Popen(argv, cwd=folder, env=environment, stdout=out, stderr=out)
        try:
            _wait_until_up(process, log)
            yield Voila(f"http://127.0.0.1:{port}", token, folder)
        finally:
            end(process)


def _wait_until_up(process: subprocess.Popen[bytes], log: Path) -> None:
    deadline = time.monotonic() + START_TIMEOUT_S
    while time.monotonic() < deadline and process.poll() is None:
        if "is running at" in log.read_text(errors="replace"):
            return
        time.sleep(0.1)
    raise RuntimeError(f"Voila did not start:\n{log.read_text(errors='replace')[-3000:]}")
