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
    SDL,
    GPUChoice,
    GPURequest,
    RegistryAccess,
    RenderInputs,
    Units,
    dump,
    group_specs,
    manifest_hash,
    parse,
    render,
    template_names,
    validate,
)
from toolkit.sdl.inputs import GATEWAY_SERVICE, TEMPLATES
from toolkit.sdl.nodes import load
from toolkit.sdl.nodes import values as plain
from toolkit.sdl.render import RETRY, quoted

KEYS = f"me:inference:{'a' * 64}"
INPUTS = RenderInputs(image="ghcr.io/me/akash-llm-server:1.2.3", keys_text=KEYS)
MODEL = "Qwen/Qwen2.5-0.5B-Instruct"

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
    "engine_image",
    "model",
    "keys_text",
    "service",
    "memory",
    "root",
    "storage",
    "storage_class",
    "denom",
    "cpu",
    "price",
    "gateway_cpu",
    "gateway_memory",
    "gateway_price",
]


def made(inputs: RenderInputs, template: str = "llama-cpp") -> Any:
    """What rendering these inputs says, as plain data."""
    return plain(load(render(inputs, template)))


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


def behind_gateway(template: str, **changes: Any) -> SDL:
    """The SDL of an engine behind our gateway."""
    inputs = msgspec.structs.replace(
        INPUTS, image="ghcr.io/me/akash-llm-gateway:1.2.3", gpu=GPURequest(), **changes
    )
    return parse(render(inputs, template)).sdl


def test_vllm_is_told_what_the_gateway_needs() -> None:
    sdl = behind_gateway("vllm", model=MODEL, engine_args=("--dtype", "half"))
    gateway, engine = sdl.services["gateway"], sdl.services["llm"]
    assert gateway.image == "ghcr.io/me/akash-llm-gateway:1.2.3"
    assert gateway.command is None and gateway.args is None
    assert gateway.environment == {
        "AKASH_LLM_HOST": "0.0.0.0",
        "AKASH_LLM_PORT": "11434",
        "AKASH_LLM_ENGINE": "vllm",
        "AKASH_LLM_UPSTREAM": "http://llm:8000",
        "AKASH_LLM_PRELOAD": MODEL,
        "AKASH_LLM_KEYS": KEYS,
    }
    assert engine.image == "vllm/vllm-openai:v0.32.0"
    assert engine.command == ("python3", "-c", RETRY)
    assert engine.args == (
        *("vllm", "serve", MODEL, "--host", "0.0.0.0", "--port", "8000"),
        *("--served-model-name", MODEL, "--enable-tokenizer-info-endpoint"),
        *("--enable-prompt-tokens-details", "--enable-per-request-metrics"),
        *("--structured-outputs-config.backend", "guidance"),
        *("--max-model-len", "2048", "--max-num-seqs", "4", "--tensor-parallel-size", "1"),
        *("--dtype", "half"),
    )
    assert engine.environment == {"HF_HOME": "/models"}
    assert {name: mount.mount for name, mount in engine.mounts.items()} == {
        "models": "/models",
        "shm": "/dev/shm",
    }


def test_a_folder_of_the_image_goes_by_its_own_name() -> None:
    sdl = behind_gateway("vllm", model="/models/my-model/")
    args = sdl.services["llm"].args or ()
    assert args[:3] == ("vllm", "serve", "/models/my-model/")
    assert args[args.index("--served-model-name") + 1] == "my-model"
    assert sdl.services["gateway"].environment["AKASH_LLM_PRELOAD"] == "my-model"


def test_ollama_is_told_what_the_gateway_needs() -> None:
    sdl = behind_gateway("ollama", context=4096, parallel=2)
    gateway, engine = sdl.services["gateway"], sdl.services["llm"]
    assert gateway.environment["AKASH_LLM_ENGINE"] == "ollama"
    assert gateway.environment["AKASH_LLM_UPSTREAM"] == "http://llm:11434"
    assert gateway.environment["AKASH_LLM_PRELOAD"] == "smollm2:135m"
    assert gateway.environment["AKASH_LLM_PULL"] == "missing"
    assert engine.image == "ollama/ollama:0.32.15"
    assert engine.command is None and engine.args is None
    assert engine.environment == {
        "OLLAMA_HOST": "0.0.0.0:11434",
        "OLLAMA_MODELS": "/models",
        "OLLAMA_CONTEXT_LENGTH": "4096",
        "OLLAMA_NUM_PARALLEL": "2",
        "OLLAMA_KEEP_ALIVE": "-1",
    }


