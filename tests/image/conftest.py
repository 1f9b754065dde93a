"""Roots of images, made once for all tests and removed after them.

bare_debian   what every image begins with
image_root    the root of the `variant` that a test is about
run_image     a function that runs one in a container
"""

import os
import shutil
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

import pytest

from tests.support import image_root as roots
from tests.support.container import Container

# `make image-test` sets it: llama.cpp is compiled as in the image, which takes a while.
ALL_VARIABLE = "IMAGE_TESTS"

RunImage = Callable[..., Container]


@pytest.fixture(scope="session")
def bare_debian(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    try:
        roots.check_machine()
    except roots.NoRoot as why:
        pytest.skip(str(why))
    folder = tmp_path_factory.mktemp("images")
    roots.make_base(folder / "debian")
    yield folder / "debian"
    shutil.rmtree(folder)


@pytest.fixture(scope="session")
def is_compiled_here() -> bool:
    """Whether llama.cpp of the image is compiled as in the image."""
    return os.environ.get(ALL_VARIABLE) == "all"


@pytest.fixture(scope="session")
def gateway_root(bare_debian: Path) -> Path:
    root = bare_debian.with_name("gateway")
    roots.make_root(bare_debian, root, "gateway")
    return root


@pytest.fixture(scope="session")
def cpu_root(bare_debian: Path, is_compiled_here: bool) -> Path:
    wheels, root = bare_debian.with_name("wheels"), bare_debian.with_name("cpu")
    if is_compiled_here:
        roots.compile_wheels(bare_debian, bare_debian.with_name("compile"), wheels)
    else:
        roots.make_wheels(wheels)
    roots.make_root(bare_debian, root, "cpu", wheels)
    return root


@pytest.fixture
def variant() -> str:
    """Which image a test is about, unless it says so itself."""
    return "cpu"


@pytest.fixture
def image_root(variant: str, request: pytest.FixtureRequest) -> Path:
    root: Path = request.getfixturevalue(f"{variant}_root")
    return root


@pytest.fixture
def run_image(
    image_root: Path, variant: str, tmp_path: Path, free_port: Callable[[], int]
) -> RunImage:
    """A function; the container it gives is yet to be entered."""
    made: RunImage = partial(Container, image_root, variant, tmp_path, free_port())
    return made
