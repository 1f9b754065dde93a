"""Templates: what they make, and that a value can never be more than its own leaf."""

import subprocess
import sys
from pathlib import Path
from typing import Any

import msgspec
import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from server.settings import KEYS_VARIABLE, SETTINGS
from server.settings import load as load_settings
from toolkit import paths
from toolkit.errors import ConfigError, UsageError
from toolkit.sdl import (
    GPUChoice,
    GPURequest,
    RegistryAccess,
    RenderInputs,
    Units,
    dump,
    manifest_hash,
    parse,
    render,
    template_names,
    validate,
)
from toolkit.sdl.nodes import load
from toolkit.sdl.nodes import values as plain
from toolkit.sdl.render import RETRY, quoted

KEYS = f"me:inference:{'a' * 64}"
INPUTS = RenderInputs(image="ghcr.io/me/akash-llm-server:1.2.3", keys_text=KEYS)

NASTY = [
    '"',
    "'",
    "\\",
    "#",
    "-",
    ":",
    "&a",
    "*a",
    "{{",
    "{%",
    "{{7}}",
    "{%raw%}",
    "!!int",
    "yes",
    "1e3",
    "0o17",
    "null",
    "~",
    "<<",
    "%",
    "|",
    ">",
    "[",
    "]",
    "😀",
]
NASTY += ["a\nb: c", 'x"\n  - y', "- ", ": ", "\t", "\x7f\x85\u2028\ufeff"]
HOSTILE = st.sampled_from(NASTY) | st.text(
    st.characters(codec="utf-8", exclude_characters="\0"), min_size=1, max_size=60
)
TEXT_FIELDS = [
    "image",
    "keys_text",
    "service",
    "memory",
    "root",
    "storage",
    "storage_class",
    "denom",
    "cpu",
    "price",
]


def made(inputs: RenderInputs) -> Any:
    """What rendering these inputs says, as plain data."""
    return plain(load(render(inputs)))


def test_the_endpoint_is_what_the_server_needs() -> None:
    sdl = parse(render(INPUTS)).sdl
    (service,) = sdl.services.values()
    assert list(sdl.services) == ["llm"]
    assert service.image == INPUTS.image
    assert service.command is None
    assert service.args is None
    assert service.environment == {
        "AKASH_LLM_HOST": "0.0.0.0",
        "AKASH_LLM_PORT": "11434",
        "AKASH_LLM_MODELS": "/models",
        "AKASH_LLM_PRELOAD": "smollm2:135m",
        "AKASH_LLM_PULL": "missing",
        "AKASH_LLM_CONTEXT": "2048",
        "AKASH_LLM_PARALLEL": "4",
        "AKASH_LLM_KEYS": KEYS,
    }
    (expose,) = service.expose
    assert (expose.port, expose.external_port) == (11434, 80)
    assert expose.is_ingress(expose.to[0])
    assert expose.http_options.next_cases == ("off",)
    assert service.mounts["models"].mount == "/models"
    assert sdl.profiles.compute["llm"].gpu is None


VARIANTS = {
    "default": INPUTS,
    "gpu": msgspec.structs.replace(INPUTS, gpu=GPURequest()),
    "gpus": msgspec.structs.replace(
        INPUTS, gpu=GPURequest(2, (GPUChoice("rtx4090"), GPUChoice("a100", "80Gi")))
    ),
    "small volume": msgspec.structs.replace(INPUTS, root="20Gi", storage="5Gi"),
    "equal volumes": msgspec.structs.replace(INPUTS, root="5Gi", storage="5Gi"),
    "half a core": msgspec.structs.replace(INPUTS, cpu="500m", memory="512Mi"),
    "anywhere": msgspec.structs.replace(INPUTS, signed_by=()),
    "somewhere": msgspec.structs.replace(
        INPUTS, region="us-west", attributes={"tier": "community"}
    ),
    "other currency": msgspec.structs.replace(INPUTS, denom="uakt", price="0.5"),
    "other name": msgspec.structs.replace(INPUTS, service="my-llm"),
    "digest": msgspec.structs.replace(INPUTS, image=f"akash-llm-server@sha256:{'0' * 64}"),
    "more variables": msgspec.structs.replace(INPUTS, env={"HF_TOKEN": "ac-secret://hf"}),
    "nothing kept": msgspec.structs.replace(INPUTS, storage_class=""),
    "root as large as shm": msgspec.structs.replace(INPUTS, root="10Gi"),
    "private image": msgspec.structs.replace(
        INPUTS, registry=RegistryAccess("ghcr.io", "me", "ac-secret://registry-password")
    ),
    "domains": msgspec.structs.replace(INPUTS, domains=("a.example.com", "b.example.com")),
    "replicas": msgspec.structs.replace(INPUTS, count=3),
    "leased ip": msgspec.structs.replace(INPUTS, leased_ip=True, domains=("a.example.com",)),
    "confidential": msgspec.structs.replace(INPUTS, tee="cpu"),
    "confidential gpu": msgspec.structs.replace(
        INPUTS, tee="cpu-gpu", gpu=GPURequest(1, (GPUChoice("h100", "80Gi", "sxm"),))
    ),
}


