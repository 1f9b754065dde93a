"""Every choice of a server, read once: flags first, then `AKASH_LLM_…` variables.

No other module reads the environment. A flag that makes no sense ends with exit
code 2, a variable or a combination that makes none with 3.
"""

import argparse
import math
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal, NamedTuple, NoReturn, get_args

import msgspec
import platformdirs

from server.address import UPSTREAM_KEY_VARIABLE, is_loopback, upstream_address
from server.durations import FOREVER, lifetime
from server.engine.config import (
    Attention,
    CacheType,
    FlashAttention,
    Placement,
    SplitMode,
    WeightType,
)
from server.engines import ENGINES, LOCAL
from server.grants import Grant, fixed_grants
from server.keys import KeyRing
from server.models.sources import DEFAULT_REGISTRIES, Registries
from server.sizes import parse_size

EXIT_USAGE = 2
EXIT_CONFIG = 3
HOME_VARIABLE = "AKASH_LLM_HOME"
KEYS_VARIABLE = "AKASH_LLM_KEYS"
KEY_LIMITS_VARIABLE = "AKASH_LLM_KEY_LIMITS"
_DAY_S = 86_400


class SettingsError(Exception):
    """Settings that cannot be meant: one line for the person, one exit code."""

    def __init__(self, message: str, *, exit_code: int = EXIT_CONFIG) -> None:
        super().__init__(message)
        self.exit_code = exit_code


class Settings(msgspec.Struct, frozen=True, kw_only=True):
    """What a server does and for whom.

    `upstream` is the address of the server that runs the models, for all engines but the one
    of this machine, and `upstream_key` what it wants to be shown; `upstream_timeout` is how
    many seconds it may say nothing. What is said of memory and of how models are computed is
    for the engine of this machine.

    `context` is tokens per request, the memory pool is `context * parallel` unless `pool`
    says less. `parking` is bytes.
    `threads` 0 leaves the number to the engine. `keep_alive` is how many seconds an
    idle model stays loaded, `preload_keep_alive` the same for preloaded ones. `memory`
    is how many bytes models may take together (None leaves it to the engine), `max_loaded`
    how many may be loaded at once (0: as many as fit). `state` is a folder, `keys` are those
    of the environment. The fields from `batch_threads` to `requantize` are explained in
    `server.engine.config`. The fields from `header_timeout` to `drain` are seconds.
    """

    host: str
    port: int
    models: Path
    preload: tuple[str, ...]
    pull: bool
    parallel: int
    context: int
    engine: str
    upstream: str | None
    upstream_timeout: float
    pool: int
    parking: int
    share_prefixes: bool
    speculate: Literal["off", "auto", "on"]
    threads: int
    batch_threads: int
    batch: int
    micro_batch: int
    flash_attention: FlashAttention
    cache_type_k: CacheType
    cache_type_v: CacheType
    swa_full: bool
    gpu_layers: int
    split_mode: SplitMode
    main_gpu: int
    tensor_split: tuple[float, ...]
    mmap: bool
    mlock: bool
    requantize: WeightType | Literal["off"]
    keep_alive: float
    preload_keep_alive: float
    memory: int | None
    max_loaded: int
    max_queue: int
    max_body_bytes: int
    body_memory: int
    max_connections: int
    header_timeout: float
    body_timeout: float
    write_timeout: float
    idle_timeout: float
    heartbeat: float
    drain: float
    origins: tuple[str, ...]
    registries: Registries
    state: Path
    management: bool
    prune: bool
    usage_days: int
    keys: tuple[Grant, ...]
    upstream_key: str

    @property
    def placement(self) -> Placement:
        """Where the weights of every model lie."""
        return Placement(
            gpu_layers=self.gpu_layers,
            split_mode=self.split_mode,
            main_gpu=self.main_gpu,
            tensor_split=self.tensor_split,
            mmap=self.mmap,
            mlock=self.mlock,
        )

    @property
    def attention(self) -> Attention:
        """How every model computes attention."""
        return Attention(
            flash=self.flash_attention,
            keys=self.cache_type_k,
            values=self.cache_type_v,
            swa_full=self.swa_full,
        )

    @property
    def is_loopback(self) -> bool:
        """Whether only this machine can reach the server."""
        return is_loopback(self.host)

    @property
    def url(self) -> str:
        """Where the server answers, as somebody on this machine would write it."""
        host = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(self.host, self.host)
        return f"http://[{host}]:{self.port}" if ":" in host else f"http://{host}:{self.port}"


