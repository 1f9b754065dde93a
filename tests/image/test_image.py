"""The images, run without an engine: their roots in namespaces of their own."""

import os
import shutil
import signal
import stat
import subprocess
from pathlib import Path

import psutil
import pytest

from tests.image.conftest import RunImage
from tests.support.containerfile import Containerfile
from tests.support.image_root import contents, make_root, size_bytes

USER_ID = 10001
# In the head of a .pyc: it goes by a digest of its source, and that is not compared (PEP 552).
BY_HASH = (1).to_bytes(4, "little")
MB = 1_000_000
WHY_NOT = "takes minutes: `make image-test` compiles llama.cpp as in the image, and does this"
LIMITS_BYTES = {"cpu": 400 * MB, "gateway": 120 * MB}
MODEL = "smollm2:135m"
MODULES = "opt/akash-llm/lib/python3.*/site-packages/llama_cpp/lib/libggml-cpu-*.so"
LIBRARIES = "opt/akash-llm/lib/python3.*/site-packages/llama_cpp/lib/*.so*"
COMPILED = {
    "gateway": ("uvloop", "httptools", "zstandard", "yaml._yaml", "msgspec", "psutil", "sqlite3"),
    "cpu": ("numpy", "PIL.Image", "llama_cpp", "llguidance", "uvloop", "zstandard"),
}
# Prints each module of the server that cannot be imported, and the package that is not there.
IMPORT_ALL = """
import importlib, pkgutil, server
for module in pkgutil.walk_packages(server.__path__, "server."):
    try:
        importlib.import_module(module.name)
    except ModuleNotFoundError as error:
        print(module.name, error.name)
"""


@pytest.fixture
def stocked(tmp_path: Path, embedded_store: Path) -> Path:
    """A volume with the embedded model, as root has filled it."""
    return Path(shutil.copytree(embedded_store, tmp_path / "models"))


@pytest.mark.parametrize("variant", LIMITS_BYTES)
class TestEveryImage:
    def test_is_small(self, image_root: Path, variant: str) -> None:
        assert size_bytes(image_root) <= LIMITS_BYTES[variant]

    def test_holds_nothing_that_makes_images(self, image_root: Path) -> None:
        programs = {path.name for path in (image_root / "usr" / "bin").iterdir()}
        assert not programs & {"apt-get", "dpkg", "perl", "gcc", "strip", "mount", "su", "passwd"}
        assert not list((image_root / "build").glob("*"))
        assert not list(image_root.rglob("*.gguf"))

    def test_lets_nobody_become_another(self, image_root: Path) -> None:
        modes = {path: path.lstat().st_mode for path in image_root.rglob("*")}
        marked = stat.S_ISUID | stat.S_ISGID
        assert not [path for path, mode in modes.items() if stat.S_ISREG(mode) and mode & marked]

    def test_says_which_packages_it_holds(self, image_root: Path) -> None:
        record = (image_root / "var" / "lib" / "dpkg" / "status").read_text(encoding="utf-8")
        names = {line[9:] for line in record.splitlines() if line.startswith("Package: ")}
        assert names >= {"libc6", "libssl3t64", "tini"}
        assert not names & {"dpkg", "apt", "perl-base"}

    def test_is_compiled_already(self, image_root: Path) -> None:
        (packages,) = image_root.glob("opt/akash-llm/lib/python3.*/site-packages")
        for source in (packages / "server").rglob("*.py"):
            assert list((source.parent / "__pycache__").glob(f"{source.stem}.*.pyc")), source
        compiled = [*image_root.glob("usr/lib/python3*/**/*.pyc"), *packages.rglob("*.pyc")]
        assert compiled
        assert not [path for path in compiled if path.read_bytes()[4:8] != BY_HASH]

    def test_survived_being_made_small(self, image_root: Path, variant: str) -> None:
        program = f"import {', '.join(COMPILED[variant])}"
        python = ["chroot", str(image_root), "/opt/akash-llm/bin/python", "-P", "-c", program]
        subprocess.run(python, check=True)

    def test_belongs_to_root(self, image_root: Path) -> None:
        status = {path: path.lstat() for path in image_root.rglob("*")}
        others = {path.name for path, each in status.items() if each.st_uid or each.st_gid >= 1000}
        written_by_all = {
            path
            for path, each in status.items()
            if each.st_mode & stat.S_IWOTH
            and not stat.S_ISLNK(each.st_mode)
            and not stat.S_ISCHR(each.st_mode)
            and not each.st_mode & stat.S_ISVTX
        }
        assert others == {"models", "state"}
        assert not written_by_all

    def test_trusts_the_usual_authorities(self, image_root: Path, variant: str) -> None:
        program = "import ssl; print(len(ssl.create_default_context().get_ca_certs()))"
        python = ["chroot", str(image_root), "/opt/akash-llm/bin/python", "-I", "-c", program]
        environment = Containerfile.of(variant).image.environment
        done = subprocess.run(python, env=environment, capture_output=True, check=True)
        assert int(done.stdout) > 100

    def test_refuses_to_start_without_a_key(self, run_image: RunImage) -> None:
        container = run_image(environment={"AKASH_LLM_HOST": "0.0.0.0", "AKASH_LLM_KEYS": ""})
        container.start()
        assert container.process.wait(60) == 3
        assert "AKASH_LLM_KEYS" in container.said()

    def test_runs_and_stops(self, run_image: RunImage, stocked: Path) -> None:
        with run_image() as container:
            assert container.is_healthy()
            with container.client() as client:
                names = [model["name"] for model in client.get("/api/tags").json()["models"]]
            first, *others = container.processes()
            assert first.name() == "tini"
            assert others
            for process in others:
                assert process.uids() == (USER_ID,) * 3
                assert process.gids() == (USER_ID,) * 3
            code = container.ask_to_stop()
        assert (names, code) == ([MODEL], 0)
        assert not container.is_healthy()
        assert {path.stat().st_uid for path in (stocked, container.state)} == {USER_ID}

    def test_makes_its_folders_inside_volumes(self, run_image: RunImage) -> None:
        folders = {"AKASH_LLM_MODELS": "/models/of/mine", "AKASH_LLM_STATE": "/state/of/mine"}
        with run_image(environment=folders) as container:
            assert container.ask_to_stop() == 0
        for volume in (container.models, container.state):
            assert (volume / "of" / "mine").stat().st_uid == USER_ID
            assert volume.stat().st_uid == 0

    def test_hands_over_nothing_that_the_server_links_to(
        self, run_image: RunImage, tmp_path: Path
    ) -> None:
        link = tmp_path / "models" / "mine"
        link.parent.mkdir()
        link.symlink_to("/state")
        os.chown(link, USER_ID, USER_ID, follow_symlinks=False)
        with run_image(environment={"AKASH_LLM_STATE": "/models/mine"}) as container:
            assert container.ask_to_stop() == 0
        assert container.models.stat().st_uid == USER_ID
        assert container.state.stat().st_uid == 0

    def test_runs_as_somebody_who_may_nothing(self, run_image: RunImage, stocked: Path) -> None:
        volumes = [stocked, *stocked.rglob("*"), stocked.with_name("state")]
        volumes[-1].mkdir()
        for path in volumes:
            os.chown(path, USER_ID + 1, USER_ID + 1)
        with run_image(user_id=USER_ID + 1) as container:
            for process in container.processes():
                assert process.uids() == (USER_ID + 1,) * 3
            assert container.ask_to_stop() == 0


