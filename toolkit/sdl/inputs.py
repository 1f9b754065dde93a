"""The templates there are, and what they may be given."""

from typing import Final, NamedTuple

import msgspec

from toolkit.sdl.sealed import SEALED

# The auditor that most providers are approved by.
AUDITOR: Final = "akash1365yvmc4s7awdyj3n2sav7xfx76adc6dnmlx63"


class Template(NamedTuple):
    """What a template is about: the engine, its own image where one version can be named, and
    the image of ours that has the keys, if one has."""

    engine: str
    image: str = ""
    ours: str = ""

    @property
    def is_ours(self) -> bool:
        """Whether our server answers, with keys as digests."""
        return bool(self.ours)

    @property
    def has_gateway(self) -> bool:
        """Whether there are two services: our gateway, and the engine that only it reaches."""
        return self.ours == _GATEWAY

    @property
    def has_auth(self) -> bool:
        """Whether it refuses who has no key."""
        return self.is_ours or self.engine != "ollama"

    @property
    def needs_gpu(self) -> bool:
        return self.engine == "vllm"

    @property
    def has_shm(self) -> bool:
        """Whether it needs more shared memory than a container has."""
        return self.engine == "vllm"

    @property
    def has_arguments(self) -> bool:
        """Whether its engine is told things as arguments; variables tell the others."""
        return self.engine == "vllm" or (self.engine == "llama-cpp" and not self.is_ours)


_GATEWAY: Final = "akash-llm-gateway"
# The gateway is written against these versions of vLLM and Ollama.
TEMPLATES: Final = {
    "llama-cpp": Template("llama-cpp", ours="akash-llm-server"),
    "ollama": Template("ollama", "ollama/ollama:0.32.15", _GATEWAY),
    "vllm": Template("vllm", "vllm/vllm-openai:v0.32.0", _GATEWAY),
    "plain-llama-cpp": Template("llama-cpp"),
    "plain-ollama": Template("ollama", "ollama/ollama:0.13.4"),
    "plain-vllm": Template("vllm", "vllm/vllm-openai:v0.10.1.1"),
}
DEFAULT_TEMPLATE: Final = "llama-cpp"
# The service that the world reaches where there are two. An input names the other one.
GATEWAY_SERVICE: Final = "gateway"


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

    `image`: with a tag or digest; required where it is our server's or gateway's, else by
    default the template's. `engine_image`: of the engine behind a gateway, by default the
    template's. `registry`: access to `image` where that is private, `engine_registry` to
    `engine_image`: neither registry is told the password of the other.
    `keys_text`: `name:scope:sha256[,...]`, the digests that go into AKASH_LLM_KEYS; required by
    our server, which refuses to listen to the world without a key.
    `api_key`: the secret that a plain image takes as its key, `ac-secret://NAME`.
    `without_auth`: an image that knows no keys is meant to be open to everybody.
    `service`: its name; of two, the engine's, for the other is `gateway`.
    `model`: as the engine names it. `context`: tokens per request. `parallel`: requests at
    once. `engine_args`: more arguments of an engine that is not ours, a word each.
    `cpu`: cores, or text such as `500m`. `memory`, `root`, `storage`, `shm`: sizes such as
    `2Gi`; `memory` is what programs have, and `shm` comes on top where an engine needs it;
    `root` is emptied when the container restarts, `storage` keeps the models, in
    `storage_class`; with an empty class it is part of the root and is emptied, too. All of
    these are the engine's where there is a gateway.
    `gateway_cpu`, `gateway_memory`: what the gateway has. It computes no model: it takes about
    100 MB, and up to 512 MiB more for bodies of requests that come at once.
    `count`: replicas behind one address, each with volumes and limits of its own. With a
    gateway there are so many gateways, and so many engines behind one name that spreads
    connections over them: any gateway uses any engine. Limits count at each gateway, and a key
    that is made while they run is known to one of them only. Ollama pulls models one by one,
    so behind a gateway there is one.
    `domains`: names of one's own for the address. `leased_ip`: an IP beside it, without TLS;
    not with a gateway, where tools disagree about its number.
    `tee`: confidential hardware, `cpu` or `cpu-gpu`; with a gateway only `cpu`, for both.
    `price`: the most that a replica may cost per block, in `denom`; `gateway_price`: the most
    that its gateway may cost in addition.
    `attributes`: what a provider must say of itself, `region` in short for one of them.
    `signed_by`: auditors, one of which must have approved the provider.
    `env`: further variables of the container. Of two, the gateway has those that begin with
    AKASH_LLM_ and the engine all others, such as HF_TOKEN for a gated model.
    """

    image: str = ""
    engine_image: str = ""
    keys_text: str = ""
    api_key: str = f"{SEALED}api_key"
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
    gateway_cpu: int | float | str = 1
    gateway_memory: str = "1Gi"
    count: int = 1
    domains: tuple[str, ...] = ()
    leased_ip: bool = False
    tee: str = ""
    registry: RegistryAccess | None = None
    engine_registry: RegistryAccess | None = None
    price: int | str = 10000
    gateway_price: int | str = 1000
    denom: str = "uact"
    region: str = ""
    attributes: dict[str, str] = {}
    signed_by: tuple[str, ...] = (AUDITOR,)
    env: dict[str, str] = {}
