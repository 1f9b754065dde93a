"""A real vLLM on a port of this machine, with the embedded model in the form that it reads.

What it needs is made by `make engines`. Its flags are those that a gateway wants of it.
"""

import os
import shutil
import subprocess
import time
from pathlib import Path

import httpx2
import psutil

from tests.performance import peers
from tests.support.started import Started
from tests.support.tool_template import TOOL_TEMPLATE

MODEL = "smollm2:135m"
CONTEXT = 2048
FLAGS = (
    "--enable-tokenizer-info-endpoint",
    "--enable-prompt-tokens-details",
    "--enable-per-request-metrics",
    "--structured-outputs-config.backend=guidance",
)
# Tests have no use for a compiled graph, and short prompts for long blocks. In 16 bits the best
# token depends on what is read from the cache.
ON_THIS_MACHINE = ("--dtype=float32", "--enforce-eager", "--max-num-seqs=8", "--block-size=32")
_START_S, _END_S = 600, 60


def missing() -> str:
    """What is not here of a vLLM and its model; empty if all is."""
    if not peers.python_of(peers.VLLM).with_name("vllm").exists():
        return f"there is no vLLM in {peers.VLLM}: make engines installs it"
    weights = peers.embedded_weights()
    if not (peers.hugging_face(weights) / "tokenizer_config.json").exists():
        return f"vLLM has no form of {MODEL} that it reads: make engines makes it"
    return ""


class VLLMServer(Started):
    """Use as a context manager; `url` answers once it is entered. The model has a second chat
    template, for tools."""

    def __init__(self, folder: Path, port: int) -> None:
        self.url = f"http://127.0.0.1:{port}"
        self._port = port
        self._folder = folder
        self._log = folder / "vllm.log"

    def start(self) -> None:
        model = self._folder / "model"
        with_tools(peers.hugging_face(peers.embedded_weights()), model)
        program = peers.python_of(peers.VLLM).with_name("vllm")
        command = [str(program), "serve", str(model), f"--served-model-name={MODEL}"]
        command += ["--host=127.0.0.1", f"--port={self._port}", f"--max-model-len={CONTEXT}"]
        env = {
            **os.environ,
            "HF_HUB_OFFLINE": "1",
            "VLLM_NO_USAGE_STATS": "1",
            "VLLM_CPU_KVCACHE_SPACE": "1",
        }
        with self._log.open("wb") as log:
            self._process = subprocess.Popen(
                [*command, *FLAGS, *ON_THIS_MACHINE],
                cwd=self._folder,
                env=env,
                stdout=log,
                stderr=subprocess.STDOUT,
            )

    def wait_until_ready(self) -> None:
        deadline = time.monotonic() + _START_S
        while time.monotonic() < deadline:
            assert self._process.poll() is None, self._said()
            try:
                if httpx2.get(f"{self.url}/health", trust_env=False).is_success:
                    return
            except httpx2.TransportError:
                pass
            time.sleep(0.5)
        raise AssertionError(f"vLLM is not ready within {_START_S} s: {self._said()}")

    def end(self) -> None:
        """It ends its own processes; those that it leaves are killed."""
        if self._process.poll() is not None:
            return
        whole = psutil.Process(self._process.pid)
        processes = [whole, *whole.children(recursive=True)]
        self._process.terminate()
        for left in psutil.wait_procs(processes, timeout=_END_S)[1]:
            left.kill()
        self._process.wait()

    def _said(self) -> str:
        return self._log.read_text(encoding="utf-8", errors="replace")[-4000:]


def with_tools(model: Path, target: Path) -> None:
    """The same model in another folder, with a chat template for tools beside its own."""
    templates = target / "additional_chat_templates"
    templates.mkdir(parents=True)
    for path in model.iterdir():
        if path.suffix == ".safetensors":
            (target / path.name).symlink_to(path)
        else:
            shutil.copy(path, target)
    (templates / "tool_use.jinja").write_text(TOOL_TEMPLATE, encoding="utf-8")
