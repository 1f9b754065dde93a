"""What llama.cpp itself makes of inputs, one at a time and whole: the yardstick for ours.

A program: the path of a model, then JSON lists of tokens, one a line; it prints a line of
floats for each, of length 1. `--mean` overrides the pooling of the model.
"""

import ctypes
import json
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray


def reference(
    path: Path, inputs: Sequence[Sequence[int]], *, mean: bool = False
) -> NDArray[np.float64]:
    """The vectors of the inputs, computed in a process of its own."""
    command = [sys.executable, "-m", "tests.support.llama_reference", str(path)]
    done = subprocess.run(
        [*command, "--mean"] if mean else command,
        input="\n".join(json.dumps(list(one)) for one in inputs),
        capture_output=True,
        text=True,
        check=True,
    )
    return np.array([json.loads(line) for line in done.stdout.splitlines()])


def main() -> None:
    """Read, compute, print."""
    import llama_cpp

    inputs = [json.loads(line) for line in sys.stdin]
    longest = max(len(tokens) for tokens in inputs)
    model: Any = llama_cpp.llama_model_load_from_file(
        sys.argv[1].encode(), llama_cpp.llama_model_default_params()
    )
    params = llama_cpp.llama_context_default_params()
    params.n_ctx = params.n_batch = params.n_ubatch = longest
    params.n_threads = params.n_threads_batch = 2
    params.embeddings = True
    if "--mean" in sys.argv:
        params.pooling_type = llama_cpp.LLAMA_POOLING_TYPE_MEAN
    context: Any = llama_cpp.llama_init_from_model(model, params)
    width = llama_cpp.llama_model_n_embd_out(model)
    for tokens in inputs:
        llama_cpp.llama_memory_clear(llama_cpp.llama_get_memory(context), True)
        ids = (ctypes.c_int32 * len(tokens))(*tokens)
        if llama_cpp.llama_decode(context, llama_cpp.llama_batch_get_one(ids, len(tokens))):
            raise SystemExit("llama.cpp refused the batch")
        pointer: Any = llama_cpp.llama_get_embeddings_seq(context, 0)
        vector = np.ctypeslib.as_array(pointer, (width,)).astype(np.float64)
        print(json.dumps((vector / np.linalg.norm(vector)).tolist()))


if __name__ == "__main__":
    main()