@pytest.mark.parametrize(("template", "port"), [("vllm", 8000), ("ollama", 11434)])
def test_the_world_reaches_the_gateway_only(template: str, port: int) -> None:
    sdl = behind_gateway(template, model=MODEL, domains=("llm.example.com",))
    (front,) = sdl.services["gateway"].expose
    assert (front.port, front.external_port, front.accept) == (11434, 80, ("llm.example.com",))
    assert front.is_ingress(front.to[0]) and front.http_options.next_cases == ("off",)
    (back,) = sdl.services["llm"].expose
    assert (back.port, back.external_port, back.accept) == (port, port, None)
    assert [(to.service, to.is_global) for to in back.to] == [("gateway", None)]
    ((group,),) = [group_specs(sdl)]
    reached = {unit["resource"]["id"]: unit["resource"]["endpoints"] for unit in group["resources"]}
    assert reached == {1: [{"sequence_number": 0}], 2: []}


@pytest.mark.parametrize("template", ["vllm", "ollama"])
def test_each_of_two_services_has_its_own(template: str) -> None:
    sdl = behind_gateway(
        template,
        model=MODEL,
        cpu=8,
        memory="16Gi",
        price=7,
        gateway_cpu="250m",
        gateway_memory="512Mi",
        gateway_price=3,
        engine_image="ghcr.io/team/engine:1",
        registry=RegistryAccess("a.example.com", "me", "ac-secret://a"),
        engine_registry=RegistryAccess("b.example.com", "team", "ac-secret://b"),
        tee="cpu",
        env={"AKASH_LLM_MAX_QUEUE": "8", "HF_TOKEN": "ac-secret://hf_token"},
    )
    front, back = sdl.profiles.compute["gateway"], sdl.profiles.compute["llm"]
    assert (front.cpu.units, front.memory, front.gpu) == ("250m", "512Mi", None)
    assert [(each.name, each.size) for each in front.volumes] == [("root", "1Gi")]
    assert back.cpu.units == 8 and back.gpu is not None
    assert [each.name for each in back.volumes if each.is_persistent] == ["models"]
    prices = sdl.profiles.placement["akash"].pricing
    assert {name: price.amount for name, price in prices.items()} == {"gateway": 3, "llm": 7}
    gateway, engine = sdl.services["gateway"], sdl.services["llm"]
    assert gateway.credentials is not None and engine.credentials is not None
    assert (gateway.credentials.host, engine.credentials.host) == ("a.example.com", "b.example.com")
    assert gateway.params is not None and gateway.params.tee == "cpu" and gateway.mounts == {}
    assert engine.params is not None and engine.params.tee == "cpu"
    assert gateway.environment["AKASH_LLM_MAX_QUEUE"] == "8"
    assert "HF_TOKEN" not in gateway.environment
    assert engine.environment["HF_TOKEN"] == "ac-secret://hf_token"
    assert "AKASH_LLM_MAX_QUEUE" not in engine.environment


def test_replicas_are_of_both_services_in_one_placement() -> None:
    sdl = behind_gateway("vllm", model=MODEL, count=3)
    assert [(place, each.count) for _, place, each in sdl.allocations()] == [("akash", 3)] * 2


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
        INPUTS, registry=RegistryAccess("ghcr.io", "me", "ac-secret://registry_password")
    ),
    "domains": msgspec.structs.replace(INPUTS, domains=("a.example.com", "b.example.com")),
    "replicas": msgspec.structs.replace(INPUTS, count=3),
    "leased ip": msgspec.structs.replace(INPUTS, leased_ip=True, domains=("a.example.com",)),
    "confidential": msgspec.structs.replace(INPUTS, tee="cpu"),
    "confidential gpu": msgspec.structs.replace(
        INPUTS, tee="cpu-gpu", gpu=GPURequest(1, (GPUChoice("h100", "80Gi", "sxm"),))
    ),
}


# What two services cannot have is refused: see test_inputs.
NOT_BEHIND_GATEWAY = {
    "vllm": ["leased ip", "confidential gpu"],
    "ollama": ["leased ip", "confidential gpu", "replicas"],
}


