"""Weights in another type, by the program of the server that rewrites them."""

import asyncio
import importlib.util
import sys
from pathlib import Path

from server.errors import Unsupported
from toolkit.errors import ConfigError


class ChildQuantizer:
    """Runs it in a process of its own; cancelling ends that."""

    kinds: tuple[str, ...] = ("q4_k_s", "q4_k_m", "q8_0", "q4_0")

    async def quantize(self, source: Path, target: Path, kind: str) -> None:
        """Write `source` as `target`. Raises `Unsupported` where the server is not installed,
        and `ConfigError` with llama.cpp's reason."""
        if importlib.util.find_spec("llama_cpp") is None:
            raise Unsupported("quantizing needs the server", hint="pip install 'akash-llm[server]'")
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "server.engine.quantize", str(source), str(target), kind, "0"),
            stdin=asyncio.subprocess.PIPE,  # when it closes, the process knows that it is alone
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.DEVNULL,
        )
        try:
            said = await process.stdout.read() if process.stdout else b""
            code = await process.wait()
        finally:
            if process.returncode is None:
                process.kill()
                await process.wait()
        if code:
            reason = said.decode(errors="replace") or "it gave no reason"
            raise ConfigError(f"the weights cannot be quantized to {kind}: {reason}")
