"""What a template may be given, and what is refused before anything is rendered."""

import re
from typing import Final

import msgspec

from server.keys import KeyRing
from toolkit.errors import ConfigError, UsageError
from toolkit.sdl.quantities import exact_amount, exact_cpu, exact_size

# The auditor that most providers are approved by.
AUDITOR: Final = "akash1365yvmc4s7awdyj3n2sav7xfx76adc6dnmlx63"
SERVER_PORT: Final = 11434
MODELS_MOUNT: Final = "/models"

_SERVICE_NAME = re.compile(r"[a-z]([-a-z0-9]{0,61}[a-z0-9])?")
_ENV_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
_ATTRIBUTE_NAME = re.compile(r"[a-z][a-z0-9./-]{0,63}")
_GPU_RAM = re.compile(r"[1-9][0-9]*Gi")
_GPU_MODEL = re.compile(r"[a-z0-9][a-z0-9.-]*")
_TAGGED = re.compile(r"[^\s@]+:(?!latest$)[\w][\w.-]*|[^\s@]+@sha256:[0-9a-f]{64}", re.ASCII)
_MAX_GPUS: Final = 24


class GPUChoice(msgspec.Struct, frozen=True, order=True):
    """An acceptable GPU: `model` as providers name it (`rtx4090`), `ram` such as `80Gi`."""

    model: str
    ram: str = ""


class GPURequest(msgspec.Struct, frozen=True):
    """How many GPUs, and which will do. No models means any."""

    units: int = 1
    models: tuple[GPUChoice, ...] = ()