def fitted(inputs: RenderInputs, template: str) -> RenderInputs:
    """The same for another template, as far as that has other needs."""
    found = TEMPLATES[template]
    if found.engine == "vllm":
        inputs = msgspec.structs.replace(inputs, model=MODEL, gpu=inputs.gpu or GPURequest())
    if found.has_arguments:
        inputs = msgspec.structs.replace(inputs, engine_args=("--flag", "a value"))
    if found.is_ours:
        return inputs
    image = "ghcr.io/ggml-org/llama.cpp:server-b1" if template == "plain-llama-cpp" else ""
    return msgspec.structs.replace(inputs, image=image, keys_text="", without_auth=True)


ALL = pytest.mark.parametrize(
    ("template", "inputs"),
    [
        pytest.param(name, fitted(inputs, name), id=f"{name}-{variant}")
        for name in template_names()
        for variant, inputs in VARIANTS.items()
        if variant not in NOT_BEHIND_GATEWAY.get(name, [])
    ],
)
OURS = pytest.mark.parametrize("template", [name for name in TEMPLATES if TEMPLATES[name].is_ours])


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


@ALL
def test_our_server_knows_all_variables_that_it_is_given(
    template: str, inputs: RenderInputs
) -> None:
    known = {setting.variable for setting in SETTINGS} | {KEYS_VARIABLE}
    for name, service in parse(render(inputs, template)).sdl.services.items():
        ours = {each for each in service.environment if each.startswith("AKASH_LLM_")}
        has_gateway = TEMPLATES[template].has_gateway
        is_ours = TEMPLATES[template].is_ours and (name == GATEWAY_SERVICE or not has_gateway)
        assert bool(ours) == is_ours
        assert ours <= known
        load_settings([], service.environment)


def test_plain_images_get_the_name_of_a_secret_and_no_shell() -> None:
    for name, variable in (("plain-vllm", "VLLM_API_KEY"), ("plain-llama-cpp", "LLAMA_API_KEY")):
        (service,) = parse(render(fitted(INPUTS, name), name)).sdl.services.values()
        assert service.environment[variable] == "ac-secret://api_key"
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


@pytest.mark.parametrize(
    ("template", "name", "service"),
    [
        ("vllm", "EXTRA", "llm"),
        ("vllm", "AKASH_LLM_EXTRA", "gateway"),
        ("ollama", "EXTRA", "llm"),
        ("ollama", "AKASH_LLM_EXTRA", "gateway"),
    ],
)
@given(value=HOSTILE)
def test_a_variable_of_two_services_changes_only_its_own_leaf(
    template: str, name: str, service: str, value: str
) -> None:
    inputs = fitted(INPUTS, template)
    expected = made(msgspec.structs.replace(inputs, env={name: ""}), template)
    expected["services"][service]["env"][-1] = f"{name}={value}"
    assert made(msgspec.structs.replace(inputs, env={name: value}), template) == expected


@given(HOSTILE)
def test_an_argument_changes_only_its_own_leaf(value: str) -> None:
    inputs = msgspec.structs.replace(fitted(INPUTS, "vllm"), engine_args=("",))
    expected = made(inputs, "vllm")
    expected["services"]["llm"]["args"][-1] = value
    assert made(msgspec.structs.replace(inputs, engine_args=(value,)), "vllm") == expected


@given(HOSTILE.filter(lambda text: "," not in text and text == text.strip()))
def test_a_model_that_a_gateway_asks_for_changes_only_its_own_leaves(value: str) -> None:
    inputs = fitted(INPUTS, "ollama")
    expected = made(inputs, "ollama")
    expected["services"]["gateway"]["env"][4] = f"AKASH_LLM_PRELOAD={value}"
    assert made(msgspec.structs.replace(inputs, model=value), "ollama") == expected
    folder, name = f"/x/{value}", value.rstrip("/").rpartition("/")[2] or "x"
    inputs = fitted(INPUTS, "vllm")
    expected = made(inputs, "vllm")
    expected["services"]["gateway"]["env"][4] = f"AKASH_LLM_PRELOAD={name}"
    args = expected["services"]["llm"]["args"]
    args[2], args[args.index("--served-model-name") + 1] = folder, name
    assert made(msgspec.structs.replace(inputs, model=folder), "vllm") == expected


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


@OURS
@given(field=st.sampled_from(TEXT_FIELDS), value=HOSTILE)
def test_every_other_text_is_refused_or_changes_nothing_else(
    template: str, field: str, value: str
) -> None:
    inputs = fitted(INPUTS, template)
    try:
        text = render(msgspec.structs.replace(inputs, **{field: value}), template)
    except (ConfigError, UsageError) as error:
        assert error.hint
        return
    assert _shape(plain(load(text))) == _shape(made(inputs, template))


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
