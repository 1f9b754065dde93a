"""A real JupyterLab on a copy of the notebooks, and a Chromium that looks at it."""

import json
import os
import re
import secrets
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.support.ports import free_port
from toolkit.preflight import find_browser

CHROMIUM = find_browser()
CHROMIUM_FLAGS = (
    "--headless=new",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
)
START_TIMEOUT_S = 60.0


@dataclass(frozen=True)
class Lab:
    """A running JupyterLab: where it is, and the folder that it shows."""

    url: str
    token: str
    folder: Path

    def notebook(self, name: str) -> str:
        """The address that opens one notebook alone in a fresh workspace."""
        return f"{self.url}/lab/workspaces/{secrets.token_hex(4)}/tree/{name}?token={self.token}"


@contextmanager
def running_lab(folder: Path, *, env: Mapping[str, str] | None = None) -> Iterator[Lab]:
    """JupyterLab over `folder`, with a token, without news, ended with the block. Its kernels
    have `env` besides."""
    token, port = secrets.token_hex(16), free_port()
    home = folder.parent / f"{folder.name}-jupyter"
    settings = home / "settings"
    _write(
        settings / "@jupyterlab/apputils-extension/notification.jupyterlab-settings",
        {"fetchNews": "false", "checkForUpdates": False},
    )
    places = ("CONFIG_DIR", "DATA_DIR", "RUNTIME_DIR")
    environment = os.environ | {f"JUPYTER_{place}": str(home / place.lower()) for place in places}
    environment |= {
        "JUPYTERLAB_SETTINGS_DIR": str(settings),
        "JUPYTERLAB_WORKSPACES_DIR": str(home / "workspaces"),
        "IPYTHONDIR": str(home / "ipython"),
        "PYTHONPATH": str(Path(__file__).resolve().parents[2]),
        **(env or {}),
    }
    argv = [
        *(sys.executable, "-m", "jupyterlab", "--no-browser", "--ip=127.0.0.1", f"--port={port}"),
        *("--ServerApp.port_retries=0", f"--IdentityProvider.token={token}", "--allow-root"),
        *("--LabApp.news_url=", "--LabApp.expose_app_in_browser=True"),
        f"--ServerApp.root_dir={folder}",
    ]
    log = home / "lab.log"
    with log.open("wb") as out:
        process = subprocess.Popen(argv, env=environment, stdout=out, stderr=out)
        try:
            _wait_until_up(process, log, port)
            yield Lab(f"http://127.0.0.1:{port}", token, folder)
        finally:
            end(process)


def end(process: subprocess.Popen[bytes]) -> None:
    """End a server of notebooks, and its kernels with it; kill it if it takes too long."""
    process.terminate()
    try:
        process.wait(20)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()


def notebook_with(source: Path, target: Path, parameters: dict[str, Any]) -> None:
    """A copy of a notebook whose parameters cell is followed by these values."""
    book = json.loads(source.read_text(encoding="utf-8"))
    tagged = [
        index
        for index, cell in enumerate(book["cells"])
        if "parameters" in cell["metadata"].get("tags", [])
    ]
    lines = [f"{name} = {value!r}\n" for name, value in parameters.items()]
    cell: dict[str, Any] = {
        "cell_type": "code",
        "execution_count": None,
        "id": "injected",
        "metadata": {},
        "outputs": [],
        "source": lines,
    }
    book["cells"].insert(tagged[0] + 1, cell)
    target.write_text(json.dumps(book), encoding="utf-8")


def _write(path: Path, content: object) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(content), encoding="utf-8")


def _wait_until_up(process: subprocess.Popen[bytes], log: Path, port: int) -> None:
    """Until the log says that it serves; with the log's end if it does not."""
    deadline = time.monotonic() + START_TIMEOUT_S
    while time.monotonic() < deadline:
        text = log.read_text(errors="replace")
        if re.search(rf"Jupyter Server .* is running at:|127\.0\.0\.1:{port}/lab\?token", text):
            return
        if process.poll() is not None:
            raise RuntimeError(f"JupyterLab ended with {process.returncode}:\n{text[-3000:]}")
        time.sleep(0.1)
    raise RuntimeError(f"JupyterLab did not start:\n{log.read_text(errors='replace')[-3000:]}")
