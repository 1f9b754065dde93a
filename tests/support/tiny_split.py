"""The tiny llama in several files, as llama.cpp splits one."""

from pathlib import Path

import gguf

from tests.support.tiny_llama import write_tiny_llama


def write_tiny_split(folder: Path, *, seed: int = 0, tensors_per_file: int = 8) -> list[Path]:
    """Write the parts of the tiny llama into a folder; their paths in order."""
    first = write_tiny_llama(folder / "tiny.gguf", seed=seed, tensors_per_file=tensors_per_file)
    first.unlink(missing_ok=True)
    return sorted(folder.glob("tiny-*-of-*.gguf"))


def number(path: Path, key: str) -> int:
    """A number in the header of a file."""
    return int(gguf.GGUFReader(path).fields[key].contents())
