"""The root of an image, made by the script that makes it in a container, in a bare Debian here.

Needs root and mmdebstrap. Packages come from wherever apt and pip of this machine take them; pip
keeps them in a cache of the tests. Nothing is mounted that outlives the process that needs it.
"""

import hashlib
import os
import shutil
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

import platformdirs

from tests.support.containerfile import Containerfile

SOURCE = Path(__file__).resolve().parents[2]
MAKER = "mmdebstrap"
SCRIPT = "/build/source/templates/image/install.sh"
CERTIFICATES = Path("/etc/ssl/certs/ca-certificates.crt")
PACKAGES = Path(platformdirs.user_cache_dir("akash-llm-tests")) / "image-packages"

# Files that an engine mounts, besides folders such as /proc.
MOUNTED = {"etc/hosts", "etc/hostname", "etc/resolv.conf"}


class NoRoot(Exception):
    """Why this machine cannot make one."""


def check_machine() -> None:
    """Raise `NoRoot` where no bare Debian can be made and mounted."""
    if os.geteuid() != 0:
        raise NoRoot("only root can make the root of an image")
    if shutil.which(MAKER) is None:
        raise NoRoot(f"there is no {MAKER}: see system-packages.txt")
    if subprocess.run(["unshare", "--mount", "--pid", "--fork", "true"], check=False).returncode:
        raise NoRoot("this machine lets nobody mount anything")
    mirror()


def mirror() -> str:
    """Where apt of this machine takes Debian from. Raises `NoRoot`."""
    command = ["apt-get", "indextargets", "--format", "$(ORIGIN) $(LABEL) $(REPO_URI)"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    found = [line.split() for line in done.stdout.splitlines()]
    for words in found:
        if words[:2] == ["Debian", "Debian"]:
            return words[2]
    raise NoRoot("apt of this machine knows no mirror of Debian")


def suite() -> str:
    """The release of Debian that our images begin with: of debian:NAME-slim, the name."""
    base = Containerfile.of("gateway").stages[0].base
    return base.rpartition(":")[2].partition("-")[0]


def make_base(folder: Path) -> None:
    """A bare Debian in the folder, as small as the image that the Containerfiles begin with."""
    options = ["--quiet", "--mode=root", "--variant=minbase", "--dpkgopt=force-unsafe-io"]
    _run([MAKER, *options, suite(), str(folder), mirror()], os.environ)


def make_wheels(folder: Path) -> None:
    """llama.cpp as it is compiled for the tests: pip has it in its cache since they were set up."""
    options = ["--no-deps", "--constraint", str(SOURCE / "requirements.lock")]
    command = [sys.executable, "-m", "pip", "wheel", "--quiet", *options]
    _run([*command, "--wheel-dir", str(folder), "llama-cpp-python"], os.environ)


def compile_wheels(base: Path, root: Path, wheels: Path) -> None:
    """llama.cpp as the image has it, in a root of its own. Takes ten minutes on two cores."""
    _copy(base, root)
    _in_root(root, "compile", "cpu")
    shutil.copytree(root / "build" / "wheels", wheels)


def make_root(base: Path, root: Path, variant: str, wheels: Path | None = None) -> None:
    """The root of a variant, with wheels that are there already."""
    _copy(base, root)
    if wheels is not None:
        shutil.copytree(wheels, root / "build" / "wheels")
    PACKAGES.mkdir(parents=True, exist_ok=True)
    _in_root(root, "install", variant, PACKAGES)
    _in_root(root, "clean", variant)


def size_bytes(root: Path) -> int:
    """What all files and folders take on the disk, links counted once."""
    seen: dict[tuple[int, int], int] = {}
    for folder, folders, files in os.walk(root):
        for name in (*folders, *files):
            status = os.lstat(os.path.join(folder, name))  # noqa: PTH118 (thousands of them)
            seen[status.st_dev, status.st_ino] = status.st_blocks * 512
    return sum(seen.values())


def contents(root: Path) -> dict[str, tuple[int | str, ...]]:
    """What two roots of the same image have in common: of each path its mode, whose it is, when
    it was changed, and what is in it or where it leads. What an engine mounts is not in it."""
    found: dict[str, tuple[int | str, ...]] = {}
    for folder in ("etc", "models", "opt", "state", "usr", "var"):
        for path in (root / folder, *(root / folder).rglob("*")):
            if str(path.relative_to(root)) in MOUNTED:
                continue
            status = path.lstat()
            inside = ""
            if path.is_symlink():
                inside = str(path.readlink())
            elif path.is_file():
                inside = hashlib.sha256(path.read_bytes()).hexdigest()
            facts = (status.st_mode, status.st_uid, status.st_gid, int(status.st_mtime), inside)
            found[str(path.relative_to(root))] = facts
    return found


def _copy(base: Path, root: Path) -> None:
    """The base and, in /build/source, what git would commit of this tree."""
    _run(["cp", "--archive", str(base), str(root)], os.environ)
    source = root / "build" / "source"
    listed = ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"]
    done = subprocess.run(listed, cwd=SOURCE, capture_output=True, text=True, check=True)
    for name in filter(None, done.stdout.split("\0")):
        if (SOURCE / name).is_file():
            (source / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(SOURCE / name, source / name)


def _in_root(root: Path, step: str, variant: str, packages: Path | None = None) -> None:
    """A step of the script. /proc is there, and the packages while it runs."""
    environment = {"PATH": "/usr/sbin:/usr/bin:/sbin:/bin", "SOURCE_DATE_EPOCH": "1700000000"}
    environment |= {key: value for key, value in os.environ.items() if key.endswith("_proxy")}
    mounts = f"mount -t proc proc {root}/proc"
    if CERTIFICATES.exists():
        shutil.copy(CERTIFICATES, root / "build" / "certificates.pem")
        names = ("PIP_CERT", "SSL_CERT_FILE")
        environment |= dict.fromkeys(names, "/build/certificates.pem")
    if packages is not None:
        (root / "build" / "packages").mkdir()
        mounts += f" && mount --bind {packages} {root}/build/packages"
        environment["PIP_CACHE_DIR"] = "/build/packages"
    for key in ("index-url", "proxy", "trusted-host"):
        if value := _pip_says(f"global.{key}"):
            environment[f"PIP_{key.upper().replace('-', '_')}"] = value
    command = f"{mounts} && exec chroot {root} sh {SCRIPT} {step} {variant}"
    _run(["unshare", "--mount", "sh", "-c", command], environment)


def _pip_says(key: str) -> str:
    command = [sys.executable, "-m", "pip", "config", "get", key]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    return done.stdout.strip() if done.returncode == 0 else ""


def _run(command: list[str], environment: Mapping[str, str]) -> None:
    """Run it; what it printed is the failure."""
    done = subprocess.run(
        command,
        env=environment,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        errors="replace",
        check=False,
    )
    lines = done.stdout.splitlines()[-40:]
    assert done.returncode == 0, "\n".join([" ".join(command), *lines])