class RenderInputs(msgspec.Struct, frozen=True, kw_only=True):
    """Everything a template may use. The defaults serve `smollm2:135m` on a processor.

    `image`: registry path of our server image with a tag or digest; required.
    `keys_text`: `name:scope:sha256[,...]`, the digests that go into AKASH_LLM_KEYS; required,
    because the server refuses to listen to the world without a key.
    `context`: tokens per request. `parallel`: requests at once.
    `cpu`: cores, or text such as `500m`. `memory`, `root`, `storage`: sizes such as `2Gi`;
    `root` is emptied when the container restarts, `storage` keeps the models.
    `price`: the most it may cost per block, in `denom`.
    `attributes`: what a provider must say of itself, `region` in short for one of them.
    `signed_by`: auditors, one of which must have approved the provider.
    `env`: further variables of the container.
    """

    image: str
    keys_text: str
    service: str = "llm"
    model: str = "smollm2:135m"
    context: int = 2048
    parallel: int = 4
    cpu: int | float | str = 2
    memory: str = "2Gi"
    root: str = "2Gi"
    storage: str = "10Gi"
    storage_class: str = "beta3"
    gpu: GPURequest | None = None
    price: int | str = 10000
    denom: str = "uact"
    region: str = ""
    attributes: dict[str, str] = {}
    signed_by: tuple[str, ...] = (AUDITOR,)
    env: dict[str, str] = {}

    def environment(self) -> dict[str, str]:
        """The variables of the container, ours first."""
        return {
            "AKASH_LLM_HOST": "0.0.0.0",  # noqa: S104 (the provider's network)
            "AKASH_LLM_PORT": str(SERVER_PORT),
            "AKASH_LLM_MODELS": MODELS_MOUNT,
            "AKASH_LLM_PRELOAD": self.model,
            "AKASH_LLM_CONTEXT": str(self.context),
            "AKASH_LLM_PARALLEL": str(self.parallel),
            "AKASH_LLM_KEYS": self.keys_text,
            **self.env,
        }

    def check(self) -> None:
        """Refuse what cannot be rendered well: ConfigError or UsageError with the next step."""
        self._check_image()
        self._check_server()
        self._check_env()
        self._check_resources()
        self._check_gpu()
        self._check_placement()

    def _check_image(self) -> None:
        if not self.image:
            raise ConfigError(
                "there is no server image to deploy",
                hint="make one with `make image IMAGE=REGISTRY/akash-llm-server:VERSION`, "
                "then give it with --image",
            )
        if not _TAGGED.fullmatch(self.image):
            raise ConfigError(
                f"the image {self.image!r} does not say which version it is",
                hint="end it with a tag other than latest, or with @sha256: and its digest",
            )

    def _check_server(self) -> None:
        _require(
            _SERVICE_NAME.fullmatch(self.service),
            f"{self.service!r} cannot name a service",
            "use lower-case letters, digits and -, beginning with a letter",
        )
        _require(
            self.model and "," not in self.model and self.model == self.model.strip(),
            f"{self.model!r} cannot name a model",
            "give one name such as smollm2:135m",
        )
        _require(self.context > 0, "the context must be at least 1 token", "try 2048")
        _require(self.parallel > 0, "at least 1 request must run at once", "try 4")
        self._check_keys()

    def _check_keys(self) -> None:
        """Digests only: the message never repeats what may be a key."""
        hint = "give its digest as name:scope:sha256, or a key file; the key stays with you"
        if not self.keys_text:
            raise ConfigError("an endpoint that the world can reach needs a key", hint=hint)
        try:
            KeyRing.from_text(self.keys_text)
        except ValueError as error:
            raise UsageError(f"the key digests cannot be read: {error}", hint=hint) from None

    def _check_env(self) -> None:
        ours = msgspec.structs.replace(self, env={}).environment()
        for name in self.env:
            _require(
                _ENV_NAME.fullmatch(name),
                f"{name!r} cannot name an environment variable",
                "use letters, digits and _",
            )
            _require(name not in ours, f"{name} is set from another input", "leave it out of env")

    def _check_resources(self) -> None:
        _require(
            _is_exact_cpu(self.cpu), f"cpu {self.cpu!r} is not portable", "write 2, 0.5 or 500m"
        )
        for name in ("memory", "root", "storage"):
            size = getattr(self, name)
            _require(
                exact_size(size),
                f"{name} {size!r} is not a portable size",
                "write it as 2Gi or 512Mi",
            )

    def _check_gpu(self) -> None:
        if self.gpu is None:
            return
        _require(
            0 < self.gpu.units <= _MAX_GPUS,
            f"{self.gpu.units} GPUs cannot be asked for",
            f"1 to {_MAX_GPUS} can; leave gpu out for none",
        )
        _require(
            len(set(self.gpu.models)) == len(self.gpu.models),
            "a GPU is named twice",
            "name each acceptable GPU once",
        )
        for choice in self.gpu.models:
            _require(
                _GPU_MODEL.fullmatch(choice.model),
                f"{choice.model!r} is no GPU model",
                "write it as providers do, such as rtx4090 or a100",
            )
            _require(
                not choice.ram or _GPU_RAM.fullmatch(choice.ram),
                f"{choice.ram!r} is no GPU memory",
                "write it in whole Gi, such as 80Gi",
            )

    def _check_placement(self) -> None:
        amount = exact_amount(self.price) if _is_amount(self.price) else None
        _require(
            amount is not None and 0 < amount <= 10_000_000,
            f"{self.price!r} is no price per block",
            "write an amount above 0 and up to 10000000",
        )
        _require(self.denom in ("uact", "uakt"), f"{self.denom!r} is no currency", "write uact")
        for name in self.attributes:
            _require(
                _ATTRIBUTE_NAME.fullmatch(name),
                f"{name!r} cannot name an attribute",
                "use lower-case letters, digits, -, . and /",
            )


def _require(condition: object, message: str, hint: str) -> None:
    if not condition:
        raise UsageError(message, hint=hint)


def _is_amount(price: int | str) -> bool:
    return isinstance(price, int) or bool(re.fullmatch(r"[0-9]+(\.[0-9]+)?", price))


def _is_exact_cpu(cpu: float | str) -> bool:
    try:
        return bool(exact_cpu(cpu))
    except ValueError:
        return False
