"""`make image`: what it refuses, what it tells the program that builds, and what that sees.

No program that builds runs here: one of the tests' own stands in its place and writes down
what it was told.
"""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import msgspec
import pytest

from toolkit.image import ImageError, named, variant_of

ROOT = Path(__file__).resolve().parents[2]
IMAGE = "ghcr.io/me/akash-llm-server:1.2.3"
STAND_IN = """#!{python}
import json, os, sys
words = sys.argv[1:]
files = sorted(os.listdir(words[-1])) if words[0] == "build" else []
with open({notes!r}, "a") as notes:
    notes.write(json.dumps({{"words": words, "files": files}}) + "\\n")
sys.exit({codes}.get(words[0], 0))
"""


class Note(msgspec.Struct):
    """What a stand-in was told, and what lay in the context."""

    words: list[str]
    files: list[str]


class Clone:
    """A repository with one commit, and programs that build as far as the test puts some there."""

    def __init__(self, folder: Path) -> None:
        self.root, self._programs = folder / "clone", folder / "programs"
        self._notes = folder / "notes"
        (self.root / "toolkit").mkdir(parents=True)
        self._programs.mkdir()
        shutil.copy(ROOT / "toolkit" / "image.py", self.root / "toolkit")
        (self._programs / "git").symlink_to(shutil.which("git") or "git")

    def commit(self) -> str:
        """Commit all; what the commit is called."""
        author = ["-c", "user.name=me", "-c", "user.email=me@example.org"]
        for words in (["init", "-q"], ["add", "-A"], [*author, "commit", "-q", "-m", "All"]):
            subprocess.run(["git", *words], cwd=self.root, check=True)
        show = ["git", "rev-parse", "HEAD"]
        return subprocess.run(
            show, cwd=self.root, capture_output=True, text=True, check=True
        ).stdout.strip()

    def put(self, name: str, **codes: int) -> None:
        """A program that ends with these codes when told `info`, `build` or `push`."""
        program = self._programs / name
        text = STAND_IN.format(python=sys.executable, notes=str(self._notes), codes=codes)
        program.write_text(text, encoding="utf-8")
        program.chmod(0o755)

    def make(self, *words: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, "-I", "toolkit/image.py", *words],
            cwd=self.root,
            env={**os.environ, "PATH": str(self._programs)},
            capture_output=True,
            text=True,
            check=False,
        )

    def notes(self, *words: str) -> list[Note]:
        """What was told beginning with these words."""
        lines = self._notes.read_bytes().splitlines() if self._notes.exists() else []
        notes = [msgspec.json.decode(line, type=Note) for line in lines]
        return [note for note in notes if note.words[: len(words)] == list(words)]


@pytest.fixture
def clone(tmp_path: Path) -> Clone:
    return Clone(tmp_path)


@pytest.mark.parametrize(
    ("image", "part"),
    [
        ("", "which image?"),
        ("akash llm:1", "names no image"),
        ("ghcr.io/Me/akash-llm-server:1", "names no image"),
        ("--load:1", "names no image"),
        ("--load/akash-llm-server:1", "names no image"),
        ("akash-llm-server:", "names no image"),
        ("ghcr.io/me/akash-llm-server", "ghcr.io/me/akash-llm-server:1.2.3"),
        ("ghcr.io/me/akash-llm-server:latest", "which version"),
        ("localhost:5000/akash-llm-server", "which version"),
    ],
)
def test_a_name_that_cannot_be_meant(image: str, part: str) -> None:
    with pytest.raises(ImageError) as caught:
        named(image)
    assert part in str(caught.value)


@pytest.mark.parametrize(
    ("image", "asked", "variant"),
    [
        ("akash-llm-server:1", "", "cpu"),
        ("akash-llm-server:1", "cpu", "cpu"),
        ("localhost:5000/a/b/akash-llm-server-cuda:1.2.3-rc.1", "", "cuda"),
        ("ghcr.io/me/akash-llm-gateway:v1", "", "gateway"),
        ("ghcr.io/me/mine:1", "gateway", "gateway"),
    ],
)
def test_the_variant_follows_from_the_name(image: str, asked: str, variant: str) -> None:
    assert variant_of(named(image)[0], asked) == variant