def test_the_model_answers(run_image: RunImage, stocked: Path) -> None:
    question = {"role": "user", "content": "Say hello."}
    body = {"model": MODEL, "messages": [question], "options": {"num_predict": 8}, "stream": False}
    with run_image(args=["--preload", MODEL]) as container, container.client() as client:
        answer = client.post("/api/chat", json=body).json()
        for process in container.processes():
            if "server.engine.runner" in process.cmdline():
                os.kill(process.pid, signal.SIGKILL)
        # A request that still went to the old runner fails, and the server starts another.
        tries = (client.post("/api/chat", json=body).json() for _ in range(20))
        again = next(reply for reply in tries if "error" not in reply)
        states = [process.status() for process in container.processes()]
        assert container.ask_to_stop() == 0
    assert answer["eval_count"] > 0 and answer["message"]["content"]
    assert again["eval_count"] > 0
    assert psutil.STATUS_ZOMBIE not in states


def test_llama_cpp_is_chosen_for_this_processor(
    run_image: RunImage, image_root: Path, stocked: Path, is_compiled_here: bool
) -> None:
    if not is_compiled_here:
        pytest.skip(WHY_NOT)
    modules = list(image_root.glob(MODULES))
    assert len(modules) > 5
    with run_image(args=["--preload", MODEL]) as container:
        (runner,) = (
            each for each in container.processes() if "server.engine.runner" in each.cmdline()
        )
        used = {Path(each.path).name for each in runner.memory_maps()}
    assert len(used & {path.name for path in modules}) == 1


def test_llama_cpp_says_nothing_of_where_pip_made_it(
    image_root: Path, is_compiled_here: bool
) -> None:
    if not is_compiled_here:
        pytest.skip(WHY_NOT)
    libraries = [path for path in image_root.glob(LIBRARIES) if not path.is_symlink()]
    assert len(libraries) > 5
    assert not [path.name for path in libraries if b"/tmp/" in path.read_bytes()]


@pytest.mark.parametrize("variant", ["gateway"])
def test_made_again_it_is_the_same(
    image_root: Path, variant: str, bare_debian: Path, is_compiled_here: bool
) -> None:
    if not is_compiled_here:
        pytest.skip(WHY_NOT)
    make_root(bare_debian, bare_debian.with_name("again"), variant)
    first, second = contents(image_root), contents(bare_debian.with_name("again"))
    assert {path for path in first | second if first.get(path) != second.get(path)} == set()


@pytest.mark.parametrize("variant", ["gateway"])
def test_a_gateway_lacks_only_what_runs_models(image_root: Path) -> None:
    python = ["chroot", str(image_root), "/opt/akash-llm/bin/python", "-P", "-c", IMPORT_ALL]
    done = subprocess.run(python, capture_output=True, text=True, check=True)
    words = [line.split() for line in done.stdout.splitlines()]
    lacking = {module: package for module, package in words}
    assert {"llama_cpp", "llguidance"} <= set(lacking.values())
    assert set(lacking.values()) <= {"llama_cpp", "llguidance", "numpy", "PIL"}
    assert {module.rpartition(".")[0] for module in lacking} == {"server.engine"}


@pytest.mark.parametrize("variant", ["gateway"])
def test_a_gateway_says_that_it_loads_no_models(run_image: RunImage, stocked: Path) -> None:
    body = {"model": MODEL, "messages": [{"role": "user", "content": "Say hello."}]}
    with run_image() as container, container.client() as client:
        answer = client.post("/api/chat", json=body)
        assert container.is_healthy()
    assert answer.status_code == 500
    assert "without llama.cpp" in answer.json()["error"]
