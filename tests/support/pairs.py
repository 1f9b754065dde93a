"""SDLs of a gateway and an engine behind it, and programs that stand in for engines."""

import json
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

from toolkit.sdl.render import RETRY

GATEWAY = "example.org/test/akash-llm-gateway:1"
IMAGES = {"vllm": "vllm/vllm-openai:v0.11.0", "ollama": "ollama/ollama:0.13.4"}

ROOT = Path(__file__).parent.parent.parent
SPEAKING = """\
#!{python}
import sys
sys.path.insert(0, {root!r})
from tests.support.vllm_stand_in import VLLMStandIn
given = dict(zip(sys.argv, sys.argv[1:]))
print("serving", given["--served-model-name"], flush=True)
places = {{"port": int(given.get("--port", 0)), "socket": given.get("--uds", "")}}
VLLMStandIn(**places, model=given["--served-model-name"]).run()
"""


def pair_sdl(
    engine: str,
    *,
    model: str = "org/tiny",
    keys: str = f"owner:admin:{'0' * 64}",
    gateway: str = GATEWAY,
    image: str = "",
    env: Mapping[str, str] = {},
    engine_env: Mapping[str, str] = {},
    args: Sequence[str] | None = None,
    command: Sequence[str] | None = None,
    also: str = "",
) -> str:
    """An SDL of the shape that the templates render; an empty value leaves its variable out."""
    gateway_env = {
        "AKASH_LLM_HOST": "0.0.0.0",
        "AKASH_LLM_PORT": "11434",
        "AKASH_LLM_ENGINE": engine,
        "AKASH_LLM_UPSTREAM": "http://engine:8000",
        "AKASH_LLM_PRELOAD": model,
        "AKASH_LLM_KEYS": keys,
        **env,
    }
    if args is None and engine == "vllm":
        args = ["vllm", "serve", model, "--host", "0.0.0.0", "--port", "8000"]
        args += ["--max-model-len", "512", "--max-num-seqs", "2", "--tensor-parallel-size", "1"]
        args += ["--served-model-name", model, "--enable-prompt-tokens-details"]
    if command is None and engine == "vllm":
        command = ["python3", "-c", RETRY]
    words = "".join(
        f"\n    {key}: {json.dumps(list(value))}"
        for key, value in (("command", command), ("args", args))
        if value
    )
    return f"""\
version: "2.0"
services:
  gateway:
    image: {gateway}
    env: {_env(gateway_env)}
    expose:
      - port: 11434
        as: 80
        to: [{{global: true}}]
  engine:
    image: {image or IMAGES[engine]}{words}
    env: {_env(engine_env)}
    expose:
      - port: 8000
        to: [{{service: gateway}}]
{also}
profiles:
  compute:
    small:
      resources:
        cpu: {{units: 1}}
        memory: {{size: 1Gi}}
        storage: {{size: 1Gi}}
  placement:
    akash:
      pricing:
        small: {{denom: uact, amount: 1000}}
deployment:
  gateway:
    akash: {{profile: small, count: 1}}
  engine:
    akash: {{profile: small, count: 1}}
"""


def _env(values: Mapping[str, str]) -> str:
    return json.dumps([f"{name}={value}" for name, value in values.items() if value])


def install(folder: Path, name: str) -> Path:
    """A program of that name in `folder` that behaves as the engine of that name does."""
    folder.mkdir(parents=True, exist_ok=True)
    program = folder / name
    stand_in = Path(__file__).parent / "engine_stand_in.py"
    program.write_text(f"#!{sys.executable}\n{stand_in.read_text()}")
    program.chmod(0o755)
    return program


def install_vllm(folder: Path, *, name: str = "vllm") -> Path:
    """A program of that name that speaks vLLM's wire, so that a real gateway can use it."""
    folder.mkdir(parents=True, exist_ok=True)
    program = folder / name
    program.write_text(SPEAKING.format(python=sys.executable, root=str(ROOT)))
    program.chmod(0o755)
    return program