@pytest.mark.parametrize(
    ("name", "asked", "part"),
    [
        ("mine", "", "VARIANT="),
        ("akash-llm-server", "gpu", "cpu, cuda, gateway"),
        ("akash-llm-gateway", "cpu", "call it akash-llm-server"),
    ],
)
def test_a_variant_that_cannot_be_meant(name: str, asked: str, part: str) -> None:
    with pytest.raises(ImageError) as caught:
        variant_of(name, asked)
    assert part in str(caught.value)


@pytest.mark.parametrize("program", ["docker", "podman", "buildah"])
def test_what_is_committed_is_built_and_pushed(clone: Clone, program: str) -> None:
    commit = clone.commit()
    (clone.root / "secret.txt").write_text("not committed")
    clone.put(program)
    done = clone.make(IMAGE)
    assert done.returncode == 0, done.stderr
    assert "not committed are not in the image" in done.stdout
    (build,) = clone.notes("build")
    assert build.files == ["toolkit"]
    assert build.words[build.words.index("--tag") + 1] == IMAGE
    assert build.words[build.words.index("--file") + 1].endswith("image/Containerfile.cpu")
    assert f"--label=org.opencontainers.image.revision={commit}" in build.words
    assert "--label=org.opencontainers.image.version=1.2.3" in build.words
    assert build.words[build.words.index("--platform") + 1] == "linux/amd64"
    # A health check is lost in the format of OCI.
    assert ("--format" in build.words) == (program != "docker")
    assert clone.notes("push", IMAGE)


@pytest.mark.parametrize("program", ["docker", "podman", "buildah"])
def test_an_image_says_when_it_was_committed_not_built(clone: Clone, program: str) -> None:
    clone.commit()
    clone.put(program)
    assert clone.make(IMAGE).returncode == 0
    show = ["git", "show", "--no-patch", "--format=%ct"]
    epoch = subprocess.check_output(show, cwd=clone.root, text=True).strip()
    (build,) = clone.notes("build")
    assert f"SOURCE_DATE_EPOCH={epoch}" in build.words
    if program != "docker":
        assert build.words[build.words.index("--timestamp") + 1] == epoch


@pytest.mark.parametrize(
    ("program", "host", "is_told"),
    [
        ("buildah", "localhost:5000", True),
        ("podman", "127.0.0.1:5000", True),
        ("docker", "localhost:5000", False),
        ("buildah", "localhost.example.org", False),
        ("buildah", "127.0.0.1.example.org", False),
        ("podman", "ghcr.io", False),
    ],
)
def test_only_a_registry_of_this_machine_may_be_without_tls(
    clone: Clone, program: str, host: str, is_told: bool
) -> None:
    clone.commit()
    clone.put(program)
    assert clone.make(f"{host}/akash-llm-server:1").returncode == 0
    (push,) = clone.notes("push")
    assert ("--tls-verify=false" in push.words) == is_told


def test_the_first_program_that_answers_builds(clone: Clone) -> None:
    clone.commit()
    clone.put("docker", info=1)
    clone.put("buildah")
    done = clone.make(IMAGE)
    assert "buildah builds" in done.stdout


def test_without_a_program_there_is_a_next_step(clone: Clone) -> None:
    clone.commit()
    done = clone.make(IMAGE)
    assert done.returncode == 2
    assert "apt-get install buildah" in done.stderr
    clone.put("docker", info=1)
    assert "docker: it gave no reason" in clone.make(IMAGE).stderr


@pytest.mark.parametrize(("failing", "part"), [("build", "not built"), ("push", "docker login")])
def test_a_failure_says_what_failed(clone: Clone, failing: str, part: str) -> None:
    clone.commit()
    clone.put("docker", **{failing: 1})
    done = clone.make(IMAGE)
    assert done.returncode == 2
    assert part in done.stderr


def test_only_a_clone_can_be_built(clone: Clone) -> None:
    clone.put("docker")
    done = clone.make(IMAGE)
    assert done.returncode == 2
    assert "what is committed" in done.stderr
    assert not clone.notes("build")
