"""Builds an image of the server and pushes it: `make image IMAGE=REGISTRY/NAME:TAG`.

Run as a file by the Python of the system (`python3 -I toolkit/image.py IMAGE [VARIANT]`), so
standard library only. What is built is what is committed: the build sees an export of HEAD, not
the working tree. The program that builds is docker, podman or buildah, the first that answers.
"""

import datetime
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
# Deploying knows images by these names.
NAMES = {
    "cpu": "akash-llm-server",
    "cuda": "akash-llm-server-cuda",
    "gateway": "akash-llm-gateway",
}
EXAMPLE = "make image IMAGE=ghcr.io/you/akash-llm-server:1.2.3"
BUILDERS = ("docker", "podman", "buildah")
# What providers run, whatever this machine is: one of another kind has to emulate it.
PLATFORM = "linux/amd64"
ANSWER_S = 30

_HOST = r"[A-Za-z0-9][A-Za-z0-9.-]*"
_PART = r"[a-z0-9]+(?:(?:\.|_|__|-+)[a-z0-9]+)*"
_IMAGE = re.compile(
    rf"(?P<repository>(?:(?P<host>{_HOST})(?::[0-9]+)?/)?(?:{_PART}/)*(?P<name>{_PART}))"
    r"(?::(?P<tag>[A-Za-z0-9_][A-Za-z0-9._-]{0,127}))?"
)


class ImageError(Exception):
    """Why there is no image, with the next step."""


def named(image: str) -> tuple[str, str]:
    """The last part of the repository, and the tag. Raises `ImageError`."""
    if not image:
        raise ImageError(f"which image? Say for example: {EXAMPLE}")
    found = _IMAGE.fullmatch(image)
    if found is None:
        raise ImageError(f"{image!r} names no image. Say for example: {EXAMPLE}")
    if found["tag"] in (None, "latest"):
        raise ImageError(
            f"{image!r} does not say which version: providers keep what they have under such a "
            f"name. Add a tag, for example {found['repository']}:1.2.3"
        )
    return found["name"], found["tag"]


def variant_of(name: str, asked: str) -> str:
    """Which image to build: the one that is asked for, else the one of that name."""
    by_name = {ours: variant for variant, ours in NAMES.items()}
    known = ", ".join(NAMES)
    if asked and asked not in NAMES:
        raise ImageError(f"there is no VARIANT {asked!r}: there are {known}")
    if asked and by_name.get(name, asked) != asked:
        raise ImageError(f"{name} is the name of VARIANT={by_name[name]}: call it {NAMES[asked]}")
    if not asked and name not in by_name:
        raise ImageError(
            f"which VARIANT is {name}? Add VARIANT= with one of {known}, or call it "
            f"{', '.join(NAMES.values())}: deploying knows those names"
        )
    return asked or by_name[name]


def builder() -> str:
    """The program that builds. Raises `ImageError` if none is here or none answers."""
    silent = {}
    for program in BUILDERS:
        if shutil.which(program) is None:
            continue
        try:
            done = subprocess.run(
                [program, "info"], capture_output=True, text=True, timeout=ANSWER_S, check=False
            )
        except (OSError, subprocess.TimeoutExpired) as error:
            silent[program] = str(error)
            continue
        if done.returncode == 0:
            return program
        silent[program] = (done.stderr.strip().splitlines() or ["it gave no reason"])[-1]
    if silent:
        reasons = "; ".join(f"{program}: {reason}" for program, reason in silent.items())
        raise ImageError(
            f"nothing here builds images now ({reasons}). Start it, or install buildah"
        )
    raise ImageError(
        f"none of {', '.join(BUILDERS)} is here. Install one (apt-get install buildah), or push a "
        "tag: the workflow `image` builds and publishes the images on GitHub"
    )


