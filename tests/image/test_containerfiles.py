"""What the Containerfiles say, held against the server, the toolkit and one another."""

import shutil
import subprocess
import sys
import zipfile
from pathlib import Path
from typing import Any

import pytest
import yaml

from server.settings import ENVIRONMENT, load
from tests.support.containerfile import FOLDER, VARIANTS, Containerfile
from tests.support.image_root import SOURCE
from toolkit import image, paths
from toolkit.sdl.advice import OWN_SERVERS

# What the NVIDIA runtime is told; the other images have nothing of it.
NVIDIA = {"NVIDIA_VISIBLE_DEVICES", "NVIDIA_DRIVER_CAPABILITIES", "LD_LIBRARY_PATH"}
SCRIPT = "/build/source/templates/image/install.sh"


def workflow() -> dict[str, Any]:
    text = (SOURCE / ".github" / "workflows" / "image.yml").read_text(encoding="utf-8")
    table: dict[str, Any] = yaml.load(text, Loader=yaml.BaseLoader)  # every word is text, on too
    return table


@pytest.mark.parametrize("variant", VARIANTS)
def test_the_image_is_only_what_the_script_left(variant: str) -> None:
    stage = Containerfile.of(variant).image
    assert stage.base == "scratch"
    assert stage.all("COPY") == ["--from=root / /"]
    assert not stage.all("RUN")


@pytest.mark.parametrize("variant", VARIANTS)
def test_the_script_does_all_that_is_done(variant: str) -> None:
    *stages, _ = Containerfile.of(variant).stages
    steps = " && ".join(run for stage in stages for run in stage.all("RUN")).split(" && ")
    wanted = ["install", "clean"] if variant == "gateway" else ["compile", "install", "clean"]
    assert [step.strip() for step in steps] == [f"sh {SCRIPT} {step} {variant}" for step in wanted]


@pytest.mark.parametrize("variant", VARIANTS)
def test_bases_say_their_version(variant: str) -> None:
    for base in Containerfile.of(variant).defaults.values():
        name, _, tag = base.partition(":")
        assert name.startswith("docker.io/")
        assert tag and tag != "latest"


def test_images_differ_only_in_what_they_are_for() -> None:
    def common(variant: str) -> dict[str, object]:
        stage = Containerfile.of(variant).image
        names = ("EXPOSE", "VOLUME", "STOPSIGNAL", "HEALTHCHECK", "ENTRYPOINT")
        environment = {k: v for k, v in stage.environment.items() if k not in NVIDIA}
        return {"ENV": environment} | {name: stage.only(name) for name in names}

    assert common("cpu") == common("gateway") == common("cuda")
    assert set(Containerfile.of("cuda").image.environment) >= NVIDIA


def test_the_environment_is_what_the_server_reads() -> None:
    environment = Containerfile.of("cpu").image.environment
    ours = {name for name in environment if name.startswith("AKASH_LLM_")}
    assert ours <= set(ENVIRONMENT)
    settings = load([], {**environment, "AKASH_LLM_KEYS": f"me:admin:{'0' * 64}"})
    assert (settings.models, settings.port) == (Path("/models"), 11434)
    assert not settings.is_loopback


def test_what_is_started_and_asked_is_there() -> None:
    stage = Containerfile.of("cpu").image
    for words, name in ((stage.entrypoint, "entry.py"), (stage.health_check, "health.py")):
        assert words[-1] == f"/opt/akash-llm/{name}"
        assert (FOLDER / name).is_file()


def test_names_are_the_same_everywhere() -> None:
    titles = {
        variant: Containerfile.of(variant).image.labels["org.opencontainers.image.title"]
        for variant in VARIANTS
    }
    published = workflow()["jobs"]["publish"]["strategy"]["matrix"]["image"]
    assert titles == image.NAMES
    assert set(image.NAMES.values()) == OWN_SERVERS == set(published)


def test_the_workflow_may_write_packages_and_nothing_else() -> None:
    table = workflow()
    assert table["permissions"] == {"contents": "read"}
    assert table["jobs"]["publish"]["permissions"] == {"contents": "read", "packages": "write"}
    assert list(table["on"]) == ["push"]
    assert set(table["on"]["push"]) == {"tags"}


@pytest.mark.parametrize(
    "script", ["templates/image/install.sh", "tests/support/contain.sh"], ids=Path
)
def test_scripts_are_sound(script: str) -> None:
    if shutil.which("shellcheck") is None:
        pytest.skip("there is no shellcheck: see system-packages.txt")
    command = ["shellcheck", "--shell=sh", script]
    done = subprocess.run(command, cwd=SOURCE, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout


def test_the_recipe_is_in_the_wheel(tmp_path: Path) -> None:
    options = ["--no-deps", "--quiet", "--wheel-dir", str(tmp_path)]
    subprocess.run([sys.executable, "-m", "pip", "wheel", *options, str(SOURCE)], check=True)
    (wheel,) = tmp_path.glob("akash_llm-*.whl")
    with zipfile.ZipFile(wheel) as archive:
        packed = {name for name in archive.namelist() if "/_templates/image/" in name}
    assert paths.templates() / "image" == FOLDER
    files = {path.name for path in FOLDER.iterdir() if path.is_file()}
    assert packed == {f"toolkit/_templates/image/{name}" for name in files}
