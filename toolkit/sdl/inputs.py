"""The templates there are, and what they may be given."""

from typing import Final, NamedTuple

import msgspec

from toolkit.sdl.sealed import SEALED

# The auditor that most providers are approved by.
AUDITOR: Final = "akash1365yvmc4s7awdyj3n2sav7xfx76adc6dnmlx63"


class Template(NamedTuple):
    """What a template is about. `image` is the engine's own where one version can be named;
    `is_ours`: our server, with keys as digests; `has_auth`: it refuses who has no key."""

    image: str = ""
    is_ours: bool = False
    has_auth: bool = True
    needs_gpu: bool = False
    has_shm: bool = False


TEMPLATES: Final = {
    "llama-cpp": Template(is_ours=True),
    "plain-llama-cpp": Template(),
    "plain-ollama": Template("ollama/ollama:0.13.4", has_auth=False),
    "plain-vllm": Template("vllm/vllm-openai:v0.10.1.1", needs_gpu=True, has_shm=True),
}
DEFAULT_TEMPLATE: Final = "llama-cpp"


class RegistryAccess(msgspec.Struct, frozen=True):
    """How a private image is pulled. `password` is a secret's name, `ac-secret://NAME`."""

    host: str
    username: str
    password: str


class GPUChoice(msgspec.Struct, frozen=True, order=True):
    """An acceptable GPU: `model` as providers name it (`rtx4090`), `ram` such as `80Gi`,
    `interface` pcie or sxm."""

    model: str
    ram: str = ""
    interface: str = ""


class GPURequest(msgspec.Struct, frozen=True):
    """How many GPUs, and which will do. No models means any."""

    units: int = 1
    models: tuple[GPUChoice, ...] = ()


class RenderInputs(msgspec.Struct, frozen=True, kw_only=True):
    """Everything a template may use. The defaults serve `smollm2:135m` on a processor.

    `image`: with a tag or digest; required where it is our server's, else by default the
    template's. `keys_text`: `name:scope:sha256[,...]`, the digests that go into
    AKASH_LLM_KEYS; required by our server, which refuses to listen to the world without a key.
    `api_key`: the secret that a plain image takes as its key, `ac-secret://NAME`.
    `without_auth`: an image that knows no keys is meant to be open to everybody.
    `model`: as the engine names it. `context`: tokens per request. `parallel`: requests at
    once. `engine_args`: more arguments of a plain engine, a word each.
    `cpu`: cores, or text such as `500m`. `memory`, `root`, `storage`, `shm`: sizes such as
    `2Gi`; `memory` is what programs have, and `shm` comes on top where an engine needs it;
    `root` is emptied when the container restarts, `storage` keeps the models, in
    `storage_class`; with an empty class it is part of the root and is emptied, too.
    `count`: replicas behind one address, each with volumes and limits of its own.
    `domains`: names of one's own for the address. `leased_ip`: an IP beside it, without TLS.
    `tee`: confidential hardware, `cpu` or `cpu-gpu`. `registry`: access to a private image.
    `price`: the most that a replica may cost per block, in `denom`.
    `attributes`: what a provider must say of itself, `region` in short for one of them.
    `signed_by`: auditors, one of which must have approved the provider.
    `env`: further variables of the container.
    """

    image: str = ""
    keys_text: str = ""
    api_key: str = f"{SEALED}api-key"
    without_auth: bool = False
    service: str = "llm"
    model: str = "smollm2:135m"
    context: int = 2048
    parallel: int = 4
    engine_args: tuple[str, ...] = ()
    cpu: int | float | str = 2
    memory: str = "2Gi"
    root: str = "2Gi"
    storage: str = "10Gi"
    storage_class: str = "beta3"
    shm: str = "10Gi"
    gpu: GPURequest | None = None
    count: int = 1
    domains: tuple[str, ...] = ()
    leased_ip: bool = False
    tee: str = ""
    registry: RegistryAccess | None = None
    price: int | str = 10000
    denom: str = "uact"
    region: str = ""
    attributes: dict[str, str] = {}
    signed_by: tuple[str, ...] = (AUDITOR,)
    env: dict[str, str] = {}