def _whole(least: int, most: int) -> Callable[[str], int]:
    def parse(text: str) -> int:
        try:
            number = int(text)
        except ValueError:
            number = least - 1
        if not least <= number <= most:
            raise ValueError(f"expected a whole number from {least} to {most}, got {text!r}")
        return number

    return parse


def _seconds(least: float) -> Callable[[str], float]:
    def parse(text: str) -> float:
        try:
            seconds = float(text)
        except ValueError:
            seconds = -1.0
        if not least <= seconds <= _DAY_S:
            raise ValueError(f"expected seconds from {least:g} to {_DAY_S}, got {text!r}")
        return seconds

    return parse


def _words(text: str) -> tuple[str, ...]:
    return tuple(word.strip() for word in text.split(",") if word.strip())


def _registries(text: str) -> Registries:
    return Registries.parse(() if text.strip() == "none" else _words(text))


def _folder(text: str) -> Path:
    if not text.strip():
        raise ValueError("expected a folder, got nothing")
    return Path(text).expanduser()


def _one_of(*choices: str) -> Callable[[str], str]:
    def parse(text: str) -> str:
        if text not in choices:
            raise ValueError(f"expected one of {', '.join(choices)}, got {text!r}")
        return text

    return parse


def _size_or_none(text: str) -> int:
    return 0 if text == "0" else parse_size(text)


def _switch(text: str) -> bool:
    return _one_of("on", "off")(text) == "on"


def _missing(text: str) -> bool:
    return _one_of("missing", "never")(text) == "missing"


def _layers(text: str) -> int:
    try:
        return -1 if text == "all" else _whole(0, 1 << 16)(text)
    except ValueError:
        raise ValueError(f"expected all or a number of layers, got {text!r}") from None


def _shares(text: str) -> tuple[float, ...]:
    try:
        shares = tuple(float(part) for part in _words(text))
    except ValueError:
        shares = (-1.0,)
    if not all(math.isfinite(share) and share >= 0 for share in shares):
        raise ValueError(f"expected shares such as 3,1, got {text!r}")
    return shares


def _host(text: str) -> str:
    host = text.strip().removeprefix("[").removesuffix("]")
    if not host or any(part in host for part in "/ @,"):
        raise ValueError(f"expected an address or a host name, got {text!r}")
    return host


def _lifetime(text: str) -> float:
    if text.strip().lower() == "forever":
        return FOREVER
    try:
        return lifetime(float(text))
    except ValueError:
        return lifetime(text)


class Setting(NamedTuple):
    """One row of the table below: `--name`, `AKASH_LLM_NAME`, and what it means."""

    name: str
    parse: Callable[[str], Any]
    default: str
    help: str
    metavar: str = "N"
    repeats: bool = False

    @property
    def flag(self) -> str:
        return "--" + self.name.replace("_", "-")

    @property
    def variable(self) -> str:
        return "AKASH_LLM_" + self.name.upper()


_CACHES = ", ".join(get_args(CacheType))