def build_command(
    program: str, image: str, variant: str, context: Path, commit: str, epoch: int
) -> list[str]:
    """How the program builds the image out of an export of the commit, made at `epoch` (s)."""
    _, tag = named(image)
    created = datetime.datetime.fromtimestamp(epoch, datetime.UTC).isoformat()
    labels = {"version": tag, "revision": commit, "created": created}
    return [
        *(program, "build", "--platform", PLATFORM, *alike(program, epoch)),
        *("--file", str(context / "templates" / "image" / f"Containerfile.{variant}")),
        *("--build-arg", f"SOURCE_DATE_EPOCH={epoch}"),
        *(f"--label=org.opencontainers.image.{key}={text}" for key, text in labels.items()),
        *("--tag", image, str(context)),
    ]


def alike(program: str, epoch: int) -> tuple[str, ...]:
    """What the others need to be told for an image such as docker makes: one with a health check,
    which is no part of their own format, and with `epoch` for the time of the build, which docker
    takes from the argument."""
    return () if program == "docker" else ("--format", "docker", "--timestamp", str(epoch))


def push_command(program: str, image: str) -> list[str]:
    """How the program pushes the image. Docker takes a registry of this machine without TLS; the
    others have to be told."""
    found = _IMAGE.fullmatch(image)
    host = (found and found["host"]) or ""
    is_here = host == "localhost" or re.fullmatch(r"127(?:\.[0-9]{1,3}){3}", host)
    without_tls = ("--tls-verify=false",) if is_here and program != "docker" else ()
    return [program, "push", *without_tls, image]


def git(*arguments: str) -> str:
    """What git says about this clone. Raises `ImageError`."""
    program = shutil.which("git")
    if program is None:
        raise ImageError("images are built from what is committed, and there is no git: install it")
    done = subprocess.run(
        [program, "-C", str(ROOT), *arguments], capture_output=True, text=True, check=False
    )
    if done.returncode:
        raise ImageError(f"images are built from what is committed: {done.stderr.strip()}")
    return done.stdout


def export(folder: Path) -> tuple[str, int]:
    """Lay what is committed into the folder; the commit, and when it was made."""
    commit, epoch = git("log", "-1", "--format=%H %ct").split()
    if git("status", "--porcelain"):
        say("changes that are not committed are not in the image")
    with tempfile.TemporaryDirectory(prefix="akash-llm-image-") as other:
        archive = Path(other) / "source.tar"
        git("archive", "--format=tar", f"--output={archive}", commit)
        shutil.unpack_archive(archive, folder)
    return commit, int(epoch)


def say(text: str) -> None:
    """A line for the person who waits."""
    sys.stdout.write(f"{text}\n")
    sys.stdout.flush()


def make(image: str, asked: str) -> None:
    """Build it and push it. Raises `ImageError`."""
    name, _ = named(image)
    variant = variant_of(name, asked)
    program = builder()
    with tempfile.TemporaryDirectory(prefix="akash-llm-image-") as folder:
        context = Path(folder)
        commit, epoch = export(context)
        say(f"{program} builds {image} ({variant}) from {commit[:12]}")
        run(build_command(program, image, variant, context, commit, epoch), "was not built")
    run(
        push_command(program, image), f"was not pushed. Log in with `{program} login` and try again"
    )
    say(f"{image} is pushed: deploy it with --image {image}")


def run(command: Sequence[str], failure: str) -> None:
    """Run it with its output on the screen. Raises `ImageError`."""
    if code := subprocess.run(command, check=False).returncode:
        raise ImageError(f"the image {failure} ({command[0]} ended with {code})")


def main(image: str = "", variant: str = "") -> int:
    """`image.py IMAGE [VARIANT]`"""
    try:
        make(image.strip(), variant.strip())
    except ImageError as error:
        sys.stderr.write(f"error: {error}\n")
        return 2
    return 0


if __name__ == "__main__":
    try:
        sys.exit(main(*sys.argv[1:]))
    except KeyboardInterrupt:
        sys.exit(130)
