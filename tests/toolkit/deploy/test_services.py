"""What of an SDL becomes a process here, and that nothing else of it does."""

from pathlib import Path

import pytest

from server import settings
from toolkit.deploy.services import FIXED, SERVER_ENVIRONMENT, Job, Program, jobs_of
from toolkit.errors import ConfigError
from toolkit.sdl import advice
from toolkit.sdl.inputs import RenderInputs
from toolkit.sdl.parse import parse
from toolkit.sdl.render import render

PROGRAMS = {"akash-llm-server": Program(("/bin/server",))}
KEYS = f"owner:admin:{'0' * 64}"
MOUNTS = Path("/home/me/endpoints/mine/mounts")


def job(replace: dict[str, str], **inputs: object) -> Job:
    sdl = render(RenderInputs(image="ghcr.io/me/akash-llm-server:1", keys_text=KEYS, **inputs))  # type: ignore[arg-type]
    for old, new in replace.items():
        assert old in sdl
        sdl = sdl.replace(old, new)
    return jobs_of(parse(sdl).sdl, PROGRAMS, MOUNTS, "smollm2:135m").server


def test_the_rendered_sdl_becomes_our_server() -> None:
    made = job({})
    assert made.argv == ("/bin/server",)
    assert made.environment["AKASH_LLM_PRELOAD"] == "smollm2:135m"
    assert made.environment["AKASH_LLM_KEYS"] == KEYS
    assert made.notices == ()


def test_paths_below_a_mount_move_to_the_endpoints_folder() -> None:
    made = job({})
    assert made.mounts == {"/models": MOUNTS / "models"}
    assert made.environment["AKASH_LLM_MODELS"] == str(MOUNTS / "models")
    assert job({'"AKASH_LLM_MODELS=/models"': '"AKASH_LLM_MODELS=/models/a"'}).environment[
        "AKASH_LLM_MODELS"
    ] == str(MOUNTS / "models" / "a")


@pytest.mark.parametrize("path", ["/modelsx", "/models/../../etc", "models"])
def test_other_paths_are_left_as_they_are(path: str) -> None:
    made = job({'"AKASH_LLM_MODELS=/models"': f'"AKASH_LLM_MODELS={path}"'})
    assert made.environment["AKASH_LLM_MODELS"] == path


def test_host_and_port_of_the_sdl_do_not_count() -> None:
    assert not FIXED & set(job({}).environment)


def test_commands_and_unknown_variables_are_ignored_and_said() -> None:
    command = '    command: ["sh", "-c", "touch /tmp/owned"]\n    args: ["x"]\n    env:\n'
    made = job({"    env:\n": command}, env={"LD_PRELOAD": "/tmp/evil.so"})
    assert made.argv == ("/bin/server",)
    assert "LD_PRELOAD" not in made.environment
    for ignored in ("command", "args", "LD_PRELOAD"):
        assert any(ignored in notice for notice in made.notices)


def test_other_images_are_refused() -> None:
    with pytest.raises(ConfigError, match="not known on this machine") as caught:
        job({"akash-llm-server": "miner"})
    assert "akash-llm-server" in caught.value.hint


def test_replicas_are_said() -> None:
    assert any("one of 3" in notice for notice in job({"count: 1": "count: 3"}).notices)


@pytest.mark.parametrize(
    ("image", "repository"),
    [
        ("akash-llm-server", "akash-llm-server"),
        ("akash-llm-server:0.1", "akash-llm-server"),
        ("ghcr.io/me/akash-llm-server:0.1", "akash-llm-server"),
        ("localhost:5000/akash-llm-server@sha256:00", "akash-llm-server"),
        ("localhost:5000/akash-llm-server:1@sha256:00", "akash-llm-server"),
        ("akash-llm-server/miner:1", "miner"),
    ],
)
def test_the_repository_of_an_image(image: str, repository: str) -> None:
    assert advice.repository(image) == repository


def test_the_table_knows_every_variable_of_the_server() -> None:
    assert SERVER_ENVIRONMENT | FIXED | {"AKASH_LLM_HOME"} == set(settings.ENVIRONMENT)
