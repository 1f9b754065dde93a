"""Docker for tests: a real daemon where one answers, and a stand-in program everywhere.

`FakeDocker` puts a program `docker` on PATH (`fake_docker.py`). `RealDocker` uses the one that is
there, with images made of this machine's own Python: nothing is pulled.
"""

import json
import os
import shutil
import subprocess
import sys
import sysconfig
import tarfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Protocol

STAND_IN = Path(__file__).with_name("stand_in.py")
PROGRAM = Path(__file__).with_name("fake_docker.py")
# Of a registry that nobody can reach: what is not here cannot be pulled.
REGISTRY = "localhost:1/test"
SERVER, GATEWAY, ENGINE = "akash-llm-server", "akash-llm-gateway", "ollama"
_MANNERS = ("good", "dies", "fades", "never", "gateway")


def image(manner: str, name: str = SERVER) -> str:
    """The image of a server with these manners."""
    return f"{REGISTRY}/{name}:{manner}"


class DockerForTests(Protocol):
    """What a test can ask of either."""

    is_real: bool

    def containers(self) -> list[Mapping[str, str]]:
        """The labels of all containers that are ours, running or not."""

    def networks(self) -> list[str]:
        """The networks of our projects."""

    def volumes(self) -> list[str]:
        """The volumes for models."""

    def kill(self, service: str) -> None:
        """End what the container of this service runs, for good."""

    def clean(self) -> None:
        """End and remove what is left."""


class FakeDocker:
    """`folder` has its state, and `bin` in it the program."""

    is_real = False

    def __init__(self, folder: Path, engine_port: int) -> None:
        self.folder = folder
        self.bin = folder / "bin"
        self.bin.mkdir(parents=True)
        program = self.bin / "docker"
        program.write_text(f"#!{sys.executable}\n{PROGRAM.read_text()}")
        program.chmod(0o755)
        (self.bin / "stand_in.py").write_bytes(STAND_IN.read_bytes())
        self.environment = {
            "PATH": f"{self.bin}{os.pathsep}{os.environ['PATH']}",
            "FAKE_DOCKER": str(folder),
            "FAKE_DOCKER_ENGINE_PORT": str(engine_port),
        }

    def fault(self, name: str, text: str = "") -> None:
        """Make something fail from now on."""
        (self.folder / name).write_text(text)

    def mend(self, name: str) -> None:
        """No longer."""
        (self.folder / name).unlink(missing_ok=True)

    def calls(self) -> list[list[str]]:
        """What it was asked, word by word."""
        path = self.folder / "calls.jsonl"
        return [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []

    def containers(self) -> list[Mapping[str, str]]:
        return [each["labels"] for each in self._load("containers")]

    def networks(self) -> list[str]:
        return [str(name) for name in self._load("networks")]

    def volumes(self) -> list[str]:
        return [str(name) for name in self._load("volumes")]

    def kill(self, service: str) -> None:
        for each in self._load("containers"):
            if each["labels"]["com.docker.compose.service"] == service:
                os.killpg(each["pid"], 9)

    def clean(self) -> None:
        for each in self._load("containers"):
            try:
                os.killpg(each["pid"], 9)
            except ProcessLookupError:
                continue

    def _load(self, name: str) -> list[Any]:
        path = self.folder / f"{name}.json"
        found: list[Any] = json.loads(path.read_text()) if path.exists() else []
        return found


class RealDocker:
    """The daemon that answers here; `home` is whose containers are ours."""

    is_real = True

    def __init__(self, home: Path) -> None:
        self.environment: dict[str, str] = {}
        self._label = f"label=akash-llm.home={home}"

    def containers(self) -> list[Mapping[str, str]]:
        ids = said("ps", "--all", "--quiet", "--filter", self._label).split()
        found = json.loads(said("inspect", *ids)) if ids else []
        return [each["Config"]["Labels"] for each in found]

    def networks(self) -> list[str]:
        names = said("network", "ls", "--format", "{{.Name}}").split()
        return [name for name in names if name.startswith("akash-llm-")]

    def volumes(self) -> list[str]:
        return said("volume", "ls", "--format", "{{.Name}}").split()

    def kill(self, service: str) -> None:
        which = ("--filter", f"label=com.docker.compose.service={service}")
        for each in said("ps", "--quiet", "--filter", self._label, *which).split():
            said("stop", "--time", "0", each)

    def clean(self) -> None:
        projects = {each["com.docker.compose.project"] for each in self.containers()}
        for project in projects:
            said("compose", "--project-name", project, "down", "--timeout", "0")


def said(*words: str) -> str:
    """What the real docker answers."""
    done = subprocess.run(["docker", *words], capture_output=True, text=True, check=True)
    return done.stdout


def is_real_here() -> bool:
    """Whether a daemon with Compose answers."""
    if shutil.which("docker") is None:
        return False
    wanted = (["compose", "version"], ["version", "--format", "{{.Server.Version}}"])
    return all(
        subprocess.run(["docker", *words], capture_output=True, check=False).returncode == 0
        for words in wanted
    )


def make_images(folder: Path) -> None:
    """The stand-in of our server in all its manners, and an engine, as images of the daemon."""
    python = Path(sys.base_prefix, "bin", f"python{sysconfig.get_python_version()}")
    archive = folder / "root.tar"
    with tarfile.open(archive, "w", dereference=True) as tar:
        for path in sorted({python.resolve(), *_libraries(python), *_library_folder()}):
            tar.add(path, recursive=False)
        tar.add(STAND_IN, "/stand_in.py")
    for manner in _MANNERS:
        command = [str(python.resolve()), "/stand_in.py", manner]
        for name in (SERVER, GATEWAY):
            _import(archive, command, image(manner, name))
    _import(archive, [str(python.resolve()), "-m", "http.server", "11434"], image("engine", ENGINE))


def _import(archive: Path, command: list[str], name: str) -> None:
    changes = (f"ENTRYPOINT {json.dumps(command)}", "VOLUME /state")
    said("import", *(word for each in changes for word in ("--change", each)), str(archive), name)


def _library_folder() -> Iterator[Path]:
    """The standard library, with what it is linked to."""
    root = Path(sysconfig.get_path("stdlib"))
    for path in root.rglob("*"):
        parts = path.relative_to(root).parts
        if not {"site-packages", "test", "__pycache__", "idlelib", "ensurepip"} & set(parts):
            yield path
            if path.suffix == ".so":
                yield from _libraries(path)


def _libraries(program: Path) -> Iterator[Path]:
    """The shared libraries that a program is linked to."""
    done = subprocess.run(["ldd", str(program)], capture_output=True, text=True, check=False)
    found = (Path(word.rstrip(":")) for word in done.stdout.split())
    return (path for path in found if path.is_absolute() and path.is_file())
