"""The child process that rewrites weights: `python -m server.engine.quantize FROM TO TYPE N`.

A process of its own because it is C, takes a while and gigabytes, and can be ended at any
time. It ends by itself when its standard input closes, so it cannot outlive the server.
What it prints is why it failed.
"""

import ctypes
import os
import signal
import sys
import threading
from pathlib import Path
from typing import Any, NoReturn

import llama_cpp

from server.engine.cpu import default_threads

_FILE_TYPES = {
    "q8_0": llama_cpp.LLAMA_FTYPE_MOSTLY_Q8_0,
    "q4_0": llama_cpp.LLAMA_FTYPE_MOSTLY_Q4_0,
    "q4_k_s": llama_cpp.LLAMA_FTYPE_MOSTLY_Q4_K_S,
    "q4_k_m": llama_cpp.LLAMA_FTYPE_MOSTLY_Q4_K_M,
}
_OUTPUT_IN_8_BITS = ("q8_0", "q4_0")
_ROWS_BYTES = 256 << 20  # of a tensor that are in memory at once; llama.cpp's default is 8 GiB
_ERROR_LEVEL = 4


def main(source: str, target: str, kind: str, threads: str) -> int:
    """Write `source` as `target` with the weights in `kind`; the exit code."""
    # Ctrl+C in a terminal reaches the whole group; the server decides what it means.
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.SIG_IGN)
    threading.Thread(target=_end_with_server, args=(Path(target),), daemon=True).start()
    errors: list[str] = []

    def note(level: int, text: bytes, _data: object) -> None:
        if level == _ERROR_LEVEL:
            errors.append(text.decode(errors="replace").strip())

    callback = llama_cpp.llama_log_callback(note)
    llama_cpp.llama_log_set(callback, ctypes.c_void_p(0))
    params = _params(kind, int(threads))
    paths = os.fsencode(source), os.fsencode(target)
    if llama_cpp.llama_model_quantize(*paths, ctypes.byref(params)):
        reason = errors[-1] if errors else "llama.cpp gave no reason"
        sys.stdout.write(reason.rpartition("failed to quantize: ")[2])
        return 1
    _sync(target)
    return 0


def _params(kind: str, threads: int) -> Any:
    params = llama_cpp.llama_model_quantize_default_params()
    params.nthread = threads or default_threads()
    params.ftype = _FILE_TYPES[kind]
    params.allow_requantize = True
    # The tensor that chooses the token (often the one of the embeddings as well) stays in
    # 8 bits: 8% slower to generate than in 4 on the embedded model, and what it loses is
    # heard at once. llama.cpp's own choice, Q6_K, is not of the types that it repacks best.
    if kind in _OUTPUT_IN_8_BITS:
        params.output_tensor_type = llama_cpp.GGML_TYPE_Q8_0
    params.max_buf_size = _ROWS_BYTES
    return params


def _end_with_server(target: Path) -> NoReturn:
    os.read(sys.stdin.fileno(), 1)
    target.unlink(missing_ok=True)
    os._exit(1)


def _sync(path: str) -> None:
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