SETTINGS: tuple[Setting, ...] = (
    Setting("host", _host, "127.0.0.1", "address to listen on", "ADDRESS"),
    Setting("port", _whole(1, 65535), "11434", "port to listen on"),
    Setting("models", _folder, "", "model store, in Ollama's layout", "DIR"),
    Setting(
        "preload",
        _words,
        "",
        "load this model at the start and keep it (repeatable; the variable takes a comma list)",
        "NAME",
        repeats=True,
    ),
    Setting(
        "pull", _missing, "never", "get what is to be preloaded and not there", "missing|never"
    ),
    Setting("parallel", _whole(1, 256), "4", "requests that a model answers at once"),
    Setting("context", _whole(4, 1 << 24), "2048", "tokens per request"),
    Setting("engine", _one_of(*ENGINES), LOCAL, "what runs the models", "|".join(ENGINES)),
    Setting(
        "upstream", upstream_address, "", "where the engine answers, unless it is llama-cpp", "URL"
    ),
    Setting("upstream_timeout", _seconds(0.1), "300", "how long it may say nothing", "SECONDS"),
    Setting(
        "pool",
        _whole(0, 1 << 30),
        "0",
        "tokens of memory that all requests of a model share; 0: context times parallel",
    ),
    Setting("parking", _size_or_none, "0", "memory of the host for idle conversations", "SIZE"),
    Setting(
        "share_prefixes",
        _switch,
        "off",
        "let keys go on from what was computed for others; they can tell what these said",
        "on|off",
    ),
    Setting("speculate", _one_of("off", "auto", "on"), "off", "guess tokens ahead", "off|auto|on"),
    Setting("threads", _whole(0, 1024), "0", "threads for computing; 0 chooses"),
    Setting(
        "batch_threads", _whole(0, 1024), "0", "threads for prompts; 0 is as many as --threads"
    ),
    Setting("batch", _whole(1, 1 << 16), "2048", "most tokens of one decode step"),
    Setting("micro_batch", _whole(1, 1 << 16), "512", "of these, computed at a time"),
    Setting(
        "flash_attention",
        _one_of(*get_args(FlashAttention)),
        "auto",
        "compute attention without storing its matrix",
        "|".join(get_args(FlashAttention)),
    ),
    Setting(
        "cache_type_k", _one_of(*get_args(CacheType)), "f16", f"cached keys: {_CACHES}", "TYPE"
    ),
    Setting(
        "cache_type_v",
        _one_of(*get_args(CacheType)),
        "f16",
        "cached values, the same types; quantized ones need flash attention",
        "TYPE",
    ),
    Setting(
        "swa_full",
        _switch,
        "off",
        "keep all of layers with a sliding window, so that beginnings can be shared",
        "on|off",
    ),
    Setting("gpu_layers", _layers, "all", "layers on the GPU, if there is one", "N|all"),
    Setting(
        "split_mode",
        _one_of(*get_args(SplitMode)),
        "layer",
        "how several GPUs share a model",
        "|".join(get_args(SplitMode)),
    ),
    Setting("main_gpu", _whole(0, 255), "0", "the GPU that has all of it with --split-mode none"),
    Setting("tensor_split", _shares, "", "shares of the GPUs, such as 3,1", "N,…"),
    Setting("mmap", _switch, "on", "map weights from their file instead of reading it", "on|off"),
    Setting("mlock", _switch, "off", "never page weights out of memory", "on|off"),
    Setting(
        "requantize",
        _one_of("off", *get_args(WeightType)),
        "off",
        "rewrite weights once in a type that CPUs compute faster, and keep the copy",
        "|".join(("off", *get_args(WeightType))),
    ),
    Setting("keep_alive", _lifetime, "", "how long an idle model stays loaded", "5m|forever"),
    Setting(
        "memory",
        parse_size,
        "",
        "memory that models may take together (default: this machine's, less a reserve)",
        "SIZE",
    ),
    Setting("max_loaded", _whole(0, 1024), "0", "models in memory at once; 0: as many as fit"),
    Setting("max_queue", _whole(0, 1 << 20), "512", "requests that may wait for a model"),
    Setting("max_body_bytes", _whole(1024, 1 << 31), "104857600", "largest request body"),
    Setting(
        "registries",
        _registries,
        ",".join(DEFAULT_REGISTRIES),
        "from where models may be pulled; http:// before a host means plain http",
        "HOST,…|none",
    ),
    Setting("body_memory", parse_size, "512MiB", "memory for all request bodies at once", "SIZE"),
    Setting("max_connections", _whole(1, 1 << 20), "1024", "connections at once"),
    Setting(
        "header_timeout", _seconds(0.1), "20", "for the head of a request to arrive", "SECONDS"
    ),
    Setting("body_timeout", _seconds(0.1), "60", "for its body to arrive", "SECONDS"),
    Setting(
        "write_timeout", _seconds(0.1), "60", "for a client to take what waits for it", "SECONDS"
    ),
    Setting("idle_timeout", _seconds(0.1), "75", "between two requests of a connection", "SECONDS"),
    Setting(
        "heartbeat", _seconds(0), "20", "silence of a stream that is bridged; 0: never", "SECONDS"
    ),
    Setting("drain", _seconds(0), "25", "for running replies to end after SIGTERM", "SECONDS"),
    Setting("origins", _words, "", "more web origins that may use the server", "URL,…"),
    Setting("state", _folder, "", "where keys and usage are kept", "DIR"),
    Setting(
        "management",
        _switch,
        "on",
        "let admin keys change keys and models from outside; --no-management is off",
        "on|off",
    ),
    Setting("prune", _switch, "on", "remove blobs that no model needs at the start", "on|off"),
    Setting("usage_days", _whole(1, 36500), "400", "days that usage is kept"),
)

ENVIRONMENT: tuple[str, ...] = (
    *(setting.variable for setting in SETTINGS),
    KEYS_VARIABLE,
    KEY_LIMITS_VARIABLE,
    UPSTREAM_KEY_VARIABLE,
    HOME_VARIABLE,
)