def fitted(inputs: RenderInputs, template: str) -> RenderInputs:
    """The same for another template, as far as that has other needs."""
    if template == "llama-cpp":
        return inputs
    image = "ghcr.io/ggml-org/llama.cpp:server-b1" if template == "plain-llama-cpp" else ""
    return msgspec.structs.replace(
        inputs,
        image=image,
        keys_text="",
        without_auth=True,
        gpu=inputs.gpu or GPURequest(),
        engine_args=("--flag", "a value"),
    )


ALL = pytest.mark.parametrize(
    ("template", "inputs"),
    [
        pytest.param(name, fitted(inputs, name), id=f"{name}-{variant}")
        for name in template_names()
        for variant, inputs in VARIANTS.items()
    ],
)


@ALL
def test_every_variant_validates_without_a_warning(template: str, inputs: RenderInputs) -> None:
    assert validate(render(inputs, template)).problems == ()


@ALL
def test_every_variant_is_the_same_after_a_round_trip(template: str, inputs: RenderInputs) -> None:
    sdl = parse(render(inputs, template)).sdl
    again = parse(dump(sdl)).sdl
    assert again == sdl
    assert manifest_hash(again, Units.SERVICE) == manifest_hash(sdl) == manifest_hash(again)


@ALL
def test_other_yaml_readers_see_the_same(template: str, inputs: RenderInputs) -> None:
    text = render(inputs, template)
    assert yaml.safe_load(text) == plain(load(text))
    assert all(line == line.rstrip() for line in text.splitlines())


def test_there_is_a_file_for_each_template() -> None:
    files = {path.name.removesuffix(".yaml.j2") for path in paths.templates().glob("*.yaml.j2")}
    assert files == set(template_names())


@pytest.mark.parametrize("inputs", VARIANTS.values(), ids=VARIANTS)
def test_our_server_knows_all_variables_that_it_is_given(inputs: RenderInputs) -> None:
    (service,) = parse(render(inputs)).sdl.services.values()
    known = {setting.variable for setting in SETTINGS} | {KEYS_VARIABLE}
    assert {name for name in service.environment if name.startswith("AKASH_LLM_")} <= known
    load_settings([], service.environment)


def test_plain_images_get_the_name_of_a_secret_and_no_shell() -> None:
    for name, variable in (("plain-vllm", "VLLM_API_KEY"), ("plain-llama-cpp", "LLAMA_API_KEY")):
        (service,) = parse(render(fitted(INPUTS, name), name)).sdl.services.values()
        assert service.environment[variable] == "ac-secret://api-key"
        assert (service.args or ())[-2:] == ("--flag", "a value")
        assert not {"sh", "bash", "/bin/sh"} & {*(service.command or ())}


def test_memory_holds_the_volume_of_memory() -> None:
    sdl = parse(render(fitted(INPUTS, "plain-vllm"), "plain-vllm")).sdl
    assert sdl.profiles.compute["llm"].memory == "12Gi"