def load(argv: Sequence[str], environ: Mapping[str, str]) -> Settings:
    """Settings from flags and environment. Raises `SettingsError`; `--help` exits."""
    flags = vars(_parser().parse_args(argv))
    values = {setting.name: _value(setting, flags, environ) for setting in SETTINGS}
    idle = values["keep_alive"]
    values["keep_alive"] = 300.0 if idle is None else idle
    values["preload_keep_alive"] = FOREVER if idle is None else idle
    for folder in ("models", "state"):
        if values[folder] is None:
            values[folder] = _home(environ) / folder
    key = environ.get(UPSTREAM_KEY_VARIABLE, "").strip()
    settings = Settings(**values, keys=_keys(environ), upstream_key=key)
    _check_upstream(settings)
    _check_engine(settings)
    return settings


def _value(setting: Setting, flags: Mapping[str, Any], environ: Mapping[str, str]) -> Any:
    """Flag, else variable, else default (None if there is none to parse)."""
    given = flags[setting.name]
    if given is not None:
        texts = given if setting.repeats else [given]
        source, code = setting.flag, EXIT_USAGE
    elif environ.get(setting.variable):
        texts, source, code = [environ[setting.variable]], setting.variable, EXIT_CONFIG
    elif setting.default or setting.parse in (_words, _shares):
        texts, source, code = [setting.default], setting.flag, EXIT_USAGE
    else:
        return None
    try:
        parsed = [setting.parse(text) for text in texts]
    except ValueError as error:
        raise SettingsError(f"{source}: {error}", exit_code=code) from None
    return tuple(word for words in parsed for word in words) if setting.repeats else parsed[0]


def _keys(environ: Mapping[str, str]) -> tuple[Grant, ...]:
    variable = KEYS_VARIABLE
    try:
        ring = KeyRing.from_text(environ.get(variable, ""))
        variable = KEY_LIMITS_VARIABLE
        return fixed_grants(ring, environ.get(variable, ""))
    except ValueError as error:
        problems = "; ".join(str(error).splitlines())
        raise SettingsError(f"{variable}: {problems}") from None


def _home(environ: Mapping[str, str]) -> Path:
    given = environ.get(HOME_VARIABLE)
    return Path(given).expanduser() if given else Path(platformdirs.user_data_dir("akash-llm"))


def _check_upstream(settings: Settings) -> None:
    is_local = settings.engine == LOCAL
    if not is_local and not settings.upstream:
        raise SettingsError(
            f"--engine {settings.engine} needs --upstream, the address where it answers, "
            "such as http://localhost:8000"
        )
    if is_local and settings.upstream:
        others = " or ".join(f"--engine {name}" for name in ENGINES if name != LOCAL)
        raise SettingsError(f"--upstream goes with {others}")
    if not all(" " < character < "\x7f" for character in settings.upstream_key):
        raise SettingsError(f"{UPSTREAM_KEY_VARIABLE} is no key: no header may hold it")


def _check_engine(settings: Settings) -> None:
    if 0 < settings.pool < settings.context:
        raise SettingsError(
            f"a pool of {settings.pool} tokens holds no request of {settings.context}: "
            "raise --pool or lower --context"
        )
    if problem := settings.attention.problem:
        raise SettingsError(
            f"{problem}: set --flash-attention auto, or --cache-type-v f16, f32 or bf16"
        )
    if settings.batch < settings.parallel:
        raise SettingsError(
            f"a --batch of {settings.batch} has no room for a token of each of "
            f"--parallel {settings.parallel} requests"
        )


class _Parser(argparse.ArgumentParser):
    def error(self, message: str) -> NoReturn:
        raise SettingsError(f"{message} (see --help)", exit_code=EXIT_USAGE)


def _parser() -> argparse.ArgumentParser:
    parser = _Parser(
        prog="python -m server",
        description="A private LLM server with Ollama's API. "
        f"Keys come from {KEYS_VARIABLE} (with {KEY_LIMITS_VARIABLE}) and from the state; "
        "each flag is also a variable.",
        allow_abbrev=False,
    )
    for setting in SETTINGS:
        default = f" (default {setting.default})" if setting.default else ""
        parser.add_argument(
            setting.flag,
            dest=setting.name,
            metavar=setting.metavar,
            action="append" if setting.repeats else "store",
            help=f"{setting.help}{default}; {setting.variable}",
        )
    parser.add_argument(
        "--no-management",
        dest="management",
        action="store_const",
        const="off",
        help=argparse.SUPPRESS,
    )
    return parser