def test_an_engine_that_ends_is_begun_again(tmp_path: Path) -> None:
    """The first process of plain vLLM's container, with a program that fails once."""
    program = "import pathlib, sys; p = pathlib.Path(sys.argv[1]); n = len(p.read_text()) "
    program += "if p.exists() else 0; p.write_text('x' * (n + 1)); print('run', n, flush=True)"
    script = RETRY.replace("time.sleep(15)", "time.sleep(0.01)")
    words = [sys.executable, "-c", script, sys.executable, "-c", program, str(tmp_path / "runs")]
    with subprocess.Popen(words, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert [process.stdout.readline() for _ in range(3)] == ["run 0\n", "run 1\n", "run 2\n"]
        process.terminate()
        assert process.wait(20) == 0


def test_gpus_and_volumes_are_in_the_order_that_all_tools_share() -> None:
    gpus = parse(render(VARIANTS["gpus"])).sdl.profiles.compute["llm"].gpu
    assert gpus is not None
    assert gpus.attributes is not None
    assert gpus.attributes.vendor is not None
    assert [each.model for each in gpus.attributes.vendor.nvidia or ()] == ["a100", "rtx4090"]
    volumes = parse(render(VARIANTS["small volume"])).sdl.profiles.compute["llm"].volumes
    assert [each.name for each in volumes] == ["models", "root"]


@given(HOSTILE)
def test_a_variable_changes_only_its_own_leaf(value: str) -> None:
    expected = made(msgspec.structs.replace(INPUTS, env={"EXTRA": ""}))
    expected["services"]["llm"]["env"][-1] = f"EXTRA={value}"
    assert made(msgspec.structs.replace(INPUTS, env={"EXTRA": value})) == expected


@given(HOSTILE.filter(lambda text: "," not in text and text == text.strip()))
def test_a_model_changes_only_its_own_leaf(value: str) -> None:
    expected = made(INPUTS)
    expected["services"]["llm"]["env"][3] = f"AKASH_LLM_PRELOAD={value}"
    assert made(msgspec.structs.replace(INPUTS, model=value)) == expected


@given(HOSTILE)
def test_attributes_and_auditors_change_only_their_own_leaf(value: str) -> None:
    expected = made(msgspec.structs.replace(INPUTS, region="x", attributes={"tier": "y"}))
    placement = expected["profiles"]["placement"]["akash"]
    placement["attributes"] = {"tier": value, "region": value}
    placement["signedBy"]["anyOf"] = [value, "z"]
    inputs = msgspec.structs.replace(
        INPUTS, region=value, attributes={"tier": value}, signed_by=(value, "z")
    )
    assert made(inputs) == expected


@given(st.sampled_from(TEXT_FIELDS), HOSTILE)
def test_every_other_text_is_refused_or_changes_nothing_else(field: str, value: str) -> None:
    try:
        text = render(msgspec.structs.replace(INPUTS, **{field: value}))
    except (ConfigError, UsageError) as error:
        assert error.hint
        return
    assert _shape(plain(load(text))) == _shape(made(INPUTS))


def _shape(value: Any) -> Any:
    """Lists and mappings without their leaves and without the names that a service gives."""
    if isinstance(value, dict):
        return [_shape(each) for each in value.values()]
    return [_shape(each) for each in value] if isinstance(value, list) else None


@given(st.text(st.characters(codec="utf-8", exclude_characters="\0")))
def test_quoted_text_is_one_scalar_to_every_reader(text: str) -> None:
    written = str(quoted(text))
    assert load(written).value == text
    assert yaml.safe_load(written) == text
    assert "\n" not in written


@pytest.mark.parametrize("text", ["a\0b", "\ud800"])
def test_text_that_no_file_can_hold_is_refused(text: str) -> None:
    with pytest.raises(UsageError, match="holds a character"):
        render(msgspec.structs.replace(INPUTS, env={"EXTRA": text}))


def test_an_unknown_template_is_refused_with_the_known_ones() -> None:
    with pytest.raises(UsageError, match="no template called") as caught:
        render(INPUTS, "../x")
    assert "llama-cpp" in caught.value.hint


def test_only_text_and_numbers_may_be_put_out() -> None:
    with pytest.raises(TypeError):
        quoted(None)
